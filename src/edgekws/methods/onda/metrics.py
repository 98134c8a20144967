"""What the metrics files of OnDA hold (``metrics/onda``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekws.core.settings import Name
from edgekws.methods.onda.settings import OnDA, OndaEvaluation, Personalisation, Pretraining, Rivals, Schedule
from edgekws.models.choices import Backbone
from edgekws.protocol.metrics import Cell, Check, Fields, Metrics, NotMeasured, Number, Of
from edgekws.protocol.settings import Statistics

Percent = Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")]
"""A share in percent, as a key."""

Arm = Schedule | Literal["pretrained"]

Detector = Literal["templates", "engine"]

Effect = Literal["self_learning", "oracle_labels", "onda_1_vs_none", "onda_2_vs_none", "onda_1_vs_onda_2", "onda_1_vs_l1_before",
                 "onda_1_vs_random_before", "onda_1_vs_hap_wrong_domain", "onda_2_vs_hap_after", "onda_2_vs_random_after",
                 "onda_2_vs_l1_before", "oracle_onda_1_vs_onda_1", "statistics", "more_updates", "robust", "robust_vs_none",
                 "robust_distilled_vs_robust", "robust_distilled_vs_distilled", "robust_distilled_vs_onda_1"]

Ours = Literal["onda_1", "onda_2"]


class OperatingPoint(Fields):
    """Where the detector stands."""

    hours: Number
    false_alarms_per_hour: Number
    smallest_rate: Number
    allowed: int
    told: bool


class Machine(Fields):
    """What was measured on."""

    name: str
    jetson: bool
    kind: str
    threads: int


class Encoder(Fields):
    """The encoder that was deployed; ``published``: repository, file and checksum of one that was not trained here."""

    backbone: Backbone
    pretraining: Annotated[dict[str, Any], Of(Pretraining)]
    published: dict[str, str] | None
    trained_on: str
    separation: Number | None
    parameters: int
    multiply_accumulates: int


class Points(Fields):
    """Where a detector stands under one condition."""

    accuracy: Number
    curve: list[Number]
    recall: Number
    false_alarms_per_hour: Number


class UserRow(Fields):
    """A user by a seed and an arm."""

    user: str
    seed: int
    offline: Number
    schedule: Arm
    ratio: Number
    accuracy: Number
    recall: Number
    false_alarms_per_hour: Number
    parameters: int
    multiply_accumulates: int
    adapted: bool
    why: str
    curve: list[Number]
    conditions: dict[Name, Points]


class Personalised(Metrics):
    """``<experiment>/offline<percent>_seed<seed>_part<part>.json``, of ``personalise``."""

    seed: int
    offline: Number
    part: int
    settings: Annotated[dict[str, Any], Of(Personalisation)]
    operating_point: OperatingPoint
    noises: dict[Name, list[str]] = Field(default_factory=dict)
    screening: dict[str, Any] | None
    encoder: Encoder
    rows: list[UserRow]


# ------------------------------------------------------------------------------------------------ summaries
class ConditionSummary(Fields):
    """Means over users of an arm under one condition: accuracy by false alarms an hour, gain over the encoder as deployed."""

    at: dict[str, Cell]
    gain: Cell
    recall: Cell
    false_alarms_per_hour: Cell


class ArmSummary(Fields):
    """Means over users of an arm."""

    accuracy: Cell
    recall: Cell
    false_alarms_per_hour: Cell
    parameters: Number
    compression: Number
    multiply_accumulates: Number
    fewer_operations: Number
    curve: list[Number]
    users: int
    seeds: int
    not_adapted: int
    conditions: dict[Name, ConditionSummary]
    steps: Number


class Compression(Cell):
    """The largest compression at equal accuracy, and the arm that has it."""

    arm: dict[str, Any]


class ExperimentSettings(Personalisation):
    """With those of the summary."""

    evaluation: OndaEvaluation
    statistics: Statistics


class Experiment(Metrics):
    """``<experiment>.json``, of ``summarise``."""

    experiment: str
    seeds: list[int]
    users: list[str]
    settings: Annotated[dict[str, Any], Of(ExperimentSettings)]
    operating_point: OperatingPoint
    noises: dict[Name, list[str]] = Field(default_factory=dict)
    encoder: Encoder
    calibrations: dict[Literal["all", "failed", "too_few_labels"], int]
    screening: dict[Literal["looked_at", "accuracy", "curve", "false_alarms_per_hour"], int]
    summary: dict[Percent, dict[Arm, dict[Percent, ArmSummary]]]
    effects: dict[Percent, dict[Effect, dict[Percent | Literal["mean"], Cell]]]
    stacking: dict[Ours, dict[Percent | Literal["mean"], Cell | dict[Percent, Cell]]]
    iso: dict[Literal["strict", "slack"], dict[Literal["all", "onda_1", "onda_2"], Compression]]
    rows: list[UserRow]


class BreakEven(Fields):
    """After how many inferences, or from how many updates on."""

    onda_1: dict[Percent, Cell | NotMeasured]
    onda_2: dict[Percent, Cell | NotMeasured]
    onda_1_updates: dict[Percent, Cell | NotMeasured]
    onda_2_after_onda_1: Cell | NotMeasured


class Net(Fields):
    """What an encoder costs; no ``embedder`` on a GPU."""

    inference: Cell
    embedder: Cell | None = None
    update: Cell


class Unpruned(Net):
    """The encoder as deployed."""

    probe: Cell


class Pruned(Net):
    """Pruned to a ratio; ``gain``: how many times cheaper."""

    gain: dict[Literal["inference", "embedder", "update"], Cell]


class WeightsOnly(Fields):
    """An adaptation of the unpruned net."""

    total: Cell


class Adapting(WeightsOnly):
    """An adaptation that prunes."""

    gain: Cell
    parts: dict[str, Number]


class Adaptations(Fields):
    """Whole adaptations, by schedule."""

    updates: int
    none: WeightsOnly
    onda_1: dict[Percent, Adapting]
    onda_2: dict[Percent, Adapting]


class Account(Fields):
    """Costs in one unit, seconds or joules."""

    unpruned: Unpruned
    pruned: dict[Percent, Pruned]
    adaptation: Adaptations
    break_even: BreakEven


class Counted(Account):
    """Joules, where there is a counter of them."""

    measured: Literal[True]
    counter: str
    covers: str
    idle_watts: Number


class Judged(Account):
    """Seconds and joules, with the largest gains."""

    energy: Counted | NotMeasured
    largest: dict[Literal["onda_1_inference", "onda_2_inference", "onda_1_adaptation", "onda_2_adaptation",
                          "onda_1_inference_energy", "onda_2_inference_energy", "onda_1_adaptation_energy",
                          "onda_2_adaptation_energy"], Cell | NotMeasured]
    checks: dict[Literal["onda_1_pays_at_once", "onda_2_breaks_even_later"], Check]


class Gpu(Judged):
    """The same on a GPU."""

    measured: Literal[True]
    name: str


class Cost(Metrics, Judged):
    """``cost.json``."""

    experiment: Literal["cost"]
    backbone: Backbone
    device: Machine
    units: dict[str, str]
    settings: Annotated[dict[str, Any], Of(OnDA)]
    gpu: Gpu | NotMeasured


class Stability(Fields):
    """How alike the channels' rankings of two estimates are."""

    probes: int
    kendall_tau: Number
    overlap: Number


class Convergence(Fields):
    """The estimate's error against the number of probes."""

    weights: int
    slope: Number
    errors: list[dict[Literal["probes", "relative_error"], Number]]


class Hessian(Metrics):
    """``hessian.json``."""

    experiment: Literal["hessian"]
    backbone: Backbone
    settings: Annotated[dict[str, Any], Of(OnDA)]
    active_fraction: Number
    stability: list[Stability]
    convergence: Convergence


class RivalRow(Fields):
    """A user and draw of an experiment, by another detector."""

    of: Name
    detector: Detector
    user: str
    seed: int
    hours: Number
    accuracy: dict[Name, Number]
    curve: dict[Name, list[Number]]


class RivalCell(Fields):
    """Mean accuracy of a detector, and by how many points the encoder as deployed and adapted is above it."""

    accuracy: Cell
    ours_above: dict[Arm, Cell]


class RivalDetectors(Metrics):
    """``rivals.json``."""

    experiment: Literal["rivals"]
    settings: Annotated[dict[str, Any], Of(Rivals)]
    detectors: dict[Name, dict[Detector, dict[Name, RivalCell]]]
    rows: list[RivalRow]


KINDS: dict[str, type[Metrics]] = {"cost": Cost, "hessian": Hessian, "rivals": RivalDetectors, "*": Experiment}
