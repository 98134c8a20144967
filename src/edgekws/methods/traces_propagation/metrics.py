"""What the metrics files of Traces Propagation hold (``metrics/traces_propagation``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekws.features.settings import Features
from edgekws.methods.traces_propagation.choices import Contrast, MethodName
from edgekws.methods.traces_propagation.settings import BaseTraining
from edgekws.models.settings import Network
from edgekws.protocol.metrics import Cell, Check, Fields, Metrics, Number, Of, Shot
from edgekws.protocol.settings import Statistics, Training

Property = Literal["traces_two_per_neuron", "memory_linear", "learning_signal_linear", "auxiliary_classes_by_neurons",
                   "auxiliary_not_by_layer", "no_update_locking", "no_weight_transport", "local_in_space", "local_in_time",
                   "tess_by_formula", "tess_as_it_runs"]


class BaseSettings(Fields):
    """How a base model was made."""

    network: Network
    base: BaseTraining
    features: Features
    normalisation: str
    excluded: list[str]
    vocabulary: list[str]


# ------------------------------------------------------------------------------------------------ jobs
class Task(Fields):
    """One user, fold and shot: counts of clips that are right."""

    user: str
    split: str
    fold: int
    shot: str
    support_clips: int
    query_clips: int
    correct_before: int
    correct_after: int
    others_clips: int
    others_before: int
    others_after: int


class Adapted(Metrics):
    """``<experiment>/<method>_seed<seed>.json``, of ``adapt``."""

    method: str
    seed: int
    rows: list[Task]


class Tuned(Metrics):
    """``tuning/<method>.json``, of ``tune``."""

    method: str
    seeds: list[int]
    budget: Annotated[dict[str, Any], Of(Training)]
    grid: list[dict[str, Any]]
    on_edge: list[str]


# ------------------------------------------------------------------------------------------------ summaries
class Spread(Cell):
    """Over users or seeds; ``std`` divides by n."""

    std: Number


class ShotSummary(Fields):
    """Accuracies in percent, gain and forgetting in percentage points."""

    users: int
    seeds: int
    interval_over: str
    before: Spread
    after: Spread
    gain: Spread
    others_before: Spread
    others_after: Spread
    forgetting: Spread


class Components(Fields):
    """Standard deviations of the gain's random effects, points; null where there is one level."""

    user: Number | None
    seed: Number | None
    user_by_seed: Number | None
    fold: Number | None
    rest: Number | None


class Near(Fields):
    """Users who start where the paper's did."""

    users: int
    gain: Cell | None


class Falls(Fields):
    """Correlation of gain with accuracy before, on the same clips and on the user's others."""

    same_clips: Number | None
    other_clips: Number | None


class Beside(Fields):
    """Differences from the published rule on the same tasks, points."""

    gain: Cell
    forgetting: Cell | None = None


class People(Fields):
    """For whom a method pays (:mod:`.people`): users who report, intervals of a mixed model."""

    users: int
    seeds: int
    folds: int
    gain: Cell
    forgetting: Cell | None
    components: Components
    lose: Number
    reach: Number | None
    near: Near
    quantiles: dict[Literal["5", "25", "50", "75", "95"], Number]
    falls: Falls
    against_published: Beside | None = None


class UserRow(Fields):
    """A user at a shot by a method and seed, folds added up."""

    method: str
    user: str
    split: str
    shot: str
    seed: int
    query_clips: int
    before: Number
    after: Number
    others_before: Number
    others_after: Number
    gain: Number
    forgetting: Number


class Plan(Fields):
    """Who adapted to what: facts of either plan, of :mod:`edgekws.protocol.users`."""

    plan: Literal["one_user", "many_users"]
    shots: list[int | str]
    short_words: Literal["drop", "keep"]
    user: str = ""
    query_clips: int = 0


class ExperimentSettings(Fields):
    """What an experiment was made with."""

    plan: Plan
    tuned: bool
    budgets: dict[MethodName, Training]
    base: BaseSettings
    statistics: Statistics


class BaseAccuracy(Fields):
    """Of the base models, on the test split."""

    test_accuracy: Spread


class Experiment(Metrics):
    """``<experiment>.json``, of ``summarise``."""

    experiment: str
    seeds: list[int]
    settings: Annotated[dict[str, Any], Of(ExperimentSettings)]
    base: BaseAccuracy
    summary: dict[MethodName, dict[Shot, ShotSummary]]
    summary_reporting_users: dict[MethodName, dict[Shot, ShotSummary]]
    people: dict[MethodName, dict[Shot, People]]
    rows: list[UserRow]


class Count(Fields):
    """By formula, and counted on the running rule."""

    formula: int | None
    counted: int | None


class Sizes(Fields):
    """Of the network that was counted."""

    inputs: int
    hidden: list[int]
    outputs: int
    batch: int
    frames: int
    recurrent: bool


class Complexity(Metrics):
    """``complexity.json``."""

    experiment: Literal["complexity"]
    settings: Annotated[dict[str, Any], Of(dict[Literal["network"], Network])]
    sizes: Sizes
    values: dict[Literal["traces", "label_trace", "auxiliary_label", "auxiliary_recurrent", "trained", "adam", "prototypes"],
                 Count]
    operations: dict[Literal["learning_signal", "learning_signal_prototypes"], Count]
    checks: dict[Property, Check]


# ------------------------------------------------------------------------------------------------ one clip at a time
class Heard(Metrics):
    """``one_clip/seed<seed>.json``, of ``stream``."""

    seed: int
    rows: list[dict[str, Any]]


Way = Annotated[str, Field(pattern=r"^(batch|classes)_\d+$")]
"""Contrast and size of the reservoir."""

Clips = Annotated[str, Field(pattern=r"^[1-9]\d*$")]
"""A number of clips, as a key."""


class OneClip(Metrics):
    """``one_clip.json``, of ``summarise-stream``: gains in points."""

    experiment: Literal["one_clip"]
    seeds: list[int]
    users: int
    curves: dict[Way, dict[Clips, Cell]]
    batches: dict[Contrast, dict[Clips, Cell]]


# ------------------------------------------------------------------------------------------------ depth
class DeepNet(Fields):
    """A net trained by a rule: accuracies in percent over seeds; weights and fixed weights, numbers; memory, bytes."""

    accuracy: Cell
    validation: Cell
    learning_rates: list[Number]
    weights: int
    memory: int
    auxiliary: dict[Literal["all", "above_first", "recurrent"], int]


class Depth(Metrics):
    """``depth.json``, of ``edgekws alternatives summarise-depth``: by net and rule."""

    experiment: Literal["depth"]
    seeds: list[int]
    nets: dict[Annotated[str, Field(pattern=r"^([1-9][0-9]*|vgg)$")],
               dict[Literal["traces_propagation", "decolle", "tess", "bptt"], DeepNet]]
    checks: dict[Literal["auxiliary_not_by_layer", "scales"], Check]


KINDS: dict[str, type[Metrics]] = {
    "complexity": Complexity, "one_clip": OneClip, "depth": Depth, "*": Experiment}
