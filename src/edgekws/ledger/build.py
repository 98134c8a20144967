"""The claims ledger: every claim of the papers, evaluated against what a run measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.core.errors import UserError, did_you_mean
from edgekws.ledger.pointers import KindOf
from edgekws.ledger.rendering import ledger_csv, ledger_html
from edgekws.ledger.schema import WITHIN_REACH, Claim, CorpusFacts, Number, at_pointer, interval_at, read_papers
from edgekws.ledger.verdict import (
    FINDING_LABELS,
    FINDINGS,
    RULES,
    VERDICT_LABELS,
    VERDICTS,
    Judgement,
    Verdict,
    judge,
    judge_checks,
    missing,
    paper_interval,
    unmet_facts,
)
from edgekws.ledger.wording import listed

SCHEMA = 3
"""Of ``claims.json``. 2 added the verdict ``contradicted`` and the fields ``rule`` and ``missing``; 3 the field ``elsewhere``, so
that a verdict is about the paper's own test alone."""


def build_ledger(run: str, claims: str | Path, results: str | Path, provenance: Mapping[str, Any], *,
                 paper: str | None = None, kind_of: KindOf | None = None) -> dict[str, Any]:
    """The content of ``results/<run>/claims.json``: every claim with our number, the verdict and why.

    Args:
        run: Name of the run.
        claims: Folder of the papers' claims.
        results: Folder of the run's results; metrics are in ``metrics/<paper>/<experiment>.json`` below it.
        provenance: Of the ledger itself.
        paper: The claims of this paper alone.
        kind_of: See :func:`edgekws.ledger.schema.read_papers`.

    Returns:
        ``{"schema": 3, "run", "provenance", "measured_by", "papers", "claims"}``, ready for :func:`write_ledger`;
        ``measured_by`` are the versions of the code that the metrics name, which may be older than the ledger's.

    Raises:
        UserError: A file of claims or of metrics is malformed, or there is no such paper.
    """
    papers = read_papers(claims, kind_of)
    if paper is not None:
        if paper not in (known := [each.paper for each in papers]):
            raise UserError(f"holds no paper '{paper}'", where=claims, remedy=did_you_mean(paper, known))
        papers = [each for each in papers if each.paper == paper]
    return {
        "schema": SCHEMA, "run": run, "provenance": dict(provenance),
        "measured_by": sorted({str(code) for each in papers
                               for path in sorted((Path(results) / "metrics" / each.paper).glob("*.json"))
                               if (code := files.read_json(path).get("provenance", {}).get("code"))}),
        "papers": {each.paper: each.model_dump(exclude={"paper", "made_by", "claims"}) for each in papers},
        "claims": [entry(claim, Path(results) / "metrics") for each in papers for claim in each.claims],
    }


def entry(claim: Claim, metrics: Path) -> dict[str, Any]:
    """One claim's line of the ledger."""
    paper = paper_interval(claim)
    line: dict[str, Any] = {
        "id": claim.id, "paper": claim.paper, "statement": claim.statement, "unit": claim.unit,
        "paper_value": list(claim.value) if isinstance(claim.value, tuple) else claim.value,
        "paper_std": claim.uncertainty.std, "paper_ci_low": paper and paper[0], "paper_ci_high": paper and paper[1],
        "value": None, "ci_low": None, "ci_high": None, "n": None, "corpus": None,
        "verdict": None, "rule": None, "why": "", "elsewhere": None, "missing": [], "metrics": [],
        "also": [],
        "dataset": claim.dataset, "requires": list(claim.requires), "evidence": claim.evidence, "doubt": claim.doubt}

    def judged(rule: str, why: str, **more: Any) -> dict[str, Any]:
        return {**line, "verdict": RULES[rule].verdict, "rule": rule, "why": why, **more}

    binding = claim.measured
    if binding is None:
        if claim.needs:
            return judged("out-of-reach", f"it needs {listed(claim.needs)}, which no run of this version can have",
                          missing=[name for name in claim.requires if name not in WITHIN_REACH])
        return judged("no-test", "this version of the workflow does not measure it")
    path = metrics / claim.paper / f"{binding.experiment}.json"
    instead = binding.elsewhere and metrics / claim.paper / f"{binding.elsewhere.experiment}.json"
    instead = instead if instead and instead.is_file() else None
    known = path if path.is_file() else instead
    if known is None:
        return judged("not-in-this-run", f"'{binding.experiment}' was not measured in this run")
    found = files.read_json(known)
    corpus = CorpusFacts.model_validate(found.get("provenance", {}).get("corpus", {}))
    line["also"] = [shown for number in binding.also if (shown := _also(number, metrics / claim.paper))]
    line["missing"] = [] if claim.analytic else missing(claim, corpus)
    try:
        differences = unmet_facts(binding.expects, found)
        if binding.checks:
            checks = {pointer: at_pointer(found, pointer) for pointer in binding.checks}
            judgement = judge_checks(claim, checks, corpus, differences)
            where, metrics_at = "none (analytic)" if claim.analytic else corpus.label, [_at(path, pointer) for pointer in checks]
            return judged(judgement.rule, judgement.why, corpus=where, metrics=metrics_at,
                          elsewhere=_elsewhere(judgement, {}, where, metrics_at))
        assert binding.path is not None
        pointer = binding.path
        if instead and binding.elsewhere and (known is instead or differences or line["missing"]):
            path, pointer, found = instead, binding.elsewhere.path, files.read_json(instead)
            differences = [f"{binding.elsewhere.name} instead of the paper's one"]
        reason = _not_measured(found, pointer)
        if reason is not None:
            return judged("could-not-measure", reason)
        ours = interval_at(found, pointer)
        if binding.corpus and corpus.name not in binding.corpus:
            return judged("another-claims-corpus", f"this run is on {corpus.label}, the claim on {claim.dataset}")
    except KeyError as error:
        return judged("not-in-this-run", f"'{path.stem}' of this run holds no {error.args[0]}")
    judgement, metrics_at = judge(claim, ours, corpus, differences), [_at(path, pointer)]
    return judged(judgement.rule, judgement.why, **ours.as_dict(), corpus=corpus.label, metrics=metrics_at,
                  elsewhere=_elsewhere(judgement, ours.as_dict(), corpus.label, metrics_at))


def _at(path: Path, pointer: str) -> str:
    return f"{path.as_posix()}#{pointer}"


def _elsewhere(judgement: Judgement, ours: Mapping[str, Any], corpus: str, metrics: list[str]) -> dict[str, Any] | None:
    """What was found by a measurement that is not the paper's own test; checks have no number."""
    if judgement.found is None:
        return None
    return {"finding": judgement.found.finding, "value": None, "ci_low": None, "ci_high": None, "n": None, **ours,
            "corpus": corpus, "why": judgement.found.why, "metrics": metrics}


def _not_measured(metrics: Any, pointer: str) -> str | None:
    """Why a metrics file holds no number at a place where it might: ``{"measured": false, "why": ...}`` there, or above it."""
    parts = pointer.split("/")
    for length in range(2, len(parts) + 1):
        found = at_pointer(metrics, "/".join(parts[:length]))
        if isinstance(found, Mapping) and found.get("measured") is False:
            return f"not measured: {found['why']}"
    return None


def _also(number: Number, metrics: Path) -> dict[str, Any] | None:
    path = metrics / f"{number.experiment}.json"
    if not path.is_file():
        return None
    try:
        ours = interval_at(files.read_json(path), number.path)
    except KeyError:
        return None
    return {"name": number.name, **ours.as_dict(), "metrics": f"{path.as_posix()}#{number.path}"}


def read_ledger(path: str | Path) -> dict[str, Any]:
    """Raises: UserError if the file is missing, or no ledger of the present schema."""
    path = files.existing(path, "ledger of claims")
    found = files.read_json(path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise UserError(f"is no ledger of schema {SCHEMA}", where=path, remedy="build the claims again")
    return found


def write_ledger(out: str | Path, ledger: Mapping[str, Any]) -> None:
    """Write ``<out>.json`` and beside it the same as ``.csv`` and as an ``.html`` page."""
    out = Path(out)
    files.write_text(out.with_suffix(".csv"), ledger_csv(ledger))
    files.write_text(out.with_suffix(".html"), ledger_html(ledger))
    files.write_json(out, ledger)


def code_of(ledger: Mapping[str, Any]) -> str:
    """The code that measured, and the ledger's own where it is another.

    >>> code_of({"measured_by": ["1 (a)"], "provenance": {"code": "1 (a)"}})
    '1 (a)'
    >>> code_of({"measured_by": ["1 (a)", "1 (b)"], "provenance": {"code": "1 (b)"}})
    '1 (a) and 1 (b), judged by 1 (b)'
    """
    own, measured = str(ledger["provenance"].get("code", "unknown")), ledger.get("measured_by") or []
    return own if measured in ([], [own]) else f"{listed(measured)}, judged by {own}"


def is_decided(line: Mapping[str, Any]) -> bool:
    """Whether a line of the ledger holds a number of ours, or the outcome of a check."""
    return (line["value"] is not None or line.get("elsewhere") is not None
            or line["verdict"] not in ("not_testable", "not_run"))


def verdict_counts(ledger: Mapping[str, Any]) -> dict[Verdict, int]:
    """How many claims got each verdict, in the order of :data:`VERDICTS`, without those that none got."""
    given = [claim["verdict"] for claim in ledger["claims"]]
    return {verdict: given.count(verdict) for verdict in VERDICTS if verdict in given}


def findings(ledger: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What was learnt, paper by paper: companion of :func:`verdict_counts`.

    Returns:
        By paper ``claims``, their number; ``verdicts``, on the paper's own tests, and ``findings``, of other real recordings,
        counted in the order of :data:`VERDICTS` and :data:`FINDINGS`; ``words``, the same as a sentence to print.
    """
    told = {}
    for paper in dict.fromkeys(line["paper"] for line in ledger["claims"]):
        own = [line for line in ledger["claims"] if line["paper"] == paper]
        verdicts = verdict_counts({"claims": own})
        given = [line["elsewhere"]["finding"] for line in own if line["elsewhere"] is not None]
        found = {finding: given.count(finding) for finding in FINDINGS if finding in given}
        words = f"{len(own)} claim{'s' if len(own) != 1 else ''}. The paper's own test: " + "; ".join(
            f"{VERDICT_LABELS[verdict]} {count}" for verdict, count in verdicts.items())
        if found:
            words += ". Elsewhere: " + "; ".join(f"{FINDING_LABELS[finding]} {count}" for finding, count in found.items())
        told[paper] = {"claims": len(own), "verdicts": verdicts, "findings": found, "words": words}
    return told
