"""Estimates as text for a terminal and as Markdown for the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgekws.run.estimate import HOUR, Estimate, Line
from edgekws.run.measured import Measured
from edgekws.run.sizes import Sizes
from edgekws.run.work import named
from edgekws.run.workflow import Status

Table = list[list[str]]
BEGIN, END = "<!-- cost: written by `edgekws run cost --readme` -->", "<!-- cost: end -->"
_HEAD = ["rule", "jobs", "a job", "longest", "core hours", "start", "memory", "disk"]
_TOO_SMALL = 0.1
"""Share of a rule's time that starting processes may take before the rule is pointed out."""
_WORTH_NAMING = 0.1
"""Core hours of starts below which nobody cares."""
_WORTH_TELLING = 0.01
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
    rows = [_HEAD]
    for line in estimate.lines:
        if line.core_hours is None:
            rows.append([line.rule.name, str(line.jobs), "–", "–", "–", "–", "–", megabytes(line.disk_mb)])
        else:
            rows.append([line.rule.name, str(line.jobs), duration(line.core_hours * HOUR / line.jobs), duration(line.longest),
                         f"{line.core_hours:.2f}", percent(line.start_share), megabytes(line.memory_mb), megabytes(line.disk_mb)])
    return [*rows, ["all", str(estimate.jobs), "", "", f"{estimate.core_hours:.2f}", percent(estimate.start_share),
                    megabytes(estimate.memory_mb), megabytes(estimate.disk_mb)]]


def paper_table(estimate: Estimate) -> Table:
    """A row for each paper, and their sum."""
    def row(name: str, part: Estimate) -> list[str]:
        hours = part.gpu_hours
        told = "–" if not part.asks_for_gpus else "not measured" if hours is None else f"{hours:.1f}"
        return [name, str(part.jobs), f"{part.core_hours:.1f}", f"{part.gpu_able_hours:.1f}", told, megabytes(part.memory_mb),
                megabytes(part.disk_mb)]

    papers = {name: [line for line in estimate.lines if line.rule.paper == name]
              for name in dict.fromkeys(line.rule.paper for line in estimate.lines)}
    return [["", "jobs", "core hours", "of these on a GPU, if asked", "GPU hours", "memory of a job", "disk"],
            *(row(name, replace(estimate, lines=lines)) for name, lines in papers.items()), row("all", estimate)]


def status_table(counts: Mapping[str, Counter[Status]]) -> Table:
    """A row for each rule under its paper, and sums by paper."""
    rows = [["", "built", "stale", "missing"]]
    for paper in dict.fromkeys(named(name).paper for name in counts):
        mine = {name: count for name, count in counts.items() if named(name).paper == paper}
        rows.append(_counts(paper, sum(mine.values(), Counter())))
        rows += [_counts(f"  {name}", count) for name, count in mine.items()]
    return [*rows, _counts("all", sum(counts.values(), Counter()))]


def _counts(label: str, count: Counter[Status]) -> list[str]:
    return [label, *(str(count[status] or "–") for status in ("built", "stale", "missing"))]


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
    return (f"{estimate.core_hours:.1f} core hours; at best {walls}; "
            f"up to {megabytes(estimate.memory_mb)} of memory a job; {megabytes(estimate.disk_mb)} of disk. {gpu(estimate)}")


def gpu(estimate: Estimate) -> str:
    """What a GPU would do, as far as it is known."""
    if estimate.gpu_hours is not None:
        return f"GPU hours: {estimate.gpu_hours:.1f}."
    share = percent(estimate.gpu_able_hours / estimate.core_hours) if estimate.core_hours else "none"
    told = "not measured" if estimate.asks_for_gpus else "none asked for"
    return f"GPU hours: {told}; rules that can use one have {share} of the core hours."


def caveats(estimate: Estimate) -> list[str]:
    """What the estimate does not know, and jobs that are too small."""
    said = []
    if lacking := [line.rule.name for line in estimate.unmeasured if line.rule.benchmark is not None]:
        said.append(f"Without an estimate, since no benchmark of theirs is known: {', '.join(lacking)}.")
    borrowed = [f"{line.rule.name} ({', '.join(line.borrowed)})" for line in estimate.lines if line.borrowed]
    if borrowed:
        said.append(f"By the rate of other values of the same rule: {', '.join(borrowed)}.")
    if small := [line for line in estimate.lines if _too_small(line)]:
        named = ", ".join(f"{line.rule.name} ({line.jobs} jobs, {percent(line.start_share)})" for line in small)
        said.append(f"Starting processes takes over {percent(_TOO_SMALL)} of {named}: deal its work to fewer jobs.")
    return said


def _too_small(line: Line) -> bool:
    return line.start_share > _TOO_SMALL and (line.core_hours or 0.0) * line.start_share > _WORTH_NAMING


def footing(estimate: Estimate, measured: Measured, sizes: Sizes) -> str:
    """What the estimate stands on, and what of it on one run of several."""
    runs = list(dict.fromkeys(row.run for row in measured.rows))
    told = (f"Rates from the benchmarks of {', '.join(runs)} ({measured.machine}); a process starts in "
            f"{duration(measured.start)}. Sizes from {sizes.basis}.")
    for run in runs if len(runs) > 1 else ():
        here = [line for line in estimate.lines if line.core_hours and
                {row.run for row in measured.rows if row.rule == line.rule.name} == {run}]
        if worth := [line.rule.name for line in here if (line.core_hours or 0.0) > _WORTH_TELLING * estimate.core_hours]:
            share = percent(sum(line.core_hours or 0.0 for line in here) / estimate.core_hours)
            told += f" Known from {run} alone: {share} of the core hours, most of them {', '.join(worth)}."
    return told


def markdown(estimate: Estimate, measured: Measured, sizes: Sizes, *, title: str, command: str, cores: Sequence[int]) -> str:
    """The page of one run."""
    parts = [
        f"# {title}", f"<!-- Generated by `{command}`. Do not edit. -->", needs(estimate, cores),
        markdown_table(cost_table(estimate)),
        "*a job*, *longest*: core time of the mean and of the longest job. *start*: share that goes into starting processes. "
        "*memory*: of the largest job. *disk*: corpora, features and packed words by formula, of all else the first output as "
        "measured. Environments, and DVC's own copy of a fetched archive, come on top.",
        footing(estimate, measured, sizes), *caveats(estimate),
        "How this is reckoned: core seconds of a job = start + rate x units of work; the units of every rule are in "
        "`src/edgekws/run/work.py`, what one costs is measured, the rest is in `src/edgekws/run/estimate.py`. It is an "
        "extrapolation over orders of magnitude: expect the right order, and measure again with `edgekws run cost --measured "
        "results/<run>` once some jobs of the run itself are done."]
    return "\n\n".join(parts) + "\n"
