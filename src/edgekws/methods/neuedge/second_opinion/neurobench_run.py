"""Measure a network with NeuroBench: a script for an environment of its own, which needs nothing of this package.

    python neurobench_run.py FOLDER

FOLDER holds ``job.json`` (leak, threshold, reset, output_leak, layers, python, packages), ``weights_0.npy``, …
[to, from] float, the last one the readout's, ``bias_0.npy``, … of each hidden layer, ``spikes.npy`` (clips, steps,
inputs) and ``labels.npy`` (clips,). ``result.json`` is written there.

The environment holds NeuroBench and snnTorch and neither torch nor numpy, which are taken from the environment that
``packages`` names. The neurons are snnTorch's own: ``Leaky`` without its reset delay, the factor on the input folded
into weights and biases, computes our update. Two things it does not do as we do:

* After a soft reset a potential may still be above threshold. snnTorch then subtracts the threshold a second time, and
  before it looks for spikes; :class:`SoftLeaky` takes that out. After a hard reset nothing is left above threshold.
* It sums in another order. In double precision that parts the two only where a potential is within 1e-15 or so of the
  threshold, so that is what the net runs in (its size is measured in single precision).

The readout is an integrator that never fires: no neuron in NeuroBench's sense.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

BATCH = 64  # NeuroBench keeps every layer's input and state of a batch


def network(weights: list[Any], biases: list[Any], job: dict[str, Any], dtype: Any) -> Any:
    """The net in snnTorch, its parameters in ``dtype``; a call is one time step, and gives the readout's potential."""
    import snntorch
    import torch

    class SoftLeaky(snntorch.Leaky):  # type: ignore[misc]
        def mem_reset(self, mem: Any) -> Any:
            return torch.zeros_like(mem)

    def linear(leak: float, matrix: Any, bias: Any = None) -> Any:
        layer = torch.nn.Linear(matrix.shape[1], matrix.shape[0], bias=bias is not None, dtype=dtype)
        for name, values in (("weight", matrix), ("bias", bias)):
            if values is not None:
                getattr(layer, name).data = ((1 - leak) * torch.as_tensor(values, dtype=torch.float64)).to(dtype)
        return layer

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kind, reset = (snntorch.Leaky, "zero") if job["reset"] == "hard" else (SoftLeaky, "subtract")
            for index, (matrix, bias) in enumerate(zip(weights[:-1], biases, strict=True)):
                self.add_module(f"synapses_{index}", linear(job["leak"], matrix, bias))
                self.add_module(f"hidden_{index}", kind(
                    beta=torch.tensor(job["leak"], dtype=dtype), threshold=torch.tensor(job["threshold"], dtype=dtype),
                    reset_mechanism=reset, reset_delay=False, init_hidden=True))
            self.readout = linear(job["output_leak"], weights[-1])
            self.reset()

        def reset(self) -> None:
            self.potential: Any = 0.0
            for module in self.modules():
                if isinstance(module, snntorch.Leaky):
                    module.mem = torch.zeros(0, dtype=dtype)

        def forward(self, spikes: Any) -> tuple[Any, None]:
            for index in range(len(weights) - 1):
                current = getattr(self, f"synapses_{index}")(spikes)
                spikes = getattr(self, f"hidden_{index}")(current).to(dtype)
            self.potential = job["output_leak"] * self.potential + self.readout(spikes)
            return self.potential, None

    return Net()


def measure(weights: list[Any], biases: list[Any], spikes: Any, labels: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Every figure, as NeuroBench names and rounds it."""
    import torch
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics import static, workload
    from neurobench.models import SNNTorchModel
    from torch.utils.data import DataLoader, TensorDataset

    model = SNNTorchModel(network(weights, biases, job, torch.float64))
    clips = TensorDataset(torch.as_tensor(spikes, dtype=torch.float64), torch.as_tensor(labels, dtype=torch.int64))
    # The order matters: ActivationSparsityByLayer cannot say that it needs hooks, an earlier one says it for all.
    metrics: list[Any] = [workload.ActivationSparsity, workload.ActivationSparsityByLayer, workload.SynapticOperations,
                          workload.MembraneUpdates, workload.ClassificationAccuracy]
    benchmark = Benchmark(model, DataLoader(clips, batch_size=BATCH), [], [lambda scores: scores.mean(1).argmax(1)],
                          [[static.ConnectionSparsity, static.ParameterCount], metrics])
    said = io.StringIO()
    with contextlib.redirect_stdout(said), torch.no_grad():
        figures = benchmark.run()
    if "Error" in said.getvalue():  # it prints what went wrong and reports 0
        raise RuntimeError(said.getvalue())
    small = SNNTorchModel(network(weights, biases, job, torch.float32))
    return {**figures, "Footprint": static.Footprint()(small)}


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    if list(sys.version_info[:2]) != job["python"]:
        result: dict[str, Any] = {"not_run": f"the environment has Python {sys.version_info[0]}.{sys.version_info[1]}, "
                                             f"torch is installed for {job['python'][0]}.{job['python'][1]}"}
    else:
        sys.path.extend(job["packages"])
        import numpy as np

        weights = [np.load(folder / f"weights_{index}.npy") for index in range(job["layers"])]
        biases = [np.load(folder / f"bias_{index}.npy") for index in range(job["layers"] - 1)]
        spikes, labels = np.load(folder / "spikes.npy"), np.load(folder / "labels.npy")
        result = {"figures": measure(weights, biases, spikes, labels, job),
                  "versions": {name: metadata.version(name) for name in ("neurobench", "snntorch")}}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
