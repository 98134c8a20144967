import itertools

import numpy as np
import pytest
import torch

from edgekws.corpus.archive import read_members
from edgekws.corpus.audio import decode_wav, fit_length
from edgekws.features.mfcc import levels, mfcc, of_levels, utterance_mfcc


def reference(wave):
    """The front end of the base code by librosa, in double precision."""
    librosa = pytest.importorskip("librosa")
    power = librosa.feature.melspectrogram(y=wave.astype(np.float64), sr=16_000, n_fft=1024, hop_length=320, win_length=640,
                                           center=False, n_mels=40, fmin=0, fmax=8000)
    levels = librosa.power_to_db(power, amin=1e-10, top_db=80)
    return librosa.feature.mfcc(S=levels, n_mfcc=10).T


def noise(clips, seed=0):
    """Seconds of noise, each with its own course of loudness over 80 dB."""
    random = np.random.default_rng(seed)
    loudness = np.repeat(10 ** random.uniform(-4, 0, (clips, 50)), 320, axis=1)
    return torch.from_numpy((0.1 * random.normal(size=(clips, 16_000)) * loudness).astype(np.float32))


def test_coefficients_of_noise_are_librosas():
    waves = noise(8)
    expected = np.stack([reference(wave) for wave in waves.numpy()])
    found = mfcc(waves)
    assert found.shape == (8, 47, 10) and found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < 1e-3


def test_coefficients_of_a_pure_tone_are_librosas():
    # Most bands lie far below the loudest: the floor of 80 dB decides, and single precision shows most.
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32) / 2
    assert np.abs(mfcc(torch.from_numpy(tone)[None])[0].numpy() - reference(tone)).max() < 1e-3


@pytest.mark.real_speech
def test_coefficients_of_real_speech_are_librosas(real_archive):
    clips = (data for name, data in read_members(real_archive) if "_nohash_" in name)
    waves = np.stack([fit_length(decode_wav(data, "clip") / np.float32(32_768)) for data in itertools.islice(clips, 30)])
    expected = np.stack([reference(wave) for wave in waves])
    assert np.abs(mfcc(torch.from_numpy(waves)).numpy() - expected).max() < 1e-3


def test_silence_is_100_db_down_in_every_band():
    coefficients = mfcc(torch.zeros(1, 16_000))[0]
    assert torch.allclose(coefficients[:, 0], torch.tensor(-100 * 40**0.5))  # of 40 equal levels: mean times root of 40
    assert coefficients[:, 1:].abs().max() < 1e-3


def test_a_window_does_not_depend_on_its_neighbours():
    waves = noise(30)
    changed = waves.clone()
    changed[:13] *= 1000
    changed[14:] = 0
    together = mfcc(waves)
    assert torch.equal(mfcc(changed)[13], together[13])
    assert torch.allclose(mfcc(waves[13:14])[0], together[13], atol=1e-4)


def test_the_level_moves_the_first_coefficient_alone():
    waves = noise(2)
    quiet, loud = mfcc(waves), mfcc(10 * waves)  # 20 dB
    assert torch.allclose(loud[..., 0] - quiet[..., 0], torch.tensor(20 * 40**0.5), atol=1e-2)
    assert torch.allclose(loud[..., 1:], quiet[..., 1:], atol=1e-2)


@pytest.mark.parametrize("samples", [16_000, 17_999, 18_000, 61_234])
@pytest.mark.parametrize("stride", [400, 2000, 2001])
def test_windows_of_an_utterance_are_the_windows_cut_out(samples, stride):
    utterance = noise(4, seed=1).flatten()[:samples].clone()
    utterance[:samples // 5] = 0
    utterance[-samples // 3:] = 0
    cut = mfcc(utterance.unfold(0, 16_000, stride))
    found = utterance_mfcc(utterance, stride)
    assert len(found) == 1 + (samples - 16_000) // stride
    assert torch.allclose(found, cut, atol=1e-4)


def test_windows_of_a_silent_utterance_are_silent():
    assert torch.equal(utterance_mfcc(torch.zeros(20_000), 2000), mfcc(torch.zeros(3, 16_000)))


def test_a_single_sample_at_either_end_is_heard():
    # The frames of a second reach from sample 192 to 15551; the last of three windows begins at sample 4000.
    for place, window in ((192 + 40, 0), (4000 + 15_551 - 40, 2)):
        utterance = torch.zeros(20_000)
        utterance[place] = 1
        found = utterance_mfcc(utterance, 2000)
        assert torch.allclose(found, mfcc(utterance.unfold(0, 16_000, 2000)), atol=1e-4)
        assert (found[window] - mfcc(torch.zeros(1, 16_000))[0]).abs().max() > 10


def test_no_gradient_is_kept():
    assert not mfcc(torch.zeros(1, 16_000, requires_grad=True)).requires_grad


@pytest.mark.parametrize("waves", [torch.zeros(1, 15_999), torch.zeros(16_000), torch.zeros(1, 16_000, dtype=torch.float64)])
def test_waves_of_another_kind_are_refused(waves):
    with pytest.raises(ValueError, match="expected float32 waves"):
        mfcc(waves)


@pytest.mark.parametrize("samples", [torch.zeros(15_999), torch.zeros(1, 16_000), torch.zeros(16_000, dtype=torch.int16)])
def test_utterances_of_another_kind_are_refused(samples):
    with pytest.raises(ValueError, match="at least 16000 float32 samples"):
        utterance_mfcc(samples, 2000)


def test_even_frames_of_the_levels_make_the_mfcc():
    waves = noise(3)
    found = levels(waves)
    assert found.shape == (3, 94, 40)
    torch.testing.assert_close(of_levels(found), mfcc(waves), rtol=0, atol=1e-4)
    assert (levels(torch.zeros(1, 16_000)) == -100).all()
