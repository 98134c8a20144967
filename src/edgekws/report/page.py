"""Gather what a run left in its folder and set it as one HTML page: no network, no file beside it."""

from __future__ import annotations

import base64
import importlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgekws.core import files, style
from edgekws.core.errors import UserError
from edgekws.ledger import claims
from edgekws.run.measured import read_benchmark, result_of

METHODS = Path(__file__).parents[1] / "methods"
_EXPERIMENTS = {
    "one_user": "One user left out, per-set normalisation (the paper's protocol)",
    "many_users": "Many users, frozen normalisation",
    "many_users_per_set": "Many users, per-set normalisation",
    "many_users_tuned": "Many users, budget tuned on validation users",
}
_ORDER = {name: place for place, name in enumerate(_EXPERIMENTS)}
_AXES = {("traces_propagation", "%"): "Accuracy, %", ("traces_propagation", "percentage points"): "Gain, percentage points",
         ("neuedge", "%"): "Utilisation, saving and accuracy, %", ("neuedge", "x"): "Fewer spikes, times",
         ("neuedge", "ms"): "Latency, ms", ("neuedge", "GOp/s/W"): "Efficiency, GOp/s/W",
         ("onda", "%"): "Accuracy at 0.5 false alarms an hour, %", ("onda", "x"): "Compression and gains, times",
         ("alternatives", "%"): "Kept of full fine-tuning, %"}
_PRETTY_CORPUS = ("name", "archive", "archive_sha256", "speakers", "clips")


def build(results: str | Path, out: str | Path, *, names: Mapping[str, str] | None = None,
          deviations: str | Path | None = None, config: str | Path | None = None) -> None:
    """Write the report of a run.

    Args:
        results: ``results/<run>``: ``claims.json`` is needed; ``metrics``, ``figures``, ``notebooks`` and
            ``benchmarks`` are shown as far as they are there.
        out: Page to write.
        names: What papers are called, in the order to show them in; the others follow, called as their folders.
        deviations: Where the papers are silent, what was chosen (Markdown).
        config: The run's whole configuration (JSON).

    Raises:
        UserError: A file is missing or malformed.
    """
    results, out = Path(results), Path(out)
    ledger = claims.read_ledger(results / "claims.json")
    called = names or {}
    names = {paper: called.get(paper, paper.replace("_", " ")) for paper in (*called, *ledger["papers"])
             if paper in ledger["papers"]}
    experiments = read_experiments(results / "metrics")
    rulegraph = results / "figures" / "rulegraph.svg"
    measured = {paper: found for paper in section_names(ledger["papers"])
                if (found := _section_module(paper).read(results / "metrics" / paper))}
    corpora = [ledger["provenance"].get("corpus", {})] + [found["corpus"] for found in experiments]
    if "neuedge" in measured:
        corpora.append(measured["neuedge"]["ablation"]["provenance"]["corpus"])
    wake_words = [found["provenance"]["corpus"]
                  for found in measured.get("onda", {"experiments": {}})["experiments"].values()]
    templates = Environment(loader=ChoiceLoader([PackageLoader("edgekws.report"), FileSystemLoader(METHODS)]),
                            autoescape=True, undefined=StrictUndefined,
                            trim_blocks=True, lstrip_blocks=True)
    templates.filters.update(interval=interval, signed=lambda found: interval(found, sign="+"), flipped=flipped, short=short,
                             shot=style.shot_label)
    source = PackageLoader("edgekws.report")
    told = {} if deviations is None else read_deviations(files.existing(deviations, "list of deviations"), names)
    page = templates.get_template("report.html").render(
        ledger=ledger,
        css=Markup(source.get_source(templates, "report.css")[0]),
        js=Markup(source.get_source(templates, "report.js")[0]),
        synthetic=any(corpus.get("synthetic") for corpus in corpora),
        synthetic_wake_words=any(corpus.get("synthetic") for corpus in wake_words),
        corpus=claims.CorpusFacts.model_validate(corpora[0]).label, code=claims.code_of(ledger),
        counts=claims.verdict_counts(ledger), labels=claims.VERDICT_LABELS, rules=claims.RULES,
        lacking=lacking(ledger), papers=by_paper(ledger, names, read_figures(results / "figures"), told),
        experiments=experiments, tuned=tuned_against_published(experiments), method=style.method,
        sections=list(measured),
        **{paper: _section_module(paper).section(found, ledger) for paper, found in measured.items()},
        deviations=[found for name, found in told.items() if name not in ledger["papers"]],
        cost=read_cost(results, ledger["provenance"].get("device", "")),
        config=None if config is None else json.dumps(files.read_json(config), indent=2, ensure_ascii=False),
        provenance=provenance_lines({**ledger["provenance"], "code": claims.code_of(ledger)}, wake_words),
        notebooks=[(path.stem.replace("_", " "), Path(os.path.relpath(path, out.parent)).as_posix())
                   for path in sorted((results / "notebooks").glob("*.ipynb"))],
        rulegraph=Markup(rulegraph.read_text(encoding="utf-8")) if rulegraph.is_file() else None)
    files.write_text(out, page + "\n")


# ------------------------------------------------------------------------------------------------ sections by name
def section_names(papers: Iterable[str]) -> list[str]:
    """The papers that have a section of their own: a template ``<paper>.html`` beside this page's.

    To the template belongs the module ``edgekws.report.<paper>`` with ``read(folder)``, which gives the paper's metrics or
    ``None``, and ``section(found, ledger)``, which gives what the template shows under its name.
    """
    return [paper for paper in papers if (METHODS / paper / "report.html").is_file()]


def _section_module(paper: str) -> Any:
    return importlib.import_module(f"edgekws.methods.{paper}.report")


# ------------------------------------------------------------------------------------------------ claims
def key_figures(told: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The measured claims, in groups of one paper and unit that share an axis; places on it in percent of its width.

    A group has ``also``, the names of further numbers, where all its claims have the same ones.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for claim in told:
        if claim["value"] is not None and claim["paper_value"] is not None:
            groups.setdefault((claim["paper"], claim["unit"] or ""), []).append(claim)
    return [{"title": _AXES.get(which, which[1]), "also": _shared(found), **_axis(found)} for which, found in groups.items()]


def _shared(found: list[dict[str, Any]]) -> list[str]:
    names = [[other["name"] for other in claim["also"]] for claim in found]
    return names[0] if all(each == names[0] for each in names) else []


def _axis(found: list[dict[str, Any]]) -> dict[str, Any]:
    ends = [value for claim in found for other in (claim, *claim["also"])
            for value in (other["value"], other["ci_low"], other["ci_high"]) if value is not None]
    ends += [claim[name] for claim in found for name in ("paper_ci_low", "paper_ci_high")]
    if found[0]["unit"] != "%":
        ends.append(0.0)  # the line of no effect belongs on the axis of an effect
    low, high = min(ends), max(ends)
    step = next(size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1e9) if (high - low) / size <= 6)
    low, high = step * (low // step), step * -(-high // step)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return float(round(100 * (value - low) / span, 2))

    def bar(first: float | None, last: float | None) -> dict[str, float] | None:
        if first is None or last is None:
            return None
        return {"left": place(first), "width": round(place(last) - place(first), 2)}

    rows = [{"claim": claim, "paper": None if isinstance(claim["paper_value"], list) else place(claim["paper_value"]),
             "paper_bar": bar(claim["paper_ci_low"], claim["paper_ci_high"]), "ours": place(claim["value"]),
             "ours_bar": bar(claim["ci_low"], claim["ci_high"]),
             "also": [{**other, "at": place(other["value"]), "bar": bar(other["ci_low"], other["ci_high"])}
                      for other in claim["also"]]} for claim in found]
    ticks = [{"at": place(low + step * index), "text": f"{low + step * index:g}"}
             for index in range(round(span / step) + 1)]
    return {"rows": rows, "ticks": ticks}


def by_paper(ledger: Mapping[str, Any], names: Mapping[str, str], figures: Mapping[str, Any],
             deviations: Mapping[str, Markup]) -> list[dict[str, Any]]:
    """Each paper with all that is shown of it, in the order of ``names``; those of which nothing was measured come last.

    ``cells`` are its claims in the order of their verdicts, ``tested`` and ``rest`` the tables of those with an outcome and
    of those without.
    """
    papers = []
    for name, called in names.items():
        own = [claim for claim in ledger["claims"] if claim["paper"] == name]
        tested = [claim for claim in own if claims.is_decided(claim)]
        rest = [claim for claim in own if not claims.is_decided(claim)]
        papers.append({**ledger["papers"][name], "id": name, "name": called, "claims": len(own),
                       "cells": [{**claim, "decided": claims.is_decided(claim)} for claim in sorted(
                           own, key=lambda claim: (claims.VERDICTS.index(claim["verdict"]), not claims.is_decided(claim)))],
                       "counts": claims.verdict_counts({"claims": own}), "key": key_figures(own),
                       "tested": claims.claims_table(tested) if tested else None,
                       "rest": claims.claims_table(rest) if rest else None, "untested": len(rest),
                       "figures": figures.get(name, []), "deviations": deviations.get(name)})
    return sorted(papers, key=lambda paper: paper["tested"] is None)


def lacking(ledger: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What claims are short of, by name, and how many; the most wanted first."""
    counts = Counter(claims.REQUIREMENT_NAMES[name] for claim in ledger["claims"] for name in claim["missing"])
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


# ------------------------------------------------------------------------------------------------ metrics and figures
def read_experiments(metrics: Path) -> list[dict[str, Any]]:
    """Name, corpus and summary of every experiment below ``metrics/traces_propagation``."""
    found = []
    paths = (metrics / "traces_propagation").glob("*.json")
    for path in sorted(paths, key=lambda path: (_ORDER.get(path.stem, 99), path.stem)):
        content = files.read_json(path)
        if "summary" in content:
            corpus = content.get("provenance", {}).get("corpus", {})
            found.append({"name": path.stem, "title": _EXPERIMENTS.get(path.stem, path.stem.replace("_", " ")),
                          "corpus": corpus, "summary": content["summary"],
                          "summary_test_users": content.get("summary_test_users", {}), "base": content.get("base", {})})
    return found


def tuned_against_published(experiments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Gains with the published and with the tuned budget, where both were measured, on the same users."""
    summary = {found["name"]: found["summary"] for found in experiments}
    test_users = {found["name"]: found["summary_test_users"] for found in experiments}
    published, tuned = test_users.get("many_users", {}), summary.get("many_users_tuned", {})
    return [{"method": method, "shot": shot, "published": published[method][shot], "tuned": cell}
            for method, shots in tuned.items() for shot, cell in shots.items() if shot in published.get(method, {})]


def interval(found: Mapping[str, Any] | None, *, sign: str = "", digits: int = 1) -> Markup:
    """A mean with its interval.

    >>> str(interval({"value": 9.5, "ci_low": 8.0, "ci_high": 11.0}, sign="+"))
    '<b>+9.5</b> <span class="ci">[+8.0, +11.0]</span>'
    """
    if found is None:
        return Markup("–")
    value = Markup("<b>{}</b>").format(f"{found['value']:{sign},.{digits}f}")
    if found["ci_low"] is None:
        return value
    around = f"[{found['ci_low']:{sign},.{digits}f}, {found['ci_high']:{sign},.{digits}f}]"
    return value + Markup(' <span class="ci">{}</span>').format(around)


def flipped(found: Mapping[str, Any]) -> dict[str, Any]:
    """A saving as a change: the signs turned, and the ends of the interval with them.

    >>> flipped({"value": 3.0, "ci_low": -1.0, "ci_high": 7.0})
    {'value': -3.0, 'ci_low': -7.0, 'ci_high': 1.0}
    """
    low, high = found["ci_low"], found["ci_high"]
    return {"value": -found["value"], "ci_low": None if high is None else -high, "ci_high": None if low is None else -low}


def short(value: float) -> str:
    """
    >>> short(341000), short(0.37412), short(1302.5)
    ('341,000', '0.3741', '1,302.5')
    """
    return f"{value:,.10g}" if abs(value) >= 1000 and value == round(value, 1) else f"{value:,.4g}"


def read_figures(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By paper, the figures that have a caption (``figures/<paper>.json``: title, see, caption, alt by name), as data URLs."""
    found: dict[str, list[dict[str, Any]]] = {}
    for captions in sorted(folder.glob("*.json")):
        for name, about in files.read_json(captions).items():
            path = folder / f"{name}.svg"
            if not path.is_file():
                raise UserError(f"has a caption for '{name}', but there is no such figure", where=captions,
                                remedy="build the figures again")
            data = base64.b64encode(path.read_bytes()).decode()
            found.setdefault(captions.stem, []).append(
                {"see": "", "name": name, **about, "src": f"data:image/svg+xml;base64,{data}"})
    return found


# ------------------------------------------------------------------------------------------------ how it was made
def read_deviations(path: Path, names: Mapping[str, str]) -> dict[str, Markup]:
    """Markdown by its sections, each under the paper that is called so, if one is: ``## Traces Propagation``."""
    papers = {called.lower(): paper for paper, called in names.items()}
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {"": markdown(parts[0])}
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        paper = papers.get(heading.strip().lower())
        found[paper or heading] = markdown(text if paper else f"## {heading}\n{text}")
    return {name: html for name, html in found.items() if html.strip()}


def markdown(text: str) -> Markup:
    """Markdown as HTML without its title, headings a level down; HTML inside it is shown, not obeyed."""
    import mistune

    page = str(mistune.create_markdown(escape=True, plugins=["table"])(text))
    page = re.sub(r"<h1>.*?</h1>", "", page, count=1, flags=re.DOTALL)
    page = page.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    return Markup(re.sub(r"(</?h)(\d)", lambda found: f"{found[1]}{min(6, int(found[2]) + 1)}", page))


def read_cost(results: Path, device: str = "") -> dict[str, Any] | None:
    """Wall time, peak memory and device by step, from Snakemake's benchmark files; seeds and parts of a step are summed.

    Their CPU time is left out: it is sampled, and stops at the last sample before a job's end.

    Args:
        results: Folder of the run.
        device: What ran the steps whose results do not say it themselves.

    Raises:
        UserError: A file is no benchmark.
    """
    steps: dict[str, dict[str, Any]] = {}
    for path in sorted((results / "benchmarks").rglob("*.tsv")):
        job = path.relative_to(results / "benchmarks").with_suffix("").as_posix()
        name = re.sub(r"/seed-?\d+$", "/each seed", re.sub(r"_(seed-?|part)\d+", "", job))
        step = steps.setdefault(name, {"name": name, "jobs": 0, "wall": 0.0, "memory": 0.0, "devices": set()})
        step["devices"].add(_device(results, job) or device)
        wall, _, memory = read_benchmark(path)
        step["jobs"] += 1
        step["wall"] += wall
        step["memory"] = max(step["memory"], memory)
    if not steps:
        return None
    rows = [{**step, "devices": sorted(step["devices"] - {""})} for step in steps.values()]
    return {"rows": rows, "wall": sum(row["wall"] for row in rows),
            "jobs": sum(row["jobs"] for row in rows), "memory": max(row["memory"] for row in rows)}


def _device(results: Path, job: str) -> str | None:
    """The device that the result of a job names, as far as there is one."""
    path = result_of(results, job)
    if path is None:
        return None
    about: dict[str, Any] = {}
    if path.suffix == ".json":
        about = files.read_json(path).get("provenance", {})
    elif path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as opened:
            about = json.loads((opened.metadata() or {}).get("provenance", "{}"))
    return str(about.get("device", "")) or None


def provenance_lines(provenance: Mapping[str, Any], others: Iterable[Mapping[str, Any]] = ()) -> list[tuple[str, str]]:
    """Provenance as lines to read, with the corpora that are not the run's own: of wake words."""
    corpus = provenance.get("corpus", {})
    lines = [("Code", provenance.get("code")), ("Python", provenance.get("python")),
             ("Platform", provenance.get("platform")), ("Device", provenance.get("device"))]
    lines += [(f"Corpus: {name.replace('_', ' ')}", corpus.get(name)) for name in _PRETTY_CORPUS]
    lines.append(("Corpus: words", ", ".join(corpus.get("words", []))))
    for other in {found["archive_sha256"]: found for found in others if found.get("archive_sha256")}.values():
        lines.append((f"Corpus: {other['name'].replace('_', ' ')}", f"{other['archive']}, SHA-256 {other['archive_sha256']}"))
    packages = provenance.get("packages", {})
    lines.append(("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    return [(name, str(value)) for name, value in lines if value not in (None, "")]
