"""DVC as it is installed beside this Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from edgekws.core.errors import UserError

_REMEDIES = (
    (r"acquire (the )?lock|lock file|is locked|rwlock",
     "wait until the other DVC command has ended; if none is running, delete .dvc/tmp/lock and .dvc/tmp/rwlock"),
    (r"No space left|ENOSPC|Disk quota", "free some space: DVC keeps one more copy, in its cache (`dvc cache dir`)"),
    (r"cache link types|cross-device|Errno 18|EXDEV",
     "the cache is on another file system: `dvc config --local cache.type copy`, or `dvc cache dir --local` on this one"),
    (r"but requires .* to be installed|missing dependencies", "install what DVC names: pip install 'dvc[all]' has all of them"),
    (r"credentials|Access ?Denied|\b40[13]\b|authenticat|InvalidAccessKey|Permission denied \(publickey",
     "give DVC the credentials of that address: `dvc remote modify --help` says how"),
    (r"Errno 13|Errno 30|EACCES|EROFS|Permission denied|Read-only file system|Errno 20|Errno 1\]|Errno 2\]",
     "see that the path can be written to; `dvc cache dir` tells where the cache is, `dvc cache dir --local` sets it"),
    (r"resolve host|Failed to establish|Name or service|Connection|Temporary failure|timed out|getaddrinfo",
     "check the network and the address, and run it again"),
    (r"not inside of a DVC repository", "run it in the project's folder"),
    (r"unsupported|not supported|URL scheme|does not exist", "name a folder that is there, or an address that DVC knows"))
"""What to do about what DVC says: the first that is found in it."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC in the current folder, without its analytics, and return how it ended and what it said."""
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False,
                          env={**os.environ, "DVC_NO_ANALYTICS": "1"})


def call(*arguments: str, where: str | Path, remedy: str) -> None:
    """Run DVC in the current folder.

    Args:
        where: What it is about.
        remedy: What to do where DVC's own sentence does not tell.

    Raises:
        UserError: It failed, with DVC's own sentence and what to do about it.
    """
    done = run(*arguments)
    if done.returncode != 0:
        said = told(done)
        raise UserError(f"DVC could not {arguments[0]}: {said}", where=where, remedy=remedy_for(said) or remedy)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What DVC said was wrong, in one line."""
    found = re.search(r"^ERROR: (.+?)(?:\n\n|\nERROR: |\Z)", done.stderr, re.DOTALL | re.MULTILINE)
    said = " ".join((found[1] if found else done.stderr).split()).removeprefix("unexpected error - ")
    # Its advice to download by hand stands before the cause.
    said = re.sub(r"^failed to import .*? - (?=\S)", "", said)
    return said or f"it ended with {done.returncode}"


def remedy_for(said: str) -> str:
    """What to do about a sentence of DVC's, "" where nobody knows.

    >>> remedy_for("Unable to acquire lock. Most likely another DVC process is running")
    'wait until the other DVC command has ended; if none is running, delete .dvc/tmp/lock and .dvc/tmp/rwlock'
    """
    return next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, said, re.IGNORECASE)), "")
