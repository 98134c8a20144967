"""A layer of feed-forward LIF neurons over a whole clip at once: Norse's numbers without Norse's loop.

Norse advances every layer one step at a time and records some twenty operations a step for autograd. Where no
neuron feeds back into its own layer the currents of all steps are one matrix product, and what remains in time, the
leak and the reset, is a scan over elementwise operations whose gradient is known in closed form. The scan below computes
what ``norse.torch.functional.lif_box.lif_box_feed_forward_step`` computes, operation by operation, so the spikes are the
same bits; its backward pass is the chain rule of that step, the gradient through the reset included::

    u^t = v^{t-1} + (1 - leak) (i^t - v^{t-1})         potential before the reset
    s^t = 1[u^t > theta^t]                              spikes
    v^t = (1 - s^t) u^t     or    u^t - theta^t s^t     potential after a hard or a soft reset
    ds/du = 1 / (1 + slope |u - theta|)^2               SuperSpike (Zenke & Ganguli 2018); Norse has slope 1

Time comes first in every tensor here: [steps, clips, neurons], so that a step is contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgekws.neurons.lif import Reset

Follow = Callable[[Tensor], Tensor]
"""Mean activity of a layer in a step, [clips, 1], to the factor on its threshold in the next step, [clips, 1]."""


def lif(current: Tensor, *, leak: float, threshold: float, reset: Reset, slope: float = 1.0,
        follow: Follow | None = None) -> Tensor:
    """Spikes of a layer, differentiable in ``current``.

    Args:
        current: [steps, clips, neurons] input current of every step.
        slope: Slope of the surrogate derivative; 1 is Norse's.
        follow: Moves each clip's threshold at run time (an adaptive threshold); it holds its own state, starts from a
            factor of 1, and no gradient flows through it.

    Returns:
        [steps, clips, neurons], 0 or 1 in the type of ``current``.
    """
    if current.requires_grad and torch.is_grad_enabled():
        spikes: Tensor = _Scan.apply(  # type: ignore[no-untyped-call]
            current, leak, threshold, reset, slope, follow)
        return spikes
    return _forward(current, leak, threshold, reset, follow, keep=False)[0]


def mean_integrator(steps: int, leak: float, *, like: Tensor) -> Tensor:
    """What each step's input adds to the mean over time of a leaky integrator's potential, [steps].

    The integrator ``v^t = v^{t-1} + (1 - leak) (i^t - v^{t-1})`` is linear, and so is its mean: input at step t is
    counted with ``1 - leak``, then ``leak (1 - leak)``, … over the ``steps - t`` steps left, which sum to
    ``1 - leak^(steps - t)``.
    """
    left = torch.arange(steps, 0, -1, dtype=torch.float64)
    return ((1 - leak ** left) / steps).to(like.device, like.dtype)


def _forward(current: Tensor, leak: float, threshold: float, reset: Reset, follow: Follow | None, *,
             keep: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Spikes, and if kept for the gradient the potentials before the reset and the moving thresholds."""
    steps, clips, _ = current.shape
    spikes = torch.empty_like(current)
    potentials = torch.empty_like(current) if keep else None
    thresholds = current.new_empty(steps, clips, 1) if keep and follow else None
    v, u = torch.zeros_like(current[0]), torch.empty_like(current[0])
    theta: Any = threshold
    for t in range(steps):
        if potentials is not None:
            u = potentials[t]
        s = spikes[t]
        torch.sub(current[t], v, out=u).mul_(1 - leak).add_(v)
        torch.gt(u, theta, out=s)
        if reset == "hard":
            torch.addcmul(u, u, s, value=-1, out=v)
        else:
            torch.addcmul(u, s, _as_tensor(theta, u), value=-1, out=v)
        if follow is not None:
            if thresholds is not None:
                thresholds[t] = theta
            theta = threshold * follow(s.mean(1, keepdim=True))
    return spikes, potentials, thresholds


def _as_tensor(threshold: Tensor | float, like: Tensor) -> Tensor:
    return threshold if isinstance(threshold, Tensor) else torch.full((), threshold, dtype=like.dtype, device=like.device)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, leak: float, threshold: float, reset: Reset, slope: float,
                follow: Follow | None) -> Tensor:
        spikes, potentials, thresholds = _forward(current, leak, threshold, reset, follow, keep=True)
        ctx.save_for_backward(potentials, thresholds)
        ctx.constants = leak, threshold, reset, slope
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (spike_gradients,), (potentials, thresholds) = gradients, ctx.saved_tensors
        leak, threshold, reset, slope = ctx.constants
        result = torch.empty_like(potentials)
        # The gradient of v^t, and room for the distance from threshold and the surrogate derivative.
        after, distance, derivative = (torch.zeros_like(potentials[0]) for _ in range(3))
        for t in reversed(range(len(potentials))):
            u, out, theta = potentials[t], result[t], threshold if thresholds is None else thresholds[t]
            torch.sub(u, theta, out=distance)
            torch.abs(distance, out=derivative).mul_(slope).add_(1).square_().reciprocal_()
            # Of s^t: its own, and that of the reset it causes.
            if reset == "hard":
                torch.addcmul(spike_gradients[t], after, u, value=-1, out=out)
                after.mul_(distance <= 0)
            else:
                torch.addcmul(spike_gradients[t], after, _as_tensor(theta, u), value=-1, out=out)
            out.mul_(derivative).add_(after)  # of u^t
            torch.mul(out, leak, out=after)
            out.mul_(1 - leak)
        return result, None, None, None, None, None
