"""Settings of the corpora: synthetic words and wake words, or an archive."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from edgekws.core.settings import PositiveFloat, PositiveInt, Settings


class SyntheticSpeakers(Settings):
    """How many voices each split has."""

    train: PositiveInt = Field(40, description="speakers of the training split")
    validation: PositiveInt = Field(6, description="users of the validation split")
    test: PositiveInt = Field(8, description="users of the test split")


class Synthetic(Settings):
    """Speech made by espeak-ng, in the layout of Google Speech Commands."""

    words: list[str] = Field(["yes", "no", "up", "down", "left", "right", "stop", "go"],
                             min_length=2, description="the words, one folder each")
    speakers: SyntheticSpeakers = Field(default_factory=SyntheticSpeakers)
    takes: PositiveInt = Field(3, description="takes of each word by a training speaker")
    user_takes: PositiveInt = Field(5, description="takes of each word by a validation or test speaker")
    noise_db: tuple[float, float] = Field((10.0, 40.0), description="range of the signal-to-noise ratio, dB")

    @field_validator("words", mode="before")
    @classmethod
    def _quoted(cls, words: Any) -> Any:
        if isinstance(words, list) and any(isinstance(word, bool) for word in words):
            raise ValueError("YAML reads the words yes, no, on and off as true and false: put them in quotes")
        return words


class Corpus(Settings):
    """The speech that words are learnt from."""

    name: Literal["synthetic", "gsc"] = Field(
        "synthetic", description="embedded synthetic speech, or Google Speech Commands (v0.02 by DVC, or `archive`)")
    synthetic: Synthetic = Field(default_factory=Synthetic, description="the embedded corpus")


class WakeSpeakers(Settings):
    """How many speakers each split of the wake-word corpus has."""

    train: PositiveInt = Field(80, description="speakers of the unlabelled stream")
    dev: PositiveInt = Field(6, description="users of the dev split; who only says sentences comes on top")
    test: PositiveInt = Field(6, description="users of the test split; likewise")


class SyntheticWakeWords(Settings):
    """A wake-word corpus spoken by espeak-ng, in HeySnips' layout."""

    phrase: str = Field("hey snips", min_length=1, description="the wake phrase")
    speakers: WakeSpeakers = Field(default_factory=WakeSpeakers, description="speakers by split")
    positives: PositiveInt = Field(8, description="wake phrases of each speaker of the stream")
    user_positives: PositiveInt = Field(24, description="wake phrases of each dev or test speaker")
    stream_hours: PositiveFloat = Field(1.0, description="hours of ordinary sentences in the train split")
    test_hours: PositiveFloat = Field(4.0, description="hours of ordinary sentences in the dev and test splits together")
    near_misses: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="share of the sentences that hold words which sound like the wake phrase")
    noise_db: tuple[float, float] = Field((5.0, 30.0), description="range of the signal-to-noise ratio, dB")
