"""Settings of NeuEdge."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekws.core.settings import Fraction, PositiveFloat, PositiveInt, Settings
from edgekws.features.settings import LogMel
from edgekws.methods.neuedge.choices import NeuEdgeArm
from edgekws.models.settings import Conventional, LifNetwork


class Encoder(Settings):
    """The hybrid temporal encoder: a LIF unit per channel, threshold v_base (1 - alpha x) (Eq. 6 and 7)."""

    lag: Annotated[int, Field(ge=0)] = Field(
        2, description="steps back that the channels of rise and fall beside each band compare with; 0 leaves them out")
    lag_gain: PositiveFloat = Field(2.0, description="rise or fall of 1 / lag_gain of a band's range is a full input")
    leak: Fraction = Field(0.9, description="factor on the potential from one step to the next (beta)")
    base_threshold: PositiveFloat = Field(1.0, description="threshold at zero input (v_th,base)")
    alpha: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.25, description="how much of the threshold full input takes away (alpha)")
    gain: PositiveFloat = Field(1.0, description="input current at full input")


class EncodingGrid(Settings):
    """What the encoder's two settings do: spikes, bits and accuracy over a grid."""

    base_threshold: list[PositiveFloat] = Field([1.0, 2.0, 3.0], min_length=1, description="base thresholds tried")
    alpha: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        [0.0, 0.25, 0.5, 0.75], min_length=1, description="modulations tried")
    epochs: PositiveInt = Field(6, description="epochs of the net trained at each point of the grid")
    bins: Annotated[int, Field(ge=2)] = Field(16, description="quantile bins of the input in the estimate of mutual information")


class SpikingTraining(Settings):
    """Training of every arm of the ablation (neuedge.md)."""

    learning_rate: PositiveFloat = Field(1e-2, description="Adam's learning rate, falling along a cosine")
    final_learning_rate: PositiveFloat = Field(1e-5, description="learning rate of the last step")
    epochs: PositiveInt = Field(40, description="passes over the training split")
    batch_size: PositiveInt = Field(64, description="clips in a batch")
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-5, description="Adam's weight decay")
    clip: PositiveFloat = Field(1.0, description="largest norm of the gradient")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="share of a layer's spikes left out while training")
    time_shift: Annotated[int, Field(ge=0)] = Field(5, description="steps by which a training clip is shifted in time, at most")
    band_shift: Annotated[int, Field(ge=0)] = Field(
        1, description="bands by which it is shifted up or down, at most (another voice)")
    level_shift: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="what is added to or taken from its level at most, in units of a band's range (another loudness)")
    quantised: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2, description="share of the epochs, at the end, trained with 8-bit weights")


ChipName = Literal["mini_chip", "loihi1", "loihi2", "truenorth"]


class Hardware(Settings):
    """Joint optimisation of network and mapping (Eq. 9 and 10, Algorithm 1)."""

    chip: ChipName = Field(
        "mini_chip", description="chip of src/edgekws/methods/neuedge/chips.yaml that the network is trained for")
    weight: Annotated[float, Field(ge=0)] = Field(3e-4, description="weight of the hardware loss beside the task's (lambda_hw)")
    warm_up: Fraction = Field(
        0.2, description="share of the epochs before the hardware loss sets in, and as many in which it grows")
    cut: Fraction = Field(0.5, description="share of the epochs after which weak blocks of weights are cut for good")
    utilisation: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the term on core utilisation (lambda_1)")
    traffic: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the term on spikes between cores (lambda_2)")
    memory: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the term on synaptic memory (lambda_3)")
    group: PositiveInt = Field(16, description="neurons that are placed, and whose connections are pruned, together")
    placement_steps: PositiveInt = Field(2000, description="moves and swaps tried by one optimisation of the mapping")
    widths: list[PositiveInt] = Field(
        [16, 32, 48, 64, 96, 128, 192, 256, 384, 512], min_length=1,
        description="widths of two hidden layers whose utilisation of every chip is shown, untrained")
    sweep_chips: list[ChipName] = Field(
        ["mini_chip", "loihi1", "loihi2"], min_length=1, description="chips that is shown for")


class AdaptiveThreshold(Settings):
    """Thresholds that follow the activity at run time (Eq. 11)."""

    gamma: list[Annotated[float, Field(ge=0)]] = Field([0.0, 0.25, 0.5, 1.0], min_length=1, description="gains tried (gamma)")
    chosen: Annotated[float, Field(ge=0)] = Field(0.5, description="the gain of the ablation's arms")
    decay: Fraction = Field(0.9, description="decay of the running mean of a layer's activity, per clip")
    clamp: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.5, 2.0), description="range of the threshold, in units of the fixed one")


class NoiseTest(Settings):
    """Test clips with background noise, and background noise alone."""

    snr_db: list[float] = Field([20.0, 10.0, 5.0, 0.0], min_length=1, description="signal-to-noise ratios, dB")
    clips: PositiveInt = Field(1000, description="test clips taken, at most")


class Referee(Settings):
    """How far Lava checks the integer simulator."""

    clips: PositiveInt = Field(50, description="test clips whose every spike and membrane value is compared")
    timeout: PositiveFloat = Field(1800.0, description="seconds after which a tool in an environment of its own is given up")


class NeuEdge(Settings):
    """All of paper 2 (neuedge.md)."""

    features: LogMel = Field(default_factory=LogMel, description="front end")
    encoder: Encoder = Field(default_factory=Encoder, description="spikes from features")
    grid: EncodingGrid = Field(default_factory=EncodingGrid, description="the encoder swept")
    network: LifNetwork = Field(default_factory=LifNetwork, description="the spiking network")
    conventional: Conventional = Field(default_factory=Conventional, description="the conventional network")
    training: SpikingTraining = Field(default_factory=SpikingTraining, description="training of every arm")
    hardware: Hardware = Field(default_factory=Hardware, description="hardware-aware optimisation")
    adaptive: AdaptiveThreshold = Field(default_factory=AdaptiveThreshold, description="thresholds at run time")
    noise: NoiseTest = Field(default_factory=NoiseTest, description="robustness")
    referee: Referee = Field(default_factory=Referee, description="Lava's check")

    def of_arm(self, arm: NeuEdgeArm) -> dict[str, Any]:
        """What the training of an arm depends on, as JSON values.

        >>> sorted(NeuEdge().of_arm("mapped"))
        ['encoder', 'features', 'hardware', 'network', 'training']
        """
        sections = {"features", "training"} | ({"conventional"} if arm == "ann" else {"encoder", "network"})
        if arm in ("mapped", "full"):
            sections.add("hardware")
        if arm == "full":
            sections.add("adaptive")
        return self.model_dump(mode="json", include=sections)


SECTION = NeuEdge
