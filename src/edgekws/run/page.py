"""Estimates as text for a terminal and as Markdown for the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from edgekws.run.estimate import HOUR, Estimate, Line
from edgekws.run.measured import Measured
from edgekws.run.workflow import Job, Status

Table = list[list[str]]
BEGIN, END = "<!-- cost: written by `edgekws run cost --table` -->", "<!-- cost: end -->"
_WORTH_NAMING = 0.01
"""Share of all core hours from which on a rule is named."""


# ------------------------------------------------------------------------------------------------ numbers
def duration(seconds: float) -> str:
    """
    >>> duration(0.42), duration(42), duration(420), duration(42_000), duration(4_200_000)
    ('0.4 s', '42 s', '7.0 min', '11.7 h', '1167 h')
    """
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 1.5 * HOUR:
        return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 100 * HOUR else f"{seconds / HOUR:.0f} h"


def megabytes(value: float) -> str:
    """
    >>> megabytes(0.0), megabytes(0.2), megabytes(420), megabytes(4200)
    ('–', '<1 MB', '420 MB', '4.2 GB')
    """
    if value == 0:
        return "–"
    if value < 1:
        return "<1 MB"
    return f"{value:.0f} MB" if value < 1000 else f"{value / 1000:.1f} GB"


def percent(share: float) -> str:
    """
    >>> percent(0.254), percent(0.004)
    ('25 %', '<1 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.01 else "<1 %"


# ------------------------------------------------------------------------------------------------ tables
def cost_table(estimate: Estimate) -> Table:
    """A row for each rule, and their sum."""
    rows = [["rule", "jobs", "a job", "longest", "core hours", "memory", "estimated by"]]
    for line in estimate.lines:
        if line.basis == ["unknown"]:
            rows.append([line.rule, str(len(line.jobs)), *4 * ["–"], "unknown"])
        else:
            rows.append([line.rule, str(len(line.jobs)), duration(line.core_hours * HOUR / len(line.jobs)),
                         duration(line.longest), f"{line.core_hours:.2f}", _peak(line), " and ".join(line.basis)])
    return [*rows, ["all", str(estimate.jobs), "", "", f"{estimate.core_hours:.2f}", megabytes(estimate.memory_mb), ""]]


def _peak(line: Line) -> str:
    """Memory of a rule's largest job; that of jobs of another variant, a smaller encoder say, is no more than a lower bound."""
    return f"{'≥ ' if line.borrowed else ''}{megabytes(line.memory_mb)}"


def paper_table(estimate: Estimate) -> Table:
    """A row for each method, and their sum."""
    def row(name: str, part: Estimate) -> list[str]:
        hours = part.gpu_hours
        told = "–" if not part.asks_for_gpus else "not measured" if hours is None else f"{hours:.1f}"
        return [name, str(part.jobs), f"{part.core_hours:.1f}", f"{part.gpu_able_hours:.1f}", told, megabytes(part.memory_mb)]

    groups = dict.fromkeys(line.group for line in estimate.lines)
    parts = {name: replace(estimate, lines=[line for line in estimate.lines if line.group == name]) for name in groups}
    return [["", "jobs", "core hours", "of these on a GPU, if asked", "GPU hours", "largest measured peak"],
            *(row(name, part) for name, part in parts.items()), row("all", estimate)]


def status_table(jobs: Sequence[Job]) -> Table:
    """A row for each rule under its method, and sums by method."""
    def row(label: str, some: Sequence[Job]) -> list[str]:
        count = Counter[Status](job.status for job in some)
        return [label, *(str(count[status] or "–") for status in ("built", "stale", "missing"))]

    rows = [["", "built", "stale", "missing"]]
    for group in sorted({job.group for job in jobs}, key=lambda name: (name != "shared", name)):
        mine = [job for job in jobs if job.group == group]
        rows.append(row(group, mine))
        rows += [row(f"  {rule}", [job for job in mine if job.rule == rule]) for rule in sorted({job.rule for job in mine})]
    return [*rows, row("all", jobs)]


def markdown_table(table: Table) -> str:
    """Rows of texts, the head first, as a table of Markdown; all columns but the first are numbers."""
    head, *rows = table
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *([*row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


# ------------------------------------------------------------------------------------------------ words
def needs(estimate: Estimate, cores: Sequence[int]) -> str:
    """What it takes in one sentence."""
    walls = ", ".join(f"{duration(HOUR * estimate.wall_hours(some))} on {some} {'core' if some == 1 else 'cores'}"
                      for some in cores)
    return (f"{estimate.core_hours:.1f} core hours; at best {walls}; largest measured peak of a like job "
            f"{megabytes(estimate.memory_mb)}. {gpu(estimate)}")


def gpu(estimate: Estimate) -> str:
    """What a GPU would do, as far as it is known."""
    if estimate.gpu_hours is not None:
        return f"GPU hours: {estimate.gpu_hours:.1f}."
    share = percent(estimate.gpu_able_hours / estimate.core_hours) if estimate.core_hours else "none"
    told = "not measured" if estimate.asks_for_gpus else "none asked for"
    return f"GPU hours: {told}; jobs that can use one have {share} of the core hours."


def caveats(estimate: Estimate) -> list[str]:
    """What the estimate does not know."""
    said = []
    if unknown := estimate.unknown:
        said.append(f"Unknown, since no benchmark of theirs is there: {', '.join(unknown)}.")
    if borrowed := [f"{line.rule} ({'; '.join(line.borrowed)})" for line in estimate.lines if line.borrowed
                    and line.core_hours > _WORTH_NAMING * estimate.core_hours]:
        said.append("Estimated by the jobs of the same rule that are most like them, since these were not measured: "
                    f"{', '.join(borrowed)}.")
    return said


def footing(estimate: Estimate, measured: Measured) -> str:
    """What the estimate stands on, and what of it on one run of several."""
    runs = list(dict.fromkeys(row.run for row in measured.rows))
    told = f"Measured by the runs {', '.join(runs)} ({measured.machine}); a process starts in {duration(measured.start)}."
    for run in runs if len(runs) > 1 else ():
        here = [line for line in estimate.lines if {row.run for each in line.costs for row in each.rows} == {run}]
        if worth := [line.rule for line in here if line.core_hours > _WORTH_NAMING * estimate.core_hours]:
            share = percent(sum(line.core_hours for line in here) / estimate.core_hours)
            told += f" Known from {run} alone: {share} of the core hours, most of them {', '.join(worth)}."
    return told


def markdown(estimate: Estimate, measured: Measured, *, title: str, command: str, cores: Sequence[int]) -> str:
    """The page of one run."""
    parts = [
        f"# {title}", f"<!-- Generated by `{command}`. Do not edit. -->", needs(estimate, cores),
        markdown_table(cost_table(estimate)),
        "*a job*, *longest*: core time of the mean and of the longest job. *memory*: largest peak of a like job, as measured "
        "(≥: of another variant, such as a smaller encoder; the job itself may need several times as much); what a job asks a "
        "batch system for, and doubles where that was too little, is in its rule. "
        "*estimated by*: the units of work that the rule declares, times the "
        "measured time of a unit; else the mean measured time of a like job. Corpora that are not there yet are taken to be as "
        "large as the settings make them, or as published.",
        footing(estimate, measured), *caveats(estimate),
        "It is an extrapolation over orders of magnitude: expect the right order, and measure again with `edgekws run cost "
        "--measured results/<run>` once some jobs of the run itself are done. A rule's units of work are the resource `units` in "
        "`workflow/rules/`; the model is in `src/edgekws/run/estimate.py`."]
    return "\n\n".join(parts) + "\n"
