"""Modules that torch.save wrote, read without unpickling."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from edgekws.core.errors import UserError
from edgekws.core.torch_file import read_module


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.arange(3.0))
        self.inner = nn.Sequential(nn.ZeroPad2d((1, 2, 3, 4)), nn.Conv2d(2, 4, (3, 1), stride=(2, 1), bias=False),
                                   nn.BatchNorm2d(4))
        self.label, self.plain = "a name", {"size": 7, "parts": [1, 2.5, None]}


def saved(path, module):
    torch.save(module, path)
    return path


def test_names_shapes_and_numbers_are_those_of_the_module(tmp_path):
    torch.manual_seed(0)
    module = Outer()
    module.inner(torch.randn(2, 2, 9, 9))  # statistics of its own
    found = read_module(saved(tmp_path / "net.pt", module))
    assert {name: tensor.tolist() for name, tensor in found.all_tensors()} == {
        name: tensor.tolist() for name, tensor in module.state_dict().items()}
    assert found.kind.endswith("Outer") and [part.kind for part in found.parts["inner"].parts.values()] == [
        "ZeroPad2d", "Conv2d", "BatchNorm2d"]


def test_plain_attributes_are_kept(tmp_path):
    found = read_module(saved(tmp_path / "net.pt", Outer()))
    assert found.attributes["label"] == "a name" and found.attributes["plain"] == {"size": 7, "parts": [1, 2.5, None]}
    assert found.parts["inner"].parts["0"].attributes["padding"] == (1, 2, 3, 4)
    assert found.parts["inner"].parts["1"].attributes["stride"] == (2, 1)


def zipped(path, pickled, **tensors):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in tensors.items():
            archive.writestr(f"archive/data/{name}", data)
    return path


class Runs:
    """A pickle of it makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_nothing_in_the_pickle_is_run(tmp_path):
    data = pickle.dumps(Runs(tmp_path / "made"), protocol=2)
    with pytest.raises(UserError, match="is not a module of plain layers"):
        read_module(zipped(tmp_path / "net.pt", data))
    assert not (tmp_path / "made").exists()
    pickle.loads(data)
    assert (tmp_path / "made").exists()  # it would have been


@pytest.mark.parametrize("protocol", [0, 4])
def test_instructions_beyond_plain_values_are_refused(tmp_path, protocol):
    with pytest.raises(UserError, match=r"net\.pt: is not a module of plain layers: its pickle has the instruction"):
        read_module(zipped(tmp_path / "net.pt", pickle.dumps({"a": {1, 2}, "b": np.float64(1)}, protocol=protocol)))


def rewritten(path, change):
    """The file with its members changed: ``change`` gets and gives name and content of each."""
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(path, "w") as out:
        for name in archive.namelist():
            found = change(name, archive.read(name))
            if found is not None:
                out.writestr(*found)
    return path


@pytest.mark.parametrize(("change", "says"), [
    (lambda name, data: None if name.endswith("/data/1") else (name, data), "'net/data/1' is missing"),
    (lambda name, data: (name, data[:-4] if name.endswith("/data/1") else data), "has 92 bytes, not those of 24 numbers"),
    (lambda name, data: (name, data[:200] if name.endswith(".pkl") else data), "its pickle is damaged"),
    (lambda name, data: None if name.endswith(".pkl") else (name, data), r"torch did not write it"),
])
def test_damage_is_named(tmp_path, change, says):
    with pytest.raises(UserError, match=rf"net\.pt: .*{says}"):
        read_module(rewritten(saved(tmp_path / "net.pt", Outer()), change))


def test_a_file_cut_short_and_other_files_are_refused(tmp_path):
    path = saved(tmp_path / "net.pt", Outer())
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match="is damaged, or not the zip archive"):
        read_module(path)
    torch.save(Outer().state_dict(), path)
    with pytest.raises(UserError, match="it holds something else"):
        read_module(path)
    with pytest.raises(UserError, match="no such file of torch"):
        read_module(tmp_path / "none.pt")


def test_views_and_transposed_tensors_are_refused(tmp_path):
    module = nn.Module()
    module.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
    with pytest.raises(UserError, match="a part of another, or transposed"):
        read_module(saved(tmp_path / "net.pt", module))
