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
HEAD = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n"
COMMAND = ["run", "cost", "--configfile", "config/paper.yaml", "--measured", "docs/benchmarks.json", "--markdown"]


def summary(*rows):
    return HEAD + "".join("\t".join([path, "-", rule, "-", status, plan]) + "\n" for path, rule, status, plan in rows)


def test_a_job_is_built_stale_or_missing():
    jobs = workflow.parse_summary(summary(
        ("results/demo/models/neuedge/lif_seed0.safetensors", "neuedge_train", "ok", "no update"),
        ("results/demo/models/neuedge/lif_seed1.safetensors", "neuedge_train", "ok", "update pending"),
        ("results/demo/models/neuedge/lif_seed2.safetensors", "neuedge_train", "params changed", "update pending"),
        ("results/demo/models/neuedge/lif_seed3.safetensors", "neuedge_train", "missing", "update pending"),
        (".envs/lava", "tool_environment", "ok", "no update")), "demo")
    assert [job.status for job in jobs] == ["built", "stale", "stale", "missing", "built"]
    assert jobs[1].at == {"arm": "lif", "seed": "1"} and jobs[4].at == {"tool": "lava"}
    counts = workflow.by_status(jobs)
    assert counts["neuedge_train"] == {"built": 1, "stale": 2, "missing": 1}
    assert page.status_table(counts)[-1] == ["all", "2", "2", "1"]


def test_a_job_of_many_outputs_is_one_job():
    jobs = workflow.parse_summary(summary(
        ("results/demo/features/onda.npy", "onda_features", "ok", "no update"),
        ("results/demo/features/onda_crops.npy", "onda_features", "ok", "no update"),
        ("results/demo/features/onda.parquet", "onda_features", "ok", "no update")), "demo")
    assert len(jobs) == 1


def test_a_rule_that_the_table_does_not_know_is_counted_by_its_logs():
    jobs = workflow.parse_summary(HEAD + "".join(
        f"results/demo/{path}\t-\tnew_rule\tresults/demo/logs/{log}\tmissing\tupdate pending\n"
        for path, log in (("x.json", "x.log"), ("x.csv", "x.log"), ("y.json", "y.log"))), "demo")
    assert [(job.rule.name, job.rule.paper) for job in jobs] == [("new_rule", "other")] * 2
    assert page.status_table(workflow.by_status(jobs))[1:] == [
        ["other", "–", "–", "2"], ["  new_rule", "–", "–", "2"], ["all", "–", "–", "2"]]


def test_a_table_of_another_version_is_refused():
    with pytest.raises(UserError, match="has the columns file, state"):
        workflow.parse_summary("file\tstate\nx\tok\n", "demo")


def test_without_snakemake_the_remedy_is_told(monkeypatch, tmp_path):
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="not to be found") as error:
        workflow.ask("--summary", configfiles=[])
    assert "make .venv/.main" in error.value.remedy


def test_outside_the_project_it_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no Snakefile here"):
        workflow.ask("--summary", configfiles=[])
    with pytest.raises(UserError, match="no such configuration"):
        workflow.read_config([Path("config/demo.yaml")])


def test_what_snakemake_refuses_is_passed_on(monkeypatch, tmp_path):
    (tmp_path / "Snakefile").write_text("from snakemake.exceptions import WorkflowError\nraise WorkflowError(\"no archive\")\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"cannot plan this run: .*no archive"):
        workflow.ask("--summary", configfiles=[ROOT / "config" / "demo.yaml"])


@pytest.mark.parametrize("run", ["demo", "gsc_subset", "paper"])
def test_the_settings_are_those_that_snakemake_has(monkeypatch, run):
    monkeypatch.chdir(ROOT)
    assert workflow.read_config([Path(f"config/{run}.yaml")]).run == run


# ------------------------------------------------------------------------------------------------ the paper's plan
@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The page of the paper's run and its table for the README, as made in a fresh clone, and the jobs of Snakemake's own dry
    run."""
    project = Project(tmp_path_factory.mktemp("paper") / "project")
    (project.folder / "short.md").write_text(f"Before\n{page.BEGIN}\n{page.END}\nAfter\n")
    done = subprocess.run([Path(sys.executable).with_name("edgekws"), *COMMAND, "page.md", "--readme", "short.md"],
                          cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [(project.folder / name).read_text() for name in ("page.md", "short.md")]
    return *made, project.planned(config=ROOT / "config" / "paper.yaml")


@pytest.mark.slow
def test_the_committed_page_and_table_are_those_that_their_command_makes(paper):
    again, (text, short, _) = "run `make paper_run`", paper
    made = text.replace("--markdown page.md --readme short.md", "--markdown docs/paper_run.md --readme README.md")
    assert made == (ROOT / "docs" / "paper_run.md").read_text(), again
    assert short.startswith("Before\n") and short.endswith("\nAfter\n")
    assert short.removeprefix("Before\n").removesuffix("\nAfter\n") in (ROOT / "README.md").read_text(), again


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
