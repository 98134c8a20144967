import numpy as np
import pandas as pd
import pytest
import torch
from tests.corpus import wake_word_trees as trees

from edgekws.core.errors import UserError
from edgekws.corpus import wake_words
from edgekws.corpus.index import write_index
from edgekws.features.mfcc import mfcc
from edgekws.methods.onda.roles import assign_roles
from edgekws.methods.onda.settings import WakeWindows, WakeWordCorpus
from edgekws.methods.onda.windows import (
    crops_beside,
    extract,
    loudest_second,
    open_windows,
    padded,
    window_mfcc,
)

STRIDE = WakeWindows().stride
CORPUS = WakeWordCorpus(minimum_positives=3)


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


# ------------------------------------------------------------------------------------------------ one utterance
@pytest.mark.parametrize(("samples", "windows"), [(16_000, 17), (1, 17), (17_999, 17), (18_000, 18), (48_000, 33)])
def test_windows_of_an_utterance(samples, windows):
    assert window_mfcc(noise(samples), STRIDE).shape == (windows, 47, 10)


def test_a_window_is_a_second_of_the_padded_utterance():
    sound = noise(20_000)
    found = window_mfcc(sound, STRIDE)
    assert np.allclose(found[8], mfcc(torch.from_numpy(sound[None, :16_000]))[0], atol=1e-4)
    assert np.allclose(found[0], mfcc(torch.zeros(1, 16_000))[0], atol=1e-4)


def test_padding():
    assert [len(padded(noise(samples))) for samples in (1, 16_000, 16_001)] == [48_000, 48_000, 48_001]
    short = noise(5)
    assert np.array_equal(np.flatnonzero(padded(short)), 16_000 + np.flatnonzero(short))


def test_the_loudest_second_begins_at_a_step():
    sound = 0.01 * noise(40_000)
    sound[10_250:26_250] *= 50
    # 10,000 misses the last 250 loud samples, 10,400 the first 150.
    assert np.array_equal(loudest_second(sound, 400), sound[10_400:26_400])
    assert np.array_equal(loudest_second(sound, 1), sound[10_250:26_250])


def test_the_loudest_second_stays_within_the_utterance():
    sound = np.zeros(16_799, np.float32)
    sound[-1] = 1
    assert np.array_equal(loudest_second(sound, 400), sound[:16_000])  # the third place would need 16,800
    assert np.array_equal(loudest_second(sound, 799), sound[799:])
    short = noise(100)
    assert np.array_equal(loudest_second(short, 400), np.pad(short, (0, 15_900)))


# ------------------------------------------------------------------------------------------------ roles
def index_of(rows, name="heysnips_v2"):
    """An index of (split, positive, speaker, seconds)."""
    return pd.DataFrame(rows, columns=["split", "positive", "speaker", "seconds"]), {"name": name, "archive": "a.tar"}


def test_roles():
    rows = [("train", True, "t", 0.5), ("train", False, "t", 2.0), *[("dev", True, "u", 1.0)] * 3, ("dev", True, "u", 0.9),
            ("dev", False, "u", 2.0), ("dev", False, "u", 0.9), *[("test", True, "v", 1.5)] * 2, ("test", True, "v", 0.9),
            ("test", False, "v", 1.0)]
    roles = assign_roles(*index_of(rows), WakeWindows(stream_share=1), CORPUS, seed=0)
    # Of the speaker v one wake word is too short to count, so that two are left.
    assert roles.tolist() == ["stream"] * 2 + ["user"] * 3 + ["", "negative", "", "", "", "", "negative"]


def test_the_stream_is_a_share_of_the_train_split_that_follows_from_the_seed():
    rows = [("train", place % 2 == 0, "t", 2.0) for place in range(100)]
    rows += [*[("dev", True, "u", 1.0)] * 3, ("test", False, "v", 1.0)]
    roles = [assign_roles(*index_of(rows), WakeWindows(), CORPUS, seed=seed) for seed in (0, 0, 1)]
    assert [(each == "stream").sum() for each in roles] == [70] * 3
    assert (roles[0] == roles[1]).all() and (roles[0] != roles[2]).any()
    assert ((roles[0] == "stream") & np.array([row[1] for row in rows])).sum() not in (0, 70)


def test_the_last_speakers_of_heysnapdragon_are_users_and_the_others_are_heard_in_the_stream():
    rows = [("train", False, "t", 2.0), ("test", False, "v", 2.0)]
    rows += [("test", True, speaker, 0.8) for speaker in ("p0", "p1", "p2", "p10") for _ in range(3)]
    index, facts = index_of(rows, "heysnapdragon")
    corpus = CORPUS.model_copy(update={"test_speakers": 2})
    roles = assign_roles(index, facts, WakeWindows(stream_share=1), corpus, seed=0)
    assert roles.tolist() == ["stream", "negative", *["stream"] * 6, *["user"] * 6]
    with pytest.raises(UserError, match=r"there are 4 speakers.*none is left"):
        assign_roles(index, facts, WakeWindows(), corpus.model_copy(update={"test_speakers": 4}), seed=0)


def test_without_a_user_the_error_tells_what_would_do():
    rows = [*[("train", True, "t", 2.0)] * 5, *[("dev", True, "u", 1.0)] * 2, ("test", True, "w", 1.0),
            ("test", False, "v", 1.0)]
    with pytest.raises(UserError, match=r"(?s)the wake word 3 times \(the most: 2\).*minimum_positives to 2 or less"):
        assign_roles(*index_of(rows), WakeWindows(), CORPUS, seed=0)
    with pytest.raises(UserError, match="wake words in its test split"):
        assign_roles(*index_of(rows[:1] + rows[-1:]), WakeWindows(), CORPUS, seed=0)
    with pytest.raises(UserError, match="no other utterance of 1 s"):
        assign_roles(*index_of(rows[:-1]), WakeWindows(), CORPUS, seed=0)


# ------------------------------------------------------------------------------------------------ files
@pytest.fixture
def corpus(tmp_path):
    """An archive in HeySnips' layout and its index: 3, 2 and 2 speakers with 3 wake words and 2 other utterances each."""
    archive = trees.tarred(trees.heysnips(tmp_path / "tree", synthetic=True), tmp_path / "wake.tar")
    index = tmp_path / "wake_words.parquet"
    write_index(index, *wake_words.build_index(archive))
    return archive, index


def test_files_hold_every_window_where_the_table_says(corpus, tmp_path):
    archive, index_path = corpus
    out = tmp_path / "features" / "onda.npy"
    extract(archive, index_path, out, WakeWindows(), CORPUS, seed=0)
    found = open_windows(out)
    table, index = found.table, wake_words.read_index(index_path)[0].set_index("clip")
    assert table["role"].value_counts().to_dict() == {"user": 12, "negative": 8, "stream": 10}  # 0.7 of 15, rounded
    assert found.facts["users"] == 4 and found.facts["settings"]["windows"]["stride"] == found.stride == 2000
    assert found.facts["negative_seconds"] == pytest.approx(4 * 4.5)
    assert found.facts["corpus"]["name"] == "synthetic_wake_words"
    assert table["clip"].tolist() == [clip for clip in index.index if clip in set(table["clip"])]
    # Windows of all utterances, without a gap or an overlap.
    spans = table.sort_values("first")
    assert (spans["first"] == np.cumsum(spans["windows"]) - spans["windows"]).all()
    assert spans["windows"].sum() == len(found.mfcc)

    audio = dict(wake_words.read_audio(archive, index.reset_index()))
    samples = dict(zip(index.index, (audio[label] for label in range(len(index))), strict=True))
    for row in table.itertuples():
        assert np.allclose(found.mfcc[row.first:row.first + row.windows], window_mfcc(samples[row.clip], 2000), atol=1e-5)
        assert (row.crop >= 0) == (row.role == "user")
        if row.crop >= 0:
            assert np.allclose(found.crops[row.crop], mfcc(torch.from_numpy(loudest_second(samples[row.clip], 400)[None]))[0],
                               atol=1e-5)
    assert sorted(table["crop"])[18:] == list(range(12))


def test_same_bytes_again_and_nothing_of_a_person(corpus, tmp_path):
    archive, index_path = corpus
    written = []
    for folder in ("one", "two"):
        out = tmp_path / folder / "onda.npy"
        extract(archive, index_path, out, WakeWindows(stream_share=0.5, stride=4000), CORPUS, seed=3)
        written.append([path.read_bytes() for path in (out, crops_beside(out), out.with_suffix(".parquet"))])
    assert written[0] == written[1]
    assert not any(b"8123450" in content or str(tmp_path).encode() in content for content in written[0])
    assert open_windows(tmp_path / "two" / "onda.npy").table["windows"].min() == 9


def test_snapdragons_windows_come_from_both_archives(tmp_path):
    archive = trees.heysnips(tmp_path / "snips")
    positives = trees.heysnapdragon(tmp_path / "snapdragon")
    index = tmp_path / "index.parquet"
    write_index(index, *wake_words.build_index(archive, positives=positives, salt=tmp_path / "salt"))
    out = tmp_path / "onda.npy"
    extract(archive, index, out, WakeWindows(stream_share=1), CORPUS.model_copy(update={"test_speakers": 2}),
            positives=positives, seed=0)
    table = open_windows(out).table
    counts = table.groupby(["role", "positive"]).size().to_dict()
    assert counts == {("negative", False): 8, ("stream", False): 6, ("stream", True): 9, ("user", True): 6}


def test_nothing_is_left_of_an_extraction_that_fails(corpus, tmp_path):
    archive, index = corpus
    archive.write_bytes(archive.read_bytes()[:60_000])
    out = tmp_path / "features" / "onda.npy"
    with pytest.raises(UserError):
        extract(archive, index, out, WakeWindows(), CORPUS, seed=0)
    assert not any(out.parent.iterdir())


def test_files_that_do_not_belong_together_are_refused(corpus, tmp_path):
    out = tmp_path / "onda.npy"
    extract(*corpus, out, WakeWindows(stride=8000), CORPUS, seed=0)
    whole = out.read_bytes()
    for name, content, message in ((out, whole[:-1880], "readable"), (out, b"", "readable"),
                                   (crops_beside(out), whole, "not the 12 windows")):
        kept = name.read_bytes()
        name.write_bytes(content)
        with pytest.raises(UserError, match=message):
            open_windows(out)
        name.write_bytes(kept)
    out.with_suffix(".parquet").write_bytes(corpus[1].read_bytes())
    with pytest.raises(UserError, match="not the table"):
        open_windows(out)
