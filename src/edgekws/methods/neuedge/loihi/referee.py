"""Lava checks the integer simulator: every membrane value and every spike, compared."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.environments import NotRun, python_of
from edgekws.core.errors import UserError
from edgekws.methods.neuedge.loihi import lava_twin
from edgekws.methods.neuedge.loihi.network import LoihiNetwork
from edgekws.methods.neuedge.loihi.simulator import Spikes, Trace, simulate

SCRIPT = Path(lava_twin.__file__).with_name("run.py")


@dataclasses.dataclass(frozen=True, eq=False)
class LavaRun:
    """What Lava gave.

    Attributes:
        traces: For each layer, if all was recorded; else empty.
        readout: (clips, steps + delay, words) int32, v of the readout, unless nothing was recorded.
        versions: ``lava_version`` and ``python``.
        seconds: Wall time of each clip; the first one includes building and compiling the network.
    """

    traces: list[Trace]
    readout: npt.NDArray[np.int32]
    versions: dict[str, str]
    seconds: list[float]


def run_lava(net: LoihiNetwork, spikes: Spikes, environment: str | Path, *, timeout: float,
             record: Literal["all", "readout", "nothing"] = "all", progress: bool = False) -> LavaRun:
    """Run clips in Lava, in a process of its own, each from rest.

    Args:
        spikes: (clips, steps, inputs) uint8.
        environment: Folder of a virtual environment with lava-nc.
        timeout: Seconds until it is given up: after an exception Lava waits for ever.
        record: u, v and s of all layers, the readout's v, or nothing (two clips or more), which only tells the time.

    Raises:
        NotRun: There is no Lava, or it failed or took too long.
    """
    python = python_of(environment, absent="no environment with Lava")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder, net, spikes, record)
        _run(python, folder, timeout, len(spikes), progress=progress)
        result = files.read_json(folder / "result.json")

        def read(what: str, index: int) -> npt.NDArray[np.int32]:
            loaded: npt.NDArray[np.int32] = np.load(folder / f"{what}.{index}.npy")
            return loaded

        traces = [Trace(read("u", index), read("v", index), read("s", index).astype(np.uint8))
                  for index in range(len(net.layers))] if record == "all" else []
        readout = np.empty((0, 0, 0), np.int32) if record == "nothing" else read("v", len(net.layers) - 1)
        return LavaRun(traces, readout, {name: result[name] for name in ("lava_version", "python")},
                       result["seconds"])


def _write_inputs(folder: Path, net: LoihiNetwork, spikes: Spikes, record: str) -> None:
    for index, layer in enumerate(net.layers):
        np.save(folder / f"weights.{index}.npy", layer.weights)
        for name, values in zip(("mantissa", "exponent"), layer.bias_parts, strict=True):
            np.save(folder / f"bias_{name}.{index}.npy", values)
    np.save(folder / "spikes.npy", np.pad(spikes, ((0, 0), (0, net.delay), (0, 0))))
    constants = [{name: getattr(layer, name) for name in ("weight_exp", "du", "dv", "vth")} for layer in net.layers]
    (folder / "network.json").write_text(json.dumps(constants), encoding="utf-8")
    (folder / "options.json").write_text(json.dumps({"record": record}), encoding="utf-8")


def _run(python: Path, folder: Path, timeout: float, clips: int, *, progress: bool) -> None:
    """Run the script, its processes a group of their own that is ended with it, whatever happens."""
    from edgekws.core.progress import tqdm

    expired = threading.Event()
    with open(folder / "errors.txt", "wb") as errors:
        process = subprocess.Popen([python, "-u", SCRIPT, folder], stdout=subprocess.PIPE, stderr=errors, text=True,
                                   start_new_session=True, cwd=folder)

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def expire() -> None:
        expired.set()
        end()

    timer = threading.Timer(timeout, expire)
    timer.start()
    try:
        assert process.stdout is not None
        with tqdm(total=clips, unit="clip", desc="Lava", disable=not progress) as bar:
            for line in process.stdout:
                bar.update(line == "clip\n")
        code = process.wait()
    finally:
        timer.cancel()
        end()
        process.wait()
    if expired.is_set():
        raise NotRun(f"Lava took longer than {timeout:g} s")
    if code or not (folder / "result.json").is_file():
        lines = (folder / "errors.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise NotRun("Lava failed: " + (lines[-1].replace(str(folder), "FOLDER") if lines else f"exit code {code}"))


def referee(net: LoihiNetwork, spikes: Spikes, environment: str | Path, *, timeout: float = 1800,
            progress: bool = False) -> dict[str, Any]:
    """Lava's verdict on :func:`edgekws.methods.neuedge.loihi.simulator.simulate`; the same bytes on every repetition.

    Args:
        spikes: (clips, steps, inputs) uint8.
        environment: Folder of a virtual environment with lava-nc, from ``envs/tool lava FOLDER``.
        timeout: Seconds until Lava is given up.

    Returns:
        ``status`` ("agrees", "differs", "not run"), ``why``, ``clips``, ``steps`` (with those of the latency); if run,
        ``layers``: for each, for spikes, u and v how many values were ``compared`` and how many are ``equal``, with the
        number of spikes among them (``fired``); ``lava_version``, ``python``.

    Raises:
        UserError: The spikes do not fit the network, or there are no clips.
    """
    if not len(spikes):
        raise UserError("no clips to compare", where="referee", remedy="give at least one clip")
    ours = simulate(net, spikes, record=True).traces or []
    verdict: dict[str, Any] = {"status": "not run", "why": "", "clips": len(spikes), "steps": spikes.shape[1] + net.delay}
    try:
        run = run_lava(net, spikes, environment, timeout=timeout, progress=progress)
    except NotRun as reason:
        return {**verdict, "why": str(reason)}
    layers, wrong = [], 0
    for mine, theirs in zip(ours, run.traces, strict=True):
        layer: dict[str, Any] = {"fired": int(theirs.s.sum())}
        for name in ("s", "u", "v"):
            found, wanted = getattr(mine, name), getattr(theirs, name)
            equal = int((found == wanted).sum())
            layer["spikes" if name == "s" else name] = {"compared": wanted.size, "equal": equal}
            wrong += wanted.size - equal
        layers.append(layer)
    status, why = ("differs", f"{wrong} values differ") if wrong else ("agrees", "")
    return {**verdict, "status": status, "why": why, "layers": layers, **run.versions}
