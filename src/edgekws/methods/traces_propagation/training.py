"""Training with Traces Propagation: an Adam update at each time step (traces_propagation.md, sections 3, 4 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.optimiser import Adam, LayerRates, Optimiser
from edgekws.methods.traces_propagation.choices import Contrast
from edgekws.methods.traces_propagation.rule import Form, make_rule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.settings import Training
from edgekws.protocol.training import Features, Labels, batches

Parts: TypeAlias = tuple[Literal["hidden", "readout"], ...]


def epochs(net: RecurrentLIF, features: Features, labels: Labels, budget: Training, optimiser: Optimiser, *, seed: int,
           progress: str | None = None, on_epoch: Callable[[int], None] | None = None,
           checkpoint: Checkpoint = NOWHERE, prepare: Callable[[Any], Tensor] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """:func:`batches` for a network of this paper."""
    return batches(features, labels, budget, optimiser, net.trained, outputs=net.outputs, check=net.check, seed=seed,
                   progress=progress, on_epoch=on_epoch, checkpoint=checkpoint, prepare=prepare)


@torch.no_grad()
def train(net: RecurrentLIF, features: Features, labels: Labels, budget: Training, *, seed: int,
          rule: Form = "prototype", contrast: Contrast = "batch", parts: Parts = ("hidden", "readout"),
          prepare: Callable[[Any], Tensor] | None = None, hidden_rate: float = 1.0, progress: str | None = None,
          on_epoch: Callable[[int], None] | None = None, checkpoint: Checkpoint = NOWHERE) -> None:
    """Train ``net`` in place by Traces Propagation, with fresh optimiser state and an update at each time step.

    A batch of one clip, or of one class, changes hidden weights only by Adam's momentum: its own hidden gradient is
    zero by construction.

    Args:
        features: N clips.
        labels: [N], integers.
        budget: Learning rate, epochs, batch size.
        seed: Of the order of the clips.
        rule: The form of the rule; see :func:`edgekws.methods.traces_propagation.rule.best_rule`.
        contrast: What clips are told apart from; see :class:`edgekws.methods.traces_propagation.rule.PrototypeRule`.
        parts: What is trained: all, or ``("readout",)`` alone.
        prepare: Augments a batch as it was read.
        hidden_rate: Learning rate of the hidden layers, in multiples of the budget's.
        progress: Label of a progress bar, if one is wanted.
        on_epoch: Called after each epoch with its number (from 0).
        checkpoint: Where an earlier start may have left off, and where this one's state goes after each epoch.

    Raises:
        UserError: The clips do not fit the network (see :func:`epochs`), or the rule does not.
    """
    local = make_rule(net, rule, hidden="hidden" in parts, contrast=contrast)
    optimiser = Adam(local.parameters, budget.learning_rate) if hidden_rate == 1 else LayerRates(
        local.parameters, budget.learning_rate, {name: hidden_rate for name in local.parameters if name != "readout"})
    for batch, wanted in epochs(net, features, labels, budget, optimiser, seed=seed, progress=progress,
                                on_epoch=on_epoch, checkpoint=checkpoint, prepare=prepare):
        local.learn(batch, wanted, optimiser)
        del batch
