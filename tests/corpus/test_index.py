import hashlib

import numpy as np
import pandas as pd
import pytest

from edgekws.core.errors import UserError
from edgekws.corpus import index
from edgekws.corpus.audio import encode_wav

# Speakers of the real corpus and the split that its published lists put them into.
TRAIN, VALIDATION, TEST = "c50f55b8", "099d52ad", "022cd682"


def clip(word, speaker, take=0):
    return f"{word}/{speaker}_nohash_{take}.wav"


@pytest.mark.parametrize(("speaker", "split"), [
    (TRAIN, "train"), ("0132a06d", "train"), (VALIDATION, "validation"), (TEST, "test"),
    ("bb05582b", "test"), ("893705bb", "test"), ("f9643d42", "test")])
def test_speakers_are_split_as_published(speaker, split):
    assert index.speaker_split(speaker) == split


def test_the_index_of_a_small_archive(make_archive, sound):
    loud, short, silent = sound(1, peak=16_384), sound(2, 15_999), sound(3, peak=327)
    path = make_archive({
        "README.md": "about", "no/": None, "_background_noise_/": None, "_background_noise_/tap.wav": b"not read",
        clip("yes", TRAIN, 10): loud, clip("yes", TRAIN, 2): short, clip("yes", TEST): silent,
        clip("no", VALIDATION): sound(4), clip("yes", TRAIN, 3): loud, "yes/._hidden.wav": b"", "yes/notes.txt": b""})
    table, facts = index.build_index(path)
    assert table["path"].tolist() == [clip("no", VALIDATION), clip("yes", TEST), clip("yes", TRAIN, 2),
                                      clip("yes", TRAIN, 3), clip("yes", TRAIN, 10)]
    assert table["clip"].tolist() == [0, 1, 2, 3, 4]
    assert table["word"].tolist() == ["no", "yes", "yes", "yes", "yes"]
    assert table["speaker"].tolist() == [VALIDATION, TEST, TRAIN, TRAIN, TRAIN]
    assert table["take"].tolist() == [0, 0, 2, 3, 10]
    assert table["split"].tolist() == ["validation", "test", "train", "train", "train"]
    assert table["samples"].tolist() == [16_000, 16_000, 15_999, 16_000, 16_000]
    assert table["peak"].tolist() == [8_000 / 32_768, 327 / 32_768, 8_000 / 32_768, 0.5, 0.5]
    assert table["silent"].tolist() == [False, True, False, False, False]
    assert table["short"].tolist() == [False, False, True, False, False]
    assert table["repeat_of"].tolist() == ["", "", "", "", clip("yes", TRAIN, 3)]
    assert table["sha256"][4] == hashlib.sha256(loud.tobytes()).hexdigest()
    assert facts == {
        "archive": "corpus.tar", "archive_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "archive_bytes": path.stat().st_size, "clips": 5, "speakers": 3, "words": ["no", "yes"], "synthetic": False,
        "split_disagreements": 0}


def test_the_loudest_negative_sample_is_full_scale(make_archive):
    table, _ = index.build_index(make_archive({clip("yes", TRAIN): np.array([-32_768, 5], np.int16)}))
    assert table["peak"].tolist() == [1.0]


def test_the_index_does_not_depend_on_the_order_of_the_archive(make_archive, sound):
    members = {clip(word, speaker): sound(seed)
               for seed, (word, speaker) in enumerate([("b", TRAIN), ("a", TEST), ("b", TEST), ("a", TRAIN)])}
    one, _ = index.build_index(make_archive(members))
    two, _ = index.build_index(make_archive(dict(reversed(members.items())), "other.tar.gz"))
    pd.testing.assert_frame_equal(one, two)


def test_a_folder_reads_like_an_archive(make_gsc, tmp_path, sound):
    table, _ = index.build_index(make_gsc())
    for number, path in enumerate(clip(w, s, t) for w in ("no", "yes") for s in (TRAIN, VALIDATION, TEST)
                                  for t in (0, 1)):
        (tmp_path / "folder" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / path).write_bytes(encode_wav(sound(number)))
    other, _ = index.build_index(tmp_path / "folder")
    pd.testing.assert_frame_equal(table, other)


def test_words_can_be_chosen(make_gsc):
    path = make_gsc(words=("no", "up", "yes"))
    table, facts = index.build_index(path, words=["yes", "no"])
    assert facts["words"] == ["no", "yes"]
    assert len(table) == facts["clips"] == 12
    with pytest.raises(UserError, match="no word 'yess'") as caught:
        index.build_index(path, words=["yess"])
    assert "'yes'" in caught.value.remedy


def test_an_index_survives_its_file(make_gsc, tmp_path):
    table, facts = index.build_index(make_gsc(SYNTHETIC=b"made by a machine"))
    assert facts["synthetic"]
    index.write_index(tmp_path / "index.parquet", table, facts)
    again, facts_again = index.read_index(tmp_path / "index.parquet")
    pd.testing.assert_frame_equal(again, table)
    assert facts_again == facts


def test_another_table_is_no_index(tmp_path):
    index.write_index(tmp_path / "a.parquet", pd.DataFrame({"a": [1]}), {})
    with pytest.raises(UserError, match="not the index"):
        index.read_index(tmp_path / "a.parquet")


# ------------------------------------------------------------------------------------------------ splits
def lists(validation, test):
    return {"validation_list.txt": "\n".join(validation) + "\n", "testing_list.txt": "\n".join(test) + "\n"}


def test_lists_that_agree_with_the_speakers_are_taken(make_gsc):
    own = [[clip(word, speaker, take) for word in ("no", "yes") for take in (0, 1)] for speaker in (VALIDATION, TEST)]
    table, facts = index.build_index(make_gsc(**lists(*own)))
    assert table.groupby("split")["speaker"].unique().map(list).to_dict() == {
        "train": [TRAIN], "validation": [VALIDATION], "test": [TEST]}
    assert facts["split_disagreements"] == 0


@pytest.mark.parametrize(("validation", "test", "what"), [
    ([clip("no", TRAIN)], [], r"is in validation_list.txt, but its speaker belongs to the train split"),
    ([], [clip("no", VALIDATION)], r"is in testing_list.txt, but its speaker belongs to the validation split"),
    ([], [], r"is in neither list, but its speaker belongs to the test split"),
    ([clip("no", TEST)], [clip("no", TEST)], r"is in validation_list.txt and testing_list.txt"),
])
def test_lists_that_contradict_the_speakers_are_refused(make_gsc, validation, test, what):
    with pytest.raises(UserError, match=what) as caught:
        index.build_index(make_gsc(words=["no"], takes=1, speakers=(
            [TEST] if "test split" in what or "and" in what else [TRAIN] if "train" in what else [VALIDATION]),
            **lists(validation, test)))
    assert "lists" in caught.value.remedy


def test_upstreams_own_lists_stand_as_published(make_gsc, monkeypatch):
    path = make_gsc(words=["no"], speakers=[TRAIN, TEST], takes=1,
                    **lists([clip("no", TRAIN)], [clip("no", TEST)]))
    monkeypatch.setitem(index.KNOWN_ARCHIVES, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    table, facts = index.build_index(path)
    assert dict(zip(table["speaker"], table["split"], strict=True)) == {TRAIN: "validation", TEST: "test"}
    assert facts["split_disagreements"] == 1


def test_one_list_alone_is_refused(make_gsc):
    with pytest.raises(UserError, match=r"no 'testing_list\.txt'"):
        index.build_index(make_gsc(**{"validation_list.txt": ""}))


# ------------------------------------------------------------------------------------------------ bad archives
@pytest.mark.parametrize("name", ["yes/hello.wav", "yes/_nohash_1.wav", "yes/a_nohash_x.wav", "a_nohash_0.wav",
                                  "speech/yes/a_nohash_0.wav"])
def test_names_out_of_the_scheme_are_refused(make_archive, name, sound):
    with pytest.raises(UserError, match="not of the form") as caught:
        index.build_index(make_archive({clip("yes", TRAIN): sound(), name: sound(1)}))
    assert name in caught.value.what


def test_an_empty_word_folder_is_named(make_gsc):
    with pytest.raises(UserError, match="the word folder 'up' holds no clip") as caught:
        index.build_index(make_gsc(**{"up/": None, "_background_noise_/": None}))
    assert "remove the folder" in caught.value.remedy


def test_an_archive_without_clips_is_refused(make_archive):
    with pytest.raises(UserError, match="holds no clip"):
        index.build_index(make_archive({"README.md": b"nothing here"}))


def test_a_take_that_is_there_twice_is_refused(make_archive, sound):
    with pytest.raises(UserError, match="twice"):
        index.build_index(make_archive({clip("yes", TRAIN, 1): sound(1), clip("yes", TRAIN, "01"): sound(2)}))


def test_a_bad_clip_is_named_with_its_archive(make_archive):
    path = make_archive({clip("yes", TRAIN): b"not a recording"})
    with pytest.raises(UserError, match="is not a WAV file") as caught:
        index.build_index(path)
    assert str(caught.value.where) == f"{path}: {clip('yes', TRAIN)}"


def test_an_impostor_of_an_upstream_archive_is_refused(make_gsc):
    path = make_gsc(name="speech_commands_v0.02.tar.gz")
    with pytest.raises(UserError, match="not the upstream archive of that name"):
        index.build_index(path)


def test_a_checksum_can_be_demanded(make_gsc):
    _, facts = index.build_index(make_gsc())
    index.verify_checksum(facts, facts["archive_sha256"].upper())
    with pytest.raises(UserError, match="not 00ff"):
        index.verify_checksum(facts, "00ff")


# ------------------------------------------------------------------------------------------------ audio of an index
def test_clips_come_with_their_numbers(make_gsc):
    path = make_gsc()
    table, _ = index.build_index(path)
    found = dict(index.iter_clips(path, table))
    assert sorted(found) == table["clip"].tolist()
    for row, samples in found.items():
        assert hashlib.sha256(samples.tobytes()).hexdigest() == table["sha256"][row]


def test_a_part_of_an_index_gives_a_part_of_the_clips(make_gsc):
    path = make_gsc()
    table, _ = index.build_index(path)
    chosen = table[table["word"] == "yes"]
    assert sorted(row for row, _ in index.iter_clips(path, chosen)) == chosen["clip"].tolist()


def test_an_archive_that_changed_since_is_noticed(make_gsc, make_archive, sound):
    table, _ = index.build_index(make_gsc())
    with pytest.raises(UserError, match="lacks 6 of the 12 clips"):
        list(index.iter_clips(make_gsc(words=["no"], name="less.tar"), table))
    swapped = make_archive({clip("no", TRAIN): sound(99)}, "swapped.tar")
    with pytest.raises(UserError, match="has other audio"):
        list(index.iter_clips(swapped, table))


# ------------------------------------------------------------------------------------------------ real speech
@pytest.mark.real_speech
@pytest.mark.slow
def test_the_real_archive(real_archive):
    table, facts = index.build_index(real_archive)
    assert not facts["synthetic"]
    assert facts["split_disagreements"] == 0
    assert table.groupby("speaker")["split"].nunique().max() == 1
    repeats = table[table["repeat_of"] != ""]
    firsts = table.set_index("path").loc[repeats["repeat_of"]]
    assert (firsts["sha256"].to_numpy() == repeats["sha256"].to_numpy()).all()
    assert (firsts["repeat_of"] == "").all()
    if facts["archive_sha256"] == "eebb6747a98270736e844ee6ef33e33c754eb5e7f64788b4fad1e7e5da52eb64":
        assert (facts["clips"], facts["speakers"], len(facts["words"])) == (8_603, 695, 8)
        assert table["split"].value_counts().to_dict() == {"train": 6_907, "validation": 1_060, "test": 636}
        assert len(repeats) == 132
