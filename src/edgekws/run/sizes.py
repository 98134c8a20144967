"""How much speech a run works on, from its settings alone: exact for synthetic words, as published for real corpora.

Where the run has built an index of its corpus, that is counted instead (:func:`counted`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekws.config import Config
from edgekws.core import files
from edgekws.corpus.audio import SAMPLE_RATE
from edgekws.corpus.settings import Synthetic

if TYPE_CHECKING:
    import pandas as pd

SENTENCE_SECONDS = 3.7
"""Mean length of an ordinary utterance: of the synthetic wake-word corpus, and taken for the licensed ones too."""
WAKE_WORD_SECONDS = 1.45
"""Mean length of a wake phrase there."""

_GSC_WORDS, _GSC_SPLITS = 35, (84_843, 9_981, 11_005)  # v0.02: data/gsc/README.md
_GSC_SPEAKERS = 2_618
_GSC_ONE_USER = 370  # clips of speaker c50f55b8: a fifth of them, word by word, is the paper's query of 74
_HEYSNIPS = (53_991, 16_191)  # v2: utterances of the train split, and of dev and test together
_HEYSNIPS_POSITIVE, _HEYSNIPS_USERS, _HEYSNIPS_USER_POSITIVES = 0.18, 20, 20


@dataclass(frozen=True)
class Sizes:
    """Counts that the work of a run is reckoned from.

    Attributes:
        words: Words of the corpus.
        train, validation, test: Clips of its splits.
        users: Speakers of the validation and test splits that the many-users protocol takes.
        validation_users: Of these, those of the validation split.
        user_clips: Clips of such a user, on average.
        one_user_clips: Clips of the speaker of the one-user protocol.
        pretraining_clips: Packed words for OnDA's encoders.
        pretraining_words: Different ones among them.
        wake_users: Users of the wake-word corpus.
        user_positives: Wake phrases of each, on average.
        stream_positives: Wake phrases in the unlabelled stream.
        stream_windows: Windows of that stream.
        negative_windows: Windows of the test set's ordinary utterances.
        wake_seconds: Seconds of wake-word speech in all.
        basis: Where the numbers are from, in words.
    """

    words: int
    train: int
    validation: int
    test: int
    users: int
    validation_users: int
    user_clips: float
    one_user_clips: float
    pretraining_clips: int
    pretraining_words: int
    wake_users: int
    user_positives: float
    stream_positives: float
    stream_windows: float
    negative_windows: float
    wake_seconds: float
    basis: str

    @property
    def clips(self) -> int:
        """Clips of all splits."""
        return self.train + self.validation + self.test


def synthetic_clips(spoken: Synthetic) -> tuple[int, int, int]:
    """Clips of the training, validation and test splits of a synthetic corpus.

    >>> from edgekws.core.settings import SyntheticSpeakers
    >>> synthetic_clips(Synthetic(words=["a", "b"], takes=3, user_takes=5,
    ...                           speakers=SyntheticSpeakers(train=10, validation=1, test=2)))
    (60, 10, 20)
    """
    speakers, words = spoken.speakers, len(spoken.words)
    return (speakers.train * words * spoken.takes, speakers.validation * words * spoken.user_takes,
            speakers.test * words * spoken.user_takes)


def windows_of(utterances: float, seconds: float, stride: int) -> float:
    """Windows of one second of that many utterances of ``seconds`` on average, a second of silence at either end.

    >>> windows_of(2, 3.0, 2000)
    66.0
    """
    return utterances * ((max(seconds, 1.0) + 1) * SAMPLE_RATE / stride + 1)


def expected(config: Config) -> Sizes:
    """Sizes of a run by its settings; for real corpora as published, where unknown the most that it can be."""
    if config.corpus.name == "synthetic":
        spoken = config.corpus.synthetic
        train, validation, test = synthetic_clips(spoken)
        words, user_clips = len(spoken.words), float(len(spoken.words) * spoken.user_takes)
        users, validation_users = spoken.speakers.validation + spoken.speakers.test, spoken.speakers.validation
        one_user_clips, basis = words * spoken.takes, "the settings of the synthetic corpus"
        if user_clips < config.protocol.many_users.minimum_takes:
            users = validation_users = 0
    else:
        words, (train, validation, test) = _GSC_WORDS, _GSC_SPLITS
        users, validation_users = _GSC_SPEAKERS * 2 // 10, _GSC_SPEAKERS // 10
        user_clips, one_user_clips = (validation + test) / users, _GSC_ONE_USER
        basis = ("the published counts of Google Speech Commands v0.02; users: every speaker of its validation and test "
                 "splits, the most there can be")
    packed, vocabulary = train + validation, words
    if config.onda.spoken_words is not None:
        packed, vocabulary = sum(synthetic_clips(config.onda.spoken_words)[:2]), len(config.onda.spoken_words.words)
    if config.onda.pretraining.words is not None:
        packed, vocabulary = config.onda.pretraining.vocabulary * 1000, config.onda.pretraining.vocabulary
    return Sizes(words, train, validation, test, users, validation_users, user_clips, one_user_clips, packed,
                 min(vocabulary, config.onda.pretraining.vocabulary), **_wake_words(config), basis=basis)


def _wake_words(config: Config) -> dict[str, Any]:
    """The wake-word part of the sizes."""
    corpus, windows = config.onda.corpus, config.onda.windows
    if corpus.name == "synthetic":
        made = corpus.synthetic
        users, user_positives = made.speakers.dev + made.speakers.test, float(made.user_positives)
        positives, stream = made.speakers.train * made.positives, 3600 * made.stream_hours / SENTENCE_SECONDS
        negatives = 3600 * made.test_hours / SENTENCE_SECONDS
    else:
        users, user_positives = _HEYSNIPS_USERS, float(_HEYSNIPS_USER_POSITIVES)
        positives = round(_HEYSNIPS_POSITIVE * _HEYSNIPS[0])
        stream, negatives = _HEYSNIPS[0] - positives, (1 - _HEYSNIPS_POSITIVE) * _HEYSNIPS[1]
    share, stride = windows.stream_share, windows.stride
    seconds = SENTENCE_SECONDS * (stream + negatives) + WAKE_WORD_SECONDS * (positives + users * user_positives)
    return {"wake_users": users, "user_positives": user_positives, "stream_positives": share * positives,
            "stream_windows": share * (windows_of(stream, SENTENCE_SECONDS, stride)
                                       + windows_of(positives, WAKE_WORD_SECONDS, stride)),
            "negative_windows": windows_of(negatives, SENTENCE_SECONDS, stride), "wake_seconds": seconds}


def counted(config: Config, folder: Path) -> Sizes:
    """Sizes of a run as far as its folder ``results/<run>`` tells them, else as :func:`expected`."""
    sizes = expected(config)
    index = folder / "corpus" / "index.parquet"
    if not index.is_file():
        return sizes
    table, _ = files.read_table(index)
    splits = table["split"].value_counts()
    distinct = table[(table["repeat_of"] == "") & table["split"].isin(["validation", "test"])]
    takes = distinct.groupby(["split", "speaker"]).size()
    users = takes[takes >= config.protocol.many_users.minimum_takes]
    train, validation, test = (int(splits.get(split, 0)) for split in ("train", "validation", "test"))
    words = table["word"].nunique()
    own = config.onda.spoken_words is None and config.onda.pretraining.words is None
    return replace(
        sizes, words=words, train=train, validation=validation, test=test, users=len(users),
        validation_users=int((users.index.get_level_values("split") == "validation").sum()),
        user_clips=float(users.mean()) if len(users) else 0.0,
        one_user_clips=_one_user(config, table),
        pretraining_clips=train + validation if own else sizes.pretraining_clips,
        pretraining_words=min(words, config.onda.pretraining.vocabulary) if own else sizes.pretraining_words,
        basis="the index of the corpus")


def _one_user(config: Config, table: pd.DataFrame) -> float:
    speaker = config.protocol.one_user.speaker
    clips = table[table["split"] == "train"].groupby("speaker").size()
    found = clips.get(speaker, math.nan) if speaker else clips.max()
    return float(clips.max() if math.isnan(found) else found)
