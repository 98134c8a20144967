"""Merging: the mean of what the deltas do, not of the numbers they keep."""

import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.models.delta.delta import Delta, apply
from edgekws.models.delta.merge import merge
from edgekws.models.recurrent_lif import adapt

BASE = {"w": torch.arange(1200.0).view(30, 40) / 1000, "v": torch.ones(5)}


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def user(seed):
    return Delta(replaced={"v": random(5, seed=seed)},
                 low_rank={"w": (random(30, 2, seed=seed + 1), random(2, 40, seed=seed + 2))},
                 added={"hidden.0.threshold": random(7, seed=seed + 3), "adapter.down": random(3, 7, seed=seed + 4),
                        "adapter.up": random(7, 3, seed=seed + 5)})


def test_means_by_hand():
    one, two = (Delta(replaced={"v": torch.tensor([value, 0.0])}, difference={"w": torch.tensor([[2 * value]])},
                      added={"theta": torch.tensor([value])}) for value in (1.0, 4.0))
    merged = merge([one, two], [3, 1])
    assert merged.replaced["v"].tolist() == [1.75, 0] and merged.difference["w"].tolist() == [[3.5]]
    assert merged.added["theta"].tolist() == [1.75]


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_products_are_averaged_as_products(weights):
    users = [user(seed) for seed in (0, 10, 20)]
    merged = merge(users, weights)
    shares = torch.tensor(weights or [1.0] * 3, dtype=torch.float64)
    changes = [apply(BASE, some)["w"].double() - BASE["w"] for some in users]
    wanted = sum(share * change for share, change in zip(shares / shares.sum(), changes, strict=True))
    torch.testing.assert_close(apply(BASE, merged)["w"] - BASE["w"], wanted.float(), rtol=0, atol=1e-5)
    factors = sum(up for up, _ in (some.low_rank["w"] for some in users)) / 3 @ sum(
        down for _, down in (some.low_rank["w"] for some in users)) / 3
    assert (factors - wanted).abs().max() > 0.1, "the mean of the factors is another matrix"
    assert merged.low_rank["w"][0].shape == (30, 6)


def test_products_become_a_matrix_where_that_is_smaller():
    """Twenty users' ranks of 2 take 40 (30 + 40) numbers; the matrix takes 1200."""
    merged = merge([user(seed) for seed in range(0, 200, 10)])
    assert not merged.low_rank and merged.difference["w"].shape == (30, 40)
    wanted = sum(up @ down for up, down in (user(seed).low_rank["w"] for seed in range(0, 200, 10))) / 20
    torch.testing.assert_close(merged.difference["w"], wanted, rtol=0, atol=1e-5)


def test_adapters_are_averaged_by_what_they_add():
    users, spikes = [user(0), user(10)], (random(6, 7, seed=5) > 0).float()
    merged = merge(users, [1, 3])
    wanted = 0.25 * adapt(spikes, users[0].added) + 0.75 * adapt(spikes, users[1].added)
    torch.testing.assert_close(adapt(spikes, merged.added), wanted)
    torch.testing.assert_close(merged.added["hidden.0.threshold"],
                               0.25 * users[0].added["hidden.0.threshold"] + 0.75 * users[1].added["hidden.0.threshold"])


def test_a_delta_merged_with_itself_is_itself():
    merged = merge([user(0)] * 3)
    assert merged.tensors().keys() == user(0).tensors().keys()
    assert all(torch.equal(tensor, merged.tensors()[name]) for name, tensor in user(0).tensors().items())


@pytest.mark.parametrize("deltas, weights, message", [
    ([], None, "0 deltas"), ([user(0)] * 2, [1.0], "2 deltas"), ([user(0)] * 2, [1.0, -1.0], "-1"),
    ([user(0), Delta(replaced={"v": torch.ones(5)})], None, "not all change adapter.down, .* w,"),
    ([Delta(replaced={"v": torch.ones(5)}), Delta(low_rank={"v": (torch.ones(5, 1), torch.ones(1, 5))})], None, "change v, or"),
    ([Delta(replaced={"v": torch.ones(5)}), Delta(difference={"v": torch.ones(5)})], None, "same form"),
    ([Delta(replaced={"v": torch.ones(5)}), Delta(replaced={"v": torch.ones(4)})], None, "several shapes"),
    ([Delta(replaced={"v": torch.tensor([1])}), Delta(replaced={"v": torch.tensor([2])})], None, "integers"),
    ([Delta(added={"m": torch.ones(2, 2)}), Delta(added={"m": torch.zeros(2, 2)})], None, "'m'")])
def test_what_cannot_be_merged_is_refused(deltas, weights, message):
    with pytest.raises(UserError, match=message):
        merge(deltas, weights)
