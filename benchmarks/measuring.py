"""What the benchmarks share: variants that take turns, memory, growth, and what a file of figures says of the machine."""

from __future__ import annotations

import itertools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekws.core import files
from edgekws.core.provenance import provenance

Run = Callable[[], object]
BUSY = 0.5
"""Load of the machine beforehand from which on times say little."""


def in_turn(variants: Mapping[str, Run], repetitions: int, *, clock: Callable[[], float] = time.perf_counter,
            warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every call; each round has all variants, so that what else slows the machine down slows all alike."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for place in range(warm_up + repetitions):
        for name, run in variants.items():
            start = clock()
            run()
            if place >= warm_up:
                found[name].append(clock() - start)
    return found


def medians(taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each variant."""
    return {name: statistics.median(values) for name, values in taken.items()}


def allocated(run: Run) -> int:
    """Peak bytes that torch's allocator holds during a call beyond what it held before, as its profiler records them."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = [event for event in files.read_json(trace)["traceEvents"] if event.get("name") == "[memory]"]
    changes = [int(event["args"]["Bytes"]) for event in sorted(events, key=lambda event: event["ts"])]
    return max(itertools.accumulate(changes), default=0)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """The b of ``value = a size^b``, least squares of the logarithms; None with fewer than two values above 0.

    >>> round(exponent([1, 2, 4], [3.0, 12.0, 48.0]), 6), exponent([1, 2], [5.0, 0.0])
    (2.0, None)
    """
    known = [(size, value) for size, value in zip(sizes, values, strict=True) if value > 0]
    if len(known) < 2:
        return None
    return float(np.polyfit(*np.log(np.array(known, dtype=float)).T, 1)[0])


def machine() -> dict[str, Any]:
    """Processor, cores, operating system and load, which a benchmark asks before it adds to it."""
    processor = platform.processor()
    if (info := Path("/proc/cpuinfo")).is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    return {"processor": processor, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}",
            "load_before": round(os.getloadavg()[0], 2)}


def envelope(about: Mapping[str, Any], *, threads: int, repetitions: int, **found: Any) -> dict[str, Any]:
    """A file of figures: what was found, the machine (``about``, of :func:`machine`) and the code."""
    return {"schema": 2, "machine": dict(about), "repetitions": repetitions, **found, "provenance": provenance(threads=threads)}
