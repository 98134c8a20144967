"""Numbers as the page shows them: the filters of its templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from edgekws.core.style import shot_label


def interval(found: Mapping[str, Any] | None, *, sign: str = "", digits: int = 1) -> Markup:
    """A mean with its interval.

    >>> str(interval({"value": 9.5, "ci_low": 8.0, "ci_high": 11.0}, sign="+"))
    '<b>+9.5</b> <span class="ci">[+8.0, +11.0]</span>'
    """
    if found is None:
        return Markup("–")
    value = Markup("<b>{}</b>").format(f"{found['value']:{sign},.{digits}f}")
    if found["ci_low"] is None:
        return value
    around = f"[{found['ci_low']:{sign},.{digits}f}, {found['ci_high']:{sign},.{digits}f}]"
    return value + Markup(' <span class="ci">{}</span>').format(around)


def flipped(found: Mapping[str, Any]) -> dict[str, Any]:
    """A saving as a change: the signs turned, and the ends of the interval with them.

    >>> flipped({"value": 3.0, "ci_low": -1.0, "ci_high": 7.0})
    {'value': -3.0, 'ci_low': -7.0, 'ci_high': 1.0}
    """
    low, high = found["ci_low"], found["ci_high"]
    return {"value": -found["value"], "ci_low": None if high is None else -high, "ci_high": None if low is None else -low}


def short(value: float) -> str:
    """
    >>> short(341000), short(0.37412), short(1302.5)
    ('341,000', '0.3741', '1,302.5')
    """
    return f"{value:,.10g}" if abs(value) >= 1000 and value == round(value, 1) else f"{value:,.4g}"


def signed(found: Mapping[str, Any] | None) -> Markup:
    """As :func:`interval`, with the sign of every number."""
    return interval(found, sign="+")


FILTERS = {"interval": interval, "signed": signed, "flipped": flipped, "short": short, "shot": shot_label}
