import io
import struct
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekws.core.errors import UserError
from edgekws.corpus import audio
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


def as_format(samples, form, subtype, *, rate=SAMPLE_RATE):
    """A file as libsndfile writes it, of int16 samples (n,) or (n, channels)."""
    file = io.BytesIO()
    samples = np.array(samples, np.int16)
    soundfile.write(file, samples / 32768 if subtype == "FLOAT" else samples, rate, format=form, subtype=subtype)
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


# ------------------------------------------------------------------------------------------------ headers written into pipes
SIZES = {"gstreamer": (36, 0), "zero": (0, 0), "ffmpeg": (0xFFFFFFFF, 0xFFFFFFFF), "sox": (0x7FFFF024, 0x7FFFF000),
         "arecord": (0x80000024, 0x80000000)}


def streamed(data, writer):
    riff, size = SIZES[writer]
    return data[:4] + struct.pack("<I", riff) + data[8:40] + struct.pack("<I", size) + data[44:]


@pytest.mark.parametrize("writer", SIZES)
def test_a_wav_that_was_written_into_a_pipe_ends_with_its_file(writer):
    assert decode_wav(streamed(stored(), writer), "a.wav").tolist() == [1, -2, 3]
    assert audio.read(streamed(stored(), writer), "a.wav").samples.tolist() == [1, -2, 3]
    # its writer was stopped within a sample
    assert decode_wav(streamed(stored(), writer)[:-1], "a.wav").tolist() == [1, -2]
    with pytest.raises(UserError, match="0 samples"):
        decode_wav(streamed(stored([]), writer), "a.wav")


@pytest.mark.parametrize("writer", SIZES)
def test_a_streamed_wav_of_another_form_is_read_to_its_end(writer):
    wide = stored([3, 5, 7, 9], channels=2)
    assert audio.read(streamed(wide, writer), "a.wav").samples.tolist() == [4, 8]


def test_an_empty_wav_with_a_chunk_after_it_is_empty():
    data = stored([]) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    with pytest.raises(UserError, match="0 samples"):
        decode_wav(data[:4] + struct.pack("<I", len(data) - 8) + data[8:], "a.wav")


def test_reads_sizes_of_64_bits_and_notices_where_such_a_file_is_cut():
    data = as_format([1, -2, 3], "RF64", "PCM_16")
    assert data[:4] == b"RF64"
    assert decode_wav(data, "a.wav").tolist() == [1, -2, 3]
    with pytest.raises(UserError, match="promises 6 bytes"):
        decode_wav(data[:-2], "a.wav")


def test_reads_on_behind_a_chunk_that_lacks_its_padding():
    plain = stored()
    assert decode_wav(plain[:36] + b"LIST" + struct.pack("<I", 3) + b"abc" + plain[36:], "a.wav").tolist() == [1, -2, 3]


# ------------------------------------------------------------------------------------------------ what a person brings
def sine(hertz, rate, seconds=1.0):
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).round().astype(np.int16)


@pytest.mark.parametrize(("form", "subtype"), [
    ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"),
    ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("AU", "PCM_16")])
def test_every_form_without_loss_gives_the_same_samples(form, subtype):
    wave_of = sine(300, SAMPLE_RATE, 0.1)
    read = audio.read(as_format(wave_of, form, subtype), "a")
    np.testing.assert_array_equal(read.samples, wave_of)
    assert read.converted == ""


@pytest.mark.parametrize(("form", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "ULAW"),
                                               ("WAV", "MS_ADPCM")])
def test_lossy_forms_sound_alike(form, subtype):
    wave_of = sine(300, SAMPLE_RATE)
    samples = audio.read(as_format(wave_of, form, subtype), "a").samples
    assert abs(len(samples) - len(wave_of)) < 600
    spectrum = np.abs(np.fft.rfft(samples[2000:14000].astype(float)))
    assert spectrum.argmax() == 300 * 12_000 / SAMPLE_RATE


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_another_rate_keeps_pitch_level_and_length_and_says_so(rate):
    read = audio.read(as_format(sine(1000, rate), "WAV", "PCM_16", rate=rate), "a.wav")
    assert abs(len(read.samples) - SAMPLE_RATE) <= 1
    middle = read.samples[4000:12000].astype(float)
    assert np.abs(middle - sine(1000, SAMPLE_RATE)[4000:12000]).max() < 100
    assert read.converted == f"resampled from {rate} Hz"


def test_what_16_khz_cannot_hold_is_gone_not_folded_down():
    samples = audio.read(as_format(sine(12_000, 48_000), "WAV", "PCM_16", rate=48_000), "a.wav").samples
    assert np.abs(samples[2000:-2000]).max() < 10


def test_channels_are_mixed_down_by_their_mean():
    read = audio.read(as_format([[100, 300], [-2, 4]], "FLAC", "PCM_16"), "a.flac")
    assert read.samples.tolist() == [200, 1]
    assert read.converted == "mixed down from 2 channels"


@pytest.mark.parametrize(("data", "what"), [
    (b"", "0 bytes"), (b"hello", "not audio"), (b"\0\0\0\x20ftypM4A " + bytes(300), "not audio"), (stored()[:-2], "promises"),
    (as_format(sine(300, SAMPLE_RATE), "FLAC", "PCM_16")[:-500], "damaged|truncated"), (stored([]), "0 samples"),
    (stored(rate=1), "said to be sampled at 1 Hz")])
def test_a_recording_that_cannot_be_read_is_refused(data, what):
    with pytest.raises(UserError, match=what) as caught:
        audio.read(data, "mine/a.m4a")
    assert caught.value.where == "mine/a.m4a"
    assert caught.value.remedy


def test_numbers_that_are_none_are_refused():
    file = io.BytesIO()
    soundfile.write(file, np.array([0.5, np.nan]), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(UserError, match="no numbers"):
        audio.read(file.getvalue(), "a.wav")


def test_a_corpus_stays_strict_in_every_form():
    assert audio.decode(as_format([1, -2, 3], "FLAC", "PCM_16"), "a.flac").tolist() == [1, -2, 3]
    assert audio.decode(stored(), "a.wav").tolist() == [1, -2, 3]
    for data, what in ((as_format([[1, 2]], "FLAC", "PCM_16"), "2 channels"), (b"nothing", "not audio"),
                       (as_format([1], "FLAC", "PCM_16", rate=8000), "8000 Hz"), (as_format([1], "WAV", "PCM_24"), "24 bits")):
        with pytest.raises(UserError, match=what):
            audio.decode(data, "a")
