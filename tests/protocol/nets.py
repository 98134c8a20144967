"""The bench's net, and the same net as modules that a user might have built."""

import torch
from torch import nn

from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.neurons.cells import ArctanLIFCell


def ours(**values):
    """A RecurrentLIF of 4 inputs and 5 outputs, in float64."""
    net = RecurrentLIF(Network(**{"hidden": [14], "threshold": 0.3, **values}), inputs=4, outputs=5,
                       generator=torch.Generator().manual_seed(0))
    return net.to(torch.float64)


def as_modules(net):
    """A RecurrentLIF as Linear and ArctanLIFCell, with the same weights."""
    p, parts, width = net.settings, [], net.inputs
    for synapses, neurons in zip(net.hidden, p.hidden, strict=True):
        linear = nn.Linear(width, neurons, bias=False, dtype=torch.float64)
        cell = ArctanLIFCell(neurons if p.recurrent else None, leak=p.membrane_leak, threshold=p.threshold, reset=p.reset,
                             scale=p.surrogate_scale).double()
        linear.weight.data.copy_(synapses.weight[:, :width])
        if p.recurrent:
            cell.recurrent_weights.data.copy_(synapses.weight[:, width:])
        parts += [linear, cell]
        width = neurons
    readout = nn.Linear(width, net.outputs, bias=False, dtype=torch.float64)
    readout.weight.data.copy_(net.readout)
    return nn.Sequential(*parts, readout)
