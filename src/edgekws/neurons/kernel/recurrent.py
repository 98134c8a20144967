"""Recurrent LIF layers by events: Python's side of ``recurrent.c``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgekws.neurons.kernel import library
from edgekws.neurons.kernel.memory import at, padded
from edgekws.neurons.kernel.threads import shares
from edgekws.neurons.lif import Reset

_NEVER = 1e30  # threshold of a neuron that is only there to fill a block
_SIZES = ("clips", "steps", "neurons", "padded", "inputs", "words_in", "words_out", "soft", "strict")
_POINTERS = ("current", "bits_in", "features", "weights", "onto", "back", "theta", "bits_out", "spikes", "pooled", "pool")


def _structure(real: Any) -> type[ctypes.Structure]:
    """``struct recurrent`` of the C source."""
    class Structure(ctypes.Structure):
        _fields_ = [*((name, ctypes.c_int64) for name in _SIZES), *((name, ctypes.c_void_p) for name in _POINTERS),
                    ("leak", real), ("slope", real), ("keep", ctypes.c_int64), ("spike_gradient", ctypes.c_void_p),
                    ("pooled_gradient", ctypes.c_void_p)]

    return Structure


_STRUCTURES = {torch.float32: _structure(ctypes.c_float), torch.float64: _structure(ctypes.c_double)}


@dataclass(frozen=True)
class Constants:
    """Of every neuron.

    Attributes:
        strict: Fire above the threshold, and not at it.
        slope: Of the surrogate derivative, SuperSpike's.
    """

    leak: float
    reset: Reset
    strict: bool
    slope: float = 1.0


@dataclass(frozen=True)
class Weights:
    """Of one layer: from below [neurons, inputs], recurrent [neurons, neurons] or None, thresholds of the neurons [neurons]."""

    below: Tensor
    recurrent: Tensor | None
    threshold: Tensor


def pooled(features: Tensor, layers: Sequence[Weights], constants: Constants, pool: Tensor) -> Tensor:
    """Spikes of the last layer, weighted by step and summed, [clips, neurons]; without a gradient.

    Args:
        features: [clips, steps, inputs].
        pool: [steps].
    """
    bits: Tensor | None = None
    for index, weights in enumerate(layers):
        layer = _Layer(features, weights, constants, None)
        layer.set(features=features.contiguous() if bits is None else None, bits_in=bits, weights=_turned(weights.below))
        if index + 1 == len(layers):
            layer.set(pooled=features.new_zeros(len(features), layer.size), pool=pool)
        layer.forward()
        bits = layer.kept["bits_out"]
    return layer.kept["pooled"][:, :layer.neurons]


def spikes(current: Tensor, recurrent: Tensor | None, threshold: Tensor, constants: Constants,
           pool: Tensor | None) -> Tensor:
    """Of one layer: [clips, steps, neurons], or with ``pool`` [steps] their weighted sum [clips, neurons]; differentiable once.

    Args:
        current: [clips, steps, neurons], from below.
        recurrent: [neurons, neurons].
        threshold: [neurons].
    """
    fired: Tensor = _Events.apply(current, recurrent, threshold, constants, pool)  # type: ignore[no-untyped-call]
    return fired


class _Events(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, recurrent: Tensor | None, threshold: Tensor, constants: Constants,
                pool: Tensor | None) -> Tensor:
        wide = _wide(current, copy=True)
        layer = _Layer(current, Weights(current, recurrent, threshold), constants, wide)
        layer.structure.keep = any(ctx.needs_input_grad)
        if pool is None:
            layer.set(spikes=torch.empty_like(wide))
        else:
            layer.set(pooled=wide.new_zeros(len(wide), layer.size), pool=pool)
        layer.forward()
        ctx.save_for_backward(recurrent, threshold)
        ctx.layer, ctx.pools = layer, pool is not None
        found = layer.kept.pop("spikes" if pool is None else "pooled")
        return found[..., :layer.neurons]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layer: _Layer = ctx.layer
        recurrent, _ = ctx.saved_tensors
        of_current, of_recurrent, of_threshold = layer.backward(_wide(gradient, copy=True), ctx.pools, recurrent,
                                                                thresholds=ctx.needs_input_grad[2])
        return of_current, of_recurrent, of_threshold, None, None


class _Layer:
    """One layer on one batch."""

    def __init__(self, like: Tensor, weights: Weights, constants: Constants, current: Tensor | None) -> None:
        self.clips, self.steps, inputs = like.shape
        self.neurons, self.like = len(weights.threshold), like
        self.size, self.kept = padded(self.neurons), dict[str, Tensor]()
        self.code = library.load("recurrent", like.dtype)
        self.spent = False
        if current is None:
            inputs = weights.below.shape[1]
        self.structure = _STRUCTURES[like.dtype](
            clips=self.clips, steps=self.steps, neurons=self.neurons, padded=self.size, inputs=inputs, words_in=-(-inputs // 64),
            words_out=-(-self.neurons // 64), soft=constants.reset == "soft", strict=constants.strict, leak=constants.leak,
            slope=constants.slope)
        theta = like.new_full((self.size,), _NEVER)
        theta[:self.neurons] = weights.threshold.detach()
        self.set(theta=theta, current=current, bits_out=torch.zeros(self.clips, self.steps, -(-self.neurons // 64),
                                                                    dtype=torch.int64))
        if weights.recurrent is not None:
            self.set(onto=_turned(weights.recurrent))

    def set(self, **tensors: Tensor | None) -> None:
        """Point to tensors, each contiguous, or to nothing."""
        for name, tensor in tensors.items():
            setattr(self.structure, name, None if tensor is None else tensor.data_ptr())
            if tensor is not None:
                assert tensor.is_contiguous()
                self.kept[name] = tensor

    def forward(self) -> None:
        parts = shares(self.clips)
        events = torch.empty(len(parts), self.neurons + self.structure.inputs, dtype=torch.int32)
        state = self.like.new_empty(len(parts), self.size)
        room = self.like.new_empty(len(parts), self.steps * self.size) if "features" in self.kept else None
        parts.run(lambda part, first, last: self.code.forward(
            ctypes.byref(self.structure), ctypes.c_int64(first), ctypes.c_int64(last), at(events, part), at(state, part),
            at(room, part)))

    def backward(self, gradient: Tensor, pools: bool, recurrent: Tensor | None, *,
                 thresholds: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Gradients of the current, of the recurrent weights and of the thresholds."""
        if self.spent:
            raise RuntimeError("the gradients of this layer have been computed, and what they need is gone: run it again")
        self.spent = True
        self.set(**{"pooled_gradient" if pools else "spike_gradient": gradient})
        parts = shares(self.clips)
        most = max(last - first for first, last in parts.bounds)
        after, next_ = (self.like.new_zeros(len(parts), most, self.size) for _ in range(2))
        events = torch.empty(len(parts), self.neurons, dtype=torch.int32)
        sums = None if recurrent is None else self.like.new_zeros(len(parts), self.neurons, self.size)
        theta_sums = self.like.new_zeros(len(parts), self.size) if thresholds else None
        if recurrent is not None:
            self.set(back=_wide(recurrent.detach(), copy=True))
        parts.run(lambda part, first, last: self.code.backward(
            ctypes.byref(self.structure), ctypes.c_int64(first), ctypes.c_int64(last), at(events, part), at(next_, part),
            at(after, part), at(sums, part), at(theta_sums, part)))
        of_current = self.kept["current"][..., :self.neurons]
        self.kept.clear()
        return (of_current, None if sums is None else sums.sum(0)[:, :self.neurons].T,
                None if theta_sums is None else theta_sums.sum(0)[:self.neurons])


def _wide(tensor: Tensor, *, copy: bool = False) -> Tensor:
    """With the last axis padded by 0 to whole blocks, contiguous."""
    width = padded(tensor.shape[-1])
    if width == tensor.shape[-1] and not copy:
        return tensor.detach().contiguous()
    wide = tensor.new_zeros(*tensor.shape[:-1], width)
    wide[..., :tensor.shape[-1]] = tensor.detach()
    return wide


def _turned(matrix: Tensor) -> Tensor:
    """[to, from] as [from, padded to]."""
    return _wide(matrix.detach().T)
