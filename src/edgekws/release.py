"""Releases: what a run found, kept by DVC where its owner chooses; git keeps a pointer of a few lines.

A pointer, ``releases/<run>.dvc``, names the files of ``results/<run>`` and their checksums. Where the data are is not in
it: that is each clone's own (``.dvc/config.local``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Annotated, Any

import typer
import yaml

from edgekws import dvc, files
from edgekws.errors import UserError, did_you_mean

app = typer.Typer(no_args_is_help=True, help="Releases: versions of a run's models, metrics and claims, kept by DVC.")

REMOTE = "release"
"""What the place of the data is called in DVC's configuration."""

NEEDED = ("config.json", "claims.json", "claims.csv", "claims.html", "metrics", "models", "corpus/index.parquet",
          "figures/rulegraph.svg")
"""All that figures, notebooks, claims and report can be built from again, and the models."""
ALSO = ("benchmarks",)

RunName = Annotated[str, typer.Argument(help="Name of the run, the folder below results.")]


def push(run: str, remote: str) -> Path:
    """Version ``results/<run>`` and send the data to ``remote``, a folder or any address that DVC knows.

    Returns:
        The pointer. If anything fails, it is left as it was.

    Raises:
        UserError: The run is not whole, or DVC cannot write to the remote.
    """
    folder, pointer = Path("results") / run, _pointer(run)
    missing = [name for name in (*NEEDED, "report.html") if not (folder / name).exists()]
    if missing:
        raise UserError(f"is not a complete run: there is no {', '.join(missing)}", where=folder,
                        remedy="run it to its end first")
    kept = [folder / name for name in (*NEEDED, *ALSO) if (folder / name).exists()]
    before = pointer.read_text(encoding="utf-8") if pointer.exists() else None
    # DVC puts files of its own in the place of links, which would make them newer than what was made from them.
    times = {path: max(path.stat().st_mtime_ns, path.lstat().st_mtime_ns) for path in _files(kept)}
    files.write_text(pointer, yaml.safe_dump({
        "wdir": "..", "outs": [{"path": str(path), "remote": REMOTE} for path in kept]}, sort_keys=False))
    try:
        _dvc("commit", "--force", str(pointer), where=folder, remedy="see that the files can be read and the disk is not full")
        _use(remote)
        _dvc("push", str(pointer), where=remote, remedy="name a folder that can be written to, or an address DVC knows")
    except BaseException:
        if before is None:
            pointer.unlink(missing_ok=True)
        else:
            files.write_text(pointer, before)
        raise
    finally:
        for path, changed in times.items():
            os.utime(path, ns=(changed, changed))
    return pointer


def pull(run: str, remote: str | None = None) -> Path:
    """Bring the files of a release into ``results/<run>``, all of the same age: none is newer than what it was made from.

    Files of that name which differ are left alone.

    Args:
        remote: Where the data are, if this clone has not been told before.

    Raises:
        UserError: There is no such release, its data are not at the remote, or other results are in the way.
    """
    pointer = _pointer(run)
    if not pointer.is_file():
        raise UserError("no such release", where=pointer,
                        remedy=did_you_mean(run, (path.stem for path in pointer.parent.glob("*.dvc"))))
    if remote is not None:
        _use(remote)
    remedy = "name the folder or address that the release was pushed to: make restore RUN=… REMOTE=…"
    found = dvc.run("pull", str(pointer))
    folder = Path("results") / run
    if "unsaved files" in found.stderr:
        raise UserError("holds other results than the release", where=folder, remedy="move that folder away first")
    if found.returncode != 0:
        lacking = "do not exist neither locally nor on remote" in found.stderr
        raise UserError("its data are not at the remote" if lacking else f"its data cannot be had: {_told(found)}",
                        where=pointer, remedy=remedy)
    now = time.time_ns()
    for path in _files(Path(out["path"]) for out in yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]):
        os.utime(path, ns=(now, now))
    return folder


@app.command("push")
def push_command(
    run: RunName,
    remote: Annotated[str, typer.Option(help="Where the data go: a folder, or any address that DVC knows.")],
) -> None:
    """Version models, metrics, claims and configuration of a finished run; git keeps the pointer."""
    pointer = push(run, remote)
    typer.echo(f"{pointer}: pushed to {remote}; keep the pointer in git: git add {pointer}")


@app.command("pull")
def pull_command(
    run: RunName,
    remote: Annotated[str | None, typer.Option(help="Where the data are; default: where they were last time.")] = None,
) -> None:
    """Bring a release's models, metrics, claims and configuration into results/<run>."""
    typer.echo(f"{pull(run, remote)}: as released")


def _pointer(run: str) -> Path:
    if not Path(".dvc").is_dir():
        raise UserError("is not the project's folder: it has no .dvc", where=Path.cwd(), remedy="run it in the project's folder")
    return Path("releases") / f"{run}.dvc"


def _files(paths: Any) -> Iterator[Path]:
    for path in paths:
        yield from (each for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())


def _use(remote: str) -> None:
    _dvc("remote", "add", "--local", "--force", REMOTE, remote, where=remote, remedy="name a folder or an address DVC knows")


def _dvc(*arguments: str, where: str | Path, remedy: str) -> None:
    done = dvc.run(*arguments)
    if done.returncode != 0:
        raise UserError(f"DVC could not {arguments[0]}: {_told(done)}", where=where, remedy=remedy)


def _told(done: CompletedProcess[str]) -> str:
    """What DVC said was wrong, in one line."""
    lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    said = lines[0].removeprefix("unexpected error - ") if lines else " ".join(done.stderr.split())
    return said or f"it ended with {done.returncode}"
