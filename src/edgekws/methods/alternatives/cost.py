"""What adapting to one user costs by each method: peak memory, counted, and seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any, get_args

import torch

from edgekws.core.progress import tqdm
from edgekws.methods.alternatives.experiments import Base, adapt, learner
from edgekws.methods.alternatives.memory import measure_learning
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining, LocalRule
from edgekws.protocol.clips import Clips

NOTICEABLE = 1.1
"""Less than a tenth of memory saved is no reason for anybody to change the method."""


class Longer:
    """Clips of ``times`` as many frames: each is heard again and again."""

    def __init__(self, clips: Clips, times: int) -> None:
        self._clips, self._times = clips, times

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, places: Any, /) -> torch.Tensor:
        return self._clips[places].repeat(1, self._times, 1)


def costs(base: Base, clips: Clips, methods: Mapping[str, AlternativeMethod], training: AlternativeTraining, *,
          repetitions: int, progress: bool = False) -> dict[str, Any]:
    """Measure every method on the same clips.

    Args:
        clips: A user's support set.
        methods: For the base's kind of net, by name.
        repetitions: Adaptations that are timed, after one that is not; the methods take turns, the median counts.

    Returns:
        ``clips``, ``frames``; ``methods``, by name ``seconds`` and ``memory`` (:class:`~.memory.Usage`), for a spiking net
        also ``memory_longer``, with clips of twice as many frames; ``checks``.
    """
    found: dict[str, Any] = {name: {} for name in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    spiking = next(iter(methods.values())).net == "spiking"
    for name, method in tqdm(methods.items(), desc="memory", unit="method", disable=not progress):
        # An epoch has every category at its largest; the second meets what the first has left.
        short = training.model_copy(update={"epochs": 2})
        usage = measure_learning(learner(method), base.net, clips, clips.labels, method, short, seed=0)
        found[name]["memory"] = usage.told()
        if spiking:
            longer = measure_learning(learner(method), base.net, Longer(clips, 2), clips.labels, method, short, seed=0)
            found[name]["memory_longer"] = longer.told()
    for _ in tqdm(range(repetitions + 1), desc="time", unit="turn", disable=not progress):
        for name, method in methods.items():
            start = time.perf_counter()
            adapt(base, clips, method, training, seed=0)
            seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        found[name]["seconds"] = statistics.median(taken[1:])
    return {"clips": len(clips), "frames": int(clips[[0]].shape[1]), "methods": found, "checks": checks(methods, found)}


def checks(methods: Mapping[str, AlternativeMethod], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Claims about memory: ``{"holds", "why"}`` each, as far as the methods are there."""
    told: dict[str, Any] = {}
    peak = {name: cell["memory"]["peak"] for name, cell in found.items()}
    adam = {name: method for name, method in methods.items() if method.optimiser == "adam"}
    full = next((name for name, method in adam.items() if method.kind == "full"), None)
    lora = next((name for name, method in adam.items() if method.kind == "lora" and method.rank == 4), None)
    local = [name for name, method in methods.items() if method.kind in get_args(LocalRule)]
    if full and lora:
        told["lora_less_memory"] = {
            "holds": peak[full] >= NOTICEABLE * peak[lora],
            "why": f"LoRA of rank 4 takes {_kib(peak[lora])}, all weights take {_kib(peak[full])}: "
                   f"{peak[full] / peak[lora]:.2f} times as much"}
    if full and local:
        told["local_less_memory"] = {
            "holds": all(peak[name] < peak[full] for name in local),
            "why": f"back-propagation takes {_kib(peak[full])}, "
                   + ", ".join(f"{name.replace('_', ' ')} {_kib(peak[name])}" for name in local)}
        grown = {name: _beside_clips(found[name]["memory_longer"]) / _beside_clips(found[name]["memory"])
                 for name in [*local, full]}
        told["local_any_length"] = {
            "holds": all(grown[name] <= 1 for name in local),
            "why": "with clips twice as long memory beside the clips grows to " + ", ".join(
                f"{ratio:.2f} times ({name.replace('_', ' ')})" for name, ratio in grown.items())}
    return told


def _beside_clips(usage: Mapping[str, Any]) -> int:
    """Bytes at the peak without the batch."""
    return int(usage["peak"] - usage["at_peak"]["batch"])


def _kib(number: int) -> str:
    return f"{number / 1024:,.0f} KiB"
