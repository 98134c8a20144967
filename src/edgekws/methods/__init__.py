"""A room for each method. What is in it is found by the names of the folder and of the module: no list names a method.

A method's folder may have any of these modules: ``settings`` with ``SECTION`` (its section of the configuration), ``cli`` with
``app`` (its commands), ``metrics`` with ``KINDS`` (what its metrics files hold), ``style`` (how its figures look), ``report``
with ``report.html`` beside it (its section of the report).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekws.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from edgekws.protocol.metrics import Metrics

FOLDER = Path(__file__).parent


def names(part: str) -> list[str]:
    """The methods, by name, that have a module ``part``.

    >>> "traces_propagation" in names("cli")
    True
    """
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{part}.py"))


def module(method: str, part: str) -> Any:
    """The module ``part`` of a method, or None where it has none."""
    return importlib.import_module(f"edgekws.methods.{method}.{part}") if method in names(part) else None


def metrics_kind(method: str, experiment: str) -> type[Metrics] | None:
    """What ``metrics/<method>/<experiment>.json`` holds; None where the method does not say.

    Raises:
        UserError: The method has no such experiment.
    """
    described = module(method, "metrics")
    if described is None:
        return None
    kinds: dict[str, type[Metrics]] = described.KINDS
    if experiment not in kinds and "*" not in kinds:
        raise UserError(f"'{method}' has no experiment '{experiment}'", remedy=did_you_mean(experiment, kinds))
    return kinds.get(experiment, kinds.get("*"))
