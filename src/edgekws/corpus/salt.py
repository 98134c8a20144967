"""Salted hashes in place of the names of people."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from edgekws.core import files
from edgekws.core.errors import UserError

if TYPE_CHECKING:
    pass


def salt_beside(archive: Path) -> Path:
    """Where the salt of an archive's hashes is kept unless told otherwise."""
    archive = Path(archive)
    return archive.with_name(archive.name + ".salt")


def read_salt(path: Path) -> str:
    """The secret that makes the hashes of ids irreversible: 64 hexadecimal digits, drawn where there is no such file.

    Raises:
        UserError: The file is not such a salt, or cannot be written.
    """
    path = Path(path)
    if not path.exists():
        with files.writing(path) as part, os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    salt = path.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch("[0-9a-f]{64}", salt):
        raise UserError("is not a salt (64 hexadecimal digits)", where=path,
                        remedy="bring back the one of the earlier index, or delete the file to have a new one drawn")
    return salt


def hashed(salt: str, identity: str, digits: int) -> str:
    return hashlib.sha256((salt + identity).encode("utf-8", "surrogateescape")).hexdigest()[:digits]
