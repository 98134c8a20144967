"""Test clips with background noise, and background noise alone (neuedge.md, section 7, items 3 and 12).

The recordings of ``_background_noise_`` of Google Speech Commands serve. The synthetic corpus has none: there pink and
white noise are made, as the result says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.corpus.archive import read_members
from edgekws.corpus.audio import CLIP_SAMPLES, FULL_SCALE, SAMPLE_RATE, decode, is_audio
from edgekws.features import pack, unit_logmel
from edgekws.features.settings import LogMel
from edgekws.methods.neuedge.settings import NoiseTest

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


def mix(clip: FloatArray, noise: FloatArray, snr_db: float) -> FloatArray:
    """A clip with noise at a signal-to-noise ratio: of their powers over all samples, pauses included.

    Args:
        clip: (n,) float32 from -1 to 1.
        noise: (n,), at any level.

    Returns:
        (n,) float32, clipped to -1 and 1. A silent clip stays silent; silent noise adds nothing.
    """
    signal, disturbance = np.mean(np.square(clip, dtype=np.float64)), np.mean(np.square(noise, dtype=np.float64))
    if disturbance == 0:
        return clip.copy()
    gain = np.sqrt(signal / disturbance * 10 ** (-snr_db / 10))
    mixed: FloatArray = np.clip(clip + np.float32(gain) * noise, -1, 1)
    return mixed


def noisy_features(archive: Path, index_path: Path, scale: unit_logmel.Scale, front: LogMel, test: NoiseTest, out: Path,
                   *, seed: int, batch: int = 64, progress: bool = False) -> None:
    """Write features of test clips at every signal-to-noise ratio, and of noise alone.

    At most ``test.clips`` clips of the test split (no repeats of others) are taken, drawn by the seed. A clip's noise is
    one second of one recording, the same at every ratio, and depends on the seed and the clip alone. Noise alone is at
    the level at which it was recorded; there are a quarter as many such seconds as clips.

    ``out`` is a .npy file of float32 (rows, steps, bands), on ``scale``. Beside it a table (``.parquet``) says what each
    row is: row, clip (of the index; -1 for noise alone), snr_db (NaN for noise alone), source (name of the noise); its
    metadata hold ``made`` (whether the noise was made, for want of recordings), ``sources`` and ``seed``.

    Raises:
        UserError: An input is missing or not readable, the index has no test clip, a clip is not in the archive, or the
            disk is full. Nothing is left of ``out`` then.
    """
    import pandas as pd

    from edgekws.corpus.index import iter_clips, read_index

    index, _ = read_index(index_path)
    candidates = index[(index["split"] == "test") & (index["repeat_of"] == "")]
    if candidates.empty:
        raise UserError("holds no test clip to add noise to", where=index_path,
                        remedy="take a corpus with speakers of the test split")
    draw = np.random.default_rng(derive_seed(seed, "noise clips")).permutation(len(candidates))[:test.clips]
    chosen = candidates.iloc[np.sort(draw)]
    noises = recorded(archive)
    is_made = not noises
    noises = noises or made(seed)

    place = {int(clip): row for row, clip in enumerate(chosen["clip"])}
    count, alone = len(place), max(1, len(place) // 4)

    def draw_noise(job: str) -> tuple[str, FloatArray]:
        generator = np.random.default_rng(derive_seed(seed, job))
        noise = noises[generator.integers(len(noises))]
        return noise.name, noise.second(generator)

    clips: Iterable[pack.Clip] = iter_clips(archive, chosen)
    if progress:
        from edgekws.core.progress import tqdm

        clips = tqdm(clips, total=count, unit="clip")
    sources = [""] * (count * len(test.snr_db) + alone)

    def waves() -> Iterator[tuple[int, FloatArray]]:
        for clip, samples in clips:
            name, noise = draw_noise(f"noise {clip}")
            wave = unit_logmel.prepare(samples)
            for level, snr_db in enumerate(test.snr_db):
                row = level * count + place[clip]
                sources[row] = name
                yield row, mix(wave, noise, snr_db)
        for number in range(alone):
            row = len(sources) - alone + number
            sources[row], noise = draw_noise(f"noise alone {number}")
            yield row, noise

    out = Path(out)
    with files.writing(out) as part:
        pack.write_rows(part, (len(sources), unit_logmel.steps_of(front), front.mels),
                        ((rows, unit_logmel.features(some, front, scale))
                         for rows, some in pack.wave_batches(waves(), batch)))
    table = pd.DataFrame({
        "row": np.arange(len(sources)),
        "clip": [*np.tile(chosen["clip"], len(test.snr_db)), *[-1] * alone],
        "snr_db": [*np.repeat(np.array(test.snr_db, float), count), *[np.nan] * alone],
        "source": sources})
    files.write_table(out.with_suffix(".parquet"), table,
                      {"made": is_made, "sources": [noise.name for noise in noises], "seed": seed})
