"""Trace a verdict back: rule, number, the file it is in, how that file is made, and from what.

Nothing is computed here but a verdict that no ledger holds yet. The library does not know the workflow: which of its rules
makes a file stands in ``claims/<paper>.yaml``.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.core.errors import UserError, did_you_mean
from edgekws.ledger.build import entry, read_ledger
from edgekws.ledger.schema import Claim, CorpusFacts, Fact, Paper, at_pointer, read_papers
from edgekws.ledger.verdict import FINDING_LABELS, RULES, VERDICT_LABELS
from edgekws.ledger.wording import spoken, spoken_paper
from edgekws.protocol.statistics import Interval

_WIDTH, _INDENT = 118, 11


def explain(name: str, papers: str | Path, *, results: str | Path, ledger: str | Path | None = None) -> str:
    """How one claim came to its verdict, as text to read.

    Args:
        name: Id of the claim.
        papers: Folder of the papers' claims.
        results: Folder of the run. Its ``claims.json`` is read; where there is none, its metrics are judged now.
        ledger: Another ledger to read; the run's folder is then the one it lies in.

    Raises:
        UserError: No claim has this id, or a file is missing or malformed.
    """
    known = {claim.id: (paper, claim) for paper in read_papers(papers) for claim in paper.claims}
    written = re.sub(r"\d+$", lambda number: number[0].zfill(2), name.lower().replace("_", "-"))  # TP_2 is tp-02
    if written not in known:
        raise UserError(f"no claim is called '{name}'", where=papers, remedy=did_you_mean(written, known))
    paper, claim = known[written]
    results = Path(ledger).parent if ledger is not None else Path(results)
    line, source = _line(claim, results, ledger)
    return "\n".join(text for what, told in _told(paper, claim, line, results, source) for text in _set(what, told)) + "\n"


def _line(claim: Claim, results: Path, ledger: str | Path | None) -> tuple[Mapping[str, Any], str]:
    """The claim's line, and where it is from."""
    path = Path(ledger) if ledger is not None else results / "claims.json"
    if ledger is None and not path.is_file():
        if not (results / "metrics").is_dir():
            if not (results.is_dir() or _configured(results)):
                known = {path.stem for path in (*results.parent.glob("*"), *Path("config").glob("*.yaml"))} - {"default"}
                raise UserError("no such run", where=results, remedy=did_you_mean(results.name, known))
            raise UserError("holds neither claims.json nor metrics", where=results,
                            remedy=f"build one: {_make(claim, results)}")
        return entry(claim, results / "metrics"), f"judged now: {path.as_posix()} is not there"
    found = read_ledger(path)
    for line in found["claims"]:
        if line["id"] == claim.id:
            return line, path.as_posix()
    raise UserError(f"holds no claim '{claim.id}'", where=path, remedy="build the claims again")


def _told(paper: Paper, claim: Claim, line: Mapping[str, Any], results: Path,
          source: str) -> Iterator[tuple[str, Iterable[str]]]:
    """Headings and what stands under them, from the claim to the corpus."""
    yield claim.id, [claim.statement, f"{paper.title} ({paper.authors}, {paper.year})"]
    said = spoken_paper(claim.value, claim.uncertainty.std, claim.unit)
    yield "paper", [f"{said}; {claim.dataset}", claim.evidence, *([f"doubt: {claim.doubt}"] if claim.doubt else [])]
    rule = RULES[line["rule"]]
    yield "verdict", [f"{VERDICT_LABELS[rule.verdict]}: {line['why']}", f"from {source}"]
    yield "rule", [f"{line['rule']}: {rule.when} (docs/verdicts.md)"]
    if line["elsewhere"] is not None:
        yield "elsewhere", [f"{FINDING_LABELS[line['elsewhere']['finding']]}: {line['elsewhere']['why']}"]
    target = _make(claim, results)
    if claim.measured is None:
        return
    if not line["metrics"]:
        if line["rule"] == "not-in-this-run":
            yield "make it", [target]
        return
    path, content = _metrics(line["metrics"][0], results)
    yield "metric", list(_numbers(line, content))
    maker = paper.rule_of(path.stem)
    yield "made by", [*([f"rule {maker}"] if maker else []),
                      f".venv/bin/snakemake --force {path.as_posix()}{_configured(results)}",
                      f"{target}  # what it rests on, as far as it is not there"]
    if path.stem == claim.measured.experiment and claim.measured.expects:
        yield "protocol", [_compared(fact, content) for fact in claim.measured.expects]
    yield "settings", [f"{section}: {_spoken(values)}" for section, values in content.get("settings", {}).items()] or ["none"]
    seeds = content.get("seeds", [content["seed"]] if "seed" in content else [])
    yield "seeds", [", ".join(map(str, seeds)) or "none: nothing random"]
    about = content.get("provenance", {})
    corpus = CorpusFacts.model_validate(about.get("corpus", {}))
    yield "corpus", [corpus.label, *([f"{corpus.archive}, SHA-256 {corpus.archive_sha256}"] if corpus.archive_sha256 else [])]
    packages = about.get("packages", {})
    yield "code", [str(about.get("code", "unknown")),
                   ", ".join([f"Python {about.get('python', '?')}", *(f"{name} {found}" for name, found in packages.items())]),
                   f"device {about.get('device', '?')}, threads {about.get('threads', '?')}"]


def _metrics(reference: str, results: Path) -> tuple[Path, Mapping[str, Any]]:
    """The metrics file a ledger refers to: in the folder that the ledger lies in now, else as it stands there."""
    path = Path(reference.partition("#")[0])
    beside = results.joinpath("metrics", *path.parts[-2:])
    if beside.is_file() or not path.is_file():
        path = beside
    return path, files.read_json(path)


def _numbers(line: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[str]:
    for reference in line["metrics"]:
        found = at_pointer(content, reference.partition("#")[2])
        if "holds" in found:
            yield f"{reference}: {'holds' if found['holds'] else 'does not hold'}"
        else:
            ours = Interval(found["value"], found.get("ci_low"), found.get("ci_high"), found["n"])
            yield f"{reference} = {spoken(ours, line['unit'])}"


def _compared(fact: Fact, content: Mapping[str, Any]) -> str:
    """A setting that makes a test the paper's own, ours beside it."""
    try:
        found = at_pointer(content, fact.path)
    except KeyError:
        found = None
    counted = fact.count is not None or fact.at_least is not None
    ours = len(found) if counted and isinstance(found, list) else _spoken(found)
    if fact.holds(content):
        return f"{fact.path[1:]}: {ours}"
    theirs = (str(fact.count) if fact.count is not None else f"at least {fact.at_least:g}" if fact.at_least is not None
              else " or ".join(map(_spoken, fact.among)) if fact.among is not None else _spoken(fact.equals))
    return f"{fact.path[1:]}: {ours}, the paper's {theirs}"


def _make(claim: Claim, results: Path) -> str:
    """The command that makes what a claim rests on."""
    return f".venv/bin/snakemake claim_{claim.id.replace('-', '_')}{_configured(results)}"


def _configured(results: Path) -> str:
    """The option that names a run's settings: as it ran, else its overlay; nothing for the demo, which is the default."""
    for path in (results / "config.json", Path("config") / f"{results.name}.yaml"):
        if path.is_file():
            return f" --configfile {path.as_posix()}"
    return ""


def _spoken(values: Any) -> str:
    """Settings of a section as one line.

    >>> _spoken({"epochs": 10, "reset": "hard", "encoder": {"lag": 2}})
    'epochs 10, reset hard, encoder (lag 2)'
    """
    if not isinstance(values, Mapping):
        return values if isinstance(values, str) else json.dumps(values, ensure_ascii=False)
    return ", ".join(f"{name} ({_spoken(value)})" if isinstance(value, Mapping) else f"{name} {_spoken(value)}"
                     for name, value in values.items())


def _set(what: str, told: Iterable[str]) -> Iterator[str]:
    """Lines under a heading in the margin. Nothing that is meant to be copied is broken."""
    for number, text in enumerate(told):
        margin = f"{what if number == 0 else '':<{_INDENT}}"
        if text.startswith(".venv/") or "#/" in text:
            yield margin + text
        else:
            yield from textwrap.wrap(text, _WIDTH, initial_indent=margin, subsequent_indent=" " * (_INDENT + 2),
                                     break_long_words=False, break_on_hyphens=False)
