"""The index of a corpus: every clip with its word, speaker, take, split and faults, and the facts of the whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.progress import reading, tell
from edgekws.corpus.archive import Fingerprint, plain_name, read_members
from edgekws.corpus.audio import CLIP_SAMPLES, FULL_SCALE, decode, is_audio

if TYPE_CHECKING:
    import pandas as pd

KNOWN_ARCHIVES = {
    "speech_commands_v0.01.tar.gz": "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    "speech_commands_v0.02.tar.gz": "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
}
"""SHA-256 of the upstream archives of Google Speech Commands, by file name."""

SYNTHETIC_MARKER = "SYNTHETIC"
"""A file of this name at an archive's root says that no person spoke in it."""

SILENT_PEAK = 0.01
"""A clip whose largest sample is below this share of full scale (−40 dB) counts as silent."""

SPLITS = ("train", "validation", "test")
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
"""The official lists of an archive; what is in neither is for training."""

_NOISE_FOLDER = "_background_noise_"
_CLIP_NAME = re.compile(r"(?P<speaker>.+)_nohash_(?P<take>\d{1,9})\.[^.]+")
_MAX_WAVS_PER_CLASS = 2**27 - 1
_PERCENT = {"validation": 10.0, "test": 10.0}


def speaker_split(speaker: str) -> str:
    """The split of a speaker by the official rule: SHA-1 of the name, 10 % validation, 10 % test.

    ``which_set`` of the README of Google Speech Commands (Warden, arXiv:1804.03209, section 7.2).

    >>> speaker_split("c50f55b8")
    'train'
    """
    digest = int(hashlib.sha1(speaker.encode("utf-8", "surrogateescape")).hexdigest(), 16)
    percent = digest % (_MAX_WAVS_PER_CLASS + 1) * (100.0 / _MAX_WAVS_PER_CLASS)
    if percent < _PERCENT["validation"]:
        return "validation"
    return "test" if percent < _PERCENT["validation"] + _PERCENT["test"] else "train"


def build_index(archive: Path, *, words: list[str] | None = None,
                progress: bool = False) -> tuple[pd.DataFrame, dict[str, Any]]:
    """List the clips of an archive in the layout of Google Speech Commands, ``<word>/<speaker>_nohash_<take>.wav``.

    The archive is read once, as a stream; memory holds one clip and one row for each. All of it may lie in one folder, as
    when a file manager packed it. Other formats than WAV are read too (:func:`edgekws.corpus.audio.decode`); lines of the
    lists that match no clip are told on stderr.

    Args:
        archive: A .tar, .tar.gz, .tar.bz2, .tar.xz, .zip or folder.
        words: The words to list; all by default.
        progress: Show how far it is.

    Returns:
        The table, sorted by word, speaker and take, with the columns clip (int, the row's number), word,
        speaker, take (int), path, samples (int), peak (largest magnitude, share of full scale), sha256 (hex,
        of the decoded little-endian 16-bit samples), split (train, validation or test), repeat_of (path of the
        first clip with the same audio, or ""), silent (peak below :data:`SILENT_PEAK`) and short (less than one
        second); and the facts: archive (name), archive_sha256, archive_bytes, clips, speakers, words, synthetic,
        split_disagreements (files that the lists and the speaker rule place differently).

    Raises:
        UserError: The archive is missing, damaged, hostile or not the one its name says; a clip cannot be read, is not
            16 kHz mono or has a name out of the scheme; a folder is empty; a word is missing or is there in two
            spellings; or the lists contradict the speaker rule, so that a speaker could be in two splits.
    """
    import pandas as pd

    archive = Path(archive)
    fingerprint, clips, lists, folders = Fingerprint(), [], {}, set()
    synthetic = False
    for name, data in reading(read_members(archive, fingerprint), "the archive", shown=progress):
        folder, _, file = name.rpartition("/")
        if data is None:
            folders.add(name)
        elif file in LISTS.values():
            lists[name] = _read_list(data, f"{archive}: {name}")
        elif file == SYNTHETIC_MARKER:
            synthetic = True
        elif is_audio(name) and _NOISE_FOLDER not in name.split("/"):
            folders.add(folder)
            word = folder.rpartition("/")[2]
            if words is not None and word not in words:
                continue
            speaker, take = _parse(archive, name)
            clips.append({"word": word, "speaker": speaker, "take": take, "path": name,
                          **_describe(decode(data, f"{archive}: {name}"))})
    root = _root(archive, [str(clip["path"]) for clip in clips])
    folders = {folder.removeprefix(root) for folder in folders if folder.startswith(root)}
    lists = {name.removeprefix(root): {root + path for path in paths} for name, paths in lists.items()}
    _check_checksum(archive, fingerprint.sha256)
    _check_folders(archive, folders, {clip["word"] for clip in clips}, words)

    _check_spelling(archive, {str(clip["word"]) for clip in clips})
    table = pd.DataFrame(clips).sort_values(["word", "speaker", "take", "path"], ignore_index=True)
    _check_unique(archive, table)
    table.insert(0, "clip", np.arange(len(table), dtype=np.int64))
    if words is None:
        _tell_unmatched(archive, lists, set(table["path"]))
    table["split"], disagreements = _splits(archive, list(table["path"]), list(table["speaker"]), lists,
                                            official=fingerprint.sha256 in KNOWN_ARCHIVES.values())
    first = table.groupby("sha256")["path"].transform("first")
    table["repeat_of"] = first.where(first != table["path"], "")
    table["silent"] = table["peak"] < SILENT_PEAK
    table["short"] = table["samples"] < CLIP_SAMPLES
    facts = {"archive": archive.name, "archive_sha256": fingerprint.sha256, "archive_bytes": fingerprint.size,
             "clips": len(table), "speakers": int(table["speaker"].nunique()), "words": sorted(set(table["word"])),
             "synthetic": synthetic, "split_disagreements": disagreements}
    return table, facts


def verify_checksum(facts: dict[str, Any], expected: str) -> None:
    """Raises: UserError if the archive that ``facts`` describe has another SHA-256 than ``expected``."""
    found = facts["archive_sha256"]
    if found != expected.strip().lower():
        raise UserError(f"has the SHA-256 {found}, not {expected}", where=facts["archive"],
                        remedy="fetch it again, or correct the checksum you expect")


def write_index(path: Path, table: pd.DataFrame, facts: dict[str, Any]) -> None:
    """Write an index as parquet, the facts in its metadata."""
    files.write_table(path, table, facts)


def read_index(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Table and facts written by :func:`write_index`.

    Raises:
        UserError: The file is missing, is not parquet, or is a table of something else.
    """
    table, facts = files.read_table(path)
    if "archive_sha256" not in facts or "repeat_of" not in table.columns:
        raise UserError("is not the index of a corpus", where=path, remedy="build one with `edgekws corpus index`")
    return table, facts


def iter_clips(archive: Path, index: pd.DataFrame) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
    """Stream the audio of every indexed clip, in the archive's order.

    Args:
        archive: The archive the index was made from.
        index: The table of :func:`build_index`.

    Yields:
        The clip's number in the index, and its samples, int16 of shape (n,).

    Raises:
        UserError: The archive cannot be read, or no longer matches the index: a clip is missing or has other audio.
    """
    archive = Path(archive)
    wanted = {path: (int(clip), sha256)
              for path, clip, sha256 in zip(index["path"], index["clip"], index["sha256"], strict=True)}
    remedy = "build the index again from this archive, or give the archive it was made from"
    for name, data in read_members(archive):
        if data is None or name not in wanted:
            continue
        clip, sha256 = wanted.pop(name)
        samples = decode(data, f"{archive}: {name}")
        if _audio_sha256(samples) != sha256:
            raise UserError(f"clip '{name}' has other audio than the index says", where=archive, remedy=remedy)
        yield clip, samples
    if wanted:
        raise UserError(f"lacks {len(wanted)} of the {len(index)} clips of the index, the first being "
                        f"'{min(wanted)}'", where=archive, remedy=remedy)


def _parse(archive: Path, name: str) -> tuple[str, int]:
    *root, word, file = ["", *name.split("/")]
    found = _CLIP_NAME.fullmatch(file)
    if not word or len(root) > 2 or not found:
        raise UserError(f"'{name}' is not of the form <word>/<speaker>_nohash_<take>.wav", where=archive,
                        remedy="rename the file, lay the word folders at the archive's root, or leave it out")
    return found["speaker"], int(found["take"])


def _root(archive: Path, paths: list[str]) -> str:
    """What all paths of clips begin with before ``<word>/<file>``: "", or the one folder that all lie in and a slash."""
    roots = {"".join(f"{part}/" for part in path.split("/")[:-2]): path for path in paths}
    if len(roots) > 1:
        one, other = sorted(roots.values(), key=lambda path: path.count("/"))[:2]
        raise UserError(f"'{one}' and '{other}' lie at different depths or in different folders", where=archive,
                        remedy="lay all word folders at the archive's root, or all in one folder")
    return next(iter(roots), "")


def _read_list(data: bytes, where: str) -> set[str]:
    """The paths that a list of a split names, one a line, as Windows, macOS and spreadsheets write them too."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"is not text in UTF-8 or UTF-16 with a mark ({error.reason} at byte {error.start})", where=where,
                        remedy="save the list as UTF-8") from error
    return {plain_name(line.strip()) for line in text.splitlines() if line.strip()}


def _tell_unmatched(archive: Path, lists: dict[str, set[str]], paths: set[str]) -> None:
    for name, listed in lists.items():
        if unmatched := sorted(listed - paths):
            tell(f"{archive}: {len(unmatched)} of the {len(listed)} lines of {name} match no clip, the first being "
                 f"'{unmatched[0]}'")


def _describe(samples: npt.NDArray[np.int16]) -> dict[str, Any]:
    peak = float(np.abs(samples.astype(np.int32)).max()) / FULL_SCALE
    return {"samples": len(samples), "peak": peak, "sha256": _audio_sha256(samples)}


def _audio_sha256(samples: npt.NDArray[np.int16]) -> str:
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def _check_checksum(archive: Path, sha256: str) -> None:
    expected = KNOWN_ARCHIVES.get(archive.name, sha256)
    if sha256 != expected:
        raise UserError(f"is not the upstream archive of that name: its SHA-256 is {sha256}, not {expected}",
                        where=archive, remedy="fetch it again, or rename it if it is meant to be another archive")


def _check_folders(archive: Path, folders: set[str], found: set[str], words: list[str] | None) -> None:
    """Every word folder holds a clip, every word that was asked for is there, in one spelling, and there is at least one."""
    top = {folder for folder in folders if "/" not in folder and not folder.startswith((".", _NOISE_FOLDER))}
    if words is not None and (missing := sorted(set(words) - top)):
        raise UserError(f"has no word '{missing[0]}'", where=archive, remedy=did_you_mean(missing[0], top))
    empty = sorted((top if words is None else top & set(words)) - found)
    if empty:
        raise UserError(f"the word folder '{empty[0]}' holds no clip", where=archive,
                        remedy="add recordings (<speaker>_nohash_<take>.wav) to it, or remove the folder")
    if not found:
        raise UserError("holds no clip", where=archive,
                        remedy="lay recordings out as <word>/<speaker>_nohash_<take>.wav at the archive's root")


def _check_spelling(archive: Path, words: set[str]) -> None:
    spelt: dict[str, str] = {}
    for word in sorted(words):
        if (other := spelt.setdefault(word.casefold(), word)) != word:
            raise UserError(f"the words '{other}' and '{word}' differ in upper and lower case only", where=archive,
                            remedy="lay their clips into one folder, or give one of them another name")


def _check_unique(archive: Path, table: pd.DataFrame) -> None:
    twice = table[table.duplicated(["word", "speaker", "take"])]
    if len(twice):
        raise UserError(f"'{twice['path'].iloc[0]}' is there twice (same word, speaker and take)", where=archive,
                        remedy="give every take of a word by a speaker a number of its own")


def _splits(archive: Path, paths: list[str], speakers: list[str], lists: dict[str, set[str]],
            *, official: bool) -> tuple[list[str], int]:
    """The split of each clip: by the lists where the archive has both, else by the speaker.

    The rule by speaker keeps all clips of a speaker in one split, and the official lists are made by it. In an
    archive of one's own a contradiction is an error; upstream's lists stand as published, and it is counted.
    """
    by_speaker = [speaker_split(speaker) for speaker in speakers]
    if not lists:
        return by_speaker, 0
    if missing := sorted(set(LISTS.values()) - set(lists)):
        raise UserError(f"has one of the two lists of splits, but no '{missing[0]}'", where=archive,
                        remedy="add it, or remove the other one to split by speaker")
    by_list, disagreements = [], 0
    for path, expected in zip(paths, by_speaker, strict=True):
        found = [split for split, name in LISTS.items() if path in lists[name]] or ["train"]
        if found != [expected]:
            disagreements += 1
            if not official:
                listed = " and ".join(LISTS.get(split, "neither list") for split in found)
                raise UserError(f"'{path}' is in {listed}, but its speaker belongs to the {expected} split",
                                where=archive, remedy="correct the lists, or remove both to split by speaker")
        by_list.append(found[0])
    return by_list, disagreements
