"""Folders as inputs of rules: Snakemake looks at a folder's own time, which says nothing of what lies in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def state_of(folder: str | Path | None, *, depth: int = 3) -> str:
    """A digest that changes whenever a file in a folder is added, removed or written, for a rule to take as a parameter.

    Names, sizes and times are looked at, nothing is read. Below ``depth`` a folder's own time stands for its files: it tells
    when one is added or removed. "" for nothing, and for what is no folder: Snakemake watches files by itself.
    """
    if folder is None or not Path(folder).is_dir():
        return ""
    digest = hashlib.sha256()

    def look(place: str, left: int) -> None:
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                found = entry.stat()
                digest.update(f"{entry.path}\0{found.st_mtime_ns}\0{0 if entry.is_dir() else found.st_size}\n".encode(
                    "utf-8", "surrogateescape"))
                if entry.is_dir() and left:
                    look(entry.path, left - 1)

    look(os.fspath(folder), depth)
    return digest.hexdigest()[:16]
