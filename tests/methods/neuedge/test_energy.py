"""Energy and time: the specification's worked figures, terms by hand."""

import numpy as np
import pytest

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.chip import chip, load, prices, timing
from edgekws.methods.neuedge.energy import (
    Events,
    ann_energy,
    count_events,
    efficiency,
    energy,
    latency,
    step_time,
    synaptic_operations,
)
from edgekws.methods.neuedge.mapping import Mapping, Traffic, traffic

MINI = chip("mini_chip")
# 2 encoder units, 3 hidden neurons, 2 outputs; two clips of 4 steps.
MASKS = [np.array([[1, 1], [1, 1], [0, 1]], dtype=bool), np.array([[1, 1, 1], [1, 0, 0]], dtype=bool)]
SPIKES = [np.array([[4, 3], [1, 0]], dtype=np.uint16), np.array([[2, 3, 4], [0, 1, 0]], dtype=np.uint16)]
MAPPING = Mapping("mini_chip", (np.array([0, 0]), np.array([1, 1, 4]), np.array([4, 12])))


def test_worked_check_of_the_specification():
    """NeuroBench's keyword network: 3.56 M accumulations, 803 neurons x 201 steps; M5: 1.75 M multiply-adds (5.4)."""
    updates = 803 * 201
    assert updates == 161_403
    busy = energy(Events(synaptic_operations=3.56e6, active_updates=updates), prices("davies2018"))
    idle = energy(Events(inactive_updates=updates), prices("davies2018"))
    assert busy["synapses"] == pytest.approx(83.9e-6, abs=0.2e-6)
    assert busy["active_updates"] == pytest.approx(13.1e-6, abs=0.05e-6)
    assert idle["inactive_updates"] == pytest.approx(8.4e-6, abs=0.05e-6)
    assert energy(Events(synaptic_operations=3.56e6), prices("arithmetic45"))["total"] == pytest.approx(3.2e-6, abs=0.05e-6)
    assert ann_energy(1.75e6, load().macs["float32"]) == pytest.approx(8.0e-6, abs=0.1e-6)
    assert ann_energy(1.75e6, load().macs["int8"]) == pytest.approx(0.4025e-6)


def test_every_term_by_hand():
    events = Events(10, 20, 30, 40, 50, 60, np.array([70, 0]))
    terms = energy(events, prices("sanafe"), static_power=0.03, seconds=1e-9)
    picojoules = {name: (value * 1e12).tolist() for name, value in terms.items()}
    assert picojoules["synapses"] == pytest.approx([355] * 2)
    assert picojoules["active_updates"] == pytest.approx([1456] * 2)
    assert picojoules["inactive_updates"] == pytest.approx([1536] * 2)
    assert picojoules["spikes"] == pytest.approx([2772] * 2)
    assert picojoules["messages"] == pytest.approx([3840] * 2)
    assert picojoules["hops"] == pytest.approx([180 + 294, 180])
    assert picojoules["static"] == pytest.approx([30] * 2)
    assert picojoules["total"] == pytest.approx([355 + 1456 + 1536 + 2772 + 3840 + 474 + 30, 10_169])
    davies = energy(events, prices("davies2018"))
    assert davies["messages"].tolist() == pytest.approx([50 * 1.7e-12] * 2)
    assert davies["hops"].tolist() == pytest.approx([460e-12, 180e-12])
    assert davies["spikes"].tolist() == davies["static"].tolist() == [0, 0]


def test_synaptic_operations_by_hand():
    # Unit 0 meets 2 weights, unit 1 meets 3; hidden 0 meets 2, hidden 1 and 2 meet 1.
    assert synaptic_operations(SPIKES, MASKS).tolist() == [8 + 9 + 4 + 3 + 4, 2 + 1]
    assert synaptic_operations([counts[0] for counts in SPIKES], MASKS) == 28


def test_synaptic_operations_do_not_overflow():
    counts = [np.full((1, 600), 60_000, dtype=np.uint16)]
    assert synaptic_operations(counts, [np.ones((300, 600), dtype=bool)]).tolist() == [60_000 * 600 * 300]


def test_events_by_hand():
    moved = traffic(MAPPING, MASKS, SPIKES, MINI)
    events = count_events(SPIKES, [np.array([8, 8]), np.array([9, 2]), np.array([5, 0])], MASKS, steps=4, traffic=moved)
    assert events.active_updates.tolist() == [22, 10]
    assert events.inactive_updates.tolist() == [4 * 7 - 22, 4 * 7 - 10]
    assert events.spikes.tolist() == [16, 2]
    # Unit 0 reaches core 1, unit 1 cores 1 and 4; hidden 0 cores 4 and 12, hidden 1 core 4, hidden 2 core 4, its own.
    assert events.messages.tolist() == [4 + 2 * 3 + 2 * 2 + 3 + 4, 1 + 1]
    # Cores 0 and 1 sit in tile (0, 0), core 4 in (1, 0), core 12 in (1, 1).
    assert events.hops_east_west.tolist() == [3 + 2 * 2 + 3, 1]
    assert events.hops_north_south.tolist() == [2, 0]
    # An encoder off the chip has no updates to pay for.
    off = count_events(SPIKES, [np.array([9, 2]), np.array([5, 0])], MASKS, steps=4)
    assert off.inactive_updates.tolist() == [4 * 5 - 14, 4 * 5 - 2]
    assert off.messages.tolist() == [0, 0]


def test_more_updates_than_there_are():
    with pytest.raises(UserError, match="29 active updates"):
        count_events(SPIKES, [np.array([8, 0]), np.array([12, 0]), np.array([9, 0])], MASKS, steps=4)


def test_efficiency_counts_in_two_ways():
    found = efficiency(np.array([2e-6, 1e-6]), np.array([4000, 1000]), weights=100, steps=50)
    assert found["gsop_per_s_per_w"].tolist() == pytest.approx([2, 1])
    assert found["dense_equivalent_gop_per_s_per_w"].tolist() == pytest.approx([5, 10])
    # Synapses alone at Davies' price: 1 / 23.6 pJ (7.5).
    alone = energy(Events(synaptic_operations=1e6), prices("davies2018"))["total"]
    assert efficiency(alone, 1e6, weights=1, steps=1)["gsop_per_s_per_w"] == pytest.approx(42.37, abs=0.01)


def test_step_time_by_hand():
    found = step_time(MAPPING, MASKS, SPIKES, MINI, timing("sanafe"), steps=4)
    # First clip, each core in ns a step. Core 1: 2 neurons, 4 x 2 + 3 x 2 operations, 5 spikes, 2 x 2 + 3 messages.
    one = 2 * 9.7 + (14 * 4 + 5 * 30 + 7 * 7.6) / 4
    # Core 4: 2 neurons; 3 + (2 + 3 + 4) operations; 4 spikes and 4 messages of hidden 2.
    four = 2 * 9.7 + (12 * 4 + 4 * 30 + 4 * 7.6) / 4
    # Core 0: 2 neurons, 7 spikes, 4 + 2 x 3 messages.
    nought = 2 * 9.7 + (7 * 30 + 10 * 7.6) / 4
    assert found.core[0] == pytest.approx(max(nought, one, four) * 1e-9)
    # Second clip. Core 0: unit 0 fires once. Core 1: 2 operations, 1 spike, 1 message.
    assert found.core[1] == pytest.approx((2 * 9.7 + (2 * 4 + 30 + 7.6) / 4) * 1e-9)
    # The longest way: hidden 0 from (0, 0) to (1, 1).
    assert found.way == pytest.approx((2.1 + 4.1 + 6.5) * 1e-9)
    assert found.barrier == pytest.approx(299e-9)
    np.testing.assert_allclose(found.total, found.core + found.way + found.barrier)
    davies = step_time(MAPPING, MASKS, SPIKES, MINI, timing("davies2018"), steps=4)
    assert davies.barrier == pytest.approx((113 + 2 / 31 * 352) * 1e-9)  # three tiles are in use


def test_latency():
    found = latency(np.array([1e-6, 2e-6]), steps=50, delay=3)
    assert found["whole_clip"].tolist() == pytest.approx([53e-6, 106e-6])
    assert found["after_last_frame"].tolist() == pytest.approx([4e-6, 8e-6])


def test_nothing_on_the_way_costs_nothing():
    still = Traffic(*(np.zeros(2) for _ in range(4)))
    events = count_events(SPIKES, [np.zeros(2)] * 3, MASKS, steps=4, traffic=still)
    assert energy(events, prices("davies2018"))["hops"].tolist() == [0, 0]
