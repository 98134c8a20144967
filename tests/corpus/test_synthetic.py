import os
import re
import subprocess
import sys

import numpy as np
import pytest

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import espeak, index, synthetic
from edgekws.corpus.archive import read_members
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.corpus.settings import Synthetic

pytest.importorskip("espeakng_loader")

SMALL = Synthetic.model_validate({"words": ["yes", "no"], "speakers": {"train": 3, "validation": 1, "test": 2},
                                  "takes": 2, "user_takes": 3})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic") / "synthetic.tar"
    synthetic.synthesise(SMALL, 7, path)
    return path


def test_it_reads_back_with_the_intended_splits(corpus):
    table, facts = index.build_index(corpus)
    assert facts["synthetic"]
    assert facts["words"] == ["no", "yes"]
    assert facts["split_disagreements"] == 0
    assert table.groupby("split")["speaker"].nunique().to_dict() == {"train": 3, "validation": 1, "test": 2}
    assert table["split"].value_counts().to_dict() == {"train": 12, "test": 12, "validation": 6}
    assert table["speaker"].map(lambda name: re.fullmatch("[0-9a-f]{8}", name) is not None).all()
    assert not table["silent"].any()
    assert (table["repeat_of"] == "").all()
    assert table["samples"].between(synthetic.LONGEST_WORD, CLIP_SAMPLES).all()


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(corpus, tmp_path):
    for jobs in (1, 2, 5):
        synthetic.synthesise(SMALL, 7, tmp_path / "again.tar", jobs=jobs)
        assert files.sha256_of(tmp_path / "again.tar") == files.sha256_of(corpus)
    synthetic.synthesise(SMALL, 8, tmp_path / "again.tar")
    assert files.sha256_of(tmp_path / "again.tar") != files.sha256_of(corpus)


def test_the_same_seed_gives_the_same_bytes_in_a_process_with_another_past(corpus, tmp_path):
    program = ("import sys; from pathlib import Path; from edgekws.corpus.settings import Synthetic; "
               "from edgekws.corpus.synthetic import synthesise; "
               "synthesise(Synthetic.model_validate_json(sys.argv[1]), 7, Path(sys.argv[2]))")
    subprocess.run([sys.executable, "-c", program, SMALL.model_dump_json(), str(tmp_path / "again.tar")], check=True,
                   env={**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"})
    assert files.sha256_of(tmp_path / "again.tar") == files.sha256_of(corpus)


def test_the_compressed_archive_holds_the_same_and_no_time(corpus, tmp_path):
    compressed = tmp_path / "synthetic.tar.gz"
    synthetic.synthesise(SMALL, 7, compressed)
    assert list(read_members(compressed)) == list(read_members(corpus))
    assert compressed.read_bytes()[4:8] == bytes(4)


def test_every_clip_holds_a_word_and_not_noise_alone(corpus):
    table, _ = index.build_index(corpus)
    for _, samples in index.iter_clips(corpus, table):
        frames = np.square(samples[:len(samples) // 400 * 400].astype(float).reshape(-1, 400)).mean(1)
        assert frames.max() > 5 * np.quantile(frames, 0.1)


def test_users_come_from_voices_that_no_training_speaker_has():
    assert not set(synthetic.TRAINING.variants) & set(synthetic.USERS.variants)
    assert not set(synthetic.TRAINING.accents) & set(synthetic.USERS.accents)


def test_a_speaker_is_the_same_in_any_company():
    one, two = (synthetic.draw_speaker("0a0a0a0a", "test", (10.0, 40.0), 3) for _ in range(2))
    assert one == two
    assert one != synthetic.draw_speaker("0a0a0a0b", "test", (10.0, 40.0), 3)
    assert 10 <= one.snr <= 40


@pytest.mark.parametrize("variant", [*synthetic.TRAINING.variants, *synthetic.USERS.variants])
def test_espeak_knows_the_voice(variant):
    with espeak.espeak_data() as (library, data):
        def say():
            return espeak.Espeak(library, data).say("yes", f"en-us+{variant}", rate=160, pitch=50, intonation=50, seed=1)

        def plain():
            return espeak.Espeak(library, data).say("yes", "en-us", rate=160, pitch=50, intonation=50, seed=1)

        heard, default = espeak.in_children(iter([say, plain]), 2)
    assert heard.shape != default.shape or not np.array_equal(heard, default)


def test_a_long_word_fits_into_its_second(tmp_path):
    words = Synthetic.model_validate({"words": ["incomprehensibilities", "go"], "takes": 1, "user_takes": 1,
                                      "speakers": {"train": 1, "validation": 1, "test": 1}})
    synthetic.synthesise(words, 0, tmp_path / "long.tar")
    table, _ = index.build_index(tmp_path / "long.tar")
    assert len(table) == 6
    assert table["samples"].max() <= CLIP_SAMPLES


@pytest.mark.parametrize("word", ["two words", "../up", "naïve", "r2d2", ""])
def test_refuses_what_cannot_be_a_word(tmp_path, word):
    with pytest.raises(UserError, match="not a word of English letters"):
        synthetic.synthesise(SMALL.model_copy(update={"words": ["yes", word]}), 0, tmp_path / "a.tar")
    assert not list(tmp_path.iterdir())


def test_refuses_a_word_named_twice(tmp_path):
    with pytest.raises(UserError, match="twice"):
        synthetic.synthesise(SMALL.model_copy(update={"words": ["yes", "yes"]}), 0, tmp_path / "a.tar")


def test_says_when_espeak_cannot_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="espeak-ng: cannot be loaded") as caught:
        synthetic.synthesise(SMALL, 0, tmp_path / "a.tar")
    assert "pip install" in caught.value.remedy


def test_long_paths_of_the_data_are_no_problem(corpus, tmp_path, monkeypatch):
    import espeakng_loader

    deep = tmp_path / ("deep" * 30) / ("er" * 60)
    deep.mkdir(parents=True)
    (deep / "espeak-ng-data").symlink_to(espeakng_loader.get_data_path())
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(deep / "espeak-ng-data"))
    synthetic.synthesise(SMALL, 7, tmp_path / "again.tar")
    assert files.sha256_of(tmp_path / "again.tar") == files.sha256_of(corpus)


def test_a_child_that_fails_leaves_one_error_and_no_archive(tmp_path, monkeypatch, capfd):
    def broken(*_, **__):
        raise RuntimeError("no voice today")

    monkeypatch.setattr(espeak.Espeak, "say", broken)
    with pytest.raises(UserError, match="stopped with status 1"):
        synthetic.synthesise(SMALL, 0, tmp_path / "a.tar", jobs=2)
    assert "no voice today" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
