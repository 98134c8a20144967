"""What OnDA's experiments tell, written from their metrics: a page with its tables and a figure.

Nothing is measured here, and no number is written by hand. Needs no torch, which takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekws.core import style as looks
from edgekws.core.errors import UserError
from edgekws.ledger.wording import listed
from edgekws.methods.onda import aims, report, style
from edgekws.methods.onda.aims import told

FIGURE = "onda_conditions"
MARK, COMMAND = "onda", "edgekws onda findings"


def read(folder: Path) -> dict[str, Any]:
    """The experiments of a run by name.

    Raises:
        UserError: The folder holds none.
    """
    found = report.read(folder)
    if not found or not found["experiments"]:
        raise UserError("holds no experiment of OnDA", where=folder, remedy="aggregate one: `edgekws onda summarise`")
    experiments: dict[str, Any] = found["experiments"]
    return experiments


def arms(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Label and summary of every arm that was not pruned before deployment, in the order of the schedules."""
    schedules = content["summary"].get("0", {})
    for name in sorted(schedules, key=list(style.SCHEDULES).index):
        for ratio, cell in sorted(schedules[name].items(), key=lambda item: float(item[0])):
            yield style.schedule(name).label + (f", {ratio} %" if float(ratio) else ""), cell


def conditions(content: Mapping[str, Any]) -> list[str]:
    """The conditions that an experiment was tested in, the clean one first."""
    return list(next(iter(arms(content)))[1]["conditions"])


def ceilings(content: Mapping[str, Any], enough: float = 95.0) -> list[str]:
    """Conditions in which the encoder as deployed leaves nothing to gain: its accuracy is at or above so many percent."""
    deployed = content["summary"]["0"]["pretrained"]["0"]["conditions"]
    return [name for name, cell in deployed.items() if cell["at"][_rate(content)]["value"] >= enough]


def _rate(content: Mapping[str, Any]) -> str:
    return f"{content['operating_point']['false_alarms_per_hour']:g}"


def page(experiments: Mapping[str, Any], *, run: str, figures: str, cost: Mapping[str, Any] | None = None) -> str:
    """The page, as Markdown.

    Args:
        run: Name of the run.
        figures: Where its figure is, from the page.
        cost: Metrics of the costs, where they were measured.
    """
    codes = listed(sorted({content["provenance"].get("code", "unknown") for content in experiments.values()}))
    lines = ["# OnDA on people's voices: what we found", "",
             f"*Written by `{COMMAND}` from the run `{run}`, code {codes}; no number is written by hand.*", "",
             "## Do the aims hold?", "", *(f"* {line}" for line in aims.aims(experiments)), "",
             "## What each experiment tells", ""]
    for content in experiments.values():
        lines += [f"**{aims.heading(content)}.**", "", *(f"* {line}" for line in aims.sentences(content)), ""]
    lines += ["## How to read it", "",
              "Accuracy is the share of wake words found at a threshold, set on the test's own negatives, that lets through so "
              "many false alarms an hour; *device* is the threshold that a device has by itself: recall, and false alarms an "
              "hour. In brackets: 95 % intervals that resample people, each meant over their keywords and draws of recordings; "
              "of fewer people than draws (a wake word that anybody may say counts as one) they are over keywords and draws, in "
              "each of which other people are tested: how much another keyword would differ is hardly in them. Noise is added "
              "20, 10 or 0 dB below the loudest second of an utterance, from recordings where `onda.corpus.noise` names an "
              "archive that has them, made otherwise; the room is made. Settings were chosen on a keyword that is not reported.",
              "",
              f"![Accuracy against size, clean and in noise]({figures}/{FIGURE}.png)", ""]
    for name, content in experiments.items():
        lines += [f"## {style.encoder(content['encoder']['backbone'])}: {name.replace('_', ' ')}", "", *_facts(content), ""]
        for condition in conditions(content):
            lines += [f"### {condition.replace('_', ' ').capitalize()}", "", *_table(content, condition), ""]
    lines += ["## What it costs", "", *_costs(cost), ""]
    lines += ["## Do it again", "", "```sh", "make open", f".venv/bin/{COMMAND} results/{run}/metrics/onda docs/onda.md",
              "```", ""]
    return "\n".join(lines)


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


def sentences(experiments: Mapping[str, Any]) -> list[str]:
    """A few sentences for a person outside the project: whether the aims hold."""
    return aims.aims(experiments)


def _facts(content: Mapping[str, Any]) -> list[str]:
    failed = content["calibrations"]
    lines = [f"{len(content['users'])} users ({', '.join(content['users'][:4])}{', ...' if len(content['users']) > 4 else ''}), "
             f"draws {', '.join(map(str, content['seeds']))}; {report.corpus_label(content)}. {report.resolution(content)}. Of "
             f"{failed['all']} calibrations {failed['failed']} had no gap, and {failed['too_few_labels']} gave too few labels."]
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


def draw(experiments: Mapping[str, Any], folder: Path) -> None:
    """Accuracy at the operating point against parameters, a panel for each condition, every arm of every experiment."""
    import matplotlib.pyplot as plt

    looks.use()
    names = list(dict.fromkeys(name for content in experiments.values() for name in conditions(content)))
    fig, axes = plt.subplots(1, len(names), figsize=(4.2 * len(names), 4.2), sharey=True, squeeze=False)
    labelled: set[str] = set()
    for axis, name in zip(axes[0], names, strict=True):
        for content in experiments.values():
            for schedule, ratios in content["summary"].get("0", {}).items():
                look = style.schedule(schedule)
                for cell in ratios.values():
                    if name in cell["conditions"]:
                        looks.point(axis, cell["parameters"], cell["conditions"][name]["at"][_rate(content)], look,
                                    label=None if look.label in labelled else look.label)
                        labelled.add(look.label)
        axis.set(xscale="log", xlabel="parameters", title=name.replace("_", " "))
    axes[0][0].set_ylabel("accuracy at the operating point, %")
    fig.legend(loc="outside lower center", ncols=4)
    looks.save(fig, FIGURE, folder, synthetic=any(content["provenance"]["corpus"].get("synthetic")
                                                  for content in experiments.values()))
