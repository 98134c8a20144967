"""Feed-forward LIF layers by events: Python's side of ``feedforward.c``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from edgekws.neurons.adaptive import Follower
from edgekws.neurons.kernel import library
from edgekws.neurons.kernel.memory import LANES, at, integers, padded
from edgekws.neurons.kernel.threads import shares
from edgekws.neurons.layers import Asked, BatchNormalise, Fired

_WIDEST = 8 * LANES  # a tile
_NEVER = -1e30  # a current at which a neuron that is only there to fill a block does not fire


def _structure(real: Any) -> type[ctypes.Structure]:
    """``struct layer`` of the C source."""
    class Structure(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_int64) for name in ("clips", "steps", "neurons", "padded", "inputs", "words_in", "words_out",
                                                  "soft", "adaptive")),
            *((name, ctypes.c_void_p) for name in ("bits_in", "factor_in", "weights", "current", "scale", "shift", "bits_out",
                                                   "theta")),
            ("theta_stride", ctypes.c_int64),
            *((name, ctypes.c_void_p) for name in ("count", "pooled", "pool")),
            *((name, real) for name in ("gain", "leak", "threshold", "slope", "target", "gamma", "decay", "low", "high")),
            *((name, ctypes.c_void_p) for name in ("spike_gradient", "factor_out", "count_gradient", "pooled_gradient",
                                                   "gradient", "centre"))]

    return Structure


_STRUCTURES = {torch.float32: _structure(ctypes.c_float), torch.float64: _structure(ctypes.c_double)}


@dataclass
class _Layer:
    """A layer of a stack on one batch: what its structure points to is kept alive here."""

    neurons: int
    inputs: int
    size: int  # neurons and what fills their last block
    structure: Any
    kept: dict[str, Tensor]

    def set(self, **tensors: Tensor | None) -> None:
        """Point to tensors, each contiguous, or to nothing."""
        for name, tensor in tensors.items():
            assert tensor is None or tensor.is_contiguous()
            setattr(self.structure, name, None if tensor is None else tensor.data_ptr())
            if tensor is not None:
                self.kept[name] = tensor

    def clips(self, first: int, last: int) -> tuple[Any, ...]:
        """Arguments of every function of the C source: the layer and a range of clips."""
        return ctypes.byref(self.structure), ctypes.c_int64(first), ctypes.c_int64(last)


def run(asked: Asked) -> Fired:
    """:func:`edgekws.neurons.layers.feedforward` by events."""
    norms = asked.normalise.layers if isinstance(asked.normalise, BatchNormalise) else []
    shifts, gains = ([norm.bias for norm in norms], [norm.weight for norm in norms]) if norms else (asked.biases, [])
    tensors = [*asked.weights, *shifts, *gains]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        pooled, *counts = _Events.apply(stack := Stack(asked, keep=True), *tensors)  # type: ignore[no-untyped-call]
    else:
        with torch.no_grad():
            pooled, *counts = (stack := Stack(asked, keep=False)).forward(shifts, gains)
    return Fired(pooled, counts, stack.spikes() if asked.spikes_too else [])


class _Events(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stack: Stack, *tensors: Tensor) -> tuple[Tensor, ...]:
        layers = len(stack.weights)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)  # so that torch notices if they are changed before the way back
        ctx.stack = stack
        return stack.forward(tensors[layers:2 * layers], tensors[2 * layers:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        stack: Stack = ctx.stack
        _ = ctx.saved_tensors
        return None, *stack.backward(gradients[0], gradients[1:])


class Stack:
    """Layers of LIF neurons on one batch, forward and back.

    Args:
        keep: Keep what the way back needs.
    """

    def __init__(self, asked: Asked, *, keep: bool) -> None:
        self.drive, self.weights, self.constants, self.keep = asked.drive, list(asked.weights), asked.constants, keep
        self.pool = asked.pool.contiguous()
        self.dropout = [factor.contiguous() for factor in asked.dropout or []]
        self.follow = [rule for rule in asked.follow or [] if isinstance(rule, Follower)]
        self.normalise = asked.normalise if isinstance(asked.normalise, BatchNormalise) else None
        self.steps, self.clips, _ = self.drive.shape
        self.code = library.load("feedforward", self.drive.dtype)
        self.layers: list[_Layer] = []
        self._spent = False

    def forward(self, shifts: Sequence[Tensor], gains: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """``pooled`` and ``counts``; the shifts are the biases', or the normalisation's beside its gains."""
        bits, counts = self._pack(), []
        for index, matrix in enumerate(self.weights):
            layer = self._layer(matrix)
            self.layers.append(layer)
            size = layer.size
            if bits is None:
                current = self.drive.new_zeros(self.clips, self.steps, size)
                current[:, :, :layer.neurons] = (self.drive @ matrix.detach().T).transpose(0, 1)
                layer.set(current=current)
            else:
                layer.set(bits_in=bits, weights=self._tiles(matrix, layer),
                          factor_in=self.dropout[index - 1] if self.dropout and index else None)
                if self.keep or self.normalise is not None:
                    layer.set(current=self.drive.new_empty(self.clips, self.steps, size))
            count, shift = self.drive.new_zeros(self.clips, size), self.drive.new_full((size,), _NEVER)
            shift[:layer.neurons] = shifts[index].detach()
            self._thresholds(layer, self.follow[index] if self.follow else None)
            layer.set(count=count)
            if index + 1 == len(self.weights):
                layer.set(pooled=self.drive.new_zeros(self.clips, size), pool=self.pool)
            if self.normalise is not None:
                if bits is not None:
                    self._run(layer)
                    layer.set(bits_in=None)
                layer.set(scale=self._normalise(layer, index, gains[index].detach(), shift, self.normalise))
            layer.set(shift=shift, bits_out=torch.zeros(self.clips, self.steps, -(-layer.neurons // 64), dtype=torch.int64))
            self._run(layer)
            layer.set(bits_in=bits)
            bits = layer.kept["bits_out"]
            counts.append(count[:, :layer.neurons])
        return self.layers[-1].kept["pooled"][:, :self.layers[-1].neurons], *counts

    def spikes(self) -> list[Tensor]:
        """0 or 1, [steps, clips, neurons] of each layer, after :meth:`forward`."""
        found = []
        for layer in self.layers:
            octets = layer.kept["bits_out"].view(torch.uint8)
            bits = (octets[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1
            found.append(bits.flatten(2)[:, :, :layer.neurons].transpose(0, 1).to(self.drive.dtype).contiguous())
        return found

    def backward(self, pooled: Tensor | None, counts: Sequence[Tensor | None]) -> list[Tensor]:
        """Gradients of the weights, the shifts and the gains, from those of ``pooled`` and ``counts``.

        Raises:
            RuntimeError: It has been called before: gradients take the place of what they were computed from.
        """
        if self._spent:
            raise RuntimeError("the gradients of these layers have been computed, and what they need is gone: run them again")
        self._spent = True
        of_weights, of_shifts, of_gains = [], [], []
        from_above: Tensor | None = None
        for index in reversed(range(len(self.layers))):
            layer, last = self.layers[index], index + 1 == len(self.layers)
            count, padding = counts[index], (0, layer.size - layer.neurons)
            layer.set(pooled_gradient=pad(pooled, padding).contiguous() if last and pooled is not None else None,
                      count_gradient=None if count is None else pad(count, padding).contiguous(), spike_gradient=from_above,
                      factor_out=pad(self.dropout[index], padding) if self.dropout and not last else None,
                      gradient=layer.kept["current"] if self.normalise is None else torch.empty_like(layer.kept["current"]))
            weight_sums, sums, moments = self._back(layer)
            if self.normalise is not None:
                of_gains.append((layer.kept["inverse"] * moments)[:layer.neurons])
            of_shifts.append(sums[:layer.neurons])
            gradient = layer.kept["gradient"].view(-1, layer.size)
            if weight_sums is None:
                of_weights.append(gradient[:, :layer.neurons].T @ self.drive.transpose(0, 1).reshape(-1, layer.inputs))
            else:
                of_weights.append(self.drive.new_empty(layer.neurons, layer.inputs))
                self.code.from_tiles(at(weight_sums), *integers(len(weight_sums), layer.neurons, layer.size, layer.inputs),
                                     at(of_weights[-1]), *integers(layer.inputs))
            if index:
                below = self.layers[index - 1].size
                from_above = torch.mm(gradient, pad(self.weights[index].detach(), (0, below - layer.inputs, *padding)))
                from_above = from_above.view(self.clips, self.steps, below)
            layer.kept.clear()
        return [*of_weights[::-1], *of_shifts[::-1], *of_gains[::-1]]

    def _back(self, layer: _Layer) -> tuple[Tensor | None, Tensor, Tensor]:
        """The current's gradient; sums of it by weight (in tiles, by part), by neuron, and times the centred current."""
        parts, size = shares(self.clips), layer.size
        weight_sums = self.drive.new_zeros(len(parts), layer.inputs * size) if layer.structure.bits_in is not None else None
        sums, moments = (self.drive.new_zeros(len(parts), size) for _ in range(2))
        events, potential = self._events(layer, len(parts)), self.drive.new_empty(len(parts), self.steps * _WIDEST)

        def scan(part: int, first: int, last: int) -> None:
            self.code.backward(*layer.clips(first, last), at(events, part), at(potential, part),
                               at(weight_sums if self.normalise is None else None, part), at(sums, part), at(moments, part))

        parts.run(scan)
        total, moment = sums.sum(0), moments.sum(0)
        if self.normalise is not None:
            mean, inverse, scale = (layer.kept[name] for name in ("mean", "inverse", "scale"))
            slope = -scale * inverse * inverse * moment / (self.clips * self.steps)
            shift = -scale * total / (self.clips * self.steps) - slope * mean

            def normalised(part: int, first: int, last: int) -> None:
                self.code.backward_normalised(*layer.clips(first, last), at(events, part), at(scale), at(slope), at(shift),
                                              at(weight_sums, part))

            parts.run(normalised)
        return weight_sums, total, moment

    def _pack(self) -> Tensor | None:
        """The drive as bits, [clips, steps, words]; None where it is not made of spikes."""
        inputs, drive = self.drive.shape[2], self.drive.contiguous()
        words = -(-inputs // 64)
        bits = torch.empty(self.clips, self.steps, words, dtype=torch.int64)
        spikes = self.code.pack(at(drive), *integers(self.steps, self.clips, inputs, words), at(bits))
        return bits if spikes else None

    def _layer(self, matrix: Tensor) -> _Layer:
        neurons, inputs = matrix.shape
        constants, size = self.constants, padded(neurons)
        structure = _STRUCTURES[self.drive.dtype](
            clips=self.clips, steps=self.steps, neurons=neurons, padded=size, inputs=inputs, words_in=-(-inputs // 64),
            words_out=-(-neurons // 64), soft=constants.reset == "soft", gain=1 - constants.leak, leak=constants.leak,
            threshold=constants.threshold, slope=constants.slope)
        return _Layer(neurons, inputs, size, structure, {})

    def _tiles(self, matrix: Tensor, layer: _Layer) -> Tensor:
        matrix = matrix if matrix.stride(1) == 1 else matrix.contiguous()
        tiles = self.drive.new_empty(layer.inputs * layer.size)
        self.code.to_tiles(at(matrix), *integers(matrix.stride(0), layer.neurons, layer.size, layer.inputs), at(tiles))
        return tiles

    def _thresholds(self, layer: _Layer, rule: Follower | None) -> None:
        layer.structure.adaptive, layer.structure.theta_stride = (0, 0) if rule is None else (1, self.steps)
        layer.set(theta=self.drive.new_full((1 if rule is None else self.clips, self.steps), self.constants.threshold))
        if rule is not None:
            layer.structure.target, layer.structure.gamma = rule.target, rule.rule.sign * rule.rule.gamma
            layer.structure.decay, (layer.structure.low, layer.structure.high) = rule.rule.decay, rule.rule.clamp

    def _normalise(self, layer: _Layer, index: int, gain: Tensor, shift: Tensor, normalise: BatchNormalise) -> Tensor:
        """The factor on the current that a normalisation comes to; what it adds to it goes into ``shift``."""
        parts, n = shares(self.clips), self.clips * self.steps
        means, squares = (torch.empty(len(parts), layer.size, dtype=torch.float64) for _ in range(2))

        def one(part: int, first: int, last: int) -> None:
            self.code.moments(*layer.clips(first, last), at(means, part), at(squares, part))

        parts.run(one)
        weight = torch.tensor([last - first for first, last in parts.bounds], dtype=torch.float64)[:, None] / self.clips
        mean = (weight * means).sum(0)
        variance = squares.sum(0) / n + (weight * (means - mean).square()).sum(0)
        normalise.observe(index, mean[:layer.neurons], variance[:layer.neurons], n)
        inverse = (variance + normalise.layers[index].eps).rsqrt()
        scale = torch.zeros_like(mean)
        scale[:layer.neurons] = gain * inverse[:layer.neurons]
        shift[:layer.neurons] -= (mean * scale)[:layer.neurons]
        layer.set(centre=mean.to(self.drive.dtype))
        layer.kept |= {"mean": layer.kept["centre"], "inverse": inverse.to(self.drive.dtype)}
        return scale.to(self.drive.dtype)

    def _events(self, layer: _Layer, parts: int) -> Tensor:
        """Room for a clip's lists of events, for each part."""
        return torch.empty(parts, self.steps * (layer.inputs + 1), dtype=torch.int32)

    def _run(self, layer: _Layer) -> None:
        parts = shares(self.clips)
        events, state = self._events(layer, len(parts)), self.drive.new_empty(len(parts), layer.size)
        parts.run(lambda part, first, last: self.code.forward(*layer.clips(first, last), at(events, part), at(state, part)))
