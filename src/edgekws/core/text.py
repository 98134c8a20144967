"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(table: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: the first column flush left, the others flush right.

    >>> print(aligned([["step", "jobs"], ["train", "12"]]))
    step   jobs
    train    12
    """
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                           zip(row[1:], widths[1:], strict=True))]).rstrip() for row in table)
