"""Federated trainings in Flower (Beutel et al. 2020, arXiv:2007.14390), in an environment of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekws.core.environments import NotRun, python_of
from edgekws.methods.alternatives.federated.averaging import Federation
from edgekws.methods.alternatives.federated.shards import Shard, shards_as_tensors

_LENT = ("torch", "numpy", "safetensors", "opacus", "edgekws")


@dataclasses.dataclass(frozen=True)
class FlowerRun:
    """What Flower gave for one federation.

    Attributes:
        changes: [rounds, outputs, width], the server's change after each round.
        bytes: For each round ``down`` (to the clients) and ``up``, all clients together.
        versions: Of Flower and Ray.
    """

    changes: Tensor
    bytes: list[dict[str, int]]
    versions: dict[str, str]


def run(shards: Sequence[Shard], federations: Sequence[Federation], environment: str | Path, *,
        timeout: float = 1800) -> list[FlowerRun]:
    """Run the federations one after the other in one simulation, a client for each shard.

    Args:
        environment: Folder of a virtual environment with Flower, from ``envs/tool flower FOLDER``.
        timeout: Seconds until it is given up.

    Raises:
        NotRun: There is no Flower, or it failed or took too long.
    """
    from safetensors.torch import load_file, save_file

    python = python_of(environment, absent="no environment with Flower")
    packages = {str(Path(spec.origin).parents[1]) for name in _LENT
                if (spec := importlib.util.find_spec(name)) and spec.origin}
    # Ray lays sockets there, whose paths may have 107 characters: a TMPDIR of one's own may be too long.
    with tempfile.TemporaryDirectory(prefix="fl", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        save_file(shards_as_tensors(shards), folder / "shards.safetensors")
        (folder / "job.json").write_text(json.dumps({
            "python": list(sys.version_info[:2]), "packages": sorted(packages),
            "federations": [dataclasses.asdict(federation) for federation in federations]}), encoding="utf-8")
        _run(python, folder, timeout)
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if "not_run" in result:
            raise NotRun(result["not_run"])
        changes = load_file(folder / "changes.safetensors")
    return [FlowerRun(changes[str(index)], rounds, result["versions"]) for index, rounds in enumerate(result["bytes"])]


def rounding_bound(clips: Sequence[int], largest: float) -> float:
    """How far secure aggregation may move an entry of the mean, from rounding alone.

    Flower's SecAgg+ multiplies a client's values by w = clips / most clips, rounds the product to one of 2^22 levels
    between -8 and 8 and w to one between 0 and 1, and divides the sum by that of the w.

    Args:
        clips: Of each client.
        largest: Largest absolute value that is averaged.
    """
    levels = 1 << 22
    return len(clips) * (16 + largest) / levels / (sum(clips) / max(clips))


def _run(python: Path, folder: Path, timeout: float) -> None:
    """Run the script, Ray's processes a group of their own that is ended with it, whatever happens."""
    command: list[Any] = [python, "-I", Path(__file__).with_name("flower_run.py"), folder]
    with open(folder / "output.txt", "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())})
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise NotRun(f"Flower took longer than {timeout:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code or not (folder / "result.json").is_file():
        lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise NotRun("Flower failed: " + (lines[-1].replace(str(folder), "FOLDER") if lines else f"exit code {code}"))
