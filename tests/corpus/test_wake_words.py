import hashlib
import json
import re
import struct

import numpy as np
import pytest
from tests.corpus.wake_word_trees import V1, V2, burst, heysnapdragon, heysnips, tarred, zipped

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import salt, wake_words
from edgekws.corpus.audio import encode_wav
from edgekws.corpus.index import write_index


@pytest.fixture
def tree(tmp_path):
    return heysnips(tmp_path / "unpacked")


def change(tree, split, edit):
    """Apply ``edit`` to a manifest's list."""
    path = tree / f"{split}.json"
    items = json.loads(path.read_text())
    path.write_text(json.dumps(edit(items) or items))


def audio_of(tree, item):
    return tree / json.loads((tree / "train.json").read_text())[item]["audio_file_path"]


# ------------------------------------------------------------------------------------------------ HeySnips
@pytest.mark.parametrize(("root", "name"), [(V1, "heysnips_v1"), (V2, "heysnips_v2")])
def test_lists_the_manifests_in_order(tmp_path, root, name):
    table, facts = wake_words.build_index(heysnips(tmp_path, root=root), salt=tmp_path / "salt")
    assert list(table.columns) == ["clip", "split", "row", "positive", "speaker", "seconds"]
    assert table["split"].tolist() == ["train"] * 15 + ["dev"] * 10 + ["test"] * 10
    assert table["row"].tolist() == [*range(15), *range(10), *range(10)]
    assert table["positive"].tolist() == [True, True, True, False, False] * 7
    assert table["seconds"].tolist() == pytest.approx([1.2, 1.3, 1.4, 2.0, 2.5] * 7)
    assert table["clip"].is_unique and table["clip"].str.fullmatch("[0-9a-f]{16}").all()
    assert table["speaker"].str.fullmatch("[0-9a-f]{12}").all()
    assert (table.groupby("speaker").size() == 5).all()
    assert (facts["name"], facts["synthetic"], facts["archive"]) == (name, False, root)
    assert (facts["clips"], facts["speakers"], facts["positives"]) == (35, 7, 21)
    assert facts["negative_hours"] == pytest.approx({"train": 13.5 / 3600, "dev": 9 / 3600, "test": 9 / 3600})


def test_reads_the_same_from_folder_parent_and_archives(tree, tmp_path):
    archives = [tree, tree.parent, tarred(tree, tmp_path / "a.tar"), tarred(tree, tmp_path / "b.tar.gz"),
                tarred(tree, tmp_path / "c.tar", manifests_last=True)]
    tables = [wake_words.build_index(archive, salt=tmp_path / "salt")[0] for archive in archives]
    assert all(table.equals(tables[0]) for table in tables)
    for archive in archives:
        heard = dict(wake_words.read_audio(archive, tables[0]))
        assert sorted(heard) == list(range(35))
        for row, samples in heard.items():
            positive, seconds = tables[0].loc[row, ["positive", "seconds"]]
            assert samples.dtype == np.float32
            np.testing.assert_array_equal(samples, burst(seconds, 440 if positive else 880) / np.float32(32768))


def test_an_archives_checksum_is_its_files(tree, tmp_path):
    archive = tarred(tree, tmp_path / "a.tar")
    _, facts = wake_words.build_index(archive)
    assert facts["archive_sha256"] == files.sha256_of(archive)
    assert facts["archive"] == "a.tar"


def test_reads_only_the_rows_asked_for_under_their_labels(tree, tmp_path):
    table, _ = wake_words.build_index(tree, salt=tmp_path / "salt")
    some = table[table["positive"]].iloc[[4, 11, 2]]
    assert {label for label, _ in wake_words.read_audio(tree, some)} == set(some.index)
    assert not list(wake_words.read_audio(tree, table.iloc[:0]))


def test_a_marker_says_that_no_person_spoke_and_the_salt_is_public(tmp_path):
    tree = heysnips(tmp_path, root="anything", synthetic=True)
    table, facts = wake_words.build_index(tree)
    assert facts["name"] == "synthetic_wake_words" and facts["synthetic"]
    assert not list(tmp_path.glob("*.salt"))
    worker = hashlib.sha256(f"{wake_words.PUBLIC_SALT}812345001".encode()).hexdigest()
    assert table["speaker"][0] == worker[:12]


def test_worker_ids_may_be_numbers_or_texts(tree, tmp_path):
    before, _ = wake_words.build_index(tree, salt=tmp_path / "salt")
    change(tree, "train", lambda items: [{**item, "worker_id": str(item["worker_id"])} for item in items])
    after, _ = wake_words.build_index(tree, salt=tmp_path / "salt")
    assert after.equals(before)


def test_an_unnamed_file_is_left_out_and_told(tree, tmp_path, capsys):
    (tree / "audio_files" / "stray.wav").write_bytes(b"nonsense")
    assert wake_words.build_index(tree, salt=tmp_path / "salt")[1]["clips"] == 35
    assert "1 recordings are in no manifest and are left out, the first being 'audio_files/stray.wav'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ what is kept of a person
def test_the_index_hides_ids_and_names(tree, tmp_path):
    table, facts = wake_words.build_index(tree, salt=tmp_path / "salt")
    write_index(tmp_path / "index.parquet", table, facts)
    written = (tmp_path / "index.parquet").read_bytes()
    for split in ("train", "dev", "test"):
        for item in json.loads((tree / f"{split}.json").read_text()):
            assert item["id"].encode() not in written
            assert str(item["worker_id"]).encode() not in written
            assert struct.pack("<q", item["worker_id"]) not in written
    secret = (tmp_path / "salt").read_text().strip()
    assert secret.encode() not in written
    assert table["clip"][0] == hashlib.sha256((secret + json.loads((tree / "train.json").read_text())[0]["id"]).encode()
                                              ).hexdigest()[:16]
    assert wake_words.read_index(tmp_path / "index.parquet")[1] == facts
    assert wake_words.read_index(tmp_path / "index.parquet")[0].equals(table)


def test_the_salt_is_drawn_once_and_is_its_owners_alone(tree):
    table, _ = wake_words.build_index(tree)
    salt = tree.with_name(f"{V2}.salt")
    assert re.fullmatch("[0-9a-f]{64}\n", salt.read_text()) and salt.stat().st_mode & 0o777 == 0o600
    again, _ = wake_words.build_index(tree)
    assert again.equals(table)
    salt.unlink()
    other, _ = wake_words.build_index(tree)
    assert not set(other["speaker"]) & set(table["speaker"]) and not set(other["clip"]) & set(table["clip"])


def test_refuses_a_salt_that_is_none(tmp_path):
    (tmp_path / "salt").write_text("pepper\n")
    with pytest.raises(UserError, match="not a salt"):
        salt.read_salt(tmp_path / "salt")
    assert (tmp_path / "salt").read_text() == "pepper\n"


def test_refuses_another_table_as_index(tmp_path):
    pandas = pytest.importorskip("pandas")
    files.write_table(tmp_path / "other.parquet", pandas.DataFrame({"positive": [True]}), {"clips": 1})
    with pytest.raises(UserError, match="not the index of a wake-word corpus"):
        wake_words.read_index(tmp_path / "other.parquet")


# ------------------------------------------------------------------------------------------------ bad manifests
@pytest.mark.parametrize(("field", "value", "what"), [
    ("id", None, "has no 'id'"),
    ("id", 5, "'id' is not a text"),
    ("id", "", "'id' is not a text"),
    ("is_hotword", None, "has no 'is_hotword'"),
    ("is_hotword", 2, "'is_hotword' is not 0 or 1"),
    ("is_hotword", True, "'is_hotword' is not 0 or 1"),
    ("is_hotword", "1", "'is_hotword' is not 0 or 1"),
    ("worker_id", None, "has no 'worker_id'"),
    ("worker_id", 1.5, "'worker_id' is not a number or a text"),
    ("worker_id", [1], "'worker_id' is not a number or a text"),
    ("duration", None, "has no 'duration'"),
    ("duration", 0, "'duration' is not a number of seconds above 0"),
    ("duration", "1.2", "'duration' is not a number of seconds above 0"),
    ("duration", float("nan"), "'duration' is not a number of seconds above 0"),
    ("duration", float("inf"), "'duration' is not a number of seconds above 0"),
    ("duration", 10**400, "'duration' is not a number of seconds above 0, an hour at most"),
    ("duration", 1e308, "'duration' is not a number of seconds above 0, an hour at most"),
    ("id", "\ud800", "'id' is not a text"),
    ("worker_id", "a\udfff", "'worker_id' is not a number or a text"),
    ("audio_file_path", "audio_files/\ud800.wav", "'audio_file_path' is not the path"),
    ("audio_file_path", None, "has no 'audio_file_path'"),
    ("audio_file_path", 1, "'audio_file_path' is not the path"),
    ("audio_file_path", "/etc/passwd.wav", "'audio_file_path' is not the path"),
    ("audio_file_path", "../a.wav", "'audio_file_path' is not the path"),
    ("audio_file_path", "audio_files\\a.wav", "'audio_file_path' is not the path"),
    ("audio_file_path", "audio_files/a.mp3", "'audio_file_path' is not the path"),
])
def test_names_the_item_and_field_that_are_wrong(tree, tmp_path, field, value, what):
    def edit(items):
        items[3][field] = value
        if value is None:
            del items[3][field]

    change(tree, "dev", edit)
    with pytest.raises(UserError, match=what) as caught:
        wake_words.build_index(tree, salt=tmp_path / "salt")
    assert caught.value.where == f"{tree}: dev.json, item 3"
    assert not (tmp_path / "salt").exists()


@pytest.mark.parametrize(("text", "what", "where"), [
    ('{"id": "a"}', "not a list", "dev.json"), ("[1,", "not valid JSON", "dev.json"),
    ("[1]", "not an object", "dev.json, item 0"), ("\xff", "not valid JSON", "dev.json")])
def test_refuses_what_is_no_manifest(tree, text, what, where):
    (tree / "dev.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=what) as caught:
        wake_words.build_index(tree)
    assert caught.value.where == f"{tree}: {where}"


@pytest.mark.parametrize(("field", "what"), [("id", "has the id of item 1 of train.json"),
                                             ("audio_file_path", "has the audio file of item 1 of train.json")])
def test_refuses_an_item_that_is_there_twice(tree, field, what):
    first = json.loads((tree / "train.json").read_text())[1][field]
    change(tree, "test", lambda items: items[4].update({field: first}))
    with pytest.raises(UserError, match=what) as caught:
        wake_words.build_index(tree)
    assert caught.value.where == f"{tree}: test.json, item 4"


def test_refuses_fewer_than_three_manifests(tree, tmp_path):
    (tree / "test.json").unlink()
    for archive in (tree, tarred(tree, tmp_path / "a.tar")):
        with pytest.raises(UserError, match=r"lacks test\.json"):
            wake_words.build_index(archive)


def test_refuses_another_root_folder(tmp_path):
    tree = heysnips(tmp_path, root="hey_snaps")
    for archive in (tree, tarred(tree, tmp_path / "a.tar")):
        with pytest.raises(UserError, match="another root folder") as caught:
            wake_words.build_index(archive)
        assert V2 in caught.value.remedy


def test_refuses_what_is_not_there_or_is_empty(tmp_path):
    with pytest.raises(UserError, match="no such archive"):
        wake_words.build_index(tmp_path / "none.tar")
    with pytest.raises(UserError, match="holds no HeySnips corpus"):
        wake_words.build_index(tmp_path)


# ------------------------------------------------------------------------------------------------ bad recordings
def test_counts_the_recordings_that_are_missing(tree):
    first, second = audio_of(tree, 2), audio_of(tree, 5)
    first.unlink()
    second.unlink()
    with pytest.raises(UserError, match=f"lacks 2 of the 35 recordings, the first being 'audio_files/{first.name}'"):
        wake_words.build_index(tree)


@pytest.mark.parametrize(("damage", "what"), [
    (lambda wav: wav[:-10], "truncated"),
    (lambda wav: b"", "0 bytes"),
    (lambda wav: encode_wav(np.zeros(0, np.int16)), "no audio"),
    (lambda wav: wav[:24] + struct.pack("<I", 8000) + wav[28:], "8000 Hz"),
    (lambda wav: wav[:22] + struct.pack("<H", 2) + wav[24:], "2 channels"),
])
def test_names_the_recording_that_cannot_be_read(tree, damage, what):
    path = audio_of(tree, 6)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=what) as caught:
        wake_words.build_index(tree)
    assert caught.value.where == f"{tree}: audio_files/{path.name}"


@pytest.mark.parametrize(("difference", "refused"), [(0.09, False), (-0.09, False), (0.12, True), (-0.12, True)])
def test_the_recording_lasts_as_long_as_its_manifest_says(tree, tmp_path, difference, refused):
    change(tree, "train", lambda items: items[0].update({"duration": 1.2 + difference}))
    if refused:
        with pytest.raises(UserError, match=r"'duration' is 1\.\d\d s, but .* lasts 1\.20 s") as caught:
            wake_words.build_index(tree)
        assert caught.value.where == f"{tree}: train.json, item 0"
    else:
        table, _ = wake_words.build_index(tree, salt=tmp_path / "salt")
        assert table["seconds"][0] == 1.2 + difference


def test_reading_notices_a_corpus_that_has_changed(tree, tmp_path):
    table, _ = wake_words.build_index(tree, salt=tmp_path / "salt")
    path = audio_of(tree, 1)
    path.write_bytes(encode_wav(burst(2.0)))
    with pytest.raises(UserError, match=r"lasts 2\.00 s, not 1\.30 s"):
        list(wake_words.read_audio(tree, table))
    path.unlink()
    with pytest.raises(UserError, match="1 recordings of the index are missing"):
        list(wake_words.read_audio(tree, table))
    change(tree, "train", lambda items: items[:3])
    with pytest.raises(UserError, match=r"item 3 of train\.json is not the one in the index"):
        list(wake_words.read_audio(tree, table))


# ------------------------------------------------------------------------------------------------ HeySnapdragon
def test_heysnapdragons_positives_come_last_sorted_with_heysnips_negatives(tree, tmp_path):
    dataset = heysnapdragon(tmp_path)
    ways = [dataset, dataset.parent, dataset / "hey_snapdragon", zipped(dataset, tmp_path / "q.zip")]
    read = [wake_words.build_index(tree, positives=way, salt=tmp_path / "salt") for way in ways]
    table, facts = read[0]
    assert all(other.equals(table) and f["positives_sha256"] == facts["positives_sha256"] for other, f in read)
    assert (facts["name"], facts["negatives"], facts["synthetic"]) == ("heysnapdragon", "heysnips_v2", False)
    assert (facts["clips"], facts["positives"]) == (14 + 15, 15)
    positives = table[table["positive"]]
    assert positives.index.tolist() == list(range(14, 29))
    assert positives["row"].tolist() == list(range(15)) and (positives["split"] == "test").all()
    assert (positives["seconds"] == 1.5).all()
    assert [len(group) for _, group in positives.groupby("speaker", sort=False)] == [3] * 5
    for way in ways:
        heard = dict(wake_words.read_audio(tree, table, positives=way))
        assert sorted(heard) == list(range(29))
        for speaker in range(5):
            for take in range(3):
                np.testing.assert_array_equal(heard[14 + 3 * speaker + take],
                                              burst(1.5, 300 + 10 * speaker + take) / np.float32(32768))


def test_the_index_hides_heysnapdragons_speakers(tree, tmp_path):
    dataset = heysnapdragon(tmp_path)
    for speaker in sorted((dataset / "hey_snapdragon").iterdir()):
        speaker.rename(speaker.with_name(f"jane_{speaker.name}"))
    table, facts = wake_words.build_index(tree, positives=dataset, salt=tmp_path / "salt")
    write_index(tmp_path / "index.parquet", table, facts)
    assert b"jane" not in (tmp_path / "index.parquet").read_bytes()


def test_refuses_bad_positives(tree, tmp_path):
    with pytest.raises(UserError, match="no such archive or folder"):
        wake_words.build_index(tree, positives=tmp_path / "none.zip")
    (tmp_path / "bad.zip").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="damaged, or no zip"):
        wake_words.build_index(tree, positives=tmp_path / "bad.zip")
    with pytest.raises(UserError, match="holds no recording"):
        wake_words.build_index(tree, positives=tree)
    dataset = heysnapdragon(tmp_path)
    (dataset / "hey_snapdragon" / "p1" / "2.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="not audio") as caught:
        wake_words.build_index(tree, positives=dataset)
    assert caught.value.where == f"{dataset}: p1/2.wav"


def test_no_recording_of_heysnapdragon_is_passed_over(tree, tmp_path):
    dataset = heysnapdragon(tmp_path)
    folder = dataset / "hey_snapdragon" / "p1"
    (folder / "2.wav").rename(folder / "2.WAV")
    (folder / "._1.wav").write_bytes(b"left behind")
    assert wake_words.build_index(tree, positives=dataset, salt=tmp_path / "salt")[1]["positives"] == 15
    (folder / "3.m4a").write_bytes(b"nothing to be read")
    with pytest.raises(UserError, match="is not audio") as caught:
        wake_words.build_index(tree, positives=dataset, salt=tmp_path / "salt")
    assert "p1/3.m4a" in str(caught.value.where)


def test_refuses_real_positives_among_synthetic_negatives(tmp_path):
    tree = heysnips(tmp_path, synthetic=True)
    with pytest.raises(UserError, match="is a synthetic corpus"):
        wake_words.build_index(tree, positives=heysnapdragon(tmp_path))
