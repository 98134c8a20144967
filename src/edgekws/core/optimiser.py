"""Adam and plain gradient descent by torch's fused kernels, without what ``torch.optim`` brings along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

Name = Literal["adam", "sgd"]


class Optimiser(Protocol):
    """Trains named tensors in place.

    Attributes:
        rate: Learning rate; may be set anew at any time.
    """

    rate: float

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One update with the gradients of the same names."""

    def state(self) -> dict[str, Any]:
        """What it keeps beside the weights, for a checkpoint; the rate is the caller's."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same weights."""


class Adam:
    """Adam (0.9, 0.999, 1e-8) on named tensors, in place.

    The first ``torch.optim.Adam`` that a process makes loads torch's compiler (``torch._dynamo``, sympy): 1.0 s of processor time
    with torch 2.13 (3.5 s where Python may keep no bytecode), several times what adapting to a user takes.

    Args:
        weights: What is trained.
        rate: Learning rate; may be set anew at any time.
        decay: Weight decay, added to the gradient as torch's Adam does.
        shrink: Decoupled weight decay, as torch's AdamW has it, of tensors of two dimensions and more.
    """

    def __init__(self, weights: Mapping[str, Tensor], rate: float, *, decay: float = 0.0, shrink: float = 0.0) -> None:
        self.rate, self.decay, self.shrink = rate, decay, shrink
        self._weights = dict(weights)
        self._mean = [torch.zeros_like(tensor) for tensor in weights.values()]
        self._square = [torch.zeros_like(tensor) for tensor in weights.values()]
        self._steps = [torch.zeros((), device=tensor.device) for tensor in weights.values()]

    @property
    def steps(self) -> int:
        """Updates made so far."""
        return int(self._steps[0])

    def state(self) -> dict[str, Any]:
        """Moments and number of updates, for a checkpoint; the rate is the caller's."""
        return {"mean": self._mean, "square": self._square, "steps": self._steps}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same weights."""
        for name, own in self.state().items():
            for tensor, kept in zip(own, state[name], strict=True):
                tensor.copy_(kept)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One update with the gradients of the same names."""
        if self.shrink:
            for tensor in self._weights.values():
                if tensor.ndim > 1:
                    tensor.mul_(1 - self.rate * self.shrink)
        adam(list(self._weights.values()), [gradients[name] for name in self._weights], self._mean, self._square, [],
             self._steps, fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=self.rate, weight_decay=self.decay,
             eps=1e-8, maximize=False)


class LayerRates:
    """Adam with a learning rate of its own for some of the tensors, in multiples of the common one.

    Args:
        weights: What is trained.
        rate: Learning rate; may be set anew at any time.
        multiples: By name; 1 for those that are not in it.
    """

    def __init__(self, weights: Mapping[str, Tensor], rate: float, multiples: Mapping[str, float]) -> None:
        groups: dict[float, list[str]] = {}
        for name in weights:
            groups.setdefault(multiples.get(name, 1.0), []).append(name)
        self._parts = [(multiple, Adam({name: weights[name] for name in names}, rate)) for multiple, names in groups.items()]
        self.rate = rate

    def state(self) -> dict[str, Any]:
        """Those of its parts, by their place."""
        return {str(place): part.state() for place, (_, part) in enumerate(self._parts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same weights."""
        for place, (_, part) in enumerate(self._parts):
            part.restore(state[str(place)])

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One update with the gradients of the same names."""
        for multiple, part in self._parts:
            part.rate = multiple * self.rate
            part.step(gradients)


class Sgd:
    """Plain gradient descent on named tensors, in place; it keeps nothing beside the weights.

    Args:
        weights: What is trained.
        rate: Learning rate; may be set anew at any time.
    """

    def __init__(self, weights: Mapping[str, Tensor], rate: float) -> None:
        self.rate = rate
        self._weights = dict(weights)

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing is to be restored."""

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One update with the gradients of the same names."""
        sgd(list(self._weights.values()), [gradients[name] for name in self._weights], [None] * len(self._weights),
            fused=True, weight_decay=0.0, momentum=0.0, lr=self.rate, dampening=0.0, nesterov=False, maximize=False)


def make(name: Name, weights: Mapping[str, Tensor], rate: float) -> Optimiser:
    """The optimiser of that name, fresh."""
    return Adam(weights, rate) if name == "adam" else Sgd(weights, rate)
