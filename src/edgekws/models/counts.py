"""How many numbers the wake-word encoders train, by closed forms of their widths. Without torch: the report counts too."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)


def ds_cnn(widths: Sequence[Number]) -> Number:
    """Weights, biases and normalisation of a DS-CNN of these widths.

    >>> ds_cnn([276] * 6), ds_cnn([172] * 5), ds_cnn([64] * 5)
    (413448, 136052, 22976)
    """
    return 43 * widths[0] + sum(12 * before + before * after + 3 * after for before, after in itertools.pairwise(widths))


def resnet15(widths: Sequence[Number]) -> Number:
    """Weights of a ResNet15 of these widths.

    >>> resnet15([64] * 8)
    479808
    """
    residual, *inner, embedding = widths
    return 9 * residual + 18 * residual * sum(inner) + 9 * residual * embedding
