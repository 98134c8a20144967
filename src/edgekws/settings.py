"""Every setting there is: the single source of defaults, validation, ``config/default.yaml`` and the JSON schema.

A section of the settings is what one family of commands depends on; the workflow hands each rule its own
section, so a changed value reruns just what it touches. Unknown names are refused with a suggestion.
"""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edgekws.choices import Backbone, MethodName, NeuEdgeArm
from edgekws.device import Name as DeviceName
from edgekws.errors import UserError, did_you_mean

Section = TypeVar("Section", bound="Settings")
Fraction = Annotated[float, Field(gt=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Shot = Annotated[int, Field(ge=1)] | Literal["all"]


def _all_different(values: list[int]) -> list[int]:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"{', '.join(map(str, twice))} is there twice")
    return values


Seeds = Annotated[list[int], Field(min_length=1), AfterValidator(_all_different)]


class Settings(BaseModel):
    """A section: unknown names are refused, values cannot be changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ------------------------------------------------------------------------------------------------ corpus
class SyntheticSpeakers(Settings):
    """How many voices each split has."""

    train: PositiveInt = Field(40, description="speakers of the training split")
    validation: PositiveInt = Field(6, description="users of the validation split")
    test: PositiveInt = Field(8, description="users of the test split")


class Synthetic(Settings):
    """Speech made by espeak-ng, in the layout of Google Speech Commands."""

    words: list[str] = Field(["yes", "no", "up", "down", "left", "right", "stop", "go"],
                             min_length=2, description="the words, one folder each")
    speakers: SyntheticSpeakers = Field(default_factory=SyntheticSpeakers)
    takes: PositiveInt = Field(3, description="takes of each word by a training speaker")
    user_takes: PositiveInt = Field(5, description="takes of each word by a validation or test speaker")
    noise_db: tuple[float, float] = Field((10.0, 40.0), description="range of the signal-to-noise ratio, dB")

    @field_validator("words", mode="before")
    @classmethod
    def _quoted(cls, words: Any) -> Any:
        if isinstance(words, list) and any(isinstance(word, bool) for word in words):
            raise ValueError("YAML reads the words yes, no, on and off as true and false: put them in quotes")
        return words


class Corpus(Settings):
    """The speech that words are learnt from."""

    name: Literal["synthetic", "gsc"] = Field(
        "synthetic", description="embedded synthetic speech, or Google Speech Commands (v0.02 by DVC, or `archive`)")
    synthetic: Synthetic = Field(default_factory=Synthetic, description="the embedded corpus")


# ------------------------------------------------------------------------------------------------ Traces Propagation
class Features(Settings):
    """Log-mel with first and second differences (traces_propagation.md, section 4)."""

    window: PositiveInt = Field(480, description="samples in a window (30 ms)")
    hop: PositiveInt = Field(160, description="samples between frames (10 ms)")
    mels: PositiveInt = Field(40, description="mel bands")
    lowest: Annotated[float, Field(ge=0)] = Field(20.0, description="lowest frequency, Hz")
    highest: Annotated[float, Field(gt=0, le=8000)] = Field(4000.0, description="highest frequency, Hz")
    delta_width: Literal[3, 5, 7, 9, 11] = Field(9, description="frames in the window of the differences")


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


class Training(Settings):
    """A budget: how long to train, in what steps."""

    learning_rate: PositiveFloat = Field(1e-4, description="Adam's learning rate in the first epoch")
    epochs: PositiveInt = Field(3, description="passes over the clips")
    batch_size: PositiveInt = Field(1024, description="clips in a batch; smaller sets make one batch")


class BaseTraining(Training):
    """Training of a base model before anybody adapts it."""

    epochs: PositiveInt = Field(10, description="passes over the training split")
    balanced: bool = Field(True, description="draw the training clips with replacement, each word equally often, once")
    set_size: PositiveInt = Field(512, description="clips normalised together under per-set normalisation")


class Methods(Settings):
    """What is done with the user's support clips; each method has a budget of its own."""

    traces_propagation: Training = Field(default_factory=Training, description="the paper's rule on all weights")
    from_scratch: Training = Field(default_factory=Training, description="the same rule on a net that was never trained")
    readout_only: Training = Field(default_factory=Training, description="the rule's readout part alone; hidden layers frozen")
    bptt: Training = Field(default_factory=lambda: Training(learning_rate=1e-3),
                           description="back-propagation through time of the same net in Norse's neurons")


class Tuning(Settings):
    """What the tuned experiments choose from, on the validation split's users only."""

    learning_rate: list[PositiveFloat] = Field([1e-5, 3e-5, 1e-4, 3e-4], min_length=1, description="learning rates tried")
    epochs: list[PositiveInt] = Field([3, 10], min_length=1, description="numbers of epochs tried")
    batch_size: list[PositiveInt] = Field([8, 1024], min_length=1, description="batch sizes tried")
    users: PositiveInt = Field(16, description="validation users it is tried on, at most")
    folds: PositiveInt = Field(1, description="folds of each user it is tried on, at most")
    shots: Shot = Field("all", description="support clips of each word while tuning")


class OneUser(Settings):
    """The paper's protocol: one speaker left out."""

    speaker: str | None = Field("c50f55b8", description="the user; null takes the training speaker with most distinct takes")
    support_fraction: Fraction = Field(0.8, description="share of each word's clips that goes to the support pool")
    shots: list[Shot] = Field([1, 5, "all"], min_length=1, description="support clips of each word")
    split_seed: int = Field(42, description="seed of the split into support and query")


class ManyUsers(Settings):
    """Every speaker of the validation and test splits with enough takes, cross-validated over takes."""

    minimum_takes: PositiveInt = Field(20, description="distinct takes a speaker needs")
    folds: Annotated[int, Field(ge=2)] = Field(5, description="folds over the takes of a user")
    shots: list[Shot] = Field([1, 3, "all"], min_length=1, description="support clips of each word, at most")
    split_seed: int = Field(42, description="seed of the folds")


class Experiment(Settings):
    """One experiment of Traces Propagation: whose clips, which methods."""

    plan: Literal["one_user", "many_users"] = Field("many_users", description="whose clips, split how")
    normalisation: Literal["frozen", "per_set"] = Field(
        "frozen", description="feature scale: frozen from base training, or each set's own (the authors'; transductive)")
    tuned: bool = Field(False, description="budget chosen on the validation users and reported on the test users")
    methods: list[MethodName] = Field(["traces_propagation"], min_length=1, description="methods compared")
    shots: list[Shot] | None = Field(None, min_length=1, description="some of the plan's shots only; null takes all")


_ALL_METHODS: list[MethodName] = list(typing.get_args(MethodName))


def _experiments() -> dict[Name, Experiment]:
    return {
        "one_user": Experiment(plan="one_user", normalisation="per_set", methods=_ALL_METHODS),
        "many_users": Experiment(methods=_ALL_METHODS),
        "many_users_per_set": Experiment(normalisation="per_set"),
        "many_users_tuned": Experiment(tuned=True, methods=_ALL_METHODS),
    }


class TracesPropagation(Settings):
    """All of paper 1 (traces_propagation.md)."""

    features: Features = Field(default_factory=Features, description="front end")
    network: Network = Field(default_factory=Network, description="the spiking network")
    base: BaseTraining = Field(default_factory=BaseTraining, description="training of the base model")
    one_user: OneUser = Field(default_factory=OneUser, description="the paper's protocol")
    many_users: ManyUsers = Field(default_factory=ManyUsers, description="the wider protocol")
    methods: Methods = Field(default_factory=Methods, description="budget of each way to adapt")
    tuning: Tuning = Field(default_factory=Tuning, description="grid of the tuned experiments")
    others: PositiveInt = Field(256, description="test clips of other speakers on which forgetting is measured, at most")
    experiments: dict[Name, Experiment] = Field(default_factory=_experiments, description="the experiments by name")


# ------------------------------------------------------------------------------------------------ NeuEdge
class LogMel(Settings):
    """Log-mel frames on a scale from 0 to 1 (neuedge.md, section 4)."""

    window: PositiveInt = Field(400, description="samples in a window (25 ms)")
    hop: PositiveInt = Field(160, description="samples between frames (10 ms)")
    mels: PositiveInt = Field(40, description="mel bands")
    lowest: Annotated[float, Field(ge=0)] = Field(20.0, description="lowest frequency, Hz")
    highest: Annotated[float, Field(gt=0, le=8000)] = Field(8000.0, description="highest frequency, Hz")
    pool: PositiveInt = Field(2, description="frames averaged into one time step of the network")
    percentiles: tuple[float, float] = Field(
        (1.0, 99.0), description="percentiles of a band over the training clips that become 0 and 1")


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


class Conventional(Settings):
    """The convolutional net that the spiking one is held against, on the same features."""

    channels: list[PositiveInt] = Field([32, 32], min_length=1, description="channels of each convolution over time")
    width: PositiveInt = Field(9, description="steps a convolution sees")
    stride: PositiveInt = Field(2, description="steps between its outputs")


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

    chip: ChipName = Field("mini_chip", description="chip of src/edgekws/neuedge/chips.yaml that the network is trained for")
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


# ------------------------------------------------------------------------------------------------ OnDA
class WakeSpeakers(Settings):
    """How many speakers each split of the wake-word corpus has."""

    train: PositiveInt = Field(80, description="speakers of the unlabelled stream")
    dev: PositiveInt = Field(6, description="users of the dev split; who only says sentences comes on top")
    test: PositiveInt = Field(6, description="users of the test split; likewise")


class SyntheticWakeWords(Settings):
    """A wake-word corpus spoken by espeak-ng, in HeySnips' layout."""

    phrase: str = Field("hey snips", min_length=1, description="the wake phrase")
    speakers: WakeSpeakers = Field(default_factory=WakeSpeakers, description="speakers by split")
    positives: PositiveInt = Field(8, description="wake phrases of each speaker of the stream")
    user_positives: PositiveInt = Field(24, description="wake phrases of each dev or test speaker")
    stream_hours: PositiveFloat = Field(1.0, description="hours of ordinary sentences in the train split")
    test_hours: PositiveFloat = Field(4.0, description="hours of ordinary sentences in the dev and test splits together")
    near_misses: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="share of the sentences that hold words which sound like the wake phrase")
    noise_db: tuple[float, float] = Field((5.0, 30.0), description="range of the signal-to-noise ratio, dB")


class WakeWordCorpus(Settings):
    """The speech that a wake word is listened for in."""

    name: Literal["synthetic", "heysnips", "heysnapdragon"] = Field(
        "synthetic", description="embedded synthetic speech, HeySnips (v1 or v2), or HeySnapdragon with HeySnips' negatives")
    archive: str | None = Field(
        None, description="HeySnips: the archive or its folder; `edgekws corpus register heysnips` pins it")
    positives: str | None = Field(
        None, description="HeySnapdragon: the folder or archive of the Qualcomm Keyword Speech Dataset")
    synthetic: SyntheticWakeWords = Field(default_factory=SyntheticWakeWords, description="the embedded corpus")
    minimum_positives: PositiveInt = Field(
        11, description="wake phrases a user needs (the base code: more than 10; HeySnips v1 has at most 10: 9 there)")
    minimum_seconds: Annotated[float, Field(ge=0)] = Field(1.0, description="shorter utterances are left out")
    test_speakers: PositiveInt = Field(20, description="HeySnapdragon: speakers at the list's end who are users")


class WakeWindows(Settings):
    """One-second windows of an utterance, as MFCC (onda.md, sections 3.1 and 3.3)."""

    stride: PositiveInt = Field(2000, description="samples between windows (0.125 s)")
    crop_step: PositiveInt = Field(400, description="samples between the places tried for the crop of most energy (25 ms)")
    stream_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="share of the train split that is the unlabelled stream, the same for every user")


class Pretraining(Settings):
    """Triplet training of the encoder on words (section 2.1; section 6)."""

    words: str | None = Field(
        None, description="MSWC English: its folder (clips/, en_train.csv); null takes the words of this run's GSC corpus")
    vocabulary: PositiveInt = Field(500, description="most frequent words taken")
    without: list[str] = Field(["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"],
                               description="words of MSWC left out (GSC's ten commands)")
    episodes: PositiveInt = Field(16_000, description="updates (the authors: 40 epochs of 400)")
    episodes_of: dict[Backbone, PositiveInt] = Field(
        default_factory=dict, description="updates of single encoders, where they are not as many")
    classes: Annotated[int, Field(ge=2)] = Field(80, description="words in an update, at most")
    clips: Annotated[int, Field(ge=2)] = Field(20, description="clips of each word in an update")
    learning_rate: PositiveFloat = Field(1e-3, description="Adam's learning rate")
    halvings: Annotated[int, Field(ge=0)] = Field(1, description="how often, evenly spaced, the learning rate is halved")
    margin: PositiveFloat = Field(0.5, description="margin of the triplet loss, in squared distance")
    time_shift: Annotated[int, Field(ge=0)] = Field(1600, description="samples by which a clip is shifted, at most (100 ms)")
    noise: str | None = Field(None, description="folder of noise recordings (DEMAND: *.wav below it); null makes coloured noise")
    noise_probability: Annotated[float, Field(ge=0, le=1)] = Field(0.95, description="share of the clips that noise is added to")
    snr_db: tuple[float, float] = Field((0.0, 5.0), description="range of the signal-to-noise ratio, dB")
    snr_as_released: bool = Field(
        False, description="the base code's 10**snr / 10 in place of 10**(snr / 10) (its noise is then far weaker)")


class Calibration(Settings):
    """From a few recordings of the user: prototype, filter and thresholds (section 2.2)."""

    recordings: PositiveInt = Field(3, description="wake phrases that the user records (K)")
    negatives: PositiveInt = Field(3, description="other utterances beside them")
    filters: list[PositiveInt] = Field([1, 2, 3, 4, 5], min_length=1, description="lengths of the moving average tried, windows")
    low: PositiveFloat = Field(0.4, description="pseudo-positive below prototype distance plus this share of the gap (tau_L)")
    high: PositiveFloat = Field(0.9, description="pseudo-negative above prototype distance plus this share (tau_H)")
    cap: PositiveFloat = Field(0.5, description="the most that the lower threshold lies above the worst positive")
    detection: PositiveFloat = Field(0.3, description="share of the gap of the threshold that a device would use")
    refuse_negative_gap: bool = Field(
        True, description="leave a user as he is whose calibration failed (no gap); the base code goes on")


class FineTuning(Settings):
    """Triplets of pseudo-positive, recording and pseudo-negative (section 2.4)."""

    epochs: PositiveInt = Field(20, description="passes over the pseudo-positives")
    learning_rate: PositiveFloat = Field(1e-3, description="Adam's learning rate")
    positives: PositiveInt = Field(20, description="pseudo-positives in a batch; with fewer in all nothing is trained")
    negatives: PositiveInt = Field(120, description="pseudo-negatives in a batch")
    margin: PositiveFloat = Field(0.5, description="margin of the triplet loss")
    skip_first_negative: bool = Field(False, description="the base code leaves the first negative of every batch out")
    most_positives: PositiveInt | None = Field(
        None, description="pseudo-positives kept at most, drawn at random; null keeps all, as the paper does")


class Pruning(Settings):
    """Which channels go (section 2.5; gaps 1 to 9)."""

    target: Literal["channels", "parameters"] = Field("channels", description="what a ratio is a share of")
    embedding: bool = Field(False, description="prune the embedding too")
    l1: Literal["mean", "sum"] = Field("mean", description="global L1: mean or sum of |w| over a channel's filters")
    residual: Literal["sum", "mean"] = Field("sum", description="scores of the convolutions that share a residual channel")
    hap_trace: Literal["signed", "absolute"] = Field("signed", description="sign of a channel's Hessian trace in the HAP score")
    probes: PositiveInt = Field(50, description="Hutchinson probes in all, dealt over the mini-batches (n_v)")
    batches: PositiveInt = Field(8, description="mini-batches of triplets the Hessian is averaged over (M)")
    least_active: Fraction = Field(0.05, description="with fewer active triplets HAP scores the loss without its hinge")
    largest_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.95, description="share of a layer's channels that may go, at most")
    retrain_episodes: PositiveInt = Field(4000, description="updates of the pre-training recipe after offline pruning")


Schedule = Literal["none", "onda_1", "onda_2", "random_before", "random_after", "l1_before", "hap_after", "hap_wrong_domain",
                   "oracle", "oracle_onda_1"]
Share = Annotated[float, Field(ge=0, lt=1)]


class OndaExperiment(Settings):
    """One experiment of OnDA: which encoder, pruned when, how and by how much."""

    backbone: Backbone = Field("ds_cnn_l", description="the encoder")
    schedules: list[Schedule] = Field(["none", "onda_1", "onda_2"], min_length=1, description="what is done on the device")
    ratios: list[Fraction] = Field([0.25, 0.5, 0.75], min_length=1, description="shares pruned on the device")
    offline: list[Share] = Field([0.0], min_length=1, description="shares pruned before deployment; 0 is the unpruned encoder")
    users: PositiveInt | None = Field(None, description="users measured, at most; null takes all")
    seeds: Seeds | None = Field(None, description="null takes the run's")
    parts: PositiveInt = Field(1, description="jobs that the users are dealt to")
    screening_check: bool = Field(
        True, description="score the encoder as deployed on every window, to see whether screening changes any figure")


_CONTROLS: list[Schedule] = ["none", "onda_1", "onda_2", "random_before", "random_after", "l1_before", "hap_after",
                             "hap_wrong_domain", "oracle", "oracle_onda_1"]


def _onda_experiments() -> dict[Name, OndaExperiment]:
    return {
        "ds_cnn": OndaExperiment(offline=[0.0, 0.25, 0.5], parts=20),
        "resnet": OndaExperiment(backbone="resnet15", offline=[0.0, 0.25, 0.5], parts=20),
        "controls": OndaExperiment(schedules=_CONTROLS, parts=20),
        "stacking": OndaExperiment(backbone="ds_cnn_s", offline=[0.0, 0.25, 0.5]),
    }


class OndaEvaluation(Settings):
    """At what rate of false alarms accuracy is told, and how the test set is scanned."""

    false_alarms_per_hour: PositiveFloat = Field(0.5, description="the operating point of the paper's metric")
    curve: list[Annotated[float, Field(ge=0)]] = Field(
        [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0], min_length=1, description="false alarms per hour of the DET curve")
    screen_every: PositiveInt = Field(
        1, description="first score every so many windows of a test negative; 1 scores all of them and screens nothing")
    screen_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="share of the test negatives, those nearest to the wake word, whose other windows are scored too")
    slack: Annotated[float, Field(ge=0)] = Field(
        0.5, description="points of accuracy that the second reading of equal accuracy lets go")


class OndaCost(Settings):
    """Time and memory on the machine at hand (gap 15)."""

    backbone: Backbone = Field("ds_cnn_l", description="the encoder measured")
    threads: PositiveInt = Field(2, description="compute threads while the clock runs")
    ratios: list[Fraction] = Field([0.25, 0.5, 0.75], min_length=1, description="shares pruned")
    warm_up: PositiveInt = Field(50, description="inferences before the clock starts")
    inferences: PositiveInt = Field(500, description="inferences of one window, interleaved with the unpruned net's")
    steps: PositiveInt = Field(10, description="training steps timed, interleaved likewise")
    pseudo_positives: PositiveInt = Field(200, description="pseudo-positives of the adaptation that is reckoned")


class HessianCheck(Settings):
    """How good Hutchinson's estimate is, and how stable the ranking of channels."""

    probes: list[PositiveInt] = Field([10, 50, 300], min_length=2, description="numbers of probes compared")
    repetitions: PositiveInt = Field(5, description="rankings made with each")
    backbone: Backbone = Field("ds_cnn_s", description="the encoder whose channels are ranked")


class Personalisation(Settings):
    """What personalising the users of one experiment depends on."""

    experiment: OndaExperiment = Field(default_factory=OndaExperiment)
    calibration: Calibration = Field(default_factory=Calibration)
    finetuning: FineTuning = Field(default_factory=FineTuning)
    pruning: Pruning = Field(default_factory=Pruning)
    evaluation: OndaEvaluation = Field(default_factory=OndaEvaluation)


class OnDA(Settings):
    """All of paper 3 (onda.md)."""

    corpus: WakeWordCorpus = Field(default_factory=WakeWordCorpus, description="the wake-word speech")
    windows: WakeWindows = Field(default_factory=WakeWindows, description="front end")
    spoken_words: Synthetic | None = Field(
        None, description="words for pre-training spoken by espeak-ng (fields as of corpus.synthetic); null takes the run's own")
    pretraining: Pretraining = Field(default_factory=Pretraining, description="the encoder before deployment")
    calibration: Calibration = Field(default_factory=Calibration, description="the user's recordings")
    finetuning: FineTuning = Field(default_factory=FineTuning, description="weights on the device")
    pruning: Pruning = Field(default_factory=Pruning, description="channels on the device, and before")
    experiments: dict[Name, OndaExperiment] = Field(default_factory=_onda_experiments, description="the experiments by name")
    evaluation: OndaEvaluation = Field(default_factory=OndaEvaluation, description="operating points")
    cost: OndaCost = Field(default_factory=OndaCost, description="time and memory")
    hessian: HessianCheck = Field(default_factory=HessianCheck, description="check of the Hessian's estimate")

    @property
    def adapted_as(self) -> str:
        """The experiment after which an adapted encoder is kept as a file. By name: a written-down configuration has its
        experiments in another order.
        """
        return "ds_cnn" if "ds_cnn" in self.experiments else min(self.experiments)


# ------------------------------------------------------------------------------------------------ alternatives
LocalRule = Literal["traces_propagation", "eprop", "eprop_random", "decolle", "etlp", "osttp", "tess"]
NetName = Literal["spiking", "ds_cnn"]
GradientPart = Literal["full", "full_int8", "readout", "last_layer", "threshold", "lora", "adapter"]


class AlternativeTraining(Training):
    """A method's budget on a user's clips; its learning rate is tuned."""

    learning_rate: PositiveFloat = Field(
        1e-3, description="learning rate in the first epoch, where time and memory are measured; else each method's is tuned")
    epochs: PositiveInt = Field(10, description="passes over the clips")
    batch_size: PositiveInt = Field(1024, description="clips in a batch; smaller sets make one batch")


class AlternativeMethod(Settings):
    """One way to adapt: a local rule, or back-propagation into a part of the net."""

    kind: LocalRule | GradientPart = Field("full", description="the local rule, or what back-propagation trains")
    net: NetName = Field("spiking", description="the base net; local rules are for the spiking one")
    rank: PositiveInt = Field(4, description="rank of LoRA, width of an adapter's bottleneck")
    optimiser: Literal["adam", "sgd"] = Field("adam", description="Adam, or plain gradient descent, which keeps no state")


def _alternative_methods() -> dict[Name, AlternativeMethod]:
    return {
        **{kind: AlternativeMethod(kind=kind) for kind in typing.get_args(LocalRule)},
        **{f"bptt_{kind}": AlternativeMethod(kind=kind)
           for kind in ("full", "full_int8", "readout", "threshold", "adapter")},
        **{f"bptt_lora_{rank}": AlternativeMethod(kind="lora", rank=rank) for rank in (1, 4, 16)},
        "bptt_full_sgd": AlternativeMethod(optimiser="sgd"),
        **{f"ds_cnn_{kind}": AlternativeMethod(kind=kind, net="ds_cnn")
           for kind in ("full", "readout", "last_layer", "threshold", "adapter")},
        **{f"ds_cnn_lora_{rank}": AlternativeMethod(kind="lora", net="ds_cnn", rank=rank) for rank in (1, 4, 16)},
    }


class AlternativeTuning(Settings):
    """What each method takes the best of, for the validation split's users only."""

    learning_rate: list[PositiveFloat] = Field(
        [3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2], min_length=1,
        description="learning rates tried: local rules update at every frame, and want them a hundred times lower than what "
        "learns once for each batch")
    users: PositiveInt = Field(16, description="validation users it is tried on, at most")
    folds: PositiveInt = Field(1, description="folds of each user it is tried on, at most")
    shots: Shot = Field("all", description="support clips of each word while tuning")


class DsCnnTraining(Training):
    """Training of the conventional base net."""

    learning_rate: PositiveFloat = Field(2e-3, description="Adam's learning rate in the first epoch")
    epochs: PositiveInt = Field(15, description="passes over the training split")
    batch_size: PositiveInt = Field(32, description="clips in a batch")


class DeviceLimits(Settings):
    """Memory of a device, and what is reckoned for it."""

    budgets: list[PositiveInt] = Field([256, 512, 1024, 2048], min_length=1, description="memories of a device, KiB")
    widths: list[PositiveInt] = Field([64, 128, 256, 450], min_length=1, description="neurons of the spiking net's hidden layer")
    batch_sizes: list[PositiveInt] = Field([1, 8], min_length=1, description="clips that are learnt from at a time")
    clips: PositiveInt = Field(16, description="support clips that are learnt from in all")
    repetitions: PositiveInt = Field(5, description="adaptations that are timed; the median counts")


class Retention(Settings):
    """Remedies against forgetting, and users one after another on one device."""

    methods: list[Name] = Field(["traces_propagation", "bptt_full", "bptt_lora_4"], min_length=1, description="methods compared")
    rehearsal: list[PositiveInt] = Field([16, 64], description="base clips learnt again beside the user's, numbers tried")
    elastic: list[PositiveFloat] = Field([1.0, 100.0, 10000.0], description="weights of the pull towards the base (EWC), tried")
    fisher_clips: PositiveInt = Field(256, description="base clips that the Fisher information is estimated from")
    users: PositiveInt | None = Field(None, description="test users measured, at most; null takes all")
    sequence: Annotated[int, Field(ge=2)] = Field(5, description="users that follow one another on one device")


class Federated(Settings):
    """Users with words of their own who teach one readout together."""

    users: PositiveInt | None = Field(None, description="users of a split that take part, at most; null takes all")
    folds: PositiveInt = Field(5, description="folds of each user, at most; each is a federation of its own")
    shot: Shot = Field("all", description="support clips of each word, at most")
    words: PositiveInt = Field(4, description="words that a user has clips of, at most")
    rounds: PositiveInt = Field(20, description="rounds of averaging")
    users_per_round: PositiveInt | None = Field(None, description="users drawn for each round; null takes all")
    steps: PositiveInt = Field(4, description="steps of a user in a round")
    sampling: Fraction = Field(0.25, description="probability of a clip to be in a step")
    rank: PositiveInt | None = Field(None, description="learn LoRA's up-projection of this rank; null: the whole readout")
    learning_rates: list[PositiveFloat] = Field(
        [0.1, 0.3, 1.0, 3.0, 10.0, 30.0], min_length=1,
        description="learning rates, of which each way of learning takes the best for the validation users")
    noise: list[PositiveFloat] = Field([1.0, 2.0, 4.0, 8.0], description="noise multipliers of differential privacy")
    clipping: PositiveFloat = Field(1.0, description="largest norm of a clip's gradient under differential privacy")
    delta: Fraction = Field(1e-5, description="delta of the (epsilon, delta) guarantee for one clip of one user")
    others: PositiveInt = Field(600, description="clips by speakers who take no part, at most, for what is forgotten")


class Alternatives(Settings):
    """What else could adapt this model, on the users, folds and shots of Traces Propagation."""

    ds_cnn: DsCnnTraining = Field(default_factory=DsCnnTraining, description="training of the conventional base net")
    methods: dict[Name, AlternativeMethod] = Field(default_factory=_alternative_methods, description="methods by name")
    compared: list[Name] | None = Field(None, min_length=1, description="some of the methods only; null takes all")
    training: AlternativeTraining = Field(
        default_factory=AlternativeTraining, description="budget of every method but for its learning rate")
    tuning: AlternativeTuning = Field(default_factory=AlternativeTuning, description="choice of the learning rate")
    shots: list[Shot] | None = Field(None, min_length=1, description="some of the plan's shots only; null takes all")
    folds: PositiveInt | None = Field(None, description="folds of each user, at most; null takes all")
    others: PositiveInt = Field(256, description="test clips of other speakers on which forgetting is measured, at most")
    limits: DeviceLimits = Field(default_factory=DeviceLimits, description="limits of a device")
    retention: Retention = Field(default_factory=Retention, description="not forgetting")
    federated: Federated = Field(default_factory=Federated, description="learning together")


class Statistics(Settings):
    """How intervals are made."""

    confidence: Fraction = Field(0.95, description="coverage of every interval")
    resamples: PositiveInt = Field(10_000, description="bootstrap resamples")
    seed: int = Field(0, description="seed of the bootstrap")


class OndaSummary(Settings):
    """What summing an experiment up depends on."""

    evaluation: OndaEvaluation = Field(default_factory=OndaEvaluation)
    statistics: Statistics = Field(default_factory=Statistics)


class Config(Settings):
    """The whole configuration of a run."""

    run: Name = Field("default", description="name of the run: its results are in results/<run>")
    seed: int = Field(0, description="what every random choice of the corpus derives from")
    seeds: Seeds = Field([0, 1, 2], description="one base model and its adaptations for each")
    threads: PositiveInt = Field(1, description="compute threads of a job; the bytes of a result may depend on it")
    device: DeviceName = Field(
        "cpu", description="where base nets and encoders are trained (not the DS-CNN of the alternatives, nor adaptations): a "
        "GPU (cuda; auto: where there is one) agrees within a tolerance only")
    archive: str | None = Field(
        None, description="with corpus name gsc: an archive in that layout to use instead of the whole of GSC v0.02")
    corpus: Corpus = Field(default_factory=Corpus, description="the speech")
    traces_propagation: TracesPropagation = Field(default_factory=TracesPropagation, description="paper 1")
    neuedge: NeuEdge = Field(default_factory=NeuEdge, description="paper 2")
    onda: OnDA = Field(default_factory=OnDA, description="paper 3")
    alternatives: Alternatives = Field(default_factory=Alternatives, description="what else could adapt the models")
    statistics: Statistics = Field(default_factory=Statistics, description="intervals")

    @model_validator(mode="after")
    def _corpora_are_named_whole(self) -> Config:
        # Here, and not in their own sections: the defaults of a command's section name no corpus.
        if self.archive is not None and self.corpus.name != "gsc":
            raise ValueError(f"archive is given, but corpus.name is {self.corpus.name}, which reads none: set corpus.name to gsc")
        given = self.onda.corpus
        needed = {"synthetic": (), "heysnips": ("archive",), "heysnapdragon": ("archive", "positives")}[given.name]
        if missing := [f"onda.corpus.{name}" for name in needed if not getattr(given, name)]:
            raise ValueError(f"onda.corpus.name is {given.name}: set {' and '.join(missing)} to what a licensed person got")
        return self

    @model_validator(mode="after")
    def _alternatives_are_known(self) -> Config:
        # Here, and not in its own section: a rule hands its command the methods that it is about.
        chosen = self.alternatives
        for name in [*(chosen.compared or []), *chosen.retention.methods]:
            if name not in chosen.methods:
                raise ValueError(f"alternatives: there is no method '{name}'; {did_you_mean(name, chosen.methods)}")
        return self


# ------------------------------------------------------------------------------------------------ reading
def read(section: type[Section], source: str | Path | None = None, overrides: typing.Sequence[str] = (),
         *, where: str = "settings") -> Section:
    """A section of the settings from JSON text or a YAML file, then ``name=value`` overrides (dots for depth).

    Raises:
        UserError: A name is unknown (with the nearest known one), or a value is out of range.
    """
    values: dict[str, Any] = {}
    if source is not None:
        text: str | bytes = str(source)
        if not str(source).lstrip().startswith("{"):
            where, path = str(source), Path(source)
            if not path.is_file():
                raise UserError("no such settings file", where=path, remedy="give a YAML file, or JSON text in braces")
            text = path.read_bytes()
        values = parse(text, where=where, empty=True)
    for override in overrides:
        _set(values, override)
    return validate(section, values, where=where)


def parse(text: str | bytes, *, where: str | Path, empty: bool = False) -> dict[str, Any]:
    """Settings by name from YAML, unchecked.

    Args:
        empty: Whether a text without any is one of none; Snakemake refuses it as a configuration.

    Raises:
        UserError: It is no YAML, or no mapping of names.
    """
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"is not valid YAML ({error})", where=where, remedy="mend the file") from error
    if found is None and empty:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UserError("holds no settings by name", where=where, remedy="write name: value, as in config/default.yaml")
    return found


def _set(values: dict[str, Any], override: str) -> None:
    name, sign, value = override.partition("=")
    if not sign or not name.strip():
        raise UserError("is not of the form name=value", where=f"--set {override}",
                        remedy="write, for example, --set learning_rate=0.001")
    *parents, last = name.strip().split(".")
    for place, parent in enumerate(parents, 1):
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"'{'.'.join(parents[:place])}' is one value and has no '{last}' in it", where=f"--set {override}",
                            remedy="name the settings down to the one that is meant")
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"'{value}' is not valid YAML", where=f"--set {override}", remedy="put it in quotes") from error


def validate(section: type[Section], values: Any, *, where: str = "settings") -> Section:
    """Raises: UserError naming the setting, what is wrong with it and the nearest known name."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # What pydantic calls a choice of a union is no setting.
        name = ".".join(str(part) for part in first["loc"] if not re.match(r"constrained-|literal\[", str(part))) or "(top)"
        if first["type"] == "extra_forbidden":
            known = _names_at(section, first["loc"][:-1])
            raise UserError(f"unknown setting '{name}'", where=where,
                            remedy=did_you_mean(str(first["loc"][-1]), known)) from error
        what = first["msg"].removeprefix("Value error, ")
        if first["loc"]:  # else it is about settings beside one another, all of which would be shown
            what = f"setting '{name}' is {first['input']!r}: {what}"
        raise UserError(what, where=where, remedy="see the comment beside it in config/default.yaml") from error


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The settings models inside a type annotation (through unions, lists and dicts)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _names_at(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names known at ``location`` inside ``section``; keys of a dict of sections are skipped over."""
    for part in location:
        if part in section.model_fields:
            inner = _models(section.model_fields[str(part)].annotation)
            if inner:
                section = inner[0]
    return list(section.model_fields)


# ------------------------------------------------------------------------------------------------ writing
def default_yaml() -> str:
    """``config/default.yaml``: every setting with its default and its description as a comment."""
    head = ("# yaml-language-server: $schema=../workflow/schemas/config.schema.json\n"
            "# Every setting and its default. Generated from src/edgekws/settings.py by `edgekws settings write`;\n"
            "# change values in an overlay (config/<run>.yaml), not here.\n")
    return head + "\n".join(_lines(Config(), 0)) + "\n"


def _lines(section: BaseModel, depth: int) -> list[str]:
    pad, lines = "  " * depth, []
    for name, field in type(section).model_fields.items():
        value, about = getattr(section, name), f"  # {field.description}" if field.description else ""
        if isinstance(value, BaseModel):
            lines += [f"{pad}{name}:{about}", *_lines(value, depth + 1)]
        elif isinstance(value, dict) and value:
            lines.append(f"{pad}{name}:{about}")
            for key, item in value.items():
                lines += [f"{pad}  {key}:", *_lines(item, depth + 2)]
        else:
            # YAML reads 1e-05 as text, 1.0e-05 as a number.
            text = re.sub(r"(?<![\d.])(\d)e", r"\1.0e", json.dumps(value))
            lines.append(f"{pad}{name}: {text}{about}")
    return lines


def json_schema() -> str:
    """``workflow/schemas/config.schema.json``."""
    return json.dumps(Config.model_json_schema(), indent=1) + "\n"


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Mappings laid over each other, depth first; later ones win.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
