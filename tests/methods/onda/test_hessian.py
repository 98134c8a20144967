"""The Hessian's traces: against back-propagation done twice, against the exact ones, and how the estimate converges."""

import math

import pytest
import torch
from tests.methods.onda.nets import generator, lively
from torch import nn
from torch.nn import functional

from edgekws.methods.onda import hessian, pruning
from edgekws.methods.onda.settings import HessianCheck, Pruning
from edgekws.models import encoder as encoders
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.resnet15 import ResNet15

pytestmark = pytest.mark.usefixtures("one_thread")  # these networks are too small for more


def triplets(seed=0, *, hinge=False, number=4):
    """A loss of random windows, short ones; with a hinge some of the triplets have none."""
    windows = torch.randn(3 * number, 12, 10, generator=generator(seed), dtype=torch.float64)

    def loss(encoder):
        anchor, positive, negative = encoder(windows).unflatten(0, (3, number))
        found = (anchor - positive).square().sum(1) - (anchor - negative).square().sum(1)
        return functional.relu(found).mean() if hinge else found.mean()

    return loss


def convolutions(encoder):
    return {name: layer for name, layer in encoder.named_modules() if isinstance(layer, nn.Conv2d)}


NETS = {"stem": lambda: DsCnn([3, 4, 2, 3], "stem"), "block": lambda: DsCnn([3, 1, 2], "block"),
        "resnet": lambda: ResNet15([3, 2, 3, 2])}


@pytest.mark.parametrize("hinge", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_a_probe_is_back_propagation_done_twice(net, hinge):
    encoder, loss, random = lively(NETS[net]()), triplets(hinge=hinge), generator(1)
    layers = convolutions(encoder)
    weights = [layer.weight for layer in layers.values()]
    probe = [torch.randint(0, 2, weight.shape, generator=random).double() * 2 - 1 for weight in weights]
    gradients = torch.autograd.grad(loss(encoder), weights, create_graph=True)
    products = torch.autograd.grad(gradients, weights, probe)
    folded = hessian._layers(encoder)
    found = hessian._Batch(encoder, folded, loss).probed(
        {name: signs * folded[name].factor for name, signs in zip(layers, probe, strict=True)})
    for name, signs, product in zip(layers, probe, products, strict=True):
        torch.testing.assert_close(found[name], (signs * product).sum((1, 2, 3)), rtol=1e-9, atol=1e-12)
    assert max(trace.abs().max() for trace in found.values()) > 1e-4


def test_exact_traces_are_second_differences():
    encoder, loss, step = lively(DsCnn([2, 1, 2], "stem")), triplets(), 1e-4
    traces = hessian.exact_traces(encoder, loss)

    def moved(weight, place, by):
        with torch.no_grad():
            weight[place] += by
            value = loss(encoder)
            weight[place] -= by
        return value

    for name, layer in convolutions(encoder).items():
        if layer.weight[0].numel() < 10:
            filter_ = layer.weight[0].flatten().view(-1)
            here = loss(encoder).detach()
            curvature = sum(moved(filter_, place, step) + moved(filter_, place, -step) - 2 * here
                            for place in range(len(filter_)))
            assert traces[name][0].item() == pytest.approx(float(curvature) / step ** 2, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_the_estimate_converges(net):
    encoder, loss = lively(NETS[net]()), triplets()
    exact = torch.cat(list(hessian.exact_traces(encoder, loss).values()))
    random, probes = generator(2), 30
    estimates = torch.stack([torch.cat(list(hessian.hap_traces(encoder, [loss], Pruning(probes=probes), random).values()))
                             for _ in range(16)])
    # The standard error of the mean of all tells how far it may lie from the truth; some truths are not near 0.
    error = estimates.std(0) / math.sqrt(len(estimates))
    assert ((estimates.mean(0) - exact).abs() < 5 * error + 1e-12).all()
    assert (exact.abs() > 5 * error).any()


def test_probes_are_dealt_over_the_losses():
    encoder = lively(DsCnn([3, 2, 2], "stem"))
    called = []

    def counted(number, scale):
        return lambda net: called.append(number) or scale * triplets()(net)

    one = hessian.hap_traces(encoder, [counted(0, 1.0)], Pruning(probes=2), generator())
    # Of three probes the first two go to the first of two losses, which come from the same signs as before.
    both = hessian.hap_traces(encoder, [counted(0, 1.0), counted(1, 0.0)], Pruning(probes=3), generator())
    few = hessian.hap_traces(encoder, [counted(2, 1.0), counted(3, 1.0), counted(4, 1.0)], Pruning(probes=2), generator())
    for name, trace in one.items():
        torch.testing.assert_close(both[name], trace * 2 / 3)
        torch.testing.assert_close(few[name], trace)
    assert called == [0, 0, 1, 2, 3]


def test_the_same_generator_the_same_bytes():
    encoder, loss = lively(ResNet15([3, 2, 3])).train(), triplets()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    first, again, other = (hessian.hap_traces(encoder, [loss], Pruning(probes=3), generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(trace, again[name]) for name, trace in first.items())
    assert not any(torch.equal(trace, other[name]) for name, trace in first.items())
    assert encoder.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in encoder.parameters())


def test_without_an_active_triplet_all_traces_are_zero():
    def loss(net):
        return functional.relu(triplets()(net) - 10)

    for trace in hessian.hap_traces(lively(DsCnn([3, 2, 2], "stem")), [loss], Pruning(probes=2), generator()).values():
        assert (trace == 0).all()


def test_a_loss_must_embed_once():
    windows = torch.zeros(2, 47, 10, dtype=torch.float64)
    with pytest.raises(ValueError, match="one call, not by 2"):
        hessian.hap_traces(lively(DsCnn([2, 2], "stem")), [lambda net: (net(windows) - net(windows)).sum()], Pruning(),
                           generator())


def test_kendall_tau():
    assert hessian.kendall_tau(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0])) == 1
    assert hessian.kendall_tau(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 2.0, 1.0])) == -1
    # Five of the six pairs are in order.
    assert hessian.kendall_tau(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 3.0, 2.0, 4.0])) == pytest.approx(4 / 6)


def test_more_probes_rank_more_stably():
    encoder = lively(DsCnn([6, 6, 6], "stem"))
    settings = HessianCheck(probes=[2, 60], repetitions=4)
    few, many = hessian.ranking_stability(encoder, [triplets(1), triplets(2)], settings, Pruning(), seed=0)
    assert (few["probes"], many["probes"]) == (2, 60)
    assert few["kendall_tau"] < many["kendall_tau"] <= 1
    assert 0 <= few["overlap"] < many["overlap"] <= 1
    assert [few, many] == hessian.ranking_stability(encoder, [triplets(1), triplets(2)], settings, Pruning(), seed=0)


def test_the_error_falls_as_the_root_of_the_probes():
    found = hessian.hutchinson_convergence(HessianCheck(probes=[8, 128], repetitions=8), seed=0)
    assert found["weights"] == 3 * 40 + 2 * (27 + 9)
    few, many = (entry["relative_error"] for entry in found["errors"])
    # A factor of four; its logarithm of 16 estimates has a standard error of about a quarter.
    assert found["slope"] == pytest.approx(math.log(many / few) / math.log(16))
    assert -0.7 < found["slope"] < -0.3


@pytest.mark.parametrize("backbone", ["ds_cnn_s", "resnet15_narrow"])
def test_scores_of_the_encoders_that_are_used(backbone):
    encoder = encoders.build(backbone)
    windows = torch.randn(6, 47, 10, generator=generator())
    traces = hessian.hap_traces(encoder, [lambda net: net(windows).unflatten(0, (2, 3)).prod(0).sum()], Pruning(probes=1),
                                generator())
    scores = pruning.hap_scores(encoder, traces, Pruning())
    assert [len(score) for score in scores] == encoder.widths
    assert all(score.isfinite().all() and score.abs().max() > 0 for score in scores)
