"""One delta from those of several users of the same base: the weighted mean of what they change.

What is averaged is the effect on the base, not the numbers in the files:

* replaced tensors and differences are averaged;
* products ``up down`` are averaged as products, by laying their factors side by side: the mean of the factors would be
  another matrix. Where that takes as many numbers as the whole matrix, the sum is stored as a difference;
* adapters, too, are laid side by side, so that the merged one adds the mean of what each adds to the same activity;
* other added vectors, as thresholds are, are averaged.

Deltas are merged if they change the same tensors in the same form. Where one user's net was not changed, the mean would need
the base, and would say that this user agrees with it: leave that to whoever has the base (``edgekws delta diff``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgekws.core.errors import UserError
from edgekws.models.delta.delta import Delta

_DIFFERENT = "merge deltas that one method made from one base"


def merge(deltas: Sequence[Delta], weights: Sequence[float] | None = None) -> Delta:
    """The weighted mean of several deltas.

    Args:
        weights: One for each, brought to a sum of 1; alike if not given.

    Raises:
        UserError: There is no delta, weights do not fit or are not positive, or the deltas do not change the same tensors
            in the same form.
    """
    given = [1.0] * len(deltas) if weights is None else list(weights)
    if not deltas or len(given) != len(deltas) or not all(0 < weight < float("inf") for weight in given):
        raise UserError(f"{len(deltas)} deltas and the weights {given}", where="merge",
                        remedy="give at least one delta, and one positive weight for each or none")
    shares = [weight / sum(given) for weight in given]
    first = deltas[0]
    for other in deltas[1:]:
        if _forms(other) != _forms(first):
            names = sorted({name for _, name in _forms(other) ^ _forms(first)})
            raise UserError(f"not all change {', '.join(names)}, or not in the same form", where="merge", remedy=_DIFFERENT)
    replaced = {name: _mean([delta.replaced[name] for delta in deltas], shares, name) for name in first.replaced}
    difference = {name: _mean([delta.difference[name] for delta in deltas], shares, name) for name in first.difference}
    low_rank = {}
    for name in first.low_rank:
        up, down = _side_by_side([delta.low_rank[name] for delta in deltas], shares, name)
        if up.numel() + down.numel() < len(up) * down.shape[1]:
            low_rank[name] = (up, down)
        else:
            difference[name] = up @ down
    return Delta(replaced, low_rank, difference, _merged_additions([delta.added for delta in deltas], shares))


def _merged_additions(added: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    merged = {}
    for name, tensor in added[0].items():
        if name in merged:
            continue
        down = name.replace(".up", ".down", 1)
        up = down.replace(".down", ".up", 1)
        if up != down and {up, down} <= added[0].keys():
            merged[up], merged[down] = _side_by_side([(own[up], own[down]) for own in added], shares, up)
        elif tensor.ndim < 2:
            merged[name] = _mean([own[name] for own in added], shares, name)
        else:
            raise UserError(f"nobody knows how to average '{name}', a matrix that was added to the base", where="merge",
                            remedy="merge deltas of weights, thresholds or adapters")
    return merged


def _forms(delta: Delta) -> set[tuple[str, str]]:
    return {(form, name) for form in ("replaced", "low_rank", "difference", "added") for name in getattr(delta, form)}


def _mean(tensors: Sequence[Tensor], shares: Sequence[float], name: str) -> Tensor:
    if len({tensor.shape for tensor in tensors}) > 1:
        raise UserError(f"'{name}' has several shapes", where="merge", remedy=_DIFFERENT)
    if all(torch.equal(tensor, tensors[0]) for tensor in tensors):
        return tensors[0]
    if not tensors[0].is_floating_point():
        raise UserError(f"'{name}' holds integers, which have no mean", where="merge", remedy=_DIFFERENT)
    total = sum(share * tensor.double() for share, tensor in zip(shares, tensors, strict=True))
    assert isinstance(total, Tensor)
    return total.to(tensors[0].dtype)


def _side_by_side(pairs: Sequence[tuple[Tensor, Tensor]], shares: Sequence[float], name: str) -> tuple[Tensor, Tensor]:
    """Factors whose product is the mean of the pairs' products; pairs that are all the same stay one."""
    if len({(*up.shape[:1], *up.shape[2:], *down.shape[1:]) for up, down in pairs}) > 1:
        raise UserError(f"'{name}' has several shapes", where="merge", remedy=_DIFFERENT)
    if all(torch.equal(up, pairs[0][0]) and torch.equal(down, pairs[0][1]) for up, down in pairs):
        return pairs[0]
    return (torch.cat([share * up for share, (up, _) in zip(shares, pairs, strict=True)], 1),
            torch.cat([down for _, down in pairs], 0))
