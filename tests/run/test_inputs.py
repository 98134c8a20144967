import os

import pytest

from edgekws.run.inputs import state_of


@pytest.fixture
def folder(tmp_path):
    for name in ("a/b/one.wav", "a/two.wav", "three.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def rewrite(folder):
    (folder / "a/b/one.wav").write_bytes(b"54321")
    os.utime(folder / "a/b/one.wav", ns=(1, 1))


@pytest.mark.parametrize("change", [
    rewrite, lambda folder: (folder / "a/two.wav").unlink(), lambda folder: (folder / "a/b/four.wav").write_bytes(b""),
    lambda folder: (folder / "three.wav").rename(folder / "other.wav")])
def test_every_change_of_a_file_shows(folder, change):
    before = state_of(folder)
    assert before and state_of(folder) == before
    change(folder)
    assert state_of(folder) != before


def test_hidden_files_do_not_count_and_files_are_snakemakes(folder):
    before = state_of(folder)
    (folder / ".git").mkdir()
    (folder / ".git" / "index").write_bytes(b"x")
    os.utime(folder)
    assert state_of(folder) == before
    assert state_of(folder / "three.wav") == state_of(None) == state_of(folder / "none") == ""


def test_far_below_a_folders_own_time_stands_for_its_files(folder):
    before = state_of(folder, depth=0)
    (folder / "a" / "b" / "four.wav").write_bytes(b"")
    assert state_of(folder, depth=0) == before and state_of(folder, depth=1) != before
