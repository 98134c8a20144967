"""Smaller encoders: what reads what, least squares, and learning from the larger one."""

import numpy as np
import pytest
import torch

from edgekws.methods.onda import distillation, pruning
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.robust import Heard
from edgekws.methods.onda.settings import Distillation, Pruning
from edgekws.methods.onda.windows import Windows
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.resnet15 import ResNet15

SETTINGS = Distillation(steps=2, windows=60, updates=60, batch=16, refit_windows=60, refit_places=20, learning_rate=2e-3)


def encoder_of(kind):
    torch.manual_seed(0)
    net = DsCnn([24, 20, 24, 12], "stem") if kind == "ds_cnn" else ResNet15([8, 6, 7, 8, 6, 7, 8, 6])
    return pruning.recalibrate(net.eval(), mfcc(60, 1))


def mfcc(windows, seed=0):
    """Windows that are mixtures of the same six sounds: as in speech, there is something to know of them."""
    sounds = torch.randn(6, 47, 10, generator=torch.Generator().manual_seed(99))
    return torch.einsum("wk,ktf->wtf", torch.randn(windows, 6, generator=torch.Generator().manual_seed(seed)), sounds)


def heard(windows=80):
    plain = mfcc(windows).numpy()
    noisy = plain + 0.1 * mfcc(windows, 5).numpy()
    return Heard(*(Windows(array, array[:3], None, {}) for array in (plain, noisy)))


def apart(one, other, given):
    return float((Embedder(one).embed(given) - Embedder(other).embed(given)).square().sum(1).mean())


@pytest.fixture(params=["ds_cnn", "resnet15"])
def encoder(request):
    return encoder_of(request.param)


def test_a_channel_that_nothing_reads_matters_least(encoder):
    for group, own in enumerate(distillation.readers(encoder)[:-1]):
        with torch.no_grad():
            for name, _ in own:
                encoder.get_submodule(name).weight[:, 1] = 0
        assert distillation.importance(encoder, mfcc(8))[group].argmin() == 1
        assert distillation.importance(encoder, mfcc(8))[group][1] == 0


def test_every_group_is_read_by_what_its_cut_changes(encoder):
    """Of a group's channels one is silenced at its readers; only those convolutions that are named read it."""
    for group, own in zip(pruning.groups(encoder), distillation.readers(encoder), strict=True):
        for name, written in own:
            layer = encoder.get_submodule(name)
            assert layer.in_channels == group.channels and layer.out_channels == encoder.widths[written]


def test_ranks_take_the_same_share_of_every_layer(encoder):
    scores = distillation.evenly([torch.rand(width, dtype=torch.float64) * 10 ** place
                                  for place, width in enumerate(encoder.widths)])
    kept = pruning.selection(encoder, scores, 0.5, Pruning(surplus="others"))
    shares = [float(stays.double().mean()) for stays in kept[:-1]]
    assert max(shares) - min(shares) < 0.15 and kept[-1].all()


def test_with_all_channels_the_refit_changes_nothing(encoder):
    kept = [torch.ones(width, dtype=torch.bool) for width in encoder.widths]
    copy = pruning.prune(encoder, pruning.l1_scores(encoder, Pruning()), 0.0, Pruning())
    fitted = distillation.refit(copy, encoder, kept, mfcc(60), mfcc(60), places=30, seed=0)
    assert apart(fitted, encoder, mfcc(20, 3)) < 1e-3


def test_the_refit_undoes_a_part_of_the_damage(encoder):
    scores = distillation.evenly(distillation.importance(encoder, mfcc(60)))
    chosen = Pruning(surplus="others")
    kept = pruning.selection(encoder, scores, 0.3, chosen)
    cut = pruning.recalibrate(pruning.prune(encoder, scores, 0.3, chosen), mfcc(60))
    fitted = distillation.refit(pruning.prune(encoder, scores, 0.3, chosen), encoder, kept, mfcc(60), mfcc(60), places=30, seed=0)
    assert apart(fitted, encoder, mfcc(40, 3)) < 0.85 * apart(cut, encoder, mfcc(40, 3))


def test_a_compressed_encoder_embeds_like_the_larger_one_and_leaves_it_alone(encoder):
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    rows, given = np.arange(80), mfcc(40, 3)
    small, again = (distillation.compress(encoder, heard(), rows, 0.5, SETTINGS, Pruning(), seed=1) for _ in range(2))
    assert small.widths[-1] == encoder.widths[-1] and not small.training
    assert sum(small.widths[:-1]) == pytest.approx(sum(encoder.widths[:-1]) / 2, abs=1)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in small.state_dict().items())
    assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in before.items())
    embeddings = Embedder(encoder).embed(given)
    unrelated = float((embeddings - embeddings.roll(1, 0)).square().sum(1).mean())
    assert apart(small, encoder, given) < 0.3 * unrelated
