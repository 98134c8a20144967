"""The page of benchmarks: what it is made of, and that all of it runs."""

import json
import sys

import pytest

from benchmarks import measuring, run


def test_the_exponent_of_a_power_is_found_and_of_too_little_none():
    assert measuring.exponent([1, 10, 100], [2.0, 2.0, 2.0]) == pytest.approx(0.0, abs=1e-9)
    assert measuring.exponent([3, 9, 27], [5 * size**1.5 for size in (3, 9, 27)]) == pytest.approx(1.5)
    assert measuring.exponent([1, 2, 4], [0.0, 0.0, 1.0]) is None


def test_variants_take_turns_and_the_first_round_is_not_timed():
    called, ticks = [], iter(range(100))
    found = measuring.in_turn({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2, clock=lambda: next(ticks))
    assert called == ["a", "b"] * 3 and {name: len(values) for name, values in found.items()} == {"a": 2, "b": 2}
    assert measuring.medians({"a": [1.0, 9.0, 2.0]}) == {"a": 2.0}


def test_what_is_not_installed_is_said_and_no_number_is_made_up():
    row = {"about": "It runs", "axis": "clips", "against": "other", "variants": {
        "ours": {"sizes": [1, 4], "seconds": [0.1, 0.4], "bytes": [1e6, 1e6], "time_exponent": 1.0, "memory_exponent": 0.0}}}
    about = measuring.envelope(measuring.machine(), threads=1, repetitions=3)
    assert "| it | – | – | other is not installed | – | – | – |" in run.page({"it": row}, about)
    other = {**row["variants"]["ours"], "sizes": [1], "seconds": [0.3], "bytes": [2e6], "time_exponent": None}
    told = run.page({"it": {**row, "variants": {**row["variants"], "other": other}}}, about)
    assert "| it | 1 clips | 100.0 ms | other: 300.0 ms | 3.0 | 1.00, – | 1.0 MB, 2.0 MB |" in told, "the largest common size"


@pytest.mark.slow
def test_a_quick_run_writes_numbers_figure_and_page(monkeypatch, tmp_path):
    names = ["local rule", "integer chip", "users in turn", "log-mel features"]
    monkeypatch.setattr(sys, "argv", ["run", "--quick", "--out", str(tmp_path), "--only", *names])
    run.main()
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert list(told["comparisons"]) == names and told["machine"]["cores"] >= 1
    for name, row in told["comparisons"].items():
        assert row["against"] in row["variants"] and "ours" in row["variants"]
        for part in row["variants"].values():
            assert part["sizes"] == list(run.COMPARISONS[name].sizes[:2]) and min(part["seconds"]) > 0
    assert (tmp_path / "figures" / "benchmarks.svg").is_file() and (tmp_path / "figures" / "benchmarks.png").is_file()
    assert all(f"**{name}**" in (tmp_path / "benchmarks.md").read_text() for name in names)
