"""Networks for these tests, and Lava where there is one."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekws.methods.neuedge.loihi.network import LoihiLayer, LoihiNetwork
from edgekws.models.feedforward_lif import FeedForwardLIF
from edgekws.models.settings import LifNetwork

HOW = "no Lava: build it with `envs/tool lava .envs/lava`, or name an environment in EDGEKWS_LAVA"


@pytest.fixture(scope="session")
def lava():
    """Lava's environment; tests that ask for it are skipped where there is none."""
    folder = Path(os.environ.get("EDGEKWS_LAVA") or Path(__file__).parents[3] / ".envs" / "lava")
    if not (folder / "bin" / "python").exists():
        pytest.skip(HOW)
    return folder


def pytest_terminal_summary(terminalreporter):
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if HOW in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests skipped: {HOW}", yellow=True)


@pytest.fixture
def float_net():
    """A function that makes a float network whose hidden layers fire at some 10 %."""
    def make(inputs=12, outputs=5, gain=25, seed=0, **values):
        generator = torch.Generator().manual_seed(seed)
        net = FeedForwardLIF(LifNetwork(**{"hidden": [20, 16], **values}), inputs=inputs, outputs=outputs,
                             generator=generator)
        for weights, bias in zip(net.weights, net.biases, strict=False):
            weights.mul_(gain)
            bias.copy_(0.4 * torch.randn(len(bias), generator=generator))
        return net

    return make


@pytest.fixture
def layer():
    """A function that makes a layer from a list of rows; no decay of v and no memory of u unless said otherwise."""
    def make(weights, *, bias=None, weight_exp=0, du=4095, dv=0, vth=131071):
        weights = np.array(weights, np.int16)
        return LoihiLayer(weights, weight_exp, np.array([0] * len(weights) if bias is None else bias, np.int32), du, dv, vth)

    return make


@pytest.fixture
def random_net():
    """A function that makes a network of general layers: any decays, exponents, signs and biases."""
    def make(seed, sizes=(7, 9, 8, 4)):
        random = np.random.default_rng(seed)
        layers = []
        for index, (inputs, neurons) in enumerate(itertools.pairwise(sizes)):
            low, high = [(-256, 256), (0, 256), (-255, 1)][(seed + index) % 3]
            bias = (random.integers(-3000, 3000, neurons) << random.integers(0, 4, neurons)) * (seed % 2)
            layers.append(LoihiLayer(
                random.integers(low, high, (neurons, inputs)).astype(np.int16), int(random.integers(-3, 5)),
                bias.astype(np.int32), int(random.choice([4095, 0, 1000])), int(random.integers(0, 2000)),
                int(random.choice([300, 3000, 0, 131071]))))
        return LoihiNetwork(tuple(layers), tuple("abcdefgh"[:sizes[-1]]))

    return make


@pytest.fixture
def random_spikes():
    """A function that makes (clips, steps, inputs) uint8, some clips busier than others."""
    def make(clips, steps, inputs, seed=0):
        random = np.random.default_rng(seed)
        return (random.random((clips, steps, inputs)) < random.uniform(0.05, 0.6, (clips, 1, 1))).astype(np.uint8)

    return make
