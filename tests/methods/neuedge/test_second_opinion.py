"""Counts by hand on nets small enough to follow, what becomes of an environment's failures, and the tools themselves."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.loihi.network import LARGEST_VTH, NO_MEMORY, LoihiLayer, LoihiNetwork, quantise
from edgekws.methods.neuedge.loihi.simulator import simulate
from edgekws.methods.neuedge.mapping import Mapping
from edgekws.methods.neuedge.second_opinion import ask, neurobench_run
from edgekws.models.feedforward_lif import FeedForwardLIF
from edgekws.models.settings import LifNetwork

SPIKES = np.array([[[1, 1], [0, 1], [1, 0]]], np.uint8)  # one clip of three steps
LABELS = np.array([1])


def float_net():
    """Two neurons, each with one input and the second with a bias, the first alone seen by both words."""
    net = FeedForwardLIF(LifNetwork(hidden=[2], leak=0.5, threshold=1.0), inputs=2, outputs=2, generator=torch.Generator())
    net.hidden[0].weight.copy_(torch.tensor([[4.0, 0], [0, 1]]))
    net.biases[0].copy_(torch.tensor([0, 0.5]))
    net.readout.weight.copy_(torch.tensor([[1.0, 0], [2, 0]]))
    return net


def figures_of_float_net():
    # neuron 0: 2 fires, 0, 2 fires: its potential after the reset stays 0. neuron 1: 0.75, 1.125 fires, 0.25.
    return {
        "footprint_bytes": 10 * 4 + 20, "parameters": 10, "connection_sparsity": 0.5,
        "activation_sparsity": 0.5, "hidden_0_spikes": 3,
        "effective_acs": 2 + 2 + 2 * 2, "effective_macs": 0, "dense_operations": 3 * 8,
        "membrane_updates": 2 + 1 + 1, "accuracy": 1}


def loihi_net(bias=(0, 0)):
    """The like in integers: input 0 makes neuron 0 fire, input 1 leaves neuron 1 below its threshold."""
    def layer(weights, bias, vth):
        weights = np.array(weights, np.int16)
        return LoihiLayer(weights, 0, np.array(bias, np.int32), NO_MEMORY, 2048, vth)

    return LoihiNetwork((layer([[8, 0], [0, 2]], bias, 3), layer([[1, 0], [2, 0]], (0, 0), LARGEST_VTH)), ("no", "yes"))


CORES = [np.array([[0, 0, 0], [0, 0, 0]]), np.array([[0, 0, 1], [2, 1, 0]]), np.array([[0, 0, 1], [1, 3, 0]])]


# ------------------------------------------------------------------------------------------------ by hand
def test_neurobench_figures_of_two_neurons_by_hand():
    assert ask.neurobench_by_hand(float_net(), SPIKES, LABELS) == figures_of_float_net()


def test_neurobench_operations_are_means_over_clips():
    silent = np.concatenate([SPIKES, np.zeros_like(SPIKES)])
    figures = ask.neurobench_by_hand(float_net(), silent, np.array([1, 1]))
    assert figures["effective_acs"] == 4
    assert figures["membrane_updates"] == (4 + 4) / 2  # the bias alone moves neuron 1: 0.25, 0.375, 0.4375
    assert figures["hidden_0_spikes"] == 3
    assert figures["accuracy"] == 0.5  # the first of equal scores is word 0


PRICES = {"process_spike": 1, "access_neuron": 10, "update_neuron": 100, "spike_out": 1e3, "message_out": 1e4,
          "east_hop": 1e5, "north_hop": 1e6}


def test_sanafe_counts_of_two_neurons_by_hand():
    net = loihi_net()
    found = ask.sanafe_by_hand(net, SPIKES, simulate(net, SPIKES, record=True), CORES, PRICES)
    # Input 0 sends twice to its own tile, input 1 twice over 2 tiles east and 1 north; neuron 0 fires twice, to its own
    # core and 1 tile east, 3 north. Neuron 0 wakes twice, neuron 1 from step 1 to 4, both words from step 2 to 4.
    assert found == {
        "synaptic_events": 2 + 2 + 2 * 2, "messages": 2 + 2 + 2 * 2, "neurons_fired": 4 + 2,
        "neurons_updated": 4 + 2 + 4 + 3 + 3, "synapse_energy": 8, "soma_energy": 4 * 5 * 10 + 12 * 100 + 2 * 1e3,
        "network_energy": 8e4 + (2 * 2 + 2 * 1) * 1e5 + (2 * 1 + 2 * 3) * 1e6, "total_energy": 8 + 3400 + 8.68e6}


def test_a_bias_works_in_every_step_for_sanafe():
    net = loihi_net(bias=(0, 160))
    found = ask.sanafe_by_hand(net, SPIKES, simulate(net, SPIKES, record=True), CORES, PRICES)
    # Neuron 1, threshold 192: 160; input 1 arrives at step 1 and 2, 80 + 160 + 128 and 0 + 160 + 128, so it fires in both
    # (and sends nothing); then 160, 240 fires. It is updated in all five steps, where without the bias it was in four.
    assert found["neurons_fired"] == 4 + 2 + 3
    assert found["neurons_updated"] == 4 + 2 + 5 + 3 + 3
    assert (found["messages"], found["synaptic_events"]) == (8, 8)
    assert found["soma_energy"] == 4 * 5 * 10 + 13 * 100 + 5 * 1e3


def test_places_of_a_mapping():
    found = ask.places(Mapping("loihi1", (np.array([0, 3]), np.array([4, 127]))))
    assert [population[:, 2].tolist() for population in found] == [[0, 3], [0, 3]]  # cores of the tile
    first, second, last = found[0][0, :2], found[1][0, :2], found[1][1, :2]
    assert found[0][1, :2].tolist() == first.tolist() == [0, 0]
    assert np.abs(second - first).sum() == 1
    assert last.tolist() == [7, 3]


# ------------------------------------------------------------------------------------------------ environments
def environment(folder, script):
    """An environment whose Python is a shell script; it is called with -I, our script and the job's folder."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return folder


def canned(folder, **changes):
    """An environment that answers for the net of two neurons, with changes."""
    figures = {
        "ConnectionSparsity": 0.5, "ParameterCount": 10, "ActivationSparsity": 0.5, "Footprint": 60,
        "ActivationSparsityByLayer": {"hidden_0": 0.5}, "MembraneUpdates": 4.0, "ClassificationAccuracy": 1.0,
        "SynapticOperations": {"Effective_MACs": 0.0, "Effective_ACs": 8.0, "Dense": 24.0}, **changes}
    (folder / "canned.json").write_text(json.dumps({"figures": figures, "versions": {"neurobench": "0"}}))
    return environment(folder, f'cp "{folder}/canned.json" "$3/result.json"')


def test_figures_that_agree(tmp_path):
    answer = ask.neurobench(float_net(), SPIKES, LABELS, canned(tmp_path))
    assert (answer["status"], answer["why"]) == ("agrees", "")
    assert {name: figure["theirs"] for name, figure in answer["figures"].items()} == figures_of_float_net()
    assert (answer["clips"], answer["steps"], answer["versions"]) == (1, 3, {"neurobench": "0"})


def test_one_operation_more_is_found(tmp_path):
    answer = ask.neurobench(float_net(), SPIKES, LABELS, canned(tmp_path, MembraneUpdates=5.0))
    assert (answer["status"], answer["why"]) == ("differs", "they differ in membrane_updates")
    assert answer["figures"]["membrane_updates"] == {"theirs": 5, "ours": 4, "agree": False}


def not_installed(folder):
    (folder / "not_installed.txt").write_text("no wheel for this Python\nand where it was looked for\n")
    return folder


@pytest.mark.parametrize(("make", "why"), [
    (lambda folder: folder, "its environment has not been built"),
    (not_installed, "no wheel for this Python"),
    (lambda folder: environment(folder, "echo first >&2; echo last >&2; exit 3"), "it failed: last"),
    (lambda folder: environment(folder, "exit 3"), "it failed: exit code 3"),
    (lambda folder: environment(folder, "exec sleep 20"), "it was stopped after 0.2 s"),
], ids=["absent", "not-installed", "fails", "fails-silently", "hangs"])
def test_why_a_tool_did_not_run(tmp_path, make, why):
    folder = make(tmp_path)
    expected = {"status": "not run", "why": why}
    assert ask.neurobench(float_net(), SPIKES, LABELS, folder, timeout=0.2) == expected
    assert ask.sanafe(loihi_net(), SPIKES, CORES, folder, timeout=0.2) == expected


def test_environment_of_another_python_is_not_run(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({"python": [2, 7]}))
    neurobench_run.main(tmp_path)
    assert "torch is installed for 2.7" in json.loads((tmp_path / "result.json").read_text())["not_run"]


@pytest.mark.parametrize(("spikes", "labels"), [
    (SPIKES[0], LABELS), (SPIKES[:, :, :1], LABELS), (SPIKES.astype(float), LABELS), (SPIKES[:0], LABELS[:0]),
    (SPIKES, np.array([1, 1])),
], ids=["no-clips", "inputs", "type", "empty", "labels"])
def test_neurobench_refuses_what_does_not_fit(tmp_path, spikes, labels):
    with pytest.raises(UserError):
        ask.neurobench(float_net(), spikes, labels, tmp_path)


@pytest.mark.parametrize("cores", [
    CORES[:2], [*CORES[:2], CORES[2][:1]], [*CORES[:2], np.array([[8, 0, 0], [0, 0, 0]])],
    [*CORES[:2], np.array([[0, 0, 4], [0, 0, 0]])], [*CORES[:2], np.array([[0, -1, 0], [0, 0, 0]])],
], ids=["population", "neuron", "column", "core", "negative"])
def test_sanafe_refuses_a_mapping_that_does_not_fit(tmp_path, cores):
    with pytest.raises(UserError, match="mapping"):
        ask.sanafe(loihi_net(), SPIKES, cores, tmp_path)


def test_sanafe_refuses_a_core_that_is_too_full(tmp_path):
    weights = np.ones((1025, 2), np.int16)
    layer = LoihiLayer(weights, 0, np.zeros(1025, np.int32), NO_MEMORY, 2048, LARGEST_VTH)
    with pytest.raises(UserError, match="1025 of at most 1024"):
        ask.sanafe(LoihiNetwork((layer,), ("word",) * 1025), SPIKES, [CORES[0], np.full((1025, 3), 1)], tmp_path)


# ------------------------------------------------------------------------------------------------ the tools
def built(name):
    """The tool's environment; the test is skipped where there is none."""
    folder = Path(os.environ.get(f"EDGEKWS_{name.upper()}") or Path(__file__).parents[3] / ".envs" / name)
    if not (folder / "bin" / "python").exists():
        pytest.skip(f"no {name}: build it with `envs/tool {name} .envs/{name}`, or name it by EDGEKWS_{name.upper()}")
    return folder


def random_net(reset):
    generator = torch.Generator().manual_seed(0)
    net = FeedForwardLIF(LifNetwork(hidden=[30, 20], reset=reset, threshold=0.3), inputs=12, outputs=5, generator=generator)
    for weights, bias in zip(net.weights, net.biases, strict=False):
        weights.mul_(8)
        bias.copy_(torch.randn(len(bias), generator=generator) / 4)
        bias[::3] = 0
    net.hidden[0].weight[:, :3] = 0
    net.hidden[1].weight[:5, :9] = 0
    return net


def random_spikes(clips):
    return (np.random.default_rng(0).random((clips, 30, 12)) < 0.2).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_neurobench_agrees_to_the_unit(reset):
    net, spikes = random_net(reset), random_spikes(70)  # more than one of its batches
    with torch.no_grad():
        labels = net(torch.from_numpy(spikes).float().transpose(0, 1))[0].argmax(1).numpy()
    labels[:14] = (labels[:14] + 1) % 5
    answer = ask.neurobench(net, spikes, labels, built("neurobench"))
    assert (answer["status"], answer["why"]) == ("agrees", "")
    assert answer["figures"]["hidden_1_spikes"]["theirs"] > 1000
    assert answer["figures"]["accuracy"]["theirs"] == 0.8


@pytest.mark.slow
def test_sanafe_agrees_spike_by_spike():
    net, spikes = quantise(random_net("hard"), ["word"] * 5), random_spikes(4)
    cores = [np.tile([0, 0, 0], (12, 1)), np.array([[0, 0, 1]] * 20 + [[2, 1, 0]] * 10), np.tile([5, 3, 1], (20, 1)),
             np.tile([0, 0, 1], (5, 1))]
    assert all(0 < np.count_nonzero(layer.bias) < layer.neurons for layer in net.layers[:-1])
    answer = ask.sanafe(net, spikes, cores, built("sanafe"))
    assert (answer["status"], answer["why"]) == ("agrees", "")
    assert answer["spikes"] == {"compared": 4 * 33 * 55, "equal": 4 * 33 * 55}
    assert answer["figures"]["neurons_fired"]["theirs"] > 100
    assert len(answer["energy"]["total"]) == 4
    # The same clip again, after others: the chip had been brought to rest.
    assert ask.sanafe(net, spikes[3:], cores, built("sanafe"))["energy"]["total"] == pytest.approx(
        answer["energy"]["total"][3:])


@pytest.mark.slow
@pytest.mark.parametrize(("bias", "fired"), [((0, 0), 6), ((0, 160), 9), ((-4096 << 7, 4095 << 7), 4 + 5), ((1, -63), 6)],
                         ids=["none", "some", "largest", "below-a-unit"])
def test_sanafe_of_two_neurons(bias, fired):
    """Whatever the biases (in 64ths of the weights' unit, as the potential), every spike and every count is the same."""
    answer = ask.sanafe(loihi_net(bias), SPIKES, CORES, built("sanafe"))
    assert (answer["status"], answer["why"]) == ("agrees", "")
    assert answer["figures"]["neurons_fired"]["theirs"] == fired
