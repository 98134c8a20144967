"""Not forgetting: remedies beside a method, and users one after another on one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgekws.core import optimiser
from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives import forgetting
from edgekws.methods.alternatives.experiments import Base, adapt
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining, Retention
from edgekws.protocol import statistics
from edgekws.protocol.clips import Clips, Corpus
from edgekws.protocol.rehearsal import rehearse
from edgekws.protocol.settings import Statistics
from edgekws.protocol.tasks import Task, measure_tasks, training_rows

Rows = list[dict[str, Any]]


def remedies(work: Sequence[Task], base: Base, corpus: Corpus, method: AlternativeMethod, budget: AlternativeTraining,
             settings: Retention, *, excluded: Sequence[str], seed: int, others: int | None, progress: bool = False,
             checkpoint: Checkpoint = NOWHERE) -> Rows:
    """Adapt to each task without and with each remedy.

    Elastic weights take methods that train the net's own tensors; the other methods go without.

    Args:
        excluded: Speakers that the base was not trained on.

    Returns:
        Rows of :func:`edgekws.protocol.tasks.measure_tasks` with ``remedy`` and its ``strength``.
    """
    trained = training_rows(corpus.index, excluded=excluded, balanced=False, seed=seed)
    known = corpus.clips(trained, frozen_scale=base.scale)

    def measured(remedy: tuple[str, float]) -> Rows:
        kind, strength = remedy

        def adapted(support: Clips, seed: int) -> Any:
            if kind == "rehearsal":
                support = rehearse(support, known, int(strength), seed=derive_seed(seed, "rehearsal"))
            return adapt(base, support, method, budget, seed=seed, make=make)[0]

        make = optimiser.make if kind != "elastic" else forgetting.anchoring(fisher, strength)
        rows = measure_tasks(work, base.net, corpus, base.scale, adapted, base.predict, seed=seed, others=others,
                             progress=f"{kind} {strength:g}" if progress else None)
        return [{"remedy": kind, "strength": strength, **row} for row in rows]

    swept: list[tuple[str, float]] = [("none", 0.0), *(("rehearsal", float(clips)) for clips in settings.rehearsal)]
    if method.net == "spiking" and method.kind not in ("lora", "adapter", "threshold"):
        sample = np.random.default_rng(derive_seed(seed, "Fisher")).permutation(len(known))[:settings.fisher_clips]
        fisher = forgetting.fisher_information(base.net, known[sample], known.labels[sample])
        swept += [("elastic", weight) for weight in settings.elastic]
    return [row for rows in checkpoint.each(swept, measured, of="remedies") for row in rows]


def deal(work: Sequence[Task], size: int, *, seed: int) -> list[list[Task]]:
    """Groups of users who share a device, in a seeded order; who is left over goes without.

    Raises:
        UserError: There are fewer users than a group takes.
    """
    if len(work) < size:
        raise UserError(f"{len(work)} test users make no group of {size}", where="plan",
                        remedy="lower alternatives.retention.sequence, or use a larger corpus")
    order = np.random.default_rng(derive_seed(seed, "one after another")).permutation(len(work))
    return [[work[place] for place in order[start:start + size]] for start in range(0, len(work) - size + 1, size)]


def one_after_another(groups: Sequence[Sequence[Task]], base: Base, corpus: Corpus, method: AlternativeMethod,
                      budget: AlternativeTraining, *, seed: int, progress: bool = False) -> Rows:
    """Users who share one device: each goes on from the net that the one before left behind.

    Args:
        groups: From :func:`deal`.

    Returns:
        A row for each user, and each position in the group from there on: ``group``, ``user``, ``place`` (the user's own),
        ``after`` (users since then), ``query_clips`` and how many of them the base (``before``), the user's own delta on the
        base (``alone``) and the shared net at that time (``shared``) have right.
    """
    rows: Rows = []
    for number, group in enumerate(tqdm(groups, desc="one after another", unit="group", disable=not progress)):
        net, met = base.net, []
        for place, task in enumerate(group):
            support, query = (corpus.clips(clips, frozen_scale=base.scale) for clips in (task.support, task.query))
            own = derive_seed(seed, f"{task.user}/{task.fold}/{task.shot}")
            alone = adapt(base, support, method, budget, seed=own)[0]
            net = adapt(base, support, method, budget, seed=own, net=net)[0]
            met.append((task, place, query, {"before": _right(base, base.net, query), "alone": _right(base, alone, query)}))
            rows += [{"group": number, "user": earlier.user, "place": first, "after": place - first,
                      "query_clips": len(asked), **counts, "shared": _right(base, net, asked)}
                     for earlier, first, asked, counts in met]
    return rows


def _right(base: Base, net: Any, query: Clips) -> int:
    return int((base.predict(net, query) == query.labels).sum())


def retention_file(parts: Sequence[dict[str, Any]], settings: Statistics) -> dict[str, Any]:
    """``retention.json`` from the metrics of every method and seed."""
    return {"schema": 1, "paper": "alternatives", "experiment": "retention", "seeds": sorted({part["seed"] for part in parts}),
            "settings": {"retention": parts[0]["settings"]["retention"], "statistics": settings.model_dump()},
            "provenance": parts[0]["provenance"], "summary": summarise(parts, settings)}


def summarise(parts: Sequence[dict[str, Any]], settings: Statistics) -> dict[str, Any]:
    """Means with intervals: of remedies over users, each one's seeds averaged first; of users in turn over devices.

    Args:
        parts: Metrics of one method and seed each, with ``remedies`` and ``sequence``.

    Returns:
        By method: ``remedies``, by name (``rehearsal_64``), with ``gain``, ``forgetting`` and ``saved`` (points of
        forgetting less than without a remedy), and ``sequence``, by the number of users since: accuracy ``before``,
        ``alone`` and ``shared`` (percent) and ``lost`` (points that the shared net is below what it was for the same user
        at the end of the user's own turn). Users of one device share its nets, so the device is what an interval is over.
    """
    found: dict[str, Any] = {}
    for method in dict.fromkeys(part["method"] for part in parts):
        mine = [part for part in parts if part["method"] == method]
        found[method] = {"remedies": _remedies(mine, settings), "sequence": _sequence(mine, settings)}
    return found


def _remedies(parts: Sequence[dict[str, Any]], settings: Statistics) -> dict[str, dict[str, Any]]:
    rows = pd.DataFrame([{"seed": part["seed"], **row} for part in parts for row in part["remedies"]])
    rows["gain"] = 100 * (rows.correct_after - rows.correct_before) / rows.query_clips
    rows["forgetting"] = 100 * (rows.others_before - rows.others_after) / rows.others_clips
    users = rows.groupby(["remedy", "strength", "user"], sort=False)[["gain", "forgetting"]].mean()
    without = users.xs("none").droplevel("strength")
    found = {}
    for (remedy, strength), cell in users.groupby(level=[0, 1], sort=False):
        own = cell.droplevel([0, 1])
        found["none" if remedy == "none" else f"{remedy}_{strength:g}"] = {
            "remedy": remedy, "strength": strength,
            **{name: statistics.cell(own[name], settings) for name in ("gain", "forgetting")},
            "saved": statistics.cell(without.forgetting - own.forgetting, settings)}
    return found


def _sequence(parts: Sequence[dict[str, Any]], settings: Statistics) -> dict[str, dict[str, Any]]:
    rows = pd.DataFrame([{"seed": part["seed"], **row} for part in parts for row in part["sequence"]])
    for name in ("before", "alone", "shared"):
        rows[name] = 100 * rows[name] / rows.query_clips
    turn = rows[rows.after == 0].set_index(["seed", "group", "user"])["shared"].rename("turn")
    rows = rows.join(turn, on=["seed", "group", "user"])
    rows["lost"] = rows.turn - rows.shared
    names = ["before", "alone", "shared", "lost"]
    devices = rows.groupby(["after", "seed", "group"])[names].mean()
    return {str(after): {name: statistics.cell(own[name], settings) for name in names}
            for after, own in devices.groupby(level=0)}
