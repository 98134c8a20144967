"""espeak-ng through its library, one process for each utterance: the same bytes in any order."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.corpus.audio import FULL_SCALE

_REINSTALL = "reinstall it: pip install --force-reinstall espeakng-loader"


def in_children(tasks: Iterator[Callable[[], npt.NDArray[Any]]], jobs: int) -> Iterator[npt.NDArray[Any]]:
    """The tasks' results in order, each computed in a forked process of its own, ``jobs`` at a time."""
    running: deque[tuple[int, IO[bytes]]] = deque()
    try:
        for task in tasks:
            if len(running) == jobs:
                yield _finish(*running.popleft())
            running.append(_start(task))
        while running:
            yield _finish(*running.popleft())
    finally:
        for child, result in running:
            os.waitpid(child, 0)
            result.close()


def _start(task: Callable[[], npt.NDArray[Any]]) -> tuple[int, IO[bytes]]:
    result = tempfile.TemporaryFile()  # noqa: SIM115  (closed by _finish)
    child = os.fork()
    if child:
        return child, result
    _run_and_exit(task, result)


def _run_and_exit(task: Callable[[], npt.NDArray[Any]], result: IO[bytes]) -> NoReturn:
    status = 1
    try:
        np.save(result, task(), allow_pickle=False)
        result.flush()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _finish(child: int, result: IO[bytes]) -> npt.NDArray[Any]:
    with result:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            raise UserError(f"the speaking process stopped with status {status}", where="espeak-ng",
                            remedy=f"see the message above; if it is the library's, {_REINSTALL}")
        result.seek(0)
        return cast(npt.NDArray[Any], np.load(result, allow_pickle=False))


@contextlib.contextmanager
def espeak_data(variants: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Paths of the library and of its data, the latter through a short link: a long one ends the process.

    Raises:
        UserError: There is no library here, or it lacks one of the voice ``variants``.
    """
    if not hasattr(os, "fork"):
        raise UserError("needs a system with fork (Linux or macOS)", where="synthetic corpus",
                        remedy="make the archive on such a system, or use Google Speech Commands")
    try:
        import espeakng_loader

        library, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
        ctypes.CDLL(library)
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(f"cannot be loaded ({error})", where="espeak-ng", remedy=_REINSTALL) from error
    known = {variant.name for variant in (Path(data) / "voices" / "!v").glob("*")}
    if missing := {*variants} - known:
        raise UserError(f"lacks the voice '{min(missing)}'", where=data, remedy=_REINSTALL)
    with tempfile.TemporaryDirectory(prefix="espeak-") as folder:
        link = Path(folder) / "d"
        link.symlink_to(data)
        if len(str(link)) > 120:
            raise UserError("the temporary folder's path is too long for espeak-ng", where=folder,
                            remedy="set TMPDIR to a shorter path")
        yield library, str(link)


class Espeak:
    """The library, started in this process (espeak-ng/speak_lib.h); there is one per process."""

    _SYNCHRONOUS, _DONT_EXIT, _UTF8, _CHARACTERS = 2, 0x8000, 1, 1
    _RATE, _PITCH, _RANGE = 1, 3, 4

    def __init__(self, library: str, data: str) -> None:
        self.library = ctypes.CDLL(library)
        self.library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self.library.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
                                              ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
        self.sample_rate = self.library.espeak_Initialize(self._SYNCHRONOUS, 0, data.encode(), self._DONT_EXIT)
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng does not start with the data at {data}")
        self.pieces: list[bytes] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self.callback = kind(self._collect)  # kept: the library calls it for as long as it lives
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self.pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, text: str, voice: str, *, rate: float, pitch: float, intonation: float, seed: int) -> npt.NDArray[np.float64]:
        """Spoken text at ``sample_rate``, full scale 1."""
        self.pieces.clear()
        self.library.espeak_ng_SetRandSeed(seed % 2**31)
        failed = self.library.espeak_SetVoiceByName(voice.encode())
        for parameter, value in ((self._RATE, rate), (self._PITCH, pitch), (self._RANGE, intonation)):
            failed = failed or self.library.espeak_SetParameter(parameter, round(value), 0)
        encoded = text.encode() + b"\0"
        failed = failed or self.library.espeak_Synth(encoded, len(encoded), 0, self._CHARACTERS, 0, self._UTF8, None, None)
        if failed or not self.pieces:
            raise RuntimeError(f"espeak-ng does not say '{text}' in the voice '{voice}'")
        return np.frombuffer(b"".join(self.pieces), np.int16) / FULL_SCALE
