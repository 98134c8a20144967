"""The adaptations of a plan, one after another: what each learns from, and what is measured of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.protocol.clips import Clips, Corpus, joined
from edgekws.protocol.users import support_of

Net = TypeVar("Net")


def training_rows(index: pd.DataFrame, *, excluded: Sequence[str], balanced: bool, seed: int) -> np.ndarray:
    """Rows of the training split without the excluded speakers, and without a copy of what they said under another name.

    Balanced as the authors draw them: once, with replacement, as many as there are, each word equally often on
    average (traces_propagation.md, section 4).

    Raises:
        UserError: Nothing is left to train on, or an excluded speaker is unknown.
    """
    for speaker in excluded:
        if speaker not in set(index.speaker):
            raise UserError(f"no such speaker: '{speaker}'", where="excluded speaker",
                            remedy=did_you_mean(speaker, index.speaker.unique()))
    out = index.speaker.isin(excluded)
    train = index[(index.split == "train") & ~out & ~index.sha256.isin(index.sha256[out])]
    if train.word.nunique() < 2:
        raise UserError("fewer than two words are left to train on", where="training split",
                        remedy="use an archive with more words or speakers")
    rows = train["clip"].to_numpy(np.int64)
    if not balanced:
        return rows
    weight = 1.0 / train.word.map(train.word.value_counts()).to_numpy(np.float64)
    draw = np.random.default_rng(derive_seed(seed, "balanced draw"))
    return draw.choice(rows, size=len(rows), p=weight / weight.sum())


@dataclass(frozen=True)
class Task:
    """One adaptation: a user's fold (of ``folds`` in the plan) and shot with its clips."""

    user: str
    split: str
    fold: int
    folds: int
    shot: str
    support: list[int]
    query: list[int]

    def share(self, clips: int, most: int | None, *, seed: int) -> npt.NDArray[np.int64]:
        """Which of so many clips this fold asks, where all, or ``most`` drawn for this user, are dealt over the plan's folds.

        Each user's are drawn and dealt anew, so that users together ask all of them.
        """
        drawn = np.random.default_rng(derive_seed(seed, f"other speakers/{self.user}")).permutation(clips)[:most]
        return np.sort(drawn[self.fold::self.folds])


def first_folds(table: pd.DataFrame, facts: dict[str, Any]) -> dict[str, int]:
    """The fold that each user of a plan starts at where not all are taken, each fold by equally many users of a split.

    Folds are dealt word by word, in the order of the words. Users with equally many takes of a word thus ask the same words in
    the same fold, and the first folds get the takes that are left over: any one fold of all users is another test.
    """
    first: dict[str, int] = {}
    for split, of_split in table.groupby("split"):
        users = sorted(of_split.user.unique())
        random.Random(derive_seed(facts.get("split_seed", 0), f"first folds/{split}")).shuffle(users)
        first |= {str(user): place % int(table.fold.nunique()) for place, user in enumerate(users)}
    return first


def tasks(table: pd.DataFrame, facts: dict[str, Any], words: pd.Series, *, shots: Sequence[int | str] | None = None,
          splits: Sequence[str] | None = None, users: int | None = None, folds: int | None = None,
          turn: int = 0) -> list[Task]:
    """The adaptations of a plan, in a fixed order, optionally cut to some shots, splits, users and folds.

    Fewer folds than there are start at another one for each user (:func:`first_folds`), and move on by one with each
    ``turn``: a job that passes its seed shares a user's folds out over the seeds, so that five seeds with one of five folds
    ask all of a user's clips once, where the same fold again would ask a fifth of them five times.
    """
    of = int(table.fold.nunique())
    chosen = table if splits is None else table[table.split.isin(splits)]
    if folds is not None and folds < of:
        chosen = chosen[(chosen.fold - chosen.user.map(first_folds(table, facts)) - turn) % of < folds]
    kept = sorted(chosen.user.unique())[:users]
    made = []
    for _, rows in chosen[chosen.user.isin(kept)].groupby(["user", "fold"], sort=True):
        user, split, fold = str(rows.user.iloc[0]), str(rows.split.iloc[0]), int(rows.fold.iloc[0])
        query = list(rows["clip"][rows.role == "query"])
        for shot in shots or facts["shots"]:
            support = support_of(rows, shot, words, short_words=facts["short_words"])
            if support and query:
                made.append(Task(user, split, fold, of, str(shot), support, query))
    if not made:
        raise UserError(f"no user is left to adapt to (splits: {', '.join(splits or ['any'])})", where="plan",
                        remedy="lower protocol.many_users.minimum_takes, or use a larger corpus")
    return made


def measure_tasks(work: Sequence[Task], net: Net, corpus: Corpus, scale: torch.Tensor | None,
                  adapt: Callable[[Clips, int], Net], predict: Callable[[Net, Clips], np.ndarray], *, seed: int,
                  others: int | None, progress: str | None = None,
                  checkpoint: Checkpoint = NOWHERE) -> Iterator[dict[str, Any]]:
    """Adapt a net of any kind to each task and measure it.

    Args:
        net: The base net.
        scale: What the features are divided by, [inputs]; ``None`` for per-set normalisation.
        adapt: From a support set and the task's seed to the adapted net; must leave ``net`` as it is.
        predict: Class of each clip.
        progress: Label of a progress bar, if one is wanted.

    Yields:
        A row for each task: ``query_clips``, ``correct_before``, ``correct_after`` on the user's query, and
        ``others_clips``, ``others_before``, ``others_after`` (correct) on clips of the test split by other speakers: what
        adapting makes the model forget. The whole split, or a sample for each user of at most ``others`` clips, is dealt
        over the plan's folds (:meth:`Task.share`).

    Raises:
        UserError: ``others`` are asked for, and a user has the test split to itself.
    """
    test = corpus.index[(corpus.index.split == "test") & (corpus.index.repeat_of == "")]["clip"].to_numpy()
    other = corpus.clips(test if others != 0 else test[:0], frozen_scale=scale)
    speaker = corpus.index.speaker.to_numpy()[other.rows]
    other_before = predict(net, other) == other.labels
    for user in {task.user for task in work if len(other) and not (speaker != task.user).any()}:
        raise UserError(f"the test split has nobody besides {user}: what adapting makes a net forget cannot be measured",
                        where="corpus", remedy="take a corpus with two or more speakers in its test split")

    before: dict[tuple[str, int], int] = {}

    def row(task: Task) -> dict[str, Any]:
        support = corpus.clips(task.support, frozen_scale=scale)
        query = corpus.clips(task.query, frozen_scale=scale)
        if (asked := (task.user, task.fold)) not in before:  # the same for all shots
            before[asked] = int((predict(net, query) == query.labels).sum())
        adapted = adapt(support, derive_seed(seed, f"{task.user}/{task.fold}/{task.shot}"))
        share = task.share(len(other), others, seed=seed)
        share = share[speaker[share] != task.user]
        # One call for both: on a small net most of a call is overhead.
        right = predict(adapted, joined(query, other.some(share))) == np.concatenate([query.labels, other.labels[share]])
        return {"user": task.user, "split": task.split, "fold": task.fold, "shot": task.shot,
                "support_clips": len(support), "query_clips": len(query), "correct_before": before[asked],
                "correct_after": int(right[:len(query)].sum()),
                "others_clips": len(share), "others_before": int(other_before[share].sum()),
                "others_after": int(right[len(query):].sum())}

    yield from tqdm(checkpoint.each(work, row, of="tasks"), total=len(work), desc=progress, unit="task",
                    disable=progress is None)
