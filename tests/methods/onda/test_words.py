import numpy as np
import pytest

from edgekws.core.errors import UserError
from edgekws.corpus.audio import encode_wav
from edgekws.corpus.index import build_index, write_index
from edgekws.methods.onda import words as packing
from edgekws.methods.onda.settings import Pretraining
from edgekws.methods.onda.words import open_words, pack_words, read_sound

TRAIN, HELD_OUT, TEST = ("c50f55b8", "0132a06d"), "099d52ad", "022cd682"  # by the official rule


@pytest.fixture
def packed(tmp_path):
    """A function that packs a GSC archive and opens the result."""
    def pack(archive, **settings):
        table, facts = build_index(archive)
        write_index(tmp_path / "index.parquet", table, facts)
        pack_words(tmp_path / "words.npy", Pretraining(**settings), archive=archive, index=tmp_path / "index.parquet")
        return open_words(tmp_path / "words.npy")

    return pack


@pytest.fixture
def make_mswc(tmp_path, sound):
    """A function that lays out MSWC English: ``make({"train": [(link, word, speaker), ...], "dev": ...})``."""
    def make(clips, *, one_table=False, suffix=".wav", sounds=True):
        folder = tmp_path / "mswc"
        for index, (link, _, _) in enumerate(clip for split in clips.values() for clip in split):
            path = (folder / "clips" / link).with_suffix(suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            if sounds:
                path.write_bytes(encode_wav(sound(index, samples=16_000)))
        header = "LINK,WORD,VALID,SPEAKER,GENDER"
        rows = {split: [f"{link},{word},True,{speaker},NAN" for link, word, speaker in listed] for split, listed in clips.items()}
        if one_table:
            lines = [f"SET,{header}", *(f"{split.upper()},{row}" for split, listed in rows.items() for row in listed)]
            (folder / "en_splits.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        else:
            for split, listed in rows.items():
                (folder / f"en_{split}.csv").write_text("\n".join([header, *listed]) + "\n", encoding="utf-8")
        return folder

    return make


def clips_of(word, count, split="train"):
    return [(f"{word}/common_voice_en_{split}{take}.opus", word, f"{split} speaker {take}") for take in range(count)]


def pack_mswc(folder, out, **settings):
    pack_words(out / "words.npy", Pretraining(words=str(folder), **settings))
    return open_words(out / "words.npy")


# ------------------------------------------------------------------------------------------------ GSC
def test_training_and_validation_clips_are_packed_and_no_others(make_archive, packed, sound):
    loud = sound(1)
    words = packed(make_archive({
        f"no/{TRAIN[0]}_nohash_0.wav": loud, f"no/{TRAIN[1]}_nohash_0.wav": loud,  # a repeat
        f"no/{HELD_OUT}_nohash_0.wav": sound(2), f"yes/{TRAIN[0]}_nohash_0.wav": sound(3, samples=9000),
        f"yes/{TEST}_nohash_0.wav": sound(4), f"yes/{TRAIN[1]}_nohash_0.wav": sound(5, peak=100)}))  # one is silent
    found = {(row.word, row.speaker): (row.split, samples) for row, samples in zip(
        words.table.itertuples(), words.samples, strict=True)}
    said_no = {speaker for word, speaker in found if word == "no"}
    assert len(found) == 3 and HELD_OUT in said_no and len(said_no & set(TRAIN)) == 1
    assert found["no", HELD_OUT][0] == "dev" and np.array_equal(found["no", HELD_OUT][1], sound(2))
    split, short = found["yes", TRAIN[0]]
    assert split == "train" and np.array_equal(short[3500:12_500], sound(3, samples=9000))
    assert not short[:3500].any() and not short[12_500:].any()
    assert words.facts["archive"] == "corpus.tar" and words.samples.dtype == np.int16


def test_waves_have_full_scale_1(make_gsc, packed):
    words = packed(make_gsc())
    assert words.waves(np.array([1, 0])) == pytest.approx(words.samples[[1, 0]] / 32_768)


def test_rows_of_a_word_are_those_of_its_split(make_gsc, packed):
    words = packed(make_gsc(takes=3, speakers=(*TRAIN, HELD_OUT)))
    train, held_out = words.rows_by_word("train", 6), words.rows_by_word("dev", 3)
    assert [len(rows) for rows in train] == [6, 6] and [len(rows) for rows in held_out] == [3, 3]
    assert set(words.table["word"].iloc[train[0]]) == set(words.table["word"].iloc[held_out[0]]) == {"no"}
    assert words.rows_by_word("dev", 4) == []


def test_the_most_frequent_words_are_taken(make_archive, packed, sound):
    counts = {"down": 1, "go": 3, "no": 2, "up": 2}
    words = packed(make_archive({f"{word}/{TRAIN[0]}_nohash_{take}.wav": sound(place * 10 + take)
                                 for place, (word, count) in enumerate(counts.items()) for take in range(count)}), vocabulary=2)
    assert set(words.table["word"]) == {"go", "no"}


def test_one_word_is_too_few(make_gsc, packed):
    with pytest.raises(UserError, match="training clips of 1 words"):
        packed(make_gsc(words=("no",)))


# ------------------------------------------------------------------------------------------------ MSWC
@pytest.mark.parametrize("one_table", [False, True])
def test_mswc_is_packed_from_either_kind_of_table(make_mswc, tmp_path, one_table):
    folder = make_mswc({"train": clips_of("null", 3) + clips_of("often", 4) + clips_of("rare", 1) + clips_of("yes", 5),
                        "dev": clips_of("often", 2, "dev")}, one_table=one_table)
    words = pack_mswc(folder, tmp_path, vocabulary=2)
    assert words.table.groupby(["word", "split"]).size().to_dict() == {
        ("null", "train"): 3, ("often", "train"): 4, ("often", "dev"): 2}
    assert words.table["speaker"].str.fullmatch("[0-9a-f]{12}").all() and words.table["speaker"].nunique() == 6
    assert words.facts["name"] == "mswc_en" and words.facts["clips"] == 9


def test_samples_of_mswc_are_those_of_its_clips(make_mswc, tmp_path, sound):
    folder = make_mswc({"train": clips_of("alpha", 1) + clips_of("beta", 1), "dev": clips_of("alpha", 1, "dev")})
    words = pack_mswc(folder, tmp_path)
    rows = {(row.word, row.split): samples for row, samples in zip(words.table.itertuples(), words.samples, strict=True)}
    for index, clip in enumerate([("alpha", "train"), ("beta", "train"), ("alpha", "dev")]):
        assert np.array_equal(rows[clip], sound(index))


def test_opus_is_read(make_mswc, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    clips = clips_of("alpha", 1) + clips_of("beta", 1)
    folder = make_mswc({"train": clips, "dev": []}, suffix=".opus", sounds=False)
    tone = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000) / 2
    for link, _, _ in clips:
        soundfile.write(folder / "clips" / link, tone, 16_000, format="OGG", subtype="OPUS")
    wave = pack_mswc(folder, tmp_path).waves(np.array([0]))[0]
    spectrum = np.abs(np.fft.rfft(wave[4000:12_000]))
    assert spectrum.argmax() == 250 and np.std(wave[4000:12_000]) == pytest.approx(0.5 / 2**0.5, rel=0.05)


def test_no_more_clips_of_a_word_are_taken_than_the_limit(make_mswc, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MOST_CLIPS", 2)
    folder = make_mswc({"train": clips_of("alpha", 5) + clips_of("beta", 1), "dev": clips_of("alpha", 3, "dev")})
    words = pack_mswc(folder, tmp_path)
    assert words.table.groupby(["word", "split"]).size().to_dict() == {
        ("alpha", "dev"): 2, ("alpha", "train"): 2, ("beta", "train"): 1}


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"mswc: no such folder"):
        pack_mswc(tmp_path / "mswc", tmp_path)


def test_a_missing_table_is_named(make_mswc, tmp_path):
    folder = make_mswc({"train": clips_of("alpha", 1)})
    with pytest.raises(UserError, match=r"en_dev\.csv: no such table of MSWC clips"):
        pack_mswc(folder, tmp_path)


def test_a_missing_column_is_named(make_mswc, tmp_path):
    folder = make_mswc({"train": clips_of("alpha", 1), "dev": []})
    (folder / "en_dev.csv").write_text("LINK,WORD\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"en_dev\.csv: has no column 'SPEAKER'"):
        pack_mswc(folder, tmp_path)


def test_a_missing_clip_is_named_before_anything_is_written(make_mswc, tmp_path):
    folder = make_mswc({"train": clips_of("alpha", 2) + clips_of("beta", 2), "dev": []})
    (folder / "clips/beta/common_voice_en_train1.wav").unlink()
    with pytest.raises(UserError, match=r"clips/beta/common_voice_en_train1\.opus: the tables list this clip"):
        pack_mswc(folder, tmp_path)
    assert not (tmp_path / "words.npy").exists()


def test_a_damaged_clip_is_named_and_nothing_is_left(make_mswc, tmp_path):
    pytest.importorskip("soundfile")
    folder = make_mswc({"train": clips_of("alpha", 2) + clips_of("beta", 2), "dev": []})
    (folder / "clips/beta/common_voice_en_train1.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"beta/common_voice_en_train1\.wav: is not audio"):
        pack_mswc(folder, tmp_path)
    assert not list(tmp_path.glob("*words*"))


# ------------------------------------------------------------------------------------------------ files
def test_sounds_are_brought_to_16_khz_and_one_channel(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    tone = np.sin(2 * np.pi * 1000 * np.arange(24_000) / 48_000)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, 0 * tone], 1), 48_000, subtype="FLOAT")
    found = read_sound(tmp_path / "tone.wav")
    expected = np.sin(2 * np.pi * 1000 * np.arange(8000) / 16_000) / 2
    assert len(found) == 8000 and found[100:-100] == pytest.approx(expected[100:-100], abs=2e-3)


def test_a_table_of_other_words_is_refused(make_gsc, packed, tmp_path):
    packed(make_gsc())
    samples = np.load(tmp_path / "words.npy")
    np.save(tmp_path / "words.npy", samples[:-1])
    with pytest.raises(UserError, match=r"words\.npy: holds int16 of shape"):
        open_words(tmp_path / "words.npy")


def test_a_damaged_file_of_words_is_refused(make_gsc, packed, tmp_path):
    packed(make_gsc())
    (tmp_path / "words.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"words\.npy: is not a readable \.npy file"):
        open_words(tmp_path / "words.npy")
