"""A delta: what changed in a model's named tensors, how to find it, and how to lay it over the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgekws.core.errors import UserError


@dataclass(frozen=True)
class Delta:
    """What changed in the named tensors of a model; what it does not name is the base's.

    Attributes:
        replaced: New values of whole tensors, exactly as they were after adapting.
        low_rank: For a matrix [out, in] of the base (or a convolution's [out, in, 1, 1]) its ``(up [out, rank],
            down [rank, in])``: ``up @ down`` is added to it; a scale such as LoRA's alpha / rank is already in ``up``.
        difference: What is added to whole tensors of the base (a matrix [out, in] also to a convolution's): quantised
            deltas, and averages of several users'.
        added: Tensors that the base does not have: thresholds of single neurons, an adapter.
    """

    replaced: dict[str, Tensor] = field(default_factory=dict)
    low_rank: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    difference: dict[str, Tensor] = field(default_factory=dict)
    added: dict[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is kept, by name: ``<tensor>``, ``<tensor>.up`` and ``.down``."""
        factors = {f"{name}.{part}": tensor for name, pair in self.low_rank.items()
                   for part, tensor in zip(("up", "down"), pair, strict=True)}
        return {**self.replaced, **factors, **self.difference, **self.added}

    @property
    def values(self) -> int:
        """Numbers that are kept."""
        return sum(tensor.numel() for tensor in self.tensors().values())


def apply(base: Mapping[str, Tensor], delta: Delta) -> dict[str, Tensor]:
    """The adapted model's tensors: those of ``base`` with ``delta`` laid over them; unchanged ones are shared.

    Raises:
        UserError: The delta names a tensor that the base does not have, or of another shape.
    """
    adapted = dict(base)
    for name, tensor in delta.replaced.items():
        _own(base, name, tensor.shape)
        adapted[name] = tensor
    for name, difference in [*((name, up @ down) for name, (up, down) in delta.low_rank.items()), *delta.difference.items()]:
        weights = _own(adapted, name, difference.shape, (*difference.shape, 1, 1))
        adapted[name] = weights + difference.view_as(weights)
    return adapted | delta.added


def between(base: Mapping[str, Tensor], adapted: Mapping[str, Tensor]) -> Delta:
    """What ``adapted`` has in another value than ``base``, or beside it: ``apply(base, between(base, adapted))`` is it.

    Raises:
        UserError: A tensor of the base is missing, or has another shape or type.
    """
    remedy = "compare it with the base that it was adapted from"
    for name, tensor in base.items():
        if name not in adapted:
            raise UserError(f"has no '{name}', which the base has", where="adapted model", remedy=remedy)
        if (found := adapted[name]).shape != tensor.shape or found.dtype != tensor.dtype:
            raise UserError(f"'{name}' is {found.dtype} {list(found.shape)}; the base's is {tensor.dtype} {list(tensor.shape)}",
                            where="adapted model", remedy=remedy)
    return Delta(replaced={name: adapted[name] for name, tensor in base.items() if not torch.equal(tensor, adapted[name])},
                 added={name: tensor for name, tensor in adapted.items() if name not in base})


def _own(base: Mapping[str, Tensor], name: str, *shapes: tuple[int, ...]) -> Tensor:
    """The base's tensor of a name, which must have one of the shapes."""
    found = base.get(name)
    if found is None or tuple(found.shape) not in [tuple(shape) for shape in shapes]:
        what = "no such tensor" if found is None else f"one of shape {list(found.shape)}"
        raise UserError(f"changes '{name}' of shape {list(shapes[0])}; the base has {what}", where="delta",
                        remedy="apply it to the base that it was made from")
    return found
