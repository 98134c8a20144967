"""Time and memory of a training step of NeuEdge's network, side by side with what one would use instead.

    envs/tool bench .envs/bench
    python -m benchmarks.neuedge [--environment .envs/bench] [--threads 2] [--out results/benchmarks/neuedge.json]

Variants, all on the same 40-256-256-35 network with biases, 100 steps, hard reset, SuperSpike of slope 1 (Norse's only
one), a readout of leaky integrators averaged over time, cross-entropy and torch's Adam:

* ``ours``              by events, in compiled code (``edgekws.neurons.kernel``);
* ``dense scan``        the same without it: the fused scan of ``edgekws.neurons.scan``, in torch;
* ``norse``             Norse as it is used: a SequentialState of Linear, LIFBoxCell and LIBoxCell, called once a step;
* ``norse, by layer``   Norse's LIFBoxCell with the matrix product of all steps taken out of the loop;
* ``snntorch``          snnTorch as it is used: Linear and Leaky, step by step;
* ``spikingjelly``      SpikingJelly's LIFNode in multi-step mode, torch backend;
* ``relu``              ReLU in place of the neurons: the same matrix products and nothing in time, the floor.

``norse`` and ``snntorch`` integrate the readout in their loop; the others, as ours, sum over time before its one product.

Time is the median over repetitions in one process, the variants taking turns, after one round that is not timed; beside
it stands the fastest, which other work on the machine disturbs least. Measure on a machine that does nothing else: every
operation of a loop waits for all threads, and one that has to share its core holds up the rest (the load is printed).
Memory is the peak of what torch's allocator holds during one step beyond what it held before, as torch's profiler records
each allocation. Before anything is timed, each variant's spikes and gradients are compared with Norse's in double
precision, in which the order of a sum does not show. snnTorch and SpikingJelly are taken from ``--environment``, which
holds them alone; where they are not, their rows say "not installed".
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from benchmarks.measuring import BUSY, allocated, envelope, in_turn, machine, medians
from edgekws.core import files
from edgekws.models.feedforward_lif import FeedForwardLIF
from edgekws.models.settings import LifNetwork
from edgekws.neurons.layers import dense
from edgekws.neurons.scan import mean_integrator

NETWORK = LifNetwork(surrogate_slope=1.0)
INPUTS, OUTPUTS, STEPS = 40, 35, 100
GAIN = 20.0  # on the hidden layers' new weights
CHECKED = 32  # clips whose spikes and gradients are compared
Model = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
"""Spikes [steps, clips, inputs] to the mean potential of the readout and the spikes of each hidden layer."""


def ours(net: FeedForwardLIF, *, spikes_too: bool = False) -> Model:
    return lambda spikes: (net(spikes)[0], net.spikes(spikes) if spikes_too else [])


def dense_scan(net: FeedForwardLIF, *, spikes_too: bool = False) -> Model:
    def run(spikes: Tensor) -> tuple[Tensor, list[Tensor]]:
        with dense():
            return ours(net, spikes_too=spikes_too)(spikes)

    return run


def norse(net: FeedForwardLIF, *, spikes_too: bool = False) -> Model:
    from norse.torch import LIBoxCell, LIBoxParameters, LIFBoxCell, SequentialState

    cells = [(layer, LIFBoxCell(norse_neuron(layer.bias), dt=1.0)) for layer in net.hidden]
    leak = torch.as_tensor(1 - NETWORK.output_leak, dtype=net.readout.weight.dtype)
    model = SequentialState(*itertools.chain(*cells), net.readout,
                            LIBoxCell(LIBoxParameters(leak, torch.zeros_like(leak)), dt=1.0), return_hidden=spikes_too)

    def run(spikes: Tensor) -> tuple[Tensor, list[Tensor]]:
        state, outputs = None, []
        for step in spikes:
            output, state = model(step, state)
            outputs.append(output)
        if not spikes_too:
            return torch.stack(outputs).mean(0), []
        layers = [torch.stack(layer) for layer in zip(*outputs, strict=True)]
        return layers[-1].mean(0), layers[1:-2:2]

    return run


def norse_neuron(like: Tensor) -> object:
    from norse.torch import LIFBoxParameters

    return LIFBoxParameters(tau_mem_inv=torch.as_tensor(1 - NETWORK.leak, dtype=like.dtype),
                            v_leak=torch.zeros((), dtype=like.dtype),
                            v_th=torch.as_tensor(NETWORK.threshold, dtype=like.dtype))


def by_layer(net: FeedForwardLIF, layer: Callable[[Tensor], Tensor]) -> Model:
    """A model from a function that takes a layer's currents of all steps to its spikes."""
    def run(spikes: Tensor) -> tuple[Tensor, list[Tensor]]:
        fired = []
        for currents in net.hidden:
            spikes = layer(currents(spikes))
            fired.append(spikes)
        mean = mean_integrator(len(spikes), NETWORK.output_leak, like=spikes)
        return (mean @ spikes.flatten(1)).view(spikes.shape[1:]) @ net.readout.weight.T, fired

    return run


def norse_by_layer(net: FeedForwardLIF, *, spikes_too: bool = False) -> Model:
    from norse.torch import LIFBoxCell

    def layer(currents: Tensor) -> Tensor:
        cell, state, spikes = LIFBoxCell(norse_neuron(currents), dt=1.0), None, []
        for current in currents.unbind():
            spike, state = cell(current, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return by_layer(net, layer)


def snntorch(net: FeedForwardLIF, *, spikes_too: bool = False) -> Model:
    import snntorch
    from snntorch import surrogate

    dtype = net.readout.weight.dtype
    leak, output_leak, threshold = (torch.tensor(constant, dtype=dtype) for constant in (
        NETWORK.leak, NETWORK.output_leak, NETWORK.threshold))
    neurons = [snntorch.Leaky(leak, threshold, surrogate.fast_sigmoid(1), reset_mechanism="zero",
                              reset_delay=False) for _ in net.hidden]
    readout = snntorch.Leaky(output_leak, reset_mechanism="none")
    snntorch.SpikingNeuron.init()  # it keeps a list of every neuron ever made

    def run(spikes: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Its neuron adds the whole current: the leak's other part goes into the parameters.
        layers = [((1 - NETWORK.leak) * layer.weight, (1 - NETWORK.leak) * layer.bias) for layer in net.hidden]
        output = (1 - NETWORK.output_leak) * net.readout.weight
        states, potential = [neuron.reset_mem() for neuron in neurons], readout.reset_mem()
        fired: list[list[Tensor]] = [[] for _ in neurons]
        potentials = []
        for drive in spikes:
            for index, (neuron, (weights, bias)) in enumerate(zip(neurons, layers, strict=True)):
                fire, states[index] = neuron(linear(drive, weights, bias), states[index])
                drive = fire.to(dtype)  # it fires in single precision
                if spikes_too:
                    fired[index].append(drive)
            _, potential = readout(linear(drive, output), potential)
            potentials.append(potential)
        return torch.stack(potentials).mean(0), [torch.stack(layer) for layer in fired if layer]

    return run


def spikingjelly(net: FeedForwardLIF, *, spikes_too: bool = False) -> Model:
    from norse.torch.functional.threshold import superspike_fn
    from spikingjelly.activation_based.neuron import LIFNode

    def layer(currents: Tensor) -> Tensor:
        node = LIFNode(1 / (1 - NETWORK.leak), True, NETWORK.threshold, 0.0, step_mode="m",
                       surrogate_function=lambda distance: superspike_fn(distance, 1.0))
        spikes: Tensor = node(currents)
        return spikes

    return by_layer(net, layer)


def relu(net: FeedForwardLIF, *, spikes_too: bool = False) -> Model:
    return by_layer(net, torch.relu)


VARIANTS: dict[str, Callable[..., Model]] = {"ours": ours, "dense scan": dense_scan, "norse": norse,
                                             "norse, by layer": norse_by_layer, "snntorch": snntorch,
                                             "spikingjelly": spikingjelly, "relu": relu}


def new_network(dtype: torch.dtype = torch.float32, hidden: list[int] | None = None) -> FeedForwardLIF:
    """A network to be trained; its neurons fire in 5 to 10 % of the steps."""
    generator = torch.Generator().manual_seed(0)
    settings = NETWORK.model_copy(update={"hidden": hidden}) if hidden else NETWORK
    net = FeedForwardLIF(settings, inputs=INPUTS, outputs=OUTPUTS, generator=generator)
    for layer in net.hidden:
        layer.weight.mul_(GAIN)
        layer.bias.copy_(torch.randn(len(layer.bias), generator=generator))
    return net.to(dtype).requires_grad_()


def batch_of(clips: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Random spikes, a quarter of all there could be, and labels."""
    generator = torch.Generator().manual_seed(1)
    return ((torch.rand(STEPS, clips, INPUTS, generator=generator) < 0.25).to(dtype),
            torch.randint(OUTPUTS, (clips,), generator=generator))


def trainer(variant: str, spikes: Tensor, labels: Tensor, hidden: list[int] | None = None) -> Callable[[], None]:
    """A function that takes one training step."""
    net = new_network(hidden=hidden)
    model, optimiser = VARIANTS[variant](net), torch.optim.Adam(net.parameters(), 1e-3)

    def step() -> None:
        optimiser.zero_grad()
        cross_entropy(model(spikes)[0], labels).backward()
        optimiser.step()

    return step


def times(variants: list[str], clips: int, repetitions: int) -> dict[str, list[float]]:
    """Milliseconds of every training step that was timed."""
    taken = in_turn({variant: trainer(variant, *batch_of(clips)) for variant in variants}, repetitions)
    return {variant: [1e3 * seconds for seconds in values] for variant, values in taken.items()}


def extra_memory(variant: str, clips: int) -> int:
    """Peak bytes that a training step allocates beyond data, weights and Adam's state."""
    step = trainer(variant, *batch_of(clips))
    step()
    return allocated(step)


def gradients(variant: str, clips: int) -> tuple[list[Tensor], list[Tensor]]:
    """Spikes of each hidden layer and gradients of every tensor, in double precision."""
    net, (spikes, labels) = new_network(torch.float64), batch_of(clips, torch.float64)
    scores, fired = VARIANTS[variant](net, spikes_too=True)(spikes)
    found = torch.autograd.grad(cross_entropy(scores, labels), list(net.parameters()))
    return [layer.detach() for layer in fired], list(found)


def agreement(variant: str, clips: int) -> dict[str, float]:
    """How far spikes and gradients of a batch are from those of Norse's loop."""
    (fired, found), (expected_fired, expected) = gradients(variant, clips), gradients("norse", clips)
    return {"spikes": float(sum(layer.sum() for layer in expected_fired)),
            "spikes_that_differ": float(sum((a != b).sum() for a, b in zip(fired, expected_fired, strict=True))),
            "largest_gradient_difference": max(float((a - b).abs().max() / b.abs().max())
                                               for a, b in zip(found, expected, strict=True))}


def version(variant: str) -> str:
    package = {"ours": "edgekws", "dense scan": "edgekws", "relu": "torch"}.get(variant, variant.split(",")[0])
    return f"{package} {metadata.version(package)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environment", type=Path, default=Path(".envs/bench"), help="built from envs/bench.txt")
    parser.add_argument("--threads", type=int, default=2, help="at most the machine's cores")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/neuedge.json"))
    parser.add_argument("--clips", type=int, default=128, help="in a batch")
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    here_it_runs, cores = machine(), os.cpu_count() or 1  # before this benchmark adds to its load
    load = here_it_runs["load_before"]
    if options.threads > cores:
        raise SystemExit(f"{options.threads} threads on {cores} cores would wait for each other")
    sys.path.extend(map(str, options.environment.glob("lib/python*/site-packages")))
    torch.set_num_threads(options.threads)
    here = [variant for variant in VARIANTS if variant not in ("snntorch", "spikingjelly") or util.find_spec(variant)]
    compared = {variant: agreement(variant, min(options.clips, CHECKED)) for variant in here
                if variant not in ("norse", "relu")}
    if compared["ours"]["spikes_that_differ"] or compared["ours"]["largest_gradient_difference"] > 1e-5:
        raise SystemExit(f"ours is not Norse's neuron: {compared['ours']}")
    taken = times(here, options.clips, options.repetitions)
    median = medians(taken)
    print(f"{INPUTS}-{'-'.join(map(str, NETWORK.hidden))}-{OUTPUTS}, {STEPS} steps, batch of {options.clips}, "
          f"{options.threads} thread(s), median of {options.repetitions}; load of the machine before: {load:.1f}")
    print(f"{'variant':18} {'ms/step':>8} {'fastest':>8} {'x ours':>7} {'extra MB':>9}  from Norse: spikes, gradients")
    rows: dict[str, dict[str, object]] = {}
    for variant in VARIANTS:
        if variant not in here:
            rows[variant] = {"status": "not installed"}
            print(f"{variant:18} not installed")
            continue
        memory, apart = extra_memory(variant, options.clips) / 1e6, compared.get(variant)
        rows[variant] = {"status": "measured", "version": version(variant), "ms_per_step": median[variant],
                         "fastest_ms_per_step": min(taken[variant]), "time_ratio": median[variant] / median["ours"],
                         "extra_megabytes": memory, "agreement": apart}
        print(f"{variant:18} {median[variant]:8.1f} {min(taken[variant]):8.1f} "
              f"{median[variant] / median['ours']:7.2f} {memory:9.1f}"
              + (f"  {apart['spikes_that_differ']:.0f} of {apart['spikes']:.0f}, "
                 f"{apart['largest_gradient_difference']:.1e}" if apart else ""))
    files.write_json(options.out, envelope(
        here_it_runs, threads=options.threads, repetitions=options.repetitions, network=NETWORK.model_dump(), inputs=INPUTS,
        outputs=OUTPUTS, steps=STEPS, clips=options.clips, variants=rows))
    if load > BUSY:
        print("\nthe machine was busy: these times say little")
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
