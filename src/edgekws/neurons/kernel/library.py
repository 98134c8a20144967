"""The compiled code: built once on this machine, then loaded in a millisecond.

C and the compiler in the package ``ziglang``, which needs nothing else of the machine.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch

_HERE = Path(__file__).parent
_TYPES = {torch.float32: ("float", "int32_t"), torch.float64: ("double", "int64_t")}
# Sums in the order that is written, so that equal currents give equal spikes; no library of the system is linked.
_FLAGS = ["-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all", "-ffreestanding", "-nostdlib",
          "-shared", "-fPIC", "-fvisibility=hidden"]


class Unavailable(Exception):
    """The compiled code cannot be had here; the text says why."""


@functools.cache
def load(name: str, dtype: torch.dtype) -> ctypes.CDLL:
    """The library made of ``<name>.c`` for a floating-point type; built if this machine has not built it before.

    Raises:
        Unavailable: There is no compiler, it fails, or there is nowhere to keep what it makes.
    """
    real, integer = _TYPES[dtype]
    sources = sorted([_HERE / f"{name}.c", *_HERE.glob("*.h")])
    digest = hashlib.sha256("\n".join([
        real, *_FLAGS, _compiler(), _processor(), *(source.read_text(encoding="utf-8") for source in sources)]).encode())
    file = f"{name}-{real}-{digest.hexdigest()[:16]}.so"
    for folder in _folders():
        if (folder / file).is_file():
            return _opened(folder / file)
    built = _build(_HERE / f"{name}.c", [f"-DREAL={real}", f"-DINTEGER={integer}"])
    try:
        for folder in _folders():
            if (kept := _keep(built, folder / file)) is not None:
                return _opened(kept)
        return _opened(built)  # nowhere to keep it: this process has it all the same
    finally:
        shutil.rmtree(built.parent, ignore_errors=True)


def _opened(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(f"what was compiled cannot be loaded: {error}") from error


def _compiler() -> str:
    """Name and version of the compiler."""
    if find_spec("ziglang") is None:
        raise Unavailable("the package 'ziglang', which holds the compiler, is not installed")
    return f"ziglang {metadata.version('ziglang')}"


@functools.cache
def _processor() -> str:
    """What the code is made for: a folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        about = [next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags", "Features")]
    except OSError:
        about = [platform.processor()]
    return "\n".join([sys.platform, platform.machine(), *about])


def _folders() -> list[Path]:
    """Where built code is kept, the first that can be written to: beside the environment's packages, or with the user."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return [Path(sys.prefix) / "var" / "cache" / "edgekws", cache / "edgekws"]


def _build(source: Path, definitions: list[str]) -> Path:
    """The compiled library, in a temporary folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="edgekws-"))
    out = folder / "built.so"
    command = [sys.executable, "-m", "ziglang", "cc", *_FLAGS, *definitions, str(source), "-o", str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env={
            **os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")})
        if done.returncode or not out.is_file():
            raise Unavailable(f"the compiler failed: {(done.stderr.strip() or 'without a word').splitlines()[0]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Unavailable(f"the compiler could not be run: {error}") from error
    except Unavailable:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return out


def _keep(built: Path, place: Path) -> Path | None:
    """Put a built library in its place in one move; None where that fails.

    Not by ``files.writing``, which clears away what others have begun: several jobs may build it at once.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as beside:
            beside.write(built.read_bytes())
        Path(beside.name).chmod(0o755)
        return Path(beside.name).replace(place)
    except OSError:
        return None
