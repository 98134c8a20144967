"""What every method of the bench gives: from a base net and a user's clips to a delta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor

from edgekws.core.optimiser import Optimiser
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining
from edgekws.models.delta.delta import Delta
from edgekws.protocol.training import Features, Labels

MakeOptimiser: TypeAlias = Callable[[Literal["adam", "sgd"], Mapping[str, Tensor], float], Optimiser]
"""From the optimiser's name, the weights and the learning rate to the optimiser."""


class Learn(Protocol):
    """Adapt a net to clips and give what changed; the net itself stays as it is.

    Args:
        net: The net to start from.
        features: N clips, [N, frames, inputs] when indexed.
        labels: [N], integers.
        method: What is trained, and how.
        budget: Learning rate, epochs, batch size.
        seed: Of the order of the clips and of new weights; the same seed gives the same bytes.
        make: Of the optimiser.

    Raises:
        UserError: The clips do not fit the net.
    """

    def __call__(self, net: Any, features: Features, labels: Labels, method: AlternativeMethod,
                 budget: AlternativeTraining, *, seed: int, make: MakeOptimiser = ...) -> Delta: ...
