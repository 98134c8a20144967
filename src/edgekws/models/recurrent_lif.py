"""Recurrent LIF layers and an integrating readout: the network of Traces Propagation (its sections 2 and 3).

A net that was adapted may have more than the paper's: thresholds of single neurons, and an adapter between the last
hidden layer's spikes s and the readout (Houlsby et al. 2019, here with a rectified bottleneck), which is then driven by
``s + up relu(down s)``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.models.delta.delta import Delta, apply
from edgekws.models.settings import Network
from edgekws.models.tensors import load, size
from edgekws.neurons.layers import compiled
from edgekws.neurons.lif import Layer

ARCHITECTURE = "recurrent_lif"
_CHUNK = 128  # clips that are run together: keeps a layer's state in the cache


class Synapses(nn.Module):
    """What drives one layer: W, and beside it R if recurrent, so that a time step is one matrix product.

    In a ``state_dict`` the two are apart, as views by the names in ``names``.

    Args:
        weight: [neurons, inputs + neurons] if recurrent, else [neurons, inputs].
        inputs: Columns of W.
        names: Of W, and of R if recurrent.
        frozen: Keep the matrix as a buffer.

    Attributes:
        threshold: Of each neuron, [neurons], in place of the settings' one; only an adapted net has it.
    """

    weight: Tensor
    threshold: nn.Parameter | None

    def __init__(self, weight: Tensor, inputs: int, names: Sequence[str], *, frozen: bool = False) -> None:
        super().__init__()
        self.inputs, self.names = inputs, names
        if frozen:
            self.register_buffer("weight", weight)
        else:
            self.weight = nn.Parameter(weight)
        self.register_parameter("threshold", None)

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        """W and R of a matrix that is laid out like ``weight``, as views by their names."""
        return dict(zip(self.names, (weight[:, :self.inputs], weight[:, self.inputs:]), strict=False))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        parts = self.parts(destination.pop(f"{prefix}weight"))
        destination.update({f"{prefix}{name}": part for name, part in parts.items()})

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        parts = [state_dict.pop(f"{prefix}{name}") for name in self.names if f"{prefix}{name}" in state_dict]
        if len(parts) == len(self.names):
            state_dict[f"{prefix}weight"] = torch.cat(parts, 1)
        super()._load_from_state_dict(state_dict, prefix, *args)


class RecurrentLIF(nn.Module):
    """One network. ``H`` is a layer's neurons, ``F`` its inputs; matrices are [to, from]; no biases.

    Its ``state_dict`` is what a file holds. New weights come from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), float32, on the CPU.

    Args:
        network: Layers and neuron constants.
        inputs: Features of a frame.
        outputs: Words and spare outputs.
        generator: Source of the weights.

    Attributes:
        hidden: For each hidden layer its :class:`Synapses`, [H, F + H] or [H, F].
        readout: W_o, [outputs, H of the last layer].
        target: S, which drives the first layer's target path with the one-hot label, and beside it R_S if
            recurrent: [H of the first layer, outputs + H] or [H, outputs]. Frozen.
        adapter: Holds ``down`` [width, H of the last layer] and ``up`` [H, width], where the net has an adapter.
    """

    def __init__(self, network: Network, *, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()

        def matrix(neurons: int, fan_in: int) -> Tensor:
            return (2 * torch.rand(neurons, fan_in, generator=generator) - 1) / math.sqrt(fan_in)

        def layer(neurons: int, fan_in: int, name: str, *, frozen: bool = False) -> Synapses:
            parts = {name: matrix(neurons, fan_in)} | ({"recurrent": matrix(neurons, neurons)} if network.recurrent else {})
            return Synapses(torch.cat(list(parts.values()), dim=1), fan_in, list(parts), frozen=frozen)

        sizes = [inputs, *network.hidden]
        self.settings = network
        self.hidden: Sequence[Synapses] = nn.ModuleList(  # type: ignore[assignment]
            layer(neurons, fan_in, "input") for fan_in, neurons in itertools.pairwise(sizes))
        self.readout = nn.Parameter(matrix(outputs, sizes[-1]))
        self.target = layer(sizes[1], outputs, "label", frozen=True)
        self.adapter = nn.Module()
        self.added = {}

    @property
    def inputs(self) -> int:
        """Features of a frame."""
        return self.hidden[0].inputs

    @property
    def outputs(self) -> int:
        """Words and spare outputs."""
        return self.readout.shape[0]

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that every such net has, by name: ``hidden.0.weight`` …, ``readout``."""
        return {**{f"hidden.{index}.weight": layer.get_parameter("weight") for index, layer in enumerate(self.hidden)},
                "readout": self.readout}

    @property
    def added(self) -> dict[str, Tensor]:
        """What an adapted net has beside those, by name: ``hidden.0.threshold`` …, ``adapter.down``, ``adapter.up``.

        To assign replaces them all. They share memory with what is assigned, and want no gradient.

        Raises:
            UserError: A name is none of these; the net is then as it was.
        """
        own = self.trained
        return {name: tensor for name, tensor in self.named_parameters() if name not in own}

    @added.setter
    def added(self, tensors: Mapping[str, Tensor]) -> None:
        places = [*(f"hidden.{index}.threshold" for index in range(len(self.hidden))), "adapter.down", "adapter.up"]
        if unknown := sorted(tensors.keys() - set(places)):
            raise UserError(f"has no place for {', '.join(unknown)}", where="model",
                            remedy="apply the delta to the base that it was made from")
        for place in places:
            owner, _, name = place.rpartition(".")
            self.get_submodule(owner).register_parameter(
                name, nn.Parameter(tensors[place], requires_grad=False) if place in tensors else None)

    def layer(self, index: int, size: int) -> Layer:
        """Hidden layer ``index`` at rest, for a batch of ``size`` clips."""
        network, own = self.settings, self.hidden[index]
        return Layer(own.weight.detach(), size, inputs=own.inputs, leak=network.membrane_leak,
                     threshold=network.threshold if own.threshold is None else own.threshold, reset=network.reset)

    def check(self, features: Tensor) -> None:
        """Raises: UserError if ``features`` is not [clips, frames >= 1, inputs]."""
        if features.ndim != 3 or features.shape[1] < 1 or features.shape[2] != self.inputs:
            raise UserError(f"features of shape {tuple(features.shape)} do not fit a network of {self.inputs} inputs",
                            where="features", remedy=f"give [clips, frames, {self.inputs}], made with the front end "
                            "that the model was trained on")

    def forward(self, features: Tensor) -> Tensor:
        """Potential of the readout after the last frame, [clips, outputs]; its largest entry is the prediction.

        Under ``torch.no_grad()`` it runs in place, and otherwise in Norse's neurons (:mod:`edgekws.neurons.norse_twin`),
        which are differentiable through time, take more memory, and round otherwise.

        Args:
            features: [clips, frames, inputs], on the network's device and in its type.

        Raises:
            UserError: The features do not fit the network.
        """
        if torch.is_grad_enabled():
            return self.potential(dict(self.named_parameters()), features)
        self.check(features)
        if len(features) > _CHUNK:
            return torch.cat([self.forward(chunk) for chunk in torch.split(features, _CHUNK)])
        if "adapter.down" not in self.added and compiled("recurrent", features, *self.parameters()):
            return self._by_events(features)
        layers = [self.layer(index, len(features)) for index in range(len(self.hidden))]
        potential, added = features.new_zeros(len(features), self.outputs), self.added
        for frame in features.unbind(1):
            drive = frame
            for layer in layers:
                layer.integrate(drive)
                layer.fire()
                drive = layer.spikes
            potential.addmm_(adapt(drive, added), self.readout.T, beta=self.settings.output_leak)
        return potential

    def _by_events(self, features: Tensor) -> Tensor:
        """The readout's potential, without a gradient."""
        from edgekws.neurons.kernel import recurrent as events

        network = self.settings
        layers = [events.Weights(layer.weight[:, :layer.inputs], layer.weight[:, layer.inputs:] if network.recurrent else None,
                                 self._thresholds(layer.threshold, index, features)) for index, layer in enumerate(self.hidden)]
        return events.pooled(features, layers, events.Constants(network.membrane_leak, network.reset, strict=False),
                             self._pool(features)) @ self.readout.T

    def _thresholds(self, own: Tensor | None, index: int, like: Tensor) -> Tensor:
        """Of each neuron of a layer, [H]: the layer's own, or the settings' one."""
        return own if own is not None else like.new_full((self.settings.hidden[index],), self.settings.threshold)

    def _pool(self, features: Tensor) -> Tensor:
        """What the spikes of each frame count in the readout's last potential, [frames]."""
        left = torch.arange(features.shape[1] - 1, -1, -1, dtype=torch.float64)
        return (self.settings.output_leak ** left).to(features)

    def potential(self, weights: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """The readout's potential after the last frame, [clips, outputs], differentiable in ``weights`` (:meth:`spikes`)."""
        self.check(features)
        if "adapter.down" in weights or not compiled("recurrent", features, *weights.values()):
            return self.integrate(weights, self.spikes(weights, features))
        drive = self._layers(weights, features, self._pool(features))
        return low_rank(drive @ weights["readout"].T, drive, weights, "readout")

    def _layers(self, weights: Mapping[str, Tensor], features: Tensor, pool: Tensor | None) -> Tensor:
        """By events: spikes of the last hidden layer [clips, frames, H], or their sum weighted by frame, [clips, H]."""
        from edgekws.neurons.kernel import recurrent as events

        network, drive = self.settings, features
        constants, last = events.Constants(network.membrane_leak, network.reset, strict=True), len(network.hidden) - 1
        for index, layer in enumerate(self.hidden):
            name, whole = f"hidden.{index}", weights[f"hidden.{index}.weight"]
            current = low_rank(drive @ whole[:, :layer.inputs].T, drive, weights, f"{name}.input")
            recurrent = whole[:, layer.inputs:] if network.recurrent else None
            if recurrent is not None and f"{name}.recurrent.down" in weights:
                recurrent = recurrent + weights[f"{name}.recurrent.up"] @ weights[f"{name}.recurrent.down"]
            drive = events.spikes(current, recurrent, self._thresholds(weights.get(f"{name}.threshold"), index, features),
                                  constants, pool if index == last else None)
        return drive

    def spikes(self, weights: Mapping[str, Tensor], features: Tensor) -> Iterator[Tensor]:
        """Frame by frame the spikes of the last hidden layer, differentiable in ``weights``; earlier frames are not kept.

        Args:
            weights: In place of the net's own parameters, by their names; and for a matrix of its ``state_dict`` LoRA's
                factors, ``<name>.up`` [to, rank] and ``<name>.down`` [rank, from].
            features: [clips, frames, inputs].

        Yields:
            [clips, H], 0 or 1.

        Raises:
            UserError: The features do not fit the network.
        """
        self.check(features)
        if compiled("recurrent", features, *weights.values()):
            yield from self._layers(weights, features, None).unbind(1)
            return
        from edgekws.neurons import norse_twin  # Norse takes seconds to import

        network, clips = self.settings, len(features)
        neuron = [norse_twin.parameters(features, leak=network.membrane_leak, reset=network.reset,
                                        threshold=weights.get(f"hidden.{index}.threshold", network.threshold))
                  for index in range(len(network.hidden))]
        potential = [features.new_zeros(clips, neurons) for neurons in network.hidden]
        spikes = [features.new_zeros(clips, neurons) for neurons in network.hidden]
        for frame in features.unbind(1):
            drive = frame
            for index in range(len(network.hidden)):
                presynaptic = torch.cat([drive, spikes[index]], 1) if network.recurrent else drive
                current = low_rank(presynaptic @ weights[f"hidden.{index}.weight"].T, drive, weights, f"hidden.{index}.input")
                current = low_rank(current, spikes[index], weights, f"hidden.{index}.recurrent")
                spikes[index], potential[index] = norse_twin.step(current, potential[index], neuron[index])
                drive = spikes[index]
            yield drive

    def integrate(self, weights: Mapping[str, Tensor], spikes: Iterable[Tensor]) -> Tensor:
        """The readout's potential [clips, outputs] after ``spikes`` of the last hidden layer, [clips, H] in each frame."""
        potential = torch.zeros((), dtype=self.readout.dtype, device=self.readout.device)
        for frame in spikes:
            drive = adapt(frame, weights)
            current = low_rank(drive @ weights["readout"].T, drive, weights, "readout")
            potential = self.settings.output_leak * potential + current
        return potential

    @classmethod
    def of(cls, network: Network, tensors: Mapping[str, Tensor]) -> RecurrentLIF:
        """The net of a ``state_dict``, on the CPU, in the type of its readout; it shares no memory with the tensors.

        Raises:
            UserError: A tensor is missing or one too many, or a shape does not fit the settings.
        """
        net = cls(network, inputs=size(tensors, "hidden.0.input", 1), outputs=size(tensors, "readout", 0),
                  generator=torch.Generator())
        last = network.hidden[-1]
        added = {name: torch.empty(neurons) for index, neurons in enumerate(network.hidden)
                 if (name := f"hidden.{index}.threshold") in tensors}
        if {"adapter.down", "adapter.up"} & tensors.keys():
            width = size(tensors, "adapter.down", 0)
            added |= {"adapter.down": torch.empty(width, last), "adapter.up": torch.empty(last, width)}
        net.added = added
        given = tensors.get("readout", net.readout)
        if given.is_floating_point():
            net.to(given.dtype)
        load(net, tensors)
        return net

    def adapted(self, delta: Delta) -> RecurrentLIF:
        """A net with ``delta`` laid over this one, which stays as it is; on the CPU.

        Raises:
            UserError: The delta does not fit the net.
        """
        return RecurrentLIF.of(self.settings, apply(self.state_dict(), delta))


def adapt(spikes: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """What drives the readout: ``spikes`` [clips, H] of the last hidden layer, through the adapter where there is one."""
    if "adapter.down" not in tensors:
        return spikes
    return spikes + torch.relu(spikes @ tensors["adapter.down"].T) @ tensors["adapter.up"].T


def low_rank(product: Tensor, values: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    """``product`` [clips, to] and what LoRA's factors of the matrix ``name``, if there are any, make of ``values`` [clips, from].

    The matrix with the factors' product added would give the same, and take its room and that of its gradient.
    """
    if f"{name}.down" not in weights:
        return product
    return product + (values @ weights[f"{name}.down"].T) @ weights[f"{name}.up"].T


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
    tensors = {**net.state_dict(), **({} if feature_scale is None else {"feature_scale": feature_scale})}
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
    network = settings.validate(Network, files.setting_of(metadata, "network", path), where=str(path))
    try:
        net = RecurrentLIF.of(network, tensors)
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from error
    if feature_scale is not None:
        _check_scale(feature_scale, net.inputs, path)
    words = files.vocabulary_of(metadata, len(net.readout), path)
    return net, {**metadata, "vocabulary": words, "feature_scale": feature_scale}


def _check_scale(scale: Tensor, inputs: int, path: str | Path) -> None:
    if not scale.is_floating_point() or scale.shape != (inputs,) or not bool((scale > 0).all()):
        raise UserError(f"'feature_scale' is {str(scale.dtype).removeprefix('torch.')} of shape {tuple(scale.shape)}, not "
                        f"{inputs} values above 0", where=path, remedy="fetch an intact copy, or train it again")
