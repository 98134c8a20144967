"""Settings of the networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgekws.core.settings import Fraction, PositiveFloat, PositiveInt, Settings


class Network(Settings):
    """Recurrent LIF layers and a leaky-integrator readout (section 6; alpha, beta, theta, k of the paper)."""

    hidden: list[PositiveInt] = Field([450], min_length=1, description="neurons of each hidden layer")
    recurrent: bool = Field(True, description="recurrent weights inside each hidden layer")
    membrane_leak: Fraction = Field(0.77, description="factor on the membrane potential from one step to the next (alpha)")
    trace_leak: Fraction = Field(0.977, description="factor on the spike trace from one step to the next (beta)")
    output_leak: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="factor on the readout's potential; 1 integrates")
    threshold: PositiveFloat = Field(0.66, description="firing threshold (theta)")
    reset: Literal["hard", "soft"] = Field("hard", description="to zero (what the released code does on GSC), or by subtraction")
    surrogate_scale: PositiveFloat = Field(10.0, description="height of the arctan surrogate derivative (k)")
    spare_outputs: Annotated[int, Field(ge=0)] = Field(1, description="outputs beside the words; the authors' 36th never occurs")


class LifNetwork(Settings):
    """Feed-forward LIF layers and a leaky-integrator readout (Eq. 3), in Norse's dynamics."""

    hidden: list[PositiveInt] = Field([256, 256], min_length=1, description="neurons of each hidden layer")
    leak: Fraction = Field(0.8, description="factor on the membrane potential from one step to the next (beta)")
    threshold: PositiveFloat = Field(1.0, description="firing threshold (v_th)")
    reset: Literal["hard", "soft"] = Field(
        "hard", description="to zero, as Loihi's neurons do, or by subtraction (the paper's Eq. 3, perhaps)")
    output_leak: Fraction = Field(0.9, description="factor on the readout's potential; its mean over time decides")
    surrogate_slope: PositiveFloat = Field(
        5.0, description="slope k of the SuperSpike surrogate 1 / (1 + k |v - v_th|)^2; Norse's own is 1")


class ConvNetwork(Settings):
    """A VGG-like net of spiking convolutions (section 2.9; alpha, beta, theta, k of the paper)."""

    layers: list[Annotated[str, Field(pattern=r"^[1-9][0-9]*[MA]?$")]] = Field(
        ["8", "16M", "32", "32M", "64", "64M", "64", "64A"], min_length=1,
        description="channels of each 3 x 3 convolution, M: halved by the largest of four, A: averaged to 2 x 2; VGG-9's are "
        "eight times as many")
    membrane_leak: Fraction = Field(0.53, description="factor on the membrane potential from one step to the next (alpha)")
    trace_leak: Fraction = Field(0.98, description="factor on the spike trace from one step to the next (beta)")
    output_leak: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="factor on the readout's potential; 1 integrates")
    threshold: PositiveFloat = Field(1.0, description="firing threshold (theta)")
    reset: Literal["hard", "soft"] = Field("soft", description="to zero, or by subtraction (the authors' on event data)")
    surrogate_scale: PositiveFloat = Field(1.0, description="height of the arctan surrogate derivative (k)")


class AdaptiveNetwork(Settings):
    """Recurrent layers of adaptive LIF neurons: the strong spiking base (Bittar & Garner 2022)."""

    hidden: list[PositiveInt] = Field([256, 256], min_length=1, description="neurons of each hidden layer")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="share of neurons that are silenced for a clip in training")


class Conventional(Settings):
    """The convolutional net that the spiking one is compared with, on the same features."""

    channels: list[PositiveInt] = Field([32, 32], min_length=1, description="channels of each convolution over time")
    width: PositiveInt = Field(9, description="steps a convolution sees")
    stride: PositiveInt = Field(2, description="steps between its outputs")
