"""The one kind of error a person is meant to read: where, what was wrong, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Something the person at the keyboard can mend.

    Shown by the command line as ``error: <where>: <what>`` and the remedy on its own line,
    without a traceback, with exit code 2. Anything else that escapes is a bug of ours.

    Args:
        what: What is wrong, one sentence without a full stop at its end.
        where: The file, archive member or setting it concerns.
        remedy: What to do about it.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        head = f"{where}: {what}" if where is not None else what
        super().__init__(f"{head}\n  remedy: {remedy}" if remedy else head)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy for a name nobody knows: the nearest known one, or the list of all (at most 12)."""
    choices = sorted(map(str, known))
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    shown = ", ".join(choices[:12]) + (", …" if len(choices) > 12 else "")
    return f"choose one of: {shown}" if choices else "there is nothing to choose from yet"
