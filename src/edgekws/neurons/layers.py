"""Layers of feed-forward LIF neurons over whole clips: the one function that networks ask, by events or dense.

By events (:mod:`edgekws.neurons.kernel`, compiled, on the CPU) a spike that does not happen costs nothing: currents are sums
of the weight rows of what fired, and so are the weights' gradients. Dense (:mod:`edgekws.neurons.scan`, torch alone) every
current is a full matrix product; it is the reference, and what a GPU takes. Both compute the same neuron, Norse's LIFBox, and
the same gradient, through the reset too; they add in another order, so single precision differs in the last digits and now
and then, where a potential all but equals its threshold, by a spike.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from edgekws.neurons import scan
from edgekws.neurons.adaptive import Follower
from edgekws.neurons.lif import Reset

Normalise = Callable[[int, Tensor], Tensor]
"""Layer and W s, [steps, clips, neurons], to the current."""


@dataclass(frozen=True)
class Constants:
    """Of every neuron of a stack (:mod:`edgekws.neurons.scan` has the equations)."""

    leak: float
    threshold: float
    reset: Reset
    slope: float


@runtime_checkable
class BatchNormalise(Protocol):
    """A :data:`Normalise` that is batch normalisation over clips and steps, which can also be computed elsewhere.

    Attributes:
        layers: One normalisation for each hidden layer.
    """

    @property
    def layers(self) -> Sequence[nn.BatchNorm1d]: ...

    def __call__(self, layer: int, current: Tensor) -> Tensor: ...

    def observe(self, layer: int, mean: Tensor, variance: Tensor, values: int) -> None:
        """Take the statistics of a batch, [neurons], of ``values`` values each (the variance is over all of them)."""


@dataclass(frozen=True)
class Fired:
    """What a stack of layers has done.

    Attributes:
        pooled: [clips, neurons] spikes of the last layer, weighted by step and summed.
        counts: For each layer the spikes of each neuron in a clip, [clips, neurons].
        spikes: For each layer [steps, clips, neurons], 0 or 1, without a gradient; empty unless asked for.
    """

    pooled: Tensor
    counts: list[Tensor]
    spikes: list[Tensor]


def feedforward(drive: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], constants: Constants, *, pool: Tensor,
                normalise: Normalise | None = None, dropout: Sequence[Tensor] | None = None,
                follow: Sequence[scan.Follow] | None = None, spikes_too: bool = False) -> Fired:
    """Run hidden layers over clips, layer by layer, with no delay in between.

    ``pooled`` and ``counts`` are differentiable in weights, biases and what ``normalise`` trains; by events once, and not
    twice over.

    Args:
        drive: [steps, clips, inputs]: spikes, or real values.
        weights: [neurons, inputs] of each layer.
        biases: [neurons] of each layer.
        pool: [steps], weights of the steps in ``pooled``.
        normalise: Takes the place of the biases.
        dropout: Factors on the spikes that a layer sends to the next, [clips, neurons].
        follow: Adaptive threshold of each layer, not used before.
        spikes_too: Give the spikes as well.
    """
    asked = Asked(drive, weights, biases, constants, pool, normalise, dropout, follow, spikes_too)
    return _by_events(asked) if _fits(asked) else _densely(asked)


@dataclass(frozen=True)
class Asked:
    """Arguments of :func:`feedforward`."""

    drive: Tensor
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    constants: Constants
    pool: Tensor
    normalise: Normalise | None
    dropout: Sequence[Tensor] | None
    follow: Sequence[scan.Follow] | None
    spikes_too: bool


def _densely(asked: Asked) -> Fired:
    drive, constants = asked.drive, asked.constants
    fired: list[Tensor] = []
    for index, matrix in enumerate(asked.weights):
        current = drive @ matrix.T
        current = current + asked.biases[index] if asked.normalise is None else asked.normalise(index, current)
        layer = scan.lif(current, leak=constants.leak, threshold=constants.threshold, reset=constants.reset,
                         slope=constants.slope, follow=asked.follow[index] if asked.follow else None)
        fired.append(layer)
        drive = layer * asked.dropout[index] if asked.dropout and index + 1 < len(asked.weights) else layer
    # What reads the spikes is linear: the time axis is summed before it.
    pooled = (asked.pool @ drive.flatten(1)).view(drive.shape[1:])
    return Fired(pooled, [layer.sum(0) for layer in fired], [layer.detach() for layer in fired] if asked.spikes_too else [])


def _by_events(asked: Asked) -> Fired:
    from edgekws.neurons.kernel import feedforward as events

    return events.run(asked)


def _fits(asked: Asked) -> bool:
    """Whether the compiled layers can do it."""
    drive, constant = asked.drive, [asked.drive, asked.pool, *(asked.dropout or [])]
    tensors = [*asked.weights, *asked.biases, *constant]
    normalises = asked.normalise is None or isinstance(asked.normalise, BatchNormalise)
    return (normalises and all(isinstance(rule, Follower) for rule in asked.follow or [])
            and not any(tensor.requires_grad for tensor in constant)
            and compiled("feedforward", drive, *tensors))


# ------------------------------------------------------------------------------------------------ which path
_dense = False


@contextmanager
def dense() -> Iterator[None]:
    """Within it every layer is computed densely: for references and benchmarks."""
    global _dense
    before, _dense = _dense, True
    try:
        yield
    finally:
        _dense = before


def compiled(name: str, *tensors: Tensor) -> bool:
    """Whether the compiled code of that name is to be used for these tensors.

    On the CPU, in one floating-point type, and where it could be built (where it could not, a sentence says so once); outside
    of torch's function transforms (per-sample gradients by ``vmap``, say), and where nobody watches every operation of torch
    (to measure memory, say).
    """
    first = tensors[0]
    if _dense or torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() or not first.numel():
        return False
    if first.dtype not in (torch.float32, torch.float64):
        return False
    if any(tensor.device.type != "cpu" or tensor.dtype != first.dtype for tensor in tensors):
        return False
    return _library(name, first.dtype) is not None


@functools.cache
def _library(name: str, dtype: torch.dtype) -> Any:
    from edgekws.neurons.kernel import library

    try:
        return library.load(name, dtype)
    except library.Unavailable as why:
        print(f"Spiking layers are computed densely, several times slower: {why}.", file=sys.stderr)
        return None
