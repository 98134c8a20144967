"""Profiles for clusters, and what rules ask of one. No job is run; tests/slurm has the real thing."""

import re

import pytest
import yaml
from tests.workflow.conftest import ROOT

CLUSTERS = ("slurm", "cluster")
RULES = dict(re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)",
                        "".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk"))), re.MULTILINE))


def profile(name):
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


@pytest.mark.parametrize("rule", [rule for rule, body in RULES.items() if "localrule: True" not in body])
def test_a_rule_for_a_node_says_what_it_needs(rule):
    body = RULES[rule]
    assert "    log:\n" in body and "    message:\n" in body and "    threads: " in body
    megabytes = re.search(r"^        mem_mb=more_memory\((\d+)(, mapped=True)?\),$", body, re.MULTILINE)
    minutes = re.search(r"^        runtime=more_time\((\d+)\),$", body, re.MULTILINE)
    # The runner itself takes 200 MB on a node, and a loaded one takes its time.
    assert 1000 <= int(megabytes.group(1)) <= 8000 and 20 <= int(minutes.group(1)) <= 4320


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_makes_the_same_jobs_and_keeps_what_is_right_everywhere(project, name):
    assert project.planned("--workflow-profile", name) == project.planned()
    here, everywhere = profile(name), profile("default")
    everywhere["resources"].remove("gpu=1")  # the GPUs of a cluster are its own business
    assert {key: here[key] for key in everywhere if key != "cores"} == {
        key: value for key, value in everywhere.items() if key != "cores"}


def test_both_profiles_group_the_same_jobs_and_name_rules_that_exist():
    slurm, other = map(profile, CLUSTERS)
    for key in ("groups", "group-components", "cores", "retries", "latency-wait"):
        assert slurm[key] == other[key]
    grouped = dict(entry.split("=") for entry in slurm["groups"])
    several = {entry.split("=")[0] for entry in slurm["group-components"]}
    assert grouped.keys() <= RULES.keys() and several <= set(grouped.values())
    named = {entry.split(":")[0] for one in (slurm, other) for entry in one["set-resources"]}
    assert named <= RULES.keys()


def test_memory_grows_with_mapped_inputs_and_doubles_with_every_try_and_so_does_time(project):
    features, index = project.results() / "features" / "traces_propagation.npy", project.results() / "corpus" / "index.parquet"
    plan = index.with_name("plan_one_user.parquet")
    for path in (features, index, plan):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with features.open("wb") as file:
        file.truncate(5_000 << 20)  # a hole: no disk is used

    done = project.run("results/tiny/models/traces_propagation/base_frozen_seed0.safetensors", "--workflow-profile", "cluster",
                       "--allowed-rules", "traces_propagation_base", "--cluster-generic-submit-cmd",
                       "echo {rule} {resources.mem_mb} {resources.runtime} >> asked; false", "--retries", "2", check=False)
    assert done.returncode != 0 and "Error submitting jobscript" in done.stdout + done.stderr
    base = "traces_propagation_base"
    assert (project.folder / "asked").read_text().splitlines() == [f"{base} 9000 240", f"{base} 18000 480", f"{base} 36000 960"]
