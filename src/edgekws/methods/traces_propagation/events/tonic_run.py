"""Read an event data set with Tonic: a script for an environment of its own, which needs nothing of this package.

    python tonic_run.py FOLDER

FOLDER holds ``job.json`` (dataset, source). Written there: ``events.npy``, int32 (events, 2), a time in microseconds from the
clip's first event on and a unit, clip after clip, in time's order; ``result.json``: ``clips``, a list of [split, label, events].

* SHD: ``shd_train.h5`` and ``shd_test.h5``. A unit is a channel, of 700.
* N-MNIST: ``Train/<digit>/*.bin`` and ``Test/<digit>/*.bin``; first saccade alone (100 ms), as the authors have it.
* DVS-Gesture: as Tonic distributes it, ``ibmGestureTrain/user<n>_<light>/<label>.npy`` and ``ibmGestureTest/…``; or as IBM does,
  ``*.aedat`` (AEDAT 3.1) with ``*_labels.csv``, ``trials_to_train.txt`` and ``trials_to_test.txt``.
* CIFAR10-DVS: ``<class>/*.aedat4`` (Tonic's) or ``<class>/*.aedat`` (AEDAT 2.0, the publishers'); by name, the first nine tenths
  of each class train, as the authors have it.

A unit of a camera is ``(polarity * height + y) * width + x``.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Clip = tuple[str, int, Any, Any]
"""Split, label, times in microseconds (n,), units (n,)."""

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def camera(events: Any, side: int) -> tuple[Any, Any]:
    """Times and units of structured events with x, y, p and t."""
    x, y, p = (np.asarray(events[name]).astype(np.int64) for name in "xyp")
    return np.asarray(events["t"]).astype(np.int64), (p * side + y) * side + x


def given(kind: Any, source: Path, **arguments: Any) -> Any:
    """Tonic's data set over the files in ``source``: nothing is looked for elsewhere, or fetched."""
    class Given(kind):  # type: ignore[misc]
        location_on_system = property(lambda self: str(source), lambda self, value: None)

        def _check_exists(self) -> bool:
            return True

    return Given(save_to=".", **arguments)


def shd(source: Path) -> Iterator[Clip]:
    from tonic.datasets import SHD

    for split in ("train", "test"):
        for events, label in given(SHD, source, train=split == "train"):
            yield split, int(label), np.round(events["t"]).astype(np.int64), events["x"].astype(np.int64)


def nmnist(source: Path) -> Iterator[Clip]:
    from tonic.datasets import NMNIST

    for split in ("train", "test"):
        for events, label in given(NMNIST, source, train=split == "train", first_saccade_only=True):
            yield split, label, *camera(events, 34)


def dvs_gesture(source: Path) -> Iterator[Clip]:
    if any(source.glob("*.aedat")):
        yield from recorded_gestures(source)
        return
    from tonic.datasets import DVSGesture

    for split in ("train", "test"):
        read = given(DVSGesture, source, train=split == "train")
        for place in sorted(range(len(read)), key=lambda place: read.data[place]):
            events, label = read[place]
            yield split, label, *camera(events, 128)


def recorded_gestures(source: Path) -> Iterator[Clip]:
    """Recordings of many gestures, cut where their tables say."""
    for split in ("train", "test"):
        for name in (source / f"trials_to_{split}.txt").read_text(encoding="utf-8").split():
            address, times = aedat(source / name)
            unit = (((address >> 1) & 1) * 128 + ((address >> 2) & 0x1FFF)) * 128 + ((address >> 17) & 0x1FFF)
            with (source / name.replace(".aedat", "_labels.csv")).open(encoding="utf-8", newline="") as table:
                for row in csv.DictReader(table):
                    low, high = np.searchsorted(times, [int(row["startTime_usec"]), int(row["endTime_usec"])])
                    yield split, int(row["class"]) - 1, times[low:high], unit[low:high]


def cifar10_dvs(source: Path) -> Iterator[Clip]:
    from tonic.io import read_aedat4

    for label, name in enumerate(CIFAR_CLASSES):
        paths = sorted((source / name).glob("*.aedat*"), key=lambda path: [
            int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)])
        for place, path in enumerate(paths):
            split = "train" if place < round(0.9 * len(paths)) else "test"
            if path.suffix == ".aedat4":
                events = read_aedat4(str(path))
                events.dtype.names = ("t", "x", "y", "p")
                yield split, label, *camera(events, 128)
            else:
                address, times = aedat(path)
                yield split, label, times, ((address & 1) * 128 + ((address >> 1) & 0x7F)) * 128 + ((address >> 8) & 0x7F)


def aedat(path: Path) -> tuple[Any, Any]:
    """Addresses and times of an AEDAT 2.0 or 3.1 file. (Tonic 1.7's ``read_dvs_128`` and ``read_dvs_ibm`` expect two values of
    its header where it has three.)"""
    from tonic.io import get_aer_events_from_file, read_aedat_header_from_file

    version, start, *_ = read_aedat_header_from_file(str(path))
    events = get_aer_events_from_file(str(path), version, start)
    return events["address"].astype(np.int64), events["timeStamp"].astype(np.int64)


READERS = {"shd": shd, "nmnist": nmnist, "dvs_gesture": dvs_gesture, "cifar10_dvs": cifar10_dvs}


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    clips, count = [], 0
    with (folder / "events.raw").open("wb") as out:
        for split, label, times, units in READERS[job["dataset"]](Path(job["source"])):
            order = np.argsort(times, kind="stable")
            rows = np.empty((len(order), 2), np.int32)
            if len(order):
                rows[:, 0], rows[:, 1] = times[order] - times[order[0]], units[order]
            out.write(rows.tobytes())
            clips.append([split, label, len(rows)])
            count += len(rows)
    np.save(folder / "events.npy", np.memmap(folder / "events.raw", np.int32, "r", shape=(count, 2)) if count
            else np.empty((0, 2), np.int32))
    (folder / "events.raw").unlink()
    (folder / "result.json").write_text(json.dumps({"clips": clips}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
