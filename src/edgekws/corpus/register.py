"""Pin an archive that a person brings: DVC keeps its checksum and size, git keeps the pointer, nobody the audio."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from edgekws.core import dvc
from edgekws.core.errors import UserError
from edgekws.core.files import existing

_CARD = """{version}: {clips:,} utterances, {positives:,} of them wake words, by {speakers:,} speakers.
Licence: for non-commercial research only, which also rules out models that go into a product; nothing but the unmodified
data may be passed on. The recordings are personal data: you answer for them under the GDPR, and delete them when done.
Cite: Coucke et al., "Efficient keyword spotting using dilated convolutions and gating", ICASSP 2019, arXiv:1811.07684{more}.
Kept as {out}, pinned by {pointer}; neither it nor its salt is committed."""

_V2_CITATION = ';\n      Leroy et al., "Federated learning for keyword spotting", ICASSP 2019, arXiv:1810.05512'


_IMPORT = "run it inside the project's folder (a DVC repository), with room for one more copy"


def register(archive: Path, out: Path | None = None) -> None:
    """Import ``archive`` into the DVC repository as ``out``, with the pointer ``<out>.dvc`` beside it.

    An archive registered before must not have changed: every later run names exactly what it used.

    Args:
        archive: In the layout of Google Speech Commands; a folder, too.
        out: Where the project keeps it; default ``data/gsc/given/<name>``.

    Raises:
        UserError: There is no such archive, it differs from the one registered under this name, or DVC fails.
    """
    if not archive.exists():
        raise UserError("no such archive", where=archive, remedy="check the path")
    out = out or Path("data/gsc/given") / archive.resolve().name
    _check_unchanged(archive, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _nothing_unpinned(out):
        if archive.is_dir() and out.is_dir():
            shutil.rmtree(out)  # DVC would lay the folder into the one that is there
        dvc.call("import-url", "--force", str(archive.resolve()), str(out), where=archive, remedy=_IMPORT)


def fetch(pointer: Path) -> None:
    """Fetch what a DVC pointer names from where it came from, and verify it.

    Raises:
        UserError: There is no such pointer, or DVC fails: with the address, and what to do without it.
    """
    try:
        origin = yaml.safe_load(existing(pointer, "pointer").read_text(encoding="utf-8"))["deps"][0]
        address = f"{origin['repo']['url']}: {origin['path']}" if "repo" in origin else origin["path"]
    except (KeyError, TypeError, IndexError, yaml.YAMLError) as error:
        raise UserError("names nothing to fetch", where=pointer, remedy="restore it: git checkout -- " + str(pointer)) from error
    instead = f"or bring a copy of your own: {pointer.parent / 'README.md'} says how"
    try:
        dvc.call("pull", "--force", str(pointer), where=address, remedy="check the network, and run it again")
    except UserError as error:
        raise UserError(error.what, where=error.where, remedy=f"{error.remedy}; {instead}") from error


def register_heysnips(source: str, out: Path | None = None, *, progress: bool = False) -> str:
    """Register HeySnips (v1 or v2), checking every utterance first, and draw the salt of its speakers' hashes.

    A download goes on where an earlier one was cut off. Its address is a secret of the person it was sent to: it is
    written nowhere.

    Args:
        source: The archive, or the temporary https address that its owner sent.
        out: Where the project keeps it; default ``data/heysnips/given/<name>``. The salt goes to ``<out>.salt``.
        progress: Show bars on a terminal.

    Returns:
        The corpus in a few lines: version, size, terms of the licence, and what to cite.

    Raises:
        UserError: The archive cannot be fetched, is not HeySnips, differs from the one registered under this name, or
            DVC fails.
    """
    from edgekws.corpus import salt, wake_words

    remote = re.match("https?://", source) is not None
    out = out or Path("data/heysnips/given") / (_remote_name(source) if remote else Path(source).name)
    out.parent.mkdir(parents=True, exist_ok=True)
    archive = _download(source, out.with_name(f".{out.name}.part"), progress) if remote else existing(source, "archive")
    try:
        _check_unchanged(archive, out)
        _, facts = wake_words.build_index(archive, salt=salt.salt_beside(out), progress=progress)
        if facts["synthetic"]:
            raise UserError("is the synthetic corpus, not HeySnips", where=archive, remedy="use it as it is, unregistered")
    except UserError:
        if remote:
            archive.unlink()
        raise
    if remote:
        archive.replace(out)
        dvc.call("add", str(out), where=out, remedy=_IMPORT)
    else:
        register(archive, out)
    version = facts["name"]
    return _CARD.format(**facts, version=f"HeySnips {version[-2:]}", more=_V2_CITATION if version == "heysnips_v2" else "",
                        out=out, pointer=_pointer(out))


def _pointer(out: Path) -> Path:
    return out.with_name(out.name + ".dvc")


def _check_unchanged(archive: Path, out: Path) -> None:
    pointer = _pointer(out)
    if not pointer.exists():
        return
    pinned = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"]
    found = _md5(archive)
    if found != pinned:
        raise UserError(f"has the MD5 checksum {found}, but {pinned} was registered", where=archive,
                        remedy=f"bring the archive that was registered, or delete {pointer} to register this one")


def _md5(archive: Path) -> str:
    """The checksum that DVC gives a file, or a folder: of a folder that of its listing in JSON, with ``.dir`` behind it."""
    def of_file(path: Path) -> str:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "md5").hexdigest()

    if archive.is_file():
        return of_file(archive)
    listing = [{"md5": of_file(path), "relpath": path.relative_to(archive).as_posix()}
               for path in archive.rglob("*") if path.is_file()]
    listing.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


@contextlib.contextmanager
def _nothing_unpinned(out: Path) -> Iterator[None]:
    """What DVC copied before it failed goes: an archive that nothing pins would be taken for one that is."""
    before = out.exists()
    try:
        yield
    except BaseException:
        if not before:
            shutil.rmtree(out) if out.is_dir() and not out.is_symlink() else out.unlink(missing_ok=True)
        raise


def _remote_name(url: str) -> str:
    """The archive's name in an address, where it is one of HeySnips': nothing else of the address is to be kept."""
    name = urlsplit(url).path.rpartition("/")[2]
    return name if re.fullmatch(r"hey_snips[\w.-]*\.(tar|tar\.gz|tgz)", name) else "heysnips.tar"


def _download(url: str, part: Path, progress: bool) -> Path:
    """Fetch ``url`` into ``part``, going on where an earlier attempt was cut off; no error names the address."""
    from edgekws.core.progress import tqdm

    where = f"the download from {urlsplit(url).hostname}"
    done = part.stat().st_size if part.exists() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            resumed = done if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            length = answer.headers.get("Content-Length")
            total = resumed + int(length) if length else None
            with part.open("ab" if resumed else "wb") as file, tqdm(
                    total=total, initial=resumed, unit="B", unit_scale=True, desc="downloading",
                    disable=not progress) as bar:
                while piece := answer.read(2**20):
                    file.write(piece)
                    bar.update(len(piece))
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return part
        raise UserError(f"was refused ({error.code} {error.reason})", where=where,
                        remedy="such an address expires: ask the owner of the corpus for a new one") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(f"failed ({type(error).__name__})", where=where,
                        remedy="check the address, the network and the room on the disk, and run it again") from None
    if total is not None and part.stat().st_size < total:
        raise UserError(f"ended after {part.stat().st_size} of {total} bytes", where=where,
                        remedy="run it again: it goes on from there")
    return part
