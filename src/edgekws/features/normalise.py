"""Step 7 of the front end: features in units of their standard deviation over a set of clips.

Two ways (traces_propagation.md, section 7, item 7), one function. *Per set*, as the authors do: the scale of the very
set that is normalised, query set included (transductive, not to be had on a device). *Frozen*: the scale of the base
training set, computed once and shipped with the model.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

Array = TypeVar("Array", npt.NDArray[np.float32], torch.Tensor)

_CHUNK = 256


def set_scale(features: Array, rows: npt.NDArray[np.int64] | None = None) -> Array:
    """Standard deviation of each feature over clips and time: the second of :func:`set_moments`, (features,) float32."""
    return set_moments(features, rows)[1]


def set_moments(features: Array, rows: npt.NDArray[np.int64] | None = None) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature over clips and time (unbiased, as torch.std; 0 becomes 1).

    Computed in double precision in pieces of 256 clips, so a memory map of any length will do.

    Args:
        features: (clips, frames, features); an array, a memory map or a tensor.
        rows: (draws,) clips to take, with repetition (a balanced draw, say); all of them once where not given.

    Returns:
        Each (features,) float32, of the kind (and on the device) of ``features``.
    """
    rows = np.arange(len(features)) if rows is None else rows
    # Sums of differences from one frame: no cancellation, and exactly 0 for a feature that never changes.
    origin = torch.as_tensor(features[rows[:1]])[0, 0].double()
    total, squares = torch.zeros_like(origin), torch.zeros_like(origin)
    for start in range(0, len(rows), _CHUNK):
        chunk = torch.as_tensor(features[rows[start:start + _CHUNK]]).double() - origin
        total += chunk.sum((0, 1))
        squares += chunk.square_().sum((0, 1))
    count = len(rows) * features.shape[1]
    deviation = ((squares - total.square() / count).clamp_(min=0) / (count - 1)).sqrt()
    mean, scale = (origin + total / count).float(), torch.where(deviation > 0, deviation, 1).float()
    return (mean, scale) if isinstance(features, torch.Tensor) else (mean.numpy(), scale.numpy())
