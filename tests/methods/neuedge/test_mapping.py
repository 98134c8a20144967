"""Mapping: resources counted by hand, naive and optimised mappings, traffic, refusals."""

import itertools
import json

import numpy as np
import pytest

from edgekws.core.errors import UserError
from edgekws.methods.neuedge import placement
from edgekws.methods.neuedge.chip import Chip, chip
from edgekws.methods.neuedge.mapping import (
    Mapping,
    cost,
    fits,
    reference_traffic,
    resources,
    traffic,
    utilisation,
)
from edgekws.methods.neuedge.placement import naive, optimise, sweep

MINI = chip("mini_chip")


def small_chip(destinations=None, **limits):
    """Four tiles in a row, two cores each; 4 neurons a core, 8 weights of 1 bit, ample axons."""
    values = {"width": 4, "height": 1, "cores_per_tile": 2, "neurons": 4, "synapse_bits": 8, "weight_bits": 1,
              "in_axons": 99, "out_axons": 99} | limits
    counts = {name: {"value": value, "source": "test"} for name, value in values.items()}
    return Chip(name="mini_chip", about="test", timing="davies2018", **counts,
                destinations=destinations and {"value": destinations, "source": "test"})


def dense(*sizes):
    return [np.ones((to, of), dtype=bool) for of, to in itertools.pairwise(sizes)]


def sparse(*sizes, density=0.4, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.random((to, of)) < density for of, to in itertools.pairwise(sizes)]


def rates(masks, seed=1):
    generator = np.random.default_rng(seed)
    return [generator.uniform(0, 20, mask.shape[1]) for mask in masks]


def mapped(*cores):
    return Mapping("mini_chip", tuple(np.array(population) for population in cores))


# 2 encoder units, 3 hidden neurons, 2 outputs; hidden neuron 2 hears nothing of unit 0.
HAND = [np.array([[1, 1], [1, 1], [0, 1]], dtype=bool), np.array([[1, 1, 1], [1, 0, 0]], dtype=bool)]
HAND_MAPPING = mapped([0, 0], [1, 1, 2], [2, 6])


def test_resources_by_hand():
    needed = resources(HAND_MAPPING, HAND, small_chip())
    assert needed.neurons[[0, 1, 2, 6]].tolist() == [2, 2, 2, 1]
    assert needed.synapse_bits[[0, 1, 2, 6]].tolist() == [0, 4, 1 + 3, 1]
    # Core 1 hears units 0 and 1; core 2 hears unit 1 and hidden 0, 1, 2; core 6 hears hidden 0.
    assert needed.in_axons[[0, 1, 2, 6]].tolist() == [0, 2, 4, 1]
    # Unit 0 reaches core 1, unit 1 cores 1 and 2; hidden 0 cores 2 and 6, hidden 1 core 2; hidden 2 its own.
    assert needed.out_axons[[0, 1, 2, 6]].tolist() == [3, 3, 1, 0]
    assert needed.destinations == 2
    assert needed.in_axons.sum() == needed.out_axons.sum()


def test_traffic_by_hand():
    # Tiles: core 0 and 1 at x = 0, core 2 at x = 1, core 6 at x = 3.
    moved = traffic(HAND_MAPPING, HAND, [np.array([[5, 7], [1, 0]]), np.array([[2, 3, 4], [0, 1, 0]])], small_chip())
    assert moved.messages.tolist() == [5 + 2 * 7 + 2 * 2 + 3 + 4, 1 + 1]
    assert moved.within_tile.tolist() == [5 + 7 + 4, 1]
    assert moved.hops_east_west.tolist() == [7 + 2 * (1 + 3) + 3, 1]
    assert moved.hops_north_south.tolist() == [0, 0]
    # Two tiles below each other in place of the row: core 2 at (1, 0), core 6 at (1, 1).
    square = traffic(HAND_MAPPING, HAND, [np.array([5, 7]), np.array([2, 3, 4])], small_chip(width=2, height=2))
    assert (square.hops_east_west, square.hops_north_south) == (7 + 2 * 2 + 3, 2)
    assert square.hops == 16


def test_utilisation_by_hand():
    used = utilisation(HAND_MAPPING, HAND, small_chip(in_axons=5))
    # Fullest: neurons 2/4 in core 0; 2/4 and 4/8 in core 1; in-axons 4/5 in core 2; neurons 1/4 in core 6.
    assert used["utilisation"] == pytest.approx((0.5 + 0.5 + 0.8 + 0.25) / 4)
    assert used["of_chip"] == pytest.approx(2.05 / 8)
    assert used["neurons"] == pytest.approx(7 / 16)
    assert used["synapse_bits"] == pytest.approx(9 / 32)
    assert used["cores_used"] == 4
    assert used["cores"][2]["populations"] == [0, 1, 1]
    assert used["cores"][3] == {"core": 6, "tile": [3, 0], "populations": [0, 0, 1], "neurons": 0.25,
                                "synapse_bits": 0.125, "in_axons": 0.2, "out_axons": 0}
    json.dumps(used)


def test_naive_by_hand():
    # Encoder of 5: 4 + 1. Hidden 3 with 5 weights each, 8 to a core: one each. Readout 2 with 3 weights each: together.
    found = naive(dense(5, 3, 2), small_chip())
    assert [population.tolist() for population in found.cores] == [[0, 0, 0, 0, 1], [2, 3, 4], [5, 5]]
    # With 6 out-axons the units, reaching three cores each, go by twos.
    found = naive(dense(5, 3, 2), small_chip(out_axons=6))
    assert [population.tolist() for population in found.cores] == [[0, 0, 1, 1, 2], [3, 4, 5], [6, 6]]


def test_naive_is_cut_by_in_axons():
    masks = [np.eye(4, dtype=bool)]
    assert naive(masks, small_chip(in_axons=3)).cores[1].tolist() == [1, 1, 1, 2]
    assert naive(masks, small_chip()).cores[1].tolist() == [1, 1, 1, 1]


def test_the_keyword_network_on_the_mini_chip():
    masks = dense(40, 256, 256, 35)
    assert sum(mask.size for mask in masks) == 84_736
    used = utilisation(naive(masks, MINI), masks, MINI)
    # 1 core of units (40 of 64), 4 by neurons, 8 by memory (32 x 256 = 8,192), and 32 + 3 outputs by memory.
    assert used["cores_used"] == 15
    assert used["neurons"] == pytest.approx(587 / (15 * 64))
    assert used["synapse_bits"] == pytest.approx(84_736 / (15 * 8192))
    assert used["utilisation"] == pytest.approx((40 / 64 + 4 + 8 + 1 + 256 / 512) / 15)


@pytest.mark.parametrize("seed", [0, 1])
def test_optimised_fits_and_is_no_worse_than_naive(seed):
    for masks in (dense(40, 256, 256, 35), sparse(40, 200, 120, 35, density=0.3, seed=seed)):
        spikes, start = rates(masks, seed), naive(masks, MINI)
        found = optimise(start, masks, spikes, MINI, steps=300, seed=seed)
        assert fits(found, masks, MINI)
        assert cost(found, masks, spikes, MINI) < cost(start, masks, spikes, MINI)
        assert len(found.used) < len(start.used)
        again = optimise(start, masks, spikes, MINI, steps=300, seed=seed)
        assert all(map(np.array_equal, found.cores, again.cores))


def test_optimising_again_never_costs_more():
    masks = dense(40, 128, 128, 12)
    spikes = rates(masks)
    found = optimise(None, masks, spikes, MINI, steps=100, seed=0)
    costs = [cost(found, masks, spikes, MINI)]
    for seed in (1, 2, 3):
        found = optimise(found, masks, spikes, MINI, steps=100, seed=seed)
        costs.append(cost(found, masks, spikes, MINI))
    assert costs == sorted(costs, reverse=True)


def test_traffic_alone_brings_talkers_together():
    # Two chains that share nothing: the loud one should end in one tile.
    masks = [np.kron(np.eye(2), np.ones((32, 32))).astype(bool) for _ in range(3)]
    spikes = [np.repeat([50.0, 0.0], 32) for _ in masks]
    found = optimise(None, masks, spikes, MINI, steps=2000, seed=0, weights=(0, 1, 0))
    moved = traffic(found, masks, spikes, MINI)
    assert moved.hops == 0
    assert moved.messages == 3 * 32 * 50


@pytest.mark.parametrize(("group", "density"), [(16, 1.0), (16, 0.05), (7, 0.3), (1, 0.3)])
def test_the_state_of_the_annealing_counts_as_the_plain_functions_do(group, density):
    masks = sparse(20, 50, 41, 9, density=density)
    spikes, lambdas = rates(masks), (0.7, 1.3, 0.4)
    state = placement._State(placement._units(masks, MINI, group), masks, spikes, MINI, lambdas)
    generator = np.random.default_rng(0)
    verdicts = set()
    for cores in (3, 8, 16, 16, 3):  # state is updated from each to the next
        for unit in range(len(state.units)):
            state.put(unit, int(generator.integers(cores)))
        plain = placement._of_neurons(state.core, state.units, MINI)
        assert state.cost() == pytest.approx(cost(plain, masks, spikes, MINI, weights=lambdas))
        for chip_ in (MINI, small_chip(width=8, neurons=99, synapse_bits=9999, in_axons=60, out_axons=300),
                      small_chip(width=8, neurons=99, synapse_bits=9999, in_axons=999, out_axons=999, destinations=3),
                      small_chip(width=8, neurons=30, synapse_bits=9999, in_axons=999, out_axons=999)):
            other = placement._State(state.units, masks, spikes, chip_, lambdas)
            placement._set(other, state.core)
            assert other.fits() == fits(plain, masks, chip_)
            verdicts.add(other.fits())
    assert verdicts == {True, False}


def test_a_group_that_fits_no_core_is_halved():
    # 4 neurons with 4 weights each: 16 weights, 8 to a core.
    found = optimise(None, dense(4, 4), [np.ones(4)], small_chip(), steps=50, seed=0, group=4)
    assert fits(found, dense(4, 4), small_chip())
    assert len(set(found.cores[1].tolist())) == 2


def test_a_mapping_that_does_not_fit_any_more_is_passed_over():
    masks = dense(4, 4)
    crowded = mapped([0] * 4, [0] * 4)
    assert not fits(crowded, masks, small_chip())
    assert fits(optimise(crowded, masks, [np.ones(4)], small_chip(), steps=20, seed=0), masks, small_chip())


def test_optimised_where_naive_does_not_fit():
    # Five populations of one neuron each, and four cores.
    masks, chip_ = dense(1, 1, 1, 1, 1), small_chip(width=2)
    with pytest.raises(UserError, match="5 cores layer by layer, 1 more"):
        naive(masks, chip_)
    assert len(optimise(None, masks, [np.ones(1)] * 4, chip_, steps=10, seed=0).used) <= 2


@pytest.mark.parametrize(("masks", "chip_", "message"), [
    (dense(4, 9), small_chip(synapse_bits=3), "neuron 0 of readout alone needs 4 bits of synaptic memory, 1 more"),
    (dense(4, 9, 1), small_chip(in_axons=4, synapse_bits=9), "neuron 0 of readout alone needs 9 in-axons, 5 more"),
    (dense(4, 9, 1), small_chip(out_axons=2, synapse_bits=9), "neuron 0 of encoder alone needs 5 out-axons, 3 more"),
    (dense(4, 9, 1), small_chip(destinations=2, synapse_bits=12), "neuron 0 of encoder alone needs 3 destination cores"),
    (dense(4, 40), small_chip(), "21 cores layer by layer, 13 more than the chip's 8; most go to readout: 20 cores, "
                                 "for its 160 bits of synaptic memory, 152 more"),
    (dense(4, 40), small_chip(synapse_bits=99), "most go to readout: 10 cores, for its 40 neurons, 36 more"),
])
def test_what_does_not_fit_is_named(masks, chip_, message):
    for attempt in (lambda: naive(masks, chip_),
                    lambda: optimise(None, masks, rates(masks), chip_, steps=10, seed=0, group=4)):
        with pytest.raises(UserError, match=message) as caught:
            attempt()
        assert caught.value.remedy


def test_json_there_and_back():
    data = json.loads(json.dumps(HAND_MAPPING.to_json()))
    assert data["tiles"] == {"0": [0, 0], "1": [0, 0], "2": [0, 0], "6": [1, 0]}
    again = Mapping.from_json(data)
    assert all(map(np.array_equal, again.cores, HAND_MAPPING.cores))


@pytest.mark.parametrize("data", [{}, {"chip": "mini_chip", "cores": [[0], ["x"]]}, {"chip": "mini_chip", "cores": [[16]]},
                                  {"chip": "mini_chip", "cores": [[-1]]}, {"chip": "mini_chip", "cores": [[]]},
                                  {"chip": "none", "cores": [[0]]}])
def test_json_that_is_no_mapping(data):
    with pytest.raises(UserError):
        Mapping.from_json(data)


def test_a_mapping_of_another_network_is_refused():
    with pytest.raises(UserError, match=r"populations \[2, 3, 2\]"):
        resources(HAND_MAPPING, dense(2, 3, 3), MINI)


def test_reference_is_free_of_the_mapping():
    # 256 x 256 fills 8 cores, 256 x 40 fills 4: a spike sent one hop far counts 2 for each.
    assert reference_traffic(dense(40, 256, 256), [np.ones(40), np.ones(256)], MINI) == 2 * 4 * 40 + 2 * 8 * 256


def test_sweep_shows_what_sizes_alone_decide():
    rows = sweep([[40, 64, 64, 35], [40, 65, 65, 35], [40, 2000, 10]], MINI, steps=50)
    full, spilled, huge = rows
    assert full["naive"]["cores_used"] == 4
    assert spilled["naive"]["cores_used"] == 6
    assert spilled["naive"]["utilisation"] < 0.7 < full["naive"]["utilisation"]
    assert spilled["optimised"]["utilisation"] > spilled["naive"]["utilisation"]
    assert huge == {"sizes": [40, 2000, 10], "weights": 100_000, "naive": None, "optimised": None}
