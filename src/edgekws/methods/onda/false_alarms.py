"""Recall of a detector at a given number of false alarms per hour (onda.md, section 3.5).

Scores are distances, one for each utterance: an utterance is taken for the wake word where its score is below the threshold.
A negative utterance is one false alarm at most, however long it is.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SLACK = 1e-9  # of a number of false alarms: hours are sums of durations, and 3.9999999999999996 of them are four


class OperatingPoint(NamedTuple):
    """The threshold that lets a given number of negatives pass, set on the very negatives it is measured on.

    Attributes:
        threshold: Scores below it are detections; infinite where all negatives may pass.
        accuracy: Share of the positives below it, percent.
        allowed: False alarms that the rate allows in these hours, E.
        false_alarms_per_hour: What the threshold gives; of equal scores at it none passes.
    """

    threshold: float
    accuracy: float
    allowed: int
    false_alarms_per_hour: float


class AtThreshold(NamedTuple):
    """What a threshold gives that was chosen beforehand.

    Attributes:
        recall: Share of the positives below it, percent.
        false_alarms_per_hour: Negatives below it, by the hour.
    """

    recall: float
    false_alarms_per_hour: float


def operating_point(positive: npt.ArrayLike, negative: npt.ArrayLike, hours: float, rate: float) -> OperatingPoint:
    """Accuracy where at most ``int(rate * hours)`` negatives pass; the threshold is the score of the next one.

    Args:
        positive: Scores of the wake words [n], n >= 1.
        negative: Scores of the other utterances [m]; infinite is never a detection.
        hours: What the negatives last together.
        rate: False alarms per hour.

    Raises:
        ValueError: There is no positive, a score is not a number, or the hours are not above 0.
    """
    wanted, others = _scores(positive, negative, hours)
    allowed = _allowed(hours, rate)
    threshold = float(np.partition(others, allowed)[allowed]) if allowed < len(others) else math.inf
    found = at_threshold(wanted, others, hours, threshold)
    return OperatingPoint(threshold, found.recall, allowed, found.false_alarms_per_hour)


def at_threshold(positive: npt.ArrayLike, negative: npt.ArrayLike, hours: float, threshold: float) -> AtThreshold:
    """Recall and false alarms per hour of a given threshold; arguments and errors of :func:`operating_point`."""
    wanted, others = _scores(positive, negative, hours)
    return AtThreshold(100 * float((wanted < threshold).mean()), int((others < threshold).sum()) / hours)


def resolution(hours: float, rate: float) -> dict[str, Any]:
    """What so many hours of negatives can tell of a rate of false alarms.

    Returns:
        ``hours``; ``false_alarms_per_hour``; ``allowed``, the false alarms that makes; ``smallest_rate``, the lowest rate
        above 0 that these hours can tell, per hour; ``told``, whether this rate is not below it. One that is below
        comes out as no false alarm at all.

    Raises:
        ValueError: The hours are not above 0.
    """
    allowed = _allowed(_positive(hours), rate)
    return {"hours": hours, "false_alarms_per_hour": rate, "allowed": allowed, "smallest_rate": 1 / hours,
            "told": allowed > 0}


def _allowed(hours: float, rate: float) -> int:
    return math.floor(rate * hours + _SLACK)


def _positive(hours: float) -> float:
    if not hours > 0:
        raise ValueError(f"false alarms per hour need hours above 0, got {hours}")
    return hours


def _scores(positive: npt.ArrayLike, negative: npt.ArrayLike, hours: float) -> tuple[Floats, Floats]:
    _positive(hours)
    wanted, others = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    if wanted.size == 0:
        raise ValueError("an accuracy needs at least one positive")
    if np.isnan(wanted).any() or np.isnan(others).any():
        raise ValueError("a score is not a number")
    return wanted, others
