"""For whom adaptation pays: its gain over people, not only on average. Needs no torch, which takes seconds to import.

The unit is one adaptation, of a user's fold, shot and seed; its gain is in percentage points. Intervals are those of a mixed
model (:func:`edgekws.protocol.statistics.mixed_interval`): users, seeds and folds are all drawn at random, so that the
differences between base models, which all users share, are in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics

PAPER_GAIN = {"1": 10.00, "3": 11.76, "5": 11.76, "all": 15.68}
"""Points that the paper's one user gained, by clips of each word (claims tp-05 to tp-07; three are told beside its five)."""
PAPER_START = (76.0, 87.0)
"""Accuracy before, percent: the paper's user (81.6) and what its published standard error over 74 clips leaves open, 4.5."""
PUBLISHED = "traces_propagation"
QUANTILES = (5, 25, 50, 75, 95)

Array = npt.NDArray[np.float64]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of tasks with ``gain``, ``forgetting``, ``before`` and ``after``; forgetting is missing where no clip was asked."""
    asked = rows.others_clips.where(rows.others_clips > 0)
    return rows.assign(before=100 * rows.correct_before / rows.query_clips, after=100 * rows.correct_after / rows.query_clips,
                       gain=100 * (rows.correct_after - rows.correct_before) / rows.query_clips,
                       forgetting=100 * (rows.others_before - rows.others_after) / asked)


def cube(rows: pd.DataFrame, name: str) -> Array:
    """A column as [users, seeds, folds], each user's folds in their order.

    They are averaged, [users, seeds, 1], where users have not equally many, or not the same with every seed.

    Raises:
        ValueError: A user lacks a seed.
    """
    rows = rows.assign(fold=rows.groupby("user").fold.rank(method="dense").astype(int))
    wide = rows.pivot_table(index="user", columns=["seed", "fold"], values=name, sort=True)
    if wide.isna().any().any():
        wide = rows.groupby(["user", "seed"])[name].mean().unstack()
        return wide.to_numpy(np.float64)[:, :, None]
    return wide.to_numpy(np.float64).reshape(len(wide), rows.seed.nunique(), -1)


def people(rows: pd.DataFrame, settings: Statistics) -> dict[str, dict[str, Any]]:
    """What each method does for whom, by method and shot.

    Args:
        rows: Tasks of users who report, with ``method`` and ``seed``.

    Returns:
        ``gain`` and ``forgetting`` with their intervals, ``components`` (standard deviations of the random effects of the
        gain); ``lose`` and ``reach``: share of users, percent, whose mean gain is below zero, or at least the paper's;
        ``near``: users who start where the paper's did, and their gain; ``quantiles`` of the users' gains; ``falls``:
        correlation of gain with accuracy before, as it is and, since the same clips decide both, with the accuracy on the
        user's other folds; ``against_published``: gain and forgetting beside the published rule's, on the same tasks.
    """
    rows = table(rows)
    of = ["user", "fold", "shot", "seed"]
    published = rows[rows.method == PUBLISHED][[*of, "gain", "forgetting"]]
    found: dict[str, dict[str, Any]] = {}
    for (method, shot), own in rows.groupby(["method", "shot"], sort=False):
        if own.user.nunique() < 2:
            continue
        cell = one(own, str(shot), settings)
        paired = own.merge(published, on=of, suffixes=("", "_published"))
        if method != PUBLISHED and paired.user.nunique() > 1:
            cell["against_published"] = {name: _mixed(paired.assign(
                difference=paired[name] - paired[f"{name}_published"]), "difference", settings)[0]
                for name in ("gain", "forgetting") if paired[name].notna().all()}
        found.setdefault(str(method), {})[str(shot)] = cell
    return found


def one(own: pd.DataFrame, shot: str, settings: Statistics) -> dict[str, Any]:
    """One method and shot of :func:`people`."""
    gain, components = _mixed(own, "gain", settings)
    users = own.groupby("user")[["before", "gain"]].mean()
    near = users[users.before.between(*PAPER_START)].gain
    paper = PAPER_GAIN.get(shot)
    asked = own[own.forgetting.notna()]
    return {"users": int(own.user.nunique()), "seeds": int(own.seed.nunique()),
            "folds": int(own.groupby(["user", "seed"]).fold.nunique().max()), "gain": gain,
            "forgetting": _mixed(asked, "forgetting", settings)[0] if asked.user.nunique() > 1 else None,
            "components": components, "lose": float(100 * (users.gain < 0).mean()),
            "reach": None if paper is None else float(100 * (users.gain >= paper).mean()),
            "near": {"users": len(near), "gain": statistics.cell(near, settings) if len(near) else None},
            "quantiles": {str(share): float(np.percentile(users.gain, share)) for share in QUANTILES},
            "falls": {"same_clips": _correlation(users.before, users.gain), "other_clips": _apart(own)}}


def _mixed(rows: pd.DataFrame, name: str, settings: Statistics) -> tuple[dict[str, Any], dict[str, float | None]]:
    interval, components = statistics.mixed_interval(cube(rows, name), confidence=settings.confidence)
    return interval.as_dict(), components._asdict()


def _apart(own: pd.DataFrame) -> float | None:
    """Correlation of a fold's gain with the accuracy before on the user's other folds; None with one fold."""
    folds = own.groupby(["user", "fold"])[["query_clips", "correct_before", "gain"]].mean().reset_index()
    if (folds.groupby("user").fold.transform("size") < 2).any():
        return None
    whole = folds.groupby("user")[["query_clips", "correct_before"]].transform("sum")
    elsewhere = (whole.correct_before - folds.correct_before) / (whole.query_clips - folds.query_clips)
    return _correlation(elsewhere, folds.gain)


def _correlation(first: pd.Series[Any], second: pd.Series[Any]) -> float | None:
    known = first.std() > 0 and second.std() > 0
    return float(np.corrcoef(first, second)[0, 1]) if known else None
