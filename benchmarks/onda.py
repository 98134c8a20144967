"""Time of OnDA's front end and encoders, side by side with what one would use instead.

    python -m benchmarks.onda [--threads 2] [--out results/benchmarks/onda.json]

Front end, for the windows of one second that begin every 0.125 s in an utterance of 3 s with a second of zeros on either
side:

* ``ours``          ``utterance_mfcc``: a spectrum that several windows share is taken once;
* ``ours, cut``     ``mfcc`` of the windows cut out;
* ``librosa``       librosa's calls, window by window, in single precision.

Encoders, for windows that are there already:

* ``ours``                   ``Embedder``;
* ``module``                 the encoder itself in evaluation mode;
* ``module, channels last``  the same with its weights in that layout, which torch's convolutions are faster on.

Time is the median over repetitions in one process, the variants taking turns, after one round that is not timed; beside
it stands the fastest, which other work on the machine disturbs least. Before anything is timed, what the variants compute
is compared.
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable
from importlib import util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import BUSY, envelope, in_turn, machine, medians
from edgekws.core import files
from edgekws.features.mfcc import mfcc, utterance_mfcc
from edgekws.methods.onda.inference import CHUNK, Embedder
from edgekws.models.choices import Backbone
from edgekws.models.encoder import Encoder, build

SECONDS, STRIDE = 3, 2000
ENCODERS: dict[str, tuple[Backbone, list[int] | None]] = {
    "ds_cnn_l": ("ds_cnn_l", None), "ds_cnn_l, half": ("ds_cnn_l", [138] * 6), "ds_cnn_s": ("ds_cnn_s", None),
    "resnet15": ("resnet15", None), "resnet15, half": ("resnet15", [32] * 8)}
Variants = dict[str, Callable[[], Tensor]]


def front_ends(seconds: int = SECONDS) -> Variants:
    """MFCC of all windows of an utterance."""
    utterance = torch.zeros((seconds + 2) * 16_000)
    utterance[16_000:-16_000] = 0.1 * torch.randn(seconds * 16_000, generator=torch.Generator().manual_seed(0))
    windows = utterance.unfold(0, 16_000, STRIDE)
    variants: Variants = {"ours": lambda: utterance_mfcc(utterance, STRIDE), "ours, cut": lambda: mfcc(windows)}
    if util.find_spec("librosa"):
        variants["librosa"] = lambda: torch.from_numpy(np.stack([by_librosa(wave) for wave in windows.numpy()]))
    return variants


def by_librosa(wave: np.ndarray) -> np.ndarray:
    import librosa

    power = librosa.feature.melspectrogram(y=wave, sr=16_000, n_fft=1024, hop_length=320, win_length=640, center=False,
                                           n_mels=40, fmin=0, fmax=8000)
    return librosa.feature.mfcc(S=librosa.power_to_db(power, amin=1e-10, top_db=80), n_mfcc=10).T


def encoders_of(name: str, windows: int) -> Variants:
    """Embeddings of some windows."""
    given = 20 * torch.randn(windows, 47, 10, generator=torch.Generator().manual_seed(0))
    encoder = build(*ENCODERS[name])
    encoder(given[:CHUNK])  # running statistics
    encoder.eval()
    last = copy.deepcopy(encoder).to(memory_format=torch.channels_last)
    embedder = Embedder(encoder)
    return {"ours": lambda: embedder.embed(given), "module": lambda: in_chunks(encoder, given),
            "module, channels last": lambda: in_chunks(last, given)}


@torch.inference_mode()
def in_chunks(encoder: Encoder, given: Tensor) -> Tensor:
    return torch.cat([encoder(some) for some in torch.split(given, CHUNK)])


def compare(variants: Variants, repetitions: int) -> dict[str, dict[str, float]]:
    """Microseconds per window of each variant, and how far its values are from the first one's."""
    values = {name: variant() for name, variant in variants.items()}
    ours = next(iter(values.values()))
    taken = {name: [seconds / len(ours) * 1e6 for seconds in values]
             for name, values in in_turn(variants, repetitions, warm_up=0).items()}
    median = medians(taken)
    return {name: {"us_per_window": median[name], "fastest_us_per_window": min(taken[name]),
                   "time_ratio": median[name] / median["ours"],
                   "largest_difference": float((values[name] - ours).abs().max())} for name in variants}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2, help="at most the machine's cores")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/onda.json"))
    parser.add_argument("--windows", type=int, default=64, help="that the encoders embed")
    parser.add_argument("--repetitions", type=int, default=15)
    options = parser.parse_args()
    here_it_runs, cores = machine(), os.cpu_count() or 1  # before this benchmark adds to its load
    load = here_it_runs["load_before"]
    if options.threads > cores:
        raise SystemExit(f"{options.threads} threads on {cores} cores would wait for each other")
    torch.set_num_threads(options.threads)
    print(f"{options.threads} thread(s), median of {options.repetitions}; load of the machine before: {load:.1f}")
    print(f"{'':16} {'variant':22} {'us/window':>10} {'fastest':>9} {'x ours':>7}  from ours")
    rows = {}
    for name in ("mfcc", *ENCODERS):
        variants = front_ends() if name == "mfcc" else encoders_of(name, options.windows)
        rows[name] = compare(variants, options.repetitions)
        for variant, row in rows[name].items():
            print(f"{name:16} {variant:22} {row['us_per_window']:10.1f} {row['fastest_us_per_window']:9.1f} "
                  f"{row['time_ratio']:7.2f}  {row['largest_difference']:.1e}", flush=True)
        if max(row["largest_difference"] for row in rows[name].values()) > (1e-2 if name == "mfcc" else 1e-5):
            raise SystemExit(f"{name}: the variants do not compute the same")
    files.write_json(options.out, envelope(
        here_it_runs, threads=options.threads, repetitions=options.repetitions, seconds=SECONDS, stride=STRIDE,
        windows=options.windows, variants=rows))
    if load > BUSY:
        print("\nthe machine was busy: these times say little")
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
