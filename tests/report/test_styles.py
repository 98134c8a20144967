"""How the methods' figures name and draw what they show."""

import pytest

from edgekws.methods.alternatives import style as alternatives
from edgekws.methods.neuedge import style as neuedge
from edgekws.methods.onda import style as onda
from edgekws.methods.traces_propagation import style as traces_propagation


@pytest.mark.parametrize("looks", [neuedge.VARIANTS, neuedge.THRESHOLDS], ids=["variants", "thresholds"])
def test_lines_of_a_figure_differ_in_colour_and_in_marker(looks):
    assert len({look.colour for look in looks.values()}) == len({look.marker for look in looks.values()}) == len(looks)


@pytest.mark.parametrize("looks", [traces_propagation.METHODS, alternatives.ALTERNATIVES, onda.SCHEDULES],
                         ids=["methods", "alternatives", "schedules"])
def test_points_of_a_figure_differ_in_colour_or_in_marker_and_in_label(looks):
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(looks)
    assert len({look.label for look in looks.values()}) == len(looks)


def test_ways_to_adapt_are_told_apart_without_colour():
    assert len({look.marker for look in traces_propagation.METHODS.values()}) == len(traces_propagation.METHODS)


def test_the_rule_looks_the_same_beside_the_alternatives():
    assert alternatives.alternative("traces_propagation") == traces_propagation.method("traces_propagation")


@pytest.mark.parametrize("looks_of", [traces_propagation.method, neuedge.variant, onda.schedule, alternatives.alternative])
def test_what_is_not_known_is_drawn_under_its_own_name(looks_of):
    assert looks_of("something_new").label == "something new"


def test_further_hidden_layers_take_up_the_colours_again():
    assert neuedge.population(3, 6) == ("hidden 3", neuedge.POPULATIONS["hidden 1"])


def test_every_control_is_a_schedule():
    assert set(onda.CONTROLS) < set(onda.SCHEDULES)
