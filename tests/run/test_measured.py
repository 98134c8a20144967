"""Benchmarks of a run as a small table."""

import json

import pytest

from edgekws.config import Config
from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.run import measured
from edgekws.run.work import RULES

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(folder, name, wall, cpu, rss=100.0):
    path = folder / "benchmarks" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{wall}\t0:00:00\t{rss}\t1\t1\t1\t1\t1\t1\t{cpu}\n")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(Config(run="small").model_dump_json())
    benchmark(folder, "neuedge/export_hybrid_seed0", 3.0, 2.0)
    benchmark(folder, "neuedge/rate_seed0", 30.0, 10.0, rss=300.0)
    benchmark(folder, "neuedge/rate_seed1", 14.0, 12.0, rss=500.0)
    benchmark(folder, "neuedge/ann_seed0", 5.0, 4.0)
    benchmark(folder, "somebody/elses", 1.0, 1.0)
    return folder


def test_jobs_are_summed_up_by_rule_and_variant(run):
    found = measured.summarise([run])
    assert found.start == 2.0
    rows = {(row.rule, row.variant): row for row in found.rows}
    assert rows.keys() == {("neuedge_export", ""), ("neuedge_train", "rate"), ("neuedge_train", "ann")}
    rate = rows["neuedge_train", "rate"]
    # Ten core seconds in the first fifteen of thirty: twenty in all.
    assert (rate.jobs, rate.core_seconds, rate.core_seconds_max, rate.peak_mb) == (2, 32.0, 20.0, 500.0)
    from edgekws.run.sizes import expected

    assert rate.units == 2 * RULES["neuedge_train"].units(Config(), expected(Config()), {"arm": "rate"})


def test_what_is_of_no_experiment_or_method_of_the_configuration_is_passed_over(run):
    """As after one was deleted from the settings, or of an older version that gave other names."""
    before = measured.summarise([run])
    for name in ("onda/ds_cnn_s", "traces_propagation/one_user/none_seed0", "alternatives/adaptation/none_seed0"):
        benchmark(run, name, 9.0, 9.0)
    assert measured.summarise([run]) == before


def test_what_a_job_left_behind_is_weighed(run):
    model = run / "models" / "neuedge" / "ann_seed0.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"x" * 1234)
    rows = {(row.rule, row.variant): row.bytes for row in measured.summarise([run]).rows}
    assert rows["neuedge_train", "ann"] == 1234 and rows["neuedge_train", "rate"] is None


def test_a_summary_is_read_as_it_was_written(run, tmp_path):
    found, path = measured.summarise([run]), tmp_path / "summary.json"
    files.write_json(path, found.to_json())
    assert measured.load([path]) == found == measured.load([run])
    assert len(measured.load([path, run]).rows) == 2 * len(found.rows)


def test_runs_are_found_where_they_left_benchmarks_and_a_configuration(run):
    (run.parent / "begun").mkdir()
    assert measured.runs_in(run.parent) == [run] and measured.runs_in(run.parent / "nowhere") == []


@pytest.mark.parametrize("spoil, said", [
    (lambda run: (run / "config.json").unlink(), "has no config.json"),
    (lambda run: (run / "config.json").write_text('{"trheads": 1}'), "unknown setting 'trheads'"),
    (lambda run: (run / "benchmarks" / "neuedge" / "ann_seed0.tsv").write_text("half a li"), "is no benchmark"),
    (lambda run: (run / "benchmarks" / "neuedge" / "ann_seed0.tsv").write_text(HEAD), "is no benchmark"),
    (lambda run: (run / "benchmarks" / "loihi" / "export_hybrid_seed0.tsv").unlink(), "what starting a process costs")])
def test_a_run_that_cannot_be_summed_up_is_refused_with_its_name(run, spoil, said):
    spoil(run)
    with pytest.raises(UserError, match=said) as error:
        measured.summarise([run])
    assert "small" in str(error.value.where)


def test_a_file_that_is_no_summary_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"schema": 2, "rows": []}))
    with pytest.raises(UserError, match="no summary of benchmarks"):
        measured.load([path])
