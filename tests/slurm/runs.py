"""The workflow on a real Slurm: `make test-slurm`, or `tests/slurm/prove --configfile config/demo.yaml` for another run.

One run goes wholly through sbatch while everything goes wrong that a cluster has to offer: jobs are killed for their memory, a
node is drained, another goes down under its job, the controller is killed and away for a minute. What it makes is compared
with a run on this machine alone, byte by byte. Plain `make test` leaves this file alone: its name is no test's.
"""

import re
import time
from pathlib import Path

import pytest
from tests.slurm.conftest import TOO_LITTLE, Cluster, Run, of_bytes, run_of, wait_for

# Of a loopback cluster: no network file system is waited for, and nodes have two cores.
WAITS = ("--latency-wait", "15", "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2")
NODES = ("node1", "node2")
OVER = ("COMPLETED", "FAILED", "OUT_OF_MEMORY", "CANCELLED", "TIMEOUT", "NODE_FAIL")


def drain_a_node(cluster: Cluster, run: Run) -> dict[str, set[str]]:
    """A busy node takes no more jobs until others have run elsewhere; what ran on each meanwhile."""
    wait_for("a job runs", lambda: any(map(cluster.running, NODES)), run.goes_on)
    drained = next(node for node in NODES if cluster.running(node))
    cluster.lose_node(drained, "DRAIN")
    other = next(node for node in NODES if node != drained)
    seen = {"before": cluster.running(drained), "drained": set(), "other": set()}

    def two_new_elsewhere() -> bool:
        seen["drained"] |= cluster.running(drained)
        seen["other"] |= cluster.running(other)
        return len({job for job in seen["other"] if int(job) > max(map(int, seen["before"]))}) >= 2

    wait_for("jobs run on the node that is left", two_new_elsewhere, run.goes_on)
    cluster.resume_node(drained)
    return seen


def take_down(cluster: Cluster, run: Run) -> tuple[str, str] | None:
    """A node under its job: node and job, which Slurm has queued again; None if the job was over in that instant."""
    def at_work() -> list[tuple[str, str]]:
        # Slurm holds a job, and does not queue it, whose node goes while the job is being launched there.
        return [(node, job) for node in NODES for job in sorted(cluster.running(node)) if cluster.steps(node, job)]

    node, job = wait_for("a job is at work", at_work, run.goes_on)[0]
    before = cluster.about(job)["Restarts"]
    cluster.lose_node(node, "DOWN")

    def settled() -> dict[str, str] | None:
        about = cluster.about(job)
        return about if about["Restarts"] != before or about["JobState"] in OVER else None

    if wait_for("the job is queued again, or over", settled, run.goes_on)["Restarts"] != before:
        return node, job
    cluster.resume_node(node)
    return None


def lose_a_node(cluster: Cluster, run: Run) -> str:
    """A node goes down under its job; the number of that job."""
    lost, job = wait_for("a node goes down under its job", lambda: take_down(cluster, run), run.goes_on)
    wait_for("what it had started there is gone", lambda: not cluster.steps(lost, job), run.goes_on)
    cluster.resume_node(lost)
    # Slurm holds such a job back for two minutes. Not spared them, it runs elsewhere: the node it was lost on may not have
    # forgotten it yet, and would refuse what it takes for a second copy.
    cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now", f"ExcNodeList={lost}")
    return job


def lose_the_controller(cluster: Cluster, run: Run) -> None:
    """The controller is killed while jobs run, and comes back after a minute."""
    state = {"submitted": run.submitted(), "since": time.monotonic()}

    def settled() -> bool:
        # The controller writes new jobs down within seconds: what it took on an instant before its death may be lost.
        if run.submitted() != state["submitted"]:
            state.update(submitted=run.submitted(), since=time.monotonic())
        return time.monotonic() - state["since"] > 10 and any(map(cluster.running, NODES))

    wait_for("jobs run that the controller has written down", settled, run.goes_on)
    cluster.do("kill-controller")
    # Longer than the plugin's own five tries, after which it would forget its jobs and wait for ever.
    time.sleep(60)
    assert run.alive(), run.text()[-3000:]
    cluster.do("start-controller")


@pytest.fixture(scope="module")
def disturbed(cluster, new_run, tmp_path_factory):
    """The whole run through sbatch, and what was done to it."""
    run = new_run(tmp_path_factory.mktemp("cluster") / "project")
    run.planned = run.project.planned(config=run.config)
    run.start("slurm", "--slurm-no-account", "--cores", "2", *WAITS, "--set-resources", TOO_LITTLE,
              "onda_cost:slurm_extra='--exclusive'", "alternatives_cost:slurm_extra='--exclusive'")
    run.drained = drain_a_node(cluster, run)
    run.requeued = lose_a_node(cluster, run)
    lose_the_controller(cluster, run)
    run.finish()
    return run


def test_every_job_goes_through_sbatch_and_short_ones_together(disturbed):
    started = dict(re.findall(r"^Job (\d+): (.*)$", disturbed.text(), re.MULTILINE))
    grouped = set(re.findall(r"^    Job (\d+): ", disturbed.text(), re.MULTILINE))
    sent = set(re.findall(r"^Job (\d+) has been submitted with SLURM jobid", disturbed.text(), re.MULTILINE))
    assert [started[job] for job in started.keys() - sent] == ["Writing down the run's whole configuration"]
    # All jobs but that one and the target.
    assert len(sent) + len(grouped) == sum(disturbed.planned.values()) - 2
    assert len(grouped) > 20 and len(disturbed.submitted()) < 0.75 * (len(sent) + len(grouped)), "with all that were repeated"


def test_metrics_models_and_claims_are_the_local_runs_bytes(disturbed, local, config):
    expected, found = of_bytes(local), of_bytes(disturbed.project.results(run_of(config)))
    for folder in ("metrics", "models", "features", "corpus", "figures"):
        assert any(name.startswith(f"{folder}/") for name in expected)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_a_job_killed_for_its_memory_is_tried_again_with_more(disturbed, cluster):
    logs = {job: Path(log) for job, log in disturbed.submitted().items() if "/rule_traces_propagation_base/" in log}
    killed = {job for job, log in logs.items() if log.exists() and "exceeded memory limit" in log.read_text()}
    ended = {job["JobId"]: job for job in cluster.ended()}
    models: dict[str, list[str]] = {}
    for job in sorted(logs, key=int):
        models.setdefault(logs[job].parent.name, []).append(job)
    assert models
    for model, tries in models.items():
        assert len(tries) > 1 and killed & set(tries) == set(tries[:-1]), f"{model}: only the last try was enough"
        assert all(ended[job]["JobState"] in ("FAILED", "OUT_OF_MEMORY") for job in tries[:-1])
        assert ended[tries[-1]]["JobState"] == "COMPLETED"
        asked = [int(re.search(r"mem=(\d+)M", ended[job]["Tres"]).group(1)) for job in tries]
        assert asked == [300 * 2**number for number in range(len(tries))], f"{model}: twice as much with each try"
    # Snakemake 9.27 prints no log after an empty one, and a job killed at once wrote nothing: it names them all.
    shown = re.findall(r"^    log: (.*) \(check log file", disturbed.text(), re.MULTILINE)
    assert all(any(str(logs[job]) in line for line in shown) for job in killed), "where Slurm's log is, is said"


def test_logs_of_rules_stay_and_slurms_own_of_failed_jobs_alone(disturbed, cluster, config):
    results = disturbed.project.results(run_of(config))
    assert len(list((results / "logs").rglob("*.log"))) > 50
    kept = {path.stem for path in (disturbed.project.folder / ".snakemake" / "slurm_logs").rglob("*.log")}
    failed = {job["JobId"] for job in cluster.ended() if job["JobState"] not in ("COMPLETED", "NODE_FAIL")}
    assert kept == failed & disturbed.submitted().keys()


def test_a_drained_node_ends_its_jobs_and_gets_no_new_ones(disturbed, cluster):
    seen = disturbed.drained
    assert seen["drained"] <= seen["before"] and not seen["before"] & seen["other"]
    states = {job["JobId"]: job["JobState"] for job in cluster.ended()}
    assert all(states[job] == "COMPLETED" for job in seen["before"])


def test_a_job_whose_node_went_down_ran_again(disturbed, cluster):
    states = [job["JobState"] for job in cluster.ended() if job["JobId"] == disturbed.requeued]
    assert states[-1] == "COMPLETED"


def test_any_batch_system_serves(cluster, new_run, local, config, tmp_path):
    """The generic profile: submit, status and cancel by commands; a job killed for its memory is noticed and tried again."""
    run = new_run(tmp_path / "project")
    base = f"results/{run_of(config)}/models/traces_propagation/base_frozen_seed{first_seed(local)}.safetensors"
    run.start("cluster", base, "--cores", "2", "--latency-wait", "15", "--seconds-between-status-checks", "2",
              "--set-resources", TOO_LITTLE)
    run.finish()
    assert (run.project.folder / base).read_bytes() == (local.parents[1] / base).read_bytes()
    assert re.search(r"job \d+ ended as (FAILED|OUT_OF_MEMORY); the end of", run.text()), "a failed job's log is shown"
    assert "exceeded memory limit" in run.text()


def first_seed(results: Path) -> int:
    return min(int(path.stem.partition("_seed")[2]) for path in (results / "models/traces_propagation").glob("base_frozen_seed*"))
