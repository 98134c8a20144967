"""Ask NeuroBench and SANA-FE about a network of ours, and compare their figures with a count by hand.

Both run as scripts in environments of their own (``envs/neurobench.txt``, ``envs/sanafe.txt``); arrays and JSON go
through a temporary folder. An answer never holds wall time. Where an environment could not be built, or a script did not
come to its end, the answer is ``{"status": "not run", "why": …}``.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekws.core.environments import NotRun, python_of
from edgekws.core.errors import UserError

if TYPE_CHECKING:
    from edgekws.methods.neuedge import mapping as placement
    from edgekws.methods.neuedge.loihi.network import LoihiNetwork
    from edgekws.methods.neuedge.loihi.simulator import Simulation
    from edgekws.models.feedforward_lif import FeedForwardLIF

Array = npt.NDArray[Any]
_LAYER_CONSTANTS = 20  # bytes of snnTorch's beta, threshold, spike factor (float32) and reset mechanism (int64)


@contextmanager
def _answer(script: str, environment: Path, job: Mapping[str, Any], arrays: Mapping[str, Array],
            timeout: float) -> Iterator[tuple[dict[str, Any], Path]]:
    """Run a script of this folder; what it wrote to ``result.json``, and the folder with its arrays."""
    python = python_of(environment, absent="its environment has not been built")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for array, values in arrays.items():
            np.save(folder / f"{array}.npy", values)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        import torch

        threads = str(torch.get_num_threads())
        try:
            done = subprocess.run([python, "-I", Path(__file__).with_name(script), folder], capture_output=True, text=True,
                                  timeout=timeout, check=False, env={**os.environ, "OMP_NUM_THREADS": threads})
        except subprocess.TimeoutExpired:
            raise NotRun(f"it was stopped after {timeout:g} s") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise NotRun(f"it failed: {said[-1] if said else f'exit code {done.returncode}'}")
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if "not_run" in result:
            raise NotRun(result["not_run"])
        yield result, folder


def _compared(theirs: Mapping[str, float], ours: Mapping[str, float], tolerance: float) -> dict[str, Any]:
    """Both values of each figure, whether they agree, and the verdict on all."""
    figures = {name: {"theirs": theirs[name], "ours": ours[name],
                      "agree": math.isclose(theirs[name], ours[name], rel_tol=tolerance)} for name in ours}
    apart = [name for name, figure in figures.items() if not figure["agree"]]
    return {"status": "differs" if apart else "agrees", "why": f"they differ in {', '.join(apart)}" if apart else "",
            "figures": figures}


def _check_spikes(spikes: Array, inputs: int) -> None:
    if spikes.ndim != 3 or 0 in spikes.shape or spikes.shape[2] != inputs or spikes.dtype != np.uint8:
        raise UserError(f"spikes are {spikes.dtype} of shape {spikes.shape}, not uint8 (clips, steps, {inputs})",
                        where="spikes", remedy="encode the features with the encoder the network was trained with")


# ------------------------------------------------------------------------------------------------ NeuroBench
def neurobench(net: FeedForwardLIF, spikes: Array, labels: Array, environment: Path, *,
               timeout: float = 900) -> dict[str, Any]:
    """NeuroBench's figures (Yik et al. 2025, doi:10.1038/s41467-025-56739-4) beside ours.

    Args:
        spikes: (clips, steps, inputs) uint8, of the encoder; it is not part of the network that is measured.
        labels: (clips,) integers below the number of words.
        timeout: Seconds.

    Returns:
        ``status``: "agrees", "differs" or "not run"; ``why``; ``clips``, ``steps``; ``versions``; ``figures``: by name
        ``theirs``, ``ours``, ``agree`` (names as in :func:`neurobench_by_hand`); ``notes``: what a figure counts.

    Raises:
        UserError: Spikes or labels do not fit the network.
    """
    _check_spikes(spikes, net.inputs)
    if labels.shape != spikes.shape[:1]:
        raise UserError(f"{labels.shape} labels for {len(spikes)} clips", where="labels", remedy="give one for each clip")
    settings = net.settings
    packages = {str(Path(spec.origin).parents[1]) for name in ("torch", "numpy", "tqdm")
                if (spec := importlib.util.find_spec(name)) and spec.origin}
    job = {"leak": settings.leak, "threshold": settings.threshold, "reset": settings.reset,
           "output_leak": settings.output_leak, "layers": len(net.weights), "python": list(sys.version_info[:2]),
           "packages": sorted(packages)}
    arrays = {"spikes": spikes, "labels": labels,
              **{f"weights_{index}": weights.detach().numpy() for index, weights in enumerate(net.weights)},
              **{f"bias_{index}": bias.detach().numpy() for index, bias in enumerate(net.biases)}}
    try:
        with _answer("neurobench_run.py", environment, job, arrays, timeout) as (result, _):
            theirs = _neurobench_totals(result["figures"], net, spikes)
    except NotRun as why:
        return {"status": "not run", "why": str(why)}
    return {**_compared(theirs, neurobench_by_hand(net, spikes, labels), 1e-9), "clips": len(spikes),
            "steps": spikes.shape[1], "versions": result["versions"], "notes": {
                "precision": "both run in float64; the footprint is that of float32",
                "footprint_bytes": f"4 for each weight and bias, and {_LAYER_CONSTANTS} for each hidden layer's constants",
                "connection_sparsity": "of weights; biases are no connections",
                "activation_sparsity": "of hidden layers: neither encoder nor readout, which never fires, is counted",
                "effective_acs": "per clip: each spike counts once for each weight it meets that is not 0; adding a bias is "
                                 "no synaptic operation",
                "membrane_updates": "per clip, hidden layers: potentials that differ from the step before after the reset, "
                                    "and every neuron in the first step"}}


def _neurobench_totals(figures: Mapping[str, Any], net: FeedForwardLIF, spikes: Array) -> dict[str, float]:
    """NeuroBench's report under our names, with the spikes that its sparsities stand for."""
    clips, steps, _ = spikes.shape
    operations = figures["SynapticOperations"]
    return {
        "footprint_bytes": figures["Footprint"], "parameters": figures["ParameterCount"],
        "connection_sparsity": figures["ConnectionSparsity"], "activation_sparsity": figures["ActivationSparsity"],
        **{f"hidden_{index}_spikes": round((1 - figures["ActivationSparsityByLayer"][f"hidden_{index}"])
                                           * clips * steps * layer.out_features) for index, layer in enumerate(net.hidden)},
        "effective_acs": operations["Effective_ACs"], "effective_macs": operations["Effective_MACs"],
        "dense_operations": operations["Dense"], "membrane_updates": figures["MembraneUpdates"],
        "accuracy": round(figures["ClassificationAccuracy"] * clips) / clips}  # a mean in float32


def neurobench_by_hand(net: FeedForwardLIF, spikes: Array, labels: Array) -> dict[str, float]:
    """The same figures, counted in the spikes of our own network; arguments as in :func:`neurobench`.

    ``hidden_<i>_spikes`` are totals over all clips, operations and updates means per clip.
    """
    import torch

    clips, steps, _ = spikes.shape
    weights, biases = ([tensor.detach().double() for tensor in tensors] for tensors in (net.weights, net.biases))
    drive = torch.from_numpy(spikes).double().transpose(0, 1).contiguous()
    net = copy.deepcopy(net).double()
    with torch.no_grad():
        scores, fired = net(drive)[0], net.spikes(drive)
    sources = [drive, *fired]
    size, parameters = (sum(tensor.numel() for tensor in tensors) for tensors in (weights, [*weights, *biases]))
    operations = sum(int(layer.sum((0, 1)) @ (matrix != 0).double().sum(0))
                     for layer, matrix in zip(sources, weights, strict=True))
    updates = 0
    for source, matrix, bias, layer in zip(sources[:-1], weights[:-1], biases, fired, strict=True):
        before = torch.zeros_like(layer[0])
        updates += before.numel()
        for step, (current, fire) in enumerate(zip(source @ matrix.T + bias, layer, strict=True)):
            after = before + (1 - net.settings.leak) * (current - before)
            after = after * (1 - fire) if net.settings.reset == "hard" else after - net.settings.threshold * fire
            updates += int((after != before).sum()) if step else 0
            before = after
    neurons = sum(layer.shape[2] for layer in fired)
    zeros = sum(int((matrix == 0).sum()) for matrix in weights)
    return {
        "footprint_bytes": 4 * parameters + _LAYER_CONSTANTS * len(fired), "parameters": parameters,
        "connection_sparsity": round(zeros / size, 4),
        "activation_sparsity": 1 - sum(float(layer.sum()) for layer in fired) / (clips * steps * neurons),
        **{f"hidden_{index}_spikes": int(layer.sum()) for index, layer in enumerate(fired)},
        "effective_acs": operations / clips, "effective_macs": 0.0, "dense_operations": float(steps * size),
        "membrane_updates": updates / clips,
        "accuracy": float((scores.argmax(1).numpy() == labels).mean())}


# ------------------------------------------------------------------------------------------------ SANA-FE
def places(mapping: placement.Mapping) -> list[Array]:
    """Column and row of the tile and core of the tile, (neurons, 3) for each population, as :func:`sanafe` wants them.

    A mapping to a smaller mesh of tiles takes that corner of Loihi's.
    """
    from edgekws.methods.neuedge.chip import chip

    to = chip(mapping.chip)
    return [np.column_stack([to.positions[cores], cores % to.cores_per_tile.value]) for cores in mapping.cores]


def sanafe(net: LoihiNetwork, spikes: Array, cores: Sequence[Array], environment: Path, *,
           timeout: float = 900) -> dict[str, Any]:
    """SANA-FE's energy and spikes on Loihi 1 (Boyle et al. 2025, doi:10.1109/TCAD.2025.3537971) beside ours.

    It simulates the whole chip, message by message, with the integers' own rounding: its spikes are compared with our
    integer simulator's one by one, its counts and energies with ours at its own prices.

    Args:
        spikes: (clips, steps, inputs) uint8, of the encoder.
        cores: From :func:`places`: for each population, the encoder first and the readout last, (neurons, 3) integers,
            column (0-7) and row (0-3) of the tile, and core of the tile (0-3).
        timeout: Seconds.

    Returns:
        ``status``: "agrees", "differs" or "not run"; ``why``; ``clips``, ``steps`` (of a clip on the chip: those of the
        input and one for each layer); ``versions``; ``prices`` (J per event); ``figures``: by name ``theirs``, ``ours``,
        ``agree``, per clip (names as in :func:`sanafe_by_hand`); ``spikes``: ``compared`` and ``equal``;
        ``chip_seconds``: per clip, by SANA-FE's timing; ``energy``: theirs, J, by part, a value for each clip.

    Raises:
        UserError: Spikes or places do not fit the network, or a core is not on the chip or over its 1,024 units.
    """
    from edgekws.methods.neuedge.loihi.simulator import simulate

    _check_spikes(spikes, net.inputs)
    _check_cores(net, cores)
    job = {"layers": [{"leak_decay": (4096 - layer.dv) / 4096, "input_decay": (4095 - layer.du) / 4096,
                       "threshold": layer.vth} for layer in net.layers],
           "cores": [places.tolist() for places in cores]}
    arrays: dict[str, Array] = {"spikes": spikes}
    for index, layer in enumerate(net.layers):
        arrays[f"weights_{index}"] = layer.synapses * 2.0**layer.weight_exp
        arrays[f"bias_{index}"] = layer.bias / 64
    try:
        with _answer("sanafe_run.py", environment, job, arrays, timeout) as (result, folder):
            fired = [np.load(folder / f"spikes_{index}.npy") for index in range(1, len(net.layers) + 1)]
    except NotRun as why:
        return {"status": "not run", "why": str(why)}
    clips, prices = result["clips"], result["prices"]
    ours = simulate(net, spikes, record=True)
    equal = compared = 0
    for layer, trace in zip(fired, ours.traces or [], strict=True):
        equal, compared = equal + int((layer == trace.s).sum()), compared + layer.size
    theirs = {name: float(np.mean([clip[name] for clip in clips]))
              for name in ("synaptic_events", "neurons_updated", "neurons_fired", "messages")}
    energy = {part: [clip["energy"][part] for clip in clips] for part in ("synapse", "soma", "network", "total")}
    theirs |= {f"{part}_energy": float(np.mean(values)) for part, values in energy.items()}
    answer = _compared(theirs, sanafe_by_hand(net, spikes, ours, cores, prices), 1e-6)
    if equal < compared:
        answer |= {"status": "differs", "why": f"{compared - equal} of {compared} spikes differ; {answer['why']}"}
    return {**answer, "clips": len(clips), "steps": clips[0]["steps"], "versions": result["versions"], "prices": prices,
            "spikes": {"compared": compared, "equal": equal}, "energy": energy,
            "chip_seconds": float(np.mean([clip["time"] for clip in clips]))}


def _check_cores(net: LoihiNetwork, cores: Sequence[Array]) -> None:
    sizes = [net.inputs, *(layer.neurons for layer in net.layers)]
    if [places.shape for places in cores] != [(size, 3) for size in sizes]:
        raise UserError(f"cores have shapes {[places.shape for places in cores]}, not {[(size, 3) for size in sizes]}",
                        where="mapping", remedy="give the core of every neuron of every population")
    places, units = np.unique(np.concatenate(list(cores)), axis=0, return_counts=True)
    if (places < 0).any() or (places >= (8, 4, 4)).any() or units.max() > 1024:
        raise UserError(f"a core is off Loihi's 8 x 4 tiles of 4 cores, or holds {units.max()} of at most 1024 units",
                        where="mapping", remedy="map the network to loihi1")


def sanafe_by_hand(net: LoihiNetwork, spikes: Array, simulation: Simulation, cores: Sequence[Array],
                   prices: Mapping[str, float]) -> dict[str, float]:
    """SANA-FE's counts and energies (J) per clip, from a recorded simulation of ours.

    A spike is one message to each core that holds a target, its own included, and one synaptic event for each weight
    that is not 0. A neuron is updated in a step if its potential was not 0, an event arrived or it has a bias; looking
    at it costs energy in every step. Encoder units fire and send, and cost nothing else.

    Args:
        prices: J, by SANA-FE's names: process_spike, access_neuron, update_neuron, spike_out, message_out, and
            east_hop and north_hop for a message and tile.
    """
    clips, _, inputs = spikes.shape
    traces = simulation.traces or []
    sent = [np.concatenate([spikes, np.zeros((clips, len(net.layers), inputs), np.uint8)], 1), *(t.s for t in traces)]
    events = messages = updated = 0
    hops = np.zeros(2)
    for index, (layer, trace) in enumerate(zip(net.layers, traces, strict=True)):
        connected = layer.synapses != 0
        each = sent[index].sum((0, 1), dtype=np.int64)
        events += int(each @ connected.sum(0))
        for neuron, count in enumerate(each):
            targets = np.unique(cores[index + 1][connected[:, neuron]], axis=0)
            messages += int(count) * len(targets)
            hops += count * np.abs(targets[:, :2] - cores[index][neuron, :2]).sum(0)
        arrived = np.zeros(trace.v.shape, bool)
        arrived[:, 1:] = sent[index][:, :-1].astype(np.float32) @ connected.T.astype(np.float32) > 0
        moving = np.zeros(trace.v.shape, bool)
        moving[:, 1:] = trace.v[:, :-1] != 0
        updated += int((arrived | moving | (layer.bias != 0)).sum())
    encoder, fired = int(spikes.sum(dtype=np.int64)), sum(int(trace.s.sum(dtype=np.int64)) for trace in traces)
    looked_at = sum(trace.s.size for trace in traces)
    energy = {
        "synapse_energy": events * prices["process_spike"],
        "soma_energy": (looked_at * prices["access_neuron"] + updated * prices["update_neuron"]
                        + fired * prices["spike_out"]),
        "network_energy": float(messages * prices["message_out"] + hops @ (prices["east_hop"], prices["north_hop"]))}
    totals = {"synaptic_events": events, "neurons_updated": updated + encoder, "neurons_fired": fired + encoder,
              "messages": messages, **energy, "total_energy": sum(energy.values())}
    return {name: value / clips for name, value in totals.items()}
