"""Audio: what counts as it, reading it, writing WAV, and bringing a clip to the length the models expect.

All reading goes through here. :func:`decode` is for corpora, whose format is fixed: another rate or number of channels is an
error. :func:`read` is for recordings that a person brings: they are mixed down and resampled, and the result says so.
"""

from __future__ import annotations

import io
import struct
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError

SAMPLE_RATE = 16_000
"""Samples per second of every clip."""

CLIP_SAMPLES = 16_000
"""Samples of a clip as the models see it: one second."""

FULL_SCALE = 32_768
"""Magnitude of the largest 16-bit sample."""

_READ = ("wav", "wave", "bwf", "rf64", "w64", "flac", "ogg", "oga", "opus", "mp1", "mp2", "mp3", "aif", "aiff", "aifc", "au",
         "snd", "caf", "sph", "nist", "voc", "avr")
_NOT_READ = ("m4a", "m4b", "mp4", "m4v", "mov", "aac", "ac3", "amr", "awb", "3gp", "3g2", "3ga", "wma", "webm", "weba", "mka",
             "mkv", "ape", "wv", "tta", "dsf", "dff", "gsm", "qcp", "ra", "spx", "raw", "pcm")
SUFFIXES = frozenset(f".{name}" for name in (*_READ, *_NOT_READ))
"""How the names of audio files end, in lower case: those that libsndfile reads and those that it does not, so that the
latter are named, not passed over."""

# The parser is our own because libsndfile (soundfile 0.14) reads a file that is cut short, also in half a sample, as a shorter
# one without a word: a damaged corpus would pass. It also takes 43 µs for a clip of one second, where this takes 5 µs.
_PCM, _EXTENSIBLE = 0x0001, 0xFFFE
STREAMED = 0x7FFF_F000
"""A size from here on is no size: sox writes this into a pipe, arecord 0x80000000, ffmpeg and RF64 0xFFFFFFFF."""
_SLOWEST, _FASTEST = 1_000, 1_000_000
"""Hz; a rate outside of these is a damaged header."""
CONVERT = ("convert it, for example with: sox in.wav -r 16000 -c 1 -b 16 out.wav, "
           "or: ffmpeg -i in.wav -ar 16000 -ac 1 -c:a pcm_s16le out.wav")
_FETCH = "fetch an intact copy, or leave the file out"
_RECORD = "record it again, or leave the file out"


class Sound(NamedTuple):
    """A recording, and what it was before it was mixed down and resampled.

    Attributes:
        samples: int16 of shape (n,), n ≥ 1, at 16 kHz.
        rate: Samples per second as it was stored.
        channels: As it was stored.
    """

    samples: npt.NDArray[np.int16]
    rate: int = SAMPLE_RATE
    channels: int = 1

    @property
    def converted(self) -> str:
        """What was done to it, "" for nothing.

        >>> Sound(np.zeros(1, np.int16), 48_000, 2).converted
        'mixed down from 2 channels, resampled from 48000 Hz'
        """
        return ", ".join([f"mixed down from {self.channels} channels"] * (self.channels != 1)
                         + [f"resampled from {self.rate} Hz"] * (self.rate != SAMPLE_RATE))


def is_audio(name: str) -> bool:
    """Whether a file of this name should hold audio; of any case, also where iCloud has not fetched it yet.

    >>> is_audio("yes/Take 1.WAV"), is_audio(".take.m4a.icloud"), is_audio("notes.txt")
    (True, True, False)
    """
    return PurePosixPath(name.lower().removesuffix(".icloud")).suffix in SUFFIXES


# ------------------------------------------------------------------------------------------------ reading
def decode(data: bytes, where: str) -> npt.NDArray[np.int16]:
    """The samples of a clip of a corpus: 16 kHz and one channel, as WAV of 16 bits or in another format of libsndfile.

    Args:
        data: The whole file.
        where: What to call it in an error.

    Returns:
        The samples, int16 of shape (n,), n ≥ 1.

    Raises:
        UserError: It cannot be read, is cut short, is empty, or is not 16 kHz mono (WAV: 16-bit PCM).
    """
    if _is_riff(data):
        return decode_wav(data, where)
    with opened(io.BytesIO(data), where) as sound:
        _check_form(sound.channels, sound.samplerate, where)
        return _whole(sound, where)[:, 0]


def read(data: bytes, where: str) -> Sound:
    """A recording that a person brings, in any format, rate and number of channels that libsndfile reads.

    Channels are mixed down by their mean; another rate becomes 16 kHz (soxr, high quality).

    Args:
        data: The whole file.
        where: What to call it in an error.

    Raises:
        UserError: It cannot be read, is cut short, is empty, or holds samples that are no numbers.
    """
    if _is_riff(data):
        form, audio = _wav(data, where)
        if form.is_pcm16 and form.channels == 1 and form.rate == SAMPLE_RATE:
            return Sound(_pcm16(audio, where))
        # Whole sizes, lest libsndfile guess at a header that was written into a pipe.
        data = _riff(form.header, audio)
    with opened(io.BytesIO(data), where) as sound:
        rate, channels, stored = sound.samplerate, sound.channels, _whole(sound, where, "float32")
    mono: npt.NDArray[np.float32] = stored.mean(1)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE)
        if not len(mono):
            raise UserError("holds no audio (less than a sample at 16 kHz)", where=where, remedy=_RECORD)
    return Sound((mono * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16), rate, channels)


def opened(file: IO[bytes], where: str) -> Any:
    """libsndfile's view of a file.

    Raises:
        UserError: It is empty, or libsndfile does not read it.
    """
    import soundfile

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not size:
        raise UserError("is empty (0 bytes)", where=where, remedy=_FETCH)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name that says RAW
        raise UserError(f"is not audio that libsndfile reads ({getattr(error, 'error_string', error)})", where=where,
                        remedy="convert it, for example with: ffmpeg -i in.m4a -ar 16000 -ac 1 out.wav") from error
    if not _SLOWEST <= sound.samplerate <= _FASTEST:
        raise UserError(f"is said to be sampled at {sound.samplerate} Hz", where=where, remedy=_FETCH)
    return sound


def _whole(sound: Any, where: str, dtype: str = "int16") -> npt.NDArray[Any]:
    """All samples [n, channels] of what :func:`opened` opened, n ≥ 1."""
    import soundfile

    try:
        samples: npt.NDArray[Any] = sound.read(dtype=dtype, always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"is damaged ({error})", where=where, remedy=_FETCH) from error
    if sound.format == "FLAC" and len(samples) < sound.frames:
        raise UserError(f"is truncated (the header promises {sound.frames} samples, {len(samples)} are there)", where=where,
                        remedy=_FETCH)
    if not len(samples):
        raise UserError("holds no audio (0 samples)", where=where, remedy=_RECORD)
    check_numbers(samples, where)
    return samples


def check_numbers(samples: npt.NDArray[Any], where: str, *, after: float = 0.0) -> None:
    """Raises: UserError where a sample is NaN or infinite; ``after`` are the seconds before these samples."""
    if not np.isfinite(samples).all():
        raise UserError(f"holds samples that are no numbers after {after:.0f} s", where=where, remedy=_FETCH)


def _check_form(channels: int, rate: int, where: str) -> None:
    if channels != 1:
        raise UserError(f"has {channels} channels, not one", where=where, remedy=CONVERT)
    if rate != SAMPLE_RATE:
        raise UserError(f"is sampled at {rate} Hz, not {SAMPLE_RATE} Hz", where=where, remedy=CONVERT)


# ------------------------------------------------------------------------------------------------ WAV
class _Form(NamedTuple):
    """What the format chunk of a WAV file says, and the chunk."""

    tag: int
    channels: int
    rate: int
    bits: int
    header: bytes

    @property
    def is_pcm16(self) -> bool:
        return self.tag == _PCM and self.bits == 16


def decode_wav(data: bytes, where: str) -> npt.NDArray[np.int16]:
    """The samples of a 16 kHz mono 16-bit PCM WAV file; one that was written into a pipe ends where the file does.

    Args:
        data: The whole file.
        where: What to call it in an error.

    Returns:
        The samples, int16 of shape (n,), n ≥ 1.

    Raises:
        UserError: It is no WAV file, is cut short, is empty, or is not 16 kHz mono 16-bit PCM.
    """
    form, audio = _wav(data, where)
    if not form.is_pcm16:
        raise UserError(f"is not 16-bit PCM (format {form.tag:#06x}, {form.bits} bits)", where=where, remedy=CONVERT)
    _check_form(form.channels, form.rate, where)
    return _pcm16(audio, where)


def _is_riff(data: bytes) -> bool:
    return data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE"


def _wav(data: bytes, where: str) -> tuple[_Form, bytes]:
    """Format and audio of a WAV file."""
    if not _is_riff(data):
        raise UserError("is not a WAV file (no RIFF/WAVE header)", where=where, remedy=_FETCH)
    chunks = _chunks(data, where)
    header = chunks.get(b"fmt ", b"")
    if len(header) < 16 or b"data" not in chunks:
        raise UserError("is not a complete WAV file (no format or no data chunk)", where=where, remedy=_FETCH)
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
    if tag == _EXTENSIBLE and len(header) >= 26:
        tag = struct.unpack_from("<H", header, 24)[0]
    if not chunks[b"data"]:
        raise UserError("holds no audio (0 samples)", where=where, remedy=_RECORD)
    return _Form(tag, channels, rate, bits, header), chunks[b"data"]


def _pcm16(audio: bytes, where: str) -> npt.NDArray[np.int16]:
    if len(audio) % 2:
        raise UserError("is truncated (ends in half a sample)", where=where, remedy=_FETCH)
    return np.frombuffer(audio, dtype="<i2").astype(np.int16)


def _chunks(data: bytes, where: str) -> dict[bytes, bytes]:
    """The chunks of a RIFF file up to and including its audio; of two with one name, the first."""
    chunks: dict[bytes, bytes] = {}
    position = 12
    while b"data" not in chunks and position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        if name == b"data":
            size = _audio_bytes(data, position, size, chunks)
        body = data[position + 8:position + 8 + size]
        if len(body) < size:
            raise UserError(f"is truncated (the header promises {size} bytes of '{name.decode('latin-1').strip()}', "
                            f"{len(body)} are there)", where=where, remedy=_FETCH)
        chunks.setdefault(name, body)
        position += 8 + size
        if size % 2 and data[position:position + 4] not in (b"fmt ", b"data"):  # some writers forget to pad
            position += 1
    return chunks


def _audio_bytes(data: bytes, position: int, size: int, chunks: dict[bytes, bytes]) -> int:
    """The size of the data chunk at ``position``, also where its writer did not know it."""
    there = len(data) - position - 8
    if size == 0xFFFF_FFFF and len(chunks.get(b"ds64", b"")) >= 16:  # RF64, EBU Tech 3306: sizes of 64 bits
        size = struct.unpack_from("<Q", chunks[b"ds64"], 8)[0] or size
    whole = struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    if size >= STREAMED or (size == 0 and not whole):
        # The writer may have been stopped within a sample.
        frame = struct.unpack_from("<H", chunks[b"fmt "], 12)[0] if len(chunks.get(b"fmt ", b"")) >= 16 else 1
        return there - there % max(frame, 1)
    return size


def _riff(form: bytes, audio: bytes) -> bytes:
    """A WAV file of a format chunk's content and audio."""
    pad = b"\0" * (len(audio) % 2)
    body = b"".join([b"WAVEfmt ", struct.pack("<I", len(form)), form, b"\0" * (len(form) % 2),
                     b"data", struct.pack("<I", len(audio)), audio, pad])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def encode_wav(samples: npt.NDArray[np.int16]) -> bytes:
    """A 16 kHz mono 16-bit PCM WAV file of int16 samples of shape (n,); :func:`decode_wav` is its inverse.

    Raises:
        ValueError: The samples are not int16 of one dimension.
    """
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(f"expected int16 samples of shape (n,), got {samples.dtype} of shape {samples.shape}")
    return _riff(struct.pack("<HHIIHH", _PCM, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16), samples.astype("<i2").tobytes())


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
