"""Pin an archive that a person brings: DVC keeps its checksum and size, git keeps the pointer, nobody the audio."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import yaml

from edgekws.errors import UserError
from edgekws.files import existing


def register(archive: Path, out: Path) -> None:
    """Import ``archive`` into the DVC repository as ``out``, with the pointer ``<out>.dvc`` beside it.

    An archive registered before must not have changed: every later run names exactly what it used.

    Raises:
        UserError: There is no such archive, it differs from the one registered under this name, or DVC fails.
    """
    existing(archive, "archive")
    pointer = out.with_name(out.name + ".dvc")
    if pointer.exists():
        pinned = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"]
        with archive.open("rb") as handle:
            found = hashlib.file_digest(handle, "md5").hexdigest()
        if found != pinned:
            raise UserError(f"has the MD5 checksum {found}, but {pinned} was registered", where=archive,
                            remedy=f"bring the archive that was registered, or delete {pointer} to register this one")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "import-url", "--force", "--quiet", str(archive.resolve()), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"DVC could not import it: {done.stderr.strip()}", where=archive,
                        remedy="run it inside the project's folder (a DVC repository), with room for one more copy")
