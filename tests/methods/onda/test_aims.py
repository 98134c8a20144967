"""What is said of OnDA's aims follows from the metrics: by hand, on made-up people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from tests.methods.onda.test_summary import EVALUATION, row

from edgekws.methods.onda import aims, paired, summary
from edgekws.methods.onda.paired import Arm
from edgekws.protocol.settings import Statistics

PEOPLE = ("ann", "bob", "cho", "dee")
Points = Mapping[tuple[str, float], tuple[float, float]]


def experiment(backbone: str, sizes: Mapping[float, int], points: Points, spread: float = 0.0) -> dict[str, Any]:
    """Arms with an accuracy clean and at 10 dB, by schedule and ratio; people differ by ``spread`` in what pruning does."""
    rows = []
    for place, person in enumerate(PEOPLE):
        for (schedule, ratio), (clean, noisy) in points.items():
            off = spread * (place - 1.5) if ratio else 0.0
            made = row(person, schedule, ratio, clean + off, sizes[ratio])
            noise = {"accuracy": noisy + off, "curve": [noisy, noisy], "recall": 1.0, "false_alarms_per_hour": 0.0}
            rows.append({**made, "conditions": {"noise_10": noise}, "hours": 2.1, "labels": {
                "positives": 10, "true_positives": 9, "missed": 21, "negatives": 5, "true_negatives": 5, "discarded": 0}})
    table = pd.DataFrame(rows)
    return {"summary": summary.summarise(table, Statistics(resamples=200), EVALUATION), "rows": table.to_dict("records"),
            "settings": {"statistics": {}, "experiment": {"who": "person"}},
            "encoder": {"backbone": backbone, "parameters": sizes[0.0]},
            "operating_point": {"hours": 2.0, "false_alarms_per_hour": 0.5}}


SIZES = {0.0: 900, 0.5: 250}
SMALL = experiment("ds_cnn_s", {0.0: 200}, {("pretrained", 0.0): (60, 30)})


def test_equal_accuracy_at_a_third_of_the_size_and_above_the_small_encoder_is_reached() -> None:
    large = experiment("ds_cnn_l", SIZES, {("pretrained", 0.0): (80, 40), ("none", 0.0): (82, 50),
                                           ("robust_distilled", 0.5): (82, 51)})
    both = {"l": large, "s": SMALL}
    (gains, *_, shrinks), (missing,) = map(str, aims.aims(both)), aims.missing(both)
    assert "not reached. The most is +10.0 [+10.0, +10.0] by weights only" in gains
    assert "10 dB, DS-CNN-L, one person's own wake word: reached. Nearest" in shrinks and "3.6 times smaller" in shrinks
    assert "+22.0 [+22.0, +22.0] clean against DS-CNN-S as deployed" in shrinks
    assert missing == "ResNet15: not measured in this run."
    assert "fine-tuning: distilled, then robust (ours) at 50 %." in " ".join(aims.sentences(large))


def test_what_stands_in_the_way_is_named() -> None:
    def why(noisy: float, spread: float, small: dict[str, Any] = SMALL) -> str:
        large = experiment("ds_cnn_l", SIZES, {("pretrained", 0.0): (80, 40), ("none", 0.0): (80, 40),
                                               ("onda_1", 0.5): (80, noisy)}, spread)
        return next(str(aim) for aim in aims.aims({"l": large, "s": small}) if aim.aim.startswith("3 times"))

    assert "not reached" in why(20, 0) and "accuracy itself, most of all at 10 dB" in why(20, 0)
    assert "the interval: 4 units do not exclude a loss of 2 points" in why(40, 5)
    other = experiment("ds_cnn_s", {0.0: 200}, {("pretrained", 0.0): (85, 45)})
    assert "the smaller encoder, which needs no pruning" in why(40, 0, other)


def test_a_gain_in_noise_counts_by_its_whole_interval() -> None:
    found = aims.aims({"s": experiment("ds_cnn_s", {0.0: 200}, {
        ("pretrained", 0.0): (60, 30), ("robust", 0.0): (60, 46), ("oracle", 0.0): (90, 90)})})
    assert "reached. The most is +16.0 [+16.0, +16.0] by robust" in str(found[0]), "true labels are no device's"


def test_the_readme_says_in_short_what_adapting_gives_and_what_pruning_costs() -> None:
    large = experiment("ds_cnn_l", SIZES, {("pretrained", 0.0): (80, 40), ("none", 0.0): (82, 50), ("onda_1", 0.5): (70, 20)})
    told, *verdicts = aims.in_short({"l": large})
    assert "fine-tuning on what the device labelled +2.0 [+2.0, +2.0] clean and +10.0" in told
    assert "beside fine-tuning alone: OnDA-1 -12.0 [-12.0, -12.0] clean" in told
    assert [line.partition(": ")[2] for line in verdicts] == [
        f"not reached (DS-CNN-L, one person's own wake word){end}" for end in ".."]


def test_negatives_and_labels_are_told() -> None:
    told = " ".join(aims.sentences(SMALL))
    assert "0.5 false alarms an hour are 1 in the 2.10 h" in told and "labelled 30 % of the wake words" in told
    assert "90 % of what they took for one was one" in told


def test_differences_are_of_the_same_users_and_draws() -> None:
    large = experiment("ds_cnn_l", SIZES, {("pretrained", 0.0): (80, 40), ("onda_1", 0.5): (70, 20)})
    cell = paired.difference(large, Arm("onda_1", 50.0), paired.DEPLOYED, "noise_10", than=SMALL)
    assert cell is not None and (cell["value"], cell["n"]) == (-10.0, 4)
    assert paired.difference(large, Arm("onda_1", 50.0), paired.DEPLOYED, "room") is None
