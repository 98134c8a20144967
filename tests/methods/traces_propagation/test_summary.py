"""Summing up: hand-made rows with known means."""

import numpy as np
import pandas as pd
import pytest

from edgekws.methods.traces_propagation import summary
from edgekws.protocol.settings import Statistics


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
