"""Scores of many utterances at once, whose windows lie one after the other in a memory map (onda.md, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgekws.methods.onda import calibration
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.windows import Windows

Floats = npt.NDArray[np.float64]

_BLOCK = 2048  # windows embedded in one call: little memory, few calls


@dataclass(frozen=True)
class Stretch:
    """Utterances whose windows are scored together: their rows of the table, and the windows they span."""

    table: Any
    first: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, windows: Windows, rows: npt.NDArray[np.int64]) -> Stretch:
        """The utterances at these rows of the table of windows."""
        table = windows.table.iloc[rows]
        return cls(table, table["first"].to_numpy(np.int64), table["windows"].to_numpy(np.int64))

    def part(self, chosen: npt.NDArray[np.intp]) -> Stretch:
        """Some of the utterances, by position."""
        return Stretch(self.table.iloc[chosen], self.first[chosen], self.windows[chosen])

    def coarse(self, embedder: Embedder, mfcc: npt.NDArray[np.float32], prototype: torch.Tensor, every: int) -> Floats:
        """[utterances] smallest distance over every so-many-th window of each."""
        rows = [np.arange(first, first + count, every) for first, count in zip(self.first, self.windows, strict=True)]
        found = torch.cat([calibration.distances(embedder.embed(mfcc[np.concatenate(rows[at:at + 64])]), prototype)
                           for at in range(0, len(rows), 64)])[:, 0].numpy()
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])[:-1]])
        return np.minimum.reduceat(found.astype(np.float64), starts)

    def distances(self, embedder: Embedder, mfcc: npt.NDArray[np.float32], prototypes: torch.Tensor) -> torch.Tensor:
        """[windows of all utterances in turn, prototypes] squared distances."""
        return torch.cat([calibration.distances(embedder.embed(mfcc[first:first + count]), prototypes)
                          for first, count in self._blocks()])

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Runs of neighbouring windows."""
        start = end = -1
        for first, count in zip(self.first.tolist(), self.windows.tolist(), strict=True):
            if first != end or end - start > _BLOCK:
                if end > start:
                    yield start, end - start
                start = first
            end = first + count
        if end > start:
            yield start, end - start

    def scores(self, distances: torch.Tensor, lengths: list[int]) -> Floats:
        """[utterances, prototypes] smallest filtered distance of each utterance."""
        starts = np.concatenate([[0], np.cumsum(self.windows)[:-1]])
        return calibration.utterance_scores(distances, starts, self.windows, lengths).numpy().astype(np.float64)
