"""Traces Propagation on the report's page: every experiment in a table, and the tuned budget beside the published one.

Nothing is measured here: the metrics are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.methods.traces_propagation import style

AXES = {"%": "Accuracy, %", "percentage points": "Gain, percentage points"}
OURS = "the paper's protocol where it can be run, otherwise many users"

_EXPERIMENTS = {
    "one_user": "One user left out, per-set normalisation (the paper's protocol)",
    "many_users": "Many users, frozen normalisation",
    "many_users_per_set": "Many users, per-set normalisation",
    "many_users_tuned": "Many users, budget tuned on validation users",
}
_ORDER = {name: place for place, name in enumerate(_EXPERIMENTS)}


def read(folder: Path) -> dict[str, Any] | None:
    """The metrics of every experiment of ``metrics/traces_propagation`` by name, in the order of the page; None if none was
    measured."""
    found = {path.stem: files.read_json(path) for path in sorted(
        folder.glob("*.json"), key=lambda path: (_ORDER.get(path.stem, len(_ORDER)), path.stem))}
    return {name: content for name, content in found.items() if "summary" in content} or None


def corpora(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The corpora of the experiments."""
    return [content.get("provenance", {}).get("corpus", {}) for content in found.values()]


def section(found: Mapping[str, Any], ledger: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows.

    Args:
        found: From :func:`read`.
        ledger: Not needed: the claims are shown with the others.
    """
    return {"experiments": [{"title": _EXPERIMENTS.get(name, name.replace("_", " ")), "rows": rows(content["summary"]),
                             "base_accuracy": content.get("base", {}).get("test_accuracy")}
                            for name, content in found.items()],
            "tuned": tuned_against_published(found)}


def rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each method and number of support clips, with the method's ``label``."""
    return [{**cell, "label": style.method(method).label, "shot": shot}
            for method, shots in summary.items() for shot, cell in shots.items()]


def tuned_against_published(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gains with the published and with the tuned budget, where both were measured, on the same users."""
    published = found.get("many_users", {}).get("summary_reporting_users", {})
    tuned = found.get("many_users_tuned", {}).get("summary", {})
    return [{"label": style.method(method).label, "shot": shot, "published": published[method][shot], "tuned": cell}
            for method, shots in tuned.items() for shot, cell in shots.items() if shot in published.get(method, {})]
