import pytest
import torch

from edgekws.neurons.recurrent_adaptive import RANGES, AdaptiveLIFCell, scan


@pytest.fixture
def cell():
    cell = AdaptiveLIFCell(6, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        cell.recurrent_weights.mul_(4)
        cell.b[0] = 5.0  # beyond its range
    return cell


def current(steps=12, clips=3):
    return (3 * torch.randn(steps, clips, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).requires_grad_()


def by_steps(x, cell):
    state, spikes = None, []
    for frame in x:
        fired, state = cell(frame, state)
        spikes.append(fired)
    return torch.stack(spikes)


def test_a_scan_has_the_spikes_of_the_cell_and_its_gradients(cell):
    x = current()
    ours, theirs = scan(x, cell), by_steps(x, cell)
    assert torch.equal(ours, theirs) and 0.05 < ours.mean() < 0.9
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    wanted = [x, *cell.parameters()]
    for mine, autograds in zip(torch.autograd.grad((ours * weights).sum(), wanted),
                               torch.autograd.grad((theirs * weights).sum(), wanted), strict=True):
        torch.testing.assert_close(mine, autograds, rtol=1e-9, atol=1e-10)
        assert autograds.any()


def test_no_neuron_drives_itself(cell):
    with torch.no_grad():
        cell.recurrent_weights.diagonal().fill_(100.0)
        before = scan(current(), cell)
        cell.recurrent_weights.diagonal().zero_()
        assert torch.equal(before, scan(current(), cell))


def test_constants_are_used_within_their_ranges(cell):
    for constant, (low, high) in zip(cell.constants(), RANGES.values(), strict=True):
        assert constant.min() >= low and constant.max() <= high
    assert torch.autograd.grad(scan(current(), cell).sum(), cell.b)[0][0] == 0


def test_adaptation_silences_a_neuron_that_fires():
    cell = AdaptiveLIFCell(1, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for name, value in (("recurrent_weights", 0.0), ("alpha", 0.8), ("beta", 0.95), ("a", 0.0), ("b", 0.0)):
            cell.get_parameter(name).fill_(value)
        steady = torch.full((60, 1, 1), 2.0, dtype=torch.float64)
        plain = scan(steady, cell).sum()
        cell.b.fill_(1.0)
        assert 0 < scan(steady, cell).sum() < plain
