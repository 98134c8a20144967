"""Eq. 11: its sign, its clamp, and the toy population of the specification."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.neurons.adaptive import AdaptiveRule

RULE = AdaptiveRule(gamma=0.5, targets=(0.1, 0.3), decay=0.9, clamp=(0.5, 2.0))
OPEN = (-np.inf, np.inf)


@pytest.mark.parametrize("layer", [0, 1])
def test_as_printed_a_quiet_layer_gets_a_higher_threshold(layer):
    target = RULE.targets[layer]
    factors = RULE.factor(np.array([target - 0.05, target, target + 0.05]), layer)
    np.testing.assert_allclose(factors, [1.025, 1, 0.975])
    flipped = replace(RULE, sign=-1).factor(np.array([target - 0.05, target + 0.05]), layer)
    np.testing.assert_allclose(flipped, [0.975, 1.025])


def test_without_gain_the_threshold_is_fixed():
    assert (replace(RULE, gamma=0.0).factor(np.linspace(0, 1, 5), 0) == 1).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_factors_stay_within_the_clamp(sign):
    rule = replace(RULE, gamma=10.0, sign=sign)
    factors = rule.factor(np.linspace(0, 1, 101), 1)
    assert factors.min() == 0.5 and factors.max() == 2


def test_an_empty_clamp_is_refused():
    with pytest.raises(UserError, match="clamp"):
        replace(RULE, clamp=(2.0, 0.5))


def test_activity_is_a_running_mean():
    activity = RULE.follow(0.1, np.array([0.2, 0.0]))
    np.testing.assert_allclose(activity, [0.11, 0.09])
    np.testing.assert_allclose(RULE.follow(activity, np.array([0.0, 1.0])), [0.099, 0.181])


def test_clips_do_not_mix():
    rates = np.random.default_rng(0).random((30, 4))

    def run(columns):
        activity = np.full(len(columns), 0.1)
        for rate in rates[:, columns]:
            activity = RULE.follow(activity, rate)
        return RULE.factor(activity, 0)

    together = run([0, 1, 2, 3])
    np.testing.assert_array_equal(together, np.concatenate([run([column]) for column in range(4)]))
    assert len(set(together)) == 4


def test_tensors_and_arrays_agree():
    activity = np.linspace(0, 1, 7)
    rule = replace(RULE, gamma=4.0)
    np.testing.assert_array_equal(rule.factor(torch.from_numpy(activity), 1).numpy(), rule.factor(activity, 1))
    np.testing.assert_array_equal(rule.follow(torch.from_numpy(activity), torch.from_numpy(activity[::-1].copy())).numpy(),
                                  rule.follow(activity, activity[::-1]))


# ------------------------------------------------------------------------------------------------ the toy
def rate(current, gamma, sign=1, clamp=OPEN):
    """Mean rate of 512 LIF units (leak 0.9, threshold 1, soft reset) from step 100 to 400, all one layer of one clip.

    The specification leaves the input open; currents drawn anew at each step from an exponential distribution, of mean
    0.25 (busy) or 0.08 (quiet), give its numbers.
    """
    rule = AdaptiveRule(gamma, (0.1,), 0.9, clamp, sign)
    currents = current * np.random.default_rng(0).exponential(size=(400, 512))
    potential, activity, rates = np.zeros(512), np.array(0.1), []
    for step in currents:
        threshold = rule.factor(activity, 0)
        potential = 0.9 * potential + step
        spikes = potential >= threshold
        potential = potential - threshold * spikes
        rates.append(spikes.mean())
        activity = rule.follow(activity, spikes.mean())
    return np.mean(rates[100:])


BUSY, QUIET = 0.25, 0.08


@pytest.mark.parametrize(("gamma", "sign", "busy", "quiet"), [
    pytest.param(0, 1, 0.196, 0.018, id="fixed"),
    pytest.param(1, 1, 0.235, 0.013, id="as printed"),
    pytest.param(1, -1, 0.179, 0.026, id="flipped"),
])
def test_rates_of_the_specifications_toy(gamma, sign, busy, quiet):
    assert rate(BUSY, gamma, sign) == pytest.approx(busy, abs=0.0015)
    assert rate(QUIET, gamma, sign) == pytest.approx(quiet, abs=0.0015)


def test_a_gain_of_two_runs_away():
    assert rate(BUSY, 2) == 1
    assert rate(QUIET, 2) < 0.5 * rate(QUIET, 0)


@pytest.mark.parametrize("gamma", [0.5, 1, 2, 5])
def test_the_flipped_sign_draws_both_towards_the_target(gamma):
    assert rate(QUIET, 0) < rate(QUIET, gamma, -1) < 0.1 < rate(BUSY, gamma, -1) < rate(BUSY, 0)


def test_the_clamp_keeps_a_gain_of_two_from_running_away():
    assert rate(BUSY, 2, clamp=(0.5, 2.0)) < 0.6
