"""Kill a run with SIGKILL at random moments, run it again to its end, and compare every byte with an undisturbed run.

What is promised is that a killed run goes on: nothing half-written is taken for whole, and the results are the same bytes.
One undisturbed run is the reference. Each trial starts from nothing (no results, no notes of Snakemake), so that the corpus
can be hit, too; only the environments of other tools (.envs) stay, which belong to no run. The moments are drawn from the
seed, one in each of as many equal parts of the reference's duration as there are kills: they fall on early and late steps
alike. The whole process group dies at once, as at a power cut or a scheduler's last word; what left the group by itself
(kernels of notebooks) is waited for. Then: `snakemake --unlock`, the same command again, and the comparison.

Everything runs in a copy of the working tree, library included, so that the tree may change meanwhile. Compared are
corpus, features, models, metrics and figures, but for what is timed (VARIES; docs/files.md). A trial is good if the second
run ends well, all these files are there and equal, no half-written file is left, and nothing is left to do. Exit code 1
if any is not.

    python benchmarks/faults.py [--configfile tests/workflow/tiny.yaml] [--kills 3] [--seed 0] [--cores 2]
                                [--targets traces_propagation ...] [--folder FOLDER] [--out FILE.json]
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from edgekws import files
from edgekws.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("Snakefile", "workflow", "profiles", "config", "claims", "notebooks", "docs", "envs", "src")
COMPARED = ("corpus", "features", "models", "metrics", "figures")
VARIES = {"metrics/onda/cost.json", "figures/onda.json", "figures/pruning_cost.svg", "figures/pruning_cost.png",
          "metrics/alternatives/cost_spiking.json", "metrics/alternatives/cost_ds_cnn.json"}
"""What holds times of this machine: it must be there, but not be the same."""

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

    def killed_after(self, seconds: float) -> bool:
        """Start a run and kill its whole process group; whether it was still at work by then."""
        run = subprocess.Popen(self.snakemake(), cwd=self.folder, env=self.environment, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return True
        finally:  # at the moment, and also if this program is interrupted
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

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that is compared."""
        return {path.relative_to(self.results).as_posix(): files.sha256_of(path) for part in COMPARED
                for path in sorted((self.results / part).rglob("*")) if path.is_file() and path.suffix != ".part"}

    def forget(self) -> None:
        """Back to nothing."""
        for name in ("results", ".snakemake"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(Path(word).name for word in process.cmdline()[:4])
    except psutil.Error:
        return "(gone)"


def moments(kills: int, seconds: float, seed: int) -> list[float]:
    """When to kill: one moment in each of ``kills`` equal parts of ``seconds``."""
    return [float(seconds * (part + share) / kills) for part, share in enumerate(np.random.default_rng(seed).random(kills))]


def trial(run: Run, moment: float, expected: dict[str, str]) -> dict[str, Any]:
    """Kill a run at a moment, run it again, compare."""
    run.forget()
    while not run.killed_after(moment):  # quicker than the reference was: hit it earlier
        run.forget()
        moment *= 0.8
    outlived = run.outlived()
    there, half_done, parts = run.digests(), run.half_done(), run.leftovers()
    _, unlocked, _ = run.to_the_end("--unlock")
    seconds, code, tail = run.to_the_end()
    _, _, plan = run.to_the_end("--dry-run")
    found = run.digests()
    differ = sorted(name for name in expected if name in found and found[name] != expected[name] and name not in VARIES)
    made = {"moment": round(moment, 1), "files_there": len(there), "half_done": half_done, "parts_then": parts,
            "outlived": outlived, "unlocked": unlocked == 0, "seconds": round(seconds, 1), "exit_code": code,
            "compared": len(expected), "differ": differ, "missing": sorted(set(expected) - set(found)),
            "extra": sorted(set(found) - set(expected)), "parts_left": run.leftovers(),
            "nothing_to_do": "Nothing to be done" in plan, "tail": tail if code else ""}
    made["good"] = (code == 0 and made["unlocked"] and made["nothing_to_do"]
                    and not any(made[name] for name in ("differ", "missing", "extra", "parts_left")))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--configfile", type=Path, default=ROOT / "tests" / "workflow" / "tiny.yaml", help="settings of the run")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--targets", nargs="+", default=[], help="rules or files to ask for; default: the whole run")
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
    """The reference and all trials; how many were not good."""
    seconds, code, tail = run.to_the_end()
    if code:
        sys.exit(f"the undisturbed run failed:\n{tail}")
    expected = run.digests()
    print(f"undisturbed: {seconds:.0f} s, {len(expected)} files "
          f"(of all: {hashlib.sha256(repr(sorted(expected.items())).encode()).hexdigest()[:12]})", flush=True)
    print(f"{'kill':>4}{'at s':>8}{'files then':>12}{'half done':>11}{'again s':>9}{'differ':>8}{'missing':>9}  result",
          flush=True)
    trials: list[dict[str, Any]] = []
    for number, moment in enumerate(moments(given.kills, seconds, given.seed), start=1):
        made = trial(run, moment, expected)
        trials.append(made)
        print(f"{number:>4}{made['moment']:>8.1f}{made['files_there']:>12}{len(made['half_done']):>11}{made['seconds']:>9.0f}"
              f"{len(made['differ']):>8}{len(made['missing']):>9}  {'good' if made['good'] else 'BAD'}", flush=True)
        if not made["good"]:
            print(f"     {({name: made[name] for name in ('differ', 'missing', 'extra', 'parts_left', 'tail') if made[name]})}")
        if given.out is not None:
            files.write_json(given.out, {
                "configfile": given.configfile.name,
                "targets": given.targets, "cores": given.cores, "seed": given.seed, "kills": given.kills,
                "undisturbed_seconds": round(seconds, 1), "files": len(expected), "varies": sorted(VARIES),
                "good": sum(trial["good"] for trial in trials), "trials": trials, "provenance": provenance()})
    good = sum(made["good"] for made in trials)
    print(f"{good} of {len(trials)} killed runs went on to the same bytes")
    return len(trials) - good


if __name__ == "__main__":
    main()
