import json

import pytest
from tests.ledger.test_claims import CLAIMS

from edgekws.core.errors import UserError
from edgekws.ledger import table
from edgekws.ledger.build import build_ledger
from edgekws.ledger.schema import GSC_V2_SHA256

PAGE = f"# Title\n\nBefore.\n\n{table.BEGIN}\n{table.END}\n\nAfter.\n"


@pytest.fixture
def ledger(tmp_path):
    """A ledger of the real claims, one of them measured."""
    made = build_ledger("gsc_subset", CLAIMS, tmp_path, {"code": "1.0", "corpus": {"archive": "a.tar.gz"}})
    next(claim for claim in made["claims"] if claim["id"] == "tp-05").update(
        value=8.25, ci_low=6.0, ci_high=10.5, n=30, corpus="a.tar.gz (8 words)", verdict="not_run", rule="elsewhere",
        elsewhere={"finding": "supports", "why": "the intervals overlap"},
        metrics=["results/gsc_subset/metrics/traces_propagation/many_users.json#/summary/traces_propagation/1/gain"])
    return made


def test_the_table_holds_the_ledgers_numbers_and_what_gives_them(ledger):
    rows = table.table(ledger).splitlines()
    assert len(rows) == 2 + len(table.HEADLINES) and len({row.count("|") for row in rows}) == 1
    assert [row.split(":")[0].strip("| ") for row in rows[2:]] == list(table.HEADLINES)
    cells = [cell.strip() for cell in rows[2].split("|")[1:-1]]
    assert cells[1:] == [
        "10.00 points", "8.25 [6.00, 10.50] points, n = 30", "a.tar.gz (8 words)",
        "not run; elsewhere supports the claim", "`claim_tp_05`"]
    assert rows[3].endswith("| – | – | not run | – |"), "what was not measured has no number and no target"
    checked = next(claim for claim in ledger["claims"] if claim["id"] == "tp-17")
    checked.update(rule="checks-fail", why="does not hold: twice the memory", verdict="not_replicated")
    assert "| does not hold: twice the memory |" in table.table(ledger, ["tp-17"]), "checks tell what they found"


def test_only_what_is_between_the_markers_changes_and_writing_again_changes_nothing(ledger, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(PAGE)
    table.write(page, ledger)
    first = page.read_text()
    assert first.startswith(f"# Title\n\nBefore.\n\n{table.BEGIN}\n") and first.endswith(f"{table.END}\n\nAfter.\n")
    assert table.table(ledger) in first and "`a.tar.gz`" in first
    table.write(page, ledger)
    assert page.read_text() == first
    assert "`.venv/bin/snakemake <target> --configfile config/gsc_subset.yaml --config archive=path/to/a.tar.gz`" in first
    ledger["provenance"]["corpus"]["archive_sha256"] = GSC_V2_SHA256
    table.write(page, ledger)
    assert "`.venv/bin/snakemake <target> --configfile config/gsc_subset.yaml`" in page.read_text(), "v0.02 comes by itself"


@pytest.mark.parametrize("text", ["nothing", table.BEGIN, f"{table.END}\n{table.BEGIN}", PAGE + PAGE])
def test_a_page_without_a_place_for_it_is_left_alone(ledger, tmp_path, text):
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(UserError, match="no place for the table"):
        table.write(page, ledger)
    assert page.read_text() == text


def test_synthetic_speech_and_unknown_claims_are_refused(ledger):
    with pytest.raises(UserError, match="no such claim: 'tp-55'"):
        table.table(ledger, ["tp-55"])
    synthetic = json.loads(json.dumps(ledger))
    synthetic["provenance"]["corpus"]["synthetic"] = True
    with pytest.raises(UserError, match="synthetic speech"):
        table.table(synthetic)


def test_the_projects_own_page_has_a_place_for_it():
    text = (CLAIMS.parent / "docs" / "claims.md").read_text(encoding="utf-8")
    assert text.count(table.BEGIN) == text.count(table.END) == 1
