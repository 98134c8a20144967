"""Tensors of a file into those of a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgekws.core.errors import UserError

_COUNTER = "num_batches_tracked"  # torch counts batches in each normalisation; files do without


def load(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """``module.load_state_dict``, strict, for tensors of a file, which may leave out torch's batch counters.

    Raises:
        UserError: A tensor is missing or one too many, or a shape is another; the module is then as it was.
    """
    own = module.state_dict()
    counters = {name: tensor for name, tensor in own.items() if name.endswith(_COUNTER)}
    check(own, counters | dict(tensors))
    module.load_state_dict(counters | dict(tensors))


def check(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raises: UserError if a tensor is missing or one too many, a shape is another, or integers stand where weights should."""
    remedy = "train it again, or fetch an intact copy"
    if own.keys() != given.keys():
        raise UserError(f"does not hold the tensors of this network: {sorted(own.keys() ^ given.keys())}",
                        where="model", remedy=remedy)
    for name, tensor in own.items():
        if tensor.shape != given[name].shape:
            raise UserError(f"'{name}' has shape {tuple(given[name].shape)}, the settings want {tuple(tensor.shape)}",
                            where="model", remedy=remedy)
        if tensor.is_floating_point() and not given[name].is_floating_point():
            raise UserError(f"'{name}' is {str(given[name].dtype).removeprefix('torch.')} and has no scale; weights are float32",
                            where="model", remedy="give the model in full precision, as edgekws wrote it")


@torch.no_grad()
def fill(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Copy ``given`` into ``own`` tensors, in place, once all names and shapes are found to agree.

    Raises:
        UserError: A tensor is missing or one too many, or a shape is another.
    """
    check(own, given)
    for name, tensor in own.items():
        tensor.copy_(given[name])


def size(tensors: Mapping[str, Tensor], name: str, axis: int, dimensions: int = 2) -> int:
    """An extent of a tensor that a network's shape follows from; 1 where it is missing or has other dimensions."""
    found = tensors.get(name)
    return found.shape[axis] if found is not None and found.ndim == dimensions else 1
