"""What adaptation and inference cost on the machine at hand, pruned against unpruned (onda.md, sections 2.5 and 7, gap 15).

Operations of all nets are measured in turn in one loop, forwards and backwards by turns, so that whatever else slows the
machine down slows all of them; gains are medians of the ratios within a round, with bootstrap intervals over rounds.
The cost of an adaptation is estimated from its parts: so many probes, one pruning, so many updates.
"""

from __future__ import annotations

import copy
import math
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgekws.core.errors import UserError
from edgekws.core.optimiser import Adam
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed, provenance
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.features.mfcc import mfcc
from edgekws.methods.onda import hessian, power, pruning, self_learning
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.settings import OnDA
from edgekws.methods.onda.summary import percent
from edgekws.methods.onda.timing import (
    Floats,
    Measure,
    Operation,
    in_turn,
    joules,
    median_interval,
    memory,
    quotient_interval,
    seconds,
)
from edgekws.models import encoder as encoders
from edgekws.models.choices import Backbone
from edgekws.models.encoder import Encoder

FULL = "0"
"""Name of the unpruned net among the ratios (as percent)."""

_IDLE_SECONDS, _BLOCK_SECONDS, _BLOCKS = 5.0, 2.0, 5  # of the energy counters, which are slow


# ------------------------------------------------------------------------------------------------ measuring


# ------------------------------------------------------------------------------------------------ the work
class Plan(NamedTuple):
    """How much of each part an adaptation holds.

    Attributes:
        updates: Of the weights, in one fine-tuning.
        scorings: Mini-batches that the Hessian is averaged over.
        probes: Hutchinson's of each of them: its forward and backward pass serves them all.
        recalibrations: Batches that running statistics are taken anew over, with six negatives to a positive (or whatever
            a batch of fine-tuning has).
    """

    updates: int
    scorings: int
    probes: int
    recalibrations: float

    @classmethod
    def of(cls, settings: OnDA) -> Plan:
        """Raises: UserError if there are too few pseudo-positives for one update."""
        tuning, positives = settings.finetuning, settings.cost.pseudo_positives
        if positives < tuning.positives:
            raise UserError(f"is {positives}, but an update takes {tuning.positives}: nothing would be trained",
                            where="onda.cost.pseudo_positives", remedy="set it higher, or onda.finetuning.positives lower")
        scorings = min(settings.pruning.batches, settings.pruning.probes)
        return cls(tuning.epochs * (positives // tuning.positives), scorings, math.ceil(settings.pruning.probes / scorings),
                   positives / tuning.positives)


def make_nets(encoder: Encoder, settings: OnDA) -> dict[str, Encoder]:
    """The unpruned net and, for each ratio (as percent), the one without the channels of the smallest weights."""
    scores = pruning.l1_scores(encoder, settings.pruning)
    return {FULL: encoder} | {percent(ratio): pruning.prune(encoder, scores, ratio, settings.pruning)
                              for ratio in settings.cost.ratios}


def make_batch(settings: OnDA, *, seed: int, device: torch.device) -> Tensor:
    """A batch of fine-tuning, MFCC [recordings + positives + negatives, 47, 10] of noise: its values do not matter."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "cost"))
    windows = settings.calibration.recordings + settings.finetuning.positives + settings.finetuning.negatives
    return mfcc(0.1 * torch.randn(windows, CLIP_SAMPLES, generator=generator)).to(device)


def inferences(nets: Mapping[str, Encoder], window: Tensor) -> dict[str, Operation]:
    """Each net as PyTorch runs it, eager and in evaluation mode, on one window [1, 47, 10]."""
    def infer(net: Encoder) -> None:
        with torch.inference_mode():
            net(window)

    return {name: partial(infer, net.eval()) for name, net in nets.items()}


def embeddings(nets: Mapping[str, Encoder], window: Tensor) -> dict[str, Operation]:
    """Each net as :class:`Embedder` runs it, on one window [1, 47, 10]."""
    return {name: partial(Embedder(net).embed, window) for name, net in nets.items()}


def adaptations(nets: Mapping[str, Encoder], batch: Tensor, settings: OnDA, *, seed: int) -> dict[str, Operation]:
    """The parts of an adaptation: ``probes`` (those of one mini-batch), and by net ``update``, ``pruning``, ``recalibration``.

    The names of the latter end in the net's ratio, as percent.
    The probes are of the unpruned net; there are as many windows in a mini-batch as in an update.
    """
    recordings, positives = settings.calibration.recordings, settings.finetuning.positives
    unpruned, shared = nets[FULL], settings.pruning.model_copy(update={"probes": Plan.of(settings).probes})
    host = copy.deepcopy(unpruned).cpu()  # where channels are cut
    generator = torch.Generator().manual_seed(derive_seed(seed, "cost probes"))

    def loss(net: Any) -> Tensor:
        own, near, far = net(batch).split([recordings, positives, len(batch) - recordings - positives])
        return self_learning.triplet_loss(near, own, far, settings.finetuning.margin)

    def cut(ratio: float) -> Encoder:
        return pruning.prune(host, pruning.l1_scores(host, settings.pruning), ratio, settings.pruning)

    operations: dict[str, Operation] = {"probes": lambda: hessian.hap_traces(unpruned, [loss], shared, generator)}
    for name, net in nets.items():
        operations[f"update {name}"] = updating(net, loss, settings.finetuning.learning_rate)
    for ratio in settings.cost.ratios:
        operations[f"pruning {percent(ratio)}"] = partial(cut, ratio)
        operations[f"recalibration {percent(ratio)}"] = partial(pruning.recalibrate, nets[percent(ratio)], batch[recordings:])
    return operations


def updating(net: Encoder, loss: Callable[[Any], Tensor], rate: float) -> Operation:
    """One update of a copy of a net by Adam, again and again."""
    trained = copy.deepcopy(net).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = dict(trained.named_parameters())
    optimiser = Adam(weights, rate)

    def update() -> None:
        optimiser.step(dict(zip(weights, torch.autograd.grad(loss(trained), list(weights.values())), strict=True)))

    return update


# ------------------------------------------------------------------------------------------------ what it comes to
Costs = dict[str, dict[str, Floats]]
"""Seconds or joules of rounds: by kind (``inference``, ``embedder``, ``adaptation``) and operation."""


def account(costs: Costs, plan: Plan, ratios: list[float]) -> dict[str, Any]:
    """What inferences, updates and whole adaptations cost, how much pruning gains, and when it has paid.

    Args:
        costs: In one unit; the operations of ``adaptation`` are those of :func:`adaptations`.

    Returns:
        ``unpruned`` and, by ratio, ``pruned``: medians. ``adaptation``: totals, their parts, and ``gain``, how many times
        cheaper it is than weights-only adaptation of the unpruned net. ``break_even``: after how many inferences a schedule
        has made up for what it costs more than that (negative where it costs less), from how many updates on OnDA-1 is the
        cheaper adaptation, and how many inferences later than OnDA-1 OnDA-2 has paid at the ratio of the fastest inference.
    """
    parts, names = costs["adaptation"], [percent(ratio) for ratio in ratios]
    nets = {kind: found for kind, found in costs.items() if kind != "adaptation"}
    nets["update"] = {name: parts[f"update {name}"] for name in [FULL, *names]}
    weights_only, probing = plan.updates * parts[f"update {FULL}"], plan.scorings * parts["probes"]
    told: dict[str, Any] = {
        "unpruned": {kind: median_interval(found[FULL]) for kind, found in nets.items()}
        | {"probe": median_interval(parts["probes"] / plan.probes)},
        "pruned": {},
        "adaptation": {"updates": plan.updates, "none": {"total": median_interval(weights_only)}, "onda_1": {}, "onda_2": {}},
        "break_even": {"onda_1": {}, "onda_2": {}, "onda_1_updates": {}}}
    later: dict[str, dict[str, Any]] = {}
    for name in names:
        saved = nets["inference"][FULL] - nets["inference"][name]
        told["pruned"][name] = {kind: median_interval(found[name]) for kind, found in nets.items()} | {
            "gain": {kind: median_interval(found[FULL] / found[name]) for kind, found in nets.items()}}
        before = {"onda_1": {"probes": probing}, "onda_2": {"first updates": weights_only}}
        after = {"pruning": parts[f"pruning {name}"],
                 "recalibration": plan.recalibrations * parts[f"recalibration {name}"],
                 "updates": plan.updates * parts[f"update {name}"]}
        totals = {}
        for schedule, first in before.items():
            whole = first | after
            totals[schedule] = sum(whole.values(), np.zeros_like(probing))
            told["adaptation"][schedule][name] = {
                "total": median_interval(totals[schedule]), "gain": median_interval(weights_only / totals[schedule]),
                "parts": {part: float(np.median(found)) for part, found in whole.items()}}
            told["break_even"][schedule][name] = _quotient(totals[schedule] - weights_only, saved, "an inference")
        told["break_even"]["onda_1_updates"][name] = _quotient(
            probing + after["pruning"] + after["recalibration"], parts[f"update {FULL}"] - parts[f"update {name}"],
            "an update")
        later[name] = _quotient(totals["onda_2"] - totals["onda_1"], saved, "an inference")
    fastest = percent(largest(told)["onda_1_inference"]["ratio"])
    told["break_even"]["onda_2_after_onda_1"] = {**later[fastest], "ratio": float(fastest) / 100}
    return told


def _quotient(over: Floats, under: Floats, what: str) -> dict[str, Any]:
    found = quotient_interval(over, under)
    return {"measured": False, "why": f"{what} of the pruned net is not reliably cheaper"} if found is None else found


def largest(told: Mapping[str, Any]) -> dict[str, Any]:
    """The largest gains over the ratios, each with its ratio; the net of a ratio serves both schedules."""
    inference = {name: net["gain"]["inference"] for name, net in told["pruned"].items()}
    adaptation = {schedule: {name: found["gain"] for name, found in told["adaptation"][schedule].items()}
                  for schedule in ("onda_1", "onda_2")}
    return {"onda_1_inference": _most(inference), "onda_2_inference": _most(inference),
            "onda_1_adaptation": _most(adaptation["onda_1"]), "onda_2_adaptation": _most(adaptation["onda_2"])}


def _most(by_ratio: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    name = max(by_ratio, key=lambda each: by_ratio[each]["value"])
    return {**by_ratio[name], "ratio": float(name) / 100}


def checks(told: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """Whether OnDA-1 costs less than weights-only adaptation, and OnDA-2 pays later: ``{"holds", "why"}`` with numbers.

    Both at the ratio of the largest gain, OnDA-1's in adaptation and either's in inference.
    """
    plain, first = told["adaptation"]["none"]["total"], told["adaptation"]["onda_1"]
    best = percent(_most({name: found["gain"] for name, found in first.items()})["ratio"])
    totals = ", ".join(f"{found['total']['value']:.3g} at {name} %" for name, found in first.items())
    later = told["break_even"]["onda_2_after_onda_1"]
    fastest = percent(later["ratio"])
    counts = [told["break_even"][schedule][fastest].get("value") for schedule in ("onda_2", "onda_1")]
    when = later.get("why") or "{:,.0f} inferences for OnDA-2, {:,.0f} for OnDA-1".format(*counts)
    return {
        "onda_1_pays_at_once": {
            "holds": first[best]["gain"]["ci_low"] > 1,
            "why": f"{unit} of an adaptation of {told['adaptation']['updates']} updates: {plain['value']:.3g} for weights only, "
                   f"OnDA-1 {totals} pruned"},
        "onda_2_breaks_even_later": {
            "holds": later.get("ci_low", 0) > 0,
            "why": f"break-even in {unit} at {fastest} % pruned, against weights only: {when}"}}


def not_measured(why: str) -> dict[str, Any]:
    """What stands in a metrics file where a number might."""
    return {"measured": False, "why": why}


# ------------------------------------------------------------------------------------------------ the metrics file
def machine(root: str | Path = "/") -> dict[str, Any]:
    """Name of the processor or board, and whether it is a Jetson."""
    root = Path(root)
    board = root / "proc/device-tree/model"
    name = board.read_text().strip("\0\n ") if board.is_file() else ""
    if not name:
        lines = (root / "proc/cpuinfo").read_text().splitlines() if (root / "proc/cpuinfo").is_file() else []
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"name": name, "jetson": "jetson" in name.lower() or (root / "etc/nv_tegra_release").is_file()}


def measure(nets: Mapping[str, Encoder], settings: OnDA, device: torch.device, *, seed: int,
            progress: bool) -> tuple[dict[str, Any], dict[str, Operation]]:
    """Time and energy on one device, as :func:`account` tells them, and the parts of an adaptation.

    The energy is ``{"measured": false, "why": ...}`` where no counter can be read.
    """
    chosen, plan = settings.cost, Plan.of(settings)
    placed = {name: copy.deepcopy(net).to(device) for name, net in nets.items()}
    batch = make_batch(settings, seed=seed, device=device)
    work = {"inference": inferences(placed, batch[:1]), "adaptation": adaptations(placed, batch, settings, seed=seed)}
    if device.type == "cpu":
        work["embedder"] = embeddings(placed, batch[:1])
    rounds = {kind: chosen.steps if kind == "adaptation" else chosen.inferences for kind in work}
    wait: Operation = torch.cuda.synchronize if device.type == "cuda" else _nothing

    def costs(unit: str, count: Mapping[str, int], cost: Measure, warm_up: int) -> Costs:
        with tqdm(total=sum(count[kind] * len(work[kind]) for kind in work), desc=f"{unit} on {device.type}",
                  disable=not progress) as bar:
            return {kind: in_turn(work[kind], count[kind], cost, bar=bar, warm_up=1 if kind == "adaptation" else warm_up)
                    for kind in work}

    told = account(costs("seconds", rounds, partial(seconds, wait=wait), chosen.warm_up), plan, chosen.ratios)
    gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None
    counter = power.find_counter(gpu=gpu)
    if counter is None:
        told["energy"] = not_measured(power.why_none(gpu=gpu))
        return told, work["adaptation"]
    with counter:
        idle = joules(partial(time.sleep, _IDLE_SECONDS), counter=counter, idle=0.0, block=0.0) / _IDLE_SECONDS
        taken = costs("joules", dict.fromkeys(work, _BLOCKS), partial(
            joules, counter=counter, idle=idle, block=_BLOCK_SECONDS, wait=wait), 1)
    if min(found.min() for kind in taken.values() for found in kind.values()) <= 0:
        told["energy"] = not_measured(f"{counter.name} counted less at work than the {idle:.1f} W of the idle machine")
    else:
        told["energy"] = {"measured": True, "counter": counter.name, "covers": counter.covers, "idle_watts": idle,
                          **account(taken, plan, chosen.ratios)}
    return told, work["adaptation"]


def _nothing() -> None:
    return None


def cost_file(encoder_path: str | Path, settings: OnDA, *, seed: int, threads: int, progress: bool = False) -> dict[str, Any]:
    """The metrics file of the costs on this machine: the processor, and its GPU where there is one.

    Channels are chosen by their weights (global L1) for both schedules, as HAP needs a user's data; what a net costs
    depends on its widths alone.

    Args:
        encoder_path: The unpruned encoder.
        threads: Compute threads that torch was given, for the record.
    """
    encoder, backbone, _ = encoders.load_encoder(encoder_path)
    nets = make_nets(encoder, settings)
    host = machine()
    told, operations = measure(nets, settings, torch.device("cpu"), seed=seed, progress=progress)
    taken = {name: memory(operation) for name, operation in operations.items() if name.startswith(("probes", "update"))}
    for name, net in nets.items():
        of = told["unpruned"] if name == FULL else told["pruned"][name]
        of |= {"widths": net.widths, "parameters": encoders.parameters(net), "bytes": _bytes(net, backbone),
               "multiply_accumulates": encoders.multiply_accumulates(net)}
    full = taken[f"update {FULL}"]
    told["adaptation"]["none"]["peak_bytes"] = full
    for schedule, before in (("onda_1", taken["probes"]), ("onda_2", full)):
        for name, found in told["adaptation"][schedule].items():
            found["peak_bytes"] = {kind: _larger(before[kind], taken[f"update {name}"][kind]) for kind in before}
    return {
        "schema": 1, "paper": "onda", "experiment": "cost", "backbone": backbone, "seed": seed,
        "device": {**host, "kind": "cpu", "threads": threads}, "units": {"time": "s", "energy": "J", "memory": "B"},
        "settings": settings.model_dump(mode="json", include={"cost", "calibration", "finetuning", "pruning"}),
        "provenance": provenance(corpus={"name": f"noise on {host['name']}", "meets": ["jetson"] if host["jetson"] else []},
                                 threads=threads),
        **_judged(told), "gpu": _gpu(nets, settings, seed=seed, progress=progress)}


def _judged(told: dict[str, Any]) -> dict[str, Any]:
    """What was measured, with the largest gains and the checks: in joules where those were counted, else in seconds."""
    energy, gains = told["energy"], largest(told)
    counted = largest(energy) if energy["measured"] else dict.fromkeys(gains, not_measured(energy["why"]))
    return {**told, "largest": gains | {f"{what}_energy": gain for what, gain in counted.items()},
            "checks": checks(energy, "joules") if energy["measured"] else checks(told, "seconds")}


def _gpu(nets: Mapping[str, Encoder], settings: OnDA, *, seed: int, progress: bool) -> dict[str, Any]:
    """The same on the GPU; what goes wrong there (memory, a driver) is told and takes nothing else along."""
    if not torch.cuda.is_available():
        return not_measured("no GPU")
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")  # speed as PyTorch comes
    try:
        told, _ = measure(nets, settings, torch.device("cuda"), seed=seed, progress=progress)
    except RuntimeError as error:
        return not_measured(str(error).splitlines()[0])
    finally:
        torch.set_deterministic_debug_mode(mode)
    return {"measured": True, "name": torch.cuda.get_device_name(), **_judged(told)}


def _bytes(net: Encoder, backbone: Backbone) -> int:
    """Size of the file that a device would load."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        encoders.save_encoder(path, net, backbone, about={}, provenance={})
        return path.stat().st_size


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)
