"""A second device in name only: tensors that say they are elsewhere, refuse to meet the CPU's, and compute on the CPU.

It finds what a GPU would: a tensor that a loop makes on the CPU by habit and mixes with the network's, or hands to numpy
unmoved. Its kernels are the CPU's, so a loop that is right gives the very bytes that it gives on the CPU.
"""

from __future__ import annotations

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("meta")
"""A device that torch knows without its hardware; here only the name is used, the data is real."""


class There(torch.Tensor):
    """A tensor on the second device; ``data_here`` is the tensor that computes."""

    @staticmethod
    def __new__(cls, here):
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype, device=ELSEWHERE,
            requires_grad=False)
        made.data_here = here
        return made

    def __repr__(self):
        return f"There({self.data_here!r})"

    def numpy(self, *_, **__):
        raise TypeError("can't convert a tensor of the second device to numpy")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """One operation: all its tensors are on one device, but for scalars; what comes out is there, too."""
    given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    there = [each for each in given if isinstance(each, There)]
    target = kwargs.get("device", ELSEWHERE if there else None)
    moving = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if there and not moving:
        strangers = [each for each in given if not isinstance(each, There) and each.dim() > 0]
        assert not strangers, f"{func} mixes the devices: {[tuple(each.shape) for each in strangers]} are on the CPU"
    inner_kwargs = {name: value for name, value in kwargs.items() if name != "device"}
    if func is torch.ops.aten._to_copy.default or "device" in kwargs:
        inner_kwargs["device"] = torch.device("cpu")
    bare = tree_map(lambda each: each.data_here if isinstance(each, There) else each, (args, inner_kwargs))
    found = func(*bare[0], **bare[1])
    if target is None or torch.device(target) != ELSEWHERE:
        return found
    found = tree_map(lambda each: There(each) if isinstance(each, torch.Tensor) else each, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if there else found


class _Made(TorchDispatchMode):
    """Tensors that are made on, or moved to, the second device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if "device" in kwargs and kwargs["device"] is not None and torch.device(kwargs["device"]) == ELSEWHERE:
            return run(func, args, kwargs)
        return func(*args, **kwargs)


@contextlib.contextmanager
def second_device():
    """Within it :data:`ELSEWHERE` is a device to train on."""
    with _Made():
        yield ELSEWHERE
