"""The graph: its nodes, its file, and Norse's cells running it as the network itself runs."""

import nir
import numpy as np
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.loihi import nir_export


def test_nodes_are_eulers_equations(float_net):
    net = float_net(leak=0.8, output_leak=0.5, threshold=0.7)
    graph = nir_export.to_nir(net, dt=0.02)
    assert list(graph.nodes) == ["input", "affine_0", "lif_0", "affine_1", "lif_1", "linear_2", "li_2", "output"]
    assert graph.edges == list(zip(list(graph.nodes)[:-1], list(graph.nodes)[1:], strict=True))
    assert graph.metadata["dt"] == 0.02
    lif, li = graph.nodes["lif_1"], graph.nodes["li_2"]
    np.testing.assert_allclose(lif.tau, [0.1] * 16)  # dt / (1 - 0.8)
    np.testing.assert_allclose(li.tau, [0.04] * 5)
    assert set(lif.v_threshold) == {0.7}
    for node in (lif, li):
        assert set(node.r) == {1}
        assert set(node.v_leak) == {0}
    assert set(lif.v_reset) == {0}
    np.testing.assert_array_equal(graph.nodes["affine_1"].weight, net.hidden[1].weight.numpy())
    np.testing.assert_array_equal(graph.nodes["affine_1"].bias, net.biases[1].numpy())


def test_file_holds_the_graph_and_is_the_same_each_time(float_net, tmp_path):
    graph = nir_export.to_nir(float_net())
    for name in ("one.nir", "two.nir"):
        nir_export.write(tmp_path / name, graph)
    assert (tmp_path / "one.nir").read_bytes() == (tmp_path / "two.nir").read_bytes()
    found = nir_export.read(tmp_path / "one.nir")
    assert set(found.edges) == set(graph.edges)
    assert found.metadata["dt"] == 0.001
    for name, node in graph.nodes.items():
        assert type(found.nodes[name]) is type(node)
    np.testing.assert_array_equal(found.nodes["linear_2"].weight, graph.nodes["linear_2"].weight, strict=True)
    np.testing.assert_array_equal(found.nodes["lif_0"].tau, graph.nodes["lif_0"].tau, strict=True)


def test_norse_runs_the_graph_as_the_network_runs(float_net, random_spikes, tmp_path):
    net, path = float_net(), tmp_path / "net.nir"
    nir_export.write(path, nir_export.to_nir(net))
    found = nir_export.check(path, net, random_spikes(20, 30, 12))
    assert found["score_difference"] < 1e-9
    assert found["spikes"]["equal"] == found["spikes"]["compared"] == 20 * 30 * 36
    assert found["spikes"]["fired"] > 500
    assert found["predictions"] == {"compared": 20, "equal": 20}
    # Another network is told apart.
    other = nir_export.check(path, float_net(seed=1), random_spikes(20, 30, 12))
    assert other["spikes"]["equal"] < other["spikes"]["compared"]
    assert other["score_difference"] > 0.1


def test_one_neuron_by_hand():
    graph = nir.NIRGraph(
        nodes={"input": nir.Input({"input": np.array([1])}), "linear": nir.Linear(np.array([[3.0]])),
               "lif": nir.LIF(tau=np.array([0.002]), r=np.array([1.0]), v_leak=np.array([0.0]), v_threshold=np.array([2.0]),
                              v_reset=np.array([0.0])),
               "li": nir.LI(tau=np.array([0.004]), r=np.array([1.0]), v_leak=np.array([0.0])),
               "output": nir.Output({"output": np.array([1])})},
        edges=[("input", "linear"), ("linear", "lif"), ("lif", "li"), ("li", "output")], metadata={"dt": 0.001})
    # v 1.5; 1.5 + (3 - 1.5) / 2 = 2.25 fires; 1.5; out 0, 1/4, 3/16
    mean, (spikes,) = nir_export.run_in_norse(graph, torch.ones(3, 1, 1, dtype=torch.float64))
    assert spikes.flatten().tolist() == [0, 1, 0]
    assert mean.item() == pytest.approx((0.25 + 0.1875) / 3)


def run_by(simulator, path, spikes):
    """Outputs of a graph, read and run by a simulator's own importer, step by step."""
    graph = nir.read(path)
    if simulator == "norse":
        from norse.torch.utils.import_nir import from_nir

        net = from_nir(graph, dt=graph.metadata["dt"])
    else:
        net = pytest.importorskip("snntorch.import_nir", reason="snnTorch is not installed").import_from_nir(graph)
    state, found = None, []
    with torch.no_grad():
        for drive in spikes:
            out, state = net(drive, state)
            found.append(out)
    return torch.stack(found)


@pytest.mark.parametrize("simulator", ["norse", "snntorch"])
def test_other_simulators_read_the_portable_graph(float_net, random_spikes, tmp_path, simulator):
    net, path = float_net(leak=0.8), tmp_path / "portable.nir"
    nir_export.write(path, nir_export.to_nir(net, portable=True))
    spikes = torch.from_numpy(random_spikes(4, 30, 12).transpose(1, 0, 2)).float()
    with torch.no_grad():
        fired, scores = net.spikes(spikes)[-1], net(spikes)[0]
    currents = run_by(simulator, path, spikes)
    torch.testing.assert_close(currents, fired @ list(net.weights)[-1].T, rtol=1e-5, atol=1e-5)
    potential, total = torch.zeros_like(currents[0]), torch.zeros_like(currents[0])
    for current in currents:  # the readout, as the docstring has it
        potential = net.settings.output_leak * potential + (1 - net.settings.output_leak) * current
        total += potential / len(currents)
    torch.testing.assert_close(total, scores, rtol=1e-4, atol=1e-5)


def test_norses_importer_still_leaves_the_leaky_integrator_out(float_net, random_spikes, tmp_path):
    """Why there is a portable graph. Where this fails, Norse reads the whole one, and the docstring is to say so."""
    net, path = float_net(), tmp_path / "net.nir"
    nir_export.write(path, nir_export.to_nir(net))
    spikes = torch.from_numpy(random_spikes(4, 30, 12).transpose(1, 0, 2)).float()
    with torch.no_grad():
        fired = net.spikes(spikes)[-1]
    torch.testing.assert_close(run_by("norse", path, spikes), fired @ list(net.weights)[-1].T, rtol=1e-5, atol=1e-5)


def test_refuses_what_it_cannot_say_or_run(float_net, tmp_path):
    with pytest.raises(UserError, match="reset"):
        nir_export.to_nir(float_net(reset="soft"))
    with pytest.raises(UserError, match="no such NIR graph"):
        nir_export.read(tmp_path / "none.nir")
    (tmp_path / "text.nir").write_text("no graph")
    with pytest.raises(UserError, match="not a readable NIR graph"):
        nir_export.read(tmp_path / "text.nir")
    graph = nir_export.to_nir(float_net())
    graph.metadata.clear()
    nir_export.write(tmp_path / "timeless.nir", graph)
    with pytest.raises(UserError, match="time step"):
        nir_export.read(tmp_path / "timeless.nir")


@pytest.mark.parametrize("change", ["branch", "node", "loop"])
def test_refuses_graphs_that_are_no_row_of_known_nodes(float_net, change):
    graph = nir_export.to_nir(float_net())
    if change == "branch":
        graph.edges.append(("lif_0", "linear_2"))
    elif change == "loop":
        graph.edges[-1] = ("li_2", "linear_0")
    else:
        graph.nodes["lif_0"] = nir.IF(r=np.ones(20), v_threshold=np.ones(20))
    with pytest.raises(UserError, match="no row" if change != "node" else "cannot run the node 'lif_0'"):
        nir_export.run_in_norse(graph, torch.zeros(2, 1, 12))
