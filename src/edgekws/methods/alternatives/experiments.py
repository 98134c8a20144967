"""Every method on the users, folds and shots of Traces Propagation: choose a learning rate, adapt, measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from edgekws.core import optimiser
from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.features.mfcc import BANDS
from edgekws.methods.alternatives import back_propagation, ds_cnn, local_rules
from edgekws.methods.alternatives.learning import Learn, MakeOptimiser
from edgekws.methods.alternatives.settings import (
    AlternativeMethod,
    AlternativeTraining,
    AlternativeTuning,
    LocalRule,
    NetName,
)
from edgekws.methods.alternatives.strong import learning as strong
from edgekws.methods.traces_propagation.experiments import predict
from edgekws.models import adaptive_lif
from edgekws.models.delta.delta import Delta
from edgekws.models.delta.format import payload
from edgekws.models.encoder import tensors_of
from edgekws.models.recurrent_lif import RecurrentLIF, load_network
from edgekws.protocol.clips import Clips, Corpus
from edgekws.protocol.tasks import Task, measure_tasks, tasks
from edgekws.protocol.tuning import Point, search


@dataclass(frozen=True)
class Base:
    """A base net of either kind, with what adapting and asking it takes.

    Attributes:
        net: A :class:`RecurrentLIF`, a :class:`ds_cnn.Classifier` or an :class:`adaptive_lif.AdaptiveLIF`.
        tensors: Its tensors by name.
        vocabulary: The words, in the order of the outputs.
        scale: What the packed features are divided by (F,).
        adapted: The net with a delta laid over it.
        predict: Class of each clip (N,).
    """

    net: Any
    tensors: Mapping[str, Tensor]
    vocabulary: list[str]
    scale: Tensor
    adapted: Callable[[Any, Delta], Any]
    predict: Callable[[Any, Clips], np.ndarray]


def adapt(base: Base, clips: Clips, method: AlternativeMethod, budget: AlternativeTraining, *, seed: int,
          net: Any = None, make: MakeOptimiser = optimiser.make) -> tuple[Any, Delta]:
    """The net adapted to the clips by a method, and what that changed.

    Args:
        net: Where to start, if not from the base itself.
        make: Of the optimiser.
    """
    start = base.net if net is None else net
    delta = learner(method)(start, clips, clips.labels, method, budget, seed=seed, make=make)
    return base.adapted(start, delta), delta


def learner(method: AlternativeMethod) -> Learn:
    """What adapts by a method.

    Raises:
        UserError: A local rule is asked for on a net that does not spike.
    """
    local = method.kind in get_args(LocalRule)
    if method.net == "strong_spiking":
        return strong.learn
    if method.net in ("ds_cnn", "strong_ds_cnn"):
        if local:
            raise UserError(f"'{method.kind}' is a rule for spiking nets", where="alternatives.methods",
                            remedy="set its net to spiking")
        return ds_cnn.learn
    return local_rules.learn if local else back_propagation.learn


def read_base(path: Path, net: NetName) -> tuple[Base, dict[str, Any]]:
    """The base net in a file, which must be of the kind, and the file's metadata.

    Raises:
        UserError: It is no such model, or its features are divided by each set's own scale.
    """
    if net == "strong_spiking":
        own, metadata = adaptive_lif.load_network(path)
        return Base(own, own.state_dict(), metadata["vocabulary"], torch.ones(BANDS), strong.adapted, strong.predict), metadata
    if net in ("ds_cnn", "strong_ds_cnn"):
        classifier, metadata = ds_cnn.load_classifier(path)
        return Base(classifier, tensors_of(classifier), metadata["vocabulary"], torch.ones(ds_cnn.COEFFICIENTS),
                    ds_cnn.adapted, ds_cnn.predict), metadata
    spiking, metadata = load_network(path)
    if metadata["feature_scale"] is None:
        raise UserError("was trained with the scale of each set by itself", where=path,
                        remedy="give a base model of `edgekws traces-propagation base --normalisation frozen`")
    return Base(spiking, spiking.state_dict(), metadata["vocabulary"], metadata["feature_scale"], RecurrentLIF.adapted,
                predict), metadata


def read_bases(paths: Sequence[Path], net: NetName) -> tuple[dict[int, Base], dict[str, Any]]:
    """Base nets of several seeds by seed, and the metadata of the first; errors are those of :func:`read_base`."""
    read = [read_base(path, net) for path in paths]
    return {made["settings"]["seed"]: found for found, made in read}, read[0][1]


def run_tasks(work: Sequence[Task], base: Base, corpus: Corpus, method: AlternativeMethod, budget: AlternativeTraining,
              *, seed: int, others: int | None, progress: str | None = None,
              checkpoint: Checkpoint = NOWHERE) -> list[dict[str, Any]]:
    """Adapt to each task by a method and measure it; rows as of
    :func:`edgekws.protocol.tasks.measure_tasks`."""
    return list(measure_tasks(
        work, base.net, corpus, base.scale, lambda support, seed: adapt(base, support, method, budget, seed=seed)[0],
        base.predict, seed=seed, others=others, progress=progress, checkpoint=checkpoint))


def tune(table: pd.DataFrame, facts: dict[str, Any], bases: Mapping[int, Base], corpus: Corpus, method: AlternativeMethod,
         training: AlternativeTraining, grid: AlternativeTuning, *, progress: bool = False,
         checkpoint: Checkpoint = NOWHERE) -> tuple[AlternativeTraining, list[dict[str, Any]], list[str]]:
    """The budget whose learning rate has the best mean accuracy over the validation split's users and all seeds; ties go to
    the lower.

    Args:
        bases: By seed.

    Returns:
        The budget; for each learning rate the accuracy before and after (percent, mean over users and seeds), as of
        :func:`edgekws.protocol.tuning.search`; and whether the best lies on the edge all the same.
    """
    work = tasks(table, facts, corpus.index.set_index("clip").word, shots=[grid.shots], splits=["validation"],
                 users=min(grid.users, method.users or grid.users), folds=grid.folds)

    def measured(point: Point) -> dict[str, Any]:
        budget = training.model_copy(update=point)
        rows = pd.DataFrame([row for seed, base in bases.items() for row in run_tasks(
            work, base, corpus, method, budget, seed=seed, others=0,
            progress=f"learning rate {budget.learning_rate:g}" if progress else None)])
        users = rows.groupby("user")[["correct_before", "correct_after", "query_clips"]].sum()
        return {"users": len(users),
                "before": float((100 * users.correct_before / users.query_clips).mean()),
                "after": float((100 * users.correct_after / users.query_clips).mean())}

    rates = sorted({*grid.learning_rate, training.learning_rate})
    best, points = search({"learning_rate": rates}, measured, widen=grid.widen, checkpoint=checkpoint)
    return training.model_copy(update={"learning_rate": best["learning_rate"]}), points, best["on_edge"]


def delta_of(task: Task, base: Base, corpus: Corpus, method: AlternativeMethod,
             budget: AlternativeTraining) -> dict[str, Any]:
    """Numbers that a method changes, the bytes of their file, and their share of the base's; the same for every user."""
    delta = adapt(base, corpus.clips(task.support, frozen_scale=base.scale), method, budget, seed=0)[1]
    # Without the target path of Traces Propagation, which only training needs.
    whole = sum(tensor.numel() for name, tensor in base.tensors.items() if not name.startswith("target."))
    return {"values": delta.values, "base_values": whole, "share": delta.values / whole,
            "bytes": {precision: payload(delta, base.tensors, precision) for precision in ("fp32", "int8")}}
