"""How much speech a run works on, and the units of work that the rules declare by it."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.workflow.conftest import TINY, Project

from edgekws.config import Config
from edgekws.core.settings import validate
from edgekws.models import encoder
from edgekws.run import speech, workflow

ROOT = Path(__file__).parents[2]


# ------------------------------------------------------------------------------------------------ speech
def test_real_speech_is_as_published_until_it_is_indexed(tmp_path):
    config, index = validate(Config, {"corpus": {"name": "gsc"}}), tmp_path / "index.parquet"
    assert speech.speech_of(config, index) == speech.GSC and speech.GSC.clips == 105_829
    rows = [("yes", "a", "train", "")] * 5 + [("no", "a", "train", "x")] + [("yes", "b", "validation", "")] * 20 + [
        ("no", "c", "test", "")] * 30 + [("no", "d", "test", "")] * 19
    pd.DataFrame(rows, columns=["word", "speaker", "split", "repeat_of"]).to_parquet(index)
    assert speech.speech_of(config, index) == speech.Speech(2, 6, 20, 49, 1, 1, 25.0, 5)


def test_no_more_users_are_counted_than_take_part(tmp_path):
    def found(corpus, index, **many):
        return speech.speech_of(validate(Config, {"corpus": corpus, "protocol": {"many_users": many}}), index)

    index = tmp_path / "index.parquet"
    some = found({"name": "gsc"}, index, users=100)
    assert (some.validators, some.testers) == (100, 100) and some.clips == speech.GSC.clips
    assert found({"name": "gsc"}, index, users=1000) == speech.GSC
    spoken = found({"name": "synthetic"}, index, users=3)
    assert (spoken.validators, spoken.testers) == (3, 3)
    rows = [("yes", f"user{user}", split, "") for split in ("train", "test") for user in range(4) for _ in range(20)]
    pd.DataFrame(rows, columns=["word", "speaker", "split", "repeat_of"]).to_parquet(index)
    every = found({"name": "gsc"}, index, splits=["train", "test"])
    half = found({"name": "gsc"}, index, splits=["train", "test"], users=2)
    assert (every.testers, every.train) == (8, 0) and (half.testers, half.train) == (4, 40)


def test_synthetic_speech_is_counted_by_its_settings(tmp_path):
    made = {"words": ["a", "b"], "takes": 3, "user_takes": 10, "speakers": {"train": 4, "validation": 1, "test": 2}}
    found = speech.speech_of(validate(Config, {"corpus": {"synthetic": made}}), tmp_path / "none")
    assert found == speech.Speech(2, 24, 20, 40, 1, 2, 20, 6)
    few = speech.speech_of(validate(Config, {"corpus": {"synthetic": made | {"user_takes": 9}}}), tmp_path / "none")
    assert (few.validators, few.testers) == (0, 0), "eighteen takes are too few"


def test_wake_word_speech_grows_with_its_hours():
    one, two = (speech.wake_words_of(validate(Config, {"onda": {"corpus": {"synthetic": {"test_hours": hours}}}}).onda)
                for hours in (4.0, 8.0))
    # An hour of windows 2000 samples apart.
    assert one.test_windows == 4 * 3600 * 8 and two.test_windows == 2 * one.test_windows
    assert two.seconds - one.seconds == 4 * 3600 and two.stream_windows == one.stream_windows
    licensed = speech.wake_words_of(validate(Config, {"onda": {"corpus": {"name": "heysnips", "archive": "given"}}}).onda)
    assert licensed.users == 20 and licensed.stream_windows > one.stream_windows


# ------------------------------------------------------------------------------------------------ units of the workflow's rules
@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A function that plans the tiny run with changed settings: units of all jobs of each rule together."""
    project = Project(tmp_path_factory.mktemp("units") / "project")

    def plan(**changes):
        overlay = project.folder / "changes.yaml"
        overlay.write_text(yaml.safe_dump(changes))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project.folder)
            units = {}
            for job in workflow.plan([TINY, overlay], status=False):
                units[job.rule] = units.get(job.rule, 0) + (job.units or 0)
            return units

    return plan


def test_units_grow_with_the_settings_that_cost(planned):
    before = planned()
    after = planned(seeds=[0, 1], statistics={"resamples": 400}, neuedge={"training": {"epochs": 10}},
                    onda={"pretraining": {"episodes": 8}}, traces_propagation={"base": {"epochs": 3}},
                    alternatives={"tuning": {"learning_rate": [0.1, 0.2]}})
    assert after["neuedge_train"] == 4 * before["neuedge_train"] and after["onda_pretrain"] == 2 * before["onda_pretrain"]
    assert after["traces_propagation_base"] == 6 * before["traces_propagation_base"]
    assert after["alternatives_tune"] == pytest.approx(4 * before["alternatives_tune"], rel=1e-6), "rates, seeds"
    assert after["traces_propagation_adapt"] == 2 * before["traces_propagation_adapt"]
    assert after["neuedge_summarise"] == 4 * before["neuedge_summarise"]
    assert after["index_corpus"] == before["index_corpus"] == 8 * 3 * 2 + 4 * 3 * 4
    assert after["onda_hessian"] == before["onda_hessian"] > 0


def test_users_are_dealt_to_the_parts_of_an_experiment(planned):
    one, two = (planned(onda={"experiments": {"ds_cnn": {"parts": parts}}})["onda_personalise"] for parts in (1, 2))
    assert one < two < 2 * one, "what is done once is done in each part"


def test_encoders_are_weighed_by_their_arithmetic():
    rules = (ROOT / "workflow" / "rules" / "onda.smk").read_text()
    table = re.search(r"^ONDA_WINDOW = (\{.*?\})$", rules, re.MULTILINE | re.DOTALL)
    for name, window in yaml.safe_load(table[1]).items():
        assert int(str(window).replace("_", "")) == encoder.multiply_accumulates(encoder.build(name)), name
