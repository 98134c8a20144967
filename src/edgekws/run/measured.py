"""What jobs took, from the benchmarks of runs: a small table, one row for each rule and variant.

What counts is core seconds: on a machine that does other things too, wall time says more about those. Snakemake samples the
processor time of a job every half second for fifteen seconds and every thirty seconds from then on, so its last sample may be
half a minute old; the load it saw is taken to go on until the end.
"""

from __future__ import annotations

import csv
import math
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.run import workflow
from edgekws.run.workflow import Job

_OFTEN, _RARELY = 15.0, 30.0
"""Seconds for which Snakemake samples every half second, and those between two samples from then on."""


@dataclass(frozen=True)
class Row:
    """Jobs of one rule and variant, in one run.

    Attributes:
        variant: As :attr:`edgekws.run.workflow.Job.variant`.
        units: Units of work of all of them together, as the rule declares them; None where it declares none.
        core_seconds: Of all of them together.
        peak_mb: Largest resident set, MB.
        device: What trained nets there: ``cpu`` or ``gpu``.
    """

    run: str
    rule: str
    variant: str
    jobs: int
    core_seconds: float
    units: int | None
    peak_mb: float
    device: str


@dataclass(frozen=True)
class Measured:
    """Rows of one or more runs, and the machine."""

    rows: list[Row]
    machine: str

    @property
    def start(self) -> float:
        """Core seconds of starting a process: of the shortest job whose rule declares no work beyond it; 0 if there is none."""
        return min((row.core_seconds / row.jobs for row in self.rows if row.units == 0), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as docs/benchmarks.json holds it."""
        return {"schema": 2, "machine": self.machine, "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_json(cls, value: Any, where: Path) -> Measured:
        """Raises: UserError if it is no summary of this version."""
        try:
            if value["schema"] != 2:
                raise KeyError
            return cls([Row(**row) for row in value["rows"]], str(value["machine"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("is no summary of benchmarks that this version can read", where=where,
                            remedy="write it again: edgekws run measured results/<run> --out <file>") from error


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


def result_of(folder: Path, benchmark: str) -> Path | None:
    """The model or metrics that a job left in a run's folder, by its benchmark's path alone; None where there are none.

    A benchmark is called like the job's result, if need be with a verb before it: ``onda/pretrain_<backbone>``.
    """
    for name in (benchmark, re.sub(r"(?<=/)(pretrain|prune)_", "", benchmark)):
        for path in (folder / "models" / f"{name}.safetensors", folder / "metrics" / f"{name}.json"):
            if path.is_file():
                return path
    return None


def rows_of(folder: Path, jobs: Sequence[Job]) -> list[Row]:
    """Rows of a run (folder ``results/<run>``) by its plan; jobs that left no benchmark are left out.

    Raises:
        UserError: A file is no benchmark.
    """
    groups: dict[tuple[str, str], list[tuple[Job, float, float]]] = {}
    for job in jobs:
        path = folder / "benchmarks" / f"{job.benchmark}.tsv"
        if job.benchmark is not None and path.is_file():
            _, seconds, peak = read_benchmark(path)
            groups.setdefault((job.rule, job.variant), []).append((job, seconds, peak))
    rows = []
    for (rule, variant), found in sorted(groups.items()):
        units = [job.units for job, _, _ in found if job.units is not None]
        rows.append(Row(folder.name, rule, variant, len(found), round(sum(seconds for _, seconds, _ in found), 2),
                        sum(units) if units else None, round(max(peak for _, _, peak in found), 1),
                        device(found[0][0])))
    return rows


def device(job: Job) -> str:
    """What a job runs on.

    >>> device(Job("r", {}, (), (), None, None, 1, "built")), device(Job("r", {}, (), (), None, None, None, "built"))
    ('gpu', 'cpu')
    """
    return "gpu" if job.gpu else "cpu"


def summarise(folders: Sequence[Path]) -> Measured:
    """The benchmarks of some runs (folders ``results/<run>``), each with the plan that its own config.json makes.

    Raises:
        UserError: A run has no benchmarks, or its configuration is not there or cannot be planned.
    """
    rows: list[Row] = []
    for folder in folders:
        if not (folder / "config.json").is_file():
            raise UserError("has no config.json, so what its benchmarks measured is unknown", where=folder,
                            remedy="finish that run, or build its config.json by Snakemake")
        found = rows_of(folder, workflow.plan([folder / "config.json"], status=False))
        if not found:
            raise UserError("holds no benchmarks", where=folder, remedy="run one first: `make`, or name a summary by --measured")
        rows += found
    return Measured(rows, f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}")


def load(sources: Sequence[Path]) -> Measured:
    """Benchmarks of runs (folders) and of summaries (JSON files), together."""
    return together([summarise([source]) if source.is_dir() else Measured.from_json(files.read_json(source), source)
                     for source in sources])


def together(parts: Sequence[Measured]) -> Measured:
    """Several summaries as one."""
    return Measured([row for part in parts for row in part.rows], "; ".join(dict.fromkeys(part.machine for part in parts)))


def runs_in(results: Path) -> list[Path]:
    """Folders of runs with benchmarks and a configuration."""
    return [folder for folder in sorted(results.glob("*"))
            if (folder / "config.json").is_file() and any((folder / "benchmarks").rglob("*.tsv"))]
