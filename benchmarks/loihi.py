"""Clips per second of the integer simulation on Loihi: ours beside Lava's CPU simulation and a plain numpy loop.

    python -m benchmarks.loihi [--environment .envs/lava] [--clips 2048] [--reference-clips 20] [--model FILE]

One network, the same clips; the slower ones take the first few. All give the same scores, which is checked. Lava at its
best: compiled once, then all clips in one run, u, v and what is on its way set to 0 between them, and only the readout's
v recorded; building, compiling and the first clip are left out. Bare, nothing is read or reset: an upper bound that tells
no scores. The numpy loop runs one clip after the other, each step of each layer
a few operations. Without a model (an integer one, of `~.network.save_network`) the network is 40-256-256-35
with random weights that make a few per cent of the neurons fire in a step, and the clips are noise.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.measuring import envelope, in_turn, machine, medians
from edgekws.core import files
from edgekws.core.environments import NotRun
from edgekws.methods.neuedge.loihi.network import LoihiNetwork, load_network, quantise
from edgekws.methods.neuedge.loihi.referee import run_lava
from edgekws.methods.neuedge.loihi.simulator import Spikes, simulate
from edgekws.models.feedforward_lif import FeedForwardLIF
from edgekws.models.settings import LifNetwork

STEPS, RATE = 100, 0.15  # of the clips made here


def random_network() -> LoihiNetwork:
    net = FeedForwardLIF(LifNetwork(), inputs=40, outputs=35, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for weights, bias in zip(net.weights, net.biases, strict=False):
        weights.mul_(14)
        bias.copy_(0.3 * torch.randn(len(bias), generator=generator))
    return quantise(net, map(str, range(35)))


def random_clips(clips: int, inputs: int) -> Spikes:
    return (np.random.default_rng(0).random((clips, STEPS, inputs), np.float32) < RATE).astype(np.uint8)


def numpy_loop(net: LoihiNetwork, spikes: Spikes) -> npt.NDArray[np.float64]:
    """Mean v of the readout over its own steps, as one would write it down; for networks made by `quantise`."""
    matrices = [layer.synapses for layer in net.layers]
    scores = np.empty((len(spikes), len(net.words)))
    for clip, score in zip(spikes, scores, strict=True):
        potentials = [np.zeros(layer.neurons, np.int64) for layer in net.layers]
        fired = [np.zeros(layer.inputs, np.bool_) for layer in net.layers]  # in the step before, into each layer
        total = np.zeros(len(net.words), np.int64)
        for t in range(len(clip) + net.delay):
            for index in reversed(range(len(net.layers))):
                layer, v = net.layers[index], potentials[index]
                arriving = matrices[index][:, fired[index]].sum(1) >> -layer.weight_exp << 6
                v = np.sign(v) * (np.abs(v) * (4096 - layer.dv) >> 12) + arriving + layer.bias
                now = v > layer.vth << 6
                potentials[index] = np.where(now, 0, v)
                if index + 1 < len(net.layers):
                    fired[index + 1] = now
            fired[0] = clip[t].astype(np.bool_) if t < len(clip) else np.zeros(net.inputs, np.bool_)
            if t >= net.delay:
                total += potentials[-1]
        score[:] = total / len(clip)
    return scores


def rate(run: Callable[[], Any], clips: int, repetitions: int) -> float:
    """Clips per second, median."""
    return clips / medians(in_turn({"it": run}, repetitions))["it"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environment", type=Path, default=Path(".envs/lava"))
    parser.add_argument("--clips", type=int, default=2048, help="for our simulator")
    parser.add_argument("--reference-clips", type=int, default=20, help="the first of them, for the slower ones")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/loihi.json"))
    options, here_it_runs = parser.parse_args(), machine()
    net = load_network(options.model)[0] if options.model else random_network()
    spikes, threads = random_clips(options.clips, net.inputs), torch.get_num_threads()
    some = spikes[:options.reference_clips]
    ours = simulate(net, spikes)
    np.testing.assert_array_equal(numpy_loop(net, some), ours.scores[:len(some)])
    rates = {f"edgekws, {count} thread{'s' * (count > 1)}":
             rate(functools.partial(simulate, net, spikes, threads=count), len(spikes), options.repetitions)
             for count in sorted({1, threads})}
    rates["numpy loop"] = rate(lambda: numpy_loop(net, some), len(some), 1)
    lava: dict[str, Any] = {}
    try:
        run = run_lava(net, some, options.environment, timeout=600, record="readout", progress=True)
        np.testing.assert_array_equal(run.readout[:, net.delay:].mean(1), ours.scores[:len(some)])
        rates["Lava, CPU"] = 1 / statistics.median(run.seconds[1:])
        bare = run_lava(net, some, options.environment, timeout=600, record="nothing")
        rates["Lava, nothing read"] = 1 / statistics.median(bare.seconds[1:])
        lava = {**run.versions, "first_clip_seconds": run.seconds[0]}
    except NotRun as reason:
        print(f"Lava was not run: {reason}")
    sizes = "-".join(map(str, [net.inputs, *(layer.neurons for layer in net.layers)]))
    fired = [float(counts.mean() / spikes.shape[1]) for counts in ours.spike_counts]
    print(f"\n{sizes}, {spikes.shape[1]} steps; spikes per neuron and step: input {spikes.mean():.3f}, hidden "
          + ", ".join(f"{share:.3f}" for share in fired))
    against = [rates[name] for name in ("Lava, CPU", "Lava, nothing read") if name in rates]
    print(f"{'simulator':22} {'clips/s':>9}" + f"{'x Lava':>9} {'(bare)':>8}" * bool(against))
    for name, value in rates.items():
        print(f"{name:22} {value:9.1f}" + "".join(f" {value / other:8.1f}" for other in against))
    files.write_json(options.out, envelope(
        here_it_runs, threads=threads, repetitions=options.repetitions, network=sizes, steps=spikes.shape[1], clips=len(spikes),
        reference_clips=len(some), spikes_per_neuron_and_step={"input": float(spikes.mean()), "hidden": fired},
        clips_per_second=rates, lava=lava or None))
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
