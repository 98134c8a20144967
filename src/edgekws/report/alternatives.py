"""The bench of alternatives on the report's page: every method in one table, what fits a device, what complexity costs.

Nothing is measured here: the metrics are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekws import files
from edgekws.evaluation import style
from edgekws.evaluation.claims import CorpusFacts

_FILES = ("adaptation", "complexity", "cost_spiking", "cost_ds_cnn", "limits", "retention", "federated")

_KINDS = {"traces_propagation_batch": "Traces Propagation, all pairs", "full": "BPTT, all weights",
          "full_int8": "BPTT, all weights, int8", "readout": "readout", "threshold": "BPTT, thresholds", "lora": "BPTT, LoRA",
          "adapter": "BPTT, adapter"}


def read(folder: Path) -> dict[str, Any] | None:
    """The metrics of ``metrics/alternatives`` by name, ``None`` where the methods were not measured."""
    if not (folder / "adaptation.json").is_file():
        return None
    return {name: files.read_json(folder / f"{name}.json") if (folder / f"{name}.json").is_file() else None
            for name in _FILES}


def methods(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each method, in the order of :data:`edgekws.evaluation.style.ALTERNATIVES`.

    Returns:
        ``name``, ``label``, ``net``, ``learning_rate``, ``values``, ``share`` (percent of the base's), ``bytes`` (``fp32``,
        ``int8``), ``gain`` and ``forgetting`` by shot, ``kept`` (of full fine-tuning's accuracy, by shot; empty for full
        fine-tuning itself), and ``memory`` (bytes at the peak) and ``seconds`` of an adaptation, ``None`` where not measured.
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
            "learning_rate": facts["budget"]["learning_rate"], "values": facts["values"], "share": 100 * facts["share"],
            "bytes": facts["bytes"], "gain": {shot: cell["gain"] for shot, cell in cells.items()},
            "forgetting": {shot: cell["forgetting"] for shot, cell in cells.items()},
            "kept": {shot: cell["accuracy_kept"] for shot, cell in against.items()},
            "memory": cost[name]["memory"]["peak"] if name in cost else None,
            "seconds": cost[name]["seconds"] if name in cost else None})
    return rows


def kind_label(kind: str) -> str:
    """A kind of method in the words of the figures.

    >>> kind_label("lora"), kind_label("eprop")
    ('BPTT, LoRA', 'e-prop')
    """
    return _KINDS.get(kind) or style.alternative(kind).label


def section(found: Mapping[str, Any], ledger: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows.

    Args:
        found: From :func:`read`.
        ledger: Not needed: the claims are shown with the others.
    """
    adaptation = found["adaptation"]
    cells = next(iter(adaptation["summary"].values()))
    return {"rows": methods(found), "shots": list(cells), "users": max(cell["users"] for cell in cells.values()),
            "seeds": len(adaptation["seeds"]), "limits": found["limits"], "complexity": found["complexity"],
            "retention": found["retention"], "federated": found["federated"],
            "measured": {net: found[f"cost_{net}"] for net in ("spiking", "ds_cnn") if found[f"cost_{net}"]},
            "corpus": CorpusFacts.model_validate(adaptation["provenance"]["corpus"]).label}
