"""Where a result came from, as far as it is the same on every repetition.

Wall time and peak memory differ from one repetition to the next, so they live beside the results, in
``results/<run>/benchmarks``; everything here goes into the result file itself.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekws.core.version import __version__

_PACKAGES = ("numpy", "scipy", "torch", "torch-pruning", "norse", "peft", "opacus", "snakemake", "papermill", "dvc",
             "espeakng-loader", "ziglang")


@functools.cache
def code_version() -> str:
    """The package version, with the commit where the library runs from a git checkout (``+dirty`` if changed)."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return __version__
    # A clone of somebody else's is read all the same, without the programs that its configuration may name.
    command = ["git", "-C", str(root), "-c", f"safe.directory={root}", "-c", "core.fsmonitor=false",
               "describe", "--always", "--dirty=+dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return __version__
    return f"{__version__} ({found.stdout.strip()})" if found.returncode == 0 else __version__


@functools.cache
def sources_checksum() -> str:
    """Hex SHA-256 of the library's own files: another with any change to the code, committed or not."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.relative_to(root)}\n{path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def provenance(*, corpus: dict[str, Any] | None = None, threads: int = 1, device: str = "cpu") -> dict[str, Any]:
    """Code version, package versions, corpus (name, checksum) and device of a result made now."""
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": threads,
        "corpus": corpus or {},
    }


def derive_seed(seed: int, job: str) -> int:
    """A seed for one named use of randomness: independent of the order in which jobs run.

    >>> derive_seed(0, "base") != derive_seed(0, "finetune")
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{job}".encode()).digest()[:4], "little")
