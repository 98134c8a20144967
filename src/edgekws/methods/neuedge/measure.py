"""The arms of NeuEdge on a simulated chip: accuracy in float, on 8 bits and in Loihi's integers; counts, energy, time.

Every count comes from the integer simulation. The encoder's units are taken to be on the chip, updated in every step;
what an adaptive threshold itself would cost is not counted (Lava's neurons have none).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from edgekws.core.provenance import derive_seed
from edgekws.methods.neuedge import chip as chips
from edgekws.methods.neuedge import energy, experiments, mapping
from edgekws.methods.neuedge.choices import NeuEdgeArm
from edgekws.methods.neuedge.loihi.network import LoihiNetwork, quantise
from edgekws.methods.neuedge.loihi.simulator import Simulation, simulate
from edgekws.methods.neuedge.placement import naive, optimise
from edgekws.methods.neuedge.settings import AdaptiveThreshold, Hardware, NeuEdge
from edgekws.methods.neuedge.training import evaluate
from edgekws.models.feedforward_lif import FeedForwardLIF, quantised
from edgekws.models.temporal_conv import TemporalConv
from edgekws.neurons.adaptive import AdaptiveRule

Spikes = npt.NDArray[np.uint8]
Placement = Literal["naive", "optimised"]

QUIET = 0.25
"""Share of the test clips, those of the lowest mean feature, that make up the quiet subset."""

_CALIBRATION = 512  # training clips from which rates for placement and targets for thresholds are taken


class Arm(NamedTuple):
    """A trained spiking arm in integers, its mapping, and what its layers do on training clips."""

    name: NeuEdgeArm
    net: FeedForwardLIF
    integers: LoihiNetwork
    masks: list[npt.NDArray[np.bool_]]
    targets: tuple[float, ...]  # mean spike rate of each hidden layer with fixed thresholds
    rates: list[npt.NDArray[np.float64]]  # mean spikes in a clip of every encoder unit and hidden neuron


class Variant(NamedTuple):
    """A row of the ablation: an arm, where its neurons are, and how its thresholds move."""

    name: str
    arm: NeuEdgeArm
    placement: Placement
    sign: Literal[0, 1, -1] = 0  # of Eq. 11; 0 leaves thresholds fixed


VARIANTS = (Variant("rate", "rate", "naive"), Variant("lif", "lif", "naive"), Variant("hybrid", "hybrid", "naive"),
            Variant("mapped", "mapped", "optimised"), Variant("adaptive", "mapped", "optimised", 1),
            Variant("homeostatic", "mapped", "optimised", -1), Variant("full", "full", "optimised", 1))
"""The paper's table: baseline, + hybrid coding (and its control without modulation), + mapping, + adaptive threshold (and
its control of the other sign), full."""


def prepare(name: NeuEdgeArm, net: FeedForwardLIF, corpus: experiments.Corpus, chosen: NeuEdge, *,
            activity: Sequence[float], seed: int) -> Arm:
    """An arm in integers; rates from training clips, targets too but for the arm that was trained with adaptation."""
    integers = quantise(net, corpus.words)
    rows = corpus.rows("train")
    rows = np.sort(np.random.default_rng(derive_seed(seed, "calibration")).permutation(rows)[:_CALIBRATION])
    spikes = experiments.encode_rows(corpus.features, rows, experiments.CODES[name], chosen.encoder, seed=seed)
    run = simulate(integers, spikes)
    rates = [spikes.sum(1, dtype=np.int64).mean(0), *(counts.mean(0) for counts in run.spike_counts)]
    targets = [float(rate.mean()) / spikes.shape[1] for rate in rates[1:]]
    return Arm(name, net, integers, [layer.synapses != 0 for layer in integers.layers],
               tuple(activity if name == "full" else targets), rates)


def placed(arm: Arm, placement: Placement, hardware: Hardware, *, seed: int,
           start: Mapping[str, Any] | None = None) -> mapping.Mapping:
    """The arm's neurons on the settings' chip."""
    chip = chips.chip(hardware.chip)
    if placement == "naive":
        return naive(arm.masks, chip)
    return optimise(mapping.Mapping.from_json(dict(start)) if start else None, arm.masks, arm.rates, chip,
                    steps=hardware.placement_steps, seed=derive_seed(seed, "placement"), group=hardware.group,
                    weights=(hardware.utilisation, hardware.traffic, hardware.memory))


def rule_of(variant_sign: Literal[0, 1, -1], arm: Arm, adaptive: AdaptiveThreshold,
            gamma: float) -> AdaptiveRule | None:
    """The adaptive threshold of a variant, or None where thresholds are fixed."""
    if variant_sign == 0:
        return None
    return experiments.rule_maker(adaptive, gamma, variant_sign)(arm.targets)


def subsets(features: experiments.Features) -> dict[str, npt.NDArray[np.int64]]:
    """Places of all test clips, and of the quiet ones: the lowest quarter by mean feature."""
    order = np.argsort(np.mean(features, axis=(1, 2)), kind="stable")
    return {"all": np.arange(len(features)), "quiet": np.sort(order[:max(1, round(QUIET * len(features)))])}


def measure(variant: Variant, arm: Arm, where: mapping.Mapping, spikes: Spikes, labels: npt.NDArray[np.int64],
            parts: Mapping[str, npt.NDArray[np.int64]], chosen: NeuEdge) -> dict[str, Any]:
    """One row of the ablation for one seed.

    Args:
        spikes: Of the encoder, for every test clip.
        labels: Of every test clip.
        parts: Subsets of the test clips, ``all`` among them.

    Returns:
        ``chip``: utilisation by resource, cores, density. ``subsets``: for each how many clips are said right and, as
        means over its clips, spikes by population, synaptic operations, updates, messages and hops, joules of every price set
        by term, seconds of a step and of an answer.
    """
    rule = rule_of(variant.sign, arm, chosen.adaptive, chosen.adaptive.chosen)
    chip = chips.chip(chosen.hardware.chip)
    run = simulate(arm.integers, spikes, adaptive=rule)
    matrices = [quantised(weights) for weights in arm.net.weights]
    said = {"float": evaluate(arm.net, spikes, adaptive=rule)[0],
            "quantised": evaluate(arm.net, spikes, weights=matrices, adaptive=rule)[0], "integer": run.predictions}
    used = mapping.utilisation(where, arm.masks, chip)
    return {
        "variant": variant.name, "arm": variant.arm, "placement": variant.placement, "sign": variant.sign,
        "gamma": chosen.adaptive.chosen if variant.sign else 0.0, "targets": list(arm.targets),
        "chip": {"name": chip.name, **{name: used[name] for name in ("utilisation", "neurons", "synapse_bits", "in_axons",
                                                                     "out_axons", "cores_used")},
                 "density": sum(int(mask.sum()) for mask in arm.masks) / sum(mask.size for mask in arm.masks)},
        "subsets": {name: {"clips": len(rows), "correct": {kind: int((words[rows] == labels[rows]).sum())
                                                           for kind, words in said.items()},
                           **_costs(arm, where, spikes[rows], run, rows, chosen)} for name, rows in parts.items()}}


def _costs(arm: Arm, where: mapping.Mapping, spikes: Spikes, run: Simulation, rows: npt.NDArray[np.int64],
           chosen: NeuEdge) -> dict[str, Any]:
    """Means over some clips of everything that is counted."""
    chip, catalogue = chips.chip(chosen.hardware.chip), chips.load()
    clips, steps, units = spikes.shape
    counts = [spikes.sum(1, dtype=np.int64), *(layer[rows].astype(np.int64) for layer in run.spike_counts)]
    active = [np.full(clips, units * steps), *(layer[rows] for layer in run.active_updates)]
    moved = mapping.traffic(where, arm.masks, counts, chip)
    events = energy.count_events(counts, active, arm.masks, steps=steps, traffic=moved)
    step = energy.step_time(where, arm.masks, counts, chip, chips.timing(chip.timing), steps=steps)
    waiting = energy.latency(step.total, steps=steps, delay=arm.integers.delay)
    joules = {name: energy.energy(events, prices) for name, prices in catalogue.prices.items()}
    totals = {name: terms["total"] for name, terms in joules.items()}
    efficient = energy.efficiency(totals["davies2018"], events.synaptic_operations, steps=steps,
                                  weights=sum(mask.size for mask in arm.masks))
    return {
        "spikes": {name: float(count.sum(1).mean()) for name, count in zip(
            ["encoder", *(f"hidden {index + 1}" for index in range(len(counts) - 1))], counts, strict=True)},
        "spikes_total": float(sum(count.sum(1).mean() for count in counts)),
        "events": {name: float(np.mean(value)) for name, value in events._asdict().items()},
        "joules": {name: {term: float(value.mean()) for term, value in terms.items()} for name, terms in joules.items()},
        "static_joules": {name: float(np.mean(waiting["whole_clip"]) * power.si)
                          for name, power in catalogue.static_power.items()},
        "seconds": {"step": float(step.total.mean()), **{name: float(np.mean(value)) for name, value in waiting.items()}},
        "steps": steps, "delay": arm.integers.delay,
        "efficiency": {name: float(np.mean(value)) for name, value in efficient.items()}}


def sweep_gamma(arm: Arm, where: mapping.Mapping, spikes: Spikes, labels: npt.NDArray[np.int64],
                parts: Mapping[str, npt.NDArray[np.int64]], chosen: NeuEdge) -> Iterator[dict[str, Any]]:
    """Accuracy, spikes and energy against the gain of Eq. 11, as printed and with the other sign, by subset."""
    signs: tuple[Literal[1, -1], ...] = (1, -1)
    for sign in signs:
        for gamma in chosen.adaptive.gamma:
            run = simulate(arm.integers, spikes, adaptive=rule_of(sign, arm, chosen.adaptive, gamma))
            for name, rows in parts.items():
                costs = _costs(arm, where, spikes[rows], run, rows, chosen)
                yield {"gamma": gamma, "sign": sign, "subset": name, "clips": len(rows),
                       "correct": int((run.predictions[rows] == labels[rows]).sum()),
                       "spikes_total": costs["spikes_total"], "hidden_spikes": costs["spikes_total"] - costs["spikes"]["encoder"],
                       "joules": {prices: terms["total"] for prices, terms in costs["joules"].items()}}


def noise_test(arm: Arm, where: mapping.Mapping, spikes: Mapping[float | None, Spikes],
               labels: Mapping[float | None, npt.NDArray[np.int64]], chosen: NeuEdge) -> Iterator[dict[str, Any]]:
    """Fixed against adaptive thresholds on clips with noise, and on noise alone (None), where only the cost is counted."""
    signs: tuple[Literal[0, 1, -1], ...] = (0, 1, -1)
    for snr, some in spikes.items():
        rows = np.arange(len(some))
        for sign in signs:
            run = simulate(arm.integers, some, adaptive=rule_of(sign, arm, chosen.adaptive, chosen.adaptive.chosen))
            costs = _costs(arm, where, some, run, rows, chosen)
            yield {"snr_db": snr, "sign": sign, "clips": len(some),
                   "correct": None if snr is None else int((run.predictions == labels[snr]).sum()),
                   "spikes_total": costs["spikes_total"],
                   "joules": {prices: terms["total"] for prices, terms in costs["joules"].items()}}


def conventional(net: TemporalConv, features: experiments.Features, labels: npt.NDArray[np.int64],
                 parts: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Any]:
    """The conventional net beside them: accuracy, multiply-adds, and joules of the arithmetic alone."""
    with torch.no_grad():
        said = torch.cat([net(chunk).argmax(1) for chunk in torch.split(torch.from_numpy(features), 256)]).numpy()
    macs = net.multiply_accumulates(features.shape[1])
    return {"variant": "ann", "arm": "ann", "macs": macs,
            "joules": {name: float(energy.ann_energy(macs, price)) for name, price in chips.load().macs.items()},
            "subsets": {name: {"clips": len(rows), "correct": {"float": int((said[rows] == labels[rows]).sum())}}
                        for name, rows in parts.items()}}
