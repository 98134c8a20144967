"""Noise beside speech: levels, and where it is from."""

import numpy as np
import pytest

from edgekws.core.errors import UserError
from edgekws.corpus import noise


def level(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


# ------------------------------------------------------------------------------------------------ mixing
@pytest.mark.parametrize("snr_db", [20.0, 5.0, 0.0, -5.0])
def test_the_ratio_of_powers_is_the_one_asked_for(snr_db):
    random = np.random.default_rng(0)
    clip, disturbance = (random.normal(0, sd, 16_000).astype(np.float32) for sd in (0.02, 0.1))
    added = noise.mix(clip, disturbance, snr_db) - clip
    assert level(clip) - level(added) == pytest.approx(snr_db, abs=1e-3)
    assert np.corrcoef(added, disturbance)[0, 1] > 0.9999


def test_a_mix_stays_in_range():
    loud = np.full(100, 0.9, np.float32)
    mixed = noise.mix(loud, np.resize(np.array([1, -1], np.float32), 100), 0.0)
    assert mixed.max() == 1 and mixed.dtype == np.float32
    np.testing.assert_allclose(mixed[1::2], 0, atol=1e-6)


def test_silence_is_left_alone():
    some = np.random.default_rng(0).normal(0, 0.1, 100).astype(np.float32)
    assert not noise.mix(np.zeros(100, np.float32), some, 0.0).any()
    np.testing.assert_array_equal(noise.mix(some, np.zeros(100, np.float32), 0.0), some)


# ------------------------------------------------------------------------------------------------ sources
def test_recordings_are_found_by_folder(make_gsc, sound):
    archive = make_gsc(**{"_background_noise_/tap.wav": sound(1, 40_000), "_background_noise_/bike.wav": sound(2, 700),
                          "_background_noise_/README.md": "text", "_background_noise_/._tap.wav": b"a file system's"})
    found = noise.recorded(archive)
    assert [(one.name, len(one.samples)) for one in found] == [("bike.wav", 700), ("tap.wav", 40_000)]
    np.testing.assert_allclose(found[1].samples * 32_768, sound(1, 40_000))


def test_a_recording_at_another_rate_is_named(make_gsc):
    archive = make_gsc(**{"_background_noise_/tap.wav": b"RIFFnothing"})
    with pytest.raises(UserError, match=r"_background_noise_/tap\.wav"):
        noise.recorded(archive)


def test_made_noises_have_their_slope_and_level():
    pink, white = noise.made(0)
    assert "pink" in pink.name and "white" in white.name
    for one, slope in ((pink, -1), (white, 0)):
        assert level(one.samples) == pytest.approx(noise.MADE_LEVEL, abs=0.01)
        spectrum = np.abs(np.fft.rfft(one.samples)) ** 2
        hertz = np.fft.rfftfreq(len(one.samples), 1 / 16_000)
        octaves = [100 * 2**octave for octave in range(7)]
        density = [spectrum[(hertz >= low) & (hertz < 2 * low)].mean() for low in octaves[:-1]]
        assert np.polyfit(np.log(octaves[:-1]), np.log(density), 1)[0] == pytest.approx(slope, abs=0.05)


def test_made_noises_follow_the_seed():
    np.testing.assert_array_equal(noise.made(1)[0].samples, noise.made(1)[0].samples)
    assert (noise.made(1)[0].samples != noise.made(2)[0].samples).any()


def test_a_second_is_a_stretch_of_the_recording():
    samples = np.arange(50_000, dtype=np.float32)
    starts = set()
    for seed in range(5):
        second = noise.Noise("tap", samples).second(np.random.default_rng(seed))
        assert second.shape == (16_000,) and (np.diff(second) == 1).all()
        starts.add(second[0])
    assert len(starts) == 5


def test_a_short_recording_is_repeated():
    second = noise.Noise("tap", np.arange(1000, dtype=np.float32)).second(np.random.default_rng(0))
    assert second.shape == (16_000,)
    assert set(np.diff(second)) == {1, -999} and (np.bincount(second.astype(int)) == 16).all()


def test_pauses_do_not_count_where_the_level_is_of_a_part():
    random = np.random.default_rng(0)
    word, disturbance = (random.normal(0, 0.02, size).astype(np.float32) for size in (16_000, 64_000))
    clip = np.pad(word, (16_000, 32_000))
    added = noise.mix(clip, disturbance, 10.0, level_of=word) - clip
    assert level(word) - level(added) == pytest.approx(10, abs=1e-2)
