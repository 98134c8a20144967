"""Rehearsal sets, Fisher information in closed form, and an anchored optimiser between its two ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekws.core import optimiser
from edgekws.core.errors import UserError
from edgekws.methods.alternatives import forgetting
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.protocol.clips import Clips
from edgekws.protocol.rehearsal import rehearse

FEATURES = np.arange(40 * 3 * 2, dtype=np.float32).reshape(40, 3, 2)


def clips(rows, scale=2.0):
    rows = np.asarray(rows)
    return Clips(FEATURES, rows, rows % 4, torch.full((1, 2), scale), np.zeros(len(rows), np.int64))


# ------------------------------------------------------------------------------------------------ rehearsal
def test_rehearsal_is_balanced_disjoint_and_keeps_each_clips_scale():
    support, known = clips([0, 1, 5], scale=4.0), clips([*range(30), *range(10)])
    mixed = rehearse(support, known, 10, seed=3)
    assert list(mixed.rows[:3]) == [0, 1, 5]
    drawn = mixed.rows[3:]
    assert len(set(drawn)) == 10 and not set(drawn) & {0, 1, 5} and set(drawn) <= set(range(30))
    assert sorted(np.bincount(mixed.labels[3:], minlength=4)) == [2, 2, 3, 3]
    assert np.array_equal(mixed.labels, mixed.rows % 4)
    expected = torch.from_numpy(FEATURES[mixed.rows]) / torch.tensor([4.0] * 3 + [2.0] * 10)[:, None, None]
    assert torch.equal(mixed[np.arange(13)], expected)


def test_rehearsal_follows_its_seed():
    support, known = clips([39]), clips(range(32))
    first, again, other = (rehearse(support, known, 8, seed=seed).rows.tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert rehearse(support, known, 0, seed=0).rows.tolist() == [39]


def test_rehearsal_refuses_too_few_clips_and_other_features():
    with pytest.raises(UserError, match="wants 9 clips of class"):
        rehearse(clips([39]), clips(range(32)), 36, seed=0)
    elsewhere = Clips(FEATURES.copy(), np.arange(3), np.arange(3), torch.ones(1, 2), np.zeros(3, np.int64))
    with pytest.raises(UserError, match="two sets"):
        rehearse(clips([39]), elsewhere, 2, seed=0)


# ------------------------------------------------------------------------------------------------ elastic weights
def net_and_clips():
    net = RecurrentLIF(Network(hidden=[20], threshold=0.3), inputs=6, outputs=4,
                       generator=torch.Generator().manual_seed(0)).to(torch.float64)
    features = 2 * torch.rand(5, 9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return net, features, torch.tensor([0, 1, 2, 3, 1])


def test_fisher_information_of_the_readout_in_closed_form():
    net, features, labels = net_and_clips()
    layer, summed = net.layer(0, 5), torch.zeros(5, 20, dtype=torch.float64)
    for frame in features.unbind(1):
        layer.integrate(frame)
        layer.fire()
        summed = net.settings.output_leak * summed + layer.spikes
    # The readout is a logistic regression on the summed spikes a: d log p / dW = (c - p) a^T.
    error = torch.nn.functional.one_hot(labels, 4) - torch.softmax(summed @ net.readout.detach().T, 1)
    expected = torch.einsum("no,nh->oh", error ** 2, summed ** 2) / 5
    found = forgetting.fisher_information(net, features, labels.numpy())
    assert expected.any()
    torch.testing.assert_close(found["readout"], expected)
    again = forgetting.fisher_information(net, features, labels)
    assert all(torch.equal(found[name], again[name]) and found[name].shape == weights.shape
               for name, weights in net.trained.items())


def test_fisher_information_is_the_mean_over_clips_of_each_ones_own():
    net, features, labels = net_and_clips()
    whole = forgetting.fisher_information(net, features, labels)
    single = [forgetting.fisher_information(net, features[[place]], labels[[place]]) for place in range(5)]
    assert whole["hidden.0.weight"].any()
    for name, fisher in whole.items():
        torch.testing.assert_close(fisher, torch.stack([each[name] for each in single]).mean(0))
    with pytest.raises(UserError, match="no clips"):
        forgetting.fisher_information(net, features[:0], labels[:0])


def train(make, name, steps=200):
    """Weights that are drawn to (3, -2, 0) from (1, 1, 1), and where they were farthest from there."""
    weights = {"a": torch.ones(3)}
    updates, farthest = make(name, weights, 0.1), torch.zeros(3)
    for _ in range(steps):
        updates.step({"a": weights["a"] - torch.tensor([3.0, -2.0, 0.0])})
        farthest = torch.maximum(farthest, (weights["a"] - 1).abs())
    return weights["a"], farthest


FISHER = {"a": torch.tensor([1.0, 0.5, 0.0]), "b": torch.ones(2)}


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_weight_nought_is_the_plain_optimiser_bit_for_bit(name):
    assert torch.equal(train(forgetting.anchoring(FISHER, 0.0), name)[0], train(optimiser.make, name)[0])


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_weight_between_ends_where_both_pulls_agree(name):
    # The minimum of (theta - wanted)^2 / 2 + lambda F (theta - 1)^2 / 2, with lambda 2
    pull = 2.0 * FISHER["a"]
    expected = (torch.tensor([3.0, -2.0, 0.0]) + pull) / (1 + pull)
    torch.testing.assert_close(train(forgetting.anchoring(FISHER, 2.0), name, 2000)[0], expected, atol=2e-3, rtol=0)


def test_a_very_large_weight_stays_within_a_step_of_the_base_where_the_base_depends_on_it():
    moved, farthest = train(forgetting.anchoring(FISHER, 1e30), "sgd")
    step = 0.1 * torch.tensor([2.0, 3.0])  # of plain gradient descent from the base
    assert (farthest[:2] <= 1.1 * step).all()
    assert moved[2] == pytest.approx(0.0, abs=1e-6)  # no information: free


def test_an_anchored_optimiser_goes_on_from_its_state_and_sets_the_inner_rate():
    weights = {"a": torch.ones(3)}
    first = forgetting.Anchored(optimiser.Adam(weights, 0.1), weights, FISHER, 2.0)
    first.rate = 0.2
    first.step({"a": torch.tensor([1.0, -1.0, 0.5])})
    other = {"a": weights["a"].clone()}  # its anchor would be here
    second = forgetting.Anchored(optimiser.Adam(other, 0.1), other, FISHER, 2.0)
    second.restore(first.state())
    second.rate = first.rate
    for each in (first, second):
        each.step({"a": torch.tensor([0.5, 0.5, 0.5])})
    assert first.rate == 0.2 and torch.equal(weights["a"], other["a"])


def test_tensors_that_the_base_does_not_have_cannot_be_anchored():
    with pytest.raises(UserError, match=r"no Fisher information of adapter\.up"):
        forgetting.anchoring(FISHER, 1.0)("adam", {"adapter.up": torch.ones(2)}, 0.1)
