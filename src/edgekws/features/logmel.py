"""Log-mel frames with first and second differences: the front end of Traces Propagation.

Source: traces_propagation.md, section 4, steps 1–6 (the pipeline its authors took over from the recurrent SNN of
Yin, Corradi and Bohte). Step 7, the scale over a set of clips, is in :mod:`edgekws.features.normalise`.

The authors call librosa once per file. Here a block of clips goes through one real FFT and two banded matrix
products, with the constants computed once and the large arrays in between reused; the tests hold the result against
librosa.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from edgekws.core.errors import UserError
from edgekws.corpus.audio import CLIP_SAMPLES, SAMPLE_RATE, fit_length
from edgekws.features.settings import Features, LogMel

# Clips computed together, and pieces a banded matrix is cut into: what is fastest on one core.
_BLOCK, _STRIPS = 8, 4

# Slaney's mel scale: linear below 1 kHz, then 27 mels for each factor of 6.4.
_KNEE, _HERTZ_PER_MEL, _MELS_PER_LOG = 1000.0, 200 / 3, 27 / float(np.log(6.4))

FloatArray = npt.NDArray[np.float32]


def frames_of(settings: Features | LogMel, samples: int = CLIP_SAMPLES) -> int:
    """Frames in a clip of ``samples`` samples with ``window // 2`` zeros on either side."""
    return 1 + (samples - settings.window % 2) // settings.hop


def prepare(samples: npt.NDArray[np.int16]) -> FloatArray:
    """Steps 1 and 2: a recording scaled to a peak of 1 (silence stays silence), then one second of it.

    Args:
        samples: (n,) 16-bit samples at 16 kHz.

    Returns:
        (16000,) float32: shorter recordings centred between zeros, longer ones cropped by
        :func:`edgekws.corpus.audio.fit_length`.
    """
    peak = max(int(samples.max(initial=0)), -int(samples.min(initial=0)), 1)
    return fit_length(np.divide(samples, peak, dtype=np.float32), CLIP_SAMPLES)


def mel_filters(settings: Features | LogMel) -> FloatArray:
    """Triangular filters on Slaney's mel scale, each of unit area (librosa's defaults).

    Returns:
        (mels, window // 2 + 1) float32, from a power spectrum to mel bands.

    Raises:
        UserError: The range of frequencies is empty, or a band holds no frequency of the spectrum.
    """
    edges = _hertz(np.linspace(_mel(settings.lowest), _mel(settings.highest), settings.mels + 2))[:, None]
    hertz = np.fft.rfftfreq(settings.window, 1 / SAMPLE_RATE)
    widths = np.diff(edges, axis=0)
    if not (widths > 0).all():
        raise UserError(f"the lowest frequency ({settings.lowest:g} Hz) is not below the highest "
                        f"({settings.highest:g} Hz)", where="setting 'features.lowest'", remedy="swap or mend them")
    rising, falling = (hertz - edges[:-2]) / widths[:-1], (edges[2:] - hertz) / widths[1:]
    filters: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    if not filters.any(axis=1).all():
        raise UserError(f"{settings.mels} mel bands are too many for a window of {settings.window} samples: "
                        "a band holds no frequency", where="setting 'features.mels'",
                        remedy="take fewer bands, a wider range of frequencies or a longer window")
    return filters.astype(np.float32)


def _mel(hertz: float) -> float:
    return min(hertz, _KNEE) / _HERTZ_PER_MEL + _MELS_PER_LOG * float(np.log(max(hertz, _KNEE) / _KNEE))


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    knee = _mel(_KNEE)
    hertz: npt.NDArray[np.float64] = np.minimum(mel, knee) * _HERTZ_PER_MEL
    return hertz * np.exp(np.maximum(mel - knee, 0) / _MELS_PER_LOG)


def difference_operator(frames: int, width: int) -> FloatArray:
    """Identity, first and second difference over time as one matrix: ``librosa.feature.delta`` is linear.

    Each is a Savitzky-Golay derivative over ``width`` frames with a polynomial of its own order, fitted to the
    outermost ``width`` frames at the ends.

    Returns:
        (frames * 3, frames) float32; row ``3 * t + order`` gives the difference of that order at frame t.

    Raises:
        UserError: The clip has fewer than ``width`` frames.
    """
    from scipy.signal import savgol_filter

    if frames < width:
        raise UserError(f"differences over {width} frames need at least as many; a clip has {frames}",
                        where="setting 'features.delta_width'", remedy="take a narrower window or a smaller hop")
    identity = np.eye(frames)
    first, second = (savgol_filter(identity, width, polyorder=order, deriv=order, axis=0, mode="interp")
                     for order in (1, 2))
    return np.stack([identity, first, second], axis=1).reshape(3 * frames, frames).astype(np.float32)


class _Strip(NamedTuple):
    """Some rows of a banded matrix, without the columns in which all of them are 0."""

    rows: slice
    columns: slice
    values: FloatArray


def _strips(matrix: FloatArray) -> list[_Strip]:
    height = -(-len(matrix) // _STRIPS)
    strips = []
    for first in range(0, len(matrix), height):
        values = matrix[first:first + height]
        used = np.flatnonzero(values.any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        strips.append(_Strip(slice(first, first + height), columns, np.ascontiguousarray(values[:, columns])))
    return strips


@functools.lru_cache(maxsize=4)
def _mel_strips(settings: Features | LogMel) -> list[_Strip]:
    # A complex spectrum seen as real numbers alternates real and imaginary parts. With each mel weight repeated,
    # one product over their squares adds both up and applies the filters.
    return _strips(np.repeat(mel_filters(settings), 2, axis=1))


@functools.lru_cache(maxsize=4)
def _difference_strips(frames: int, width: int) -> list[_Strip]:
    return _strips(difference_operator(frames, width))


def mel_blocks(waves: FloatArray, settings: Features | LogMel) -> Iterator[tuple[slice, torch.Tensor]]:
    """Mel power spectra of some clips at a time: Hann window, frames centred on every ``hop``-th sample, zeros outside.

    Args:
        waves: (clips, samples) float32.

    Yields:
        The clips' rows, and their spectra, [8, frames, mels] float32. The tensor is used again for the next block; of
        the last one only as many clips as there are rows count.

    Raises:
        UserError: The settings make an empty mel band.
    """
    clips, samples = waves.shape
    strips = _mel_strips(settings)
    frames, before = frames_of(settings, samples), settings.window // 2
    reach = max(strip.columns.stop for strip in strips)

    window = torch.hann_window(settings.window, periodic=True, dtype=torch.float64)
    padded = torch.zeros(_BLOCK, samples + 2 * before, dtype=torch.float64)
    windowed = torch.empty(_BLOCK, frames, settings.window, dtype=torch.float64)
    spectrum = torch.empty(_BLOCK, frames, before + 1, dtype=torch.complex128)
    power = torch.empty(_BLOCK, frames, reach)
    mel = torch.empty(_BLOCK, frames, settings.mels)

    for start in range(0, clips, _BLOCK):
        rows = slice(start, min(start + _BLOCK, clips))
        padded.numpy()[:rows.stop - start, before:before + samples] = waves[rows]
        # The spectrum in double precision, as librosa's: the rounding of single precision is white noise, which shows
        # in a band that stays 90 dB below the loudest one, once that band is divided by its own deviation.
        torch.mul(padded.unfold(1, settings.window, settings.hop), window, out=windowed)
        np.fft.rfft(windowed.numpy(), out=spectrum.numpy())  # torch's would not fill an array that is there
        power.copy_(torch.view_as_real(spectrum).flatten(2)[:, :, :reach]).square_()
        for bands, columns, values in strips:
            np.matmul(power.numpy()[:, :, columns], values.T, out=mel.numpy()[:, :, bands])
        yield rows, mel


def log_mel_deltas(waves: FloatArray, settings: Features) -> FloatArray:
    """Steps 3 to 6: frames of log1p(S / max S) and their differences, each in units of its deviation over time.

    S is the mel power spectrum (Hann window, frames centred on every ``hop``-th sample, zeros outside the clip); the
    maximum is the clip's. Every (channel, mel) is divided by its standard deviation over the clip's frames (of the
    population; 0 counts as 1); the mean stays. A silent clip gives zeros.

    Args:
        waves: (clips, samples) float32, each prepared by :func:`prepare`.

    Returns:
        (clips, frames, 3 * mels) float32; feature ``channel * mels + mel``, channels log-mel, first and second
        difference. A clip's features do not depend on the clips computed with it.

    Raises:
        UserError: The settings make an empty mel band, or ask for differences wider than a clip.
    """
    clips, samples = waves.shape
    frames, mels = frames_of(settings, samples), settings.mels
    differences = _difference_strips(frames, settings.delta_width)
    result = np.empty((clips, frames, 3 * mels), dtype=np.float32)
    features = torch.empty(_BLOCK, frames, 3 * mels)
    squares = torch.empty_like(features)

    for rows, mel in mel_blocks(waves, settings):
        mel.div_(_nonzero(mel.amax((1, 2), keepdim=True))).log1p_()
        for outputs, columns, values in differences:
            np.matmul(values, mel.numpy()[:, columns], out=features.numpy().reshape(_BLOCK, -1, mels)[:, outputs])
        # torch.std takes ten times as long on this layout.
        torch.sub(features, features.mean(1, keepdim=True), out=squares).square_()
        features.div_(_nonzero(squares.mean(1, keepdim=True).sqrt_()))
        result[rows] = features.numpy()[:rows.stop - rows.start]
    return result


def _nonzero(values: torch.Tensor) -> torch.Tensor:
    """Divisors: ``values``, with 1 for 0."""
    return torch.where(values > 0, values, 1)
