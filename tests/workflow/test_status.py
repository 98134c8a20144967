"""A finished run as `edgekws run` sees it: the units of work and sizes that costs are reckoned by, against what was built."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.workflow.conftest import TINY

from edgekws.run import measured, sizes, work

# One worker makes the finished run that these and others share.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("finished run")]


def test_a_finished_run_is_told_as_built_and_costs_nothing_more(finished):
    done = subprocess.run([Path(sys.executable).with_name("edgekws"), "run", "status", "--configfile", TINY],
                          cwd=finished.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Everything is built" in done.stdout, done.stdout + done.stderr
    *_, (label, built, stale, missing) = (line.split() for line in done.stdout.splitlines() if line.startswith("all"))
    # A table of one paper is made for who asks for it; the configuration and the report have no benchmark.
    jobs = [job for job in measured.jobs_of(finished.results()) if job.rule.name != "claims_table"]
    assert (label, stale, missing) == ("all", "–", "–") and int(built) == len(jobs) + 2


def test_every_benchmark_is_of_a_rule_and_its_first_output_is_where_it_should_be(finished):
    root = finished.results() / "benchmarks"
    for path in root.rglob("*.tsv"):
        rule, at = work.rule_of_benchmark(path.relative_to(root).with_suffix("").as_posix())
        assert measured.output_path(finished.results(), rule, at).exists(), rule.name


def test_the_sizes_by_settings_are_those_of_the_corpus(finished):
    config = measured.config_of(finished.results())
    reckoned, counted = sizes.expected(config), sizes.counted(config, finished.results())
    for name in ("words", "train", "validation", "test", "users", "validation_users", "user_clips", "pretraining_clips"):
        assert getattr(reckoned, name) == getattr(counted, name), name


@pytest.mark.parametrize("name", ["traces_propagation_features", "neuedge_features", "onda_words", "synthesise_corpus"])
def test_the_bytes_by_formula_are_those_on_disk(finished, name):
    config = measured.config_of(finished.results())
    rule = work.RULES[name]
    size = measured.output_path(finished.results(), rule, {}).stat().st_size
    assert rule.written(config, sizes.expected(config), {}) == pytest.approx(size, rel=0.05)


def test_windows_by_settings_are_about_those_of_the_corpus(finished):
    config = measured.config_of(finished.results())
    rule = work.RULES["onda_features"]
    size = measured.output_path(finished.results(), rule, {}).stat().st_size
    assert rule.written(config, sizes.expected(config), {}) == pytest.approx(size, rel=0.5)
