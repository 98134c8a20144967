"""Differentially private gradient descent with Opacus, and what it guarantees.

The guarantee is for one clip of one user (example-level), against everybody who sees what the user's device sends, the
server included: each client clips and adds noise on its own. It says nothing of a user's clips as a whole, nor of the
choice of a learning rate, which is made on other people's clips. The number of a client's clips is taken as known: it
scales the steps and the mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from edgekws.methods.alternatives.federated.shards import Shard


def descend(shard: Shard, start: Tensor, batches: Iterable[Tensor], rate: float, *, noise: float, clipping: float,
            seed: int) -> Tensor:
    """Gradient descent on clipped and noisy sums of gradients, by Opacus' ``DPOptimizer``.

    Args:
        batches: The clips of each step; also a step without any gets its noise.
        rate: Step size on the sum.
        noise: Standard deviation in units of ``clipping``.
        seed: Of the noise. It makes a result that can be repeated; a device would take a source that nobody can guess.
    """
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    layer = torch.nn.Linear(start.shape[1], start.shape[0], bias=False, device="meta")
    layer.weight = torch.nn.Parameter(start.clone())
    module = GradSampleModule(layer, loss_reduction="sum")
    optimiser = DPOptimizer(torch.optim.SGD(layer.parameters(), lr=rate), noise_multiplier=noise, max_grad_norm=clipping,
                            expected_batch_size=None, loss_reduction="sum",
                            generator=torch.Generator().manual_seed(seed))
    with torch.enable_grad(), warnings.catch_warnings():
        # The inputs need no gradient, which torch thinks worth a word to whoever hooks a layer.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        for places in batches:
            part = shard[places]
            optimiser.zero_grad()
            cross_entropy(part.potential + module(part.inputs), part.labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return layer.weight.detach()


def epsilon(noise: float, *, sampling: float, steps: int, delta: float) -> float | None:
    """Epsilon of ``steps`` noisy steps at a given delta, by Opacus' accountant of Rényi differential privacy.

    Args:
        noise: As in :func:`descend`.
        sampling: Probability of a clip to be in a step.

    Returns:
        None without noise: then there is no guarantee.
    """
    if noise == 0:
        return None
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise, sampling, steps)]
    with warnings.catch_warnings():
        # At the end of its range of orders the bound holds all the same, and may be loose.
        warnings.filterwarnings("ignore", message="Optimal order is the")
        return float(accountant.get_epsilon(delta))
