"""The bench of alternatives on the report's page: every method in one table, then what fits a device, what local rules keep and
compute, what forgetting costs and what users learn from one another.

Nothing is measured here: the metrics are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekws.ledger.schema import CorpusFacts
from edgekws.methods.alternatives import style
from edgekws.methods.alternatives.depth import summary
from edgekws.methods.alternatives.metrics import KINDS, Tuned
from edgekws.methods.traces_propagation.metrics import Depth
from edgekws.protocol import metrics

AXES = {"%": "Kept of full fine-tuning, %"}

_FILES = ("adaptation", "complexity", "cost_spiking", "cost_ds_cnn", "limits", "device", "retention",
          "federated")
_KINDS = {"full": "bptt_full", "full_int8": "bptt_full_int8", "readout": "bptt_readout", "threshold": "bptt_threshold",
          "adapter": "bptt_adapter", "lora": "bptt_lora_4"}
_ALL_PAIRS = "Traces Propagation, all pairs"
_PROPERTIES = ("update_locking_free", "no_weight_transport", "local_in_time", "local_in_space")
_WAYS = {"base": "as deployed", "local": "each alone", "centralised": "all clips in one place", "federated": "federated"}


def read(folder: Path) -> dict[str, Any] | None:
    """The metrics of ``metrics/alternatives`` by name, each ``None`` where it was not measured; ``None`` if none was.

    ``tuning`` has the learning rates tried, by method.
    """
    found = {name: metrics.read(path, KINDS[name]).content if (path := folder / f"{name}.json").is_file() else None
             for name in _FILES}
    if not any(found.values()):
        return None
    tuning = {path.stem: [point["learning_rate"] for point in metrics.read(path, Tuned).grid]
              for path in sorted(folder.glob("tuning/*.json"))}
    return {**found, "tuning": tuning, "strong": _of(folder / "strong.json", KINDS["strong"]),
            "depth": _of(folder.parent / "traces_propagation" / "depth.json", Depth)}


def _of(path: Path, kind: type[metrics.Metrics]) -> dict[str, Any] | None:
    return metrics.read(path, kind).content if path.is_file() else None


def corpora(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The corpora of what was measured on speech."""
    return [found[name]["provenance"]["corpus"] for name in ("adaptation", "retention", "federated") if found[name]]


def section(found: Mapping[str, Any], ledger: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows.

    Args:
        found: From :func:`read`.
        ledger: Not needed: the claims are shown with the others.
    """
    first = next(found[name] for name in _FILES if found[name])
    return {"corpus": CorpusFacts.model_validate(first["provenance"]["corpus"]).label,
            **{name: made(found[name]) if found[name] else None for name, made in (
                ("limits", limits), ("device", device), ("complexity", complexity), ("retention", retention),
                ("federated", federated))},
            "methods": methods(found) if found["adaptation"] else None,
            "strong": strong(found["strong"]) if found.get("strong") else None,
            "depth": depth(found["depth"]) if found.get("depth") else None}


# ------------------------------------------------------------------------------------------------ methods
def methods(found: Mapping[str, Any]) -> dict[str, Any]:
    """Every method, in the order of :data:`edgekws.methods.alternatives.style.ALTERNATIVES`.

    Returns:
        ``shots``, ``users``, ``seeds``, and ``rows`` of ``name``, ``label``, ``net``, ``learning_rate``, ``end`` (lowest
        or highest, where no rate beyond it was tried), ``values``, ``share`` (percent of the base's), ``bytes``
        (``fp32``, ``int8``), ``gain`` and ``forgetting`` by shot, ``kept`` (of full fine-tuning's accuracy, by shot;
        empty for full fine-tuning itself), and ``memory`` (bytes at the peak) and ``seconds`` of an adaptation, ``None``
        where not measured.
    """
    adaptation = found["adaptation"]
    cost = {name: cell for net in ("spiking", "ds_cnn") if found[f"cost_{net}"]
            for name, cell in found[f"cost_{net}"]["methods"].items()}
    rows = []
    for name in [*style.ALTERNATIVES, *sorted(set(adaptation["methods"]) - set(style.ALTERNATIVES))]:
        if (facts := adaptation["methods"].get(name)) is None:
            continue
        cells, against = adaptation["summary"][name], adaptation["against_full"].get(name, {})
        rows.append({
            "name": name, "label": style.alternative(name).label, "net": facts["net"],
            "learning_rate": (rate := facts["budget"]["learning_rate"]), "end": end_of(found["tuning"].get(name, []), rate),
            "values": facts["values"], "share": 100 * facts["share"],
            "bytes": facts["bytes"], "gain": {shot: cell["gain"] for shot, cell in cells.items()},
            "forgetting": {shot: cell["forgetting"] for shot, cell in cells.items()},
            "kept": {shot: cell.get("accuracy_kept") for shot, cell in against.items()},
            "memory": cost[name]["memory"]["peak"] if name in cost else None,
            "seconds": cost[name]["seconds"] if name in cost else None})
    cells = next(iter(adaptation["summary"].values()))
    return {"rows": rows, "shots": list(cells), "users": max(cell["users"] for cell in cells.values()),
            "seeds": len(adaptation["seeds"])}


def end_of(tried: Sequence[float], rate: float) -> str | None:
    """At which end of the rates tried one is: a better one may lie beyond.

    >>> end_of([0.1, 0.01, 1], 0.01), end_of([0.1, 0.01, 1], 0.1), end_of([], 0.1)
    ('lowest', None, None)
    """
    if len(tried) < 2 or min(tried) < rate < max(tried):
        return None
    return "lowest" if rate <= min(tried) else "highest"


# ------------------------------------------------------------------------------------------------ memory of a device
def kind(name: str) -> str:
    """A method of the memory's formulas, by the name that it has in the other tables.

    >>> kind("lora"), kind("tess"), kind("traces_propagation_batch")
    ('BPTT, LoRA 4', 'TESS', 'Traces Propagation, all pairs')
    """
    return _ALL_PAIRS if name == "traces_propagation_batch" else style.alternative(_KINDS.get(name, name)).label


def device(content: Mapping[str, Any]) -> dict[str, Any]:
    """What was built for devices and run there."""
    return {name: content[name] for name in ("targets", "users", "widths", "budgets", "checks")}


def limits(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a method takes, and the widest net that it trains within each memory.

    Returns:
        ``sizes``, ``budgets`` (bytes) and ``widths``; ``optimisers``, by name rows of ``label``, ``stored``, ``batch``,
        ``widest`` (neurons by budget), and ``needs`` by width: ``bytes``, ``measured`` and the smallest ``budget`` that holds
        them (``None`` where none does, or nothing was measured).
    """
    optimisers: dict[str, dict[Any, dict[str, Any]]] = {}
    for cell in content["widest"]:
        row = _row_of(optimisers, cell)
        row["widest"][cell["budget"]] = cell["neurons"]
    for cell in content["rows"]:
        row = _row_of(optimisers, cell)
        row["needs"][cell["neurons"]] = {"bytes": cell["formula_bytes"], "measured": cell["measured_bytes"],
                                         "budget": cell["formula_budget"]}
    return {"sizes": content["sizes"], "budgets": sorted({cell["budget"] for cell in content["widest"]}),
            "widths": sorted({cell["neurons"] for cell in content["rows"]}),
            "optimisers": {name: list(rows.values()) for name, rows in optimisers.items()}}


def _row_of(optimisers: dict[str, dict[Any, dict[str, Any]]], cell: Mapping[str, Any]) -> dict[str, Any]:
    place = cell["method"], cell["stored"], cell["batch"]
    return optimisers.setdefault(cell["optimiser"], {}).setdefault(
        place, {"label": kind(cell["method"]), "stored": cell["stored"], "batch": cell["batch"], "widest": {}, "needs": {}})


# ------------------------------------------------------------------------------------------------ local rules
def complexity(content: Mapping[str, Any]) -> dict[str, Any]:
    """What each local rule keeps and computes: ``sizes``, and ``rows`` with ``label`` and what the metrics have of it, its four
    properties in ``properties``."""
    return {"sizes": content["sizes"],
            "rows": [{**rule, "label": style.alternative(name).label, "properties": [rule[each] for each in _PROPERTIES]}
                     for name, rule in content["rules"].items()]}


# ------------------------------------------------------------------------------------------------ forgetting
def remedy_label(cell: Mapping[str, Any]) -> str:
    """A remedy in words.

    >>> remedy_label({"remedy": "rehearsal", "strength": 64.0}), remedy_label({"remedy": "elastic", "strength": 1e4})
    ('rehearsal, 64 clips', 'elastic weights, 10,000')
    """
    names = {"none": "none", "rehearsal": "rehearsal, {:g} clips", "elastic": "elastic weights, {:,.10g}"}
    return names[cell["remedy"]].format(cell["strength"])


def retention(content: Mapping[str, Any]) -> dict[str, Any]:
    """``remedies`` and ``sequence``, rows with the ``label`` of their method, and ``users`` of a group and ``seeds``."""
    summary = content["summary"]
    return {"users": content["settings"]["retention"]["sequence"], "seeds": len(content["seeds"]),
            "remedies": [{**cell, "label": style.alternative(method).label, "told": remedy_label(cell)}
                         for method, told in summary.items() for cell in told["remedies"].values()],
            "sequence": [{**cell, "label": style.alternative(method).label, "since": int(since)}
                         for method, told in summary.items() for since, cell in told["sequence"].items()]}


# ------------------------------------------------------------------------------------------------ strong bases, depth
def strong(content: Mapping[str, Any]) -> dict[str, Any]:
    """``bases``, with ``label`` and the accuracy of either split, and ``rows`` of methods and shots, with ``label``."""
    methods = content["settings"]["strong"]["methods"]
    return {"seeds": len(content["seeds"]),
            "bases": [{"label": style.BASES[net], **cells} for net, cells in content["bases"].items()],
            "rows": [{**cell, "base": style.BASES[methods[method]["net"]], "label": style.alternative(method).label, "shot": shot,
                      "pays": content["checks"][method]["holds"]}
                     for method, shots in content["summary"].items() for shot, cell in shots.items()]}


def depth(content: Mapping[str, Any]) -> dict[str, Any]:
    """``rows`` of nets and rules, with what the nets and rules are called, and the ``checks`` of the paper's claim."""
    return {"seeds": len(content["seeds"]), "checks": content["checks"],
            "rows": [{**cell, "net": summary.name(net), "label": style.rule(rule).label}
                     for net, rules in content["nets"].items() for rule, cell in rules.items()]}


# ------------------------------------------------------------------------------------------------ learning together
def way_label(way: str) -> str:
    """A way of learning in words.

    >>> way_label("private_2"), way_label("federated_local")
    ('federated, noise 2', 'federated, then each alone')
    """
    shared = way.removesuffix("_local")
    if shared.startswith("private_"):
        label = f"federated, noise {shared.removeprefix('private_')}"
    else:
        label = _WAYS.get(shared, shared.replace("_", " "))
    return label if shared == way else f"{label}, then each alone"


def federated(content: Mapping[str, Any]) -> dict[str, Any]:
    """``rows``, one for each way of learning, with what fine-tuning after it gains over fine-tuning the base (``against``) and
    its ``privacy``; and of the file what the text tells: ``users``, ``engine``, ``bytes``, ``secure``, ..."""
    nothing = dict.fromkeys(("own_gain", "unknown_gain", "others_gain"))  # the base, compared with itself
    rows = [{**cells, **(nothing if way == "base" else {}), "label": way_label(way),
             "against": content["against_local"].get(way), "privacy": content["privacy"].get(way.removesuffix("_local"))}
            for way, cells in content["summary"].items()]
    told = ("users", "engine", "why", "versions", "bytes", "secure", "check")
    return {"rows": rows, "seeds": len(content["seeds"]), "settings": content["settings"]["federated"],
            **{name: content[name] for name in told}}
