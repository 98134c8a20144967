"""A copy of the project to run the workflow in, and a way to run it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("tiny.yaml")


class Project:
    """The project's files in a folder of their own, as a fresh clone would have them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in ("Snakefile", "workflow", "profiles", "config", "claims", "notebooks", "docs", "envs", "embedded"):
            (folder / name).symlink_to(ROOT / name)
        (folder / ".venv").symlink_to(sys.prefix)  # where envs/tool looks for uv
        shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
        for pointer in [*(ROOT / "data").rglob("*.dvc"), *(ROOT / "data").rglob("*.csv")]:
            copy = folder / pointer.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(pointer, copy)

    def command(self, *arguments: str, config: Path | str | None = TINY) -> list[str]:
        # Without --configfile the default profile chooses one.
        chosen = [] if config is None else ["--configfile", str(config)]
        return [str(Path(sys.executable).with_name("snakemake")), *arguments, *chosen]

    def run(self, *arguments: str, config: Path | str | None = TINY, check: bool = True) -> subprocess.CompletedProcess[str]:
        # As from a plain shell: the environment's programs are found without activation.
        # Bytecode is written whatever this process was told: each of a run's many processes would compile all anew.
        environment = {**os.environ, "PATH": "/usr/bin:/bin", "DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": ""}
        done = subprocess.run(self.command(*arguments, config=config), cwd=self.folder, env=environment,
                              capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def planned(self, *arguments: str, config: Path | str | None = TINY) -> dict[str, int]:
        """Jobs of a dry run: how many of each rule."""
        shown = self.run("--dry-run", "--quiet=rules", *arguments, config=config).stdout
        table = shown.partition("Job stats:")[2].partition("\n\n")[0]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
                if rule != "total"}

    def results(self, run: str = "tiny") -> Path:
        return self.folder / "results" / run


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A whole tiny run, made once, with two jobs at a time. Read it, do not change it."""
    project = Project(tmp_path_factory.mktemp("finished") / "project")
    project.run("--cores", "2", "--quiet=rules")
    return project
