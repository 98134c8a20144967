"""DECOLLE and TESS on a spiking convolutional net, beside the convolutional rule of Traces Propagation.

The equations are those of :mod:`edgekws.methods.alternatives.local_rules.decolle` and ``.tess``; a synapse is now an entry of a
kernel, whose update is summed over all places. The learning signal comes from a layer's pooled spikes, as either paper has it,
and reaches a neuron through the pooling. DECOLLE's random readout sees the whole pooled map; that of TESS its means on a 2 x 2
grid (the authors' code has 2 x 2 or 4 x 4, by layer).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from edgekws.methods.alternatives.local_rules.tess import CAUSAL, NON_CAUSAL, POST_LEAK, PRE_LEAK, square_waves
from edgekws.methods.traces_propagation.convolutional import StepState
from edgekws.models.spiking_conv import SpikingConv, standardised
from edgekws.neurons.surrogate import arctan_derivative


class LocalLossConv(StepState):
    """A loss in each layer from a fixed readout of its pooled spikes, and eligibility of the presynaptic activity.

    Args:
        seed: Of the fixed readouts.

    Attributes:
        projections: For each layer the fixed readout, [outputs, values that it sees].
    """

    pre_leak: ClassVar[float | None] = None  # the membrane's

    def __init__(self, net: SpikingConv, *, seed: int) -> None:
        super().__init__(net)
        generator = torch.Generator().manual_seed(seed)
        self.projections = [self._project(math.prod(self._seen(torch.empty(1, *shape)).shape[1:]), generator).to(net.readout)
                            for shape in net.maps]

    def begin(self, labels: Tensor) -> None:
        super().begin(labels)
        self.filtered: list[Tensor | float] = [0.0] * len(self.net.kernels)
        self.post: list[Tensor | float] = [0.0] * len(self.net.kernels)
        self.readout_trace: Tensor | float = 0.0

    def auxiliary(self) -> int:
        return sum(projection.numel() for projection in self.projections)

    @torch.no_grad()
    def step(self, frame: Tensor) -> dict[str, Tensor]:
        """Advance by one frame [clips, channels, height, width]; the gradients at this time step, by name."""
        net, gradients, drive = self.net, dict[str, Tensor](), frame
        leak = net.settings.membrane_leak if self.pre_leak is None else self.pre_leak
        for index, kernel in enumerate(net.kernels):
            u, spikes, self.membranes[index] = net.fire(net.current(index, drive), self.membranes[index])
            psi = arctan_derivative(u, net.settings.threshold, net.settings.surrogate_scale)
            filtered = self.filtered[index] = leak * self.filtered[index] + drive
            with torch.enable_grad():
                fired = spikes.requires_grad_()
                pooled = net.pool(index, fired)
                loss = functional.cross_entropy(self._seen(pooled).flatten(1) @ self.projections[index].T, self.labels)
                signal = torch.autograd.grad(loss, fired)[0]
                weight = standardised(kernel)
                gradients[f"kernels.{index}"] = torch.autograd.grad(
                    weight, kernel, self._update(index, signal, psi, filtered, drive, kernel.shape))[0]
            drive = pooled.detach()
        self.readout_trace = net.settings.output_leak * self.readout_trace + drive
        return gradients | {"readout": self._readout(drive, self.readout_trace)}

    def _update(self, index: int, signal: Tensor, psi: Tensor, filtered: Tensor, drive: Tensor,
                shape: torch.Size) -> Tensor:
        """The gradient of the standardised kernel, of the learning signal, psi(u) and the layer's input."""
        return _kernel_gradient(filtered, shape, signal * psi)

    def _seen(self, pooled: Tensor) -> Tensor:
        """What the fixed readout sees of a map."""
        return pooled

    def _project(self, values: int, generator: torch.Generator) -> Tensor:
        """A fixed readout, [outputs, values]."""
        return (2 * torch.rand(self.net.outputs, values, generator=generator) - 1) / math.sqrt(values)


class DecolleConv(LocalLossConv):
    """DECOLLE: a random readout in each layer."""


class TessConv(LocalLossConv):
    """TESS: causal and non-causal traces, and a square-wave readout in each layer."""

    pre_leak = PRE_LEAK

    def _update(self, index: int, signal: Tensor, psi: Tensor, filtered: Tensor, drive: Tensor,
                shape: torch.Size) -> Tensor:
        found = CAUSAL * super()._update(index, signal, psi, filtered, drive, shape)
        if isinstance(post := self.post[index], Tensor):
            found += NON_CAUSAL * _kernel_gradient(drive, shape, signal * post)
        self.post[index] = POST_LEAK * post + psi
        return found

    def _seen(self, pooled: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(pooled, 2)

    def _project(self, values: int, generator: torch.Generator) -> Tensor:
        return square_waves(self.net.outputs, values)


def _kernel_gradient(drive: Tensor, shape: torch.Size, delta: Tensor) -> Tensor:
    """The gradient of a kernel by its input and by what comes back to its output."""
    found: Tensor = conv2d_weight(drive, shape, delta, padding=1)  # type: ignore[no-untyped-call]
    return found
