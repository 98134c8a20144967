import json
from pathlib import Path

import pytest
from tests.ledger.test_claims import CLAIMS, GSC, SUBSET, SYNTHETIC
from typer.testing import CliRunner

from edgekws import cli
from edgekws.core.errors import UserError
from edgekws.ledger import explain
from edgekws.ledger.build import build_ledger, write_ledger
from edgekws.ledger.schema import read_papers
from edgekws.ledger.verdict import RULES


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that leaves a run with one experiment measured, and its ledger where wanted; the folder is the present one."""
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results" / "mine"

    def make(*, corpus=SYNTHETIC, ledger=True):
        cell = {"value": 9.5, "ci_low": 8.0, "ci_high": 11.0, "n": 5}
        content = {"settings": {"base": {"base": {"epochs": 3}}, "others": 400}, "seeds": [0, 4], "rows": [{"user": "u1"}],
                   "summary": {"traces_propagation": {"1": {"gain": cell, "after": cell}}},
                   "provenance": {"code": "1.2 (abc)", "python": "3.12", "packages": {"torch": "2"}, "device": "cpu",
                                  "threads": 2, "corpus": {**corpus.model_dump(), "archive_sha256": "5" * 64}}}
        folder = results / "metrics" / "traces_propagation"
        folder.mkdir(parents=True)
        (folder / "one_user.json").write_text(json.dumps(content))
        if ledger:
            write_ledger(results / "claims.json", build_ledger("mine", CLAIMS, "results/mine", {}))
        return results

    return make


def test_the_way_back_has_every_station(run):
    run()
    text = explain.explain("tp-05", CLAIMS, results="results/mine")
    stations = ["tp-05", "10.00 points", "effect seen on synthetic speech", "from results/mine/claims.json",
                f"synthetic-effect: {RULES['synthetic-effect'].when}",
                "metrics/traces_propagation/one_user.json#/summary/traces_propagation/1/gain = 9.50 [8.00, 11.00] points",
                "rule traces_propagation_summarise",
                ".venv/bin/snakemake --force results/mine/metrics/traces_propagation/one_user.json", "snakemake claim_tp_05",
                "rows/0/user: u1, the paper's c50f55b8", "base (epochs 3)", "others: 400", "0, 4", "5" * 64, "1.2 (abc)",
                "torch 2"]
    places = [text.index(station) for station in stations]
    assert places == sorted(places)


def test_what_was_found_elsewhere_is_told_beside_the_verdict(run):
    run(corpus=SUBSET)
    text = explain.explain("tp-05", CLAIMS, results="results/mine")
    told = [text.index(part) for part in ("not run: ", "elsewhere: measured on other real recordings", "supports the claim: ")]
    assert told == sorted(told) and "settings/base/network/threshold: null, the paper's 0.66" in text
    assert "seeds: 2, the paper's at least 10" in text and "provenance/corpus/words: 2, the paper's 35" in text


def test_without_a_ledger_the_metrics_are_judged_now(run):
    run(ledger=False)
    text = explain.explain("tp-05", CLAIMS, results="results/mine")
    assert "judged now: results/mine/claims.json is not there" in text and "synthetic-effect" in text


def test_a_ledger_that_was_moved_finds_its_metrics_beside_it(run, tmp_path):
    results = run(corpus=GSC)
    moved = results.rename(tmp_path / "elsewhere")
    text = explain.explain("tp-05", CLAIMS, results="results/demo", ledger=moved / "claims.json")
    assert f"snakemake --force {moved.as_posix()}/metrics/traces_propagation/one_user.json" in text


def test_a_ledger_is_explained_from_its_own_folder_where_another_run_has_the_same_files(run, tmp_path):
    """A ledger names files from the project's root: another run of that name may lie there by now."""
    kept = run().rename(tmp_path / "kept")
    made = run() / "metrics" / "traces_propagation" / "one_user.json"
    made.write_text(made.read_text().replace("[0, 4]", "[7, 8]"))
    text = explain.explain("tp-05", CLAIMS, results="results/demo", ledger=kept / "claims.json")
    assert "0, 4" in text and "7, 8" not in text


def test_the_settings_as_they_ran_make_it_again(run):
    results = run()
    (results / "config.json").write_text("{}")
    text = explain.explain("tp-05", CLAIMS, results="results/mine")
    assert "snakemake claim_tp_05 --configfile results/mine/config.json" in text


@pytest.mark.parametrize("claim, says", [
    ("tp-08", "out-of-reach"), ("tp-19", ".venv/bin/snakemake claim_tp_19"), ("tp-17", ".venv/bin/snakemake claim_tp_17")])
def test_a_claim_without_a_number_says_why_or_how_to_get_one(run, claim, says):
    run()
    text = explain.explain(claim, CLAIMS, results="results/mine")
    assert says in text and "metric " not in text


@pytest.mark.parametrize("written", ["tp-5", "TP_05", "tp_5"])
def test_an_id_may_be_written_as_the_target_is(run, written):
    run()
    assert explain.explain(written, CLAIMS, results="results/mine").startswith("tp-05")


def test_bad_input_is_named(run):
    with pytest.raises(UserError, match="results/mine: no such run"):
        explain.explain("tp-05", CLAIMS, results="results/mine")
    Path("results/mine").mkdir(parents=True)
    with pytest.raises(UserError, match=r"results/mien: no such run\n.*did you mean 'mine'"):
        explain.explain("tp-05", CLAIMS, results="results/mien")
    with pytest.raises(UserError, match=r"results/mine: holds neither claims\.json nor metrics\n.*snakemake claim_tp_05"):
        explain.explain("tp-05", CLAIMS, results="results/mine")
    Path("results/mine").rmdir()
    run()
    with pytest.raises(UserError, match=r"no claim is called 'ty-05'\n.*did you mean 'tp-05'\?"):
        explain.explain("ty-05", CLAIMS, results="results/mine")
    with pytest.raises(UserError, match="no such ledger"):
        explain.explain("tp-05", CLAIMS, results="results/mine", ledger="nowhere.json")


def test_every_experiment_a_claim_rests_on_has_a_rule_that_makes_it():
    for paper in read_papers(CLAIMS):
        for claim in paper.claims:
            for experiment in claim.measured.experiments if claim.measured else ():
                rule = paper.rule_of(experiment)
                rules = "".join(path.read_text() for path in (CLAIMS.parent / "workflow" / "rules").glob("*.smk"))
                assert f"rule {rule}:" in rules, (claim.id, experiment)


def test_the_command_prints_it(run):
    run()
    done = CliRunner().invoke(cli.app, ["claims", "explain", "tp-05", "--run", "mine", "--papers", str(CLAIMS)])
    assert done.exit_code == 0 and done.stdout == explain.explain("tp-05", CLAIMS, results="results/mine")
