"""Releases: what a run found, kept by DVC where its owner chooses; git keeps a pointer of a few lines.

A pointer, ``releases/<run>.dvc``, names the files of ``results/<run>`` and their checksums. Where the data are is not in
it: that is each clone's own (``.dvc/config.local``).
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
import yaml

from edgekws.core import dvc, files
from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.options import example

app = typer.Typer(no_args_is_help=True, help="Releases: versions of a run's models, metrics and claims, kept by DVC.")

REMOTE = "release"
"""What the place of the data is called in DVC's configuration."""

NEEDED = ("config.json", "claims.json", "claims.csv", "claims.html", "metrics", "models", "corpus/index.parquet",
          "figures/rulegraph.svg", "voice.html")
"""All that figures, notebooks, claims and report can be built from again, and the models."""
ALSO = ("benchmarks",)
REDONE = ("claims.json", "claims.csv", "claims.html", "benchmarks")
"""What restoring a run makes anew: another version of it is no other result."""

RunName = Annotated[str, typer.Argument(help="Name of the run, the folder below results.")]


def push(run: str, remote: str) -> Path:
    """Version ``results/<run>`` and send the data to ``remote``, a folder or any address that DVC knows.

    Returns:
        The pointer. If anything fails, it is left as it was, and so is the remote that this clone knows.

    Raises:
        UserError: The run is not whole, or DVC cannot write to the remote.
    """
    folder, pointer = Path("results") / run, _pointer(run)
    if not folder.is_dir():
        raise UserError("no such run", where=folder, remedy=did_you_mean(run, (path.name for path in Path("results").glob("*/"))))
    missing = [name for name in (*NEEDED, "report.html") if not any(_files([folder / name]))]
    if missing:
        raise UserError(f"is not a complete run: there is no {', '.join(missing)}", where=folder,
                        remedy="run it to its end first")
    kept = [folder / name for name in (*NEEDED, *ALSO) if (folder / name).exists()]
    # DVC puts files of its own in the place of links, which would make them newer than what was made from them.
    times = {path: max(path.stat().st_mtime_ns, path.lstat().st_mtime_ns) for path in _files(kept)}
    try:
        with _put_back_on_failure(pointer), _known_as(remote):
            files.write_text(pointer, yaml.safe_dump({
                "wdir": "..", "outs": [{"path": path.as_posix(), "remote": REMOTE} for path in kept]}, sort_keys=False))
            dvc.call("commit", "--force", str(pointer), where=folder,
                 remedy="see that the files can be read and the disk is not full")
            dvc.call("push", str(pointer), where=remote, remedy="name a folder that can be written to, or an address DVC knows")
    finally:
        for path, changed in times.items():
            os.utime(path, ns=(changed, changed))
    return pointer


def check_finished(run: str) -> None:
    """Whether nothing of a run is left to do, as Snakemake sees it.

    Raises:
        UserError: There is no such run, Snakemake cannot plan it, or some of it is missing or older than its settings.
    """
    from edgekws.run import workflow

    folder = Path("results") / run
    config = folder / "config.json"
    if not config.is_file():
        raise UserError("no such run", where=folder, remedy=did_you_mean(run, (path.name for path in Path("results").glob("*/"))))
    if pending := workflow.pending([config]):
        rules = sorted({job["rule"] for job in pending})
        more = f" and {len(rules) - 3} more" if len(rules) > 3 else ""
        raise UserError(f"{len(pending)} steps are missing, or older than their settings or inputs: {', '.join(rules[:3])}{more}",
                        where=folder, remedy=f"run it to its end first: .venv/bin/snakemake --configfile {config}")


def pull(run: str, remote: str | None = None) -> Path:
    """Bring the files of a release into ``results/<run>``, all of the same age: none is newer than what it was made from.

    They are brought beside it and checked, and moved there when they are whole. Other results in the way are left alone.

    Args:
        remote: Where the data are, if this clone has not been told before.

    Raises:
        UserError: There is no such release, its data are not whole at the remote, or other results are in the way.
    """
    pointer, folder = _pointer(run), Path("results") / run
    if not pointer.is_file():
        raise UserError("no such release", where=pointer,
                        remedy=did_you_mean(run, (path.stem for path in pointer.parent.glob("*.dvc"))))
    release = yaml.safe_load(pointer.read_text(encoding="utf-8"))
    kept = [Path(out["path"]) for out in release["outs"]]
    part = folder.with_name(f".{run}.part")
    try:
        with contextlib.nullcontext() if remote is None else _known_as(remote):
            shutil.rmtree(part, ignore_errors=True)
            files.write_text(part / pointer.name, yaml.safe_dump({**release, "wdir": "."}))
            found = dvc.run("pull", str(part / pointer.name))
            if found.returncode != 0:
                lacking = re.search("neither locally nor on remote|Checkout failed", found.stderr)
                again = "name the folder or address that the release was pushed to: make restore RUN=… REMOTE=…"
                if lacking:
                    raise UserError("its data are not whole at the remote", where=pointer, remedy=again)
                raise UserError(f"its data cannot be had: {dvc.told(found)}", where=pointer,
                                remedy=dvc.remedy_for(dvc.told(found)) or again)
        brought = {path.relative_to(part): path for path in _files(part / path for path in kept)}
        redone = {path for name in REDONE for path in _files([folder / name])}
        others = sorted(str(path.relative_to(folder)) for path in {*_files(kept)} - redone
                        if path not in brought or not filecmp.cmp(path, brought[path], shallow=False))
        if others:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            raise UserError(f"holds other results than the release: {', '.join(others[:3])}{more}", where=folder,
                            remedy="move that folder away first")
        now = time.time_ns()
        for path, found_at in brought.items():
            os.utime(found_at, ns=(now, now))
            path.parent.mkdir(parents=True, exist_ok=True)
            found_at.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


@app.command("push", epilog=example("release push demo --remote /shared/releases"))
def push_command(
    run: RunName,
    remote: Annotated[str, typer.Option(help="Where the data go: a folder, or any address that DVC knows.")],
) -> None:
    """Version models, metrics, claims and configuration of a finished run; git keeps the pointer."""
    check_finished(run)
    pointer = push(run, remote)
    typer.echo(f"{pointer}: pushed to {remote}; keep the pointer in git: git add {pointer}")


@app.command("pull", epilog=example("release pull demo --remote /shared/releases"))
def pull_command(
    run: RunName,
    remote: Annotated[str | None, typer.Option(help="Where the data are; default: where they were last time.")] = None,
) -> None:
    """Bring a release's models, metrics, claims and configuration into results/<run>."""
    typer.echo(f"{pull(run, remote)}: as released")


def _pointer(run: str) -> Path:
    from edgekws.config import Config
    from edgekws.core import settings

    if not Path(".dvc").is_dir():
        raise UserError("is not the project's folder: it has no .dvc", where=Path.cwd(), remedy="run it in the project's folder")
    settings.validate(Config, {"run": run}, where=f"results/{run}")
    return Path("releases") / f"{run}.dvc"


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from (each for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())


@contextlib.contextmanager
def _put_back_on_failure(path: Path) -> Iterator[None]:
    before = path.read_text(encoding="utf-8") if path.exists() else None
    try:
        yield
    except BaseException:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            files.write_text(path, before)
        raise


@contextlib.contextmanager
def _known_as(remote: str) -> Iterator[None]:
    """Have DVC look for a release's data at ``remote``: within, and from then on if nothing fails within."""
    if not remote:
        raise UserError("the remote has no name", remedy="name a folder, or an address DVC knows")
    with _put_back_on_failure(Path(".dvc/config.local")):
        for arguments in (("add", "--local", "--force", REMOTE, remote),
                          # What was damaged at the remote is noticed.
                          ("modify", "--local", REMOTE, "verify", "true")):
            dvc.call("remote", *arguments, where=remote, remedy="name a folder or an address DVC knows")
        yield
