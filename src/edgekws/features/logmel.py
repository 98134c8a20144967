"""Log-mel frames with first and second differences: the front end of Traces Propagation.

Source: traces_propagation.md, section 4, steps 1–6 (the pipeline its authors took over from the recurrent SNN of
Yin, Corradi and Bohte). Step 7, the scale over a set of clips, is in :mod:`edgekws.features.normalise`.

The authors call librosa once per file. Here a few clips at a time go through one real FFT and two matrix products
per clip, with the constants computed once and the arrays in between reused; the tests hold the result against librosa.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from edgekws.corpus.audio import CLIP_SAMPLES, SAMPLE_RATE, fit_length
from edgekws.errors import UserError
from edgekws.settings import Features

# Clips computed together: few enough for the arrays in between to stay in a core's cache.
_BLOCK = 2

# Slaney's mel scale: linear below 1 kHz, then 27 mels for each factor of 6.4.
_KNEE, _HERTZ_PER_MEL, _MELS_PER_LOG = 1000.0, 200 / 3, 27 / float(np.log(6.4))

FloatArray = npt.NDArray[np.float32]


def frames_of(settings: Features, samples: int = CLIP_SAMPLES) -> int:
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


def mel_filters(settings: Features) -> FloatArray:
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
    """First and second difference over time as one matrix: ``librosa.feature.delta`` is linear.

    Each is a Savitzky-Golay derivative over ``width`` frames with a polynomial of its own order, fitted to the
    outermost ``width`` frames at the ends.

    Returns:
        (frames * 2, frames) float32; rows 2 t and 2 t + 1 give the first and the second difference at frame t.

    Raises:
        UserError: The clip has fewer than ``width`` frames.
    """
    from scipy.signal import savgol_filter

    if frames < width:
        raise UserError(f"differences over {width} frames need at least as many; a clip has {frames}",
                        where="setting 'features.delta_width'", remedy="take a narrower window or a smaller hop")
    both = [savgol_filter(np.eye(frames), width, polyorder=order, deriv=order, axis=0, mode="interp")
            for order in (1, 2)]
    return np.stack(both, axis=1).reshape(2 * frames, frames).astype(np.float32)


class _Constants(NamedTuple):
    window: npt.NDArray[np.float64]  # (window,), Hann, periodic
    bins: slice  # the columns of the interleaved spectrum that reach a mel band
    mel: FloatArray  # (columns in bins, mels)
    differences: FloatArray  # (frames * 2, frames)


@functools.lru_cache(maxsize=4)
def _constants(settings: Features, samples: int) -> _Constants:
    filters = mel_filters(settings)
    used = np.flatnonzero(filters.any(axis=0))
    first, end = int(used[0]), int(used[-1]) + 1
    # A complex spectrum seen as real numbers alternates real and imaginary parts. With each mel weight repeated,
    # one product over their squares adds both up and applies the filters.
    mel = np.repeat(filters[:, first:end].T, 2, axis=0)
    return _Constants(np.hanning(settings.window + 1)[:-1], slice(2 * first, 2 * end), mel,
                      difference_operator(frames_of(settings, samples), settings.delta_width))


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
    window, bins, mel_weights, differences = _constants(settings, samples)
    frames, mels, before = frames_of(settings, samples), settings.mels, settings.window // 2
    result = np.empty((clips, frames, 3 * mels), dtype=np.float32)

    # The spectrum in double precision, as librosa's: the rounding of single precision is white noise, which shows in
    # a band that stays 90 dB below the loudest one, once that band is divided by its own deviation.
    padded = np.zeros((_BLOCK, samples + 2 * before))
    framed = sliding_window_view(padded, settings.window, axis=1)[:, ::settings.hop]
    windowed = np.empty(framed.shape)
    spectrum = np.empty((_BLOCK, frames, before + 1), dtype=np.complex128)
    used = spectrum.view(np.float64)[:, :, bins]
    power = np.empty(used.shape, dtype=np.float32)
    features = np.empty((_BLOCK, frames, 3 * mels), dtype=np.float32)

    for start in range(0, clips, _BLOCK):
        block = waves[start:start + _BLOCK]  # a short last one leaves old rows behind it, which are not kept
        padded[:len(block), before:before + samples] = block
        np.multiply(framed, window, out=windowed)
        np.fft.rfft(windowed, out=spectrum)
        power[...] = used
        np.square(power, out=power)
        mel = power @ mel_weights
        mel = _log1p(mel / _nonzero(mel.max(axis=(1, 2), keepdims=True)))
        features[:, :, :mels] = mel
        features[:, :, mels:] = (differences @ mel).reshape(_BLOCK, frames, 2 * mels)
        features /= _nonzero(features.std(axis=1, keepdims=True))
        result[start:start + _BLOCK] = features[:len(block)]
    return result


def _nonzero(values: FloatArray) -> FloatArray:
    """Divisors: ``values``, with 1 for 0."""
    return np.where(values > 0, values, np.float32(1))


def _log1p(x: FloatArray) -> FloatArray:
    """log(1 + x) of x ≥ 0 to single precision; numpy's own takes five times as long.

    With u the rounded 1 + x, log(1 + x) = log u + (x − (u − 1)) / u to first order in the rounding.
    """
    u = x + np.float32(1)
    result: FloatArray = np.log(u) + (x - (u - np.float32(1))) / u
    return result
