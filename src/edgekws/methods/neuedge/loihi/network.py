"""A network in Loihi's integers: weights of 8 bits, decays of 12, thresholds of 17, states of 24.

The numbers mean what they mean to Lava's bit-accurate models (``PyDenseModelBitAcc``, ``PyLifModelBitAcc``)::

    a[t] = (W s[t-1]) 2^weight_exp           arrives one step after the spikes, rounded down
    u[t] = trunc(u[t-1] (4095 - du) / 4096) + 64 a[t]        wraps at 2^23
    v[t] = trunc(v[t-1] (4096 - dv) / 4096) + u[t] + bias    clipped to +-(2^23 - 1)
    s[t] = v[t] > 64 vth, and v[t] = 0 then

``du`` = 4095 leaves u no memory. A weight matrix that holds both signs has 7 bits and a sign: the lowest of its 8 bits
is dropped. Chips differ from this in nothing that these networks use (Davies et al. 2018; Loihi adds a refractory
period, noise and axonal delays, none of which are switched on).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from edgekws.models.feedforward_lif import FeedForwardLIF

ARCHITECTURE = "loihi_lif"
LARGEST_VTH = 2**17 - 1
LARGEST_STATE = 2**23 - 1  # of v; u takes 2^23 as well
NO_MEMORY = 4095  # the du that makes u the momentary input
_LARGEST_INPUT = 2**18  # of a: a u beyond 24 bits then wraps once, as in Lava, and is back in range
_MOST_INPUTS = 2**16 - 1  # of a layer: no sum of weights leaves the integers that float32 holds
_LARGEST_MANTISSA = 4095  # of a bias
_LARGEST_BIAS = _LARGEST_MANTISSA << 7
_UNITY = 4096  # of the decays
_LEVELS = 127  # of a weight of mixed sign, either side of 0

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class LoihiLayer:
    """A Dense connection and the LIF compartments it leads to.

    Attributes:
        weights: int16 [neurons, inputs], before clipping and truncation to what the synapses hold.
        weight_exp: Power of two on the accumulated input, -8 to 7.
        bias: int32 [neurons], each a mantissa of 13 bits times a power of two up to 2^7.
        du: Decay of u, 0 to 4095.
        dv: Decay of v, 0 to 4095.
        vth: Threshold, 0 to 131071, in units of 64 of v.

    Raises:
        UserError: A number does not fit its register, or the input of a neuron could exceed 2^18.
    """

    weights: Int16
    weight_exp: int
    bias: Int32
    du: int
    dv: int
    vth: int

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.weights.dtype != np.int16 or 0 in self.weights.shape:
            raise UserError(f"weights are {self.weights.dtype} of shape {self.weights.shape}, not int16 [neurons, inputs]",
                            where="Loihi layer", remedy="make the network with `quantise`")
        if self.bias.shape != (len(self.weights),) or self.bias.dtype != np.int32:
            raise UserError(f"biases are {self.bias.dtype} of shape {self.bias.shape}, not int32 [{len(self.weights)}]",
                            where="Loihi layer", remedy="give one bias for each neuron")
        for name, low, high in (("weight_exp", -8, 7), ("du", 0, 4095), ("dv", 0, 4095), ("vth", 0, LARGEST_VTH)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} is {getattr(self, name)}, the register holds {low} to {high}", where="Loihi layer",
                                remedy="scale the network to the chip's range")
        mantissa, exponent = self.bias_parts
        if (mantissa << exponent != self.bias).any():
            raise UserError("a bias is no 13-bit mantissa times a power of two up to 2^7", where="Loihi layer",
                            remedy="round it, or scale the network")
        if self.inputs > _MOST_INPUTS:
            raise UserError(f"{self.inputs} inputs are more than {_MOST_INPUTS}", where="Loihi layer",
                            remedy="split the layer")
        if self.largest_input > _LARGEST_INPUT:
            raise UserError(f"the accumulated input of a neuron could reach {self.largest_input}, more than 2^18",
                            where="Loihi layer", remedy="lower weight_exp, or split the layer's inputs")

    @property
    def neurons(self) -> int:
        return len(self.weights)

    @property
    def inputs(self) -> int:
        return int(self.weights.shape[1])

    @property
    def synapses(self) -> Int32:
        """int32 [neurons, inputs]: the weights as the synapses hold them.

        Clipped to -256 and 255, the lowest bit dropped where signs are mixed; one sign only has 8 bits of magnitude.
        """
        weights = self.weights.astype(np.int32)
        if weights.min() >= 0 or weights.max() <= 0:
            return weights.clip(-255, 255)
        return weights.clip(-256, 255) >> 1 << 1

    @property
    def bias_parts(self) -> tuple[Int32, Int32]:
        """Mantissa and exponent of each bias, int32 [neurons]: the smallest exponent whose mantissa has 13 bits."""
        exponent = np.zeros_like(self.bias)
        for _ in range(7):
            mantissa = self.bias >> exponent
            exponent += (mantissa > 4095) | (mantissa < -4096)
        return (self.bias >> exponent).clip(-4096, 4095).astype(np.int32), exponent

    @property
    def largest_input(self) -> int:
        """The largest magnitude that the accumulated input of any neuron can have (all synapses of one sign at once)."""
        synapses = self.synapses
        each = max(int(synapses.clip(0).sum(1).max()), -int(synapses.clip(None, 0).sum(1).min()))
        return math.ceil(each * 2.0**self.weight_exp)

    @property
    def largest_potential(self) -> float:
        """A bound on |v| if nothing ever fires: the largest u in every step, for ever; infinite without a leak."""
        if 0 in (self.dv, self.du + 1):
            return math.inf
        u = 64 * self.largest_input * _UNITY / (self.du + 1)
        return (u + int(np.abs(self.bias).max())) * _UNITY / self.dv


@dataclasses.dataclass(frozen=True, eq=False)
class LoihiNetwork:
    """Layers in a row; the last is the readout, whose threshold is out of reach.

    Raises:
        UserError: A layer's inputs are not the neurons of the one before, or the words not as many as the outputs.
    """

    layers: tuple[LoihiLayer, ...]
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        for before, after in itertools.pairwise(self.layers):
            if before.neurons != after.inputs:
                raise UserError(f"a layer of {before.neurons} neurons leads to one of {after.inputs} inputs",
                                where="Loihi network", remedy="give layers that follow on each other")
        if not self.layers or self.layers[-1].neurons != len(self.words):
            raise UserError(f"{len(self.words)} words do not fit the outputs of {len(self.layers)} layers",
                            where="Loihi network", remedy="give one word for each neuron of the last layer")

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def delay(self) -> int:
        """Steps until an input can show in the readout: one for each Dense."""
        return len(self.layers)


# ------------------------------------------------------------------------------------------------ from float
def quantise(net: FeedForwardLIF, words: Iterable[str]) -> LoihiNetwork:
    """The integer network nearest to a float one.

    Layer by layer ``(1 - leak) W = scale k`` with k from -127 to 127, the weight is 2 k (Lava drops the lowest bit) and
    ``weight_exp`` -1, so the input arrives as the sum of the k: nothing is lost, and u and v have a bit to spare. v counts
    64ths of ``scale``. Where threshold or biases would not fit, or the readout could reach its threshold, ``weight_exp``
    is lowered and the sum rounded down. Thresholds, leaks and biases are rounded to the nearest that there is.

    On the chip a layer's biases work from the start, while the clip reaches layer i (from 0) i + 1 steps later.

    Raises:
        UserError: The reset is soft, or a layer does not fit the chip's numbers at any ``weight_exp``.
    """
    settings = net.settings
    if settings.reset != "hard":
        raise UserError("a soft reset cannot be put on Loihi: its neurons go to 0 after a spike", where="network.reset",
                        remedy="train with reset=hard")
    hidden = [_layer(_float64(weights), _float64(bias), settings.leak, settings.threshold)
              for weights, bias in zip(net.weights, net.biases, strict=False)]
    readout = _layer(_float64(net.readout.weight), np.zeros(net.outputs), settings.output_leak, None)
    return LoihiNetwork((*hidden, readout), tuple(words))


def _float64(tensor: Tensor) -> Float64:
    values: Float64 = tensor.detach().cpu().double().numpy()
    return values


def _layer(weights: Float64, bias: Float64, leak: float, threshold: float | None) -> LoihiLayer:
    """One layer; the readout has no threshold."""
    dv = min(max(round((1 - leak) * _UNITY), 0), 4095)
    scale = float(np.abs(weights).max()) * (1 - leak) / _LEVELS
    if not (math.isfinite(scale) and np.isfinite(bias).all()):
        raise UserError("a weight or a bias is not finite", where="network", remedy="train it again")
    scale = scale or 1.0
    synapses = (2 * np.rint(weights * (1 - leak) / scale)).astype(np.int16)
    for weight_exp in range(-1, -9, -1):
        unit = scale / 2.0**(weight_exp + 1)  # of u and v, when divided by 64
        vth = LARGEST_VTH if threshold is None else round(threshold / unit)
        biases = 64 * (1 - leak) * bias / unit
        if not 1 <= vth <= LARGEST_VTH or np.abs(biases).max() > _LARGEST_BIAS:
            continue
        layer = LoihiLayer(synapses, weight_exp, _rounded(biases), NO_MEMORY, dv, vth)
        if threshold is not None or layer.largest_potential <= 64 * LARGEST_VTH:
            return layer
    raise UserError(f"a layer does not fit Loihi's numbers: leak {leak}, largest weight {np.abs(weights).max():.3g}"
                    + (f", threshold {threshold}, largest bias {np.abs(bias).max():.3g}" if threshold else
                       "; its potential could grow beyond 24 bits"),
                    where="network", remedy="use a shorter leak, a smaller layer, or weights nearer to the threshold")


def _rounded(biases: Float64) -> Int32:
    """The nearest numbers that are 13 bits times a power of two."""
    unit = 2.0**np.ceil(np.log2(np.abs(biases).clip(1) / _LARGEST_MANTISSA)).clip(0, 7)
    return (np.rint(biases / unit) * unit).astype(np.int32)


# ------------------------------------------------------------------------------------------------ files
def save_network(path: str | Path, net: LoihiNetwork, *, about: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write a network as safetensors: ``layer.<i>.weights`` and ``layer.<i>.bias``, the rest in the settings.

    Args:
        about: Further settings to keep: the encoder, the float network's own.
        provenance: From :func:`edgekws.core.provenance.provenance`.
    """
    import torch

    tensors = {f"layer.{index}.{name}": torch.from_numpy(getattr(layer, name))
               for index, layer in enumerate(net.layers) for name in ("weights", "bias")}
    constants = [{name: getattr(layer, name) for name in ("weight_exp", "du", "dv", "vth")} for layer in net.layers]
    files.write_model(path, tensors, architecture=ARCHITECTURE, provenance=provenance,
                      settings={**about, "layers": constants, "vocabulary": list(net.words)})


def load_network(path: str | Path) -> tuple[LoihiNetwork, dict[str, Any]]:
    """A network written by :func:`save_network`, and its metadata (``settings`` and ``provenance``).

    Raises:
        UserError: The file is missing, is no such model, or is damaged.
    """
    tensors, metadata = files.read_model(path, ARCHITECTURE)
    try:
        layers = tuple(LoihiLayer(weights=tensors[f"layer.{index}.weights"].numpy(),
                                  bias=tensors[f"layer.{index}.bias"].numpy(),
                                  **{name: int(constants[name]) for name in ("weight_exp", "du", "dv", "vth")})
                       for index, constants in enumerate(metadata["settings"]["layers"]))
        return LoihiNetwork(layers, tuple(files.vocabulary_of(metadata, len(layers[-1].bias), path))), metadata
    except UserError as error:
        raise UserError(error.what, where=path, remedy="quantise the network again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"does not hold all of a Loihi network ({error!r})", where=path,
                        remedy="quantise the network again") from error
