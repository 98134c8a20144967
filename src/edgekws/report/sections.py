"""The methods' own parts of the page, found by name.

A method's module ``report``, with the template ``report.html`` beside it, offers

- ``read(folder)``: its metrics, or None where nothing was measured;
- ``section(found, ledger)``: what its template shows, under the method's name;

and, where it needs them,

- ``AXES``: what the axes of its claims are called, by unit;
- ``OURS``: which of our numbers stands beside the paper's;
- ``corpora(found)``: the corpora of its metrics, where they may not be the run's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgekws import methods


class Section(NamedTuple):
    """A method's part of the page."""

    shown: dict[str, Any] | None
    """What its template shows; None where nothing was measured."""
    corpora: list[dict[str, Any]]
    axes: Mapping[str, str]
    ours: str


NONE = Section(None, [], {}, "")


def read(papers: Iterable[str], metrics: Path, ledger: Mapping[str, Any]) -> dict[str, Section]:
    """The sections of the papers that have a module for it, from ``metrics/<paper>``."""
    sections = {}
    for paper in papers:
        if (module := methods.module(paper, "report")) is None:
            continue
        found = module.read(metrics / paper)
        corpora = module.corpora(found) if found and hasattr(module, "corpora") else []
        sections[paper] = Section(module.section(found, ledger) if found else None, corpora,
                                  getattr(module, "AXES", NONE.axes), getattr(module, "OURS", NONE.ours))
    return sections
