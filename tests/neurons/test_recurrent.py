"""Recurrent nets by events: evaluation, back-propagation and Traces Propagation give what the dense path gives."""

import copy

import pytest
import torch

from edgekws.methods.traces_propagation import training
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.neurons import layers
from edgekws.protocol.settings import Training

NETS = [{}, {"reset": "soft", "output_leak": 0.9}, {"recurrent": False}, {"hidden": [37], "threshold": 0.3}]
DEEP = {"hidden": [37, 70], "threshold": 0.3}


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def network(**values):
    return RecurrentLIF(Network(**values), inputs=12, outputs=9, generator=torch.Generator().manual_seed(0)).double()


def batch():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(33, 25, 12, generator=generator, dtype=torch.float64).abs() * 1.5
    return features, torch.randint(8, (33,), generator=generator)


def close(found, wanted, tolerance=1e-10):
    assert wanted.abs().max() > 0
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize("values", [*NETS, DEEP], ids=str)
@torch.no_grad()
def test_evaluation(values):
    net, (features, _) = network(**values), batch()
    found = net(features)
    with layers.dense():
        close(found, net(features))


@pytest.mark.parametrize("values", [*NETS, DEEP], ids=str)
def test_gradients_are_autograds(values):
    """Against Norse's neurons, step by step: those of every matrix, LoRA's factors and every threshold."""
    net, (features, labels) = network(**values), batch()
    generator = torch.Generator().manual_seed(2)
    added = {}
    for index, neurons in enumerate(net.settings.hidden):
        added[f"hidden.{index}.threshold"] = net.settings.threshold + 0.05 * torch.rand(neurons, generator=generator).double()
        shapes = {"input": net.hidden[index].inputs} | ({"recurrent": neurons} if net.settings.recurrent else {})
        for name, width in shapes.items():
            added[f"hidden.{index}.{name}.up"] = torch.randn(neurons, 2, generator=generator).double() / 20
            added[f"hidden.{index}.{name}.down"] = torch.randn(2, width, generator=generator).double() / 20
    leaves = {name: tensor.requires_grad_() for name, tensor in {**net.trained, **added}.items()}

    def gradients():
        loss = torch.nn.functional.cross_entropy(net.potential(leaves, features), labels)
        return torch.autograd.grad(loss, list(leaves.values()))

    found = gradients()
    with layers.dense():
        expected = gradients()
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@pytest.mark.parametrize("values", [{}, DEEP], ids=str)
@torch.no_grad()
def test_spikes_frame_by_frame(values):
    net, (features, _) = network(**values), batch()
    weights = dict(net.named_parameters())
    found = list(net.spikes(weights, features))
    with layers.dense():
        expected = list(net.spikes(weights, features))
    assert all(torch.equal(*frames) for frames in zip(found, expected, strict=True)) and any(frame.any() for frame in found)


@pytest.mark.parametrize("values", NETS, ids=str)
@pytest.mark.parametrize("parts", [("hidden", "readout"), ("readout",)], ids=str)
def test_traces_propagation(values, parts):
    """Adam's updates at every frame of three batches and two epochs; what Adam divides by may be tiny, so to 1e-8."""
    net, (features, labels) = network(**values), batch()

    def trained():
        adapted = copy.deepcopy(net)
        training.train(adapted, features, labels, Training(learning_rate=1e-3, epochs=2, batch_size=14), seed=0, parts=parts)
        return adapted.trained

    found = trained()
    with layers.dense():
        expected = trained()
    for name, wanted in expected.items():
        close(found[name].detach(), wanted.detach(), 1e-8)
    assert torch.equal(found["hidden.0.weight"], net.trained["hidden.0.weight"]) == ("hidden" not in parts)


def test_the_same_bytes_again():
    net, (features, labels) = network().float(), batch()
    features = features.float()

    def bytes_of():
        adapted = copy.deepcopy(net)
        training.train(adapted, features, labels, Training(learning_rate=1e-3, epochs=1, batch_size=14), seed=0)
        loss = torch.nn.functional.cross_entropy(adapted(features), labels)
        return [tensor.detach().numpy().tobytes() for tensor in (*adapted.trained.values(), *torch.autograd.grad(
            loss, list(adapted.trained.values())))]

    assert bytes_of() == bytes_of()
