"""Wake-word corpora: HeySnips (v1 and v2), HeySnapdragon, and the synthetic one in HeySnips' layout.

Formats: onda.md, sections 4.1 and 4.2. These corpora are personal data that only a licensed person has. They are read
where they lie, and the index keeps nothing of a person but a salted hash: no ids, no names of files.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.progress import reading, tell
from edgekws.corpus.archive import MAX_MEMBER_BYTES, Fingerprint, entries, is_leftover, plain_name, read_members
from edgekws.corpus.audio import FULL_SCALE, SAMPLE_RATE, decode, is_audio
from edgekws.corpus.index import SYNTHETIC_MARKER
from edgekws.corpus.salt import hashed, read_salt, salt_beside

if TYPE_CHECKING:
    import pandas as pd

MANIFESTS = {"train.json": "train", "dev.json": "dev", "test.json": "test"}
"""The manifests of a corpus and the split that each one lists."""

ROOTS = {"hey_snips_research_6k_en_train_eval_clean_ter": "heysnips_v1", "hey_snips_fl_amt": "heysnips_v2"}
"""The root folder of each version of HeySnips, as its owner packs it."""

LONGEST = 3600.0
"""Seconds; no utterance is longer."""

DURATION_TOLERANCE = 0.1
"""Seconds by which a manifest's duration may differ from the recording's."""

PUBLIC_SALT = "edgekws: no person spoke here"
"""The salt of a synthetic corpus, so that its index is the same everywhere."""

_QUALCOMM, _HEY_SNAPDRAGON = "qualcomm_keyword_speech_dataset", "hey_snapdragon"
_ZIP_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_LAYOUT = f"give HeySnips as its owner packed it: a folder {' or '.join(ROOTS)} with {', '.join(MANIFESTS)}"
_AGAIN = "fetch the archive again from its owner; the loader takes it unmodified only"


@dataclass(frozen=True)
class Item:
    """One entry of a manifest; ``row`` is its place in it."""

    split: str
    row: int
    identity: str
    positive: bool
    speaker: str
    seconds: float
    path: str


# ------------------------------------------------------------------------------------------------ the index
def build_index(archive: Path, *, positives: Path | None = None, salt: Path | None = None,
                progress: bool = False) -> tuple[pd.DataFrame, dict[str, Any]]:
    """List the utterances of a wake-word corpus; every recording is read and checked.

    Args:
        archive: HeySnips or the synthetic corpus: a .tar, a .tar.gz, the unpacked root folder, or the folder it is in.
        positives: HeySnapdragon: the Qualcomm Keyword Speech Dataset, its .zip or unpacked. Its wake phrases take the
            place of HeySnips'.
        salt: File with the salt of the hashes, made if absent (:func:`read_salt`); default: ``<archive>.salt``. A
            synthetic corpus has a public salt instead.
        progress: Show how far it is.

    Returns:
        The table, in the order of the manifests of train, dev and test: clip (16 hexadecimal digits, salted hash of the
        utterance's id), split, row (int64, place in that split's manifest), positive (bool), speaker (12 hexadecimal
        digits, salted hash of the worker's id) and seconds (float64). HeySnapdragon's positives come last, in sorted
        order of speaker and file (``row`` is the place in it), all in the split "test".
        And the facts: name (heysnips_v1, heysnips_v2, heysnapdragon or synthetic_wake_words), synthetic, archive (file
        name), archive_sha256, clips, speakers, positives and negative_hours by split; of HeySnapdragon also negatives (the
        HeySnips version), positives_archive and positives_sha256.

    Raises:
        UserError: An archive is missing, damaged or of another layout, an item of a manifest is wrong, or a recording
            is missing, unreadable or not as long as its manifest says.
    """
    archive, fingerprint = Path(archive), Fingerprint()
    manifests: dict[str, bytes] = {}
    lengths: dict[str, float | UserError] = {}
    version = ""
    for root, name, data in reading(_members(archive, fingerprint), "the recordings", shown=progress):
        version = version or ROOTS.get(root, "")
        if name == SYNTHETIC_MARKER:
            version = "synthetic_wake_words"
        elif name in MANIFESTS:
            manifests[name] = data
        elif is_audio(name):
            lengths[name] = _seconds(data, f"{archive}: {name}")
    if not version:
        raise UserError("is not HeySnips: it has another root folder", where=archive, remedy=_LAYOUT)
    items = _parse_manifests(archive, manifests)
    _check_recordings(archive, items, lengths)

    synthetic = version == "synthetic_wake_words"
    facts = {"name": version, "synthetic": synthetic, "archive": archive.name, "archive_sha256": fingerprint.sha256}
    if positives is not None:
        if synthetic:
            raise UserError("is a synthetic corpus; HeySnapdragon's negatives are HeySnips'", where=archive,
                            remedy="give HeySnips as the archive, or leave the positives out")
        listing = hashlib.sha256()
        items = [item for item in items if not item.positive]
        items += reading(_snapdragon_items(positives, listing), "the recordings", shown=progress)
        facts |= {"name": "heysnapdragon", "negatives": version, "positives_archive": Path(positives).name,
                  "positives_sha256": listing.hexdigest()}
    secret = PUBLIC_SALT if synthetic else read_salt(salt or salt_beside(archive))
    return _table(items, secret, facts)


def _table(items: list[Item], salt: str, facts: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    import pandas as pd

    table = pd.DataFrame({
        "clip": [hashed(salt, item.identity, 16) for item in items],
        "split": [item.split for item in items],
        "row": np.array([item.row for item in items], np.int64),
        "positive": np.array([item.positive for item in items], bool),
        "speaker": [hashed(salt, item.speaker, 12) for item in items],
        "seconds": np.array([item.seconds for item in items], np.float64)})
    negatives = table[~table["positive"]]
    hours = {split: float(negatives.loc[negatives["split"] == split, "seconds"].sum() / 3600) for split in MANIFESTS.values()}
    return table, {**facts, "clips": len(table), "speakers": int(table["speaker"].nunique()),
                   "positives": int(table["positive"].sum()), "negative_hours": hours}


def read_index(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Table and facts written by :func:`edgekws.corpus.index.write_index`.

    Raises:
        UserError: The file is missing, is not parquet, or is a table of something else.
    """
    table, facts = files.read_table(path)
    if "negative_hours" not in facts or "positive" not in table.columns:
        raise UserError("is not the index of a wake-word corpus", where=path,
                        remedy="build one with `edgekws corpus index-wake-words`")
    return table, facts


def read_audio(archive: Path, table: pd.DataFrame, *,
               positives: Path | None = None) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Stream the audio of the utterances of ``table``, each once, in the archives' own order.

    Args:
        archive: The archive the index was made from.
        table: The table of :func:`build_index`, or some of its rows.
        positives: HeySnapdragon: the archive of its positives.

    Yields:
        The row's label in ``table``, and its samples at 16 kHz, float32 of shape (n,) in [−1, 1].

    Raises:
        UserError: An archive cannot be read, or no longer matches the index.
    """
    elsewhere = table["positive"] if positives is not None else table["positive"] & False
    yield from _read_heysnips(Path(archive), table[~elsewhere])
    if positives is not None:
        yield from _read_snapdragon(Path(positives), table[elsewhere])


def _read_heysnips(archive: Path, table: pd.DataFrame) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    if table.empty:
        return
    items = {(item.split, item.row): item for item in _parse_manifests(archive, _read_manifests(archive))}
    wanted: dict[str, tuple[int, float]] = {}
    for label, *place, seconds in zip(table.index, table["split"], table["row"], table["seconds"], strict=True):
        item = items.get((place[0], int(place[1])))
        if item is None or item.seconds != seconds:
            raise _changed(archive, f"item {place[1]} of {place[0]}.json is not the one in the index")
        wanted[item.path] = int(label), seconds
    for _, name, data in _members(archive):
        if name in wanted:
            label, seconds = wanted.pop(name)
            yield label, _samples(data, f"{archive}: {name}", seconds)
            if not wanted:
                return
    raise _changed(archive, f"{len(wanted)} recordings of the index are missing, the first being '{min(wanted)}'")


def _read_snapdragon(positives: Path, table: pd.DataFrame) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    wanted = {int(row): (int(label), float(seconds))
              for label, row, seconds in zip(table.index, table["row"], table["seconds"], strict=True)}
    for row, (name, data) in enumerate(_listing(positives)):
        if row in wanted:
            label, seconds = wanted.pop(row)
            yield label, _samples(data, f"{positives}: {name}", seconds)
    if wanted:
        raise _changed(positives, f"{len(wanted)} recordings of the index are missing")


def _samples(data: bytes, where: str, seconds: float) -> npt.NDArray[np.float32]:
    samples = decode(data, where)
    if abs(len(samples) / SAMPLE_RATE - seconds) > DURATION_TOLERANCE:
        raise _changed(where, f"lasts {len(samples) / SAMPLE_RATE:.2f} s, not {seconds:.2f} s as in the index")
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def _changed(where: str | Path, what: str) -> UserError:
    return UserError(what, where=where,
                     remedy="build the index again from this archive, or give the archive it was made from")


# ------------------------------------------------------------------------------------------------ HeySnips
def _members(archive: Path, fingerprint: Fingerprint | None = None) -> Iterator[tuple[str, str, bytes]]:
    """Root folder, name below it and content of each file, in the archive's order."""
    if archive.is_dir():
        folder = _root_folder(archive)
        root = folder.resolve().name
        yield from ((root, name, data) for name, data in read_members(folder, fingerprint) if data is not None)
        return
    if not archive.is_file():
        raise UserError("no such archive", where=archive,
                        remedy="check `onda.corpus.archive`; data/heysnips/README.md says how a person gets the corpus")
    for name, data in read_members(archive, fingerprint):
        root, _, below = name.partition("/")
        if data is not None and below:
            yield root, below, data


def _root_folder(archive: Path) -> Path:
    """The folder with the manifests: ``archive`` itself, or HeySnips' root folder in it."""
    for folder in (archive, *(archive / root for root in ROOTS)):
        if any((folder / name).is_file() for name in MANIFESTS):
            return folder
    raise UserError(f"holds no HeySnips corpus (no {' or '.join(MANIFESTS)})", where=archive, remedy=_LAYOUT)


def _read_manifests(archive: Path) -> dict[str, bytes]:
    """The manifests alone; a folder's audio is not read for them, nor an archive's behind them."""
    if archive.is_dir():
        return {name: (_root_folder(archive) / name).read_bytes() for name in MANIFESTS
                if (_root_folder(archive) / name).is_file()}
    manifests: dict[str, bytes] = {}
    for _, name, data in _members(archive):
        if name in MANIFESTS:
            manifests[name] = data
        if len(manifests) == len(MANIFESTS):
            break
    return manifests


def _parse_manifests(archive: Path, manifests: dict[str, bytes]) -> list[Item]:
    """The items of all splits in order, each checked.

    Raises:
        UserError: A manifest is missing or is not a list of items, or an item is wrong or there twice.
    """
    if missing := [name for name in MANIFESTS if name not in manifests]:
        raise UserError(f"lacks {' and '.join(missing)}", where=archive, remedy=_LAYOUT)
    items = [item for name, split in MANIFESTS.items() for item in _parse_manifest(archive, split, manifests[name])]
    for what, key in (("id", "identity"), ("audio file", "path")):
        seen: dict[str, Item] = {}
        for item in items:
            first = seen.setdefault(getattr(item, key), item)
            if first is not item:
                raise UserError(f"has the {what} of item {first.row} of {first.split}.json",
                                where=_place(archive, item.split, item.row), remedy=_AGAIN)
    return items


def _parse_manifest(archive: Path, split: str, data: bytes) -> list[Item]:
    where = f"{archive}: {split}.json"
    try:
        entries = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not valid JSON ({error})", where=where, remedy=_AGAIN) from error
    if not isinstance(entries, list):
        raise UserError("is not a list of utterances", where=where, remedy=_AGAIN)
    return [_parse_item(entry, _place(archive, split, row), split, row) for row, entry in enumerate(entries)]


def _parse_item(entry: Any, where: str, split: str, row: int) -> Item:
    if not isinstance(entry, dict):
        raise UserError("is not an object with the fields of an utterance", where=where, remedy=_AGAIN)

    def field(name: str, valid: Callable[[Any], bool], expected: str) -> Any:
        if name not in entry:
            raise UserError(f"has no '{name}'", where=where, remedy=_AGAIN)
        if isinstance(entry[name], bool) or not valid(entry[name]):
            raise UserError(f"'{name}' is not {expected}", where=where, remedy=_AGAIN)
        return entry[name]

    return Item(
        split, row,
        identity=field("id", _is_text, "a text"),
        positive=field("is_hotword", lambda value: isinstance(value, int) and value in (0, 1), "0 or 1") == 1,
        speaker=str(field("worker_id", lambda value: isinstance(value, int) or _is_text(value), "a number or a text")),
        seconds=float(field("duration", lambda value: isinstance(value, int | float) and 0 < value <= LONGEST,
                            "a number of seconds above 0, an hour at most")),
        path=plain_name(field("audio_file_path", _is_safe, "the path of a .wav inside the corpus")))


def _is_text(value: Any) -> bool:
    """Whether it is a text that can be written: JSON may name half a character ("\\ud800")."""
    return isinstance(value, str) and value != "" and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_safe(path: Any) -> bool:
    return _is_text(path) and path.endswith(".wav") and "\\" not in path and all(
        part not in ("", ".", "..") for part in path.split("/"))


def _place(archive: Path, split: str, row: int) -> str:
    return f"{archive}: {split}.json, item {row}"


def _check_recordings(archive: Path, items: list[Item], lengths: dict[str, float | UserError]) -> None:
    if missing := [item.path for item in items if item.path not in lengths]:
        raise UserError(f"lacks {len(missing)} of the {len(items)} recordings, the first being '{missing[0]}'",
                        where=archive, remedy=_AGAIN)
    if unnamed := sorted(lengths.keys() - {item.path for item in items}):
        tell(f"{archive}: {len(unnamed)} recordings are in no manifest and are left out, the first being '{unnamed[0]}'")
    for item in items:
        found = lengths[item.path]
        if isinstance(found, UserError):
            raise found
        if abs(found - item.seconds) > DURATION_TOLERANCE:
            raise UserError(f"'duration' is {item.seconds:.2f} s, but the recording '{item.path}' lasts {found:.2f} s",
                            where=_place(archive, item.split, item.row), remedy=_AGAIN)


def _seconds(data: bytes, where: str) -> float | UserError:
    """How long a recording lasts, or why it cannot be read; that matters only if a manifest names it."""
    try:
        return len(decode(data, where)) / SAMPLE_RATE
    except UserError as error:
        return error


# ------------------------------------------------------------------------------------------------ HeySnapdragon
def _snapdragon_items(positives: Path, listing: hashlib._Hash) -> Iterator[Item]:
    """HeySnapdragon's recordings as items; ``listing`` hashes one line ``<sha256>  <speaker>/<file>`` for each.

    The base code takes every one to last 1 s; this is the recording's own length.
    """
    for row, (name, data) in enumerate(_listing(Path(positives))):
        listing.update(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode("utf-8", "surrogateescape"))
        seconds = len(decode(data, f"{positives}: {name}")) / SAMPLE_RATE
        yield Item("test", row, f"{_HEY_SNAPDRAGON}/{name}", True, f"{_HEY_SNAPDRAGON}/{name.partition('/')[0]}", seconds, name)


def _listing(positives: Path) -> Iterator[tuple[str, bytes]]:
    """``<speaker>/<file>`` and content of each "Hey Snapdragon", sorted by speaker and file.

    The base code takes the file system's own order, which differs from one machine to another.
    """
    if not positives.exists():
        raise UserError("no such archive or folder", where=positives,
                        remedy="check `onda.corpus.positives`; data/heysnapdragon/README.md says how a person gets it")
    name = ""
    for name, data in _read_folder(positives) if positives.is_dir() else _read_zip(positives):
        yield name, data
    if not name:
        raise UserError(f"holds no recording {_QUALCOMM}/{_HEY_SNAPDRAGON}/<speaker>/<file>.wav", where=positives,
                        remedy="give the Qualcomm Keyword Speech Dataset as it came: its .zip, or the folder unpacked from it")


def _read_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    inside = (folder / _QUALCOMM / _HEY_SNAPDRAGON, folder / _HEY_SNAPDRAGON, folder)
    root = next((path for path in inside if path.name == _HEY_SNAPDRAGON and path.is_dir()), None)
    found = {name: path for path, name in entries(root) if name.count("/") == 1} if root else {}
    for name in sorted(found, key=lambda name: name.split("/")):
        if _is_recording(*name.split("/")) and found[name].is_file():
            yield name, found[name].read_bytes()


def _read_zip(archive: Path) -> Iterator[tuple[str, bytes]]:
    form = re.compile(rf"(?:{_QUALCOMM}/)?{_HEY_SNAPDRAGON}/([^/]+)/([^/]+)")
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [(match.groups(), entry) for entry in opened.infolist() if (match := form.fullmatch(entry.filename))]
            for (speaker, name), entry in sorted(found, key=lambda pair: pair[0]):
                if entry.file_size > MAX_MEMBER_BYTES:
                    raise UserError(f"'{entry.filename}' has {entry.file_size} bytes, more than any recording", where=archive,
                                    remedy="do not trust this archive: fetch it from its owner")
                if _is_recording(speaker, name):
                    yield f"{speaker}/{name}", opened.read(entry)
    except _ZIP_DAMAGED as error:
        raise UserError(f"is damaged, or no zip archive ({error})", where=archive,
                        remedy="fetch it again, or give the folder unpacked from it") from error


def _is_recording(speaker: str, name: str) -> bool:
    return is_audio(name) and not is_leftover(f"{speaker}/{name}")
