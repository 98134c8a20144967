"""Set what a run left in its folder as one HTML page: no network, no file beside it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgekws.core import files, registry
from edgekws.ledger.build import code_of, findings, is_decided, read_ledger, verdict_counts
from edgekws.ledger.rendering import claims_table
from edgekws.ledger.schema import REQUIREMENT_NAMES, CorpusFacts
from edgekws.ledger.verdict import RULES, VERDICT_LABELS, VERDICTS
from edgekws.report import axis, cost, figures, markdown, numbers, provenance, sections


def build(results: str | Path, out: str | Path, *, names: Mapping[str, str] | None = None,
          deviations: str | Path | None = None, config: str | Path | None = None) -> None:
    """Write the report of a run.

    Args:
        results: ``results/<run>``: ``claims.json`` is needed; ``metrics``, ``figures``, ``notebooks`` and
            ``benchmarks`` are shown where they exist.
        out: Page to write.
        names: What papers are called, in the order to show them in; the others follow, called as their folders.
        deviations: Where the papers are silent, what was chosen (Markdown).
        config: The run's whole configuration (JSON).

    Raises:
        UserError: A file is missing or malformed.
    """
    results, out = Path(results), Path(out)
    ledger = read_ledger(results / "claims.json")
    called = names or {}
    names = {paper: called.get(paper, paper.replace("_", " ")) for paper in (*called, *ledger["papers"])
             if paper in ledger["papers"]}
    rulegraph = results / "figures" / "rulegraph.svg"
    own = sections.read(names, results / "metrics", ledger)
    corpus = ledger["provenance"].get("corpus", {})
    templates = Environment(loader=ChoiceLoader([PackageLoader("edgekws.report"), FileSystemLoader(registry.FOLDER)]),
                            autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    templates.filters.update(numbers.FILTERS)
    source = PackageLoader("edgekws.report")
    told = {} if deviations is None else markdown.read_deviations(files.existing(deviations, "list of deviations"), names)
    page = templates.get_template("report.html").render(
        ledger=ledger,
        css=Markup(source.get_source(templates, "report.css")[0]),
        js=Markup(source.get_source(templates, "report.js")[0]),
        synthetic=corpus.get("synthetic", False),
        on_synthetic_speech=[names[paper] for paper, section in own.items()
                             if any(found.get("synthetic") for found in section.corpora)],
        corpus=CorpusFacts.model_validate(corpus).label, code=code_of(ledger),
        counts=verdict_counts(ledger), learnt=findings(ledger), labels=VERDICT_LABELS, rules=RULES,
        lacking=lacking(ledger), papers=by_paper(ledger, names, own, figures.read(results / "figures"), told),
        **{paper: section.shown for paper, section in own.items()},
        voice=(results / "voice.html").is_file(),
        deviations=[found for name, found in told.items() if name not in ledger["papers"]],
        cost=cost.read_cost(results, ledger["provenance"].get("device", "")),
        config=None if config is None else json.dumps(files.read_json(config), indent=2, ensure_ascii=False),
        provenance=provenance.lines({**ledger["provenance"], "code": code_of(ledger)},
                                    [found for section in own.values() for found in section.corpora]),
        notebooks=[(path.stem.replace("_", " "), Path(os.path.relpath(path, out.parent)).as_posix())
                   for path in sorted((results / "notebooks").glob("*.ipynb"))],
        rulegraph=Markup(rulegraph.read_text(encoding="utf-8")) if rulegraph.is_file() else None)
    files.write_text(out, page + "\n")


def by_paper(ledger: Mapping[str, Any], names: Mapping[str, str], own: Mapping[str, sections.Section],
             drawn: Mapping[str, Any], deviations: Mapping[str, Markup]) -> list[dict[str, Any]]:
    """Each paper with all that is shown of it, in the order of ``names``; those of which nothing was measured come last.

    ``cells`` are its claims in the order of their verdicts, ``tested`` and ``rest`` the tables of those with an outcome and
    of those without.
    """
    papers = []
    for name, called in names.items():
        section = own.get(name, sections.NONE)
        stated = [claim for claim in ledger["claims"] if claim["paper"] == name]
        tested = [claim for claim in stated if is_decided(claim)]
        rest = [claim for claim in stated if not is_decided(claim)]
        papers.append({**ledger["papers"][name], "id": name, "name": called, "claims": len(stated),
                       "cells": [{**claim, "decided": is_decided(claim)} for claim in sorted(
                           stated, key=lambda claim: (VERDICTS.index(claim["verdict"]), not is_decided(claim)))],
                       "counts": verdict_counts({"claims": stated}), "key": axis.key_figures(stated, section.axes),
                       "tested": claims_table(tested) if tested else None,
                       "rest": claims_table(rest) if rest else None, "untested": len(rest),
                       "has_section": section.shown is not None, "ours": section.ours,
                       "figures": drawn.get(name, []), "deviations": deviations.get(name)})
    return sorted(papers, key=lambda paper: paper["tested"] is None)


def lacking(ledger: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What claims are short of, by name, and how many; the most wanted first."""
    counts = Counter(REQUIREMENT_NAMES[name] for claim in ledger["claims"] for name in claim["missing"])
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
