"""Every method of the bench for the spiking net takes the memory that its formula says, measured as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekws.methods.alternatives import back_propagation, local_rules
from edgekws.methods.alternatives.limits import Cell, measured_usage
from edgekws.methods.alternatives.memory import Sizes, formula
from edgekws.models.settings import Network

SIZES = Sizes(inputs=7, neurons=20, outputs=5, frames=11, clips=12)
LOCAL = ["traces_propagation", "eprop", "decolle", "etlp", "osttp", "tess"]
RANK = 3


def both(kind, batch, name):
    learn = local_rules.learn if kind in LOCAL else back_propagation.learn
    usage = measured_usage(Cell(kind, SIZES.neurons, name, batch), learn, Network(threshold=0.3), SIZES, rank=RANK)
    return usage, formula(kind, SIZES, batch, name, rank=RANK)


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("kind", LOCAL)
def test_local_rules(kind, batch, name):
    found, expected = both(kind, batch, name)
    exact = ("parameters", "frozen", "gradients", "optimiser", "activations")
    assert {each: found.largest[each] for each in exact} == {each: expected[each] for each in exact}
    # While a batch's label, or what is made of it once for a clip, takes the place of the last one's there are both.
    renewed = 4 * batch * (SIZES.neurons if kind in ("etlp", "osttp") else SIZES.outputs)
    assert found.largest["traces"] == expected["traces"] + renewed
    assert 0 <= found.peak - sum(expected.values()) <= 4 * batch * (4 * SIZES.neurons + 6 * SIZES.outputs)


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("kind", ["full", "full_int8", "readout", "threshold", "lora", "adapter"])
def test_back_propagation(kind, batch, name):
    found, expected = both(kind, batch, name)
    assert all(found.largest[each] == expected[each] for each in ("parameters", "gradients", "optimiser"))
    assert 0 <= found.largest["frozen"] - expected["frozen"] <= 20  # Norse's constants
    assert abs(found.largest["activations"] - expected["activations"]) <= \
        4 * batch * 2 * (SIZES.neurons * 2 + SIZES.presynaptic) + 8 * SIZES.frames
    # Autograd makes sums of a matrix's gradients anew: three times the largest at most, beside one step of a few tensors
    # and, where hidden layers are frozen, the answers of a batch that are about to be kept. LoRA makes no whole matrix.
    trains_matrices = kind in ("full", "full_int8")
    spare = (3 * 4 * SIZES.weights if trains_matrices else 0) + 4 * batch * SIZES.neurons * (SIZES.frames + 25)
    assert 0.9 * sum(expected.values()) <= found.peak <= sum(expected.values()) + spare


def test_what_is_kept_of_each_clip():
    network = Network(threshold=0.3)

    def grown(kind):
        few, many = (measured_usage(Cell(kind, SIZES.neurons, "adam", 4), back_propagation.learn, network,
                                    replace(SIZES, clips=clips), rank=RANK).peak for clips in (12, 40))
        return (many - few) / 28

    fixed = 2 * 8 + 1  # label, place in the order, and whether a frozen layer's answer is known
    assert grown("full") == grown("threshold") == grown("lora") == fixed
    assert grown("readout") == 4 * SIZES.neurons + fixed
    assert grown("adapter") == SIZES.frames * SIZES.neurons + fixed
