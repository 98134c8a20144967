"""A part of a hand-written text that a command writes: the lines between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekws.core.errors import UserError


def put(text: str, lines: Sequence[str], path: Path, *, mark: str, command: str) -> str:
    """A text with the lines between its marks, ``<!-- MARK: written by `COMMAND` -->`` and ``<!-- MARK: end -->``.

    >>> put("a\\n<!-- x: written by `do` -->\\nold\\n<!-- x: end -->\\nb", ["new"], Path("README.md"), mark="x", command="do")
    'a\\n<!-- x: written by `do` -->\\nnew\\n<!-- x: end -->\\nb'

    Raises:
        UserError: It has no marks.
    """
    start, end = f"<!-- {mark}: written by `{command}` -->", f"<!-- {mark}: end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError("has no place for the findings", where=path, remedy=f"put the lines '{start}' and '{end}' into it")
    return "\n".join([before + start, *lines, end + after])
