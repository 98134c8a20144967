import math

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d, one_hot

from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation.convolutional import ConvolutionalRule
from edgekws.models.settings import ConvNetwork
from edgekws.models.spiking_conv import SpikingConv, standardised
from edgekws.neurons.surrogate import ArctanSpike


def network(layers=("4", "6M", "5", "7A"), *, outputs=5, shape=(2, 8, 6), reset="soft", seed=0):
    chosen = ConvNetwork(layers=list(layers), reset=reset, threshold=0.5)
    net = SpikingConv(chosen, shape=shape, outputs=outputs, generator=torch.Generator().manual_seed(seed))
    return net.double()


def clips(net, count=6, steps=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(count, steps, *net.shape, generator=generator, dtype=torch.float64)


class Naive:
    """All pairs of clips, every clip with a target path of its own, autograd through the losses as they are written."""

    def __init__(self, net, labels):
        self.net, self.label = net, one_hot(labels, net.outputs).double()
        self.own, self.target = [0.0] * len(net.kernels), [0.0] * len(net.kernels)
        self.trace, self.target_trace = [0.0] * len(net.kernels), [0.0] * len(net.kernels)
        self.label_trace = 0.0

    def layer(self, index, current, membranes):
        net = self.net.settings
        u = net.membrane_leak * membranes[index] + current
        spikes = ArctanSpike.apply(u, net.threshold, net.surrogate_scale)
        kept = spikes.detach()
        membranes[index] = (u * (1 - kept) if net.reset == "hard" else u - net.threshold * kept).detach()
        pool = self.net.settings.layers[index][-1]
        return max_pool2d(spikes, 2) if pool == "M" else torch.nn.AdaptiveAvgPool2d(2)(spikes) if pool == "A" else spikes

    def loss(self, trace, target, below):
        """The paper's E_l with z and d averaged over the places of a map."""
        places = below.flatten(2).permute(2, 0, 1) if below.ndim > 2 else below[None]
        difference = places[:, :, None] - places[:, None] + 1e-9
        wanted = torch.softmax(-difference.square().sum(-1).sqrt().mean(0), 1)
        similarity = torch.einsum("bchw,dchw->bdhw", trace, target).mean((2, 3))
        return -(wanted.detach() * torch.log_softmax(similarity, 1)).sum(1).mean()

    def step(self, frame):
        net, beta, found = self.net, self.net.settings.trace_leak, {}
        self.label_trace = beta * self.label_trace + self.label
        drive, wanted, below = frame, None, self.label_trace
        for index, kernel in enumerate(net.kernels):
            spikes = self.layer(index, conv2d(drive, standardised(kernel), padding=1), self.own)
            if index == 0:
                current = (self.label @ net.target.T).view(-1, net.channels[1], *net.shape[1:])
            else:
                current = conv2d(wanted, standardised(kernel), padding=1)
            target_spikes = self.layer(index, current, self.target)
            trace = beta * self.trace[index] + spikes
            target_trace = beta * self.target_trace[index] + target_spikes
            found[f"kernels.{index}"] = torch.autograd.grad(self.loss(trace, target_trace, below), kernel)[0]
            self.trace[index], self.target_trace[index] = trace.detach(), target_trace.detach()
            drive, wanted, below = spikes.detach(), target_spikes.detach(), target_trace.detach()
        return found


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("layers", [("4",), ("4", "6M"), ("4", "6M", "5", "7A")])
def test_gradients_are_those_of_autograd_through_the_loss_of_all_pairs(layers, reset):
    net = network(layers, reset=reset)
    labels = torch.tensor([3, 0, 3, 1, 1, 3])
    rule, naive = ConvolutionalRule(net), Naive(net, labels)
    rule.begin(labels)
    largest = 0.0
    for frame in clips(net).unbind(1):
        ours, theirs = rule.step(frame), naive.step(frame)
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, rtol=0, atol=1e-8)
            largest = max(largest, gradient.abs().max().item())
    assert largest > 1e-3


def test_the_readout_learns_by_the_error_and_the_trace_and_the_potential_is_that_of_inference():
    net, labels = network(), torch.tensor([0, 1, 2, 3, 4, 0])
    frames, rule = clips(net), ConvolutionalRule(net)
    rule.begin(labels)
    for frame in frames.unbind(1):
        gradients = rule.step(frame)
    error = torch.softmax(rule.readout_potential, 1) - one_hot(labels, 5)
    torch.testing.assert_close(gradients["readout"], error.T @ rule.traces[-1].flatten(1) / 6)
    with torch.no_grad():
        torch.testing.assert_close(rule.readout_potential, net(frames))


def test_a_batch_of_one_class_teaches_the_kernels_nothing():
    net = network()
    rule = ConvolutionalRule(net)
    rule.begin(torch.tensor([2, 2, 2]))
    for frame in clips(net, 3).unbind(1):
        gradients = rule.step(frame)
        assert all(not gradients[f"kernels.{index}"].any() for index in range(len(net.kernels)))
        assert gradients["readout"].any()


def test_the_only_auxiliary_weights_are_those_from_classes_to_the_first_layer_however_deep_the_net_is():
    for layers in [("4",), ("4", "6M"), ("4", "6M", "5", "7A")]:
        assert ConvolutionalRule(network(layers)).auxiliary() == 5 * 4 * 8 * 6


def test_kernels_are_standardised_per_filter():
    net = network()
    for weight in (*net.kernels, net.readout, net.target):
        found = weight if weight is net.target else standardised(weight)
        assert found.flatten(1).mean(1).abs().max() < 1e-6
        assert math.isclose(found.flatten(1).norm(dim=1).median().item(), 1.8, rel_tol=1e-3)


def test_maps_follow_the_layers_and_a_net_that_pools_too_often_says_so():
    assert network().maps == [(4, 8, 6), (6, 4, 3), (5, 4, 3), (7, 2, 2)]
    with pytest.raises(UserError, match="pooled to nothing"):
        network(["4M", "4M", "4M"])
    with pytest.raises(UserError, match="do not fit"):
        network()(torch.zeros(1, 2, 2, 6, 8, dtype=torch.float64))
