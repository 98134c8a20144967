"""A room for each method. What is in it is found by the names of the folder and of the module: no list names a method.

A method's folder may have any of these modules: ``settings`` with ``SECTION`` (its section of the configuration), ``cli`` with
``app`` (its commands), ``metrics`` with ``KINDS`` (what its metrics files hold), ``style`` (how its figures look), ``report``
with ``report.html`` beside it (its section of the report).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "methods"


def names(part: str) -> list[str]:
    """The methods, by name, that have a module ``part``.

    >>> "traces_propagation" in names("cli")
    True
    """
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{part}.py"))


def module(method: str, part: str) -> Any:
    """The module ``part`` of a method, or None where it has none."""
    return importlib.import_module(f"edgekws.methods.{method}.{part}") if method in names(part) else None
