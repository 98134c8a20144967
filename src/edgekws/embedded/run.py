"""Running a job on a target: this machine, WebAssembly, or a Cortex-M in QEMU; what it predicts, learns and takes.

A job is some clips to learn from and some to predict, before and after (embedded/targets/runner.c). The same program runs it
everywhere, and tells hashes of what it computed: of the potentials after every frame, of all weights, of the delta's file.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekws.core.environments import NotRun
from edgekws.core.errors import UserError
from edgekws.embedded import compiler
from edgekws.embedded.compiler import BOARDS, Target
from edgekws.embedded.library import WebAssembly

NO_WORD = 0xFFFFFFFF
_TIMEOUT = 3600


@dataclass(frozen=True)
class Job:
    """What a device is to do.

    Attributes:
        support: Clips to learn from: number of the word, samples (n,) int16.
        query: Clips to predict.
        rule: Traces Propagation, or back-propagation through time to compare with.
        batch: Clips that are learnt from together; 0: all.
    """

    support: Sequence[tuple[int, npt.NDArray[np.int16]]]
    query: Sequence[npt.NDArray[np.int16]]
    optimiser: Literal["adam", "sgd"] = "adam"
    storage: Literal["exact", "bytes"] = "exact"
    rule: Literal["traces", "bptt"] = "traces"
    batch: int = 0
    epochs: int = 3
    rate: float = 1e-4
    seed: int = 0

    def plan(self) -> tuple[int, int, int, int, int]:
        """What the arena is laid out for: clips, batch, optimiser, storage, rule."""
        return (len(self.support), self.batch, ("adam", "sgd").index(self.optimiser), ("exact", "bytes").index(self.storage),
                ("traces", "bptt").index(self.rule))

    def packed(self) -> bytes:
        """As the runner reads it."""
        clips, batch, optimiser, storage, rule = self.plan()
        content = struct.pack("<IIIIIIIIIfII", 0x424F4A45, clips, len(self.query), optimiser, storage, rule, batch, self.epochs,
                              self.seed, self.rate, 0, 0)
        for word, samples in [*self.support, *((NO_WORD, samples) for samples in self.query)]:
            pcm = samples.astype("<i2").tobytes()
            content += struct.pack("<II", word, len(samples)) + pcm + b"\0" * (-len(pcm) % 4)
        return content


@dataclass(frozen=True)
class Outcome:
    """What a target said.

    Attributes:
        numbers: By name; ``weights`` and ``delta`` have one for each matrix and precision.
        before, after: Predictions of the query.
        flash, ram: Bytes of a firmware: code and image; arena, other variables and the stack that was really used.
    """

    numbers: dict[str, list[int]]
    before: list[int]
    after: list[int]
    flash: int | None = None
    ram: int | None = None
    sections: dict[str, int] = field(default_factory=dict)

    def one(self, name: str) -> int:
        """A number of which there is one; 0 where the target did not tell it."""
        return self.numbers.get(name, [0])[0]

    @property
    def bits(self) -> dict[str, Any]:
        """Everything that must be the same on all targets."""
        return {"before": self.before, "after": self.after, **{
            name: [f"{value:016x}" for value in values] for name, values in self.numbers.items()
            if name in ("before_potentials", "after_potentials", "weights", "delta")}}


def parse(said: str, where: str) -> Outcome:
    """The lines of a runner.

    Raises:
        UserError: It tells of an error, or stopped before its end.
    """
    numbers: dict[str, list[int]] = {}
    predictions: dict[str, list[int]] = {"before": [], "after": []}
    for line in said.splitlines():
        name, _, rest = line.partition(" ")
        if name == "error":
            what, _, remedy = rest.partition(": ")
            raise UserError(what, where=where, remedy=remedy or "see what the target said before")
        if name.startswith("predictions_"):
            predictions[name.removeprefix("predictions_")] = [int(rest[place:place + 2], 16) for place in range(0, len(rest), 2)]
        elif re.fullmatch("[0-9a-f]{8,16}", rest):
            numbers.setdefault(name, []).append(int(rest, 16))
    if "before_potentials" not in numbers:
        raise UserError(f"stopped before it had predicted anything: {said[-300:]!r}", where=where,
                        remedy="build it again; the arena, or the board's memory, may be too small")
    return Outcome(numbers, predictions["before"], predictions["after"])


def arena_bytes(image: bytes, job: Job, runner: Path) -> int:
    """Bytes that the job's arena needs, by the library itself; ``runner`` is a shared library of this machine."""
    from edgekws.embedded.library import Host, Library

    device = Library(Host(runner), image)
    return device.needs(clips=len(job.support), batch=job.batch, optimiser=job.optimiser, storage=job.storage, rule=job.rule)


def on_host(runner: Path, image: Path, job: Job, room: int, folder: Path) -> Outcome:
    """Run a job in a program of this machine."""
    packed = folder / "job.bin"
    packed.write_bytes(job.packed())
    done = subprocess.run([Path(runner).absolute(), image, packed, str(room)], capture_output=True, text=True, check=False,
                          timeout=_TIMEOUT)
    return parse(done.stdout, "host")


def in_web_assembly(module: Path, image: Path, job: Job, room: int, environment: Path = compiler.ENVIRONMENT) -> Outcome:
    """Run a job in WebAssembly."""
    machine = WebAssembly(module, environment)
    blob, packed = Path(image).read_bytes(), job.packed()
    places = []
    for content in (blob, packed):
        places.append(machine.room(len(content)))
        machine.write(places[-1], content)
    machine.call("run", places[0], len(blob), places[1], len(packed), machine.room(room), room)
    address, said = machine.call("said"), b""
    while not said.endswith(b"\0"):
        said += machine.read(address + len(said), 1)
    return parse(said[:-1].decode(), "wasm")


def qemu() -> str:
    """The emulator.

    Raises:
        NotRun: It is not installed.
    """
    found = shutil.which("qemu-system-arm")
    if found is None:
        raise NotRun("qemu-system-arm is not installed here (Debian and Ubuntu: apt install qemu-system-arm)")
    return found


def on_cortex_m(target: Target, firmware: Path, job: Job, folder: Path) -> Outcome:
    """Run a job in a firmware, in QEMU; every instruction is a nanosecond there, so that counts repeat exactly.

    Raises:
        NotRun: QEMU is not installed.
        UserError: The firmware stops with an error.
    """
    board, content = BOARDS[target], job.packed()
    packed = folder / "job.bin"
    packed.write_bytes(struct.pack("<I", len(content)) + content)
    done = subprocess.run(
        [qemu(), "-M", board.machine, "-kernel", firmware, "-semihosting", "-nographic", "-monitor", "none", "-serial", "none",
         "-icount", "shift=0", "-device", f"loader,file={packed},addr={board.outside + compiler.OUTSIDE_OFFSET:#x},force-raw=on"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    outcome = parse(done.stdout + done.stderr, target)
    sections = sections_of(firmware)
    flash = sections.get(".text", 0) + sections.get(".data", 0)
    ram = sections.get(".data", 0) + sections.get(".bss", 0) + outcome.one("stack_bytes")
    return Outcome(outcome.numbers, outcome.before, outcome.after, flash, ram, sections)


def sections_of(firmware: Path) -> dict[str, int]:
    """Bytes of each section of a 32-bit ELF file that is loaded into the device's memory."""
    blob = Path(firmware).read_bytes()
    offset, = struct.unpack_from("<I", blob, 32)
    size, count, names = struct.unpack_from("<HHH", blob, 46)
    headers = [struct.unpack_from("<IIIIII", blob, offset + size * number) for number in range(count)]
    text = headers[names][4]

    def name(place: int) -> str:
        return blob[text + place:blob.index(b"\0", text + place)].decode()

    return {name(header[0]): header[5] for header in headers if header[2] & 2}  # SHF_ALLOC
