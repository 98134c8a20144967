"""The C library's flat functions (embedded/targets/flat.c), in a shared library or in WebAssembly, behind one class."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgekws.core.environments import NotRun
from edgekws.core.errors import UserError
from edgekws.embedded.compiler import ENVIRONMENT

Floats = npt.NDArray[np.float32]
MORE = 1
NO_WORD = 0xFFFFFFFF
USAGE = ("parameters", "gradients", "optimiser", "traces", "activations", "batch", "reservoir", "temporary", "total")
_FACTS = ("kind", "samples", "frames", "inputs", "neurons", "outputs", "words", "step", "embedding")
_OPTIMISERS, _STORAGE, _RULES = ("adam", "sgd"), ("exact", "bytes"), ("traces", "bptt")


class Machine(Protocol):
    """Where the library runs: its memory and its functions."""

    def room(self, size: int) -> int:
        """Address of new memory of that many bytes, aligned to 16."""

    def write(self, address: int, content: bytes) -> None:
        """Put bytes into memory."""

    def read(self, address: int, size: int) -> bytes:
        """Take bytes out of memory."""

    def call(self, name: str, *arguments: float) -> int:
        """Call a function of numbers and addresses."""


class Host:
    """A shared library of this machine."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(Path(path).absolute()))
        self._rooms: list[Any] = []
        for name in ("ekw_word", "ekw_message", "ekw_potentials", "ekw_weights", "ekw_ear_threshold", "ekw_ear_detection"):
            getattr(self._library, name).restype = ctypes.c_void_p

    def room(self, size: int) -> int:
        room = ctypes.create_string_buffer(size + 16)
        self._rooms.append(room)
        return (ctypes.addressof(room) + 15) // 16 * 16

    def write(self, address: int, content: bytes) -> None:
        ctypes.memmove(address, content, len(content))

    def read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(address, size)

    def call(self, name: str, *arguments: float) -> int:
        given = [ctypes.c_float(value) if isinstance(value, float) else
                 ctypes.c_void_p(value) if value > 0xFFFFFFFF else ctypes.c_uint32(value) for value in arguments]
        return getattr(self._library, name)(*given) or 0


class WebAssembly:
    """A WebAssembly module, in wasmtime.

    Raises:
        NotRun: wasmtime is not installed.
    """

    def __init__(self, path: Path, environment: Path = ENVIRONMENT) -> None:
        if importlib.util.find_spec("wasmtime") is None:  # a package without dependencies: lent by the tool's environment
            sys.path += [str(folder) for folder in Path(environment).absolute().glob("lib/python*/site-packages")]
        try:
            wasmtime = importlib.import_module("wasmtime")
        except ImportError as error:
            raise NotRun("wasmtime is not here: get it with `envs/tool embedded .envs/embedded`") from error
        self._store = wasmtime.Store()
        module = wasmtime.Module.from_file(self._store.engine, str(path))
        if module.imports:
            raise UserError("asks for functions from outside", where=path, remedy="build it again")
        self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory = self._exports["memory"]

    def room(self, size: int) -> int:
        found = int(self._exports["ekw_room"](self._store, size)) & 0xFFFFFFFF
        if not found:
            raise UserError("has no memory left", where="WebAssembly", remedy="take a smaller net or fewer clips")
        return found

    def write(self, address: int, content: bytes) -> None:
        self._memory.write(self._store, content, address)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._memory.read(self._store, address, address + size))

    def call(self, name: str, *arguments: float) -> int:
        return int(self._exports[name](self._store, *arguments) or 0)


class Library:
    """One model at work in a machine.

    Args:
        machine: Where.
        image: Of :func:`edgekws.embedded.image.spiking`.

    Attributes:
        facts: ``samples``, ``frames``, ``inputs``, ``neurons``, ``outputs``, ``words`` and more.

    Raises:
        UserError: The library refuses the image.
    """

    def __init__(self, machine: Machine, image: bytes) -> None:
        self.machine = machine
        self._image = machine.room(len(image))
        machine.write(self._image, image)
        self._check(machine.call("ekw_open", self._image, len(image)))
        self.facts = {name: machine.call("ekw_fact", number) for number, name in enumerate(_FACTS)}
        self._audio, self._audio_room = 0, 0
        self._floats = machine.room(4 * (self.facts["outputs"] + self.facts["inputs"] + self.facts["embedding"] + 8))

    def message(self, status: int) -> str:
        """What the library says of a status."""
        return self._text(self.machine.call("ekw_message", status & 0xFFFFFFFF))

    def words(self) -> list[str]:
        """The words, in the order of the outputs."""
        return [self._text(self.machine.call("ekw_word", number)) for number in range(self.facts["words"])]

    def needs(self, *, clips: int = 0, batch: int = 0, optimiser: str = "adam", storage: str = "exact",
              rule: str = "traces") -> int:
        """Bytes of the arena."""
        return self.machine.call("ekw_needs", *_plan(clips, batch, optimiser, storage, rule)) & 0xFFFFFFFF

    def start(self, *, clips: int = 0, batch: int = 0, optimiser: str = "adam", storage: str = "exact", rule: str = "traces",
              room: int | None = None) -> dict[str, int]:
        """Lay out an arena; its bytes by what they are for.

        Args:
            room: Bytes offered, in place of those that are needed.
        """
        plan = _plan(clips, batch, optimiser, storage, rule)
        size = (self.machine.call("ekw_needs", *plan) & 0xFFFFFFFF) if room is None else room
        self._check(self.machine.call("ekw_start", *plan, self.machine.room(max(size, 8)), size))
        return {name: self.machine.call("ekw_usage", number) for number, name in enumerate(USAGE)}

    def hear(self, samples: npt.NDArray[np.int16]) -> None:
        """A recording of one word."""
        self._check(self.machine.call("ekw_hear", self._put(samples), len(samples)))

    def features(self) -> Floats:
        """Features [frames, inputs] of what was heard last."""
        rows = []
        for frame in range(self.facts["frames"]):
            self._check(self.machine.call("ekw_features", frame, self._floats))
            rows.append(self._read(self._floats, self.facts["inputs"]))
        return np.stack(rows)

    def predict(self) -> tuple[int, Floats]:
        """Number of the word, and potentials [outputs]."""
        found = self._check(self.machine.call("ekw_predict", self._floats))
        return found, self._read(self._floats, self.facts["outputs"])

    def run(self, features: Floats) -> Floats:
        """Potentials [frames, outputs] after each frame of features [frames, inputs]."""
        self._check(self.machine.call("ekw_rest"))
        rows = []
        for frame in features:
            self.machine.write(self._floats, frame.astype("<f4").tobytes())
            self._check(self.machine.call("ekw_step", self._floats))
            rows.append(self._read(self.machine.call("ekw_potentials"), self.facts["outputs"]))
        return np.stack(rows)

    def keep(self, word: int, *, replace: int = NO_WORD) -> int:
        """Place in the reservoir of what was heard last."""
        return self._check(self.machine.call("ekw_keep", word, replace))

    def recall(self, place: int) -> None:
        """Hear a clip of the reservoir again."""
        self._check(self.machine.call("ekw_recall", place))

    def learn(self, *, rate: float = 1e-4, epochs: int = 3, batch: int = 0, seed: int = 0) -> int:
        """Learn from the reservoir; the number of steps made."""
        steps = 0
        status = self._check(self.machine.call("ekw_learn", float(rate), epochs, batch, seed))
        while status == MORE:
            status = self._check(self.machine.call("ekw_learn_step"))
            steps += 1
        return steps

    def undo(self) -> None:
        """Back to the base."""
        self._check(self.machine.call("ekw_undo"))

    def weights(self) -> list[Floats]:
        """Input [inputs, neurons], recurrent [neurons, neurons] and readout [neurons, outputs] weights, flat."""
        return [self._read(self.machine.call("ekw_weights", which), self.machine.call("ekw_weights_count", which))
                for which in range(3)]

    def save(self, precision: str = "fp32") -> bytes:
        """The delta's file."""
        which = ("fp32", "int8").index(precision)
        size = self.machine.call("ekw_delta_bytes", which)
        place = self.machine.room(max(size, 8))
        self._check(self.machine.call("ekw_save", which, place, size))
        return self.machine.read(place, size)

    def load(self, content: bytes) -> None:
        """Lay a delta's file over the base."""
        place = self.machine.room(max(len(content), 8))
        self.machine.write(place, content)
        self._check(self.machine.call("ekw_load", place, len(content)))

    # -------------------------------------------------------------------------------------------- wake word
    def start_ear(self, *, room: int | None = None) -> int:
        """Lay out an arena for a wake-word encoder; its bytes."""
        size = (self.machine.call("ekw_ear_needs") & 0xFFFFFFFF) if room is None else room
        self._check(self.machine.call("ekw_ear_start", self.machine.room(max(size, 8)), size))
        return size

    def embed(self, second: npt.NDArray[np.int16]) -> Floats:
        """Embedding of a second of sound."""
        self._check(self.machine.call("ekw_ear_embed", self._put(second), self._floats))
        return self._read(self._floats, self.facts["embedding"])

    def enrol(self, positives: Sequence[npt.NDArray[np.int16]], negatives: Sequence[npt.NDArray[np.int16]], *,
              share: float = 0.3, cap: float = 0.5) -> tuple[int, float]:
        """Teach a wake word by recordings, and other speech; the filter's windows and the threshold found."""
        for samples in positives:
            self._check(self.machine.call("ekw_ear_teach", self._put(samples), len(samples)))
        for recordings, is_wake_word in ((positives, 1), (negatives, 0)):
            for samples in recordings:
                self._check(self.machine.call("ekw_ear_compare", self._put(samples), len(samples), is_wake_word))
        self._check(self.machine.call("ekw_ear_calibrate", float(share), float(cap)))
        return self.machine.call("ekw_ear_filter"), float(self._read(self.machine.call("ekw_ear_threshold"), 1)[0])

    def detect(self, samples: npt.NDArray[np.int16]) -> list[tuple[int, float]]:
        """Sample at which each detection in a sound ends, and its distance."""
        content = np.concatenate([samples, np.zeros(self.facts["samples"], np.int16)])
        address, heard, found = self._put(content), 0, []

        def one() -> tuple[int, float]:
            end, distance = struct.unpack("<If", self.machine.read(self.machine.call("ekw_ear_detection"), 8))
            return end, distance

        while heard < len(content):
            status = self._check(self.machine.call("ekw_ear_listen", address + 2 * heard, len(content) - heard, self._floats))
            heard += struct.unpack("<I", self.machine.read(self._floats, 4))[0]
            if status == MORE:
                found.append(one())
        if self._check(self.machine.call("ekw_ear_finish")) == MORE:
            found.append(one())
        return found

    def _put(self, samples: npt.NDArray[np.int16]) -> int:
        content = samples.astype("<i2").tobytes()
        if len(content) > self._audio_room:
            self._audio, self._audio_room = self.machine.room(len(content)), len(content)
        self.machine.write(self._audio, content)
        return self._audio

    def _read(self, address: int, count: int) -> Floats:
        return np.frombuffer(self.machine.read(address, 4 * count), "<f4")

    def _text(self, address: int) -> str:
        content = b""
        while (byte := self.machine.read(address + len(content), 1)) != b"\0":
            content += byte
        return content.decode()

    def _check(self, status: int) -> int:
        if status < 0:
            what, _, remedy = self.message(status).partition(": ")
            raise UserError(what, where="device", remedy=remedy)
        return status


def _plan(clips: int, batch: int, optimiser: str, storage: str, rule: str) -> Sequence[int]:
    return clips, batch, _OPTIMISERS.index(optimiser), _STORAGE.index(storage), _RULES.index(rule)
