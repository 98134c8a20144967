"""Adapting by a local rule: what is learnt, what the delta holds, what a seed fixes."""

import copy
import typing

import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.methods.alternatives.local_rules.learning import RULES, learn, make_local_rule
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining, LocalRule
from edgekws.methods.traces_propagation.rule import BatchRule, PrototypeRule
from edgekws.models.delta.delta import apply
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

KINDS = ["traces_propagation", *RULES]
CLASSES = 3


def network(seed=0, **values):
    return RecurrentLIF(Network(**{"hidden": [40], **values}), inputs=8, outputs=CLASSES,
                        generator=torch.Generator().manual_seed(seed))


def task(clips=30, seed=1):
    """One pattern of 8 features over 10 frames for each class, and noise on it."""
    patterns = 2 * torch.rand(CLASSES, 10, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(clips) % CLASSES
    noise = torch.randn(clips, 10, 8, generator=torch.Generator().manual_seed(seed))
    return patterns[labels] + 0.3 * noise, labels


def method(kind):
    return AlternativeMethod(kind=kind)


@torch.no_grad()
def accuracy(net, clips, labels):
    return (net(clips).argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("kind", KINDS)
def test_a_separable_task_is_learnt_from_an_untrained_net(kind):
    net, (clips, labels) = network(), task()
    delta = learn(net, clips, labels, method(kind), AlternativeTraining(learning_rate=3e-3, epochs=30), seed=0)
    adapted = RecurrentLIF.of(net.settings, apply(net.state_dict(), delta))
    unseen, wanted = task(clips=150, seed=2)
    assert accuracy(net, unseen, wanted) < 0.4
    assert accuracy(adapted, unseen, wanted) > 0.75


@pytest.mark.parametrize("kind", ["eprop", "decolle", "tess"])
def test_hidden_layers_learn_what_their_own_loss_asks(kind):
    """The readout that the loss is of stays as it is: the net's, or the layer's own, its answers summed over time."""
    net, (clips, labels) = network(), task()
    rule = make_local_rule(net, kind, seed=5)
    readout = net.readout.detach().clone() if kind == "eprop" else rule.projections[0]

    def told():
        probe = copy.deepcopy(net)
        probe.readout = torch.nn.Parameter(readout)
        return accuracy(probe, *task(clips=150, seed=2))

    assert told() < 0.4
    for _ in range(30):
        rule.begin(labels)
        for frame in clips.unbind(1):
            net.hidden[0].weight.detach().sub_(rule.step(frame)["hidden.0.weight"], alpha=0.1)
    assert torch.equal(net.readout, network().readout)
    assert told() > 0.85


@pytest.mark.parametrize("kind", KINDS)
def test_the_delta_holds_what_was_trained_and_the_net_stays(kind):
    net, (clips, labels) = network(hidden=[20, 15]), task()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    delta = learn(net, clips, labels, method(kind), AlternativeTraining(epochs=2), seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert set(delta.replaced) == {name for name in before if not name.startswith("target.")} == set(delta.tensors())
    assert all(tensor.is_contiguous() and not torch.equal(tensor, before[name])
               for name, tensor in delta.replaced.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_every_bit(kind):
    net, (clips, labels) = network(), task()
    budget = AlternativeTraining(epochs=2, batch_size=10)
    first, again, other = (learn(net, clips, labels, method(kind), budget, seed=seed).tensors() for seed in (3, 3, 4))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not any(torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.parametrize(("kind", "drawn"), [("eprop", False), ("eprop_random", True), ("decolle", True),
                                             ("etlp", True), ("osttp", True), ("tess", False)])
def test_random_matrices_come_from_the_seed(kind, drawn):
    net = network(hidden=[40, 30])
    first, again, other = (make_local_rule(net, kind, seed=seed).projections[-1] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    if drawn:
        assert not torch.equal(first, other)
        assert 0.9 / 30 ** 0.5 < first.abs().max() <= 1 / 30 ** 0.5


def test_the_methods_optimiser_is_used():
    """Plain gradient descent with one frame: a step of the learning rate along the rule's gradient."""
    net, (clips, labels) = network(threshold=0.2), task()
    rule = make_local_rule(net, "decolle", seed=0)
    rule.begin(labels)
    gradient = rule.step(clips[:, 0])["readout"]
    budget = AlternativeTraining(learning_rate=0.5, epochs=1)
    delta = learn(net, clips[:, :1], labels, AlternativeMethod(kind="decolle", optimiser="sgd"), budget, seed=0)
    assert gradient.abs().max() > 0.01
    torch.testing.assert_close(delta.replaced["readout"], net.readout - 0.5 * gradient)


def test_every_kind_of_the_settings_has_a_rule():
    assert set(typing.get_args(LocalRule)) <= set(KINDS)
    assert type(make_local_rule(network(), "traces_propagation", seed=0)) is PrototypeRule
    assert type(make_local_rule(network(hidden=[5, 5]), "traces_propagation", seed=0)) is BatchRule


def test_what_is_no_local_rule():
    clips, labels = task()
    with pytest.raises(UserError, match="'lora' is no local rule"):
        learn(network(), clips, labels, AlternativeMethod(kind="lora"), AlternativeTraining(), seed=0)
    with pytest.raises(UserError, match="do not fit"):
        learn(network(), clips[:, :, :3], labels, method("etlp"), AlternativeTraining(), seed=0)
