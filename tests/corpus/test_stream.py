"""Long recordings, from files and from pipes: the same samples as when they are read at once."""

import io
import struct

import numpy as np
import pytest
import soundfile

from edgekws.core.errors import UserError
from edgekws.corpus import audio, stream

RATE = 16_000


def noise(n, channels=1):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (n, channels)).astype(np.float32)


def stored(form, subtype, samples, rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


class Pipe(io.BytesIO):
    """Bytes that come once."""

    def seekable(self):
        return False

    def seek(self, *place):
        raise io.UnsupportedOperation


def read(file):
    return np.concatenate(list(stream.open_recording(file, "a").blocks))


@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
@pytest.mark.parametrize(("form", "subtype", "rate", "channels"), [
    ("WAV", "PCM_U8", RATE, 1), ("WAV", "PCM_16", RATE, 1), ("WAV", "PCM_24", RATE, 2), ("WAV", "PCM_32", 8_000, 1),
    ("WAV", "FLOAT", 48_000, 1), ("WAV", "DOUBLE", RATE, 1), ("WAVEX", "PCM_16", RATE, 2), ("RF64", "PCM_16", RATE, 1),
    ("FLAC", "PCM_16", 44_100, 2), ("OGG", "VORBIS", RATE, 1)])
def test_in_blocks_as_at_once(monkeypatch, kind, form, subtype, rate, channels):
    monkeypatch.setattr(stream, "BLOCK_SECONDS", 0.3)
    monkeypatch.setattr(stream, "PIPE_SECONDS", 0.1)
    data = stored(form, subtype, noise(20_000, channels), rate)
    whole = audio.read(data, "a").samples / np.float32(32768)
    found = read(kind(data))
    assert len(found) == len(whole)
    assert np.abs(found - whole).max() <= 2 / 32768
    recording = stream.open_recording(kind(data), "a")
    assert recording.seconds == pytest.approx(20_000 / rate)
    assert ("mixed down" in recording.converted) == (channels == 2) and ("resampled" in recording.converted) == (rate != RATE)


@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("cut", [0, 1])
def test_a_header_without_a_size_is_read_to_the_end(kind, size, cut):
    data = stored("WAV", "PCM_16", noise(9_000))
    data = data[:40] + struct.pack("<I", size) + data[44:len(data) - cut]
    assert stream.open_recording(kind(data), "a").seconds is None
    assert len(read(kind(data))) == 9_000 - cut


def test_a_long_recording_that_is_cut_short_is_told(capsys):
    assert len(read(io.BytesIO(stored("WAV", "PCM_16", noise(9_000))[:-1001]))) == 8_499
    assert "is cut short: 16999 of the 18000 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(("file", "what"), [
    (io.BytesIO(b""), "0 bytes"), (io.BytesIO(b"hello" * 9), "not audio"), (Pipe(bytes(99)), "no audio with a header"),
    (Pipe(b"RIFF\0\0\0\0WAVEdata"), "not a complete WAV"), (io.BytesIO(stored("WAV", "PCM_16", noise(0))), "0 samples"),
    (Pipe(stored("WAV", "ULAW", noise(9))), "from a pipe"), (Pipe(b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xff"), "is damaged"),
    (io.BytesIO(stored("WAV", "FLOAT", np.array([0, np.nan]))), "no numbers")])
def test_what_cannot_be_read_is_refused(file, what):
    with pytest.raises(UserError, match=what) as caught:
        read(file)
    assert caught.value.where == "a" and caught.value.remedy
