"""What many people's adaptations tell, written from the metrics: a page, sentences for the README, what a user can expect.

Nothing is measured here, and no number is written by hand. Needs no torch, which takes seconds to import.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.style import shot_label
from edgekws.ledger.wording import told
from edgekws.methods.traces_propagation import style
from edgekws.methods.traces_propagation.people import PAPER_GAIN, PAPER_START, PUBLISHED

BEGIN, END = "<!-- people: written by `edgekws traces-propagation findings` -->", "<!-- people: end -->"
_ONE_BASE = ["**One base model alone was adapted in this run: how much another would change the gains is in no interval.**", ""]
EXPERIMENTS = {
    "many_users": "Published budgets, frozen normalisation",
    "many_users_beside": "Rehearsal, and all classes as contrast, beside the rule",
    "many_users_per_set": "Published budgets, each set normalised by itself (as the authors do)",
    "many_users_tuned": "Each method at its best for the validation users",
    "many_users_oracle": "A bound: the same, had the user's query been learnt, too",
    "many_users_slow": "Budgets of back-propagation, on a sample of users",
    "many_users_slow_tuned": "The same, each at its best for the validation users",
}


def read(folder: Path) -> dict[str, Any]:
    """The metrics of a run by experiment; of the alternatives as ``adaptation``, where they were measured; and what parts took
    as ``benchmarks`` (:func:`took`).

    Raises:
        UserError: No experiment has many people.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.json"))}
    paths |= {"adaptation": path} if (path := folder.parent / "alternatives" / "adaptation.json").is_file() else {}
    found = {name: files.read_json(path) for name, path in paths.items()}
    benchmarks = folder.parents[1] / "benchmarks"
    found["benchmarks"] = took(benchmarks / folder.name) | {
        f"bench, {part}": of for part, of in took(benchmarks / "alternatives").items()}
    if not any(found.get(name, {}).get("people") for name in EXPERIMENTS):
        raise UserError("holds no metrics of many people", where=folder,
                        remedy="build them: `snakemake traces_propagation --configfile config/wide.yaml`")
    return found


# ------------------------------------------------------------------------------------------------ sentences
def sentences(found: Mapping[str, Any]) -> list[str]:
    """Three sentences for a person outside the project: does it pay, for whom, at what price.

    Each tells what its metrics hold.
    """
    name = next(name for name in EXPERIMENTS if PUBLISHED in found.get(name, {}).get("people", {}))
    methods = found[name]["people"]
    shot = "all" if "all" in methods[PUBLISHED] else list(methods[PUBLISHED])[-1]
    cell, readout = methods[PUBLISHED][shot], methods.get("readout_only", {}).get(shot)
    synthetic = found[name]["provenance"]["corpus"].get("synthetic")
    whom = f"{cell['users']} {'synthetic voices' if synthetic else 'people'}"
    pays = f"On {whom} with {_clips(shot)}, Traces Propagation gains {told(cell['gain'], '+')} points on average, where the " \
           f"paper reports {PAPER_GAIN[shot]:.1f} of one: {_verdict(cell['gain'])}."
    near = cell["near"]
    those = f"{cell['lose']:.0f} % of them lose, {cell['reach']:.0f} % gain as much as the paper's user"
    those += f", those who start where that user did gain {told(near['gain'], '+')}" if near["users"] > 1 else ""
    if readout:
        those += f"; training the readout alone gains {told(readout['gain'], '+')}, so " \
                 f"{_share(readout['gain']['value'], cell['gain']['value'])} of it needs no hidden learning"
    price = f"Afterwards other speakers are understood {told(cell['forgetting'])} points less well" if cell["forgetting"] \
        else "What others lose was not measured"
    return [pays, f"{those}.", "; ".join([price, *_recipe(found)]) + "."]


def _verdict(gain: Mapping[str, Any]) -> str:
    """In words, by the interval.

    >>> _verdict({"value": 3.0, "ci_low": 1.0, "ci_high": 5.0}), _verdict({"value": 3.0, "ci_low": -1.0, "ci_high": 7.0})
    ('it pays', 'whether it pays is open')
    """
    if gain["ci_low"] is None or gain["ci_low"] <= 0 <= gain["ci_high"]:
        return "whether it pays is open"
    return "it pays" if gain["ci_low"] > 0 else "it does not pay"


GOAL = {"all": 10.0, "1": 5.0}
"""Points that adaptation should gain, by clips of each word, while others lose at most :data:`ALLOWED`."""
ALLOWED = 1.0


def _place_of_recipe(found: Mapping[str, Any]) -> str | None:
    """The experiment that tells most of the recipe; None where it was not measured."""
    places = ("many_users_tuned", "many_users", "many_users_beside")
    return next((name for name in places if "recipe" in found.get(name, {}).get("people", {})), None)


def _recipe(found: Mapping[str, Any]) -> list[str]:
    """What the recipe gains at what price, and whether that is what was aimed at; nothing where it was not measured."""
    place = _place_of_recipe(found)
    if place is None:
        return []
    cells = found[place]["people"]["recipe"]
    everybody = max(cell["users"] for of in found.values() for cell in of.get("people", {}).get(PUBLISHED, {}).values())
    aimed = {shot: cells[shot] for shot in GOAL if shot in cells}
    gains = " and ".join(f"{told(cell['gain'], '+')} with {_clips(shot)} (others lose {told(cell['forgetting'])})"
                         for shot, cell in aimed.items())
    some = next(iter(aimed.values()))["users"]
    sample = f" on {some} of them" if some < everybody else ""
    if sample and (same := found[place]["people"].get(PUBLISHED, {}).get("all")):
        sample += f", who gain {told(same['gain'], '+')} by the rule with all their clips,"
    told_of = f"{recipe_in_words(found[place]['settings']['budgets']['recipe'])}{sample} gains {gains}".replace("Our", "our", 1)
    if set(aimed) < set(GOAL):
        return [told_of]
    short = [f"{GOAL[shot] - cell['gain']['value']:.1f} points with {_clips(shot)}" for shot, cell in aimed.items()
             if cell["gain"]["value"] < GOAL[shot]]
    dear = any(cell["forgetting"] and cell["forgetting"]["value"] > ALLOWED for cell in aimed.values())
    aim = " and ".join(f"{GOAL[shot]:+.0f} with {_clips(shot)}" for shot in aimed)
    if not short and not dear:
        return [f"{told_of}, which reaches the aim: {aim}, others losing at most {ALLOWED:.0f}"]
    # Where an interval holds the aim, that many people and base models cannot tell.
    if not dear and all(cell["gain"]["ci_high"] is None or cell["gain"]["ci_high"] >= GOAL[shot] for shot, cell in aimed.items()):
        return [f"{told_of}, so that it is open whether the aim is reached ({aim}, others losing at most {ALLOWED:.0f})"]
    missed = [*([f"short by {' and '.join(short)}"] if short else []), *(["too dear for the others"] if dear else [])]
    return [f"{told_of}, {' and '.join(missed)}: the aim is not reached ({aim}, others losing at most {ALLOWED:.0f})"]


def _bound(found: Mapping[str, Any]) -> list[str]:
    """What stands in the way, by an oracle that learns the user's query too."""
    oracle = found.get("many_users_oracle", {}).get("people", {})
    tuned = found.get("many_users_tuned", {}).get("people", {})
    lines = []
    for method, shots in oracle.items():
        cell, own = shots.get("all"), tuned.get(method, {}).get("all")
        if cell is None or own is None:
            continue
        label, goal = style.method(method).label, GOAL["all"]
        way = "It is the clips that are missing: with the very clips that are asked, base and rule reach it" \
            if cell["gain"]["value"] >= goal else "More clips of the user would not do: base and rule stand in the way"
        lines.append(f"* {label} gains {told(own['gain'], '+')} with all clips, and {told(cell['gain'], '+')} had the clips that "
                     f"are asked been learnt, too, where {goal:+.0f} is aimed at. {way}.")
    return [*lines, ""] if lines else []


def recipe_in_words(budget: Mapping[str, Any]) -> str:
    """What a recipe does beside the published budget.

    >>> recipe_in_words({"epochs": 10, "kept_hidden": 0.75, "kept_readout": 0.5, "shift": 0})
    "Our recipe (10 passes, weights averaged with the base's)"
    """
    averaged = budget.get("kept_hidden") or budget.get("kept_readout")
    parts = [f"{budget['epochs']} passes",
             "clips augmented" if any(budget.get(name) for name in ("shift", "mask_frames", "mask_bands", "noise")) else "",
             f"{budget['rehearsal']} clips rehearsed" if budget.get("rehearsal") else "",
             "all classes as contrast" if budget.get("contrast") == "classes" else "",
             "weights averaged with the base's" if averaged else ""]
    return f"Our recipe ({', '.join(part for part in parts if part)})"


def _clips(shot: str) -> str:
    return "all their clips" if shot == "all" else f"{shot_label(shot)} of each word"


def _share(part: float, whole: float) -> str:
    """
    >>> _share(6.5, 7.8), _share(1.0, 8.0), _share(9.0, 8.0)
    ('83 %', '12 %', 'all')
    """
    return "all" if part >= whole else f"{100 * max(part, 0.0) / whole:.0f} %"


# ------------------------------------------------------------------------------------------------ page
def page(found: Mapping[str, Any], *, run: str, figures: str) -> str:
    """The page as Markdown.

    Args:
        run: Name of the run.
        figures: Where its figures are, from the page.
    """
    first = next(found[name] for name in EXPERIMENTS if found.get(name, {}).get("people"))
    corpus, base = first["provenance"]["corpus"], first["base"]["test_accuracy"]
    lines = [
        "# Does adaptation pay, for whom, at what price", "",
        f"*Written by `edgekws traces-propagation findings` from the run `{run}`, code {first['provenance']['code']}: "
        f"`{corpus['archive']}` ({len(corpus['words'])} words, {corpus['speakers']:,} speakers, {corpus['clips']:,} clips), "
        f"seeds {', '.join(map(str, first['seeds']))}. Base models: {told(base)} % of the test split.*", "",
        *(f"* {sentence}" for sentence in sentences(found)), "",
        "Users are all speakers with enough distinct takes, whatever split they fall into; none was heard in training. Those of "
        "the validation split choose settings, all others report. Gains are percentage points on clips that were not learnt "
        "from; *others* are speakers of the whole test split. Intervals (95 %) are those of a mixed model in which users, base "
        "models (seeds) and folds are drawn at random. Where not all folds are taken, users start at different ones, and every "
        "seed takes the next.", "",
        *(_ONE_BASE if len(first["seeds"]) < 2 else []),
        "## Everybody's gain", ""]
    if missing := [title[0].lower() + title[1:] for name, title in EXPERIMENTS.items() if not found.get(name, {}).get("people")]:
        lines += [f"Not measured in this run: {'; '.join(missing)}.", ""]
    for name, title in EXPERIMENTS.items():
        if methods := found.get(name, {}).get("people"):
            lines += [f"### {title}", "", *_table(methods), "", *_edges(found[name])]
    lines += [
        "*Reach*: users who gain at least what the paper reports of its one user "
        f"({', '.join(f'{PAPER_GAIN[shot]:.2f} with {shot_label(shot)}' for shot in ('1', '5', 'all'))}). *Beside the "
        "rule*: difference in gain from the published rule and budget on the same adaptations.", "",
        *_picture(figures, "people", "Accuracy before and after adapting, the spread over users beside the paper's user"),
        "## For whom", "", *_for_whom(found), "",
        *_picture(figures, "who_gains", "Gain of each user against their accuracy before"),
        "## At what price", "",
        *_picture(figures, "gain_forgetting", "Gain against what other speakers lose, by method"),
        *_bound(found),
        *_bench(found.get("adaptation")),
        "## One clip at a time", "", *_one_clip(found.get("one_clip")), "",
        *(_picture(figures, "one_clip", "Gain against clips heard so far") if "one_clip" in found else []),
        *_took(found.get("benchmarks")),
        "## Do it again", "", "```sh",
        ".venv/bin/snakemake traces_propagation --configfile config/wide.yaml --config archive=path/to/archive.tar.gz",
        f".venv/bin/snakemake results/{run}/metrics/alternatives/adaptation.json --configfile config/wide.yaml "
        "--config archive=path/to/archive.tar.gz",
        f".venv/bin/edgekws traces-propagation findings results/{run}/metrics/traces_propagation docs/people.md", "```", ""]
    return "\n".join(lines)


def _picture(figures: str, name: str, alt: str) -> list[str]:
    return [f"![{alt}]({figures}/{name}.png)", ""]


def _table(methods: Mapping[str, Any]) -> list[str]:
    rows = ["| method | clips | users × seeds × folds | gain | others lose | lose | reach | beside the rule |",
            "|---|---|---|---|---|---|---|---|"]
    for method, shots in methods.items():
        for shot, cell in shots.items():
            reach = "–" if cell["reach"] is None else f"{cell['reach']:.0f} %"
            beside = (cell.get("against_published") or {}).get("gain")
            rows.append(f"| {style.method(method).label} | {shot_label(shot)} | {cell['users']} × {cell['seeds']} × "
                        f"{cell['folds']} | {told(cell['gain'], '+')} | {told(cell['forgetting'], '+')} | "
                        f"{cell['lose']:.0f} % | {reach} | {told(beside, '+')} |")
    return rows


def _edges(experiment: Mapping[str, Any]) -> list[str]:
    """Which budgets were used, in words."""
    told_of = []
    for method, budget in experiment["settings"]["budgets"].items():
        extra = ", ".join(f"{name} {value}" for name, value in budget.items()
                          if name not in ("learning_rate", "epochs", "batch_size") and value not in (0, 0.0, 1.0, "batch"))
        told_of.append(f"{style.method(method).label}: rate {budget['learning_rate']:g}, passes {budget['epochs']}, batches of "
                       f"{budget['batch_size']}" + (f", {extra}" if extra else ""))
    return [f"Budgets. {'; '.join(told_of)}.", ""]


def _for_whom(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, methods in (("many_users", (PUBLISHED, "recipe")), ("many_users_beside", ("recipe",)),
                          ("many_users_tuned", (PUBLISHED, "recipe"))):
        for method in methods:
            for shot, cell in found.get(name, {}).get("people", {}).get(method, {}).items():
                near, falls, spread = cell["near"], cell["falls"], cell["quantiles"]
                apart = falls["other_clips"]
                lines.append(
                    f"* {style.method(method).label}, {shot_label(shot)} ({EXPERIMENTS[name].lower()}): half of the users gain "
                    f"between {spread['25']:+.1f} and {spread['75']:+.1f} points, one in ten less than {spread['5']:+.1f} or "
                    f"more than {spread['95']:+.1f}. Who starts between {PAPER_START[0]:.0f} and {PAPER_START[1]:.0f} %, as the "
                    f"paper's user did ({near['users']} users), gains {told(near['gain'], '+')}. Correlation of gain with "
                    f"accuracy before: {_number(falls['same_clips'])}; told by the user's other clips, which leaves chance out: "
                    f"{_number(apart)}. Standard deviations of a gain: users {_number(cell['components']['user'], 1)}, base "
                    f"models {_number(cell['components']['seed'], 1)}, both together "
                    f"{_number(cell['components']['user_by_seed'], 1)}, folds {_number(cell['components']['fold'], 1)}.")
    return lines


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _bench(adaptation: Mapping[str, Any] | None) -> list[str]:
    """Other ways to adapt, of the bench."""
    if adaptation is None:
        return []
    lines = ["What else adapts, each at its best learning rate for the validation users, on the same users "
             "([the bench](alternatives.md)):", "", "| method | clips | users | gain | others lose | numbers changed |",
             "|---|---|---|---|---|---|"]
    for method, shots in adaptation["summary"].items():
        for shot, cell in shots.items():
            lines.append(f"| {method} | {shot_label(shot)} | {cell['users']} | {told(cell['gain'], '+')} | "
                         f"{told(cell['forgetting'], '+')} | {adaptation['methods'][method]['values']:,} |")
    return [*lines, ""]


def _one_clip(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["Not measured in this run."]
    lines = ["The published rule tells a clip apart from the others of its batch; one clip alone, or several of one word, have "
             "no hidden gradient at all. With prototypes of all classes as contrast a single clip is enough.", "",
             "| contrast | batch | gain after all clips |", "|---|---|---|"]
    lines += [f"| {_contrast(contrast)} | {'whole' if int(size) >= 1024 else size} | {told(cell, '+')} |"
              for contrast, sizes in found["batches"].items() for size, cell in sizes.items()]
    lines += ["", f"As a stream, every clip learnt when it comes and not again but from a reservoir ({found['users']} users):",
              "",
              "| contrast | clips kept | clips heard | gain |", "|---|---|---|---|"]
    for way, curve in found["curves"].items():
        contrast, kept = way.rsplit("_", 1)
        heard, cell = list(curve.items())[-1]
        lines.append(f"| {_contrast(contrast)} | {kept} | {heard} | {told(cell, '+')} |")
    return lines


def _took(times: Mapping[str, Any] | None) -> list[str]:
    """Wall time and processor time by part."""
    if not times:
        return []
    rows = [f"| {part} | {of['jobs']} | {of['wall'] / 60:.1f} | {of['processor'] / 60:.1f} |" for part, of in times.items()]
    wall, processor = (sum(of[name] for of in times.values()) / 60 for name in ("wall", "processor"))
    return ["## What it took", "", "One thread for each job, other work beside it; processor time as the workflow last sampled "
            "it.", "", "| part | jobs | wall time, minutes | processor time, minutes |", "|---|---|---|---|", *rows,
            f"| all | {sum(of['jobs'] for of in times.values())} | {wall:.1f} | {processor:.1f} |", ""]


def took(folder: Path) -> dict[str, dict[str, float]]:
    """Seconds by part, from the benchmarks of a run's method (a ``.tsv`` for each job); empty where there are none."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted(folder.rglob("*.tsv"), key=lambda path: (len(path.parts), path)):
        part = path.parent.name if path.parent != folder else path.stem.split("_seed")[0]
        with path.open() as file:
            row = list(csv.DictReader(file, delimiter="\t"))[-1]
        of = found.setdefault(part.replace("_", " "), {"jobs": 0, "wall": 0.0, "processor": 0.0})
        of["jobs"] += 1
        of["wall"] += _seconds(row["s"])
        of["processor"] += _seconds(row["cpu_time"])
    return found


def _seconds(text: str) -> float:
    """
    >>> _seconds("12.5"), _seconds("NA")
    (12.5, 0.0)
    """
    try:
        return float(text)
    except ValueError:
        return 0.0


def _contrast(name: str) -> str:
    return {"batch": "clips of the batch (published)", "classes": "all classes (ours)"}[name]


# ------------------------------------------------------------------------------------------------ what a user can expect
def expected(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `edgekws personalise` says beforehand: of the recipe, by clips; None where it was not measured."""
    content = next((found[name] for name in ("many_users_tuned", "many_users")
                    if "recipe" in found.get(name, {}).get("people", {})), None)
    if content is None:
        return None
    shots = content["people"]["recipe"]
    return {"measured_on": content["provenance"]["corpus"]["archive"], "code": content["provenance"]["code"],
            "budget": content["settings"]["budgets"]["recipe"],
            "shots": {shot: {name: cell[name] for name in ("users", "gain", "forgetting", "lose")}
                      for shot, cell in shots.items()}}
