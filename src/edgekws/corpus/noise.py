"""Noise to add to speech: recordings in an archive of Google Speech Commands, or made where there are none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekws.core.provenance import derive_seed
from edgekws.corpus.archive import read_members
from edgekws.corpus.audio import CLIP_SAMPLES, FULL_SCALE, SAMPLE_RATE, decode, is_audio

FOLDER = "_background_noise_"
"""Where an archive in GSC's layout keeps its noise recordings."""

MADE_SECONDS, MADE_LEVEL = 60, -49.0
"""Length of a noise that is made, and its level (power, dB re full scale): the median of the recorded ones."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Noise:
    """A noise recording: ``samples`` (n,) float32 from -1 to 1, at 16 kHz."""

    name: str
    samples: FloatArray

    def second(self, generator: np.random.Generator) -> FloatArray:
        """A random second of it, (16000,); a recording that is shorter is repeated."""
        if len(self.samples) <= CLIP_SAMPLES:
            return np.resize(np.roll(self.samples, generator.integers(len(self.samples))), CLIP_SAMPLES)
        start = generator.integers(len(self.samples) - CLIP_SAMPLES + 1)
        return self.samples[start:start + CLIP_SAMPLES]


def recorded(archive: Path) -> list[Noise]:
    """The noise recordings of an archive, by name; none where it has none.

    Raises:
        UserError: The archive cannot be read, or a recording cannot be read or is not 16 kHz mono.
    """
    found = [Noise(name.rpartition("/")[2], decode(data, f"{archive}: {name}") * np.float32(1 / FULL_SCALE))
             for name, data in read_members(archive)
             if data is not None and is_audio(name) and name.split("/")[-2:-1] == [FOLDER]]
    return sorted(found, key=lambda noise: noise.name)


def made(seed: int) -> list[Noise]:
    """A minute each of pink noise (power falls as 1 / f) and white noise."""
    noises = []
    for name, slope in (("made pink noise", 0.5), ("made white noise", 0.0)):
        white = np.random.default_rng(derive_seed(seed, name)).standard_normal(MADE_SECONDS * SAMPLE_RATE)
        frequency = np.maximum(np.fft.rfftfreq(len(white), 1 / SAMPLE_RATE), 20.0)  # flat below what one hears
        noise = np.fft.irfft(np.fft.rfft(white) * frequency ** -slope, len(white))
        noise *= 10 ** (MADE_LEVEL / 20) / np.sqrt(np.mean(noise**2))
        noises.append(Noise(name, noise.astype(np.float32)))
    return noises


def mix(clip: FloatArray, noise: FloatArray, snr_db: float, *, level_of: FloatArray | None = None) -> FloatArray:
    """A clip with noise at a signal-to-noise ratio: of their powers over all samples, pauses included.

    Args:
        clip: (n,) float32 from -1 to 1.
        noise: (n,), at any level.
        level_of: The part of the clip whose power counts; all of it if not given.

    Returns:
        (n,) float32, clipped to -1 and 1. A silent clip stays silent; silent noise adds nothing.
    """
    signal = np.mean(np.square(clip if level_of is None else level_of, dtype=np.float64))
    disturbance = np.mean(np.square(noise, dtype=np.float64))
    if disturbance == 0:
        return clip.copy()
    gain = np.sqrt(signal / disturbance * 10 ** (-snr_db / 10))
    mixed: FloatArray = np.clip(clip + np.float32(gain) * noise, -1, 1)
    return mixed
