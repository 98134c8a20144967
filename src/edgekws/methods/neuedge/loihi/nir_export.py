"""The network in the Neuromorphic Intermediate Representation (Pedersen et al. 2024), and a second simulator for it.

NIR holds differential equations: ``tau dv/dt = -v + i`` for LIF and LI nodes (resistance 1, rest and reset at 0). Our
discrete ``v <- leak v + (1 - leak) i`` is Euler's step of that with ``dt / tau = 1 - leak``: ``tau = dt / (1 - leak)``.
A graph knows no time step; ours is in its metadata as ``dt``, in seconds. Stepped otherwise it gives other spikes.

The graph is ``input -> affine_0 -> lif_0 -> … -> linear_n -> li_n -> output``; the word is the output whose mean over
time is largest.

Not every simulator reads a leaky integrator: Norse's importer (1.1.0) leaves it out without a word, snnTorch's (1.0.0) refuses
it and takes every graph's step for 0.1 ms. For them there is a **portable** graph, which ends with the current into the
readout, ``… -> affine_n -> output``, at that step: both give the very currents of the net. Whoever wants its scores goes on with
``v <- output_leak v + (1 - output_leak) current``. Sinabs (3.1.3) reads neither rightly: it takes seconds for steps, scales no
input and resets by subtraction.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError

if TYPE_CHECKING:
    import nir
    import torch

    from edgekws.models.feedforward_lif import FeedForwardLIF

DT = 0.001  # seconds; tau scales with it, the spikes do not depend on it
PORTABLE_DT = 0.0001  # of the portable graph: snnTorch's importer knows no other


def to_nir(net: FeedForwardLIF, *, dt: float | None = None, portable: bool = False) -> nir.NIRGraph:
    """The network as a NIR graph, in float32 (weights) and float64 (constants).

    Args:
        dt: Seconds of a step; None takes :data:`DT`, or :data:`PORTABLE_DT`.
        portable: End with the current into the readout, for simulators that read no leaky integrator.

    Raises:
        UserError: The reset is soft, for which NIR has no node.
    """
    import nir

    settings, dt = net.settings, dt or (PORTABLE_DT if portable else DT)
    if settings.reset != "hard":
        raise UserError("NIR's LIF neurons reset to a value, not by subtraction", where="network.reset",
                        remedy="train with reset=hard")
    matrices = [weights.detach().cpu().numpy() for weights in net.weights]
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([net.inputs])})}
    for index, matrix in enumerate(matrices):
        def constant(value: float, neurons: int = len(matrix)) -> npt.NDArray[np.float64]:
            return np.full(neurons, value)

        if index < len(net.biases):
            nodes[f"affine_{index}"] = nir.Affine(matrix, net.biases[index].detach().cpu().numpy())
            nodes[f"lif_{index}"] = nir.LIF(tau=constant(dt / (1 - settings.leak)), r=constant(1), v_leak=constant(0),
                                            v_threshold=constant(settings.threshold), v_reset=constant(0))
        elif portable:  # importers that know no Linear know an Affine
            nodes[f"affine_{index}"] = nir.Affine(matrix, np.zeros(len(matrix), matrix.dtype))
        else:
            nodes[f"linear_{index}"] = nir.Linear(matrix)
            nodes[f"li_{index}"] = nir.LI(tau=constant(dt / (1 - settings.output_leak)), r=constant(1), v_leak=constant(0))
    nodes["output"] = nir.Output({"output": np.array([net.outputs])})
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names)), metadata={"dt": dt})


def write(path: str | Path, graph: nir.NIRGraph) -> None:
    """Write a graph as HDF5 (``.nir``)."""
    import nir

    with files.writing(path) as part:
        nir.write(part, graph)


def read(path: str | Path) -> nir.NIRGraph:
    """A graph written by :func:`write`.

    Raises:
        UserError: The file is missing or holds no NIR graph.
    """
    import nir

    path = files.existing(path, "NIR graph")
    try:
        graph = nir.read(path)
    except (OSError, KeyError, ValueError, AssertionError) as error:
        raise UserError(f"is not a readable NIR graph ({error})", where=path, remedy="export the network again") from error
    if not isinstance(graph, nir.NIRGraph) or "dt" not in graph.metadata:
        raise UserError("is no graph with a time step in its metadata", where=path, remedy="export the network again")
    return graph


def run_in_norse(graph: nir.NIRGraph, spikes: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run a graph of layers in a row, node by node in Norse's cells.

    Norse's own importer leaves LI nodes out without a word (1.1.0), so the cells are put together here.

    Args:
        spikes: [steps, clips, inputs], in the type to compute in.

    Returns:
        Mean over time of the output [clips, words], and the spikes of each LIF node [steps, clips, neurons].

    Raises:
        UserError: The graph branches, or has a node that is not Affine, Linear, LIF or LI.
    """
    import nir
    import torch
    from norse.torch import LIBoxCell, LIBoxParameters, LIFBoxCell, LIFBoxParameters

    follows = dict(graph.edges)
    chain = set(follows) | {"output"}
    if len(follows) != len(graph.edges) or chain != set(graph.nodes) or set(follows.values()) != chain - {"input"}:
        raise UserError("the graph is no row of nodes", where="NIR graph", remedy="export the network again")
    dt, name, cells = float(graph.metadata["dt"]), "input", dict[str, Any]()

    def tensor(values: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(values).to(spikes)

    while (name := follows[name]) != "output":
        node = graph.nodes[name]
        if isinstance(node, nir.Affine):
            cells[name] = tensor(node.weight), tensor(node.bias)
        elif isinstance(node, nir.Linear):
            cells[name] = tensor(node.weight), 0
        elif isinstance(node, nir.LIF) and (node.r == 1).all():
            cells[name] = LIFBoxCell(LIFBoxParameters(
                tau_mem_inv=1 / tensor(node.tau), v_leak=tensor(node.v_leak), v_th=tensor(node.v_threshold),
                v_reset=tensor(node.v_reset)), dt=dt)
        elif isinstance(node, nir.LI) and (node.r == 1).all():
            cells[name] = LIBoxCell(LIBoxParameters(
                tau_mem_inv=1 / tensor(node.tau), v_leak=tensor(node.v_leak)), dt=dt)
        else:
            raise UserError(f"cannot run the node '{name}' ({type(node).__name__})", where="NIR graph",
                            remedy="export the network again")
    states: dict[str, Any] = {}
    fired: dict[str, list[torch.Tensor]] = {name: [] for name, cell in cells.items() if isinstance(cell, LIFBoxCell)}
    total = torch.zeros(())
    with torch.no_grad():
        for drive in spikes:
            for name, cell in cells.items():
                if isinstance(cell, tuple):
                    weights, bias = cell
                    drive = drive @ weights.T + bias
                else:
                    drive, states[name] = cell(drive, states.get(name))
                if name in fired:
                    fired[name].append(drive)
            total = total + drive
    return total / len(spikes), [torch.stack(steps) for steps in fired.values()]


def check(path: str | Path, net: FeedForwardLIF, spikes: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Read a graph back, run it in Norse beside the network itself, both in float64, and compare.

    Args:
        spikes: (clips, steps, inputs), 0 or 1.

    Returns:
        ``clips``, ``steps``; for spikes of the hidden layers and for predicted words, how many were ``compared`` and
        how many are ``equal`` (and of the spikes how many were ``fired``); ``score_difference``, the largest between the
        mean potentials of the readout, in units of the largest potential.

    Raises:
        UserError: The graph cannot be read or run, or the spikes do not fit the network.
    """
    import torch

    drive = torch.from_numpy(np.ascontiguousarray(spikes.transpose(1, 0, 2))).double()
    double = copy.deepcopy(net).double()
    with torch.no_grad():
        scores, layers = double(drive)[0], double.spikes(drive)
    theirs, their_layers = run_in_norse(read(path), drive)
    pairs = list(zip(layers, their_layers, strict=True))
    return {
        "clips": spikes.shape[0], "steps": spikes.shape[1],
        "spikes": {"compared": sum(ours.numel() for ours, _ in pairs), "fired": sum(int(ours.sum()) for ours, _ in pairs),
                   "equal": sum(int((ours == other).sum()) for ours, other in pairs)},
        "predictions": {"compared": len(scores), "equal": int((scores.argmax(1) == theirs.argmax(1)).sum())},
        "score_difference": float((scores - theirs).abs().max() / scores.abs().max().clamp(min=1e-300)),
    }
