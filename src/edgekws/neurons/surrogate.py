"""The arctan surrogate of the spike's derivative (Fang et al. 2021; traces_propagation.md, section 2.2)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def arctan_derivative(u: Tensor, threshold: float | Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """``scale / (1 + (pi (u - threshold))^2)``, elementwise (the paper's psi, with scale = k and threshold = theta).

    Args:
        u: Potential before the reset.
        out: Where to put the result; must not be ``u``.
    """
    out = torch.sub(u, threshold, out=out)
    return out.mul_(math.pi).square_().add_(1).reciprocal_().mul_(scale)


class ArctanSpike(torch.autograd.Function):
    """``u >= threshold`` forwards, :func:`arctan_derivative` backwards.

    Call ``ArctanSpike.apply(u, threshold, scale)``.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: float, scale: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.threshold, ctx.scale = threshold, scale
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return gradients[0] * arctan_derivative(u, ctx.threshold, ctx.scale), None, None
