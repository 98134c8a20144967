import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekws.protocol.settings import Statistics
from edgekws.protocol.statistics import (
    FEW,
    cell,
    clustered_mean_interval,
    mean_interval,
    mixed_interval,
    ratio_interval,
    t_half_width,
)


def test_students_t_of_three_values():
    # mean 2, s = 1, t(0.975, 2) = 4.302653: 2 +- 4.302653 / sqrt(3)
    found = mean_interval([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert (found.ci_low, found.ci_high) == pytest.approx((-0.484138, 4.484138), abs=1e-6)
    assert found.n == 3


def test_bootstrap_of_many_values_is_close_to_the_normal_interval():
    values = np.random.default_rng(5).normal(50, 10, size=400)
    found = mean_interval(values, resamples=20_000)
    half = 1.96 * values.std(ddof=1) / 20
    assert (found.ci_low, found.ci_high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.06)


def test_bootstrap_is_the_quantile_of_resampled_means():
    values = [0.0] * FEW + [1.0]
    found = mean_interval(values, resamples=5000, seed=1)
    # The number of ones in a resample is Binomial(21, 1/21): its 2.5 and 97.5 % quantiles are 0 and 3.
    assert found.ci_low == 0.0
    assert found.ci_high == pytest.approx(3 / (FEW + 1))


def test_same_seed_same_interval_and_resamples_do_not_depend_on_memory(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)
    whole = mean_interval(values, resamples=999)
    monkeypatch.setattr("edgekws.protocol.statistics._DRAWS_AT_ONCE", 1000)
    assert mean_interval(values, resamples=999) == whole


def test_degenerate_values():
    assert mean_interval([7.0]) == (7.0, None, None, 1)
    assert mean_interval([7.0, 7.0, 7.0]) == (7.0, 7.0, 7.0, 3)
    assert mean_interval([0.1] * 60) == (0.1, 0.1, 0.1, 60)
    for bad in ([], [1.0, float("nan")], [float("inf"), 1.0]):
        with pytest.raises(ValueError, match="a mean needs"):
            mean_interval(bad)


@pytest.mark.parametrize("size", [3, 10, FEW, 60])
def test_coverage(size):
    rng, hits, trials = np.random.default_rng(size), 0, 600
    for _ in range(trials):
        found = mean_interval(rng.normal(3, 2, size=size), resamples=400)
        hits += found.ci_low <= 3 <= found.ci_high
    # Binomial standard error of 95 % over 600 trials is 0.9 points; the percentile bootstrap of 20 lacks about two.
    assert 0.90 <= hits / trials <= 0.98


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60), st.floats(0.5, 0.99))
def test_interval_holds_the_mean(values, confidence):
    found = mean_interval(values, confidence=confidence, resamples=100)
    tolerance = 1e-9 * (1 + max(map(abs, values)))
    assert found.ci_low - tolerance <= found.ci_high
    assert min(values) - tolerance <= found.value <= max(values) + tolerance
    if len(values) < FEW:
        assert found.ci_low <= found.value <= found.ci_high


def test_clusters_weigh_the_same_however_many_rows_they_have():
    found = clustered_mean_interval([0.0, 0.0, 0.0, 10.0], ["a", "a", "a", "b"])
    assert found.value == 5.0
    assert found.n == 2
    assert found == mean_interval([0.0, 10.0])
    assert clustered_mean_interval([10.0, 0.0, 0.0, 0.0], ["b", "a", "a", "a"]) == found
    with pytest.raises(ValueError, match="2 values but 1 clusters"):
        clustered_mean_interval([1.0, 2.0], ["a"])


def test_repeated_rows_do_not_narrow_a_clustered_interval():
    users = np.random.default_rng(2).normal(10, 3, size=30)
    once = clustered_mean_interval(users, list(range(30)), seed=1)
    thrice = clustered_mean_interval(np.repeat(users, 3), np.repeat(np.arange(30), 3).tolist(), seed=1)
    assert thrice == pytest.approx(once)


def test_a_cell_is_the_mean_by_the_settings_of_a_run():
    settings = Statistics(confidence=0.9, resamples=200, seed=3)
    chosen = {"confidence": 0.9, "resamples": 200, "seed": 3}
    values = np.random.default_rng(4).normal(size=40)
    assert cell(pd.Series(values), settings) == mean_interval(values, **chosen).as_dict()
    pairs = np.repeat(np.arange(20), 2).tolist()
    assert cell(values, settings, pairs) == clustered_mean_interval(values, pairs, **chosen).as_dict()


def test_fiellers_interval_by_hand():
    """Above 2, 4; below 4, 6: means 3 and 5, variances and covariance 2, so a = 25 - 161.4, unbounded; ten times the pairs are
    not."""
    above, below = np.tile([2.0, 4.0], 10), np.tile([4.0, 6.0], 10)
    assert ratio_interval(above[:2], below[:2]) is None
    unit = t_half_width(1.0, 20) ** 2
    spread = 20 / 19 * 1.0
    a, b, c = 25 - unit * spread, 15 - unit * spread, 9 - unit * spread
    found = ratio_interval(above, below)
    low, high = sorted(np.roots([a, -2 * b, c]))
    assert (found.value, found.ci_low, found.ci_high, found.n) == pytest.approx((0.6, low, high, 20))


def test_a_ratio_to_a_sure_mean_is_students_t():
    above = [11.0, 12.0, 14.0]
    plain, found = mean_interval(above), ratio_interval(above, [2.0, 2.0, 2.0])
    assert found == pytest.approx((plain.value / 2, plain.ci_low / 2, plain.ci_high / 2, 3))
    assert ratio_interval(above, above)[:3] == pytest.approx((1, 1, 1))


def test_ratios_of_little_and_nothing():
    assert ratio_interval([1.0], [4.0]) == (0.25, None, None, 1) and ratio_interval([1.0], [0.0]) is None
    with pytest.raises(ValueError, match="paired"):
        ratio_interval([1.0, 2.0], [1.0])


def test_fiellers_interval_covers_the_ratio():
    random = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        below = random.normal(3, 2, 11)
        found = ratio_interval(below - 1 + random.normal(0, 1, 11), below)
        held += found is not None and found.ci_low <= 2 / 3 <= found.ci_high
        held += found is None  # unbounded: holds it
    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_t_half_width():
    assert t_half_width(2.0, 4, 0.95) == pytest.approx(3.182446)


# ------------------------------------------------------------------------------------------------ mixed model
def test_one_seed_and_fold_is_students_t_over_users():
    values = np.random.default_rng(0).normal(3, 2, 9)
    interval, parts = mixed_interval(values[:, None, None])
    half = t_half_width(float(values.std(ddof=1)), 9)
    assert interval == pytest.approx((values.mean(), values.mean() - half, values.mean() + half, 9))
    assert parts.seed is None and parts.fold is None and parts.rest is None


def test_seeds_that_all_users_share_widen_the_interval_by_their_own_variance():
    """User and seed effects that only add up: the variance of the mean is known in closed form."""
    rng = np.random.default_rng(1)
    users, seeds = rng.normal(0, 3, 40), rng.normal(0, 2, 3)
    interval, parts = mixed_interval((users[:, None] + seeds)[:, :, None])
    variance = users.var(ddof=1) / 40 + seeds.var(ddof=1) / 3
    assert parts.user == pytest.approx(users.std(ddof=1)) and parts.seed == pytest.approx(seeds.std(ddof=1))
    alone, _ = mixed_interval(users[:, None, None])
    half = interval.ci_high - interval.value
    assert half > alone.ci_high - alone.value and half > 1.96 * variance**0.5
    more, _ = mixed_interval(np.tile(users, 50)[:, None, None] + seeds[:, None])
    assert more.ci_high - more.value > 1.96 * seeds.std(ddof=1) / 3**0.5, "more users do not make seeds agree"


def test_components_of_a_large_experiment_are_found_again():
    rng = np.random.default_rng(2)
    shape = (400, 40, 5)
    drawn = {"user": 5.0, "seed": 2.0, "user_by_seed": 3.0, "fold": 4.0, "rest": 6.0}
    values = (rng.normal(0, 5, (400, 1, 1)) + rng.normal(0, 2, (1, 40, 1)) + rng.normal(0, 3, (400, 40, 1))
              + rng.normal(0, 4, (400, 1, 5)) + rng.normal(0, 6, shape))
    _, parts = mixed_interval(values)
    assert parts._asdict() == pytest.approx(drawn, rel=0.25)


def test_the_mixed_interval_covers_the_mean_as_often_as_it_says():
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        values = (rng.normal(0, 4, (30, 1, 1)) + rng.normal(0, 2, (1, 3, 1)) + rng.normal(0, 3, (30, 1, 2))
                  + rng.normal(0, 3, (30, 3, 2)))
        interval, _ = mixed_interval(values)
        held += interval.ci_low <= 0 <= interval.ci_high
    assert 0.92 <= held / 400 <= 1.0


@pytest.mark.parametrize("values", [np.zeros((1, 3, 2)), np.zeros((3, 2)), np.full((3, 1, 1), np.nan), np.zeros((3, 0, 1))])
def test_a_mixed_model_needs_users(values):
    with pytest.raises(ValueError, match="users >= 2"):
        mixed_interval(values)
