"""Benchmarks of a run as a small table."""

import json

import pytest

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.run import measured, workflow
from edgekws.run.workflow import Job

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(folder, name, wall, cpu, rss=100.0):
    path = folder / "benchmarks" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{wall}\t0:00:00\t{rss}\t1\t1\t1\t1\t1\t1\t{cpu}\n")


def job(rule, benchmark, units=5, gpu=None, **wildcards):
    return Job(rule, wildcards, (), (rule,), benchmark, units, gpu, "built")


JOBS = [job("train", "neuedge/rate_seed0", arm="rate", seed="0"), job("train", "neuedge/rate_seed1", 7, arm="rate", seed="1"),
        *(job("train", f"neuedge/ann_seed{seed}", arm="ann", seed=str(seed), gpu=1) for seed in range(2)),
        job("export", "neuedge/export_hybrid_seed0", 0, arm="hybrid"), job("config", None, None),
        job("mine", "mine/anything", None)]
"""The plan of a run. Not all of it was done, and a rule that somebody added declares no units."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    benchmark(folder, "neuedge/export_hybrid_seed0", 3.0, 2.0)
    benchmark(folder, "neuedge/rate_seed0", 30.0, 10.0, rss=300.0)
    benchmark(folder, "neuedge/rate_seed1", 14.0, 12.0, rss=500.0)
    benchmark(folder, "neuedge/ann_seed0", 5.0, 4.0)
    benchmark(folder, "mine/anything", 1.0, 1.0)
    benchmark(folder, "somebody/elses", 1.0, 1.0)
    monkeypatch.setattr(workflow, "plan", lambda configfiles, status: JOBS)
    return folder


def test_jobs_are_summed_up_by_rule_and_variant(run):
    found = measured.summarise([run])
    assert found.start == 2.0
    rows = {(row.rule, row.variant): row for row in found.rows}
    assert rows.keys() == {("export", "arm=hybrid"), ("train", "arm=rate"), ("train", "arm=ann"), ("mine", "")}
    rate = rows["train", "arm=rate"]
    # Ten core seconds in the first fifteen of thirty: twenty in all.
    assert (rate.jobs, rate.core_seconds, rate.units, rate.peak_mb, rate.device) == (2, 32.0, 12, 500.0, "cpu")
    ann = rows["train", "arm=ann"]
    assert (ann.jobs, ann.units, ann.device) == (1, 5, "gpu")


def test_a_rule_that_declares_no_units_is_measured_all_the_same(run):
    rows = {row.rule: row for row in measured.summarise([run]).rows}
    assert rows["mine"].units is None and rows["mine"].core_seconds == 1.0


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
    (lambda run: (run / "benchmarks" / "neuedge" / "ann_seed0.tsv").write_text("half a li"), "is no benchmark"),
    (lambda run: (run / "benchmarks" / "neuedge" / "ann_seed0.tsv").write_text(HEAD), "is no benchmark"),
    (lambda run: (run / "benchmarks").rename(run / "gone"), "holds no benchmarks")])
def test_a_run_that_cannot_be_summed_up_is_refused_with_its_name(run, spoil, said):
    spoil(run)
    with pytest.raises(UserError, match=said) as error:
        measured.summarise([run])
    assert "small" in str(error.value.where)


@pytest.mark.parametrize("benchmark_, result", [
    ("neuedge/lif_seed0", "models/neuedge/lif_seed0.safetensors"), ("onda/pretrain_a", "models/onda/a.safetensors"),
    ("onda/prune_a_offline25", "models/onda/a_offline25.safetensors"), ("neuedge/encoding", "metrics/neuedge/encoding.json")])
def test_the_result_of_a_job_is_found_by_its_benchmark(tmp_path, benchmark_, result):
    assert measured.result_of(tmp_path, benchmark_) is None
    path = tmp_path / result
    path.parent.mkdir(parents=True)
    path.touch()
    assert measured.result_of(tmp_path, benchmark_) == path


@pytest.mark.parametrize("content", [{"schema": 3, "rows": []}, {"schema": 2, "rows": [{"rule": "a"}], "machine": ""}, []])
def test_a_file_that_is_no_summary_is_refused(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="no summary of benchmarks"):
        measured.load([path])
