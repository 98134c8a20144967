"""Aggregate the bench: every method's gain with its interval, what it changes, and what it keeps of full fine-tuning.

Needs no torch, which takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation.summary import per_user, summarise
from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics

FULL = {"spiking": "bptt_full", "ds_cnn": "ds_cnn_full"}
"""Full fine-tuning of each net: what the others are compared with."""


def adaptation_file(parts: Sequence[Mapping[str, Any]], settings: Statistics) -> dict[str, Any]:
    """``adaptation.json`` from the metrics of every method and seed (see ``docs/files.md``)."""
    first = parts[0]
    rows = pd.DataFrame([{"method": part["method"], "seed": part["seed"], **row} for part in parts for row in part["rows"]])
    users = per_user(rows)
    methods = {part["method"]: {**part["settings"]["method"], "budget": part["settings"]["budget"], **part["delta"]}
               for part in parts}
    full = {net: name for net, name in FULL.items() if name in methods}
    return {
        "schema": 1, "paper": "alternatives", "experiment": "adaptation",
        "seeds": sorted({part["seed"] for part in parts}),
        "settings": {"plan": first["settings"]["plan"], "statistics": settings.model_dump(), "methods": {
            part["method"]: {**part["settings"]["method"], **part["settings"]["budget"]} for part in parts}},
        "provenance": first["provenance"],
        "methods": methods,
        "summary": summarise(users, settings),
        "against_full": {name: against_full(users, name, full[facts["net"]], settings, sample=facts.get("users") is not None)
                         for name, facts in methods.items() if facts["net"] in full and full[facts["net"]] != name},
        "checks": checks(methods, full),
        "rows": users.to_dict("records"),
    }


def against_full(users: pd.DataFrame, method: str, full: str, settings: Statistics, *,
                 sample: bool = False) -> dict[str, Any]:
    """A method beside full fine-tuning of the same net, by shot, paired over users (each one's seeds averaged first).

    Args:
        sample: The method was measured on some of the users only, for its slowness.

    Returns:
        ``gain`` and ``forgetting``, differences in points; ``accuracy_kept`` and ``gain_kept``, percent: ratios of means.
        Where the interval of full fine-tuning's gain holds zero, there is no share of it.
    """
    found: dict[str, Any] = {}
    for shot, rows in users.groupby("shot", sort=False):
        means = rows.groupby(["method", "user"])[["after", "gain", "forgetting"]].mean()
        mine, whole = (means.loc[which].sort_index() for which in (method, full))
        if sample and mine.index.isin(whole.index).all():
            whole = whole.loc[mine.index]
        if list(mine.index) != list(whole.index):
            raise UserError(f"'{method}' and '{full}' were measured on other users", where="metrics",
                            remedy="adapt by both on the same plan")
        cells = {name: statistics.cell(mine[name] - whole[name], settings) for name in ("gain", "forgetting")}
        for name, share in (("after", "accuracy_kept"), ("gain", "gain_kept")):
            kept = statistics.ratio_interval(100 * mine[name].to_numpy(np.float64), whole[name].to_numpy(np.float64),
                                             confidence=settings.confidence)
            if kept is not None and whole[name].mean() > 0:
                cells[share] = kept.as_dict()
        found[str(shot)] = cells
    return found


def checks(methods: Mapping[str, Mapping[str, Any]], full: Mapping[str, str]) -> dict[str, Any]:
    """Claims about sizes, which no speech decides: ``{"holds", "why"}`` each."""
    found: dict[str, Any] = {}
    for net, whole in full.items():
        loras = {name: facts for name, facts in methods.items() if facts["net"] == net and facts["kind"] == "lora"}
        if not loras:
            continue
        fewer = {name: methods[whole]["values"] / facts["values"] for name, facts in loras.items()}
        shares = {name: 100 * facts["share"] for name, facts in loras.items()}
        found[f"lora_fewer_{net}"] = _check(
            all(100 <= ratio <= 1000 for ratio in fewer.values()),
            "LoRA updates " + _listed({name: f"{ratio:.1f} times" for name, ratio in fewer.items()}, loras)
            + f" fewer values than full fine-tuning of {methods[whole]['values']:,}")
        found[f"lora_small_{net}"] = _check(
            all(share < 1 for share in shares.values()),
            "the delta has " + _listed({name: f"{share:.2f} %" for name, share in shares.items()}, loras)
            + " of the model's values")
    return found


def _listed(told: Mapping[str, str], methods: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{text} (rank {methods[name]['rank']})" for name, text in told.items())


def _check(holds: bool, why: str) -> dict[str, Any]:
    return {"holds": holds, "why": why}


# ------------------------------------------------------------------------------------------------ learning together
def federated_file(parts: Sequence[Mapping[str, Any]], settings: Statistics) -> dict[str, Any]:
    """``federated.json`` from the metrics of every seed.

    ``summary`` has for each way of learning the accuracy on the user's own query, on its words that no support clip of the
    user has (``unknown``), and on speakers who take no part, and what each is above that of the base (``own_gain``, ...).
    Intervals are over users, but of a net that all users share, what other speakers lose is one number for each seed.
    ``against_local`` what a user gains who goes on from the others' work, over going on from the base; ``curves`` the means
    over seeds after each round. ``privacy`` and ``check`` are the weakest of all seeds'; ``engine``, with what it counted, is
    the loop where one seed had to take it.
    """
    first = next((part for part in parts if part["engine"] != "flower"), parts[0])
    rows = pd.DataFrame([{"seed": part["seed"], **row} for part in parts for row in part["rows"]])
    rows["unknown_clips"] = rows.query_clips - rows.known_clips
    rows["unknown_correct"] = rows.correct - rows.known_correct
    kinds = {"own": ("correct", "query_clips"), "unknown": ("unknown_correct", "unknown_clips"),
             "others": ("others_correct", "others_clips")}
    # Folds are added up; users without a clip of a kind have no accuracy there.
    sums = rows.groupby(["way", "user", "seed"])[[name for pair in kinds.values() for name in pair]].sum()
    percent = pd.DataFrame({name: 100 * sums[right] / sums[clips].where(sums[clips] > 0)
                            for name, (right, clips) in kinds.items()})
    users, seeds = (percent.groupby(["way", unit]).mean() for unit in ("user", "seed"))

    def cell(values: Any) -> dict[str, Any] | None:
        known = values.dropna()
        return statistics.cell(known, settings) if len(known) else None

    summary = {}
    for way in dict.fromkeys(rows["way"]):
        own_net = way.endswith("local")
        found = {name: (users if own_net or name != "others" else seeds)[name] for name in kinds}
        summary[str(way)] = {**{name: cell(values.xs(way)) for name, values in found.items()},
                             **{f"{name}_gain": cell(values.xs(way) - values.xs("base")) for name, values in found.items()}}
    curves = {way: {name: np.mean([part["curves"][way][name] for part in parts], axis=0).tolist()
                    for name in first["curves"][way]} for way in first["curves"]}
    return {
        "schema": 1, "paper": "alternatives", "experiment": "federated", "seeds": sorted(part["seed"] for part in parts),
        "settings": {**first["settings"], "statistics": settings.model_dump()}, "provenance": first["provenance"],
        "engine": first["engine"], "why": first["why"], "versions": first["versions"], "users": len(first["users"]),
        "summary": summary,
        "against_local": {way: cell(users.xs(way)["own"] - users.xs("local")["own"])
                          for way in summary if way.endswith("_local")},
        "curves": curves, "bytes": first["bytes"], "secure": first["secure"],
        "privacy": {way: max((part["privacy"][way] for part in parts), key=lambda facts: facts["epsilon"])
                    for way in first["privacy"]},
        "check": max((part["check"] for part in parts), key=lambda facts: facts["largest_difference"])
        if all(part["check"] for part in parts) else None,
        "rates": {str(part["seed"]): part["rates"] for part in parts}}
