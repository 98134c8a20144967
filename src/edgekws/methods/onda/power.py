"""Energy counters of the machine at hand: a Jetson's power monitor, the processor's RAPL, an NVIDIA GPU's NVML.

All count joules from some origin; what an operation took is the difference of two readings, less what the machine takes
when idle (onda.md, section 7, gap 15).
"""

from __future__ import annotations

import importlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self


class EnergyCounter(ABC):
    """A counter that runs while its context is open.

    Attributes:
        name: What it is.
        covers: What of the machine its joules are of.
    """

    name: str
    covers: str

    @abstractmethod
    def joules(self) -> float:
        """Joules since some origin; never falls while the context is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class _Domain(NamedTuple):
    path: Path
    range: int  # microjoules at which the count starts again


class Rapl(EnergyCounter):
    """Running average power limit: the processor packages and their memory, counted by the processor itself.

    A count starts again at its range, after an hour or so at full load: it has to be read before that.

    Args:
        domains: Folders that hold ``energy_uj`` and ``max_energy_range_uj``.
    """

    name = "RAPL"

    def __init__(self, domains: list[Path]) -> None:
        self.covers = ", ".join((domain / "name").read_text().strip() for domain in domains) + "; all that runs there"
        self._domains = [_Domain(domain / "energy_uj", int((domain / "max_energy_range_uj").read_text()))
                         for domain in domains]
        self._last = [int(domain.path.read_text()) for domain in self._domains]
        self._total = 0

    def joules(self) -> float:
        now = [int(domain.path.read_text()) for domain in self._domains]
        self._total += sum((new - old) % domain.range for new, old, domain in zip(now, self._last, self._domains, strict=True))
        self._last = now
        return self._total / 1e6


class Ina3221(EnergyCounter):
    """A Jetson's power monitor: samples of voltage times current, integrated by trapezoids in a thread of its own.

    Args:
        millivolts: File with the voltage of a channel.
        milliamperes: File with its current.
        label: Name of the channel.
        rate: Samples a second.
        clock: Seconds from any origin.
    """

    name = "INA3221"

    def __init__(self, millivolts: Path, milliamperes: Path, label: str, *, rate: float = 20.0,
                 clock: Callable[[], float] = time.perf_counter) -> None:
        self.covers = f"{label}, the whole board" if label == _INPUT else label
        self._files, self._rate, self._clock = (millivolts, milliamperes), rate, clock
        self._last: tuple[float, float] | None = None  # seconds, watts
        self._joules = 0.0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def joules(self) -> float:
        with self._lock:
            volts, amperes = (int(file.read_text()) / 1000 for file in self._files)
            seconds, watts = self._clock(), volts * amperes
            if self._last is not None:
                before, power = self._last
                self._joules += (seconds - before) * (power + watts) / 2
            self._last = seconds, watts
            return self._joules

    def __enter__(self) -> Self:
        self._stop.clear()
        self._thread = threading.Thread(target=self._sample, name="ina3221", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(1 / self._rate):
            self.joules()


class Nvml(EnergyCounter):
    """An NVIDIA GPU's own count, in millijoules since the driver was loaded (Volta and newer)."""

    name = "NVML"
    covers = "the GPU board; all that runs there"

    def __init__(self, pynvml: Any, gpu: str) -> None:
        pynvml.nvmlInit()
        self._pynvml, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByUUID(gpu)
        self.joules()  # older GPUs raise here

    def joules(self) -> float:
        return float(self._pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000


_INPUT = "VDD_IN"
"""The channel of a Jetson's monitor that measures all it is fed."""


def find_counter(root: str | Path = "/", *, gpu: str | None = None) -> EnergyCounter | None:
    """The counter that takes in most of what runs the work: a Jetson's monitor, else the GPU's or the processor's own.

    Args:
        root: Where ``sys`` is.
        gpu: NVML's UUID of the GPU that does the work; None for the processor.

    Returns:
        None where there is none that may be read (:func:`why_none` says why).
    """
    monitor = _ina3221(Path(root))
    if monitor is not None:
        return monitor
    if gpu is not None:
        return _nvml(gpu)
    domains = [domain for domain in _rapl_domains(Path(root)) if _readable(domain / "energy_uj")]
    return Rapl(domains) if domains else None


def why_none(root: str | Path = "/", *, gpu: str | None = None) -> str:
    """Why :func:`find_counter` found no counter, and what would help."""
    if gpu is not None:
        return "the GPU's energy counter cannot be read (pip install nvidia-ml-py; GPUs before Volta have none)"
    domains = _rapl_domains(Path(root))
    if domains:
        return f"{domains[0] / 'energy_uj'} may not be read (the administrator can allow it)"
    return "this machine shows no energy counter (RAPL, or a Jetson's INA3221)"


def _ina3221(root: Path) -> Ina3221 | None:
    for label in sorted(root.glob("sys/class/hwmon/hwmon*/in*_label")):
        folder, channel = label.parent, label.name.removeprefix("in").removesuffix("_label")
        volts, amperes = folder / f"in{channel}_input", folder / f"curr{channel}_input"
        if (_content(folder / "name") == "ina3221" and _content(label) == _INPUT and _readable(volts)
                and _readable(amperes)):
            return Ina3221(volts, amperes, _INPUT)
    return None


def _rapl_domains(root: Path) -> list[Path]:
    """Packages and their memory; cores and graphics are within a package, and ``intel-rapl-mmio`` counts it twice."""
    packages = [domain for domain in sorted(root.glob("sys/class/powercap/intel-rapl:*"))
                if (_content(domain / "name") or "").startswith("package")]
    memory = [part for package in packages for part in sorted(package.glob(f"{package.name}:*"))
              if _content(part / "name") == "dram"]
    return packages + memory


def _nvml(gpu: str) -> Nvml | None:
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        return Nvml(pynvml, gpu)
    except pynvml.NVMLError:
        return None


def _content(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _readable(path: Path) -> bool:
    return _content(path) is not None
