"""The learning rule: traces by hand, gradients against autograd, both forms against each other."""

import copy
import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation.rule import BatchRule, PrototypeRule, ReadoutRule, TracedLayer, best_rule, make_rule
from edgekws.models.recurrent_lif import RecurrentLIF, Synapses
from edgekws.models.settings import Network
from edgekws.neurons.surrogate import ArctanSpike


def network(seed=0, inputs=6, outputs=5, dtype=torch.float64, **values):
    net = RecurrentLIF(Network(**{"hidden": [30], "threshold": 0.3, **values}), inputs=inputs, outputs=outputs,
                       generator=torch.Generator().manual_seed(seed))
    return net.to(dtype)


def data(net, labels, steps=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, len(labels), net.inputs, generator=generator, dtype=net.readout.dtype) * 2


def test_trace_of_one_neuron_by_hand():
    net = network(hidden=[1], inputs=1, recurrent=False, threshold=1.0, membrane_leak=0.5, trace_leak=0.9,
                  reset="soft")
    layer = TracedLayer(net, Synapses(torch.tensor([[1.0]], dtype=torch.float64), 1, ["input"], frozen=True), 1)
    # currents 1.2, 0.2, 1.0, 0: potentials 1.2 (fires, 0.2 stays), 0.3, 1.15 (fires, 0.15 stays), 0.075
    for current, trace in [(1.2, 1.0), (0.2, 0.9), (1.0, 1.81), (0.0, 1.629)]:
        layer.step(torch.tensor([[current]], dtype=torch.float64), derivative=True)
        assert layer.trace.item() == pytest.approx(trace)
    assert layer.derivative.item() == pytest.approx(10 / (1 + (torch.pi * (0.075 - 1)) ** 2))


class Autograd:
    """The paper's losses written out, with autograd: states constant from step to step, spikes between layers."""

    def __init__(self, net, labels):
        self.net, self.c = net, one_hot(labels, net.outputs).to(net.readout)
        sizes = net.settings.hidden
        self.state = {path: [[torch.zeros(len(labels), size, dtype=net.readout.dtype) for _ in range(3)]
                             for size in sizes] for path in ("input", "target")}  # v, s, trace
        self.label_trace, self.m = torch.zeros_like(self.c), torch.zeros_like(self.c)

    def lif(self, path, index, drive, weights):
        p, (v, s, trace) = self.net.settings, self.state[path][index]
        inputs = torch.cat([drive, s], 1) if p.recurrent else drive
        u = p.membrane_leak * v + inputs @ weights.T
        s = ArctanSpike.apply(u, p.threshold, p.surrogate_scale)
        constant = s.detach()
        v = u * (1 - constant) if p.reset == "hard" else u - p.threshold * constant
        trace = p.trace_leak * trace + s
        self.state[path][index] = [v.detach(), constant, trace.detach()]
        return constant, trace

    def step(self, x):
        net, size, gradients = self.net, len(self.c), {}
        self.label_trace = net.settings.trace_leak * self.label_trace + self.c
        drives, below = (x, self.c), self.label_trace
        for index, stored in enumerate(net.hidden):
            weights = stored.weight.detach().clone().requires_grad_()
            s, trace = self.lif("input", index, drives[0], weights)
            s_target, trace_target = self.lif("target", index, drives[1], weights if index else net.target.weight)
            z = trace @ trace_target.T
            d = (below[:, None] - below[None] + 1e-9).norm(dim=2)
            y = torch.softmax(-d, 1)
            loss = -(y * log_softmax(z, 1)).sum() / size
            (gradients[f"hidden.{index}.weight"],) = torch.autograd.grad(loss, weights)
            drives, below = (s, s_target), trace_target.detach()
        self.m = net.settings.output_leak * self.m + drives[0] @ net.readout.detach().T
        gradients["readout"] = (torch.softmax(self.m, 1) - self.c).T @ trace.detach() / size
        return gradients


@pytest.mark.parametrize(("layers", "reset", "recurrent"),
                         list(itertools.product([1, 2, 3], ["hard", "soft"], [True, False])))
def test_closed_form_equals_autograd_of_the_papers_loss(layers, reset, recurrent):
    net = network(hidden=[14, 11, 9][:layers], reset=reset, recurrent=recurrent, inputs=4)
    labels = torch.tensor([0, 1, 2, 1, 3, 0, 0])
    reference, rule = Autograd(net, labels), BatchRule(net)
    rule.begin(labels)
    largest = dict.fromkeys(net.trained, 0.0)
    for frame in data(net, labels):
        expected, found = reference.step(frame), rule.step(frame)
        assert expected.keys() == found.keys() == net.trained.keys()
        for name, weights in net.trained.items():
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-8)
            largest[name] = max(largest[name], found[name].abs().max().item())
            weights.detach().sub_(found[name], alpha=0.02)
    assert min(largest.values()) > 1e-3


@pytest.mark.parametrize(("reset", "recurrent"), list(itertools.product(["hard", "soft"], [True, False])))
def test_prototypes_equal_all_pairs(reset, recurrent):
    by_pairs = network(reset=reset, recurrent=recurrent)
    by_prototypes = copy.deepcopy(by_pairs)
    pairs, prototypes = BatchRule(by_pairs), PrototypeRule(by_prototypes)
    # A class that never occurs, unequal counts, and a second batch of another size that reuses the prototypes.
    for labels in (torch.tensor([0, 1, 2, 1, 3, 0, 0, 3, 1]), torch.tensor([2, 0, 2])):
        pairs.begin(labels)
        prototypes.begin(labels)
        for frame in data(by_pairs, labels, steps=60):
            expected, found = pairs.step(frame), prototypes.step(frame)
            for name in expected:
                torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-9)
                by_pairs.trained[name].detach().sub_(expected[name], alpha=0.001)
                by_prototypes.trained[name].detach().sub_(found[name], alpha=0.001)
    assert not torch.equal(by_pairs.hidden[0].weight, network(reset=reset, recurrent=recurrent).hidden[0].weight)


@pytest.mark.parametrize("labels", [[3], [2, 2, 2, 2]])
def test_one_clip_or_one_class_teaches_the_hidden_layer_nothing(labels):
    net, labels = network(dtype=torch.float32), torch.tensor(labels)
    for rule in (PrototypeRule(net), BatchRule(net)):
        rule.begin(labels)
        for frame in data(net, labels, steps=30):
            gradients = rule.step(frame)
            if isinstance(rule, PrototypeRule) or len(labels) == 1:
                assert gradients["hidden.0.weight"].count_nonzero() == 0
            else:  # rounding of B x B products
                assert gradients["hidden.0.weight"].abs().max() < 1e-6
        assert gradients["readout"].abs().max() > 1e-3


def test_readout_part_alone_is_the_same_readout_gradient():
    net, labels = network(), torch.tensor([0, 1, 2, 1])
    alone, complete = make_rule(net, "prototype", hidden=False), make_rule(net, "prototype")
    assert type(alone) is ReadoutRule
    alone.begin(labels)
    complete.begin(labels)
    for frame in data(net, labels):
        gradients = alone.step(frame)
        assert list(gradients) == ["readout"]
        torch.testing.assert_close(gradients["readout"], complete.step(frame)["readout"])


def test_readout_gradient_is_the_delta_rule_on_the_potential():
    net, labels = network(output_leak=0.9, recurrent=False), torch.tensor([0, 1, 2, 1])
    rule = ReadoutRule(net)
    rule.begin(labels)
    for frame in data(net, labels):
        gradient = rule.step(frame)["readout"]
    potential = rule.readout_potential.clone().requires_grad_()
    cross_entropy(potential, labels).backward()
    torch.testing.assert_close(gradient, potential.grad.T @ rule.layers[-1].trace)


def test_choice_of_form():
    assert best_rule(Network(hidden=[10])) == "prototype"
    assert best_rule(Network(hidden=[10, 10])) == "batch"
    assert type(make_rule(network(), "batch")) is BatchRule
    assert type(make_rule(network(), "prototype")) is PrototypeRule
    with pytest.raises(UserError, match="one hidden layer"):
        make_rule(network(hidden=[5, 5]), "prototype")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prototypes_of_the_papers_network(seed):
    net = RecurrentLIF(Network(), inputs=120, outputs=36, generator=torch.Generator().manual_seed(seed))
    rule = PrototypeRule(net)
    traces = torch.stack([rule.prototype(time) for time in range(101)])
    spikes = traces.clone()
    spikes[1:] -= net.settings.trace_leak * traces[:-1]
    active = (traces[-1] > 0).sum(1).float()  # a trace that ever rose is still above 0
    assert 60 <= active.mean() <= 75
    assert active.min() >= 35
    assert active.max() <= 98
    assert 0.007 <= spikes.mean() <= 0.010
    assert 18 <= traces[-1].norm(dim=1).mean() <= 26


# ------------------------------------------------------------------------------------------------ one clip at a time
def hidden_gradients(net, labels, contrast):
    rule = PrototypeRule(net, contrast)
    rule.begin(torch.tensor(labels))
    return [rule.step(frame)["hidden.0.weight"].clone() for frame in data(net, labels)]


@pytest.mark.parametrize("labels", [[2], [1, 1, 1]])
def test_a_batch_of_one_class_teaches_the_hidden_layer_nothing_as_published(labels):
    assert all((gradient == 0).all() for gradient in hidden_gradients(network(), labels, "batch"))


@pytest.mark.parametrize("labels", [[2], [1, 1, 1]])
def test_with_all_classes_as_contrast_one_clip_is_enough(labels):
    gradients = hidden_gradients(network(), labels, "classes")
    assert all(gradient.abs().sum() > 0 for gradient in gradients[1:])


def test_both_contrasts_are_the_same_where_the_batch_has_one_clip_of_each_class():
    net = network(spare_outputs=1)
    labels = [3, 0, 2, 1]  # the fifth output is spare
    for published, ours in zip(*(hidden_gradients(net, labels, contrast) for contrast in ("batch", "classes")), strict=True):
        torch.testing.assert_close(published, ours, rtol=1e-12, atol=1e-15)


def test_all_classes_as_contrast_against_autograd():
    """The loss written out: cross-entropy of one clip's trace against every word's prototype."""
    net = network(spare_outputs=1)
    labels, x = torch.tensor([1, 3]), data(net, [1, 3])
    rule, written = PrototypeRule(net, "classes"), Autograd(net, labels)
    rule.begin(labels)
    for time, frame in enumerate(x):
        found = rule.step(frame)["hidden.0.weight"]
        weights = net.hidden[0].weight.detach().requires_grad_()
        _, trace = written.lif("input", 0, frame, weights)
        prototypes = rule.prototype(time)[:4]
        age = sum(net.settings.trace_leak ** step for step in range(time + 1))
        wanted = torch.softmax(-torch.cdist(age * torch.eye(4, dtype=torch.float64), age * torch.eye(4, dtype=torch.float64)), 1)
        loss = -(wanted[labels] * log_softmax(trace @ prototypes.T, 1)).sum(1).mean()
        torch.testing.assert_close(found, torch.autograd.grad(loss, weights)[0], rtol=1e-6, atol=1e-9)
