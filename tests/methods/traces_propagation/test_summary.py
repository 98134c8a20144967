"""Summing up: hand-made rows with known means."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgekws.corpus.index import KNOWN_ARCHIVES
from edgekws.ledger.schema import CorpusFacts, Uncertainty, read_papers
from edgekws.ledger.verdict import judge
from edgekws.methods.traces_propagation import summary
from edgekws.protocol.settings import OneUser, Statistics
from edgekws.protocol.statistics import Interval, t_half_width

CLAIMS = Path(__file__).parents[3] / "claims"


def test_summary_of_hand_made_rows():
    """Two users, two folds: accuracies pool the folds of a user, the mean weighs users equally."""
    count = {"others_clips": 0, "others_before": 0, "others_after": 0}
    rows = pd.DataFrame([
        {"method": "m", "seed": 0, "user": "a", "split": "test", "fold": 0, "shot": "1", "query_clips": 10,
         "correct_before": 5, "correct_after": 10, "others_clips": 4, "others_before": 4, "others_after": 3},
        {"method": "m", "seed": 0, "user": "a", "split": "test", "fold": 1, "shot": "1", "query_clips": 10,
         "correct_before": 5, "correct_after": 8, **count},
        {"method": "m", "seed": 0, "user": "b", "split": "test", "fold": 0, "shot": "1", "query_clips": 5,
         "correct_before": 5, "correct_after": 4, "others_clips": 4, "others_before": 2, "others_after": 2}])
    users = summary.per_user(rows)
    assert list(users.gain) == [40.0, -20.0] and list(users.forgetting) == [25.0, 0.0]
    cell = summary.summarise(users, Statistics())["m"]["1"]
    assert cell["before"]["value"] == 75 and cell["gain"]["value"] == 10 and cell["gain"]["std"] == 30
    assert cell["users"] == 2 and cell["interval_over"] == "user"


def test_one_user_intervals_are_over_seeds():
    rows = pd.DataFrame([{"method": "m", "seed": seed, "user": "a", "split": "train", "fold": 0, "shot": "all",
                          "query_clips": 100, "correct_before": 80, "correct_after": after, "others_clips": 1,
                          "others_before": 1, "others_after": 1} for seed, after in enumerate((90, 92, 94))])
    cell = summary.summarise(summary.per_user(rows), Statistics())["m"]["all"]
    assert cell["after"]["value"] == 92 and cell["after"]["n"] == 3 and cell["interval_over"] == "seed"
    assert cell["after"]["std"] == pytest.approx(np.std([90, 92, 94]))


def of_splits(correct, *, others=8):
    """Rows of one user: ``correct`` [splits, seeds] of 100 query clips after, 50 before; others in the first split alone."""
    return pd.DataFrame([
        {"method": "m", "seed": seed, "user": "a", "split": "train", "fold": fold, "shot": "all", "query_clips": 100,
         "correct_before": 50, "correct_after": after, "others_clips": 10 * (fold == 0),
         "others_before": others * (fold == 0), "others_after": (others - 1 - seed) * (fold == 0)}
        for fold, seeds in enumerate(correct) for seed, after in enumerate(seeds)])


def test_splits_are_not_added_up_and_widen_the_interval():
    """Splits of 80, 84 and 88 % (all seeds alike but for 1 %): the interval is the splits', about as wide as theirs."""
    users = summary.per_user(of_splits([[79, 81], [83, 85], [87, 89]]), splits=True)
    assert list(users.fold) == [0, 0, 1, 1, 2, 2] and list(users.query_clips) == [100] * 6
    cell = summary.summarise(users, Statistics())["m"]["all"]
    assert cell["interval_over"] == "seed and split" and cell["splits"] == 3 and cell["after"]["n"] == 2
    seeds, splits = t_half_width(np.std([83, 85], ddof=1), 2), t_half_width(4, 3) * np.sqrt(1 + 3)
    assert cell["after"]["ci_high"] - 84 == pytest.approx(np.hypot(seeds, splits))
    assert 84 - cell["after"]["ci_low"] == pytest.approx(np.hypot(seeds, splits))
    assert cell["after"]["std"] == pytest.approx(1), "the paper's: over seeds, on one split"


def test_what_others_lose_is_measured_once_and_stands_in_every_split():
    users = summary.per_user(of_splits([[79, 81], [83, 85]]), splits=True)
    assert list(users.forgetting) == [10, 20, 10, 20]
    one = summary.summarise(summary.per_user(of_splits([[79, 81]]), splits=True), Statistics())["m"]["all"]
    two = summary.summarise(users, Statistics())["m"]["all"]
    assert {name: two["forgetting"][name] for name in Interval._fields} == {
        name: one["forgetting"][name] for name in Interval._fields}
    assert one["interval_over"] == "seed"


def verdicts_of_replications(splits, *, runs=150, worse=0.0):
    """Verdicts on tp-02 where the paper and we have the same speaker, rule and number of seeds, but other splits.

    A clip is got right by a share of the seeds that is its own, so which 74 of 330 clips are asked matters.
    """
    rng = np.random.default_rng(0)
    claim = next(found for paper in read_papers(CLAIMS) for found in paper.claims if found.id == "tp-02")
    corpus = CorpusFacts(archive_sha256=KNOWN_ARCHIVES["speech_commands_v0.02.tar.gz"])

    def measured(right, clips, harm):
        """Correct answers of 10 seeds on the asked clips: each seed has an ability of its own."""
        ability = rng.normal(0, 0.25, (10, 1)) - harm
        return (rng.random((10, len(clips))) < 1 / (1 + np.exp(-(right[clips] + ability)))).sum(1)

    found = []
    for _ in range(runs):
        right = rng.normal(4.5, 3.5, 330)
        theirs = 100 * measured(right, rng.permutation(330)[:74], 0.0) / 74
        paper = claim.model_copy(update={"value": theirs.mean(), "uncertainty": Uncertainty(
            std=theirs.std(), n=10, population=True)})
        rows = pd.DataFrame([
            {"method": "m", "seed": seed, "user": "a", "split": "train", "fold": fold, "shot": "1", "query_clips": 74,
             "correct_before": 0, "correct_after": after, "others_clips": 1, "others_before": 1, "others_after": 1}
            for fold in range(splits) for seed, after in enumerate(measured(right, rng.permutation(330)[:74], worse))])
        cell = summary.summarise(summary.per_user(rows, splits=True), Statistics())["m"]["1"]["after"]
        found.append(judge(paper, Interval(*(cell[name] for name in Interval._fields)), corpus).verdict)
    return {verdict: found.count(verdict) / runs for verdict in set(found)}


def test_a_perfect_replication_on_other_splits_is_rarely_called_not_replicated():
    alone, several = verdicts_of_replications(1), verdicts_of_replications(len(OneUser().split_seeds))
    assert alone["not_replicated"] > 0.25, "the fault: the choice of 74 clips was taken for certain"
    assert several.get("not_replicated", 0) <= 0.1
    assert several["replicated"] > 0.5, "and not merely because nothing could be told"


def test_a_rule_that_is_much_worse_is_still_called_not_replicated():
    assert verdicts_of_replications(len(OneUser().split_seeds), runs=40, worse=4.0).get("not_replicated", 0) > 0.8
