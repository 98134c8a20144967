"""Means and proportions with the uncertainty that belongs to them.

Every interval here is two-sided. The unit that is resampled is the unit that is independent: seeds where one user is
measured, users where many are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from edgekws.protocol.settings import Statistics

Floats = npt.NDArray[np.float64]

FEW = 20
"""Below this many values a bootstrap of the mean is too narrow and Student's t takes its place."""

_DRAWS_AT_ONCE = 4_000_000


class Interval(NamedTuple):
    """A mean or a proportion.

    ``ci_low`` and ``ci_high`` are ``None`` where one value alone (``n == 1``) gives no interval. Identical values give
    an interval of width zero.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The fields by name, as metrics files hold them."""
        return self._asdict()


def mean_interval(values: Sequence[float] | Floats, *, confidence: float = 0.95, resamples: int = 10_000,
                  seed: int = 0) -> Interval:
    """The mean of independent values with its confidence interval.

    From :data:`FEW` values on this is the percentile bootstrap (Efron & Tibshirani 1993, ch. 13). Fewer values, such
    as three seeds, get Student's t interval: the bootstrap of three values covers the mean in about three of four
    cases where it promises 95 %.

    Args:
        values: One value per independent unit, any unit of measure.
        confidence: Coverage, between 0 and 1.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap; the same seed and values give the same interval.

    Raises:
        ValueError: There are no values, or one of them is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"a mean needs a row of values, got shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise ValueError("a mean needs finite values")
    n, mean = sample.size, float(sample.mean())
    if n == 1:
        return Interval(mean, None, None, 1)
    if np.ptp(sample) == 0:
        return Interval(float(sample[0]), float(sample[0]), float(sample[0]), n)
    if n < FEW:
        half = t_half_width(float(sample.std(ddof=1)), n, confidence)
        return Interval(mean, mean - half, mean + half, n)
    rng = np.random.default_rng(seed)
    means: list[Floats] = []
    for left in range(resamples, 0, -max(1, _DRAWS_AT_ONCE // n)):
        draws = min(left, max(1, _DRAWS_AT_ONCE // n))
        means.append(sample[rng.integers(0, n, size=(draws, n))].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high), n)


def clustered_mean_interval(values: Sequence[float] | Floats, clusters: Sequence[Hashable], *,
                            confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """The mean over clusters (users): the rows of a user (seeds, folds) are averaged first, then users are resampled.

    Every user weighs the same, however many rows it has; ``n`` is the number of users.

    Raises:
        ValueError: As :func:`mean_interval`, or the two sequences differ in length.
    """
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    rows: dict[Hashable, list[float]] = {}
    for cluster, value in zip(clusters, values, strict=True):
        rows.setdefault(cluster, []).append(float(value))
    # Sorted, so that the interval does not depend on the order of the rows.
    means = [float(np.mean(rows[cluster])) for cluster in sorted(rows, key=str)]
    return mean_interval(means, confidence=confidence, resamples=resamples, seed=seed)


def cell(values: Sequence[float] | Floats | pd.Series[Any], settings: Statistics,
         clusters: Sequence[Hashable] | None = None) -> dict[str, float | int | None]:
    """The mean with its interval by a run's settings, as metrics files hold it; over clusters where they are given.

    Raises:
        ValueError: As :func:`clustered_mean_interval`.
    """
    sample = np.asarray(values, np.float64)
    over = mean_interval if clusters is None else partial(clustered_mean_interval, clusters=clusters)
    found: Interval = over(sample, confidence=settings.confidence, resamples=settings.resamples, seed=settings.seed)
    return found.as_dict()


class Components(NamedTuple):
    """Standard deviations of a mixed model's random effects, in the unit of the values; 0 where the estimate is not positive.

    ``rest`` is what one value has beside them; None where there are not two levels to tell an effect by.
    """

    user: float | None
    seed: float | None
    user_by_seed: float | None
    fold: float | None
    rest: float | None


def mixed_interval(values: Floats, *, confidence: float = 0.95) -> tuple[Interval, Components]:
    """The mean over users of a balanced experiment, when users, seeds and folds are all drawn at random.

    The model is ``y = mean + user + seed + user x seed + fold(user) + rest``, each effect normal: seeds are base models, which
    all users share, so that more users do not make their differences go away; folds are clips of one user. For balanced data
    the estimates by mean squares are those of restricted maximum likelihood (Searle, Casella & McCulloch 1992, ch. 4), where
    none is negative. The mean's variance is ``(MS_user + MS_seed - MS_user_x_seed) / n``, with Satterthwaite's degrees of
    freedom; it is never taken for less than ``MS_user / n``, so seeds that agree by chance narrow nothing.

    Args:
        values: [users, seeds, folds], finite.

    Returns:
        The mean with its interval, ``n`` being the number of users, and the effects' standard deviations.

    Raises:
        ValueError: There are fewer than two users, or a value is not finite.
    """
    from scipy.special import stdtrit

    y = np.asarray(values, np.float64)
    if y.ndim != 3 or y.shape[0] < 2 or 0 in y.shape or not np.isfinite(y).all():
        raise ValueError(f"a mixed model needs finite values [users >= 2, seeds, folds], got shape {y.shape}")
    users, seeds, folds = y.shape
    mean, of_user, of_seed = y.mean(), y.mean((1, 2)), y.mean((0, 2))
    of_both, of_fold = y.mean(2), y.mean(1)

    def square(residual: Floats, weight: int, freedom: int) -> float | None:
        return weight * float((residual**2).sum()) / freedom if freedom else None

    by_user = square(of_user - mean, seeds * folds, users - 1)
    by_seed = square(of_seed - mean, users * folds, seeds - 1)
    both = square(of_both - of_user[:, None] - of_seed + mean, folds, (users - 1) * (seeds - 1))
    by_fold = square(of_fold - of_user[:, None], seeds, users * (folds - 1))
    rest = square(y - of_both[:, :, None] - of_fold[:, None] + of_user[:, None, None], 1, users * (folds - 1) * (seeds - 1))

    def effect(square: float | None, below: float | None, levels: int) -> float | None:
        return None if square is None or below is None else math.sqrt(max(square - below, 0.0) / levels)

    assert by_user is not None
    variance, freedom = by_user, users - 1.0
    if by_seed is not None and both is not None and by_seed > both:
        variance = by_user + by_seed - both
        parts = by_user**2 / (users - 1) + by_seed**2 / (seeds - 1) + both**2 / ((users - 1) * (seeds - 1))
        freedom = variance**2 / parts if parts else freedom
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(variance / y.size)
    below = by_fold if both is None else both if by_fold is None else both + by_fold - (rest or 0.0)
    return Interval(float(mean), float(mean - half), float(mean + half), users), Components(
        user=effect(by_user, below, seeds * folds), seed=effect(by_seed, both, users * folds),
        user_by_seed=effect(both, rest, folds), fold=effect(by_fold, rest, seeds),
        rest=None if rest is None else math.sqrt(rest))


def one_split_interval(seeds: Interval, splits: Sequence[float] | Floats, *, confidence: float = 0.95) -> Interval:
    """What the same seeds would give on one further split of a user's clips, as a paper that has one split reports it.

    Two things are uncertain, the seeds and the split, and half the width is the root of the sum of their squares: that of
    ``seeds``, and Student's t interval of the mean over K splits with the variance of one split added, so the standard
    deviation over splits times ``t sqrt(1 + 1/K)`` (a prediction interval). The splits' own uncertainty is not divided away
    by taking more of them, since the paper took one.

    Args:
        seeds: Mean over seeds, each averaged over the splits, with its interval.
        splits: Value of each split, averaged over the seeds (K,).

    Returns:
        ``seeds`` as it is where there is one split alone, or no interval.
    """
    sample = np.asarray(splits, np.float64)
    if sample.size < 2 or seeds.ci_low is None or seeds.ci_high is None:
        return seeds
    width = t_half_width(float(sample.std(ddof=1)), sample.size, confidence) * math.sqrt(sample.size + 1)
    return seeds._replace(ci_low=seeds.value - math.hypot(seeds.value - seeds.ci_low, width),
                          ci_high=seeds.value + math.hypot(seeds.ci_high - seeds.value, width))


def ratio_interval(above: Sequence[float] | Floats, below: Sequence[float] | Floats, *,
                   confidence: float = 0.95) -> Interval | None:
    """The ratio of two means of paired values, with Fieller's interval (Fieller 1954), which takes both for uncertain.

    Args:
        above: One value per independent unit, of any size.
        below: Of the same units in the same order; what ``above`` is a share of.

    Returns:
        ``None`` where the mean of ``below`` may be zero: nothing is a share of it then.

    Raises:
        ValueError: There are no values, or not as many of both.
    """
    x, y = np.asarray(above, np.float64), np.asarray(below, np.float64)
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise ValueError(f"a ratio needs two rows of paired values, got shapes {x.shape} and {y.shape}")
    n, top, bottom = x.size, float(x.mean()), float(y.mean())
    if n == 1:
        return Interval(top / bottom, None, None, 1) if bottom else None
    # Ratios r for which top - r bottom, of this variance, lies within t of zero: the roots of a r^2 - 2 b r + c.
    unit = t_half_width(1.0, n, confidence) ** 2
    (xx, xy), (_, yy) = np.cov(x, y)
    a, b, c = bottom**2 - unit * yy, top * bottom - unit * xy, top**2 - unit * xx
    if a <= 0:
        return None
    half = math.sqrt(max(b * b - a * c, 0.0)) / a
    return Interval(top / bottom, float(b / a - half), float(b / a + half), n)


def t_half_width(std: float, n: int, confidence: float = 0.95) -> float:
    """Half the width of Student's t interval of a mean, from the sample standard deviation of ``n >= 2`` values."""
    from scipy.special import stdtrit  # scipy.stats takes seconds to import

    return float(stdtrit(n - 1, (1 + confidence) / 2)) * std / math.sqrt(n)
