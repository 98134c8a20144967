"""Words for pre-training in one file: the clips of a GSC archive, or of MSWC English (onda.md, sections 2.1 and 4.4).

``<name>.npy`` holds int16 [clips, 16000], read as a memory map; ``<name>.parquet`` beside it a row for each clip: word,
speaker and split. Clips of the split "train" are trained on; those of "dev", by other speakers, are held out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus.audio import CLIP_SAMPLES, FULL_SCALE, fit_length, read
from edgekws.corpus.index import iter_clips, read_index
from edgekws.methods.onda.settings import Pretraining

if TYPE_CHECKING:
    import pandas as pd

MOST_CLIPS = 1000
"""Clips of a word that are taken from MSWC, at most: 500 words are 16 GB then. The base code takes all."""

_COLUMNS = ["word", "speaker", "split"]
_WHERE_FROM = "get MSWC English (mlcommons.org/datasets/multilingual-spoken-words), or set onda.pretraining.words to null"

Clip = tuple[int, npt.NDArray[Any]]


@dataclass(frozen=True)
class Words:
    """Packed words.

    Attributes:
        samples: int16 [clips, 16000] at 16 kHz, mapped read-only.
        table: Rows of word, speaker and split ("train" or "dev"), one for each clip.
        facts: The corpus they are from.
    """

    samples: npt.NDArray[np.int16]
    table: pd.DataFrame
    facts: dict[str, Any]

    def waves(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Clips [len(rows), 16000] as float32 of full scale 1."""
        return self.samples[rows] * np.float32(1 / FULL_SCALE)

    def rows_by_word(self, split: str, least: int) -> list[npt.NDArray[np.int64]]:
        """Rows of each word that has at least ``least`` clips in a split, words in alphabetical order."""
        rows = self.table.groupby("word").indices
        wanted = np.asarray(self.table["split"] == split)
        chosen = [np.asarray(some, dtype=np.int64)[wanted[some]] for _, some in sorted(rows.items())]
        return [some for some in chosen if len(some) >= least]


def pack_words(out: Path, settings: Pretraining, *, archive: Path | None = None, index: Path | None = None,
               progress: bool = False) -> None:
    """Write the words that the settings name to ``out`` (.npy) and the table beside it (.parquet).

    Without ``settings.words`` they are the training and validation clips of an archive in GSC's layout, without repeats
    and near-silent ones; else those of MSWC English, at most :data:`MOST_CLIPS` of a word and split.

    Args:
        archive, index: Archive in GSC's layout and its index; not needed for MSWC.

    Raises:
        UserError: An input is missing, is of another layout or damaged, or the disk is full.
    """
    if settings.words is None:
        if archive is None or index is None:
            raise UserError("is null, which takes words of an archive in GSC's layout, and there is none",
                            where="onda.pretraining.words", remedy="give --archive and --index, or the folder of MSWC English")
        table, facts = _gsc(index, settings)
        clips: Iterable[Clip] = iter_clips(archive, table)
    else:
        table, facts = _mswc(Path(settings.words), settings)
        clips = ((row, read_sound(Path(path)) * FULL_SCALE) for row, path in enumerate(table["path"]))
    rows = {clip: row for row, clip in enumerate(table["clip"])}
    if progress:
        from edgekws.core.progress import tqdm

        clips = tqdm(clips, total=len(table), unit=" clips", desc="packing words")
    with files.writing(out) as part:
        _write_clips(part, ((rows[clip], samples) for clip, samples in clips), len(table))
    files.write_table(out.with_suffix(".parquet"), table[_COLUMNS], facts)


def open_words(path: Path) -> Words:
    """The words of :func:`pack_words`.

    Raises:
        UserError: A file is missing or damaged, or the two do not belong together.
    """
    table, facts = files.read_table(path.with_suffix(".parquet"))
    remedy = "delete both files and pack the words again"
    samples = files.open_array(path, "file of packed words", remedy)
    if samples.dtype != np.int16 or samples.shape != (len(table), CLIP_SAMPLES) or list(table.columns) != _COLUMNS:
        raise UserError(f"holds {samples.dtype} of shape {samples.shape}, not the {len(table)} clips of its table",
                        where=path, remedy=remedy)
    return Words(samples, table, facts)


def read_sound(path: Path) -> npt.NDArray[np.float32]:
    """A sound file (WAV, Ogg Opus, ...) as float32 [n] of full scale 1, at 16 kHz; of several channels the mean.

    Raises:
        UserError: It is no readable sound file.
    """
    return read(path.read_bytes(), str(path)).samples * np.float32(1 / FULL_SCALE)


def _write_clips(path: Path, clips: Iterable[Clip], n: int) -> None:
    """Write n clips, which may come in any order, as int16 [n, 16000]."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": (n, CLIP_SAMPLES)})
        start = file.tell()
        for row, samples in clips:
            file.seek(start + row * 2 * CLIP_SAMPLES)
            file.write(fit_length(samples).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2").data)


def _gsc(index_path: Path, settings: Pretraining) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of an index to take, and the facts of its corpus."""
    table, facts = read_index(index_path)
    table = table[(table["repeat_of"] == "") & ~table["silent"] & table["split"].isin(["train", "validation"])]
    table = table.assign(split=table["split"].replace("validation", "dev"))
    return _frequent(table, settings.vocabulary, index_path), facts


def _mswc(folder: Path, settings: Pretraining) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Clips of MSWC to take, with their paths, and facts of the corpus."""
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, remedy=_WHERE_FROM)
    listing = _mswc_listing(folder)
    listing = listing[~listing["WORD"].isin(settings.without)]
    # In the order of a hash, a word's first clips are a fair draw of them.
    table = listing.assign(
        word=listing["WORD"], speaker=[_digest(name) for name in listing["SPEAKER"]],
        order=[_digest(link) for link in listing["LINK"]]).sort_values(["split", "word", "order"])
    table = _frequent(table, settings.vocabulary, folder)
    table = table[table.groupby(["split", "word"]).cumcount() < MOST_CLIPS]
    table = table.assign(clip=np.arange(len(table)), path=[str(_clip_path(folder, link)) for link in table["LINK"]])
    digest = hashlib.sha256("\n".join(table["LINK"]).encode()).hexdigest()
    return table, {"name": "mswc_en", "clips": len(table), "words": sorted(set(table["word"])), "links_sha256": digest}


def _mswc_listing(folder: Path) -> pd.DataFrame:
    """LINK, WORD, SPEAKER and split ("train" or "dev") of all clips that the folder's tables list."""
    import pandas as pd

    def read(name: str, columns: list[str]) -> pd.DataFrame:
        path = files.existing(folder / name, "table of MSWC clips")
        try:  # words such as "null" and "nan" are words
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"is not a readable CSV table ({error})", where=path, remedy="fetch it again") from error
        if missing := [column for column in columns if column not in table.columns]:
            raise UserError(f"has no column '{missing[0]}'", where=path, remedy=f"it needs {', '.join(columns)}: fetch it again")
        return table[columns]

    columns = ["LINK", "WORD", "SPEAKER"]
    if (folder / "en_splits.csv").is_file():
        table = read("en_splits.csv", ["SET", *columns])
        split = table["SET"].str.lower()
        return table.assign(split=split)[split.isin(["train", "dev"])]
    return pd.concat([read(f"en_{split}.csv", columns).assign(split=split) for split in ("train", "dev")])


def _frequent(table: pd.DataFrame, vocabulary: int, where: Path) -> pd.DataFrame:
    """The rows of the words with most training clips (of equals, the first in the alphabet)."""
    counts = table.loc[table["split"] == "train", "word"].value_counts().sort_index()
    words = counts.sort_values(ascending=False, kind="stable").index[:vocabulary]
    if len(words) < 2:
        raise UserError(f"has training clips of {len(words)} words; triplets need two", where=where,
                        remedy="give a corpus with more words")
    return table[table["word"].isin(words)]


def _clip_path(folder: Path, link: str) -> Path:
    path = folder / "clips" / link
    for candidate in (path, path.with_suffix(".wav")):
        if candidate.is_file():
            return candidate
    raise UserError("the tables list this clip, but there is none", where=path,
                    remedy="unpack the clips (.opus, or converted to .wav) into clips/, with their folders")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
