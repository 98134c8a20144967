"""Wake words of people, and other speech, from files in the open: who said what is in a table, or in the folders' names.

Recordings may be a clone, zip, tar or folder of Picovoice/wake-word-benchmark, whose speakers are in the table
data/open_wake_words/speakers.csv; or anybody's own, as ``keyword/speaker/file`` or with a table of the same form. Other
speech is LibriSpeech, or any archive or folder. Formats, rates and channels may be what they like (:func:`audio.read`).

A take that is a copy of another, as it is or shifted in time, is never listed: it could sit among a user's recordings while its
twin is what they are tested with.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.core.files import existing, sha256_of
from edgekws.core.progress import reading, tell
from edgekws.corpus import audio
from edgekws.corpus.archive import Fingerprint, plain_name, read_members
from edgekws.corpus.audio import FULL_SCALE, SAMPLE_RATE

if TYPE_CHECKING:
    import pandas as pd

NAME = "open_wake_words"
"""Of the corpus in facts and results."""

ALIKE = 0.9
"""Largest correlation, over all shifts, above which one take is a copy of another; two takes of one person stay below 0.7."""

_LONGEST, _PIECE = 60, 10  # seconds: other speech that lasts longer is cut into pieces, each an utterance of its own
_COLUMNS = ("file", "keyword", "speaker")
_SOUND = ("", "yes", "check", "no", "damaged")
_FORM = ("a table needs the columns file, keyword and speaker, and may have copy_of_another_take (0 or 1) and sound (yes, check, "
         "no or damaged)")

Samples = npt.NDArray[np.int16]


class Said(NamedTuple):
    """What is known of a recording: keyword ("" for other speech), speaker, whether the speaker is sure enough to be a user,
    and why it is not used ("copy", "damaged" or "")."""

    keyword: str
    speaker: str
    sound: bool = True
    unused: str = ""


@dataclass(frozen=True)
class Row:
    """A recording, or a piece of one, that the index lists."""

    clip: str
    archive: int
    start: int
    samples: int
    said: Said


def spelt(keyword: str) -> str:
    """One spelling of a keyword.

    >>> spelt(" View_Glass ")
    'view glass'
    """
    return " ".join(keyword.replace("_", " ").lower().split())


# ------------------------------------------------------------------------------------------------ who said what
def read_speakers(path: Path) -> dict[str, Said]:
    """A table of speakers: what was said by whom, by file without its suffix.

    Raises:
        UserError: The file is missing, is no such table, or names a file twice.
    """
    text = existing(path, "table of speakers").read_text(encoding="utf-8-sig", errors="replace")
    rows = csv.DictReader(io.StringIO(text))
    if missing := [column for column in _COLUMNS if column not in (rows.fieldnames or ())]:
        raise UserError(f"has no column '{missing[0]}'", where=path, remedy=_FORM)
    found: dict[str, Said] = {}
    for row in rows:
        where = f"{path}: line {rows.line_num}"
        file, copy, sound = (row.get(name) or "" for name in ("file", "copy_of_another_take", "sound"))
        if not file or copy not in ("", "0", "1") or sound not in _SOUND:
            raise UserError("names no file, or is not of that form", where=where, remedy=_FORM)
        key = _key(plain_name(file))
        if key in found:
            raise UserError(f"names '{file}' a second time", where=where, remedy="leave one of the two lines")
        found[key] = Said(spelt(row["keyword"] or ""), (row["speaker"] or "").strip(), sound in ("", "yes"),
                          sound if sound == "damaged" else "copy" if copy == "1" else "")
    if not found:
        raise UserError("lists no recording", where=path, remedy=_FORM)
    return found


def _key(name: str) -> str:
    """A file by its path without suffix: the same recording may be WAV upstream and FLAC elsewhere."""
    return str(PurePosixPath(name).with_suffix("")).replace("_", " ")


def _listed(name: str, speakers: Mapping[str, Said]) -> Said | None:
    """What the table says of a file, whatever folders lie above the path that the table gives."""
    parts = _key(name).split("/")
    return next((speakers[key] for at in range(len(parts)) if (key := "/".join(parts[at:])) in speakers), None)


def _by_folder(name: str) -> Said | None:
    """Keyword and speaker by the two folders that a file lies in."""
    parts = name.split("/")
    return Said(spelt(parts[-3]), parts[-2]) if len(parts) >= 3 else None


def _who_speaks(name: str) -> str:
    """The speaker of other speech: by LibriSpeech's names (speaker-chapter-utterance), else by the folder."""
    stem = PurePosixPath(name).stem.split("-")
    return stem[0] if len(stem) == 3 and all(part.isdecimal() for part in stem) else str(PurePosixPath(name).parent)


# ------------------------------------------------------------------------------------------------ copies
def alike(takes: Sequence[Samples]) -> npt.NDArray[np.float64]:
    """The largest correlation of each two takes over all shifts of one against the other, [takes, takes].

    1 for copies, whatever shift lies between them; 0 for a silent take. Symmetric, with a diagonal of 1.
    """
    from scipy import fft

    size = fft.next_fast_len(2 * max((len(take) for take in takes), default=1), real=True)
    spectra = []
    for take in takes:
        centred = take - take.mean(dtype=np.float64)
        spectra.append(fft.rfft((centred / (np.linalg.norm(centred) or 1.0)).astype(np.float32), size))
    found = np.eye(len(takes))
    for one, spectrum in enumerate(spectra):
        for other in range(one):
            found[one, other] = found[other, one] = np.abs(fft.irfft(spectrum * spectra[other].conj(), size)).max()
    return found


def _copies(rows: Sequence[Row], heard: Sequence[Samples]) -> set[int]:
    """Which rows are copies of an earlier one by the same speaker of the same keyword."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault((row.said.keyword, row.said.speaker), []).append(place)
    copies: set[int] = set()
    for places in groups.values():
        same = alike([heard[place] for place in places]) > ALIKE
        for at, place in enumerate(places):
            if any(same[at, before] for before in range(at) if places[before] not in copies):
                copies.add(place)
    return copies


# ------------------------------------------------------------------------------------------------ the index
def build_index(recordings: Path, *, speakers: Path | None, speech: Sequence[Path],
                progress: bool = False) -> tuple[pd.DataFrame, dict[str, Any]]:
    """List the wake words of people, copies left out, and other speech; every recording is read.

    Args:
        recordings: Archive or folder of the wake words (and of other speech, where the table says so).
        speakers: Table of who said what; None takes it from folders ``keyword/speaker``, and looks for copies itself.
        speech: Archives or folders of other speech.
        progress: Show how far it is.

    Returns:
        The table: clip (name in its archive), archive (0: ``recordings``, 1 and on: ``speech``), start (first sample), seconds,
        split ("all"), row, positive (whether it is a keyword), keyword ("" for other speech), speaker, sound. And the facts:
        name, archive, archive_sha256, speakers, clips, positives, keywords (takes of each), copies, damaged and unlisted
        (how many were left out), negative_hours, table (name and sha256 of the speakers' table), speech (name, sha256 and hours
        of each).

    Raises:
        UserError: Something is missing, damaged or of another form, or a take that the table lists is not in the archive.
    """
    listed = read_speakers(speakers) if speakers is not None else None
    fingerprint, rows, heard = Fingerprint(), [], []
    unused, unlisted, sums = {"copy": 0, "damaged": 0}, [], set()
    for name, data in reading(read_members(Path(recordings), fingerprint), "the wake words", shown=progress):
        if data is None or not audio.is_audio(name):
            continue
        said = _by_folder(name) if listed is None else _listed(name, listed)
        if said is None:
            unlisted.append(name)
            continue
        if said.unused:
            unused[said.unused] += 1
            continue
        samples = audio.read(data, f"{recordings}: {name}").samples
        digest = hashlib.sha256(samples.tobytes()).digest()
        if digest in sums:
            unused["copy"] += 1
            continue
        sums.add(digest)
        rows += [Row(name, 0, start, length, said) for start, length in _pieces(len(samples), said)]
        if listed is None:
            heard.append(samples)
    if not rows:
        raise UserError("holds none of the table's recordings" if listed is not None else
                        "holds no recording keyword/speaker/file", where=recordings,
                        remedy="give the wake words as they came, and the table of their speakers (`onda.corpus.speakers`)")
    if listed is None:
        repeated = _copies(rows, heard)
        unused["copy"] += len(repeated)
        rows = [row for place, row in enumerate(rows) if place not in repeated]
    if unlisted:
        tell(f"{recordings}: {len(unlisted)} recordings are not in the table and are left out, the first being '{unlisted[0]}'")
    spoken = []
    for number, path in enumerate(speech, 1):
        more, facts = _speech(Path(path), number, progress)
        rows += more
        spoken.append(facts)
    by = {"name": speakers.name, "sha256": sha256_of(speakers)} if speakers is not None else None
    return _table(rows, {"archive": Path(recordings).name, "archive_sha256": fingerprint.sha256, "unlisted": len(unlisted),
                         "copies": unused["copy"], "damaged": unused["damaged"], "speech": spoken, "table": by})


def _pieces(samples: int, said: Said) -> list[tuple[int, int]]:
    """Start and length of the utterances that a recording counts as."""
    if said.keyword or samples <= _LONGEST * SAMPLE_RATE:
        return [(0, samples)]
    step = _PIECE * SAMPLE_RATE
    return [(start, min(step, samples - start)) for start in range(0, samples, step)]


def _speech(path: Path, number: int, progress: bool) -> tuple[list[Row], dict[str, Any]]:
    fingerprint, rows = Fingerprint(), []
    for name, data in reading(read_members(path, fingerprint), "other speech", shown=progress):
        if data is not None and audio.is_audio(name):
            said = Said("", _who_speaks(name))
            length = len(audio.read(data, f"{path}: {name}").samples)
            rows += [Row(name, number, start, count, said) for start, count in _pieces(length, said)]
    if not rows:
        raise UserError("holds no recording", where=path, remedy="give an archive or folder of speech (`onda.corpus.speech`)")
    hours = sum(row.samples for row in rows) / SAMPLE_RATE / 3600
    return rows, {"name": path.name, "sha256": fingerprint.sha256, "hours": hours}


def _table(rows: Sequence[Row], facts: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    import pandas as pd

    # In one order whatever form the archive has: what is drawn by a seed is drawn by place.
    rows = sorted(rows, key=lambda row: (row.archive, row.said, PurePosixPath(row.clip).stem, row.clip, row.start))
    table = pd.DataFrame({
        "clip": [row.clip for row in rows], "archive": np.array([row.archive for row in rows], np.int64),
        "start": np.array([row.start for row in rows], np.int64),
        "seconds": np.array([row.samples / SAMPLE_RATE for row in rows], np.float64),
        "split": "all", "row": np.arange(len(rows), dtype=np.int64),
        "positive": np.array([row.said.keyword != "" for row in rows], bool),
        "keyword": [row.said.keyword for row in rows], "speaker": [row.said.speaker for row in rows],
        "sound": np.array([row.said.sound for row in rows], bool)})
    takes = table.loc[table["positive"], "keyword"].value_counts().sort_index()
    hours = float(table.loc[~table["positive"], "seconds"].sum() / 3600)
    return table, {"name": NAME, "synthetic": False, **facts, "clips": len(table), "speakers": int(table["speaker"].nunique()),
                   "positives": int(table["positive"].sum()), "keywords": {str(word): int(n) for word, n in takes.items()},
                   "negative_hours": {"all": hours}}


# ------------------------------------------------------------------------------------------------ audio
def read_audio(recordings: Path, table: pd.DataFrame, *,
               speech: Sequence[Path]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Stream the audio of the rows of ``table``, each once, in the archives' own order.

    Args:
        recordings, speech: As :func:`build_index` was given them.
        table: Its table, or some of its rows.

    Yields:
        The row's label in ``table``, and its samples at 16 kHz, float32 of shape (n,) in [−1, 1].

    Raises:
        UserError: An archive cannot be read, or no longer matches the index.
    """
    for number, path in enumerate((Path(recordings), *map(Path, speech))):
        here = table[table["archive"] == number]
        wanted: dict[str, list[tuple[int, int, int]]] = {}
        for label, name, start, seconds in zip(here.index, here["clip"], here["start"], here["seconds"], strict=True):
            wanted.setdefault(name, []).append((int(label), int(start), round(seconds * SAMPLE_RATE)))
        for name, data in read_members(path) if wanted else ():
            if data is None or name not in wanted:
                continue
            samples = audio.read(data, f"{path}: {name}").samples
            for label, start, length in wanted.pop(name):
                if start + length > len(samples):
                    raise _changed(path, f"'{name}' is shorter than in the index")
                yield label, samples[start:start + length].astype(np.float32) / np.float32(FULL_SCALE)
        if wanted:
            raise _changed(path, f"{len(wanted)} recordings of the index are missing, the first being '{min(wanted)}'")


def _changed(where: Path, what: str) -> UserError:
    return UserError(what, where=where, remedy="build the index again from these files, or give those it was made from")
