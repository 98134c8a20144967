"""Symmetric quantisation to int8: how a delta is stored small, and what quantisation-aware training trains for."""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 16  # of a scale's mantissa: with 7 more, of an integer, a product fits float32's 24 and is exact


def quantise(tensor: Tensor, *, axis: int = 0) -> tuple[Tensor, Tensor]:
    """Integers -127 … 127 of the tensor's shape, and what one of them is worth: ``integers * scale``, nearest to ``tensor``.

    A tensor with two or more dimensions has a scale for each row, of shape [rows, 1, …]; with ``axis`` 1 it is one for
    each column of a matrix. A vector or a number has one scale, []. Scales are rounded up to 16 bits, so that quantising
    what was quantised gives the same integers and scales.
    """
    others = [other for other in range(tensor.ndim) if other != axis] if tensor.ndim > 1 else list(range(tensor.ndim))
    largest = tensor.abs().amax(others, keepdim=tensor.ndim > 1) if tensor.numel() else tensor.new_zeros(())
    mantissa, exponent = torch.frexp(largest / 127)
    scale = torch.ldexp(torch.ceil(torch.ldexp(mantissa, torch.tensor(_BITS))), exponent - _BITS)
    return torch.round(tensor / torch.where(scale > 0, scale, 1)).to(torch.int8), scale


def dequantise(integers: Tensor, scale: Tensor) -> Tensor:
    """The inverse of :func:`quantise`, in the scale's type."""
    return integers.to(scale.dtype) * scale


def rounded(tensor: Tensor) -> Tensor:
    """The nearest tensor that int8 can hold, row by row."""
    return dequantise(*quantise(tensor))
