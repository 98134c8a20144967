"""Whole runs of the workflow at its smallest."""

import json
import os
import signal
import subprocess
import time

import pytest
from tests.workflow.conftest import ROOT, Project

from edgekws.config import Config
from edgekws.ledger.schema import read_papers

# One worker makes the finished run that most of these share.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("finished run")]
VERDICTS = {"replicated", "direction_only", "not_replicated", "contradicted", "effect_seen_on_synthetic", "not_testable",
            "not_run"}


def metrics_of(project):
    folder = project.results() / "metrics"
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.json"))}


def test_a_run_ends_in_a_report_and_a_whole_ledger(finished):
    results = finished.results()
    ledger = json.loads((results / "claims.json").read_text())
    assert ledger["schema"] == 3 and ledger["run"] == "tiny"
    assert len(ledger["claims"]) == sum(len(paper.claims) for paper in read_papers(ROOT / "claims")) >= 58
    assert {claim["verdict"] for claim in ledger["claims"]} <= VERDICTS
    measured = [claim for claim in ledger["claims"] if claim["value"] is not None]
    timed = [claim for claim in measured if claim["corpus"].startswith("noise on ")]
    assert not {"replicated", "direction_only", "not_replicated", "contradicted"} & {
        claim["verdict"] for claim in measured if claim not in timed}, "this speech is synthetic"
    assert timed and all(claim["verdict"] == "not_run" and claim["elsewhere"] for claim in timed), "on another machine"
    report = (results / "report.html").read_text()
    assert "ynthetic speech" in report and all(claim["id"] in report for claim in ledger["claims"])
    for name in ("few_shot", "gain_per_user", "forgetting", "encoder_grid", "ablation", "mapping", "loihi", "rulegraph",
                 "pareto", "personalisation_gain", "detection_error", "conditions", "pruning_controls", "pruning_cost",
                 "hessian"):
        assert (results / "figures" / f"{name}.svg").stat().st_size > 1000
    assert not list(results.rglob("*.part")), "nothing half-written stays"


def test_every_metrics_file_knows_where_it_came_from(finished):
    for path in (finished.results() / "metrics").rglob("*.json"):
        about = json.loads(path.read_text())["provenance"]
        assert about["code"] and about["packages"]["torch"], path
        if path.name == "cost.json":  # what is timed is fed noise
            assert about["corpus"]["name"].startswith("noise on "), path
        elif path.name != "utilisation.json":  # which is about chips alone
            assert about["corpus"]["archive_sha256"] and about["corpus"]["synthetic"] is True, path


def test_lava_agrees_with_every_spike_or_the_run_says_why_it_could_not_be_asked(finished):
    found = json.loads((finished.results() / "metrics" / "neuedge" / "referee.json").read_text())
    if (finished.folder / ".envs" / "lava" / "not_installed.txt").exists():
        assert found["status"] == "not run" and "could not be installed" in found["why"] and found["share"] is None
    else:
        assert found["status"] == "agrees" and found["compared"] == found["equal"] > 0
        assert [model["arm"] for model in found["models"]] == ["hybrid", "mapped"]


def test_a_finished_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


# Rules of methods that were added: they begin with the method's name (docs/add_a_method.md).
ADDED = tuple({path.stem for path in (ROOT / "workflow" / "rules").glob("*.smk")} - {
    "common", "environments", "corpus", "protocol", "traces_propagation", "neuedge", "onda", "report", "targets"})
TP_FIGURES, NEUEDGE_FIGURES, ONDA_FIGURES = "traces_propagation_figures", "neuedge_figures", "onda_figures"
ONDA_ENCODER = "onda={pretraining: {episodes_of: {resnet15_narrow: 2}}, experiments: {resnet: {backbone: resnet15_narrow}}}"


@pytest.mark.parametrize("change, reruns", [
    ("statistics={resamples: 300}", {
        "traces_propagation_summarise", "traces_propagation_summarise_stream", "traces_propagation_depth", TP_FIGURES,
        "neuedge_summarise", NEUEDGE_FIGURES, "onda_summarise", ONDA_FIGURES}),
    ("traces_propagation={methods: {bptt: {epochs: 2}}}",
     {"traces_propagation_adapt", "traces_propagation_summarise", TP_FIGURES}),
    ("protocol={many_users: {folds: 3}}",
     {"protocol_plan", "traces_propagation_adapt", "traces_propagation_tune", "traces_propagation_summarise",
      "traces_propagation_stream", "traces_propagation_summarise_stream", TP_FIGURES}),
    ("traces_propagation={tuning: {epochs: [2]}}",
     {"traces_propagation_tune", "traces_propagation_adapt", "traces_propagation_summarise", TP_FIGURES}),
    ("neuedge={adaptive: {chosen: 0.25}}",
     {"neuedge_train", "neuedge_measure", "neuedge_second_opinion", "neuedge_summarise", NEUEDGE_FIGURES}),
    ("neuedge={noise: {snr_db: [5.0]}}", {"neuedge_noise", "neuedge_measure", "neuedge_summarise", NEUEDGE_FIGURES}),
    ("neuedge={referee: {clips: 3}}", {"neuedge_referee", "neuedge_second_opinion", NEUEDGE_FIGURES}),
    ("onda={calibration: {recordings: 2}}",
     {"onda_personalise", "onda_adapt", "onda_cost", "onda_hessian", "onda_summarise", ONDA_FIGURES}),
    ("onda={experiments: {controls: {schedules: [none, onda_1]}}}", {"onda_personalise", "onda_summarise", ONDA_FIGURES}),
    ("onda={cost: {steps: 3}, hessian: {repetitions: 3}}", {"onda_cost", "onda_hessian", ONDA_FIGURES}),
    (ONDA_ENCODER, {"onda_pretrain", "onda_personalise", "onda_summarise", ONDA_FIGURES})])
def test_a_changed_setting_reruns_what_depends_on_it_and_nothing_else(finished, change, reruns):
    always = {"all", "claims", "report", "effective_config", "rulegraph"}
    planned = finished.planned("--config", change)
    assert {rule for rule in planned if not rule.startswith(ADDED)} == reruns | always
    if "bptt" in change:
        assert planned["traces_propagation_adapt"] == 1, "the other method's adaptation stays"
    if "chosen" in change:
        assert planned["neuedge_train"] == 1, "only the arm that adapts in training is trained again"
    if "controls" in change or change == ONDA_ENCODER:
        assert planned["onda_personalise"] == planned["onda_summarise"] == 1, "the other experiments stay"
    if change == ONDA_ENCODER:
        assert planned["onda_pretrain"] == 1, "an encoder of its own updates is trained, the other one stays"


def test_one_job_at_a_time_gives_the_same_bytes(finished, tmp_path):
    alone = Project(tmp_path / "alone")
    alone.run("--cores", "1", "--quiet=rules", "traces_propagation", "results/tiny/metrics/neuedge/ablation.json")
    expected, found = metrics_of(finished), metrics_of(alone)
    assert len(found) >= 11 and found == {path: expected[path] for path in found}
    models = [path.relative_to(alone.folder) for path in sorted(alone.folder.rglob("*.safetensors"))]
    assert models and all((alone.folder / path).read_bytes() == (finished.folder / path).read_bytes()
                          for path in models)


def test_a_run_killed_in_the_middle_goes_on_to_the_same_bytes(finished, project):
    target = "results/tiny/metrics/traces_propagation/many_users.json"
    started = subprocess.Popen(project.command("--cores", "2", "--quiet=rules", target), cwd=project.folder,
                               start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waiting = project.results() / "models" / "traces_propagation"
    until = time.monotonic() + 300
    while not list(waiting.glob("*.safetensors")) and time.monotonic() < until and started.poll() is None:
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert not (project.folder / target).exists(), "it was killed too late to show anything"
    project.run("--unlock")
    project.run("--cores", "2", "--quiet=rules", target)
    assert (project.folder / target).read_bytes() == (finished.folder / target).read_bytes()
    assert not list(project.results().rglob("*.part"))


def test_the_effective_configuration_is_kept(finished):
    kept = Config.model_validate(json.loads((finished.results() / "config.json").read_text()))
    assert kept.run == "tiny" and kept.traces_propagation.network.hidden == [16]
    assert kept.traces_propagation.network.membrane_leak == 0.77, "defaults are written down too"


def test_snakemakes_own_report_builds_with_every_figure_and_its_caption(finished, tmp_path):
    finished.run("--report", str(tmp_path / "snakemake.html"))
    page = (tmp_path / "snakemake.html").read_text()
    for caption in (ROOT / "workflow" / "report").glob("*.rst"):
        if caption.stem not in ("workflow", "claims", "report"):
            assert f"{caption.stem}.svg" in page
    assert "How much does layer width alone change utilisation?" in page


def test_the_table_of_one_paper_says_what_the_ledger_says(finished):
    finished.run("--cores", "1", "--quiet=rules", "table_onda")
    table = json.loads((finished.results() / "tables" / "onda.json").read_text())
    ledger = json.loads((finished.results() / "claims.json").read_text())
    assert table["claims"] == [claim for claim in ledger["claims"] if claim["paper"] == "onda"]
