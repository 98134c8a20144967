"""What the metrics files of NeuEdge hold (``metrics/neuedge``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekws.methods.neuedge.settings import NeuEdge, Referee
from edgekws.protocol.metrics import Cell, Check, Fields, Metrics, Number, Of
from edgekws.protocol.settings import Statistics

Variant = Literal["rate", "lif", "hybrid", "mapped", "adaptive", "homeostatic", "full", "ann"]

Subset = Literal["all", "quiet"]

Quantity = Literal[
    "accuracy_float", "accuracy_quantised", "accuracy_integer", "bits", "bits_control", "bits_per_spike", "quantisation_change",
    "spikes_encoder", "spikes_hidden", "spikes_total", "synaptic_operations", "active_updates", "inactive_updates", "spikes",
    "messages", "hops_east_west", "hops_north_south", "milliseconds_whole_clip", "milliseconds_after_last_frame",
    "nanoseconds_step", "gsop_per_s_per_w", "dense_equivalent_gop_per_s_per_w", "chip_utilisation", "chip_neurons",
    "chip_synapse_bits", "chip_in_axons", "chip_out_axons", "chip_density", "chip_cores_used"]

Energy = Annotated[str, Field(pattern="^microjoules_[a-z0-9_]+$")]
"""By price set (chips.yaml), or by the number format of the conventional net."""

Step = Literal["hybrid_vs_rate", "lif_vs_rate", "hybrid_vs_lif", "mapped_vs_hybrid", "adaptive_vs_mapped",
               "homeostatic_vs_mapped", "full_vs_adaptive", "full_vs_rate"]

Effect = Literal["accuracy_change", "utilisation_change", "energy_saving", "spike_saving", "operation_saving",
                 "encoder_spike_ratio", "spike_ratio", "bits_change", "efficiency_ratio"]


# ------------------------------------------------------------------------------------------------ jobs
class Measured(Metrics):
    """``ablation/seed<seed>.json``, of ``measure``."""

    seed: int
    settings: Annotated[dict[str, Any], Of(NeuEdge)]
    rows: list[dict[str, Any]]
    gamma: list[dict[str, Any]]
    noise: list[dict[str, Any]]
    noise_source: dict[str, Any]
    placements: list[dict[str, Any]]
    training: dict[str, dict[str, Any]]


# ------------------------------------------------------------------------------------------------ summaries
class Swept(Fields):
    """A point of a sweep; None where nothing is to be recognised."""

    sign: int
    accuracy: Cell | None
    spikes_total: Cell | None
    microjoules: Cell | None


class GammaPoint(Swept):
    """With a gain of Eq. 11."""

    gamma: Number
    subset: Subset


class NoisePoint(Swept):
    """At a signal-to-noise ratio; None is noise alone."""

    snr_db: Number | None


class AblationSettings(NeuEdge):
    """With those of the summary."""

    statistics: Statistics


class Macs(Fields):
    """Multiplications of the conventional net."""

    macs: int


class Ablation(Metrics):
    """``ablation.json``, of ``summarise``."""

    experiment: Literal["ablation"]
    seeds: list[int]
    settings: Annotated[dict[str, Any], Of(AblationSettings)]
    summary: dict[Variant, dict[Subset, dict[Quantity | Energy, Cell]]]
    effects: dict[Step, dict[Subset, dict[Effect, Cell]]]
    gamma: list[GammaPoint]
    noise: list[NoisePoint]
    noise_source: dict[str, Any]
    terms: dict[Variant, dict[str, dict[str, Number]]]
    placements: list[dict[str, Any]]
    ann: Macs
    training: dict[str, dict[str, Any]]


class EncodedPoint(Fields):
    """The encoder at a base threshold and alpha, of the rate code None."""

    code: str
    base_threshold: Number | None
    alpha: Number | None
    clips: int
    units: int
    steps: int
    spikes_per_clip: Number
    bits: Number
    plug_in: Number
    control: Number
    spikes_per_window: Number
    bits_per_spike: Number | None
    accuracy: Number
    activity: list[Number]


class Encoding(Metrics):
    """``encoding.json``, of ``encode``."""

    experiment: Literal["encoding"]
    seed: int
    settings: Annotated[dict[str, Any], Of(NeuEdge)]
    rate: EncodedPoint
    grid: list[EncodedPoint]
    checks: dict[Literal["alpha_saves_spikes"], Check]


class Utilised(Fields):
    """A network mapped to a chip."""

    utilisation: Number
    neurons: Number
    synapse_bits: Number
    in_axons: Number
    out_axons: Number
    of_chip: Number
    cores_used: int


class Mapped(Fields):
    """The same network mapped in two ways; None where it does not fit."""

    sizes: list[int]
    weights: int
    naive: Utilised | None
    optimised: Utilised | None


class Utilisation(Metrics):
    """``utilisation.json``."""

    experiment: Literal["utilisation"]
    chips: dict[str, list[Mapped]]


class Refereed(Metrics):
    """``referee.json``."""

    experiment: Literal["referee"]
    settings: Annotated[dict[str, Any], Of(Referee)]
    status: str
    why: str
    clips: int
    compared: int
    equal: int
    share: Number | None
    models: list[dict[str, Any]]


class Opinion(Fields):
    """Of another tool, as far as it ran."""

    status: str
    why: str


class SecondOpinion(Metrics):
    """``second_opinion.json``."""

    experiment: Literal["second_opinion"]
    settings: Annotated[dict[str, Any], Of(NeuEdge)]
    arm: str
    seed: int
    clips: int
    neurobench: Opinion
    sanafe: Opinion
    ours: dict[str, Any]


KINDS: dict[str, type[Metrics]] = {"ablation": Ablation, "encoding": Encoding, "utilisation": Utilisation, "referee": Refereed,
                                   "second_opinion": SecondOpinion}
