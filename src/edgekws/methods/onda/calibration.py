"""From a few recordings of a user: the prototype, the filter and the thresholds (onda.md, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.settings import Calibration
from edgekws.methods.onda.windows import Windows

if TYPE_CHECKING:
    import pandas as pd

Rows = npt.NDArray[np.int64]


def distances(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """Squared distances [n, u] of embeddings [n, E] from prototypes [u, E], both of length 1; differentiable."""
    return 2 - 2 * embeddings @ prototypes.T


def filtered(found: Tensor, length: int) -> Tensor:
    """Causal moving average over the windows of one utterance (section 3.3).

    Value t is the mean of the ``length`` values before it, the current one excluded; the first ``length + 1`` values stay
    as they are, and so do all where the length is 1.

    Args:
        found: Distances [windows, ...].
    """
    smooth = found.clone()
    steps = len(found) - length - 1
    if length > 1 and steps > 0:
        # Sums in one order, whatever the shape: a stream that comes in pieces has the same bits.
        total = found[1:1 + steps].clone()
        for delay in range(1, length):
            total += found[1 + delay:1 + delay + steps]
        smooth[length + 1:] = total / length
    return smooth


def utterance_scores(found: Tensor, first: Rows, windows: Rows, lengths: Sequence[int]) -> Tensor:
    """The smallest filtered distance of each utterance, [utterances, u].

    Args:
        found: Distances [windows, u] of many utterances' windows from the prototypes of u users.
        first: Where in it each utterance begins.
        windows: How many windows each has.
        lengths: Each user's filter.
    """
    starts = np.cumsum(windows) - windows
    places = np.arange(int(windows.sum())) - np.repeat(starts, windows)
    rows = torch.from_numpy(np.repeat(first, windows) + places)
    scores = found.new_empty(len(first), len(lengths))
    for length in sorted(set(lengths)):
        users = [user for user, own in enumerate(lengths) if own == length]
        smooth = _filtered_utterances(found[rows][:, users], places, length)
        scores[:, users] = torch.from_numpy(np.minimum.reduceat(smooth.numpy(), starts, axis=0))
    return scores


def _filtered_utterances(found: Tensor, places: Rows, length: int) -> Tensor:
    """:func:`filtered` of each of the utterances whose windows [windows, u] follow one another.

    Args:
        places: Of each window in its utterance.
    """
    return torch.where(torch.from_numpy(places > length)[:, None], filtered(found, length), found)


class Draw(NamedTuple):
    """What is known of a user and what they are tested with: rows of the table of windows.

    Attributes:
        user: Whose draw it is.
        recordings: Wake words that the user records.
        negatives: Other utterances beside them, the same for all users; they are not tested with.
        queries: The user's other wake words.
    """

    user: str
    recordings: Rows
    negatives: Rows
    queries: Rows


def draw(table: pd.DataFrame, user: str, settings: Calibration, seed: int) -> Draw:
    """Draw a user's recordings, and the other utterances that all users of this seed have beside theirs.

    Args:
        table: As it is for the user (:func:`edgekws.methods.onda.roles.for_user`).

    Raises:
        UserError: Nothing would be left to test with.
    """
    own = np.flatnonzero(table["role"] == "user")
    # Other words by the user's own voice are tested with alone: every user has the same utterances beside their recordings.
    others = np.flatnonzero((table["role"] == "negative") & (table["keyword"] == ""))
    if len(own) <= settings.recordings:
        raise UserError(f"has {len(own)} wake words; {settings.recordings} recordings leave none to test with",
                        where=f"user {user}",
                        remedy="lower onda.calibration.recordings, or raise onda.corpus.minimum_positives above it")
    if len(others) <= settings.negatives:
        raise UserError(f"is {settings.negatives}, which leaves none of the {len(others)} negatives to test with",
                        where="onda.calibration.negatives", remedy="lower it, or give a larger corpus")
    own = np.random.default_rng(derive_seed(seed, f"onda recordings {user}")).permutation(own)
    others = np.random.default_rng(derive_seed(seed, "onda negatives")).permutation(others)
    return Draw(user, np.sort(own[:settings.recordings]), np.sort(others[:settings.negatives]),
                np.sort(own[settings.recordings:]))


@dataclass(frozen=True)
class Calibrated:
    """What a device knows of its user's wake word. Distances are filtered.

    Attributes:
        prototype: Mean embedding of the recordings, [E] of length 1.
        filter: Length of the moving average, windows.
        positive_distance: Of the recording farthest from the prototype, D_p.
        gap: By which the nearest negative is farther than that, D_n - D_p.
        low: An utterance nearer than this is a pseudo-positive, Th_L.
        high: One farther than this is a pseudo-negative, Th_H.
        detection: The device detects below this.
    """

    prototype: Tensor
    filter: int
    positive_distance: float
    gap: float
    low: float
    high: float
    detection: float

    @property
    def failed(self) -> bool:
        """Whether a negative is as near as a recording: no threshold tells them apart (gap 16)."""
        return self.gap <= 0


def crops_of(windows: Windows, drawn: Draw) -> npt.NDArray[np.float32]:
    """MFCC [K, 47, 10] of the most energetic second of each of a user's recordings."""
    crops: npt.NDArray[np.float32] = windows.crops[windows.table["crop"].to_numpy()[drawn.recordings]]
    return crops


def calibrate(embedder: Embedder, windows: Windows, drawn: Draw, settings: Calibration) -> Calibrated:
    """Prototype, filter and thresholds of a user of the corpus (section 2.2)."""
    prototype = functional.normalize(embedder.embed(crops_of(windows, drawn)).mean(0), dim=0)

    def found(row: int) -> Tensor:
        first, count = windows.table[["first", "windows"]].iloc[row]
        return distances(embedder.embed(windows.mfcc[first:first + count]), prototype[None])[:, 0]

    return thresholds(prototype, [found(row) for row in drawn.recordings], [found(row) for row in drawn.negatives],
                      CLIP_SAMPLES // windows.stride, settings)


def thresholds(prototype: Tensor, positives: Sequence[Tensor], negatives: Sequence[Tensor], padding: int,
               settings: Calibration) -> Calibrated:
    """The filter with the largest gap, of equals the shortest, and thresholds by shares of it (gap 20: the code's form).

    Args:
        prototype: [E]; what the distances are from.
        positives: Distances [windows] of each of the user's recordings.
        negatives: The same of other utterances.
        padding: How many windows at either end of an utterance do not count: those that lie in its padding, mostly.
    """
    def score(found: Tensor, length: int) -> float:
        return float(filtered(found, length)[padding:len(found) - padding].min())

    def ends(length: int) -> tuple[float, float]:
        return max(score(found, length) for found in positives), min(score(found, length) for found in negatives)

    best = max(sorted(settings.filters), key=lambda length: ends(length)[1] - ends(length)[0])
    positive, negative = ends(best)
    gap = negative - positive
    return Calibrated(prototype, best, positive, gap, low=positive + min(settings.low * gap, settings.cap),
                      high=positive + settings.high * gap, detection=positive + min(settings.detection * gap, settings.cap))


def as_settings(calibrated: Calibrated, stride: int) -> dict[str, Any]:
    """A calibration as JSON values, for a model's metadata; ``stride`` is the samples between windows."""
    return {"prototype": calibrated.prototype.tolist(), "filter": calibrated.filter, "stride": stride,
            "detection": calibrated.detection, "low": calibrated.low, "high": calibrated.high,
            "positive_distance": calibrated.positive_distance, "gap": calibrated.gap}
