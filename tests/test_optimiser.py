"""Our Adam is torch's."""

import pytest
import torch

from edgekws.optimiser import Adam


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
