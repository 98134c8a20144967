"""Clips shared out to torch's number of threads, each always the same ones: sums do not depend on who was quicker."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pool: ThreadPoolExecutor | None = None
_size = 0


class Shares:
    """Ranges of clips, one for each thread.

    Attributes:
        bounds: First clip and the one after the last of each part.
    """

    def __init__(self, clips: int, parts: int) -> None:
        parts = max(1, min(parts, clips))
        self.bounds = [(clips * part // parts, clips * (part + 1) // parts) for part in range(parts)]

    def __len__(self) -> int:
        return len(self.bounds)

    def run(self, work: Callable[[int, int, int], None]) -> None:
        """``work(part, first, last)`` for every part, side by side; compiled code lets go of Python's lock."""
        others = [_executor(len(self) - 1).submit(work, part, *self.bounds[part]) for part in range(1, len(self))]
        work(0, *self.bounds[0])
        for other in others:
            other.result()


def shares(clips: int) -> Shares:
    """Of a batch."""
    return Shares(clips, torch.get_num_threads())


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _size
    if _pool is None or _size < threads:
        _pool, _size = ThreadPoolExecutor(threads, "edgekws"), threads
    return _pool


def _forget() -> None:
    global _pool
    _pool = None  # a forked process has none of the threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
