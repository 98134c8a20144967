"""Aggregate results: rows of users and seeds to means with intervals, effects and the largest iso-accurate compression.

Needs no torch, which takes seconds to import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgekws.methods.onda.paired import clusters
from edgekws.methods.onda.settings import CLEAN, UNPRUNED, OndaEvaluation
from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics

Floats = npt.NDArray[np.float64]

ARM = ["offline", "schedule", "ratio"]
"""What makes an arm: share pruned before deployment, what is done on the device, share pruned there."""

EFFECTS: dict[str, tuple[str, str]] = {
    "self_learning": ("none", "pretrained"),
    "oracle_labels": ("oracle", "none"),
    "onda_1_vs_none": ("onda_1", "none"),
    "onda_2_vs_none": ("onda_2", "none"),
    "onda_1_vs_onda_2": ("onda_1", "onda_2"),
    "onda_1_vs_l1_before": ("onda_1", "l1_before"),
    "onda_1_vs_random_before": ("onda_1", "random_before"),
    "onda_1_vs_hap_wrong_domain": ("onda_1", "hap_wrong_domain"),
    "onda_2_vs_hap_after": ("onda_2", "hap_after"),
    "onda_2_vs_random_after": ("onda_2", "random_after"),
    "onda_2_vs_l1_before": ("onda_2", "l1_before"),
    "oracle_onda_1_vs_onda_1": ("oracle_onda_1", "onda_1"),
    "statistics": ("statistics", "pretrained"),
    "more_updates": ("more_updates", "none"),
    "robust": ("robust", "pretrained"),
    "robust_vs_none": ("robust", "none"),
    "robust_distilled_vs_robust": ("robust_distilled", "robust"),
    "robust_distilled_vs_distilled": ("robust_distilled", "distilled"),
    "robust_distilled_vs_onda_1": ("robust_distilled", "onda_1"),
}
"""Differences in accuracy between two schedules on the same user, seed, offline share and ratio (where both have one)."""

_PAPERS = ("none", "onda_1", "onda_2")
_UNPRUNED = ("pretrained", *sorted(UNPRUNED))


def percent(share: Any) -> str:
    """How a share is named in files.

    >>> percent(0.25), percent(0.0)
    ('25', '0')
    """
    return f"{100 * share:g}"


def summarise(rows: pd.DataFrame, settings: Statistics, evaluation: OndaEvaluation) -> dict[str, Any]:
    """Means with intervals over users by offline share, schedule and ratio (all as :func:`percent`).

    Args:
        rows: One row for each user, seed and arm: ``user, seed, offline, schedule, ratio, accuracy, recall,
            false_alarms_per_hour, parameters, multiply_accumulates, adapted``, and the accuracies at the rates of the
            detection error trade-off (``curve``: a list), and all of these under other ``conditions`` by name.
        settings: Confidence and resamples.
        evaluation: Rates of the curve, and those that are told by condition.
    """
    full = rows[(rows.schedule.isin(_UNPRUNED)) & (rows.offline == 0)]
    parameters, operations = full.parameters.mean(), full.multiply_accumulates.mean()
    summary: dict[str, Any] = {}
    for (offline, schedule, ratio), arm in rows.groupby(ARM, sort=False):
        cell: dict[str, Any] = {name: _mean(arm, name, settings)
                                for name in ("accuracy", "recall", "false_alarms_per_hour")}
        cell |= {"parameters": float(arm.parameters.mean()), "compression": float(parameters / arm.parameters.mean()),
                 "multiply_accumulates": float(arm.multiply_accumulates.mean()),
                 "fewer_operations": float(operations / arm.multiply_accumulates.mean()),
                 "curve": np.mean(np.stack(arm.groupby("user").curve.apply(_mean_curve).to_list()), axis=0).tolist(),
                 "users": int(arm.user.nunique()), "seeds": int(arm.seed.nunique()),
                 "not_adapted": int((~arm.adapted).sum()),
                 "steps": float(arm.training.map(lambda facts: facts.get("steps", 0)).mean()),
                 "conditions": _by_condition(arm, rows[(rows.schedule == "pretrained") & (rows.offline == offline)], settings,
                                             evaluation)}
        summary.setdefault(percent(offline), {}).setdefault(schedule, {})[percent(ratio)] = cell
    return summary


def _by_condition(arm: pd.DataFrame, deployed: pd.DataFrame, settings: Statistics,
                  evaluation: OndaEvaluation) -> dict[str, Any]:
    """Accuracy at the rates told, its gain over the encoder as deployed, and what the device's threshold gives."""
    places = {rate: evaluation.curve.index(rate) for rate in evaluation.told if rate in evaluation.curve}
    before = {(row.user, row.seed): row for row in deployed.itertuples()}
    found: dict[str, Any] = {}
    for name in (CLEAN, *arm.conditions.iloc[0]):
        own = arm[["user", "seed"]].copy()
        points = [_points(row, name) for row in arm.itertuples()]
        for quantity in ("accuracy", "recall", "false_alarms_per_hour"):
            own[quantity] = [point[quantity] for point in points]
        own["gain"] = [point["accuracy"] - _points(before.get((row.user, row.seed), row), name)["accuracy"]
                       for point, row in zip(points, arm.itertuples(), strict=True)]
        for rate, place in places.items():
            own[f"{rate:g}"] = [point["curve"][place] for point in points]
        found[name] = {"at": {f"{rate:g}": _mean(own, f"{rate:g}", settings) for rate in places}} | {
            quantity: _mean(own, quantity, settings) for quantity in ("gain", "recall", "false_alarms_per_hour")}
    return found


def _points(row: Any, condition: str) -> Mapping[str, Any]:
    """What a row has under a condition; the row itself holds the clean one."""
    if condition != CLEAN:
        return row.conditions[condition]  # type: ignore[no-any-return]
    return {name: getattr(row, name) for name in ("accuracy", "curve", "recall", "false_alarms_per_hour")}


def _mean_curve(curves: pd.Series) -> Floats:
    mean: Floats = np.asarray(curves.to_list(), dtype=np.float64).mean(axis=0)
    return mean


def _mean(rows: pd.DataFrame, name: str, settings: Statistics) -> dict[str, Any]:
    """People are averaged over their keywords and seeds, and then resampled (:mod:`edgekws.methods.onda.paired`)."""
    return statistics.cell(rows[name], settings, _clusters(rows))


def _clusters(rows: pd.DataFrame) -> list[tuple[str | int, ...]]:
    return clusters(list(zip(rows.user, rows.seed, strict=True)))


def effects(rows: pd.DataFrame, settings: Statistics) -> dict[str, Any]:
    """Paired differences in accuracy (percentage points) by offline share, named in :data:`EFFECTS`, and ratio.

    ``mean`` beside the ratios is the difference averaged over them. Schedules without a ratio are paired with each.
    """
    keys = ["user", "seed"]
    found: dict[str, Any] = {}
    for offline, own in rows.groupby("offline", sort=True):
        by_schedule = {name: arm for name, arm in own.groupby("schedule", sort=False)}
        for name, (one, other) in EFFECTS.items():
            if one not in by_schedule or other not in by_schedule:
                continue
            on = keys if {one, other} & set(_UNPRUNED) else [*keys, "ratio"]
            both = by_schedule[one].merge(by_schedule[other], on=on, suffixes=("", "_other"))
            if both.empty:
                continue
            both["accuracy"] -= both.accuracy_other
            cell = {percent(ratio): _mean(part, "accuracy", settings) for ratio, part in both.groupby("ratio")}
            found.setdefault(percent(offline), {})[name] = {**cell, "mean": _mean(both, "accuracy", settings)}
    return found


def stacking(rows: pd.DataFrame, settings: Statistics) -> dict[str, Any]:
    """What pruning on the device costs an encoder that was pruned before, against fine-tuning it as it is (points).

    By schedule; over all offline shares above 0 and all ratios, and by offline share and ratio.
    """
    pruned = rows[rows.offline > 0]
    before = pruned[pruned.schedule == "none"]
    found: dict[str, Any] = {}
    for schedule in ("onda_1", "onda_2"):
        both = pruned[pruned.schedule == schedule].merge(before, on=["user", "seed", "offline"], suffixes=("", "_other"))
        if both.empty:
            continue
        both["accuracy"] -= both.accuracy_other
        found[schedule] = {"mean": _mean(both, "accuracy", settings)} | {
            percent(offline): {percent(ratio): _mean(part, "accuracy", settings) for ratio, part in own.groupby("ratio")}
            for offline, own in both.groupby("offline")}
    return found


def compression(rows: pd.DataFrame, slack: float, settings: Statistics,
                schedules: Sequence[str] = _PAPERS) -> dict[str, Any] | None:
    """The largest compression at equal accuracy (gap 14).

    Among the arms whose mean accuracy over users and seeds is at least that of weights-only adaptation of the unpruned
    encoder less ``slack``, the largest ratio of its parameters to theirs; 1 where only the unpruned one is left.

    The best of many arms looks better than it is, and so would the best of each resample. So every pruned arm gets an
    interval of its own, of its difference from the unpruned encoder paired over people (of fewer than draws: over users and
    draws; Student's t), at the confidence that
    leaves the chance of an error in any of them at what is asked for (Bonferroni). ``ci_low`` is the largest ratio of those
    that keep the accuracy with their whole interval, ``ci_high`` of those that keep it with its upper end.

    Args:
        slack: Points of accuracy let go.
        schedules: What counts besides the unpruned encoder itself.

    Returns:
        ``{"value", "ci_low", "ci_high", "n", "arm"}``; None where the unpruned encoder was not measured on
        every user.
    """
    rows = rows[rows.schedule.isin([*schedules, "none"])]
    rows = rows.assign(unit=[" ".join(map(str, cluster)) for cluster in _clusters(rows)])
    table = rows.pivot_table(index="unit", columns=ARM, values="accuracy", aggfunc="mean", sort=True)
    baseline = (0.0, "none", 0.0)
    sizes: dict[Any, float] = rows.groupby(ARM).parameters.mean().to_dict()
    columns: list[Any] = table.dropna(axis=1).columns.to_list()  # an arm of some users only does not compare
    if baseline not in columns:
        return None
    arms = [arm for arm in columns if arm != baseline and arm[1] in schedules]
    n = len(table)
    kept = {baseline: (True, True, True)} | {
        arm: _kept((table[arm] - table[baseline]).to_numpy(np.float64), slack, 1 - (1 - settings.confidence) / len(arms))
        for arm in arms}
    factor = {arm: float(sizes[baseline] / sizes[arm]) for arm in kept}
    low, best, high = (max((arm for arm in kept if kept[arm][at]), key=factor.__getitem__) for at in range(3))
    return {"value": factor[best], "ci_low": factor[low] if n > 1 else None, "ci_high": factor[high] if n > 1 else None,
            "n": n, "arm": dict(zip(ARM, best, strict=True))}


def _kept(differences: Floats, slack: float, confidence: float) -> tuple[bool, bool, bool]:
    """Whether accuracy is kept within the slack by all of the interval, by the mean, and by the interval's upper end."""
    mean, n, half = float(differences.mean()), len(differences), math.inf
    # A few users who all lose the same show no spread, and with it no interval.
    if n >= statistics.FEW or (n > 1 and np.ptp(differences) > 1e-9):
        half = statistics.t_half_width(float(differences.std(ddof=1)), n, confidence)
    least = -slack - 1e-9
    return mean - half >= least, mean >= least, mean + half >= least


def experiment_file(name: str, parts: Sequence[Mapping[str, Any]], evaluation: OndaEvaluation,
                    settings: Statistics) -> dict[str, Any]:
    """The metrics file of one experiment from those of its jobs (see ``docs/files.md``)."""
    first = parts[0]
    rows = pd.DataFrame([row for part in parts for row in part["rows"]])
    # As many a summary as there are jobs: sorted, so that their order does not matter.
    rows = rows.sort_values(["offline", "seed", "user"], kind="stable", ignore_index=True)
    # One row for each adaptation, whichever schedule comes first.
    adapted = rows[rows.schedule == next(name for name in rows.schedule if name != "pretrained")]
    adapted = adapted.drop_duplicates(["offline", "seed", "user"])
    screened = [found for part in parts if (found := part.get("screening"))]
    iso = {label: {who: found for who, schedules in (("all", _PAPERS), ("onda_1", ("onda_1",)), ("onda_2", ("onda_2",)))
                   if (found := compression(rows, slack, settings, schedules))}
           for label, slack in (("strict", 0.0), ("slack", evaluation.slack))}
    return {
        "schema": 1, "paper": "onda", "experiment": name, "seeds": sorted({int(seed) for seed in rows.seed}),
        "users": sorted(set(rows.user)), "settings": {**first["settings"], "evaluation": evaluation.model_dump(),
                                                       "statistics": settings.model_dump()},
        "provenance": first["provenance"], "operating_point": first["operating_point"], "noises": first.get("noises", {}),
        "encoder": first["encoder"],
        "calibrations": {"all": len(adapted), "failed": int((adapted.why == "calibration").sum()),
                         "too_few_labels": int((adapted.why == "labels").sum())},
        # Users whose figures screening leaves as they are, of those that were looked at (one a job).
        "screening": {"looked_at": len(screened), **{name: sum(found[name] for found in screened)
                                                      for name in ("accuracy", "curve", "false_alarms_per_hour")}},
        "summary": summarise(rows, settings, evaluation), "effects": effects(rows, settings),
        "stacking": stacking(rows, settings),
        "iso": iso, "rows": rows.to_dict("records"),
    }
