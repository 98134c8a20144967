"""Time and memory of a training step of Traces Propagation, side by side with what one would use instead.

    python -m benchmarks.traces_propagation [--threads 2] [--out results/benchmarks/traces_propagation.json]

Variants, all on the network of the paper (120 inputs, 450 recurrent neurons, 36 outputs, 101 frames):

* ``prototype``     our form through class prototypes (one hidden layer);
* ``batch``         our form over all pairs of clips;
* ``batch, naive``  all pairs, with the distance as one (B, B, classes) tensor, as the paper's equation reads;
* ``bptt, norse``   back-propagation through time in Norse's neurons: one update per sequence, divided by its frames.

A step is forward, gradient and Adam. Time is the median over repetitions in one process, the variants taking turns.
Memory is the peak of what torch's allocator holds while one batch is trained from scratch, beyond what it held before,
as torch's profiler records each allocation: buffers, prototypes, gradients and Adam's state count, data and weights do
not, nor does the scratch memory that BLAS takes by itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring import allocated, envelope, in_turn, machine, medians
from edgekws.core import files
from edgekws.core.optimiser import Adam
from edgekws.methods.traces_propagation import bptt, rule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.protocol.settings import Training

INPUTS, OUTPUTS, FRAMES = 120, 36, 101
VARIANTS = ("prototype", "batch", "batch, naive", "bptt, norse")


class NaiveBatchRule(rule.BatchRule):
    """All pairs, with the distance written as in the paper."""

    @staticmethod
    def distance(below: Tensor) -> Tensor:
        return (below[:, None] - below[None] + 1e-9).square().sum(2).sqrt()


def rule_of(variant: str, net: RecurrentLIF) -> rule.ReadoutRule:
    return {"prototype": rule.PrototypeRule, "batch": rule.BatchRule, "batch, naive": NaiveBatchRule}[variant](net)


def network(outputs: int = OUTPUTS) -> RecurrentLIF:
    return RecurrentLIF(Network(), inputs=INPUTS, outputs=outputs, generator=torch.Generator().manual_seed(0))


def batch_of(size: int, frames: int) -> tuple[Tensor, Tensor]:
    """Rectified noise with the scale of normalised features, and labels of all words."""
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(size, frames, INPUTS, generator=generator).abs_(),
            torch.randint(OUTPUTS - 1, (size,), generator=generator))


def runner(variant: str, net: RecurrentLIF, features: Tensor, labels: Tensor) -> Callable[[], None]:
    """A function that trains ``net`` on one batch."""
    if variant == "bptt, norse":
        budget = Training(learning_rate=1e-3, epochs=1, batch_size=len(labels))
        return lambda: bptt.train_bptt(net, features, labels, budget, seed=0)
    local = rule_of(variant, net)
    adam = Adam(local.parameters, 1e-4)

    def one_batch() -> None:
        local.begin(labels)
        for frame in features.unbind(1):
            adam.step(local.step(frame))

    return one_batch


def times(size: int, variants: tuple[str, ...], repetitions: int) -> dict[str, float]:
    """Median milliseconds per time step."""
    features, labels = batch_of(size, FRAMES)
    taken = in_turn({variant: runner(variant, network(), features, labels) for variant in variants}, repetitions)
    return {variant: seconds / FRAMES * 1e3 for variant, seconds in medians(taken).items()}


def extra_memory(variant: str, size: int) -> int:
    """Peak bytes that training one batch allocates beyond data and weights."""
    return allocated(runner(variant, network(), *batch_of(size, FRAMES)))


def largest_difference(size: int, frames: int = FRAMES) -> dict[str, float]:
    """Between the gradients of both forms in float64, the weights following the prototype form's."""
    features, labels = batch_of(size, frames)
    net = network().to(torch.float64)
    prototype, pairs = rule.PrototypeRule(net), rule.BatchRule(net)
    adam = Adam(prototype.parameters, 1e-4)
    prototype.begin(labels)
    pairs.begin(labels)
    difference = largest = 0.0
    for frame in features.double().unbind(1):
        ours, theirs = prototype.step(frame), pairs.step(frame)
        difference = max(difference, *((ours[name] - theirs[name]).abs().max().item() for name in ours))
        largest = max(largest, *(gradient.abs().max().item() for gradient in theirs.values()))
        adam.step(ours)
    return {"largest_gradient": largest, "largest_difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/traces_propagation.json"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 1024])
    parser.add_argument("--repetitions", type=int, default=3, help="of the largest batch; smaller ones get more")
    options, here_it_runs = parser.parse_args(), machine()
    torch.set_num_threads(options.threads)
    results = {}
    for size in options.sizes:
        repetitions = options.repetitions * max(1, min(8, 1024 // size))
        step = times(size, VARIANTS, repetitions)
        extra = {variant: extra_memory(variant, size) for variant in VARIANTS}
        agreement = largest_difference(min(size, 256))
        print(f"\nbatch of {size}, {options.threads} thread(s), median of {repetitions}; both forms' gradients differ "
              f"by {agreement['largest_difference']:.1e} at most (largest {agreement['largest_gradient']:.1e})")
        print(f"{'variant':14} {'ms/step':>9} {'x prototype':>12} {'extra MB':>9} {'x prototype':>12}")
        rows = {}
        for variant in VARIANTS:
            rows[variant] = {
                "ms_per_step": step[variant], "time_ratio": step[variant] / step["prototype"],
                "extra_megabytes": extra[variant] / 1e6, "memory_ratio": extra[variant] / extra["prototype"]}
            print("{:14} {:9.2f} {:12.1f} {:9.1f} {:12.1f}".format(variant, *rows[variant].values()))
        results[str(size)] = {"repetitions": repetitions, "variants": rows, **agreement}
    files.write_json(options.out, envelope(
        here_it_runs, threads=options.threads, repetitions=options.repetitions, network=json.loads(Network().model_dump_json()),
        inputs=INPUTS, outputs=OUTPUTS, frames=FRAMES, batch_sizes=results))
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
