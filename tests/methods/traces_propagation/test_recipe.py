"""Augmentation, averaging with the base, and what a recipe leaves alone."""

import copy

import numpy as np
import pytest
import torch

from edgekws.features import logmel
from edgekws.features.settings import Features
from edgekws.methods.traces_propagation import recipe, training
from edgekws.methods.traces_propagation.settings import Adaptation
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.protocol.clips import Clips
from edgekws.protocol.settings import Training


def net(seed=0):
    return RecurrentLIF(Network(hidden=[20], threshold=0.3), inputs=6, outputs=4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def support():
    features = np.random.default_rng(0).random((12, 10, 6), dtype=np.float32)
    return Clips(features, np.arange(6), np.arange(6) % 3, torch.ones(1, 6), np.zeros(6, np.int64))


@pytest.fixture
def known(support):
    return Clips(support.features, np.arange(6, 12), np.arange(6) % 3, torch.ones(1, 6), np.zeros(6, np.int64))


def test_without_any_of_it_a_recipe_is_the_published_rule(support):
    base = net()
    made = recipe.adapt(base, support, Adaptation(learning_rate=1e-3), known=None, seed=5)
    plain = copy.deepcopy(base)
    training.train(plain, support, support.labels, Training(learning_rate=1e-3),
                   seed=recipe.derive_seed(5, "support batches"))
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), plain.state_dict().values(), strict=True))


def test_a_shift_moves_frames_and_fills_with_silence():
    features = torch.arange(1.0, 11).reshape(1, 5, 2).repeat(3, 1, 1)
    kept = features.clone()
    for clip, by in zip(features, (0, 2, -1), strict=True):
        recipe.move(clip, by)
    assert torch.equal(features[0], kept[0])
    assert torch.equal(features[1], torch.cat([torch.zeros(2, 2), kept[1, :3]]))
    assert torch.equal(features[2], torch.cat([kept[2, 1:], torch.zeros(1, 2)]))


def test_masks_hide_one_stretch_and_one_band_of_all_channels():
    augment = recipe.Augment(Adaptation(mask_frames=4, mask_bands=1), seed=0)
    found = augment(torch.ones(200, 10, 6)).numpy()
    silent_frames = (found == 0).all(2)
    assert silent_frames.sum(1).max() == 4 and (np.abs(np.diff(silent_frames, axis=1)).sum(1) <= 2).all()
    heard = [clip[~silent] for clip, silent in zip(found, silent_frames, strict=True)]
    bands = np.array([(clip == 0).all(0) for clip in heard])
    assert set(bands.sum(1)) == {0, 3}, "a band in each of the three channels, or none"
    assert (bands[:, :2] == bands[:, 2:4]).all() and (bands[:, :2] == bands[:, 4:]).all()


def test_augmentation_follows_its_seed_and_differs_from_pass_to_pass(support):
    budget, every = Adaptation(shift=3, noise=0.1, mask_frames=2, mask_bands=1), np.arange(6)
    stored = support.features.copy()
    first, second = recipe.Augment(budget, seed=1), recipe.Augment(budget, seed=1)
    once = first(support[every])
    assert torch.equal(once, second(support[every])) and not torch.equal(once, first(support[every]))
    assert np.array_equal(support.features, stored), "what is stored stays as it is"


def test_loudness_needs_no_augmentation():
    wave = np.random.default_rng(0).normal(0, 0.1, (1, 16000)).astype(np.float32)
    loud, soft = (logmel.log_mel_deltas(gain * wave, Features()) for gain in (1.0, 0.25))
    np.testing.assert_allclose(loud, soft, rtol=1e-3, atol=1e-4)


def test_averaging_is_by_layer_and_its_ends_are_the_two_nets(support):
    base, far = net(0), net(1)
    for hidden, readout in ((0.0, 1.0), (0.25, 0.5)):
        mixed = copy.deepcopy(far)
        recipe.average(mixed, base, hidden=hidden, readout=readout)
        for name, weights in mixed.trained.items():
            share = readout if name == "readout" else hidden
            torch.testing.assert_close(weights, share * base.trained[name] + (1 - share) * far.trained[name])
    kept = recipe.adapt(base, support, Adaptation(learning_rate=1e-2, kept_hidden=1.0, kept_readout=1.0), known=None, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(kept.state_dict().values(), base.state_dict().values(), strict=True))


def test_rehearsal_needs_what_the_base_knew_and_changes_what_is_learnt(support, known):
    with_, without = (recipe.adapt(net(), support, Adaptation(learning_rate=1e-3, rehearsal=3), known=heard, seed=0)
                      for heard in (known, None))
    assert not torch.equal(with_.readout, without.readout)


def test_a_hidden_rate_of_zero_leaves_the_hidden_layers_alone(support):
    base = net()
    made = recipe.adapt(base, support, Adaptation(learning_rate=1e-3, hidden_rate=0.0), known=None, seed=0)
    assert torch.equal(made.hidden[0].weight, base.hidden[0].weight) and not torch.equal(made.readout, base.readout)


@pytest.mark.parametrize("contrast", ["batch", "classes"])
def test_one_clip_alone_teaches_the_hidden_layer_by_all_classes_only(support, contrast):
    """However the training computes its gradients: with the published contrast they are zero."""
    base = net()
    made = recipe.adapt(base, support.some(np.arange(1)), Adaptation(learning_rate=1e-3, contrast=contrast), known=None, seed=0)
    assert torch.equal(made.hidden[0].weight, base.hidden[0].weight) == (contrast == "batch")
    assert not torch.equal(made.readout, base.readout)
