"""How a run was made, as lines to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_OF_CORPUS = ("name", "archive", "archive_sha256", "speakers", "clips")


def lines(provenance: Mapping[str, Any], others: Iterable[Mapping[str, Any]] = ()) -> list[tuple[str, str]]:
    """Provenance as lines to read: name and value.

    Args:
        provenance: Of the ledger.
        others: Corpora of the methods; those that are not the run's own are listed too.
    """
    corpus = provenance.get("corpus", {})
    told = [("Code", provenance.get("code")), ("Python", provenance.get("python")),
            ("Platform", provenance.get("platform")), ("Device", provenance.get("device"))]
    told += [(f"Corpus: {name.replace('_', ' ')}", corpus.get(name)) for name in _OF_CORPUS]
    told.append(("Corpus: words", ", ".join(corpus.get("words", []))))
    by_archive = {found["archive_sha256"]: found for found in others if found.get("archive_sha256")}
    by_archive.pop(corpus.get("archive_sha256"), None)
    for other in by_archive.values():
        told.append((f"Corpus: {other['name'].replace('_', ' ')}", f"{other['archive']}, SHA-256 {other['archive_sha256']}"))
    packages = provenance.get("packages", {})
    told.append(("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    return [(name, str(value)) for name, value in told if value not in (None, "")]
