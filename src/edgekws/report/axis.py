"""Measured claims beside the paper's numbers, on axes that they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def key_figures(claims: Iterable[dict[str, Any]], titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """A paper's measured claims, in groups of one unit that share an axis; places on it in percent of its width.

    Args:
        claims: Of one paper; those without a number of ours or of the paper's are left out.
        titles: What an axis is called, by unit; the others are called as their unit.

    Returns:
        Groups of ``title``, ``rows``, ``ticks`` and ``also``, the names of further numbers where all its claims have the
        same ones.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for claim in claims:
        if claim["value"] is not None and claim["paper_value"] is not None:
            groups.setdefault(claim["unit"] or "", []).append(claim)
    return [{"title": titles.get(unit, unit), "also": _shared(found), **_axis(found)} for unit, found in groups.items()]


def _shared(found: list[dict[str, Any]]) -> list[str]:
    names = [[other["name"] for other in claim["also"]] for claim in found]
    return names[0] if all(each == names[0] for each in names) else []


def _axis(found: list[dict[str, Any]]) -> dict[str, Any]:
    ends = [value for claim in found for other in (claim, *claim["also"])
            for value in (other["value"], other["ci_low"], other["ci_high"]) if value is not None]
    ends += [claim[name] for claim in found for name in ("paper_ci_low", "paper_ci_high")]
    if found[0]["unit"] != "%":
        ends.append(0.0)  # the line of no effect belongs on the axis of an effect
    low, high = min(ends), max(ends)
    step = next(size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1e9) if (high - low) / size <= 6)
    low, high = step * (low // step), step * -(-high // step)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return float(round(100 * (value - low) / span, 2))

    def bar(first: float | None, last: float | None) -> dict[str, float] | None:
        if first is None or last is None:
            return None
        return {"left": place(first), "width": round(place(last) - place(first), 2)}

    rows = [{"claim": claim, "paper": None if isinstance(claim["paper_value"], list) else place(claim["paper_value"]),
             "paper_bar": bar(claim["paper_ci_low"], claim["paper_ci_high"]), "ours": place(claim["value"]),
             "ours_bar": bar(claim["ci_low"], claim["ci_high"]),
             "also": [{**other, "at": place(other["value"]), "bar": bar(other["ci_low"], other["ci_high"])}
                      for other in claim["also"]]} for claim in found]
    ticks = [{"at": place(low + step * index), "text": f"{low + step * index:g}"}
             for index in range(round(span / step) + 1)]
    return {"rows": rows, "ticks": ticks}
