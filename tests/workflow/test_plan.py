"""What the workflow would do: dry runs, without any data."""

import os
import re
import shlex
import shutil
import subprocess

import pytest
from tests.workflow.conftest import ROOT

from edgekws.ledger.schema import read_papers
from edgekws.run import release


@pytest.mark.parametrize("run", ["demo", "gsc_subset", "paper"])
def test_dry_run_of_each_configuration_needs_no_data(project, run):
    archive = project.folder / "mine.tar.gz"
    archive.touch()
    planned = project.planned(*(["--config", f"archive={archive}"] if run == "gsc_subset" else []),
                              config=ROOT / "config" / f"{run}.yaml")
    assert planned["report"] == 1 and planned["traces_propagation_adapt"] >= 4
    assert ("synthesise_corpus" in planned) == (run == "demo")
    assert ("fetch_archive" in planned) == (run == "paper") and ("register_archive" in planned) == (run == "gsc_subset")
    assert planned["onda_adapt"] == planned["onda_features"] == 1 and planned["onda_personalise"] >= 4
    assert planned["onda_summarise"] == 4 and "speak_onda_words" not in planned
    opens = {"fetch_open_wake_words", "onda_import"} & planned.keys()
    assert len(opens) == (0 if run == "demo" else 2) and ("onda_pretrain" in planned) == (run == "demo")
    assert planned["alternatives_summarise"] == planned["alternatives_figures"] == 1 and planned["alternatives_cost"] == 2


def test_the_demo_is_what_runs_by_default(project):
    assert project.planned(config=None) == project.planned(config=ROOT / "config" / "demo.yaml")


@pytest.mark.parametrize("target, needs, spares", [
    ("traces_propagation", {"traces_propagation_adapt", "traces_propagation_figures"}, {"report", "claims"}),
    ("figure_few_shot", {"traces_propagation_figures"}, {"report", "claims"}),
    ("claims", {"traces_propagation_summarise", "neuedge_summarise"}, {"traces_propagation_figures", "report"}),
    ("neuedge", {"neuedge_train", "neuedge_measure", "neuedge_referee", "neuedge_figures"},
     {"traces_propagation_base", "report"}),
    ("neuedge_loihi", {"tool_environment", "neuedge_referee", "neuedge_export"}, {"neuedge_measure", "neuedge_encode"}),
    ("figure_mapping", {"neuedge_figures"}, {"report", "claims"}),
    ("onda", {"onda_pretrain", "onda_personalise", "onda_cost", "onda_figures"}, {"traces_propagation_base", "report"}),
    ("figure_pareto", {"onda_figures"}, {"report", "claims"}),
    ("alternatives", {"alternatives_adapt", "alternatives_limits", "alternatives_federate", "tool_environment",
                      "alternatives_figures"}, {"onda_pretrain", "traces_propagation_adapt", "neuedge_referee", "report"}),
    ("figure_trade_off", {"alternatives_figures"}, {"report", "claims"}),
    ("claim_alt_07", {"alternatives_tune", "alternatives_adapt"}, {"alternatives_cost", "alternatives_retain", "claims"}),
    ("claim_alt_08", {"alternatives_cost"}, {"alternatives_base", "alternatives_tune", "alternatives_adapt"}),
    ("claim_alt_13", {"alternatives_federate"}, {"alternatives_tune", "claims"}),
    ("results/tiny/metrics/alternatives/adaptation/bptt_lora_16_seed7.json", {"alternatives_tune", "alternatives_adapt"},
     {"alternatives_base", "alternatives_cost"}),
    ("claim_tp_02", {"traces_propagation_summarise", "effective_config"},
     {"claims", "traces_propagation_complexity", "neuedge_features"}),
    ("claim_tp_17", {"traces_propagation_complexity"}, {"traces_propagation_adapt", "claims"}),
    ("claim_neuedge_19", {"neuedge_encode"}, {"neuedge_train", "claims"}),
    ("claim_onda_06", {"onda_cost"}, {"onda_personalise", "claims"}),
    ("table_neuedge", {"claims_table", "neuedge_summarise"}, {"claims", "traces_propagation_base", "onda_pretrain"}),
    ("results/tiny/corpus/index.parquet", {"synthesise_corpus", "index_corpus"}, {"traces_propagation_features"}),
    ("results/tiny/models/traces_propagation/base_frozen_seed7.safetensors", {"traces_propagation_base"},
     {"traces_propagation_adapt"})])
def test_any_part_can_be_asked_for_by_name(project, target, needs, spares):
    planned = set(project.planned(target))
    assert needs <= planned and not spares & planned


def test_a_net_that_no_method_is_for_is_not_trained(project):
    planned = project.planned("alternatives", "--config", "alternatives={compared: [bptt_full]}")
    assert planned["alternatives_cost"] == planned["alternatives_tune"] == planned["alternatives_adapt"] == 1
    assert "alternatives_base" not in planned


def test_a_misspelt_setting_stops_before_anything_runs(project):
    done = project.run("--dry-run", "--config", "traces_propagation={network: {treshold: 1}}", check=False)
    assert done.returncode != 0
    assert "unknown setting 'traces_propagation.network.treshold'" in done.stdout + done.stderr
    assert "did you mean 'threshold'?" in done.stdout + done.stderr


def test_another_method_is_a_line_of_the_settings(project):
    mine = "alternatives={methods: {lora_2: {kind: lora, rank: 2}}, compared: [lora_2, bptt_full]}"
    planned = project.planned("results/tiny/metrics/alternatives/adaptation.json", "--config", mine)
    assert planned["alternatives_tune"] == planned["alternatives_adapt"] == 2 and "alternatives_base" not in planned


def test_licensed_speech_that_is_not_there_is_asked_for_by_name(project):
    done = project.run("--dry-run", "onda", "--config", "onda={corpus: {name: heysnapdragon}}", check=False)
    assert done.returncode != 0
    assert "set onda.corpus.archive and onda.corpus.positives" in done.stdout + done.stderr


def test_licensed_speech_takes_the_place_of_synthetic(project):
    given = {name: project.folder / name for name in ("archive", "positives")}
    for path in given.values():
        path.touch()
    corpus = f"onda={{corpus: {{name: heysnapdragon, archive: {given['archive']}, positives: {given['positives']}}}}}"
    planned = project.planned("onda", "--config", corpus)
    assert planned["index_wake_words"] == planned["onda_features"] == 1 and "synthesise_wake_words" not in planned


def test_an_archive_given_by_path_is_registered_first(project):
    archive = project.folder / "mine.tar.gz"
    archive.touch()
    planned = project.planned("--config", f"archive={archive}", config=ROOT / "config" / "gsc_subset.yaml")
    assert planned["register_archive"] == 1 and "fetch_archive" not in planned


@pytest.mark.parametrize("name", ["a {} ~b.tar", "folder"])
def test_an_archive_of_an_odd_name_or_a_folder_will_do(project, name, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.folder / "cache"))
    monkeypatch.setenv("HOME", str(project.folder))
    (project.folder / name).touch() if name.endswith(".tar") else (project.folder / name).mkdir()
    planned = project.planned("--config", f"archive=~/{name}", config=ROOT / "config" / "gsc_subset.yaml")
    assert planned["register_archive"] == 1


def test_another_folder_to_work_in_is_refused_in_one_sentence(project):
    refused = project.run("--dry-run", "--directory", str(project.folder / "results"), check=False)
    assert refused.returncode != 0 and "the workflow runs in its own folder" in refused.stdout + refused.stderr


def test_a_linked_environment_is_not_installed_into(tmp_path):
    (tmp_path / "envs").mkdir()
    shutil.copy(ROOT / "envs" / "setup", tmp_path / "envs")
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".venv").symlink_to("theirs")
    done = subprocess.run(["sh", "envs/setup", "main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and ".venv is a link" in done.stderr and not list((tmp_path / "theirs").iterdir())


def test_a_configuration_for_an_archive_of_ones_own_does_not_fall_back_on_the_whole_of_gsc(project):
    refused = project.run("--dry-run", config=ROOT / "config" / "gsc_subset.yaml", check=False)
    assert refused.returncode != 0 and "name it (--config archive=path/to/archive.tar.gz)" in refused.stdout + refused.stderr


def test_everything_that_can_be_asked_for_is_in_the_menu_by_name(project):
    menu = {line.partition(" ")[0] for line in project.run("--list-target-rules").stdout.splitlines()}
    papers = read_papers(ROOT / "claims")
    assert {f"claim_{claim.id.replace('-', '_')}" for paper in papers for claim in paper.claims} <= menu
    assert {f"table_{paper.paper}" for paper in papers} | {paper.paper for paper in papers} <= menu
    assert {f"figure_{path.stem}" for path in (ROOT / "workflow" / "report").glob("*.rst")} - menu == {
        "figure_workflow", "figure_claims", "figure_report"}


def test_a_claim_that_nothing_measures_says_so_and_makes_nothing(project):
    done = project.run("claim_tp_08", "--cores", "1")
    assert "Not measured, it needs N-MNIST" in done.stdout + done.stderr
    assert not project.results().exists()


def test_a_release_is_enough_to_draw_all_and_to_report_without_any_training(project):
    made = re.findall(r"^Reason: Missing output files: (.*?)(?:;|$)", project.run("--dry-run").stdout, re.MULTILINE)
    kept = tuple(f"results/tiny/{name}" for name in (*release.NEEDED, *release.ALSO))
    brought = [project.folder / path for line in made for path in line.split(", ") if path.startswith(kept)]
    project.run("results/tiny/config.json", "--cores", "1")
    for path in brought:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    asked = subprocess.run(["make", "--file", ROOT / "Makefile", "--dry-run", "--old-file=.venv/.main", "restore", "RUN=tiny"],
                           cwd=project.folder, capture_output=True, text=True, check=True).stdout.splitlines()
    _, *arguments = next(shlex.split(line) for line in asked if line.startswith(".venv/bin/snakemake"))
    planned = project.planned(*arguments, config=None).keys()
    assert {rule for rule in planned if not rule.endswith("_figures")} == {"claims", "report", "all"}
    assert planned >= {"traces_propagation_figures", "neuedge_figures", "onda_figures", "alternatives_figures"}


LEFT = {
    "Specify a conda environment or container for each rule.": "one locked environment serves them all: envs/",
    "Mixed rules and functions in same snakefile.": "a function stands beside the only rules that use it",
    "Param metrics is a prefix of input or output file but hardcoded": "a file system that all nodes share is needed",
    "Param figures is a prefix of input or output file but hardcoded": "a file system that all nodes share is needed",
    "Param results is a prefix of input or output file but hardcoded": "a file system that all nodes share is needed",
    "Environment variable PATH used but not asserted with envvars directive": "a shell without it runs nothing",
}
"""What Snakemake's lint may go on saying, and why."""


def test_snakemakes_lint_finds_nothing_but_what_is_left_with_a_reason(project):
    shown = project.run("--lint", check=False)
    told = re.findall(r"^    \* (.*?)(?: in line \d+\.)?:$", shown.stdout + shown.stderr, re.MULTILINE)
    # It takes a piece of the code for the variable's name.
    assert {re.sub(r'"\] = .*\["\w+', "", title) for title in told} == LEFT.keys()


def test_open_wake_words_are_fetched_or_taken_from_where_they_are(project, tmp_path):
    """`make open`: the demo with open wake words on top."""
    overlays = ["--configfile", str(ROOT / "config" / "demo.yaml"), str(ROOT / "config" / "open.yaml")]
    fetching = {"fetch_open_wake_words", "fetch_librispeech", "fetch_encoders"}
    planned = project.planned(*overlays, config=None)
    assert fetching < planned.keys() and planned["onda_import"] == 4 and "onda_pretrain" not in planned
    given = {name: tmp_path / name for name in ("clone", "speech", "nets")}
    for folder in given.values():
        folder.mkdir()
        (folder / "a.wav").write_bytes(b"")
    paths = (f"onda={{corpus: {{archive: '{given['clone']}', speech: ['{given['speech']}']}}, "
             f"encoders: {{folder: '{given['nets']}'}}}}")
    assert not fetching & project.planned(*overlays, "--config", paths, config=None).keys()


def test_words_of_mswc_need_no_archive_of_commands(project, tmp_path):
    (tmp_path / "en").mkdir()
    planned = project.planned("results/tiny/features/onda_words.npy", "--config",
                              f"onda={{pretraining: {{words: '{tmp_path / 'en'}'}}}}")
    assert planned == {"onda_words": 1}
