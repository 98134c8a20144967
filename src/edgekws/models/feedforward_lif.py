"""Feed-forward LIF layers and a leaky-integrator readout: the network of NeuEdge (its section 3)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.models.settings import LifNetwork
from edgekws.models.tensors import fill, size
from edgekws.neurons import layers, scan

ARCHITECTURE = "feedforward_lif"
_LEVELS = 127  # of an 8-bit weight, either side of 0


class FeedForwardLIF(nn.Module):
    """Linear layers [to, from] with LIF neurons in between; spikes are [steps, clips, neurons].

    Layer by layer, with no delay in between, in Norse's dynamics (:mod:`edgekws.neurons.scan`), with the current
    W s + b. The readout integrates with a leak, has no bias and never fires; the word is the output whose potential is
    largest on average over time.

    New weights come from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), float32, on the CPU, those of the readout ten times as
    large, since a mean over time and rare spikes make its potential small; biases start at 0. No parameter requires a
    gradient until training asks for it.

    Args:
        network: Layers and neuron constants.
        inputs: Units of the encoder.
        outputs: Words.
        generator: Source of the weights.

    Attributes:
        readout: To [outputs] from the last hidden layer, without a bias.
        hidden: The linear part of each hidden layer.
    """

    hidden: Sequence[nn.Linear]

    def __init__(self, network: LifNetwork, *, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [inputs, *network.hidden]
        self.settings = network
        # The readout comes first, in files and wherever parameters are summed over: sums of floats depend on the order.
        self.readout = skip_init(nn.Linear, sizes[-1], outputs, bias=False)  # type: ignore[no-untyped-call]
        self.hidden = nn.ModuleList(  # type: ignore[assignment]
            skip_init(nn.Linear, *pair) for pair in itertools.pairwise(sizes))  # type: ignore[no-untyped-call]
        self.requires_grad_(False)
        gains = [1.0] * len(network.hidden) + [10.0]
        for weights, gain in zip(self.weights, gains, strict=True):
            weights.copy_((2 * torch.rand(weights.shape, generator=generator) - 1) * gain / math.sqrt(weights.shape[1]))
        for bias in self.biases:
            bias.zero_()

    @property
    def inputs(self) -> int:
        """Units of the encoder."""
        return self.weights[0].shape[1]

    @property
    def outputs(self) -> int:
        """Words."""
        return len(self.readout.weight)

    @property
    def weights(self) -> list[Tensor]:
        """Every matrix, from the input to the readout."""
        return [layer.weight for layer in (*self.hidden, self.readout)]

    @property
    def biases(self) -> list[Tensor]:
        """[neurons] of each hidden layer."""
        return [layer.bias for layer in self.hidden]

    def check(self, spikes: Tensor) -> None:
        """Raises: UserError if ``spikes`` is not [steps >= 1, clips, inputs]."""
        if spikes.ndim != 3 or len(spikes) < 1 or spikes.shape[2] != self.inputs:
            raise UserError(f"spikes of shape {tuple(spikes.shape)} do not fit a network of {self.inputs} inputs",
                            where="spikes", remedy=f"give [steps, clips, {self.inputs}]")

    def forward(self, spikes: Tensor, *, weights: Sequence[Tensor] | None = None, normalise: layers.Normalise | None = None,
                dropout: Sequence[Tensor] | None = None,
                follow: Sequence[scan.Follow] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Mean potential of the readout, and how often every hidden neuron spikes; differentiable in the weights.

        Args:
            spikes: [steps, clips, inputs] of the encoder, float.
            weights: Matrices to be used in place of the network's own: quantised ones, say.
            normalise: Takes the place of the biases while training: layer and W s to the current.
            dropout: Factors on the spikes of each hidden layer, [clips, neurons].
            follow: Adaptive threshold of each hidden layer.

        Returns:
            [clips, outputs] and, for each hidden layer, [clips, neurons] before dropout.

        Raises:
            UserError: The spikes are not [steps >= 1, clips, inputs].
        """
        fired = self._run(spikes, weights, normalise, dropout, follow)
        *_, readout = self.weights if weights is None else weights
        return (fired.pooled * dropout[-1] if dropout else fired.pooled) @ readout.T, fired.counts

    @torch.no_grad()
    def spikes(self, spikes: Tensor, *, weights: Sequence[Tensor] | None = None, dropout: Sequence[Tensor] | None = None,
               follow: Sequence[scan.Follow] | None = None) -> list[Tensor]:
        """Spikes of every hidden layer, [steps, clips, neurons], 0 or 1; arguments and errors as for a call."""
        return self._run(spikes, weights, None, dropout, follow, spikes_too=True).spikes

    def _run(self, spikes: Tensor, weights: Sequence[Tensor] | None, normalise: layers.Normalise | None,
             dropout: Sequence[Tensor] | None, follow: Sequence[scan.Follow] | None, *,
             spikes_too: bool = False) -> layers.Fired:
        self.check(spikes)
        net = self.settings
        return layers.feedforward(
            spikes, (self.weights if weights is None else weights)[:-1], self.biases,
            layers.Constants(net.leak, net.threshold, net.reset, net.surrogate_slope),
            pool=scan.mean_integrator(len(spikes), net.output_leak, like=spikes), normalise=normalise, dropout=dropout,
            follow=follow, spikes_too=spikes_too)


def quantised(weights: Tensor) -> Tensor:
    """``weights`` on 8 bits: the nearest of 255 levels, symmetric about 0, the outermost at the largest weight.

    The gradient is passed straight through (Bengio et al. 2013).
    """
    step = weights.detach().abs().amax().clamp(min=1e-12) / _LEVELS
    return weights + ((weights / step).round() * step - weights).detach()


def save_network(path: str | Path, net: FeedForwardLIF, *, vocabulary: Iterable[str], about: Mapping[str, Any],
                 provenance: Mapping[str, Any]) -> None:
    """Write a network as safetensors.

    Args:
        vocabulary: The words, in the order of the outputs.
        about: Further settings to keep: the encoder, what the network was trained with.
        provenance: From :func:`edgekws.core.provenance.provenance`.
    """
    files.write_model(path, net.state_dict(), architecture=ARCHITECTURE, provenance=provenance,
                      settings={**about, "network": net.settings.model_dump(), "vocabulary": list(vocabulary)})


def load_network(path: str | Path) -> tuple[FeedForwardLIF, dict[str, Any]]:
    """A network written by :func:`save_network`, on the CPU, and its metadata (``settings`` and ``provenance``).

    Raises:
        UserError: The file is missing, is no such model, or is damaged.
    """
    tensors, metadata = files.read_model(path, ARCHITECTURE)
    network = settings.validate(LifNetwork, files.setting_of(metadata, "network", path), where=str(path))
    net = FeedForwardLIF(network, inputs=size(tensors, "hidden.0.weight", 1), outputs=size(tensors, "readout.weight", 0),
                         generator=torch.Generator())
    try:
        fill(net.state_dict(), tensors)
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from error
    files.vocabulary_of(metadata, net.readout.out_features, path)
    return net, metadata
