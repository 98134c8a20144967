"""Registering an archive with DVC: pinned once, refused when it has changed."""

import shutil

import pytest
import yaml
from tests.conftest import REPOSITORY

from edgekws import files
from edgekws.corpus.register import register
from edgekws.errors import UserError


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty folder with this project's DVC configuration."""
    folder = tmp_path / "repository"
    shutil.copytree(REPOSITORY / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_an_archive_is_pinned_and_must_not_change(repository, make_gsc):
    archive, out = make_gsc(), repository / "data" / "gsc.tar"
    register(archive, out)
    pinned = yaml.safe_load((repository / "data" / "gsc.tar.dvc").read_text())["outs"][0]
    assert out.read_bytes() == archive.read_bytes() and pinned["size"] == archive.stat().st_size
    register(archive, out)
    archive.write_bytes(archive.read_bytes() + b"more")
    before = files.sha256_of(out)
    with pytest.raises(UserError, match="was registered"):
        register(archive, out)
    assert files.sha256_of(out) == before


def test_an_archive_that_is_not_there_is_refused(repository, tmp_path):
    with pytest.raises(UserError, match="no such archive"):
        register(tmp_path / "none.tar", repository / "none.tar")
    assert not list(repository.glob("none*"))
