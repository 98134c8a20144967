"""What every method of the bench gives: from a base net and a user's clips to a delta."""

from __future__ import annotations

from typing import Protocol

from edgekws.delta.delta import Delta
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.settings import AlternativeMethod, AlternativeTraining
from edgekws.traces_propagation.training import Features, Labels


class Learn(Protocol):
    """Adapt ``net`` to the clips and give what changed; ``net`` itself stays as it is.

    Args:
        net: The base net.
        features: N clips, [N, frames, inputs] when indexed.
        labels: [N], integers.
        method: What is trained, and how (``kind``, ``rank``).
        budget: Optimiser, learning rate, epochs, batch size.
        seed: Of the order of the clips and of new weights; the same seed gives the same bytes.

    Raises:
        UserError: The clips do not fit the net.
    """

    def __call__(self, net: RecurrentLIF, features: Features, labels: Labels, method: AlternativeMethod,
                 budget: AlternativeTraining, *, seed: int) -> Delta: ...
