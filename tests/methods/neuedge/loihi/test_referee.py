"""Lava itself, where there is one; and what is said where there is none, or where it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekws.core.environments import NOT_INSTALLED, NotRun
from edgekws.core.errors import UserError
from edgekws.methods.neuedge.loihi.network import quantise
from edgekws.methods.neuedge.loihi.referee import referee, run_lava
from edgekws.methods.neuedge.loihi.simulator import simulate

TOOL = Path(__file__).parents[4] / "envs" / "tool"


def all_equal(verdict):
    counts = [layer[name] for layer in verdict["layers"] for name in ("spikes", "u", "v")]
    return all(count["equal"] == count["compared"] > 0 for count in counts)


@pytest.mark.slow
def test_lava_agrees_with_a_quantised_network(lava, float_net, random_spikes):
    net, spikes = quantise(float_net(), "abcde"), random_spikes(4, 30, 12)
    verdict = referee(net, spikes, lava, timeout=120)
    assert verdict["status"] == "agrees", verdict["why"]
    assert (verdict["clips"], verdict["steps"], verdict["lava_version"]) == (4, 33, "0.10.0")
    assert all_equal(verdict)
    assert [layer["spikes"]["compared"] for layer in verdict["layers"]] == [4 * 33 * neurons for neurons in (20, 16, 5)]
    assert [layer["fired"] > 20 for layer in verdict["layers"]] == [True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3])
def test_lava_agrees_with_general_layers(lava, random_net, random_spikes, seed):
    verdict = referee(random_net(seed), random_spikes(3, 25, 7, seed), lava, timeout=120)
    assert verdict["status"] == "agrees", verdict["why"]
    assert all_equal(verdict)


@pytest.mark.slow
def test_lava_gives_the_readout_alone(lava, float_net, random_spikes):
    net, spikes = quantise(float_net(), "abcde"), random_spikes(3, 20, 12)
    run = run_lava(net, spikes, lava, timeout=120, record="readout")
    assert not run.traces
    assert len(run.seconds) == 3
    np.testing.assert_array_equal(run.readout[:, 3:].mean(1), simulate(net, spikes).scores)
    assert len(run_lava(net, spikes, lava, timeout=120, record="nothing").seconds) == 3


@pytest.fixture
def environment(tmp_path):
    """A function that makes an environment whose python is a script."""
    def make(script):
        python = tmp_path / "env" / "bin" / "python"
        python.parent.mkdir(parents=True)
        head = f"#!{sys.executable}\nimport json, sys, time\nimport numpy as np\nfolder = sys.argv[-1]\n"
        python.write_text(head + script)
        python.chmod(0o755)
        return python.parents[1]

    return make


FAKE = """
spikes = np.load(folder + "/spikes.npy")
for index, layer in enumerate(json.load(open(folder + "/network.json"))):
    neurons = len(np.load(f"{folder}/weights.{index}.npy"))
    for name in "uvs":
        np.save(f"{folder}/{name}.{index}.npy", np.full((*spikes.shape[:2], neurons), 7 * (name == "v"), np.int32))
json.dump({"lava_version": "0", "python": "3", "seconds": [0.0]}, open(folder + "/result.json", "w"))
"""


def test_a_difference_is_found(environment, layer):
    from edgekws.methods.neuedge.loihi.network import LoihiNetwork

    net = LoihiNetwork((layer([[10]], vth=5), layer([[1]])), ("a",))
    verdict = referee(net, np.array([[[1], [0]]], np.uint8), environment(FAKE))
    # Ours: the hidden neuron has u 640 and fires at step 1, the readout v 64 at steps 2 and 3. The fake: v 7 everywhere.
    assert verdict["status"] == "differs"
    assert verdict["why"] == "11 values differ"
    assert verdict["layers"] == [
        {"fired": 0, **{name: {"compared": 4, "equal": equal} for name, equal in (("spikes", 3), ("u", 3), ("v", 0))}},
        {"fired": 0, **{name: {"compared": 4, "equal": equal} for name, equal in (("spikes", 4), ("u", 3), ("v", 0))}}]


@pytest.mark.parametrize(("script", "timeout", "why"), [
    ("print('clip', flush=True); time.sleep(60)", 1, "Lava took longer than 1 s"),
    ("raise ValueError(folder)", 60, "Lava failed: ValueError: FOLDER"),
    ("sys.exit(3)", 60, "Lava failed: exit code 3"),
    ("", 60, "Lava failed: exit code 0"),
], ids=["hangs", "raises", "exits", "nothing"])
def test_a_failure_is_told(environment, random_net, script, timeout, why):
    verdict = referee(random_net(0), np.zeros((2, 5, 7), np.uint8), environment(script), timeout=timeout)
    assert verdict == {"status": "not run", "why": why, "clips": 2, "steps": 8}


def test_no_lava(tmp_path, random_net):
    spikes = np.zeros((2, 5, 7), np.uint8)
    assert referee(random_net(0), spikes, tmp_path)["why"] == "no environment with Lava"
    (tmp_path / NOT_INSTALLED).write_text("no network here\ndetails\n")
    verdict = referee(random_net(0), spikes, tmp_path)
    assert verdict == {"status": "not run", "why": "no network here", "clips": 2, "steps": 8}
    with pytest.raises(NotRun):
        run_lava(random_net(0), spikes, tmp_path, timeout=1)
    with pytest.raises(UserError, match="no clips"):
        referee(random_net(0), spikes[:0], tmp_path)


# ------------------------------------------------------------------------------------------------ envs/tool
@pytest.fixture
def tool(tmp_path):
    """A function that runs a copy of envs/tool beside locks of its own."""
    (tmp_path / "envs").mkdir()
    shutil.copy(TOOL, tmp_path / "envs" / "tool")

    def run(lock, folder="built"):
        (tmp_path / "envs" / "some.txt").write_text(lock)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(["envs/tool", "some", folder], cwd=tmp_path, text=True, capture_output=True, check=False,
                              env={**os.environ, "PATH": path})

    return run


@pytest.mark.slow
def test_tool_builds_an_environment_or_says_why_not(tool, tmp_path):
    done = tool("# prefers python 9.9\n", "deep/built")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "deep" / "built" / "bin" / "python").exists()
    # What cannot be installed replaces it by a word of why.
    done = tool("./missing-1.0-py3-none-any.whl\n", "deep/built")
    assert done.returncode == 0
    said = (tmp_path / "deep" / "built" / "not_installed.txt").read_text().splitlines()
    assert said[0] == "the packages of envs/some.txt could not be installed here"
    assert "missing-1.0" in " ".join(said[1:])
    assert not (tmp_path / "deep" / "built" / "bin").exists()


def test_tool_refuses_a_folder_that_is_not_its_own(tool, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    done = tool("", "mine")
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_tool_wants_a_lock(tmp_path):
    done = subprocess.run([TOOL, "nothing", tmp_path / "x"], text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr
