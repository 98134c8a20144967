"""The fused scan is Norse's step, repeated: the same spikes to the bit, the same gradients."""

import pytest
import torch
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, lif_box_feed_forward_step

from edgekws.neurons import norse_twin, scan

LEAK, THRESHOLD = 0.9, 1.0


def currents(steps=60, clips=5, neurons=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, clips, neurons, generator=generator) * 6 + 2


def norse_loop(current, reset):
    neuron = norse_twin.parameters(current, leak=LEAK, threshold=THRESHOLD, reset=reset)
    state, spikes = LIFBoxFeedForwardState(v=torch.zeros_like(current[0])), []
    for frame in current:
        fired, state = lif_box_feed_forward_step(frame, state, neuron, dt=1.0)
        spikes.append(fired)
    return torch.stack(spikes)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_spikes_and_gradients_are_norses(reset):
    ours, theirs = currents().requires_grad_(), currents().requires_grad_()
    sent_back = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    spikes, expected = scan.lif(ours, leak=LEAK, threshold=THRESHOLD, reset=reset), norse_loop(theirs, reset)
    assert 0.05 < float(expected.detach().mean()) < 0.5
    assert torch.equal(spikes, expected)
    spikes.backward(sent_back)
    expected.backward(sent_back)
    assert (ours.grad - theirs.grad).abs().max() <= 1e-5 * theirs.grad.abs().max()


def test_by_hand():
    """leak 1/2, threshold 1: v = 1/2 (v + i), so 3 fires at once, 1.5 after it does not, and 2 more does."""
    current = torch.tensor([3.0, 1.5, 2.0, 0.0]).view(4, 1, 1)
    hard = scan.lif(current, leak=0.5, threshold=1.0, reset="hard").flatten().tolist()  # u = 1.5, 0.75, 1.375, 0
    soft = scan.lif(current, leak=0.5, threshold=1.0, reset="soft").flatten().tolist()  # u = 1.5, 1, 1.5, 0.25
    assert hard == [1, 0, 1, 0]
    assert soft == [1, 0, 1, 0]
    at_threshold = scan.lif(torch.tensor([2.0]).view(1, 1, 1), leak=0.5, threshold=1.0, reset="hard")
    assert at_threshold.item() == 0  # Norse and Loihi fire above the threshold only


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_gradient_with_moving_thresholds_matches_autograd(reset):
    """Against the same steps written in torch, where autograd finds the gradient by itself."""
    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return (x > 0).to(x.dtype)

        @staticmethod
        def backward(ctx, gradient):
            return gradient / (1 + 3 * ctx.saved_tensors[0].abs()).square()

    def rule():
        state = {"mean": torch.full((5, 1), 0.2, dtype=torch.float64)}

        def follow(rate):
            state["mean"] = 0.8 * state["mean"] + 0.2 * rate
            return (1 + 2 * (0.2 - state["mean"])).clamp(0.5, 2)

        return follow

    ours, theirs = currents().double().requires_grad_(), currents().double().requires_grad_()
    spikes = scan.lif(ours, leak=LEAK, threshold=THRESHOLD, reset=reset, slope=3.0, follow=rule())
    follow, v, theta, expected = rule(), torch.zeros(5, 17, dtype=torch.float64), torch.ones(5, 1), []
    for frame in theirs:
        u = v + (1 - LEAK) * (frame - v)
        s = Spike.apply(u - theta)
        v = u * (1 - s) if reset == "hard" else u - theta * s
        theta = THRESHOLD * follow(s.detach().mean(1, keepdim=True))
        expected.append(s)
    expected = torch.stack(expected)
    assert torch.equal(spikes, expected)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (spikes * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_without_gradients_the_same_spikes():
    current = currents()
    fired = scan.lif(current.clone().requires_grad_(), leak=LEAK, threshold=THRESHOLD, reset="hard")
    assert torch.equal(scan.lif(current, leak=LEAK, threshold=THRESHOLD, reset="hard"), fired)


@pytest.mark.parametrize("leak", [0.0, 0.5, 0.97])
def test_the_mean_of_an_integrator_is_a_weighted_sum(leak):
    current = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v, total = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for frame in current:
        v = v + (1 - leak) * (frame - v)
        total += v
    weights = scan.mean_integrator(40, leak, like=current)
    torch.testing.assert_close(weights @ current, total / 40)
