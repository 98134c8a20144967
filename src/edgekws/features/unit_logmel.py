"""Log-mel frames on a scale from 0 to 1: the front end of NeuEdge.

Source: neuedge.md, section 4 (the paper leaves the front end open). Frames of 25 ms every 10 ms, averaged over ``pool``
of them into one time step of the network; each band on a scale from the 1st percentile of the training clips (0) to the
99th (1), clipped. A recording keeps its loudness: nothing is divided by the clip's own peak, so silence is quiet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.corpus.audio import CLIP_SAMPLES, FULL_SCALE, fit_length
from edgekws.features import logmel, pack
from edgekws.features.settings import LogMel

FLOOR = 1e-5
"""Added to the mel power (full scale 1) before the logarithm: about what white noise of -56 dB puts into a band.

Some training clips are all but silent, so the 1st percentile of every band is this floor, and it says what is 0.
"""

FloatArray = npt.NDArray[np.float32]

# The histogram that percentiles are read from: log values lie in this range (a wave of full scale stays below
# 400 * 150 * 0.02 = e^7.1), and a bin is 1/1024 neper (0.004 dB) wide.
_RANGE, _BINS_PER_UNIT = (-24, 8), 1024
_CHUNK = 256


@dataclass(frozen=True)
class Scale:
    """What becomes 0 and 1 of each band: log mel power at the two percentiles, (bands,) each."""

    low: FloatArray
    high: FloatArray

    def apply(self, values: FloatArray) -> FloatArray:
        """Log values (..., bands) on the scale from 0 to 1, clipped; a band that never changes becomes 0."""
        width = self.high - self.low
        scaled: FloatArray = values - self.low
        scaled /= np.where(width > 0, width, np.float32(np.inf))
        return scaled.clip(0, 1, out=scaled)


def steps_of(front: LogMel, samples: int = CLIP_SAMPLES) -> int:
    """Time steps of a clip: its whole hops, ``pool`` at a time; a remainder is dropped.

    Raises:
        UserError: A clip does not hold one time step.
    """
    steps = samples // front.hop // front.pool
    if not steps:
        raise UserError(f"a clip of {samples} samples has no time step of {front.pool} frames",
                        where="setting 'features.pool'", remedy="pool fewer frames, or take a smaller hop")
    return steps


def prepare(samples: npt.NDArray[np.int16]) -> FloatArray:
    """One second of a recording, full scale 1, (16000,) float32; see :func:`edgekws.corpus.audio.fit_length`."""
    return fit_length(samples) * np.float32(1 / FULL_SCALE)


def log_mel(waves: FloatArray, front: LogMel) -> FloatArray:
    """Natural logarithm of mel power (plus :data:`FLOOR`), averaged over ``pool`` frames.

    Args:
        waves: (clips, samples) float32 from -1 to 1.

    Returns:
        (clips, steps, bands) float32, not yet on a scale. A clip's values do not depend on the clips computed with it.

    Raises:
        UserError: The settings make an empty mel band, or no time step.
    """
    clips, samples = waves.shape
    steps, pool = steps_of(front, samples), front.pool
    result = np.empty((clips, steps, front.mels), dtype=np.float32)
    for rows, mel in logmel.mel_blocks(waves, front):
        frames = mel[:rows.stop - rows.start, :steps * pool].add_(FLOOR).log_()
        result[rows] = frames.reshape(-1, steps, pool, front.mels).mean(2).numpy()
    return result


def features(waves: FloatArray, front: LogMel, scale: Scale) -> FloatArray:
    """:func:`log_mel` on the scale, (clips, steps, bands) float32 from 0 to 1."""
    return scale.apply(log_mel(waves, front))


class Histogram:
    """Counts of log values in each band, to read percentiles from: memory does not grow with the clips."""

    def __init__(self, bands: int) -> None:
        self.counts = np.zeros((bands, (_RANGE[1] - _RANGE[0]) * _BINS_PER_UNIT), np.int64)

    def add(self, values: FloatArray) -> None:
        """Count values (..., bands)."""
        bands, bins = self.counts.shape
        places = np.clip((values - _RANGE[0]) * _BINS_PER_UNIT, 0, bins - 1).astype(np.int64).reshape(-1, bands)
        places += np.arange(bands) * bins
        self.counts += np.bincount(places.ravel(), minlength=bands * bins).reshape(bands, bins)

    def percentile(self, percent: float) -> FloatArray:
        """The percentile of each band, (bands,): the upper edge of its bin, so that the value itself is not above it."""
        reached = np.cumsum(self.counts, axis=1)
        rank = percent / 100 * reached[:, -1:]
        edges: FloatArray = ((np.argmax(reached >= rank, axis=1) + 1) / _BINS_PER_UNIT + _RANGE[0]).astype(np.float32)
        return edges


def extract(archive: Path, index_path: Path, out: Path, front: LogMel, *, batch: int = 64,
            progress: bool = False) -> None:
    """Write the features of every clip of an index, and beside them (``.json``) the scale fitted to the training clips.

    Row i of ``out`` is the clip whose ``clip`` is i in the index; float32 (clips, steps, bands). One pass over the
    archive, a second over the file; memory is bounded by ``batch`` clips and the histogram.

    Raises:
        UserError: An input is missing or not readable, a clip of the index is not in the archive, there is no training
            clip, a setting does not fit, or the disk is full. Nothing is left of ``out`` then.
    """
    index, clips = pack.corpus_clips(archive, index_path, progress=progress)
    training = np.zeros(len(index), dtype=bool)
    training[index["clip"]] = index["split"] == "train"
    if not training.any():
        raise UserError("holds no training clip to fit the scale to", where=index_path,
                        remedy="take a corpus with speakers of the training split")
    histogram = Histogram(front.mels)

    def batches() -> Iterator[tuple[list[int], FloatArray]]:
        for rows, waves in pack.wave_batches(((row, prepare(samples)) for row, samples in clips), batch):
            values = log_mel(waves, front)
            histogram.add(values[training[rows]])
            yield rows, values

    shape = (len(index), steps_of(front), front.mels)
    with files.writing(out) as part:
        pack.write_rows(part, shape, batches())
        scale = Scale(*(histogram.percentile(percent) for percent in front.percentiles))
        with part.open("r+b") as file:
            _rescale(file, shape, scale)
        files.write_json(scale_path(out), {"low": scale.low.tolist(), "high": scale.high.tolist(), "floor": FLOOR,
                                           "training_clips": int(training.sum()), "settings": front.model_dump()})


def _rescale(file: BinaryIO, shape: tuple[int, int, int], scale: Scale) -> None:
    """Put a file of log values on the scale, in place, some clips at a time."""
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    for start in range(0, shape[0], _CHUNK):
        place, clips = file.tell(), min(_CHUNK, shape[0] - start)
        values = np.frombuffer(file.read(clips * shape[1] * shape[2] * 4), np.float32).reshape(clips, *shape[1:])
        file.seek(place)
        file.write(scale.apply(values).data)


def scale_path(features_path: Path) -> Path:
    """The JSON file beside a features file."""
    return Path(features_path).with_suffix(".json")


def read_scale(path: Path) -> tuple[Scale, LogMel]:
    """The scale and the front end's settings that :func:`extract` wrote; ``path``: the JSON file or the .npy beside it.

    Raises:
        UserError: The file is missing, or holds something else.
    """
    path, remedy = scale_path(path), "delete it and extract the features again"
    stored = files.read_json(path)
    try:
        front = settings.validate(LogMel, stored["settings"], where=str(path))
        low, high = (np.array(stored[name], dtype=np.float32) for name in ("low", "high"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("is not a scale of features", where=path, remedy=remedy) from error
    if low.shape != (front.mels,) or high.shape != (front.mels,):
        raise UserError(f"holds a scale of {low.size} and {high.size} bands, not {front.mels}", where=path, remedy=remedy)
    return Scale(low, high), front
