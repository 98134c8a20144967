"""Registering an archive with DVC: pinned once, refused when it has changed."""

import hashlib
import http.server
import os
import re
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
import zc.lockfile
from tests.conftest import REPOSITORY
from tests.corpus.wake_word_trees import V1, heysnips, tarred

from edgekws.core import dvc as dvc_
from edgekws.core import files
from edgekws.core.dvc import remedy_for
from edgekws.core.errors import UserError
from edgekws.corpus import register as registering
from edgekws.corpus import salt
from edgekws.corpus.register import register, register_heysnips


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


@pytest.mark.slow
def test_a_folder_is_pinned_like_an_archive(repository, make_gsc, tmp_path):
    folder, out = tmp_path / "mine", repository / "data" / "mine"
    with tarfile.open(make_gsc()) as opened:
        opened.extractall(folder, filter="data")
    (tmp_path / "linked").symlink_to(folder)
    register(tmp_path / "linked", out)
    assert sorted(path.name for path in out.rglob("*.wav")) == sorted(path.name for path in folder.rglob("*.wav"))
    register(folder, out)
    next(folder.rglob("*.wav")).write_bytes(b"changed")
    with pytest.raises(UserError, match="was registered"):
        register(folder, out)


@pytest.mark.slow
@pytest.mark.parametrize(("trouble", "says", "remedy"), [
    ("cache", "Errno|Not a directory", "dvc cache dir"), ("lock", "Unable to acquire lock", "wait until the other"),
    ("links", "No possible cache link types", "cache.type copy"),
    ("outside", "not inside of a DVC repository", "project's folder")])
def test_what_dvc_says_is_passed_on_and_no_unpinned_copy_stays(repository, make_gsc, tmp_path, trouble, says, remedy):
    archive, out = make_gsc(), repository / "data" / "gsc.tar"
    local = repository / ".dvc" / "config.local"
    held = None
    if trouble == "cache":
        (tmp_path / "file").touch()
        local.write_text(f"[cache]\n    dir = {tmp_path / 'file'}\n")
    elif trouble == "lock":
        (repository / ".dvc" / "tmp").mkdir()
        held = zc.lockfile.LockFile(str(repository / ".dvc" / "tmp" / "lock"))
    elif trouble == "links":
        other = Path("/dev/shm")
        if not other.is_dir() or other.stat().st_dev == repository.stat().st_dev:
            pytest.skip("no second file system")
        local.write_text(f"[cache]\n    dir = {other / f'edgekws-test-{os.getpid()}'}\n    type = hardlink\n")
    else:
        shutil.rmtree(repository / ".dvc")
    try:
        with pytest.raises(UserError, match=says) as caught:
            register(archive, out)
    finally:
        if held:
            held.close()
        shutil.rmtree(f"/dev/shm/edgekws-test-{os.getpid()}", ignore_errors=True)
    assert remedy in caught.value.remedy and caught.value.where == archive
    assert "\n" not in caught.value.what
    assert not out.exists() and not out.with_name("gsc.tar.dvc").exists()


@pytest.mark.parametrize(("said", "remedy"), [
    ("[Errno 28] No space left on device", "free some space"), ("Unable to find AWS credentials", "credentials"),
    ("s3 is supported, but requires 'dvc-s3' to be installed", "pip install"),
    ("[Errno 30] Read-only file system: '/x'", "written"),
    ("Could not resolve host: example.org", "network"), ("something new", "")])
def test_every_cause_has_its_remedy(said, remedy):
    assert remedy in remedy_for(said)
    assert remedy or remedy_for(said) == ""


# ------------------------------------------------------------------------------------------------ HeySnips
SECRET = "signature-of-one-person"


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves ``content`` at any address, in ranges; says more bytes than it sends while ``cut`` is set."""

    content, cut, status = b"", 0, 200
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self):
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.status != 200 or start >= len(self.content):
            self.send_error(self.status if self.status != 200 else 416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start:self.cut or None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on this machine, and the address of a HeySnips archive on it."""
    handler = type("Handler", (_Server,), {"ranges": [], "content": tarred(heysnips(tmp_path), tmp_path / "a.tar").read_bytes()})
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield handler, f"http://127.0.0.1:{running.server_port}/shared/hey_snips_fl_5.0.tar?key={SECRET}"
        running.shutdown()


@pytest.fixture
def dvc(monkeypatch):
    """The arguments that DVC would be called with; calling it takes seconds."""
    calls = []
    monkeypatch.setattr(registering.dvc, "call", lambda *arguments, where, remedy: calls.append(list(arguments)))
    return calls


def everything_in(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_download_is_checked_pinned_and_its_address_kept_nowhere(repository, server, capfd):
    handler, url = server
    card = register_heysnips(url)
    out = repository / "data" / "heysnips" / "given" / "hey_snips_fl_5.0.tar"
    assert out.read_bytes() == handler.content
    pinned = yaml.safe_load(out.with_name(out.name + ".dvc").read_text())["outs"][0]
    assert pinned == {"md5": hashlib.md5(handler.content).hexdigest(), "size": len(handler.content), "hash": "md5",
                      "path": out.name}
    assert len(salt.read_salt(out.with_name(out.name + ".salt"))) == 64
    assert "HeySnips v2: 35 utterances, 21 of them wake words, by 7 speakers" in card and "1811.07684" in card
    for told in (everything_in(repository), card.encode(), "".join(capfd.readouterr()).encode()):
        assert SECRET.encode() not in told and b"127.0.0.1" not in told
    handler.content += b"\0" * 512
    with pytest.raises(UserError, match="was registered"):
        register_heysnips(url)


def test_a_download_that_was_cut_off_goes_on(repository, server, dvc):
    handler, url = server
    handler.cut = 5000
    with pytest.raises(UserError, match=f"ended after 5000 of {len(handler.content)} bytes") as caught:
        register_heysnips(url)
    assert SECRET not in str(caught.value)
    handler.cut = 0
    register_heysnips(url)
    out = repository / "data" / "heysnips" / "given" / "hey_snips_fl_5.0.tar"
    assert out.read_bytes() == handler.content
    assert handler.ranges == [None, "bytes=5000-"]
    assert dvc == [["add", "data/heysnips/given/hey_snips_fl_5.0.tar"]]


def test_a_download_that_is_refused_says_so_without_its_address(repository, server):
    handler, url = server
    handler.status = 403
    with pytest.raises(UserError, match="refused \\(403") as caught:
        register_heysnips(url)
    assert SECRET not in str(caught.value)
    with pytest.raises(UserError, match="failed") as caught:
        register_heysnips(f"http://127.0.0.1:1/a.tar?key={SECRET} x")
    assert SECRET not in str(caught.value) and caught.value.__cause__ is None


def test_what_was_downloaded_and_is_not_heysnips_is_not_kept(repository, server, dvc):
    handler, url = server
    handler.content = b"<html>expired</html>"
    with pytest.raises(UserError, match="is a web page"):
        register_heysnips(url)
    assert not [path for path in (repository / "data").rglob("*") if path.is_file()] and not dvc


def test_an_archive_at_hand_is_checked_and_imported(repository, tmp_path, dvc):
    archive = tarred(heysnips(tmp_path, root=V1), tmp_path / "hey_snips_kws_4.0.tar.gz")
    card = register_heysnips(str(archive))
    assert dvc == [["import-url", "--force", str(archive), "data/heysnips/given/hey_snips_kws_4.0.tar.gz"]]
    assert card.startswith("HeySnips v1: 35 utterances") and "1810.05512" not in card
    assert archive.exists()


def test_an_archive_of_something_else_is_not_imported(repository, tmp_path, dvc, make_gsc):
    synthetic = tarred(heysnips(tmp_path, synthetic=True), tmp_path / "synthetic.tar")
    for archive, what in ((make_gsc(), "another root folder"), (synthetic, "is the synthetic corpus"),
                          (tmp_path / "none.tar", "no such archive")):
        with pytest.raises(UserError, match=what):
            register_heysnips(str(archive))
    assert not dvc and not list((repository / "data").rglob("*.salt"))


@pytest.mark.parametrize("pointer", sorted(REPOSITORY.glob("data/*/*.dvc"), key=str), ids=lambda path: path.name)
def test_a_fetch_that_fails_tells_the_address_and_what_to_do_without_it(monkeypatch, pointer):
    monkeypatch.setattr(dvc_, "run", lambda *arguments: subprocess.CompletedProcess(
        arguments, 1, "", "ERROR: failed to pull data from the cloud - Failed to resolve host"))
    with pytest.raises(UserError, match=r"https://.*: DVC could not pull: .*resolve host\n  remedy: check the network") as told:
        registering.fetch(pointer)
    readme = pointer.parent / "README.md"
    assert str(readme) in str(told.value) and readme.is_file()


def test_every_pointer_says_what_is_fetched_and_how_to_check_it():
    for pointer in REPOSITORY.glob("data/*/*.dvc"):
        content = yaml.safe_load(pointer.read_text())
        assert content["frozen"] and content["outs"][0]["size"] > 0
        assert re.fullmatch(r"[0-9a-f]{32}(\.dir)?", content["outs"][0]["md5"])


def test_a_broken_pointer_is_told(tmp_path):
    (tmp_path / "x.dvc").write_text("outs: []\n")
    with pytest.raises(UserError, match="names nothing to fetch"):
        registering.fetch(tmp_path / "x.dvc")
