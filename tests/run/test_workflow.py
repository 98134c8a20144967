"""What Snakemake is asked, and what it answers."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.workflow.conftest import Project

from edgekws import cli
from edgekws.core.errors import UserError
from edgekws.run import page, workflow

ROOT = Path(__file__).parents[2]
COMMAND = ["run", "cost", "--configfile", "config/paper.yaml", "--measured", "docs/benchmarks.json", "--markdown"]


def printed(rule, *output, benchmark=None, wildcards=None, **resources):
    """A job as the logger plugin prints it."""
    return {"rule": rule, "wildcards": wildcards or {}, "input": [], "output": [*output], "benchmark": benchmark,
            "resources": resources}


def test_a_job_is_built_stale_or_missing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        Path(name).touch()
    whole = [printed("train", "a"), printed("train", "b"), printed("features", "c", "d"), printed("mine", "e")]
    jobs = workflow.read_jobs(whole, whole[1:])
    assert [job.status for job in jobs] == ["built", "stale", "missing", "missing"]
    assert page.status_table(jobs) == [
        ["", "built", "stale", "missing"], ["shared", "1", "1", "2"], ["  features", "–", "–", "1"],
        ["  mine", "–", "–", "1"], ["  train", "1", "1", "–"], ["all", "1", "1", "2"]]


def test_a_job_knows_its_benchmark_units_group_and_variant():
    first, second = workflow.read_jobs([
        printed("train", "m", benchmark="results/demo/benchmarks/neuedge/lif_seed0.tsv", gpu=0, units=12,
                wildcards={"seed": "0", "arm": "lif"}), printed("mine", "e", benchmark="results/demo/benchmarks/own/e.tsv")], [])
    assert (first.benchmark, first.units, first.gpu, first.group, first.variant) == (
        "neuedge/lif_seed0", 12, 0, "neuedge", "arm=lif")
    assert (second.benchmark, second.units, second.gpu, second.group, second.variant) == ("own/e", None, None, "shared", "")


WORKFLOW = """
rule all:
    input: "results/x/whole.txt"
rule mine:  # as somebody might add it
    output: "results/x/part_{method}_{seed}.txt"
    benchmark: "results/x/benchmarks/mine/{method}_{seed}.tsv"
    message: "A message hides all else of a job from the usual log"
    shell: "touch {output}"
rule whole:
    input: expand("results/x/part_{method}_{seed}.txt", method=["a", "b"], seed=[0, 1])
    output: "results/x/whole.txt"
    resources: units=lambda wildcards, input: 3 * len(input)
    shell: "touch {output}"
"""


def test_a_plan_is_what_snakemake_says(monkeypatch, tmp_path):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "none.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)
    made = Path("results/x/part_a_0.txt")
    made.parent.mkdir(parents=True)
    made.touch()
    jobs = {job.output[0]: job for job in workflow.plan([Path("none.yaml")])}
    assert {job.rule for job in jobs.values()} == {"mine", "whole"} and len(jobs) == 5
    assert jobs["results/x/whole.txt"].units == 12 and set(jobs["results/x/whole.txt"].input) == jobs.keys() - {
        "results/x/whole.txt"}
    part = jobs["results/x/part_b_1.txt"]
    assert (part.units, part.benchmark, part.variant, part.status) == (None, "mine/b_1", "method=b", "missing")


def test_without_snakemake_the_remedy_is_told(monkeypatch, tmp_path):
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="found neither") as error:
        workflow.ask("--dry-run", configfiles=[])
    assert "make .venv/.main" in error.value.remedy


def test_outside_the_project_it_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no Snakefile here"):
        workflow.ask("--dry-run", configfiles=[])
    with pytest.raises(UserError, match="no such configuration"):
        workflow.read_config([Path("config/demo.yaml")])


def test_what_snakemake_refuses_is_passed_on(monkeypatch, tmp_path):
    (tmp_path / "Snakefile").write_text("from snakemake.exceptions import WorkflowError\nraise WorkflowError(\"no archive\")\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"cannot plan this run: .*no archive"):
        workflow.ask("--dry-run", configfiles=[ROOT / "config" / "demo.yaml"])


@pytest.mark.parametrize("run", ["demo", "paper"])
def test_the_settings_are_those_that_snakemake_has(monkeypatch, run):
    monkeypatch.chdir(ROOT)
    assert workflow.read_config([Path(f"config/{run}.yaml")]).run == run


def test_an_archive_that_must_be_named_is_asked_for(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"name it \(--config archive="):
        workflow.read_config([Path("config/gsc_subset.yaml")])


# ------------------------------------------------------------------------------------------------ the paper's plan
@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The page of the paper's run and its table by paper, as made in a fresh clone, and the jobs of Snakemake's own dry run."""
    project = Project(tmp_path_factory.mktemp("paper") / "project")
    (project.folder / "short.md").write_text(f"Before\n{page.BEGIN}\n{page.END}\nAfter\n")
    done = subprocess.run([Path(sys.executable).with_name("edgekws"), *COMMAND, "page.md", "--table", "short.md"],
                          cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [(project.folder / name).read_text() for name in ("page.md", "short.md")]
    return *made, project.planned(config=ROOT / "config" / "paper.yaml")


@pytest.mark.slow
def test_the_committed_page_and_table_are_those_that_their_command_makes(paper):
    again, (text, short, _) = "run `make paper_run`", paper
    made = text.replace("--markdown page.md --table short.md", "--markdown docs/paper_run.md --table docs/cluster.md")
    assert made == (ROOT / "docs" / "paper_run.md").read_text(), again
    assert short.startswith("Before\n") and short.endswith("\nAfter\n")
    assert short.removeprefix("Before\n").removesuffix("\nAfter\n") in (ROOT / "docs" / "cluster.md").read_text(), again


@pytest.mark.slow
def test_every_job_of_the_dry_run_is_in_the_page(paper):
    rows = [line.strip("| ").split(" | ") for line in paper[0].splitlines() if line.startswith("| ")]
    told = {rule: int(jobs) for rule, jobs, *_ in (row for row in rows if row[1].isdigit()) if rule != "all"}
    assert told == {rule: jobs for rule, jobs in paper[2].items() if rule != "all"}


def test_the_verb_ends_in_one_clear_error(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["edgekws", "run", "status"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2 and "remedy" in capsys.readouterr().err
