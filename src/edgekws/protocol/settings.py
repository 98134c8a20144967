"""Settings of the protocol: who adapts to what, with which budget, and how intervals are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgekws.core.settings import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Settings

Split = Literal["train", "validation", "test"]
Shot = Annotated[int, Field(ge=1)] | Literal["all"]


class Training(Settings):
    """A budget: how long to train, in what steps."""

    learning_rate: PositiveFloat = Field(1e-4, description="Adam's learning rate in the first epoch")
    epochs: PositiveInt = Field(3, description="passes over the clips")
    batch_size: PositiveInt = Field(1024, description="clips in a batch; smaller sets make one batch")


class Tuning(Settings):
    """What the tuned experiments choose from, on the validation split's users only."""

    learning_rate: list[PositiveFloat] = Field([1e-5, 3e-5, 1e-4, 3e-4], min_length=1, description="learning rates tried")
    epochs: list[PositiveInt] = Field([3, 10], min_length=1, description="numbers of epochs tried")
    batch_size: list[PositiveInt] = Field([8, 1024], min_length=1, description="batch sizes tried")
    widen: NonNegativeInt = Field(6, description="points added at most while the best lies on the grid's edge")
    users: PositiveInt = Field(16, description="validation users it is tried on, at most")
    folds: PositiveInt = Field(1, description="folds of each user it is tried on, at most")
    shots: Shot = Field("all", description="support clips of each word while tuning")


class OneUser(Settings):
    """The paper's protocol: one speaker left out."""

    speaker: str | None = Field("c50f55b8", description="the user; null takes the training speaker with most distinct takes")
    support_fraction: Fraction = Field(0.8, description="share of each word's clips that goes to the support pool")
    shots: list[Shot] = Field([1, 5, "all"], min_length=1, description="support clips of each word")
    split_seeds: list[int] = Field(list(range(42, 52)), min_length=1,
                                   description="seeds of the splits into support and query; 42 is the authors'")


class ManyUsers(Settings):
    """Every speaker of some splits with enough takes, cross-validated over takes."""

    splits: list[Split] = Field(
        ["validation", "test"], min_length=1,
        description="splits that users come from; those of the training split are then left out of base training")
    minimum_takes: PositiveInt = Field(20, description="distinct takes a speaker needs")
    users: PositiveInt | None = Field(
        None, description="users of each split, at most, drawn at random; null takes all. The more, the narrower the intervals: "
        "with the square root of their number")
    folds: Annotated[int, Field(ge=2)] = Field(5, description="folds over the takes of a user")
    shots: list[Shot] = Field([1, 3, "all"], min_length=1, description="support clips of each word, at most")
    split_seed: int = Field(42, description="seed of the folds, and of the draw of users")


class Protocol(Settings):
    """Who adapts to what."""

    one_user: OneUser = Field(default_factory=OneUser, description="the protocol of Traces Propagation")
    many_users: ManyUsers = Field(default_factory=ManyUsers, description="the wider protocol")


class Statistics(Settings):
    """How intervals are made."""

    confidence: Fraction = Field(0.95, description="coverage of every interval")
    resamples: PositiveInt = Field(10_000, description="bootstrap resamples")
    seed: int = Field(0, description="seed of the bootstrap")
