"""Adapting the strong spiking base to a user: Traces Propagation, back-propagation through time, or its readout."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from edgekws.core import optimiser
from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.learning import MakeOptimiser
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining
from edgekws.methods.traces_propagation.public import TracesPropagation
from edgekws.models.adaptive_lif import AdaptiveLIF
from edgekws.models.delta.delta import Delta, apply
from edgekws.protocol.training import Features, Labels, batches

_CONSTANTS = ("alpha", "beta", "a", "b")


def learn(net: AdaptiveLIF, features: Features, labels: Labels, method: AlternativeMethod, budget: AlternativeTraining, *,
          seed: int, make: MakeOptimiser = optimiser.make) -> Delta:
    """Adapt a folded net to some clips; see :class:`edgekws.methods.alternatives.learning.Learn`.

    Neurons keep their constants. Traces Propagation updates at each time step, through the net's linear maps and cells as
    any user's net (``edgekws.TracesPropagation``); the others once for each batch.

    Raises:
        UserError: The clips do not fit the net, or there is no such method for it.
    """
    if method.kind not in ("traces_propagation", "full", "readout"):
        raise UserError(f"there is no '{method.kind}' for the strong spiking base", where="alternatives.strong.methods",
                        remedy="choose traces_propagation, full or readout")
    twin = copy.deepcopy(net)
    weights = {name: tensor for name, tensor in twin.named_parameters()
               if name.startswith("readout.") or (method.kind != "readout" and name.rpartition(".")[2] not in _CONSTANTS)}
    for name, tensor in twin.named_parameters():
        tensor.requires_grad_(name in weights)
    local = (TracesPropagation(twin.body(), outputs=net.outputs, seed=derive_seed(seed, "target path"))
             if method.kind == "traces_propagation" else None)
    trainer = make(method.optimiser, weights, budget.learning_rate)
    for batch, wanted in batches(features, labels, budget, trainer, weights, outputs=net.outputs, check=net.check, seed=seed):
        if local is None:
            gradients = torch.autograd.grad(cross_entropy(twin(batch), wanted), list(weights.values()))
            trainer.step(dict(zip(weights, gradients, strict=True)))
            continue
        local.begin(wanted)
        for frame in net.frames(batch).unbind(1):
            local.step(frame)
            trainer.step({name: gradient for name, tensor in weights.items() if (gradient := tensor.grad) is not None})
    return Delta(replaced={name: tensor.detach().clone() for name, tensor in weights.items()})


def adapted(net: AdaptiveLIF, delta: Delta) -> AdaptiveLIF:
    """The net with ``delta`` laid over it; shares no memory with either."""
    return AdaptiveLIF.of(net.settings, apply(net.state_dict(), delta))


@torch.no_grad()
def predict(net: AdaptiveLIF, clips: Features) -> np.ndarray:
    """Class of each clip (N,): the largest potential after the last step."""
    found = [torch.zeros(0, dtype=torch.int64)]
    for start in range(0, len(clips), 256):
        levels: Tensor = torch.as_tensor(clips[np.arange(start, min(start + 256, len(clips)))])
        net.check(levels)
        found.append(net(levels).argmax(1))
    return torch.cat(found).numpy()
