"""The page of what was found: its numbers are those of the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.methods.onda.test_summary import row

from edgekws.core.errors import UserError
from edgekws.methods.onda import aims, findings, report, summary
from edgekws.methods.onda.settings import OndaEvaluation
from edgekws.protocol.settings import Statistics

EVALUATION = OndaEvaluation(curve=[0.5, 8.0], told=[0.5, 8.0])


@pytest.fixture
def experiment() -> dict[str, Any]:
    rows = pd.DataFrame([row(user, schedule, 0.0, accuracy + add, 1000) for user, add in (("ann", 0), ("bob", 2))
                         for schedule, accuracy in (("pretrained", 96), ("none", 60), ("robust", 80))]
                        + [row("ann", "robust_distilled", 0.5, 70, 300), row("bob", "robust_distilled", 0.5, 74, 300)])
    return {"summary": summary.summarise(rows, Statistics(resamples=200), EVALUATION), "users": ["ann", "bob"], "seeds": [0],
            "rows": rows.to_dict("records"), "encoder": {"backbone": "ds_cnn_s"}, "settings": {"statistics": {}},
            "operating_point": {"hours": 2.1, "false_alarms_per_hour": 0.5, "allowed": 1, "smallest_rate": 0.476, "told": True},
            "calibrations": {"all": 2, "failed": 1, "too_few_labels": 0}, "provenance": {"corpus": {"name": "open", "clips": 9}}}


def test_the_page_has_every_arm_under_every_condition_and_says_what_is_at_its_ceiling(experiment: dict[str, Any]) -> None:
    page = findings.page({"some_words": experiment}, run="open", figures="figures/onda")
    assert "## DS-CNN-S: some words" in page and "2 users (ann, bob)" in page and "1 had no gap" in page
    assert page.count("| distilled, then robust (ours), 50 % | 300 | 0.0 M | 7 | ") == 2
    clean, noise = page.split("### ")[1:3]
    assert clean.startswith("Clean") and "72.0 [46.6, 97.4]" in clean and "-25.0 [-37.7, -12.3]" in clean
    assert noise.startswith("Noise") and "36.0 [23.3, 48.7]" in noise
    assert "pairs of a user and a draw" not in page
    assert "Noise mixed in" not in page
    more = {**experiment, "seeds": [0, 1], "noises": {"noise": ["tap"]}}
    partly = findings.page({"some_words": more}, run="open", figures="figures/onda")
    assert "draws 0, 1 (2 of the 4 pairs of a user and a draw)" in partly
    assert "Noise mixed in, while testing or learning: tap." in partly
    assert "Time and memory were not measured in this run." in partly
    assert findings.ceilings(experiment) == [] and findings.ceilings(experiment, 80.0) == ["clean"]


def test_other_detectors_stand_beside_the_experiment(experiment: dict[str, Any]) -> None:
    def cell(value: float) -> dict[str, Any]:
        return {"value": value, "ci_low": value - 1, "ci_high": value + 1, "n": 2}

    there = {"clean": {"accuracy": cell(99), "ours_above": {"pretrained": cell(-2), "robust": cell(3)}}}
    rivals = {"detectors": {"some_words": {"templates": there}}, "provenance": {"code": "1.0"}}
    page = findings.page({"some_words": experiment}, run="open", figures="figures", rivals=rivals)
    assert "| nearest template (DTW) | clean | 99.0 [98.0, 100.0] | -2.0 [-3.0, -1.0] | +3.0 [+2.0, +4.0] |" in page
    short = list(aims.instead({"some_words": experiment}, rivals))
    assert len(short) == 1 and "nearest template (DTW) finds 99.0 [98.0, 100.0] % clean" in short[0]
    assert "were not measured" in findings.page({"some_words": experiment}, run="open", figures="figures")


def test_the_report_has_a_table_for_each_condition_where_there_are_several(experiment: dict[str, Any]) -> None:
    tables = report.conditions(experiment)
    assert list(tables) == ["clean", "noise"] and len(tables["noise"]) == 4
    for arms in experiment["summary"].values():
        for ratios in arms.values():
            for cell in ratios.values():
                del cell["conditions"]["noise"]
    assert report.conditions(experiment) == {}


def test_the_figure_is_drawn(experiment: dict[str, Any], tmp_path: Path) -> None:
    findings.draw({"some_words": experiment}, tmp_path)
    assert (tmp_path / "onda_conditions.png").stat().st_size > 5000


def test_a_folder_without_experiments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no experiment"):
        findings.read(tmp_path)
