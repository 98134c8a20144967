"""A short table of claims inside a Markdown file, written from a ledger: no number in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.core.errors import UserError, did_you_mean
from edgekws.ledger.build import code_of
from edgekws.ledger.schema import GSC_V2_SHA256
from edgekws.ledger.verdict import FINDING_LABELS, VERDICT_LABELS
from edgekws.ledger.wording import spoken, spoken_paper
from edgekws.protocol.statistics import Interval

BEGIN, END = "<!-- claims: written by `edgekws claims table` -->", "<!-- claims: end -->"

HEADLINES = ("tp-05", "tp-06", "tp-07", "tp-17", "neuedge-01", "neuedge-02", "neuedge-04", "onda-01", "onda-02")
"""The claims that the papers' abstracts lead with."""


def table(ledger: Mapping[str, Any], ids: Sequence[str] = HEADLINES) -> str:
    """The claims as a Markdown table: what is claimed, the paper's number, ours (or what checks found), on what, the verdict,
    what was found elsewhere, and the target that makes what it rests on.

    Args:
        ledger: Content of ``claims.json``.
        ids: Claims to show, in this order.

    Raises:
        UserError: The ledger is of a run on synthetic speech, or lacks a claim.
    """
    if ledger["provenance"].get("corpus", {}).get("synthetic"):
        raise UserError("is of a run on synthetic speech, which replicates no claim", where=f"ledger of run '{ledger['run']}'",
                        remedy="give the ledger of a run on real recordings, results/gsc_subset/claims.json")
    known = {claim["id"]: claim for claim in ledger["claims"]}
    for name in ids:
        if name not in known:
            raise UserError(f"no such claim: '{name}'", where=f"ledger of run '{ledger['run']}'",
                            remedy=did_you_mean(name, known))
    lines = ["| claim | paper | ours | measured on | verdict | target |", "|---|---|---|---|---|---|"]
    for claim in (known[name] for name in ids):
        target = f"`claim_{claim['id'].replace('-', '_')}`" if claim["metrics"] else "–"
        if claim["value"] is not None:
            ours = spoken(Interval(claim["value"], claim["ci_low"], claim["ci_high"], claim["n"]), claim["unit"])
        else:  # checks have no number, but say what they found
            ours = claim["why"] if claim["rule"] in ("checks-hold", "checks-fail", "elsewhere") else "–"
        verdict = VERDICT_LABELS[claim["verdict"]]
        if claim["elsewhere"] is not None:
            verdict += f"; elsewhere {FINDING_LABELS[claim['elsewhere']['finding']]}"
        cells = (f"{claim['id']}: {claim['statement']}", spoken_paper(claim["paper_value"], claim["paper_std"], claim["unit"]),
                 ours, claim["corpus"] or "–", verdict, target)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def write(path: str | Path, ledger: Mapping[str, Any], ids: Sequence[str] = HEADLINES) -> None:
    """Put the table, and how to make it, between the two markers of a Markdown file; the rest of it stays as it is.

    Raises:
        UserError: As :func:`edgekws.core.files.write_between` and :func:`table`.
    """
    corpus = ledger["provenance"].get("corpus", {})
    archive = corpus.get("archive", "")
    # The whole of GSC v0.02 comes by itself; any other archive must be named.
    given = "" if corpus.get("archive_sha256") == GSC_V2_SHA256 else f" --config archive=path/to/{archive}"
    about = (f"Run `{ledger['run']}`, code {code_of(ledger)}, archive `{archive}`; "
             "means with their confidence intervals. What a claim rests on, and no more: "
             f"`.venv/bin/snakemake <target> --configfile config/{ledger['run']}.yaml{given}`.")
    files.write_between(path, BEGIN, END, f"{about}\n\n{table(ledger, ids)}")
