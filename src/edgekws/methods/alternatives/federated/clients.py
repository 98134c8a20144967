"""What a client does in a round: train a change of the readout on its own clips.

Flower's clients run this module too, in an environment of their own: it needs torch alone, and Opacus where noise is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.federated import privacy
from edgekws.methods.alternatives.federated.shards import Shard


@dataclass(frozen=True)
class Local:
    """What a client does in a round: plain or private gradient descent (Abadi et al. 2016, algorithm 1).

    A step takes each clip with probability ``sampling``, and divides the sum of gradients by the number of clips that
    makes on average; so private and other training differ in clipping and noise, and in nothing else.

    Attributes:
        learning_rate: Step size on the mean gradient.
        sampling: Probability of a clip to be in a step.
        steps: Number of steps.
        noise: Standard deviation of the noise on the sum of gradients, in units of ``clipping``; None: the gradients
            are used as they are.
        clipping: Largest norm of a clip's gradient; larger ones are scaled to it.
    """

    learning_rate: float
    sampling: float
    steps: int
    noise: float | None = None
    clipping: float = 1.0


def batches(clips: int, local: Local, *, seed: int) -> Iterator[Tensor]:
    """The clips of each step, as places in ascending order; there may be none."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(local.steps):
        yield (torch.rand(clips, generator=generator) < local.sampling).nonzero().squeeze(1)


@torch.no_grad()
def train(shard: Shard, start: Tensor, local: Local, *, seed: int) -> Tensor:
    """The change after training on one user's clips, starting from the change ``start``, which is left as it is."""
    chosen = batches(len(shard), local, seed=derive_seed(seed, "clips"))
    rate = local.learning_rate / (local.sampling * len(shard))
    if local.noise is not None:
        return privacy.descend(shard, start, chosen, rate, noise=local.noise, clipping=local.clipping,
                               seed=derive_seed(seed, "noise"))
    change = start.clone()
    for places in chosen:
        change.sub_(shard[places].gradient(change), alpha=rate)
    return change
