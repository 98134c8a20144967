"""Event data as the networks take them: converted once, made into frames when a batch is read."""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from edgekws.core import files
from edgekws.core.environments import NotRun, python_of
from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation.choices import EventData

SHAPES: dict[EventData, tuple[int, ...]] = {
    "shd": (700,), "nmnist": (2, 34, 34), "dvs_gesture": (2, 128, 128), "cifar10_dvs": (2, 128, 128)}
"""Units of a frame; of a camera polarity, height and width."""

CLASSES: dict[EventData, int] = {"shd": 20, "nmnist": 10, "dvs_gesture": 11, "cifar10_dvs": 10}


def convert(source: Path, environment: Path, out: Path, dataset: EventData) -> pd.DataFrame:
    """Read a data set with Tonic and write ``out`` (.npy, int32 (events, 2): microseconds, unit) and ``out`` with the suffix
    .parquet: a row for each clip with ``split``, ``label``, ``first`` event and number of ``events``.

    Args:
        source: Folder of the data set as its publishers or Tonic lay it out (:mod:`.tonic_run`).
        environment: What ``envs/tool tonic FOLDER`` built.

    Returns:
        The table.

    Raises:
        UserError: There is no such folder, Tonic cannot be had or cannot read it, or it holds no clip of a split.
    """
    remedy = f"give the folder that holds {dataset} as docs/event_data.md says"
    if not source.is_dir():
        raise UserError("no such folder", where=source, remedy=remedy)
    try:
        python = python_of(environment, absent="it has not been built")
    except NotRun as why:
        raise UserError(str(why), where=environment,
                        remedy=f"run `envs/tool tonic {environment}` where packages can be had") from why
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({"dataset": dataset, "source": str(source.absolute())}), encoding="utf-8")
        done = subprocess.run([python, "-I", Path(__file__).with_name("tonic_run.py"), folder.absolute()], capture_output=True,
                              text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"})
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise UserError(f"cannot be read: {said[-1] if said else done.returncode}", where=source, remedy=remedy)
        found = json.loads((folder / "result.json").read_text(encoding="utf-8"))["clips"]
        table = pd.DataFrame(found, columns=["split", "label", "events"])
        for split in ("train", "test"):
            if not (table.split == split).any():
                raise UserError(f"holds no clip of the {split} split", where=source, remedy=remedy)
        table["first"] = table.events.cumsum() - table.events
        with files.writing(out) as part:
            (folder / "events.npy").replace(part)
    files.write_table(out.with_suffix(".parquet"), table, {"dataset": dataset})
    return table


@dataclass(frozen=True)
class Events:
    """A converted data set.

    Attributes:
        dataset: Its name.
        events: int32 (events, 2), memory-mapped.
        table: A row for each clip.
    """

    dataset: EventData
    events: npt.NDArray[np.int32]
    table: pd.DataFrame

    @classmethod
    def open(cls, path: Path) -> Events:
        """What :func:`convert` wrote.

        Raises:
            UserError: A file is missing or damaged, or the two do not belong together.
        """
        remedy = "convert the data set again with `edgekws traces-propagation events`"
        events = files.open_array(path, "events", remedy)
        table, facts = files.read_table(path.with_suffix(".parquet"))
        if events.ndim != 2 or events.shape[1] != 2 or facts.get("dataset") not in SHAPES or table.events.sum() != len(events):
            raise UserError("is no converted data set, or of another table", where=path, remedy=remedy)
        return cls(facts["dataset"], events, table)

    def split(self, name: str, *, window: int | None = None, bins: int | None = None, longest: int | None = None) -> Frames:
        """The clips of a split as frames.

        Args:
            window: Microseconds in a frame.
            bins: Frames of equal length in a clip, in place of a window.
            longest: Microseconds of a slice that longer clips are cut into; what is left over at the end is dropped.
        """
        rows = np.flatnonzero((self.table.split == name).to_numpy()).tolist()
        slices = [(row, 0) for row in rows]
        if longest is not None:
            spans = [int(self.times(row)[-1]) + 1 if self.table.events[row] else 0 for row in rows]
            slices = [(row, part * longest) for row, span in zip(rows, spans, strict=True)
                      for part in range(max(1, span // longest))]
        return Frames(self, slices, window, bins, longest)

    def times(self, row: int) -> npt.NDArray[np.int32]:
        """Microseconds of a clip's events (n,)."""
        first = int(self.table["first"][row])
        return self.events[first:first + int(self.table.events[row]), 0]


class Frames:
    """Clips of a split as counts of events, made when indexed.

    Attributes:
        labels: Class of each (N,).
    """

    def __init__(self, events: Events, slices: list[tuple[int, int]], window: int | None, bins: int | None,
                 longest: int | None) -> None:
        self._events, self._slices, self._window, self._bins, self._longest = events, slices, window, bins, longest
        self.labels = events.table.label.to_numpy(np.int64)[[row for row, _ in slices]]

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, places: Any) -> Tensor:
        """[clips, frames, units…] float32, padded with empty frames to the longest clip among ``places``."""
        parts = [self._counts(*self._slices[place]) for place in np.atleast_1d(places)]
        frames = max(steps for steps, _ in parts)
        shape, units = SHAPES[self._events.dataset], math.prod(SHAPES[self._events.dataset])
        found = np.zeros((len(parts), frames * units), np.float32)
        for row, (_, flat) in zip(found, parts, strict=True):
            np.add.at(row, flat, 1.0)
        return torch.from_numpy(found.reshape(len(parts), frames, *shape))

    def _counts(self, row: int, start: int) -> tuple[int, npt.NDArray[np.int64]]:
        """Frames of a clip, and for each event its place among their units."""
        first = int(self._events.table["first"][row])
        part = self._events.events[first:first + int(self._events.table.events[row])]
        if self._longest is not None and len(part) and part[-1, 0] >= self._longest:
            low, high = np.searchsorted(part[:, 0], [start, start + self._longest])
            part = part[low:high]
        times = part[:, 0].astype(np.int64) - start
        if self._bins is not None:
            span = int(times[-1]) + 1 if len(times) else 1
            steps, step = self._bins, times * self._bins // span
        else:
            assert self._window is not None
            step = times // self._window
            steps = int(step[-1]) + 1 if len(step) else 1
        return steps, step * math.prod(SHAPES[self._events.dataset]) + part[:, 1]
