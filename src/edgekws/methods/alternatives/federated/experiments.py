"""The federated experiment: users with words of their own teach one readout, with and without privacy.

Compared are, for each user on its own query and on clips of speakers who take no part:

* ``base``: nobody learns;
* ``local``: each user alone, from the base;
* ``centralised``: all users' clips in one place;
* ``federated``: the users together; ``private_<noise>``: the same with differential privacy;
* ``<one of the last three>_local``: each user alone, from what all have learnt. What stays on the device needs no noise.

All make the same number of steps, the last as many once more; each at the learning rate that is best for the users of the
validation split; ties go to the lowest. Where the base leaves little to gain a private way may so choose to learn next to
nothing: what noise costs at the rate of the others is in the accuracies at all rates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from edgekws.core.environments import NotRun
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.federated import averaging, flower, privacy
from edgekws.methods.alternatives.federated.averaging import Federation
from edgekws.methods.alternatives.federated.clients import Local, train
from edgekws.methods.alternatives.federated.shards import Shard, joined
from edgekws.methods.alternatives.federated.users import User, View, gather
from edgekws.methods.alternatives.settings import Federated
from edgekws.methods.traces_propagation.experiments import Base
from edgekws.protocol.clips import Corpus
from edgekws.protocol.tasks import Task, tasks, training_rows
from edgekws.protocol.users import REPORT

_SCALE_CLIPS = 256  # of the base's own training, for the scale of the spike counts
Histories = dict[str, list[Tensor]]
"""For each way of federated learning and fold, the server's change after each round, [rounds, outputs, width]."""


@dataclasses.dataclass(frozen=True)
class Learning:
    """The ways of learning.

    Attributes:
        noise: For each way of federated learning its noise multiplier.
    """

    settings: Federated
    seed: int

    @property
    def noise(self) -> dict[str, float | None]:
        return {"federated": None} | {f"private_{noise:g}": noise for noise in self.settings.noise}

    def federation(self, way: str, users: range, rate: float) -> Federation:
        """The federated training of some users."""
        settings = self.settings
        drawn = averaging.draw_rounds(len(users), rounds=settings.rounds, per_round=settings.users_per_round, seed=self.seed)
        local = Local(rate, settings.sampling, settings.steps, self.noise[way], settings.clipping)
        return Federation([[users[place] for place in present] for present in drawn], local, self.seed)

    def alone(self, shard: Shard, start: Tensor, rate: float, *, name: str) -> Tensor:
        """As many steps on one shard as a client makes that takes part in every round."""
        local = Local(rate, self.settings.sampling, self.settings.steps * self.settings.rounds)
        return train(shard, start, local, seed=derive_seed(self.seed, f"alone/{name}"))

    def each_alone(self, group: Sequence[User], start: Tensor, rate: float) -> list[Tensor]:
        """Every user on its own, from one start."""
        return [self.alone(user.support, start, rate, name=user.name) for user in group]

    def centralised(self, group: Sequence[User], rate: float) -> Tensor:
        """All users' clips in one place."""
        return self.alone(joined([user.support for user in group]), group[0].support.unchanged(), rate, name="centralised")

    def each(self, way: str, group: Sequence[User], rate: float) -> list[Tensor]:
        """The change that each user ends with, federations in the loop."""
        if way == "local":
            return self.each_alone(group, group[0].support.unchanged(), rate)
        if way == "centralised":
            return [self.centralised(group, rate)] * len(group)
        shards = [user.support for user in group]
        return [averaging.federate(shards, self.federation(way, range(len(group)), rate))[-1]] * len(group)


def run(table: pd.DataFrame, facts: dict[str, Any], base: Base, corpus: Corpus, settings: Federated, environment: Path,
        *, excluded: Sequence[str], seed: int, progress: bool = False) -> dict[str, Any]:
    """The whole experiment.

    Args:
        table: Plan with users of the validation and test splits, and its ``facts``.
        excluded: Speakers whom the base was not trained on.
        environment: What ``envs/tool flower FOLDER`` built or could not build; without Flower the loop runs.
        seed: Of words, batches, noise and LoRA's down-projection.

    Returns:
        JSON values: ``engine`` ("flower" or "loop"), ``why`` not Flower, ``versions``; ``users``: words of each by name;
        ``tuned``: for each way of learning the accuracy (percent) of the validation users at each rate, and ``rates``, the
        chosen ones; ``rows``: for each way, fold and user, clips and how many of them were right; ``curves``: for each
        federated way ``own`` and ``others`` (percent, means over users and folds) after each round, from none;
        ``privacy``: for each private way epsilon, delta and what they follow from; ``bytes``: of a user in a round;
        ``secure``: the first fold with secure aggregation; ``check``: largest difference between Flower and the loop.

    Raises:
        UserError: A split has no user.
    """
    learning = Learning(settings, seed)
    rows = training_rows(corpus.index, excluded=excluded, balanced=False, seed=seed)
    some = np.sort(np.random.default_rng(derive_seed(seed, "scale")).permutation(rows)[:_SCALE_CLIPS])
    view = View.of(base.net, corpus.clips(some, frozen_scale=base.scale), rank=settings.rank, seed=seed)
    words = corpus.index.set_index("clip").word

    def groups(splits: Sequence[str], folds: int) -> list[list[User]]:
        work = tasks(table, facts, words, shots=[settings.shot], splits=splits, users=settings.users, folds=folds)
        of_user: dict[str, list[Task]] = {}
        for task in work:
            of_user.setdefault(task.user, []).append(task)
        # Users start at different folds where not all are taken: everybody's first make a federation, then the second.
        return [gather(base, corpus, [own[place] for own in of_user.values() if place < len(own)], view, words=settings.words,
                       seed=seed) for place in range(max(map(len, of_user.values())))]

    tuned = _tune(learning, groups(["validation"], 1)[0], progress=progress)
    rates = {way: _best(points) for way, points in tuned.items()}
    folds = groups(REPORT, settings.folds)
    others = _others(base, corpus, {user.name for fold in folds for user in fold}, view, settings.others, seed=seed)
    histories, engine = _federate(learning, folds, rates, environment)
    values = folds[0][0].support.unchanged().numel()
    return {
        **engine, "users": {user.name: user.words for fold in folds for user in fold}, "tuned": tuned, "rates": rates,
        "rows": list(_rows(learning, folds, others, rates, histories)), "curves": _curves(folds, others, histories),
        "privacy": _privacy(learning, folds),
        "bytes": {"values": values, "fp32": {"down": 4 * values, "up": 4 * values}, **engine["bytes"]}}


def _tune(learning: Learning, group: Sequence[User], *, progress: bool) -> dict[str, list[dict[str, float]]]:
    """Accuracy of the validation users on their own queries for each way of learning and rate, lowest rate first."""
    rates = sorted(learning.settings.learning_rates)
    shared = ["centralised", *learning.noise]
    with tqdm(total=(1 + 2 * len(shared)) * len(rates), desc="learning rates", unit="point", disable=not progress) as bar:
        def points(learn: Callable[[float], Sequence[Tensor]]) -> list[dict[str, float]]:
            found = []
            for rate in rates:
                found.append({"learning_rate": rate, "own": _own(group, learn(rate))})
                bar.update()
            return found

        tuned = {way: points(partial(learning.each, way, group)) for way in ("local", *shared)}
        for way in shared:
            start = learning.each(way, group, _best(tuned[way]))[0]
            tuned[f"{way}_local"] = points(partial(learning.each_alone, group, start))
    return tuned


def _best(points: Sequence[Mapping[str, float]]) -> float:
    return max(points, key=lambda point: point["own"])["learning_rate"]


def _own(group: Sequence[User], changes: Sequence[Tensor]) -> float:
    """Mean accuracy (percent) of users on their own queries, each with its own change."""
    return float(np.mean([100 * user.query.correct(change) / len(user.query)
                          for user, change in zip(group, changes, strict=True)]))


def _others(base: Base, corpus: Corpus, users: set[str], view: View, number: int, *, seed: int) -> Shard:
    """Clips of the test split by speakers who are none of the users."""
    index = corpus.index
    rows = index[(index.split == "test") & (index.repeat_of == "") & ~index.speaker.isin(users)]["clip"].to_numpy()
    sample = np.random.default_rng(derive_seed(seed, "other speakers")).permutation(len(rows))[:number]
    return view.shard(base.net, corpus.clips(rows[np.sort(sample)], frozen_scale=base.scale))


def _federate(learning: Learning, folds: Sequence[Sequence[User]], rates: Mapping[str, float],
              environment: Path) -> tuple[Histories, dict[str, Any]]:
    """All federations, in Flower where there is one; and what is to be said of the engine."""
    shards = [user.support for fold in folds for user in fold]
    ends = np.cumsum([len(fold) for fold in folds]).tolist()
    members = [range(end - len(fold), end) for fold, end in zip(folds, ends, strict=True)]
    work = [(way, learning.federation(way, users, rates[way])) for way in learning.noise for users in members]
    looped = [averaging.federate(shards, federation) for _, federation in work]
    secure = dataclasses.replace(work[0][1], secure=True)
    try:
        *found, masked = flower.run(shards, [*(federation for _, federation in work), secure], environment)
    except NotRun as why:
        return _by_way(work, looped), {"engine": "loop", "why": str(why), "versions": {}, "check": None, "secure": None,
                                       "bytes": {"federated": None, "secure": None}}
    histories = [result.changes for result in found]
    apart = max(float((theirs - ours).abs().max()) for theirs, ours in zip(histories, looped, strict=True))
    return _by_way(work, histories), {
        "engine": "flower", "why": "", "versions": masked.versions, "check": {"largest_difference": apart},
        "bytes": {"federated": _per_user(found[0], work[0][1]), "secure": _per_user(masked, secure)},
        "secure": {
            "largest_difference": [float((theirs - plain).abs().max())
                                   for theirs, plain in zip(masked.changes, histories[0], strict=True)],
            "bound_first_round": flower.rounding_bound([len(shards[user]) for user in secure.rounds[0]],
                                                       float(histories[0][0].abs().max())),
            "largest_value": float(masked.changes.abs().max()), "own_plain": _own(folds[0], [histories[0][-1]] * ends[0]),
            "own": _own(folds[0], [masked.changes[-1]] * ends[0])}}


def _by_way(work: Sequence[tuple[str, Federation]], histories: Sequence[Tensor]) -> Histories:
    return {way: [history for (other, _), history in zip(work, histories, strict=True) if other == way] for way, _ in work}


def _per_user(run: flower.FlowerRun, federation: Federation) -> dict[str, float]:
    """Mean bytes to and from a user in a round."""
    replies = sum(map(len, federation.rounds))
    return {way: sum(count[way] for count in run.bytes) / replies for way in ("down", "up")}


def _rows(learning: Learning, folds: Sequence[Sequence[User]], others: Shard, rates: Mapping[str, float],
          histories: Histories) -> Iterator[dict[str, Any]]:
    """Each user with each way of learning, on its own query, its known and unknown words apart, and on the others."""
    for number, group in enumerate(folds):
        none = group[0].support.unchanged()
        shared = {"centralised": learning.centralised(group, rates["centralised"])}
        shared |= {way: history[number][-1] for way, history in histories.items()}
        ways = {"base": [none] * len(group), "local": learning.each_alone(group, none, rates["local"])}
        for way, change in shared.items():
            ways |= {way: [change] * len(group), f"{way}_local": learning.each_alone(group, change, rates[f"{way}_local"])}
        for way, changes in ways.items():
            for user, change in zip(group, changes, strict=True):
                known = user.query[user.known]
                yield {"way": way, "fold": number, "user": user.name, "support_clips": len(user.support),
                       "query_clips": len(user.query), "correct": user.query.correct(change), "known_clips": len(known),
                       "known_correct": known.correct(change), "others_clips": len(others),
                       "others_correct": others.correct(change)}


def _curves(folds: Sequence[Sequence[User]], others: Shard, histories: Histories) -> dict[str, dict[str, list[float]]]:
    """Accuracy (percent, mean over folds) after each round, from none; ``others`` only where there are any."""
    def curve(history: list[Tensor]) -> dict[str, list[float]]:
        rounds = [[fold[0].support.unchanged(), *changes] for fold, changes in zip(folds, history, strict=True)]
        own = [[_own(fold, [change] * len(fold)) for change in changes] for fold, changes in zip(folds, rounds, strict=True)]
        elsewhere = [[100 * others.correct(change) / len(others) for change in changes] for changes in rounds if len(others)]
        return {"own": np.mean(own, 0).tolist(), "others": np.mean(elsewhere, 0).tolist() if elsewhere else []}

    return {way: curve(history) for way, history in histories.items()}


def _privacy(learning: Learning, folds: Sequence[Sequence[User]]) -> dict[str, dict[str, float | int | None]]:
    """The guarantee of each private way, for the user that takes part most often in a fold."""
    settings = learning.settings
    steps = settings.steps * max(sum(user in present for present in learning.federation("federated", users, 1.0).rounds)
                                 for users in (range(len(group)) for group in folds) for user in users)
    return {way: {"noise": noise, "clipping": settings.clipping, "sampling": settings.sampling, "steps": steps,
                  "delta": settings.delta,
                  "epsilon": privacy.epsilon(noise, sampling=settings.sampling, steps=steps, delta=settings.delta)}
            for way, noise in learning.noise.items() if noise is not None}
