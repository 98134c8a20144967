"""Coding efficiency: bits of mutual information between input and spikes, per spike (neuedge.md, Eq. 8).

The paper names no estimator. Ours (section 7, item 10): the plug-in estimate between the input, in quantile bins, and
the pair of spike count and time of the first spike, with the correction of Miller and Madow; beside it the same estimate
after the pairs were shuffled, which should be 0 and shows what bias is left. The efficiency rises by itself as spikes
vanish, so information and spikes are always given with it.

Speech is not constant, so a sample is a *window* of 25 steps (the length of the specification's toy; half a second) of
one unit: its input is the mean over the window, its spikes are those in the window. The units run on from one window to
the next, as they do on a chip. Each unit is estimated by itself, over all clips and windows, and the units' mean is
given. How the input moves within a window is thus left out: the figure says how well spikes tell the level of a band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.encoding import Features, Spikes

WINDOW = 25
"""Steps of a window."""

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Information:
    """Means over units, each per window.

    Attributes:
        bits: Mutual information of a unit's input and spikes, corrected.
        plug_in: The same, not corrected.
        control: As ``bits``, with windows shuffled.
        spikes: Spikes of a unit.
        bits_per_spike: Eq. 8, what the bits exceed their control by, per spike; NaN where there is no spike.
    """

    bits: float
    plug_in: float
    control: float
    spikes: float

    @property
    def bits_per_spike(self) -> float:
        return (self.bits - self.control) / self.spikes if self.spikes else float("nan")


def entropy(codes: Codes, *, corrected: bool) -> float:
    """Entropy in bits of what ``codes`` (samples,) are drawn from; plug-in, or with Miller's and Madow's correction.

    The correction is (k - 1) / (2 n) nats, with k codes that occur among n samples.
    """
    counts = np.bincount(codes)
    counts = counts[counts > 0]
    shares = counts / len(codes)
    bits = -float((shares * np.log2(shares)).sum())
    return bits + corrected * (len(counts) - 1) / (2 * len(codes) * math.log(2))


def mutual_information(first: Codes, second: Codes, *, corrected: bool = True) -> float:
    """Mutual information in bits of two discrete variables, (samples,) codes from 0 each: H(a) + H(b) - H(a, b)."""
    joint = first * (int(second.max()) + 1) + second
    return (entropy(first, corrected=corrected) + entropy(second, corrected=corrected)
            - entropy(np.unique(joint, return_inverse=True)[1].reshape(-1), corrected=corrected))


def quantile_bins(values: Features, bins: int) -> Codes:
    """Bins of equal share, by the values' own quantiles: (samples,) from 0. Equal values share a bin."""
    edges = np.quantile(values, np.arange(1, bins) / bins)
    codes: Codes = np.searchsorted(edges, values, side="right").astype(np.int64)
    return codes


def pair_codes(spikes: Spikes) -> Codes:
    """One number for spike count and time of the first spike (one past the end without any).

    Args:
        spikes: (samples, steps, units).

    Returns:
        (samples, units).
    """
    steps = spikes.shape[1]
    counts = spikes.sum(axis=1, dtype=np.int64)
    first = np.where(counts > 0, spikes.argmax(axis=1), steps)
    codes: Codes = counts * (steps + 1) + first
    return codes


def windows(values: npt.NDArray[np.generic], length: int = WINDOW) -> npt.NDArray[np.generic]:
    """(clips, steps, units) cut into (clips * windows, length, units); what is left at a clip's end is dropped.

    Raises:
        UserError: A clip is shorter than a window.
    """
    _, steps, units = values.shape
    if steps < length:
        raise UserError(f"a clip of {steps} time steps holds no window of {length}", where="information per spike",
                        remedy="pool fewer frames into a time step")
    return values[:, :steps // length * length].reshape(-1, length, units)


def coding_efficiency(features: Features, spikes: Spikes, *, bins: int, seed: int, window: int = WINDOW) -> Information:
    """Information in the spikes of an encoder about its input, unit by unit.

    Args:
        features: (clips, steps, units), what was encoded.
        spikes: The same shape, 0 and 1.
        bins: Quantile bins of the input.
        seed: Of the shuffled control.
        window: Steps of a window.

    Raises:
        UserError: A clip is shorter than a window.
    """
    level = windows(features, window).mean(axis=1, dtype=np.float64)
    fired: Spikes = windows(spikes, window).astype(np.uint8, copy=False)
    codes = pair_codes(fired)
    generator = np.random.default_rng(seed)
    rows = []
    for unit in range(codes.shape[1]):
        binned, code = quantile_bins(level[:, unit], bins), codes[:, unit]
        rows.append((mutual_information(binned, code), mutual_information(binned, code, corrected=False),
                     mutual_information(binned, generator.permutation(code))))
    bits, plug_in, control = np.mean(rows, axis=0).tolist()
    return Information(bits, plug_in, control, float(fired.sum(axis=1, dtype=np.int64).mean()))
