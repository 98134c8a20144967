"""The estimate of mutual information against known answers."""

import math

import numpy as np
import pytest

from edgekws.core.errors import UserError
from edgekws.methods.neuedge import information
from edgekws.methods.neuedge.encoding import bernoulli, hybrid
from edgekws.methods.neuedge.information import (
    coding_efficiency,
    entropy,
    mutual_information,
    pair_codes,
    quantile_bins,
    windows,
)
from edgekws.methods.neuedge.settings import Encoder

# ------------------------------------------------------------------------------------------------ the estimator


def test_entropy_by_hand():
    codes = np.array([0, 0, 3, 7])  # shares 1/2, 1/4, 1/4
    assert entropy(codes, corrected=False) == pytest.approx(1.5)
    assert entropy(codes, corrected=True) == pytest.approx(1.5 + 2 / 8 / math.log(2))


def test_mutual_information_of_a_table_by_hand():
    """Joint counts [[3, 1], [1, 3]]: 1 - h(1/4) bits; the correction takes (4 - 2 - 2 + 1) / 16 nats away."""
    first = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    second = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    by_hand = 1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)
    assert mutual_information(first, second, corrected=False) == pytest.approx(by_hand)
    assert mutual_information(first, second) == pytest.approx(by_hand - 1 / 16 / math.log(2))


def test_a_variable_tells_all_of_itself():
    codes = np.arange(16_000) % 16
    assert mutual_information(codes, codes, corrected=False) == pytest.approx(4)
    assert mutual_information(codes, codes) == pytest.approx(4, abs=1e-3)
    assert mutual_information(codes, 5 * codes[::1] + 3, corrected=False) == pytest.approx(4)


def test_independent_variables_tell_nothing_once_corrected():
    generator = np.random.default_rng(0)
    first, second = generator.integers(16, size=20_000), generator.integers(30, size=20_000)
    bias = 15 * 29 / (2 * 20_000) / math.log(2)
    assert mutual_information(first, second, corrected=False) == pytest.approx(bias, rel=0.15)
    assert abs(mutual_information(first, second)) < 0.002


def test_mutual_information_is_symmetric():
    generator = np.random.default_rng(0)
    first = generator.integers(5, size=1000)
    second = first + generator.integers(3, size=1000)
    assert mutual_information(first, second) == pytest.approx(mutual_information(second, first))


def test_quantile_bins_hold_equal_shares():
    values = np.random.default_rng(0).permutation(1600) / 1600
    assert np.bincount(quantile_bins(values, 16)).tolist() == [100] * 16


def test_equal_values_share_a_bin():
    values = np.array([0.0] * 70 + list(np.linspace(0.1, 1, 30)))
    codes = quantile_bins(values, 10)
    assert len(set(codes[:70])) == 1 and codes[70:].min() > codes[0]


# ------------------------------------------------------------------------------------------------ spikes
def test_pairs_of_count_and_first_spike():
    spikes = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]], np.uint8)[:, :, None]
    codes = pair_codes(spikes)[:, 0]
    assert codes.tolist() == [3, 4, 6, 8, 8, 12]  # count * 4 + first; the fourth and fifth are one pair


def test_windows_follow_each_other_within_a_clip():
    values = np.arange(2 * 7 * 2).reshape(2, 7, 2)
    cut = windows(values, 3)
    assert cut.shape == (4, 3, 2)
    np.testing.assert_array_equal(cut[1], values[0, 3:6])
    np.testing.assert_array_equal(cut[2], values[1, :3])


def test_a_clip_shorter_than_a_window_is_refused():
    with pytest.raises(UserError, match="no window of 25"):
        coding_efficiency(np.zeros((1, 24, 2), np.float32), np.zeros((1, 24, 2), np.uint8), bins=4, seed=0)


# ------------------------------------------------------------------------------------------------ efficiency
@pytest.fixture(scope="module")
def toy():
    constant = np.random.default_rng(0).random(20_000).astype(np.float32)
    return np.broadcast_to(constant[:, None, None], (20_000, 25, 1))


@pytest.mark.parametrize(("alpha", "bits"), [(0, 2.4), (0.25, 2.5), (0.5, 2.75)])
def test_information_of_the_specifications_toy(toy, alpha, bits):
    """neuedge.md, section 7.1: 2.4 to 2.8 bits at a base threshold of 4, alpha 0 to 0.5."""
    found = coding_efficiency(toy, hybrid(toy, Encoder(base_threshold=4, alpha=alpha)), bins=16, seed=0)
    assert found.bits == pytest.approx(bits, abs=0.05)
    assert abs(found.control) < 0.02


def test_information_of_the_specifications_rate_code(toy):
    found = coding_efficiency(toy, bernoulli(toy, np.random.default_rng(1)), bins=16, seed=0)
    assert found.bits == pytest.approx(1.8, abs=0.05) and found.plug_in > found.bits
    assert found.spikes == pytest.approx(12.5, abs=0.1)
    assert found.bits_per_spike == (found.bits - found.control) / found.spikes


def test_a_silent_encoder_tells_nothing():
    found = coding_efficiency(np.random.default_rng(0).random((40, 25, 3), np.float32), np.zeros((40, 25, 3), np.uint8),
                              bins=4, seed=0)
    assert found.bits == pytest.approx(0, abs=1e-12) and found.spikes == 0
    assert math.isnan(found.bits_per_spike)


def test_units_are_estimated_apart_and_averaged():
    generator = np.random.default_rng(0)
    level = generator.integers(2, size=2000)
    features = np.broadcast_to(level[:, None, None] * 0.5, (2000, 25, 2)).astype(np.float32)
    spikes = np.zeros(features.shape, np.uint8)
    spikes[level == 1, 4, 0] = 1  # the first unit tells its bit, the second nothing
    found = coding_efficiency(features, spikes, bins=2, seed=0)
    assert found.bits == pytest.approx(0.5, abs=0.01)
    assert found.spikes == pytest.approx(level.mean() / 2)
    assert abs(found.control) < 0.01


def test_the_control_follows_its_seed(toy):
    some = toy[:500]
    spikes = hybrid(some, Encoder())
    controls = [coding_efficiency(some, spikes, bins=16, seed=seed).control for seed in (0, 0, 1)]
    assert controls[0] == controls[1] != controls[2]


def test_a_window_has_the_toys_length():
    assert information.WINDOW == 25
