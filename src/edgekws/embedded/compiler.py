"""Building the C library with ziglang's compiler: for this machine, for WebAssembly, for Cortex-M."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgekws.core import files
from edgekws.core.environments import python_of
from edgekws.core.errors import UserError

Target = Literal["host", "wasm", "cortex-m4", "cortex-m7", "cortex-m33"]
TARGETS: tuple[Target, ...] = get_args(Target)

SOURCES = ("numeric.c", "image.c", "frontend.c", "spiking.c", "learning.c", "delta.c", "wakeword.c")
# No contraction of a product and a sum into one rounding, and no reordering: the bits are to be the same everywhere.
_COMMON = ["-std=c99", "-O3", "-ffp-contract=off", "-fno-sanitize=undefined", "-Wall", "-Wextra", "-Werror",
           "-fno-math-errno", "-s"]
_WASM = ["-target", "wasm32-freestanding", "-msimd128", "-mbulk-memory", "-nostdlib", "-Wl,--no-entry", "-Wl,--export-memory",
         "-fno-builtin-memcpy", "-fno-builtin-memset"]
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
        options = _WASM
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



# ------------------------------------------------------------------------------------------------ programs that run jobs
@dataclass(frozen=True)
class Board:
    """A board of QEMU with a Cortex-M.

    Attributes:
        cpu: Processor and floating-point unit (single precision), as the compiler calls them.
        machine: As QEMU calls it.
        flash, ram, outside: Where code, RAM and further memory begin; the latter holds what a device would record.
        instructions_per_tick: Of SysTick, where QEMU counts an instruction as a nanosecond.
    """

    cpu: str
    machine: str
    flash: int
    ram: int
    outside: int
    instructions_per_tick: int
    flash_bytes: int = 4 << 20
    ram_bytes: int = 4 << 20


BOARDS: dict[str, Board] = {
    "cortex-m4": Board("cortex_m4+vfp4d16sp", "mps2-an386", 0, 0x20000000, 0x21000000, 40),
    "cortex-m7": Board("cortex_m7+fp_armv8d16sp", "mps2-an500", 0, 0x20000000, 0x60000000, 40),
    "cortex-m33": Board("cortex_m33+fp_armv8d16sp", "mps2-an505", 0x10000000, 0x38000000, 0x80000000, 50)}

STACK_BYTES = 4096
OUTSIDE_OFFSET = 8 << 20
"""Where in further memory the job lies; what is below is RAM for nets that the board's own cannot hold."""


def build_runner(target: Target, out: Path, *, image_c: Path | None = None, arena_bytes: int = 0, ram_bytes: int | None = None,
                 environment: Path = ENVIRONMENT, options: Sequence[str] = ()) -> None:
    """The program that runs a job: of this machine, a WebAssembly module, or a firmware with an image and an arena in it.

    Args:
        image_c: Of a firmware: the image as a C array.
        arena_bytes: Of a firmware.
        ram_bytes: That the whole firmware may take, stack included; the linker refuses more. None takes the board's.
        options: More for the compiler.

    Raises:
        NotRun: There is no compiler.
        UserError: The firmware does not fit.
    """
    folder = sources()
    files_ = [str(folder / name) for name in (*SOURCES, "targets/runner.c")]
    flags = list(_COMMON)
    with files.writing(out) as part:
        if target == "host":
            files_.append(str(folder / "targets/host.c"))
        elif target == "wasm":
            files_ += [str(folder / "targets/wasm.c"), str(folder / "targets/bare.c")]
            flags += _WASM
        else:
            board = BOARDS[target]
            outside = ram_bytes is not None and ram_bytes > board.ram_bytes
            script = part.with_name(f"{part.name}.ld")
            numbers = {"FLASH": board.flash, "FLASH_BYTES": board.flash_bytes, "RAM": board.outside if outside else board.ram,
                       "RAM_BYTES": board.ram_bytes if ram_bytes is None else ram_bytes, "STACK_BYTES": STACK_BYTES}
            text = (folder / "targets" / "cortex_m.ld").read_text(encoding="utf-8")
            for name, number in numbers.items():
                text = text.replace(f"@{name}@", str(number))
            script.write_text(text, encoding="utf-8")
            files_ += [str(folder / "targets/cortex_m.c"), str(folder / "targets/bare.c"), str(image_c)]
            flags = [flag if flag != "-O3" else "-O2" for flag in flags]
            flags += ["-target", "thumb-freestanding-eabihf", f"-mcpu={board.cpu}", "-ffreestanding", "-nostdlib",
                      "-fno-builtin", "-fno-unwind-tables", "-ffunction-sections",
                      "-Wl,--gc-sections", "-Wl,-T," + str(script), f"-DARENA_BYTES={arena_bytes}",
                      f"-DJOB_ADDRESS={board.outside + OUTSIDE_OFFSET:#x}",
                      f"-DINSTRUCTIONS_PER_TICK={board.instructions_per_tick}"]
        try:
            compile_c([*flags, *options, *files_, "-o", str(part)], environment=environment)
        finally:
            part.with_name(f"{part.name}.ld").unlink(missing_ok=True)
