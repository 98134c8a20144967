"""Simulate an integer network on Loihi 1 with SANA-FE: a script for an environment of its own (sanafe and numpy).

    python sanafe_run.py FOLDER

FOLDER holds ``job.json`` (``layers``: leak_decay, input_decay, threshold of each; ``cores``: for each population, the
encoder first, [x, y, core] of every neuron), ``weights_0.npy``, … [to, from], ``bias_0.npy``, …, and ``spikes.npy``
(clips, steps, inputs). ``result.json`` is written there: for each clip energy by part (J), the chip's time (s) and
what was counted, and with every spike of every layer ``spikes_1.npy``, … (clips, steps + layers, neurons).

The chip is the description of Loihi 1 that comes with SANA-FE, with its prices: 8 x 4 tiles of 4 cores, tiles counted
column by column. Only the input units that a core may hold, which cost nothing, are made as few as the network needs:
as they are, 1,024 on each core, they take 1.8 GB and 4 s.

Its neuron computes Loihi's integers in units of 64 of Lava's: the leak rounds toward zero to 1/64, the current and the
threshold are in units of the weight. Only the clipping of the potential at 2^23 is missing. A clip runs for as many
steps more as there are layers, so that its last spikes arrive.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np


def description() -> str:
    """The chip's description, as SANA-FE has it."""
    return resources.files("sanafe.examples").joinpath("loihi.yaml").read_text()


def build(job: dict[str, Any], weights: list[Any], biases: list[Any], folder: Path) -> Any:
    """The chip with the network on it."""
    import sanafe

    path = folder / "loihi.yaml"
    path.write_text(description().replace("loihi_inputs[0..1023]", f"loihi_inputs[0..{weights[0].shape[1]}]"))
    loihi, net = sanafe.load_arch(path), sanafe.Network()
    height = 4
    cores = [tile.cores for tile in loihi.tiles]
    sizes = [weights[0].shape[1], *(len(matrix) for matrix in weights)]
    groups = [net.create_neuron_group("population_0", sizes[0])]
    for index, (layer, size) in enumerate(zip(job["layers"], sizes[1:], strict=True), start=1):
        groups.append(net.create_neuron_group(f"population_{index}", size, soma_hw_name="loihi_lif", model_attributes={
            "threshold": layer["threshold"], "reset": 0.0, "leak_decay": layer["leak_decay"],
            "input_decay": layer["input_decay"]}, default_dendrite_hw_name="loihi_dendrites",
            default_synapse_hw_name="loihi_dense_synapse", log_spikes=True))
    sources: dict[tuple[int, ...], int] = {}  # on each core; each takes an input unit of its own
    for population, places in enumerate(job["cores"]):
        for neuron, (x, y, core) in enumerate(places):
            if population == 0:
                unit = sources[x, y, core] = sources.get((x, y, core), -1) + 1
                groups[0][neuron].set_attributes(soma_hw_name=f"loihi_inputs[{unit}]",
                                                 dendrite_hw_name="loihi_dendrites")
            elif biases[population - 1][neuron]:
                groups[population][neuron].set_attributes(
                    model_attributes={"bias": float(biases[population - 1][neuron])})
            groups[population][neuron].map_to_core(cores[x * height + y][core])
    for index, matrix in enumerate(weights):
        to, origin = np.nonzero(matrix)
        groups[index].connect_neurons_sparse(groups[index + 1], {"weight": matrix[to, origin].tolist()},
                                             list(zip(origin.tolist(), to.tolist(), strict=True)))
    chip = sanafe.SpikingChip(loihi)
    chip.load(net)
    return chip


def simulate(chip: Any, spikes: Any, sizes: list[int]) -> tuple[list[dict[str, Any]], list[Any]]:
    """One row for each clip, and the spikes of each layer, [clips, steps + layers, neurons]."""
    clips, steps, inputs = spikes.shape
    steps += len(sizes)
    rows, fired = [], [np.zeros((clips, steps, size), np.uint8) for size in sizes]
    for clip in range(clips):
        chip.reset()
        sources = chip.mapped_neuron_groups["population_0"]
        for unit in range(inputs):
            train = np.zeros(steps, bool)
            train[:spikes.shape[1]] = spikes[clip, :, unit]
            sources[unit].set_attributes(model_attributes={"spikes": train.tolist()})
        run = chip.sim(steps, processing_threads=1, spike_trace=True)
        for step, addresses in enumerate(run["spike_trace"]):
            for address in addresses:
                fired[int(address.group_name[11:]) - 1][clip, step, address.neuron_offset] = 1
        rows.append({"energy": run["energy"], "time": run["sim_time"], "synaptic_events": run["spikes"],
                     "neurons_updated": run["neurons_updated"], "neurons_fired": run["neurons_fired"],
                     "messages": run["packets_sent"], "steps": run["timesteps_executed"]})
    return rows, fired


def prices() -> dict[str, float]:
    """Energy per event (J) in the chip's description; of several units the first is the one used."""
    found: dict[str, float] = {}
    for name, value in re.findall(r"energy_(\w+): ([-+.\de]+)", description()):
        found.setdefault(name, float(value))
    return found


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    number = range(len(job["layers"]))
    weights = [np.load(folder / f"weights_{index}.npy") for index in number]
    biases = [np.load(folder / f"bias_{index}.npy") for index in number]
    rows, fired = simulate(build(job, weights, biases, folder), np.load(folder / "spikes.npy"), [len(w) for w in weights])
    for index, spikes in enumerate(fired, start=1):
        np.save(folder / f"spikes_{index}.npy", spikes)
    (folder / "result.json").write_text(json.dumps({
        "clips": rows, "prices": prices(), "versions": {"sanafe": metadata.version("sanafe")}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
