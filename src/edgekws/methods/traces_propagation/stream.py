"""One clip at a time: a device hears clips one by one and learns from each when it comes.

The published rule tells a clip apart from the others of its batch, so a single clip, or several of one word, teach the hidden
layer nothing. Two things mend it, each by itself or both: all classes as contrast, and a *reservoir* of a few earlier clips,
which are learnt again beside each new one. The reservoir is a uniform sample of all clips heard (Vitter 1985, "Random sampling
with a reservoir", algorithm R), so memory does not grow with the stream.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.optimiser import Adam
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.methods.traces_propagation import recipe
from edgekws.methods.traces_propagation.choices import Contrast
from edgekws.methods.traces_propagation.experiments import Base, predict
from edgekws.methods.traces_propagation.rule import make_rule
from edgekws.methods.traces_propagation.settings import Adaptation, Stream
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol import statistics
from edgekws.protocol.clips import Clips, Corpus
from edgekws.protocol.settings import Statistics
from edgekws.protocol.tasks import Task

CONTRASTS: tuple[Contrast, ...] = ("batch", "classes")


@dataclass(frozen=True)
class Way:
    """One way to learn from a stream: what a clip is told apart from, and earlier clips kept."""

    contrast: Contrast
    reservoir: int

    @property
    def name(self) -> str:
        """As in metrics: ``batch_3``."""
        return f"{self.contrast}_{self.reservoir}"


@torch.no_grad()
def hear(base: RecurrentLIF, clips: Clips, way: Way, settings: Stream, *, seed: int) -> Iterator[RecurrentLIF]:
    """The net after each clip, in the order of ``clips``; the same object each time, which goes on learning.

    Each clip is learnt ``settings.passes`` times, with the reservoir beside it; then it may take a place in the reservoir.
    The optimiser's state lives on from clip to clip.
    """
    net = copy.deepcopy(base)
    rule = make_rule(net, "prototype", contrast=way.contrast)
    optimiser = Adam(rule.parameters, settings.learning_rate)
    draw = np.random.default_rng(derive_seed(seed, f"reservoir/{way.reservoir}"))
    kept: list[int] = []
    for place in range(len(clips)):
        chosen = np.array([place, *kept])
        batch, labels = clips[chosen], torch.from_numpy(clips.labels[chosen])
        for _ in range(settings.passes):
            rule.begin(labels)
            for frame in batch.unbind(1):
                optimiser.step(rule.step(frame))
        if len(kept) < way.reservoir:
            kept.append(place)
        elif (drawn := int(draw.integers(place + 1))) < way.reservoir:
            kept[drawn] = place
        yield net


def run(work: Sequence[Task], base: Base, corpus: Corpus, settings: Stream, *, seed: int, progress: bool = False,
        checkpoint: Checkpoint = NOWHERE) -> list[dict[str, Any]]:
    """Every way and every batch size for each task.

    Returns:
        A row for each: ``user``, ``fold``, ``kind`` (``stream`` or ``batches``), ``contrast``, ``reservoir`` or ``batch_size``
        in ``size``, ``heard`` (clips so far), ``query_clips``, ``correct_before``, ``correct_after``.
    """
    ways = [Way(contrast, reservoir) for contrast in CONTRASTS for reservoir in settings.reservoirs]

    def rows(task: Task) -> list[dict[str, Any]]:
        own = derive_seed(seed, f"stream/{task.user}/{task.fold}")
        order = np.random.default_rng(own).permutation(task.support)
        clips, query = (corpus.clips(chosen, frozen_scale=base.scale) for chosen in (order, task.query))
        known = {"user": task.user, "fold": task.fold, "query_clips": len(query), "correct_before": _right(base.net, query)}
        made = []
        for way in ways:
            for heard, net in enumerate(hear(base.net, clips, way, settings, seed=own), 1):
                if heard in settings.heard or heard == len(clips):
                    made.append({**known, "kind": "stream", "contrast": way.contrast, "size": way.reservoir, "heard": heard,
                                 "correct_after": _right(net, query)})
        for contrast in CONTRASTS:
            for size in settings.batch_sizes:
                budget = Adaptation(contrast=contrast, batch_size=size, learning_rate=settings.learning_rate)
                net = recipe.adapt(base.net, clips, budget, known=None, seed=own)
                made.append({**known, "kind": "batches", "contrast": contrast, "size": size, "heard": len(clips),
                             "correct_after": _right(net, query)})
        return made

    found = tqdm(checkpoint.each(work, rows, of="users"), total=len(work), desc="one clip at a time", unit="user",
                 disable=not progress)
    return [row for each in found for row in each]


def _right(net: RecurrentLIF, query: Clips) -> int:
    return int((predict(net, query) == query.labels).sum())


def summarise(parts: Sequence[dict[str, Any]], settings: Statistics) -> dict[str, Any]:
    """Gains in points, means over users with their intervals (each one's seeds and folds averaged first).

    Returns:
        ``curves``: by way (:attr:`Way.name`) and clips heard so far, where every user has heard as many; ``batches``: by
        contrast and batch size, after all clips.
    """
    rows = pd.DataFrame([{"seed": part["seed"], **row} for part in parts for row in part["rows"]])
    rows["gain"] = 100 * (rows.correct_after - rows.correct_before) / rows.query_clips

    def cells(kind: str, names: Sequence[str], *, everybody: bool) -> dict[str, dict[str, Any]]:
        own, found = rows[rows.kind == kind], dict[str, dict[str, Any]]()
        for key, some in own.groupby([*names], sort=True):
            users = some.groupby("user").gain.mean()
            if len(users) == own.user.nunique() or not everybody:
                *way, last = key
                found.setdefault("_".join(map(str, way)), {})[str(last)] = statistics.cell(users, settings)
        return found

    return {"curves": cells("stream", ["contrast", "size", "heard"], everybody=True),
            "batches": cells("batches", ["contrast", "size"], everybody=True)}
