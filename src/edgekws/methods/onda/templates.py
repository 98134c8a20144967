"""Nearest template by dynamic time warping: the simplest detector that works from a few recordings, with nothing trained.

The distance of a window from a recording is that of their MFCC along the path that bends time least: Euclidean costs summed by
Sakoe and Chiba's symmetric steps (1978, a diagonal step counts twice), divided by the path's weight. Coefficients are centred
and scaled within each second, so that neither a microphone's colour nor its loudness counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_BLOCK = 2048  # windows compared at once


def normalised(windows: Floats) -> Floats:
    """MFCC [n, frames, coefficients], each coefficient of a window with mean 0 and deviation 1 over its frames."""
    centred = windows - windows.mean(1, keepdims=True)
    return np.asarray(centred / (centred.std(1, keepdims=True) + 1e-3), np.float32)


def warped(templates: Floats, windows: Floats, band: int) -> Floats:
    """Distance of each window from each template.

    Args:
        templates: [t, frames, coefficients], as of :func:`normalised`.
        windows: [n, frames, coefficients], likewise.
        band: Frames by which a path may lie off the diagonal.

    Returns:
        [n, t]; 0 for the same second.
    """
    found = np.empty((len(windows), len(templates)), np.float32)
    for start in range(0, len(windows), _BLOCK):
        block = np.ascontiguousarray(np.moveaxis(windows[start:start + _BLOCK], 0, 2))  # [frames, coefficients, block]
        for number, template in enumerate(templates):
            found[start:start + _BLOCK, number] = _one(template, block, band)
    return found


def _one(template: Floats, block: Floats, band: int) -> Floats:
    """[block] distances from one template; ``block`` is [frames, coefficients, block]."""
    frames, far = len(template), np.float32(np.inf)
    squares = np.square(block).sum(1)  # [frames, block]
    before = np.full((frames + 1, block.shape[2]), far, np.float32)
    for row in range(frames):
        low, high = max(0, row - band), min(frames, row + band + 1)
        dots = np.einsum("c,fcn->fn", template[row], block[low:high])
        costs = np.sqrt(np.maximum(np.square(template[row]).sum() + squares[low:high] - 2 * dots, 0))
        here = np.full_like(before, far)
        for place in range(low, high):
            cost = costs[place - low]
            if row == place == 0:
                here[1] = 2 * cost
                continue
            # here[place + 1] is column ``place``; index 0 stays out of reach.
            here[place + 1] = np.minimum(np.minimum(before[place + 1], here[place]) + cost, before[place] + 2 * cost)
        before = here
    return np.asarray(before[frames] / (2 * frames), np.float32)


def scores(distances: Floats, first: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of each utterance the distance of its nearest window from the nearest template.

    Args:
        distances: [windows of all utterances in turn, templates].
        first: Where in it each utterance begins.
    """
    return np.minimum.reduceat(distances.min(1), first).astype(np.float64)
