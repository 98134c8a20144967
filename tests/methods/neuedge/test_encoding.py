"""The encoders: the specification's toy counts, a unit by hand, and what must hold for any input."""

import numpy as np
import pytest

from edgekws.methods.neuedge.encoding import bernoulli, hybrid, thresholds
from edgekws.methods.neuedge.settings import Encoder


def uniform(clips=20_000, steps=25, seed=0):
    """The toy of neuedge.md, section 7.1: inputs from 0 to 1 that stay the same for 25 steps, (clips, steps, 1)."""
    constant = np.random.default_rng(seed).random(clips).astype(np.float32)
    return np.broadcast_to(constant[:, None, None], (clips, steps, 1))


def speech_like(clips=9, seed=1):
    return np.random.default_rng(seed).beta(0.5, 1.5, (clips, 50, 40)).astype(np.float32)


# ------------------------------------------------------------------------------------------------ the toy
@pytest.mark.parametrize(("base", "alpha", "spikes"), [
    (1, 0, 10.9), (1, 0.25, 13.0), (1, 0.5, 14.6), (1, 0.75, 15.7),
    (4, 0, 1.51), (4, 0.25, 2.18), (4, 0.5, 3.27), (4, 0.75, 5.53),
])
def test_spikes_of_the_specifications_toy(base, alpha, spikes):
    counts = hybrid(uniform(), Encoder(base_threshold=base, alpha=alpha)).sum(1, dtype=int)
    assert round(counts.mean(), 1 if base == 1 else 2) == spikes


def test_bernoulli_spikes_of_the_specifications_toy():
    spikes = bernoulli(uniform(), np.random.default_rng(0)).sum(1, dtype=int).mean()
    assert spikes == pytest.approx(12.6, abs=0.05)


# ------------------------------------------------------------------------------------------------ the hybrid code
def test_a_unit_by_hand():
    """Potentials 0.5; 0.75 (meets the threshold of 0.75: 0 is left); 0.5; 0.25; 1.125 (0.75 goes, 0.375 is left)."""
    inputs = np.array([0.5, 0.5, 0.5, 0, 1], np.float32)[None, :, None]
    encoder = Encoder(leak=0.5, base_threshold=1, alpha=0.5)
    np.testing.assert_array_equal(hybrid(inputs, encoder)[0, :, 0], [0, 1, 0, 0, 1])


def test_a_spike_takes_away_the_threshold_of_its_own_step():
    """Potential 2, threshold 0.5: 1.5 is left, which leaks to 0.75; with 0.25 it is above the next threshold, 0.9375.

    Had the base threshold of 1 been taken away, 0.5 and 0.25 would be below it.
    """
    inputs = np.array([1, 0.125], np.float32)[None, :, None]
    np.testing.assert_array_equal(hybrid(inputs, Encoder(leak=0.5, base_threshold=1, alpha=0.5, gain=2))[0, :, 0], [1, 1])


def test_alpha_is_the_modulation_of_the_threshold():
    x = np.array([0, 0.5, 1], np.float32)
    np.testing.assert_allclose(thresholds(x, Encoder(base_threshold=2, alpha=0.5)), [2, 1.5, 1])
    np.testing.assert_allclose(thresholds(x, Encoder(base_threshold=2, alpha=0)), [2, 2, 2])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99])
def test_thresholds_stay_positive(alpha):
    assert (thresholds(np.linspace(0, 1, 101, dtype=np.float32), Encoder(alpha=alpha)) > 0).all()


@pytest.mark.parametrize("base", [1.0, 1.5, 4.0])
def test_spikes_grow_with_alpha_and_fall_with_the_threshold(base):
    x = speech_like()
    counts = [int(hybrid(x, Encoder(base_threshold=base, alpha=alpha)).sum(dtype=int)) for alpha in (0, 0.25, 0.5, 0.75)]
    assert counts == sorted(set(counts))
    assert counts[0] > hybrid(x, Encoder(base_threshold=2 * base, alpha=0)).sum(dtype=int)


def test_larger_inputs_spike_earlier():
    inputs = np.repeat(np.linspace(0.3, 1, 8, dtype=np.float32)[:, None, None], 25, axis=1)
    first = hybrid(inputs, Encoder(base_threshold=2, alpha=0.5)).argmax(1)[:, 0]
    assert (np.diff(first) <= 0).all() and first[0] > first[-1]


def test_no_input_no_spike():
    assert not hybrid(np.zeros((2, 50, 40), np.float32), Encoder()).any()


def test_clips_are_encoded_one_by_one():
    x = speech_like(131)  # more than are encoded together
    together = hybrid(x, Encoder())
    assert together.dtype == np.uint8 and together.shape == x.shape and set(np.unique(together)) == {0, 1}
    np.testing.assert_array_equal(together, np.concatenate([hybrid(clip[None], Encoder()) for clip in x]))


# ------------------------------------------------------------------------------------------------ the rate code
def test_bernoulli_rates_are_the_input():
    x = np.broadcast_to(np.array([0, 0.1, 0.5, 1], np.float32), (40, 1000, 4))
    spikes = bernoulli(x, np.random.default_rng(3))
    assert spikes.dtype == np.uint8 and spikes.shape == x.shape
    rate = spikes.mean((0, 1))
    assert rate[0] == 0 and rate[3] == 1
    np.testing.assert_allclose(rate[1:3], [0.1, 0.5], atol=0.01)  # 4 standard errors


def test_bernoulli_follows_its_generator():
    x = speech_like()
    first, again, other = (bernoulli(x, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_bernoulli_steps_are_independent():
    spikes = bernoulli(np.full((1, 100_000, 1), 0.5, np.float32), np.random.default_rng(0))[0, :, 0].astype(float)
    assert abs(np.corrcoef(spikes[1:], spikes[:-1])[0, 1]) < 0.015


def test_a_memory_map_will_do(tmp_path):
    x = speech_like(3)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(hybrid(mapped, Encoder()), hybrid(x, Encoder()))
    np.testing.assert_array_equal(bernoulli(mapped, np.random.default_rng(0)), bernoulli(x, np.random.default_rng(0)))
