"""What Snakemake would do, from Snakemake itself: a dry run, job by job, through its interface for logger plugins.

It needs no data and takes no lock.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekws.config import Config, Shared
from edgekws.core import registry, settings
from edgekws.core.errors import UserError

Status = Literal["built", "stale", "missing"]
DEFAULTS = Path("config/default.yaml")
_PLUGINS = Path(__file__).parent / "plugin"
_REPETITIONS = ("seed", "part")
"""Wildcards that number jobs of the same cost."""


@dataclass(frozen=True)
class Job:
    """A job of the plan.

    Attributes:
        rule: Name of its rule.
        wildcards: Their values by name.
        input, output: Its files.
        benchmark: Its benchmark below ``results/<run>/benchmarks``, without ``.tsv``; None where the rule has none.
        units: Units of work that the rule declares among its resources; None where it declares none.
        gpu: GPUs it asks for; None where it cannot use any.
        status: Whether its output is built, out of date, or missing.
    """

    rule: str
    wildcards: dict[str, str]
    input: tuple[str, ...]
    output: tuple[str, ...]
    benchmark: str | None
    units: int | None
    gpu: int | None
    status: Status

    @property
    def variant(self) -> str:
        """The wildcards that tell cheap jobs of a rule from dear ones: all but those that number repetitions.

        >>> Job("r", {"seed": "0", "method": "bptt", "experiment": "a"}, (), (), None, None, None, "built").variant
        'experiment=a, method=bptt'
        """
        return ", ".join(f"{name}={value}" for name, value in sorted(self.wildcards.items()) if name not in _REPETITIONS)

    @property
    def group(self) -> str:
        """The method whose job it is, by the first folder of its benchmark, or ``shared``."""
        folder = (self.benchmark or "").partition("/")[0]
        return folder if folder in registry.names("settings") else "shared"


def read_config(configfiles: Sequence[Path]) -> Shared:
    """The settings that Snakemake would have: the defaults and the overlays over them, in turn.

    Raises:
        UserError: A file is missing or no YAML, or a setting is unknown or out of range.
    """
    layers: list[dict[str, Any]] = []
    for path in (DEFAULTS, *configfiles):
        if not path.is_file():
            raise UserError("no such configuration", where=path, remedy="run this in the project's folder, and name a file of "
                            "config/ or your own")
        layers.append(settings.parse(path.read_bytes(), where=path))
    return settings.validate(Config, settings.merged(*layers), where=str(configfiles[-1] if configfiles else DEFAULTS))


def ask(*arguments: str, configfiles: Sequence[Path]) -> str:
    """What Snakemake prints to standard output; logger plugins of this package are on its path.

    Raises:
        UserError: There is no Snakemake, no Snakefile here, or Snakemake refuses; its own last words are in the error.
    """
    if not Path("Snakefile").is_file():
        raise UserError("no Snakefile here", where=Path.cwd(), remedy="run this in the project's folder")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which("snakemake", path=path)
    if program is None:
        raise UserError("is found neither beside this Python nor on PATH", where="snakemake",
                        remedy="set the project's environment up (make .venv/.main) and use its .venv/bin/edgekws")
    command = [program, *arguments, "--configfile", *map(str, configfiles)]
    modules = os.pathsep.join(filter(None, [str(_PLUGINS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": path, "PYTHONPATH": modules})
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise UserError("Snakemake cannot plan this run: " + " / ".join(said[-4:]), where=", ".join(map(str, configfiles)),
                        remedy="mend what it says; `snakemake -n` with this configuration shows all of it")
    return done.stdout


def _dry_run(*arguments: str, configfiles: Sequence[Path]) -> list[dict[str, Any]]:
    lines = ask("--dry-run", "--logger", "jobs", *arguments, configfiles=configfiles).splitlines()
    jobs = [json.loads(line) for line in lines if line.startswith("{")]
    return [job for job in jobs if job["output"]]  # what is only a name for others makes nothing


def pending(configfiles: Sequence[Path]) -> list[dict[str, Any]]:
    """The jobs of a configuration that are left to do, as the plugin prints them.

    Raises:
        UserError: Snakemake cannot plan the run.
    """
    return _dry_run(configfiles=configfiles)


def read_jobs(whole: Iterable[dict[str, Any]], pending: Iterable[dict[str, Any]]) -> list[Job]:
    """Jobs from what the plugin printed: of the whole plan, and of what is left to do. Missing is what lacks an output."""
    left = {job["output"][0] for job in pending}
    found = []
    for job in whole:
        status: Status = "built"
        if job["output"][0] in left:
            status = "stale" if all(Path(path).exists() for path in job["output"]) else "missing"
        benchmark, resources = job["benchmark"], job["resources"]
        if benchmark is not None:
            benchmark = benchmark.partition("/benchmarks/")[2].removesuffix(".tsv") or benchmark
        found.append(Job(job["rule"], job["wildcards"], tuple(job["input"]), tuple(job["output"]), benchmark,
                         resources.get("units"), resources.get("gpu"), status))
    return found


def plan(configfiles: Sequence[Path], *, status: bool = True) -> list[Job]:
    """Every job that a configuration asks for, done or not; without ``status`` all count as missing, and it takes half the time.

    Raises:
        UserError: Snakemake cannot plan the run.
    """
    whole = _dry_run("--forceall", configfiles=configfiles)
    return read_jobs(whole, _dry_run(configfiles=configfiles) if status else whole)
