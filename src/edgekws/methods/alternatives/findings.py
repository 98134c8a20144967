"""What a run found about depth and strong bases, as a page of Markdown: every number comes from its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekws.ledger.schema import CorpusFacts
from edgekws.ledger.wording import told
from edgekws.methods.alternatives import style
from edgekws.methods.alternatives.depth import summary

_QUESTIONS = {"auxiliary_not_by_layer": "no layer but the first needs fixed weights",
              "scales": "the rule scales to a deeper net"}
WRITTEN = "<!-- Written by `edgekws alternatives findings`; change that, not this. -->"


def page(strong: Mapping[str, Any], depth: Mapping[str, Any], *, note: str | None = None) -> str:
    """The page, of ``strong.json`` and ``depth.json``.

    Args:
        note: What a reader must know of this run beside its settings.
    """
    return "\n".join([WRITTEN, "# What we found: depth and strong bases", "", *_strong(strong), "", *_depth(depth), "",
                      *([f"**Of this run**: {note}", ""] if note else []), *_commands(strong, depth)]) + "\n"


def _strong(found: Mapping[str, Any]) -> list[str]:
    methods, corpus = found["settings"]["strong"]["methods"], CorpusFacts.model_validate(found["provenance"]["corpus"])
    bases = "; ".join(f"{style.BASES[net]}, {told(cells['test'])} % of the test split ({told(cells['validation'])} % of the "
                      "validation split)" for net, cells in found["bases"].items())
    pays = [_label(name) for name, check in found["checks"].items() if check["holds"]]
    verdict = (f"Adapting still pays, with {', '.join(pays)}: the interval of the mean gain lies above zero."
               if pays else "No method was shown to gain: every interval of the mean gain holds zero.")
    lines = ["## Does adapting pay once the base is good?", "",
             f"Bases trained with augmentation on {corpus.label}: {bases}. {verdict}", "",
             "| base | method | learning rate, passes, batch | support | before, % | after, % | gain, points | others lose, "
             "points | users |",
             "|" + "---|" * 9]
    for method, shots in found["summary"].items():
        budget = "{learning_rate:g}, {epochs}, {batch_size}".format(**found["budgets"][method])
        for shot, cell in shots.items():
            lines.append(" | ".join([
                f"| {style.BASES[methods[method]['net']]}", _label(method), budget, shot, told(cell["before"]),
                told(cell["after"]), told(cell["gain"], "+"), told(cell["forgetting"], "+"), f"{cell['users']} |"]))
    return lines


def _depth(found: Mapping[str, Any]) -> list[str]:
    settings = found["settings"]["depth"]
    lines = ["## Deeper nets, without matrices for each layer", "",
             f"Every net was trained from nothing for {settings['epochs']} passes over {settings['clips']} clips, at the best of "
             f"the learning rates {', '.join(f'{rate:g}' for rate in settings['learning_rate'])} for the validation split "
             f"({len(found['seeds'])} seed{'s' * (len(found['seeds']) != 1)}). So short a training compares rules; it does not "
             "show what a net can reach.", "",
             *(f"* {'Yes' if check['holds'] else 'No'}, {question}: {check['why']}." for name, question in _QUESTIONS.items()
               if (check := found["checks"].get(name))), "",
             "| net | rule | test split, % | fixed weights | training memory, KiB |", "|---|---|---|---|---|"]
    for net, rules in found["nets"].items():
        for rule, cell in rules.items():
            lines.append(f"| {summary.name(net)} | {style.rule(rule).label} | {told(cell['accuracy'])} | "
                         f"{cell['auxiliary']['all']:,} | {cell['memory'] / 1024:,.0f} |")
    return lines


def _commands(strong: Mapping[str, Any], depth: Mapping[str, Any]) -> list[str]:
    return ["## Again", "",
            f"A method's learning rate is the best of those tried for the validation users; seeds "
            f"{', '.join(map(str, strong['seeds']))}. All numbers of this page are in `strong.json` and "
            "`depth.json` ([files](files.md)).", "", "```sh",
            ".venv/bin/snakemake figure_strong_bases figure_depth --configfile config/gsc_subset.yaml "
            "--config archive=path/to/archive.tar.gz",
            ".venv/bin/edgekws alternatives findings results/gsc_subset/metrics/alternatives/strong.json \\",
            "    results/gsc_subset/metrics/traces_propagation/depth.json docs/depth_and_strong_bases.md", "```"]


def _label(method: str) -> str:
    return style.alternative(method).label
