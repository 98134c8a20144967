"""Every command on every page can be typed: what is for edgekws parses, what is for Snakemake and make can be planned."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from edgekws import cli

ROOT = Path(__file__).parents[1]
# docs/add_a_method.md has a test of its own, which does what the page says.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md",
         *sorted({*(ROOT / "docs").rglob("*.md")} - {ROOT / "docs/add_a_method.md"}),
         *sorted((ROOT / "data").glob("*/README.md"))]
BIN = Path(sys.executable).parent


def commands():
    """Page and words of each command in a block of shell: continued lines joined, comments dropped, variables filled in."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            variables = {}
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if not words:
                    continue
                if re.fullmatch(r"[A-Z]+=\S*", words[0]):
                    variables |= [words[0].split("=", 1)]
                    continue
                words = [re.sub(r"\$([A-Z]+)", lambda name: variables.get(name[1], name[0]), word) for word in words]  # noqa: B023
                yield page.relative_to(ROOT), tuple(words)


FOUND = list(commands())
PROGRAMS = {"edgekws": [], "snakemake": [], "make": []}
for place, typed in FOUND:
    PROGRAMS.setdefault(Path(typed[0]).name, []).append((place, typed[1:]))


def test_pages_have_commands():
    assert {str(page) for page, _ in FOUND} >= {"README.md", "docs/index.md", "docs/papers.md", "docs/alternatives.md"}
    assert all(len(PROGRAMS[name]) > 3 for name in ("edgekws", "snakemake", "make"))


@pytest.mark.parametrize("words", [pytest.param(words, id=f"{page}: {' '.join(words)}") for page, words in PROGRAMS["edgekws"]])
def test_commands_of_edgekws_parse(words):
    command = typer.main.get_command(cli.app)
    if "--help" in words or "--version" in words:
        return
    at = 0
    while hasattr(command, "commands"):
        found = command.get_command(None, words[at]) if at < len(words) else None
        assert found is not None, f"no such command: edgekws {' '.join(words[:at + 1])}"
        command, at = found, at + 1
    command.make_context("edgekws", list(words[at:]))


@pytest.mark.parametrize("words", [pytest.param(words, id=f"{page}: {' '.join(words)}") for page, words in PROGRAMS["make"]])
def test_targets_of_make_exist(words, tmp_path):
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_commands_of_snakemake_can_be_planned(make_gsc, tmp_path):
    """Commands that differ in their target alone are planned together."""
    archive = make_gsc()
    plans = {}
    for _, words in PROGRAMS["snakemake"]:
        words = [word.replace("path/to/archive.tar.gz", str(archive)) for word in words]
        first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
        plans.setdefault(tuple(words[first:]), set()).update(words[:first])
    mine = tmp_path / "mine.yaml"
    mine.write_text("run: mine\n", encoding="utf-8")
    for options, targets in plans.items():
        if "--unlock" in options:
            continue
        given = [str(mine) if word == "mine.yaml" else word for word in options]
        dry = [] if "--list-target-rules" in given else ["--dry-run", "--quiet", "all"]
        done = subprocess.run([BIN / "snakemake", *sorted(targets), *dry, *given], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{sorted(targets)} {given}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
