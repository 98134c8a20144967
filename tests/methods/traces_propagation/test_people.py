"""Gains over people, by hand."""

import pandas as pd
import pytest

from edgekws.methods.traces_propagation import people
from edgekws.protocol.settings import Statistics


def rows(method, before, after, *, seeds=(0,), folds=2, lost=5):
    """Of 20 query clips in each fold so many are right before and after, by user."""
    return [{"method": method, "seed": seed, "user": f"u{user}", "split": "test", "fold": fold, "shot": "all",
             "support_clips": 30, "query_clips": 20, "correct_before": first, "correct_after": last,
             "others_clips": 100, "others_before": 80, "others_after": 80 - lost}
            for seed in seeds for user, (first, last) in enumerate(zip(before, after, strict=True)) for fold in range(folds)]


def test_who_gains_by_hand():
    before, after = [16, 16, 10, 19], [17, 20, 14, 18]  # gains 5, 20, 20, -5 points
    found = people.people(pd.DataFrame(rows("traces_propagation", before, after)), Statistics())["traces_propagation"]["all"]
    assert found["gain"]["value"] == pytest.approx(10) and found["users"] == 4
    assert found["lose"] == 25 and found["reach"] == 50
    assert found["near"]["users"] == 2 and found["near"]["gain"]["value"] == pytest.approx(12.5), "80 % right before"
    assert found["quantiles"]["50"] == pytest.approx(12.5) and found["forgetting"]["value"] == pytest.approx(5)
    assert found["falls"]["same_clips"] == pytest.approx(found["falls"]["other_clips"]), "every fold alike"


def test_methods_are_paired_with_the_published_rule_on_the_tasks_that_both_have():
    published = rows("traces_propagation", [10, 10, 10], [12, 13, 14], folds=2)
    better = rows("recipe", [10, 10, 10], [14, 15, 16], folds=1, lost=1)
    found = people.people(pd.DataFrame(published + better), Statistics())
    beside = found["recipe"]["all"]["against_published"]
    assert beside["gain"]["value"] == pytest.approx(10) and beside["forgetting"]["value"] == pytest.approx(-4)
    assert beside["gain"]["ci_low"] == pytest.approx(10), "the same for every user"
    assert "against_published" not in found["traces_propagation"]["all"]


def test_a_gain_by_chance_does_not_fall_with_the_accuracy_on_other_clips():
    """Users differ in nothing; a fold that was bad before is better after: the same clips say that gain falls."""
    import numpy as np

    draw = np.random.default_rng(0)
    made = [row | {"correct_before": int(draw.binomial(20, 0.7)), "correct_after": int(draw.binomial(20, 0.7))}
            for row in rows("traces_propagation", [0] * 300, [0] * 300)]
    falls = people.people(pd.DataFrame(made), Statistics())["traces_propagation"]["all"]["falls"]
    assert falls["same_clips"] < -0.5 and abs(falls["other_clips"]) < 0.15


def test_one_user_is_nobody_to_compare():
    assert people.people(pd.DataFrame(rows("bptt", [10], [12])), Statistics()) == {}


def test_folds_that_each_seed_takes_others_of_are_averaged():
    made = [row for row in rows("traces_propagation", [10, 10, 10], [12, 13, 14], seeds=(0, 1, 2), folds=3)
            if row["fold"] == (row["seed"] + int(row["user"][1])) % 3]
    frame = people.table(pd.DataFrame(made))
    assert people.cube(frame, "gain").shape == (3, 3, 1)
    cell = people.people(pd.DataFrame(made), Statistics())["traces_propagation"]["all"]
    assert (cell["seeds"], cell["folds"], cell["gain"]["value"]) == (3, 1, pytest.approx(15))


def test_one_fold_of_each_user_is_one_fold_whichever_it_is():
    made = [row for row in rows("traces_propagation", [10, 10, 10], [12, 13, 14], seeds=(0, 1), folds=3)
            if row["fold"] == int(row["user"][1])]
    cell = people.people(pd.DataFrame(made), Statistics())["traces_propagation"]["all"]
    assert cell["folds"] == 1 and cell["gain"]["value"] == pytest.approx(15)
    assert cell["falls"]["other_clips"] is None and cell["components"]["fold"] is None
