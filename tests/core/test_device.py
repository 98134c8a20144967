"""Training elsewhere than on the CPU: every loop keeps to its network's device, and a GPU agrees where there is one."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from tests.second_device import There, second_device

from edgekws.config import Config
from edgekws.core import device
from edgekws.core.errors import UserError
from edgekws.methods.neuedge import experiments as neuedge
from edgekws.methods.neuedge.settings import Hardware, NeuEdge, SpikingTraining
from edgekws.methods.onda.pretraining import pretrain
from edgekws.methods.onda.settings import Pretraining
from edgekws.methods.onda.words import Words
from edgekws.methods.traces_propagation import experiments as traces
from edgekws.methods.traces_propagation.settings import BaseTraining
from edgekws.models import encoder as encoders
from edgekws.models.settings import Conventional, LifNetwork, Network
from edgekws.neurons import layers
from edgekws.protocol.clips import Corpus

WORDS = ["no", "up", "yes"]
LABELS = np.arange(72) % 3


@functools.cache
def index():
    return pd.DataFrame({"word": [WORDS[label] for label in LABELS], "speaker": "somebody", "repeat_of": "", "clip": range(72),
                         "sha256": [str(clip) for clip in range(72)],
                         "split": ["train"] * 48 + ["validation"] * 12 + ["test"] * 12})


@functools.cache
def features():
    """[72, 12, 6] from 0 to 1: each word has a pair of bands of its own, and a beginning."""
    made = np.random.default_rng(0).uniform(0, 0.3, (72, 12, 6)).astype(np.float32)
    for clip, label in enumerate(LABELS):
        made[clip, 3 + label:, 2 * label:2 * label + 2] += 0.6
    return made


def base_model(where, hidden=(16,), reset="hard"):
    network = Network(hidden=list(hidden), reset=reset)
    budget = BaseTraining(epochs=3, batch_size=20, learning_rate=3e-3)
    return traces.train_base(Corpus(features(), index(), WORDS), network, budget, per_set=False, excluded=[], seed=1,
                             device=where).net.state_dict()


def arm(name, where, reset="hard"):
    chosen = NeuEdge(
        network=LifNetwork(hidden=[12, 12], reset=reset), hardware=Hardware(group=4, placement_steps=10),
        training=SpikingTraining(epochs=5, batch_size=20, time_shift=1),
        conventional=Conventional(channels=[8]))
    net, about = neuedge.train_arm(neuedge.Corpus(features(), index(), WORDS), name, chosen, seed=0, device=where)
    return net.state_dict(), about


def encoder(where, backbone="ds_cnn_s"):
    """What a trained encoder makes of clips: the bias of a convolution before a batch norm is noise."""
    sounds = np.random.default_rng(0).integers(-3000, 3000, (18, 16_000)).astype(np.int16)
    table = pd.DataFrame({"word": [WORDS[clip % 3] for clip in range(18)], "speaker": "", "split": "train"})
    budget = Pretraining(episodes=3, classes=3, clips=3)
    widths = [4] * len(encoders.WIDTHS[backbone])
    trained = pretrain(encoders.build(backbone, widths), Words(sounds, table, {}), budget, seed=0, device=where)
    with torch.no_grad():
        return {"embeddings": trained(torch.randn(8, 47, 10, generator=torch.Generator().manual_seed(0)))}


LOOPS = {
    **{f"base model, {len(hidden)} layers, {reset} reset": functools.partial(base_model, hidden=hidden, reset=reset)
       for hidden, reset in (((16,), "hard"), ((8, 8), "soft"))},
    **{f"arm {name}": lambda where, name=name: arm(name, where)[0] for name in neuedge.ARMS},
    "arm full, soft reset": lambda where: arm("full", where, reset="soft")[0],
    **{backbone: functools.partial(encoder, backbone=backbone) for backbone in ("ds_cnn_s", "resnet15_narrow")},
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=list(LOOPS))
def test_a_loop_keeps_to_the_device_of_its_network_and_comes_back_to_the_cpu(loop):
    """With the CPU's own kernels under another device's name the bytes are the CPU's, where that scans densely as a GPU does.

    But for an encoder's: the strides of its kernels are others there, and so is the order of its sums, which the noise in the
    biases that batch norms take away again makes larger.
    """
    with layers.dense():
        here = loop(torch.device("cpu"))
    with second_device() as elsewhere:
        there = loop(elsewhere)
    assert here.keys() == there.keys()
    for name, tensor in there.items():
        assert type(tensor) is not There, name
        assert torch.allclose(here[name], tensor, rtol=0, atol=0.01 if name == "embeddings" else 0), name


def test_the_second_device_finds_a_tensor_that_stayed_behind():
    with second_device() as elsewhere:
        there = torch.ones(3).to(elsewhere)
        with pytest.raises(AssertionError, match="mixes the devices"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert float((there * 2).sum()) == 6 and torch.equal((there * 2).cpu(), torch.full((3,), 2.0))


def test_what_an_arm_is_known_by_does_not_depend_on_the_device():
    with layers.dense():
        here = arm("mapped", torch.device("cpu"))[1]
    with second_device() as elsewhere:
        assert arm("mapped", elsewhere)[1] == here


# ------------------------------------------------------------------------------------------------ choosing
def test_the_cpu_is_the_default_and_what_auto_takes_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Config().device == "cpu"
    assert device.choose("cpu") == device.choose("auto") == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU that torch can use") as error:
        device.choose("cuda")
    assert "set it to cpu" in error.value.remedy


def test_a_gpu_that_is_there_is_taken_when_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    assert device.choose("cpu").type == "cpu"
    assert device.choose("auto") == device.choose("cuda") == torch.device("cuda")
    assert device.describe(torch.device("cuda")) == "cuda (Some GPU)"


# ------------------------------------------------------------------------------------------------ a real GPU
TOLERANCE = 1e-3
"""Largest difference of a weight after a short training, in units of the largest weight of its tensor. A GPU adds in another
order; a spike that rounding moves, or a triplet it swaps, is part of it, so longer trainings drift further apart."""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize("loop", LOOPS.values(), ids=list(LOOPS))
def test_a_gpu_agrees_with_the_cpu_within_the_tolerance_and_with_itself_to_the_byte(loop):
    torch.set_deterministic_debug_mode("error")
    try:
        gpu = device.choose("cuda")
        here, there, again = loop(torch.device("cpu")), loop(gpu), loop(gpu)
    finally:
        torch.set_deterministic_debug_mode("default")
    for name, tensor in here.items():
        assert torch.equal(there[name], again[name]), name
        assert (there[name] - tensor).abs().max() <= TOLERANCE * max(float(tensor.abs().max()), 1e-6), name
