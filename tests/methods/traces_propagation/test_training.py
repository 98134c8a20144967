"""Training by the rule and by back-propagation through time."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation import bptt, training
from edgekws.methods.traces_propagation.rule import best_rule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.protocol.settings import Training
from edgekws.protocol.training import cosine_rate


def network(seed=0, dtype=torch.float32, **values):
    net = RecurrentLIF(Network(**{"hidden": [40], "threshold": 0.4, **values}), inputs=8, outputs=4,
                       generator=torch.Generator().manual_seed(seed))
    return net.to(dtype)


def task(clips=60, steps=20, seed=0, noise=0.3):
    """Three classes, each with features of its own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % 3
    centre = torch.rand(3, 8, generator=torch.Generator().manual_seed(99)) * 1.5
    return centre[labels][:, None] + noise * torch.randn(clips, steps, 8, generator=generator), labels


@torch.no_grad()
def accuracy(net, data):
    features, labels = data
    return (net.forward(features.to(net.readout)).argmax(1) == labels).float().mean().item()


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))


def test_rates_of_three_epochs():
    assert [cosine_rate(1e-4, epoch, 3) for epoch in range(3)] == pytest.approx([1e-4, 0.8125e-4, 0.4375e-4])


def test_303_updates_at_these_rates(monkeypatch):
    made = []

    class Counted(training.Adam):
        def step(self, gradients):
            super().step(gradients)
            made.append((self.steps, self.rate))

    monkeypatch.setattr(training, "Adam", Counted)
    features, labels = task(clips=6, steps=101)
    training.train(network(), features, labels, Training(), seed=0)
    assert [steps for steps, _ in made] == list(range(1, 304))
    assert [rate for _, rate in made] == pytest.approx([1e-4] * 101 + [0.8125e-4] * 101 + [0.4375e-4] * 101)


@pytest.mark.parametrize("values", [{}, {"recurrent": False}, {"reset": "soft"}, {"hidden": [40, 30]}])
def test_learns_a_separable_task(values):
    net = network(**values)
    start = accuracy(net, task(seed=1))
    features, labels = task()
    training.train(net, features, labels, Training(learning_rate=1e-3, epochs=4, batch_size=20), seed=0,
                   rule=best_rule(net.settings))
    assert accuracy(net, task(seed=1)) >= max(0.95, start + 0.2)


def test_both_forms_train_alike():
    nets = [network(dtype=torch.float64) for _ in range(2)]
    features, labels = task(clips=20)
    for net, rule in zip(nets, ("prototype", "batch"), strict=True):
        training.train(net, features, labels, Training(epochs=2, batch_size=12), seed=0, rule=rule)
    torch.testing.assert_close(nets[0].hidden[0].weight, nets[1].hidden[0].weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(nets[0].readout, nets[1].readout, rtol=0, atol=1e-6)


@pytest.mark.parametrize("train", [training.train, bptt.train_bptt])
def test_same_seed_same_bytes_and_the_target_stays_frozen(train):
    features, labels = task()
    nets = [network() for _ in range(3)]
    for net, seed in zip(nets, (7, 7, 8), strict=True):
        train(net, features, labels, Training(epochs=2, batch_size=16), seed=seed)
    assert same(nets[0], nets[1])
    assert not torch.equal(nets[0].readout, nets[2].readout)
    assert torch.equal(nets[0].target.weight, network().target.weight)
    assert not torch.equal(nets[0].hidden[0].weight, network().hidden[0].weight)


def test_readout_alone_leaves_hidden_layers_as_they_were():
    net = network()
    training.train(net, *task(), Training(epochs=2), seed=0, parts=("readout",))
    assert torch.equal(net.hidden[0].weight, network().hidden[0].weight)
    assert not torch.equal(net.readout, network().readout)


def test_memory_map_is_gathered_by_batch(tmp_path):
    features, labels = task(clips=25)
    path = tmp_path / "features.npy"
    np.save(path, features.numpy())
    asked = []

    class Scaled:
        stored = np.load(path, mmap_mode="r")

        def __len__(self):
            return len(self.stored)

        def __getitem__(self, places):
            asked.append(np.array(places))
            return self.stored[places] / 2

    from_map, from_tensor, ended = network(), network(), []
    training.train(from_map, Scaled(), labels.numpy(), Training(epochs=2, batch_size=10), seed=0,
                   on_epoch=ended.append)
    training.train(from_tensor, features / 2, labels, Training(epochs=2, batch_size=10), seed=0)
    assert same(from_map, from_tensor)
    assert [len(places) for places in asked] == [10, 10, 5] * 2
    assert ended == [0, 1]
    for epoch in (asked[:3], asked[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(25))
    assert not np.array_equal(asked[0], asked[3])


@pytest.mark.parametrize("train", [training.train, bptt.train_bptt])
@pytest.mark.parametrize(("change", "message"), [
    (lambda x, y: (x[:0], y[:0]), "no clips"),
    (lambda x, y: (x[:5], y), "5 clips and 60 labels"),
    (lambda x, y: (x, y + 2), "4 outputs"),
    (lambda x, y: (x, y - 1), "4 outputs"),
    (lambda x, y: (x[..., :7], y), "8 inputs"),
    (lambda x, y: (x / 0, y), "not finite"),
])
def test_bad_training_sets_are_refused(train, change, message):
    net = network()
    with pytest.raises(UserError, match=message):
        train(net, *change(*task()), Training(), seed=0)
    assert same(net, network())


def test_the_rule_refuses_a_net_that_has_more_than_the_papers():
    net = network()
    net.added = {"hidden.0.threshold": torch.full((40,), 0.4)}
    with pytest.raises(UserError, match=r"hidden\.0\.threshold"):
        training.train(net, *task(), Training(), seed=0)


# ------------------------------------------------------------------------------------------------ BPTT
@pytest.mark.parametrize("values", [{}, {"recurrent": False}, {"reset": "soft"}, {"hidden": [40, 30]},
                                    {"output_leak": 0.9}])
def test_bptt_forward_is_the_networks(values):
    net = network(dtype=torch.float64, **values)
    features = task()[0].double()
    found = net(features)
    assert found.abs().max() > 0.1
    with torch.no_grad():
        torch.testing.assert_close(found, net(features), rtol=0, atol=1e-9)


def test_bptt_readout_gradient_in_closed_form():
    net = network(dtype=torch.float64, recurrent=False)
    features, labels = task(clips=12)
    potential = net(features.double())
    torch.nn.functional.cross_entropy(potential, labels).backward()
    layer, count = net.layer(0, 12), 0
    with torch.no_grad():
        for frame in features.double().unbind(1):
            layer.integrate(frame)
            layer.fire()
            count = count + layer.spikes
    error = torch.softmax(potential.detach(), 1) - one_hot(labels, 4)
    torch.testing.assert_close(net.readout.grad, error.T @ count / 12)
    assert net.hidden[0].weight.grad.abs().max() > 0


@pytest.mark.parametrize("values", [{}, {"recurrent": False}, {"reset": "soft"}, {"hidden": [40, 30]}])
def test_bptt_lowers_the_loss_and_learns(values):
    net, (features, labels) = network(**values), task()
    losses = [torch.nn.functional.cross_entropy(net(features), labels).item()]
    bptt.train_bptt(net, features, labels, Training(learning_rate=3e-3, epochs=15, batch_size=20), seed=0)
    losses.append(torch.nn.functional.cross_entropy(net(features), labels).item())
    assert losses[1] < 0.5 * losses[0]
    assert accuracy(net, task(seed=1)) >= 0.95
