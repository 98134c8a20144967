"""Not forgetting the other speakers: elastic weight consolidation beside any method's own gradients.

Elastic weight consolidation (Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", PNAS 114:3521,
Eq. 3) pulls each weight back to the base's, the harder the more the base's answers depend on it::

    L(theta) = L_user(theta) + sum_i lambda / 2 F_i (theta_i - theta*_i)^2

with theta* the base's weights, lambda ``weight``, and F the diagonal of the Fisher information: ``fisher``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from edgekws.core import optimiser
from edgekws.core.errors import UserError
from edgekws.core.optimiser import Optimiser
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.training import Labels


def fisher_information(net: RecurrentLIF, features: Tensor, labels: Labels) -> dict[str, Tensor]:
    """Diagonal of the empirical Fisher information: squared gradients of log p(label | clip), mean over the clips.

    Each clip's gradient is taken by itself, through time, and they are added up in order, in float32.

    Args:
        features: [clips, frames, inputs], on the network's device.
        labels: [clips].

    Returns:
        Tensors named and shaped as in ``net.trained``.

    Raises:
        UserError: There is no clip, or the features do not fit the network.
    """
    if len(features) == 0:
        raise UserError("there are no clips", where="Fisher information", remedy="take some that the base was trained on")
    weights = net.trained
    wanted = torch.as_tensor(labels, device=net.readout.device).to(torch.int64)
    fisher = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    for clip, label in zip(torch.split(features, 1), torch.split(wanted, 1), strict=True):
        surprise = cross_entropy(net(clip), label)
        for total, gradient in zip(fisher.values(), torch.autograd.grad(surprise, list(weights.values())), strict=True):
            total.addcmul_(gradient, gradient)
    return {name: total.div_(len(features)) for name, total in fisher.items()}


class Anchored:
    """An optimiser whose weights are held to what they were when it was made: elastic weight consolidation.

    It adds the penalty's gradient, lambda F (theta - theta*), to each gradient that it hands on. The factor lambda F is cut
    off at 1 / rate, where plain gradient descent goes the whole way back in one step: beyond twice that it would diverge.

    Args:
        inner: What updates the weights.
        weights: What is trained, as they start.
        fisher: Of each of them, by name; more names than are trained may be there.
        weight: lambda; with 0 the gradients stay as they are.

    Raises:
        UserError: A tensor that is trained has no Fisher information: it is not one of the base's.
    """

    def __init__(self, inner: Optimiser, weights: Mapping[str, Tensor], fisher: Mapping[str, Tensor],
                 weight: float) -> None:
        if missing := sorted(weights.keys() - fisher.keys()):
            raise UserError(f"there is no Fisher information of {', '.join(missing)}", where="elastic weights",
                            remedy="take a method that trains the base's own tensors")
        self._inner, self._weights, self._weight = inner, dict(weights), weight
        self._fisher = {name: fisher[name] for name in weights}
        self._base = {name: tensor.detach().clone() for name, tensor in weights.items()}

    @property
    def rate(self) -> float:
        """Learning rate of the inner optimiser."""
        return self._inner.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._inner.rate = rate

    def state(self) -> dict[str, Any]:
        """The inner optimiser's, and what the weights are held to."""
        return {"inner": self._inner.state(), "base": self._base}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same weights."""
        self._inner.restore(state["inner"])
        for name, tensor in self._base.items():
            tensor.copy_(state["base"][name])

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One update with the gradients of the same names."""
        if self._weight == 0:
            self._inner.step(gradients)
            return
        self._inner.step({name: torch.addcmul(gradients[name], self._pull(name), weights - self._base[name])
                          for name, weights in self._weights.items()})

    def _pull(self, name: str) -> Tensor:
        return (self._weight * self._fisher[name]).clamp_(max=1 / self.rate)


def anchoring(fisher: Mapping[str, Tensor], weight: float) -> Callable[
        [optimiser.Name, Mapping[str, Tensor], float], Optimiser]:
    """What makes an :class:`Anchored` optimiser, to be handed to a method in place of :func:`edgekws.core.optimiser.make`."""
    def make(name: optimiser.Name, weights: Mapping[str, Tensor], rate: float) -> Optimiser:
        return Anchored(optimiser.make(name, weights, rate), weights, fisher, weight)

    return make
