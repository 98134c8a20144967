"""Summing OnDA up: means over users, paired effects, and the largest compression at equal accuracy, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from edgekws.methods.onda import summary
from edgekws.methods.onda.settings import OndaEvaluation
from edgekws.protocol.settings import Statistics

STATISTICS = Statistics(resamples=500)
EVALUATION = OndaEvaluation(curve=[0.5, 8.0], told=[0.5, 8.0])


def row(user: str, schedule: str, ratio: float, accuracy: float, parameters: int, *, seed: int = 0, offline: float = 0.0,
        why: str = "") -> dict[str, Any]:
    return {"user": user, "seed": seed, "offline": offline, "schedule": schedule, "ratio": ratio, "accuracy": accuracy,
            "recall": accuracy / 2, "false_alarms_per_hour": 1.0, "parameters": parameters,
            "multiply_accumulates": 10 * parameters, "adapted": not why and schedule != "pretrained", "why": why,
            "curve": [accuracy - 10, accuracy], "training": {"steps": 7}, "conditions": {"noise": {
                "accuracy": accuracy / 2, "curve": [accuracy / 4, accuracy / 2], "recall": 30.0, "false_alarms_per_hour": 3.0}}}


def rows_of(accuracies: dict[tuple[str, float], tuple[float, ...]], sizes: dict[tuple[str, float], int],
            offline: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame([row(f"u{user}", schedule, ratio, value, sizes[schedule, ratio], offline=offline)
                         for (schedule, ratio), values in accuracies.items() for user, value in enumerate(values)])


SIZES = {("none", 0.0): 1000, ("onda_1", 0.5): 250, ("onda_1", 0.75): 100, ("onda_2", 0.5): 300, ("pretrained", 0.0): 1000}


def test_means_weigh_users_alike_however_many_seeds_they_have() -> None:
    rows = pd.DataFrame([row("a", "none", 0.0, 90, 1000, seed=0), row("a", "none", 0.0, 80, 1000, seed=1),
                         row("b", "none", 0.0, 45, 1000)])
    cell = summary.summarise(rows, STATISTICS, EVALUATION)["0"]["none"]["0"]
    assert cell["accuracy"]["value"] == 65 and cell["accuracy"]["n"] == 2
    assert cell["curve"] == [55, 65]
    assert (cell["users"], cell["seeds"], cell["not_adapted"]) == (2, 2, 0)


def test_every_condition_is_told_beside_the_clean_one_and_against_the_encoder_as_deployed() -> None:
    rows = rows_of({("pretrained", 0.0): (40, 60), ("robust", 0.0): (80, 90), ("onda_1", 0.5): (90, 90)},
                   {**SIZES, ("robust", 0.0): 1000})
    cell = summary.summarise(rows, STATISTICS, EVALUATION)["0"]["robust"]["0"]
    assert cell["steps"] == 7
    clean, noise = cell["conditions"]["clean"], cell["conditions"]["noise"]
    assert (clean["at"]["0.5"]["value"], clean["at"]["8"]["value"], clean["gain"]["value"]) == (75, 85, 35)
    assert (noise["at"]["0.5"]["value"], noise["at"]["8"]["value"], noise["gain"]["value"]) == (21.25, 42.5, 17.5)
    assert (noise["recall"]["value"], noise["false_alarms_per_hour"]["value"]) == (30, 3)


def test_of_fewer_users_than_draws_the_draws_are_resampled() -> None:
    rows = pd.DataFrame([row(user, "none", 0.0, accuracy, 1000, seed=seed) for user, accuracies in (("a", (50, 60, 70)), (
        "b", (80, 90, 100))) for seed, accuracy in enumerate(accuracies)])
    assert summary.summarise(rows, STATISTICS, EVALUATION)["0"]["none"]["0"]["accuracy"]["n"] == 6
    assert summary.summarise(rows[rows.seed < 2], STATISTICS, EVALUATION)["0"]["none"]["0"]["accuracy"]["n"] == 2


def test_sizes_are_told_against_the_unpruned_encoder() -> None:
    rows = rows_of({("none", 0.0): (90, 90), ("onda_1", 0.5): (90, 90)}, SIZES)
    cell = summary.summarise(rows, STATISTICS, EVALUATION)["0"]["onda_1"]["50"]
    assert cell["compression"] == 4 and cell["fewer_operations"] == 4 and cell["parameters"] == 250


@pytest.mark.parametrize(("slack", "expected"), [(0.0, 1000 / 300), (0.5, 4.0), (5.0, 10.0)])
def test_compression_takes_the_smallest_net_that_keeps_the_accuracy(slack: float, expected: float) -> None:
    rows = rows_of({("none", 0.0): (90, 80), ("onda_1", 0.5): (90, 79.5), ("onda_1", 0.75): (85, 80),
                    ("onda_2", 0.5): (95, 80)}, SIZES)
    found = summary.compression(rows, slack, STATISTICS)
    assert found is not None and found["value"] == pytest.approx(expected)
    assert found["ci_low"] <= found["value"] <= found["ci_high"] and found["n"] == 2


def test_compression_is_one_where_every_pruned_net_loses() -> None:
    rows = rows_of({("none", 0.0): (90, 80), ("onda_1", 0.5): (70, 61)}, SIZES)
    found = summary.compression(rows, 0.0, STATISTICS)
    assert found is not None and (found["value"], found["ci_low"], found["ci_high"]) == (1, 1, 1)
    assert found["arm"] == {"offline": 0.0, "schedule": "none", "ratio": 0.0}


def test_compression_interval_is_of_each_arm_paired_over_users() -> None:
    # Differences of 2, 1, 0 and of 4, 0, -4 points: t of 2 degrees of freedom for 1 - 0.05 / 2 / 2 is 6.205.
    rows = rows_of({("none", 0.0): (80, 81, 82), ("onda_1", 0.5): (82, 82, 82), ("onda_1", 0.75): (84, 81, 78)}, SIZES)
    halves = [6.205 * spread / 3**0.5 for spread in (1, 4)]
    assert halves == pytest.approx([3.58, 14.33], abs=0.01)

    def compression(slack: float) -> tuple[float, ...]:
        found = summary.compression(rows, slack, STATISTICS)
        assert found is not None
        return found["ci_low"], found["value"], found["ci_high"]

    assert compression(0) == (1, 10, 10)
    assert compression(2.57) == (1, 10, 10) and compression(2.59) == (4, 10, 10)
    assert compression(14.32) == (4, 10, 10) and compression(14.34) == (10, 10, 10)
    assert compression(-0.5) == (1, 4, 10)
    assert compression(-4.57) == (1, 1, 10) and compression(-14.34) == (1, 1, 1)


def test_users_who_all_lose_the_same_show_no_compression_and_rule_none_out() -> None:
    rows = rows_of({("none", 0.0): (90, 80), ("onda_1", 0.5): (90, 80), ("onda_1", 0.75): (70, 60)}, SIZES)
    found = summary.compression(rows, 0.0, STATISTICS)
    assert found is not None and (found["ci_low"], found["value"], found["ci_high"]) == (1, 4, 10)


def test_one_user_gives_no_interval() -> None:
    found = summary.compression(rows_of({("none", 0.0): (90,), ("onda_1", 0.5): (91,)}, SIZES), 0.0, STATISTICS)
    assert found is not None and (found["value"], found["ci_low"], found["ci_high"]) == (4, None, None)


def test_the_best_of_many_arms_that_all_lose_is_seldom_taken_for_an_effect() -> None:
    random, sizes = np.random.default_rng(0), {("none", 0.0): 1000} | {("onda_1", 0.1 * arm): 900 - 80 * arm for arm in range(10)}

    def seen() -> bool:
        own = random.normal(90, 3, 10)
        rows = rows_of({arm: tuple(own + (0 if arm == ("none", 0.0) else random.normal(-0.5, 2, 10))) for arm in sizes}, sizes)
        found = summary.compression(rows, 0.0, STATISTICS)
        assert found is not None
        return bool(found["ci_low"] > 1)

    assert sum(seen() for _ in range(60)) <= 3


def test_controls_do_not_count_as_compression_and_missing_baselines_give_none() -> None:
    rows = rows_of({("none", 0.0): (80, 80), ("random_before", 0.75): (90, 90)}, {**SIZES, ("random_before", 0.75): 100})
    found = summary.compression(rows, 0.0, STATISTICS)
    assert found is not None and found["value"] == 1
    assert summary.compression(rows[rows.schedule != "none"], 0.0, STATISTICS) is None


def test_arms_measured_on_some_users_only_do_not_compare() -> None:
    rows = rows_of({("none", 0.0): (80, 80), ("onda_1", 0.75): (90, 90)}, SIZES)
    found = summary.compression(rows.iloc[:-1], 0.0, STATISTICS)
    assert found is not None and found["value"] == 1
    assert summary.compression(rows.iloc[1:], 0.0, STATISTICS) is None, "nor does an unpruned encoder"


def test_effects_are_paired_by_user_seed_and_ratio() -> None:
    rows = rows_of({("pretrained", 0.0): (50, 70), ("none", 0.0): (90, 80), ("onda_1", 0.5): (88, 82),
                    ("onda_1", 0.75): (80, 80), ("onda_2", 0.5): (90, 80)}, SIZES)
    found = summary.effects(rows, STATISTICS)["0"]
    assert found["self_learning"]["mean"]["value"] == 25  # (40 + 10) / 2
    assert found["onda_1_vs_none"]["50"]["value"] == 0 and found["onda_1_vs_none"]["75"]["value"] == -5
    assert found["onda_1_vs_none"]["mean"]["value"] == -2.5
    assert found["onda_1_vs_onda_2"]["50"]["value"] == 0 and "75" not in found["onda_1_vs_onda_2"]
    assert "onda_1_vs_l1_before" not in found


def test_stacking_compares_with_the_same_pruned_encoder() -> None:
    plain = rows_of({("none", 0.0): (90, 90), ("onda_1", 0.5): (60, 60)}, SIZES)
    before = rows_of({("none", 0.0): (88, 86), ("onda_1", 0.5): (87, 86)}, SIZES, offline=0.25)
    found = summary.stacking(pd.concat([plain, before]), STATISTICS)
    assert found["onda_1"]["25"]["50"]["value"] == -0.5 and found["onda_1"]["mean"]["value"] == -0.5
    assert "onda_2" not in found
    assert summary.stacking(plain, STATISTICS) == {}


def test_the_file_does_not_depend_on_the_order_of_jobs_and_counts_who_was_left_out() -> None:
    rows = [row("a", "none", 0.0, 80, 1000), row("b", "none", 0.0, 60, 1000, why="calibration"),
            row("c", "none", 0.0, 70, 1000, why="labels")]
    parts = [{"rows": [each], "settings": {}, "provenance": {}, "operating_point": {}, "encoder": {},
              "screening": None if each["user"] == "c" else {"accuracy": True, "curve": True, "false_alarms_per_hour": False}}
             for each in rows]
    made = [summary.experiment_file("ds_cnn", order, EVALUATION, STATISTICS) for order in (parts, parts[::-1])]
    assert made[0] == made[1]
    assert made[0]["calibrations"] == {"all": 3, "failed": 1, "too_few_labels": 1}
    assert made[0]["users"] == ["a", "b", "c"] and made[0]["screening"] == {
        "looked_at": 2, "accuracy": 2, "curve": 2, "false_alarms_per_hour": 0}


def test_a_persons_keywords_belong_together() -> None:
    rows = pd.DataFrame([row(f"{person}/{word}", "none", 0.0, accuracy, 1000) for person, accuracies in (
        ("ann", (50, 60)), ("bob", (80, 100))) for word, accuracy in zip(("jarvis", "view glass"), accuracies, strict=True)])
    cell = summary.summarise(rows, STATISTICS, EVALUATION)["0"]["none"]["0"]
    assert (cell["accuracy"]["n"], cell["accuracy"]["value"], cell["users"]) == (2, 72.5, 4)


def test_of_a_wake_word_that_anybody_may_say_compression_is_told_over_draws() -> None:
    rows = pd.DataFrame([row("anybody/jarvis", schedule, ratio, accuracy + seed * differs, parameters, seed=seed)
                         for schedule, ratio, accuracy, differs, parameters in (
                             ("none", 0.0, 80, 1.0, 1000), ("onda_1", 0.5, 85, 1.1, 250)) for seed in range(3)])
    found = summary.compression(rows, 0.0, STATISTICS)
    assert found is not None and (found["value"], found["ci_low"], found["ci_high"], found["n"]) == (4.0, 4.0, 4.0, 3)
