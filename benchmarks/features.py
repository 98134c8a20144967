"""Features of Traces Propagation: our batched pipeline beside librosa, file by file, on one core.

Both start from the same 16-bit clips and give the same features. Seconds are the process's own (CPU time), and the
two take turns, so that a busy machine slows both alike.
With an archive in the layout of Google Speech Commands the clips are its first ones, and both are also measured with
the reading (unpacking and decoding) included; without one the clips are noise of one second.

    python -m benchmarks.features [--archive ARCHIVE] [--clips 1000] [--repetitions 5] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import runpy
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.io import wavfile

from benchmarks.measuring import envelope, in_turn, machine, medians
from edgekws.core import files
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.features import logmel, pack
from edgekws.features.settings import Features

SETTINGS = Features()
BATCH = 64
Samples = npt.NDArray[np.int16]
Features3d = npt.NDArray[np.float32]
Front = Callable[[Iterable[Samples], Features3d], None]

reference = runpy.run_path(str(Path(__file__).parents[1] / "tests/features/librosa_reference.py"))["features"]


def ours(clips: Iterable[Samples], out: Features3d) -> None:
    for rows, features in pack.feature_batches(enumerate(clips), SETTINGS, BATCH):
        out[rows] = features


def librosa_file_by_file(clips: Iterable[Samples], out: Features3d) -> None:
    for row, samples in enumerate(clips):
        out[row] = reference(logmel.prepare(samples), SETTINGS)


FRONTS: dict[str, Front] = {"edgekws": ours, "librosa": librosa_file_by_file}


def noise(clips: int) -> list[Samples]:
    return list(np.random.default_rng(0).normal(0, 3000, (clips, CLIP_SAMPLES)).astype(np.int16))


def speech(archive: Path) -> Iterator[Samples]:
    """The clips of an archive in its own order, background noise left out."""
    with tarfile.open(files.existing(archive, "archive"), "r|*") as members:
        for member in members:
            if member.name.endswith(".wav") and "_background_noise_" not in member.name:
                content = members.extractfile(member)
                assert content is not None
                yield wavfile.read(io.BytesIO(content.read()))[1]


def compare(source: Callable[[], Iterable[Samples]], out: dict[str, Features3d], repetitions: int) -> dict[str, Any]:
    """Clips per second of CPU time of both (median and every repetition) and the ratio of the medians."""
    def once(name: str) -> None:
        FRONTS[name](source(), out[name])

    taken = in_turn({name: functools.partial(once, name) for name in FRONTS}, repetitions, clock=time.process_time, warm_up=0)
    rates = {name: [len(out[name]) / seconds for seconds in values] for name, values in taken.items()}
    median = medians(rates)
    return {"clips_per_second": median, "ratio": median["edgekws"] / median["librosa"], "repetitions": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--archive", type=Path, help="archive in the layout of Google Speech Commands; noise without")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given, here_it_runs = parser.parse_args(), machine()
    torch.set_num_threads(1)

    stream = noise(given.clips) if given.archive is None else speech(given.archive)
    decoded = list(itertools.islice(stream, given.clips))
    clips = len(decoded)
    out = {name: np.zeros((clips, logmel.frames_of(SETTINGS), 3 * SETTINGS.mels), dtype=np.float32) for name in FRONTS}
    for name, front in FRONTS.items():  # loads and warms what each needs
        front(decoded, out[name])
    difference = float(np.abs(out["edgekws"] - out["librosa"]).max())
    measured = {"decoded clips": compare(lambda: decoded, out, given.repetitions)}
    if given.archive is not None:
        measured["reading included"] = compare(lambda: itertools.islice(speech(given.archive), clips), out,
                                               given.repetitions)

    source = "noise" if given.archive is None else given.archive.name
    print(f"clips per second of CPU time: {clips} clips ({source}), one thread, median of {given.repetitions}")
    print(f"{'':<18}{'edgekws':>10}{'librosa':>10}{'ratio':>8}")
    for name, row in measured.items():
        rates = row["clips_per_second"]
        print(f"{name:<18}{rates['edgekws']:>10.0f}{rates['librosa']:>10.0f}{row['ratio']:>7.1f}x")
    print(f"largest absolute difference of the features: {difference:.1e}")
    if given.out is not None:
        files.write_json(given.out, envelope(
            here_it_runs, threads=1, repetitions=given.repetitions, clips=clips, source=source, batch=BATCH,
            settings=SETTINGS.model_dump(), measured=measured, largest_difference=difference,
            librosa=metadata.version("librosa")))
        print(f"written: {given.out}")


if __name__ == "__main__":
    main()
