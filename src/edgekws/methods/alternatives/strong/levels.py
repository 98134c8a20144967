"""What the strong bases learn from: mel levels of every clip, and of seconds of noise, packed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from edgekws.core import files
from edgekws.core.provenance import derive_seed
from edgekws.corpus import noise
from edgekws.features import pack
from edgekws.features.logmel import FloatArray, prepare
from edgekws.features.mfcc import BANDS, LEVEL_FRAMES, levels

NOISE_WINDOWS = 400
"""Seconds of noise that are kept, drawn evenly from all recordings."""


def extract(archive: Path, index_path: Path, out: Path, *, batch: int = 64, progress: bool = False) -> None:
    """Compute the mel levels of every clip of an index, in one pass over the archive, and write them to ``out`` (.npy).

    Row i of ``out`` is the clip whose ``clip`` is i in the index; float32 (clips, 94, 40), dB. A clip is brought to a peak of
    1 and to one second first (:func:`edgekws.features.logmel.prepare`). Memory is bounded by ``batch`` clips.

    Raises:
        UserError: An input is missing or not readable, a clip of the index is not in the archive, or the disk is full.
            Nothing is left of ``out`` then.
    """
    index, clips = pack.corpus_clips(archive, index_path, progress=progress)
    waves = pack.wave_batches(((row, prepare(samples)) for row, samples in clips), batch)
    batches: Iterable[tuple[list[int], FloatArray]] = ((rows, levels(torch.from_numpy(some)).numpy()) for rows, some in waves)
    with files.writing(out) as part:
        pack.write_rows(part, (len(index), LEVEL_FRAMES, BANDS), batches)


def extract_noise(archive: Path, out: Path, *, seed: int) -> None:
    """Mel levels of random seconds of the archive's noise recordings, float32 (seconds, 94, 40), to ``out`` (.npy).

    An archive without any (the synthetic one) gets made noise: pink and white.

    Raises:
        UserError: The archive cannot be read, or a noise recording is not 16 kHz mono 16-bit PCM.
    """
    sources = noise.recorded(archive) or noise.made(seed)
    generator = np.random.default_rng(derive_seed(seed, "seconds of noise"))
    seconds = np.stack([sources[place % len(sources)].second(generator) for place in range(NOISE_WINDOWS)])
    batches = ((list(range(start, start + len(some))), levels(torch.from_numpy(some)).numpy())
               for start in range(0, NOISE_WINDOWS, 64) if len(some := seconds[start:start + 64]))
    with files.writing(out) as part:
        pack.write_rows(part, (NOISE_WINDOWS, LEVEL_FRAMES, BANDS), batches)
