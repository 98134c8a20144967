"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import tqdm as _tqdm

Item = TypeVar("Item")

SECONDS = 30
"""Between two lines of a log; work that is over sooner writes none."""


class tqdm(_tqdm.tqdm):  # type: ignore[type-arg]
    """tqdm's bar; where stderr is no terminal, its text in lines of their own, every :data:`SECONDS`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        if not sys.stderr.isatty():
            options = {"mininterval": SECONDS, "miniters": 1, "delay": SECONDS, "ncols": 100, **options}
        super().__init__(*args, **options)

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """What shows a text: anew in its place on a terminal, in a line of its own elsewhere."""
        if file.isatty():
            return _tqdm.tqdm.status_printer(file)
        separator = ""

        def line(text: str) -> None:
            nonlocal separator
            if text.strip():
                file.write(separator + text.strip())
                file.flush()
                separator = "\n"  # the last line is ended when the bar is closed

        return line


def reading(files: Iterable[Item], what: str, *, shown: bool) -> Iterator[Item]:
    """The same files, with a bar while they are read if it is to be ``shown``."""
    yield from tqdm(files, desc=f"reading {what}", unit=" files", disable=not shown)


def tell(line: str) -> None:
    """A line for the person at the keyboard, beside the results."""
    print(line, file=sys.stderr, flush=True)
