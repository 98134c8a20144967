"""What Snakemake would do, from Snakemake itself: its table of files (``--summary``) and its graph (``--d3dag``).

Both are for machines, a table of tab-separated values and JSON, and neither needs data or takes a lock.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekws.config import Config
from edgekws.core import settings
from edgekws.core.errors import UserError
from edgekws.run import work

Status = Literal["built", "stale", "missing"]
DEFAULTS = Path("config/default.yaml")


@dataclass(frozen=True)
class Planned:
    """A job of the plan: its rule, wildcards, and whether its output is built, out of date, or missing."""

    rule: work.Rule
    at: dict[str, str]
    status: Status


def read_config(configfiles: Sequence[Path]) -> Config:
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
    """What Snakemake prints to standard output.

    Raises:
        UserError: There is no Snakemake, no Snakefile here, or Snakemake refuses; its own last words are in the error.
    """
    if not Path("Snakefile").is_file():
        raise UserError("no Snakefile here", where=Path.cwd(), remedy="run this in the project's folder")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which("snakemake", path=path)
    if program is None:
        raise UserError("is not to be found beside this Python nor on PATH", where="snakemake",
                        remedy="set the project's environment up (make .venv/.main) and use its .venv/bin/edgekws")
    command = [program, *arguments, "--configfile", *map(str, configfiles)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise UserError("Snakemake cannot plan this run: " + " / ".join(said[-4:]), where=", ".join(map(str, configfiles)),
                        remedy="mend what it says; `snakemake -n` with this configuration shows all of it")
    return done.stdout


def parse_summary(text: str, run: str) -> list[Planned]:
    """Jobs of Snakemake's summary of a run; one for each first output of a rule, the others are passed over.

    Raises:
        UserError: The table has other columns than those of this version.
    """
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if rows and not {"output_file", "rule", "log-file(s)", "status", "plan"} <= rows[0].keys():
        raise UserError(f"has the columns {', '.join(map(str, rows[0]))}", where="snakemake --summary",
                        remedy="install the version of Snakemake that envs/main.txt names")
    jobs, logs = [], set[tuple[str, str]]()
    for row in rows:
        rule = work.named(row["rule"])
        path, prefix = row["output_file"], f"results/{run}/"
        within = path.removeprefix(prefix) if path.startswith(prefix) else f"/{path}"
        if rule.output:
            at = work.wildcards(rule.output, within)
        else:  # of a rule that the table does not know, the outputs of a job share its log
            at = None if (log := (rule.name, row["log-file(s)"])) in logs else {}
            logs.add(log)
        if at is not None:
            jobs.append(Planned(rule, at, _status(row)))
    return jobs


def _status(row: dict[str, str]) -> Status:
    if row["status"] == "missing":
        return "missing"
    return "built" if row["plan"] == "no update" else "stale"


def plan(configfiles: Sequence[Path], run: str) -> list[Planned]:
    """Every job that a configuration asks for, done or not."""
    return parse_summary(ask("--summary", configfiles=configfiles), run)


def parse_graph(text: str) -> dict[str, set[str]]:
    """Which rules a rule waits for, from Snakemake's graph of jobs (``--d3dag``); it draws none of over 10,000 jobs.

    >>> parse_graph('{"nodes": [{"id": 0, "value": {"rule": "b"}}, {"id": 1, "value": {"rule": "a"}}],'
    ...             ' "edges": [{"u": 1, "v": 0}]}')
    {'b': {'a'}, 'a': set()}
    """
    if "{" not in text:
        return {}
    graph = json.loads(text[text.index("{"):])
    names = {node["id"]: node["value"]["rule"] for node in graph["nodes"]}
    waits: dict[str, set[str]] = {name: set() for name in names.values()}
    for edge in graph["edges"]:
        before, after = names[edge["u"]], names[edge["v"]]
        if before != after:
            waits[after].add(before)
    return waits


def graph(configfiles: Sequence[Path], *, whole: bool) -> dict[str, set[str]]:
    """Which rules a rule waits for: of the whole plan, or of what is left to do."""
    return parse_graph(ask("--d3dag", *(["--forceall"] if whole else []), configfiles=configfiles))


def by_status(jobs: Sequence[Planned]) -> dict[str, Counter[Status]]:
    """For each rule how many jobs are built, stale or missing, in the order of :data:`edgekws.run.work.RULES`."""
    counts: dict[str, Counter[Status]] = {name: Counter() for name in work.RULES}
    for job in jobs:
        counts.setdefault(job.rule.name, Counter())[job.status] += 1
    return {name: count for name, count in counts.items() if count}
