import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekws.core.errors import UserError
from edgekws.corpus.audio import SAMPLE_RATE, decode_wav, encode_wav, fit_length

int16_samples = arrays.arrays(np.int16, st.integers(1, 500))


def stored(samples=(1, -2, 3), *, rate=SAMPLE_RATE, channels=1, width=2):
    """A file as the standard library writes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(np.array(samples, "<i2").tobytes())
    return file.getvalue()


def test_reads_what_others_wrote():
    decoded = decode_wav(stored([0, 1, -1, 32767, -32768]), "a.wav")
    assert decoded.dtype == np.int16
    assert decoded.tolist() == [0, 1, -1, 32767, -32768]


@given(int16_samples)
def test_writes_what_others_read(samples):
    with wave.open(io.BytesIO(encode_wav(samples))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        assert file.readframes(len(samples) + 1) == samples.tobytes()
    np.testing.assert_array_equal(decode_wav(encode_wav(samples), "a.wav"), samples)


def test_passes_over_other_chunks_also_of_odd_size():
    plain = stored()
    chunk = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert decode_wav(plain[:36] + chunk + plain[36:] + b"junk at the end", "a.wav").tolist() == [1, -2, 3]


def test_reads_the_extensible_form_of_pcm():
    plain, form = stored(), bytearray(stored()[20:36])
    form[:2] = b"\xfe\xff"
    form += struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    data = plain[:16] + struct.pack("<I", len(form)) + bytes(form) + plain[36:]
    assert decode_wav(data, "a.wav").tolist() == [1, -2, 3]


@pytest.mark.parametrize(("data", "what", "remedy"), [
    (b"", "not a WAV", "intact copy"),
    (b"OggS" + bytes(100), "not a WAV", "intact copy"),
    (stored()[:20], "truncated", "intact copy"),
    (stored()[:36], "no data chunk", "intact copy"),
    (stored()[:-2], "promises 6 bytes of 'data', 4 are there", "intact copy"),
    (stored()[:-6] + b"", "truncated", "intact copy"),
    (stored([]), "0 samples", "record it again"),
    (stored([1, 2], channels=2), "2 channels", "sox"),
    (stored(rate=44_100), "44100 Hz, not 16000 Hz", "ffmpeg"),
    (stored(rate=8_000), "8000 Hz, not 16000 Hz", "sox"),
    (stored([1, 2, 3], width=1), "8 bits", "sox"),
    (stored([1, 2, 3], width=3), "24 bits", "sox"),
    (stored()[:20] + b"\x03\0" + stored()[22:], "format 0x0003", "sox"),
    (stored()[:40] + struct.pack("<I", 5) + stored()[44:49], "half a sample", "intact copy"),
])
def test_refuses(data, what, remedy):
    with pytest.raises(UserError, match=what) as caught:
        decode_wav(data, "folder/a.wav")
    assert caught.value.where == "folder/a.wav"
    assert remedy in caught.value.remedy


def test_does_not_encode_what_is_no_clip():
    for wrong in (np.zeros(3), np.zeros((3, 1), np.int16)):
        with pytest.raises(ValueError, match="int16"):
            encode_wav(wrong)


@given(int16_samples, st.integers(1, 500))
def test_fit_length_pads_around_and_cuts_the_loudest_window(samples, length):
    fitted, n = fit_length(samples, length), len(samples)
    assert fitted.dtype == np.float32
    assert fitted.shape == (length,)
    if n <= length:
        left = (length - n) // 2
        np.testing.assert_array_equal(fitted[left:left + n], samples)
        assert not fitted[:left].any()
        assert not fitted[left + n:].any()
    else:
        windows = np.lib.stride_tricks.sliding_window_view(samples.astype(float), length)
        energy = (windows**2).sum(1)
        np.testing.assert_array_equal(fitted, windows[energy.argmax()])


def test_fit_length_finds_the_word_in_a_long_recording():
    recording = np.zeros(80_000, np.int16)
    recording[40_000:50_000] = 1000
    assert (fit_length(recording) == 1000).sum() == 10_000
