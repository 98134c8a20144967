"""Files between steps: whole or not there at all, and the same bytes for the same content."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.features import pack


def test_a_failed_write_leaves_nothing_and_keeps_the_old(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), files.writing(path) as part:
        part.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("number, words", [(errno.ENOSPC, "no space left"), (errno.EACCES, "cannot be written")])
def test_disk_trouble_is_told_plainly(tmp_path, number, words):
    with pytest.raises(UserError, match=words), files.writing(tmp_path / "a.bin") as part:
        part.write_bytes(b"half")
        raise OSError(number, os.strerror(number))
    assert os.listdir(tmp_path) == []


def test_a_really_full_disk_is_told_plainly(tmp_path):
    """/dev/full answers every write with ENOSPC, as a full disk does."""
    with pytest.raises(UserError, match="no space left"), files.writing(tmp_path / "a.bin") as part:
        part.symlink_to("/dev/full")
        with open(part, "wb", buffering=0) as handle:
            handle.write(b"x")
    assert os.listdir(tmp_path) == []


def test_a_folder_in_the_way_or_a_file_for_a_folder_is_told_plainly(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.txt", tmp_path / "folder", tmp_path / ("n" * 300)):
        with pytest.raises(UserError, match="cannot be written") as told:
            files.write_text(path, "x")
        assert told.value.where == path and told.value.remedy
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_what_cannot_be_read_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(IsADirectoryError), files.writing(tmp_path / "a.txt"):
        Path("/usr").read_text()


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a small file system, where this person may."""
    folders = []

    def mount(options):
        folder = tmp_path / "mounted"
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False).returncode:
            pytest.skip("no right to mount a file system")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", folder], check=True)


def test_no_writer_leaves_anything_on_a_full_disk(mounted):
    folder, numbers = mounted("size=64k"), np.random.default_rng(0).random(200_000)
    files.write_text(folder / "kept", "old")

    def array(path):
        with files.writing(path) as part, part.open("wb") as file:
            np.save(file, numbers)

    writers = [lambda path: files.write_text(path, "x" * 1_000_000), lambda path: files.write_json(path, numbers.tolist()),
               lambda path: files.write_table(path, pd.DataFrame({"x": numbers})), array,
               lambda path: files.write_model(path, {"x": torch.from_numpy(numbers)}, architecture="a", settings={},
                                              provenance={})]
    for write in writers:
        with pytest.raises(UserError, match="no space left"):
            write(folder / "kept")
        assert os.listdir(folder) == ["kept"] and (folder / "kept").read_text() == "old"


def test_a_read_only_folder_is_told_plainly(mounted):
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\)"):
        files.write_text(mounted("ro") / "results" / "a.txt", "x")


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["json", "parquet", "safetensors", "npy"])
def test_a_truncated_file_is_named_and_what_to_do_is_told(tmp_path, kind, share):
    path, numbers = tmp_path / f"a.{kind}", np.arange(600, dtype=np.float32)
    write, read = {
        "json": (lambda: files.write_json(path, numbers.tolist()), files.read_json),
        "parquet": (lambda: files.write_table(path, pd.DataFrame({"x": numbers}), {"n": 1}), files.read_table),
        "safetensors": (lambda: files.write_model(path, {"x": torch.from_numpy(numbers)}, architecture="a", settings={},
                                                  provenance={}), lambda path: files.read_model(path, "a")),
        "npy": (lambda: np.save(path, numbers.reshape(1, 60, 10)), pack.open_features)}[kind]
    write()
    read(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(UserError) as told:
        read(path)
    assert told.value.where == path and "delete it and" in told.value.remedy


@pytest.mark.parametrize("place", [0.3, 0.97])
def test_a_parquet_table_with_other_bytes_inside_is_refused(tmp_path, place):
    path = tmp_path / "a.parquet"
    files.write_table(path, pd.DataFrame({"x": [f"word {number}" for number in range(2000)]}))
    damaged = bytearray(path.read_bytes())
    start = int(place * len(damaged))
    damaged[start:start + 40] = b"\xff" * 40
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="not a readable parquet"):
        files.read_table(path)


def test_leftovers_of_a_killed_writer_go_with_the_next_write(tmp_path):
    killed = ("import os, signal, sys\nfrom edgekws.core import files\n"
              "with files.writing(sys.argv[1]) as part:\n"
              "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n")
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path / "a.txt")], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "a.txt").exists() and len(os.listdir(tmp_path)) == 1
    files.write_text(tmp_path / "a.txt", "whole")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_model_round_trip_is_byte_stable(tmp_path):
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    about = {"architecture": "toy", "settings": {"b": 1, "a": [1, 2]}, "provenance": {"code": "x"}}
    # The order in which safetensors writes metadata depends on the process's hash seed: compare two processes.
    write = ("import sys, torch\nfrom edgekws.core import files\n"
             "files.write_model(sys.argv[1], {'w': torch.arange(6.0).reshape(2, 3), 'b': torch.zeros(2)},"
             "architecture='toy', settings={'b': 1, 'a': [1, 2]}, provenance={'code': 'x'})\n")
    subprocess.run([sys.executable, "-c", write, str(tmp_path / "1")], check=True)
    files.write_model(tmp_path / "2", tensors, **about)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    loaded, metadata = files.read_model(tmp_path / "1", "toy")
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert metadata["settings"] == about["settings"] and metadata["provenance"] == about["provenance"]


def test_a_model_of_another_kind_or_a_broken_one_is_refused(tmp_path):
    files.write_model(tmp_path / "m", {"w": torch.zeros(1)}, architecture="a", settings={}, provenance={})
    with pytest.raises(UserError, match="holds 'a', not 'b'"):
        files.read_model(tmp_path / "m", "b")
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:20])
    with pytest.raises(UserError, match="not a readable safetensors"):
        files.read_model(tmp_path / "m", "a")


def test_table_round_trip(tmp_path):
    table = pd.DataFrame({"word": ["yes", "no"], "clip": [0, 1]})
    files.write_table(tmp_path / "t.parquet", table, {"shots": [1, "all"]})
    read, metadata = files.read_table(tmp_path / "t.parquet")
    assert read.equals(table) and metadata == {"shots": [1, "all"]}
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(UserError, match="not a readable parquet"):
        files.read_table(tmp_path / "t.parquet")


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []
    (tmp_path / "a.json").write_text("{broken")
    with pytest.raises(UserError, match="not valid JSON"):
        files.read_json(tmp_path / "a.json")
