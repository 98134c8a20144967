import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import normalize

from edgekws.core.errors import UserError
from edgekws.corpus.audio import encode_wav
from edgekws.features.mfcc import mfcc
from edgekws.methods.onda.pretraining import (
    augmented,
    coloured_noises,
    draw_episode,
    mine,
    power_ratio,
    pretrain,
    recorded_noises,
    separation,
    triplet_loss,
    word_features,
)
from edgekws.methods.onda.settings import Pretraining
from edgekws.methods.onda.words import Words
from edgekws.models.encoder import build, tensors_of

QUIET = {"time_shift": 0, "noise_probability": 0.0}


def tones(words=3, train=8, dev=4, seed=0):
    """Words that are tones: each clip of a word has its frequency, a level and a phase of its own."""
    generator = np.random.default_rng(seed)
    rows = [{"word": f"tone {word}", "speaker": "", "split": split}
            for word in range(words) for split, count in (("train", train), ("dev", dev)) for _ in range(count)]
    table = pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)
    seconds = np.arange(16_000) / 16_000
    samples = [10 ** generator.uniform(3, 4) * np.sin(2 * np.pi * (300 * 3 ** int(word[-1]) * seconds + generator.random()))
               for word in table["word"]]
    return Words(np.array(samples).astype(np.int16), table, {})


def noise_power(noise):
    return float(np.mean(np.square(noise, dtype=np.float64)))


# ------------------------------------------------------------------------------------------------ what is heard
def test_nothing_changes_without_shift_and_noise():
    waves = tones().waves(np.arange(4))
    settings = Pretraining(**QUIET)
    assert np.array_equal(augmented(waves, settings, [np.ones(16_000, np.float32)], np.random.default_rng(0)), waves)


def test_a_clip_is_moved_and_zeros_come_in():
    waves = np.tile(np.arange(1, 16_001, dtype=np.float32), (200, 1))
    settings = Pretraining(time_shift=3, noise_probability=0)
    moved = augmented(waves, settings, [np.ones(16_000, np.float32)], np.random.default_rng(0))
    shifts = set()
    for wave in moved:
        shift = int(8001 - wave[8000])
        shifts.add(shift)
        expected = np.zeros(16_000, np.float32)
        expected[max(shift, 0):16_000 + min(shift, 0)] = waves[0, max(-shift, 0):16_000 - max(shift, 0)]
        assert np.array_equal(wave, expected)
    assert shifts == set(range(-3, 4))


@pytest.mark.parametrize(("as_released", "ratio"), [(False, 10**0.3), (True, 10**3 / 10)])
def test_noise_has_the_asked_ratio(as_released, ratio):
    waves = tones().waves(np.arange(6))
    settings = Pretraining(time_shift=0, noise_probability=1, snr_db=(3, 3), snr_as_released=as_released)
    noisy = augmented(waves, settings, coloured_noises(np.random.default_rng(1))[:3], np.random.default_rng(0))
    for wave, heard in zip(waves, noisy, strict=True):
        assert noise_power(wave) / noise_power(heard - wave) == pytest.approx(ratio, rel=1e-3)


def test_ratios_fill_their_range():
    waves = tones().waves(np.zeros(400, dtype=np.int64))
    settings = Pretraining(time_shift=0, noise_probability=0.5, snr_db=(-5, 5))
    noise = np.random.default_rng(1).standard_normal(32_000).astype(np.float32)
    added = augmented(waves, settings, [noise], np.random.default_rng(0)) - waves
    powers = np.array([noise_power(one) for one in added])
    ratios = 10 * np.log10(noise_power(waves) / powers[powers > 0])
    assert 160 < len(ratios) < 240
    assert ratios.min() == pytest.approx(-5, abs=0.2) and ratios.max() == pytest.approx(5, abs=0.2)


def test_silence_stays_finite():
    settings = Pretraining(noise_probability=1)
    silent, wave = np.zeros((2, 16_000), np.float32), tones().waves(np.arange(1))
    assert not augmented(silent, settings, [np.ones(16_000, np.float32)], np.random.default_rng(0)).any()
    assert np.isfinite(augmented(wave, settings, [np.zeros(16_000, np.float32)], np.random.default_rng(0))).all()


def test_the_quirk_is_the_base_codes():
    assert power_ratio(np.array([0.0, 2.0]), True).tolist() == [0.1, 10.0]
    assert power_ratio(np.array([0.0, 10.0]), False).tolist() == [1.0, 10.0]


def test_made_noises_run_from_white_to_brown():
    slopes = []
    for noise in coloured_noises(np.random.default_rng(0)):
        power = np.abs(np.fft.rfft(noise)) ** 2
        bands = [power[30 * low:60 * low].mean() for low in (50, 100, 200, 400, 800, 1600, 3200)]
        slopes.append(-np.polyfit(range(7), np.log2(bands), 1)[0])
        assert noise.std() == pytest.approx(1, rel=1e-3)
    assert slopes == pytest.approx(np.linspace(0, 2, 9), abs=0.05)


def test_the_first_microphone_is_taken_where_there_are_several(tmp_path, sound):
    pytest.importorskip("soundfile")
    for place, name in enumerate(("kitchen/ch01.wav", "kitchen/ch02.wav", "park/ch01.wav")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode_wav(sound(place, samples=20_000)))
    found = recorded_noises(tmp_path)
    assert [list(noise * 32_768) for noise in found] == [list(sound(place, samples=20_000)) for place in (0, 2)]
    (tmp_path / "park/ch01.wav").write_bytes(encode_wav(sound(0, samples=15_999)))
    with pytest.raises(UserError, match=r"park/ch01\.wav: is shorter than a second"):
        recorded_noises(tmp_path)


def test_noise_of_ones_own_may_have_any_form(tmp_path, sound):
    soundfile = pytest.importorskip("soundfile")
    (tmp_path / "store").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "store" / "a.WAV").write_bytes(encode_wav(sound(0, samples=20_000)))
    soundfile.write(tmp_path / "store" / "b.flac", np.stack([sound(1, samples=96_000)] * 2, 1), 48_000)
    (tmp_path / "store" / "._b.flac").write_bytes(b"left behind")
    (tmp_path / "mine" / "park").symlink_to("../store")
    assert [len(noise) for noise in recorded_noises(tmp_path / "mine")] == [20_000, 32_000]
    (tmp_path / "store" / "c.m4a").write_bytes(b"not to be read")
    with pytest.raises(UserError, match=r"c\.m4a: is not audio"):
        recorded_noises(tmp_path / "mine")


def test_a_folder_without_noise_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        recorded_noises(tmp_path / "none")
    with pytest.raises(UserError, match="holds no noise recording"):
        recorded_noises(tmp_path)


# ------------------------------------------------------------------------------------------------ triplets
# Two classes on the unit circle. Squared distances: 2 - 2 cos.
ANGLES = torch.tensor([0.0, 0.5, 0.2, 3.0])
CIRCLE = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)
CLASSES = torch.tensor([0, 0, 1, 1])


def squared(a, b):
    return 2 - 2 * float(torch.cos(ANGLES[a] - ANGLES[b]))


def distances_of(embeddings):
    return torch.cdist(embeddings, embeddings).square()


def test_the_loss_is_that_of_the_triplets_by_hand():
    # Pair (0, 1): of the other class only row 2 is within reach. Pair (2, 3): both are.
    first = squared(0, 1) - squared(0, 2) + 0.5
    second = {squared(2, 3) - squared(2, other) + 0.5 for other in (0, 1)}
    found = {float(triplet_loss(CIRCLE, CLASSES, 0.5, np.random.default_rng(seed))) for seed in range(20)}
    assert sorted(found) == pytest.approx(sorted((first + other) / 2 for other in second), abs=1e-6)


def test_negatives_are_drawn_from_all_that_have_a_loss_and_no_others():
    generator = np.random.default_rng(0)
    embeddings = normalize(torch.randn(12, 4, generator=torch.Generator().manual_seed(1)))
    labels = torch.tensor([0, 1, 2] * 4)
    distances = distances_of(embeddings)
    drawn = {}
    for _ in range(200):
        for triplet in zip(*(rows.tolist() for rows in mine(distances, labels, 0.2, generator)), strict=True):
            drawn.setdefault(triplet[:2], set()).add(triplet[2])
    hard = {}
    for anchor, positive in itertools.combinations(range(12), 2):
        if labels[anchor] == labels[positive]:
            near = {row for row in range(12) if labels[row] != labels[anchor]
                    and distances[anchor, positive] - distances[anchor, row] + 0.2 > 0}
            if near:
                hard[anchor, positive] = near
    assert drawn == hard and len(hard) < 18  # some of the 18 pairs have no triplet
    assert any(len(near) < 8 for near in hard.values())


def test_hard_negatives_are_equally_likely():
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    distances = torch.tensor([[0, 1, 0.5, 9, 0.7, 1.2]] + [[9.0] * 6] * 5)
    counts = np.zeros(6)
    generator = np.random.default_rng(0)
    for _ in range(3000):
        anchors, positives, negatives = mine(distances, labels, 0.5, generator)
        counts[negatives[(anchors == 0) & (positives == 1)]] += 1
    assert counts[3] == 0 and counts[[2, 4, 5]] / 3000 == pytest.approx(1 / 3, abs=0.03)


def test_the_loss_is_0_where_all_are_far_apart():
    embeddings = torch.eye(4)[[0, 0, 1, 1]].requires_grad_()
    loss = triplet_loss(embeddings, CLASSES, 0.5, np.random.default_rng(0))
    assert loss.item() == 0 and not torch.autograd.grad(loss, embeddings)[0].any()


def test_the_gradient_is_that_of_the_hinge():
    embeddings = CIRCLE.clone().double().requires_grad_()
    seed = 0
    (found,) = torch.autograd.grad(triplet_loss(embeddings, CLASSES, 0.5, np.random.default_rng(seed)), embeddings)
    anchors, positives, negatives = mine(distances_of(CIRCLE.double()), CLASSES, 0.5, np.random.default_rng(seed))
    a, p, n = (embeddings[rows] for rows in (anchors, positives, negatives))
    loss = (2 * (a * n).sum(1) - 2 * (a * p).sum(1) + 0.5).mean()
    assert torch.allclose(found, torch.autograd.grad(loss, embeddings)[0])


# ------------------------------------------------------------------------------------------------ training
def test_an_episode_holds_different_clips_of_different_words():
    by_word = [np.arange(10), np.arange(10, 13), np.arange(13, 30), np.arange(30, 40)]
    settings = Pretraining(classes=3, clips=5)
    seen = set()
    for seed in range(20):
        rows, labels = draw_episode(by_word, settings, np.random.default_rng(seed))
        assert len(set(rows)) == len(rows) and len(set(labels)) == 3
        for word in set(labels):
            chosen = rows[labels == word]
            assert len(chosen) == min(5, len(by_word[word])) and set(chosen) <= set(by_word[word])
        seen |= set(labels)
    assert seen == {0, 1, 2, 3}


def test_training_separates_words():
    words = tones()
    encoder = build("ds_cnn_s", [8] * 5, seed=2).eval()  # not every untrained one confuses tones
    settings = Pretraining(classes=3, clips=6, time_shift=400, snr_db=(10, 20), learning_rate=0.003, episodes=80)
    before = {name: tensor.clone() for name, tensor in tensors_of(encoder).items()}
    trained = pretrain(encoder, words, settings, seed=0)
    assert not trained.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors_of(encoder).items())

    features, labels = features_of(words), torch.from_numpy(words.table["word"].factorize()[0])
    assert share_with_a_triplet(encoder(features), labels) == 1
    assert share_with_a_triplet(trained(features), labels) < 0.1
    assert separation(encoder, words, seed=0)["accuracy"] < 80
    assert separation(trained, words, seed=0)["accuracy"] == 100


def features_of(words):
    return mfcc(torch.from_numpy(words.waves(np.arange(len(words.table)))))


def share_with_a_triplet(embeddings, labels):
    """Share of the pairs of a class that lie within the margin of some clip of another."""
    pairs = (labels[:, None] == labels).triu(1).sum()
    return len(mine(distances_of(embeddings), labels, 0.5, np.random.default_rng(0))[0]) / int(pairs)


def test_the_same_seed_gives_the_same_encoder():
    words, encoder = tones(), build("ds_cnn_s", [4] * 5, seed=0)
    settings = Pretraining(classes=2, clips=4, episodes=3)
    first, again, other = (tensors_of(pretrain(encoder, words, settings, seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_no_update_leaves_the_encoder_as_it_is():
    encoder = build("ds_cnn_s", [4] * 5, seed=0)
    trained = tensors_of(pretrain(encoder, tones(), Pretraining(), seed=0, episodes=0))
    assert all(torch.equal(tensor, trained[name]) for name, tensor in tensors_of(encoder).items())


def test_the_rate_is_halved_evenly_spaced(monkeypatch):
    rates = []

    class Noted:
        def __init__(self, weights, rate):
            self.rate = rate

        def step(self, gradients):
            rates.append(self.rate)

    monkeypatch.setattr("edgekws.methods.onda.pretraining.Adam", Noted)
    settings = Pretraining(classes=2, clips=2, learning_rate=0.8, halvings=2, episodes=6)
    pretrain(build("ds_cnn_s", [2] * 5), tones(), settings, seed=0)
    assert rates == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]


def test_held_out_clips_are_never_trained_on():
    words = tones()
    samples = words.samples.copy()
    samples[words.table["split"] == "dev"] = 1234
    changed = Words(samples, words.table, {})
    settings = Pretraining(classes=3, clips=8, episodes=2)
    one, two = (tensors_of(pretrain(build("ds_cnn_s", [4] * 5), some, settings, seed=0)) for some in (words, changed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_one_word_is_too_few():
    with pytest.raises(UserError, match="1 words have two training clips"):
        pretrain(build("ds_cnn_s", [4] * 5), tones(words=1), Pretraining(), seed=0)


def test_no_held_out_clip_is_too_few():
    with pytest.raises(UserError, match="0 words have two held-out clips"):
        separation(build("ds_cnn_s", [4] * 5), tones(dev=1), seed=0)


def test_separation_counts_what_was_asked():
    found = separation(build("ds_cnn_s", [4] * 5), tones(dev=60), seed=0)
    assert (found["held_out_words"], found["held_out_clips"]) == (3, 150)  # five of each word made its prototype
    few = separation(build("ds_cnn_s", [4] * 5), tones(dev=3), seed=0)
    assert few["held_out_clips"] == 6


def test_word_features_are_of_training_clips_by_word():
    words = tones()
    found, labels = word_features(words, seed=0, classes=2, clips=4)
    assert found.shape == (8, 47, 10) and sorted(np.unique(labels, return_counts=True)[1]) == [4, 4]
    training = features_of(words)[np.array(words.table["split"] == "train")]
    assert all((training - torch.from_numpy(one)).abs().amax((1, 2)).min() < 1e-3 for one in found)
