import runpy
import tarfile
from pathlib import Path

import numpy as np
import pytest

from edgekws.core.errors import UserError
from edgekws.features import logmel
from edgekws.features.settings import Features

SETTINGS = Features()

REFERENCE = runpy.run_path(str(Path(__file__).with_name("librosa_reference.py")))["features"]


def reference(wave, settings=SETTINGS):
    pytest.importorskip("librosa")
    return REFERENCE(wave, settings)


def noise(clips, seed=0):
    """16-bit noise, each clip with its own loudness contour, as int16."""
    random = np.random.default_rng(seed)
    contour = np.repeat(random.uniform(0.001, 1, (clips, 100)), 160, axis=1)
    return np.round(random.normal(0, 4000, (clips, 16_000)) * contour).clip(-32768, 32767).astype(np.int16)


def prepared(clips):
    return np.stack([logmel.prepare(clip) for clip in clips])


# ------------------------------------------------------------------------------------------------ steps 1 and 2
def test_a_recording_is_scaled_to_its_peak_and_centred():
    wave = logmel.prepare(np.array([100, -400, 200], dtype=np.int16))
    assert wave.shape == (16_000,) and wave.dtype == np.float32
    assert wave[7998:8001].tolist() == [0.25, -1.0, 0.5]
    assert np.count_nonzero(wave) == 3


def test_the_lowest_sample_has_a_peak():
    assert np.abs(logmel.prepare(np.array([-32768, 16384], dtype=np.int16))).max() == 1


@pytest.mark.parametrize("samples", [0, 1, 16_000])
def test_silence_stays_silence(samples):
    assert not logmel.prepare(np.zeros(samples, dtype=np.int16)).any()


def test_the_peak_is_the_whole_recordings():
    long = np.full(20_000, 500, dtype=np.int16)
    long[0], long[1:4000] = 1000, 0  # a click that the crop leaves out
    assert logmel.prepare(long).max() == 0.5


# ------------------------------------------------------------------------------------------------ constants
@pytest.mark.parametrize("values", [{}, {"mels": 64, "highest": 8000, "window": 1024},
                                    {"mels": 20, "lowest": 0, "window": 401}])
def test_filters_are_librosas(values):
    librosa = pytest.importorskip("librosa")
    settings = Features(**values)
    theirs = librosa.filters.mel(sr=16_000, n_fft=settings.window, n_mels=settings.mels, fmin=settings.lowest,
                                 fmax=settings.highest)
    np.testing.assert_allclose(logmel.mel_filters(settings), theirs, atol=1e-7)


def test_filters_have_unit_area():
    fine = logmel.mel_filters(Features(window=48_000, mels=10))
    np.testing.assert_allclose(fine.sum(axis=1) * 16_000 / 48_000, 1, rtol=1e-3)


@pytest.mark.parametrize("width", [3, 5, 7, 9, 11])
def test_differences_of_a_parabola_are_its_derivatives(width):
    time = np.arange(30.0)
    plain, first, second = (logmel.difference_operator(30, width) @ (3 + 2 * time + 0.5 * time**2)).reshape(30, 3).T
    np.testing.assert_allclose(plain, 3 + 2 * time + 0.5 * time**2, rtol=1e-6)
    half = width // 2
    np.testing.assert_allclose(first[half:-half], (2 + time)[half:-half], rtol=1e-4)
    np.testing.assert_allclose(second, 1, rtol=1e-3)


@pytest.mark.parametrize(("values", "name"), [({"lowest": 4000.0, "highest": 100.0}, "features.lowest"),
                                              ({"mels": 200}, "features.mels"),
                                              ({"hop": 4000}, "features.delta_width")])
def test_settings_that_do_not_fit_are_refused(values, name):
    with pytest.raises(UserError, match=name):
        logmel.log_mel_deltas(np.zeros((1, 16_000), np.float32), Features(**values))


# ------------------------------------------------------------------------------------------------ features
@pytest.mark.parametrize("values", [{}, {"window": 401, "hop": 200, "mels": 20, "highest": 8000, "delta_width": 5}])
def test_features_are_librosas_on_noise(values):
    settings, waves = Features(**values), prepared(noise(20))
    ours = logmel.log_mel_deltas(waves, settings)
    np.testing.assert_allclose(ours, [reference(wave, settings) for wave in waves], atol=1e-4)


@pytest.mark.parametrize("clip", [
    pytest.param(np.full(16_000, 1000, np.int16), id="constant"),
    pytest.param(noise(1)[0, :3000], id="short"),
    pytest.param(np.array([7], np.int16), id="one sample"),
    pytest.param(noise(2).reshape(-1)[:23_456], id="long"),
    pytest.param((noise(1)[0] * (np.arange(16_000) > 12_000)).astype(np.int16), id="mostly silent"),
])
def test_features_are_librosas_on_odd_clips(clip):
    waves = prepared([clip])
    ours = logmel.log_mel_deltas(waves, SETTINGS)
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours[0], reference(waves[0]), atol=1e-4)


@pytest.mark.real_speech
def test_features_are_librosas_on_real_speech(real_archive):
    clips = []
    with tarfile.open(real_archive) as archive:
        for member in archive:
            if member.name.endswith(".wav") and "_background_noise_" not in member.name:
                clips.append(np.frombuffer(archive.extractfile(member).read()[44:], dtype="<i2"))
            if len(clips) == 600:  # among them clips with bands 90 dB below the loudest one
                break
    waves = prepared(clips[400:])
    np.testing.assert_allclose(logmel.log_mel_deltas(waves, SETTINGS), [reference(wave) for wave in waves], atol=1e-4)


def test_shape_scale_and_type():
    features = logmel.log_mel_deltas(prepared(noise(3)), SETTINGS)
    assert features.shape == (3, 101, 120) and features.dtype == np.float32
    np.testing.assert_allclose(features.std(axis=1), 1, rtol=1e-4)


def test_silence_gives_zeros():
    waves = prepared(noise(3))
    waves[1] = 0
    features = logmel.log_mel_deltas(waves, SETTINGS)
    assert not features[1].any() and np.isfinite(features).all()


def test_features_do_not_depend_on_the_batch():
    waves = prepared(noise(21))
    together = logmel.log_mel_deltas(waves, SETTINGS)
    np.testing.assert_array_equal(together, logmel.log_mel_deltas(waves, SETTINGS))
    alone = np.concatenate([logmel.log_mel_deltas(wave[None], SETTINGS) for wave in waves])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_features_do_not_depend_on_loudness():
    loud = noise(2)
    np.testing.assert_allclose(logmel.log_mel_deltas(prepared(loud // 8 * 4), SETTINGS),
                               logmel.log_mel_deltas(prepared(loud // 8 * 8 // 2), SETTINGS), atol=1e-6)


def test_no_clips_give_no_features():
    assert logmel.log_mel_deltas(np.empty((0, 16_000), np.float32), SETTINGS).shape == (0, 101, 120)
