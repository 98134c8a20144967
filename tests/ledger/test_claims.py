import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekws.core.errors import UserError
from edgekws.ledger.build import build_ledger, code_of, entry, findings, verdict_counts, write_ledger
from edgekws.ledger.rendering import ledger_html
from edgekws.ledger.schema import (
    GSC_V2_SHA256,
    REQUIREMENT_NAMES,
    Claim,
    CorpusFacts,
    Equivalence,
    at_pointer,
    read_paper,
    read_papers,
)
from edgekws.ledger.verdict import FINDING_LABELS, FINDINGS, RULES, VERDICTS, judge, judge_checks, overlaps, paper_interval
from edgekws.methods.onda import false_alarms, summary
from edgekws.methods.onda.settings import OnDA, OndaEvaluation, OndaExperiment, Personalisation, Pretraining
from edgekws.protocol.settings import Statistics
from edgekws.protocol.statistics import Interval, mean_interval

CLAIMS = Path(__file__).parents[2] / "claims"
GSC = CorpusFacts(name="gsc", archive="speech_commands_v0.02.tar.gz", archive_sha256=GSC_V2_SHA256, words=["yes", "no"])
SUBSET = CorpusFacts(name="gsc", archive="subset.tar.gz", archive_sha256="1" * 64, words=["yes", "no"])
SYNTHETIC = CorpusFacts(name="synthetic", archive="s.tar", archive_sha256="2" * 64, synthetic=True)


def claim(*, direction="higher", neutral=0, value=10.0, std=None, n=None, population=False, requires=("gsc_v2", "gpu"),
          unit="%", equivalence=None, exact=False):
    return Claim.model_validate({
        "id": "xx-01", "paper": "x", "statement": "It helps.", "value": value, "unit": unit, "dataset": "GSC",
        "uncertainty": {"std": std, "n": n, "population": population}, "requires": list(requires), "evidence": "none",
        "measured": {"experiment": "one", "path": "/summary/gain", "direction": direction, "neutral": neutral,
                     "equivalence": equivalence, "exact": exact}})




# ------------------------------------------------------------------------------------------------ each rule
GAIN = {"direction": "higher"}
KEPT = {"equivalence": {"margin": 1, "sides": "below"}}
YES, NO = {"holds": True, "why": "yes"}, {"holds": False, "why": "no"}
CASES = {  # rule: changes of the claim, what is measured at the pointer, the corpus
    "out-of-reach": ({"requires": ["shd"], "measured": None}, None, GSC),
    "no-test": ({"requires": ["gsc_v2"], "measured": None}, None, GSC),
    "not-in-this-run": ({"measured": GAIN | {"experiment": "two", "path": "/x"}}, (9.5, 8, 11), GSC),
    "could-not-measure": ({}, {"measured": False, "why": "no counter"}, GSC),
    "another-claims-corpus": ({"measured": GAIN | {"corpus": ["heysnips_v2"]}}, (9.5, 8, 11), GSC),
    "checks-hold": ({"dataset": "none (analytic)", "measured": {"checks": ["/x"]}}, YES, SYNTHETIC),
    "checks-fail": ({"measured": {"checks": ["/x"]}}, NO, GSC),
    "one-repetition": ({}, (9.5, None, None), GSC),
    "no-spread": ({}, (9.5, 9.5, 9.5), GSC),
    "synthetic-effect": ({}, (9.5, 8, 11), SYNTHETIC),
    "synthetic": ({"measured": KEPT}, (-3, -4, -2), SYNTHETIC),
    "elsewhere": ({}, (-3, -4, -2), SUBSET),
    "equivalent": ({"value": None, "measured": KEPT}, (0, -0.5, 0.5), GSC),
    "beyond-the-margin": ({"value": None, "measured": KEPT}, (-3, -4, -2), GSC),
    "margin-undecided": ({"value": None, "measured": KEPT}, (0, -2, 2), GSC),
    "other-way": ({}, (-3, -4, -2), GSC),
    "direction-claimed": ({"value": None}, (9.5, 8, 11), GSC),
    "no-number": ({"value": None}, (0, -2, 2), GSC),
    "overlap": ({}, (9.5, 8, 11), GSC),
    "too-wide": ({}, (5, -20, 30), GSC),
    "another-size": ({}, (5, 4, 6), GSC),
    "apart": ({}, (0, -1, 1), GSC),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_of_the_table_has_a_case_in_which_it_decides(rule, tmp_path):
    changes, found, corpus = CASES[rule]
    if isinstance(found, tuple):
        found = dict(zip(("value", "ci_low", "ci_high"), found, strict=True)) | {"n": 5}
    measured = changes.get("measured", GAIN)
    if measured is not None:
        measured = {"experiment": "one"} | ({} if "checks" in measured else {"path": "/x"}) | measured
    said = Claim.model_validate({
        "id": "xx-01", "paper": "x", "statement": "It helps.", "value": 10.0, "unit": "%", "dataset": "GSC", "evidence": "none",
        "requires": ["gsc_v2"]} | changes | {"measured": measured})
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "one.json").write_text(json.dumps({"x": found, "provenance": {"corpus": corpus.model_dump()}}))
    line = entry(said, tmp_path)
    assert (line["rule"], line["verdict"]) == (rule, RULES[rule].verdict) and line["why"]


def test_the_table_in_the_docs_is_the_one_in_the_code():
    text = (CLAIMS.parent / "docs" / "verdicts.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \| `(\w+)` \|$", text, re.MULTILINE)
    assert rows == [(name, rule.when, rule.verdict) for name, rule in RULES.items()]
    assert {verdict for verdict, _ in re.findall(r"^\| `(\w+)` \| ([A-Z].+) \|$", text, re.MULTILINE)} == set(VERDICTS)
    assert re.findall(r"^\| `(\w+)` \| ([a-z][^|]+) \|$", text, re.MULTILINE) == list(FINDINGS.items())
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize(("interval", "below", "both"), [
    ((0, -0.9, 0.9), (True, False), (True, False)), ((5, 4, 6), (True, False), (False, True)),
    ((-2, -3, -1.1), (False, True), (False, True)), ((0, -1, 0.5), (False, False), (False, False)),
    ((0, -9, 9), (False, False), (False, False)), ((0, None, None), (False, False), (False, False))])
def test_a_gain_is_no_loss_but_it_is_a_difference(interval, below, both):
    for sides, expected in (("below", below), ("both", both)):
        margin = Equivalence(margin=1, sides=sides)
        assert (margin.holds(Interval(*interval, n=9)), margin.fails(Interval(*interval, n=9))) == expected


@given(st.lists(st.floats(-200, 200), min_size=3, max_size=3), st.floats(0.01, 50),
       st.sampled_from(["both", "below", "above"]), st.floats(-5, 5))
def test_nothing_is_kept_and_lost_at_once(numbers, margin, sides, of):
    low, middle, high = sorted(numbers)
    said = Equivalence(margin=margin, of=of, sides=sides)
    assert not (said.holds(Interval(middle, low, high, 5)) and said.fails(Interval(middle, low, high, 5)))


@given(st.lists(st.floats(-200, 200), min_size=3, max_size=3))
def test_no_interval_replicates_and_contradicts_the_same_claim(numbers):
    low, middle, high = sorted(numbers)
    up, down = (judge(claim(direction=direction, value=None), Interval(middle, low, high, 5), GSC).verdict
                for direction in ("higher", "lower"))
    assert (up == "replicated") == (down == "contradicted")


@pytest.mark.parametrize(("n", "direction", "equivalence", "exact", "corpus", "rule"), [
    (2, "higher", None, False, GSC, "no-spread"), (19, "higher", None, False, SYNTHETIC, "no-spread"),
    (3, None, {"margin": 1, "of": 10}, False, GSC, "no-spread"), (2, None, None, False, GSC, "no-spread"),
    (20, "higher", None, False, GSC, "overlap"), (2, "higher", None, True, GSC, "overlap"),
    (2, None, None, True, GSC, "overlap")])
def test_the_same_accuracy_two_or_three_times_shows_nothing(n, direction, equivalence, exact, corpus, rule):
    said = claim(direction=direction, equivalence=equivalence, exact=exact)
    assert judge(said, Interval(10, 10, 10, n), corpus).rule == rule


def test_the_same_gain_of_other_starts_is_no_spread_whatever_rounding_makes_of_it():
    before, after = np.array([53, 50, 60]), np.array([60, 57, 67])  # of 74 clips, as three seeds may have it
    ours = mean_interval(100 * after / 74 - 100 * before / 74)
    assert 0 < ours.ci_high - ours.ci_low < 1e-9
    assert judge(claim(unit="percentage points"), ours, GSC).rule == "no-spread"


def test_only_sizes_and_mappings_are_exact():
    exact = {found.id: found.measured.path for paper in read_papers(CLAIMS) for found in paper.claims
             if found.measured and found.measured.exact}
    assert exact == {**dict.fromkeys(("onda-01", "onda-02", "onda-03"), "/iso/strict/all"),
                     "neuedge-02": "/summary/mapped/all/chip_utilisation", "neuedge-03": "/summary/hybrid/all/chip_utilisation"}


@pytest.mark.parametrize(("value", "ours", "rule"), [
    (90, (88, 79.5, 96.5), "overlap"), (90, (88, 78.5, 97.5), "too-wide"), (81.62, (50, -10, 110), "too-wide"),
    ((91, 96), (90, 81, 99), "overlap"), ((91, 96), (90, 80, 100), "too-wide"), (2.3, (2.4, 2.1, 2.7), "too-wide"),
    (90, (50, 20, 80), "apart")])
def test_an_interval_that_would_hardly_miss_the_papers_number_does_not_replicate_it(value, ours, rule):
    assert judge(claim(direction=None, value=value), Interval(*ours, n=5), GSC).rule == rule


def test_the_tenth_is_of_the_papers_number_and_not_of_its_intervals_end():
    assert judge(claim(direction=None, value=81.62, std=2.2, n=10), Interval(81, 72.8, 89.2, 5), GSC).rule == "too-wide"
    assert judge(claim(direction=None, value=81.62, std=2.2, n=10), Interval(81, 72.9, 89.1, 5), GSC).rule == "overlap"


@pytest.mark.parametrize(("ours", "corpus", "verdict"), [
    ((9.5, 8.0, 11.0), GSC, "replicated"),
    ((5.0, 4.0, 6.0), GSC, "direction_only"),
    ((-5.0, -6.0, -4.0), GSC, "contradicted"),
    ((0.0, -1.0, 1.0), GSC, "not_replicated"),
    ((5.0, -20.0, 30.0), GSC, "not_testable"),
    ((9.5, None, None), GSC, "not_testable"),
    ((9.5, 8.0, 11.0), SUBSET, "not_run"),
    ((0.5, -1.0, 2.0), SUBSET, "not_run"),
    ((9.5, None, None), SUBSET, "not_run"),
    ((9.5, 8.0, 11.0), SYNTHETIC, "effect_seen_on_synthetic"),
    ((0.5, -1.0, 2.0), SYNTHETIC, "not_testable"),
    ((9.5, None, None), SYNTHETIC, "not_testable"),
])
def test_verdict_on_an_effect(ours, corpus, verdict):
    found = judge(claim(), Interval(*ours, n=30), corpus)
    assert found.verdict == verdict
    assert f"ours {ours[0]:.2f}" in found.why
    assert "paper 10 %" in found.why


@pytest.mark.parametrize(("ours", "corpus", "verdict"), [
    ((81.0, 78.0, 83.0), GSC, "replicated"),
    ((70.0, 69.0, 71.0), GSC, "not_replicated"),
    ((81.0, 78.0, 83.0), SUBSET, "not_run"),
    ((81.0, 78.0, 83.0), SYNTHETIC, "not_testable"),
])
def test_verdict_on_an_accuracy(ours, corpus, verdict):
    found = judge(claim(direction=None, value=81.62, std=2.2, n=10), Interval(*ours, n=10), corpus)
    assert found.verdict == verdict


def test_lower_is_the_other_side_of_zero():
    worse = claim(direction="lower", value=-4.0)
    assert judge(worse, Interval(-3.0, -4.5, -1.5, 9), GSC).verdict == "replicated"
    assert judge(worse, Interval(-1.0, -1.5, -0.5, 9), GSC).verdict == "direction_only"
    assert judge(worse, Interval(3.0, 1.5, 4.5, 9), GSC).verdict == "contradicted"


def test_another_protocol_on_the_right_corpus_is_not_the_papers_test():
    found = judge(claim(), Interval(9.5, 8.0, 11.0, 3), GSC, ["not the paper's speaker"])
    assert (found.verdict, found.found.finding) == ("not_run", "supports")
    assert "not the paper's speaker" in found.why
    assert "not Google Speech Commands v0.02" not in found.why


def test_the_corpus_is_known_by_its_checksum_not_its_name():
    assert GSC.has == {"gsc_v2"}
    assert GSC.model_copy(update={"archive_sha256": "0" * 64}).has == set()
    assert GSC.model_copy(update={"synthetic": True}).has == set()


def test_a_gpu_is_not_required_once_measured_but_other_things_are():
    ours = Interval(9.5, 8.0, 11.0, 30)
    assert judge(claim(requires=["gpu"]), ours, SUBSET).verdict == "replicated"
    assert judge(claim(requires=["gsc_v2", "loihi2"]), ours, GSC).rule == "elsewhere"


def test_a_claim_without_number_or_direction_cannot_be_compared():
    assert judge(claim(value=None, direction=None), Interval(9.5, 8.0, 11.0, 30), GSC).verdict == "not_testable"


@given(st.lists(st.floats(-200, 200), min_size=3, max_size=3), st.sampled_from(["higher", "lower", None]),
       st.one_of(st.none(), st.floats(-200, 200), st.tuples(st.floats(-9, 9), st.floats(10, 99))),
       st.lists(st.sampled_from(list(REQUIREMENT_NAMES)), unique=True),
       st.sampled_from([GSC, SUBSET, SYNTHETIC]))
def test_synthetic_speech_never_replicates_anything(numbers, direction, value, requires, facts):
    low, middle, high = sorted(numbers)
    corpus = facts.model_copy(update={"synthetic": True})
    said = claim(direction=direction, value=value, requires=requires)
    found = judge(said, Interval(middle, low, high, 5), corpus)
    assert found.verdict in {"effect_seen_on_synthetic", "not_testable"} and found.found is None


@given(st.lists(st.floats(-200, 200), min_size=3, max_size=3), st.sampled_from(["higher", "lower", None]))
def test_another_real_corpus_never_replicates_nor_refutes(numbers, direction):
    low, middle, high = sorted(numbers)
    found = judge(claim(direction=direction), Interval(middle, low, high, 5), SUBSET)
    assert found.verdict == "not_run" and found.found.finding in FINDINGS


# What is found elsewhere of a gain of 10 points, of 4.7 times, of something kept and of a level.
GAINED, TIMES = {"direction": "higher", "value": 10.0}, {"direction": "higher", "value": 4.7, "neutral": 1}
KEEPS, LEVEL = {"direction": None, "value": None, "equivalence": {"margin": 1, "sides": "below"}}, {"direction": None}


@pytest.mark.parametrize(("said", "ours", "finding", "why"), [
    (GAINED, (9.5, 8, 11), "supports", "the intervals overlap"), (GAINED, (5, 4, 6), "supports_direction", "another size"),
    (GAINED, (20, 18, 22), "supports_direction", "another size"),
    (GAINED | {"value": None}, (5, 4, 6), "supports", "effect is there"),
    (GAINED, (0.5, -4, 5), "no_effect", "(-5.00 to 5.00)"), (GAINED, (0.5, -4, 5.1), "undecided", "reaches beyond half"),
    (GAINED, (0.5, -5.1, 4), "undecided", "reaches beyond half"), (GAINED, (-1, -2, -0.5), "opposite", "the other way"),
    (GAINED | {"value": None}, (0, -0.1, 0.1), "undecided", "no size"),
    (GAINED, (9.5, None, None), "undecided", "one repetition"),
    (GAINED, (9.5, 9.5, 9.5), "undecided", "the same value"), (GAINED | {"value": (4, 20)}, (0, -2, 2), "no_effect", "2.00"),
    (GAINED | {"value": (4, 20)}, (0, -2, 2.1), "undecided", "reaches"),
    ({"direction": "lower", "value": -4.0}, (-3.9, -4.1, -3.7), "supports", "overlap"),
    ({"direction": "lower", "value": -4.0}, (0, -2, 2), "no_effect", "(-2.00 to 2.00)"),
    (TIMES, (1.1, 0.36, 2.85), "no_effect", "(0.35 to 2.85)"), (TIMES, (1.1, 0.3, 2), "undecided", "0.35"),
    (TIMES, (1.2, 1.1, 1.3), "supports_direction", "size"), (TIMES, (0.5, 0.4, 0.6), "opposite", "the other way"),
    (KEEPS, (0, -0.5, 0.5), "supports", "no more than 1 below zero"), (KEEPS, (-3, -4, -2), "opposite", "beyond the margin"),
    (KEEPS, (0, -2, 2), "undecided", "reaches over the margin"), (LEVEL, (10, 9.9, 10.1), "undecided", "a level")])
def test_what_other_speech_tells_of_a_claim(said, ours, finding, why):
    found = judge(claim(**said), Interval(*ours, n=5), SUBSET)
    assert (found.rule, found.found.finding) == ("elsewhere", finding) and why in found.found.why and found.found.why in found.why


@given(st.lists(st.floats(-200, 200), min_size=3, max_size=3), st.floats(0.1, 50))
def test_the_opposite_claim_gets_the_opposite_finding(numbers, size):
    low, middle, high = sorted(numbers)
    ours = Interval(middle, low, high, 30)
    up, down = (judge(claim(direction=direction, value=value), ours, SUBSET).found.finding
                for direction, value in (("higher", size), ("lower", -size)))
    assert (up == "opposite") == (down in ("supports", "supports_direction"))
    assert (up == "no_effect") == (down == "no_effect") and (up == "undecided") == (down == "undecided")


def test_checks_replicate_only_together():
    good, bad = {"holds": True, "why": "it is so"}, {"holds": False, "why": "it is not"}
    both = judge_checks(claim(), {"/a": good, "/b": good}, GSC)
    assert (both.verdict, both.why) == ("replicated", "holds: it is so; holds: it is so")
    one = judge_checks(claim(), {"/a": good, "/b": bad}, GSC)
    assert (one.verdict, one.why) == ("not_replicated", "does not hold: it is not; holds: it is so")


@pytest.mark.parametrize(("corpus", "verdicts"), [
    (GSC, ("replicated", "not_replicated")), (SUBSET, ("not_run", "not_run")),
    (SYNTHETIC, ("effect_seen_on_synthetic", "not_testable"))])
def test_checks_on_speech_are_worth_what_the_speech_is(corpus, verdicts):
    found = [judge_checks(claim(), {"/a": {"holds": holds, "why": "so"}}, corpus) for holds in (True, False)]
    assert tuple(judgement.verdict for judgement in found) == verdicts
    assert [judgement.found and judgement.found.finding for judgement in found] == (
        ["supports", "opposite"] if corpus is SUBSET else [None, None])


@pytest.mark.parametrize("corpus", [SYNTHETIC, SUBSET])
def test_what_is_missing_is_named(corpus):
    for ours in (Interval(9.5, 8.0, 11.0, 3), Interval(0.0, -1.0, 1.0, 3)):
        why = judge(claim(requires=["gsc_v2", "loihi2"]), ours, corpus).why
        assert "Google Speech Commands v0.02" in why and "a Loihi 2" in why


# ------------------------------------------------------------------------------------------------ intervals, pointers
def test_the_papers_interval():
    # t(0.975, 9) = 2.262157; a population std of 2.2 over 10 is a sample std of 2.2 sqrt(10/9)
    assert paper_interval(claim(value=81.62, std=2.2, n=10)) == pytest.approx((80.0462, 83.1938), abs=1e-4)
    low, high = paper_interval(claim(value=81.62, std=2.2, n=10, population=True))
    assert (low + high) / 2 == pytest.approx(81.62)
    assert high - low == pytest.approx(2 * 2.262157 * 2.2 / 3, abs=1e-5)
    assert paper_interval(claim(value=95.0)) == (95.0, 95.0)
    assert paper_interval(claim(value=[91, 96])) == (91, 96)
    assert paper_interval(claim(value=None)) is None


def test_touching_intervals_overlap():
    assert overlaps(Interval(1, 0, 2, 3), (2, 3))
    assert not overlaps(Interval(1, 0, 1.99, 3), (2, 3))
    assert not overlaps(Interval(1, None, None, 1), (0, 3))


def test_json_pointers():
    document = {"a": [10, {"b/c": 1, "~": 2}], "": 3}
    assert at_pointer(document, "") is document
    assert at_pointer(document, "/a/0") == 10
    assert at_pointer(document, "/a/1/~0") == 2
    assert at_pointer(document, "/") == 3
    for nothing in ("/b", "/a/2", "/a/x", "/a/0/0", "a"):
        with pytest.raises(KeyError):
            at_pointer(document, nothing)


# ------------------------------------------------------------------------------------------------ the files
def test_every_claim_of_the_papers_is_there():
    papers = {paper.paper: paper.claims for paper in read_papers(CLAIMS)}
    # Not of what is added to them (docs/add_a_method.md).
    assert {name: len(papers[name]) for name in ("neuedge", "onda", "traces_propagation")} == {
        "neuedge": 19, "onda": 17, "traces_propagation": 23}
    bound = [found.id for found in papers["traces_propagation"] if found.measured]
    assert bound == ["tp-01", "tp-02", "tp-03", "tp-04", "tp-05", "tp-06", "tp-07", "tp-17", "tp-18", "tp-19",
                     "tp-20", "tp-23"]
    assert [found.id[-2:] for found in papers["neuedge"] if found.measured] == [
        "01", "02", "03", "04", "05", "06", "07", "08", "17", "18", "19"]
    assert all(found.measured for found in papers["onda"])


def test_the_gains_are_the_differences_of_the_accuracies():
    value = {found.id: found.value for found in read_paper(CLAIMS / "traces_propagation.yaml").claims}
    for gain, after in (("tp-05", "tp-02"), ("tp-06", "tp-03"), ("tp-07", "tp-04")):
        assert value[gain] == pytest.approx(value[after] - value["tp-01"])


def paper_file(folder, name="x", **changes):
    one = {"id": "xx-01", "statement": "It helps.", "value": 10.0, "unit": "%", "dataset": "GSC", "requires": [],
           "evidence": "none", "measured": {"experiment": "one", "path": "/gain", "direction": "higher"}} | changes
    path = folder / f"{name}.yaml"
    about = {"paper": name, "title": "T", "authors": "A", "year": 2026, "url": "u"}
    path.write_text(json.dumps({**about, "claims": [one]}))
    return path


@pytest.mark.parametrize(("changes", "message"), [
    ({"requires": ["a_time_machine"]}, "xx-01: requires.0"),
    ({"measured": {"experiment": "one"}}, "xx-01: measured: .*either a path or checks"),
    ({"measured": {"experiment": "one", "path": "/a", "direction": "higher", "equivalence": {"margin": 1}}},
     "xx-01: measured: .*equivalence is for a number without a direction"),
    ({"measured": {"experiment": "one", "path": "/a", "equivalence": {"margin": 0}}}, "xx-01: measured.equivalence.margin"),
    ({"valeu": 3}, "xx-01: valeu"),
    ({"id": "no number"}, "no number: id"),
])
def test_a_malformed_claim_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read_paper(paper_file(tmp_path, **changes))


def test_malformed_files_and_folders(tmp_path):
    with pytest.raises(UserError, match="holds no claims"):
        read_papers(tmp_path)
    (tmp_path / "a.yaml").write_text("- just a list")
    with pytest.raises(UserError, match="is not a mapping"):
        read_papers(tmp_path)
    (tmp_path / "a.yaml").write_text("{")
    with pytest.raises(UserError, match="not valid YAML"):
        read_papers(tmp_path)
    (tmp_path / "a.yaml").unlink()
    paper_file(tmp_path, "x")
    paper_file(tmp_path, "y")
    with pytest.raises(UserError, match="'xx-01' occurs twice"):
        read_papers(tmp_path)


# ------------------------------------------------------------------------------------------------ the ledger
@pytest.fixture
def run(tmp_path):
    """A folder of claims and a run that measured one of them."""
    folder, metrics = tmp_path / "claims", tmp_path / "results" / "r" / "metrics" / "x"
    folder.mkdir()
    metrics.mkdir(parents=True)
    paper_file(folder, requires=["gsc_v2"], measured={
        "experiment": "one", "path": "/gain", "direction": "higher",
        "expects": [{"path": "/rows/0/user", "equals": "u1", "name": "another user"},
                    {"path": "/provenance/corpus/words", "count": 2, "name": "other words"}],
        "also": [{"name": "wider", "experiment": "wide", "path": "/gain"}]})
    gain = {"value": 9.5, "ci_low": 8.0, "ci_high": 11.0, "n": 3}
    measured = {"gain": gain, "rows": [{"user": "u1"}], "provenance": {"corpus": GSC.model_dump()}}

    def build(changed=None):
        (metrics / "one.json").write_text(json.dumps(measured | (changed or {})))
        return build_ledger("r", folder, tmp_path / "results" / "r", {"code": "1"})
    build.metrics, build.folder = metrics, folder
    return build


def test_ledger_line(run, tmp_path):
    (run.metrics / "wide.json").write_text(json.dumps({"gain": {"value": 7.0, "n": 40}}))
    ledger = run()
    assert {name: ledger[name] for name in ("schema", "run", "provenance")} == {
        "schema": 3, "run": "r", "provenance": {"code": "1"}}
    line, = ledger["claims"]
    contract = {"id": "xx-01", "paper": "x", "statement": "It helps.", "unit": "%", "paper_value": 10.0, "value": 9.5,
                "ci_low": 8.0, "ci_high": 11.0, "n": 3, "corpus": "GSC v0.02 (2 words)", "verdict": "replicated",
                "elsewhere": None, "metrics": [f"{run.metrics.as_posix()}/one.json#/gain"]}
    assert {name: line[name] for name in contract} == contract
    assert line["also"] == [{"name": "wider", "value": 7.0, "ci_low": None, "ci_high": None, "n": 40,
                             "metrics": f"{run.metrics.as_posix()}/wide.json#/gain"}]
    assert verdict_counts(ledger) == {"replicated": 1}


def test_what_the_paper_expects_is_looked_up_in_the_metrics(run):
    line, = run({"rows": [{"user": "u2"}]})["claims"]
    assert line["verdict"] == "not_run" and line["elsewhere"] == {
        "finding": "supports", "value": 9.5, "ci_low": 8.0, "ci_high": 11.0, "n": 3, "corpus": line["corpus"],
        "why": "the effect is there, and the intervals overlap", "metrics": line["metrics"]}
    assert "another user" in line["why"]
    assert "other words" not in line["why"]
    line, = run({"rows": [], "provenance": {"corpus": {**GSC.model_dump(), "words": ["a"]}}})["claims"]
    assert "another user; other words" in line["why"]


def test_what_was_not_measured_is_not_run(run):
    line, = run({"gain": {"value": 1.0}})["claims"]
    assert line["verdict"] == "not_run"
    line, = run({"gain": None})["claims"]
    assert (line["verdict"], line["why"]) == ("not_run", "'one' of this run holds no /gain"), "measured on nobody"
    (run.metrics / "wide.json").write_text('{"gain": null}')
    assert run()["claims"][0]["also"] == []
    (run.metrics / "one.json").unlink()
    line, = build_ledger("r", run.folder, run.metrics.parents[1], {})["claims"]
    assert (line["verdict"], line["why"]) == ("not_run", "'one' was not measured in this run")
    assert line["value"] is None
    assert line["metrics"] == []
    paper_file(run.folder, measured=None, requires=["gsc_v2", "gpu"])
    line, = build_ledger("r", run.folder, run.metrics.parents[1], {})["claims"]
    assert line["verdict"] == "not_run"


def test_what_needs_a_corpus_or_chip_that_is_not_here_is_not_testable(run):
    paper_file(run.folder, measured=None, requires=["shd", "gpu"])
    line, = build_ledger("r", run.folder, run.metrics.parents[1], {})["claims"]
    assert (line["verdict"], line["why"]) == ("not_testable", "it needs SHD, which no run of this version can have")
    assert line["missing"] == ["shd"]


def test_where_the_papers_test_cannot_be_run_many_users_stand_for_its_one(run):
    measured = {"experiment": "one", "path": "/gain", "direction": "higher",
                "elsewhere": {"name": "many users", "experiment": "many", "path": "/gain"}}
    paper_file(run.folder, measured=measured, requires=["gsc_v2"])

    def write(name, value, facts):
        found = {"gain": {"value": value, "ci_low": value - 1, "ci_high": value + 1, "n": 30},
                 "provenance": {"corpus": facts.model_dump()}}
        (run.metrics / f"{name}.json").write_text(json.dumps(found))

    write("many", 2.0, SUBSET)
    write("one", 9.5, SUBSET)
    line, = build_ledger("r", run.folder, run.metrics.parents[1], {})["claims"]
    assert (line["value"], line["n"], line["verdict"]) == (2.0, 30, "not_run")
    assert (line["elsewhere"]["finding"], line["elsewhere"]["value"]) == ("supports_direction", 2.0)
    assert line["metrics"][0].endswith("many.json#/gain") and "many users instead of the paper's one" in line["why"]
    write("one", 9.5, GSC)
    line, = build_ledger("r", run.folder, run.metrics.parents[1], {})["claims"]
    assert (line["value"], line["verdict"], line["elsewhere"]) == (9.5, "replicated", None), "the paper's own test decides"
    write("many", 2.0, SUBSET)
    (run.metrics / "one.json").unlink()
    line, = build_ledger("r", run.folder, run.metrics.parents[1], {})["claims"]
    assert (line["value"], line["verdict"], line["elsewhere"]["finding"]) == (2.0, "not_run", "supports_direction"), "alone"


def test_an_effect_the_other_way_is_told(run):
    assert "other way" in judge(claim(), Interval(-5.0, -6.0, -4.0, 30), SUBSET).why
    assert "holds zero" in judge(claim(), Interval(0.5, -1.0, 2.0, 30), SUBSET).why


def test_a_ratio_shows_an_effect_where_it_is_not_one():
    ratio = claim(value=4.7, unit="x", neutral=1)
    assert judge(ratio, Interval(1.4, 1.2, 1.6, 3), SUBSET).found.finding == "supports_direction"
    assert "holds 1" in judge(ratio, Interval(1.1, 0.9, 1.3, 3), SUBSET).why
    assert "the other way" in judge(ratio, Interval(0.5, 0.4, 0.6, 3), SUBSET).why


def test_analytic_claims_need_no_corpus(run):
    paper_file(run.folder, value=None, dataset="none (analytic)",
               measured={"experiment": "one", "checks": ["/checks/a", "/checks/b"]})
    good, bad = {"holds": True, "why": "yes"}, {"holds": False, "why": "no"}
    line, = run({"checks": {"a": good, "b": good}})["claims"]
    assert (line["verdict"], line["corpus"]) == ("replicated", "none (analytic)")
    line, = run({"checks": {"a": good, "b": bad}})["claims"]
    assert line["verdict"] == "not_replicated"
    line, = run({"checks": {"a": good}})["claims"]
    assert (line["verdict"], line["why"]) == ("not_run", "'one' of this run holds no /checks/b")


def test_ledger_files_say_the_same(run, tmp_path):
    ledger = run()
    out = tmp_path / "out" / "claims.json"
    write_ledger(out, ledger)
    assert json.loads(out.read_text()) == ledger
    row, = csv.DictReader(io.StringIO(out.with_suffix(".csv").read_text()))
    assert (row["id"], row["value"], row["verdict"]) == ("xx-01", "9.5", "replicated")
    page = out.with_suffix(".html").read_text()
    assert "<b>9.50</b>" in page
    assert "[8.00, 11.00]" in page and "Elsewhere" not in page and row["finding"] == ""
    write_ledger(out, run({"rows": [{"user": "u2"}]}))
    row, = csv.DictReader(io.StringIO(out.with_suffix(".csv").read_text()))
    assert (row["verdict"], row["finding"]) == ("not_run", "supports")
    assert f"Elsewhere: {FINDING_LABELS['supports']}" in out.with_suffix(".html").read_text()


def test_what_was_learnt_is_told_paper_by_paper(run):
    learnt = findings(run())["x"]
    assert learnt == {"claims": 1, "verdicts": {"replicated": 1}, "findings": {},
                      "words": "1 claim. The paper's own test: replicated 1"}
    learnt = findings(run({"rows": [{"user": "u2"}]}))["x"]
    assert learnt == {"claims": 1, "verdicts": {"not_run": 1}, "findings": {"supports": 1},
                      "words": "1 claim. The paper's own test: not run 1. Elsewhere: supports the claim 1"}


@pytest.mark.parametrize(("code", "told"), [("1", "1"), ("0.9 (old)", "0.9 (old), judged by 1")])
def test_a_ledger_names_the_code_that_measured(run, code, told):
    ledger = run({"provenance": {"code": code, "corpus": GSC.model_dump()}})
    assert ledger["measured_by"] == [code] and code_of(ledger) == told


def test_the_table_escapes_what_it_is_given(run):
    paper_file(run.folder, statement="<script>alert(1)</script>")
    page = ledger_html(run())
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


# ------------------------------------------------------------------------------------------------ OnDA
ONDA = {found.id: found for found in read_paper(CLAIMS / "onda.yaml").claims}
ARMS = {  # accuracy and parameters of an unpruned net and of those with half of its channels
    ("pretrained", 0.0): (80, 963), ("none", 0.0): (93, 963), ("onda_1", 0.5): (93.5, 100), ("onda_2", 0.5): (92, 110),
    ("l1_before", 0.5): (85, 120), ("random_before", 0.5): (80, 120), ("hap_wrong_domain", 0.5): (84, 120)}
STEPS = {"none": 0.01, "onda_1": 0.03, "onda_2": 0.02}  # by how much each user differs from the one before
NO_COUNTER = "this machine shows no energy counter"


def wake_words(name, *meets, synthetic=False):
    return {"name": name, "archive": f"{name}.tar", "archive_sha256": "3" * 64, "synthetic": synthetic, "speakers": 9,
            "meets": list(meets)}


V2 = wake_words("heysnips_v2", "mswc")
SPOKEN = wake_words("synthetic_wake_words", synthetic=True)


def onda_experiment(name, backbone, corpus, arms=ARMS, offline=(0.0,), spread=0.0):
    """A metrics file as `edgekws onda summarise` writes it, of three users who are alike but for ``spread``."""
    rows = [{"user": f"u{user}", "seed": seed, "offline": share, "schedule": schedule, "ratio": ratio, "recall": 50.0,
             "accuracy": accuracy + spread * user + STEPS.get(schedule, 0) * (user - 1) - 10 * share,
             "false_alarms_per_hour": 1.0, "curve": [accuracy] * 9, "parameters": parameters, "training": {}, "conditions": {},
             "multiply_accumulates": 10 * parameters, "adapted": True, "why": ""}
            for share in offline for user in range(3) for seed in range(3)
            for (schedule, ratio), (accuracy, parameters) in arms.items()]
    chosen = Personalisation(experiment=OndaExperiment(backbone=backbone, offline=[0.0, 0.25, 0.5]))
    part = {"rows": rows, "settings": chosen.model_dump(mode="json"), "provenance": {"corpus": corpus}, "screening": None,
            "operating_point": false_alarms.resolution(20.0, 0.5),
            "encoder": {"backbone": backbone, "pretraining": Pretraining().model_dump(mode="json")}}
    return summary.experiment_file(name, [part], OndaEvaluation(), Statistics(resamples=200))


def onda_cost(*meets, gpu=True):
    """A metrics file as `edgekws onda cost` writes it on a machine without a counter of energy."""
    from edgekws.methods.onda import cost

    def rounds(seconds):
        return seconds + 1e-6 * np.array([1, -1, 1, -1])

    told = cost.account({
        "inference": {"0": rounds(0.02), "50": rounds(0.01)},
        "adaptation": {"probes": rounds(3.0), "update 0": rounds(2.0), "update 50": rounds(1.0), "pruning 50": rounds(0.5),
                       "recalibration 50": rounds(0.1)}}, cost.Plan(updates=100, scorings=10, probes=2, recalibrations=5), [0.5])
    gains = cost.largest(told)
    energy = {f"{what}_energy": cost.not_measured(NO_COUNTER) for what in gains}
    judged = {**told, "largest": gains | energy}
    # On the GPU everything is as many times faster.
    gpu = {"measured": True, "name": "Made-up GPU", **judged} if gpu else cost.not_measured("no GPU")
    return {**judged, "gpu": gpu, "device": {"kind": "cpu"}, "settings": OnDA().model_dump(mode="json"),
            "provenance": {"corpus": {"name": "noise on a processor", "meets": list(meets)}}}


@pytest.fixture
def onda(tmp_path):
    """A function that writes OnDA's metrics and gives the ledger's line of every claim."""
    def lines(corpus=V2, *, ds_cnn="ds_cnn_l", meets=(), gpu=True, **changes):
        files = {"ds_cnn": onda_experiment("ds_cnn", ds_cnn, corpus, **changes),
                 "resnet": onda_experiment("resnet", "resnet15", corpus),
                 "controls": onda_experiment("controls", "ds_cnn_l", corpus, spread=0.1),
                 "stacking": onda_experiment("stacking", "ds_cnn_l", corpus, offline=(0.0, 0.25)),
                 "cost": onda_cost(*meets, gpu=gpu)}
        (tmp_path / "onda").mkdir(exist_ok=True)
        for name, content in files.items():
            (tmp_path / "onda" / f"{name}.json").write_text(json.dumps(content))
        return {name: entry(found, tmp_path) for name, found in ONDA.items()}

    return lines


def test_every_claim_of_onda_finds_its_number(onda):
    lines = onda()
    assert len(lines) == 17 and all(found.measured for found in ONDA.values())
    assert [name for name, line in lines.items() if line["value"] is None] == [
        "onda-03", *(f"onda-{number:02}" for number in (8, 9, 11, 13, 14))]  # another corpus; no counter
    for name, line in lines.items():
        if line["value"] is not None:
            assert len(line["also"]) == len(ONDA[name].measured.also) and len(line["metrics"]) == 1
    expected = {"onda-01": 9.63, "onda-02": 9.63, "onda-04": 93, "onda-05": 93, "onda-06": 200 / 131, "onda-07": 2,
                "onda-15": (301 - 131) / 0.01, "onda-16": 8.5, "onda-17": 0.5}
    assert {name: lines[name]["value"] for name in expected} == pytest.approx(expected)


def test_claims_about_a_gpu_rest_on_what_was_measured_there_alone(onda):
    about = [f"onda-{number:02}" for number in (6, 7, 8, 9, 12, 13)]
    without, with_one = onda(gpu=False), onda()
    assert {without[name]["why"] for name in about} == {"not measured: no GPU"}
    assert all(without[name]["value"] is None and without[name]["elsewhere"] is None for name in about)
    assert all(line["metrics"][0].endswith("#/gpu/largest/" + line["metrics"][0].rpartition("/")[2])
               for line in (with_one[name] for name in about) if line["value"] is not None)
    assert with_one["onda-07"]["value"] == pytest.approx(2) and with_one["onda-07"]["elsewhere"]["finding"] is not None
    assert without["onda-10"]["value"] == pytest.approx(2), "the processor's claims do not need one"


def test_open_wake_words_are_evidence_from_elsewhere(onda):
    lines = onda(wake_words("open_wake_words", "mswc"))
    for name in ("onda-01", "onda-02", "onda-03", "onda-16"):
        line = lines[name]
        assert line["verdict"] == "not_run" and line["elsewhere"]["finding"].startswith("supports"), name
        assert "not HeySn" in line["why"]


def test_onda_on_its_own_corpora_is_judged(onda):
    lines = onda()
    assert lines["onda-01"]["verdict"] == "replicated" and lines["onda-05"]["verdict"] == "replicated"
    assert lines["onda-02"]["verdict"] == "direction_only", "the paper says 3.33"
    assert lines["onda-04"]["verdict"] == "not_replicated", "93 is not 95"
    assert "same direction" in lines["onda-02"]["why"] and "not HeySnips" not in lines["onda-01"]["why"]
    lost = onda(arms={arm: (accuracy - 5 * (arm[1] > 0), parameters) for arm, (accuracy, parameters) in ARMS.items()})
    assert (lost["onda-01"]["value"], lost["onda-01"]["verdict"]) == (1, "not_replicated"), "no pruned net keeps up"


@pytest.mark.parametrize(("corpus", "backbone", "says"), [
    (wake_words("heysnips_v2"), "ds_cnn_l", "(not MSWC)"),
    (wake_words("heysnips_v1", "mswc"), "ds_cnn_l", "(not HeySnips v2)"),
    (V2, "ds_cnn_s", "(another encoder than DS-CNN-L)")])
def test_a_compression_on_another_corpus_or_encoder_is_a_finding(onda, corpus, backbone, says):
    line = onda(corpus, ds_cnn=backbone)["onda-01"]
    assert (line["verdict"], line["elsewhere"]["finding"]) == ("not_run", "supports") and says in line["why"]


def test_on_synthetic_wake_words_effects_are_seen_and_claims_on_another_corpus_are_not_judged(onda):
    lines = onda(SPOKEN)
    assert lines["onda-01"]["verdict"] == lines["onda-16"]["verdict"] == "effect_seen_on_synthetic"
    assert lines["onda-05"]["verdict"] == "not_testable" and lines["onda-05"]["value"] == 93
    line = lines["onda-03"]
    assert (line["verdict"], line["value"], line["metrics"]) == ("not_testable", None, [])
    assert line["why"] == "this run is on synthetic speech (9 speakers), the claim on HeySnapdragon (negatives from HeySnips)"


def test_heysnapdragon_is_another_test_than_heysnips(onda):
    lines = onda(wake_words("heysnapdragon", "mswc"))
    assert lines["onda-03"]["value"] == pytest.approx(9.63) and lines["onda-03"]["verdict"] == "direction_only"
    for name in ("onda-01", "onda-02", "onda-04", "onda-05"):
        assert lines[name]["value"] is None and "the claim on HeySnips" in lines[name]["why"]
    assert lines["onda-16"]["value"] is not None, "which is claimed of both"


def test_what_a_machine_cannot_measure_is_told_with_its_reason(onda):
    line = onda()["onda-08"]
    assert (line["verdict"], line["why"]) == ("not_testable", f"not measured: {NO_COUNTER}")


def test_a_jetson_says_itself_that_it_is_one(onda):
    elsewhere, jetson = onda()["onda-07"], onda(meets=["jetson"])["onda-07"]
    assert "(not a Jetson; not HeySnips v2)" in elsewhere["why"]
    assert "(not HeySnips v2)" in jetson["why"]
    assert elsewhere["verdict"] == jetson["verdict"] == "not_run"
    both = onda(meets=["jetson", "heysnips_v2"])
    assert all(both[name]["why"].startswith("same direction, another size") for name in ("onda-07", "onda-10"))


def test_what_a_measurement_meets_counts_for_real_speech_only():
    assert CorpusFacts.model_validate(V2).has == {"heysnips_v2", "mswc"}
    assert CorpusFacts.model_validate(wake_words("heysnapdragon")).has == {"heysnapdragon", "heysnips_v2"}
    assert CorpusFacts.model_validate(wake_words("heysnips_v1")).has == set()
    assert CorpusFacts.model_validate({**V2, "synthetic": True}).has == set()


# ------------------------------------------------------------------------------------------------ alternatives
@pytest.fixture(scope="module")
def alternatives(tmp_path_factory):
    """The lines of claims/alternatives.yaml on metrics of every method, by their names."""
    from tests.report.conftest import write_alternatives

    results = tmp_path_factory.mktemp("results")
    write_alternatives(results / "metrics" / "alternatives", synthetic=False)
    ledger = build_ledger("made_up", CLAIMS, results, {})
    return {line["id"]: line for line in ledger["claims"] if line["paper"] == "alternatives"}


def test_every_claim_on_alternatives_is_looked_up_in_metrics_that_exist(alternatives):
    """Every pointer, the further numbers' too, is in the files that the summaries write."""
    said = {found.id: found for found in read_paper(CLAIMS / "alternatives.yaml").claims}
    assert len(alternatives) == len(said) == 18 and not {line["verdict"] for line in alternatives.values()} & {"not_run"}
    for name, line in alternatives.items():
        measured = said[name].measured
        assert (line["value"] is None) == bool(measured.checks), name
        assert [other["name"] for other in line["also"]] == [other.name for other in measured.also], name


def test_claims_on_alternatives_are_what_the_made_up_numbers_say(alternatives):
    value = {name: alternatives[name]["value"] for name in alternatives}
    # Of federated_file: 12 points above the base; 16 above it instead of 6, alone.
    assert (value["alt-13"], value["alt-14"]) == (pytest.approx(12), pytest.approx(10))
    also = {other["name"]: other["value"] for other in alternatives["alt-13"]["also"]}
    assert also == pytest.approx({"each alone": 6, "all clips in one place": 14, "other speakers": -2})
    assert alternatives["alt-14"]["verdict"] == "replicated", "it asks for no corpus"
    # LoRA of rank 16 has 1440 of 2000 values.
    for name in ("alt-01", "alt-02", "alt-03", "alt-04"):
        assert alternatives[name]["verdict"] == "not_replicated" and "rank 16" in alternatives[name]["why"], name
    # As large as all weights or larger: the made-up memory grows with the method's place in the settings.
    assert alternatives["alt-08"]["verdict"] == alternatives["alt-09"]["verdict"] == "not_replicated"
    assert alternatives["alt-10"]["verdict"] == "replicated", "local rules are the first, and no clip makes them grow"
