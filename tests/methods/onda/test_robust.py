"""Robust adaptation: which windows look alike, what is mined, and what training leaves alone."""

import numpy as np
import pandas as pd
import pytest
import torch

from edgekws.methods.onda import pruning, robust
from edgekws.methods.onda.calibration import Draw
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.robust import Heard
from edgekws.methods.onda.self_learning import PseudoLabels
from edgekws.methods.onda.settings import Robust
from edgekws.methods.onda.windows import Windows
from edgekws.models.ds_cnn import DsCnn

SETTINGS = Robust(updates=12, positives=8, negatives=6, mine_every=4, pool=16, hardest=0.5, shift=0, learning_rate=3e-3)
NONE = np.empty(0, np.int64)


def sounds(rows, kind, seed):
    """A sound of a kind, each time a little otherwise."""
    sound = np.random.default_rng(100 + kind).normal(0, 1, (47, 10))
    return (sound + np.random.default_rng(seed).normal(0, 0.7, (rows, 47, 10))).astype(np.float32)


@pytest.fixture
def stream():
    """Rows 0 to 19 are the wake word, 20 to 59 another sound, 60 to 79 a third, louder one; the same with noise."""
    mfcc = np.concatenate([sounds(20, 2, 0), sounds(40, 4, 1), 2 * sounds(20, 7, 2)])
    table = pd.DataFrame({"crop": [0, 1, 2]})
    crops = sounds(3, 2, 3)
    windows = Windows(mfcc, crops, table, {})
    noisy = Windows(mfcc + 0.5, crops + 0.5, table, {})
    return Heard(windows, noisy), Draw("u", np.arange(3), NONE, NONE)


def encoder():
    torch.manual_seed(0)
    some = np.concatenate([sounds(20, kind, kind) for kind in (1, 2, 3, 4, 7)])
    return pruning.recalibrate(DsCnn([8, 8, 8], "stem").eval(), torch.from_numpy(some))


LABELS = PseudoLabels(np.arange(20), np.arange(20, 60), {})


def test_look_alikes_are_the_nearest_windows_of_the_negatives_utterances():
    table = pd.DataFrame({"first": [200, 100, 300], "windows": [3, 2, 4]})  # the table is not in the order of the audio
    found = np.array([0.5, 0.1, 0.3, 0.9, 0.2, 0.4, 0.3, 0.2, 0.1], np.float32)
    rows = robust.look_alikes(table, found, PseudoLabels(np.array([101]), np.array([202, 300]), {}), 2)
    assert sorted(rows.tolist()) == [201, 202, 302, 303]
    assert sorted(robust.look_alikes(table, found, PseudoLabels(NONE, np.array([100]), {}), 5).tolist()) == [100, 101]
    assert robust.look_alikes(table, found, PseudoLabels(NONE, NONE, {}), 2).size == 0


def test_noise_is_mixed_in_at_the_chance_asked_for(stream):
    heard, drawn = stream
    for chance, expected in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)):
        rows = np.random.default_rng(0).integers(0, 80, 400)
        noisy = (heard.windows(rows, chance, np.random.default_rng(1)) != heard.plain.mfcc[rows]).all((1, 2))
        assert noisy.mean() == pytest.approx(expected, abs=0.08)
    assert len(heard.crops(drawn, 0.0)) == 3 and len(heard.crops(drawn, 0.5)) == 6
    assert len(Heard(heard.plain, heard.plain).crops(drawn, 0.5)) == 3, "without noise at hand there are no doubles"


def test_the_nearest_are_mined(stream):
    heard, drawn = stream
    net, crops = encoder(), heard.crops(drawn, 0.0)
    mined = robust._mined(net, heard, crops, np.arange(20, 80), SETTINGS.model_copy(update={"noise": 0.0, "pool": 60}),
                          np.random.default_rng(0), "float32")
    embedder = Embedder(net)
    prototype = torch.nn.functional.normalize(embedder.embed(crops).mean(0), dim=0)
    def far(mfcc):
        return 2 - 2 * embedder.embed(mfcc) @ prototype
    assert len(mined) == 30 and far(mined).max() <= far(heard.plain.mfcc[20:80]).sort().values[30]


def test_adaptation_lowers_the_loss_and_leaves_encoder_and_statistics_alone(stream):
    net = encoder()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    tuned, facts = robust.adapt(net, *stream, LABELS, np.arange(20, 60), SETTINGS, seed=0)
    again, _ = robust.adapt(net, *stream, LABELS, np.arange(20, 60), SETTINGS, seed=0)
    other, _ = robust.adapt(net, *stream, LABELS, np.arange(20, 60), SETTINGS, seed=1)
    assert facts["steps"] == 12 and not tuned.training and 0 < facts["active_fraction"][0] <= 1
    after = tuned.state_dict()
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in before.items())
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in after.items())
    assert any(not torch.equal(tensor, other.state_dict()[name]) for name, tensor in after.items())
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == ("running" in name or "tracked" in name), name


def test_adaptation_moves_the_wake_word_away_from_its_look_alikes(stream):
    heard, drawn = stream
    def gap(net):
        with torch.no_grad():
            words, others = net(torch.from_numpy(heard.plain.mfcc[:20])), net(torch.from_numpy(heard.plain.mfcc[20:60]))
        own = torch.nn.functional.normalize(words.mean(0), dim=0)
        return float((2 - 2 * others @ own).mean() - (2 - 2 * words @ own).mean())
    net = encoder()
    tuned, _ = robust.adapt(net, heard, drawn, LABELS, np.arange(20, 60), SETTINGS.model_copy(update={"updates": 40}), seed=0)
    assert gap(tuned) > gap(net) + 0.3


@pytest.mark.parametrize(("labels", "candidates"), [(LABELS, NONE), (LABELS._replace(positives=NONE), np.arange(20, 60))])
def test_without_labels_of_both_kinds_nothing_is_trained(stream, labels, candidates):
    net = encoder()
    tuned, facts = robust.adapt(net, *stream, labels, candidates, SETTINGS, seed=0)
    assert facts == {"steps": 0, "loss": [], "active_fraction": []}
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in tuned.state_dict().items())
