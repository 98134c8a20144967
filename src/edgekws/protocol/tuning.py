"""The best point of a grid, which is widened until the best no longer lies on its edge; and of many axes, one after another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edgekws.core.checkpoint import NOWHERE, Checkpoint

Point = dict[str, float]
"""A value for each axis."""


def search(axes: Mapping[str, Sequence[float]], measure: Callable[[Point], dict[str, Any]], *, widen: int,
           bounded: Mapping[str, tuple[float, float]] | None = None,
           checkpoint: Checkpoint = NOWHERE) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measures every point of a grid, then goes on beyond an edge on which the best lies.

    An axis goes on as it ended: by the ratio of its two last values, whole numbers staying whole; an axis of one value was not
    to be searched and stays as it is. What is added has the best's values on the other axes.

    Args:
        axes: Values by name. Of points that are equally good the first counts, in the order of the values given.
        measure: Adds to a point what was measured there, ``after`` among it: the larger, the better.
        widen: Values that are added in all, at most.
        bounded: Lowest and highest value that an axis can take; there the edge is the end.

    Returns:
        The best point, with ``on_edge``: the axes on whose edge it lies all the same; and all points in the order in which
        they were measured, each with ``widened``: the axis that it was added on, or None.
    """
    grid = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    measured: list[dict[str, Any]] = []

    def best() -> dict[str, Any]:
        return max(measured, key=lambda point: point["after"])

    def onward() -> Iterator[tuple[str, float]]:
        """The axes on whose edge the best lies, and the value beyond it."""
        for name, given in axes.items():
            tried = sorted({*given, *(point[name] for point in measured if point["widened"] == name)})
            if (further := _beyond(tried, best()[name], *(bounded or {}).get(name, (0, math.inf)))) is not None:
                yield name, further

    def at(place: int) -> dict[str, Any] | None:
        if place < len(grid):
            return {**measure(grid[place]), **grid[place], "widened": None}
        for name, further in onward():
            point = {axis: best()[axis] for axis in axes} | {name: further}
            return {**measure(point), **point, "widened": name}
        return None

    # Each step depends on those before it, which a checkpoint gives back in order.
    for found in checkpoint.each(range(len(grid) + widen), at, of="points"):
        if found is None:
            break
        measured.append(found)
    return {**best(), "on_edge": [name for name, _ in onward()]}, measured


def ascend(start: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], measure: Callable[[dict[str, Any]], dict[str, Any]],
           *, checkpoint: Checkpoint = NOWHERE) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tries the values of one axis after another, each time from the best point so far.

    Args:
        start: The first point, a value for each axis.
        axes: Values by name, in the order in which they are tried.
        measure: Adds to a point what was measured there, ``score`` among it: the larger, the better; of equals the first counts.

    Returns:
        The best point, and all points in the order in which they were measured.
    """
    measured: list[dict[str, Any]] = []

    def best() -> dict[str, Any]:
        return max(measured, key=lambda point: point["score"])

    def at(step: tuple[str, Any] | None) -> dict[str, Any] | None:
        if step is None:
            return {**measure(dict(start)), **start}
        point = {name: best()[name] for name in start} | {step[0]: step[1]}
        if any(all(known[name] == point[name] for name in start) for known in measured):
            return None
        return {**measure(dict(point)), **point}

    steps: list[tuple[str, Any] | None] = [None, *((name, value) for name, values in axes.items() for value in values)]
    for found in checkpoint.each(steps, at, of="points"):
        if found is not None:
            measured.append(found)
    return best(), measured


def _beyond(tried: Sequence[float], best: float, lowest: float, highest: float) -> float | None:
    """The value that an axis goes on with beyond ``best``; None if that is no edge, or the axis ends there."""
    if len(tried) < 2 or tried[0] < best < tried[-1]:
        return None
    neighbour = tried[-2] if best == tried[-1] else tried[1]
    further: float = best * best / neighbour
    if all(isinstance(value, int) for value in tried):
        further = round(further)
    further = min(max(further, lowest), highest)
    return None if further == best else further
