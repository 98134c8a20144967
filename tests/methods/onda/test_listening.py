"""Listening block by block gives what scoring the whole utterance gives; enrolling; recordings that cannot be used."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr
import torch

from edgekws.core.errors import UserError
from edgekws.corpus import stream
from edgekws.corpus.audio import encode_wav
from edgekws.features.mfcc import mfcc
from edgekws.methods.onda import calibration, listening
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.settings import Calibration
from edgekws.methods.onda.windows import padded
from edgekws.models import encoder as encoders

RATE = 16_000


@pytest.fixture(scope="module")
def encoder() -> encoders.Encoder:
    return encoders.build("ds_cnn_s", [16] * 5, seed=3).eval()


def chirp(seconds: float, low: float, high: float, seed: int = 0) -> np.ndarray:
    """A rising tone with a little noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(0, 0.003, len(time))
    return (0.4 * np.sin(2 * np.pi * (low + (high - low) * time / (2 * seconds)) * time) + noise).astype(np.float32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, round(seconds * RATE)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def save(path: Path, net: encoders.Encoder, **word: object) -> Path:
    prototype = Embedder(net).embed(mfcc(torch.from_numpy(chirp(1, 500, 3000)[None])))[0]
    about = {"wake_word": {"prototype": prototype.tolist(), "filter": 1, "stride": 2000, "detection": 0.1, "low": 0.2,
                           "high": 0.5, "gap": 0.3, **word}} if word else {}
    encoders.save_encoder(path, net, "ds_cnn_s", about=about, provenance={})
    return path


def offline(net: encoders.Encoder, samples: np.ndarray, stride: int, length: int) -> torch.Tensor:
    """Filtered distances as personalisation takes them: windows cut out of the padded utterance, all at once."""
    windows = torch.from_numpy(padded(samples)).unfold(0, RATE, stride)
    prototype = Embedder(net).embed(mfcc(torch.from_numpy(chirp(1, 500, 3000)[None])))
    return calibration.filtered(calibration.distances(Embedder(net).embed(mfcc(windows.contiguous())), prototype)[:, 0],
                                  length)


@pytest.mark.parametrize(("seconds", "stride", "length", "block"), [
    (7.3, 2000, 1, 16_000), (7.3, 2000, 3, 7_001), (5.0, 1999, 5, 1_000), (0.4, 2000, 2, 1_000), (1.0, 2000, 4, 80_000),
    (6.1, 20_000, 1, 9_000), (6.1, 2000, 5, 500_000)])
def test_block_by_block_equals_all_at_once(encoder: encoders.Encoder, seconds: float, stride: int, length: int,
                                           block: int) -> None:
    samples = noise(seconds)
    samples[len(samples) // 2:] = chirp(len(samples) / RATE, 500, 3000)[len(samples) // 2:]
    prototype = Embedder(encoder).embed(mfcc(torch.from_numpy(chirp(1, 500, 3000)[None])))
    blocks = [samples[at:at + block] for at in range(0, len(samples), block)]
    found = torch.cat(list(listening.smoothed(listening.distances(Embedder(encoder), prototype, blocks, stride), length)))
    expected = offline(encoder, samples, stride, length)
    assert len(found) == len(expected) == (max(len(samples), RATE) + RATE) // stride + 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_the_smallest_distance_in_a_file_is_its_score(encoder: encoders.Encoder, tmp_path: Path, length: int,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_SECONDS", 12_345 / RATE)
    samples = noise(4)
    path = write(tmp_path / "a.wav", samples)
    found = list(listening.listen(save(tmp_path / "m.safetensors", encoder, filter=length), path, threshold=10))
    assert len(found) == 1  # one run from end to end
    expected = offline(encoder, samples, 2000, length)
    assert found[0].distance == pytest.approx(float(expected.min()), abs=1e-5)
    scores = calibration.utterance_scores(
        offline(encoder, samples, 2000, 1)[:, None], np.array([0]), np.array([len(expected)]), [length])
    assert found[0].distance == pytest.approx(float(scores[0, 0]), abs=1e-5)


@pytest.mark.parametrize("length", [1, 3])
def test_wake_words_are_found_where_they_are(encoder: encoders.Encoder, tmp_path: Path, length: int) -> None:
    samples = np.concatenate([noise(40), chirp(1, 500, 3000), noise(3, 1), chirp(1, 500, 3000), noise(2, 2)])
    model = save(tmp_path / "m.safetensors", encoder, filter=length)
    far, near = (float(offline(encoder, part, 2000, length).min()) for part in (noise(40), samples))
    found = list(listening.listen(model, write(tmp_path / "a.flac", samples), threshold=(far + near) / 2))
    assert [round(detection.time) for detection in found] == [41, 45]
    assert all(detection.time - detection.start == pytest.approx(1) for detection in found)


def test_times_stay_within_the_recording(encoder: encoders.Encoder, tmp_path: Path) -> None:
    model = save(tmp_path / "m.safetensors", encoder, detection=10.0)
    first = list(listening.listen(model, write(tmp_path / "a.wav", noise(0.3))))
    assert len(first) == 1 and 0 <= first[0].start <= first[0].time <= 0.3


def test_a_run_gives_its_first_smallest_value() -> None:
    chunks = [torch.tensor([3.0, 1, 0.5]), torch.tensor([0.5, 1, 2, 2, 0]), torch.tensor([4.0]), torch.tensor([1.0])]
    assert list(listening.minima(chunks, 2)) == [(2, 0.5), (7, 0), (9, 1)]
    assert list(listening.minima(chunks, 0)) == []  # strictly below


def test_after_a_detection_there_is_none_for_a_second(encoder: encoders.Encoder, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.ones(40)
    values[[8, 12, 16, 23, 33]] = 0.0  # at 1, 1.5, 2, 2.875 and 4.125 s
    monkeypatch.setattr(listening, "distances", lambda embedder, prototype, blocks, stride: iter((list(blocks), [values])[1]))
    found = listening.listen(save(tmp_path / "m.safetensors", encoder, detection=0.5), write(tmp_path / "a.wav", noise(4)))
    assert [detection.time for detection in found] == [1, 2, 4]


def test_memory_stays_that_of_a_block() -> None:
    blocks = (np.zeros(8000, np.float32) for _ in range(200))
    pieces = [len(piece) for piece in listening.stretches(blocks, 2000)]
    assert max(pieces) <= 3 * RATE and len(pieces) > 150


@pytest.mark.parametrize(("make", "says"), [
    (lambda path: write(path, noise(0)), "no audio"),
    (lambda path: path.write_bytes(b"no sound"), "is not audio"),
    (lambda path: write(path, np.array([0, np.nan, 0], np.float32)), "no numbers"),
    (lambda path: None, "no such recording")])
def test_recordings_that_cannot_be_used(encoder: encoders.Encoder, tmp_path: Path, make: object, says: str) -> None:
    path = tmp_path / "a.wav"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=says) as error:
        list(listening.listen(save(tmp_path / "m.safetensors", encoder, filter=1), path))
    assert str(error.value.where) == str(path) and error.value.remedy


def test_a_plain_encoder_knows_no_wake_word(encoder: encoders.Encoder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="knows no wake word") as error:
        list(listening.listen(save(tmp_path / "m.safetensors", encoder), write(tmp_path / "a.wav", noise(1))))
    assert "edgekws adapt" in error.value.remedy and "edgekws enrol" in error.value.remedy


@pytest.mark.parametrize("word", [{"prototype": [1.0]}, {"prototype": [float("nan")] * 16}, {"prototype": None}, {"stride": 0},
                                  {"filter": "x"}, {"detection": None}])
def test_a_wake_word_that_is_damaged_is_refused(encoder: encoders.Encoder, tmp_path: Path, word: dict[str, object]) -> None:
    model = save(tmp_path / "m.safetensors", encoder, **word)
    with pytest.raises(UserError, match="its wake word") as error:
        list(listening.listen(model, write(tmp_path / "a.wav", noise(1))))
    assert error.value.where == model and "edgekws enrol" in error.value.remedy


def test_enrolled_words_are_found(encoder: encoders.Encoder, tmp_path: Path) -> None:
    words = [write(tmp_path / f"p{take}.wav", np.concatenate([noise(0.4, take) / 50, chirp(1, 500, 3000 + 20 * take, take),
                                                              noise(0.3, take) / 50])) for take in range(3)]
    others = [write(tmp_path / f"n{take}.wav", noise(2 + take, 10 + take)) for take in range(3)]
    settings = Calibration()
    told = listening.enrol(save(tmp_path / "plain.safetensors", encoder), tmp_path / "m.safetensors", words, others, settings)
    assert "3 recordings" in told
    _, backbone, metadata = encoders.load_encoder(tmp_path / "m.safetensors")
    word = metadata["settings"]["wake_word"]
    assert backbone == "ds_cnn_s" and word["gap"] > 0 and word["stride"] == 2000
    assert np.linalg.norm(word["prototype"]) == pytest.approx(1, abs=1e-5)
    assert list(listening.listen(tmp_path / "m.safetensors", words[0]))
    # This encoder was never trained: windows with the zeros beyond the end in them do look alike.
    assert not [each for each in listening.listen(tmp_path / "m.safetensors", others[0]) if each.time - each.start == 1]


def test_enrolling_what_cannot_be_told_apart_is_refused(encoder: encoders.Encoder, tmp_path: Path) -> None:
    words = [write(tmp_path / f"p{take}.wav", chirp(1, 500, 3000, take)) for take in range(3)]
    same = [write(tmp_path / "n.wav", np.append(chirp(1, 500, 3000, 0), np.zeros(9, np.float32)))]
    plain = save(tmp_path / "plain.safetensors", encoder)
    with pytest.raises(UserError, match="cannot be told from") as error:
        listening.enrol(plain, tmp_path / "m.safetensors", words, same, Calibration())
    assert error.value.remedy and not (tmp_path / "m.safetensors").exists()
    silent = write(tmp_path / "s.wav", np.zeros(RATE, np.float32))
    with pytest.raises(UserError, match="is silent"):
        listening.enrol(plain, tmp_path / "m.safetensors", [silent], same, Calibration())
    with pytest.raises(UserError, match="is silent"):  # else everything would be the wake word
        listening.enrol(plain, tmp_path / "m.safetensors", words, [silent], Calibration())


def test_recordings_to_enrol_with_are_checked_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [write(tmp_path / f"p{take}.wav", chirp(1, 500, 3000, take)) for take in range(2)]
    other = write(tmp_path / "n.wav", noise(3))
    faint = write(tmp_path / "faint.wav", noise(3) / 100 + np.pad([0.02, -0.02], (0, 3 * RATE - 2)))
    twice = write(tmp_path / "twice.wav", np.concatenate([chirp(0.8, 500, 3000), noise(1) / 50, chirp(0.8, 500, 3000)]))
    for positives, negatives, at, what in (
            ([*words, write(tmp_path / "again.wav", chirp(1, 500, 3000, 0))], [other], "again.wav", "the same recording as"),
            (words, [other, words[0]], "p0.wav", "the same recording as"),
            (words, [other, faint], "faint.wav", "as good as silent"),
            ([*words, twice], [other], "twice.wav", "2 stretches of speech"),
            ([*words, tmp_path / "no.wav"], [other], "no.wav", "no such")):
        with pytest.raises(UserError, match=what) as error:
            listening.examples(positives, negatives)
        assert str(error.value.where).endswith(at) and error.value.remedy
    off = write(tmp_path / "off.wav", 0.5 * chirp(1, 500, 3000, 7) + np.float32(0.3))
    wide = write(tmp_path / "wide.wav", np.repeat(np.stack([noise(2, 5)] * 2, 1), 3, 0), 48_000)
    listening.examples([*words, off], [other, wide])
    told = capsys.readouterr().err
    assert "off.wav: had a constant offset of 30 % of full scale" in told
    assert "wide.wav: mixed down from 2 channels, resampled from 48000 Hz" in told


def test_listening_to_another_rate_finds_the_same_and_says_so(encoder: encoders.Encoder, tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    samples = np.concatenate([noise(6), chirp(1, 500, 3000), noise(3, 1)])
    model = save(tmp_path / "m.safetensors", encoder, filter=1)
    far, near = (float(offline(encoder, part, 2000, 1).min()) for part in (noise(6), samples))
    up = np.stack([soxr.resample(samples, RATE, 44_100)] * 2, 1)
    found = list(listening.listen(model, write(tmp_path / "a.wav", up, 44_100), threshold=(far + near) / 2))
    assert [round(detection.time) for detection in found] == [7]
    assert "a.wav: mixed down from 2 channels, resampled from 44100 Hz" in capsys.readouterr().err


def test_a_pipe_is_listened_to_as_it_is_recorded(encoder: encoders.Encoder, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """What arecord writes: no sizes in the header, and no end in sight when the first word has been said."""
    samples = np.concatenate([noise(4), chirp(1, 500, 3000), noise(4, 1)])
    data = bytearray(encode_wav((samples * 32767).astype(np.int16)))
    data[4:8], data[40:44] = (0x80000024).to_bytes(4, "little"), (0x80000000).to_bytes(4, "little")
    model = save(tmp_path / "m.safetensors", encoder, filter=1)
    far, near = (float(offline(encoder, part, 2000, 1).min()) for part in (noise(4), samples))
    receive, send = os.pipe()
    said = threading.Event()

    def record() -> None:
        with open(send, "wb") as file:
            file.write(data[:44 + 2 * 8 * RATE])
            file.flush()
            said.wait(60)
            file.write(data[44 + 2 * 8 * RATE:])

    thread = threading.Thread(target=record)
    thread.start()
    with open(receive, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe))
        found = listening.listen(model, "-", threshold=(far + near) / 2)
        try:
            first = next(found)
        finally:
            said.set()
        assert round(first.time) == 5 and list(found) == []
    thread.join()
