"""Back-propagation into parts of the spiking net: each kind's gradient, what it changes, how much, and that it learns."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from edgekws.core.errors import UserError
from edgekws.core.optimiser import Sgd
from edgekws.methods.alternatives import back_propagation
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining
from edgekws.methods.traces_propagation import bptt
from edgekws.models.delta.delta import Delta
from edgekws.models.delta.int8 import quantise
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

KINDS = ("full", "full_int8", "readout", "last_layer", "threshold", "lora", "adapter")
RATE = 1e-3


def network(seed=0, dtype=torch.float32, **values):
    net = RecurrentLIF(Network(**{"hidden": [40, 30], "threshold": 0.4, **values}), inputs=8, outputs=4,
                       generator=torch.Generator().manual_seed(seed))
    return net.to(dtype)


@torch.no_grad()
def infer(net, features):
    return net(features)


def task(clips=60, steps=20, seed=0, noise=0.3):
    """Three classes, each with features of its own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % 3
    centre = torch.rand(3, 8, generator=torch.Generator().manual_seed(99)) * 1.5
    return centre[labels][:, None] + noise * torch.randn(clips, steps, 8, generator=generator), labels


def learn(net, kind, data=None, *, epochs=1, batch_size=1024, seed=0, rate=RATE, rank=3, optimiser="adam"):
    features, labels = data or task()
    budget = AlternativeTraining(learning_rate=rate, epochs=epochs, batch_size=batch_size)
    return back_propagation.learn(net, features, labels, AlternativeMethod(kind=kind, rank=rank, optimiser=optimiser), budget,
                                  seed=seed)


def descent(net, kind, data, **values):
    """Gradients of the first batch, from one step of plain descent: by the delta's names."""
    delta = learn(net, kind, data, optimiser="sgd", **values)
    base = net.state_dict()
    moved = {name: tensor - base[name] for name, tensor in delta.replaced.items()}
    return {name: change / -RATE for name, change in moved.items()}, delta


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, distance):
        ctx.save_for_backward(distance)
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient / (1 + ctx.saved_tensors[0].abs()).square()


def plain_loss(net, tensors, features, labels):
    """The whole net written out in torch, each tensor under its name in a file; autograd does the rest."""
    network, potential = net.settings, 0
    v = [torch.zeros(len(features), size, dtype=features.dtype) for size in network.hidden]
    s = [torch.zeros_like(state) for state in v]
    for frame in features.unbind(1):
        drive = frame
        for index in range(len(v)):
            theta = tensors.get(f"hidden.{index}.threshold", torch.tensor(network.threshold, dtype=features.dtype))
            u = network.membrane_leak * v[index] + drive @ tensors[f"hidden.{index}.input"].T
            if network.recurrent:
                u = u + s[index] @ tensors[f"hidden.{index}.recurrent"].T
            s[index] = Spike.apply(u - theta)
            v[index] = u * (1 - s[index]) if network.reset == "hard" else u - theta * s[index]
            drive = s[index]
        if "adapter.down" in tensors:
            drive = drive + torch.relu(drive @ tensors["adapter.down"].T) @ tensors["adapter.up"].T
        potential = network.output_leak * potential + drive @ tensors["readout"].T
    return cross_entropy(potential, labels)


def plain_gradients(net, tensors, names, data):
    features, labels = data
    leaves = {name: tensors[name].detach().clone().requires_grad_() for name in names}
    loss = plain_loss(net, {**tensors, **leaves}, features.double(), labels)
    return dict(zip(names, torch.autograd.grad(loss, list(leaves.values())), strict=True))


# ------------------------------------------------------------------------------------------------ gradients
@pytest.mark.parametrize("values", [{}, {"reset": "soft"}, {"recurrent": False, "output_leak": 0.9}])
@pytest.mark.parametrize("kind, names", [("full", "hidden.0.input hidden.1.input readout"), ("readout", "readout"),
                                         ("last_layer", "hidden.1.input readout")])
def test_gradients_of_whole_matrices_are_those_of_a_plain_loop(values, kind, names):
    net, data, names = network(dtype=torch.float64, **values), task(clips=12), names.split()
    if net.settings.recurrent:
        names += [name.replace("input", "recurrent") for name in names if name.endswith("input")]
    found, delta = descent(net, kind, data)
    expected = plain_gradients(net, net.state_dict(), names, data)
    assert found.keys() == expected.keys() and not delta.added and not delta.low_rank
    for name, gradient in expected.items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_threshold_gradients_are_those_of_a_plain_loop(reset):
    net, data = network(dtype=torch.float64, reset=reset), task(clips=12)
    _, delta = descent(net, "threshold", data)
    start = {f"hidden.{index}.threshold": torch.full((size,), 0.4, dtype=torch.float64) for index, size in enumerate([40, 30])}
    expected = plain_gradients(net, {**net.state_dict(), **start}, list(start), data)
    assert delta.added.keys() == start.keys() and not delta.replaced and not delta.low_rank
    for name, gradient in expected.items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close((delta.added[name] - start[name]) / -RATE, gradient, rtol=1e-6, atol=1e-9)


def test_lora_gradients_are_those_of_a_plain_loop():
    """At its start ``up`` is 0, so only it moves: by the dense gradient times down^T."""
    net, data = network(dtype=torch.float64), task(clips=12)
    _, delta = descent(net, "lora", data)
    names = [name for name in net.state_dict() if not name.startswith("target")]
    dense = plain_gradients(net, net.state_dict(), names, data)
    assert delta.low_rank.keys() == set(names) and not delta.replaced and not delta.added
    for name, (up, down) in delta.low_rank.items():
        assert up.abs().max() > 0
        torch.testing.assert_close(up / -RATE, dense[name] @ down.T, rtol=1e-6, atol=1e-9)


def test_lora_of_full_rank_with_the_identity_below_is_the_dense_update():
    net, (features, labels) = network(dtype=torch.float64), task(clips=12)
    factors = {name: (torch.zeros_like(matrix), torch.eye(matrix.shape[1], dtype=torch.float64))
               for name, matrix in net.state_dict().items() if not name.startswith("target")}
    part = back_propagation.low_rank(factors)
    delta = back_propagation.train(net, part, features, labels, AlternativeTraining(epochs=1),
                                   Sgd({name: part.trained[name] for name in part.trained if name.endswith("up")}, RATE), seed=0)
    dense = net.adapted(learn(net, "full", (features, labels), optimiser="sgd")).state_dict()
    found = net.adapted(delta).state_dict()
    for name in factors:
        assert not torch.equal(dense[name], net.state_dict()[name])
        torch.testing.assert_close(found[name], dense[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["readout", "adapter"])
def test_gradients_behind_frozen_layers_are_finite_differences(kind):
    """No spike moves there, so the surrogate has no part in it."""
    net, (features, labels) = network(dtype=torch.float64), task(clips=12)
    if kind == "adapter":  # at its start up is 0, and so is the gradient of down
        random = torch.Generator().manual_seed(3)
        down, up = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((5, 30), (30, 5)))
        net = net.adapted(Delta(added={"adapter.down": down, "adapter.up": up}))
    found, delta = descent(net, kind, (features, labels))
    assert delta.replaced.keys() == ({"readout"} if kind == "readout" else {"adapter.down", "adapter.up"}) and not delta.added
    for name, gradient in found.items():
        for place in ((0, 0), (2, 4), (1, 3)):
            losses = []
            for step in (1e-5, -1e-5):
                moved = net.state_dict()[name].clone()
                moved[place] += step
                losses.append(cross_entropy(infer(net.adapted(Delta(replaced={name: moved})), features.double()), labels))
            assert float(gradient[place]) == pytest.approx(float(losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_a_new_adapter_moves_up_alone_and_by_autograds_gradient():
    net, data = network(dtype=torch.float64), task(clips=12)
    first = learn(net, "adapter", data, optimiser="sgd")
    start = {"adapter.down": first.added["adapter.down"], "adapter.up": torch.zeros(30, 3, dtype=torch.float64)}
    expected = plain_gradients(net, {**net.state_dict(), **start}, list(start), data)
    assert expected["adapter.down"].abs().max() == 0 < expected["adapter.up"].abs().max()
    torch.testing.assert_close(first.added["adapter.up"] / -RATE, expected["adapter.up"], rtol=1e-6, atol=1e-9)


def test_gradients_of_int8_are_taken_at_the_rounded_weights():
    """Straight through: the dense gradient of the rounded net, on the weights before they are rounded."""
    net, data = network(dtype=torch.float64), task(clips=12)
    names = [name for name in net.state_dict() if not name.startswith("target")]
    rounded = {name: back_propagation.rounded(tensor) for name, tensor in net.state_dict().items()}
    expected = plain_gradients(net, {**net.state_dict(), **{name: rounded[name] for name in names}}, names, data)
    delta = learn(net, "full_int8", data, optimiser="sgd")
    for name in names:
        wanted = back_propagation.rounded(net.state_dict()[name] - RATE * expected[name])
        torch.testing.assert_close(delta.replaced[name], wanted, rtol=0, atol=1e-12)


def test_full_is_the_baseline():
    """The same bytes as traces_propagation.bptt, which trains a net in place."""
    net, (features, labels) = network(), task()
    delta = learn(net, "full", (features, labels), epochs=2, batch_size=16, seed=5)
    twin = copy.deepcopy(net)
    bptt.train_bptt(twin, features, labels, AlternativeTraining(learning_rate=RATE, epochs=2, batch_size=16), seed=5)
    for name, tensor in net.adapted(delta).state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["readout", "adapter"])
def test_spikes_that_are_kept_give_what_running_them_again_gives(kind):
    """Several epochs of uneven batches, against the complete forward pass in each batch."""
    net, (features, labels) = network(dtype=torch.float64, output_leak=0.9), task(clips=25)
    part = back_propagation.part_of(net, AlternativeMethod(kind=kind, rank=3), seed=1)
    weights = {name: tensor.clone().requires_grad_() for name, tensor in part.trained.items()}
    budget = AlternativeTraining(learning_rate=0.01, epochs=3, batch_size=10)
    plain = Sgd(weights, 0.01)
    for batch, wanted in back_propagation.epochs(net, features, labels, budget, plain, seed=2):
        loss = cross_entropy(net.integrate(used := {**net.trained, **weights}, net.spikes(used, batch)), wanted)
        plain.step(dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True)))
    delta = back_propagation.train(net, part, features, labels, budget, Sgd(part.trained, 0.01), seed=2)
    for name, tensor in delta.tensors().items():
        torch.testing.assert_close(tensor, weights[name].detach(), rtol=0, atol=1e-10)


# ------------------------------------------------------------------------------------------------ what changes
MATRICES = [(40, 8), (40, 40), (30, 40), (30, 30), (4, 30)]
VALUES = {"full": sum(out * fan_in for out, fan_in in MATRICES), "readout": 4 * 30, "last_layer": 30 * 40 + 30 * 30 + 4 * 30,
          "threshold": 70, "lora": 3 * sum(out + fan_in for out, fan_in in MATRICES), "adapter": 2 * 3 * 30}
VALUES["full_int8"] = VALUES["full"]
LAST = {"hidden.1.input", "hidden.1.recurrent", "readout"}
NAMED = {**dict.fromkeys(("full", "full_int8", "lora"), LAST | {"hidden.0.input", "hidden.0.recurrent"}), "last_layer": LAST,
         "readout": {"readout"}, "threshold": set(), "adapter": set()}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_the_kind_names_changes_and_as_many_numbers_as_it_says(kind):
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    delta = learn(net, kind, epochs=3)
    assert delta.values == VALUES[kind]
    after = net.adapted(delta).state_dict()
    assert {name for name, tensor in before.items() if not torch.equal(after[name], tensor)} == NAMED[kind]
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items()) and not net.added


def test_int8_deltas_lie_on_the_grid_and_use_all_of_it():
    delta = learn(network(), "full_int8", epochs=3)
    for tensor in delta.replaced.values():
        integers, scale = quantise(tensor)
        assert torch.equal(integers * scale, tensor)
        assert integers.abs().amax(1).eq(127).all()


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bytes(kind):
    first, second = (learn(network(), kind, epochs=2, batch_size=16, seed=7).tensors() for _ in range(2))
    other = learn(network(), kind, epochs=2, batch_size=16, seed=8).tensors()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_separable_task_is_learnt(kind):
    net, (features, labels) = network(), task(seed=1)

    def accuracy(net):
        return float((infer(net, features).argmax(1) == labels).float().mean())

    delta = learn(net, kind, epochs=25, batch_size=20, rate=0.02)
    assert accuracy(net.adapted(delta)) >= max(0.9, accuracy(net) + 0.2)


def test_what_was_added_before_takes_part_and_is_trained_on():
    net = network()
    first = net.adapted(learn(net, "threshold", epochs=3, rate=0.03))
    again = learn(first, "threshold", epochs=1)
    assert set(again.replaced) == set(first.added) and not again.added
    assert all(0 < (again.replaced[name] - tensor).abs().max() < 0.01 for name, tensor in first.added.items())
    readout = first.adapted(learn(first, "readout"))
    assert torch.equal(readout.added["hidden.0.threshold"], first.added["hidden.0.threshold"])
    assert not torch.equal(learn(first, "readout").replaced["readout"], learn(net, "readout").replaced["readout"])


# ------------------------------------------------------------------------------------------------ errors
def test_what_makes_no_sense_is_refused():
    with pytest.raises(UserError, match="this is 'full'"):
        learn(network(hidden=[20]), "last_layer")
    with pytest.raises(UserError, match="'eprop' is a local rule"):
        learn(network(), "eprop")


@pytest.mark.parametrize("kind", ["full", "readout"])
@pytest.mark.parametrize(("change", "message"), [
    (lambda x, y: (x[:0], y[:0]), "no clips"), (lambda x, y: (x, y + 2), "4 outputs"), (lambda x, y: (x[..., :7], y), "8 inputs"),
    (lambda x, y: (x / 0, y), "not finite")])
def test_clips_that_do_not_fit_are_refused(kind, change, message):
    with pytest.raises(UserError, match=message):
        learn(network(), kind, change(*task()))
