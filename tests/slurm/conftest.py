"""A Slurm cluster on this machine, and the same run on it and without it. For runs.py: `tests/slurm/prove`."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import yaml
from benchmarks.faults import VARIES
from tests.workflow.conftest import ROOT, TINY, Project

from edgekws.ledger.schema import read_papers

CLUSTER = Path(__file__).with_name("cluster")
# A bound on what never happens, not on how fast it goes: machines are slow, busy and shared.
PATIENCE = 4 * 3600
Met = TypeVar("Met")
# The memory of the base models' training, doubled with each try as everywhere; the first two are not enough.
TOO_LITTLE = "traces_propagation_base:mem_mb=300 * 2 ** (attempt - 1)"


def pytest_addoption(parser):
    parser.addoption("--configfile", default=str(TINY), help="the run that is proved (default: tests/workflow/tiny.yaml)")
    parser.addoption("--local", type=Path, help="its finished results of this code, to compare with: results/<run> (default: "
                                                "it is run here first)")


def wait_for(what: str, met: Callable[[], Met], alive: Callable[[], object] = lambda: True) -> Met:
    """What ``met`` gives once that is true of it; fail if it cannot be any more."""
    until = time.monotonic() + PATIENCE
    while not (found := met()):
        assert alive(), f"the run ended before: {what}"
        assert time.monotonic() < until, f"it never happened: {what}"
        time.sleep(0.5)
    return found


class Cluster:
    """Two nodes on loopback, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder}/bin:/usr/bin:/bin",
                            "DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": ""}

    def do(self, action: str) -> None:
        # Daemons keep what they are given open: no pipe of ours.
        subprocess.run([CLUSTER, action, self.folder], check=True, stdout=subprocess.DEVNULL)

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def running(self, node: str) -> set[str]:
        """Numbers of the jobs that run on a node."""
        return set(self.ask("squeue", "--noheader", "--states=RUNNING", f"--nodelist={node}", "--format=%A").split())

    def about(self, job: str) -> dict[str, str]:
        """What the controller knows of a job: JobState, Restarts and so on."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "show", "job", job)))

    def steps(self, node: str, job: str) -> list[Path]:
        """Sockets of a job's steps that a node has not ended yet."""
        return list((self.folder / "spool" / node).glob(f"*_{job}.*"))

    def lose_node(self, node: str, state: str) -> None:
        """Take a node out: DRAIN or DOWN."""
        self.ask("scontrol", "update", f"NodeName={node}", f"State={state}", "Reason=proof")

    def resume_node(self, node: str) -> None:
        """Take it in again; one that is down may have come back by itself, and Slurm resumes none that is up."""
        command = ["scontrol", "update", f"NodeName={node}", "State=RESUME"]

        def up() -> bool:
            subprocess.run(command, env=self.environment, capture_output=True, check=False)
            state = self.ask("sinfo", "--noheader", f"--nodes={node}", "--format=%T").strip()
            return re.fullmatch("(idle|mixed|allocated|completing)", state) is not None

        wait_for(f"{node} is up again", up)

    def held(self) -> str:
        """Waiting jobs that Slurm will not start by itself, with why: none is held on purpose here."""
        # A busy controller that does not answer is asked again.
        asked = subprocess.run(["squeue", "--noheader", "--states=PENDING", "--format=%A %r"], env=self.environment,
                               capture_output=True, text=True, check=False)
        return ", ".join(job for job in asked.stdout.splitlines() if "held" in job.lower())

    def ended(self) -> list[dict[str, str]]:
        """What Slurm recorded of each job that ended: JobId, JobState, NodeList and so on."""
        record = self.folder / "jobs.txt"
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in record.read_text().splitlines()] if record.exists() else []


class Run:
    """A run of the workflow on the cluster, in a folder of its own."""

    def __init__(self, cluster: Cluster, folder: Path, config: Path, environments: Path) -> None:
        self.cluster, self.project, self.config = cluster, Project(folder), config
        # Tools are built once, by the local run: here they are found.
        (folder / ".envs").symlink_to(environments)
        self.output = folder.with_suffix(".out")

    def start(self, profile: str, *arguments: str) -> None:
        command = self.project.command("--workflow-profile", profile, *arguments, config=self.config)
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, cwd=self.project.folder, env=self.cluster.environment, stdout=output,
                                            stderr=subprocess.STDOUT, start_new_session=True)

    def alive(self) -> bool:
        return self.process.poll() is None

    def goes_on(self) -> bool:
        """Whether it is alive and waits for nothing that will never be; asks the controller."""
        if not self.alive():
            return False
        assert not (held := self.cluster.held()), f"Slurm holds jobs, the run waits for them: {held}"
        return True

    def finish(self) -> None:
        wait_for("the end of the run", lambda: not self.goes_on())
        assert self.process.returncode == 0, self.text()[-5000:]

    def kill(self) -> None:
        if self.alive():
            os.killpg(self.process.pid, signal.SIGKILL)

    def text(self) -> str:
        return self.output.read_text()

    def submitted(self) -> dict[str, str]:
        """Slurm's log of every job submitted, by the job's number."""
        return dict(re.findall(r"submitted with SLURM jobid (\d+) \(log: (\S+?)\)", self.text()))


def run_of(config: Path) -> str:
    return yaml.safe_load(config.read_text())["run"]


@pytest.fixture(scope="session")
def config(request) -> Path:
    return Path(request.config.getoption("--configfile")).resolve()


@pytest.fixture(scope="session")
def local(request, tmp_path_factory, config) -> Path:
    """Results of the run on this machine alone."""
    if (given := request.config.getoption("--local")) is not None:
        assert (given / "claims.json").exists(), f"{given}: no finished run"
        return given.resolve()
    project = Project(tmp_path_factory.mktemp("local") / "project")
    project.run("--cores", str(max(2, os.cpu_count() or 2)), "--quiet=rules", config=config)
    return project.results(run_of(config))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    # A socket's path has to be short.
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    made.do("start")
    yield made
    made.do("stop")


@pytest.fixture(scope="session")
def new_run(cluster, local, config) -> Iterator[Callable[[Path], Run]]:
    """A function that prepares a run on the cluster; whatever happens, none outlives the tests."""
    runs = []

    def prepare(folder: Path) -> Run:
        runs.append(Run(cluster, folder, config, local.parents[1] / ".envs"))
        return runs[-1]

    yield prepare
    for run in runs:
        run.kill()


def of_bytes(results: Path) -> dict[str, bytes]:
    """What must be the same wherever a run is made, by name.

    Left out is what docs/files.md says differs from one repetition to the next: benchmarks, logs, executed notebooks, and
    what is timed, with the page and the claims that show it.
    """
    def timed(name: str) -> bool:
        return (name.split("/")[0] in ("benchmarks", "logs", "notebooks")
                or name in {*VARIES, "report.html", "claims.csv", "claims.html"})

    found = {str(path.relative_to(results)): path.read_bytes() for path in sorted(results.rglob("*")) if path.is_file()}
    ledger = json.loads(found["claims.json"])
    measured = {claim.id: claim.measured for paper in read_papers(ROOT / "claims") for claim in paper.claims}
    ledger["claims"] = [claim for claim in ledger["claims"]
                        if (of := measured[claim["id"]]) is None or "cost" not in of.experiments]
    found["claims.json"] = json.dumps(ledger).encode()
    return {name: content for name, content in found.items() if not timed(name)}

