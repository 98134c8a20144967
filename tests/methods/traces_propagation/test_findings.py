"""The page of what was found: every number from the metrics, and nothing where nothing was measured."""

import json

import pandas as pd
import pytest

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation import findings, people
from edgekws.protocol.settings import Statistics

CORPUS = {"archive": "words.tar.gz", "words": ["yes", "no"], "speakers": 1753, "clips": 22133, "synthetic": False}


def content(*methods):
    """Metrics of four users; each method's gain in clips of 20, and what others lose of 100."""
    rows = [{"method": method, "seed": seed, "user": f"u{user}", "split": "test", "fold": fold, "shot": "all",
             "support_clips": 30, "query_clips": 20, "correct_before": 14, "correct_after": 14 + gain + user % 2,
             "others_clips": 100, "others_before": 80, "others_after": 80 - lost}
            for method, gain, lost in methods for seed in (0, 1) for user in range(4) for fold in (0, 1)]
    return {"seeds": [0, 1], "provenance": {"corpus": CORPUS, "code": "0.1.0 (abc)"},
            "base": {"test_accuracy": {"value": 75.0, "ci_low": 74.0, "ci_high": 76.0}},
            "settings": {"budgets": {method: {"learning_rate": 1e-4, "epochs": 3, "batch_size": 1024, "kept_hidden": 0.5}
                                     for method, *_ in methods}},
            "people": people.people(pd.DataFrame(rows), Statistics())}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "wide" / "metrics" / "traces_propagation"
    made.mkdir(parents=True)
    (made / "many_users.json").write_text(json.dumps(content(("traces_propagation", 2, 8), ("readout_only", 1, 6))))
    (made / "many_users_tuned.json").write_text(json.dumps(content(("traces_propagation", 2, 8), ("recipe", 3, 1))))
    cell = {"value": 1.25, "ci_low": 0.5, "ci_high": 2.0, "n": 4}
    (made / "one_clip.json").write_text(json.dumps({"users": 4, "curves": {"batch_0": {"1": cell, "24": cell}},
                                                    "batches": {"batch": {"1": cell}, "classes": {"1024": cell}}}))
    return made


def test_three_sentences_with_the_numbers_of_the_run(folder):
    pays, whom, price = findings.sentences(findings.read(folder))
    assert "On 4 people with all their clips" in pays and "gains +12.5 [" in pays
    assert "reports 15.7 of one: it pays" in pays
    assert whom.startswith("0 % of them lose, 0 % gain as much as the paper's user")
    assert "readout alone gains +7.5" in whom and "60 % of it needs no hidden learning" in whom
    assert "8.0 [8.0, 8.0] points less well" in price
    assert "gains +17.5" in price and "others lose 1.0" in price and "aim" not in price, "one clip was not measured"


@pytest.mark.parametrize(("one", "all_", "lost", "wanted"), [
    (6.0, 12.0, 0.5, "which reaches the aim: +10 with all their clips and +5 with 1 clip of each word"),
    (3.0, 12.0, 0.5, "short by 2.0 points with 1 clip of each word: the aim is not reached"),
    (6.0, 12.0, 1.5, "too dear for the others: the aim is not reached")])
def test_whether_the_recipe_reaches_what_was_aimed_at(folder, one, all_, lost, wanted):
    found = findings.read(folder)
    shots, price = found["many_users_tuned"]["people"]["recipe"], {"value": lost, "ci_low": lost, "ci_high": lost}
    for shot, gain in (("1", one), ("all", all_)):
        shots[shot] = {**shots["all"], "gain": {"value": gain, "ci_low": gain, "ci_high": gain}, "forgetting": price}
    assert wanted in findings.sentences(found)[2]
    if one < 5:
        shots["1"]["gain"] = {**shots["1"]["gain"], "ci_high": 20.0}
        assert "it is open whether the aim is reached" in findings.sentences(found)[2]


def test_a_recipe_measured_on_some_users_says_on_how_many(folder):
    found = findings.read(folder)
    found["many_users_beside"] = found.pop("many_users_tuned")
    assert "on 4 of them" not in findings.sentences(found)[2]
    cell = found["many_users_beside"]["people"]["recipe"]["all"]
    found["many_users_beside"]["people"] = {"recipe": {"all": {**cell, "users": 3}}}
    assert "on 3 of them gains +17.5" in findings.sentences(found)[2]
    assert findings.expected(found) is None, "a sample is too few to promise anything"


@pytest.mark.parametrize(("bound", "wanted"), [
    (20.0, "It is the clips that are missing"), (9.0, "More clips of the user would not")])
def test_an_oracle_tells_what_stands_in_the_way(folder, bound, wanted):
    found = findings.read(folder)
    cell = found["many_users_tuned"]["people"]["recipe"]["all"]
    reached = {**cell, "gain": {"value": bound, "ci_low": bound, "ci_high": bound}}
    found["many_users_oracle"] = {**found["many_users_tuned"], "people": {"recipe": {"all": reached}}}
    page = findings.page(found, run="wide", figures="figures")
    assert f"and {bound:+.1f} [{bound:+.1f}, {bound:+.1f}] had the clips that are asked been learnt" in page and wanted in page


def test_what_the_parts_took(folder):
    assert "What it took" not in findings.page(findings.read(folder), run="wide", figures="figures")
    benchmarks = folder.parents[1] / "benchmarks"
    for name, seconds, processor in (("traces_propagation/features", 60, 30), ("traces_propagation/base_frozen_seed0", 90, 60),
                                     ("traces_propagation/base_frozen_seed1", 90, 60), ("traces_propagation/many_users", 3, "NA"),
                                     ("traces_propagation/many_users/recipe_seed0", 57, 54), ("alternatives/tune_decolle", 6, 6)):
        (path := benchmarks / f"{name}.tsv").parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tcpu_time\n{seconds}\t0:01:00\t{processor}\n")
    page = findings.page(findings.read(folder), run="wide", figures="figures")
    for row in ("| features | 1 | 1.0 | 0.5 |", "| base frozen | 2 | 3.0 | 2.0 |", "| many users | 2 | 1.0 | 0.9 |",
                "| bench, tune decolle | 1 | 0.1 | 0.1 |", "| all | 6 | 5.1 | 3.5 |"):
        assert row in page, row


def test_the_page_tells_every_experiment_and_how_to_do_it_again(folder):
    page = findings.page(findings.read(folder), run="wide", figures="figures")
    for wanted in ("## For whom", "### Published budgets, frozen normalisation", "| Our recipe | all clips | 4 × 2 × 2 | +17.5",
                   "kept_hidden 0.5", "| clips of the batch (published) | 1 | +1.2 [+0.5, +2.0]", "whole",
                   "| clips of the batch (published) | 0 | 24 |", "--configfile config/wide.yaml", "22,133 clips", "0.1.0 (abc)"):
        assert wanted in page, wanted
    assert "One base model alone" not in page
    alone = {name: {**of, "seeds": [0]} for name, of in findings.read(folder).items() if of}
    assert "One base model alone" in findings.page(alone, run="wide", figures="figures")
    missing = next(line for line in page.splitlines() if line.startswith("Not measured in this run:"))
    assert "published budgets, each set normalised by itself" in missing and "frozen" not in missing
    assert "None" not in page and "nan" not in page


def test_the_headline_is_of_all_clips_in_whatever_order_they_were_measured(folder):
    found = findings.read(folder)
    shots = found["many_users"]["people"]["traces_propagation"]
    shots["1"] = {**shots["all"], "gain": {"value": 1.0, "ci_low": 0.0, "ci_high": 2.0}}
    assert "all their clips" in findings.sentences(found)[0] and "+12.5" in findings.sentences(found)[0]


def test_without_people_there_is_nothing_to_write(tmp_path):
    with pytest.raises(UserError, match="no metrics of many people"):
        findings.read(tmp_path)


def test_what_a_user_can_expect_is_the_tuned_recipe(folder):
    found = findings.read(folder)
    assert findings.expected(found)["shots"]["all"]["gain"]["value"] == pytest.approx(17.5)
    del found["many_users_tuned"]
    assert findings.expected(found) is None


def test_sentences_go_between_the_marks_of_a_file(tmp_path):
    mark = "<!-- people: written by `edgekws traces-propagation findings` -->"
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{mark}\nold\n<!-- people: end -->\nafter\n")
    for _ in range(2):
        files.write_between(readme, findings.BEGIN, findings.END, "* new", what="findings")
        assert readme.read_text() == f"before\n{mark}\n* new\n<!-- people: end -->\nafter\n"
    readme.write_text("nothing")
    with pytest.raises(UserError, match="no place for the findings"):
        files.write_between(readme, findings.BEGIN, findings.END, "* new", what="findings")
