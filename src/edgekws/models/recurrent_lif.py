"""Recurrent LIF layers and an integrating readout: the network of Traces Propagation (its sections 2 and 3).

A net that was adapted may have more than the paper's: thresholds of single neurons, and an adapter between the last
hidden layer's spikes s and the readout (Houlsby et al. 2019, here with a rectified bottleneck), which is then driven by
``s + up relu(down s)``.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.models.delta.delta import Delta, apply
from edgekws.models.settings import Network
from edgekws.models.tensors import fill, size
from edgekws.neurons.lif import Layer

ARCHITECTURE = "recurrent_lif"
_CHUNK = 512  # clips that are run together: keeps a layer's state in the cache


class RecurrentLIF:
    """The tensors of one network. ``H`` is a layer's neurons, ``F`` its inputs; matrices are [to, from]; no biases.

    New weights come from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), float32, on the CPU.

    Args:
        network: Layers and neuron constants.
        inputs: Features of a frame.
        outputs: Words and spare outputs.
        generator: Source of the weights.

    Attributes:
        hidden: For each hidden layer W, and beside it R if recurrent: [H, F + H] or [H, F]. Trained.
        readout: W_o, [outputs, H of the last layer]. Trained.
        target: S, which drives the first layer's target path with the one-hot label, and beside it R_S if
            recurrent: [H of the first layer, outputs + H] or [H, outputs]. Frozen.
        added: What an adapted net has beside these, by its name in a file; empty in a base. ``hidden.0.threshold`` …
            [H] in place of the settings' threshold; ``adapter.down`` [width, H of the last layer], ``adapter.up``
            [H, width].
    """

    def __init__(self, network: Network, *, inputs: int, outputs: int, generator: torch.Generator) -> None:
        def matrix(neurons: int, fan_in: int) -> Tensor:
            return (2 * torch.rand(neurons, fan_in, generator=generator) - 1) / math.sqrt(fan_in)

        def layer(neurons: int, fan_in: int) -> Tensor:
            parts = [matrix(neurons, fan_in)] + ([matrix(neurons, neurons)] if network.recurrent else [])
            return torch.cat(parts, dim=1)

        sizes = [inputs, *network.hidden]
        self.settings = network
        self.hidden = [layer(neurons, fan_in) for fan_in, neurons in itertools.pairwise(sizes)]
        self.readout = matrix(outputs, sizes[-1])
        self.target = layer(sizes[1], outputs)
        self.added: dict[str, Tensor] = {}

    @property
    def inputs(self) -> int:
        """Features of a frame."""
        return self.hidden[0].shape[1] - (self.hidden[0].shape[0] if self.settings.recurrent else 0)

    @property
    def outputs(self) -> int:
        """Words and spare outputs."""
        return self.readout.shape[0]

    def parameters(self) -> dict[str, Tensor]:
        """The trained tensors by name: ``hidden.0`` …, ``readout``."""
        return {**{f"hidden.{index}": weights for index, weights in enumerate(self.hidden)}, "readout": self.readout}

    def clone(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> RecurrentLIF:
        """A copy that shares no memory with this one, if wanted in another type or on another device."""
        twin = copy.copy(self)
        twin.hidden = [weights.to(device, dtype, copy=True) for weights in self.hidden]
        twin.readout, twin.target = (weights.to(device, dtype, copy=True) for weights in (self.readout, self.target))
        twin.added = {name: tensor.to(device, dtype, copy=True) for name, tensor in self.added.items()}
        return twin

    def layer(self, index: int, size: int) -> Layer:
        """Hidden layer ``index`` at rest, for a batch of ``size`` clips."""
        network, widths = self.settings, [self.inputs, *self.settings.hidden]
        return Layer(self.hidden[index], size, inputs=widths[index], leak=network.membrane_leak,
                     threshold=self.added.get(f"hidden.{index}.threshold", network.threshold), reset=network.reset)

    def check(self, features: Tensor) -> None:
        """Raises: UserError if ``features`` is not [clips, frames >= 1, inputs]."""
        if features.ndim != 3 or features.shape[1] < 1 or features.shape[2] != self.inputs:
            raise UserError(f"features of shape {tuple(features.shape)} do not fit a network of {self.inputs} inputs",
                            where="features", remedy=f"give [clips, frames, {self.inputs}], made with the front end "
                            "that the model was trained on")

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Potential of the readout after the last frame, [clips, outputs]; its largest entry is the prediction.

        Args:
            features: [clips, frames, inputs], on the network's device and in its type.

        Raises:
            UserError: The features do not fit the network.
        """
        self.check(features)
        if len(features) > _CHUNK:
            return torch.cat([self.forward(chunk) for chunk in torch.split(features, _CHUNK)])
        layers = [self.layer(index, len(features)) for index in range(len(self.hidden))]
        potential = features.new_zeros(len(features), self.outputs)
        for frame in features.unbind(1):
            drive = frame
            for layer in layers:
                layer.integrate(drive)
                layer.fire()
                drive = layer.spikes
            potential.addmm_(adapt(drive, self.added), self.readout.T, beta=self.settings.output_leak)
        return potential

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by the name it has in a file: W and R, S and R_S, each on its own; they share the net's memory."""
        named: dict[str, Tensor] = {"readout": self.readout}
        for index, weights in enumerate(self.hidden):
            inputs = weights.shape[1] - (len(weights) if self.settings.recurrent else 0)
            named[f"hidden.{index}.input"] = weights[:, :inputs]
            if self.settings.recurrent:
                named[f"hidden.{index}.recurrent"] = weights[:, inputs:]
        named["target.label"] = self.target[:, :self.outputs]
        if self.settings.recurrent:
            named["target.recurrent"] = self.target[:, self.outputs:]
        return named | self.added

    @classmethod
    def from_tensors(cls, network: Network, tensors: Mapping[str, Tensor], *,
                     dtype: torch.dtype = torch.float32) -> RecurrentLIF:
        """The inverse of :meth:`tensors`; the net is on the CPU and shares no memory with them.

        Raises:
            UserError: A tensor is missing or one too many, or a shape does not fit the settings.
        """
        net = cls(network, inputs=size(tensors, "hidden.0.input", 1), outputs=size(tensors, "readout", 0),
                  generator=torch.Generator())
        last = network.hidden[-1]
        net.added = {name: torch.empty(neurons) for index, neurons in enumerate(network.hidden)
                     if (name := f"hidden.{index}.threshold") in tensors}
        if {"adapter.down", "adapter.up"} & tensors.keys():
            width = size(tensors, "adapter.down", 0)
            net.added |= {"adapter.down": torch.empty(width, last), "adapter.up": torch.empty(last, width)}
        net = net.clone(dtype=dtype)
        fill(net.tensors(), tensors)
        return net

    def adapted(self, delta: Delta) -> RecurrentLIF:
        """A net with ``delta`` laid over this one, which stays as it is; on the CPU, in the type of this one.

        Raises:
            UserError: The delta does not fit the net.
        """
        return RecurrentLIF.from_tensors(self.settings, apply(self.tensors(), delta), dtype=self.readout.dtype)


def adapt(spikes: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """What drives the readout: ``spikes`` [clips, H] of the last hidden layer, through the adapter where there is one."""
    if "adapter.down" not in tensors:
        return spikes
    return spikes + torch.relu(spikes @ tensors["adapter.down"].T) @ tensors["adapter.up"].T


def save_network(path: str | Path, net: RecurrentLIF, *, vocabulary: Iterable[str],
                 feature_scale: Tensor | None = None, about: Mapping[str, Any] | None = None,
                 provenance: Mapping[str, Any]) -> None:
    """Write a network as safetensors.

    Args:
        vocabulary: The words, in the order of the outputs; spare outputs have none.
        feature_scale: [inputs], what each feature was divided by in training, if that was frozen.
        about: Further settings to keep: what the network was trained with.
        provenance: From :func:`edgekws.core.provenance.provenance`.
    """
    tensors = net.tensors() | ({} if feature_scale is None else {"feature_scale": feature_scale})
    settings_ = {**(about or {}), "network": net.settings.model_dump(), "vocabulary": list(vocabulary)}
    files.write_model(path, tensors, architecture=ARCHITECTURE, settings=settings_, provenance=provenance)


def load_network(path: str | Path) -> tuple[RecurrentLIF, dict[str, Any]]:
    """A network written by :func:`save_network`, on the CPU, and its metadata.

    The metadata holds ``vocabulary`` (list of words), ``feature_scale`` (tensor [inputs] or None), ``settings`` and
    ``provenance``.

    Raises:
        UserError: The file is missing, is no such model, or is damaged.
    """
    tensors, metadata = files.read_model(path, ARCHITECTURE)
    feature_scale = tensors.pop("feature_scale", None)
    network = settings.validate(Network, metadata["settings"].get("network"), where=str(path))
    try:
        net = RecurrentLIF.from_tensors(network, tensors)
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from error
    return net, {**metadata, "vocabulary": metadata["settings"]["vocabulary"], "feature_scale": feature_scale}
