"""Who is what in a corpus: a user, the stream that a device hears unlabelled, or what it is tested with (onda.md, section 4.3).

Of HeySnips the stream and the test negatives are the same for every user. Of open wake words they are each user's own, for the
hardest negatives are other words by the same voice in the same room, and everybody else's takes are part of what a device
may overhear. Nothing is on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.provenance import derive_seed
from edgekws.corpus import open_words
from edgekws.methods.onda.settings import ANYBODY, WakeWindows, WakeWordCorpus

if TYPE_CHECKING:
    import pandas as pd

WAKE_WORD = "wake word"
"""The keyword of corpora that have one."""

_SETTING = "onda.corpus.minimum_positives"


def assign_roles(index: pd.DataFrame, facts: dict[str, Any], windows: WakeWindows, corpus: WakeWordCorpus, *,
                 seed: int) -> npt.NDArray[np.object_]:
    """The role of each utterance of an index: "stream", "user", "negative", or "" where it is left out.

    Args:
        index, facts: Of :func:`edgekws.corpus.wake_words.read_index`.
        seed: Of the draw of the stream.

    Of open wake words, what a take is depends on the user: here those by users are "user", by others "stream"
    (:func:`for_user`).

    Raises:
        UserError: No speaker has wake words enough to be a user, or there is no utterance to test with.
    """
    positive, speaker = index["positive"].to_numpy(), index["speaker"].to_numpy()
    test = (index["split"] != "train").to_numpy()
    long_enough = (index["seconds"] >= corpus.minimum_seconds).to_numpy()
    if facts["name"] == open_words.NAME:
        return _open_roles(index, facts, windows, corpus, seed)
    if facts["name"] == "heysnapdragon":
        tested = np.isin(speaker, _last_speakers(speaker[positive], corpus))
        stream, candidates = ~test | (positive & ~tested), positive & tested  # however long: the base code says 1 s of all
    else:
        stream, candidates = ~test, positive & test & long_enough
    negatives = test & ~positive & long_enough
    if not negatives.any():
        raise UserError(f"has no other utterance of {corpus.minimum_seconds:g} s or more in its dev and test splits",
                        where=facts["archive"], remedy="lower onda.corpus.minimum_seconds, or give the whole corpus")

    roles = np.full(len(index), "", dtype=object)
    rows = np.random.default_rng(derive_seed(seed, "onda stream")).permutation(np.flatnonzero(stream))
    roles[rows[:round(windows.stream_share * len(rows))]] = "stream"
    roles[negatives] = "negative"
    roles[candidates & np.isin(speaker, _users(speaker[candidates], facts["archive"], corpus))] = "user"
    return roles


def _last_speakers(speakers: npt.NDArray[Any], corpus: WakeWordCorpus) -> list[str]:
    """HeySnapdragon's test speakers: the last in its order, which is sorted."""
    order = list(dict.fromkeys(speakers))
    if len(order) <= corpus.test_speakers:
        raise UserError(f"is {corpus.test_speakers}, but there are {len(order)} speakers: none is left for the stream",
                        where="onda.corpus.test_speakers", remedy=f"set it to {len(order) - 1} or less")
    return order[-corpus.test_speakers:]


def _users(speakers: npt.NDArray[Any], archive: str, corpus: WakeWordCorpus) -> list[str]:
    """Those who have enough of the wake words whose speakers are given."""
    names, counts = np.unique(speakers.astype(str), return_counts=True)
    most = int(counts.max(initial=0))
    if most < corpus.least:
        raise UserError(f"has no user: nobody who could be one said the wake word {corpus.least} times "
                        f"(the most: {most})", where=archive,
                        remedy=f"set {_SETTING} to {most} or less" if most else "give a corpus with wake words in its test split")
    return list(names[counts >= corpus.least])


# ------------------------------------------------------------------------------------------------ open wake words
def _open_roles(index: pd.DataFrame, facts: dict[str, Any], windows: WakeWindows, corpus: WakeWordCorpus,
                seed: int) -> npt.NDArray[np.object_]:
    """Takes of reported keywords by sound speakers who said enough are "user", other takes "stream"; of other speech whole
    speakers are one or the other."""
    long_enough = (index["seconds"] >= corpus.minimum_seconds).to_numpy()
    words = [open_words.spelt(word) for word in corpus.keywords]
    known = sorted(facts["keywords"])
    if unknown := [word for word in words if word not in known]:
        raise UserError(f"has no keyword '{unknown[0]}'", where=facts["archive"],
                        remedy=f"{did_you_mean(unknown[0], known)} (`onda.corpus.keywords`)")
    roles = np.where(index["positive"], "stream", "").astype(object)
    takes = index[index["keyword"].isin(words) & index["sound"] & (index["speaker"] != "") & long_enough]
    enough = takes.groupby(["speaker", "keyword"])["clip"].transform("size") >= corpus.least
    if not enough.any():
        most = int(takes.groupby(["speaker", "keyword"]).size().max()) if len(takes) else 0
        raise UserError(f"has no user: nobody said one of {', '.join(words)} {corpus.least} times (the most: {most})",
                        where=facts["archive"], remedy=f"set {_SETTING} to {most} or less" if most else "name other keywords")
    roles[index.index.get_indexer(takes.index[enough])] = "user"
    speech = index[~index["positive"]]
    hours = speech.groupby("speaker")["seconds"].sum()
    order = np.random.default_rng(derive_seed(seed, "onda speech")).permutation(hours.index.to_numpy(dtype=object))
    if len(order) < 2:
        raise UserError(f"has other speech by {len(order)} speakers; the stream and the test need one each",
                        where=facts["archive"], remedy="give more (`onda.corpus.speech`)")
    before = np.concatenate([[0.0], np.cumsum(hours[order].to_numpy())[:-1]])
    streamed = order[before + hours[order].to_numpy() / 2 < windows.stream_speech * hours.sum()]
    streamed = streamed[:len(order) - 1] if len(streamed) else order[:1]
    of_stream = speech["speaker"].isin(streamed)
    roles[speech.index[of_stream]] = "stream"
    roles[speech.index[~of_stream & long_enough[speech.index]]] = "negative"
    return roles


def named(table: pd.DataFrame, roles: npt.NDArray[np.object_]) -> list[str]:
    """The user of each row that has the role of one, else "": the speaker, with the keyword where there are several."""
    several = "sound" in table.columns
    return [(f"{speaker}/{keyword}" if several else speaker) if role == "user" else ""
            for speaker, keyword, role in zip(table["speaker"], table["keyword"], roles, strict=True)]


def users_of(table: pd.DataFrame, who: str = "person") -> list[str]:
    """The users of a table of windows, sorted; by ``who`` = "anybody" one for each keyword that users say."""
    said = table[table["role"] == "user"]
    return sorted(set(said["user"] if who == "person" else ANYBODY + "/" + said["keyword"]))


def for_user(table: pd.DataFrame, user: str, *, seed: int) -> pd.DataFrame:
    """A table of windows as it is for one user: ``role`` and ``positive`` of each row, "" where it is not for them.

    Of HeySnips, "user" are their own wake words, the rest is as it is. Of open wake words (those with a column ``keyword`` of
    several), other people's takes are the stream, and the user's own other keywords are test negatives. By "anybody", half of
    those who say the keyword are tested, and the takes of the others are the stream.

    Args:
        seed: Of who is tested where the wake word is anybody's.
    """
    role, keyword = table["role"].to_numpy(dtype=object).copy(), table["keyword"].to_numpy(dtype=object)
    if "/" not in user:
        role[(role == "user") & (table["user"].to_numpy() != user)] = ""
        return table.assign(role=role)
    name, _, word = user.rpartition("/")
    speaker, takes = table["speaker"].to_numpy(dtype=object), keyword != ""
    if name == ANYBODY:
        people = np.array(sorted(set(speaker[(role == "user") & (keyword == word)])), dtype=object)
        drawn = np.random.default_rng(derive_seed(seed, f"onda anybody {word}")).permutation(people)
        tested = np.isin(speaker, drawn[:(len(drawn) + 1) // 2])
        own = tested & (role == "user") & (keyword == word)
    else:
        tested = speaker == name
        own = table["user"].to_numpy() == user
    role[takes] = "stream"
    role[takes & tested] = ""
    role[takes & tested & (keyword != word)] = "negative"
    role[own] = "user"
    return table.assign(role=role, positive=keyword == word)
