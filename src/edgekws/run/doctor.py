"""What this machine has, what each thing is for, and how to get what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgekws.core import dvc, environments
from edgekws.core.device import describe

GIGABYTES = 5
"""Free disk that environments and the demo need."""

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Found(NamedTuple):
    """One thing looked for."""

    what: str
    """What was looked for, and what it is for."""
    there: bool
    state: str
    """Its version or place, or why it is not there."""
    remedy: str
    """The command that brings it; empty where it is there."""


def examine(checkout: Path) -> Iterator[Found]:
    """Look for everything that some part of the project can use.

    Args:
        checkout: The repository's folder: tools have environments under its ``.envs``.
    """
    yield _package("torch", "every model", "pip install torch")
    yield _package("snakemake", "the workflow", "make .venv/.main")
    yield _package("dvc", "archives pinned and fetched, releases", "make .venv/.main")
    yield _package("papermill", "figures", "make .venv/.main")
    yield _package("espeakng-loader", "the synthetic corpora of the demo", "make .venv/.main")
    yield _package("ziglang", "a C compiler: fast spikes, code for devices", "pip install ziglang")
    for lock in sorted((checkout / "envs").glob("*.txt")):
        if lock.stem not in ("main", "test"):
            yield _environment(checkout, lock.stem)
    yield _gpu()
    yield _program(("qemu-system-arm",), "QEMU: code for devices, run and counted", "apt-get install qemu-system-arm")
    yield _program(_BROWSERS, "a browser: tests of the report's pages", "apt-get install chromium")
    yield _program(("git",), "git: the commit that results name", "apt-get install git")
    yield _remote()
    free = shutil.disk_usage(checkout).free / 1e9
    yield Found(f"disk: {GIGABYTES} GB for environments and the demo", free >= GIGABYTES, f"{free:.0f} GB free",
                "" if free >= GIGABYTES else "make room, or clone to another disk")


def _package(name: str, purpose: str, remedy: str) -> Found:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Found(f"{name}: {purpose}", False, "not installed", remedy)
    return Found(f"{name}: {purpose}", True, version, "")


def _gpu() -> Found:
    what = "GPU: training, where the setting `device` wants one"
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return Found(what, True, describe(torch.device("cuda")), "")
    return Found(what, False, "none that PyTorch can use", "a build of torch for the GPU; without one the CPU does everything")


def _environment(checkout: Path, tool: str) -> Found:
    what, command = f".envs/{tool}: tool with packages of its own", f"envs/tool {tool} .envs/{tool}"
    try:
        environments.python_of(checkout / ".envs" / tool, absent="not built yet; the workflow builds what it needs")
    except environments.NotRun as error:
        return Found(what, False, str(error), command)
    return Found(what, True, "built", "")


def _program(names: tuple[str, ...], what: str, remedy: str) -> Found:
    path = next((found for found in map(shutil.which, names) if found), None)
    return Found(what, path is not None, path or "not on the path", "" if path else remedy)


def _remote() -> Found:
    what, remedy = "DVC remote: releases, shared archives", ".venv/bin/dvc remote add --default NAME ADDRESS"
    if importlib.util.find_spec("dvc") is None:
        return Found(what, False, "DVC is not installed", remedy)
    try:
        answer = dvc.run("remote", "list")
    except (OSError, subprocess.SubprocessError) as error:
        return Found(what, False, str(error), remedy)
    names = [line.split()[0] for line in answer.stdout.splitlines() if line.strip()]
    return Found(what, bool(names), ", ".join(names) or "none is set", "" if names else remedy)
