"""Provenance and derived seeds."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekws.core import provenance as module
from edgekws.core.provenance import derive_seed, provenance


def test_provenance_names_code_packages_and_corpus():
    about = provenance(corpus={"archive_sha256": "ab"}, threads=3)
    assert about["corpus"] == {"archive_sha256": "ab"} and about["threads"] == 3
    assert {"numpy", "torch", "norse"} <= set(about["packages"]) and about["code"].startswith("0.")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A git checkout that the library runs from, and its commit."""
    def git(*arguments):
        names = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", "-C", str(tmp_path), *names, *arguments], check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    (tmp_path / "a").touch()
    git("add", "a")
    git("commit", "--quiet", "-m", "one")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "src" / "edgekws" / "core" / "provenance.py"))
    module.code_version.cache_clear()
    yield git("rev-parse", "--short", "HEAD").strip()
    module.code_version.cache_clear()


def test_a_clone_that_somebody_else_owns_keeps_its_commit(clone, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    assert clone in module.code_version() and "dirty" not in module.code_version()


def test_without_git_there_is_the_version_alone(clone, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert module.code_version() == module.__version__


def test_a_known_derived_seed_never_changes():
    """Results are only the same for the same seed as long as this holds."""
    assert [derive_seed(0, "weights"), derive_seed(1, "weights")] == [103396355, 266360463]


@given(st.integers(), st.text(), st.text())
def test_jobs_get_seeds_of_their_own(seed, one, other):
    assert 0 <= derive_seed(seed, one) < 2**32
    assert (derive_seed(seed, one) == derive_seed(seed, other)) == (one == other)
