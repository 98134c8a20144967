"""Settings of Traces Propagation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekws.core.errors import did_you_mean
from edgekws.core.settings import Name, NonNegativeInt, PositiveFloat, PositiveInt, Seeds, Settings, Share
from edgekws.features.settings import Features
from edgekws.methods.traces_propagation.choices import Contrast, MethodName
from edgekws.models.settings import Network
from edgekws.protocol.settings import Shot, Training, Tuning


class BaseTraining(Training):
    """Training of a base model before anybody adapts it."""

    epochs: PositiveInt = Field(10, description="passes over the training split")
    balanced: bool = Field(True, description="draw the training clips with replacement, each word equally often, once")
    set_size: PositiveInt = Field(512, description="clips normalised together under per-set normalisation")


class Adaptation(Training):
    """A budget with what is done against overfitting and forgetting (:mod:`.recipe`); by default nothing."""

    contrast: Contrast = Field("batch", description="what a clip is told apart from: the clips of its batch (published), or all "
                               "classes, whoever is in the batch")
    hidden_rate: Share = Field(1.0, description="learning rate of the hidden layers, in multiples of learning_rate")
    shift: NonNegativeInt = Field(0, description="frames that a clip is moved in time, at most")
    mask_frames: NonNegativeInt = Field(0, description="frames masked in a clip, at most")
    mask_bands: NonNegativeInt = Field(0, description="mel bands masked in a clip, at most")
    noise: Share = Field(0.0, description="standard deviation of noise on the features, whose own is about 1")
    rehearsal: NonNegativeInt = Field(0, description="clips of the base's training learnt again beside the user's")
    kept_hidden: Share = Field(0.0, description="share of the base's weights in the hidden layers' average with it")
    kept_readout: Share = Field(0.0, description="the same of the readout's")


class Recipe(Adaptation):
    """What gains most at no cost to others: also what `personalise` does with a person's own recordings."""

    epochs: PositiveInt = Field(10, description="passes over the clips")
    kept_hidden: Share = Field(0.75, description="share of the base's weights in the hidden layers' average with it")
    kept_readout: Share = Field(0.5, description="the same of the readout's")


class Methods(Settings):
    """What is done with the user's support clips; each method has a budget of its own."""

    traces_propagation: Training = Field(default_factory=Training, description="the paper's rule on all weights")
    from_scratch: Training = Field(default_factory=Training, description="the same rule on a net that was never trained")
    readout_only: Training = Field(default_factory=Training, description="the rule's readout part alone; hidden layers frozen")
    bptt: Training = Field(default_factory=lambda: Training(learning_rate=1e-3),
                           description="back-propagation through time of the same net in Norse's neurons, equal passes")
    bptt_equal_updates: Training = Field(
        default_factory=lambda: Training(learning_rate=1e-3, epochs=36, batch_size=4),
        description="the same with as many updates as the rule makes with all clips, 303, if a user has 34 of them")
    rehearsal: Adaptation = Field(default_factory=lambda: Adaptation(rehearsal=64),
                                  description="the paper's rule with clips of the base's training beside the user's")
    class_contrast: Adaptation = Field(default_factory=lambda: Adaptation(contrast="classes"),
                                       description="the rule with all classes as contrast (ours)")
    recipe: Recipe = Field(default_factory=Recipe, description="what gains most at no cost to others (ours)")


class RecipeSearch(Settings):
    """What the recipe is chosen from, one setting after another in this order, on the validation split's users.

    It is the recipe that gains most, less ``weight`` times what others lose beyond ``allowed``.
    """

    kept_hidden: list[Share] = Field([0.25, 0.5, 0.75, 0.9], description="shares tried")
    kept_readout: list[Share] = Field([0.25, 0.5, 0.75], description="shares tried")
    learning_rate: list[PositiveFloat] = Field([3e-5, 5e-5, 1e-4, 2e-4], description="learning rates tried")
    epochs: list[PositiveInt] = Field([5, 10, 20], description="passes tried")
    contrast: list[Contrast] = Field(["batch", "classes"], description="contrasts tried")
    rehearsal: list[NonNegativeInt] = Field([0], description="numbers of clips tried; who personalises has none of the base's")
    shift: list[NonNegativeInt] = Field([0, 5, 10], description="frames tried")
    mask_frames: list[NonNegativeInt] = Field([0, 10], description="frames tried")
    mask_bands: list[NonNegativeInt] = Field([0, 5], description="bands tried")
    noise: list[Share] = Field([0.0, 0.2], description="deviations tried")
    hidden_rate: list[Share] = Field([0.3, 1.0], description="multiples tried")
    shots: list[Shot] = Field([1, "all"], min_length=1, description="support clips of each word, of which the mean counts")
    users: PositiveInt | None = Field(None, description="validation users, at most; null takes all")
    folds: PositiveInt = Field(1, description="folds of each user, at most")
    others: PositiveInt | None = Field(240, description="clips of other speakers for each user, at most; null: all of them")
    allowed: float = Field(1.0, description="points that others may lose")
    weight: PositiveFloat = Field(3.0, description="points of gain that a point beyond that must bring")


class Stream(Settings):
    """One clip at a time (:mod:`.stream`), on test users."""

    users: PositiveInt | None = Field(40, description="users who report, at most; null takes all")
    folds: PositiveInt = Field(1, description="folds of each user, at most")
    heard: list[PositiveInt] = Field([1, 2, 4, 8, 16, 24], description="clips heard when the query is asked; and after all")
    reservoirs: list[NonNegativeInt] = Field([0, 3], min_length=1, description="earlier clips kept and learnt again beside each")
    passes: PositiveInt = Field(1, description="times that a clip is learnt when it comes")
    learning_rate: PositiveFloat = Field(1e-4, description="Adam's learning rate")
    batch_sizes: list[PositiveInt] = Field([1, 4, 16, 1024], min_length=1,
                                           description="batches of all clips at once, beside the stream")


class Experiment(Settings):
    """One experiment of Traces Propagation: whose clips, which methods."""

    plan: Literal["one_user", "many_users"] = Field("many_users", description="whose clips, split how")
    normalisation: Literal["frozen", "per_set"] = Field(
        "frozen", description="feature scale: frozen from base training, or each set's own (the authors'; transductive)")
    tuned: bool = Field(False, description="budget chosen on the validation users and reported on the test users")
    methods: list[MethodName] = Field(["traces_propagation"], min_length=1, description="methods compared")
    shots: list[Shot] | None = Field(None, min_length=1, description="some of the plan's shots only; null takes all")
    users: PositiveInt | None = Field(None, description="users, at most, where a method is slow; null takes all")
    folds: PositiveInt | None = Field(None, description="folds of each user, at most; null takes all")
    seeds: Seeds | None = Field(None, description="null takes the run's")
    oracle: bool = Field(False, description="learn from the user's query, too: what more clips of the user could give at most")


# What the paper's own experiments are told by; the others are for many people (config/wide.yaml).
_COMPARED: list[MethodName] = ["traces_propagation", "from_scratch", "readout_only", "bptt"]


def _experiments() -> dict[Name, Experiment]:
    return {
        "one_user": Experiment(plan="one_user", normalisation="per_set", methods=_COMPARED),
        "many_users": Experiment(methods=_COMPARED),
        "many_users_per_set": Experiment(normalisation="per_set"),
        "many_users_tuned": Experiment(tuned=True, methods=_COMPARED),
    }


class EventFolders(Settings):
    """Where the paper's event data are (docs/event_data.md)."""

    shd: str | None = Field(None, description="folder of SHD")
    nmnist: str | None = Field(None, description="folder of N-MNIST")
    dvs_gesture: str | None = Field(None, description="folder of DVS-Gesture")
    cifar10_dvs: str | None = Field(None, description="folder of CIFAR10-DVS")


class TracesPropagation(Settings):
    """All of paper 1 (traces_propagation.md)."""

    features: Features = Field(default_factory=Features, description="front end")
    network: Network = Field(default_factory=Network, description="the spiking network")
    base: BaseTraining = Field(default_factory=BaseTraining, description="training of the base model")
    methods: Methods = Field(default_factory=Methods, description="budget of each way to adapt")
    recipe_search: RecipeSearch = Field(default_factory=RecipeSearch, description="choice of the recipe")
    measured: list[Name] | None = Field(None, min_length=1, description="some of the experiments only; null takes all")
    events: EventFolders = Field(default_factory=EventFolders, description="event data that there are; null for none")
    stream: Stream = Field(default_factory=Stream, description="one clip at a time")
    tuning: Tuning = Field(default_factory=Tuning, description="grid of the tuned experiments")
    others: PositiveInt | None = Field(
        None, description="test clips of other speakers on which each user's forgetting is measured, at most; null: all of them")
    experiments: dict[Name, Experiment] = Field(default_factory=_experiments, description="the experiments by name")


    def check_for_run(self) -> None:
        """Raises: ValueError if an experiment that is to be measured is not among the experiments."""
        for name in self.measured or []:
            if name not in self.experiments:
                raise ValueError(f"traces_propagation: there is no experiment '{name}'; {did_you_mean(name, self.experiments)}")


SECTION = TracesPropagation
