"""The hardware's loss: terms by hand, gradients, what training on it alone does, the cut."""

import itertools

import numpy as np
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.methods.neuedge import mapping as mapping_module
from edgekws.methods.neuedge.chip import chip
from edgekws.methods.neuedge.hardware_loss import HardwareLoss
from edgekws.methods.neuedge.settings import Hardware

MINI = chip("mini_chip")
SIZES = [40, 96, 200, 35]


def make(sizes=SIZES, form="needed", warm_up=0, ramp=0, **values):
    return HardwareLoss(Hardware(**{"placement_steps": 100, **values}), sizes, MINI, form=form, warm_up=warm_up, ramp=ramp)


def network(sizes=SIZES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(to, of, generator=generator, requires_grad=True) for of, to in itertools.pairwise(sizes)]


def firing(sizes=SIZES, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [(10 * torch.rand(size, generator=generator)).requires_grad_() for size in sizes[:-1]]


def plain(weights):
    return [matrix.detach() for matrix in weights]


def test_terms_by_hand():
    # 32 units, 32 outputs, groups of 16. Of four blocks two hold everything: q = 2, gate 1 - exp(-2).
    loss = make([32, 32])
    weights = torch.zeros(32, 32)
    weights[:16, :16], weights[16:, 16:] = 1.0, -1.0
    terms = loss.loss([weights], [torch.ones(32)])
    gate = 1 - np.exp(-2)
    assert loss.gates([weights])[0].flatten().tolist() == pytest.approx([gate, 0, 0, gate])
    assert terms["memory"].item() == pytest.approx(2 * gate / 4)
    # Both populations fit one core: 64 of 64 neurons, and 1,024 of 8,192 weights at most.
    assert len(loss.mapping.used) == 1
    assert terms["utilisation"].item() == pytest.approx(0, abs=1e-6)
    # Each of 32 spikes reaches the core with that gate, at no hops; the reference is 2 for each.
    assert terms["traffic"].item() == pytest.approx(32 * gate / (2 * 32))


def test_terms_are_weighted_by_their_lambdas():
    weights, rates = network(), firing()
    ones = make().loss(weights, rates)
    # One term's weight at a time, so that both losses see the same first mapping.
    other = make(utilisation=2.0, traffic=2.0, memory=2.0).loss(weights, rates)
    assert ones.keys() == {"utilisation", "traffic", "memory"}
    for name, term in ones.items():
        assert 0 <= term.item() < 1.5
        assert other[name].item() == pytest.approx(2 * term.item())


def test_gradient_reaches_every_matrix_and_every_rate():
    weights, rates = network(), firing()
    sum(make().loss(weights, rates).values()).backward()
    for tensor in [*weights, *rates]:
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0
    assert all((rate.grad >= 0).all() for rate in rates)


def test_the_scale_of_a_matrix_does_not_matter():
    weights, rates, loss = plain(network()), plain(firing()), make()
    before = loss.loss(weights, rates)
    after = loss.loss([0.01 * weights[0], 100 * weights[1], weights[2]], rates)
    for name, term in before.items():
        assert after[name].item() == pytest.approx(term.item(), rel=1e-5)


def test_gradient_is_that_of_the_block_handed_to_each_weight():
    weights, rates, loss = network([16, 32]), firing([16, 32]), make([16, 32])
    with torch.no_grad():
        weights[0][16:] *= 0.5
    loss.loss(weights, rates)["memory"].backward()
    values = weights[0].detach().double().requires_grad_()
    square = values.square().view(2, 16, 16).mean((1, 2))
    gates = 1 - torch.exp(-square / values.square().mean())
    gates.mean().backward()
    assert torch.allclose(weights[0].grad.double(), 256 * values.grad, rtol=1e-4, atol=1e-6)
    # The weak block is pressed down, the strong one up.
    assert (weights[0].grad * weights[0].detach())[16:].sum() > 0 > (weights[0].grad * weights[0].detach())[:16].sum()


def test_a_block_of_zeros_has_a_finite_gradient():
    weights, rates = network(), firing()
    with torch.no_grad():
        weights[1][:16] = 0
        weights[2].zero_()
    sum(make().loss(weights, rates).values()).backward()
    assert all(torch.isfinite(matrix.grad).all() for matrix in weights)


def descend(loss, weights, rates, steps):
    """Steps of one size for every weight, as Adam's first ones are."""
    for _ in range(steps):
        terms = loss.loss(weights, rates)
        gradients = torch.autograd.grad(sum(terms.values()), weights)
        with torch.no_grad():
            for matrix, gradient in zip(weights, gradients, strict=True):
                matrix.sub_(0.02 * gradient.sign())


def test_training_on_it_frees_memory_and_cores():
    sizes = [40, 256, 256, 35]
    weights, rates, loss = network(sizes), plain(firing(sizes)), make(sizes)
    before = loss.remap(plain(weights), rates, 0)
    descend(loss, weights, rates, steps=60)
    after = loss.remap(plain(weights), rates, 0)
    assert before["density"] > 0.99
    assert before["cores"] >= 12
    assert after["density"] < 0.6
    assert after["cores"] == 10  # 587 neurons, 64 to a core
    assert after["neurons"] == pytest.approx(587 / 640)
    assert after["neurons"] > before["neurons"]
    assert after["messages"] < before["messages"]


def test_occupancy_pulls_the_other_way():
    # The form of section 2.2 counts memory as use: where memory fills a core, it wants more of it, not less.
    sizes = [40, 256, 256, 35]
    pulls = {}
    for form in ("needed", "occupancy"):
        weights, loss = network(sizes), make(sizes, form=form)
        loss.loss(weights, firing(sizes))
        gate = torch.full((16, 16), 0.9, requires_grad=True)
        share = loss._shares[2]
        load = sum(each @ groups for each, groups in zip(loss._shares, loss._groups, strict=True)) / 64
        loss._utilisation(load, share @ (gate * 256).sum(1) / 8192).backward()
        pulls[form] = gate.grad.sum().item()
    assert pulls["needed"] > 0 > pulls["occupancy"]


def test_the_cut_keeps_whole_blocks_and_every_output():
    weights = plain(network())
    weights[1][:48] *= 0.1
    weights[2][16:32] *= 0.1
    weights[2][16:32, 32:48] *= 3
    kept = make().prune(weights)
    assert [mask.dtype for mask in kept] == [torch.bool] * 3
    assert [mask.shape for mask in kept] == [matrix.shape for matrix in weights]
    assert not kept[1][:48].any()
    assert kept[1][48:].all()
    assert kept[2][16:32].sum() == 16 * 16
    assert kept[2][16:32, 32:48].all()
    assert kept[2][32:].all()


def test_after_the_cut_only_rates_are_pulled():
    weights, rates, loss = network(), firing(), make()
    with torch.no_grad():
        weights[1][:48] *= 0.1
    kept = loss.prune(plain(weights))
    terms = loss.loss(weights, rates)
    sum(terms.values()).backward()
    assert all(matrix.grad is None for matrix in weights)
    assert all(rate.grad.abs().max() > 0 for rate in rates)
    share = sum(int(mask.sum()) for mask in kept) / sum(matrix.numel() for matrix in weights)
    assert terms["memory"].item() == pytest.approx(share)
    # What was cut stays cut, whatever becomes of the weights.
    assert loss.remap([torch.ones_like(matrix) for matrix in weights], plain(rates), 0)["density"] == pytest.approx(share)
    # The traffic is now exactly that of the mapping.
    masks = [mask.numpy() for mask in kept]
    spikes = [rate.detach().double().numpy() for rate in rates]
    moved = mapping_module.traffic(loss.mapping, masks, spikes, MINI)
    expected = float(moved.messages + moved.hops) / loss._reference
    assert loss.loss(weights, rates)["traffic"].item() == pytest.approx(expected, rel=1e-5)


def test_remapping_repeats_fits_and_never_costs_more():
    weights, rates = plain(network()), plain(firing())
    one, other = make(), make()
    for seed in (0, 1):
        log = one.remap(weights, rates, seed)
        assert log == other.remap(weights, rates, seed)
        assert log["cost"] <= log["cost_before"]
    assert mapping_module.fits(one.mapping, [mask.numpy() for mask in one.prune(weights)], MINI)
    assert len(one.seconds) == 2


def test_the_weight_waits_and_is_faded_in():
    weights, rates = plain(network()), plain(firing())
    loss, seen = make(weight=0.4, warm_up=2, ramp=3, placement_steps=1), []
    for _ in range(7):
        seen.append(loss.weight)
        loss.remap(weights, rates, 0)
    assert seen == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4, 0.4])


def test_the_reference_is_that_of_the_end_of_waiting():
    weights, rates, loss = plain(network()), plain(firing()), make(warm_up=1, placement_steps=1)
    first = loss.loss(weights, rates)["traffic"].item()
    loss.remap(weights, [4 * rate for rate in rates], 0)
    assert loss.loss(weights, rates)["traffic"].item() == pytest.approx(first / 4, rel=0.2)
    loss.remap(weights, rates, 0)
    assert loss.loss(weights, rates)["traffic"].item() == pytest.approx(first / 4, rel=0.2)


def test_refusals():
    with pytest.raises(UserError, match="no weights"):
        make([40])
    with pytest.raises(UserError, match="not of a network"):
        make().loss(plain(network([40, 96, 35])), plain(firing([40, 96, 35])))
    with pytest.raises(UserError, match="more than the chip's"):
        make([40, 500, 500, 9]).loss(plain(network([40, 500, 500, 9])), plain(firing([40, 500, 500, 9])))
