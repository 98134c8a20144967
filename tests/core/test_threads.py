"""Threads: what OpenMP itself says it was told, by commands that a person starts in an environment that says nothing."""

import os
import re
import subprocess
import sys

import pytest

from edgekws.core import threads

# All stop at an input that is not there, once torch is loaded.
COMMANDS = [("alternatives", "features"), ("neuedge", "features"), ("traces-propagation", "features"), ("onda", "features")]


def told(command, environment):
    """What the OpenMP that torch loads read, by name, and what the command said."""
    script = ("import sys; from edgekws import cli; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; cli.main()")
    done = subprocess.run([sys.executable, "-c", script, *command, "missing.tar", "missing.parquet", "missing.npy"],
                          capture_output=True, text=True, check=False,
                          env={"PATH": os.environ["PATH"], "OMP_DISPLAY_ENV": "TRUE", **environment})
    assert done.returncode == 2, done.stderr
    return dict(re.findall(r"(OMP_\w+) = '(.*)'", done.stderr))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_threads_sleep_while_they_wait(command):
    found = told(command, {})
    if "OMP_WAIT_POLICY" not in found:
        pytest.skip("this build of torch brings no OpenMP that tells what it read")
    assert found["OMP_WAIT_POLICY"] == "PASSIVE" and found["OMP_NUM_THREADS"] == "1"


@pytest.mark.slow
def test_what_the_environment_says_stays():
    found = told(COMMANDS[0], {"OMP_WAIT_POLICY": "ACTIVE"})
    if "OMP_WAIT_POLICY" not in found:
        pytest.skip("this build of torch brings no OpenMP that tells what it read")
    assert found["OMP_WAIT_POLICY"] == "ACTIVE"


def test_every_process_that_a_command_starts_is_told(monkeypatch):
    monkeypatch.setattr(os, "environ", {"MKL_NUM_THREADS": "3"})
    threads.settle()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE" and os.environ["KMP_BLOCKTIME"] == "0"
    assert [os.environ[name] for name in threads.COUNTS] == ["1", "3", "1"]
