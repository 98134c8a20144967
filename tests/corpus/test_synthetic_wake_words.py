import json
import re
import uuid

import numpy as np
import pytest

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import synthetic_wake_words, wake_words
from edgekws.corpus.archive import read_members
from edgekws.corpus.settings import SyntheticWakeWords

pytest.importorskip("espeakng_loader")

SMALL = SyntheticWakeWords.model_validate({
    "speakers": {"train": 3, "dev": 1, "test": 2}, "positives": 2, "user_positives": 4, "stream_hours": 0.012,
    "test_hours": 0.01})
HEY_SNIPS = "hey snips"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("wake_words") / "wake_words.tar"
    synthetic_wake_words.synthesise(SMALL, 7, path)
    return path


@pytest.fixture(scope="module")
def index(corpus):
    return wake_words.build_index(corpus)


# ------------------------------------------------------------------------------------------------ the archive
def test_it_has_heysnips_layout_and_says_what_it_is(corpus):
    members = {name: data for name, data in read_members(corpus) if data is not None}
    assert {name.split("/")[0] for name in members} == {"synthetic_wake_words"}
    manifests = {split: json.loads(members[f"synthetic_wake_words/{split}.json"]) for split in ("train", "dev", "test")}
    items = [item for split in manifests.values() for item in split]
    assert all(set(item) == {"duration", "worker_id", "audio_file_path", "id", "is_hotword"} for item in items)
    assert all(str(uuid.UUID(item["id"])) == item["id"] and uuid.UUID(item["id"]).version == 4 for item in items)
    assert all(item["audio_file_path"] == f"audio_files/{item['id']}.wav" for item in items)
    assert b"No person spoke here" in members["synthetic_wake_words/SYNTHETIC"]
    assert len(members) == len(items) + 3 + 3


def test_every_speaker_says_his_wake_phrases(index):
    table, facts = index
    assert facts["name"] == "synthetic_wake_words" and facts["synthetic"]
    counts = table.groupby(["split", "speaker"])["positive"].sum()
    assert sorted(counts["train"]) == [2] * 3 and sorted(counts["dev"]) == [4] and sorted(counts["test"]) == [4] * 2
    assert (table.groupby("speaker")["split"].nunique() == 1).all()


def test_the_hours_are_met_within_one_utterance(index):
    table, facts = index
    hours = facts["negative_hours"]
    longest = table.loc[~table["positive"], "seconds"].max() / 3600
    assert SMALL.stream_hours <= hours["train"] < SMALL.stream_hours + longest
    assert SMALL.test_hours <= hours["dev"] + hours["test"] < SMALL.test_hours + longest


def test_no_utterance_is_shorter_or_longer_than_meant(index):
    table, _ = index
    assert table.loc[~table["positive"], "seconds"].between(2.0, 9.0).all()
    assert table.loc[table["positive"], "seconds"].between(1.0, 9.0).all()


def test_an_utterance_is_speech_with_quieter_ends_and_no_two_are_alike(tmp_path):
    quiet = SMALL.model_copy(update={"noise_db": (20.0, 30.0), "stream_hours": 0.002, "test_hours": 0.002})
    synthetic_wake_words.synthesise(quiet, 1, tmp_path / "quiet.tar")
    table, _ = wake_words.build_index(tmp_path / "quiet.tar")
    seen = set()
    for _, samples in wake_words.read_audio(tmp_path / "quiet.tar", table):
        energy = np.square(samples[:len(samples) // 800 * 800].reshape(-1, 800)).mean(1)
        assert energy.max() > 10 * max(energy[0], energy[-1])
        seen.add(samples.tobytes())
    assert len(seen) == len(table)


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(corpus, tmp_path):
    for jobs in (2, 5):
        synthetic_wake_words.synthesise(SMALL, 7, tmp_path / "again.tar", jobs=jobs)
        assert files.sha256_of(tmp_path / "again.tar") == files.sha256_of(corpus)
    synthetic_wake_words.synthesise(SMALL, 8, tmp_path / "again.tar")
    assert files.sha256_of(tmp_path / "again.tar") != files.sha256_of(corpus)


def test_bystanders_join_where_the_users_would_speak_too_long():
    many = SMALL.model_copy(update={"test_hours": 1.0})
    parts = synthetic_wake_words._parts(many)
    users = [part for part in parts if part.split != "train"]
    assert len({part.worker for part in parts}) == len(parts) == 3 + 12
    assert sum(part.seconds for part in users) == pytest.approx(3600)
    assert max(part.seconds for part in users) <= synthetic_wake_words.MOST_SPEECH
    assert [part.positives for part in users] == [4] * 3 + [0] * 9
    assert {part.split for part in users if not part.positives} == {"dev", "test"}


# ------------------------------------------------------------------------------------------------ the sentences
@pytest.mark.parametrize("phrase", [HEY_SNIPS, "play music", "hello house", "computer", "the kitchen light"])
def test_a_sentence_never_holds_the_phrase(phrase):
    rng = np.random.default_rng(0)
    alike = synthetic_wake_words.near_misses(phrase)
    joined = phrase.replace(" ", "")
    for _ in range(500):
        text = synthetic_wake_words.sentence(phrase, alike, 0.5, rng)
        assert f" {phrase} " not in f" {re.sub('[^a-z ]', '', text.lower())} "
        assert joined not in re.findall("[a-z]+", text.lower())
        assert "{" not in text


def test_the_sentences_vary():
    rng = np.random.default_rng(1)
    alike = synthetic_wake_words.near_misses(HEY_SNIPS)
    texts = [synthetic_wake_words.sentence(HEY_SNIPS, alike, 0.0, rng) for _ in range(2000)]
    assert len(set(texts)) > 1700
    assert len({word for text in texts for word in synthetic_wake_words.words_of(text)}) > 300
    assert 0.2 < sum(len(re.findall("[.?!]", text)) == 2 for text in texts) / 2000 < 0.4


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_the_share_of_near_misses_is_kept(share):
    rng = np.random.default_rng(2)
    texts = [synthetic_wake_words.sentence(HEY_SNIPS, ["zorp zarp"], share, rng) for _ in range(2000)]
    assert sum("zorp zarp" in text.lower() for text in texts) / 2000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("phrase", [HEY_SNIPS, "computer", "hello my friend", "ada"])
def test_near_misses_are_many_and_never_the_phrase(phrase):
    alike = synthetic_wake_words.near_misses(phrase)
    assert len(alike) >= 6 and len(set(alike)) == len(alike)
    assert not any(synthetic_wake_words.holds(near, phrase) for near in alike)


@pytest.mark.parametrize(("text", "held"), [
    ("Hey, snips!", True), ("I said hey. Snips came", True), ("heys nips", True), ("heysnips", True),
    ("they snips", False), ("hey the snips", False), ("snips hey", False), ("", False)])
def test_a_phrase_is_found_however_its_letters_are_divided(text, held):
    assert synthetic_wake_words.holds(text, HEY_SNIPS) is held


@pytest.mark.parametrize("phrase", ["hey  snips", "hey snips!", "héy", " ", "r2 d2", "a b c d e f", "'"])
def test_refuses_what_cannot_be_a_phrase(tmp_path, phrase):
    with pytest.raises(UserError, match="not a phrase of one to five English words"):
        synthetic_wake_words.synthesise(SMALL.model_copy(update={"phrase": phrase}), 0, tmp_path / "a.tar")
    assert not list(tmp_path.iterdir())


def test_refuses_a_phrase_that_no_sentence_avoids(monkeypatch):
    monkeypatch.setattr(synthetic_wake_words, "TEMPLATES", ("turn it off in the {room}",))
    with pytest.raises(UserError, match="too many of the ordinary sentences"):
        synthetic_wake_words.sentence("turn it", ["turn at"], 0.0, np.random.default_rng(0))


# ------------------------------------------------------------------------------------------------ one utterance
def test_utterances_survive_the_way_from_process_to_process():
    rng = np.random.default_rng(0)
    clips = [rng.integers(-32768, 32768, size).astype(np.int16) for size in (1, 90_000, 7)]
    for kept in (clips, []):
        back = synthetic_wake_words._unpack(synthetic_wake_words._pack(iter(kept)))
        assert len(back) == len(kept)
        assert all(np.array_equal(one, other) for one, other in zip(back, kept, strict=True))


def test_a_wake_phrase_is_never_spoken_twice_alike(corpus, index):
    table, _ = index
    speaker = table["speaker"][table["split"] == "test"].iloc[0]
    lengths = table.loc[(table["speaker"] == speaker) & table["positive"], "seconds"]
    assert lengths.nunique() > 1
