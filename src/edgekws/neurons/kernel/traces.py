"""Training by Traces Propagation, compiled: Python's side of ``traces.c``, one thread."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgekws.core.optimiser import Adam
from edgekws.neurons.kernel import library
from edgekws.neurons.kernel.memory import LANES, at, padded
from edgekws.neurons.lif import Reset

_SIZES = ("clips", "steps", "inputs", "neurons", "padded", "outputs", "padded_outputs", "recurrent", "soft", "hidden")
_NUMBERS = ("leak", "trace_leak", "output_leak", "threshold", "scale")
_POINTERS = ("features", "labels", "counts", "weights", "weights_mean", "weights_square", "readout", "readout_mean",
             "readout_square", "prototypes", "across", "other", "step", "root", "potential", "trace", "current", "derivative",
             "readout_potential", "error", "factor", "events", "fired", "lists", "lengths")


def _structure(real: Any) -> type[ctypes.Structure]:
    """``struct traces`` of the C source."""
    class Structure(ctypes.Structure):
        _fields_ = [*((name, ctypes.c_int64) for name in _SIZES), *((name, real) for name in _NUMBERS),
                    *((name, ctypes.c_void_p) for name in _POINTERS)]

    return Structure


_STRUCTURES = {torch.float32: _structure(ctypes.c_float), torch.float64: _structure(ctypes.c_double)}


@dataclass(frozen=True)
class Constants:
    """Of the rule and its neurons, by the names of :class:`edgekws.models.settings.Network`."""

    leak: float
    trace_leak: float
    output_leak: float
    threshold: float
    scale: float
    reset: Reset


def laid_out(prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """Traces of the target path [steps, outputs, neurons] as [steps, outputs, padded] and [steps, neurons, padded outputs]."""
    steps, outputs, neurons = prototypes.shape
    along = prototypes.new_zeros(steps, outputs, padded(neurons))
    along[:, :, :neurons] = prototypes
    across = prototypes.new_zeros(steps, neurons, padded(outputs))
    across[:, :, :outputs] = prototypes.transpose(1, 2)
    return along, across


def learn(features: Tensor, labels: Tensor, weights: Mapping[str, Tensor], inputs: int, updates: Adam, constants: Constants,
          prototypes: tuple[Tensor, Tensor, list[float]] | None, trained: list[str]) -> None:
    """An Adam update at each time step of one batch, in place.

    Args:
        features: [clips, steps, inputs].
        labels: [clips].
        weights: ``hidden`` [neurons, inputs (+ neurons)] and ``readout`` [outputs, neurons].
        inputs: Columns of ``hidden`` that are not recurrent.
        updates: Adam of those of ``weights`` that are trained.
        prototypes: Laid out, and ``other``; None trains the readout alone.
        trained: Their names in ``weights``, in Adam's order.
    """
    code, like = library.load("traces", features.dtype), features
    (clips, steps, _), (outputs, neurons) = features.shape, weights["readout"].shape
    size, size_out, hidden = padded(neurons), padded(outputs), prototypes is not None
    state = updates.state()
    moments = {name: (state["mean"][place], state["square"][place]) for place, name in enumerate(trained)}
    begun = updates.steps
    rates = [updates.rate / (1 - 0.9 ** n) for n in range(begun + 1, begun + steps + 1)]
    roots = [1 / math.sqrt(1 - 0.999 ** n) for n in range(begun + 1, begun + steps + 1)]
    counts = like.new_zeros(size_out)
    counts[:outputs] = torch.bincount(labels, minlength=outputs)
    ones = like.new_zeros(size_out)
    ones[:outputs] = 1
    kept: dict[str, Tensor] = {"features": features.contiguous(), "labels": labels.to(torch.int64).contiguous(), "counts": counts,
                               "step": like.new_tensor(rates), "root": like.new_tensor(roots)}
    for name, (name_in_c, width) in {"hidden": ("weights", size), "readout": ("readout", size_out)}.items():
        matrices = [weights[name], *moments.get(name, ())]
        for part, matrix in zip(("", "_mean", "_square"), matrices, strict=False):
            turned = like.new_zeros(matrix.shape[1], width)
            turned[:, :len(matrix)] = matrix.detach().T
            kept[name_in_c + part] = turned
    if prototypes is not None:
        kept |= {"prototypes": prototypes[0], "across": prototypes[1], "other": like.new_tensor(prototypes[2])}
        kept |= {"derivative": like.new_zeros(clips, size), "factor": like.new_zeros(clips, size_out),
                 "lists": torch.empty(neurons, clips, dtype=torch.int32), "lengths": torch.zeros(neurons, dtype=torch.int32)}
    kept |= {name: like.new_zeros(clips, size) for name in ("potential", "trace", "current")}
    kept |= {name: like.new_zeros(clips, size_out) for name in ("readout_potential", "error")}
    kept |= {"events": torch.zeros(clips, neurons, dtype=torch.int32), "fired": torch.zeros(clips, dtype=torch.int32)}
    structure = _STRUCTURES[features.dtype](
        clips=clips, steps=steps, inputs=inputs, neurons=neurons, padded=size, outputs=outputs, padded_outputs=size_out,
        recurrent=weights["hidden"].shape[1] > inputs, soft=constants.reset == "soft", hidden=hidden, leak=constants.leak,
        trace_leak=constants.trace_leak, output_leak=constants.output_leak, threshold=constants.threshold, scale=constants.scale,
        **{name: tensor.data_ptr() for name, tensor in kept.items()})
    bits = torch.zeros(clips, size // LANES, dtype=torch.int16)
    code.learn(ctypes.byref(structure), at(bits), at(ones))
    for name, name_in_c in (("hidden", "weights"), ("readout", "readout")):
        if name in moments:
            for part, matrix in zip(("", "_mean", "_square"), (weights[name], *moments[name]), strict=True):
                matrix.detach().copy_(kept[name_in_c + part][:, :len(matrix)].T)
    for count in state["steps"]:
        count.add_(steps)
