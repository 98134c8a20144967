"""Arms of OnDA's experiments against each other: differences in accuracy on the same users and draws, with intervals.

Needs neither torch nor pandas, which take seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edgekws.methods.onda.settings import ANYBODY, CLEAN
from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics

Key = tuple[str, int]
"""User and seed."""


class Arm(NamedTuple):
    """What is done on the device, and the percent of the channels that it prunes."""

    schedule: str
    ratio: float = 0.0


DEPLOYED, WEIGHTS_ONLY = Arm("pretrained"), Arm("none")


def clusters(keys: Sequence[Key]) -> list[tuple[str | int, ...]]:
    """What of users and seeds is independent, for each of them: people, or of fewer people than draws users by draws.

    A person's keywords belong together. A wake word that anybody may say is nobody's: other people are tested in each draw.

    >>> clusters([("ann/jarvis", 0), ("ann/view glass", 0), ("bob/jarvis", 0)])
    [('ann',), ('ann',), ('bob',)]
    >>> clusters([("anybody/jarvis", 0), ("anybody/jarvis", 1), ("anybody/view glass", 0)])
    [('anybody/jarvis', 0), ('anybody/jarvis', 1), ('anybody/view glass', 0)]
    """
    people = [user.partition("/")[0] for user, _ in keys]
    independent = len(set(people))
    if ANYBODY not in people and independent > 1 and independent >= len({seed for _, seed in keys}):
        return [(person,) for person in people]
    return list(keys)


def arms(content: Mapping[str, Any]) -> Iterator[tuple[Arm, Mapping[str, Any]]]:
    """Every arm that was not pruned before deployment, with its summary."""
    for schedule, ratios in content["summary"].get("0", {}).items():
        for ratio, cell in ratios.items():
            yield Arm(schedule, float(ratio)), cell


def accuracies(content: Mapping[str, Any], arm: Arm, condition: str) -> dict[Key, float]:
    """Accuracy (percent) at the operating point under a condition, by user and draw; empty where it was not measured."""
    found = {}
    for row in content["rows"]:
        if row["offline"] or Arm(row["schedule"], round(100 * row["ratio"], 6)) != arm:
            continue
        there = row if condition == CLEAN else row["conditions"].get(condition)
        if there is not None:
            found[row["user"], row["seed"]] = float(there["accuracy"])
    return found


def difference(content: Mapping[str, Any], arm: Arm, other: Arm, condition: str, *,
               than: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Points by which an arm is above another one under a condition, as a cell; None where no user and draw has both.

    Args:
        than: The experiment that the other arm is of; None is the same one.
    """
    ours, theirs = accuracies(content, arm, condition), accuracies(content if than is None else than, other, condition)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    chosen = Statistics.model_validate(content["settings"]["statistics"])
    return statistics.cell([ours[key] - theirs[key] for key in both], chosen, clusters(both))


def labels(content: Mapping[str, Any]) -> tuple[float, float] | None:
    """Percent of the stream's wake words that the devices took for one, and of what they took for one that was; all added up."""
    facts = [row["labels"] for row in content["rows"] if row["schedule"] == "pretrained" and row.get("labels")]
    right, taken, missed = (sum(fact[name] for fact in facts) for name in ("true_positives", "positives", "missed"))
    return (100 * right / (right + missed), 100 * right / taken) if right else None
