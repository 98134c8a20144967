"""Settings of the bench of alternatives."""

from __future__ import annotations

import typing
from typing import Annotated, Literal

from pydantic import Field

from edgekws.core.errors import did_you_mean
from edgekws.core.settings import Fraction, Name, NonNegativeInt, PositiveFloat, PositiveInt, Settings
from edgekws.models.settings import AdaptiveNetwork, ConvNetwork, Network
from edgekws.protocol.settings import Shot, Training

LocalRule = Literal["traces_propagation", "eprop", "eprop_random", "decolle", "etlp", "osttp", "tess"]

NetName = Literal["spiking", "ds_cnn", "strong_spiking", "strong_ds_cnn"]
"""Kinds of base nets; the strong ones are trained by ``edgekws alternatives strong-base``."""

StrongName = Literal["strong_spiking", "strong_ds_cnn"]

DepthRule = Literal["traces_propagation", "decolle", "tess", "bptt"]

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
    users: PositiveInt | None = Field(None, description="users, at most, where it is slow; null takes all")


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
    widen: NonNegativeInt = Field(4, description="rates added at most while the best lies on the edge")
    users: PositiveInt = Field(16, description="validation users it is tried on, at most")
    folds: PositiveInt = Field(1, description="folds of each user it is tried on, at most")
    shots: Shot = Field("all", description="support clips of each word while tuning")


class DsCnnTraining(Training):
    """Training of the conventional base net."""

    learning_rate: PositiveFloat = Field(2e-3, description="Adam's learning rate in the first epoch")
    epochs: PositiveInt = Field(15, description="passes over the training split")
    batch_size: PositiveInt = Field(32, description="clips in a batch")


class Augmentation(Settings):
    """How clips are varied while a strong base is trained."""

    shift: Annotated[float, Field(ge=0, lt=0.5)] = Field(0.1, description="seconds that a clip is moved in time, at most")
    stretch: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.12, description="share that it is spoken faster or slower by, at most")
    warp: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.1, description="share that its frequencies move by (the speaker's vocal tract), at most")
    noise_probability: Annotated[float, Field(ge=0, le=1)] = Field(0.7, description="share of the clips that get noise")
    snr_db: tuple[float, float] = Field((0.0, 25.0), description="range of the signal-to-noise ratio, dB")
    masks: Annotated[int, Field(ge=0)] = Field(
        2, description="stripes of frames, and as many of bands, that are hidden (SpecAugment)")
    masked_frames: Annotated[int, Field(ge=0, le=94)] = Field(12, description="frames of 10 ms in a stripe, at most")
    masked_bands: Annotated[int, Field(ge=0, le=40)] = Field(6, description="mel bands in a stripe, at most")


class StrongTraining(Training):
    """Training of a strong base: the rate rises and falls once, and the labels are smoothed."""

    learning_rate: PositiveFloat = Field(5e-3, description="Adam's largest learning rate")
    epochs: PositiveInt = Field(25, description="passes over the training split")
    batch_size: PositiveInt = Field(128, description="clips in a batch")
    warm_up: Fraction = Field(0.1, description="share of the updates in which the rate rises; along a cosine it then falls to 0")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="decoupled decay of matrices and kernels (AdamW)")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="share of the target that all words have")
    largest_gradient: PositiveFloat = Field(5.0, description="norm that gradients are clipped to")


class StrongDsCnn(StrongTraining):
    """The DS-CNN of the bench, half as wide again, trained well."""

    widths: list[PositiveInt] = Field(
        [96] * 5, min_length=5, max_length=5,
        description="channels of the convolution and the four blocks; with the 64 of DS-CNN-S it underfits augmented clips")
    epochs: PositiveInt = Field(30, description="passes over the training split")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="share of the last map's means that is hidden in training")


class StrongBudget(AlternativeTraining):
    """A method's budget on a user's clips; small batches, so that what learns once for each has updates enough."""

    batch_size: PositiveInt = Field(16, description="clips in a batch; smaller sets make one batch")


def _strong_methods() -> dict[Name, AlternativeMethod]:
    return {
        "traces_propagation": AlternativeMethod(kind="traces_propagation", net="strong_spiking"),
        "bptt_full": AlternativeMethod(net="strong_spiking"),
        "bptt_readout": AlternativeMethod(kind="readout", net="strong_spiking"),
        "ds_cnn_full": AlternativeMethod(net="strong_ds_cnn"),
        "ds_cnn_readout": AlternativeMethod(kind="readout", net="strong_ds_cnn"),
    }


class Strong(Settings):
    """Bases worth adapting, beside the paper's: better trained, and the spiking one a better net."""

    augmentation: Augmentation = Field(default_factory=Augmentation, description="how the training clips are varied")
    ds_cnn: StrongDsCnn = Field(default_factory=StrongDsCnn, description="the convolutional one")
    spiking: StrongTraining = Field(default_factory=StrongTraining, description="training of the spiking one")
    network: AdaptiveNetwork = Field(default_factory=AdaptiveNetwork, description="the spiking one")
    methods: dict[Name, AlternativeMethod] = Field(
        default_factory=_strong_methods, min_length=1, description="methods by name")
    training: StrongBudget = Field(
        default_factory=StrongBudget, description="budget of every method but for its learning rate")
    tuning: AlternativeTuning = Field(default_factory=AlternativeTuning, description="choice of the learning rate")
    shots: list[Shot] = Field([1, "all"], min_length=1, description="support clips of each word, of those of the plan")
    folds: PositiveInt | None = Field(None, description="folds of each user, at most; null takes all")


class Depth(Settings):
    """Local rules on deeper nets, trained from nothing on the training split."""

    layers: list[PositiveInt] = Field([1, 2, 3, 4], description="numbers of hidden layers of the recurrent nets")
    neurons: PositiveInt = Field(128, description="neurons of each hidden layer")
    convolution: ConvNetwork | None = Field(
        default_factory=ConvNetwork, description="a VGG-like net on the log-mel picture beside them; null for none")
    picture: tuple[PositiveInt, PositiveInt] = Field((24, 20), description="frames and bands that the picture is averaged to")
    presented: PositiveInt = Field(8, description="time steps that the picture is shown for")
    rules: list[DepthRule] = Field(
        ["traces_propagation", "decolle", "tess", "bptt"], min_length=1, description="learning rules compared")
    clips: PositiveInt = Field(1000, description="training clips, at most")
    held_out: PositiveInt = Field(600, description="clips of the validation and of the test split, at most")
    epochs: PositiveInt = Field(5, description="passes over the training clips")
    batch_size: PositiveInt = Field(64, description="clips in a batch")
    learning_rate: list[PositiveFloat] = Field(
        [3e-4, 1e-3], min_length=1,
        description="learning rates tried; each net and rule takes the best on the validation split")


class DepthJob(Settings):
    """What a job of that experiment is given."""

    strong: Strong = Field(default_factory=Strong, description="strong bases")
    depth: Depth = Field(default_factory=Depth, description="nets, rules and budgets")
    network: Network = Field(default_factory=Network, description="neurons and recurrence of the recurrent nets")


class DeviceLimits(Settings):
    """Memory of a device, and what is estimated for it."""

    budgets: list[PositiveInt] = Field([256, 512, 1024, 2048], min_length=1, description="memories of a device, KiB")
    widths: list[PositiveInt] = Field([64, 128, 256, 450], min_length=1, description="neurons of the spiking net's hidden layer")
    batch_sizes: list[PositiveInt] = Field([1, 8], min_length=1, description="clips that are learnt from at a time")
    clips: PositiveInt = Field(16, description="support clips that are learnt from in all")
    repetitions: PositiveInt = Field(5, description="adaptations that are timed; the median counts")


class Device(Settings):
    """What is built for a device and run there: the C library on this machine, in WebAssembly, on Cortex-M (emulated)."""

    users: PositiveInt = Field(5, description="test users who adapt, with all support clips of their first fold, at most")
    budget: Training = Field(default_factory=Training, description="how they learn; all clips make one batch")
    seed: int = Field(0, description="of the order of clips, and of nets that are not trained")
    targets: list[Literal["host", "wasm", "cortex-m4", "cortex-m7", "cortex-m33"]] = Field(
        ["host", "wasm", "cortex-m4", "cortex-m7", "cortex-m33"], min_length=1,
        description="where they learn: the same bits everywhere")
    widths: list[PositiveInt] = Field(
        [64, 128, 256, 450], description="hidden neurons of the nets whose cost is counted on a Cortex-M4")
    clips: PositiveInt = Field(26, description="support clips of those nets, at most")
    budgets: list[PositiveInt] = Field([256, 512, 1024, 2048], description="RAM of devices, KiB")


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
    others: PositiveInt | None = Field(
        None, description="test clips of other speakers on which each user's forgetting is measured, at most; null: all of them")
    strong: Strong = Field(default_factory=Strong, description="strong bases")
    depth: Depth = Field(default_factory=Depth, description="deeper nets")
    limits: DeviceLimits = Field(default_factory=DeviceLimits, description="limits of a device")
    device: Device = Field(default_factory=Device, description="built for a device, and run there")
    retention: Retention = Field(default_factory=Retention, description="not forgetting")
    federated: Federated = Field(default_factory=Federated, description="learning together")

    def check_for_run(self) -> None:
        """Raises: ValueError if a method that is to be compared is not among the methods."""
        for name in [*(self.compared or []), *self.retention.methods]:
            if name not in self.methods:
                raise ValueError(f"alternatives: there is no method '{name}'; {did_you_mean(name, self.methods)}")


SECTION = Alternatives
