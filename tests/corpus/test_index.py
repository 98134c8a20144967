import hashlib
import io
import unicodedata

import numpy as np
import pandas as pd
import pytest
import soundfile

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


@pytest.mark.parametrize("written", [
    lambda text: text.replace("\n", "\r\n").encode(), lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: text.replace("\n", "\r\n").encode("utf-16"), lambda text: text.encode("utf-16-le").join((b"\xff\xfe", b"")),
    lambda text: "".join(f"./{line}\n" for line in text.splitlines()).encode(), lambda text: text.replace("/", "\\").encode(),
    lambda text: unicodedata.normalize("NFD", text).encode(), lambda text: text.replace("\n", "  \n\n").encode()],
    ids=["crlf", "mark", "utf-16", "utf-16-le", "dot", "backslash", "decomposed", "blanks"])
def test_lists_are_read_however_they_were_written(make_archive, sound, capsys, written):
    words = ("für", "turn on")
    members = {clip(word, speaker): sound(seed) for seed, (word, speaker) in enumerate(
        (word, speaker) for word in words for speaker in (TRAIN, VALIDATION, TEST))}
    lists = {name: written("".join(f"{clip(word, speaker)}\n" for word in words))
             for name, speaker in (("validation_list.txt", VALIDATION), ("testing_list.txt", TEST))}
    table, facts = index.build_index(make_archive({**members, **lists}))
    assert set(table["word"]) == set(words) and facts["split_disagreements"] == 0
    assert capsys.readouterr().err == ""


def test_lines_of_a_list_that_match_no_clip_are_told(make_gsc, capsys):
    names = {word: f"{clip(word, VALIDATION)}\n{clip(word, VALIDATION, 1)}\n" for word in ("no", "yes")}
    tests = "".join(clip(word, TEST, take) + "\n" for word in ("no", "yes") for take in (0, 1))
    index.build_index(make_gsc(**{"validation_list.txt": "".join(names.values()) + "up/x_nohash_0.wav\n",
                                  "testing_list.txt": tests}))
    assert "1 of the 5 lines of validation_list.txt match no clip, the first being 'up/x_nohash_0.wav'" in capsys.readouterr().err


def test_a_list_that_is_no_text_is_named(make_gsc):
    with pytest.raises(UserError, match="not text in UTF-8") as caught:
        index.build_index(make_gsc(**{"validation_list.txt": b"\xff\x00\x80", "testing_list.txt": ""}))
    assert "validation_list.txt" in str(caught.value.where)


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
                                  "my/speech/yes/a_nohash_0.wav", "yes/a_nohash_0.wav.wav"])
def test_names_out_of_the_scheme_are_refused(make_archive, name, sound):
    with pytest.raises(UserError, match="not of the form") as caught:
        index.build_index(make_archive({clip("yes", TRAIN): sound(), name: sound(1)}))
    assert name in caught.value.what


def as_format(samples, form):
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=form)
    return file.getvalue()


def test_clips_of_another_suffix_are_not_passed_over(make_archive, sound):
    members = {clip("yes", TRAIN): sound(1), "yes/099d52ad_nohash_0.WAV": encode_wav(sound(2)),
               "yes/022cd682_nohash_0.flac": as_format(sound(3), "FLAC")}
    path = make_archive(members)
    table, _ = index.build_index(path)
    assert sorted(table["path"]) == sorted(members)
    for place, samples in index.iter_clips(path, table):
        np.testing.assert_array_equal(samples, sound({TRAIN: 1, VALIDATION: 2, TEST: 3}[table["speaker"][place]]))


@pytest.mark.parametrize("name", ["yes/a_nohash_1.m4a", "yes/a_nohash_1.AMR", "yes/.a_nohash_1.wav.icloud", "yes/memo.mp3"])
def test_a_recording_that_cannot_be_read_stops_it(make_archive, sound, name):
    with pytest.raises(UserError, match=r"is not audio|not of the form") as caught:
        index.build_index(make_archive({clip("yes", TRAIN): sound(1), name: b"\0\0\0\x20ftypM4A "}))
    assert name in str(caught.value)


def test_an_archive_may_lie_in_one_folder(make_archive, sound):
    members = {clip(word, speaker): sound(seed) for seed, (word, speaker) in enumerate(
        [("no", TRAIN), ("yes", TRAIN), ("yes", TEST), ("no", VALIDATION)])}
    lists = {"validation_list.txt": clip("no", VALIDATION), "testing_list.txt": clip("yes", TEST)}
    everything = {**members, **lists, "_background_noise_/a.wav": b""}
    path = make_archive({f"mine/{name}": content for name, content in everything.items()})
    table, facts = index.build_index(path)
    assert facts["words"] == ["no", "yes"] and facts["split_disagreements"] == 0
    assert len(list(index.iter_clips(path, table))) == 4
    with pytest.raises(UserError, match="different folders"):
        index.build_index(make_archive({f"mine/{clip('yes', TRAIN)}": sound(1), clip("no", TRAIN): sound(2)}))


def test_words_in_two_spellings_are_refused(make_archive, sound):
    with pytest.raises(UserError, match="'Yes' and 'yes' differ in upper and lower case"):
        index.build_index(make_archive({clip("yes", TRAIN): sound(1), clip("Yes", TRAIN): sound(2)}))


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
    with pytest.raises(UserError, match="is not audio") as caught:
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
