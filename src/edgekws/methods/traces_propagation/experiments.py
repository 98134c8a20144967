"""The paper's experiments: train a base model, adapt it to users, choose a budget.

One job does all users, folds and shots of one method and seed: a task lasts less than a second, less than starting
a process would.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.methods.traces_propagation import complexity, people, recipe, training
from edgekws.methods.traces_propagation.choices import MethodName
from edgekws.methods.traces_propagation.rule import best_rule
from edgekws.methods.traces_propagation.settings import Adaptation, BaseTraining, RecipeSearch
from edgekws.models.recurrent_lif import RecurrentLIF, load_network, save_network
from edgekws.models.settings import Network
from edgekws.protocol.clips import Clips, Corpus
from edgekws.protocol.settings import Training, Tuning
from edgekws.protocol.tasks import Task, measure_tasks, tasks, training_rows
from edgekws.protocol.tuning import Point, ascend, search


@torch.no_grad()
def predict(net: RecurrentLIF, clips: Clips, batch_size: int = 1024) -> np.ndarray:
    """Class of each clip (N,): the output of the highest membrane potential after the last step."""
    found = [net(clips[np.arange(start, min(start + batch_size, len(clips)))]).argmax(1)
             for start in range(0, len(clips), batch_size)]
    return torch.cat(found).numpy() if found else np.zeros(0, np.int64)


# ------------------------------------------------------------------------------------------------ base model
@dataclass(frozen=True)
class Base:
    """A base model with what adapting it needs to know; ``scale`` is ``None`` under per-set normalisation."""

    net: RecurrentLIF
    vocabulary: list[str]
    scale: torch.Tensor | None


def train_base(corpus: Corpus, network: Network, budget: BaseTraining, *, per_set: bool, excluded: Sequence[str],
               seed: int, device: torch.device | None = None, progress: bool = False,
               checkpoint: Checkpoint = NOWHERE) -> Base:
    """Train a base model by the paper's rule; deterministic in ``seed``, also where it goes on from a checkpoint.

    The model comes back to the CPU.
    """
    rows = training_rows(corpus.index, excluded=excluded, balanced=budget.balanced, seed=seed)
    scale = None if per_set else corpus.scale(rows)
    clips = corpus.clips(rows, frozen_scale=scale, set_size=budget.set_size)
    net = fresh_net(network, inputs=corpus.features.shape[2],
                    outputs=len(corpus.vocabulary) + network.spare_outputs, seed=seed).to(device)
    training.train(net, clips, clips.labels, budget, seed=derive_seed(seed, "base batches"),
                   rule=best_rule(network), progress="base model" if progress else None, checkpoint=checkpoint)
    return Base(net.cpu(), corpus.vocabulary, scale)


def fresh_net(network: Network, *, inputs: int, outputs: int, seed: int) -> RecurrentLIF:
    """An untrained network; deterministic in ``seed``."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "weights"))
    return RecurrentLIF(network, inputs=inputs, outputs=outputs, generator=generator)


def accuracy(net: RecurrentLIF, clips: Clips) -> float:
    """Share of clips whose word is found, in percent."""
    return 100.0 * float((predict(net, clips) == clips.labels).mean())


def split_clips(corpus: Corpus, base: Base, split: str, *, excluded: Sequence[str], set_size: int) -> Clips:
    """The clips of a split without the excluded speakers."""
    chosen = corpus.index[(corpus.index.split == split) & ~corpus.index.speaker.isin(excluded)]
    return corpus.clips(chosen["clip"].to_numpy(), frozen_scale=base.scale, set_size=set_size)


# ------------------------------------------------------------------------------------------------ adaptation
def adapt(base: RecurrentLIF, method: MethodName, support: Clips, budget: Training, *, seed: int,
          known: Clips | None = None) -> RecurrentLIF:
    """A copy of the base model (or a fresh one, for ``from_scratch``) trained on the support set by a method.

    Args:
        known: What the base was trained on, for methods that rehearse.
    """
    if isinstance(budget, Adaptation):
        return recipe.adapt(base, support, budget, known=known, seed=seed)
    if method == "from_scratch":
        net = fresh_net(base.settings, inputs=base.inputs, outputs=base.outputs, seed=derive_seed(seed, "from scratch"))
    else:
        net = copy.deepcopy(base)
    rule = best_rule(base.settings)
    batches = derive_seed(seed, "support batches")
    match method:
        case "bptt" | "bptt_equal_updates":
            # Norse takes seconds to import, and nothing else needs it.
            from edgekws.methods.traces_propagation import bptt

            bptt.train_bptt(net, support, support.labels, budget, seed=batches)
        case "readout_only":
            training.train(net, support, support.labels, budget, seed=batches, rule=rule, parts=("readout",))
        case _:
            training.train(net, support, support.labels, budget, seed=batches, rule=rule)
    return net


def run_tasks(work: Sequence[Task], base: Base, corpus: Corpus, method: MethodName, budget: Training, *, seed: int,
              others: int | None, excluded: Sequence[str] = (), progress: bool = False,
              checkpoint: Checkpoint = NOWHERE) -> Iterator[dict[str, Any]]:
    """Adapt to each task by a method and measure it; a row for each, as of :func:`measure_tasks`.

    Args:
        excluded: Speakers whom the base was not trained on, and who are not rehearsed.
    """
    known = None
    if isinstance(budget, Adaptation) and budget.rehearsal:
        rows = training_rows(corpus.index, excluded=excluded, balanced=False, seed=seed)
        known = corpus.clips(rows, frozen_scale=base.scale)

    def adapted(support: Clips, seed: int) -> RecurrentLIF:
        return adapt(base.net, method, support, budget, seed=seed, known=known)

    yield from measure_tasks(work, base.net, corpus, base.scale, adapted, predict, seed=seed, others=others,
                             progress=f"{method}, seed {seed}" if progress else None, checkpoint=checkpoint)


# ------------------------------------------------------------------------------------------------ tuning
def tune(table: pd.DataFrame, facts: dict[str, Any], bases: Mapping[int, Base], corpus: Corpus, method: MethodName,
         start: Training, grid: Tuning | RecipeSearch, *, excluded: Sequence[str] = (), progress: bool = False,
         checkpoint: Checkpoint = NOWHERE) -> tuple[Training, list[dict[str, Any]], list[str]]:
    """The budget with the best mean accuracy over the validation split's users and all seeds; ties go to the smaller one.

    Args:
        bases: By seed.
        start: The method's default, which is always in the grid and has what the grid has not.
        grid: For the recipe its own search (:func:`choose_recipe`).
        excluded: Speakers whom the bases were not trained on.

    Returns:
        The chosen budget, the accuracy (percent, mean over users and seeds) at every point of the grid (see
        :func:`edgekws.protocol.tuning.search`), and the axes on whose edge the budget lies all the same.
    """
    if isinstance(grid, RecipeSearch):
        assert isinstance(start, Adaptation)
        return *choose_recipe(table, facts, bases, corpus, start, grid, excluded=excluded, progress=progress,
                              checkpoint=checkpoint), []
    work = tasks(table, facts, corpus.index.set_index("clip").word, shots=[grid.shots], splits=["validation"],
                 users=grid.users, folds=grid.folds)
    # A batch at least as large as every support set is the same as one that holds it whole: try it once.
    largest = max(len(task.support) for task in work)
    whole = max(*grid.batch_size, start.batch_size)
    sizes = sorted({min(size, largest) for size in [*grid.batch_size, start.batch_size]})

    def measured(point: Point) -> dict[str, Any]:
        budget = start.model_copy(update=point)
        rows = pd.concat([pd.DataFrame(run_tasks(work, base, corpus, method, budget, seed=seed, others=0, excluded=excluded,
                                                 progress=progress)) for seed, base in bases.items()])
        users = rows.groupby("user")[["correct_before", "correct_after", "query_clips"]].sum()
        return {"before": float((100 * users.correct_before / users.query_clips).mean()),
                "after": float((100 * users.correct_after / users.query_clips).mean()), "users": len(users)}

    axes: dict[str, Sequence[float]] = {"epochs": sorted({*grid.epochs, start.epochs}), "batch_size": sizes[::-1],
            "learning_rate": sorted({*grid.learning_rate, start.learning_rate})}
    best, points = search(axes, measured, widen=grid.widen, checkpoint=checkpoint,
                          bounded={"batch_size": (1, largest), "epochs": (1, math.inf)})
    for point in (best, *points):
        point["batch_size"] = whole if point["batch_size"] == largest else point["batch_size"]
    return start.model_copy(update={name: best[name] for name in axes}), points, best["on_edge"]


def choose_recipe(table: pd.DataFrame, facts: dict[str, Any], bases: Mapping[int, Base], corpus: Corpus, start: Adaptation,
                  grid: RecipeSearch, *, excluded: Sequence[str] = (), progress: bool = False,
                  checkpoint: Checkpoint = NOWHERE) -> tuple[Adaptation, list[dict[str, Any]]]:
    """The recipe that gains most on the validation split's users while others lose little, over all seeds.

    Args:
        bases: By seed.
        start: The recipe that the search begins with.
        excluded: Speakers whom the bases were not trained on.

    Returns:
        The recipe; and every point with ``gain`` and ``forgetting`` (points, means over users, shots and seeds) and ``score``.
    """
    work = tasks(table, facts, corpus.index.set_index("clip").word, shots=grid.shots, splits=["validation"],
                 users=grid.users, folds=grid.folds)
    axes = {name: getattr(grid, name) for name in type(grid).model_fields if name in Adaptation.model_fields}

    def measured(point: dict[str, Any]) -> dict[str, Any]:
        rows = people.table(pd.concat([pd.DataFrame(run_tasks(
            work, base, corpus, "recipe", start.model_copy(update=point), seed=seed, others=grid.others, excluded=excluded,
            progress=progress)) for seed, base in bases.items()]))
        gain, lost = float(rows.groupby("user").gain.mean().mean()), float(rows.groupby("user").forgetting.mean().mean())
        return {"users": int(rows.user.nunique()), "gain": gain, "forgetting": lost,
                "score": gain - grid.weight * max(0.0, lost - grid.allowed)}

    best, points = ascend({name: getattr(start, name) for name in axes}, axes, measured, checkpoint=checkpoint)
    return start.model_copy(update={name: best[name] for name in axes}), points


# ------------------------------------------------------------------------------------------------ files
def write_base(path: Path, base: Base, *, about: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Write a base or adapted model; ``about`` is what it was made with."""
    save_network(path, base.net, vocabulary=base.vocabulary, feature_scale=base.scale, about=about,
                 provenance=provenance)


def read_base(path: Path) -> tuple[Base, dict[str, Any]]:
    """A model written by :func:`write_base`, with what it was made with and its ``provenance``."""
    net, metadata = load_network(path)
    return Base(net, metadata["vocabulary"], metadata["feature_scale"]), metadata


def read_bases(paths: Sequence[Path]) -> tuple[dict[int, Base], dict[str, Any]]:
    """Models of several seeds by seed, with what the first was made with.

    Raises:
        UserError: Two are of one seed, or of other words.
    """
    bases: dict[int, Base] = {}
    for path in paths:
        base, about = read_base(path)
        seed = about["settings"]["seed"]
        if seed in bases or any(base.vocabulary != other.vocabulary for other in bases.values()):
            raise UserError(f"is a second model of seed {seed}" if seed in bases else "knows other words than those before",
                            where=path, remedy="give bases of one run, one for each seed")
        bases[seed] = base
    return bases, read_base(paths[0])[1]


def complexity_file(base: Base, about: dict[str, Any]) -> dict[str, Any]:
    """What the rule stores and computes on this network, counted by formula and in the running state."""
    return {"schema": 1, "paper": "traces_propagation", "experiment": "complexity",
            "settings": {"network": about["settings"]["network"]}, "provenance": about["provenance"],
            **complexity.complexity_of(base.net)}
