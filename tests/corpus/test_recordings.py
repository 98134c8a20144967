"""A person's recordings: what is used of each, what is said of it, and what is refused."""

import numpy as np
import pytest

from edgekws.core.errors import UserError
from edgekws.corpus import recordings
from edgekws.corpus.audio import decode_wav, encode_wav

RATE = 16_000


def word(seconds=0.6, peak=8_000, seed=0):
    """Something with the swell of a word."""
    n = int(seconds * RATE)
    tone = np.sin(2 * np.pi * 300 * np.arange(n) / RATE + seed) * np.hanning(n)
    return (peak * tone).astype(np.int16)


def quiet(seconds, level=30, seed=0):
    return np.random.default_rng(seed).normal(0, level, int(seconds * RATE)).astype(np.int16)


def take(samples):
    return recordings.take(encode_wav(np.asarray(samples).clip(-32768, 32767).astype(np.int16)), "mine/yes.wav")


def test_a_clip_of_a_second_at_most_stays_as_it_is():
    for samples in (np.concatenate([quiet(0.2), word(), quiet(0.2, seed=1)]), word(0.3)):
        found = take(samples)
        np.testing.assert_array_equal(found.samples, samples)
        assert found.notes == []


@pytest.mark.parametrize("click", [False, True])
def test_a_word_is_found_in_a_long_recording_not_a_click(click):
    samples = np.concatenate([quiet(3), word(0.6, 3_000), quiet(1.4, seed=1)]).astype(float)
    if click:
        samples[100:400] = 32_000 * np.sign(np.sin(np.arange(300)))
    found = take(samples)
    assert len(found.samples) < 1.3 * RATE
    energy, expected = (np.square(each.astype(float)).sum() for each in (found.samples, word(0.6, 3_000)))
    assert energy == pytest.approx(expected, rel=0.05)
    [note] = [note for note in found.notes if "lies at" in note]
    assert "of 5.0 s" in note and note.startswith("the word lies at 3.")


def test_a_long_word_is_one_word():
    found = take(np.concatenate([quiet(0.5), word(1.4), quiet(0.5)]))
    assert any("its loudest second counts" in note for note in found.notes)


@pytest.mark.parametrize(("samples", "what"), [
    (np.zeros(RATE), "silent .all samples are 0"), (word(peak=200), r"silent .its peak is at -44 dB"),
    (word(peak=200) + 6_000, "silent"), (word(0.05), "lasts 0.050 s only"), (np.array([5000]), "lasts 0.000 s only"),
    (np.concatenate([word(), quiet(0.6), word()]), r"2 stretches of speech \(0\.\d–0\.\d s, 1\.\d–1\.\d s\), not one word"),
    (np.concatenate([word(), quiet(0.5)] * 6), "6 stretches of speech .*, …"), (word(4), "3.* s of speech without a pause")])
def test_what_is_no_take_of_a_word_is_refused(samples, what):
    with pytest.raises(UserError, match=what) as caught:
        take(samples)
    assert caught.value.where == "mine/yes.wav" and caught.value.remedy
    assert ("edgekws cut" in caught.value.remedy) == ("speech" in what)


def test_an_offset_is_taken_out_and_told():
    samples = np.concatenate([quiet(0.2), word(), quiet(0.2)])
    found = take(samples.astype(int) + 6_000)
    assert np.abs(found.samples.astype(int) - samples).max() <= abs(samples.mean()) + 1
    assert found.notes == ["had a constant offset of 18 % of full scale, which was taken out"]


def test_clipping_is_told_and_a_loud_recording_is_not_clipped():
    assert take(word(peak=32_767)).notes == []
    [note] = take(word().astype(int) * 12).notes
    assert note.startswith("is clipped (") and "farther" in note


def test_a_recording_of_any_length_is_cut_at_its_pauses(tmp_path):
    path = tmp_path / "takes.wav"
    path.write_bytes(encode_wav(np.concatenate([quiet(1), word(seed=1), quiet(1), word(0.4), quiet(0.5), word(), quiet(1)])))
    pieces = recordings.cut(path, tmp_path / "yes")
    assert [file.name for file, _, _ in pieces] == ["takes_1.wav", "takes_2.wav", "takes_3.wav"]
    assert [start for _, start, _ in pieces] == pytest.approx([1.05, 2.65, 3.55], abs=0.1)
    for file, start, end in pieces:
        piece = file.read_bytes()
        assert len(decode_wav(piece, "")) / RATE == pytest.approx(end - start + 0.25, abs=0.01)
        assert recordings.take(piece, "").notes == []


def test_what_is_said_does_not_depend_on_how_loud_it_is():
    samples = np.concatenate([quiet(1, 10), word(), quiet(1, 10)])
    assert recordings.speech(samples) == recordings.speech(samples // 2)
    assert recordings.loudness(samples) - recordings.loudness(samples // 2) == pytest.approx(6, abs=0.1)
