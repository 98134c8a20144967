"""The search of a grid that widens: against functions whose best point is known."""

import math

import pytest

from edgekws.core.checkpoint import Checkpoint
from edgekws.protocol.tuning import ascend, search


def peak(best, asked):
    """Accuracy that falls with the distance from ``best`` on a logarithmic scale; counts what is asked."""
    def measure(point):
        asked.append(dict(point))
        return {"after": -sum(abs(math.log(point[name] / value)) for name, value in best.items())}
    return measure


def test_a_best_inside_the_grid_is_not_widened():
    asked = []
    best, points = search({"rate": [1.0, 10.0, 100.0]}, peak({"rate": 10.0}, asked), widen=5)
    assert best["rate"] == 10.0 and best["on_edge"] == [] and len(asked) == 3
    assert [point["widened"] for point in points] == [None] * 3


@pytest.mark.parametrize("true", [1e-3, 1e5])
def test_an_edge_is_moved_until_the_best_lies_inside(true):
    asked = []
    best, points = search({"rate": [1.0, 10.0, 100.0], "epochs": [3]}, peak({"rate": true}, asked), widen=9)
    assert best["rate"] == pytest.approx(true) and best["on_edge"] == []
    added = [point["rate"] for point in points if point["widened"] == "rate"]
    assert added[-1] == pytest.approx(true * 10 if true > 1 else true / 10), "one further, to see that it falls"
    assert all(point["epochs"] == 3 for point in points), "an axis of one value is not searched"


def test_widening_is_bounded_and_says_that_the_best_is_still_on_the_edge():
    best, points = search({"rate": [1.0, 10.0]}, peak({"rate": 1e9}, []), widen=2)
    assert len(points) == 4 and best["rate"] == pytest.approx(1000.0) and best["on_edge"] == ["rate"]


def test_a_bound_is_no_edge_and_whole_numbers_stay_whole():
    asked = []
    best, points = search({"batch": [16, 5]}, peak({"batch": 1e-3}, asked), widen=9, bounded={"batch": (1, 16)})
    assert best["batch"] == 1 and best["on_edge"] == []
    assert [point["batch"] for point in points] == [16, 5, 2, 1] and all(isinstance(point["batch"], int) for point in points)


def test_equals_go_to_the_first():
    best, _ = search({"epochs": [3, 10], "rate": [1.0, 2.0]}, lambda point: {"after": 1.0}, widen=0)
    assert (best["epochs"], best["rate"]) == (3, 1.0)


def test_a_search_goes_on_from_its_checkpoint(tmp_path):
    """Cut off in the widening, it asks for the remaining points only, and finds the same."""
    axes, asked = {"rate": [1.0, 10.0]}, []
    whole = search(axes, peak({"rate": 1e3}, []), widen=6)

    class Cut(Exception):
        pass

    def cut(point):
        if len(asked) == 3:
            raise Cut
        return peak({"rate": 1e3}, asked)(point)

    def checkpoint():
        kept = Checkpoint(tmp_path / "out.json")
        kept.due = lambda: True
        return kept

    with pytest.raises(Cut), checkpoint() as state:
        search(axes, cut, widen=6, checkpoint=state)
    again = []
    with checkpoint() as state:
        assert search(axes, peak({"rate": 1e3}, again), widen=6, checkpoint=state) == whole
    assert len(again) == len(whole[1]) - 3


def test_one_axis_after_another_from_the_best_so_far():
    """The second axis pays only where the first is at its best, and no point is measured twice."""
    asked = []

    def measure(point):
        asked.append(dict(point))
        return {"score": {"a": 0, "b": 2}[point["kind"]] + (point["rate"] if point["kind"] == "b" else -point["rate"])}

    best, points = ascend({"kind": "a", "rate": 1}, {"kind": ["a", "b"], "rate": [0, 1, 3]}, measure)
    assert (best["kind"], best["rate"]) == ("b", 3)
    assert asked == [{"kind": "a", "rate": 1}, {"kind": "b", "rate": 1}, {"kind": "b", "rate": 0}, {"kind": "b", "rate": 3}]
    assert [point["score"] for point in points] == [-1, 3, 2, 5]
