"""The ledger as CSV and as HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgekws.ledger.verdict import FINDING_LABELS, VERDICT_LABELS, VERDICTS
from edgekws.ledger.wording import spoken_paper, spoken_unit

_COLUMNS = ("id", "paper", "statement", "unit", "paper_value", "paper_std", "value", "ci_low", "ci_high", "n", "corpus",
            "verdict", "rule", "finding", "why", "missing", "dataset", "doubt")


def ledger_csv(ledger: Mapping[str, Any]) -> str:
    """The ledger as CSV, one line per claim; a range of the paper is written ``low..high``."""
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for claim in ledger["claims"]:
        value = claim["paper_value"]
        table.writerow({**claim, "missing": " ".join(claim["missing"]),
                        "finding": (claim["elsewhere"] or {}).get("finding"),
                        "paper_value": "..".join(map(str, value)) if isinstance(value, list) else value})
    return text.getvalue()


def claims_table(claims: Iterable[Mapping[str, Any]]) -> Markup:
    """Lines of a ledger as an HTML table, without styles of its own."""
    def sortable(value: Any) -> Any:
        return value[0] if isinstance(value, list) else "" if value is None else value

    return Markup(_templates().get_template("claims_table.html").render(
        claims=list(claims), spoken_paper=spoken_paper, unit=spoken_unit, sortable=sortable, labels=VERDICT_LABELS,
        findings=FINDING_LABELS, order={verdict: place for place, verdict in enumerate(VERDICTS)}))


def ledger_html(ledger: Mapping[str, Any]) -> str:
    """The ledger as a plain page of its own, a table for each paper."""
    tables = [(f"{about['title']} ({about['authors']}, {about['year']})",
               claims_table(claim for claim in ledger["claims"] if claim["paper"] == paper))
              for paper, about in ledger["papers"].items()]
    return _templates().get_template("claims_page.html").render(ledger=ledger, tables=tables) + "\n"


def _templates() -> Environment:
    return Environment(loader=PackageLoader("edgekws.ledger"), autoescape=True, undefined=StrictUndefined)
