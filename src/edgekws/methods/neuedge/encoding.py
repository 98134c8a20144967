"""From features to spikes: a rate code, and the hybrid temporal code (neuedge.md, Eq. 6 and 7).

The time axis of the sound is that of the network, so the input x of Eq. 7 changes, and with it the threshold at every
step. Each channel (a band's level, its rise, its fall) has one leaky unit, which spikes at most once a step::

    v <- leak v + gain x        threshold = base_threshold (1 - alpha x)
    s  = 1 if v >= threshold    v <- v - threshold s

A spike takes away the threshold that it crossed, not the base threshold: only that reproduces the counts of the
specification's section 8. With alpha = 0 this is a plain LIF code, without chance and without modulation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekws.methods.neuedge.settings import Encoder

Features = npt.NDArray[np.float32]
Spikes = npt.NDArray[np.uint8]

_BLOCK = 128  # clips encoded together: their state stays in the cache


def channels(features: Features, encoder: Encoder) -> Features:
    """What the units are driven by: the bands' levels, and beside them how much each has risen or fallen.

    A feed-forward layer of leaky neurons smooths its input and cannot tell an onset from an offset by itself.

    Args:
        features: (clips, steps, bands) from 0 to 1.

    Returns:
        (clips, steps, units) from 0 to 1: all levels, then all rises and all falls over ``lag`` steps, if there is a
        lag; before a clip's start its first step is taken to last.
    """
    if encoder.lag == 0:
        return features
    before = np.concatenate([np.repeat(features[:, :1], encoder.lag, axis=1), features[:, :-encoder.lag]], axis=1)
    change = np.float32(encoder.lag_gain) * (features - before[:, :features.shape[1]])
    return np.concatenate([features, np.clip(change, 0, 1), np.clip(-change, 0, 1)], axis=2)


def units_of(bands: int, encoder: Encoder) -> int:
    """Units of the encoder for features of ``bands`` bands."""
    return bands * (3 if encoder.lag else 1)


def bernoulli(features: Features, generator: np.random.Generator) -> Spikes:
    """The rate code: at each step each unit spikes with probability x, independently of everything else.

    Args:
        features: (clips, steps, units) from 0 to 1; any shape will do.

    Returns:
        0 and 1, uint8, of the same shape.
    """
    spikes = np.empty(features.shape, np.uint8)
    for start in range(0, len(features), _BLOCK):
        block = features[start:start + _BLOCK]
        spikes[start:start + _BLOCK] = generator.random(block.shape, dtype=np.float32) < block
    return spikes


def thresholds(features: Features, encoder: Encoder) -> Features:
    """Eq. 7: base_threshold (1 - alpha x), of the shape of ``features``; positive for x from 0 to 1, as alpha < 1."""
    modulated: Features = np.float32(encoder.base_threshold) * (1 - np.float32(encoder.alpha) * features)
    return modulated


def hybrid(features: Features, encoder: Encoder) -> Spikes:
    """The hybrid temporal code; ``alpha`` = 0 makes it the plain LIF code.

    Args:
        features: (clips, steps, units) from 0 to 1.

    Returns:
        0 and 1, uint8, (clips, steps, units). A clip's spikes do not depend on the clips encoded with it.
    """
    spikes = np.empty(features.shape, np.uint8)
    for start in range(0, len(features), _BLOCK):
        block = np.ascontiguousarray(features[start:start + _BLOCK].swapaxes(0, 1))
        currents, limits = np.float32(encoder.gain) * block, thresholds(block, encoder)
        potential = np.zeros_like(block[0])
        for step, (current, threshold) in enumerate(zip(currents, limits, strict=True)):
            potential *= np.float32(encoder.leak)
            potential += current
            fired = potential >= threshold
            np.subtract(potential, threshold, out=potential, where=fired)
            spikes[start:start + _BLOCK, step] = fired
    return spikes
