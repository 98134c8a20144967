"""MFCC of every one-second window of the utterances that personalisation needs, in files (onda.md, sections 3.3, 3.4, 4.3).

An utterance has one of three roles: the unlabelled ``stream`` that a device hears; the wake words of a ``user``; or a
``negative``, an ordinary utterance of the test set (:mod:`edgekws.methods.onda.roles`).

``<name>.npy`` holds float32 [windows, 47, 10], the windows of each utterance one after the other; ``<name>_crops.npy`` float32
[crops, 47, 10], the most energetic second of every wake word of a user; ``<name>.parquet`` a row for each utterance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.progress import tqdm
from edgekws.corpus import open_words, wake_words
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.features.mfcc import COEFFICIENTS, FRAMES, mfcc, utterance_mfcc
from edgekws.methods.onda import roles
from edgekws.methods.onda.settings import CLEAN, WakeWindows, WakeWordCorpus

if TYPE_CHECKING:
    import pandas as pd

Samples = npt.NDArray[np.float32]
Alter = Callable[[str, Samples, Samples], Samples]

COLUMNS = ["clip", "role", "user", "positive", "keyword", "speaker", "seconds", "first", "windows", "crop"]
"""Of the table: name or hash of the utterance, role, whose it is if a user's, whether it is a wake word and which, speaker,
duration, the first of its windows and how many there are, and its crop (-1: none)."""


@dataclass(frozen=True)
class Windows:
    """Files written by :func:`extract`.

    Attributes:
        mfcc: float32 [windows, 47, 10], mapped read-only.
        crops: float32 [crops, 47, 10], mapped read-only.
        table: A row for each utterance, see :data:`COLUMNS`.
        facts: ``corpus`` (of the index), ``settings``, ``seed``, ``users`` (how many) and ``negative_seconds``, and
            the ``noises`` mixed in, by name.
    """

    mfcc: npt.NDArray[np.float32]
    crops: npt.NDArray[np.float32]
    table: pd.DataFrame
    facts: dict[str, Any]

    @property
    def stride(self) -> int:
        """Samples between the beginnings of an utterance's windows."""
        return int(self.facts["settings"]["windows"]["stride"])


# ------------------------------------------------------------------------------------------------ one utterance
def padded(samples: Samples) -> Samples:
    """An utterance [n], filled up with zeros to a second, with a second of zeros before and after."""
    return np.pad(samples, (CLIP_SAMPLES, CLIP_SAMPLES + max(CLIP_SAMPLES - len(samples), 0)))


def window_mfcc(samples: Samples, stride: int) -> Samples:
    """MFCC [windows, 47, 10] of the windows of an utterance [n]: one every ``stride`` samples of it, padded."""
    return utterance_mfcc(torch.from_numpy(padded(samples)), stride).numpy()


def loudest_second(samples: Samples, step: int) -> Samples:
    """The second [16000] of most energy of an utterance [n], among those that begin at multiples of ``step``.

    The first of equals; an utterance of less than a second is filled up with zeros.
    """
    return _second(samples, _loudest(samples, step))


def _loudest(samples: Samples, step: int) -> int:
    """Where the loudest second begins."""
    if len(samples) <= CLIP_SAMPLES:
        return 0
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    starts = np.arange(0, len(samples) - CLIP_SAMPLES + 1, step)
    return int(starts[np.argmax(energy[starts + CLIP_SAMPLES] - energy[starts])])


def _second(samples: Samples, start: int) -> Samples:
    return np.pad(samples[start:start + CLIP_SAMPLES], (0, max(0, start + CLIP_SAMPLES - len(samples))))


# ------------------------------------------------------------------------------------------------ files
def extract(archive: Path, index_path: Path, out: Path, windows: WakeWindows, corpus: WakeWordCorpus, *,
            positives: Path | None = None, speech: Sequence[Path] = (), alter: Alter | None = None,
            noises: Sequence[str] = (), seed: int, progress: bool = False) -> None:
    """Write the windows of every utterance that has a role to ``out`` (.npy), crops and table beside it.

    One pass over the archives, one utterance in memory: windows are in the order of the audio, the table's rows in that of
    the index, and its column ``first`` tells where a row's windows are.

    Args:
        archive: HeySnips, the synthetic corpus, or recordings of open wake words.
        index_path: Its index.
        out: Name of the windows' file.
        windows, corpus: Front end, and who is a user.
        positives: HeySnapdragon: the archive of its wake words.
        speech: Open wake words: archives of other speech, as the index was given them.
        alter: How the utterances sound elsewhere (:func:`edgekws.methods.onda.conditions.altered`); None leaves them.
        noises: Names of the recordings that it mixes in, for the table.
        seed: Of the stream.

    Raises:
        UserError: An input is missing, damaged or does not fit, nobody can be a user, or the disk is full.
    """
    index, facts = chosen(index_path, windows, corpus, seed=seed)
    table = index[["clip", "positive", "speaker", "seconds", "keyword", "role", "user"]].copy()
    own = (table["role"] == "user").to_numpy()
    table["crop"] = np.where(own, np.cumsum(own) - 1, -1)
    found = np.empty((int(own.sum()), FRAMES, COEFFICIENTS), np.float32)
    spans: dict[int, tuple[int, int]] = {}

    def utterances() -> Iterator[Samples]:
        place, crop_of = 0, table["crop"].to_dict()
        heard = sounding(archive, index, facts, windows.crop_step, positives=positives, speech=speech, alter=alter)
        for label, start, samples in tqdm(heard, total=len(table), unit=" utterances", desc="extracting windows",
                                          disable=not progress):
            if crop_of[label] >= 0:
                found[crop_of[label]] = mfcc(torch.from_numpy(_second(samples, start)[None]))[0]
            features = window_mfcc(samples, windows.stride)
            spans[label] = place, len(features)
            place += len(features)
            yield features

    with files.writing(out) as part, part.open("wb") as file:
        _write_rows(file, utterances())
    with files.writing(crops_beside(out)) as part, part.open("wb") as file:
        np.save(file, found, allow_pickle=False)
    table["first"], table["windows"] = np.array([spans[label] for label in table.index], np.int64).T
    seconds = float(table.loc[table["role"] == "negative", "seconds"].sum())
    files.write_table(out.with_suffix(".parquet"), table[COLUMNS], {
        "corpus": facts, "seed": seed, "negative_seconds": seconds, "noises": list(noises),
        "users": len(roles.users_of(table)),
        "settings": {"windows": windows.model_dump(mode="json"), "corpus": corpus.model_dump(
            mode="json", include={"minimum_positives", "minimum_seconds", "test_speakers", "keywords"})}})


def chosen(index_path: Path, windows: WakeWindows, corpus: WakeWordCorpus, *,
           seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The utterances of an index that have a role, with ``keyword``, ``role`` and ``user``, and the index's facts.

    Raises:
        UserError: As :func:`edgekws.methods.onda.roles.assign_roles`.
    """
    index, facts = wake_words.read_index(index_path)
    found = roles.assign_roles(index, facts, windows, corpus, seed=seed)
    if "keyword" not in index.columns:
        index = index.assign(keyword=np.where(index["positive"], roles.WAKE_WORD, ""))
    return index.assign(role=found, user=roles.named(index, found)).loc[found != ""], facts


def sounding(archive: Path, index: pd.DataFrame, facts: dict[str, Any], step: int, *, positives: Path | None = None,
             speech: Sequence[Path] = (), alter: Alter | None = None) -> Iterator[tuple[int, int, Samples]]:
    """The audio of utterances, in the order of the archives: label, where the loudest second begins, and samples [n].

    Arguments as of :func:`extract`; ``index`` and ``facts`` as of :func:`chosen`.
    """
    audio: Iterable[tuple[int, Samples]] = (
        open_words.read_audio(archive, index, speech=speech) if facts["name"] == open_words.NAME
        else wake_words.read_audio(archive, index, positives=positives))
    names = index["clip"].to_dict()
    for label, samples in audio:
        start = _loudest(samples, step)
        yield label, start, alter(names[label], samples, _second(samples, start)) if alter else samples


def rows_of(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Rows of the windows of a table's utterances, one utterance after the other."""
    spans = zip(table["first"], table["windows"], strict=True)
    return np.concatenate([np.empty(0, np.int64), *(np.arange(first, first + count) for first, count in spans)])


def crops_beside(path: Path) -> Path:
    """Where the crops are that belong to a file of windows."""
    return path.with_name(f"{path.stem}_crops.npy")


def _write_rows(file: BinaryIO, utterances: Iterator[Samples]) -> None:
    """Write a .npy file of float32 [rows, 47, 10] whose number of rows is known at its end."""
    def header(rows: int) -> int:
        # Its size does not depend on the rows: numpy leaves room for the first extent to grow.
        file.seek(0)
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (rows, FRAMES, COEFFICIENTS)})
        return file.tell()

    start, rows = header(0), 0
    for features in utterances:
        file.write(features.data)
        rows += len(features)
    assert header(rows) == start


def open_windows(path: Path) -> Windows:
    """The files of :func:`extract`, by the name of the windows'.

    Raises:
        UserError: A file is missing or damaged, or they do not belong together.
    """
    path = Path(path)
    table, facts = files.read_table(path.with_suffix(".parquet"))
    remedy = "delete it and what lies beside it, and extract the windows again"
    if list(table.columns) != COLUMNS:
        raise UserError("is not the table of wake-word windows", where=path.with_suffix(".parquet"), remedy=remedy)

    def opened(name: Path, rows: int) -> npt.NDArray[np.float32]:
        found = files.open_array(name, "file of windows", remedy)
        if found.dtype != np.float32 or found.shape != (rows, FRAMES, COEFFICIENTS):
            raise UserError(f"holds {found.dtype} of shape {found.shape}, not the {rows} windows of its table", where=name,
                            remedy=remedy)
        return found

    return Windows(opened(path, int(table["windows"].sum())),
                   opened(crops_beside(path), int((table["crop"] >= 0).sum())), table, facts)


def beside(path: Path, condition: str) -> Path:
    """Where the windows are of the same utterances under a condition.

    >>> beside(Path("features/onda.npy"), "noise_10").name
    'onda_noise_10.npy'
    """
    return path if condition == CLEAN else path.with_name(f"{path.stem}_{condition}.npy")


def open_condition(path: Path, condition: str) -> Windows:
    """The windows of the same utterances under a condition, by the name of the clean ones' file.

    Raises:
        UserError: As :func:`open_windows`, or they are of other utterances.
    """
    clean, found = open_windows(path), open_windows(beside(path, condition))
    if not clean.table.equals(found.table):
        raise UserError("holds the windows of other utterances than the clean file does", where=beside(path, condition),
                        remedy="extract both from the same index, with the same settings and seed")
    return found
