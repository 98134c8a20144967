"""Thresholds that follow the activity at run time (neuedge.md, Eq. 11).

    threshold[t] = base (1 + gamma (target - A[t]))

A is the running mean of a layer's spike rate, of one clip by itself: the threshold of step t takes the steps before t,
and A starts at the target. As printed the rule is positive feedback: a layer quieter than its target gets a higher
threshold and grows quieter still (section 7, item 2). The other sign seeks the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    Array = TypeVar("Array", npt.NDArray[np.floating], Tensor)


@dataclass(frozen=True)
class AdaptiveRule:
    """Eq. 11 for every spiking hidden layer; for arrays and tensors alike.

    Attributes:
        gamma: Gain; 0 leaves the thresholds fixed.
        targets: Spike rate aimed at (A_target), spikes per neuron and step, one for each layer.
        decay: Of the running mean, from one step to the next.
        clamp: Lowest and highest factor on a threshold.
        sign: +1 as printed, -1 homeostatic.

    Raises:
        UserError: The clamp's range is empty.
    """

    gamma: float
    targets: tuple[float, ...]
    decay: float
    clamp: tuple[float, float]
    sign: Literal[1, -1] = 1

    def __post_init__(self) -> None:
        if self.clamp[0] > self.clamp[1]:
            raise UserError(f"the lowest factor on a threshold ({self.clamp[0]:g}) is above the highest "
                            f"({self.clamp[1]:g})", where="setting 'adaptive.clamp'", remedy="swap them")

    def factor(self, activity: Array, layer: int) -> Array:
        """Factor on the fixed threshold of a layer at each clip's running ``activity`` (any shape)."""
        return (1 + self.sign * self.gamma * (self.targets[layer] - activity)).clip(*self.clamp)

    def follow(self, activity: Array | float, rate: Array) -> Array:
        """The running mean after a step in which the layer's neurons spiked at this mean ``rate``, clip by clip."""
        return self.decay * activity + (1 - self.decay) * rate

    def follower(self, layer: int) -> Follower:
        """The thresholds of a layer over one batch, whose activity starts at the target."""
        return Follower(self, layer)


class Follower:
    """A layer's thresholds on the way through one batch.

    Args:
        layer: Which of the rule's targets is its own.
    """

    def __init__(self, rule: AdaptiveRule, layer: int) -> None:
        self.rule, self.layer = rule, layer
        self._activity: Tensor | float = self.target

    @property
    def target(self) -> float:
        """The spike rate aimed at, and where its activity starts."""
        return self.rule.targets[self.layer]

    def __call__(self, rate: Tensor) -> Tensor:
        """From the rate of a step, [clips, 1], to the factor on the threshold of the next, [clips, 1]."""
        self._activity = self.rule.follow(self._activity, rate)
        return self.rule.factor(self._activity, self.layer)
