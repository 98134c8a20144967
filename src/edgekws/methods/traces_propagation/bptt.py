"""The baseline: back-propagation through time of the same network, in Norse's neurons.

As in the authors' baseline there is one Adam update per sequence, from the cross-entropy of the readout's potential
after the last frame. Neurons and surrogate derivative are Norse's (:mod:`edgekws.neurons.norse_twin`); the target
path has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from edgekws.core.optimiser import Adam
from edgekws.methods.traces_propagation.training import epochs
from edgekws.models.recurrent_lif import RecurrentLIF, adapt
from edgekws.neurons import norse_twin
from edgekws.protocol.settings import Training
from edgekws.protocol.training import Features, Labels


def readout_potential(net: RecurrentLIF, weights: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """What ``net.forward(features)`` gives, [clips, outputs], differentiable in ``weights``.

    Args:
        weights: Named as in ``net.parameters()`` and ``net.added``, in place of those; and for a matrix of ``net.tensors()``
            its LoRA factors, ``<name>.up`` [to, rank] and ``<name>.down`` [rank, from].
        features: [clips, frames, inputs].

    Raises:
        UserError: The features do not fit the network.
    """
    return integrate(net, weights, hidden_spikes(net, weights, features))


def hidden_spikes(net: RecurrentLIF, weights: Mapping[str, Tensor], features: Tensor) -> Iterator[Tensor]:
    """Frame by frame the spikes of the last hidden layer, so that who needs no earlier ones need not keep them.

    Arguments and errors are those of :func:`readout_potential`.

    Yields:
        [clips, H], 0 or 1.
    """
    net.check(features)
    network, size = net.settings, len(features)
    neuron = [norse_twin.parameters(features, leak=network.membrane_leak, reset=network.reset,
                                    threshold=weights.get(f"hidden.{index}.threshold", network.threshold))
              for index in range(len(network.hidden))]
    potential = [features.new_zeros(size, neurons) for neurons in network.hidden]
    spikes = [features.new_zeros(size, neurons) for neurons in network.hidden]
    for frame in features.unbind(1):
        drive = frame
        for index in range(len(network.hidden)):
            presynaptic = torch.cat([drive, spikes[index]], 1) if network.recurrent else drive
            current = low_rank(presynaptic @ weights[f"hidden.{index}"].T, drive, weights, f"hidden.{index}.input")
            current = low_rank(current, spikes[index], weights, f"hidden.{index}.recurrent")
            spikes[index], potential[index] = norse_twin.step(current, potential[index], neuron[index])
            drive = spikes[index]
        yield drive


def integrate(net: RecurrentLIF, weights: Mapping[str, Tensor], spikes: Iterable[Tensor]) -> Tensor:
    """The readout's potential [clips, outputs] after ``spikes`` of the last hidden layer, [clips, H] in each frame."""
    potential = torch.zeros((), dtype=net.readout.dtype, device=net.readout.device)
    for frame in spikes:
        drive = adapt(frame, weights)
        current = low_rank(drive @ weights["readout"].T, drive, weights, "readout")
        potential = net.settings.output_leak * potential + current
    return potential


def low_rank(product: Tensor, values: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    """``product`` [clips, to] and what LoRA's factors of the matrix ``name``, if there are any, make of ``values`` [clips, from].

    The matrix with the factors' product added would give the same, and take its room and that of its gradient.
    """
    if f"{name}.down" not in weights:
        return product
    return product + (values @ weights[f"{name}.down"].T) @ weights[f"{name}.up"].T


def train_bptt(net: RecurrentLIF, features: Features, labels: Labels, budget: Training, *, seed: int,
               progress: str | None = None, on_epoch: Callable[[int], None] | None = None) -> None:
    """Train all weights of ``net`` in place by back-propagation through time, with fresh optimiser state.

    Arguments, order of the clips, learning rates and errors are those of
    :func:`edgekws.methods.traces_propagation.training.train`.
    """
    weights = {name: tensor.detach().requires_grad_() for name, tensor in net.parameters().items()}  # same memory
    optimiser = Adam(net.parameters(), budget.learning_rate)
    for batch, wanted in epochs(net, features, labels, budget, optimiser, seed=seed, progress=progress,
                                on_epoch=on_epoch):
        loss = cross_entropy(readout_potential(net, net.added | weights, batch), wanted)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        optimiser.step(dict(zip(weights, gradients, strict=True)))
        del batch, loss, gradients
