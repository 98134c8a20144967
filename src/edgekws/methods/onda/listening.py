"""Wake words in a recording of any length, as a device would find them; and a wake word taught by a few recordings.

A recording is one long utterance: padded, cut into windows and filtered exactly as section 3.3 of onda.md has it, so that
the smallest distance in a file is the file's score. Only a block of it is in memory.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.progress import tell, tqdm
from edgekws.core.provenance import provenance
from edgekws.corpus import audio, recordings
from edgekws.corpus.audio import CLIP_SAMPLES, FULL_SCALE, SAMPLE_RATE
from edgekws.corpus.stream import open_recording
from edgekws.features.mfcc import mfcc, utterance_mfcc
from edgekws.methods.onda import calibration
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.settings import Calibration, WakeWindows
from edgekws.methods.onda.windows import loudest_second
from edgekws.models import encoder as encoders

Samples = npt.NDArray[np.float32]

REFRACTORY = 1.0
"""Seconds after a detection in which no other is reported."""

_TEACH = "teach it again with `edgekws enrol` or `edgekws adapt`"
_MASKED = 30.0
"""Decibels below the wake word at which other speech is as good as silent."""


class Detection(NamedTuple):
    """A wake word found.

    Attributes:
        start: Second of the recording at which the window that matched begins; 0 where it begins in the padding.
        time: Second at which it ends, the recording's length at most.
        distance: Filtered squared distance from the prototype, 0 to 4.
    """

    start: float
    time: float
    distance: float


# ------------------------------------------------------------------------------------------------ teaching
def enrol(encoder_path: str | Path, out: str | Path, positives: Sequence[Path], negatives: Sequence[Path],
          settings: Calibration) -> str:
    """Teach an encoder a wake word without training: prototype, filter and thresholds (section 2.2).

    Args:
        encoder_path: As pre-trained, pruned or adapted; its weights stay as they are.
        out: Model to write.
        positives: Recordings of the wake word; the most energetic second of the word in each is taken.
        negatives: Recordings of other speech.

    Returns:
        A line to read. What was done to a recording, or is not as it should be, is told on stderr.

    Raises:
        UserError: A recording cannot be used, or the wake word cannot be told from the other speech.
    """
    net, backbone, metadata = encoders.load_encoder(encoder_path)
    embedder, windows = Embedder(net), WakeWindows()
    words, others = examples(positives, negatives)
    crops = torch.from_numpy(np.stack([loudest_second(samples, windows.crop_step) for samples in words]))
    prototype = functional.normalize(embedder.embed(mfcc(crops)).mean(0), dim=0)
    near, far = ([torch.cat(list(distances(embedder, prototype[None], [samples], windows.stride))) for samples in recordings]
                 for recordings in (words, others))
    found = calibration.thresholds(prototype, near, far, CLIP_SAMPLES // windows.stride, settings)
    if found.failed:
        raise UserError(
            f"the wake word cannot be told from other speech: a recording of it lies {found.positive_distance:.3f} from their "
            f"mean, other speech {found.positive_distance + found.gap:.3f}", where=positives[0].parent,
            remedy="record the wake word anew, alike each time and in quiet; or use an encoder that was trained longer")
    encoders.save_encoder(out, net, backbone, about={
        **metadata["settings"], "wake_word": calibration.as_settings(found, windows.stride),
        "enrolled": {"recordings": len(words), "negatives": len(others)}, "calibration": settings.model_dump(mode="json")},
        provenance=provenance(corpus=metadata["provenance"].get("corpus"), threads=torch.get_num_threads()))
    return (f"{len(words)} recordings within {found.positive_distance:.3f} of their mean, other speech at "
            f"{found.positive_distance + found.gap:.3f} or more; detects below {found.detection:.3f}, "
            f"filter of {found.filter}")


def examples(positives: Sequence[Path], negatives: Sequence[Path]) -> tuple[list[Samples], list[Samples]]:
    """The recordings to enrol with, checked one by one: wake words cut to the word, other speech in full.

    Raises:
        UserError: A recording cannot be read, is silent, is given twice, or holds several words where one is meant; of other
            speech also where it is as good as silent beside the wake word, since a detector against silence fires on
            everything.
    """
    def data(path: Path) -> bytes:
        return files.existing(path, "recording").read_bytes()

    words = [recordings.take(data(path), str(path)) for path in positives]
    others = [recordings.checked(audio.read(data(path), str(path)), str(path)) for path in negatives]
    first: dict[bytes, Path] = {}
    for path, (samples, notes) in zip([*positives, *negatives], [*words, *others], strict=True):
        key = samples.tobytes()
        if key in first:
            raise UserError(f"is the same recording as {first[key]}", where=path,
                            remedy="give every recording once; a copy is no second take, nor other speech")
        first[key] = path
        for note in notes:
            tell(f"{path}: {note}")
    level = float(np.median([recordings.loudness(found.samples) for found in words]))
    for path, found in zip(negatives, others, strict=True):
        if (below := level - recordings.loudness(found.samples)) > _MASKED:
            raise UserError(f"is {below:.0f} dB below the wake word, as good as silent: against it everything sounds like the "
                            "wake word", where=path, remedy="record other speech as loud as the wake word")

    def real(takes: list[recordings.Take]) -> list[Samples]:
        return [found.samples * np.float32(1 / FULL_SCALE) for found in takes]

    return real(words), real(others)


# ------------------------------------------------------------------------------------------------ listening
def listen(model: str | Path, recording: str | Path, *, threshold: float | None = None,
           progress: bool = False) -> Iterator[Detection]:
    """Detections in a recording, in turn: one for each run of windows below the threshold, at its smallest distance.

    A run whose smallest distance comes less than :data:`REFRACTORY` after the last detection is left out.

    Args:
        model: Written by ``edgekws adapt`` or ``edgekws enrol``.
        recording: WAV, FLAC, Ogg or whatever else libsndfile reads, of any rate; "-" takes standard input, also while it lasts.
        threshold: Squared distance; None takes the calibrated one.

    Raises:
        UserError: The model knows no wake word, or the recording is missing, damaged or empty.
    """
    encoder, _, metadata = encoders.load_encoder(model)
    word = metadata["settings"].get("wake_word")
    if not word:
        raise UserError("knows no wake word: it is an encoder as it was pre-trained", where=model,
                        remedy="personalise it with `edgekws adapt`, or teach it recordings with `edgekws enrol`")
    try:
        stride, length, calibrated = int(word["stride"]), int(word["filter"]), float(word["detection"])
        prototype = torch.tensor(word["prototype"], dtype=torch.float32)[None]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"its wake word lacks or garbles {error}", where=model, remedy=_TEACH) from error
    embedder = Embedder(encoder)
    fits = prototype.shape == embedder.embed(mfcc(torch.zeros(1, CLIP_SAMPLES))).shape and bool(prototype.isfinite().all())
    if not fits or stride < 1 or length < 1:
        raise UserError("its wake word does not fit its encoder", where=model, remedy=_TEACH)
    blocks = Counted(read_blocks(recording, progress=progress))
    found = distances(embedder, prototype, blocks, stride)
    last = -math.inf
    for window, distance in minima(smoothed(found, length), calibrated if threshold is None else threshold):
        # The filter looks back; pseudo-labels are cut from the same window.
        end = max(window - (length - 1), 0) * stride / SAMPLE_RATE
        if end - last >= REFRACTORY:
            last, seconds = end, blocks.samples / SAMPLE_RATE
            yield Detection(min(max(end - CLIP_SAMPLES / SAMPLE_RATE, 0.0), seconds), min(end, seconds), distance)


class Counted:
    """Blocks of a recording, passed on and counted.

    Attributes:
        samples: Of the blocks passed on.
    """

    def __init__(self, blocks: Iterable[Samples]) -> None:
        self._blocks, self.samples = blocks, 0

    def __iter__(self) -> Iterator[Samples]:
        for block in self._blocks:
            self.samples += len(block)
            yield block


def distances(embedder: Embedder, prototype: Tensor, blocks: Iterable[Samples], stride: int) -> Iterator[Tensor]:
    """Squared distances [windows] of a recording's windows from a prototype [1, E], some at a time."""
    for samples in stretches(blocks, stride):
        embeddings = embedder.embed(utterance_mfcc(torch.from_numpy(samples), stride))
        yield calibration.distances(embeddings, prototype)[:, 0]


def stretches(blocks: Iterable[Samples], stride: int) -> Iterator[Samples]:
    """A padded recording in overlapping pieces that hold every window whole and once.

    It is filled up with zeros to a second, and a second of zeros comes before and after.
    """
    kept, total = np.zeros(CLIP_SAMPLES, np.float32), 0
    for block in blocks:
        total += len(block)
        kept = np.concatenate([kept, block])
        # No more windows than the next one begins within what is there.
        windows = min(1 + (len(kept) - CLIP_SAMPLES) // stride, len(kept) // stride)
        if windows > 0:
            yield kept[:(windows - 1) * stride + CLIP_SAMPLES]
            kept = kept[windows * stride:]
    kept = np.concatenate([kept, np.zeros(CLIP_SAMPLES + max(CLIP_SAMPLES - total, 0), np.float32)])
    if len(kept) >= CLIP_SAMPLES:
        yield kept


def smoothed(chunks: Iterable[Tensor], length: int) -> Iterator[Tensor]:
    """:func:`edgekws.methods.onda.self_learning.filtered` of one utterance whose distances [windows] come some at a time."""
    before = torch.empty(0)
    for chunk in chunks:
        joined = torch.cat([before, chunk])
        yield calibration.filtered(joined, length)[len(before):]
        # One more than the filter is long: from there on it no longer matters where the utterance began.
        before = joined[-(length + 1):]


def minima(chunks: Iterable[Tensor], threshold: float) -> Iterator[tuple[int, float]]:
    """Place and value of the smallest (the first of equals) of each run of values below a threshold."""
    lowest: tuple[int, float] | None = None
    place = 0
    for chunk in chunks:
        for value in chunk.tolist():
            if value >= threshold:
                if lowest is not None:
                    yield lowest
                lowest = None
            elif lowest is None or value < lowest[1]:
                lowest = place, value
            place += 1
    if lowest is not None:
        yield lowest


def read_blocks(path: str | Path, *, progress: bool = False) -> Iterator[Samples]:
    """The samples [n] of a recording, full scale 1, at 16 kHz: half a minute at a time, less from a pipe ("-": standard input).

    What was done to it, another rate or several channels, is told on stderr.

    Raises:
        UserError: It is missing, damaged or empty.
    """
    piped = str(path) == "-"
    where = "standard input" if piped else str(files.existing(path, "recording"))
    with contextlib.nullcontext(sys.stdin.buffer) if piped else open(path, "rb") as file:
        recording = open_recording(file, where)
        if recording.converted:
            tell(f"{where}: {recording.converted}")
        total = None if recording.seconds is None else int(recording.seconds)
        with tqdm(total=total, unit=" s", disable=not progress, desc="listening") as bar:
            for block in recording.blocks:
                yield block
                bar.update(len(block) / SAMPLE_RATE)
