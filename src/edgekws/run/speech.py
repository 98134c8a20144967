"""How much speech a run works on, which the rules of the workflow declare their units of work by.

Counted where the corpus has been indexed, exact by the settings for synthetic speech, as published for Google Speech Commands
and HeySnips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgekws.config import Shared
from edgekws.core.errors import UserError
from edgekws.corpus.audio import SAMPLE_RATE
from edgekws.corpus.index import SPLITS
from edgekws.corpus.settings import Synthetic
from edgekws.protocol.settings import ManyUsers

_OPEN_USERS, _OPEN_TAKES, _OPEN_TAKES_HOURS = 23, 300, 1.0  # by keyword; hours of all takes of Picovoice's recordings
_LIBRISPEECH_HOURS = 5.4  # test-clean
_HEYSNIPS_HOURS, _HEYSNIPS_POSITIVES, _HEYSNIPS_USERS = (46.0, 13.6), 9_700, 20  # v2: utterances of 3.7 s on average


@dataclass(frozen=True)
class Speech:
    """Clips and users of a corpus.

    Attributes:
        words: Words of the corpus.
        train, validation, test: Clips of its splits, in training without its users'.
        validators, testers: Users of the many-users protocol who choose settings and who report, at most.
        user_clips: Clips of such a user, on average.
        one_user_clips: Clips of the speaker of the one-user protocol.
    """

    words: int
    train: int
    validation: int
    test: int
    validators: int
    testers: int
    user_clips: float
    one_user_clips: int

    @property
    def clips(self) -> int:
        """Clips of all splits."""
        return self.train + self.validation + self.test

    def support(self, shot: int | Literal["all"], pool: float) -> float:
        """Support clips of a shot from a pool: all of it, or so many of each word.

        >>> GSC.support("all", 32), GSC.support(1, 40), GSC.support(5, 40)
        (32, 35, 40)
        """
        return pool if shot == "all" else min(shot * self.words, pool)


GSC = Speech(words=35, train=84_843, validation=9_981, test=11_005, validators=261, testers=262,
             user_clips=20_986 / 523, one_user_clips=370)
"""Google Speech Commands v0.02: data/gsc/README.md; of its 2,618 speakers a fifth are users, the most there can be."""


def synthetic_clips(spoken: Synthetic) -> tuple[int, int, int]:
    """Clips of the training, validation and test splits of a synthetic corpus.

    >>> from edgekws.corpus.settings import SyntheticSpeakers
    >>> synthetic_clips(Synthetic(words=["a", "b"], takes=3, user_takes=5,
    ...                           speakers=SyntheticSpeakers(train=10, validation=1, test=2)))
    (60, 10, 20)
    """
    speakers, words = spoken.speakers, len(spoken.words)
    return (speakers.train * words * spoken.takes, speakers.validation * words * spoken.user_takes,
            speakers.test * words * spoken.user_takes)


def speech_of(config: Shared, index: Path) -> Speech:
    """The speech of a run; ``index`` is where the index of its corpus is or will be (.parquet)."""
    many = config.protocol.many_users
    minimum = many.minimum_takes
    if config.corpus.name == "synthetic":
        spoken = config.corpus.synthetic
        words, takes = len(spoken.words), spoken.user_takes
        users = (spoken.speakers.validation, spoken.speakers.test) if words * takes >= minimum else (0, 0)
        if "train" in many.splits and words * spoken.takes >= minimum:
            raise UserError("every training speaker of the synthetic corpus would be a user", where="protocol.many_users.splits",
                            remedy="leave train out of the splits, or raise minimum_takes")
        users = (min(users[0], many.users or users[0]), min(users[1], many.users or users[1]))
        return Speech(words, *synthetic_clips(spoken), *users, words * takes, words * spoken.takes)
    if index.is_file():
        return _counted(index, many)
    return replace(GSC, validators=min(GSC.validators, many.users or GSC.validators),
                   testers=min(GSC.testers, many.users or GSC.testers))


def _counted(index: Path, many: ManyUsers) -> Speech:
    import pandas as pd

    table = pd.read_parquet(index, columns=["word", "speaker", "split", "repeat_of"])
    clips = {split: int((table["split"] == split).sum()) for split in ("train", "validation", "test")}
    takes = table[table["repeat_of"] == ""].groupby(["split", "speaker"]).size()
    users = takes[(takes >= many.minimum_takes) & takes.index.get_level_values("split").isin(many.splits)]
    of = users.groupby("split").agg(["size", "sum"]).reindex(SPLITS, fill_value=0)
    if many.users is not None:  # of a split so many, with as many clips as all of them have on average
        of = of.mul((many.users / of["size"]).clip(upper=1).fillna(1), axis=0)
    return Speech(table["word"].nunique(), clips["train"] - int(of["sum"]["train"]), clips["validation"], clips["test"],
                  int(of["size"]["validation"]), int(of["size"]["train"] + of["size"]["test"]),
                  float(users.mean()) if len(users) else 0.0,
                  int(takes[takes.index.get_level_values("split") == "train"].max()))


@dataclass(frozen=True)
class WakeWords:
    """Wake-word speech.

    Attributes:
        users: Users of the corpus.
        positives: Wake phrases in the unlabelled stream.
        stream_windows, test_windows: Windows of that stream and of the test set's ordinary utterances, one user's share of
            wake phrases left out.
        seconds: Seconds of ordinary speech in all.
    """

    users: int
    positives: int
    stream_windows: int
    test_windows: int
    seconds: int


def wake_words_of(section: Any) -> WakeWords:
    """The wake-word speech of a run by the section of its settings that has ``corpus`` and ``windows``."""
    made, windows = section.corpus.synthetic, section.windows
    hours, positives, users = _HEYSNIPS_HOURS, _HEYSNIPS_POSITIVES, _HEYSNIPS_USERS
    if section.corpus.name == "synthetic":
        hours, positives = (made.stream_hours, made.test_hours), made.speakers.train * made.positives
        users = made.speakers.dev + made.speakers.test
    stream, test = (round(3600 * some * SAMPLE_RATE / windows.stride) for some in hours)
    if section.corpus.name == "open":
        words, share = len(section.corpus.keywords), windows.stream_speech
        stream, test = (round(3600 * some * SAMPLE_RATE / windows.stride) for some in (
            share * _LIBRISPEECH_HOURS + _OPEN_TAKES_HOURS, (1 - share) * _LIBRISPEECH_HOURS))
        return WakeWords(_OPEN_USERS * words, _OPEN_TAKES, stream, test, round(3600 * (_LIBRISPEECH_HOURS + _OPEN_TAKES_HOURS)))
    return WakeWords(users, round(windows.stream_share * positives), round(windows.stream_share * stream), test,
                     round(3600 * sum(hours)))
