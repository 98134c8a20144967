"""The model: start and rate from measured jobs, laid on other jobs."""

import dataclasses

import pytest

from edgekws.run import estimate, page
from edgekws.run.measured import Measured, Row
from edgekws.run.workflow import Job

START = Row("small", "export", "", 1, 2.0, 0, 50.0, "cpu")


def row(rule, variant="", *, jobs=1, units=1, seconds=10.0, peak=100.0, device="cpu", run="small"):
    return Row(run, rule, variant, jobs, seconds, units, peak, device)


def measured(*rows):
    return Measured([START, *rows], "2 cores")


def job(rule, units=1, *, output="x", needs=(), gpu=None, status="missing", benchmark="neuedge/some", **wildcards):
    return Job(rule, wildcards, tuple(needs), (output,), benchmark, units, gpu, status)


# ------------------------------------------------------------------------------------------------ one job
def test_a_job_takes_its_start_and_its_units_times_the_rate():
    rates = measured(row("train", jobs=3, units=50, seconds=106.0))
    assert estimate.cost(job("train", 1000), rates)[:2] == (2002.0, "units")


@pytest.mark.parametrize("factor", [2, 10, 1000])
def test_work_grows_with_its_units_and_the_start_does_not(factor):
    rates = measured(row("train", units=7, seconds=23.0))
    once, more = (estimate.cost(job("train", units), rates).seconds - 2 for units in (3, 3 * factor))
    assert more == pytest.approx(factor * once)


def test_the_run_that_was_measured_costs_what_it_cost():
    rates = measured(row("train", jobs=2, units=30, seconds=64.0))
    assert sum(estimate.cost(job("train", units), rates).seconds for units in (10, 20)) == pytest.approx(64.0)


def test_rates_of_several_runs_are_weighed_by_their_units():
    rates = measured(row("train", units=1, seconds=12.0), row("train", units=99, seconds=192.0))
    assert estimate.cost(job("train", 5), rates).seconds == 12.0


def test_a_job_that_only_starts_is_not_taken_for_work_that_is_free():
    assert estimate.cost(job("train", 10), measured(row("train", units=10, seconds=2.0))).seconds == 2.0
    assert estimate.cost(job("train", 100), measured(row("train", units=10, seconds=2.0))).seconds == 11.0


def test_a_rule_that_declares_no_units_takes_the_time_of_a_like_job():
    rates = measured(row("figures", jobs=2, units=None, seconds=14.0))
    assert estimate.cost(job("figures", None), rates)[:2] == (7.0, "like job")
    # As where the declaration is younger than the measurement, or the other way about.
    assert estimate.cost(job("figures", 5), rates)[:2] == (7.0, "like job")
    assert estimate.cost(job("train", None), measured(row("train", units=100)))[:2] == (10.0, "like job")


def test_a_rule_that_does_nothing_but_start_takes_what_it_took():
    assert estimate.cost(job("export", 0), measured()).seconds == 2.0
    assert measured(row("other", units=0, seconds=1.5)).start == 1.5 and Measured([row("train")], "").start == 0


def test_a_rule_that_was_never_measured_is_unknown():
    assert estimate.cost(job("train"), measured()) == estimate.UNKNOWN


# ------------------------------------------------------------------------------------------------ like jobs
def test_like_jobs_are_those_whose_wildcards_differ_least():
    rows = (row("adapt", "experiment=a, method=x", seconds=4.0), row("adapt", "experiment=a, method=y", seconds=6.0),
            row("adapt", "experiment=b, method=y", seconds=8.0))
    exact = estimate.cost(job("adapt", experiment="a", method="y", seed="7"), measured(*rows))
    assert (exact.seconds, exact.exact) == (6.0, True)
    near = estimate.cost(job("adapt", experiment="b", method="x"), measured(*rows))
    assert near.rows == (rows[0], rows[2]) and not near.exact
    summed = row("adapt", "method=y", seconds=2.0)
    assert estimate.cost(job("adapt", experiment="b", method="y"), measured(*rows, summed)).rows == (rows[2], summed)


def test_jobs_on_another_device_count_only_where_there_are_no_others():
    rows = row("train", seconds=102.0), row("train", seconds=7.0, device="gpu")
    assert estimate.cost(job("train", gpu=1), measured(*rows)).seconds == 7.0
    assert estimate.cost(job("train", gpu=0), measured(*rows)).seconds == 102.0
    assert estimate.cost(job("train", gpu=1), measured(rows[0])).seconds == 102.0


# ------------------------------------------------------------------------------------------------ the whole
JOBS = [job("index", output="i", benchmark="index"), job("report", output="r", needs=["m0", "m1"], benchmark=None),
        *(job("train", 10, output=f"m{n}", needs=["i"], gpu=0, seed=str(n)) for n in range(4))]
RATES = measured(row("index", seconds=36.0), row("train", jobs=2, units=20, seconds=7200.0))


def test_an_estimate_is_additive_over_jobs():
    whole = estimate.estimate(JOBS, RATES)
    parts = [estimate.estimate([each], RATES) for each in JOBS]
    assert whole.jobs == 6 and whole.core_hours == pytest.approx(sum(part.core_hours for part in parts)) == pytest.approx(4.01)
    twice = estimate.estimate([*JOBS, *JOBS], RATES)
    assert twice.core_hours == pytest.approx(2 * whole.core_hours) and twice.memory_mb == whole.memory_mb


def test_the_wall_is_the_work_over_the_cores_until_the_longest_chain_is_longer():
    found = estimate.estimate(JOBS, RATES)
    assert found.wall_hours(2) == pytest.approx(2.005) and found.wall_hours(1000) == pytest.approx(1.01)


def test_what_is_unknown_is_said_but_not_of_rules_without_a_benchmark():
    found = estimate.estimate([*JOBS, job("new")], RATES)
    assert found.unknown == ["new"]
    assert page.caveats(found) == ["Unknown, since no benchmark of theirs is there: new."]
    assert {line[0]: line[-1] for line in page.cost_table(found)} | {"new": "unknown", "report": "unknown", "train": "units"} == {
        line[0]: line[-1] for line in page.cost_table(found)}


def test_what_was_not_measured_itself_is_said():
    rates = measured(row("train", "arm=a", seconds=7200.0))
    said = page.caveats(estimate.estimate([job("train", arm="b"), job("train", arm="a")], rates))
    assert len(said) == 1 and "train (arm=b)" in said[0]


def test_what_is_known_from_one_run_alone_is_said_where_there_are_several():
    assert "alone" not in page.footing(estimate.estimate(JOBS, RATES), RATES)
    rates = dataclasses.replace(RATES, rows=[*RATES.rows, row("index", seconds=36.0, run="large")])
    told = page.footing(estimate.estimate(JOBS, rates), rates)
    assert "runs small, large (2 cores)" in told and told.endswith(
        "Known from small alone: 100 % of the core hours, most of them train.")


def test_hours_of_a_gpu_are_given_only_where_they_were_measured():
    asked = [dataclasses.replace(each, gpu=1) if each.gpu == 0 else each for each in JOBS]
    on_gpu = measured(row("train", units=10, seconds=3600.0, device="gpu"))
    assert estimate.estimate(asked, RATES).gpu_hours is None and estimate.estimate(asked, RATES).asks_for_gpus
    assert estimate.estimate(asked, on_gpu).gpu_hours == pytest.approx(4.0)
    assert estimate.estimate(JOBS, RATES).gpu_able_hours == pytest.approx(4.0)
    assert not estimate.estimate(JOBS, RATES).asks_for_gpus


def test_tables_add_up():
    found = estimate.estimate(JOBS, RATES)
    table = page.cost_table(found)
    assert {len(each) for each in table} == {len(table[0])} and table[-1][:2] == ["all", "6"]
    assert {len(line.split("|")) for line in page.markdown_table(table).splitlines()} == {len(table[0]) + 2}
    head, *rows, total = page.paper_table(found)
    assert [each[0] for each in rows] == ["shared", "neuedge"] and {len(each) for each in rows} == {len(head)}
    assert int(total[1]) == sum(int(each[1]) for each in rows) == 6
    assert float(total[2]) == pytest.approx(sum(float(each[2]) for each in rows), abs=0.1)
