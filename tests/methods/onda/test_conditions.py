"""Noise and rooms: levels, halves of the recordings, and what stays as it is."""

import numpy as np
import pytest

from edgekws.core.errors import UserError
from edgekws.corpus.noise import Noise
from edgekws.methods.onda import conditions
from edgekws.methods.onda.settings import Condition

NOISES = [Noise(name, np.sin(2 * np.pi * hertz * np.arange(48_000) / 16_000).astype(np.float32) * 0.1)
          for name, hertz in (("a", 1000), ("b", 2000), ("c", 3000), ("d", 4000))]


def power(samples):
    return np.mean(np.square(samples, dtype=np.float64))


def speech(seed=0):
    """Two seconds of silence around one of sound."""
    word = np.random.default_rng(seed).normal(0, 0.02, 16_000).astype(np.float32)
    return np.pad(word, 16_000), word


def pitches(added):
    spectrum = np.abs(np.fft.rfft(added))
    return round(np.argmax(spectrum) / len(added) * 16_000)


@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_noise_is_at_the_level_asked_for_below_the_loudest_second(snr_db):
    samples, word = speech()
    heard = conditions.altered(Condition(snr_db=(snr_db, snr_db)), NOISES, seed=0)("one", samples, word)
    assert len(heard) == len(samples) and heard.dtype == np.float32
    assert 10 * np.log10(power(word) / power(heard - samples)) == pytest.approx(snr_db, abs=0.1)


def test_what_is_tested_in_is_never_learnt_in():
    samples, word = speech()
    found = {noises: {pitches(conditions.altered(Condition(snr_db=(0, 0), noises=noises), NOISES, seed=0)(
        str(name), samples, word) - samples) for name in range(30)} for noises in ("testing", "learning")}
    assert found == {"testing": {1000, 3000}, "learning": {2000, 4000}}


def test_an_utterance_has_the_same_noise_at_every_level_and_another_has_another():
    samples, word = speech()
    def added(snr_db, name, seed=0):
        noise = conditions.altered(Condition(snr_db=(snr_db, snr_db)), NOISES, seed=seed)(name, samples, word) - samples
        return noise / np.sqrt(power(noise))
    np.testing.assert_allclose(added(0.0, "one"), added(6.0, "one"), atol=1e-2)
    assert np.abs(added(0.0, "one") - added(0.0, "two")).max() > 0.1
    assert np.abs(added(0.0, "one") - added(0.0, "one", seed=1)).max() > 0.1


def test_a_room_echoes_after_the_sound_and_decays():
    click = np.zeros(16_000, np.float32)
    click[2000] = 0.5
    heard = conditions.reverberated(click, 0.5, np.random.default_rng(0))
    assert np.abs(heard[:2000]).max() < 1e-6 and heard[2000] > np.abs(heard[2001:]).max()
    assert power(heard) == pytest.approx(power(click), rel=1e-4)
    early, late = (power(heard[start:start + 1600]) for start in (2100, 6100))
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=1.5)  # a quarter of a second of the half in which 60 dB go


def test_one_recording_cannot_be_both_halves():
    with pytest.raises(UserError, match="two noise recordings"):
        conditions.altered(Condition(snr_db=(0, 0), noises="learning"), NOISES[:1], seed=0)


def test_an_unknown_condition_is_told_with_the_known_ones():
    with pytest.raises(UserError, match="no condition 'nois_10'") as caught:
        conditions.named("nois_10", {"noise_10": Condition()}, None, seed=0)
    assert "noise_10" in caught.value.remedy
    assert conditions.named("clean", {}, None, seed=0) == (None, [])


def test_what_is_mixed_in_is_named():
    known = {"testing": Condition(snr_db=(0, 0)), "learning": Condition(snr_db=(0, 0), noises="learning"),
             "room": Condition(reverberation=0.5)}
    assert [conditions.named(name, known, None, seed=0)[1] for name in known] == [
        ["made pink noise"], ["made white noise"], []]


def test_without_recordings_noise_is_made():
    assert conditions.of_archive(None, 0)[1] and len(conditions.of_archive(None, 0)[0]) == 2
