"""Pruning: what belongs together, the scores, the choice, and that the smaller net is the larger one with channels dead."""

import copy

import pytest
import torch
from tests.methods.onda.nets import generator, lively
from torch import nn

from edgekws.core.errors import UserError
from edgekws.methods.onda import pruning
from edgekws.methods.onda.pruning import Group
from edgekws.methods.onda.settings import Pruning
from edgekws.models import encoder as encoders
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.resnet15 import ResNet15

pytestmark = pytest.mark.usefixtures("one_thread")  # these networks are too small for more


NETS = {"ds_cnn_s": lambda: encoders.build("ds_cnn_s"), "resnet15_narrow": lambda: encoders.build("resnet15_narrow"),
        "halved_block": lambda: DsCnn([5, 6, 7, 8], "block")}


@pytest.fixture(params=NETS)
def encoder(request):
    return lively(NETS[request.param]())


def windows(number=4, seed=9):
    return torch.randn(number, 47, 10, generator=generator(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------ groups
def test_groups_of_a_ds_cnn():
    assert pruning.groups(DsCnn([5, 4, 3], "block")) == [
        Group(5, ("stem.1",), ("blocks.0.1",)), Group(4, ("blocks.0.4",), ("blocks.1.1",)), Group(3, ("blocks.1.4",), ())]


def test_groups_of_a_resnet():
    residual = ("stem", "blocks.0.second", "blocks.1.second")
    assert pruning.groups(ResNet15([4, 5, 5, 3])) == [
        Group(4, residual, ()), Group(5, ("blocks.0.first",), ()), Group(5, ("blocks.1.first",), ()), Group(3, ("head",), ())]


@pytest.mark.parametrize("narrow", [DsCnn([1, 2, 1, 3], "stem"), ResNet15([1, 1, 2, 1])])
def test_groups_with_a_single_channel(narrow):
    wide = type(narrow)([4] * 4, "stem") if isinstance(narrow, DsCnn) else ResNet15([4] * 4)
    for group, other in zip(pruning.groups(narrow), pruning.groups(wide), strict=True):
        assert (group.producers, group.depthwise) == (other.producers, other.depthwise)
    assert [group.channels for group in pruning.groups(narrow)] == narrow.widths


# ------------------------------------------------------------------------------------------------ the smaller encoder
def masked(encoder, kept):
    """The encoder with the other channels' maps at 0 after every normalisation, so that nothing sees them."""
    encoder, layers = copy.deepcopy(encoder), {}
    if isinstance(encoder, DsCnn):
        for number, block in enumerate(encoder.blocks):
            layers[block[2]], layers[block[5]] = kept[number], kept[number + 1]
        layers[encoder.stem[2]] = kept[0]
    else:
        layers[encoder.stem], layers[encoder.head_norm] = kept[0], kept[-1]
        for block, inner in zip(encoder.blocks, kept[1:-1], strict=True):
            layers[block.first_norm], layers[block.second_norm] = inner, kept[0]
    for layer, stays in layers.items():
        layer.register_forward_hook(lambda _layer, _given, maps, stays=stays: maps * stays[:, None, None])
    return encoder


@pytest.mark.parametrize("embedding", [False, True])
@pytest.mark.parametrize("ratio", [0.25, 0.75])
def test_pruned_is_masked(encoder, ratio, embedding):
    settings = Pruning(embedding=embedding)
    scores = pruning.random_scores(encoder, generator(1))
    kept = pruning.selection(encoder, scores, ratio, settings)
    smaller = pruning.prune(encoder, scores, ratio, settings)
    reference = masked(encoder, kept)
    torch.testing.assert_close(smaller(windows()), reference(windows())[:, kept[-1]], rtol=0, atol=1e-10)
    torch.testing.assert_close(smaller.train()(windows()), reference.train()(windows())[:, kept[-1]], rtol=0, atol=1e-10)
    assert sum(smaller.widths) < sum(encoder.widths)


def test_pruned_parameters_are_the_closed_form(encoder):
    smaller = pruning.prune(encoder, pruning.random_scores(encoder, generator()), 0.5, Pruning(embedding=True))
    assert encoders.parameters(smaller) == sum(tensor.numel() for tensor in smaller.parameters()) < encoders.parameters(encoder)


def test_pruning_twice(encoder):
    settings, kept = Pruning(), []
    smaller = encoder
    for seed in (1, 2):
        scores = pruning.random_scores(smaller, generator(seed))
        kept.append(pruning.selection(smaller, scores, 0.5, settings))
        smaller = pruning.prune(smaller, scores, 0.5, settings)
    both = [first.clone() for first in kept[0]]
    for all_, second in zip(both, kept[1], strict=True):
        all_[all_.clone()] = second
    assert smaller.widths == [int(stays.sum()) for stays in both]
    torch.testing.assert_close(smaller(windows()), masked(encoder, both)(windows()), rtol=0, atol=1e-10)


def test_down_to_single_channels(encoder):
    smaller = pruning.prune(encoder, pruning.random_scores(encoder, generator()), 0.999, Pruning(embedding=True, largest_share=1))
    assert smaller.widths == [1] * len(encoder.widths)
    assert smaller(windows()).shape == (4, 1)
    again = pruning.prune(smaller, pruning.l1_scores(smaller, Pruning()), 0.5, Pruning())
    torch.testing.assert_close(again(windows()), smaller(windows()), rtol=0, atol=0)


def test_nothing_pruned_is_an_equal_copy(encoder):
    same = pruning.prune(encoder, pruning.l1_scores(encoder, Pruning()), 0, Pruning())
    assert same is not encoder and same.widths == encoder.widths
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(same.state_dict()[name], tensor)
        assert same.state_dict()[name].data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize("training", [False, True])
def test_the_given_encoder_stays_as_it_is(encoder, training):
    encoder.train(training)
    before, state = copy.deepcopy(encoder.state_dict()), torch.get_rng_state()
    with torch.no_grad():
        smaller = pruning.prune(encoder, pruning.l1_scores(encoder, Pruning()), 0.5, Pruning())
    assert encoder.training == smaller.training == training
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(parameter.requires_grad for parameter in smaller.parameters())
    assert torch.equal(torch.get_rng_state(), state)


# ------------------------------------------------------------------------------------------------ the choice
def tiny():
    """Its five prunable channels, and two of the embedding."""
    return lively(DsCnn([2, 3, 2], "stem"))


def stays(encoder, scores, ratio, **settings):
    kept = pruning.selection(encoder, [torch.tensor(some) for some in scores], ratio, Pruning(**settings))
    return [some.int().tolist() for some in kept]


SCORES = [[0.5, 0.1], [0.3, 0.2, 0.9], [0.0, 0.7]]


def test_which_tensors_are_left():
    encoder = tiny()
    smaller = pruning.prune(encoder, [torch.tensor(some) for some in SCORES], 0.4, Pruning())
    assert smaller.widths == [1, 2, 2]
    assert torch.equal(smaller.stem[1].weight, encoder.stem[1].weight[:1])
    assert torch.equal(smaller.stem[2].running_var, encoder.stem[2].running_var[:1])
    assert torch.equal(smaller.blocks[0][1].bias, encoder.blocks[0][1].bias[:1])
    assert torch.equal(smaller.blocks[0][4].weight, encoder.blocks[0][4].weight[[0, 2]][:, :1])
    assert torch.equal(smaller.blocks[1][4].weight, encoder.blocks[1][4].weight[:, [0, 2]])


@pytest.mark.parametrize(("ratio", "embedding", "expected"), [
    (0.0, False, [[1, 1], [1, 1, 1], [1, 1]]),
    (0.2, False, [[1, 0], [1, 1, 1], [1, 1]]),
    (0.4, False, [[1, 0], [1, 0, 1], [1, 1]]),
    (0.6, False, [[1, 0], [0, 0, 1], [1, 1]]),
    (0.99, False, [[1, 0], [0, 0, 1], [1, 1]]),  # a channel of each layer stays
    (2 / 7, True, [[1, 0], [1, 1, 1], [0, 1]]),
])
def test_the_lowest_of_all_groups_go(ratio, embedding, expected):
    assert stays(tiny(), SCORES, ratio, embedding=embedding) == expected


def test_ties_go_by_position_and_what_the_cap_holds_back_stays():
    assert stays(tiny(), [[1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0]], 0.6) == [[0, 1], [0, 1, 1], [1, 1]]


def test_negative_scores_are_the_lowest():
    assert stays(tiny(), [[0.0, 0.1], [-0.5, 0.2, 0.9], [0.0, 0.0]], 0.2) == [[1, 1], [0, 1, 1], [1, 1]]


def test_a_layer_loses_its_largest_share_at_most():
    encoder = DsCnn([10, 10, 2], "stem")
    scores = [[0.0] * 10, [1.0] * 10, [0.0] * 2]
    assert stays(encoder, scores, 0.5, largest_share=0.95) == [[0] * 9 + [1], [1] * 10, [1, 1]]
    assert stays(encoder, scores, 0.6, largest_share=0.7) == [[0] * 7 + [1] * 3, [0] * 2 + [1] * 8, [1, 1]]


def test_other_layers_may_pay_for_what_a_limit_holds_back():
    encoder = DsCnn([10, 10, 2], "stem")
    scores = [[0.0] * 10, [1.0] * 10, [0.0] * 2]
    assert stays(encoder, scores, 0.5, largest_share=0.95, surplus="others") == [[0] * 9 + [1], [0] + [1] * 9, [1, 1]]
    assert stays(encoder, scores, 0.5, largest_share=0.7, surplus="others") == [[0] * 7 + [1] * 3, [0] * 3 + [1] * 7, [1, 1]]


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6, 0.8])
def test_a_share_of_the_parameters(encoder, ratio):
    scores = pruning.random_scores(encoder, generator(3))
    kept = pruning.selection(encoder, scores, ratio, Pruning(target="parameters"))
    smaller = pruning.prune(encoder, scores, ratio, Pruning(target="parameters"))
    assert encoders.parameters(smaller) <= (1 - ratio) * encoders.parameters(encoder)
    # With the last choice taken back it is not enough.
    places = pruning.pooled(scores, Pruning()).where(~torch.cat(kept[:-1]), torch.tensor(-1.0))
    group = int((torch.tensor([len(some) for some in kept]).cumsum(0) <= places.argmax()).sum())
    widths = list(smaller.widths)
    widths[group] += 1
    before = type(encoder)(widths, encoder.halve) if isinstance(encoder, DsCnn) else ResNet15(widths)
    assert encoders.parameters(before) > (1 - ratio) * encoders.parameters(encoder)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers(bad):
    with pytest.raises(UserError, match="not finite"):
        stays(tiny(), [[0.5, bad], [0.3, 0.2, 0.9], [0.0, 0.7]], 0.2)


# ------------------------------------------------------------------------------------------------ scores
def painted(encoder):
    """Weights that can be reckoned with: convolution k of the net is k + 1 throughout, its first filter the negative of that."""
    convolutions = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for number, layer in enumerate(convolutions):
            layer.weight.fill_(number + 1)
            layer.weight[0] *= -1
    return encoder


def test_l1_of_a_ds_cnn():
    encoder = painted(DsCnn([2, 3, 2], "stem"))  # 40 weights of 1 and 9 of 2; 2 of 3 and 9 of 4; 3 of 5
    summed = pruning.l1_scores(encoder, Pruning(l1="sum"))
    assert [score.tolist() for score in summed] == [[58] * 2, [42] * 3, [15] * 2]
    mean = pruning.l1_scores(encoder, Pruning(l1="mean"))
    assert [score.tolist() for score in mean] == [[58 / 49] * 2, [42 / 11] * 3, [5] * 2]


def test_l1_of_a_residual_stream():
    encoder = painted(ResNet15([2, 3, 1]))  # 9 weights of 1 and 27 of 3; 18 of 2; 18 of 4
    assert [score[0].item() for score in pruning.l1_scores(encoder, Pruning(l1="sum"))] == [90, 36, 72]
    assert [score[0].item() for score in pruning.l1_scores(encoder, Pruning(l1="mean"))] == [4, 2, 4]
    assert [score[0].item() for score in pruning.l1_scores(encoder, Pruning(l1="mean", residual="mean"))] == [2, 2, 4]


def test_hap_of_a_ds_cnn():
    encoder = painted(DsCnn([2, 3, 2], "stem"))
    traces = {"stem.1": torch.tensor([1.0, -3.0]), "blocks.0.1": torch.tensor([1.0, 1.0]), "blocks.0.4": torch.zeros(3),
              "blocks.1.1": torch.tensor([0.0, 1.0, 2.0]), "blocks.1.4": torch.tensor([-1.0, 1.0])}
    first, second, last = pruning.hap_scores(encoder, traces, Pruning())
    assert first.tolist() == pytest.approx([2 / 49 * 76, -2 / 49 * 76])
    assert second.tolist() == pytest.approx([0, 162 / 11, 324 / 11])
    assert last.tolist() == pytest.approx([-25, 25])
    assert pruning.hap_scores(encoder, traces, Pruning(hap_trace="absolute"))[0].tolist() == pytest.approx([152 / 49] * 2)


def test_hap_of_a_residual_stream():
    encoder = painted(ResNet15([2, 3, 1]))
    traces = {"stem": torch.tensor([1.0, 2.0]), "blocks.0.first": torch.ones(3), "blocks.0.second": torch.tensor([2.0, -4.0]),
              "head": torch.ones(1)}
    summed = [1 / 9 * 9 + 2 / 27 * 243, 2 / 9 * 9 - 4 / 27 * 243]
    assert pruning.hap_scores(encoder, traces, Pruning())[0].tolist() == pytest.approx(summed)
    mean = pruning.hap_scores(encoder, traces, Pruning(residual="mean"))[0]
    assert mean.tolist() == pytest.approx([score / 2 for score in summed])


def test_random_scores_follow_from_the_generator(encoder):
    first, again, other = (pruning.random_scores(encoder, generator(seed)) for seed in (1, 1, 2))
    assert [len(score) for score in first] == encoder.widths
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(other))


# ------------------------------------------------------------------------------------------------ running statistics
def test_statistics_of_one_batch(encoder):
    renewed = pruning.recalibrate(encoder, windows(6))
    seen = {}
    for name, layer in encoder.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda _layer, given, _maps, name=name: seen.update({name: given[0]}))
    encoder.train()(windows(6))
    for name, maps in seen.items():
        norm = renewed.get_submodule(name)
        torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)))
        torch.testing.assert_close(norm.running_var, maps.transpose(0, 1).flatten(1).var(1))


def test_statistics_of_several_batches_are_their_mean(encoder):
    several = pruning.recalibrate(encoder, windows(9), batch=4)  # 3, 3 and 3
    parts = [pruning.recalibrate(encoder, part) for part in windows(9).split(3)]
    for name, tensor in encoders.tensors_of(several).items():
        if "running" in name:
            torch.testing.assert_close(tensor, torch.stack([part.state_dict()[name] for part in parts]).mean(0))


def test_all_else_stays(encoder):
    before = copy.deepcopy(encoder.state_dict())
    renewed = pruning.recalibrate(encoder, windows())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(torch.equal(parameter, before[name]) for name, parameter in renewed.named_parameters())
    assert not renewed.training
    assert {norm.momentum for norm in renewed.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}
    for name, tensor in encoders.tensors_of(pruning.recalibrate(encoder, windows(0))).items():
        assert torch.equal(tensor, before[name])
