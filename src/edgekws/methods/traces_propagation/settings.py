"""Settings of Traces Propagation."""

from __future__ import annotations

import typing
from typing import Literal

from pydantic import Field

from edgekws.core.settings import Name, PositiveInt, Settings
from edgekws.features.settings import Features
from edgekws.methods.traces_propagation.choices import MethodName
from edgekws.models.settings import Network
from edgekws.protocol.settings import Shot, Training, Tuning


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
    methods: Methods = Field(default_factory=Methods, description="budget of each way to adapt")
    tuning: Tuning = Field(default_factory=Tuning, description="grid of the tuned experiments")
    others: PositiveInt | None = Field(
        None, description="test clips of other speakers on which forgetting is measured, at most; null takes the whole split")
    experiments: dict[Name, Experiment] = Field(default_factory=_experiments, description="the experiments by name")


SECTION = TracesPropagation
