"""A VGG-like spiking net: 3 x 3 convolutions with LIF neurons, pooled spikes, an integrating readout.

The convolutional network of Traces Propagation (traces_propagation.md, section 2.9). No biases; kernels and readout are
weight-standardised each time they are used (Qiao et al. 2019, arXiv:1903.10520): per filter, mean 0 and length 1, times a gain.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekws.core.errors import UserError
from edgekws.models.settings import ConvNetwork
from edgekws.neurons.lif import Reset
from edgekws.neurons.surrogate import ArctanSpike

GAIN, _EPSILON = 1.8, 1e-5


def standardised(weight: Tensor) -> Tensor:
    """``weight`` [to, ...] with every filter at mean 0 and length 1, times 1.8; differentiable."""
    dimensions = tuple(range(1, weight.ndim))
    mean = weight.mean(dimensions, keepdim=True)
    variance = (weight - mean).square().mean(dimensions, keepdim=True)
    return GAIN * (weight - mean) / (variance * weight[0].numel() + _EPSILON).sqrt()


class SpikingConv(nn.Module):
    """One network. Maps are [clips, channels, height, width].

    Args:
        network: Layers and neuron constants.
        shape: Channels, height and width of a frame.
        outputs: Classes.
        generator: Source of the weights: normal, of variance 2 / fan_in.

    Attributes:
        kernels: Of each layer, [channels, channels before, 3, 3], before they are standardised.
        readout: [outputs, values of the last map], likewise.
        target: S, which drives the first layer's target path, [values of the first layer's map before pooling, outputs].
            Frozen, standardised once; only Traces Propagation needs it.
        maps: Channels, height and width of each layer's spikes, pooled.
    """

    target: Tensor

    def __init__(self, network: ConvNetwork, *, shape: Sequence[int], outputs: int, generator: torch.Generator) -> None:
        super().__init__()

        def normal(*sizes: int) -> Tensor:
            return torch.randn(*sizes, generator=generator) * math.sqrt(2 / math.prod(sizes[1:]))

        self.settings, self.shape = network, tuple(shape)
        self.channels = [shape[0], *(int(layer.rstrip("MA")) for layer in network.layers)]
        self.pools = [layer[-1] if layer[-1] in "MA" else "" for layer in network.layers]
        self.maps: list[tuple[int, int, int]] = []
        height, width = shape[1:]
        for channels, pool in zip(self.channels[1:], self.pools, strict=True):
            height, width = {"": (height, width), "M": (height // 2, width // 2), "A": (2, 2)}[pool]
            if not height * width:
                raise UserError(f"the map of {shape[1]} x {shape[2]} is pooled to nothing", where="layers",
                                remedy="pool (M) fewer times")
            self.maps.append((channels, height, width))
        self.kernels = nn.ParameterList(normal(after, before, 3, 3) for before, after in itertools.pairwise(self.channels))
        self.readout = nn.Parameter(normal(outputs, math.prod(self.maps[-1])))
        self.register_buffer("target", standardised(normal(self.channels[1] * shape[1] * shape[2], outputs)))

    @property
    def outputs(self) -> int:
        """Classes."""
        return len(self.readout)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters by name: ``kernels.0`` …, ``readout``."""
        return dict(self.named_parameters())

    def check(self, frames: Tensor) -> None:
        """Raises: UserError if ``frames`` is not [clips, frames >= 1, channels, height, width] of its own shape."""
        if frames.ndim != 5 or frames.shape[1] < 1 or tuple(frames.shape[2:]) != self.shape:
            raise UserError(f"frames of shape {tuple(frames.shape)} do not fit a network of {self.shape}", where="frames",
                            remedy="give [clips, frames, channels, height, width]")

    def current(self, index: int, drive: Tensor) -> Tensor:
        """Input current of a layer, [clips, channels, height, width] before pooling, of the layer's input."""
        return functional.conv2d(drive, standardised(self.kernels[index]), padding=1)

    def fire(self, current: Tensor, v: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """Potential before the reset, spikes, and potential after it; no gradient flows through the reset's spike."""
        return fire(current, v, leak=self.settings.membrane_leak, threshold=self.settings.threshold,
                    scale=self.settings.surrogate_scale, reset=self.settings.reset)

    def pool(self, index: int, spikes: Tensor) -> Tensor:
        """Spikes as the next layer receives them: the largest of four (M), means on a 2 x 2 grid (A), or as they are."""
        if self.pools[index] == "M":
            return functional.max_pool2d(spikes, 2)
        return functional.adaptive_avg_pool2d(spikes, 2) if self.pools[index] == "A" else spikes

    def score(self, spikes: Tensor) -> Tensor:
        """Current of the readout, [clips, outputs], of the last layer's pooled spikes."""
        return spikes.flatten(1) @ standardised(self.readout).T

    def forward(self, frames: Tensor) -> Tensor:
        """Potential of the readout after the last frame, [clips, outputs]; differentiable through time.

        Args:
            frames: [clips, frames, channels, height, width].
        """
        self.check(frames)
        potential: Tensor | float = 0.0
        membranes: list[Tensor | float] = [0.0] * len(self.kernels)
        for frame in frames.unbind(1):
            drive = frame
            for index in range(len(self.kernels)):
                _, spikes, membranes[index] = self.fire(self.current(index, drive), membranes[index])
                drive = self.pool(index, spikes)
            potential = self.settings.output_leak * potential + self.score(drive)
        assert isinstance(potential, Tensor)
        return potential


def fire(current: Tensor, v: Tensor | float, *, leak: float, threshold: float, scale: float,
         reset: Reset) -> tuple[Tensor, Tensor, Tensor]:
    """One step of LIF neurons (:func:`edgekws.neurons.lif.step`) with the arctan surrogate; v is 0 or as the current."""
    u = leak * v + current
    spikes: Tensor = ArctanSpike.apply(u, threshold, scale)  # type: ignore[no-untyped-call]
    kept = spikes.detach()
    return u, spikes, u * (1 - kept) if reset == "hard" else u - threshold * kept
