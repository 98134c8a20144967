"""Traces Propagation on nets of the user's own: against autograd through the loss, and against the bench's rule."""

import itertools
import subprocess
import sys

import norse.torch as norse
import pytest
import torch
from norse.torch.module.leaky_integrator_box import LIBoxCell
from norse.torch.module.lif_box import LIFBoxCell
from tests.protocol.nets import as_modules, ours
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax, one_hot

import edgekws
from edgekws import TracesPropagation
from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation.public import TargetPath, target_weights
from edgekws.methods.traces_propagation.rule import BatchRule
from edgekws.neurons.blocks import detached, read_net
from edgekws.neurons.cells import ArctanLIFCell, LIFBoxRecurrentCell

LABELS = torch.tensor([0, 1, 2, 1, 3, 0, 0])


def norse_net(hidden, *, recurrent=False, bias=True, integrator=False, inputs=4, outputs=5, kind=None):
    torch.manual_seed(0)
    parts, width = [], inputs
    for neurons in hidden:
        if kind is norse.LIFRecurrentCell:
            parts.append(kind(width, neurons))
        else:
            cell = LIFBoxRecurrentCell(neurons) if recurrent else (kind or LIFBoxCell)()
            parts += [nn.Linear(width, neurons, bias=bias), cell]
        width = neurons
    parts += [nn.Linear(width, outputs, bias=bias), *([LIBoxCell()] if integrator else [])]
    return norse.SequentialState(*parts).double()


def clip(steps=12, size=20.0):
    return torch.rand(steps, len(LABELS), 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * size


class Autograd:
    """The paper's losses (section 2.5) written out on the user's modules, one backward pass for each layer."""

    def __init__(self, net, target):
        self.target, self.blocks = target, read_net(net, outputs=5)
        depth = len(self.blocks.hidden)
        self.state, self.trace = [[None] * depth, [None] * depth], [[0.0] * depth, [0.0] * depth]
        self.c = one_hot(LABELS, 5).double()
        self.label_trace, self.m, self.m_state = torch.zeros_like(self.c), 0.0, None

    def cell(self, path, index, drive):
        block = self.blocks.hidden[index]
        if path == 1 and index == 0:
            swapped = {name: value for name, value in (("input_weights", self.target[:, :5]),
                                                       ("recurrent_weights", self.target[:, 5:])) if hasattr(block.cell, name)}
            current = drive if block.linear is None else drive @ self.target[:, :5].T
            s, state = torch.func.functional_call(block.cell, swapped, (current, self.state[1][0]))
            s = s.detach()
        else:
            s, state = block.cell(block.current(drive), self.state[path][index])
        self.state[path][index] = detached(state)
        trace = 0.977 * self.trace[path][index] + s
        self.trace[path][index] = trace.detach()
        return s.detach(), trace

    def step(self, x):
        found = {}
        self.label_trace = 0.977 * self.label_trace + self.c
        drives, below = (x, self.c), self.label_trace
        for index, block in enumerate(self.blocks.hidden):
            (s, trace), (s_target, target_trace) = (self.cell(path, index, drives[path]) for path in (0, 1))
            y = torch.softmax(-(below[:, None] - below[None] + 1e-9).norm(dim=2), 1)
            loss = -(y * log_softmax(trace @ target_trace.T, 1)).sum() / len(x)
            names = block.parameters()
            found |= dict(zip(names, torch.autograd.grad(loss, list(names.values())), strict=True))
            drives, below = (s, s_target), target_trace.detach()
        readout = self.blocks.readout
        if readout.integrator is None:
            self.m = (self.m + readout.linear(drives[0])).detach()
        else:
            m, state = readout.integrator(readout.linear(drives[0]), self.m_state)
            self.m, self.m_state = m.detach(), detached(state)
        filtered = readout.linear(trace.detach())
        loss = cross_entropy(self.m + filtered - filtered.detach(), LABELS)
        names = readout.parameters()
        return found | dict(zip(names, torch.autograd.grad(loss, list(names.values())), strict=True))


CASES = [*({"hidden": [14, 11, 9][:layers], "recurrent": recurrent, "bias": bias, "integrator": integrator}
           for layers, recurrent, bias, integrator in itertools.product([1, 2, 3], [True, False], [True, False], [True, False])),
         *({"hidden": [14, 11][:layers], "kind": kind} for layers in (1, 2) for kind in (norse.LIFCell, norse.LIFRecurrentCell))]


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_autograd_through_the_loss(case):
    net = norse_net(**case)
    # Norse's neurons take a tenth of their input at each step: with larger weights all layers fire.
    with torch.no_grad():
        for index, block in enumerate(read_net(net, outputs=5).hidden):
            for parameter in block.parameters().values():
                parameter.mul_(20 if index else 4)
    target = target_weights(read_net(net, outputs=5), 5, seed=0) * 2
    rule, reference = TracesPropagation(net, outputs=5, target=target), Autograd(net, target)
    largest = {name: 0.0 for name, _ in net.named_parameters()}
    optimiser = torch.optim.SGD(rule.parameters(), lr=0.05)
    for frame in clip(30):
        rule.step(frame, LABELS)
        expected = reference.step(frame)
        assert expected.keys() == largest.keys()
        torch.testing.assert_close(rule.potential, reference.m)
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(parameter.grad, expected[name], rtol=0, atol=1e-8)
            largest[name] = max(largest[name], parameter.grad.abs().max().item())
        optimiser.step()
    assert min(largest.values()) > 1e-4


@pytest.mark.parametrize(("layers", "reset", "recurrent"),
                         list(itertools.product([1, 2, 3], ["hard", "soft"], [True, False])))
def test_same_neurons_give_the_gradients_of_the_bench(layers, reset, recurrent):
    net = ours(hidden=[14, 11, 9][:layers], reset=reset, recurrent=recurrent, output_leak=0.9)
    modules = as_modules(net)
    bench, rule = BatchRule(net), TracesPropagation(modules, outputs=5, output_leak=0.9, target=net.target.weight.detach())
    bench.begin(LABELS)
    for frame in clip(size=2.0):
        expected = bench.step(frame)
        rule.step(frame, LABELS)
        torch.testing.assert_close(rule.potential, bench.readout_potential)
        for index in range(layers):
            cell = modules[2 * index + 1]
            found = [modules[2 * index].weight.grad, *([cell.recurrent_weights.grad] if recurrent else [])]
            torch.testing.assert_close(torch.cat(found, 1), expected[f"hidden.{index}.weight"], rtol=0, atol=1e-10)
        torch.testing.assert_close(modules[-1].weight.grad, expected["readout"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("hidden", [[14], [14, 11]])
def test_a_recurrent_lif_is_taken_as_it_is(hidden):
    net, twin = ours(hidden=hidden), ours(hidden=hidden)
    rule, bench = TracesPropagation(net, outputs=5), BatchRule(twin)
    bench.begin(LABELS)
    optimiser = torch.optim.SGD(rule.parameters(), lr=0.02)
    for frame in clip(size=2.0):
        rule.step(frame, LABELS)
        for parameter, expected in zip(rule.parameters(), bench.step(frame).values(), strict=True):
            torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-9)
        optimiser.step()
        with torch.no_grad():
            for name, parameter in bench.parameters.items():
                parameter.sub_(bench.gradients[name], alpha=0.02)
    with pytest.raises(UserError, match="its own trace_leak, seed"):
        TracesPropagation(net, outputs=5, trace_leak=0.5, seed=1)
    with pytest.raises(UserError, match="5 outputs, not 4"):
        TracesPropagation(net, outputs=4)


def test_learns_a_separable_task_in_three_lines():
    """Four classes, each with inputs of its own that are larger."""
    torch.manual_seed(0)
    net = norse.SequentialState(nn.Linear(12, 40), LIFBoxCell(), nn.Linear(40, 4))
    labels = torch.arange(4).repeat(8)
    inputs = torch.rand(20, 32, 12) + 6 * one_hot(labels, 4).repeat(1, 3)
    first = net[0].weight.detach().clone()
    rule = TracesPropagation(net, outputs=4)
    optimiser = torch.optim.Adam(rule.parameters(), lr=0.01)
    for _ in range(5):
        rule.reset()
        for frame in inputs:
            rule.step(frame, labels)
            optimiser.step()
    potential, state = 0.0, None
    with torch.no_grad():
        for frame in inputs:
            out, state = net(frame, state)
            potential = potential + out
    assert (potential.argmax(1) == labels).all()
    assert (net[0].weight - first).abs().max() > 0.05


def test_hidden_layer_learns_without_the_readout():
    """A clip's trace comes to point to the target trace of its own class."""
    torch.manual_seed(0)
    net = norse.SequentialState(nn.Linear(12, 60), LIFBoxCell(), nn.Linear(60, 4))
    net[2].requires_grad_(False)
    labels = torch.arange(4).repeat(8)
    inputs = torch.rand(20, 32, 12) * 2 + 6 * one_hot(labels, 4).repeat(1, 3)
    rule = TracesPropagation(net, outputs=4)

    def right(rate):
        optimiser = torch.optim.Adam(rule.parameters(), lr=rate)
        rule.reset()
        for frame in inputs:
            rule.step(frame, labels)
            optimiser.step()
        own, target = rule._engine._own[0].trace, rule._engine._targets[0].trace
        return (labels[(own @ target.T).argmax(1)] == labels).double().mean().item()

    before = right(0.0)
    for _ in range(8):
        right(0.01)
    assert before < 0.6
    assert right(0.0) == 1.0
    assert net[2].weight.grad is None


def test_a_batch_begins_at_rest():
    net, x = norse_net([14], recurrent=True), clip(20, size=60.0)
    fresh, used = TracesPropagation(net, outputs=5), TracesPropagation(net, outputs=5)

    def gradients(rule):
        found = []
        for frame in x:
            rule.step(frame, LABELS)
            found.append(net[1].recurrent_weights.grad.clone())
        return torch.stack(found)

    expected = gradients(fresh)
    for frame in x.flip(0):
        used.step(frame[:3], LABELS[:3])
    assert torch.equal(gradients(used), expected)  # another number of clips
    used.reset()
    assert torch.equal(gradients(used), expected)
    used.begin(LABELS)
    for frame in x:
        used.step(frame)
    assert torch.equal(net[1].recurrent_weights.grad, expected[-1])
    assert expected.abs().max() > 0


def test_seed_decides_the_target_path():
    net = norse_net([40], recurrent=True)
    blocks = read_net(net, outputs=5)
    first, again, other = (target_weights(blocks, 5, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (40, 45)


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_target_path_fires_whatever_the_gain(gain):
    """Scaled by powers of sqrt 2 until a tenth of the neurons fires; the paper's neuron needs no scaling."""
    net = nn.Sequential(nn.Linear(4, 200), ArctanLIFCell(threshold=0.66 / gain), nn.Linear(200, 5))
    blocks = read_net(net, outputs=5)
    weights = target_weights(blocks, 5, seed=0)
    path = TargetPath(blocks.hidden[0], 1.0, weights, 5)
    for _ in range(100):
        count = path.step(torch.eye(5))
    share = (count > 0).float().mean()
    assert share >= 0.1
    assert bool(weights.abs().max() > 5 ** -0.5) is (gain < 1)


def test_no_neuron_of_norses_recurrent_cell_drives_itself():
    net = norse_net([14], kind=norse.LIFRecurrentCell)
    assert target_weights(read_net(net, outputs=5), 5, seed=0)[:, 5:].diag().count_nonzero() == 0
    rule = TracesPropagation(net, outputs=5)
    for frame in clip(30):
        rule.step(frame, LABELS)
        assert net[0].recurrent_weights.grad.diag().count_nonzero() == 0


def test_what_it_says():
    assert repr(TracesPropagation(norse_net([14, 11]), outputs=5)) == \
        "TracesPropagation(net=4-14-11-5, trace_leak=0.977, seed=0)"
    assert repr(TracesPropagation(ours(), outputs=5)) == "TracesPropagation(net=4-14-5, trace_leak=0.977)"


@pytest.mark.parametrize(("net", "message"), [
    (nn.Linear(4, 5), "Linear is no torch.nn.Sequential"),
    (nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 5)), r"'1' \(ReLU\) is neither a Linear nor a cell"),
    (nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 5)), r"'1' \(Linear\) follows another Linear"),
    (nn.Sequential(nn.Linear(4, 5)), "no spiking cell"),
    (nn.Sequential(nn.Linear(4, 5), LIFBoxCell()), "no readout"),
    (nn.Sequential(LIFBoxCell(), nn.Linear(4, 5)), r"'0' \(LIFBoxCell\) has no input weights"),
    (nn.Sequential(nn.Linear(4, 9), norse.LIF(), nn.Linear(9, 5)), r"'1' \(LIF\) takes whole clips"),
    (nn.Sequential(nn.Linear(4, 9), LIFBoxCell(), nn.Linear(9, 5), LIBoxCell(), LIFBoxCell()), "'4' .* after the integrator"),
    (nn.Sequential(LIBoxCell(), nn.Linear(4, 5)), "'0' .* no Linear stands before it"),
    (nn.Sequential(nn.Linear(4, 9), LIFBoxCell(), nn.Linear(9, 6)), "has 6 outputs, not 5"),
    (nn.Sequential(nn.Sequential(nn.Linear(4, 9), nn.Dropout()), nn.Linear(9, 5)), r"'0.1' \(Dropout\)"),
])
def test_a_net_it_cannot_read_is_named(net, message):
    with pytest.raises(UserError, match=message):
        TracesPropagation(net, outputs=5)


def test_nested_nets_are_read():
    net = norse.SequentialState(norse.SequentialState(nn.Linear(4, 9), LIFBoxCell()), nn.Linear(9, 5))
    rule = TracesPropagation(net, outputs=5)
    assert len(rule.parameters()) == 4
    assert list(rule._engine.parameters) == [name for name, _ in net.named_parameters()]


def test_bad_calls():
    rule = TracesPropagation(norse_net([9]), outputs=5)
    frame = clip()[0]
    with pytest.raises(UserError, match="no batch has begun"):
        rule.step(frame)
    with pytest.raises(UserError, match="integer for each clip"):
        rule.step(frame, LABELS.double())
    with pytest.raises(UserError, match="the net has 5 outputs"):
        rule.step(frame, LABELS + 4)
    with pytest.raises(UserError, match=r"not \(7, 4\)"):
        rule.step(frame[:, :3], LABELS)
    rule.step(frame, LABELS)
    with pytest.raises(UserError, match=r"call reset\(\)"):
        rule.step(frame, LABELS.flip(0))
    with pytest.raises(UserError, match=r"not \(9, 5\)"):
        TracesPropagation(norse_net([9]), outputs=5, target=torch.zeros(9, 4))
    with pytest.raises(UserError, match="trace_leak"):
        TracesPropagation(norse_net([9]), outputs=5, trace_leak=1.5)
    with pytest.raises(UserError, match="does not fire"):
        TracesPropagation(nn.Sequential(nn.Linear(4, 9), ArctanLIFCell(threshold=float("inf")), nn.Linear(9, 5)), outputs=5)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, edgekws; assert edgekws.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(getattr(edgekws, name).__name__ == name and name in dir(edgekws) for name in edgekws.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        edgekws.nothing  # noqa: B018
