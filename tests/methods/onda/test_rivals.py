"""What a user could take instead: templates by known answers, the engine by a stand-in, and what both are tested with."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.methods.onda import engine, rivals, templates
from edgekws.methods.onda.settings import Calibration, OnDA, OndaEvaluation
from edgekws.methods.onda.settings import Rivals as Chosen
from edgekws.methods.onda.windows import Windows


def by_hand(template: Any, window: Any, band: int) -> float:
    """The recursion of Sakoe and Chiba, cell by cell."""
    frames = len(template)
    total = np.full((frames, frames), np.inf)
    for row in range(frames):
        for place in range(max(0, row - band), min(frames, row + band + 1)):
            cost = float(np.linalg.norm(template[row] - window[place]))
            ways = [2 * cost] if row == place == 0 else []
            ways += [total[row - 1, place] + cost] if row else []
            ways += [total[row, place - 1] + cost] if place else []
            ways += [total[row - 1, place - 1] + 2 * cost] if row and place else []
            total[row, place] = min(ways)
    return float(total[-1, -1] / (2 * frames))


@pytest.mark.parametrize("band", [0, 2, 9])
def test_distances_are_those_of_the_recursion(band: int) -> None:
    draw = np.random.default_rng(band)
    own, windows = draw.normal(size=(2, 9, 4)).astype(np.float32), draw.normal(size=(5, 9, 4)).astype(np.float32)
    found = templates.warped(own, windows, band)
    assert found == pytest.approx(np.array([[by_hand(a, b, band) for a in own] for b in windows]), rel=1e-5)


def test_a_second_is_nearest_to_itself_however_loud_and_bent_in_time() -> None:
    draw = np.random.default_rng(0)
    word = np.cumsum(draw.normal(size=(47, 10)), 0).astype(np.float32)
    other = np.cumsum(draw.normal(size=(47, 10)), 0).astype(np.float32)
    slower = word[np.minimum(np.arange(47) * 9 // 10, 46)]
    found = templates.warped(templates.normalised(word[None]), templates.normalised(np.stack([3 * word + 5, slower, other])), 8)
    assert found[0, 0] == pytest.approx(0, abs=1e-3) and found[1, 0] < found[2, 0] / 2


def test_an_utterance_is_as_near_as_its_nearest_window() -> None:
    found = np.array([[3, 2], [1, 9], [5, 4], [7, 6]], np.float32)
    assert templates.scores(found, np.array([0, 2])).tolist() == [1, 4]


# ------------------------------------------------------------------------------------------------ the engine
class StandIn(types.ModuleType):
    """Hears a keyword at the sensitivities that its loudness reaches, and names the last of them, as the engine does."""

    KEYWORDS = frozenset({"jarvis"})

    def create(self, *, keywords: list[str], sensitivities: list[float]) -> Any:
        def process(frame: Any) -> int:
            return max((place for place, each in enumerate(sensitivities) if np.abs(frame).max() / 32768 > 1 - each), default=-1)

        return types.SimpleNamespace(process=process)


def test_the_lowest_sensitivity_that_hears_a_word_is_its_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pvporcupine", StandIn("pvporcupine"))
    listen = engine.engines(["jarvis", "view glass"], 5)
    assert set(listen) == {"jarvis"}
    loud = [engine.lowest(np.full(2000, level, np.float32), listen["jarvis"]) for level in (0.0, 0.3, 0.6, 1.0)]
    assert [engine.sensitivities(5)[place] if place >= 0 else None for place in loud] == [None, 0.75, 0.5, 0.25]
    table = pd.DataFrame([(1, "b", "jarvis", 0.75), (3, "d", "jarvis", 0.25)], columns=engine.COLUMNS)
    assert engine.scores(table, "jarvis", 4).tolist() == [np.inf, 0.75, np.inf, 0.25]


def test_an_engine_that_is_absent_another_one_or_knows_no_keyword_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pvporcupine", None)
    with pytest.raises(UserError, match="not installed"):
        engine.engines(["jarvis"], 5)
    later = StandIn("pvporcupine")
    later.PorcupineActivationError = ValueError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pvporcupine", later)
    with pytest.raises(UserError, match="wants an account"):
        engine.engines(["jarvis"], 5)
    monkeypatch.setitem(sys.modules, "pvporcupine", StandIn("pvporcupine"))
    with pytest.raises(UserError, match="a model of none of: computer"):
        engine.engines(["computer"], 5)


# ------------------------------------------------------------------------------------------------ what is asked
@pytest.fixture
def windows() -> Windows:
    """Two people who said a keyword five times, and ten other utterances; windows of noise, but a person's own are alike."""
    draw, rows, crops, mfcc = np.random.default_rng(0), [], [], []
    for speaker in ("ann", "bob"):
        own = np.cumsum(draw.normal(size=(47, 10)), 0)
        for take in range(5):
            rows.append((f"{speaker}{take}", "user", f"{speaker}/jarvis", True, "jarvis", speaker, 2.0, len(crops)))
            crops.append(own)
            mfcc += [draw.normal(size=(8, 47, 10)), [own], draw.normal(size=(8, 47, 10))]
    for other in range(10):
        rows.append((f"other{other}", "negative", "", False, "", f"s{other}", 1800.0, -1))
        mfcc += [np.cumsum(draw.normal(size=(17, 47, 10)), 1)]
    table = pd.DataFrame(rows, columns=["clip", "role", "user", "positive", "keyword", "speaker", "seconds", "crop"])
    table["first"], table["windows"] = 17 * np.arange(len(rows)), 17
    facts = {"settings": {"windows": {"stride": 2000}}, "corpus": {"name": "open"}}
    return Windows(np.concatenate(mfcc).astype(np.float32), np.array(crops, np.float32), table, facts)


def test_everybody_is_tested_as_the_experiment_tests_them(windows: Windows) -> None:
    test = rivals.asked(windows.table, "ann/jarvis", Calibration(recordings=3, negatives=4), seed=1)
    assert len(test.recordings) == 3 and len(test.queries) == 2 and len(test.negatives) == 6 and test.hours == 3
    assert set(windows.table["clip"][np.concatenate([test.recordings, test.queries])]) == {f"ann{take}" for take in range(5)}
    own, others = rivals.template_scores(windows, windows, test, 8)
    assert own.max() < others.min(), "somebody who says the same each time is found"


def test_the_file_has_every_detector_that_knows_the_word_beside_our_arms(windows: Windows, tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "open_condition", lambda features, name: windows)
    heard = [(row, windows.table["clip"][row], "jarvis", 0.5) for row in range(10)]
    files.write_table(engine.beside(tmp_path / "onda.npy", "clean"), pd.DataFrame(heard, columns=engine.COLUMNS), {})
    pairs = [("ann/jarvis", 0), ("bob/jarvis", 0)]
    content = {"experiment": "words", "provenance": {"corpus": windows.facts["corpus"]}, "rows": [
        {"user": user, "seed": seed, "offline": 0.0, "schedule": "pretrained", "ratio": 0.0, "accuracy": 60.0, "conditions": {}}
        for user, seed in pairs], "settings": {
            "statistics": {"resamples": 100}, "experiment": {"conditions": []}, "evaluation": OndaEvaluation().model_dump(),
            "calibration": Calibration(recordings=3, negatives=4).model_dump()}}
    found = rivals.rivals_file(tmp_path / "onda.npy", [content], Chosen(experiments=["words"]), threads=1)
    assert {(row["user"], row["seed"]) for row in found["rows"]} == set(pairs)
    for detector in ("templates", "engine"):
        cell = found["detectors"]["words"][detector]["clean"]
        assert cell["accuracy"]["value"] == 100 and cell["ours_above"]["pretrained"]["value"] == -40
        assert "robust" not in cell["ours_above"]
    elsewhere = {"settings": {"experiment": {"conditions": ["room", "noise"]}}}
    assert rivals.conditions_of(elsewhere, Chosen()) == ["clean", "room", "noise"]
    assert rivals.conditions_of(elsewhere, Chosen(conditions=["noise", "rain"])) == ["clean", "noise"]
    swapped = pd.DataFrame([(0, "bob0", "jarvis", 0.5)], columns=engine.COLUMNS)
    files.write_table(engine.beside(tmp_path / "onda.npy", "clean"), swapped, {})
    with pytest.raises(UserError, match="no table of what an engine heard"):
        rivals.rivals_file(tmp_path / "onda.npy", [content], Chosen(experiments=["words"]), threads=1)


def test_rivals_of_an_experiment_that_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="no experiment 'person'"):
        OnDA(rivals=Chosen(experiments=["person"])).check_for_run()
