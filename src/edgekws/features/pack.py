"""A corpus's features in one file: .npy, float32, (clips, frames, features), read as a memory map."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.features import logmel
from edgekws.features.settings import Features

if TYPE_CHECKING:
    import pandas as pd

Clip = tuple[int, npt.NDArray[np.int16]]


def extract(archive: Path, index_path: Path, out: Path, settings: Features, *, batch: int = 64,
            progress: bool = False) -> None:
    """Compute the features of every clip of an index, in one pass over the archive, and write them to ``out``.

    Row i of ``out`` is the clip whose ``clip`` is i in the index. Memory is bounded by ``batch`` clips.

    Raises:
        UserError: An input is missing or not readable, a clip of the index is not in the archive, a setting does
            not fit, or the disk is full. Nothing is left of ``out`` then.
    """
    index, clips = corpus_clips(archive, index_path, progress=progress)
    with files.writing(out) as part:
        extract_waves(clips, len(index), settings, part, batch=batch)


def corpus_clips(archive: Path, index_path: Path, *, progress: bool) -> tuple[pd.DataFrame, Iterable[Clip]]:
    """The table of an index, and a stream of its clips in the archive's order, with a bar if wanted.

    Raises:
        UserError: The index is not readable; while streaming, the archive is not, or does not fit the index.
    """
    from edgekws.corpus.index import iter_clips, read_index

    index, _ = read_index(index_path)
    clips: Iterable[Clip] = iter_clips(archive, index)
    if progress:
        from edgekws.core.progress import tqdm

        clips = tqdm(clips, total=len(index), unit="clip")
    return index, clips


def extract_waves(clips: Iterable[Clip], n: int, settings: Features, path: Path, *, batch: int = 64) -> None:
    """Write the features of clips 0 to n - 1, which may come in any order, to ``path``.

    Args:
        clips: (row, (samples,) int16 at 16 kHz); any length, see :func:`edgekws.features.logmel.prepare`.

    Raises:
        OSError: The disk is full; found out before the first clip is computed where the system can reserve space.
    """
    write_rows(path, (n, logmel.frames_of(settings), 3 * settings.mels), feature_batches(clips, settings, batch))


def write_rows(path: Path, shape: tuple[int, int, int], batches: Iterable[tuple[list[int], logmel.FloatArray]]) -> None:
    """Write a .npy file of float32 in this shape, row by row in any order, as (rows, their values) come.

    Not through a memory map: mapped pages would count as this process's memory, and a full disk would kill it instead
    of raising.

    Raises:
        OSError: The disk is full; found out before the first row is asked for where the system can reserve space.
    """
    row_bytes = shape[1] * shape[2] * 4
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        start = file.tell()
        if hasattr(os, "posix_fallocate"):
            file.flush()
            os.posix_fallocate(file.fileno(), 0, start + shape[0] * row_bytes)
        else:
            file.truncate(start + shape[0] * row_bytes)
        for rows, features in batches:
            for row, feature in zip(rows, features, strict=True):
                file.seek(start + row * row_bytes)
                file.write(feature.data)


def feature_batches(clips: Iterable[Clip], settings: Features,
                    batch: int) -> Iterator[tuple[list[int], logmel.FloatArray]]:
    """Rows and features (at most ``batch``, frames, features) of a stream of clips, in its order."""
    for rows, waves in wave_batches(((row, logmel.prepare(samples)) for row, samples in clips), batch):
        yield rows, logmel.log_mel_deltas(waves, settings)


def wave_batches(waves: Iterable[tuple[int, logmel.FloatArray]],
                 batch: int) -> Iterator[tuple[list[int], logmel.FloatArray]]:
    """Rows and waves (at most ``batch``, samples) of a stream of prepared clips; the array is used again."""
    stream = iter(waves)
    held = np.empty((batch, CLIP_SAMPLES), dtype=np.float32)
    while some := list(itertools.islice(stream, batch)):
        for place, (_, wave) in zip(held, some, strict=False):
            place[:] = wave
        yield [row for row, _ in some], held[:len(some)]


def open_features(path: Path) -> np.memmap[tuple[int, int, int], np.dtype[np.float32]]:
    """The features of a file written by :func:`extract`, (clips, frames, features), mapped read-only.

    Raises:
        UserError: The file is missing, is cut short or is no .npy file, or holds something else.
    """
    remedy = "check the path; if it is the right one, delete it and extract the features again"
    features = files.open_array(path, "features file", remedy)
    if features.ndim != 3 or features.dtype != np.float32:
        raise UserError(f"holds {features.dtype} of shape {features.shape}, not float32 of (clips, frames, features)",
                        where=path, remedy=remedy)
    return features


def open_indexed(path: Path, index_path: Path) -> tuple[npt.NDArray[np.float32], pd.DataFrame, dict[str, Any]]:
    """Features of every clip as of :func:`open_features`, the index that they belong to, and the facts of its corpus.

    Raises:
        UserError: A file is missing or damaged, or the features are of another index.
    """
    from edgekws.corpus.index import read_index

    table, facts = read_index(index_path)
    packed = open_features(path)
    if len(packed) != len(table):
        raise UserError(f"holds {len(packed)} clips, the index {len(table)}", where=path,
                        remedy="extract the features again from this index")
    return packed, table, facts
