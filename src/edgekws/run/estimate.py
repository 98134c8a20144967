"""What jobs would cost, estimated from what jobs like them did cost: core seconds and memory.

The model. A job takes the start of its process and its units of work, which its rule declares (``units`` among its resources,
workflow/rules/common.smk), times a rate::

    core seconds = start + rate * units
    rate         = sum over measured jobs (core seconds - start) / sum (units), at least half of core seconds / units
    wall         = the larger of core seconds / cores and of the longest chain of jobs

The measured jobs are those of the same rule whose wildcards differ least from its own (the method, the experiment, the
encoder), of the same device if there are any; of several runs, the one with more units behind it counts more, since rates are
of sums. A job whose rule declares no units is estimated by the mean time of its like, one whose rule was never measured not at
all. Of a measured job the start is at most half: one that hardly did anything else says little of what its work costs, and the
estimate is then too high rather than nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgekws.run.measured import Measured, Row, device
from edgekws.run.workflow import Job

HOUR = 3600.0
_MOST_START = 0.5
"""Share of a measured job that its start is taken to be, at most."""

Basis = Literal["units", "like job", "unknown"]
"""Whether a job is estimated by its units of work, by the measured time of a like job, or not at all."""


class Cost(NamedTuple):
    """What a job costs.

    Attributes:
        seconds: Core seconds; 0 where they are unknown.
        memory_mb: Largest resident set of a like job, as measured.
        exact: Whether the like jobs differ in no wildcard but those that number repetitions.
        rows: The rows of the like jobs.
    """

    seconds: float
    basis: Basis
    memory_mb: float
    exact: bool
    rows: tuple[Row, ...]


UNKNOWN = Cost(0.0, "unknown", 0.0, True, ())


def differences(variant: str, other: str) -> int:
    """Wildcards that have different values in two variants; one that only either has is none.

    >>> differences("experiment=a, method=bptt", "method=bptt"), differences("experiment=a, method=x", "experiment=a, method=y")
    (0, 1)
    """
    mine, others = (dict(part.split("=") for part in some.split(", ") if part) for some in (variant, other))
    return sum(mine[name] != others[name] for name in mine.keys() & others.keys())


def like(job: Job, measured: Measured) -> list[Row]:
    """Rows of the job's rule, of its device if there are any, whose wildcards differ least from its own."""
    rows = [row for row in measured.rows if row.rule == job.rule]
    rows = [row for row in rows if row.device == device(job)] or rows
    return [row for row in rows if differences(row.variant, job.variant) == min(
        differences(other.variant, job.variant) for other in rows)]


def cost(job: Job, measured: Measured) -> Cost:
    """What a job costs."""
    rows = like(job, measured)
    if not rows:
        return UNKNOWN
    jobs, seconds = sum(row.jobs for row in rows), sum(row.core_seconds for row in rows)
    memory, exact = max(row.peak_mb for row in rows), differences(rows[0].variant, job.variant) == 0
    units = sum(row.units or 0 for row in rows)
    if job.units is None or (job.units > 0 and units == 0):
        return Cost(seconds / jobs, "like job", memory, exact, tuple(rows))
    if units == 0:  # nothing but a start, there as here
        return Cost(seconds / jobs, "units", memory, exact, tuple(rows))
    start = min(measured.start, _MOST_START * seconds / jobs)
    return Cost(start + (seconds - start * jobs) / units * job.units, "units", memory, exact, tuple(rows))


@dataclass(frozen=True)
class Line:
    """Jobs of one rule, and what each costs."""

    rule: str
    group: str
    jobs: tuple[Job, ...]
    costs: tuple[Cost, ...]

    @property
    def core_hours(self) -> float:
        """Core hours of the jobs whose cost is known."""
        return sum(each.seconds for each in self.costs) / HOUR

    @property
    def longest(self) -> float:
        """Core seconds of the longest job."""
        return max(each.seconds for each in self.costs)

    @property
    def memory_mb(self) -> float:
        """Memory of the largest job."""
        return max(each.memory_mb for each in self.costs)

    @property
    def basis(self) -> list[Basis]:
        """What its jobs are estimated by."""
        return list(dict.fromkeys(each.basis for each in self.costs))

    @property
    def borrowed(self) -> list[str]:
        """Variants that were not measured themselves."""
        return sorted({job.variant for job, each in zip(self.jobs, self.costs, strict=True) if not each.exact})


@dataclass(frozen=True)
class Estimate:
    """Lines by rule, and the longest chain of jobs that wait for one another (core seconds)."""

    lines: list[Line]
    chain_seconds: float

    @property
    def jobs(self) -> int:
        """Jobs of all rules."""
        return sum(len(line.jobs) for line in self.lines)

    @property
    def core_hours(self) -> float:
        """Core hours of all jobs whose cost is known."""
        return sum(line.core_hours for line in self.lines)

    @property
    def memory_mb(self) -> float:
        """Memory of the largest job."""
        return max((line.memory_mb for line in self.lines), default=0.0)

    @property
    def gpu_able_hours(self) -> float:
        """Core hours of the jobs that can use a GPU."""
        return sum(each.seconds for line in self.lines for job, each in zip(line.jobs, line.costs, strict=True)
                   if job.gpu is not None) / HOUR

    @property
    def asks_for_gpus(self) -> bool:
        """Whether any job would ask for one."""
        return any(job.gpu for line in self.lines for job in line.jobs)

    @property
    def gpu_hours(self) -> float | None:
        """Hours of GPUs; None where none is asked for, or not all was measured on one."""
        on_gpu = [each for line in self.lines for job, each in zip(line.jobs, line.costs, strict=True) if job.gpu]
        measured = all(each.rows and all(row.device == "gpu" for row in each.rows) for each in on_gpu)
        return sum(each.seconds for each in on_gpu) / HOUR if on_gpu and measured else None

    @property
    def unknown(self) -> list[str]:
        """Rules with a benchmark that were never measured."""
        return [line.rule for line in self.lines if "unknown" in line.basis and line.jobs[0].benchmark is not None]

    def wall_hours(self, cores: int) -> float:
        """Hours on so many cores, at best."""
        return max(self.core_hours / cores, self.chain_seconds / HOUR)


def estimate(jobs: Iterable[Job], measured: Measured) -> Estimate:
    """What some jobs of a run cost, rule by rule, the rules of a method together, by name: Snakemake's own order differs."""
    by_rule: dict[str, list[tuple[Job, Cost]]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append((job, cost(job, measured)))
    lines = [Line(rule, some[0][0].group, *map(tuple, zip(*some, strict=True)))
             for rule, some in by_rule.items()]
    costed = [pair for some in by_rule.values() for pair in some]
    return Estimate(sorted(lines, key=lambda line: (line.group != "shared", line.group, line.rule)),
                    chain([job for job, _ in costed], [each.seconds for _, each in costed]))


def chain(jobs: Sequence[Job], seconds: Sequence[float]) -> float:
    """Seconds of the longest way through jobs of which some wait for the files of others."""
    maker = {path: place for place, job in enumerate(jobs) for path in job.output}
    done: dict[int, float] = {}

    def end(place: int) -> float:
        if place not in done:
            before = {maker[path] for path in jobs[place].input if path in maker}
            done[place] = seconds[place] + max(map(end, before), default=0.0)
        return done[place]

    return max(map(end, range(len(jobs))), default=0.0)
