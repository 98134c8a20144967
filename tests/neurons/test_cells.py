"""Our cells in Norse's idiom: the neurons of Norse and of edgekws.neurons.lif, step by step."""

import pytest
import torch
from norse.torch.functional.lif_box import LIFBoxParameters
from norse.torch.functional.reset import reset_subtract
from norse.torch.module.lif_box import LIFBoxCell

from edgekws.neurons import lif
from edgekws.neurons.cells import ArctanLIFCell, LIFBoxRecurrentCell
from edgekws.neurons.surrogate import arctan_derivative

CURRENTS = torch.rand(30, 3, 8, generator=torch.Generator().manual_seed(0)) * 4


@pytest.mark.parametrize("p", [LIFBoxParameters(), LIFBoxParameters(reset_method=reset_subtract, v_leak=torch.tensor(0.2))])
def test_recurrent_lif_box_is_norses_with_its_own_spikes_added(p):
    cell, plain = LIFBoxRecurrentCell(8, p), LIFBoxCell(p)
    state = plain_state = None
    before, total = torch.zeros(3, 8), 0
    for current in CURRENTS:
        expected, plain_state = plain(current + before @ cell.recurrent_weights.T, plain_state)
        spikes, state = cell(current, state)
        assert torch.equal(spikes, expected) and torch.equal(state.v, plain_state.v)
        before, total = spikes, total + spikes.sum().item()
    assert total > 20
    assert [name for name, _ in cell.named_parameters()] == ["recurrent_weights"]


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("recurrent", [True, False])
def test_arctan_cell_is_the_neuron_of_the_bench(reset, recurrent):
    cell = ArctanLIFCell(8 if recurrent else None, reset=reset)
    weights = cell.recurrent_weights.detach() if recurrent else torch.zeros(8, 8)
    state, v, before = None, torch.zeros(3, 8), torch.zeros(3, 8)
    for current in CURRENTS / 4:
        current.requires_grad_()
        u, before, v = lif.step(current.detach() + before @ weights.T, v, leak=0.77, threshold=0.66, reset=reset)
        spikes, state = cell(current, state)
        torch.testing.assert_close(state[1], v)
        assert torch.equal(spikes, before)
        state = tuple(part.detach() for part in state)
        (derivative,) = torch.autograd.grad(spikes.sum(), current)
        torch.testing.assert_close(derivative, arctan_derivative(u, 0.66, 10.0))
    assert before.mean() > 0.05
