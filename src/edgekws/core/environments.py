"""Tools in environments of their own, built by ``envs/tool``: where their Python is, or why there is none."""

from __future__ import annotations

from pathlib import Path

NOT_INSTALLED = "not_installed.txt"
"""What ``envs/tool`` leaves in a folder where it could not build the environment; the first line says why."""


class NotRun(Exception):
    """A tool gave no answer; the text says why."""


def python_of(environment: str | Path, *, absent: str) -> Path:
    """The environment's Python, absolute: scripts run in folders of their own.

    Args:
        absent: What to say where nothing was built.

    Raises:
        NotRun: The environment could not be built, or was not.
    """
    folder = Path(environment).absolute()
    if (folder / NOT_INSTALLED).is_file():
        # The other lines are this machine's.
        raise NotRun(((folder / NOT_INSTALLED).read_text(encoding="utf-8").splitlines() or ["not installed"])[0])
    python = folder / "bin" / "python"
    if not python.is_file():
        raise NotRun(absent)
    return python
