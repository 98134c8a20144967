"""What the metrics files of the alternatives hold (``metrics/alternatives``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekws.methods.alternatives.settings import (
    AlternativeMethod,
    AlternativeTraining,
    Device,
    DeviceLimits,
    Federated,
    NetName,
    Retention,
    StrongName,
)
from edgekws.methods.traces_propagation.metrics import ShotSummary, Task, UserRow
from edgekws.protocol.metrics import Cell, Check, Fields, Metrics, Number, Of, Shot
from edgekws.protocol.settings import Statistics

Remedy = Annotated[str, Field(pattern=r"^(none|(rehearsal|elastic)_[0-9.e+-]+)$")]

Way = Annotated[str, Field(pattern=r"^(base|local|(centralised|federated|private_[0-9.e+-]+)(_local)?)$")]
"""Of learning: alone, pooled, federated, with differential privacy at a noise; ``_local``: gone on from alone."""


# ------------------------------------------------------------------------------------------------ jobs
class Delta(Fields):
    """What a method changes of its net."""

    values: int
    base_values: int
    share: Number
    bytes: dict[Literal["fp32", "int8"], int]


class Adapted(Metrics):
    """``adaptation/<method>_seed<seed>.json``, of ``adapt``."""

    method: str
    seed: int
    delta: Delta
    rows: list[Task]


class Tuned(Metrics):
    """``tuning/<method>.json``, of ``tune``."""

    method: str
    seeds: list[int]
    budget: Annotated[dict[str, Any], Of(AlternativeTraining)]
    grid: list[dict[str, Any]]
    on_edge: list[str]


class RemedyTask(Task):
    """A task with a remedy against forgetting."""

    remedy: str
    strength: Number


class Retained(Metrics):
    """``retention/<method>_seed<seed>.json``, of ``retain``."""

    method: str
    seed: int
    remedies: list[RemedyTask]
    sequence: list[dict[str, Any]]


class Federation(Fields):
    """What a federation and its summary share."""

    engine: str
    why: str
    versions: dict[str, str]
    check: dict[Literal["largest_difference"], Number] | None
    bytes: dict[str, Any]
    secure: dict[str, Any] | None
    curves: dict[Way, dict[Literal["own", "others"], list[Number]]]
    privacy: dict[Way, dict[str, Number]]


class FederatedSeed(Metrics, Federation):
    """``federated/seed<seed>.json``, of ``federate``."""

    seed: int
    users: dict[str, list[str]]
    tuned: dict[Way, list[dict[str, Number]]]
    rates: dict[Way, Number]
    rows: list[dict[str, Any]]


class StrongSeed(Metrics):
    """``strong/<net>_seed<seed>.json``, of ``strong-adapt``."""

    net: StrongName
    seed: int
    methods: dict[str, dict[str, Any]]


class DepthSeed(Metrics):
    """``depth/seed<seed>.json``, of ``depth``."""

    seed: int
    rows: list[dict[str, Any]]


# ------------------------------------------------------------------------------------------------ summaries
class StrongBases(Metrics):
    """``strong.json``, of ``summarise-strong``: accuracy of the bases over seeds, gains by method; whether adapting pays."""

    experiment: Literal["strong"]
    seeds: list[int]
    bases: dict[StrongName, dict[Literal["validation", "test"], Cell]]
    budgets: dict[str, Annotated[dict[str, Any], Of(AlternativeTraining)]]
    summary: dict[str, dict[Shot, ShotSummary]]
    checks: dict[str, Check]
    rows: list[UserRow]


class MethodFacts(Delta):
    """A method, its budget and what it changes."""

    kind: str
    net: NetName
    optimiser: str
    rank: int
    budget: Annotated[dict[str, Any], Of(AlternativeTraining)]


class AdaptationSettings(Fields):
    """What the bench was made with."""

    plan: dict[str, Any]
    statistics: Statistics
    methods: dict[str, AlternativeMethod]


class Adaptation(Metrics):
    """``adaptation.json``, of ``summarise``."""

    experiment: Literal["adaptation"]
    seeds: list[int]
    settings: Annotated[dict[str, Any], Of(AdaptationSettings)]
    methods: dict[str, MethodFacts]
    summary: dict[str, dict[Shot, ShotSummary]]
    against_full: dict[str, dict[Shot, dict[Literal["gain", "forgetting", "accuracy_kept", "gain_kept"], Cell]]]
    checks: dict[Literal["lora_fewer_spiking", "lora_small_spiking", "lora_fewer_ds_cnn", "lora_small_ds_cnn"], Check]
    rows: list[UserRow]


class Complexity(Metrics):
    """``complexity.json``."""

    experiment: Literal["complexity"]
    sizes: dict[str, Any]
    rules: dict[str, dict[str, Any]]


class Peak(Fields):
    """Bytes at the peak, and each category's own largest."""

    peak: int
    at_peak: dict[str, int]
    largest: dict[str, int]


class MethodCost(Fields):
    """Of adapting to one user; ``memory_longer`` with clips twice as long, for spiking nets."""

    memory: Peak
    memory_longer: Peak | None = None
    seconds: Number


class Cost(Metrics):
    """``cost_<net>.json``."""

    experiment: Literal["cost_spiking", "cost_ds_cnn"]
    clips: int
    frames: int
    methods: dict[str, MethodCost]
    checks: dict[Literal["lora_less_memory", "local_less_memory", "local_any_length"], Check]


class Limits(Metrics):
    """``limits.json``."""

    experiment: Literal["limits"]
    settings: Annotated[dict[str, Any], Of(dict[Literal["limits"], DeviceLimits])]
    sizes: dict[str, int]
    rows: list[dict[str, Any]]
    widest: list[dict[str, Any]]


DeviceCheck = Literal["same_bits", "no_float_exceptions", "less_memory_than_bptt", "fits_budgets", "static_memory"]


class DeviceRun(Metrics):
    """``device.json``, of ``edgekws embedded measure``; a check that this machine could not make is not there."""

    experiment: Literal["device"]
    settings: Annotated[dict[str, Any], Of(dict[Literal["device"], Device])]
    targets: dict[str, dict[str, Any]]
    users: list[dict[str, Any]]
    widths: list[dict[str, Any]]
    budgets: list[dict[str, Any]]
    checks: dict[DeviceCheck, Check]


class RemedySummary(Fields):
    """Points; ``saved``: of forgetting, less than without a remedy."""

    remedy: str
    strength: Number
    gain: Cell
    forgetting: Cell
    saved: Cell


class RetentionOfMethod(Fields):
    """By remedy, and by the number of users since."""

    remedies: dict[Remedy, RemedySummary]
    sequence: dict[str, dict[Literal["before", "alone", "shared", "lost"], Cell]]


class RetentionSettings(Fields):
    """What it was made with."""

    retention: Retention
    statistics: Statistics


class RetentionSummary(Metrics):
    """``retention.json``, of ``summarise-retention``."""

    experiment: Literal["retention"]
    seeds: list[int]
    settings: Annotated[dict[str, Any], Of(RetentionSettings)]
    summary: dict[str, RetentionOfMethod]


class FederatedSettings(Fields):
    """What it was made with."""

    federated: Federated
    plan: dict[str, Any]
    base: dict[str, Any]
    statistics: Statistics


class FederatedSummary(Metrics, Federation):
    """``federated.json``, of ``summarise-federated``; None where nobody has a clip of the kind."""

    experiment: Literal["federated"]
    seeds: list[int]
    settings: Annotated[dict[str, Any], Of(FederatedSettings)]
    users: int
    summary: dict[Way, dict[Literal["own", "unknown", "others", "own_gain", "unknown_gain", "others_gain"], Cell | None]]
    against_local: dict[Way, Cell | None]
    rates: dict[str, dict[Way, Number]]


KINDS: dict[str, type[Metrics]] = {
    "adaptation": Adaptation, "complexity": Complexity, "cost_spiking": Cost, "cost_ds_cnn": Cost, "limits": Limits,
    "device": DeviceRun, "retention": RetentionSummary, "federated": FederatedSummary, "strong": StrongBases}
