"""LIF dynamics against hand-computed values, against Norse, and the surrogate derivative."""

import math

import pytest
import torch

from edgekws.neurons import lif, norse_twin
from edgekws.neurons.surrogate import ArctanSpike, arctan_derivative


@pytest.mark.parametrize(("reset", "potentials", "after"), [
    ("hard", [0.6, 0.9, 0.3, 1.25], [0.6, 0.9, 0.3, 0.0]),  # see the comments below for currents and leak
    ("soft", [0.6, 0.9, 0.3, 1.25], [0.6, 0.9, 0.3, 0.25]),
])
def test_one_neuron_by_hand(reset, potentials, after):
    # leak 0.5, threshold 1: 0.6; 0.5·0.6 + 0.6 = 0.9; 0.45 − 0.15 = 0.3; 0.15 + 1.1 = 1.25 fires
    v = torch.zeros(1, dtype=torch.float64)
    for current, before, left in zip([0.6, 0.6, -0.15, 1.1], potentials, after, strict=True):
        u, spikes, v = lif.step(torch.full((1,), current, dtype=torch.float64), v, leak=0.5, threshold=1.0, reset=reset)
        assert u.item() == pytest.approx(before)
        assert v.item() == pytest.approx(left)
        assert spikes.item() == (before >= 1)


def test_fires_at_the_threshold_itself():
    _, spikes, v = lif.step(torch.tensor([1.0]), torch.zeros(1), leak=0.5, threshold=1.0, reset="hard")
    assert spikes.item() == 1
    assert v.item() == 0


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("recurrent", [True, False])
def test_layer_in_place_equals_pure_step(reset, recurrent):
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(7, 12 if recurrent else 5, generator=generator, dtype=torch.float64)
    layer = lif.Layer(weights, 4, inputs=5, leak=0.8, threshold=0.6, reset=reset)
    for _ in range(2):  # the second time after clear()
        v, spikes, fired = torch.zeros(4, 7, dtype=torch.float64), torch.zeros(4, 7, dtype=torch.float64), 0
        for drive in torch.randn(20, 4, 5, generator=generator, dtype=torch.float64):
            current = drive @ weights[:, :5].T + (spikes @ weights[:, 5:].T if recurrent else 0)
            u, spikes, v = lif.step(current, v, leak=0.8, threshold=0.6, reset=reset)
            layer.integrate(drive)
            torch.testing.assert_close(layer.potential, u, rtol=0, atol=1e-12)
            layer.fire()
            assert torch.equal(layer.spikes, spikes)
            torch.testing.assert_close(layer.potential, v, rtol=0, atol=1e-12)
            fired += int(spikes.sum())
        assert fired > 20
        layer.clear()


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_norse_twin_has_the_same_spikes_and_potentials(reset):
    generator = torch.Generator().manual_seed(0)
    ours = theirs = torch.zeros(8, 50, dtype=torch.float64)
    neuron = norse_twin.parameters(ours, leak=0.77, threshold=0.66, reset=reset)
    fired = 0
    for current in torch.randn(200, 8, 50, generator=generator, dtype=torch.float64):
        _, spikes, ours = lif.step(current, ours, leak=0.77, threshold=0.66, reset=reset)
        norse_spikes, theirs = norse_twin.step(current, theirs, neuron)
        assert torch.equal(spikes, norse_spikes)
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)
        fired += int(spikes.sum())
    assert fired > 10_000


def test_norse_differs_at_exact_equality_only():
    neuron = norse_twin.parameters(torch.zeros(1), leak=0.5, threshold=1.0, reset="hard")
    at_threshold, _ = norse_twin.step(torch.tensor([1.0, 1.0 + 1e-6]), torch.zeros(2), neuron)
    assert at_threshold.tolist() == [0.0, 1.0]


def test_surrogate_derivative():
    u = torch.tensor([0.66, 0.66 + 1 / math.pi, 0.66 - 1 / math.pi, 0.0], dtype=torch.float64)
    expected = torch.tensor([10.0, 5.0, 5.0, 10 / (1 + (math.pi * 0.66) ** 2)], dtype=torch.float64)
    torch.testing.assert_close(arctan_derivative(u, 0.66, 10.0), expected)
    buffer = torch.empty_like(u)
    assert arctan_derivative(u, 0.66, 10.0, out=buffer) is buffer
    torch.testing.assert_close(buffer, expected)
    u.requires_grad_()
    spikes = ArctanSpike.apply(u, 0.66, 10.0)
    assert spikes.tolist() == [1, 1, 0, 0]
    (2 * spikes).sum().backward()
    torch.testing.assert_close(u.grad, 2 * expected)
