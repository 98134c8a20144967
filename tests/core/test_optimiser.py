"""Our optimisers are torch's."""

import pytest
import torch

from edgekws.core.optimiser import Adam, Sgd, make


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_torchs(decay):
    generator = torch.Generator().manual_seed(0)
    ours = {"a": torch.randn(5, 3, generator=generator), "b": torch.randn(4, generator=generator)}
    theirs = {name: tensor.clone().requires_grad_() for name, tensor in ours.items()}
    mine, reference = Adam(ours, 1e-2, decay=decay), torch.optim.Adam(theirs.values(), lr=1e-2, weight_decay=decay)
    for _ in range(20):
        gradients = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in ours.items()}
        for name, tensor in theirs.items():
            tensor.grad = gradients[name].clone()
        mine.step(gradients)
        reference.step()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor.detach())


def test_sgd_is_torchs_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    ours = {"a": torch.randn(5, 3, generator=generator), "b": torch.randn(4, generator=generator)}
    theirs = {name: tensor.clone().requires_grad_() for name, tensor in ours.items()}
    mine, reference = Sgd(ours, 1e-2), torch.optim.SGD(theirs.values(), lr=1e-2)
    for step in range(20):
        if step == 10:  # the rate may be set anew
            mine.rate = reference.param_groups[0]["lr"] = 3e-3
        gradients = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in ours.items()}
        for name, tensor in theirs.items():
            tensor.grad = gradients[name].clone()
        mine.step(gradients)
        reference.step()
    assert all(torch.equal(ours[name], tensor.detach()) for name, tensor in theirs.items())


def test_make_gives_each_by_its_name_and_either_goes_on_from_its_state():
    start = {"a": torch.tensor([1.0, -2.0])}
    for name, kind in (("adam", Adam), ("sgd", Sgd)):
        one, other = ({"a": start["a"].clone()} for _ in range(2))
        first, second = make(name, one, 0.1), make(name, other, 0.1)
        assert isinstance(first, kind) and first.rate == 0.1
        first.step({"a": torch.tensor([1.0, 0.5])})
        other["a"].copy_(one["a"])
        second.restore(first.state())
        for optimiser in (first, second):
            optimiser.step({"a": torch.tensor([-0.2, 3.0])})
        assert torch.equal(one["a"], other["a"])
