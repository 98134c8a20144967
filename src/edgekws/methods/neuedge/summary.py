"""The ablation aggregated over seeds: means with intervals, and the effect of each step against the one before.

Needs no torch, which takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics

STEPS = (("hybrid", "rate"), ("lif", "rate"), ("hybrid", "lif"), ("mapped", "hybrid"), ("adaptive", "mapped"),
         ("homeostatic", "mapped"), ("full", "adaptive"), ("full", "rate"))
"""Variants and what each is compared with."""

PRICES = "davies2018"
"""The price set of the effects; every set is in the summary."""

_Compare = Callable[[Any, Any], "pd.Series[float]"]  # tables of two variants, their quantities in columns


def per_seed(parts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each seed, variant, subset and quantity: accuracies in per cent, energies in microjoules."""
    rows = []
    for part in parts:
        for row in part["rows"]:
            for subset, found in row["subsets"].items():
                key = {"seed": part["seed"], "variant": row["variant"], "subset": subset}
                rows += [{**key, "quantity": name, "value": value} for name, value in _quantities(row, found).items()]
    return pd.DataFrame(rows)


def _quantities(row: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, float]:
    """What is aggregated of a variant on a subset."""
    clips = found["clips"]
    correct = {f"accuracy_{kind}": 100 * right / clips for kind, right in found["correct"].items()}
    if "spikes" not in found:
        return {**correct, **{f"microjoules_{name}": 1e6 * joules for name, joules in row["joules"].items()}}
    coded = row.get("information", {})
    return {
        **correct, **coded, "quantisation_change": correct["accuracy_integer"] - correct["accuracy_float"],
        "spikes_encoder": found["spikes"]["encoder"], "spikes_hidden": found["spikes_total"] - found["spikes"]["encoder"],
        "spikes_total": found["spikes_total"], **found["events"],
        **{f"microjoules_{name}": 1e6 * terms["total"] for name, terms in found["joules"].items()},
        "microjoules_static_idle": 1e6 * found["static_joules"]["idle"],
        "milliseconds_whole_clip": 1e3 * found["seconds"]["whole_clip"],
        "milliseconds_after_last_frame": 1e3 * found["seconds"]["after_last_frame"],
        "nanoseconds_step": 1e9 * found["seconds"]["step"], **found["efficiency"],
        **{f"chip_{name}": row["chip"][name] * (1 if name == "cores_used" else 100) for name in (
            "utilisation", "neurons", "synapse_bits", "in_axons", "out_axons", "density", "cores_used")}}


def effects(table: pd.DataFrame, settings: Statistics) -> dict[str, Any]:
    """Each step of :data:`STEPS`, paired by seed: ``<variant>_vs_<other>``, subset, then

    ``accuracy_change`` and ``utilisation_change`` in points; ``energy_saving``, ``spike_saving`` and
    ``operation_saving`` in per cent of the other's; ``encoder_spike_ratio``, ``spike_ratio``: the other's spikes over
    this one's; between codes ``bits_change``, and ``efficiency_ratio``: this one's bits per spike over the other's.
    """
    wide = table.pivot_table(index=["subset", "seed"], columns=["variant", "quantity"], values="value")
    compared: dict[str, _Compare] = {
        "accuracy_change": lambda new, old: new["accuracy_integer"] - old["accuracy_integer"],
        "utilisation_change": lambda new, old: new["chip_utilisation"] - old["chip_utilisation"],
        "energy_saving": lambda new, old: 100 * (1 - new[f"microjoules_{PRICES}"] / old[f"microjoules_{PRICES}"]),
        "spike_saving": lambda new, old: 100 * (1 - new["spikes_total"] / old["spikes_total"]),
        "operation_saving": lambda new, old: 100 * (1 - new["synaptic_operations"] / old["synaptic_operations"]),
        "encoder_spike_ratio": lambda new, old: old["spikes_encoder"] / new["spikes_encoder"].clip(lower=1e-9),
        "spike_ratio": lambda new, old: old["spikes_total"] / new["spikes_total"].clip(lower=1e-9)}
    coded: dict[str, _Compare] = {
        "bits_change": lambda new, old: new["bits"] - old["bits"],
        "efficiency_ratio": lambda new, old: new["bits_per_spike"] / old["bits_per_spike"]}
    found: dict[str, Any] = {}
    for variant, other in STEPS:
        if not {variant, other} <= set(wide.columns.get_level_values(0)):
            continue
        both_coded = all((each, "bits") in wide.columns for each in (variant, other))
        found[f"{variant}_vs_{other}"] = {
            str(subset): {name: statistics.cell(compare(rows[variant], rows[other]), settings)
                          for name, compare in (compared | coded if both_coded else compared).items()}
            for subset, rows in wide.groupby(level="subset")}
    return found


def curves(parts: Sequence[Mapping[str, Any]], name: str, keys: Sequence[str], settings: Statistics) -> list[dict[str, Any]]:
    """A sweep over seeds: for each combination of ``keys`` its accuracy, spikes and microjoules."""
    table = pd.DataFrame([{"seed": part["seed"], **{key: row[key] for key in keys},
                           "accuracy": None if row["correct"] is None else 100 * row["correct"] / row["clips"],
                           "spikes_total": row["spikes_total"], "microjoules": 1e6 * row["joules"][PRICES]}
                          for part in parts for row in part[name]])
    rows = []
    for values, group in table.groupby(list(keys), sort=False, dropna=False):
        rows.append({**{key: _plain(value) for key, value in zip(keys, values, strict=True)},
                     **{quantity: None if group[quantity].isna().any() else statistics.cell(group[quantity], settings)
                        for quantity in ("accuracy", "spikes_total", "microjoules")}})
    return rows


def _plain(value: Any) -> Any:
    """A value as JSON has it; NaN, which stands for None in a table, is None again."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if plain != plain else plain


def ablation_file(parts: Sequence[Mapping[str, Any]], settings: Statistics) -> dict[str, Any]:
    """``metrics/neuedge/ablation.json`` from the measurements of every seed (see ``docs/files.md``)."""
    first, table = parts[0], per_seed(parts)
    summary: dict[str, Any] = {}
    for (variant, subset, quantity), rows in table.groupby(["variant", "subset", "quantity"], sort=False):
        summary.setdefault(str(variant), {}).setdefault(str(subset), {})[str(quantity)] = statistics.cell(rows["value"], settings)
    return {
        "schema": 1, "paper": "neuedge", "experiment": "ablation", "seeds": sorted(part["seed"] for part in parts),
        "settings": {**first["settings"], "statistics": settings.model_dump()}, "provenance": first["provenance"],
        "summary": summary, "effects": effects(table, settings),
        "gamma": curves(parts, "gamma", ["sign", "gamma", "subset"], settings),
        "noise": curves(parts, "noise", ["snr_db", "sign"], settings),
        "noise_source": first["noise_source"],
        "terms": {row["variant"]: {prices: {term: 1e6 * joules for term, joules in terms.items()}
                                   for prices, terms in row["subsets"]["all"]["joules"].items()}
                  for row in first["rows"] if "chip" in row},
        "placements": first["placements"], "ann": {"macs": first["rows"][-1]["macs"]},
        "training": {name: about for part in parts[:1] for name, about in part["training"].items()},
    }
