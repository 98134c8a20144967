"""Who adapts to what: the support pool and the query set of every user and fold, as one table.

A plan has one row for each clip of each user and fold: ``user``, ``split`` (of the user), ``fold``, ``clip`` (row of
the index), ``role`` (``support`` or ``query``) and ``rank`` (place among the pool's clips of the same word; -1 in the
query). The k-shot support set is the pool's clips of rank below k, so that every shot of a fold has the same query.
"""

from __future__ import annotations

import random
from typing import Any

import pandas as pd

from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.provenance import derive_seed
from edgekws.protocol.settings import ManyUsers, OneUser

COLUMNS = ["user", "split", "fold", "clip", "role", "rank"]
REPORT = ("train", "test")
"""Splits whose users report; those of the validation split choose settings."""
FULL_GSC_QUERY_CLIPS = 74
"""Query clips of speaker c50f55b8 on the whole of GSC v0.02 (all published accuracies are multiples of 1/74)."""


def one_user(index: pd.DataFrame, settings: OneUser) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The paper's protocol: one speaker is left out of base training and split word by word, once for each split seed.

    As in the authors' code one generator shuffles the words in turn, the first ``int(0.8 n)`` clips go to the support
    pool and the rest to the query; a word whose pool is smaller than k is left out of the k-shot support. All clips
    count, repeats too. Which clips are drawn depends on the order of files, so the authors' own split is not known:
    each seed's split is a fold, and how far folds differ is how much that choice matters. Query and pool are of the same
    size in each; ``repeats_across`` in the facts says for each fold how many query clips have their audio in the pool.

    Args:
        index: Table of :func:`edgekws.corpus.index.build_index`.

    Returns:
        The plan and its facts (``shots``, ``short_words``, ``query_clips``, ...).

    Raises:
        UserError: The speaker is not in the corpus, or has too few clips for a query set.
    """
    speaker = settings.speaker or _busiest_training_speaker(index)
    clips = index[index.speaker == speaker].sort_values(["word", "path"])
    if clips.empty:
        raise UserError(f"no such speaker: '{speaker}'", where="protocol.one_user.speaker",
                        remedy=did_you_mean(speaker, index.speaker.unique()) + " (null takes the busiest)")
    rows = []
    for fold, seed in enumerate(settings.split_seeds):
        shuffle = random.Random(seed)
        for _, of_word in clips.groupby("word", sort=True):
            takes = list(of_word["clip"])
            shuffle.shuffle(takes)
            pool = int(settings.support_fraction * len(takes))
            rows += [(fold, clip, "support", rank) for rank, clip in enumerate(takes[:pool])]
            rows += [(fold, clip, "query", -1) for clip in takes[pool:]]
    plan = pd.DataFrame(rows, columns=["fold", "clip", "role", "rank"])
    plan = plan.assign(user=speaker, split=clips.split.iloc[0])[COLUMNS]
    audio = index.set_index("clip").sha256
    query, support = ([of_fold["clip"] for _, of_fold in plan[plan.role == role].groupby("fold")]
                      for role in ("query", "support"))
    if not query or not support:
        raise UserError(f"speaker '{speaker}' has too few clips for a support and a query set",
                        where="protocol.one_user.speaker", remedy="choose a speaker with more clips")
    return plan, {"plan": "one_user", "user": speaker, "shots": list(settings.shots), "short_words": "drop",
                  "split_seeds": list(settings.split_seeds), "query_clips": len(query[0]), "pool_clips": len(support[0]),
                  "repeats_across": [int(audio[asked].isin(set(audio[learnt])).sum())
                                     for asked, learnt in zip(query, support, strict=True)]}


def _busiest_training_speaker(index: pd.DataFrame) -> str:
    """By distinct takes: a speaker of many repeats would be tested on the very audio that was learnt."""
    counts = index[(index.split == "train") & (index.repeat_of == "")].groupby("speaker").size()
    return str(counts[counts == counts.max()].index.min())


def many_users(index: pd.DataFrame, settings: ManyUsers) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Every speaker of the chosen splits with enough distinct takes, cross-validated over takes.

    Takes with the same audio count as one (the first), so no audio is in both support and query. Folds are dealt out
    word by word, so that each fold holds every word as evenly as the takes allow. Users of the validation split choose
    settings, all others report (:data:`REPORT`); who comes from the training split has to be left out of the base's
    training (:func:`left_out`). Where fewer are wanted than there are, a smaller number draws some of those of a larger one.

    Raises:
        UserError: No speaker has enough takes.
    """
    distinct = index[(index.repeat_of == "") & index.split.isin(settings.splits)]
    takes = distinct.groupby("speaker").size()
    users = sorted(takes[takes >= settings.minimum_takes].index)
    if not users:
        raise UserError(f"no speaker of the splits {', '.join(settings.splits)} has {settings.minimum_takes} distinct takes "
                        f"(the most is {takes.max() if len(takes) else 0})",
                        where="protocol.many_users.minimum_takes", remedy="lower it, or use a larger corpus")
    if settings.users is not None:
        users = _drawn(users, distinct.groupby("speaker").split.first(), settings)
    parts = [_folds(distinct[distinct.speaker == user].sort_values(["word", "path"]), user, settings) for user in users]
    return pd.concat(parts, ignore_index=True), {
        "plan": "many_users", "users": len(users), "splits": list(settings.splits), "shots": list(settings.shots),
        "short_words": "keep", "minimum_takes": settings.minimum_takes, "folds": settings.folds,
        "split_seed": settings.split_seed}


def _drawn(users: list[str], split: pd.Series, settings: ManyUsers) -> list[str]:
    """At most so many users of each split as the settings say, sorted."""
    drawn: list[str] = []
    for name in settings.splits:
        of_split = [user for user in users if split[user] == name]
        random.Random(derive_seed(settings.split_seed, f"users/{name}")).shuffle(of_split)
        drawn += of_split[:settings.users]
    return sorted(drawn)


def left_out(*plans: tuple[pd.DataFrame, dict[str, Any]]) -> list[str]:
    """Speakers of some plans whom base training must not hear: the one user, and users of the training split."""
    found: set[str] = set()
    for table, facts in plans:
        found |= {facts["user"]} if facts["plan"] == "one_user" else set(table.user[table.split == "train"])
    return sorted(found)


def _folds(clips: pd.DataFrame, user: str, settings: ManyUsers) -> pd.DataFrame:
    shuffle = random.Random(derive_seed(settings.split_seed, f"folds/{user}"))
    order: list[tuple[int, str]] = []
    for word, of_word in clips.groupby("word", sort=True):
        takes = list(of_word["clip"])
        shuffle.shuffle(takes)
        order += [(clip, str(word)) for clip in takes]
    rows = []
    for fold in range(settings.folds):
        seen: dict[str, int] = {}
        for place, (clip, word) in enumerate(order):
            if place % settings.folds == fold:
                rows.append((fold, clip, "query", -1))
            else:
                rows.append((fold, clip, "support", seen.setdefault(word, 0)))
                seen[word] += 1
    plan = pd.DataFrame(rows, columns=["fold", "clip", "role", "rank"])
    return plan.assign(user=user, split=clips.split.iloc[0])[COLUMNS]


def support_of(fold: pd.DataFrame, shot: int | str, words: pd.Series, *, short_words: str) -> list[int]:
    """Clips of the k-shot support set of one user and fold.

    Args:
        fold: The plan's rows of one user and fold.
        shot: Clips of each word, or ``"all"``.
        words: Word of each clip, indexed by clip.
        short_words: ``drop`` leaves words with fewer than k clips out; ``keep`` takes what there is.
    """
    pool = fold[fold.role == "support"]
    if shot == "all":
        return list(pool["clip"])
    chosen = pool[pool["rank"] < int(shot)]
    if short_words == "drop":
        word = words.loc[chosen["clip"]].to_numpy()
        counts = pd.Series(word).value_counts()
        chosen = chosen[pd.Series(word, index=chosen.index).map(counts) >= int(shot)]
    return list(chosen["clip"])


def check_full_gsc(plan: pd.DataFrame, facts: dict[str, Any], corpus: dict[str, Any]) -> None:
    """On the whole of GSC v0.02 the published speaker must leave 74 query clips in each split: the paper's own test of it.

    Raises:
        UserError: The count is another one, so the corpus or a split is not the paper's.
    """
    from edgekws.corpus.index import KNOWN_ARCHIVES

    whole = corpus["archive_sha256"] == KNOWN_ARCHIVES["speech_commands_v0.02.tar.gz"]
    counts = plan[plan.role == "query"].groupby("fold").size()
    if whole and facts["user"] == "c50f55b8" and (other := counts[counts != FULL_GSC_QUERY_CLIPS]).size:
        raise UserError(f"speaker c50f55b8 leaves {other.iloc[0]} query clips, the paper {FULL_GSC_QUERY_CLIPS}",
                        where="GSC v0.02", remedy="set protocol.one_user back to its defaults")
