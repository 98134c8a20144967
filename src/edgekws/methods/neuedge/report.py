"""NeuEdge on the report's page: its ablation in tables, and what the paper's own numbers say of one another.

Nothing is measured here: the metrics are read, and the paper's numbers are compared with each other by arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.methods.neuedge import style

AXES = {"%": "Utilisation, saving and accuracy, %", "x": "Fewer spikes, times", "ms": "Latency, ms",
        "GOp/s/W": "Efficiency, GOp/s/W"}

PRICES = {"davies2018": "Loihi 1, before silicon", "sanafe": "Loihi 1, calibrated", "arithmetic45": "additions, 45 nm"}
"""The price sets in the order of the tables."""

_STEPS = {"hybrid": ("rate", "neuedge-11", "neuedge-12"), "mapped": ("hybrid", "neuedge-12", "neuedge-13"),
          "adaptive": ("mapped", "neuedge-13", "neuedge-14"), "homeostatic": ("mapped", "", ""),
          "full": ("adaptive", "neuedge-14", "neuedge-15")}  # what it builds on, the paper's power before and after
_SUBSETS = {"all": "all clips", "quiet": "quiet quarter"}


def read(folder: Path) -> dict[str, Any] | None:
    """The metrics of ``metrics/neuedge`` by name, ``None`` where the ablation was not measured."""
    if not (folder / "ablation.json").is_file():
        return None
    return {name: files.read_json(folder / f"{name}.json") if (folder / f"{name}.json").is_file() else None
            for name in ("ablation", "utilisation", "referee", "second_opinion")}


def corpora(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The corpus of the ablation."""
    return [found["ablation"]["provenance"]["corpus"]]


def section(found: Mapping[str, Any], ledger: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows.

    Args:
        found: From :func:`read`.
        ledger: Whose claims hold the paper's numbers.
    """
    ablation = found["ablation"]
    summary = ablation["summary"]
    said = {claim["id"]: claim["paper_value"] for claim in ledger["claims"]}
    return {
        "rows": [{"label": style.variant(name).label, "name": name, **summary[name]["all"]}
                 for name in [*style.VARIANTS, *(set(summary) - set(style.VARIANTS))] if name in summary],
        "prices": PRICES, "seeds": len(ablation["seeds"]), "macs": ablation.get("ann", {}).get("macs"),
        "chip": ablation["settings"]["hardware"]["chip"].replace("_", " "),
        "steps": steps(ablation["effects"], said), "gamma": gamma(ablation["gamma"]),
        "adaptive": {subset: effects["energy_saving"]
                     for subset, effects in ablation["effects"].get("adaptive_vs_mapped", {}).items()},
        "full": summary.get("full", {}).get("all"), "paper": arithmetic(said),
        "lava": found["referee"], "opinions": opinions(found["second_opinion"]), "widths": widths(found["utilisation"])}


def steps(effects: Mapping[str, Any], said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each step of the ablation on all test clips, beside the paper's change of power in per cent."""
    rows = []
    for name, (other, before, after) in _STEPS.items():
        if (found := effects.get(f"{name}_vs_{other}")) is None:
            continue
        known = said.get(before) and said.get(after)
        rows.append({"label": style.variant(name).label, "against": style.variant(other).label,
                     "paper": 100 * (said[after] / said[before] - 1) if known else None, **found["all"]})
    return rows


def gamma(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy by gain, and energy and spikes in per cent of those with a gain of 0."""
    fixed = {(row["sign"], row["subset"]): row for row in rows if row["gamma"] == 0}
    table = []
    for row in rows:
        start = fixed.get((row["sign"], row["subset"]))
        change = {name: None if start is None else 100 * (row[name]["value"] / start[name]["value"] - 1)
                  for name in ("microjoules", "spikes_total")}
        table.append({"label": style.THRESHOLDS[row["sign"]].label, "gamma": row["gamma"], "accuracy": row["accuracy"],
                      "subset": _SUBSETS.get(row["subset"], row["subset"]), **change})
    return table


def arithmetic(said: Mapping[str, Any]) -> dict[str, float] | None:
    """What follows from the paper's own numbers, ``None`` unless all of them are in the ledger.

    Power is taken as a fixed part and one in proportion to spikes, so that 4.7 times fewer spikes explain the first step.
    """
    names = {"factor": "neuedge-01", "optimised": "neuedge-02", "naive": "neuedge-03", "saving": "neuedge-04",
             "gops": "neuedge-08", "rate": "neuedge-11", "hybrid": "neuedge-12", "mapped": "neuedge-13",
             "adaptive": "neuedge-14", "full": "neuedge-15"}
    if not all(said.get(claim) for claim in names.values()):
        return None
    paper = {name: float(said[claim]) for name, claim in names.items()}
    spiking = (paper["rate"] - paper["hybrid"]) / (1 - 1 / paper["factor"])
    picojoules = 1e3 / paper["gops"]
    return {**paper, "spiking": spiking, "fixed": paper["rate"] - spiking, "left": spiking / paper["factor"],
            "saved": paper["mapped"] - paper["adaptive"], "step": 100 * (1 - paper["adaptive"] / paper["mapped"]),
            "whole": 100 * (1 - paper["full"] / paper["rate"]), "first": 100 * (1 - paper["hybrid"] / paper["rate"]),
            "picojoules": picojoules, "below": 23.6 / picojoules}


def opinions(opinion: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Other people's tools on the same net: status, why, and their figures beside ours (energies in microjoules)."""
    if opinion is None:
        return []
    tools = []
    for name, title in (("neurobench", "NeuroBench"), ("sanafe", "SANA-FE")):
        answer = opinion[name]
        figures = [{"name": figure.replace("_", " ") + (", µJ" if "energy" in figure else ""), "agree": values["agree"],
                    **{who: values[who] * (1e6 if "energy" in figure else 1) for who in ("theirs", "ours")}}
                   for figure, values in answer.get("figures", {}).items()]
        versions = ", ".join(f"{package} {version}" for package, version in answer.get("versions", {}).items())
        tools.append({"title": title, "status": answer["status"], "why": answer["why"], "figures": figures,
                      "versions": versions, "clips": opinion["clips"]})
    return tools


def widths(utilisation: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Lowest and highest utilisation in per cent over the widths tried, by chip and mapping."""
    rows = []
    for chip, networks in (utilisation or {"chips": {}})["chips"].items():
        values = {kind: [100 * network[kind]["utilisation"] for network in networks if network[kind] is not None]
                  for kind in ("naive", "optimised")}
        if all(values.values()):
            rows.append({"chip": chip.replace("_", " "), **{kind: (min(found), max(found)) for kind, found in values.items()}})
    return rows
