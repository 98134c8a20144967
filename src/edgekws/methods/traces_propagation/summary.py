"""Aggregate results: tasks to users, users to means with intervals. Needs no torch, which takes seconds to import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from edgekws.methods.traces_propagation import people
from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics
from edgekws.protocol.users import REPORT


def per_user(rows: pd.DataFrame, *, splits: bool = False) -> pd.DataFrame:
    """Rows of tasks summed over folds: accuracies in percent, gains and forgetting in percentage points.

    Args:
        splits: The folds are not parts of one cross-validation but splits of the same clips: each keeps a row of its own,
            with its ``fold``. What other speakers lose is measured in the first, and stands in the rows of all.
    """
    keys = ["method", "user", "split", "shot", "seed"]
    own, others = ["query_clips", "correct_before", "correct_after"], ["others_clips", "others_before", "others_after"]
    total = rows.groupby([*keys, *["fold"] * splits], sort=False)[[*own, *others]].sum().reset_index()
    total[others] = total.groupby(keys)[others].transform("sum")
    keys += ["fold"] * splits
    percent = pd.DataFrame({
        **{key: total[key] for key in keys}, "query_clips": total.query_clips,
        "before": 100 * total.correct_before / total.query_clips,
        "after": 100 * total.correct_after / total.query_clips,
        "others_before": 100 * total.others_before / total.others_clips,
        "others_after": 100 * total.others_after / total.others_clips})
    percent["gain"] = percent.after - percent.before
    percent["forgetting"] = percent.others_before - percent.others_after
    return percent


def summarise(users: pd.DataFrame, settings: Statistics) -> dict[str, dict[str, Any]]:
    """Means and intervals by method and shot.

    With several users the interval resamples users (each one's seeds averaged first). With one user it is over seeds, and
    with several splits of that user's clips (a column ``fold``) over seeds and splits: it then holds what one further
    split would give (:func:`edgekws.protocol.statistics.one_split_interval`), since the paper's is another one. ``std`` is
    the population standard deviation over users or seeds, as the paper gives it; with several splits, the root mean
    square of each one's.
    """
    summary: dict[str, dict[str, Any]] = {}
    for (method, shot), rows in users.groupby(["method", "shot"], sort=False):
        by = "user" if rows.user.nunique() > 1 else "seed"
        splits = rows.fold.nunique() if "fold" in rows else 1
        cell: dict[str, Any] = {"users": int(rows.user.nunique()), "seeds": int(rows.seed.nunique()), "splits": int(splits),
                                "interval_over": by if splits == 1 else "seed and split"}
        for name in ("before", "after", "gain", "others_before", "others_after", "forgetting"):
            cell[name] = _cell(rows.groupby(by)[name].mean(), settings)
            if splits > 1:
                cell[name] = _over_splits(cell[name], rows.groupby(["fold", by])[name].mean().unstack(), settings)
        summary.setdefault(str(method), {})[str(shot)] = cell
    return summary


def _cell(values: pd.Series, settings: Statistics) -> dict[str, Any]:
    return {**statistics.cell(values, settings), "std": float(values.std(ddof=0))}


def _over_splits(cell: dict[str, Any], table: pd.DataFrame, settings: Statistics) -> dict[str, Any]:
    """A cell over seeds, widened by what splits differ in; ``table`` has a row for each split, a column for each seed."""
    seeds = statistics.Interval(*(cell[name] for name in statistics.Interval._fields))
    found = statistics.one_split_interval(seeds, table.mean(axis=1).to_numpy(), confidence=settings.confidence)
    return {**found.as_dict(), "std": float((table.std(axis=1, ddof=0) ** 2).mean() ** 0.5)}


def experiment_file(name: str, parts: Sequence[dict[str, Any]], settings: Statistics) -> dict[str, Any]:
    """The metrics file of one experiment from those of its methods and seeds (see ``docs/files.md``)."""
    first = parts[0]
    rows = pd.DataFrame([{"method": part["method"], "seed": part["seed"], **row}
                         for part in parts for row in part["rows"]])
    users = per_user(rows, splits=first["settings"]["plan"]["plan"] == "one_user")
    bases = {part["seed"]: part["settings"]["base"]["test_accuracy"] for part in parts}
    return {
        "schema": 1, "paper": "traces_propagation", "experiment": name, "seeds": sorted(bases),
        "settings": {"plan": first["settings"]["plan"], "tuned": first["settings"]["tuned"],
                     "oracle": first["settings"].get("oracle", False),
                     "budgets": {part["method"]: part["settings"]["budget"] for part in parts},
                     "base": {key: value for key, value in first["settings"]["base"].items()
                              if key not in ("seed", "test_accuracy")},
                     "statistics": settings.model_dump()},
        "provenance": first["provenance"],
        "base": {"test_accuracy": _cell(pd.Series(bases), settings)},
        "summary": summarise(users, settings),
        # What a tuned budget is compared with: it is reported on these users only.
        "summary_reporting_users": summarise(users[users.split.isin(REPORT)], settings),
        "people": people.people(rows[rows.split.isin(REPORT)], settings),
        "rows": users.to_dict("records"),
    }
