"""What jobs took, from the benchmarks of runs: a small table, one row for each rule and variant.

What counts is core seconds: on a machine that does other things too, wall time says more about those. Snakemake samples the
processor time of a job every half second for fifteen seconds and every thirty seconds from then on, so its last sample may be
half a minute old; what it shows is taken to go on until the end.
"""

from __future__ import annotations

import csv
import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekws.config import Config
from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.run import work
from edgekws.run.sizes import Sizes, counted
from edgekws.run.work import Rule

_STARTS = ("neuedge_export", "traces_propagation_complexity")
"""Rules whose jobs load torch and then have next to nothing to do: the shortest of them is what a start costs."""

_OFTEN, _RARELY = 15.0, 30.0
"""Seconds for which Snakemake samples every half second, and those between two samples from then on."""

_MAKE = "run one first: `make`, or name a summary by --measured"


@dataclass(frozen=True)
class Row:
    """Jobs of one rule and variant, in one run.

    Attributes:
        units: Units of work of all of them together.
        core_seconds: Of all of them together.
        core_seconds_max: Of the longest.
        peak_mb: Largest resident set, MB.
        held: Bytes that :class:`edgekws.run.work.Rule` reckons for the job of that peak.
        bytes: Of the rule's first output, on average; None where it is not there any more.
    """

    run: str
    device: str
    rule: str
    variant: str
    jobs: int
    units: float
    core_seconds: float
    core_seconds_max: float
    peak_mb: float
    held: float
    bytes: float | None


@dataclass(frozen=True)
class Measured:
    """Rows of one or more runs, what starting a process costs there (core seconds), and the machine."""

    rows: list[Row]
    start: float
    machine: str

    def of(self, rule: str) -> list[Row]:
        """The rows of a rule."""
        return [row for row in self.rows if row.rule == rule]

    def to_json(self) -> dict[str, Any]:
        """Plain data, as docs/benchmarks.json holds it."""
        return {"schema": 1, "machine": self.machine, "start_core_seconds": self.start,
                "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_json(cls, value: Any, where: Path) -> Measured:
        """Raises: UserError if it is no summary of this version."""
        try:
            if value["schema"] != 1:
                raise KeyError
            return cls([Row(**row) for row in value["rows"]], float(value["start_core_seconds"]), str(value["machine"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("is no summary of benchmarks that this version can read", where=where,
                            remedy="write it again: edgekws run measured results/<run> <file>") from error


@dataclass(frozen=True)
class Job:
    """One benchmark file."""

    rule: Rule
    at: dict[str, str]
    wall: float
    core_seconds: float
    peak_mb: float


def core_seconds(wall: float, cpu_time: float) -> float:
    """Core seconds of a job of so many seconds from what Snakemake's last sample saw (0: none was taken).

    >>> core_seconds(10.0, 8.0), core_seconds(30.0, 12.0), core_seconds(90.0, 60.0), core_seconds(0.3, 0.0)
    (8.0, 24.0, 72.0, 0.3)
    """
    sampled = wall if wall <= _OFTEN else _OFTEN + _RARELY * ((wall - _OFTEN) // _RARELY)
    return wall * cpu_time / sampled if cpu_time else wall


def _number(text: str) -> float:
    """A field of a benchmark; 0 for what the job was too short to have sampled, which Snakemake writes as - or NA."""
    value = 0.0 if text in ("NA", "-", "") else float(text)
    return 0.0 if math.isnan(value) else value


def read_benchmark(path: Path) -> tuple[float, float, float]:
    """Wall seconds, core seconds and peak MB of a benchmark file; of repetitions the means, and the largest peak.

    Raises:
        UserError: It is no benchmark.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        walls = [float(row["s"]) for row in rows]
        cores = [core_seconds(wall, _number(row["cpu_time"])) for wall, row in zip(walls, rows, strict=True)]
        return sum(walls) / len(walls), sum(cores) / len(cores), max(_number(row["max_rss"]) for row in rows)
    except (OSError, KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"is no benchmark of Snakemake's ({error})", where=path,
                        remedy="delete it and the job's output, and build that again") from error


def jobs_of(folder: Path) -> list[Job]:
    """Every job of a run that left a benchmark; files that no rule of this version writes are passed over."""
    found = []
    root = folder / "benchmarks"
    for path in sorted(root.rglob("*.tsv")):
        matched = work.rule_of_benchmark(path.relative_to(root).with_suffix("").as_posix())
        if matched is not None:
            found.append(Job(*matched, *read_benchmark(path)))
    return found


def config_of(folder: Path) -> Config:
    """The configuration that a run was made with.

    Raises:
        UserError: It is not there, or this version cannot read it.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError("has no config.json, so what its benchmarks measured is unknown", where=folder,
                        remedy="finish that run, or build its config.json by Snakemake")
    return settings.validate(Config, files.read_json(path), where=str(path))


def summarise(folders: Sequence[Path]) -> Measured:
    """The benchmarks of some runs (folders ``results/<run>``).

    Raises:
        UserError: A run has none, or its configuration cannot be read.
    """
    rows: list[Row] = []
    starts: list[float] = []
    for folder in folders:
        config = config_of(folder)
        sizes = counted(config, folder)
        jobs = [job for job in jobs_of(folder) if _is_of(config, sizes, job)]
        if not jobs:
            raise UserError("holds no benchmarks", where=folder, remedy=_MAKE)
        starts += [job.core_seconds for job in jobs if job.rule.name in _STARTS]
        groups: dict[tuple[str, str], list[Job]] = {}
        for job in jobs:
            groups.setdefault((job.rule.name, variant_of(job.rule, job.at)), []).append(job)
        rows += [_row(folder, config, sizes, variant, some) for (_, variant), some in sorted(groups.items())]
    if not starts:
        raise UserError("hold no job of " + " or ".join(_STARTS) + ", which tell what starting a process costs",
                        where=", ".join(map(str, folders)), remedy="build one of them, or name a whole run")
    return Measured(rows, min(starts), f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}")


def _is_of(config: Config, sizes: Sizes, job: Job) -> bool:
    """Whether the configuration has the job's experiment or method; a benchmark may be older than the configuration."""
    try:
        job.rule.units(config, sizes, job.at)
    except (KeyError, AttributeError):
        return False
    return True


def variant_of(rule: Rule, at: dict[str, str]) -> str:
    """The value that costs of a rule are told apart by."""
    return at[rule.variant] if rule.variant else ""


def _row(folder: Path, config: Config, sizes: Sizes, variant: str, jobs: Sequence[Job]) -> Row:
    rule = jobs[0].rule
    top = max(jobs, key=lambda job: job.peak_mb)
    return Row(
        run=folder.name, device=config.device, rule=rule.name, variant=variant, jobs=len(jobs),
        units=sum(rule.units(config, sizes, job.at) for job in jobs),
        core_seconds=round(sum(job.core_seconds for job in jobs), 2),
        core_seconds_max=round(max(job.core_seconds for job in jobs), 2),
        peak_mb=round(top.peak_mb, 1), held=rule.held(config, sizes, top.at) if rule.held else 0.0,
        bytes=_mean(_sizes(folder, rule, jobs)))


def _sizes(folder: Path, rule: Rule, jobs: Iterable[Job]) -> list[int]:
    paths = [output_path(folder, rule, job.at) for job in jobs]
    return [path.stat().st_size for path in paths if path.is_file()]


def output_path(folder: Path, rule: Rule, at: dict[str, str]) -> Path:
    """A job's first output; ``folder`` is ``results/<run>``."""
    named = rule.output.format(**at)
    return folder.parents[1] / named[1:] if named.startswith("/") else folder / named


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values)) if values else None


def load(sources: Sequence[Path]) -> Measured:
    """Benchmarks of runs (folders) and of summaries (JSON files), together."""
    parts = []
    for source in sources:
        if source.is_dir():
            parts.append(summarise([source]))
        else:
            parts.append(Measured.from_json(files.read_json(source), source))
    return together(parts)


def together(parts: Sequence[Measured]) -> Measured:
    """Several summaries as one; a start costs what it did where it was least."""
    return Measured([row for part in parts for row in part.rows], min(part.start for part in parts),
                    "; ".join(dict.fromkeys(part.machine for part in parts)))


def runs_in(results: Path) -> list[Path]:
    """Folders of runs with benchmarks and a configuration."""
    return [folder for folder in sorted(results.glob("*"))
            if (folder / "config.json").is_file() and any((folder / "benchmarks").rglob("*.tsv"))]
