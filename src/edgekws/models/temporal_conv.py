"""A small convolutional net over time: the conventional keyword spotter that a spiking net is held against.

Two strided convolutions along time, with the mel bands as channels (the idea of TC-ResNet: Choi et al. 2019,
arXiv:1904.03814), a mean over time and a linear readout; ReLU in between. Every clip costs the same number of
multiply-accumulates, known from the shapes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.models.settings import Conventional
from edgekws.models.tensors import fill, size

ARCHITECTURE = "temporal_conv"


class TemporalConv:
    """The tensors of one network.

    New weights come from He's uniform distribution, float32, on the CPU; biases start at 0.

    Args:
        conventional: Channels, width and stride of the convolutions.
        inputs: Bands of a frame.
        outputs: Words.
        generator: Source of the weights.

    Attributes:
        kernels: [channels out, channels in, width] of each convolution.
        biases: [channels out] of each convolution.
        readout: [outputs, channels of the last convolution].
        readout_bias: [outputs].
    """

    def __init__(self, conventional: Conventional, *, inputs: int, outputs: int,
                 generator: torch.Generator) -> None:
        def tensor(*shape: int) -> Tensor:
            return (2 * torch.rand(*shape, generator=generator) - 1) * math.sqrt(6 / math.prod(shape[1:]))

        channels = [inputs, *conventional.channels]
        self.settings = conventional
        self.kernels = [tensor(after, before, conventional.width)
                        for before, after in itertools.pairwise(channels)]
        self.biases = [torch.zeros(after) for after in channels[1:]]
        self.readout, self.readout_bias = tensor(outputs, channels[-1]), torch.zeros(outputs)

    def parameters(self) -> dict[str, Tensor]:
        """The trained tensors by name."""
        named = {"readout": self.readout, "readout_bias": self.readout_bias}
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            named |= {f"kernel.{index}": kernel, f"bias.{index}": bias}
        return named

    def to(self, device: torch.device | str | None) -> None:
        """Move the tensors to a device; None leaves them where they are."""
        self.kernels = [kernel.to(device) for kernel in self.kernels]
        self.biases = [bias.to(device) for bias in self.biases]
        self.readout, self.readout_bias = self.readout.to(device), self.readout_bias.to(device)

    def scores(self, features: Tensor) -> Tensor:
        """[clips, outputs] from features [clips, steps, bands]; differentiable."""
        signal = features.transpose(1, 2)
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            signal = functional.relu(functional.conv1d(signal, kernel, bias, stride=self.settings.stride,
                                                       padding=kernel.shape[2] // 2))
        return functional.linear(signal.mean(2), self.readout, self.readout_bias)

    def multiply_accumulates(self, steps: int) -> int:
        """Multiply-accumulates of one clip of ``steps`` frames, every weight counted, padding included."""
        total = self.readout.numel()
        for kernel in self.kernels:
            steps = (steps + 2 * (kernel.shape[2] // 2) - kernel.shape[2]) // self.settings.stride + 1
            total += kernel.numel() * steps
        return total


def save_network(path: str | Path, net: TemporalConv, *, vocabulary: Iterable[str], about: Mapping[str, Any],
                 provenance: Mapping[str, Any]) -> None:
    """Write a network as safetensors, with its settings and provenance."""
    files.write_model(path, {name: tensor.detach().contiguous() for name, tensor in net.parameters().items()},
                      architecture=ARCHITECTURE, provenance=provenance,
                      settings={**about, "conventional": net.settings.model_dump(), "vocabulary": list(vocabulary)})


def load_network(path: str | Path) -> tuple[TemporalConv, dict[str, Any]]:
    """A network written by :func:`save_network`, on the CPU, and its metadata.

    Raises:
        UserError: The file is missing, is no such model, or is damaged.
    """
    tensors, metadata = files.read_model(path, ARCHITECTURE)
    chosen = settings.validate(Conventional, metadata["settings"].get("conventional"), where=str(path))
    net = TemporalConv(chosen, inputs=size(tensors, "kernel.0", 1, dimensions=3), outputs=size(tensors, "readout", 0),
                       generator=torch.Generator())
    try:
        fill(net.parameters(), tensors)
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from error
    return net, metadata
