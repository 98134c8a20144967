"""Releases: what is sent, what git keeps of it, what comes back, and what is left when it cannot be had."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.conftest import REPOSITORY

from edgekws.core import dvc
from edgekws.core.errors import UserError
from edgekws.run import release, workflow

# DVC takes a second or more to start: one worker pushes once, and the tests take copies.
pytestmark = pytest.mark.xdist_group("release")
slow = pytest.mark.slow

KEPT = ("config.json", "claims.json", "claims.csv", "claims.html", "metrics/traces_propagation/many_users.json",
        "metrics/onda/cost.json", "corpus/index.parquet", "figures/rulegraph.svg", "voice.html", "benchmarks/claims.tsv",
        "models/onda/base.bin", "models/linked.bin")
NOT_KEPT = ("report.html", "figures/few_shot.svg", "figures/traces_propagation.json", "logs/claims.log", "features/onda.npy",
            "notebooks/onda.ipynb")
POINTER = Path("releases/demo.dvc")
KNOWN = Path(".dvc/config.local")


def new_project(folder: Path) -> Path:
    """A checkout without a run."""
    shutil.copytree(REPOSITORY / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder that holds `origin`, a project with a finished run, and `cache`, where one of its models really is."""
    place = tmp_path_factory.mktemp("release")
    run = new_project(place / "origin") / "results" / "demo"
    for number, name in enumerate((*KEPT, *NOT_KEPT)):
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "models/linked.bin":
            (place / "cache").write_bytes(b"linked")
            path.symlink_to(place / "cache")
        else:
            path.write_bytes(f"content of {name}\n".encode())
        os.utime(path, ns=(10**18, 10**18 + number * 10**9), follow_symlinks=False)
    os.utime(place / "cache", (1, 1))
    return place


@pytest.fixture(scope="module")
def pushed(place) -> Path:
    """The same, its run released to the folder `store` beside it."""
    before = Path.cwd()
    os.chdir(place / "origin")
    try:
        assert release.push("demo", "../store") == POINTER
    finally:
        os.chdir(before)
    return place


@pytest.fixture(scope="module")
def restored(pushed) -> Path:
    """A project whose run came from the release."""
    folder = new_project(pushed / "restored")
    shutil.copytree(pushed / "origin" / "releases", folder / "releases")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert release.pull("demo", "../store") == Path("results/demo")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def origin(pushed, tmp_path, monkeypatch):
    """A copy of the project that was released, to work in, with the store beside it."""
    for name in ("origin", "store"):
        shutil.copytree(pushed / name, tmp_path / name, symlinks=True)
    monkeypatch.chdir(tmp_path / "origin")
    return tmp_path / "origin"


@pytest.fixture
def clone(pushed, tmp_path, monkeypatch):
    """A fresh checkout of that project, without the run, with a copy of the store beside it."""
    folder = new_project(tmp_path / "clone")
    shutil.copytree(pushed / "origin" / "releases", folder / "releases")
    shutil.copytree(pushed / "store", tmp_path / "store")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def unreleased(place, tmp_path, monkeypatch):
    """A copy of the finished run alone, in a project without releases."""
    folder = new_project(tmp_path / "unreleased")
    shutil.copytree(place / "origin" / "results", folder / "results", symlinks=True)
    monkeypatch.chdir(folder)
    return folder / "results" / "demo"


# ------------------------------------------------------------------------------------------------ push
@slow
def test_data_are_kept_by_their_content_and_nothing_that_can_be_drawn_again(pushed):
    kept = {md5((pushed / "origin" / "results" / "demo" / name).read_bytes()) for name in KEPT}
    stored = {path.parent.name + path.name: path.read_bytes() for path in (pushed / "store").rglob("*") if path.is_file()}
    folders = {name for name in stored if name.endswith(".dir")}
    assert stored.keys() - folders == kept and len(folders) == 3, "metrics, models, benchmarks"
    assert all(md5(content) == name.removesuffix(".dir") for name, content in stored.items())


@slow
def test_the_pointer_names_files_and_checksums_and_no_place(pushed):
    pointer = (pushed / "origin" / POINTER).read_text()
    assert str(pushed) not in pointer and "store" not in pointer
    outs = {out["path"]: out for out in yaml.safe_load(pointer)["outs"]}
    assert list(outs) == [f"results/demo/{name}" for name in (*release.NEEDED, *release.ALSO)]
    assert all(re.fullmatch(r"[0-9a-f]{32}(\.dir)?", out["md5"]) and out["size"] > 0 for out in outs.values())
    claims = (pushed / "origin" / "results/demo/claims.json").read_bytes()
    assert (outs["results/demo/claims.json"]["md5"], outs["results/demo/claims.json"]["size"]) == (md5(claims), len(claims))
    assert outs["results/demo/models"]["nfiles"] == 2


@slow
def test_git_is_to_keep_the_pointer_and_nothing_else(origin):
    def git(*arguments):
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.splitlines()

    git("init", "--quiet")
    found = {line[3:] for line in git("status", "--porcelain", "--untracked-files=all")}
    assert found == {".dvc/config", ".dvcignore", ".gitignore", str(POINTER)}
    assert "url = ../../store\n" in KNOWN.read_text(), "the clone's own, and as it was given"


@slow
def test_the_run_that_is_pushed_stays_as_it_was(pushed):
    run = pushed / "origin" / "results" / "demo"
    for number, name in enumerate((*KEPT, *NOT_KEPT)):
        # What was a link may be a file of DVC's now: never older or newer than what is made from it allows.
        assert (run / name).stat().st_mtime_ns == 10**18 + number * 10**9, name
    assert (run / "models/linked.bin").read_bytes() == b"linked"


@pytest.mark.parametrize("lacking", ["claims.json", "metrics", "corpus/index.parquet", "report.html"])
def test_a_run_that_is_not_whole_is_refused(unreleased, lacking):
    for path in [unreleased / lacking, *(unreleased / lacking).rglob("*")]:
        if path.is_file():
            path.unlink()  # a folder stays, empty
    with pytest.raises(UserError, match=rf"^results/demo: is not a complete run: there is no {lacking}\n"):
        release.push("demo", "../store")
    assert not POINTER.exists() and not KNOWN.exists()


def test_a_run_with_steps_left_to_do_is_not_released(unreleased, monkeypatch):
    """What `make release` asks first, each cause in its own sentence."""
    with pytest.raises(UserError, match=r"^results/dem: no such run\n.*did you mean 'demo'"):
        release.check_finished("dem")
    monkeypatch.setattr(workflow, "pending", lambda configfiles: [{"rule": rule} for rule in ("train", "train", "report")])
    with pytest.raises(UserError, match=r"^results/demo: 3 steps are missing, or older .*: report, train\n.*--configfile "
                                        r"results/demo/config.json$"):
        release.check_finished("demo")
    monkeypatch.setattr(workflow, "pending", lambda configfiles: [])
    release.check_finished("demo")
    monkeypatch.undo()
    monkeypatch.chdir(unreleased.parents[1])
    with pytest.raises(UserError, match="no Snakefile here"):
        release.check_finished("demo")


def test_a_name_that_is_no_runs_is_refused(unreleased, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"^results/dem: no such run\n.*did you mean 'demo'"):
        release.push("dem", "../store")
    for name in ("", ".", "demo/", "../unreleased/results/demo"):
        with pytest.raises(UserError, match="setting 'run'"):
            release.push(name, "../store")
        with pytest.raises(UserError, match="setting 'run'"):
            release.pull(name)
    with pytest.raises(UserError, match="remote has no name"):
        release.push("demo", "")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is not the project's folder"):
        release.push("demo", "store")


@slow
def test_an_address_that_dvc_does_not_know_leaves_nothing(unreleased):
    before = contents(unreleased)
    with pytest.raises(UserError, match=r"^nosuch://store: DVC could not remote: .*Unsupported URL type.*\n  remedy: name"):
        release.push("demo", "nosuch://store")
    assert not POINTER.exists() and not KNOWN.exists() and contents(unreleased) == before


@slow
def test_a_release_that_could_not_be_sent_leaves_the_one_before_and_the_newer_results(origin, tmp_path):
    """DVC has versioned the newer results then: that it knows them does not mean that they may go."""
    (tmp_path / "a_file").touch()
    pointer, known = POINTER.read_text(), KNOWN.read_text()
    newer = origin / "results" / "demo" / "metrics" / "onda" / "cost.json"
    newer.write_text("newer")
    with pytest.raises(UserError, match=r"^../a_file/store: DVC could not push: \S.*\n  remedy: see that the path can be"):
        release.push("demo", "../a_file/store")
    assert (POINTER.read_text(), KNOWN.read_text()) == (pointer, known)
    with pytest.raises(UserError, match=r"^results/demo: holds other results than the release: metrics/onda/cost.json\n"):
        release.pull("demo")
    assert newer.read_text() == "newer"


def test_whoever_stops_it_finds_the_pointer_as_it_was(unreleased, monkeypatch):
    def stopped(command, *arguments):
        if command == "commit":
            assert POINTER.exists()
            raise KeyboardInterrupt
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(dvc, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        release.push("demo", "../store")
    assert not POINTER.exists()


# ------------------------------------------------------------------------------------------------ pull
@slow
def test_what_was_pushed_comes_back(pushed, restored):
    expected = contents(pushed / "origin" / "results" / "demo")
    assert contents(restored / "results") == {f"demo/{name}": expected[name] for name in KEPT}
    ages = {path.stat().st_mtime_ns for path in (restored / "results").rglob("*") if path.is_file()}
    assert len(ages) == 1, "none is newer than what it was made from"


@slow
def test_restored_twice_though_drawing_makes_claims_and_benchmarks_anew(pushed, restored, monkeypatch):
    monkeypatch.chdir(restored)
    run = Path("results/demo")
    for name in ("claims.json", "benchmarks/claims.tsv"):
        (run / name).write_text("made again")
    (run / "benchmarks" / "onda").mkdir(exist_ok=True)
    (run / "benchmarks" / "onda" / "figures.tsv").write_text("made again")
    release.pull("demo")
    for name in ("claims.json", "benchmarks/claims.tsv"):
        assert (run / name).read_bytes() == (pushed / "origin" / run / name).read_bytes()


@slow
def test_other_results_in_the_way_are_left_alone(clone):
    run = clone / "results" / "demo"
    for name in ("metrics/onda/cost.json", "models/mine.bin", "figures/few_shot.svg"):
        (run / name).parent.mkdir(parents=True)
        (run / name).write_text("mine")
    before = contents(clone / "results")
    with pytest.raises(UserError, match=r"^results/demo: holds other results than the release: metrics/onda/cost.json, "
                                        r"models/mine.bin\n  remedy: move that folder away first"):
        release.pull("demo", "../store")
    assert contents(clone / "results") == before


def damage(store: Path, name: str) -> None:
    """Another content in the file of the store that should hold a model; it is write-protected."""
    content = f"content of {name}\n".encode()
    (path,) = (path for path in store.rglob("*") if path.is_file() and path.read_bytes() == content)
    path.unlink()
    path.write_bytes(content.upper())


def lose_a_folder(store: Path) -> None:
    next(path for path in store.rglob("*.dir") if b"many_users" in path.read_bytes()).unlink()


@slow
@pytest.mark.parametrize("harm", [lambda store: damage(store, "models/onda/base.bin"), lose_a_folder, shutil.rmtree],
                         ids=["damaged", "incomplete", "gone"])
def test_data_that_are_not_whole_at_the_remote_are_not_brought(clone, tmp_path, harm):
    harm(tmp_path / "store")
    with pytest.raises(UserError, match=r"^releases/demo.dvc: its data are not whole at the remote\n.*REMOTE="):
        release.pull("demo", "../store")
    assert contents(clone / "results") == {}
    assert not KNOWN.exists(), "a place without the data is not kept in mind"


@slow
def test_a_clone_that_was_not_told_the_place_says_so(clone):
    with pytest.raises(UserError, match=r"^releases/demo.dvc: its data cannot be had: .*'release'.*\n.*REMOTE="):
        release.pull("demo")
    assert contents(clone / "results") == {}


def test_a_release_that_is_not_there_is_refused(unreleased):
    with pytest.raises(UserError, match=r"^releases/demo.dvc: no such release\n"):
        release.pull("demo")
    POINTER.parent.mkdir()
    POINTER.touch()
    with pytest.raises(UserError, match="did you mean 'demo'"):
        release.pull("demos")
