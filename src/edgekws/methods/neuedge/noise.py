"""Test clips with background noise, and background noise alone (neuedge.md, section 7, items 3 and 12).

The recordings of ``_background_noise_`` of Google Speech Commands serve. The synthetic corpus has none: there pink and
white noise are made, as the result says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.corpus.noise import made, mix, recorded
from edgekws.features import pack, unit_logmel
from edgekws.features.settings import LogMel
from edgekws.methods.neuedge.settings import NoiseTest

FloatArray = npt.NDArray[np.float32]


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
