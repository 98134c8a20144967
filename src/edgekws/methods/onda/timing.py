"""Time, energy and memory of operations, measured in turns, and intervals of their ratios."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekws.core.memory import LiveTensors
from edgekws.core.progress import tqdm
from edgekws.methods.onda import power
from edgekws.protocol.settings import Statistics

Floats = npt.NDArray[np.float64]
Operation = Callable[[], object]
Measure = Callable[[Operation], float]
_RESAMPLES = 2000
_CONFIDENCE = Statistics().confidence


def median_interval(values: Floats) -> dict[str, Any]:
    """Median of rounds [n] with its percentile bootstrap: ``{"value", "ci_low", "ci_high", "n"}``."""
    return _told(float(np.median(values)), np.median(values[_draws(len(values))], axis=1), len(values))


def quotient_interval(over: Floats, under: Floats) -> dict[str, Any] | None:
    """Quotient of two medians, of rounds [n] and [m], which may be of different loops; None where ``under`` may be 0."""
    tops, bottoms = (np.median(values[_draws(len(values))], axis=1) for values in (over, under))
    if (bottoms <= 0).any():
        return None
    return _told(float(np.median(over) / np.median(under)), tops / bottoms, min(len(over), len(under)))


def _draws(count: int) -> npt.NDArray[np.int64]:
    """[resamples, count]; the same for values of the same rounds, which stay paired."""
    return np.random.default_rng(count).integers(0, count, size=(_RESAMPLES, count))


def _told(value: float, resampled: Floats, n: int) -> dict[str, Any]:
    low, high = np.quantile(resampled, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return {"value": value, "ci_low": float(low), "ci_high": float(high), "n": n}


def in_turn(operations: Mapping[str, Operation], rounds: int, measure: Measure, *, warm_up: int = 1,
            bar: tqdm | None = None) -> dict[str, Floats]:
    """What each operation costs [rounds]; every round has all of them, in one order and the other by turns."""
    names = list(operations)
    for _ in range(warm_up):
        for name in names:
            operations[name]()
    found = {name: np.zeros(rounds) for name in names}
    for place in range(rounds):
        for name in names if place % 2 == 0 else reversed(names):
            found[name][place] = measure(operations[name])
            if bar is not None:
                bar.update()
    return found


def seconds(operation: Operation, *, wait: Operation = lambda: None) -> float:
    """Seconds of one call; ``wait`` returns when the device has done all it was given."""
    wait()
    start = time.perf_counter()
    operation()
    wait()
    return time.perf_counter() - start


def joules(operation: Operation, *, counter: power.EnergyCounter, idle: float, block: float,
           wait: Operation = lambda: None) -> float:
    """Joules of one call above what the idle machine takes, over calls that fill ``block`` seconds.

    Args:
        idle: Watts.
        block: At least one call is made.
    """
    wait()
    before, start, calls = counter.joules(), time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < block:
        operation()
        wait()
        calls += 1
    return (counter.joules() - before - idle * (time.perf_counter() - start)) / calls


def memory(operation: Operation) -> dict[str, Any]:
    """Peak memory of an operation in bytes: tensors alive (counted), and what the process grew by (Linux; else null)."""
    gc.collect()
    with LiveTensors() as live:
        operation()  # what it uses and keeps is known after once
        live.peak = live.now
        operation()
    return {"tensors": live.peak, "resident": resident(operation)}


def resident(operation: Operation) -> int | None:
    """Largest resident memory during a call above that before it, in bytes."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        operation()
        return _status("VmHWM") - before
    except (OSError, AttributeError, KeyError):
        return None


def _status(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[name].split()[0])
