"""One clip of audio: reading and writing WAV, and bringing a clip to the length the models expect."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError

SAMPLE_RATE = 16_000
"""Samples per second of every clip."""

CLIP_SAMPLES = 16_000
"""Samples of a clip as the models see it: one second."""

FULL_SCALE = 32_768
"""Magnitude of the largest 16-bit sample."""

# The parser is our own because libsndfile (soundfile 0.14) reads a file that is cut short, also in half a sample, as a shorter
# one without a word: a damaged corpus would pass. It also takes 43 µs for a clip of one second, where this takes 5 µs.
_PCM, _EXTENSIBLE = 0x0001, 0xFFFE
_CONVERT = ("convert it, for example with: sox in.wav -r 16000 -c 1 -b 16 out.wav, "
            "or: ffmpeg -i in.wav -ar 16000 -ac 1 -c:a pcm_s16le out.wav")
_FETCH = "fetch an intact copy, or leave the file out"


def decode_wav(data: bytes, where: str) -> npt.NDArray[np.int16]:
    """The samples of a 16 kHz mono 16-bit PCM WAV file.

    Args:
        data: The whole file.
        where: What to call it in an error.

    Returns:
        The samples, int16 of shape (n,), n ≥ 1.

    Raises:
        UserError: It is no WAV file, is cut short, is empty, or is not 16 kHz mono 16-bit PCM.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise UserError("is not a WAV file (no RIFF/WAVE header)", where=where, remedy=_FETCH)
    chunks = _chunks(data, where)
    header = chunks.get(b"fmt ", b"")
    if len(header) < 16 or b"data" not in chunks:
        raise UserError("is not a complete WAV file (no format or no data chunk)", where=where, remedy=_FETCH)
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
    if tag == _EXTENSIBLE and len(header) >= 26:
        tag = struct.unpack_from("<H", header, 24)[0]
    if tag != _PCM or bits != 16:
        raise UserError(f"is not 16-bit PCM (format {tag:#06x}, {bits} bits)", where=where, remedy=_CONVERT)
    if channels != 1:
        raise UserError(f"has {channels} channels, not one", where=where, remedy=_CONVERT)
    if rate != SAMPLE_RATE:
        raise UserError(f"is sampled at {rate} Hz, not {SAMPLE_RATE} Hz", where=where, remedy=_CONVERT)
    audio = chunks[b"data"]
    if not audio:
        raise UserError("holds no audio (0 samples)", where=where, remedy="record it again, or leave the file out")
    if len(audio) % 2:
        raise UserError("is truncated (ends in half a sample)", where=where, remedy=_FETCH)
    return np.frombuffer(audio, dtype="<i2").astype(np.int16)


def _chunks(data: bytes, where: str) -> dict[bytes, bytes]:
    """The chunks of a RIFF file up to and including its audio; of two with one name, the first."""
    chunks: dict[bytes, bytes] = {}
    position = 12
    while b"data" not in chunks and position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        body = data[position + 8:position + 8 + size]
        if len(body) < size:
            raise UserError(f"is truncated (the header promises {size} bytes of '{name.decode('latin-1').strip()}', "
                            f"{len(body)} are there)", where=where, remedy=_FETCH)
        chunks.setdefault(name, body)
        position += 8 + size + size % 2
    return chunks


def encode_wav(samples: npt.NDArray[np.int16]) -> bytes:
    """A 16 kHz mono 16-bit PCM WAV file of int16 samples of shape (n,); :func:`decode_wav` is its inverse.

    Raises:
        ValueError: The samples are not int16 of one dimension.
    """
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(f"expected int16 samples of shape (n,), got {samples.dtype} of shape {samples.shape}")
    audio = samples.astype("<i2").tobytes()
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(audio), b"WAVE", b"fmt ", 16, _PCM, 1, SAMPLE_RATE,
                         2 * SAMPLE_RATE, 2, 16, b"data", len(audio))
    return header + audio


def fit_length(samples: npt.NDArray[Any], length: int = CLIP_SAMPLES) -> npt.NDArray[np.float32]:
    """A clip brought to ``length`` samples: a shorter one zero-padded, a longer one cut to its loudest window.

    Padding is centred, (length − n) // 2 zeros on the left (traces_propagation.md, section 4). Google Speech
    Commands has no clip longer than one second; of a personal recording the window with the most energy
    (the first of equals) is kept. Values keep their scale.

    Args:
        samples: Real samples of shape (n,).
        length: Samples wanted.

    Returns:
        float32 of shape (length,).
    """
    n = len(samples)
    if n > length:
        energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
        start = int(np.argmax(energy[length:] - energy[:-length]))
        return samples[start:start + length].astype(np.float32)
    fitted = np.zeros(length, dtype=np.float32)
    left = (length - n) // 2
    fitted[left:left + n] = samples
    return fitted
