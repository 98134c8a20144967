"""Building the C library with ziglang's compiler: for this machine, for WebAssembly, for Cortex-M."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args

from edgekws.core import files
from edgekws.core.environments import python_of
from edgekws.core.errors import UserError

Target = Literal["host", "wasm", "cortex-m4", "cortex-m7", "cortex-m33"]
TARGETS: tuple[Target, ...] = get_args(Target)

SOURCES = ("numeric.c", "image.c", "frontend.c", "spiking.c", "learning.c", "delta.c")
# No contraction of a product and a sum into one rounding, and no reordering: the bits are to be the same everywhere.
_COMMON = ["-std=c99", "-O3", "-ffp-contract=off", "-fno-sanitize=undefined", "-Wall", "-Wextra", "-Werror",
           "-fno-math-errno", "-s"]
_ABSENT = "there is no C compiler here: get it with `envs/tool embedded .envs/embedded`"
ENVIRONMENT = Path(".envs/embedded")
"""Where ``envs/tool`` puts the compiler; the running Python may have it, too."""


def sources() -> Path:
    """The folder of the C library, in a checkout.

    Raises:
        UserError: This is an installed package without it.
    """
    folder = Path(__file__).resolve().parents[3] / "embedded"
    if not (folder / "edgekws.h").is_file():
        raise UserError("the C library is not here", where=folder, remedy="work in a checkout of the repository")
    return folder


def zig(environment: Path = ENVIRONMENT) -> Path:
    """The Python that has the compiler.

    Raises:
        NotRun: None has; the environment could not be built, or was not.
    """
    if importlib.util.find_spec("ziglang") is not None:
        return Path(sys.executable)
    return python_of(environment, absent=_ABSENT)


def compile_c(arguments: list[str], *, environment: Path = ENVIRONMENT) -> None:
    """Run the compiler.

    Raises:
        NotRun: There is no compiler.
        UserError: It refuses the sources.
    """
    python = zig(environment)
    cache = python.parent.parent / "zig-cache"
    done = subprocess.run([python, "-m", "ziglang", "cc", *arguments], capture_output=True, text=True, check=False, env={
        **os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)})
    if done.returncode:
        raise UserError(f"the compiler stops: {done.stderr.strip()[-2000:]}", where="embedded", remedy="mend the C sources")


def build_library(target: Literal["host", "wasm"], out: Path, *, environment: Path = ENVIRONMENT,
                  sanitise: bool = False) -> None:
    """The library with its flat functions: a shared library of this machine, or a WebAssembly module.

    Args:
        sanitise: Stop at undefined behaviour.
    """
    folder = sources()
    files_ = [str(folder / name) for name in (*SOURCES, "targets/flat.c")]
    if target == "wasm":
        options = ["-target", "wasm32-freestanding", "-msimd128", "-mbulk-memory", "-nostdlib", "-Wl,--no-entry",
                   "-Wl,--export-memory", "-fno-builtin-memcpy", "-fno-builtin-memset"]
        files_.append(str(folder / "targets" / "bare.c"))
    else:
        # This machine's processor as it is: its vectors change nothing but the time.
        options = ["-shared", "-fPIC", "-fvisibility=hidden"]
        if sys.platform.startswith("linux"):
            options += ["-Wl,-z,noexecstack"]
    common = [flag for flag in _COMMON if not (sanitise and flag == "-fno-sanitize=undefined")]
    with files.writing(out) as part:
        compile_c([*common, *options, *(["-fsanitize=undefined", "-fsanitize-trap=undefined"] if sanitise else []),
                   *files_, "-o", str(part)], environment=environment)

