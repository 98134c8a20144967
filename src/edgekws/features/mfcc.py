"""MFCC of one-second windows: the front end of the wake-word encoders (onda.md, section 3.1).

A frame is 640 samples under a periodic Hann window, in the middle of the 1024 that its spectrum is taken of; the first
frame of a second starts at sample 192, the next ones 320 samples apart. Mel bands are Slaney's (40, from 0 to 8000 Hz,
each of unit area), levels 10 log10(max(power, 1e-10)) dB, and what lies more than 80 dB below the loudest value of its
own window is raised to that. The cosine transform is orthonormal (DCT-II).
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.features.logmel import mel_filters
from edgekws.features.settings import LogMel

FRAMES, COEFFICIENTS = 47, 10
"""Extents of the MFCC of a second."""

LEVEL_FRAMES, BANDS = 2 * FRAMES, 40
"""Extents of the mel levels of a second."""

WINDOW, SPECTRUM, HOP = 640, 1024, 320
"""Samples of a frame, of its spectrum, and from one frame to the next."""

_BEFORE = (SPECTRUM - WINDOW) // 2  # of a frame's samples, outside the window
_LEAST_POWER, RANGE_DB = 1e-10, 80.0
SILENCE_DB = 10 * math.log10(_LEAST_POWER)
_BLOCK = 12 * FRAMES  # frames whose spectra are taken together: what stays in the cache


@torch.no_grad()
def mfcc(waves: Tensor) -> Tensor:
    """MFCC of some seconds, each by itself: what else is among ``waves`` does not matter.

    Args:
        waves: [n, 16000] float32 at 16 kHz, full scale 1.

    Returns:
        [n, 47, 10] float32, without a gradient.

    Raises:
        ValueError: The waves have another length or type.
    """
    _check(waves)
    frames = waves[:, _BEFORE:].unfold(1, WINDOW, HOP)[:, :FRAMES]
    levels = waves.new_empty(len(waves) * FRAMES, BANDS)
    step = _BLOCK // FRAMES
    for start in range(0, len(waves), step):
        some = frames[start:start + step].reshape(-1, WINDOW)
        levels[start * FRAMES:start * FRAMES + len(some)] = _mel_levels(some)
    return _coefficients(levels.view(-1, FRAMES, BANDS))


@torch.no_grad()
def levels(waves: Tensor) -> Tensor:
    """Mel levels of some seconds at twice the frame rate of :func:`mfcc`, before its floor: what can still be augmented.

    Frame 2 i is frame i of the MFCC, and :func:`of_levels` of the even frames is the MFCC itself.

    Args:
        waves: [n, 16000] float32 at 16 kHz, full scale 1.

    Returns:
        [n, 94, 40] float32, dB re full scale, without a gradient; -100 dB where there is no sound.

    Raises:
        ValueError: The waves have another length or type.
    """
    _check(waves)
    frames = waves[:, _BEFORE:].unfold(1, WINDOW, HOP // 2)[:, :LEVEL_FRAMES]
    found = waves.new_empty(len(waves), LEVEL_FRAMES, BANDS)
    for wave, out in zip(frames, found, strict=True):
        out.copy_(_mel_levels(wave))
    return found


def of_levels(found: Tensor) -> Tensor:
    """MFCC [n, 47, 10] of levels [n, 94, 40] as of :func:`levels`."""
    return _coefficients(found[:, ::2])


@torch.no_grad()
def utterance_mfcc(samples: Tensor, stride: int) -> Tensor:
    """MFCC of all windows of one second that begin ``stride`` samples apart in an utterance.

    As :func:`mfcc` of the windows cut out, but a spectrum that several windows share is taken once (at a stride of
    2000 samples nearly every one serves two windows), and none of a frame of zeros.

    Args:
        samples: [16000 or more] float32 at 16 kHz, padded already.
        stride: Samples between the windows' beginnings.

    Returns:
        [1 + (samples - 16000) // stride, 47, 10] float32, without a gradient.

    Raises:
        ValueError: The samples are too few, or have another type or shape.
    """
    if samples.ndim != 1 or len(samples) < CLIP_SAMPLES or samples.dtype != torch.float32:
        raise ValueError(f"expected at least {CLIP_SAMPLES} float32 samples, got {samples.dtype} of {list(samples.shape)}")
    windows = 1 + (len(samples) - CLIP_SAMPLES) // stride
    starts = _BEFORE + stride * torch.arange(windows)[:, None] + HOP * torch.arange(FRAMES)
    starts, places = torch.unique(starts, return_inverse=True)
    sounding = torch.nonzero(samples)[:, 0]
    first, last = (int(sounding[0]), int(sounding[-1])) if len(sounding) else (len(samples), -1)
    heard = torch.nonzero((starts > first - WINDOW) & (starts <= last))[:, 0]
    levels = samples.new_full((len(starts), BANDS), SILENCE_DB)
    frames = samples.unfold(0, WINDOW, 1)
    for block in range(0, len(heard), _BLOCK):
        some = heard[block:block + _BLOCK]
        levels[some] = _mel_levels(frames[starts[some]])
    return _coefficients(levels[places])


def _check(waves: Tensor) -> None:
    if waves.ndim != 2 or waves.shape[1] != CLIP_SAMPLES or waves.dtype != torch.float32:
        raise ValueError(f"expected float32 waves of shape [n, {CLIP_SAMPLES}], got {waves.dtype} of {list(waves.shape)}")


def _mel_levels(frames: Tensor) -> Tensor:
    """Levels of the mel bands, [n, 40] dB, of frames [n, 640]."""
    hann, filters, _ = _constants(frames.device)
    padded = frames.new_zeros(len(frames), SPECTRUM)  # where the zeros are changes the phase alone
    torch.mul(frames, hann, out=padded[:, :WINDOW])
    spectrum = torch.fft.rfft(padded)
    power: Tensor = spectrum.real.square().add_(spectrum.imag.square())
    return (power @ filters).clamp_(min=_LEAST_POWER).log10_().mul_(10)


def _coefficients(levels: Tensor) -> Tensor:
    """The first cosine coefficients, [n, 47, 10], of levels [n, 47, 40] dB."""
    floor = levels.amax((1, 2), keepdim=True) - RANGE_DB
    _, _, cosines = _constants(levels.device)
    return torch.maximum(levels, floor) @ cosines


@functools.lru_cache(maxsize=2)
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Hann window [640], mel filters [513, 40] and cosines [40, 10]."""
    bands = LogMel(window=SPECTRUM, hop=HOP, mels=BANDS, lowest=0, highest=8000)
    middles = (torch.arange(BANDS, dtype=torch.float64) + 0.5) / BANDS
    cosines = math.sqrt(2 / BANDS) * torch.cos(math.pi * middles[:, None] * torch.arange(COEFFICIENTS))
    cosines[:, 0] /= math.sqrt(2)
    filters = torch.from_numpy(mel_filters(bands)).T.contiguous()
    return torch.hann_window(WINDOW).to(device), filters.to(device), cosines.float().to(device)


def cosines() -> Tensor:
    """The cosine transform, [40, 10], from levels of the mel bands to coefficients."""
    return _constants(torch.device("cpu"))[2]
