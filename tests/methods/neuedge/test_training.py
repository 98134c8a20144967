"""Training: what a batch goes through, normalisation and its folding, what is learnt, what the last epochs leave."""

import math

import numpy as np
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.core.optimiser import Adam
from edgekws.methods.neuedge import training
from edgekws.methods.neuedge.chip import chip
from edgekws.methods.neuedge.hardware_loss import HardwareLoss
from edgekws.methods.neuedge.settings import Hardware, SpikingTraining
from edgekws.models.feedforward_lif import FeedForwardLIF
from edgekws.models.settings import Conventional, LifNetwork
from edgekws.models.temporal_conv import TemporalConv
from edgekws.neurons.adaptive import AdaptiveRule

WORDS, BANDS, STEPS = 3, 6, 12


pytestmark = pytest.mark.usefixtures("one_thread")  # these networks are too small for more


def clips(number=48, seed=0):
    """Words that can be told apart: each has two bands of its own, strong while the others are weak."""
    random = np.random.default_rng(seed)
    labels = np.arange(number) % WORDS
    features = random.uniform(0, 0.2, (number, STEPS, BANDS)).astype(np.float32)
    for clip, label in enumerate(labels):
        features[clip, :, 2 * label:2 * label + 2] += 0.6
    return features, labels


def encode(features, generator):
    return (generator.random(features.shape, dtype=np.float32) < features).astype(np.uint8)


def network(seed=0, **values):
    return FeedForwardLIF(LifNetwork(**{"hidden": [16, 16], **values}), inputs=BANDS, outputs=WORDS,
                          generator=torch.Generator().manual_seed(seed))


def budget(**values):
    quiet = {"dropout": 0.0, "time_shift": 0, "band_shift": 0, "level_shift": 0.0}
    return SpikingTraining(**{"epochs": 10, "batch_size": 16, **quiet, **values})


def hardware(**values):
    return HardwareLoss(Hardware(**{"group": 4, "placement_steps": 20, **values}), [BANDS, 16, 16, WORDS], chip("mini_chip"),
                        warm_up=2, ramp=2)


def rule_of(targets):
    return AdaptiveRule(gamma=0.5, targets=tuple(targets), decay=0.9, clamp=(0.5, 2.0))


def train(net, settings=None, seed=0, **more):
    features, labels = clips()
    return training.train_spiking(net, features, labels, settings or budget(), encode=encode, seed=seed, **more)


# ------------------------------------------------------------------------------------------------ a batch
def test_time_comes_first():
    spikes = np.random.default_rng(0).integers(0, 2, (2, 3, 4)).astype(np.uint8)
    found = training.time_major(spikes)
    assert (found.dtype, found.shape) == (torch.float32, (3, 2, 4))
    assert found[2, 1].tolist() == spikes[1, 2].tolist()


@pytest.mark.parametrize(("setting", "axis"), [("time_shift", 0), ("band_shift", 1)])
def test_clips_are_moved_and_what_is_laid_bare_is_silent(setting, axis):
    features = np.random.default_rng(0).uniform(0.1, 1, (200, 5, 4)).astype(np.float32)
    found, moves = training.augmented(features, budget(**{setting: 2}), np.random.default_rng(1)), []
    for clip, moved in zip(features, found, strict=True):
        for by in range(-2, 3):
            expected = np.roll(clip, by, axis).swapaxes(0, axis)
            expected[slice(0, by) if by > 0 else slice(5 if by == 0 else by, None)] = 0
            moves += [by] if np.array_equal(moved, expected.swapaxes(0, axis)) else []
    assert len(moves) == 200  # each clip is one of the five
    assert set(moves) == {-2, -1, 0, 1, 2}
    assert found.dtype == np.float32


def test_levels_are_moved_clip_by_clip_and_silence_stays():
    features = np.random.default_rng(0).uniform(0.3, 0.7, (200, 5, 4)).astype(np.float32)
    features[:, 2] = 0
    found = training.augmented(features, budget(level_shift=0.25), np.random.default_rng(1))
    assert not found[:, 2].any()
    by = (found - features)[:, [0, 1, 3, 4]].reshape(200, -1)
    np.testing.assert_allclose(by, np.repeat(by[:, :1], 16, axis=1), atol=1e-6)
    assert -0.25 <= by.min() < -0.2 and 0.2 < by.max() <= 0.25
    loud = training.augmented(np.full((200, 1, 1), 0.9, np.float32), budget(level_shift=0.25), np.random.default_rng(1))
    assert loud.max() == 1
    assert found.dtype == np.float32


def test_without_settings_clips_stay_as_they_are():
    features = clips()[0]
    assert np.array_equal(training.augmented(features, budget(), np.random.default_rng(0)), features)


def test_followers_hold_the_activity_of_each_layer_by_themselves():
    rule = AdaptiveRule(gamma=1.0, targets=(0.5, 0.25), decay=0.5, clamp=(0.5, 2.0))
    first, second = (rule.follower(layer) for layer in range(2))
    # Layer 0: A = 0.25, then 0.125 + 0.5 = 0.625. Layer 1: A = 0.125.
    assert first(torch.tensor([[0.0], [1.0]])).tolist() == [[1.25], [0.75]]
    assert second(torch.tensor([[0.0]])).tolist() == [[1.125]]
    assert first(torch.tensor([[1.0], [1.0]])).tolist() == [[0.875], [0.625]]


# ------------------------------------------------------------------------------------------------ normalisation
def test_normalised_currents_have_no_mean_and_four_thresholds_deviation():
    net = network(threshold=0.5)
    current = 7 + 3 * torch.randn(20, 15, 16, generator=torch.Generator().manual_seed(0))
    found = training.Normalisation(net)(0, current)
    torch.testing.assert_close(found.mean((0, 1)), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std((0, 1), correction=0), torch.full((16,), 2.0), atol=1e-4, rtol=0)


def test_folded_is_normalised_by_the_running_statistics():
    """After one batch: that batch's mean, and its variance with the correction of Bessel."""
    net, plain = network(), network()
    norm, generator = training.Normalisation(net), torch.Generator().manual_seed(1)
    norm.requires_grad_(False)
    for layer in norm.layers:
        layer.weight.mul_(torch.rand(16, generator=generator) + 0.5)
        layer.bias.copy_(torch.randn(16, generator=generator))
    spikes = [(torch.rand(30, 10, size, generator=generator) < 0.3).float() for size in (BANDS, 16)]
    currents = [drive @ weights.T for drive, weights in zip(spikes, plain.weights, strict=False)]
    for layer, current in enumerate(currents):
        norm(layer, current)
    norm.fold(net)
    for layer, (current, drive) in enumerate(zip(currents, spikes, strict=True)):
        expected = (current - current.mean((0, 1))) / (current.var((0, 1)) + 1e-5).sqrt()
        torch.testing.assert_close(net.hidden[layer](drive),
                                   norm.layers[layer].weight * expected + norm.layers[layer].bias, rtol=1e-4, atol=1e-4)
    assert torch.equal(net.readout.weight, plain.readout.weight)


def test_first_batches_are_averaged_and_later_ones_followed():
    net = network(hidden=[1])
    before, norm = net.hidden[0].weight.clone(), training.Normalisation(net)
    levels = [float(level) for level in range(12)]
    for level in levels:  # of the mean; the two values lie a deviation of level + 1 apart from it
        norm(0, torch.tensor([-1.0, 1.0]).view(2, 1, 1) * (level + 1) + level)
    variances = [2 * (level + 1) ** 2 for level in levels]  # over one degree of freedom
    mean, variance = np.mean(levels[:10]), np.mean(variances[:10])
    for level, new in zip(levels[10:], variances[10:], strict=True):
        mean, variance = 0.9 * mean + 0.1 * level, 0.9 * variance + 0.1 * new
    norm.fold(net)
    scale = 4 / math.sqrt(variance + 1e-5)
    torch.testing.assert_close(net.hidden[0].weight, before * scale)
    assert net.biases[0].item() == pytest.approx(-mean * scale, rel=1e-5)


# ------------------------------------------------------------------------------------------------ learning
@pytest.mark.parametrize(("settings", "options"), [
    ({}, lambda: {}), ({"dropout": 0.2, "time_shift": 2, "level_shift": 0.1}, lambda: {}), ({"quantised": 0.0}, lambda: {}),
    ({}, lambda: {"hardware": hardware()}), ({}, lambda: {"adaptive": rule_of}),
    ({}, lambda: {"hardware": hardware(), "adaptive": rule_of}),
], ids=["plain", "augmented", "float-to-the-end", "hardware", "adaptive", "hardware-and-adaptive"])
def test_words_that_can_be_told_apart_are_learnt(settings, options):
    net, chosen = network(), options()
    trained = train(net, budget(**settings), **chosen)
    features, labels = clips(60, seed=1)
    rule = rule_of(trained.activity) if "adaptive" in chosen else None
    said, rates = training.evaluate(net, encode(features, np.random.default_rng(2)), adaptive=rule)
    assert (said == labels).mean() > 0.9
    assert all(0.005 < rate < 0.6 for rate in rates)
    assert trained.epochs[-1]["loss"] < 0.75 * trained.epochs[0]["loss"]
    assert trained.epochs[-1]["accuracy"] > 85
    assert [row["epoch"] for row in trained.epochs] == list(range(10))
    assert not any(tensor.requires_grad for tensor in net.parameters())


def test_activity_is_the_rate_in_training():
    """One batch at a rate of learning that changes nothing: the network's own spikes, normalised by that batch."""
    features, labels = clips(16)
    net, twin = network(), network()
    trained = training.train_spiking(net, features, labels, budget(epochs=1, learning_rate=1e-30, final_learning_rate=1e-30),
                                     encode=lambda some, _: (some > 0.5).astype(np.uint8), seed=0)
    _, fired = twin(training.time_major((features > 0.5).astype(np.uint8)), normalise=training.Normalisation(twin))
    assert trained.activity == pytest.approx([float(counts.detach().mean()) / STEPS for counts in fired], rel=1e-5)
    assert min(trained.activity) > 0


def test_a_seed_decides_on_every_byte():
    def bytes_of(seed):
        net = network()
        train(net, budget(epochs=4, quantised=0.5, dropout=0.1, time_shift=2), seed=seed, hardware=hardware())
        return [tensor.numpy().tobytes() for tensor in net.parameters()]

    assert bytes_of(0) == bytes_of(0)
    assert bytes_of(0) != bytes_of(1)


def test_what_is_encoded_is_drawn_anew_for_every_batch():
    drawn = []

    def remember(features, generator):
        drawn.append(encode(features, generator))
        return drawn[-1]

    features, labels = clips(8)
    training.train_spiking(network(), features, labels, budget(epochs=2, batch_size=8), encode=remember, seed=0)
    assert len(drawn) == 2
    assert not np.array_equal(*drawn)


def test_no_clips_are_refused():
    nothing = np.zeros((0, STEPS, BANDS), np.float32), np.zeros(0, np.int64)
    with pytest.raises(UserError, match="no clips"):
        training.train_spiking(network(), *nothing, budget(), encode=encode, seed=0)
    with pytest.raises(UserError, match="no clips"):
        training.train_conventional(conventional(), *nothing, budget(), seed=0)


# ------------------------------------------------------------------------------------------------ the optimiser
@pytest.fixture
def optimisers(monkeypatch):
    """Every Adam that was made, with the rates and the norms of the gradients it was used with."""
    made = []

    class Recorded(Adam):
        def __init__(self, weights, rate, *, decay=0.0):
            super().__init__(weights, rate, decay=decay)
            self.names, self.rates, self.norms = list(weights), [], []
            made.append(self)

        def step(self, gradients):
            self.rates.append(self.rate)
            self.norms.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values())))
            super().step(gradients)

    monkeypatch.setattr(training, "Adam", Recorded)
    return made


def test_the_rate_falls_along_a_cosine(optimisers):
    train(network(), budget(epochs=2, batch_size=24, quantised=0.0, learning_rate=0.02, final_learning_rate=0.01))
    quarter = 0.005 * math.cos(math.pi / 4)
    assert optimisers[0].rates == pytest.approx([0.02, 0.015 + quarter, 0.015, 0.015 - quarter])


def test_gradients_are_clipped(optimisers):
    train(network(), budget(epochs=1, quantised=0.0, clip=100.0))
    train(network(), budget(epochs=1, quantised=0.0, clip=0.01))
    free, clipped = optimisers
    assert 0.01 < free.norms[0] < 100
    assert clipped.norms == pytest.approx([0.01] * 3)


def test_the_last_epochs_train_the_network_as_it_is_used(optimisers):
    trained = train(network(), budget(epochs=5, quantised=0.4))
    first, last = optimisers
    matrices = ["readout.weight", "hidden.0.weight", "hidden.1.weight"]
    assert first.names == [*matrices, "gain.0", "gain.1", "offset.0", "offset.1"]
    assert set(last.names) == {*matrices, "hidden.0.bias", "hidden.1.bias"}
    assert (first.steps, last.steps) == (9, 6)
    assert [row["quantised"] for row in trained.epochs] == [False, False, False, True, True]


# ------------------------------------------------------------------------------------------------ 8 bits and the cut
def test_the_last_epochs_run_on_8_bits(monkeypatch):
    rounded = []
    monkeypatch.setattr(training, "quantised", lambda weights: rounded.append(weights.shape) or weights)
    train(network(), budget(epochs=5, quantised=0.4))
    assert rounded == [(16, BANDS), (16, 16), (WORDS, 16)] * 6


def test_weights_left_behind_are_the_full_precision_ones():
    net = network()
    train(net, budget(epochs=2, quantised=1.0))
    assert len((net.weights[1] / net.weights[1].abs().max() * 127).frac().unique()) > 100


def test_what_was_cut_stays_zero():
    net, loss = network(), hardware(weight=3.0)
    trained = train(net, budget(epochs=6, quantised=0.34), hardware=loss)
    for weights, mask in zip(net.weights, trained.masks, strict=True):
        assert not weights[~mask].any()
        assert (weights[mask] != 0).all()
    left = sum(int(mask.sum()) for mask in trained.masks) / sum(mask.numel() for mask in trained.masks)
    assert 0 < left < 1
    assert [row["mapping"]["density"] for row in trained.epochs if row["quantised"]] == pytest.approx([left] * 2)
    assert all(row.keys() >= {"utilisation", "traffic", "memory", "mapping"} for row in trained.epochs)
    assert len(loss.seconds) == 6  # a mapping after every epoch


def test_weak_blocks_are_cut_for_hardware_alone():
    assert train(network(), budget(epochs=2, quantised=0.0), hardware=hardware()).masks is not None
    assert train(network(), budget(epochs=2, quantised=0.5)).masks is None


def test_adaptive_thresholds_aim_at_what_the_layers_did_before():
    asked = []

    def remember(targets):
        asked.append(list(targets))
        return rule_of(targets)

    trained = train(network(), budget(epochs=1), adaptive=remember)
    assert len(asked) == 2  # of three batches all but the first, before which there is no activity
    assert [len(targets) for targets in asked] == [2, 2]
    assert asked[-1] != trained.activity


# ------------------------------------------------------------------------------------------------ evaluation
def test_evaluation_in_pieces_is_evaluation_at_once(monkeypatch):
    net = network()
    train(net, budget(epochs=2))
    spikes = encode(clips(11)[0], np.random.default_rng(0))
    rule = AdaptiveRule(gamma=5.0, targets=(0.05, 0.05), decay=0.5, clamp=(0.5, 2.0))
    for adaptive in (None, rule):
        whole, rates = training.evaluate(net, spikes, adaptive=adaptive)
        follow = [rule.follower(layer) for layer in range(2)] if adaptive else None
        scores, fired = net(training.time_major(spikes), follow=follow)
        assert whole.tolist() == scores.argmax(1).tolist()
        assert rates == pytest.approx([float(counts.mean()) / STEPS for counts in fired])
        with monkeypatch.context() as patch:
            patch.setattr(training, "_CHUNK", 4)
            pieces, rates_of_pieces = training.evaluate(net, spikes, adaptive=adaptive)
        assert pieces.tolist() == whole.tolist()
        assert rates_of_pieces == pytest.approx(rates)
    other = network(seed=5)
    assert training.evaluate(net, spikes, weights=other.weights)[0].tolist() == net(
        training.time_major(spikes), weights=other.weights)[0].argmax(1).tolist()


# ------------------------------------------------------------------------------------------------ the conventional net
def conventional(seed=0):
    return TemporalConv(Conventional(channels=[8], width=3), inputs=BANDS, outputs=WORDS,
                        generator=torch.Generator().manual_seed(seed))


def test_the_conventional_net_learns_too():
    features, labels = clips()
    nets = [conventional(), conventional()]
    for net in nets:
        trained = training.train_conventional(net, features, labels, budget(), seed=0)
    unseen, right = clips(60, seed=1)
    with torch.no_grad():
        assert (nets[0](torch.from_numpy(unseen)).argmax(1).numpy() == right).mean() > 0.9
    assert all(torch.equal(*pair) for pair in zip(*(net.parameters() for net in nets), strict=True))
    assert [set(row) for row in trained.epochs] == [{"epoch", "loss", "accuracy"}] * 10
    assert (trained.activity, trained.masks) == ([], None)
    assert not any(tensor.requires_grad for tensor in nets[0].parameters())
