import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekws.methods.onda.false_alarms import at_threshold, operating_point, resolution

NEGATIVE = [0.9, 0.2, 0.5, 0.7, 0.4]


def test_as_many_negatives_pass_as_the_rate_allows():
    # Two in four hours: the threshold is the third lowest, 0.5, and 0.2 and 0.4 pass.
    found = operating_point([0.1, 0.3, 0.5, 0.6], NEGATIVE, hours=4, rate=0.5)
    assert found == (0.5, 50.0, 2, 0.5)  # 0.5 is not below 0.5


def test_part_of_a_false_alarm_is_none():
    assert operating_point([0.3], NEGATIVE, hours=3.99, rate=0.5).allowed == 1
    assert operating_point([0.1, 0.3], NEGATIVE, hours=1.99, rate=0.5) == (0.2, 50.0, 0, 0.0)


def test_hours_that_miss_a_whole_number_by_rounding_are_not_a_false_alarm_less():
    hours = sum([0.1] * 40)  # 4.000000000000001, and its like below
    assert operating_point([0.3], NEGATIVE, hours=hours, rate=0.5).allowed == 2
    assert operating_point([0.3], NEGATIVE, hours=np.nextafter(4, 0), rate=0.5).allowed == 2
    assert operating_point([0.3], NEGATIVE, hours=3, rate=1.1 / 3.3).allowed == 1


def test_of_equal_scores_at_the_threshold_none_passes():
    found = operating_point([0.2, 0.3, 0.39], [0.4, 0.4, 0.4, 0.3], hours=4, rate=0.5)
    assert (found.threshold, found.allowed, found.false_alarms_per_hour) == (0.4, 2, 0.25)
    assert found.accuracy == 100


def test_where_all_negatives_may_pass_everything_is_detected():
    assert operating_point([0.1, 99.0], NEGATIVE, hours=10, rate=0.5) == (math.inf, 100.0, 5, 0.5)
    assert operating_point([5.0], [], hours=1, rate=0.5) == (math.inf, 100.0, 0, 0.0)


def test_a_negative_that_was_screened_out_is_never_a_false_alarm():
    found = operating_point([0.1, 3.0], [0.2, math.inf, math.inf], hours=2, rate=0.5)
    assert found.threshold == math.inf
    assert (found.accuracy, found.false_alarms_per_hour) == (100.0, 0.5)


def test_a_threshold_of_the_device():
    assert at_threshold([0.1, 0.3, 0.5, 0.6], NEGATIVE, hours=2, threshold=0.5) == (50.0, 1.0)
    assert at_threshold([0.1], NEGATIVE, hours=2, threshold=0.0) == (0.0, 0.0)


@given(st.lists(st.floats(0, 4), min_size=1), st.lists(st.floats(0, 4)), st.floats(0.01, 20), st.floats(0, 8))
def test_the_operating_point_is_what_its_threshold_gives(positive, negative, hours, rate):
    found = operating_point(positive, negative, hours, rate)
    assert at_threshold(positive, negative, hours, found.threshold) == (found.accuracy, found.false_alarms_per_hour)
    assert found.false_alarms_per_hour * hours <= found.allowed + 1e-6
    assert found.accuracy <= operating_point(positive, negative, hours, rate + 1).accuracy


def test_what_the_hours_can_tell():
    assert resolution(4.0, 0.5) == {"hours": 4.0, "false_alarms_per_hour": 0.5, "allowed": 2, "smallest_rate": 0.25,
                                    "told": True}
    short = resolution(1.25, 0.5)
    assert (short["allowed"], short["smallest_rate"], short["told"]) == (0, 0.8, False)


def test_scores_that_tell_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one positive"):
        operating_point([], NEGATIVE, hours=4, rate=0.5)
    for positive, negative in (([math.nan], NEGATIVE), ([0.1], [0.2, math.nan])):
        with pytest.raises(ValueError, match="not a number"):
            at_threshold(positive, negative, hours=4, threshold=0.5)
    for hours in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="hours above 0"):
            resolution(hours, 0.5)
