"""Clips as the network sees them: packed features, the scale they are divided by, and their word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from edgekws.core.errors import UserError
from edgekws.features import normalise, pack

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Clips:
    """A set of clips whose features are read and scaled only when indexed.

    Attributes:
        features: Packed features (clips of the corpus, T, F).
        rows: Which of them make this set (N,).
        labels: Class of each (N,).
        scale: Divisors (sets, F).
        scale_of: Which row of ``scale`` each clip of this set takes (N,).
    """

    features: npt.NDArray[np.float32]
    rows: Ints
    labels: Ints
    scale: torch.Tensor
    scale_of: Ints

    def __len__(self) -> int:
        return len(self.rows)

    def some(self, places: Ints) -> Clips:
        """The clips at ``places`` (B,) as a set of their own, each divided by what it is divided by here."""
        return Clips(self.features, self.rows[places], self.labels[places], self.scale, self.scale_of[places])

    def __getitem__(self, places: Any) -> torch.Tensor:
        """Scaled features (B, T, F) of the clips at ``places`` (B,)."""
        places = np.asarray(places)
        gathered = torch.from_numpy(np.ascontiguousarray(self.features[self.rows[places]]))
        return gathered / self.scale[torch.from_numpy(self.scale_of[places])].unsqueeze(1)


def joined(first: Clips, second: Clips) -> Clips:
    """Both sets as one, each clip divided by what it was divided by.

    Raises:
        UserError: They are not of the same packed features.
    """
    if second.features is not first.features:
        raise UserError("the clips are of two sets of packed features", where="clips", remedy="take both from the same corpus")
    return Clips(first.features, np.concatenate([first.rows, second.rows]), np.concatenate([first.labels, second.labels]),
                 torch.cat([first.scale, second.scale]),
                 np.concatenate([first.scale_of, len(first.scale) + second.scale_of]))


@dataclass(frozen=True)
class Corpus:
    """Packed features with the index they belong to; makes sets of clips under either normalisation."""

    features: npt.NDArray[np.float32]
    index: pd.DataFrame
    vocabulary: list[str]

    def __post_init__(self) -> None:
        label = {word: number for number, word in enumerate(self.vocabulary)}
        object.__setattr__(self, "_labels", self.index.word.map(label).to_numpy(np.int64))

    def clips(self, rows: npt.ArrayLike, *, frozen_scale: torch.Tensor | None, set_size: int | None = None) -> Clips:
        """The clips at ``rows``, divided by ``frozen_scale`` or, without one, by the scale of their own set.

        Args:
            rows: Rows of the index, in order (N,).
            frozen_scale: Scale frozen from base training (F,); ``None`` for the authors' per-set normalisation.
            set_size: Clips that are normalised together (consecutive ones); ``None`` for the whole set.

        Raises:
            UserError: The scale is of other features.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        labels: Ints = self._labels[chosen]  # type: ignore[attr-defined]
        if frozen_scale is not None:
            if len(frozen_scale) != self.features.shape[2]:
                raise UserError(f"have {self.features.shape[2]} values a frame, those of the model {len(frozen_scale)}",
                                where="features", remedy="give those that the model was trained on")
            return Clips(self.features, chosen, labels, frozen_scale[None], np.zeros(len(chosen), np.int64))
        size = set_size or max(len(chosen), 1)
        scales = [self.scale(chosen[start:start + size]) for start in range(0, len(chosen), size)]
        scales = scales or [torch.ones(self.features.shape[2])]
        return Clips(self.features, chosen, labels, torch.stack(scales), np.arange(len(chosen)) // size)

    def scale(self, rows: Ints) -> torch.Tensor:
        """Scale of the clips at ``rows`` (F,)."""
        return torch.from_numpy(normalise.set_scale(self.features, rows))


def open_corpus(features: Path, index_path: Path, *, values: int | None = None) -> tuple[Corpus, dict[str, Any]]:
    """Packed features with their index, and the facts of the corpus.

    Args:
        values: How many a frame must have, where that is known.

    Raises:
        UserError: A file is missing or damaged, or the features are of another index or front end.
    """
    packed, table, facts = pack.open_indexed(features, index_path)
    if values is not None and packed.shape[2] != values:
        raise UserError(f"has {packed.shape[2]} values a frame, the settings say {values}", where=features,
                        remedy="give the features that these settings are of, or extract them again")
    return Corpus(packed, table, list(facts["words"])), facts
