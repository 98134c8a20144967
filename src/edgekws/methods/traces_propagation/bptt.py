"""The baseline: back-propagation through time of the same network, in Norse's neurons.

As in the authors' baseline there is one Adam update per sequence, from the cross-entropy of the readout's potential
after the last frame. Neurons and surrogate derivative are Norse's (:mod:`edgekws.neurons.norse_twin`); the target
path has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from edgekws.core.optimiser import Adam
from edgekws.methods.traces_propagation.training import epochs
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.settings import Training
from edgekws.protocol.training import Features, Labels


def train_bptt(net: RecurrentLIF, features: Features, labels: Labels, budget: Training, *, seed: int,
               progress: str | None = None, on_epoch: Callable[[int], None] | None = None) -> None:
    """Train all weights of ``net`` in place by back-propagation through time, with fresh optimiser state.

    Arguments, order of the clips, learning rates and errors are those of
    :func:`edgekws.methods.traces_propagation.training.train`.
    """
    weights = net.trained
    optimiser = Adam(weights, budget.learning_rate)
    for batch, wanted in epochs(net, features, labels, budget, optimiser, seed=seed, progress=progress,
                                on_epoch=on_epoch):
        loss = cross_entropy(net(batch), wanted)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        optimiser.step(dict(zip(weights, gradients, strict=True)))
        del batch, loss, gradients
