"""What OnDA's experiments tell, written from their metrics: a page with its tables and a figure.

Nothing is measured here, and no number is written by hand. Needs no torch, which takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgekws.core import style as looks
from edgekws.core.errors import UserError
from edgekws.ledger.wording import listed, told
from edgekws.methods.onda import aims, paired, report, style

FIGURE = "onda_conditions"
COMMAND = "edgekws onda findings"
BEGIN, END = f"<!-- onda: written by `{COMMAND}` -->", "<!-- onda: end -->"


class Found(NamedTuple):
    """Metrics of a run: the experiments by name; costs, and what a user could take instead, where they were measured."""

    experiments: dict[str, Any]
    cost: dict[str, Any] | None
    rivals: dict[str, Any] | None


def read(folder: Path) -> Found:
    """The metrics of a run.

    Raises:
        UserError: The folder holds none.
    """
    found = report.read(folder)
    if not found or not found["experiments"]:
        raise UserError("holds no experiment of OnDA", where=folder, remedy="aggregate one: `edgekws onda summarise`")
    return Found(found["experiments"], found["cost"], found["rivals"])


def arms(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Label and summary of every arm that was not pruned before deployment, in the order of the schedules."""
    order = list(style.SCHEDULES).index
    for arm, cell in sorted(paired.arms(content), key=lambda each: (order(each[0].schedule), each[0].ratio)):
        yield style.schedule(arm.schedule).label + (f", {arm.ratio:g} %" if arm.ratio else ""), cell


def conditions(content: Mapping[str, Any]) -> list[str]:
    """The conditions that an experiment was tested in, the clean one first."""
    return list(next(iter(arms(content)))[1]["conditions"])


def ceilings(content: Mapping[str, Any], enough: float = 95.0) -> list[str]:
    """Conditions in which the encoder as deployed leaves nothing to gain: its accuracy is at or above so many percent."""
    deployed = content["summary"]["0"]["pretrained"]["0"]["conditions"]
    return [name for name, cell in deployed.items() if cell["at"][aims.rate(content)]["value"] >= enough]


def page(experiments: Mapping[str, Any], *, run: str, figures: str, cost: Mapping[str, Any] | None = None,
         rivals: Mapping[str, Any] | None = None) -> str:
    """The page, as Markdown.

    Args:
        run: Name of the run.
        figures: Where its figure is, from the page.
        cost: Metrics of the costs, where they were measured.
        rivals: Metrics of what a user could take instead, likewise.
    """
    codes = listed(sorted({content["provenance"].get("code", "unknown") for content in experiments.values()}))
    lines = ["# OnDA on people's voices: what we found", "",
             f"*Written by `{COMMAND}` from the run `{run}`, code {codes}; no number is written by hand.*", "",
             "## Do the aims hold?", "", *(f"* {line}" for line in [*aims.aims(experiments), *aims.missing(experiments)]), "",
             "## What each experiment tells", ""]
    for content in experiments.values():
        lines += [f"**{aims.heading(content)}.**", "", *(f"* {line}" for line in aims.sentences(content)), ""]
    lines += ["## How to read it", "",
              "Accuracy is the share of wake words found at a threshold, set on the test's own negatives, that lets through so "
              "many false alarms an hour; *device* is the threshold that a device has by itself: recall, and false alarms an "
              "hour. In brackets: 95 % intervals that resample people, each meant over their keywords and draws of recordings; "
              "of a wake word that anybody may say they are over keywords and draws, in each of which other people are tested; "
              "few draws make them wide, and how much another keyword would differ is hardly in them. Noise is added "
              "20, 10 or 0 dB below the loudest second of an utterance, from recordings where `onda.corpus.noise` names an "
              "archive that has them, made otherwise; the room is made. Settings were chosen on a keyword that is not reported.",
              "",
              f"![Accuracy against size, clean and in noise]({figures}/{FIGURE}.png)", ""]
    for name, content in experiments.items():
        lines += [f"## {style.encoder(content['encoder']['backbone'])}: {name.replace('_', ' ')}", "", *_facts(content), ""]
        for condition in conditions(content):
            lines += [f"### {condition.replace('_', ' ').capitalize()}", "", *_table(content, condition), ""]
    lines += ["## What a user could take instead", "", *_rivals(experiments, rivals), ""]
    lines += ["## What it costs", "", *_costs(cost), ""]
    lines += ["## Do it again", "", "```sh", "make open NOISE=path/to/speech_commands.tar.gz",
              f".venv/bin/{COMMAND} results/{run}/metrics/onda docs/onda.md --readme README.md", "```", ""]
    return "\n".join(lines)


def _rivals(experiments: Mapping[str, Any], rivals: Mapping[str, Any] | None) -> list[str]:
    """Accuracy of other detectors by experiment and condition, and by how much ours are above it."""
    if rivals is None:
        return ["Other detectors were not measured in this run."]
    lines = [f"The same recordings, queries, negatives and operating point (code {rivals['provenance'].get('code', 'unknown')}). "
             "A template is the MFCC of a recording's loudest second, and nothing is trained: an utterance is as near as its "
             "nearest window after bending time (dynamic time warping). Porcupine was trained by its makers on the very word and "
             "on many people; it needs no recording and knows no user. Brackets are 95 % intervals, as above.", "",
             "| users | detector | condition | accuracy, % | as deployed, above it | our robust adaptation, above it |",
             "|---" * 6 + "|"]
    for name, detectors in rivals["detectors"].items():
        for detector, conditions_ in detectors.items():
            for condition, cell in conditions_.items():
                above = (told(cell["ours_above"].get(arm), "+") for arm in ("pretrained", "robust"))
                lines.append(f"| {aims.heading(experiments[name])} | {style.DETECTORS[detector]} | "
                             f"{condition.replace('_', ' ')} | {told(cell['accuracy'])} | {' | '.join(above)} |")
    return lines


def _costs(cost: Mapping[str, Any] | None) -> list[str]:
    """Seconds and peak memory of an adaptation by schedule and ratio, and where its time goes."""
    if cost is None:
        return ["Time and memory were not measured in this run."]
    found = report.costs(cost)
    lines = [f"{found['encoder']}, {found['updates']} updates a fine-tuning. Its parts in seconds say where the time goes."]
    for device in found["devices"]:
        lines += ["", f"{device['label']}:", "", "| on the device | seconds | peak memory, MiB | of it |", "|---|---|---|---|"]
        for row in device["adaptations"]:
            share = f", {row['ratio']:g} %" if row["ratio"] else ""
            memory = ", ".join(f"{size / 2**20:.1f} {kind}" for kind, size in row["peak_bytes"].items() if size is not None)
            parts = ", ".join(f"{part} {seconds:.3g}" for part, seconds in row["parts"].items())
            lines.append(f"| {row['label']}{share} | {told(row['total'])} | {memory or '–'} | {parts} |")
    return lines


def _facts(content: Mapping[str, Any]) -> list[str]:
    failed, pairs = content["calibrations"], {(row["user"], row["seed"]) for row in content["rows"]}
    whole = len(content["users"]) * len(content["seeds"])
    partly = f" ({len(pairs)} of the {whole} pairs of a user and a draw)" if len(pairs) < whole else ""
    lines = [f"{len(content['users'])} users ({', '.join(content['users'][:4])}{', ...' if len(content['users']) > 4 else ''}), "
             f"draws {', '.join(map(str, content['seeds']))}{partly}; {report.corpus_label(content)}. "
             f"{aims.negatives(content)}. Of {failed['all']} calibrations {failed['failed']} had no gap, and "
             f"{failed['too_few_labels']} gave too few labels."]
    if noises := sorted({noise for each in content.get("noises", {}).values() for noise in each}):
        lines += ["", f"Noise mixed in, while testing or learning: {', '.join(noises)}."]
    if at_ceiling := ceilings(content):
        lines += ["", f"At its ceiling as deployed, so that nothing is decided there: {', '.join(at_ceiling)}."]
    return lines


def _table(content: Mapping[str, Any], condition: str) -> list[str]:
    rates = list(next(iter(arms(content)))[1]["conditions"][condition]["at"])
    rows = [f"| on the device | parameters | multiply-adds | updates | {' | '.join(f'at {rate}/h' for rate in rates)} | over "
            "deployed | device: recall | device: false alarms/h |", "|---" * (7 + len(rates)) + "|"]
    for label, cell in arms(content):
        here = cell["conditions"][condition]
        rows.append(f"| {label} | {cell['parameters']:,.0f} | {cell['multiply_accumulates'] / 1e6:.1f} M | {cell['steps']:.0f} | "
                    f"{' | '.join(told(here['at'][rate]) for rate in rates)} | {told(here['gain'], '+')} | "
                    f"{told(here['recall'])} | {told(here['false_alarms_per_hour'])} |")
    return rows


def draw(experiments: Mapping[str, Any], folder: Path, name: str = FIGURE) -> dict[str, str]:
    """Accuracy at the operating point against parameters: a row for whose the wake word is, a panel for each condition.

    Arms of one schedule and encoder are joined by a line.

    Returns:
        Title, caption and alternative text, as the report's figures have them.
    """
    import matplotlib.pyplot as plt

    looks.use()
    whose = list(dict.fromkeys(aims.whose(content) for content in experiments.values()))
    most = sorted(map(conditions, experiments.values()), key=len, reverse=True)  # in the order of who has them all
    columns = list(dict.fromkeys(each for names in most for each in names))
    fig, axes = plt.subplots(len(whose), len(columns), figsize=(max(3.4 * len(columns), 7.4), 0.7 + 3.2 * len(whose)),
                             sharex=True, sharey=True, squeeze=False)
    labelled: set[str] = set()
    for content in experiments.values():
        row = axes[whose.index(aims.whose(content))]
        for axis, condition in zip(row, columns, strict=True):
            for schedule, ratios in content["summary"].get("0", {}).items():
                look = style.schedule(schedule)
                found = [(cell["parameters"], cell["conditions"][condition]["at"][aims.rate(content)]) for cell in ratios.values()
                         if aims.rate(content) in cell["conditions"].get(condition, {"at": {}})["at"]]
                for size, cell in found:
                    looks.point(axis, size, cell, look, label=None if look.label in labelled else look.label)
                    labelled.add(look.label)
                axis.plot([size for size, _ in found], [cell["value"] for _, cell in found], color=look.colour, linewidth=0.8,
                          alpha=0.6)
    for axis, condition in zip(axes[0], columns, strict=True):
        axis.set_title(condition.replace("_", " "))
    for row, who in zip(axes, whose, strict=True):
        row[0].set(xscale="log", ylim=(-4, 104), ylabel=f"accuracy, %\n({who})")
    for axis in axes.flat:
        axis.set_xlabel("parameters")
        axis.xaxis.set_tick_params(labelbottom=True)
        if not axis.collections and not axis.containers:  # not measured in this condition
            axis.set_visible(False)
    fig.legend(loc="outside lower center", ncols=4, fontsize=8)
    looks.save(fig, name, folder, synthetic=any(content["provenance"]["corpus"].get("synthetic")
                                                for content in experiments.values()))
    told_of = "; ".join(f"{aims.heading(content)}, as deployed: " + ", ".join(
        f"{told(cell['at'][aims.rate(content)])} % {condition.replace('_', ' ')}" for condition, cell in
        content["summary"]["0"]["pretrained"]["0"]["conditions"].items() if aims.rate(content) in cell["at"])
        for content in experiments.values() if "pretrained" in content["summary"].get("0", {}))
    return {"title": "Accuracy against size, clean and elsewhere",
            "caption": f"Every arm of every experiment that was not pruned before deployment, by condition. {told_of}.",
            "alt": f"Accuracy against parameters, a panel for each of {listed([each.replace('_', ' ') for each in columns])}. "
                   f"{told_of}."}
