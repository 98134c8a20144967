"""What jobs would cost, by what jobs like them did cost: core seconds, memory and disk.

The model. A job takes the start of its process and its units of work (:mod:`edgekws.run.work`) times a rate::

    core seconds = start + rate * units
    rate         = sum over measured jobs (core seconds - start) / sum (units), at least half of core seconds / units
    memory       = measured peak + what the job holds more than the measured one did
    wall         = the larger of core seconds / cores and of the longest chain of rules, each with its longest job

A rate belongs to a rule and, where a wildcard tells cheap from dear, to its value (the method, the arm, the encoder); one
that was not measured takes the rate of all values of its rule together. Of several runs, one of the same device and then
one with more units behind it counts more, since rates are of sums. A rule that was never measured has no estimate and is
named. Of a measured job the start is at most half: one that hardly did anything else says little of what its work costs, and
the estimate is then too high rather than nothing. The chain is of rules, not of jobs, so it is never too short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgekws.config import Config
from edgekws.run.measured import Measured, Row, variant_of
from edgekws.run.sizes import Sizes
from edgekws.run.work import RULES, Rule
from edgekws.run.workflow import Planned

HOUR, MEGABYTE = 3600.0, 1e6
_MOST_START = 0.5
"""Share of a measured job that its start is taken to be, at most."""


class Rate(NamedTuple):
    """Core seconds of the start of a job and of a unit of work, the rows behind it, and whether it is the variant's own."""

    start: float
    per_unit: float
    rows: list[Row]
    own: bool

    def seconds(self, units: float) -> float:
        """Core seconds of a job of so many units."""
        return self.start + self.per_unit * units


@dataclass(frozen=True)
class Line:
    """What the jobs of one rule cost.

    Attributes:
        jobs: How many.
        core_hours: Of all of them; None where nothing was measured, or nothing is: a rule without a benchmark.
        longest: Core seconds of the longest job.
        start_share: Share of the core hours that goes into starting processes.
        memory_mb: Largest resident set of a job.
        disk_mb: What they leave behind.
        gpu_hours: Hours of a GPU; None where nothing was measured on one.
        on_gpu: Whether they would ask for one.
        borrowed: Variants that have no rate of their own.
    """

    rule: Rule
    jobs: int
    core_hours: float | None
    longest: float
    start_share: float
    memory_mb: float
    disk_mb: float
    gpu_hours: float | None
    on_gpu: bool
    borrowed: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """Lines by rule, and the chain of rules that takes longest (core seconds)."""

    lines: list[Line]
    chain_seconds: float

    @property
    def jobs(self) -> int:
        """Jobs of all rules."""
        return sum(line.jobs for line in self.lines)

    @property
    def core_hours(self) -> float:
        """Core hours of all rules whose cost is known."""
        return sum(line.core_hours or 0.0 for line in self.lines)

    @property
    def gpu_able_hours(self) -> float:
        """Core hours of the rules that can use a GPU."""
        return sum(line.core_hours or 0.0 for line in self.lines if line.rule.gpu)

    @property
    def asks_for_gpus(self) -> bool:
        """Whether any rule would ask for one."""
        return any(line.on_gpu for line in self.lines)

    @property
    def gpu_hours(self) -> float | None:
        """Hours of GPUs; None where none is asked for, or not all was measured on one."""
        hours = [line.gpu_hours for line in self.lines if line.on_gpu]
        return sum(filter(None, hours)) if hours and None not in hours else None

    @property
    def start_share(self) -> float:
        """Share of all core hours that goes into starting processes."""
        return sum((line.core_hours or 0.0) * line.start_share for line in self.lines) / max(self.core_hours, 1e-12)

    @property
    def memory_mb(self) -> float:
        """Memory of the largest job."""
        return max((line.memory_mb for line in self.lines), default=0.0)

    @property
    def disk_mb(self) -> float:
        """What all jobs leave on disk."""
        return sum(line.disk_mb for line in self.lines)

    @property
    def unmeasured(self) -> list[Line]:
        """Lines without an estimate."""
        return [line for line in self.lines if line.core_hours is None]

    def wall_hours(self, cores: int) -> float:
        """Hours on so many cores, at best."""
        return max(self.core_hours / cores, self.chain_seconds / HOUR)


def rate(measured: Measured, rule: Rule, variant: str, device: str) -> Rate | None:
    """The rate of a rule and variant, or None where the rule was never measured.

    Rows of another device count only where there is none of the device asked for.
    """
    rows = measured.of(rule.name)
    rows = [row for row in rows if row.device == device] or rows
    own = [row for row in rows if row.variant == variant]
    chosen = own or rows
    if not chosen:
        return None
    jobs, seconds, units = (sum(getattr(row, name) for row in chosen) for name in ("jobs", "core_seconds", "units"))
    start = min(measured.start, _MOST_START * seconds / jobs)
    return Rate(start, (seconds - start * jobs) / units if units else 0.0, chosen, bool(own))


def line(rule: Rule, jobs: Sequence[Planned], measured: Measured, config: Config, sizes: Sizes) -> Line:
    """What some jobs of one rule cost."""
    device = config.device
    on_gpu = rule.gpu and device != "cpu"
    disk = sum(rule.written(config, sizes, job.at) for job in jobs) if rule.written else len(jobs) * _left(measured, rule)
    seconds, starts, longest, memory, borrowed = 0.0, 0.0, 0.0, 0.0, set[str]()
    on_devices = set[str]()
    for job in jobs:
        variant = variant_of(rule, job.at)
        found = rate(measured, rule, variant, device)
        if found is None:
            return Line(rule, len(jobs), None, 0.0, 0.0, 0.0, disk / MEGABYTE, None, on_gpu, ())
        took = found.seconds(rule.units(config, sizes, job.at))
        seconds, starts, longest = seconds + took, starts + found.start, max(longest, took)
        held = rule.held(config, sizes, job.at) if rule.held else 0.0
        memory = max(memory, max(row.peak_mb + max(0.0, held - row.held) / MEGABYTE for row in found.rows))
        on_devices |= {row.device for row in found.rows}
        if not found.own:
            borrowed.add(variant)
    gpu_hours = seconds / HOUR if on_gpu and on_devices == {device} else None
    return Line(rule, len(jobs), seconds / HOUR, longest, starts / seconds, memory, disk / MEGABYTE, gpu_hours, on_gpu,
                tuple(sorted(borrowed)))


def _left(measured: Measured, rule: Rule) -> float:
    """Bytes that a job of a rule leaves behind, as measured."""
    return max((row.bytes or 0.0 for row in measured.of(rule.name)), default=0.0)


def estimate(jobs: Iterable[Planned], waits: Mapping[str, set[str]], measured: Measured, config: Config,
             sizes: Sizes) -> Estimate:
    """What some jobs of a run cost, rule by rule in the order of :data:`edgekws.run.work.RULES`."""
    by_rule: dict[str, list[Planned]] = {name: [] for name in RULES}
    for job in jobs:
        by_rule.setdefault(job.rule.name, []).append(job)
    lines = [line(some[0].rule, some, measured, config, sizes) for some in by_rule.values() if some]
    return Estimate(lines, chain(waits, {each.rule.name: each.longest for each in lines}))


def chain(waits: Mapping[str, set[str]], seconds: Mapping[str, float]) -> float:
    """Seconds of the longest way through a graph of rules.

    >>> chain({"c": {"a", "b"}, "b": {"a"}, "a": set()}, {"a": 1, "b": 10, "c": 100})
    111.0
    """
    done: dict[str, float] = {}

    def end(rule: str) -> float:
        if rule not in done:
            done[rule] = seconds.get(rule, 0.0) + max((end(before) for before in waits.get(rule, ())), default=0.0)
        return done[rule]

    return float(max((end(rule) for rule in waits), default=0.0))
