"""Adaptive LIF neurons with recurrent weights and constants of their own, learnt with the rest.

RadLIF of Bittar & Garner 2022, "A surrogate gradient spiking baseline for speech command recognition" (Frontiers in
Neuroscience 16:865897). Its symbols and our names, for one layer at time step t::

    w^t = beta w^{t-1} + a u^{t-1} + b s^{t-1}                                 adaptation
    u^t = alpha (u^{t-1} - s^{t-1}) + (1 - alpha) (i^t + R s^{t-1} - w^t)       potential; threshold 1
    s^t = 1[u^t >= 1]                                                           spikes

alpha, beta, a and b have a value for each neuron, kept within the ranges of :data:`RANGES`. The surrogate derivative of a
spike is ``1 / (1 + (pi (u - 1))^2)`` (:mod:`edgekws.neurons.surrogate`); the paper's is a box of the same height. No neuron
drives itself: the diagonal of R is 0.

:class:`AdaptiveLIFCell` is one step, in Norse's idiom, by autograd. :func:`scan` is a whole clip, with the gradient in closed
form: the same numbers, in a third of the time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from edgekws.neurons.surrogate import ArctanSpike, arctan_derivative

RANGES = {"alpha": (0.6, 0.96), "beta": (0.9, 0.99), "a": (-1.0, 1.0), "b": (0.0, 2.0)}
"""Of each constant. The leaks are the paper's for steps of 10 ms, alpha's opened downwards, as our steps are longer."""


class AdaptiveLIFCell(nn.Module):
    """One layer, one step at a time.

    Args:
        hidden_size: Neurons.
        generator: Source of the constants, uniform in their ranges, and of R, uniform within 1/sqrt(neurons).

    Attributes:
        recurrent_weights: R, [neurons, neurons].
        alpha, beta, a, b: [neurons]; used as clamped to their ranges.
    """

    autapses = False
    recurrent_weights: nn.Parameter

    def __init__(self, hidden_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator)

        self.recurrent_weights = nn.Parameter((2 * uniform(hidden_size, hidden_size) - 1) / math.sqrt(hidden_size))
        with torch.no_grad():
            self.recurrent_weights.fill_diagonal_(0)
        for name, (low, high) in RANGES.items():
            self.register_parameter(name, nn.Parameter(low + (high - low) * uniform(hidden_size)))

    def constants(self) -> list[Tensor]:
        """alpha, beta, a and b within their ranges, [neurons] each."""
        return [self.get_parameter(name).clamp(low, high) for name, (low, high) in RANGES.items()]

    def recurrence(self) -> Tensor:
        """R with zeros on its diagonal."""
        return self.recurrent_weights - torch.diag(self.recurrent_weights.diagonal())

    def forward(self, input_tensor: Tensor, state: tuple[Tensor, Tensor, Tensor] | None = None) -> tuple[Tensor, Any]:
        """Spikes [clips, neurons] and the state (s, u, w) from the input current, shaped as the spikes."""
        s, u, w = (torch.zeros_like(input_tensor),) * 3 if state is None else state
        alpha, beta, a, b = self.constants()
        w = beta * w + a * u + b * s
        u = alpha * (u - s) + (1 - alpha) * (input_tensor + s @ self.recurrence().T - w)
        spikes: Tensor = ArctanSpike.apply(u, 1.0, 1.0)  # type: ignore[no-untyped-call]
        return spikes, (spikes, u, w)


def scan(current: Tensor, cell: AdaptiveLIFCell) -> Tensor:
    """Spikes of a layer over whole clips, [steps, clips, neurons], of its input current, which has the same shape.

    Differentiable in the current and in the cell's parameters, through time and the reset.
    """
    spikes: Tensor = _Scan.apply(current, cell.recurrence(), *cell.constants())  # type: ignore[no-untyped-call]
    return spikes


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, recurrent: Tensor, alpha: Tensor, beta: Tensor, a: Tensor, b: Tensor) -> Tensor:
        steps, clips, neurons = current.shape
        # Row t holds the state after step t; the row before the first is rest.
        s, u, w = (current.new_empty(steps + 1, clips, neurons) for _ in range(3))
        for state in (s, u, w):
            state[0].zero_()
        for t in range(steps):
            torch.mul(w[t], beta, out=w[t + 1]).addcmul_(u[t], a).addcmul_(s[t], b)
            drive = torch.addmm(current[t], s[t], recurrent.T).sub_(w[t + 1])
            torch.sub(u[t], s[t], out=u[t + 1]).sub_(drive).mul_(alpha).add_(drive)
            torch.ge(u[t + 1], 1.0, out=s[t + 1])
        ctx.save_for_backward(s, u, w, recurrent, alpha, beta, a, b)
        return s[1:].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        s, u, w, recurrent, alpha, beta, a, b = ctx.saved_tensors
        steps = len(s) - 1
        input_gain = 1 - alpha
        du, dw, dc = (torch.empty_like(gradients[0]) for _ in range(3))  # of u^t, w^t and the current
        later_u, later_w, later_s, psi = (torch.zeros_like(s[0]) for _ in range(4))
        for t in reversed(range(steps)):
            arctan_derivative(u[t + 1], 1.0, 1.0, out=psi)
            torch.addcmul(later_u, psi, later_s.add_(gradients[0][t]), out=du[t])
            torch.mul(du[t], input_gain, out=dc[t])
            torch.sub(later_w, dc[t], out=dw[t])
            torch.mul(dw[t], beta, out=later_w)
            torch.mul(du[t], alpha, out=later_u)
            torch.mm(dc[t], recurrent, out=later_s).sub_(later_u).addcmul_(dw[t], b)
            later_u.addcmul_(dw[t], a)
        kept = u[:-1] - s[:-1]
        return (dc, torch.einsum("tbi,tbj->ij", dc, s[:-1]),
                (du * (kept - u[1:])).sum((0, 1)) / input_gain,
                *((dw * past[:-1]).sum((0, 1)) for past in (w, u, s)))
