"""The model: start and rate from measured jobs, laid on other jobs."""

import dataclasses

import pytest

from edgekws.config import Config
from edgekws.core.settings import validate
from edgekws.run import estimate, page
from edgekws.run.measured import Measured, Row
from edgekws.run.sizes import expected
from edgekws.run.work import RULES
from edgekws.run.workflow import Planned

CONFIG = Config()
SIZES = expected(CONFIG)
TRAIN, PRETRAIN = RULES["neuedge_train"], RULES["onda_pretrain"]


def row(rule, variant="", *, jobs=1, units=1.0, seconds=10.0, peak=100.0, held=0.0, device="cpu", size=None):
    return Row("small", device, rule, variant, jobs, units, seconds, seconds, peak, held, size)


def measured(*rows, start=2.0):
    return Measured(list(rows), start, "2 cores")


def planned(rule, status="missing", **at):
    return Planned(RULES[rule], at, status)


# ------------------------------------------------------------------------------------------------ rates
def test_a_rate_is_what_is_left_of_the_time_after_the_starts_by_unit():
    rate = estimate.rate(measured(row("neuedge_train", "lif", jobs=3, units=50.0, seconds=106.0)), TRAIN, "lif", "cpu")
    assert (rate.start, rate.per_unit, rate.own) == (2.0, 2.0, True)
    assert rate.seconds(1000) == 2002


def test_rates_of_several_runs_are_weighed_by_their_units():
    rows = row("neuedge_train", "lif", units=1.0, seconds=12.0), row("neuedge_train", "lif", units=99.0, seconds=192.0)
    assert estimate.rate(measured(*rows), TRAIN, "lif", "cpu").per_unit == 2.0


def test_a_variant_that_was_not_measured_borrows_from_the_others():
    rows = row("neuedge_train", "lif", units=10.0, seconds=22.0), row("neuedge_train", "ann", units=10.0, seconds=62.0)
    assert estimate.rate(measured(*rows), TRAIN, "ann", "cpu").per_unit == 6.0
    borrowed = estimate.rate(measured(*rows), TRAIN, "full", "cpu")
    assert borrowed.per_unit == 4.0 and not borrowed.own


def test_jobs_on_another_device_count_only_where_there_are_no_others():
    rows = row("neuedge_train", "lif", seconds=102.0), row("neuedge_train", "lif", seconds=7.0, device="cuda")
    assert estimate.rate(measured(*rows), TRAIN, "lif", "cuda").per_unit == 5.0
    assert estimate.rate(measured(rows[0]), TRAIN, "lif", "cuda").per_unit == 100.0


def test_a_job_that_only_starts_is_not_taken_for_work_that_is_free():
    rate = estimate.rate(measured(row("neuedge_train", "lif", units=10.0, seconds=2.0)), TRAIN, "lif", "cpu")
    assert (rate.start, rate.per_unit) == (1.0, 0.1)


def test_a_rule_that_was_never_measured_has_no_rate():
    assert estimate.rate(measured(), TRAIN, "lif", "cpu") is None


# ------------------------------------------------------------------------------------------------ lines
def test_the_run_that_was_measured_costs_what_it_cost():
    jobs = [planned("neuedge_train", arm="lif", seed=str(seed)) for seed in range(3)]
    units = TRAIN.units(CONFIG, SIZES, jobs[0].at)
    found = estimate.line(TRAIN, jobs, measured(row("neuedge_train", "lif", jobs=3, units=3 * units, seconds=360.0, peak=700.0,
                                                    held=TRAIN.held(CONFIG, SIZES, jobs[0].at))), CONFIG, SIZES)
    assert found.core_hours == pytest.approx(0.1) and found.longest == pytest.approx(120.0)
    assert found.start_share == pytest.approx(6 / 360) and found.memory_mb == 700.0


def test_ten_times_the_epochs_cost_ten_times_the_work_and_the_same_start():
    def seconds(epochs):
        config = validate(Config, {"neuedge": {"training": {"epochs": epochs}}})
        return estimate.line(TRAIN, [planned("neuedge_train", arm="lif", seed="0")], rates, config, SIZES).longest

    rates = measured(row("neuedge_train", "lif", units=TRAIN.units(CONFIG, SIZES, {"arm": "lif"}), seconds=42.0))
    assert seconds(40) == pytest.approx(42.0) and seconds(400) == pytest.approx(402.0)


def test_memory_grows_by_what_a_job_holds_more():
    at = {"backbone": "resnet15"}
    held = PRETRAIN.held(CONFIG, SIZES, at)
    more, less = (estimate.line(PRETRAIN, [planned("onda_pretrain", **at)], measured(
        row("onda_pretrain", "resnet15", peak=500.0, held=before)), CONFIG, SIZES).memory_mb for before in (held / 2, 2 * held))
    assert more == pytest.approx(500 + held / 2 / 1e6) and less == 500.0


def test_disk_is_by_formula_or_as_measured():
    features = RULES["neuedge_features"]
    big = estimate.line(features, [planned("neuedge_features")], measured(row("neuedge_features")), CONFIG, SIZES)
    assert big.disk_mb == SIZES.clips * 50 * 40 * 4 / 1e6
    models = [planned("neuedge_train", arm="lif", seed=str(seed)) for seed in range(5)]
    assert estimate.line(TRAIN, models, measured(row("neuedge_train", "lif", size=2e6)), CONFIG, SIZES).disk_mb == 10.0


def test_hours_of_a_gpu_are_told_only_where_they_were_measured():
    config = CONFIG.model_copy(update={"device": "cuda"})
    job = [planned("neuedge_train", arm="lif", seed="0")]
    lines = [estimate.line(TRAIN, job, measured(row("neuedge_train", "lif", device=device)), config, SIZES)
             for device in ("cpu", "cuda")]
    assert [line.gpu_hours is None for line in lines] == [True, False] and all(line.on_gpu for line in lines)
    assert not estimate.line(TRAIN, job, measured(row("neuedge_train", "lif")), CONFIG, SIZES).on_gpu


# ------------------------------------------------------------------------------------------------ the whole
def whole():
    jobs = [planned("index_corpus"), planned("report"), *(planned("neuedge_train", arm="lif", seed=str(n)) for n in range(4))]
    rates = measured(row("index_corpus", units=float(SIZES.clips), seconds=36.0),
                     row("neuedge_train", "lif", units=TRAIN.units(CONFIG, SIZES, {"arm": "lif"}), seconds=3600.0))
    waits = {"report": {"neuedge_train"}, "neuedge_train": {"index_corpus"}, "index_corpus": set()}
    return estimate.estimate(jobs, waits, rates, CONFIG, SIZES)


def test_the_wall_is_the_work_over_the_cores_until_the_longest_chain_is_longer():
    found = whole()
    assert found.jobs == 6 and found.core_hours == pytest.approx(4.01)
    assert found.wall_hours(2) == pytest.approx(2.005) and found.wall_hours(1000) == pytest.approx(1.01)


def test_what_has_no_estimate_is_named():
    found = whole()
    assert [line.rule.name for line in found.unmeasured] == ["report"]
    assert not any("report" in told for told in page.caveats(found)), "which leaves no benchmark"
    found = estimate.estimate([planned("onda_words")], {}, measured(row("claims", "", units=1.0, seconds=3.0)), CONFIG, SIZES)
    assert page.caveats(found) == ["Without an estimate, since no benchmark of theirs is known: onda_words."]


def test_what_is_known_from_one_run_alone_is_told_where_there_are_several():
    rates = measured(row("index_corpus", units=float(SIZES.clips), seconds=36.0), row("neuedge_train", "lif"))
    assert "alone" not in page.footing(whole(), rates, SIZES)
    larger = dataclasses.replace(rates.rows[0], run="large")
    told = page.footing(whole(), dataclasses.replace(rates, rows=[*rates.rows, larger]), SIZES)
    assert "of small, large (2 cores)" in told and told.endswith(
        "Known from small alone: 100 % of the core hours, most of them neuedge_train.")


def test_jobs_that_mostly_start_are_pointed_out():
    jobs = [planned("neuedge_train", arm="lif", seed=str(seed)) for seed in range(1000)]
    rates = measured(row("neuedge_train", "lif", units=TRAIN.units(CONFIG, SIZES, {"arm": "lif"}), seconds=5.0))
    found = estimate.estimate(jobs, {}, rates, CONFIG, SIZES)
    assert found.start_share == pytest.approx(0.4)
    assert "neuedge_train (1000 jobs, 40 %)" in page.caveats(found)[-1]
    assert not page.caveats(estimate.estimate(jobs[:5], {}, rates, CONFIG, SIZES))


def test_a_table_by_paper_adds_up():
    head, *rows, total = page.paper_table(whole())
    assert {len(row) for row in rows} == {len(head)} and len({row[0] for row in rows}) == len(rows) > 1
    assert total[0] == "all" and int(total[1]) == sum(int(row[1]) for row in rows) == whole().jobs
    assert float(total[2]) == pytest.approx(sum(float(row[2]) for row in rows), abs=0.05 * len(rows))
    assert float(total[3]) <= float(total[2])


def test_every_row_of_a_table_has_the_columns_of_its_head():
    table = page.cost_table(whole())
    assert {len(row) for row in table} == {len(table[0])} and table[-1][:2] == ["all", "6"]
    assert page.markdown_table(table).splitlines()[1].count("---:") == len(table[0]) - 1
    assert {len(line.split("|")) for line in page.markdown_table(table).splitlines()} == {len(table[0]) + 2}
