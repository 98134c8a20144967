"""The other local rules on nets of the user's own: against the bench's classes, and against autograd through time."""

import itertools

import norse.torch as norse
import pytest
import torch
from norse.torch.functional.lif_box import LIFBoxParameters
from norse.torch.functional.reset import reset_subtract
from norse.torch.functional.threshold import threshold
from norse.torch.module.leaky_integrator_box import LIBoxCell
from norse.torch.module.lif_box import LIFBoxCell
from tests.protocol.nets import as_modules, ours
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

import edgekws
from edgekws import Decolle, EProp, Etlp, Osttp, RandomEProp, Tess
from edgekws.core.errors import UserError
from edgekws.methods.alternatives.local_rules.public import BenchRule
from edgekws.neurons.cells import LIFBoxRecurrentCell

RULES = [EProp, RandomEProp, Decolle, Etlp, Osttp, Tess]
LABELS = torch.tensor([0, 1, 2, 1, 3, 0, 0])


def frames(steps=12, size=2.0, inputs=4):
    return torch.rand(steps, len(LABELS), inputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * size


def norse_net(*, bias=True, recurrent=False, integrator=True, reset=None, inputs=4):
    torch.manual_seed(0)
    p = LIFBoxParameters() if reset is None else LIFBoxParameters(reset_method=reset)
    cell = LIFBoxRecurrentCell(9, p) if recurrent else LIFBoxCell(p)
    return norse.SequentialState(nn.Linear(inputs, 9, bias=bias), cell, nn.Linear(9, 5),
                                 *([LIBoxCell()] if integrator else [])).double()


@pytest.mark.parametrize(("rule", "hidden", "reset", "recurrent"),
                         list(itertools.product(RULES, [[9], [9, 7]], ["hard", "soft"], [True, False])))
def test_same_neurons_give_the_gradients_of_the_bench(rule, hidden, reset, recurrent):
    net = ours(hidden=hidden, reset=reset, recurrent=recurrent, output_leak=0.9)
    modules = as_modules(net)
    bench, public = rule.kind(net, seed=3), rule(modules, outputs=5, output_leak=0.9, seed=3)
    for _ in range(2):  # the second batch begins at rest
        bench.begin(LABELS)
        public.reset()
        largest = {}
        for frame in frames():
            expected = bench.step(frame)
            public.step(frame, LABELS)
            torch.testing.assert_close(public.potential, bench.readout_potential)
            for index in range(len(hidden)):
                cell = modules[2 * index + 1]
                found = [modules[2 * index].weight.grad, *([cell.recurrent_weights.grad] if recurrent else [])]
                torch.testing.assert_close(torch.cat(found, 1), expected[f"hidden.{index}.weight"], rtol=0, atol=1e-10)
            torch.testing.assert_close(modules[-1].weight.grad, expected["readout"], rtol=0, atol=1e-10)
            for name, gradient in expected.items():
                largest[name] = max(largest.get(name, 0), gradient.abs().max().item())
        assert min(largest.values()) > 1e-4


@pytest.mark.parametrize("rule", RULES)
def test_a_recurrent_lif_is_taken_as_it_is(rule):
    net = ours()
    bench, public = rule.kind(net, seed=3), rule(net, outputs=5, seed=3)
    bench.begin(LABELS)
    for frame in frames():
        expected = bench.step(frame)
        public.step(frame, LABELS)
        for parameter, gradient in zip(public.parameters(), expected.values(), strict=True):
            assert torch.equal(parameter.grad, gradient)
    with pytest.raises(UserError, match="its own output_leak"):
        rule(net, outputs=5, output_leak=0.9)


@pytest.mark.parametrize(("reset", "integrator"), list(itertools.product([None, reset_subtract], [True, False])))
def test_eprop_on_norses_cells_is_back_propagation_through_time(reset, integrator):
    """Without recurrence its gradients are exact: weights, biases, Norse's gain of a tenth, and the readout's leak."""
    net, x = norse_net(reset=reset, integrator=integrator), frames(size=60.0)
    rule = EProp(net, outputs=5)
    gain = (0.001 * LIFBoxParameters().tau_mem_inv).double()
    v = m = 0.0
    for steps, frame in enumerate(x):
        rule.step(frame, LABELS)
        u = (1 - gain) * v + gain * net[0](frame)
        s = threshold(u - 1, "super", torch.as_tensor(100.0))
        taken = (u if reset is None else 1) * s
        v = u - taken.detach()
        m = (1 - gain) * m + gain * net[2](s) if integrator else m + net[2](s)
        torch.testing.assert_close(rule.potential, m)
        for (name, parameter), expected in zip(net.named_parameters(), torch.autograd.grad(
                cross_entropy(m, LABELS), list(net.parameters()), retain_graph=True), strict=True):
            torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}")
            assert parameter.grad.abs().max() > 1e-4 or steps < 3


@pytest.mark.parametrize(("rule", "recurrent"), list(itertools.product(RULES, [True, False])))
def test_a_bias_is_an_input_of_one(rule, recurrent):
    biased = norse_net(recurrent=recurrent)
    plain = norse_net(recurrent=recurrent, bias=False, inputs=5)
    tensors = biased.state_dict()
    tensors["0.weight"] = torch.cat([tensors["0.weight"], tensors.pop("0.bias")[:, None]], 1)
    plain.load_state_dict(tensors)
    first, second = (rule(net, outputs=5, seed=3) for net in (biased, plain))
    for frame in frames(size=60.0):
        first.step(frame, LABELS)
        second.step(torch.cat([frame, torch.ones(len(frame), 1)], 1), LABELS)
        torch.testing.assert_close(torch.cat([biased[0].weight.grad, biased[0].bias.grad[:, None]], 1), plain[0].weight.grad)
    assert biased[0].bias.grad.abs().max() > 0


@pytest.mark.parametrize("rule", RULES)
def test_learns_a_separable_task(rule):
    torch.manual_seed(0)
    net = norse.SequentialState(nn.Linear(12, 40), LIFBoxRecurrentCell(40), nn.Linear(40, 4))
    labels = torch.arange(4).repeat(8)
    inputs = torch.rand(20, 32, 12) + 12 * one_hot(labels, 4).repeat(1, 3)
    first = [parameter.detach().clone() for parameter in net.parameters()]
    public = rule(net, outputs=4)
    optimiser = torch.optim.Adam(public.parameters(), lr=0.003)
    for _ in range(10):
        public.reset()
        for frame in inputs:
            public.step(frame, labels)
            optimiser.step()
    assert (public.potential.argmax(1) == labels).all()
    assert all((parameter - before).abs().max() > 0.003 for parameter, before in zip(net.parameters(), first, strict=True))


def test_frozen_parameters_get_no_gradient():
    net = norse_net()
    net[0].bias.requires_grad_(False)
    net[2].weight.requires_grad_(False)
    rule = Decolle(net, outputs=5)
    rule.step(frames()[0], LABELS)
    assert [parameter.grad is None for parameter in net.parameters()] == [False, True, True, False]
    assert len(rule.parameters()) == 2


@pytest.mark.parametrize(("net", "message"), [
    (nn.Sequential(nn.Linear(4, 9), norse.LIFCell(), nn.Linear(9, 5)), r"'1' \(LIFCell\) is no neuron with a membrane"),
    (nn.Sequential(norse.LIFRecurrentCell(4, 9), nn.Linear(9, 5)), r"'0' \(LIFRecurrentCell\) is no neuron"),
    (nn.Sequential(nn.Linear(4, 9), LIFBoxCell(), nn.Linear(9, 5), norse.LICell()), "LICell is no integrator with one leak"),
    (nn.Sequential(nn.Linear(4, 9), LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.full((9,), 100.0))), nn.Linear(9, 5)),
     "a time constant for each neuron"),
])
def test_a_cell_that_the_rule_cannot_take_is_named(net, message):
    with pytest.raises(UserError, match=message):
        EProp(net, outputs=5)


def test_every_rule_is_in_the_package():
    assert {rule.__name__ for rule in BenchRule.__subclasses__()} | {"TracesPropagation"} == set(edgekws.__all__)
    assert repr(Osttp(norse_net(), outputs=5, seed=4)) == "Osttp(net=4-9-5, seed=4)"
