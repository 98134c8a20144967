"""Reading an archive of clips from beginning to end, without unpacking it and without trusting it."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

from edgekws.core.errors import UserError

MAX_MEMBER_BYTES = 64 * 2**20
"""Larger members are refused: a clip has 32 kB, the longest noise recording of the corpus 3 MB."""

_GZIP = b"\x1f\x8b"
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass
class Fingerprint:
    """SHA-256 (hex) and size in bytes of an archive, known once the last member was read.

    Of a folder: the SHA-256 of its listing, one line ``<sha256 of the file>  <name>`` for each file, and the
    size of all files.
    """

    sha256: str = ""
    size: int = 0


def read_members(path: Path, fingerprint: Fingerprint | None = None) -> Iterator[tuple[str, bytes | None]]:
    """Stream the members of a .tar or .tar.gz, or of a folder in sorted order; nothing is unpacked to disk.

    Args:
        path: The archive or folder.
        fingerprint: Filled in when the last member was read.

    Yields:
        Name (``yes/0132a06d_nohash_0.wav``, without a leading ``./``) and content of each file; name and
        None of each folder.

    Raises:
        UserError: There is no such archive, it is damaged, or it holds what no archive of clips holds: a
            link, a device, a name that leads outside, or a member of absurd size.
    """
    path, fingerprint = Path(path), fingerprint or Fingerprint()
    if path.is_dir():
        return _read_folder(path, fingerprint)
    if not path.is_file():
        raise UserError("no such archive", where=path,
                        remedy="check `corpus.archive`, or fetch the corpus as data/gsc/README.md says")
    return _read_tar(path, fingerprint)


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


def _read_tar(path: Path, fingerprint: Fingerprint) -> Iterator[tuple[str, bytes | None]]:
    with io.FileIO(path) as file:
        compressed = file.read(2) == _GZIP
        file.seek(0)
        hashing = _Hashing(file)
        stored = io.BufferedReader(hashing, 2**20)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=stored)) if compressed else stored
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictTarInfo) as tar:
                for member in tar:
                    name = _safe_name(path, member.name)
                    if member.isdir():
                        if name:
                            yield name, None
                        continue
                    if not member.isfile():
                        _refuse(path, member.name, "is a link or a device, not a plain file")
                    if member.size > MAX_MEMBER_BYTES:
                        _refuse(path, member.name, f"has {member.size} bytes, more than any clip")
                    content = tar.extractfile(member)
                    assert content is not None, "plain files have content"
                    yield name, content.read()
            for rest in (stream, stored):  # to the very end: gzip's own checksum comes last
                while rest.read(2**20):
                    pass
        except _DAMAGED as error:
            raise UserError(f"is damaged, cut short, or no tar archive ({error})", where=path,
                            remedy="fetch it again, and give a .tar, a .tar.gz or a folder") from error
        fingerprint.sha256, fingerprint.size = hashing.digest.hexdigest(), hashing.size


def _read_folder(path: Path, fingerprint: Fingerprint) -> Iterator[tuple[str, bytes | None]]:
    listing, size = hashlib.sha256(), 0
    for entry in _sorted_entries(path):
        name = _safe_name(path, entry.relative_to(path).as_posix())
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            _refuse(path, name, "is a link or a device, not a plain file")
        if entry.is_dir():
            yield name, None
            continue
        if entry.stat().st_size > MAX_MEMBER_BYTES:
            _refuse(path, name, f"has {entry.stat().st_size} bytes, more than any clip")
        content = entry.read_bytes()
        listing.update(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode("utf-8", "surrogateescape"))
        size += len(content)
        yield name, content
    fingerprint.sha256, fingerprint.size = listing.hexdigest(), size


def _sorted_entries(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _sorted_entries(entry)


def _safe_name(path: Path, name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        _refuse(path, name, "has a name that leads outside the archive")
    return "/".join(parts)


def _refuse(path: Path, member: str, what: str) -> None:
    raise UserError(f"member '{member}' {what}", where=path,
                    remedy="do not trust this archive: fetch it from its author, or rebuild it from plain files")
