"""Recordings of any length, some at a time: from a file, or from a pipe while it is being recorded."""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.core.progress import tell
from edgekws.corpus.audio import SAMPLE_RATE, STREAMED, Sound, check_numbers, opened

BLOCK_SECONDS, PIPE_SECONDS = 30.0, 0.5
"""Length of a block of a file, and of one from a pipe, where somebody may be waiting for an answer."""

_LARGEST_CHUNK = 16 * 2**20
_MAGIC = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"FORM", b".snd", b"caff", b"riff")
_PIPE = ("for example: arecord -f S16_LE -r 16000 -c 1 | edgekws listen MODEL -, "
         "or: ffmpeg -i FILE -f wav - | edgekws listen MODEL -")

Samples = npt.NDArray[np.float32]


def _bytes24(data: bytes) -> npt.NDArray[Any]:
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.reshape(-1).view("<i4").astype(np.float32) / np.float32(2**31)


_PLAIN: dict[tuple[int, int], Callable[[bytes], npt.NDArray[Any]]] = {
    (1, 8): lambda data: (np.frombuffer(data, np.uint8) - np.float32(128)) / np.float32(128),
    (1, 16): lambda data: np.frombuffer(data, "<i2") / np.float32(2**15),
    (1, 24): _bytes24,
    (1, 32): lambda data: (np.frombuffer(data, "<i4") / 2**31).astype(np.float32),
    (3, 32): lambda data: np.frombuffer(data, "<f4"),
    (3, 64): lambda data: np.frombuffer(data, "<f8").astype(np.float32)}
"""WAV's formats that need no codec, by tag and bits: bytes to samples of full scale 1."""


class Recording(NamedTuple):
    """A recording that is being read.

    Attributes:
        seconds: How long it is; None where nobody knows yet.
        converted: As :attr:`edgekws.corpus.audio.Sound.converted`.
        blocks: float32 (n,) of full scale 1, at 16 kHz, one after the other.
    """

    seconds: float | None
    converted: str
    blocks: Iterator[Samples]


def open_recording(file: IO[bytes], where: str) -> Recording:
    """Begin to read a recording, from a file or a pipe; channels are mixed down, another rate becomes 16 kHz.

    Args:
        file: Open for reading in binary.
        where: What to call it in an error.

    Raises:
        UserError: It is no audio. While its blocks are read: it is damaged, empty, or holds samples that are no numbers.
    """
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        form, size = _header(file, where)
        if decode := _PLAIN.get((form.tag, form.bits)):
            frame = form.channels * form.bits // 8
            seconds = None if size is None else size / frame / form.rate
            length = BLOCK_SECONDS if file.seekable() else PIPE_SECONDS
            pieces = _frames(file, where, size, frame, max(round(length * form.rate), 1))
            found = (decode(piece).reshape(-1, form.channels) for piece in pieces)
            return _recording(found, form.rate, form.channels, seconds, where)
        if not file.seekable():
            raise UserError(f"is a WAV of a kind that cannot be read from a pipe (format {form.tag:#06x})", where=where,
                            remedy=_PIPE)
    if not file.seekable():
        if not head.startswith(_MAGIC):
            raise UserError("is no audio with a header", where=where, remedy=_PIPE)
        whole = tempfile.TemporaryFile()  # noqa: SIM115
        whole.write(head)
        shutil.copyfileobj(file, whole)
        file = whole
    sound = opened(file, where)
    length = max(round(BLOCK_SECONDS * sound.samplerate), 1)
    return _recording(_coded(sound, length, where), sound.samplerate, sound.channels, sound.frames / sound.samplerate, where)


def _coded(sound: Any, length: int, where: str) -> Iterator[npt.NDArray[np.float32]]:
    import soundfile

    try:
        yield from sound.blocks(length, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"is damaged ({error})", where=where, remedy="fetch an intact copy") from error


def _recording(found: Iterator[npt.NDArray[np.float32]], rate: int, channels: int, seconds: float | None,
               where: str) -> Recording:
    def blocks() -> Iterator[Samples]:
        resampler = None
        if rate != SAMPLE_RATE:
            import soxr

            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32")
        done = 0
        for block in found:
            check_numbers(block, where, after=done / rate)
            done += len(block)
            mono: Samples = block[:, 0] if channels == 1 else block.mean(1)
            yield mono if resampler is None else resampler.resample_chunk(mono)
        if not done:
            raise UserError("holds no audio (0 samples)", where=where, remedy="record it again")
        if resampler is not None:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    return Recording(seconds, Sound(np.zeros(0, np.int16), rate, channels).converted, blocks())


# ------------------------------------------------------------------------------------------------ WAV
class _Form(NamedTuple):
    tag: int
    channels: int
    rate: int
    bits: int


def _header(file: IO[bytes], where: str) -> tuple[_Form, int | None]:
    """Format of a WAV file and bytes of its audio, None where it goes on to the end; the audio is what is read next."""
    fmt, wide, ahead = b"", None, b""
    while True:
        head = ahead + file.read(8 - len(ahead))
        ahead = b""
        if len(head) < 8:
            raise UserError("is not a complete WAV file (no format or no data chunk)", where=where, remedy="fetch an intact copy")
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            break
        if size > _LARGEST_CHUNK:
            raise UserError(f"is damaged (a chunk '{name.decode('latin-1')}' of {size} bytes)", where=where,
                            remedy="fetch an intact copy")
        body = file.read(size)
        if name == b"fmt ":
            fmt = body
        elif name == b"ds64" and len(body) >= 16:
            wide = struct.unpack_from("<Q", body, 8)[0]
        if size % 2 and (pad := file.read(1)) != b"\0":  # some writers forget to pad
            ahead = pad
    if len(fmt) < 16:
        raise UserError("is not a complete WAV file (no format or no data chunk)", where=where, remedy="fetch an intact copy")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == 0xFFFE and len(fmt) >= 26:
        tag = struct.unpack_from("<H", fmt, 24)[0]
    if not channels or not 1_000 <= rate <= 1_000_000:
        raise UserError(f"is damaged ({channels} channels at {rate} Hz)", where=where, remedy="fetch an intact copy")
    size = wide or size
    return _Form(tag, channels, rate, bits), None if (size >= STREAMED and not wide) or size == 0 else size


def _frames(file: IO[bytes], where: str, size: int | None, frame: int, length: int) -> Iterator[bytes]:
    """The audio of a WAV file, ``length`` frames at a time; half a frame at its end is left out."""
    done, rest = 0, b""
    while size is None or done < size:
        piece = file.read(length * frame if size is None else min(length * frame, size - done))
        if not piece:
            break
        done += len(piece)
        piece = rest + piece
        whole = len(piece) - len(piece) % frame
        rest = piece[whole:]
        if whole:
            yield piece[:whole]
    if size is not None and done < size:
        tell(f"{where}: is cut short: {done} of the {size} bytes of audio that its header promises are there")
