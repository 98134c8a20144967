import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import index
from edgekws.features import pack, unit_logmel
from edgekws.features.settings import LogMel

FRONT = LogMel()
SILENCE = np.log(np.float32(unit_logmel.FLOOR))
SPEAKERS = ("c50f55b8", "0132a06d", "099d52ad", "022cd682")  # the first two belong to the training split


def waves(clips=3, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (clips, 16_000)).astype(np.float32)


# ------------------------------------------------------------------------------------------------ log mel power
def test_frames_are_those_of_a_fourier_transform_written_out():
    wave, band, step = waves(1)[0].astype(np.float64), 7, 20
    front = LogMel(pool=1)
    centred = wave[step * 160 - 200:step * 160 + 200] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    time, frequency = np.arange(400)[:, None], np.arange(201)
    power = np.abs((centred[:, None] * np.exp(-2j * np.pi * time * frequency / 400)).sum(0)) ** 2
    mel = power @ unit_logmel.logmel.mel_filters(front)[band]
    assert unit_logmel.log_mel(wave[None].astype(np.float32), front)[0, step, band] == pytest.approx(
        np.log(mel + unit_logmel.FLOOR), abs=1e-5)


def test_mel_power_is_librosas():
    librosa = pytest.importorskip("librosa")
    wave = waves(1)[0]
    theirs = librosa.feature.melspectrogram(y=wave, sr=16_000, n_fft=400, hop_length=160, n_mels=40, fmin=20, fmax=8000)
    ours = unit_logmel.log_mel(wave[None], LogMel(pool=1))[0]
    np.testing.assert_allclose(ours, np.log(theirs.T[:100] + unit_logmel.FLOOR), atol=1e-4)


@pytest.mark.parametrize(("pool", "steps"), [(1, 100), (2, 50), (3, 33), (100, 1)])
def test_pooling_averages_whole_groups_of_the_hundred_frames(pool, steps):
    clip = waves(2)
    frames = unit_logmel.log_mel(clip, LogMel(pool=1))
    pooled = unit_logmel.log_mel(clip, LogMel(pool=pool))
    assert frames.shape == (2, 100, 40) and pooled.shape == (2, steps, 40) and pooled.dtype == np.float32
    expected = np.stack([frames[:, step * pool:(step + 1) * pool].mean(1) for step in range(steps)], axis=1)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5)


def test_too_much_pooling_is_refused():
    with pytest.raises(UserError, match=r"features\.pool"):
        unit_logmel.log_mel(waves(1), LogMel(pool=101))


def test_loudness_stays():
    clip = waves()
    louder, quieter = (np.exp(unit_logmel.log_mel(wave, LogMel(pool=1))) - unit_logmel.FLOOR for wave in (clip, clip / 10))
    np.testing.assert_allclose(louder, 100 * quieter, rtol=0.01)


def test_silence_is_the_floor():
    np.testing.assert_allclose(unit_logmel.log_mel(np.zeros((1, 16_000), np.float32), FRONT), SILENCE, rtol=1e-6)


def test_the_floor_is_what_its_description_says():
    noise = np.random.default_rng(0).standard_normal((20, 16_000)).astype(np.float32) * 10 ** (-56 / 20)
    mel = np.exp(unit_logmel.log_mel(noise, LogMel(pool=1))) - unit_logmel.FLOOR
    assert mel[:, 2:-2].mean() == pytest.approx(unit_logmel.FLOOR, rel=0.1)


def test_values_do_not_depend_on_the_batch():
    clip = waves(19)
    alone = np.concatenate([unit_logmel.log_mel(one[None], FRONT) for one in clip])
    np.testing.assert_allclose(alone, unit_logmel.log_mel(clip, FRONT), atol=1e-5)


def test_recordings_of_any_length_make_one_second():
    short = unit_logmel.prepare(np.full(1000, -32768, np.int16))
    assert short.shape == (16_000,) and short.dtype == np.float32
    assert (short[7500:8500] == -1).all() and np.count_nonzero(short) == 1000
    assert unit_logmel.prepare(np.ones(20_000, np.int16)).shape == (16_000,)


# ------------------------------------------------------------------------------------------------ scale
def test_scale_is_linear_between_its_ends_and_clipped():
    scale = unit_logmel.Scale(np.array([-10, 0], np.float32), np.array([0, 4], np.float32))
    values = np.array([[-12, 1], [-10, 4], [-5, 5], [0, -1]], np.float32)
    scaled = scale.apply(values)
    np.testing.assert_array_equal(scaled, [[0, 0.25], [0, 1], [0.5, 1], [1, 0]])
    assert scaled.dtype == np.float32 and values[0, 0] == -12


def test_a_band_that_never_changes_is_zero():
    scale = unit_logmel.Scale(np.array([3], np.float32), np.array([3], np.float32))
    np.testing.assert_array_equal(scale.apply(np.array([[2], [3], [4]], np.float32)), 0)


@pytest.mark.parametrize("percent", [0.1, 1, 50, 99, 99.9])
def test_percentiles_are_numpys_to_within_a_bin(percent):
    values = np.random.default_rng(0).normal([-20, -5], [1, 3], (50_000, 2)).astype(np.float32)
    histogram = unit_logmel.Histogram(2)
    for piece in np.array_split(values, 7):
        histogram.add(piece)
    expected = np.percentile(values, percent, axis=0, method="inverted_cdf")
    above = histogram.percentile(percent) - expected
    assert (above >= 0).all() and (above < 1.01 / 1024).all()


def test_what_lies_on_the_low_percentile_becomes_zero_exactly():
    histogram = unit_logmel.Histogram(1)
    values = np.full((100, 1), SILENCE, np.float32)
    values[50:] = -3
    histogram.add(values)
    scaled = unit_logmel.Scale(histogram.percentile(1), histogram.percentile(99)).apply(values)
    assert (scaled[:50] == 0).all() and (scaled[50:] > 0.999).all()


def test_values_out_of_the_histograms_range_count_at_its_ends():
    histogram = unit_logmel.Histogram(1)
    histogram.add(np.array([[-100], [100], [100]], np.float32))
    assert histogram.counts.sum() == 3
    assert histogram.percentile(1)[0] < -23.9 and histogram.percentile(99)[0] > 7.9


# ------------------------------------------------------------------------------------------------ files
@pytest.fixture
def corpus(make_gsc, tmp_path):
    archive = make_gsc(speakers=SPEAKERS, takes=3)
    index.write_index(tmp_path / "index.parquet", *index.build_index(archive))
    return archive, tmp_path / "index.parquet"


def computed(archive, index_path):
    table, _ = index.read_index(index_path)
    recordings = dict(index.iter_clips(archive, table))
    values = unit_logmel.log_mel(np.stack([unit_logmel.prepare(recordings[row]) for row in range(len(table))]), FRONT)
    return values, (table["split"] == "train").to_numpy()


def test_extract_scales_by_the_training_clips(corpus, tmp_path):
    out = tmp_path / "out/features.npy"
    unit_logmel.extract(*corpus, out, FRONT, batch=5)
    assert sorted(path.name for path in out.parent.iterdir()) == ["features.json", "features.npy"]
    values, training = computed(*corpus)
    assert 0 < training.sum() < len(training)
    scale, front = unit_logmel.read_scale(out)
    assert front == FRONT
    low, high = np.percentile(values[training].reshape(-1, 40), [1, 99], axis=0, method="inverted_cdf")
    np.testing.assert_allclose(scale.low, low, atol=1e-3)
    np.testing.assert_allclose(scale.high, high, atol=1e-3)
    stored = pack.open_features(out)
    np.testing.assert_allclose(stored, scale.apply(values), atol=1e-4)
    assert stored.min() == 0 and stored.max() == 1


def test_a_stored_scale_gives_the_stored_features(corpus, tmp_path):
    """What a device or another test computes from the JSON file is what the network was trained on."""
    out = tmp_path / "features.npy"
    unit_logmel.extract(*corpus, out, FRONT)
    scale, front = unit_logmel.read_scale(out.with_suffix(".json"))
    recordings = dict(index.iter_clips(corpus[0], index.read_index(corpus[1])[0]))
    again = unit_logmel.features(unit_logmel.prepare(recordings[4])[None], front, scale)[0]
    np.testing.assert_allclose(again, pack.open_features(out)[4], atol=1e-5)


def test_the_same_corpus_gives_the_same_bytes(corpus, tmp_path):
    for name in ("one.npy", "two.npy"):
        unit_logmel.extract(*corpus, tmp_path / name, FRONT, batch=8)
    for suffix in (".npy", ".json"):
        assert files.sha256_of(tmp_path / f"one{suffix}") == files.sha256_of(tmp_path / f"two{suffix}")


def test_an_archive_that_breaks_off_leaves_nothing(corpus, tmp_path):
    corpus[0].write_bytes(corpus[0].read_bytes()[:100_000])
    with pytest.raises(UserError, match="damaged"):
        unit_logmel.extract(*corpus, tmp_path / "out/features.npy", FRONT, batch=1)
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_leaves_nothing(corpus, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(unit_logmel, "_rescale", full)
    with pytest.raises(UserError, match="no space left"):
        unit_logmel.extract(*corpus, tmp_path / "out/features.npy", FRONT)
    assert not list((tmp_path / "out").iterdir())


def test_a_corpus_without_training_clips_is_refused(make_gsc, tmp_path):
    archive = make_gsc(speakers=SPEAKERS[2:])
    index.write_index(tmp_path / "index.parquet", *index.build_index(archive))
    with pytest.raises(UserError, match="no training clip"):
        unit_logmel.extract(archive, tmp_path / "index.parquet", tmp_path / "features.npy", FRONT)


@pytest.mark.parametrize(("content", "what"), [
    pytest.param({"low": [0.0], "high": [1.0]}, "not a scale", id="settings missing"),
    pytest.param([1, 2], "not a scale", id="a list"),
    pytest.param({"low": [0.0], "high": [1.0], "settings": {}}, "1 and 1 bands, not 40", id="too few bands"),
    pytest.param({"low": "a", "high": [1.0], "settings": {}}, "not a scale", id="text"),
    pytest.param({"low": [0.0], "high": [1.0], "settings": {"hops": 3}}, "unknown setting 'hops'", id="unknown setting"),
])
def test_other_files_are_no_scale(tmp_path, content, what):
    files.write_json(tmp_path / "features.json", content)
    with pytest.raises(UserError, match=what):
        unit_logmel.read_scale(tmp_path / "features.npy")


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from edgekws.corpus import index
from edgekws.features import unit_logmel
from edgekws.features.settings import LogMel
import pandas as pd
torch.set_num_threads(1)
n = int(sys.argv[1])
samples = np.random.default_rng(0).normal(0, 3000, 16_000).astype(np.int16)
table = pd.DataFrame({"clip": range(n), "split": "train"})
index.read_index = lambda path: (table, {})
index.iter_clips = lambda archive, table: ((row, samples) for row in range(n))
unit_logmel.extract(Path("none"), Path("none"), Path(sys.argv[2]), LogMel(pool=1))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kilobytes on Linux only")
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """1600 clips make a file of 26 MB; the peak resident set stays that of 200 clips."""
    few, many = (int(subprocess.run([sys.executable, "-c", PEAK, str(n), str(tmp_path / f"{n}.npy")], check=True,
                                    capture_output=True, text=True).stdout) for n in (200, 1600))
    assert many - few < 12, f"{few} MB for 200 clips, {many} MB for 1600"
