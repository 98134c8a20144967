"""Open wake words: who said what, and never a copy of a take."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.corpus import open_word_trees as trees

from edgekws.core.errors import UserError
from edgekws.corpus import open_words


@pytest.fixture
def clone(tmp_path):
    return trees.picovoice(tmp_path)


def indexed(recordings, speakers, *speech):
    return open_words.build_index(Path(recordings), speakers=speakers, speech=speech)


# ------------------------------------------------------------------------------------------------ forms
def packed(clone, path, flac=False):
    """The clone as one file; ``flac``: as FLAC, in folders of keywords, as it is handed on."""
    if path.suffix == ".zip":
        return Path(shutil.make_archive(str(path.with_suffix("")), "zip", clone.parent, clone.name))
    with tarfile.open(path, "w") as archive:
        for wav in sorted((clone / "audio").rglob("*/*.wav")):
            inner = wav.relative_to(clone / "audio")
            if flac:
                other = clone.parent / "one.flac"
                soundfile.write(other, soundfile.read(wav, dtype="int16")[0], 16_000)
                archive.add(other, str(inner.with_suffix(".flac")))
            else:
                archive.add(wav, str(Path("clone-1234") / "audio" / inner))
    return path


@pytest.mark.parametrize("form", ["clone", "audio", "zip", "tar", "flac"])
def test_every_form_gives_the_same_takes(tmp_path, clone, form):
    folder, speakers = clone
    wanted, facts = indexed(folder, speakers)
    given = {"clone": lambda: folder, "audio": lambda: folder / "audio", "zip": lambda: packed(folder, tmp_path / "a.zip"),
             "tar": lambda: packed(folder, tmp_path / "a.tar"), "flac": lambda: packed(folder, tmp_path / "b.tar", True)}[form]()
    found, also = indexed(given, speakers)
    columns = ["keyword", "speaker", "sound", "seconds", "positive"]
    assert found[columns].values.tolist() == wanted[columns].values.tolist()
    assert len(found) == 2 * 4 * trees.TAKES and facts["copies"] == also["copies"] == 2
    assert facts["keywords"] == {"jarvis": 40, "view glass": 40} and not facts["synthetic"]
    heard = dict(open_words.read_audio(given, found, speech=[]))
    again = dict(open_words.read_audio(folder, wanted, speech=[]))
    assert all(np.array_equal(heard[label], again[label]) for label in wanted.index)


@pytest.mark.parametrize("suffix", ["flac", "opus"])
def test_librispeech_is_read_as_packed_and_as_a_folder(tmp_path, clone, suffix):
    archive = trees.librispeech(tmp_path, suffix=suffix)
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    table, facts = indexed(*clone, archive)
    other, _ = indexed(*clone, tmp_path / "unpacked" / "LibriSpeech" / "test-clean")
    speech = table[~table.positive]
    assert sorted(set(speech.speaker)) == ["61", "62", "63", "64"] and set(speech.keyword) == {""} and set(speech.archive) == {1}
    assert speech.seconds.tolist() == other[~other.positive].seconds.tolist() == [4.0] * 12
    assert facts["negative_hours"] == {"all": pytest.approx(48 / 3600)} and facts["speech"][0]["name"] == "test-clean.tar.gz"
    label, samples = next(open_words.read_audio(clone[0], speech, speech=[archive]))
    if suffix == "flac":
        assert np.array_equal(np.round(samples * 32768), trees.noise(900_000, 4.0))
    assert label == speech.index[0] and len(samples) == 64_000


def test_a_persons_own_words_need_folders_alone(tmp_path):
    for name in ("me", "you"):
        for number in range(3):
            path = tmp_path / "own" / "Open Sesame" / name / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Stereo at 44.1 kHz, as a phone records it.
            sound = trees.noise(number + 10 * len(name), 2.0).repeat(2)[:88_200]
            soundfile.write(path, np.stack([sound, sound], 1), 44_100)
    soundfile.write(tmp_path / "street.flac", trees.noise(7, 75.0), 16_000)
    table, facts = indexed(tmp_path / "own", None, _folder(tmp_path / "street.flac"))
    own, other = table[table.positive], table[~table.positive]
    assert set(own.keyword) == {"open sesame"} and own.speaker.value_counts().to_dict() == {"me": 3, "you": 3} and own.sound.all()
    # A long recording counts as utterances of ten seconds.
    assert other.seconds.tolist() == [10.0] * 7 + [5.0] and other.start.tolist() == [160_000 * piece for piece in range(8)]
    pieces = [samples for _, samples in open_words.read_audio(tmp_path / "own", other, speech=[tmp_path / "street"])]
    assert np.array_equal(np.round(np.concatenate(pieces) * 32768), trees.noise(7, 75.0))
    assert facts["table"] is None


def _folder(file):
    file.with_suffix("").mkdir()
    return Path(shutil.move(file, file.with_suffix("") / file.name)).parent


# ------------------------------------------------------------------------------------------------ copies
def test_correlation_finds_a_shifted_copy_and_nothing_else():
    takes = [trees.noise(1), trees.shifted(trees.noise(1), 700), trees.noise(2), np.zeros(24_000, np.int16),
             (trees.noise(2) // 2).astype(np.int16)[200:]]
    found = open_words.alike(takes)
    assert found[0, 1] > 0.99 and found[2, 4] > 0.99 and np.array_equal(found, found.T)
    assert max(found[0, 2], found[0, 3], found[1, 2], found[0, 4]) < 0.5


def test_copies_in_a_persons_own_folder_are_left_out(tmp_path):
    folder = tmp_path / "own" / "jarvis" / "me"
    folder.mkdir(parents=True)
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", trees.noise(number), 16_000)
    soundfile.write(folder / "3.wav", trees.shifted(trees.noise(0), 1000), 16_000)
    soundfile.write(folder / "4.flac", trees.noise(1), 16_000)
    table, facts = indexed(tmp_path / "own", None)
    assert table["clip"].tolist() == [f"jarvis/me/{number}.wav" for number in range(3)] and facts["copies"] == 2


def test_a_byte_for_byte_copy_under_another_name_is_left_out_even_if_the_table_does_not_know(clone):
    folder, speakers = clone
    shutil.copy(folder / "audio/jarvis/ann0.wav", folder / "audio/jarvis/zz.wav")
    speakers.write_text(speakers.read_text() + "jarvis/zz.wav,jarvis,ben,0,yes\n")
    table, facts = indexed(folder, speakers)
    assert facts["copies"] == 3 and not table["clip"].str.contains("zz").any()


# ------------------------------------------------------------------------------------------------ what is told
def test_what_the_table_does_not_list_is_told_and_left_out(clone, capsys):
    folder, speakers = clone
    table, facts = indexed(folder, speakers)
    assert facts["unlisted"] == 1 and "multiple_keywords.wav" in capsys.readouterr().err
    assert not table["clip"].str.contains("multiple").any()


def test_damaged_recordings_that_the_table_names_are_not_read(clone):
    folder, speakers = clone
    (folder / "audio/jarvis/ann3.wav").write_bytes(b"RIFF damaged")
    with pytest.raises(UserError, match=r"jarvis/ann3\.wav"):
        indexed(folder, speakers)
    speakers.write_text(speakers.read_text().replace("jarvis/ann3.wav,jarvis,ann,0,yes", "jarvis/ann3.wav,jarvis,ann,0,damaged"))
    assert indexed(folder, speakers)[1]["damaged"] == 1


@pytest.mark.parametrize(("text", "says"), [
    ("file,keyword\n", "has no column 'speaker'"),
    ("file,keyword,speaker\na.wav,a,b\na.flac,a,b\n", r"line 3: names 'a.flac' a second time"),
    ("file,keyword,speaker,sound\na.wav,a,b,maybe\n", "line 2: names no file, or is not of that form"),
    ("file,keyword,speaker\n", "lists no recording")])
def test_a_table_of_another_form_is_refused(tmp_path, text, says):
    (tmp_path / "speakers.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        open_words.read_speakers(tmp_path / "speakers.csv")


def test_another_archive_than_the_indexs_is_refused(tmp_path, clone):
    folder, speakers = clone
    table, _ = indexed(folder, speakers)
    (folder / "audio/jarvis/ben2.wav").unlink()
    with pytest.raises(UserError, match=r"1 recordings of the index are missing.*ben2\.wav"):
        list(open_words.read_audio(folder, table, speech=[]))
    with pytest.raises(UserError, match="holds none of the table's recordings"):
        indexed(_folder(Path(shutil.copy(folder / "audio/multiple_keywords.wav", tmp_path / "x.wav"))), speakers)


def test_the_table_in_the_repository_is_sound():
    said = open_words.read_speakers(Path(__file__).parents[2] / "data" / "open_wake_words" / "speakers.csv")
    takes = {}
    for one in said.values():
        if one.sound and not one.unused:
            takes[one.speaker, one.keyword] = takes.get((one.speaker, one.keyword), 0) + 1
    users = [(speaker, word) for (speaker, word), count in takes.items() if count >= 9]
    assert {word: sum(word == other for _, other in users) for word in ("computer", "jarvis", "view glass")} == {
        "computer": 23, "jarvis": 25, "view glass": 22}
    unused = [one.unused for one in said.values()]
    assert (unused.count("copy"), unused.count("damaged")) == (264, 14)
