"""A small convolutional net over time: the conventional keyword spotter that a spiking net is compared with.

Two strided convolutions along time, with the mel bands as channels (the idea of TC-ResNet: Choi et al. 2019,
arXiv:1904.03814), a mean over time and a linear readout; ReLU in between. Every clip costs the same number of
multiply-accumulates, known from the shapes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.models.settings import Conventional
from edgekws.models.tensors import fill, size

ARCHITECTURE = "temporal_conv"


class TemporalConv(nn.Module):
    """Convolutions over time and a linear readout.

    New weights come from He's uniform distribution, float32, on the CPU; biases start at 0. No parameter requires a
    gradient until training asks for it.

    Args:
        conventional: Channels, width and stride of the convolutions.
        inputs: Bands of a frame.
        outputs: Words.
        generator: Source of the weights.

    Attributes:
        readout: To [outputs] from the channels of the last convolution.
        convolutions: Along time, from [clips, channels, steps].
    """

    convolutions: Sequence[nn.Conv1d]

    def __init__(self, conventional: Conventional, *, inputs: int, outputs: int,
                 generator: torch.Generator) -> None:
        super().__init__()
        self.settings = conventional
        channels, width = [inputs, *conventional.channels], conventional.width
        # The readout comes first, in files and wherever parameters are summed over: sums of floats depend on the order.
        self.readout = skip_init(nn.Linear, channels[-1], outputs)  # type: ignore[no-untyped-call]
        self.convolutions = nn.ModuleList(  # type: ignore[assignment]
            skip_init(nn.Conv1d, before, after, width, conventional.stride, padding=width // 2)  # type: ignore[no-untyped-call]
            for before, after in itertools.pairwise(channels))
        self.requires_grad_(False)
        for layer in (*self.convolutions, self.readout):
            shape = layer.weight.shape
            layer.weight.copy_((2 * torch.rand(shape, generator=generator) - 1) * math.sqrt(6 / math.prod(shape[1:])))
            layer.bias.zero_()

    def check(self, features: Tensor) -> None:
        """Raises: UserError if ``features`` is not [clips, steps, bands]."""
        bands = self.convolutions[0].weight.shape[1]
        if features.ndim != 3 or features.shape[2] != bands:
            raise UserError(f"features of shape {tuple(features.shape)} do not fit a network of {bands} bands",
                            where="features", remedy=f"give [clips, steps, {bands}]")

    def forward(self, features: Tensor) -> Tensor:
        """Scores [clips, outputs] of features [clips, steps, bands]."""
        signal = features.transpose(1, 2)
        for convolution in self.convolutions:
            signal = functional.relu(convolution(signal))
        scores: Tensor = self.readout(signal.mean(2))
        return scores

    def multiply_accumulates(self, steps: int) -> int:
        """Multiply-accumulates of one clip of ``steps`` frames, every weight counted, padding included."""
        total: int = self.readout.weight.numel()
        for kernel in (convolution.weight for convolution in self.convolutions):
            steps = (steps + 2 * (kernel.shape[2] // 2) - kernel.shape[2]) // self.settings.stride + 1
            total += kernel.numel() * steps
        return total


def save_network(path: str | Path, net: TemporalConv, *, vocabulary: Iterable[str], about: Mapping[str, Any],
                 provenance: Mapping[str, Any]) -> None:
    """Write a network as safetensors, with its settings and provenance."""
    files.write_model(path, net.state_dict(), architecture=ARCHITECTURE, provenance=provenance,
                      settings={**about, "conventional": net.settings.model_dump(), "vocabulary": list(vocabulary)})


def load_network(path: str | Path) -> tuple[TemporalConv, dict[str, Any]]:
    """A network written by :func:`save_network`, on the CPU, and its metadata.

    Raises:
        UserError: The file is missing, is no such model, or is damaged.
    """
    tensors, metadata = files.read_model(path, ARCHITECTURE)
    chosen = settings.validate(Conventional, files.setting_of(metadata, "conventional", path), where=str(path))
    net = TemporalConv(chosen, inputs=size(tensors, "convolutions.0.weight", 1, dimensions=3),
                       outputs=size(tensors, "readout.weight", 0), generator=torch.Generator())
    try:
        fill(net.state_dict(), tensors)
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from error
    files.vocabulary_of(metadata, net.readout.out_features, path)
    return net, metadata
