"""Kill a run with SIGKILL at random moments, run it again to its end, and compare every byte with an undisturbed run.

What is promised is that a killed run goes on: nothing half-written is taken for whole, and the results are the same bytes.
One undisturbed run is the reference. Each trial starts from nothing (no results, no notes of Snakemake), so that the corpus
can be hit, too; only the environments of other tools (.envs) stay, which belong to no run. The moments are drawn from the
seed, one in each of as many equal parts of the reference's duration as there are kills: they fall on early and late steps
alike. The whole process group dies at once, as at a power cut or a scheduler's last word; what left the group by itself
(kernels of notebooks) is waited for. Then: `snakemake --unlock`, the same command again, and the comparison.

A long run takes all its kills in one go with --chain: it is killed, goes on, is killed again, and so on to its end. The moments
are then counted in files that are there, and some seconds more; each kill is judged by what it left behind, the end by all.

Everything runs in a copy of the working tree, library included, so that the tree may change meanwhile. Compared are
corpus, features, models, metrics and figures, but for what is timed (VARIES; docs/files.md). A trial is good if every file that
the kill left under its name is whole, the second run ends well, all these files are there and equal, no half-written file is
left, and nothing is left to do. Exit code 1 if any is not.

    python -m benchmarks.faults [--configfile tests/workflow/tiny.yaml] [--kills 3] [--seed 0] [--cores 2]
                                [--targets traces_propagation ...] [--chain] [--folder FOLDER] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from edgekws.core import files
from edgekws.core.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("Snakefile", "workflow", "profiles", "config", "claims", "notebooks", "docs", "envs", "src")
COMPARED = ("corpus", "features", "models", "metrics", "figures")
VARIES = {"metrics/onda/cost.json", "figures/onda.json", "figures/pruning_cost.svg", "figures/pruning_cost.png",
          "metrics/alternatives/cost_spiking.json", "metrics/alternatives/cost_ds_cnn.json"}
"""What holds times of this machine: it must be there, but not be the same."""

SPREAD = 15.0
"""Seconds that a kill in a chain waits at most, once as many files are there as it was drawn for."""

PATIENCE = 60.0
"""Seconds in which what outlived its process group must end by itself."""


class Run:
    """A frozen copy of the project, and one configuration of it."""

    def __init__(self, folder: Path, configfile: Path, cores: int, targets: Sequence[str]) -> None:
        self.folder, self.cores, self.targets = folder / "project", cores, targets
        self.folder.mkdir(parents=True)
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, self.folder / name)
        shutil.copytree(ROOT / ".dvc", self.folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
        for pointer in (ROOT / "data").rglob("*.dvc"):
            (self.folder / pointer.parent.relative_to(ROOT)).mkdir(parents=True, exist_ok=True)
            shutil.copy2(pointer, self.folder / pointer.relative_to(ROOT))
        (self.folder / ".venv").symlink_to(sys.prefix)
        shutil.copy2(configfile, self.folder / "run.yaml")
        name = (yaml.safe_load(configfile.read_text(encoding="utf-8")) or {}).get("run", "demo")
        self.results = self.folder / "results" / name
        self.environment = {**os.environ, "PYTHONPATH": str(self.folder / "src"), "DVC_NO_ANALYTICS": "1"}

    def snakemake(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("snakemake")), *self.targets, *arguments, "--cores", str(self.cores),
                "--quiet", "rules", "--configfile", "run.yaml"]

    def to_the_end(self, *arguments: str) -> tuple[float, int, str]:
        """Seconds, exit code and the last lines of a run that nothing disturbs."""
        started = time.monotonic()
        done = subprocess.run(self.snakemake(*arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True,
                              check=False)
        return time.monotonic() - started, done.returncode, "\n".join((done.stdout + done.stderr).splitlines()[-12:])

    def killed(self, due: Callable[[], bool]) -> bool:
        """Start a run and kill its whole process group once it is due; whether it was still at work by then."""
        run = subprocess.Popen(self.snakemake(), cwd=self.folder, env=self.environment, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while run.poll() is None:
                if due():
                    return True
                time.sleep(0.05)
        finally:  # when it is due, and also if this program is interrupted
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
        return False

    def survivors(self) -> list[psutil.Process]:
        """Processes that work in this copy."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def outlived(self) -> dict[str, Any]:
        """What outlived its group, for how long, and how many had to be ended (their names say what they were)."""
        started, names = time.monotonic(), set()
        while (left := self.survivors()) and time.monotonic() - started < PATIENCE:
            names |= {_name(process) for process in left}
            time.sleep(0.2)
        seconds = round(time.monotonic() - started, 1) if names else 0.0
        for process in left:
            process.kill()
        return {"names": sorted(names), "seconds": seconds, "ended": len(left)}

    def half_done(self) -> list[str]:
        """Outputs that Snakemake knows to be unfinished."""
        found = []
        for note in (self.folder / ".snakemake" / "incomplete").rglob("*"):
            try:
                found.append(base64.urlsafe_b64decode(note.name).decode())
            except (binascii.Error, UnicodeDecodeError):
                continue
        return sorted(found)

    def leftovers(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.results.rglob("*.part"))

    def made(self) -> list[Path]:
        """The files that are compared, as far as they are there."""
        return [path for part in COMPARED for path in sorted((self.results / part).rglob("*"))
                if path.is_file() and path.suffix != ".part"]

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that is compared."""
        return {path.relative_to(self.results).as_posix(): files.sha256_of(path) for path in self.made()}

    def forget(self) -> None:
        """Back to nothing."""
        for name in ("results", ".snakemake"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(Path(word).name for word in process.cmdline()[:4])
    except psutil.Error:
        return "(gone)"


def moments(kills: int, whole: float, seed: int) -> list[float]:
    """When to kill: one moment in each of ``kills`` equal parts of ``whole``."""
    return [float(whole * (part + share) / kills) for part, share in enumerate(np.random.default_rng(seed).random(kills))]


def after(seconds: float) -> Callable[[], bool]:
    """Whether so much time has passed since this call."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


def differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    return sorted(name for name in expected if name in found and found[name] != expected[name] and name not in VARIES)


def aftermath(run: Run, expected: dict[str, str]) -> dict[str, Any]:
    """What a kill left behind, before the run is unlocked."""
    outlived, there = run.outlived(), run.digests()
    made = {"files_there": len(there), "half_done": run.half_done(), "torn": differing(there, expected),
            "parts_then": run.leftovers(), "outlived": outlived}
    _, unlocked, _ = run.to_the_end("--unlock")
    return {**made, "unlocked": unlocked == 0, "good": unlocked == 0 and not made["torn"]}


def completion(run: Run, expected: dict[str, str]) -> dict[str, Any]:
    """Run what was killed to its end, and compare."""
    seconds, code, tail = run.to_the_end()
    _, _, plan = run.to_the_end("--dry-run")
    found = run.digests()
    made = {"seconds": round(seconds, 1), "exit_code": code, "compared": len(expected), "differ": differing(found, expected),
            "missing": sorted(set(expected) - set(found)), "extra": sorted(set(found) - set(expected)),
            "parts_left": run.leftovers(), "nothing_to_do": "Nothing to be done" in plan, "tail": tail if code else ""}
    return {**made, "good": code == 0 and made["nothing_to_do"]
                            and not any(made[name] for name in ("differ", "missing", "extra", "parts_left"))}


def trials(run: Run, kills: int, seconds: float, seed: int, expected: dict[str, str]) -> Iterator[dict[str, Any]]:
    """For each kill a run from nothing: kill it at a moment, run it again, compare."""
    for moment in moments(kills, seconds, seed):
        run.forget()
        while not run.killed(after(moment)):  # quicker than the reference was: hit it earlier
            run.forget()
            moment *= 0.8
        left = aftermath(run, expected)
        end = completion(run, expected)
        yield {"moment": round(moment, 1), **left, **end, "good": left["good"] and end["good"]}


def chain(run: Run, kills: int, seed: int, expected: dict[str, str]) -> Iterator[dict[str, Any]]:
    """One run from nothing, killed again and again; the last one tells of its end, too."""
    run.forget()
    delays = np.random.default_rng([seed, 1]).random(kills) * SPREAD
    for number, (goal, delay) in enumerate(zip(moments(kills, len(expected), seed), delays, strict=True), start=1):
        started, met = time.monotonic(), None

        def due(goal: float = goal, delay: float = float(delay)) -> bool:
            nonlocal met
            if met is None and len(run.made()) >= goal:
                met = after(delay)
            return met is not None and met()

        hit = run.killed(due)
        made = {"moment": round(time.monotonic() - started, 1), **aftermath(run, expected)}
        made["good"] = made["good"] and hit
        if number == kills:
            end = completion(run, expected)
            made |= {**end, "good": made["good"] and end["good"]}
        yield made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--configfile", type=Path, default=ROOT / "tests" / "workflow" / "tiny.yaml", help="settings of the run")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--targets", nargs="+", default=[], help="rules or files to ask for; default: the whole run")
    parser.add_argument("--chain", action="store_true", help="one run that takes all kills, not a new one for each")
    parser.add_argument("--folder", type=Path, help="new folder to work in, kept; default: a temporary one, deleted")
    parser.add_argument("--out", type=Path, help="JSON file for the figures; written after every trial")
    given = parser.parse_args()
    if given.folder is not None and given.folder.exists():
        parser.error(f"{given.folder} exists: name a new folder")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="edgekws-faults-"))
    try:
        bad = measure(Run(folder, given.configfile, given.cores, given.targets), given)
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if bad else 0)


def measure(run: Run, given: argparse.Namespace) -> int:
    """The reference and all kills; how many were not good."""
    seconds, code, tail = run.to_the_end()
    if code:
        sys.exit(f"the undisturbed run failed:\n{tail}")
    expected = run.digests()
    print(f"undisturbed: {seconds:.0f} s, {len(expected)} files "
          f"(of all: {hashlib.sha256(repr(sorted(expected.items())).encode()).hexdigest()[:12]})", flush=True)
    print(f"{'kill':>4}{'at s':>8}{'files then':>12}{'half done':>11}{'torn':>5}{'again s':>9}{'differ':>8}{'missing':>9}"
          "  result", flush=True)
    found: list[dict[str, Any]] = []
    for made in (chain(run, given.kills, given.seed, expected) if given.chain
                 else trials(run, given.kills, seconds, given.seed, expected)):
        found.append(made)
        ran_on = f"{made['seconds']:>9.0f}{len(made['differ']):>8}{len(made['missing']):>9}" if "seconds" in made else " " * 26
        print(f"{len(found):>4}{made['moment']:>8.1f}{made['files_there']:>12}{len(made['half_done']):>11}{len(made['torn']):>5}"
              f"{ran_on}  {'good' if made['good'] else 'BAD'}", flush=True)
        if not made["good"]:
            wrong = ("torn", "differ", "missing", "extra", "parts_left", "tail")
            print(f"     {({name: made[name] for name in wrong if made.get(name)})}")
        if given.out is not None:
            files.write_json(given.out, {
                "configfile": given.configfile.name, "chain": given.chain,
                "targets": given.targets, "cores": given.cores, "seed": given.seed, "kills": given.kills,
                "undisturbed_seconds": round(seconds, 1), "files": len(expected), "varies": sorted(VARIES),
                "good": sum(made["good"] for made in found), "trials": found, "provenance": provenance()})
    good = sum(made["good"] for made in found)
    print(f"{good} of {len(found)} kills were good" if given.chain
          else f"{good} of {len(found)} killed runs went on to the same bytes")
    return len(found) - good


if __name__ == "__main__":
    main()
