"""The updates of the local rules: against autograd of what each paper differentiates, and by hand."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from edgekws.methods.alternatives.local_rules.decolle import Decolle
from edgekws.methods.alternatives.local_rules.eprop import RandomEprop, SymmetricEprop
from edgekws.methods.alternatives.local_rules.etlp import Etlp
from edgekws.methods.alternatives.local_rules.learning import RULES
from edgekws.methods.alternatives.local_rules.osttp import Osttp
from edgekws.methods.alternatives.local_rules.tess import Tess, square_waves
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.neurons.surrogate import ArctanSpike, arctan_derivative

LABELS = torch.tensor([0, 1, 2, 1, 3, 0, 0])
CASES = list(itertools.product(["hard", "soft"], [True, False]))


def network(inputs=4, outputs=5, **values):
    net = RecurrentLIF(Network(**{"hidden": [9], "threshold": 0.3, **values}), inputs=inputs, outputs=outputs,
                       generator=torch.Generator().manual_seed(0))
    return net.to(torch.float64)


def frames(net, steps=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, len(LABELS), net.inputs, generator=generator, dtype=torch.float64) * 2


def spikes(net, index, drives, *, constant, stop=True):
    """Spikes of a hidden layer at all steps, differentiable in its weights, which come first.

    ``constant``: what of the reset carries no gradient, all that it takes away ("jump") or the spike in it ("spike").
    ``stop``: no gradient through the layer's own spikes of the step before.
    """
    p, weights = net.settings, net.hidden[index].weight.detach().clone().requires_grad_()
    v = s = torch.zeros(len(LABELS), len(weights), dtype=torch.float64)
    found = []
    for drive in drives:
        presynaptic = torch.cat([drive, s.detach() if stop else s], 1) if p.recurrent else drive
        u = p.membrane_leak * v + presynaptic @ weights.T
        s = ArctanSpike.apply(u, p.threshold, p.surrogate_scale)
        taken = (u if p.reset == "hard" else p.threshold) * s.detach()
        v = u - (taken.detach() if constant == "jump" else taken)
        found.append(s)
    assert 0.02 < torch.stack(found).mean() < 0.9
    return weights, found


def layers(net, x, *, constant="jump"):
    """(weights, spikes at all steps) of each layer, the layers cut from one another."""
    drives, found = x, []
    for index in range(len(net.hidden)):
        found.append(spikes(net, index, drives, constant=constant))
        drives = [s.detach() for s in found[-1][1]]
    return found


def gradients(rule, x, labels=LABELS):
    """What the rule gives at each frame."""
    rule.begin(labels)
    return [{name: gradient.clone() for name, gradient in rule.step(frame).items()} for frame in x]


def equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert expected.abs().max() > 1e-4


def task_losses(net, readout, found):
    """Cross-entropy of the readout's potential at each step."""
    potential, losses = 0, []
    for s in found:
        potential = net.settings.output_leak * potential + s @ readout.T
        losses.append(cross_entropy(potential, LABELS))
    return losses


@pytest.mark.parametrize(("reset", "recurrent"), CASES)
@pytest.mark.parametrize("output_leak", [1.0, 0.8])
def test_eprop_is_back_propagation_but_for_the_recurrent_path(reset, recurrent, output_leak):
    net = network(reset=reset, recurrent=recurrent, output_leak=output_leak)
    x = frames(net)
    weights, found = spikes(net, 0, x, constant="jump")
    readout = net.readout.detach().clone().requires_grad_()
    for loss, given in zip(task_losses(net, readout, found), gradients(SymmetricEprop(net, seed=0), x), strict=True):
        hidden, out = torch.autograd.grad(loss, [weights, readout], retain_graph=True)
        equal(given["hidden.0.weight"], hidden)
        equal(given["readout"], out)


def test_the_recurrent_path_is_what_eprop_leaves_out():
    net = network()
    x = frames(net)
    weights, found = spikes(net, 0, x, constant="jump", stop=False)
    (whole,) = torch.autograd.grad(task_losses(net, net.readout.detach(), found)[-1], weights)
    assert not torch.allclose(gradients(SymmetricEprop(net, seed=0), x)[-1]["hidden.0.weight"], whole, rtol=1e-3)


@pytest.mark.parametrize("rule", [SymmetricEprop, RandomEprop])
def test_eprop_of_layers_that_do_not_reach_the_readout(rule):
    """Their signal is the present error through a fixed matrix, on spikes filtered by the readout's leak."""
    net = network(hidden=[9, 7], output_leak=0.8)
    x = frames(net)
    rule = rule(net, seed=3)
    both = layers(net, x)
    errors = []
    for steps, given in enumerate(gradients(rule, x), start=1):
        potential = sum(0.8 ** (steps - 1 - t) * s.detach() @ net.readout.detach().T for t, s in enumerate(both[1][1][:steps]))
        errors.append((torch.softmax(potential, 1) - one_hot(LABELS, 5)) / len(LABELS))
        for index, (weights, found) in enumerate(both):
            last = net.readout.detach() if isinstance(rule, SymmetricEprop) else rule.projections[-1]
            signal = errors[-1] @ (rule.projections[0] if index == 0 else last)
            filtered = sum(0.8 ** (steps - 1 - t) * s for t, s in enumerate(found[:steps]))
            (expected,) = torch.autograd.grad((signal * filtered).sum(), weights, retain_graph=True)
            equal(given[f"hidden.{index}.weight"], expected)


@pytest.mark.parametrize(("reset", "recurrent"), CASES)
@pytest.mark.parametrize("hidden", [[9], [9, 7]])
def test_decolle_descends_the_loss_of_a_local_readout(reset, recurrent, hidden):
    net = network(hidden=hidden, reset=reset, recurrent=recurrent)
    x, rule = frames(net), Decolle(net, seed=3)
    given = gradients(rule, x)
    for index, (weights, found) in enumerate(layers(net, x)):
        for s, step in zip(found, given, strict=True):
            loss = cross_entropy(s @ rule.projections[index].T, LABELS)
            equal(step[f"hidden.{index}.weight"], torch.autograd.grad(loss, weights, retain_graph=True)[0])


@pytest.mark.parametrize(("reset", "recurrent"), CASES)
@pytest.mark.parametrize(("rule", "constant"), [(Etlp, "jump"), (Osttp, "spike")])
def test_projected_targets_drive_the_spikes_of_their_class(rule, constant, reset, recurrent):
    """ETLP's eligibility goes on through the reset, OSTTP's ends there."""
    net = network(hidden=[9, 7], reset=reset, recurrent=recurrent)
    x, rule = frames(net), rule(net, seed=3)
    given = gradients(rule, x)
    for index, (weights, found) in enumerate(layers(net, x, constant=constant)):
        for s, step in zip(found, given, strict=True):
            along = (rule.projections[index][LABELS] * s).sum() / len(LABELS)
            equal(step[f"hidden.{index}.weight"], torch.autograd.grad(along, weights, retain_graph=True)[0])


def test_etlp_and_osttp_differ_after_a_hard_reset_only():
    for reset, same in (("hard", False), ("soft", True)):
        net = network(reset=reset)
        x = frames(net)
        etlp, osttp = (gradients(rule(net, seed=3), x)[-1]["hidden.0.weight"] for rule in (Etlp, Osttp))
        assert torch.allclose(etlp, osttp, rtol=0, atol=1e-12) is same


def test_square_waves_are_binary_and_of_one_frequency_a_class():
    waves = square_waves(3, 450)
    assert waves.unique().tolist() == pytest.approx([-1 / 450, 1 / 450])
    for row, frequency in zip(waves, (50, 281, 512), strict=True):
        assert row.tolist() == pytest.approx([math.copysign(1 / 450, math.sin(frequency * n)) for n in range(450)])


def test_tess_by_hand():
    """Two neurons, one input, three steps; leak 0.5, threshold 1, hard reset; the label is class 0 of 2.

    B = [[1, -1], [1, 1]] / 2, as sin(50) < 0 < sin(512): neuron 0 tells no class from another and learns nothing. The
    input 1.2, 0.2, 1.0 gives neuron 1 the potentials 1.2 (a spike), 0.2 and 1.1 (a spike), neuron 0 half of it.
    With a spike the local logits are (-1/2, 1/2), so m_1 = e / (1 + e); without one both are 0 and m_1 = 1/2.
    """
    net = network(hidden=[2], inputs=1, outputs=2, recurrent=False, threshold=1.0, membrane_leak=0.5,
                  surrogate_scale=1.0)
    net.hidden[0].weight.detach().copy_(torch.tensor([[0.5], [1.0]]))
    psi = [1 / (1 + math.pi ** 2 * (u - 1) ** 2) for u in (1.2, 0.2, 1.1)]
    spiking = math.e / (1 + math.e)
    expected = [
        spiking * psi[0] * 1.2,
        0.5 * (psi[1] * (0.5 * 1.2 + 0.2) + psi[0] * 0.2),
        spiking * (psi[2] * (0.25 * 1.2 + 0.5 * 0.2 + 1.0) + (0.2 * psi[0] + psi[1]) * 1.0),
    ]
    x = torch.tensor([[[1.2]], [[0.2]], [[1.0]]], dtype=torch.float64)
    for given, wanted in zip(gradients(Tess(net, seed=0), x, torch.tensor([0])), expected, strict=True):
        assert given["hidden.0.weight"].flatten().tolist() == pytest.approx([0, wanted], rel=1e-12)


@pytest.mark.parametrize(("reset", "recurrent"), CASES)
def test_tess_with_a_trace_for_each_synapse(reset, recurrent):
    net = network(hidden=[9, 7], reset=reset, recurrent=recurrent)
    p, x = net.settings, frames(net)
    given = gradients(Tess(net, seed=0), x)
    drives = x
    for index, weights in enumerate(layer.weight.detach() for layer in net.hidden):
        waves = square_waves(5, len(weights)).double()
        v = s = torch.zeros(len(LABELS), len(weights), dtype=torch.float64)
        history, drives_above = [], []
        for t, drive in enumerate(drives):
            presynaptic = torch.cat([drive, s], 1) if recurrent else drive
            u = p.membrane_leak * v + presynaptic @ weights.T
            s = (u >= p.threshold).double()
            v = u * (1 - s) if reset == "hard" else u - p.threshold * s
            history.append((presynaptic, arctan_derivative(u, p.threshold, p.surrogate_scale)))
            psi = history[-1][1]
            eligibility = sum(torch.einsum("bj,bi->bji", psi, 0.5 ** (t - k) * pre) for k, (pre, _) in enumerate(history))
            eligibility = eligibility + sum(torch.einsum("bj,bi->bji", 0.2 ** (t - 1 - k) * post, presynaptic)
                                            for k, (_, post) in enumerate(history[:-1]))
            signal = (torch.softmax(s @ waves.T, 1) - one_hot(LABELS, 5)) @ waves
            equal(given[t][f"hidden.{index}.weight"], torch.einsum("bj,bji->ji", signal, eligibility) / len(LABELS))
            drives_above.append(s)
        drives = drives_above


@pytest.mark.parametrize("rule", RULES.values())
def test_readout_descends_the_loss_of_the_task(rule):
    net = network(hidden=[9, 7], output_leak=0.9)
    x = frames(net)
    readout = net.readout.detach().clone().requires_grad_()
    found = layers(net, x)[1][1]
    for loss, given in zip(task_losses(net, readout, found), gradients(rule(net, seed=3), x), strict=True):
        equal(given["readout"], torch.autograd.grad(loss, readout, retain_graph=True)[0])


@pytest.mark.parametrize("rule", RULES.values())
def test_what_comes_later_does_not_matter(rule):
    net = network(hidden=[9, 7])
    x = frames(net)
    changed = torch.cat([x[:8], frames(net, seed=2)[8:]])
    earlier, other = gradients(rule(net, seed=3), x), gradients(rule(net, seed=3), changed)
    for t in range(12):
        same = [torch.equal(earlier[t][name], other[t][name]) for name in net.trained]
        assert all(same) if t < 8 else not any(same)


@pytest.mark.parametrize("rule", [Decolle, Etlp, Osttp, Tess])
def test_no_signal_from_the_layers_above(rule):
    net, other = network(hidden=[9, 7]), network(hidden=[9, 7])
    other.hidden[1].weight.detach().mul_(-3)
    other.readout.detach().mul_(-3)
    x = frames(net)
    for here, there in zip(gradients(rule(net, seed=3), x), gradients(rule(other, seed=3), x), strict=True):
        assert torch.equal(here["hidden.0.weight"], there["hidden.0.weight"])
    assert not torch.equal(here["hidden.1.weight"], there["hidden.1.weight"])


@pytest.mark.parametrize(("rule", "transported"), [(SymmetricEprop, True), (RandomEprop, False)])
def test_weight_transport_of_eprop(rule, transported, monkeypatch):
    """With the same error, another readout changes the hidden gradient where the signal goes through its weights."""
    error = torch.rand(len(LABELS), 5, dtype=torch.float64)
    monkeypatch.setattr(rule, "_error", lambda self, drive: error)
    net, other = network(), network()
    other.readout.detach().mul_(-3)
    here, there = (gradients(rule(each, seed=3), frames(each))[-1]["hidden.0.weight"] for each in (net, other))
    assert torch.equal(here, there) is not transported


@pytest.mark.parametrize("rule", RULES.values())
def test_a_batch_begins_at_rest(rule):
    net = network()
    fresh, used = rule(net, seed=3), rule(net, seed=3)
    gradients(used, frames(net, seed=5), LABELS.flip(0))
    gradients(used, frames(net, seed=6)[:, :3], LABELS[:3])
    for here, there in zip(gradients(fresh, frames(net)), gradients(used, frames(net)), strict=True):
        assert all(torch.equal(here[name], there[name]) for name in here)
