"""A finished run as `edgekws run` sees it."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.workflow.conftest import TINY

from edgekws.config import Config
from edgekws.core import files, settings
from edgekws.run import estimate, measured, speech, workflow

# One worker makes the finished run that these and others share.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("finished run")]


def edgekws(finished, *arguments):
    done = subprocess.run([Path(sys.executable).with_name("edgekws"), "run", *arguments], cwd=finished.folder,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_finished_run_is_shown_as_built_and_costs_nothing_more(finished):
    shown = edgekws(finished, "status", "--configfile", TINY)
    assert "Everything is built" in shown
    *_, (label, built, stale, missing) = (line.split() for line in shown.splitlines() if line.startswith("all"))
    assert (label, stale, missing) == ("all", "–", "–") and int(built) > 50


def test_every_job_with_a_benchmark_is_measured_and_what_it_cost_is_what_it_is_estimated_to_cost(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    jobs = workflow.plan([TINY], status=False)
    found = measured.summarise([finished.results()])
    assert sum(row.jobs for row in found.rows) == sum(job.benchmark is not None for job in jobs)
    took = sum(row.core_seconds for row in found.rows)
    assert 3600 * estimate.estimate(jobs, found).core_hours == pytest.approx(took, rel=0.001)
    assert estimate.estimate(jobs, found).unknown == []


def test_the_speech_by_settings_is_that_of_the_corpus(finished):
    config = settings.validate(Config, files.read_json(finished.results() / "config.json"), where="config.json")
    index = finished.results() / "corpus" / "index.parquet"
    real = config.model_copy(update={"corpus": config.corpus.model_copy(update={"name": "gsc"})})
    assert speech.speech_of(config, index) == speech.speech_of(real, index)
