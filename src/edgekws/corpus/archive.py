"""Reading an archive of clips from beginning to end, without unpacking it and without trusting it.

An archive is a tar (plain, gzip, bzip2 or xz), a zip, or a folder. What file managers and operating systems leave in it is
passed over, and names have one spelling, whatever the machine they come from.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import posixpath
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, Self, cast

from edgekws.core.errors import UserError

MAX_MEMBER_BYTES = 64 * 2**20
"""Larger members are refused: a clip has 32 kB, the longest noise recording of the corpus 3 MB."""

_COMPRESSED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file), b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OTHER = {b"7z\xbc\xaf": "a 7-Zip archive", b"Rar!": "a RAR archive", b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
          b"version https://git-lfs": "a pointer of Git LFS, not the file itself", b"<!DOCTYPE": "a web page",
          b"<html": "a web page"}
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_FORMS = "give a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip, or a folder"
_LEFTOVERS = frozenset(("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
                        "@eadir", "lost+found"))


@dataclass
class Fingerprint:
    """SHA-256 (hex) and size in bytes of an archive, known once the last member was read.

    Of a folder: the SHA-256 of its listing, one line ``<sha256 of the file>  <name>`` for each file, and the
    size of all files.
    """

    sha256: str = ""
    size: int = 0


def read_members(path: Path, fingerprint: Fingerprint | None = None) -> Iterator[tuple[str, bytes | None]]:
    """Stream the members of an archive, or of a folder in sorted order; nothing is unpacked to disk.

    A link inside an archive stands for what it leads to in there, after all plain members. A folder is a person's own:
    its links may lead anywhere.

    Args:
        path: A .tar, .tar.gz, .tar.bz2, .tar.xz, .zip or folder; the content counts, not the name.
        fingerprint: Filled in when the last member was read.

    Yields:
        Name (``yes/0132a06d_nohash_0.wav``; see :func:`plain_name`) and content of each file; name and None of each folder.
        Not what :func:`is_leftover` of a desktop.

    Raises:
        UserError: There is no such archive, it is damaged, or it holds what no archive of clips holds: a link that leads
            outside or nowhere, a device, a name that leads outside, or a member of absurd size.
    """
    path, fingerprint = Path(path), fingerprint or Fingerprint()
    if path.is_dir():
        return _read_folder(path, fingerprint)
    if not path.is_file():
        raise UserError("no such archive", where=path,
                        remedy="check `corpus.archive`, or fetch the corpus as data/gsc/README.md says")
    with path.open("rb") as file:
        head = file.read(64)
    if what := next((what for magic, what in _OTHER.items() if head.lstrip().lower().startswith(magic.lower())), None):
        raise UserError(f"is {what}", where=path, remedy=f"fetch or unpack it, and {_FORMS}")
    raw = _read_zip if head.startswith(_ZIP) else _read_tar
    return _with_links(path, lambda: raw(path, fingerprint))


def is_leftover(name: str) -> bool:
    """Whether a path is what a desktop left behind, or hidden: nobody means it when they give the folder.

    >>> [is_leftover(name) for name in ("yes/._a.wav", "__MACOSX/yes/a.wav", ".Trash-1000/files/a.wav", "yes/Thumbs.db")]
    [True, True, True, True]
    >>> is_leftover("yes/a.wav"), is_leftover("yes/.take 1.m4a.icloud")  # the latter was not fetched: that is to be told
    (False, False)
    """
    return any((part.startswith(".") and not part.endswith(".icloud")) or part.lower() in _LEFTOVERS
               for part in name.split("/"))


def plain_name(name: str) -> str:
    """One spelling of a path: ``/`` between its parts, no ``.`` among them, composed letters (NFC), readable text.

    macOS decomposes letters, Windows separates by backslashes, and old archives are in Latin-1.

    >>> plain_name("./fu\\u0308r\\\\a.wav"), plain_name("f\\udcfcr/a.wav")
    ('für/a.wav', 'für/a.wav')
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        name = name.encode("utf-8", "surrogateescape").decode("latin-1")
    return unicodedata.normalize("NFC", "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".")))


class _Link(NamedTuple):
    """A link in an archive: where it leads, as a path in the archive."""

    target: str


_Raw = tuple[str, bytes | _Link | None]


def _with_links(path: Path, raw: Callable[[], Iterator[_Raw]]) -> Iterator[tuple[str, bytes | None]]:
    links: dict[str, str] = {}
    for name, content in raw():
        if isinstance(content, _Link):
            links[name] = content.target
        else:
            yield name, content
    if not links:
        return
    ends = {link: _end(path, link, links) for link in links}
    found = set()
    for name, content in raw():  # once more: what a link leads to may lie before it
        for link, end in ends.items():
            if (name == end or name.startswith(f"{end}/")) and not isinstance(content, _Link):
                found.add(link)
                yield link + name.removeprefix(end), content
    for link in ends.keys() - found:
        _refuse(path, link, f"is a link to '{ends[link]}', which is not in the archive")


def _end(path: Path, link: str, links: dict[str, str]) -> str:
    """Where a link ends up, through other links."""
    place = links[link]
    for _ in range(len(links)):
        via = next((other for other in links if place == other or place.startswith(f"{other}/")), None)
        if via is None:
            break
        place = links[via] + place.removeprefix(via)
    else:
        _refuse(path, link, "is a link that goes round in a circle")
    if link.startswith(f"{place}/"):
        _refuse(path, link, "is a link to a folder that it is in")
    return place


def _link(path: Path, name: str, target: str, folder: str) -> _Link:
    """A link's target as a path in the archive, ``folder`` being what it is relative to."""
    joined = posixpath.normpath(posixpath.join(folder, target.replace("\\", "/")))
    if target.startswith("/") or joined == ".." or joined.startswith("../") or "\0" in target:
        _refuse(path, name, "is a link that leads outside the archive")
    return _Link(plain_name(joined))


# ------------------------------------------------------------------------------------------------ tar
class _StrictTarInfo(tarfile.TarInfo):
    """A header that is damaged or missing is an error; tarfile takes it for the archive's end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


class _Hashing(io.RawIOBase):
    """A file read from beginning to end, hashed on the way."""

    def __init__(self, file: io.FileIO) -> None:
        self.file, self.digest, self.size = file, hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = self.file.readinto(buffer) or 0
        self.digest.update(memoryview(buffer)[:count])
        self.size += count
        return count


def _read_tar(path: Path, fingerprint: Fingerprint) -> Iterator[_Raw]:
    with io.FileIO(path) as file:
        head = file.read(8)
        file.seek(0)
        hashing = _Hashing(file)
        stored = io.BufferedReader(hashing, 2**20)
        opened = next((opened for magic, opened in _COMPRESSED.items() if head.startswith(magic)), None)
        stream = cast(IO[bytes], opened(stored) if opened else stored)
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictTarInfo) as tar:
                for member in tar:
                    name = _safe_name(path, member.name)
                    if not name or is_leftover(name):
                        continue
                    if member.isdir():
                        yield name, None
                    elif member.issym():
                        yield name, _link(path, member.name, member.linkname, posixpath.dirname(name))
                    elif member.islnk():
                        yield name, _link(path, member.name, member.linkname, "")
                    elif not member.isfile():
                        _refuse(path, member.name, "is a device, not a plain file")
                    else:
                        _check_size(path, member.name, member.size)
                        content = tar.extractfile(member)
                        assert content is not None, "plain files have content"
                        yield name, content.read()
            for rest in (stream, stored):  # to the very end: gzip's own checksum comes last
                while rest.read(2**20):
                    pass
        except (*_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's trouble; bzip2 calls damaged data an OSError without a number
            raise UserError(f"is damaged, cut short, or no archive ({error})", where=path,
                            remedy=f"fetch it again, and {_FORMS}") from error
        fingerprint.sha256, fingerprint.size = hashing.digest.hexdigest(), hashing.size


# ------------------------------------------------------------------------------------------------ zip
def _read_zip(path: Path, fingerprint: Fingerprint) -> Iterator[_Raw]:
    try:
        with zipfile.ZipFile(path) as opened:
            for entry in opened.infolist():
                name = _safe_name(path, _zip_name(entry))
                if not name or is_leftover(name):
                    continue
                if entry.is_dir():
                    yield name, None
                    continue
                if entry.flag_bits & 0x1:
                    _refuse(path, name, "is encrypted", remedy="unpack it with its password, and give the folder")
                _check_size(path, name, entry.file_size)
                content = opened.read(entry)
                if stat.S_ISLNK(entry.external_attr >> 16):
                    yield name, _link(path, name, content.decode("utf-8", "replace"), posixpath.dirname(name))
                else:
                    yield name, content
    except (*_DAMAGED, NotImplementedError) as error:
        raise UserError(f"is damaged, or a zip of an uncommon kind ({error})", where=path,
                        remedy="fetch it again, or unpack it and give the folder") from error
    with path.open("rb") as file:
        fingerprint.sha256, fingerprint.size = hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """An entry's name: macOS writes UTF-8 without saying so, and zipfile then takes it for cp437."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


# ------------------------------------------------------------------------------------------------ folder
def _read_folder(path: Path, fingerprint: Fingerprint) -> Iterator[tuple[str, bytes | None]]:
    listing, size = hashlib.sha256(), 0
    for entry, name in entries(path):
        if entry.is_dir():
            yield name, None
            continue
        if not entry.exists():
            _refuse(path, name, "is a link that leads nowhere", remedy="mend the link, or remove it")
        if not entry.is_file():
            _refuse(path, name, "is a device, not a plain file", remedy="leave it out")
        _check_size(path, name, entry.stat().st_size, remedy="cut it into shorter recordings, or leave it out")
        content = entry.read_bytes()
        listing.update(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode())
        size += len(content)
        yield name, content
    fingerprint.sha256, fingerprint.size = listing.hexdigest(), size


def entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file and folder below a folder, through links, with its name (:func:`plain_name`), sorted; no leftovers."""
    return _entries(folder, folder, (folder.resolve(),))


def _entries(root: Path, folder: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    """``above`` are the real folders on the way to ``folder``."""
    for entry in sorted(folder.iterdir(), key=lambda entry: plain_name(entry.name)):
        name = plain_name(entry.relative_to(root).as_posix())
        if is_leftover(name):
            continue
        yield entry, name
        if entry.is_dir():
            if (real := entry.resolve()) in above:
                _refuse(root, name, "is a link to a folder that it is in", remedy="remove the link")
            yield from _entries(root, entry, (*above, real))


def _safe_name(path: Path, name: str) -> str:
    plain = plain_name(name)
    if name.startswith(("/", "\\")) or ".." in plain.split("/") or "\0" in name:
        _refuse(path, name, "has a name that leads outside the archive")
    return plain


def _check_size(path: Path, name: str, size: int, **remedy: str) -> None:
    if size > MAX_MEMBER_BYTES:
        _refuse(path, name, f"has {size} bytes, more than any clip", **remedy)


def _refuse(path: Path, member: str, what: str, *, remedy: str = (
        "do not trust this archive: fetch it from its author, or rebuild it from plain files")) -> NoReturn:
    raise UserError(f"member '{member}' {what}", where=path, remedy=remedy)
