"""A person's own recordings of words: read from any format, checked one by one, and cut to the word in them.

What cannot be used is an error that names the recording; what can, but is not as it should be, has a note to be shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus.audio import CLIP_SAMPLES, FULL_SCALE, SAMPLE_RATE, Sound, encode_wav, read

SILENT_PEAK = 0.01
"""A recording whose largest sample is below this share of full scale (−40 dB) counts as silent."""

SHORTEST, LONGEST_WORD = 0.1, 2.0
"""Seconds that a recording has at least, and that speech without a pause has at most to be one word."""

PAUSE, BURST = 0.3, 0.08
"""Seconds: silence inside a word is shorter than the one, clicks and knocks are shorter than the other."""

_OFFSET, _CLIPPED = 0.01, 0.001
"""Shares: of full scale, a constant offset that is taken out; of all samples, those at full scale that are told of."""

_FRAME = SAMPLE_RATE // 100
_DEPTH, _ABOVE_NOISE = 25.0, 6.0  # dB below the loudest speech, and above the noise, that still count as speech
_MARGIN = SAMPLE_RATE // 4
_AGAIN = "record it again"

Samples = npt.NDArray[np.int16]


class Take(NamedTuple):
    """A recording of one word.

    Attributes:
        samples: int16 (n,) at 16 kHz: the word with a little around it, or the whole recording where it lasts a second at most.
        notes: What was done to it and what is not as it should be.
    """

    samples: Samples
    notes: list[str]


def take(data: bytes, where: str) -> Take:
    """A recording of one word.

    Args:
        data: The whole file, in any format of :func:`edgekws.corpus.audio.read`.
        where: What to call it in an error.

    Raises:
        UserError: It cannot be read, is silent or too short, or holds several words.
    """
    samples, notes = checked(read(data, where), where)
    if len(samples) <= CLIP_SAMPLES:
        return Take(samples, notes)
    spans = speech(samples)
    start, end = spans[0][0], spans[-1][1]
    if end - start > CLIP_SAMPLES and (len(spans) > 1 or end - start > LONGEST_WORD * SAMPLE_RATE):
        raise UserError(f"holds {_told(spans)}, not one word", where=where,
                        remedy="cut it at its pauses with `edgekws cut`, listen to the pieces, and give those that are good")
    first, last = max(start - _MARGIN, 0), min(end + _MARGIN, len(samples))
    if last - first < len(samples) - CLIP_SAMPLES // 2:
        notes.append(f"the word lies at {start / SAMPLE_RATE:.1f} to {end / SAMPLE_RATE:.1f} s "
                     f"of {len(samples) / SAMPLE_RATE:.1f} s")
    if end - start > CLIP_SAMPLES:
        notes.append(f"the word lasts {(end - start) / SAMPLE_RATE:.1f} s; its loudest second counts")
    return Take(samples[first:last], notes)


def checked(sound: Sound, where: str) -> Take:
    """A recording of anything, in full: its offset taken out, and what else is wrong with it.

    Raises:
        UserError: It is silent or too short.
    """
    notes = [sound.converted] if sound.converted else []
    samples = sound.samples
    if len(samples) < SHORTEST * SAMPLE_RATE:
        raise UserError(f"lasts {len(samples) / SAMPLE_RATE:.3f} s only", where=where, remedy=_AGAIN)
    if (share := _clipped(samples)) > _CLIPPED:
        notes.append(f"is clipped ({100 * share:.1f} % of it is at full scale): record it again, farther from the microphone")
    offset = float(samples.mean())
    if abs(offset) > _OFFSET * FULL_SCALE:
        samples = (samples - np.float32(offset)).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        notes.append(f"had a constant offset of {100 * offset / FULL_SCALE:.0f} % of full scale, which was taken out")
    if (peak := float(np.abs(samples.astype(np.int32)).max()) / FULL_SCALE) < SILENT_PEAK:
        level = f"its peak is at {20 * np.log10(peak):.0f} dB" if peak else "all samples are 0"
        raise UserError(f"is silent ({level})", where=where, remedy=f"{_AGAIN}, nearer to the microphone")
    return Take(samples, notes)


def speech(samples: Samples) -> list[tuple[int, int]]:
    """Where in a recording somebody speaks: first and last sample (exclusive) of each stretch between pauses, at least one.

    Speech is within :data:`_DEPTH` dB of the loudest of it and stands out from the noise; what is shorter than
    :data:`BURST` is a click, and what is closer than :data:`PAUSE` belongs together.
    """
    level = _levels(samples)
    loudest, noise = float(level.max()), float(np.percentile(level, 10))
    loud = np.flatnonzero(level >= max(loudest - _DEPTH, min(noise + _ABOVE_NOISE, loudest - _ABOVE_NOISE)))
    ends = np.flatnonzero(np.diff(loud) > PAUSE * SAMPLE_RATE / _FRAME)
    return [(int(first) * _FRAME, min((int(last) + 1) * _FRAME, len(samples)))
            for first, last in zip(loud[[0, *(ends + 1)]], loud[[*ends, -1]], strict=True)]


def loudness(samples: Samples) -> float:
    """Level of the loudest tenth of a second, clicks left out, in dB re full scale."""
    return float(_levels(samples).max())


def cut(path: Path, folder: Path) -> list[tuple[Path, float, float]]:
    """Cut a long recording at its pauses into ``<folder>/<name>_<number>.wav``, for a person to listen to.

    Returns:
        File, begin and end in seconds of each piece, in order.

    Raises:
        UserError: The recording cannot be used, or a file cannot be written.
    """
    path = files.existing(path, "recording")
    samples, _ = checked(read(path.read_bytes(), str(path)), str(path))
    pieces = []
    for number, (start, end) in enumerate(speech(samples), 1):
        first, last = max(start - _MARGIN // 2, 0), min(end + _MARGIN // 2, len(samples))
        with files.writing(folder / f"{path.stem}_{number}.wav") as part:
            part.write_bytes(encode_wav(samples[first:last]))
        pieces.append((folder / f"{path.stem}_{number}.wav", start / SAMPLE_RATE, end / SAMPLE_RATE))
    return pieces


def _levels(samples: Samples) -> npt.NDArray[np.float64]:
    """Power of each hundredth of a second in dB re full scale, without what is shorter than :data:`BURST`."""
    from scipy.ndimage import grey_opening

    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % _FRAME)) / FULL_SCALE
    level = 10 * np.log10(np.maximum((padded.reshape(-1, _FRAME) ** 2).mean(1), 1e-8))
    opened: npt.NDArray[np.float64] = grey_opening(level, (min(round(BURST * SAMPLE_RATE / _FRAME), len(level)),))
    return opened


def _clipped(samples: Samples) -> float:
    """Share of the samples that lie at full scale, three or more in a row."""
    full = np.abs(samples.astype(np.int32)) >= 0.998 * FULL_SCALE
    three = full[:-2] & full[1:-1] & full[2:]
    inside = np.zeros(len(full), bool)
    for shift in range(3):
        inside[shift:shift + len(three)] |= three
    return float(inside.mean())


def _told(spans: list[tuple[int, int]]) -> str:
    if len(spans) == 1:
        return f"{(spans[0][1] - spans[0][0]) / SAMPLE_RATE:.1f} s of speech without a pause"
    places = ", ".join(f"{start / SAMPLE_RATE:.1f}–{end / SAMPLE_RATE:.1f} s" for start, end in spans[:4])
    return f"{len(spans)} stretches of speech ({places}{', …' if len(spans) > 4 else ''})"
