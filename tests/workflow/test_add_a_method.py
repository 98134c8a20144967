"""docs/add_a_method.md, followed to the letter in a copy of the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.workflow.conftest import ROOT

# One worker makes the finished run that this starts from.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("finished run")]

BLOCK = re.compile(r"^(?P<before>[^\n]+)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NEW_FILE = re.compile(r"New file `(?P<path>[^`]+)`:")
CHANGE = re.compile(r"In `(?P<path>[^`]+)`, (?P<side>above|below) the line `(?P<line>[^`]+)`:")


def git(folder, *arguments):
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path, finished):
    """The working tree's files under version control, with the finished tiny run in them."""
    if not (ROOT / ".git").exists():
        pytest.skip("not in a git checkout: what belongs to the repository is not known")
    folder = tmp_path / "checkout"
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)  # with its time: what was made of it stays
    git(folder, "init", "--quiet")
    (folder / ".git" / "info" / "exclude").write_text(".venv\n.envs\n")  # links here, folders elsewhere
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "before")
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.folder / name, folder / name, symlinks=True)
    (folder / ".envs").symlink_to(finished.folder / ".envs")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def follow(page, folder):
    """Do what a page says, block by block; the commands' output, and the files it names."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
        "PYTHONPATH": str(folder / "src"), "DVC_NO_ANALYTICS": "1"}
    output, named = [], set()
    for block in BLOCK.finditer(page):
        if block["language"] == "sh":
            done = subprocess.run(["bash", "-e", "-c", block["text"]], cwd=folder, env=environment, capture_output=True,
                                  text=True, check=False)
            assert done.returncode == 0, block["text"] + done.stdout + done.stderr
            output.append(done.stdout + done.stderr)
        elif new := NEW_FILE.fullmatch(block["before"]):
            path = folder / new["path"]
            assert not path.exists(), f"{path} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"], encoding="utf-8")
            named.add(new["path"])
        else:
            change = CHANGE.fullmatch(block["before"])
            assert change, f"what is to be done with the block below '{block['before']}'?"
            path = folder / change["path"]
            text, line = path.read_text(encoding="utf-8"), change["line"] + "\n"
            assert text.count(f"\n{line}") == 1, f"no such line in {path}: {line}"
            path.write_text(text.replace(f"\n{line}", {"above": f"\n{block['text']}{line}",
                                                       "below": f"\n{line}{block['text']}"}[change["side"]]), encoding="utf-8")
            named.add(change["path"])
    return output, named


def test_the_page_leads_to_a_method_with_claim_figure_and_section(checkout):
    page = (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
    assert page.count("```") == 2 * len(BLOCK.findall(page)), "each block has a line above that says what to do with it"
    before = {path: path.stat().st_mtime_ns for path in (checkout / "results").rglob("traces_propagation/*.json")}
    output, named = follow(page, checkout)

    results = checkout / "results" / "tiny"
    claims = {claim["id"]: claim for claim in json.loads((results / "claims.json").read_text())["claims"]}
    assert claims["mean-01"]["value"] is not None and claims["mean-01"]["metrics"]
    assert claims["mean-01"]["verdict"] in ("effect_seen_on_synthetic", "not_testable")
    assert (results / "figures" / "class_means.svg").stat().st_size > 1000
    report = (results / "report.html").read_text()
    assert all(part in report for part in (
        '<h2>Nearest class mean</h2>', '<section id="nearest_mean-numbers">', '<tr id="mean-01">', '<figure id="class_means">'))
    assert any("5 passed" in text for text in output)

    changed = {line[3:] for line in git(checkout, "status", "--porcelain", "--untracked-files=all").splitlines()}
    assert changed == named | {"config/default.yaml", "workflow/schemas/config.schema.json"}
    assert {path for path in changed if not re.search("nearest_mean", path)} == {
        "Snakefile", "config/default.yaml", "workflow/schemas/config.schema.json"}
    assert before and before == {path: path.stat().st_mtime_ns for path in before}, "what was measured before stays"

    own = subprocess.run([sys.executable, "-c", "import edgekws; print(edgekws.__file__)"], capture_output=True, text=True,
                         check=True, env={**os.environ, "PYTHONPATH": str(checkout / "src")}).stdout
    assert Path(own.strip()).is_relative_to(checkout), "it was this copy's library that ran"
