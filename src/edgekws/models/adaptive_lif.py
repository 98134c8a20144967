"""Recurrent layers of adaptive LIF neurons between linear maps: the strong spiking base
(:mod:`edgekws.neurons.recurrent_adaptive`).

While it is trained, each layer's input current is batch-normalised (Bittar & Garner 2022). A trained net is *folded*: the
normalisation becomes part of the linear map before it, with its statistics frozen. What is left are ``torch.nn.Linear`` and
neurons, which every local rule of the library reads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.features.mfcc import BANDS, FRAMES, LEVEL_FRAMES, RANGE_DB
from edgekws.models.settings import AdaptiveNetwork
from edgekws.models.tensors import load, size
from edgekws.neurons.recurrent_adaptive import AdaptiveLIFCell, scan

ARCHITECTURE = "adaptive_lif"
INPUTS = 2 * BANDS
"""Values of a step: two frames of 10 ms."""


class AdaptiveLIF(nn.Module):
    """One network, from mel levels to words. Matrices are [to, from].

    Args:
        network: Widths and dropout.
        outputs: Words.
        generator: Source of the weights: uniform within 1/sqrt(fan_in), those of the readout a quarter of it.
        folded: Without normalisations, as a trained net is; its linear maps then have biases.

    Attributes:
        hidden: The linear map of each hidden layer.
        cells: Its neurons.
        norms: Its batch normalisation; none in a folded net.
        readout: From spikes to the word's potential, which adds up over the steps.
        mean, deviation: Of each band over the training clips, [40]; inputs are brought to (x - mean) / deviation.
    """

    hidden: Sequence[nn.Linear]
    cells: Sequence[AdaptiveLIFCell]
    norms: Sequence[nn.BatchNorm1d]
    mean: Tensor
    deviation: Tensor

    def __init__(self, network: AdaptiveNetwork, *, outputs: int, generator: torch.Generator, folded: bool = False) -> None:
        super().__init__()
        sizes = [INPUTS, *network.hidden]
        self.settings = network
        self.hidden = nn.ModuleList(nn.Linear(*pair, bias=folded) for pair in itertools.pairwise(sizes))  # type: ignore[assignment]
        self.cells = nn.ModuleList(AdaptiveLIFCell(neurons, generator) for neurons in network.hidden)  # type: ignore[assignment]
        self.norms = nn.ModuleList(() if folded else map(nn.BatchNorm1d, network.hidden))  # type: ignore[assignment]
        self.readout = nn.Linear(sizes[-1], outputs)
        with torch.no_grad():
            for layer, gain in zip((*self.hidden, self.readout), [1.0] * len(network.hidden) + [0.25], strict=True):
                weight = layer.weight
                weight.copy_((2 * torch.rand(weight.shape, generator=generator) - 1) * gain / math.sqrt(weight.shape[1]))
                if layer.bias is not None:
                    layer.bias.zero_()
        self.register_buffer("mean", torch.zeros(BANDS))
        self.register_buffer("deviation", torch.ones(BANDS))

    @property
    def outputs(self) -> int:
        """Words."""
        return self.readout.out_features

    def check(self, levels: Tensor) -> None:
        """Raises: UserError if ``levels`` is not [clips, 94, 40]."""
        if levels.ndim != 3 or tuple(levels.shape[1:]) != (LEVEL_FRAMES, BANDS):
            raise UserError(f"features of shape {tuple(levels.shape)} do not fit a network of mel levels", where="features",
                            remedy=f"give [clips, {LEVEL_FRAMES}, {BANDS}], made with its own front end")

    def frames(self, levels: Tensor) -> Tensor:
        """What the first layer receives at each step, [clips, 47, 80], of mel levels [clips, 94, 40] in dB.

        What lies more than 80 dB below a clip's loudest value is raised to that.
        """
        floor = levels.amax((1, 2), keepdim=True) - RANGE_DB
        scaled = (torch.maximum(levels, floor) - self.mean) / self.deviation
        return scaled.reshape(len(levels), FRAMES, INPUTS)

    def forward(self, levels: Tensor, generator: np.random.Generator | None = None) -> Tensor:
        """Potential of the readout after the last step, [clips, outputs], of levels [clips, 94, 40]; differentiable.

        Args:
            generator: Of the dropout in training.
        """
        drive = self.frames(levels).transpose(0, 1)
        for index, (linear, cell) in enumerate(zip(self.hidden, self.cells, strict=True)):
            current = linear(drive)
            if self.norms:
                current = self.norms[index](current.flatten(0, 1)).view_as(current)
            drive = scan(current, cell)
            if self.training and self.settings.dropout and generator is not None:
                kept = torch.from_numpy(generator.random(drive.shape[1:], np.float32)) >= self.settings.dropout
                drive = drive * (kept / (1 - self.settings.dropout))
        potential: Tensor = functional.linear(drive.sum(0), self.readout.weight, len(drive) * self.readout.bias)
        return potential

    def folded(self) -> AdaptiveLIF:
        """The same net with its normalisations inside the linear maps; shares no memory with this one."""
        twin = AdaptiveLIF(self.settings, outputs=self.outputs, generator=torch.Generator(), folded=True)
        tensors = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("norms.")}
        for index, (linear, norm) in enumerate(zip(self.hidden, self.norms, strict=True)):
            assert norm.running_mean is not None and norm.running_var is not None
            gain = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
            tensors[f"hidden.{index}.weight"] = linear.weight.detach() * gain[:, None]
            tensors[f"hidden.{index}.bias"] = norm.bias.detach() - norm.running_mean * gain
        load(twin, tensors)
        return twin.eval()

    def body(self) -> nn.Sequential:
        """Its layers as the public rules read them: Linear, cell, …, Linear; shares the parameters of this (folded) net."""
        return nn.Sequential(*itertools.chain(*zip(self.hidden, self.cells, strict=True)), self.readout)

    @classmethod
    def of(cls, network: AdaptiveNetwork, tensors: Mapping[str, Tensor]) -> AdaptiveLIF:
        """The folded net of a ``state_dict``, in evaluation mode; it shares no memory with the tensors.

        Raises:
            UserError: A tensor is missing or one too many, or a shape does not fit the settings.
        """
        net = cls(network, outputs=size(tensors, "readout.weight", 0), generator=torch.Generator(), folded=True)
        load(net, tensors)
        return net.eval()


def save_network(path: str | Path, net: AdaptiveLIF, *, vocabulary: Iterable[str], about: Mapping[str, Any],
                 provenance: Mapping[str, Any]) -> None:
    """Write a folded network as safetensors; ``about`` are further settings to keep."""
    files.write_model(path, net.state_dict(), architecture=ARCHITECTURE, provenance=provenance,
                      settings={**about, "network": net.settings.model_dump(), "vocabulary": list(vocabulary)})


def load_network(path: str | Path) -> tuple[AdaptiveLIF, dict[str, Any]]:
    """A network written by :func:`save_network`, and its metadata (``vocabulary``, ``settings``, ``provenance``).

    Raises:
        UserError: The file is missing, is no such model, or is damaged.
    """
    tensors, metadata = files.read_model(path, ARCHITECTURE)
    network = settings.validate(AdaptiveNetwork, metadata["settings"].get("network"), where=str(path))
    try:
        net = AdaptiveLIF.of(network, tensors)
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from error
    return net, {**metadata, "vocabulary": metadata["settings"]["vocabulary"]}
