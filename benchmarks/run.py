"""Every benchmark side by side with what a user would pick instead, and how time and memory grow with the work.

    make bench                      # or: python -m benchmarks.run [--quick] [--only NAME ...] [--threads 1] [--out FOLDER]

Written into FOLDER (docs): ``comparison.json`` (every number), ``figures/benchmarks.svg`` and .png, and ``benchmarks.md``, the
page. All variants of a size take turns in one process; time is the median of its repetitions after a round that is not timed,
memory what the process grows by during one call more (Linux). A variant stops growing where its next size would take more than
``--most`` seconds a call.
What the variants compute is compared by the programs beside this one and by the tests, not here. ``--quick`` takes the two
smallest sizes and one repetition: it shows that everything runs, and its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import delta, features, loihi, neuedge, onda, traces_propagation
from benchmarks.measuring import BUSY, Run, envelope, exponent, in_turn, machine, medians
from edgekws.core import files, style
from edgekws.core.progress import tqdm
from edgekws.methods.neuedge.loihi.simulator import simulate
from edgekws.methods.onda.timing import resident
from edgekws.models.delta.switching import Switch
from edgekws.models.recurrent_lif import load_network, save_network


@dataclass(frozen=True)
class Comparison:
    """What is measured.

    Attributes:
        about: What a call does, in a sentence.
        axis: What grows.
        sizes: How it grows, ascending.
        variants: Of a size and a folder for its files, what is called, by name; ours is first.
        against: The variant that a user would pick instead.
    """

    about: str
    axis: str
    sizes: Sequence[int]
    variants: Callable[[int, Path], dict[str, Run]]
    against: str


def _features(clips: int, folder: Path) -> dict[str, Run]:
    given = features.noise(clips)
    out = np.zeros((clips, features.logmel.frames_of(features.SETTINGS), 3 * features.SETTINGS.mels), dtype=np.float32)
    return {"ours" if name == "edgekws" else name: partial(front, given, out) for name, front in features.FRONTS.items()}


def _mfcc(seconds: int, folder: Path) -> dict[str, Run]:
    found = onda.front_ends(seconds)
    return {name: found[name] for name in ("ours", "librosa") if name in found}


def _embedding(windows: int, folder: Path) -> dict[str, Run]:
    return dict(onda.encoders_of("ds_cnn_l", windows))


def _spiking(chosen: Sequence[str], size: Callable[[int], tuple[int, int]]) -> Callable[[int, Path], dict[str, Run]]:
    def make(work: int, folder: Path) -> dict[str, Run]:
        clips, neurons = size(work)
        here = [name for name in chosen if name not in ("snntorch", "spikingjelly") or util.find_spec(name)]
        return {name: neuedge.trainer(name, *neuedge.batch_of(clips), hidden=[neurons, neurons]) for name in here}

    return make


def _rule(clips: int, folder: Path) -> dict[str, Run]:
    batch = traces_propagation.batch_of(clips, 25)
    return {"ours" if name == "prototype" else name: traces_propagation.runner(name, traces_propagation.network(), *batch)
            for name in traces_propagation.VARIANTS}


def _chip(clips: int, folder: Path) -> dict[str, Run]:
    net = loihi.random_network()
    spikes = loihi.random_clips(clips, net.inputs)
    return {"ours": partial(simulate, net, spikes, threads=torch.get_num_threads()),
            "numpy loop": partial(loihi.numpy_loop, net, spikes)}


def _switching(users: int, folder: Path) -> dict[str, Run]:
    """Serving users in turn: their deltas on one base, or a model of each read from its file."""
    net = delta.RecurrentLIF(delta.Network(), inputs=120, outputs=36, generator=torch.Generator().manual_seed(0))
    deltas = [delta.delta_of("lora_4", net, user) for user in range(users)]
    for user, own in enumerate(deltas):
        save_network(folder / str(user), net.adapted(own), vocabulary=delta.WORDS, provenance={})
    switch = Switch(net)

    def in_memory() -> None:
        for own in deltas:
            switch.to(own)

    return {"ours": in_memory, "whole models": lambda: [load_network(folder / str(user))[0] for user in range(users)]}


_NETS = ("ours", "dense scan", "norse", "snntorch", "spikingjelly", "relu")
COMPARISONS: dict[str, Comparison] = {
    "log-mel features": Comparison("Features of Traces Propagation of so many clips of a second", "clips", [8, 32, 128, 512],
                                   _features, "librosa"),
    "MFCC of a stream": Comparison("MFCC of every window of a second, eight to a second of speech", "seconds of speech",
                                   [4, 16, 64, 256], _mfcc, "librosa"),
    "embeddings": Comparison("DS-CNN-L's embeddings of windows", "windows", [16, 64, 256], _embedding, "module"),
    "spiking net, clips": Comparison("A training step of 40-256-256-35 spiking neurons, 100 steps, by clips", "clips",
                                     [16, 64, 256], _spiking(_NETS, lambda clips: (clips, 256)), "norse"),
    "spiking net, neurons": Comparison("A training step with 32 clips, by neurons in each of two hidden layers", "neurons",
                                       [64, 256, 1024], _spiking(_NETS, lambda neurons: (32, neurons)), "norse"),
    "local rule": Comparison("Traces Propagation on a batch, 450 recurrent neurons, 25 frames", "clips", [8, 32, 128, 512], _rule,
                             "bptt, norse"),
    "integer chip": Comparison("Loihi's integers simulated for 100 steps", "clips", [4, 16, 64], _chip, "numpy loop"),
    "users in turn": Comparison("One device serves so many users, each with a delta (LoRA, rank 4) or a model", "users",
                                [2, 8, 32], _switching, "whole models"),
}


def measure(comparison: Comparison, *, sizes: Sequence[int], repetitions: int, most: float, bar: tqdm) -> dict[str, Any]:
    """Seconds and bytes of every variant at every size, and their exponents."""
    found: dict[str, dict[str, list[float]]] = {}
    slow: set[str] = set()
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            variants = {name: run for name, run in comparison.variants(size, Path(folder)).items() if name not in slow}
            seconds = medians(in_turn(variants, repetitions))
            for name, run in variants.items():
                row = found.setdefault(name, {"sizes": [], "seconds": [], "bytes": []})
                row["sizes"].append(size)
                row["seconds"].append(seconds[name])
                row["bytes"].append(float(max(resident(run) or 0, 0)))
                if 4 * seconds[name] > most:  # sizes are about four times one another
                    slow.add(name)
        bar.update()
    return {"about": comparison.about, "axis": comparison.axis, "against": comparison.against, "variants": {
        name: {**row, "time_exponent": exponent(row["sizes"], row["seconds"]),
               "memory_exponent": exponent(row["sizes"], row["bytes"])} for name, row in found.items()}}


# ------------------------------------------------------------------------------------------------ telling
def draw(found: Mapping[str, Any], folder: Path) -> None:
    """Time and memory of every comparison, both axes logarithmic."""
    style.use()
    from matplotlib.figure import Figure

    across = 4
    figure = Figure(figsize=(3.1 * across, 6.2 * -(-len(found) // across)))
    panels = figure.subplots(2 * -(-len(found) // across), across, squeeze=False)
    for unused in panels[-2:, (len(found) - 1) % across + 1:].flat:
        unused.remove()
    colours = [style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PURPLE, style.GREY]
    for place, (name, row) in enumerate(found.items()):
        column = place % across
        for line, (values, scale, label) in enumerate((("seconds", 1.0, "seconds"), ("bytes", 1e-6, "MB"))):
            axes = panels[2 * (place // across) + line][column]
            for colour, (variant, measured) in zip(colours, row["variants"].items(), strict=False):
                axes.loglog(measured["sizes"], [max(scale * value, 1e-9) if value > 0 else np.nan for value in measured[values]],
                            marker="o", markersize=3.5, color=colour, label=variant, linewidth=2.2 if variant == "ours" else 1.2)
            sizes = sorted({size for measured in row["variants"].values() for size in measured["sizes"]})
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.set_xlabel(row["axis"])
            axes.set_ylabel(label if column == 0 else "")
            if line == 0:
                axes.set_title(name)
                axes.legend(fontsize=7)
    figure.suptitle("Time of a call and memory that the process grows by: ours and what one would use instead", x=0.01, ha="left")
    style.save(figure, "benchmarks", folder, synthetic=False)


def page(found: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """The page of the documentation."""
    here = about["machine"]
    lines = [
        "# Benchmarks", "", "<!-- Generated by `make bench`. Do not edit. -->", "",
        "Every part that computes, beside what one would use instead, and how both grow with the work. Variants take turns in "
        f"one process; time is the median of {about['repetitions']}, memory what the process grows by during a call. Measured on "
        f"{here['processor']}, {here['cores']} cores ({about['provenance']['threads']} used), {here['system']}, code "
        f"{about['provenance']['code']}; load of the machine before: {here['load_before']}"
        f"{', too much for these times to say anything' if here['load_before'] > BUSY else ''}.", "",
        "![Time and memory of every comparison, by the size of the work](figures/benchmarks.png)", "",
        "A comparison is told at its largest size that both reached. *grows with*: the exponent b in size^b, over all sizes.", "",
        "| what | size | ours | instead | times as fast | grows with: ours, instead | memory: ours, instead |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, row in found.items():
        ours, other = row["variants"]["ours"], row["variants"].get(row["against"])
        if other is None:
            lines.append(f"| {name} | – | – | {row['against']} is not installed | – | – | – |")
            continue
        size = max(set(ours["sizes"]) & set(other["sizes"]))
        at = [part["sizes"].index(size) for part in (ours, other)]
        mine, theirs = ours["seconds"][at[0]], other["seconds"][at[1]]
        lines.append(f"| {name} | {size} {row['axis']} | {_seconds(mine)} | {row['against']}: {_seconds(theirs)} | "
                     f"{theirs / mine:.1f} | {_power(ours['time_exponent'])}, {_power(other['time_exponent'])} | "
                     f"{ours['bytes'][at[0]] / 1e6:.1f} MB, {other['bytes'][at[1]] / 1e6:.1f} MB |")
    lines += ["", "What each does, with every variant:", ""]
    for name, row in found.items():
        told = "; ".join(f"{variant} {_seconds(part['seconds'][-1])} at {part['sizes'][-1]}, exponent "
                         f"{_power(part['time_exponent'])}" for variant, part in row["variants"].items())
        lines.append(f"* **{name}**: {row['about']}. {told}.")
    lines += ["", "All numbers: [comparison.json](comparison.json). Details of single parts, with checks that variants compute "
              "the same: `python -m benchmarks.<neuedge, traces_propagation, onda, features, loihi, delta>`.", ""]
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1e3 * value:.1f} ms" if value >= 1e-3 else f"{1e6 * value:.0f} us"


def _power(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small sizes, one repetition: only to see that all runs")
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, metavar="NAME", help=f"of {', '.join(COMPARISONS)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--most", type=float, default=20.0, help="seconds that the next size of a variant may take a call")
    parser.add_argument("--environment", type=Path, default=Path(".envs/bench"), help="built from envs/bench.txt")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of page, figure and numbers")
    options, here_it_runs = parser.parse_args(), machine()
    sys.path.extend(map(str, options.environment.glob("lib/python*/site-packages")))
    torch.set_num_threads(options.threads)
    chosen = {name: COMPARISONS[name] for name in options.only or COMPARISONS}
    sizes = {name: row.sizes[:2] if options.quick else row.sizes for name, row in chosen.items()}
    repetitions, found = 1 if options.quick else options.repetitions, {}
    with tqdm(total=sum(map(len, sizes.values())), desc="benchmarks", unit="size") as bar:
        for name, comparison in chosen.items():
            found[name] = measure(comparison, sizes=sizes[name], repetitions=repetitions, most=options.most, bar=bar)
    told = envelope(here_it_runs, threads=options.threads, repetitions=repetitions, comparisons=found)
    files.write_json(options.out / "comparison.json", told)
    draw(found, options.out / "figures")
    files.write_text(options.out / "benchmarks.md", page(found, told))
    print(f"written: {options.out / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
