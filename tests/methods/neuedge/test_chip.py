"""The catalogue of chips, prices and times."""

import numpy as np
import pytest
import yaml

from edgekws.core.errors import UserError
from edgekws.methods.neuedge import chip


@pytest.fixture
def edited(tmp_path):
    """A function that writes the catalogue with one value changed: ``edited("chips.loihi1.neurons.value", 0)``."""
    def edit(name, value):
        data = yaml.safe_load(chip.load().model_dump_json())
        *parents, last = name.split(".")
        place = data
        for parent in parents:
            place = place[parent]
        place[last] = value
        path = tmp_path / "chips.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return edit


def test_loihi_is_that_of_the_specification():
    loihi = chip.chip("loihi1")
    assert loihi.cores == 128
    assert loihi.capacity == {"neurons": 1024, "synapse_bits": 1_048_576, "in_axons": 4096, "out_axons": 4096}
    assert loihi.cores * loihi.synapse_bits.value // loihi.weight_bits.value == 16_777_216


def test_mini_chip_is_that_of_the_specification():
    mini = chip.chip("mini_chip")
    assert (mini.cores, mini.neurons.value, mini.synapse_bits.value // mini.weight_bits.value) == (16, 64, 8192)


def test_prices_in_joules():
    assert chip.prices("davies2018").synapse.si == pytest.approx(23.6e-12)
    assert chip.prices("sanafe").hop_north_south.si == pytest.approx(4.2e-12)
    assert chip.load().static_power["idle"].si == pytest.approx(0.030)
    assert chip.timing("truenorth").barrier(1) == pytest.approx(1e-3)


def test_positions_and_hops_by_hand():
    loihi = chip.chip("loihi1")
    assert loihi.positions[[0, 3, 4, 31, 32, 127]].tolist() == [[0, 0], [0, 0], [1, 0], [7, 0], [0, 1], [7, 3]]
    assert loihi.hops[:, 0, 127].tolist() == [7, 3]
    assert loihi.hops[:, 4, 32].tolist() == [1, 1]
    np.testing.assert_array_equal(loihi.hops, loihi.hops.transpose(0, 2, 1))


@pytest.mark.parametrize(("tiles", "nanoseconds"), [(1, 113), (32, 465), (16, 113 + 15 / 31 * 352), (99, 465)])
def test_barrier_between_one_tile_and_all(tiles, nanoseconds):
    assert chip.timing("davies2018").barrier(tiles) == pytest.approx(nanoseconds * 1e-9)


def test_a_written_catalogue_reads_back(edited):
    assert chip.read(edited("chips.loihi1.name", "loihi1")) == chip.load()


@pytest.mark.parametrize(("name", "value", "message"), [
    ("chips.loihi1.neurons.value", 0, "chips.loihi1.neurons.value"),
    ("chips.loihi1.neurons.source", "hearsay", "chips.loihi1.neurons: source 'hearsay'"),
    ("chips.loihi1.timing", "none", "chips.loihi1.timing"),
    ("prices.sanafe.hop", {"value": 1, "source": "sanafe"}, "prices.sanafe.hop"),
    ("prices.sanafe.spike.unit", "kJ", "prices.sanafe.spike.unit"),
    ("macs.int8.value", -1, "macs.int8.value"),
])
def test_what_is_wrong_is_named(edited, name, value, message):
    with pytest.raises(UserError, match=message):
        chip.read(edited(name, value))


def test_no_file_and_no_yaml(tmp_path):
    with pytest.raises(UserError, match="no such chip file"):
        chip.read(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        chip.read(tmp_path / "bad.yaml")


@pytest.mark.parametrize(("find", "name", "near"), [
    (chip.chip, "loihi3", "loihi"), (chip.prices, "davies", "davies2018"), (chip.timing, "true_north", "truenorth")])
def test_unknown_names_get_the_nearest(find, name, near):
    with pytest.raises(UserError, match=near):
        find(name)
