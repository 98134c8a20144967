"""Neurons as modules in Norse's idiom: ``spikes, state = cell(current, state)``, where ``state=None`` is rest.

:class:`ArctanLIFCell` is the neuron of Traces Propagation (:mod:`edgekws.neurons.lif`) with its surrogate;
:class:`LIFBoxRecurrentCell` is Norse's ``LIFBoxCell`` with recurrent weights, which Norse does not have. Both take their
input current from the ``torch.nn.Linear`` before them, and both may stand in a ``norse.torch.SequentialState``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from norse.torch.functional.lif_box import (
    LIFBoxFeedForwardState,
    LIFBoxParameters,
    LIFBoxState,
    lif_box_feed_forward_step,
)
from torch import Tensor, nn

from edgekws.neurons.lif import Reset
from edgekws.neurons.surrogate import ArctanSpike


def _recurrent_weights(neurons: int) -> nn.Parameter:
    """[neurons, neurons], uniform within 1/sqrt(neurons)."""
    return nn.Parameter((2 * torch.rand(neurons, neurons) - 1) / math.sqrt(neurons))


class LIFBoxRecurrentCell(nn.Module):
    """Norse's LIFBox neuron with recurrent weights R, one step at a time::

        v' = v + dt tau_mem_inv (v_leak - v + x + R z)
        z  = 1[v' > v_th],  then v' is reset as ``p.reset_method`` says

    Args:
        hidden_size: Neurons.
        p: Norse's ``LIFBoxParameters``; Norse's own by default.
        dt: Length of a step in seconds.

    Attributes:
        recurrent_weights: R, [hidden_size, hidden_size], uniform within 1/sqrt(hidden_size) at first.
    """

    def __init__(self, hidden_size: int, p: Any = None, dt: float = 0.001) -> None:
        super().__init__()
        self.hidden_size, self.p, self.dt = hidden_size, LIFBoxParameters() if p is None else p, dt
        self.recurrent_weights = _recurrent_weights(hidden_size)

    def forward(self, input_tensor: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Spikes [clips, hidden_size] and state from the input current x, shaped as the spikes."""
        if state is None:
            state = LIFBoxState(z=torch.zeros_like(input_tensor), v=torch.zeros_like(input_tensor) + self.p.v_leak.detach())
        current = input_tensor + state.z @ self.recurrent_weights.T
        spikes, after = lif_box_feed_forward_step(current, LIFBoxFeedForwardState(v=state.v), self.p, self.dt)
        return spikes, LIFBoxState(z=spikes, v=after.v)

    def extra_repr(self) -> str:
        return f"hidden_size={self.hidden_size}, p={self.p}, dt={self.dt}"


class ArctanLIFCell(nn.Module):
    """The neuron of Traces Propagation (traces_propagation.md, sections 2.1 and 2.2), one step at a time::

        u = leak v + x (+ R s),  s = 1[u >= threshold],  v = u (1 - s) or u - threshold s

    with the surrogate derivative ``scale / (1 + (pi (u - threshold))^2)`` and no gradient through the reset.

    Args:
        hidden_size: Neurons of a recurrent cell; None for a cell without recurrent weights, which takes any size.

    Attributes:
        recurrent_weights: R, [hidden_size, hidden_size]; None without recurrence.
    """

    def __init__(self, hidden_size: int | None = None, *, leak: float = 0.77, threshold: float = 0.66,
                 reset: Reset = "hard", scale: float = 10.0) -> None:
        super().__init__()
        self.leak, self.threshold, self.reset, self.scale = leak, threshold, reset, scale
        self.recurrent_weights = None if hidden_size is None else _recurrent_weights(hidden_size)

    def forward(self, input_tensor: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Any]:
        """Spikes [clips, neurons] and the state (s, v) from the input current x, shaped as the spikes."""
        before, v = (torch.zeros_like(input_tensor),) * 2 if state is None else state
        u = self.leak * v + input_tensor
        if self.recurrent_weights is not None:
            u = u + before @ self.recurrent_weights.T
        spikes: Tensor = ArctanSpike.apply(u, self.threshold, self.scale)  # type: ignore[no-untyped-call]
        kept = spikes.detach()
        return spikes, (spikes, u * (1 - kept) if self.reset == "hard" else u - self.threshold * kept)

    def extra_repr(self) -> str:
        return f"leak={self.leak}, threshold={self.threshold}, reset={self.reset!r}, scale={self.scale}"
