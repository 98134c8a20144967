"""Numbers as a reader wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekws.protocol.statistics import Interval


def listed(names: Sequence[str]) -> str:
    """
    >>> listed(["A"]), listed(["A", "B", "C"])
    ('A', 'A, B and C')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def told(cell: Mapping[str, Any] | None, sign: str = "") -> str:
    """A mean with its interval, as metrics files hold it (``Interval.as_dict``), to one decimal; "–" where there is none.

    >>> told({"value": 61.24, "ci_low": 50.0, "ci_high": 70.26}), told({"value": 7.0, "ci_low": None, "ci_high": None}, "+")
    ('61.2 [50.0, 70.3]', '+7.0')
    >>> told({"value": 7.81, "ci_low": 6.4, "ci_high": 9.26}, "+"), told(None)
    ('+7.8 [+6.4, +9.3]', '–')
    """
    if cell is None:
        return "–"
    around = "" if cell["ci_low"] is None else f" [{cell['ci_low']:{sign}.1f}, {cell['ci_high']:{sign}.1f}]"
    return f"{cell['value']:{sign}.1f}{around}"


def spoken_neutral(neutral: float) -> str:
    return "zero" if neutral == 0 else f"{neutral:g}"


def spoken(ours: Interval, unit: str | None) -> str:
    """A number as a reader wants it.

    >>> spoken(Interval(9.5, 7.25, 11.75, 30), "percentage points")
    '9.50 [7.25, 11.75] points, n = 30'
    """
    around = "" if ours.ci_low is None else f" [{ours.ci_low:.2f}, {ours.ci_high:.2f}]"
    return f"{ours.value:.2f}{around}{spoken_unit(unit)}, n = {ours.n}"


def spoken_paper(value: float | Sequence[float] | None, std: float | None, unit: str | None) -> str:
    """A paper's value with the spread it states.

    >>> spoken_paper(81.62, 2.2, "%"), spoken_paper([91, 96], None, "%"), spoken_paper(9.63, None, "x")
    ('81.62 ± 2.20 %', '91 to 96 %', '9.63×')
    """
    if value is None:
        return "no number"
    if not isinstance(value, int | float):
        return f"{value[0]:g} to {value[1]:g}{spoken_unit(unit)}"
    text = f"{value:.2f}" if std is not None or unit == "percentage points" else f"{value:g}"
    return f"{text}{'' if std is None else f' ± {std:.2f}'}{spoken_unit(unit)}"


def spoken_unit(unit: str | None) -> str:
    """
    >>> spoken_unit("x"), spoken_unit("percentage points"), spoken_unit(None)
    ('×', ' points', '')
    """
    return {None: "", "percentage points": " points", "x": "×"}.get(unit, f" {unit}")
