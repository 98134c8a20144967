"""Tensors as the compiled code sees them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from torch import Tensor

LANES = 16
"""Neurons of a block; rows are padded to whole blocks."""


def padded(neurons: int) -> int:
    """Neurons and what fills their last block."""
    return -(-neurons // LANES) * LANES


def at(tensor: Tensor | None, row: int = 0) -> ctypes.c_void_p | None:
    """Address of a contiguous tensor, or of a row of it."""
    if tensor is None:
        return None
    assert tensor[0].is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr() + row * tensor.stride(0) * tensor.element_size())


def integers(*values: int) -> Iterator[ctypes.c_int64]:
    """Arguments of type ``int64_t``."""
    return map(ctypes.c_int64, values)
