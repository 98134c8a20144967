"""The doctor tells what is there and what is not, and how to get it."""

from pathlib import Path

from edgekws.run import doctor


def found(checkout):
    return {row.what.partition(":")[0]: row for row in doctor.examine(checkout)}


def test_what_is_there_needs_no_remedy_and_what_is_missing_has_one(tmp_path):
    for row in doctor.examine(tmp_path):
        assert row.there == (not row.remedy) and row.state


def test_an_environment_is_there_once_it_is_built(tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "lava.txt").write_text("lava-nc\n")
    assert found(tmp_path)[".envs/lava"].remedy == "envs/tool lava .envs/lava"
    python = tmp_path / ".envs" / "lava" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert found(tmp_path)[".envs/lava"].there


def test_why_an_environment_could_not_be_built_is_told(tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "lava.txt").write_text("lava-nc\n")
    (tmp_path / ".envs" / "lava").mkdir(parents=True)
    (tmp_path / ".envs" / "lava" / "not_installed.txt").write_text("no wheel for this Python\nmore\n")
    assert found(tmp_path)[".envs/lava"].state == "no wheel for this Python"


def test_programs_are_looked_for_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not found(Path())["QEMU"].there
    program = tmp_path / "qemu-system-arm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert found(Path())["QEMU"].state == str(program)
