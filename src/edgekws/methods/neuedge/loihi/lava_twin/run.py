"""Run clips through Lava's bit-accurate CPU models: ``python run.py FOLDER``, in an environment with lava-nc and numpy.

FOLDER holds ``network.json`` (for each layer weight_exp, du, dv, vth), ``weights.<i>.npy``, ``bias_mantissa.<i>.npy``,
``bias_exponent.<i>.npy``, ``spikes.npy`` (clips, steps, inputs) uint8 with the silent steps that the latency adds, and
``options.json`` (record: "all", "readout" or "nothing"). Written there: ``u.<i>.npy``, ``v.<i>.npy``, ``s.<i>.npy``
(clips, steps, neurons) of every layer, or only the readout's v, or nothing, and ``result.json`` with versions and seconds. A
line ``clip`` goes to the standard output for each clip, but where nothing is recorded: then nothing is reset either, and
the time of all but the first clip is shared out among them.

The network is compiled once and runs through all clips in one go. A process beside each layer keeps what it sees and, at the
end of a clip, sets u, v and what is on its way through the Dense to 0. (Lava's own monitors and ``Var.set`` hand over one
number at a time.)
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def tolerate_unhashable_defaults() -> None:
    """Let Lava 0.10 be imported by Python 3.11 and newer.

    Its dataclasses have instances of a plain dataclass as defaults, which Python refuses since 3.11 if their class has no
    hash. So every dataclass that would get none is given its identity for one.
    """
    plain: Any = dataclasses.dataclass

    def dataclass(cls: Any = None, **options: Any) -> Any:
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        made = plain(cls, **options)
        if made.__hash__ is None:
            made.__hash__ = object.__hash__
        return made

    setattr(dataclasses, "dataclass", dataclass)  # noqa: B010 (an assignment would be one of another type)


if sys.version_info >= (3, 11):  # noqa: UP036 (this script also runs in 3.10)
    tolerate_unhashable_defaults()

from lava.magma.core.decorator import implements, requires, tag  # noqa: E402
from lava.magma.core.model.py.model import PyLoihiProcessModel  # noqa: E402
from lava.magma.core.model.py.ports import PyInPort, PyRefPort  # noqa: E402
from lava.magma.core.model.py.type import LavaPyType  # noqa: E402
from lava.magma.core.process.ports.ports import InPort, RefPort  # noqa: E402
from lava.magma.core.process.process import AbstractProcess  # noqa: E402
from lava.magma.core.resources import CPU  # noqa: E402
from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: E402
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol  # noqa: E402
from lava.proc.dense.process import Dense  # noqa: E402
from lava.proc.io.source import RingBuffer  # noqa: E402
from lava.proc.lif.process import LIF  # noqa: E402


class Recorder(AbstractProcess):  # type: ignore[misc,unused-ignore]
    """Keeps and resets one layer.

    Args:
        record: Names among "u", "v" and "s" of what is kept, (clips, steps, neurons).
        last: Say so when a clip is over, and keep the time.
    """

    def __init__(self, *, dense: Any, lif: Any, index: int, clips: int, steps: int, record: str, last: bool,
                 folder: str) -> None:
        super().__init__(index=index, clips=clips, steps=steps, record=record, last=last, folder=folder,
                         neurons=lif.u.shape[0])
        self.s, self.u, self.v, self.a = InPort(lif.u.shape), *(RefPort(lif.u.shape) for _ in range(3))
        self.s.connect_from(lif.s_out)
        for port, variable in ((self.u, lif.u), (self.v, lif.v), (self.a, dense.a_buff)):
            port.connect_var(variable)


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRecorder(PyLoihiProcessModel):  # type: ignore[misc,unused-ignore]
    s: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    u: Any = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    v: Any = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    a: Any = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.record: str = proc_params["record"]
        self.steps, self.clips = int(proc_params["steps"]), int(proc_params["clips"])
        self.index, self.last, self.folder = proc_params["index"], proc_params["last"], Path(proc_params["folder"])
        self.kept = {name: np.zeros((self.clips * self.steps, proc_params["neurons"]), np.int32) for name in self.record}
        self.ends: list[float] = []

    def run_spk(self) -> None:
        fired = self.s.recv()
        if "s" in self.record:
            self.kept["s"][self.time_step - 1] = fired

    def post_guard(self) -> bool:
        return bool(self.record) or self.time_step % self.steps == 0

    def run_post_mgmt(self) -> None:
        for name in set(self.record) - {"s"}:
            self.kept[name][self.time_step - 1] = getattr(self, name).read()
        if self.time_step % self.steps:
            return
        for port in (self.u, self.v, self.a):
            port.write(np.zeros(port.shape, np.int32))
            port.read()  # only once it has been written
        self.ends.append(time.perf_counter())
        if self.last:
            print("clip", flush=True)
        if len(self.ends) == self.clips:
            for name, states in self.kept.items():
                np.save(self.folder / f"{name}.{self.index}.npy", states.reshape(self.clips, self.steps, -1))
            if self.last:
                np.save(self.folder / "ends.npy", self.ends)


def main(folder: Path) -> None:
    constants = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    record = json.loads((folder / "options.json").read_text(encoding="utf-8"))["record"]
    spikes = np.load(folder / "spikes.npy")
    clips, steps, inputs = spikes.shape
    start = time.perf_counter()
    port = RingBuffer(data=spikes.reshape(-1, inputs).T.astype(np.int32)).s_out
    for index, layer in enumerate(constants):
        weights = np.load(folder / f"weights.{index}.npy").astype(np.int32)
        dense = Dense(weights=weights, weight_exp=layer["weight_exp"])
        lif = LIF(shape=(len(weights),), du=layer["du"], dv=layer["dv"], vth=layer["vth"],
                  bias_mant=np.load(folder / f"bias_mantissa.{index}.npy"),
                  bias_exp=np.load(folder / f"bias_exponent.{index}.npy"))
        port.connect(dense.s_in)
        dense.a_out.connect(lif.a_in)
        port, last = lif.s_out, index == len(constants) - 1
        if record != "nothing":
            Recorder(dense=dense, lif=lif, index=index, clips=clips, steps=steps, last=last, folder=str(folder),
                     record="uvs" if record == "all" else "v" if last else "")
    model, ends = Loihi2SimCfg(select_tag="fixed_pt"), np.empty(0)
    if record == "nothing":
        for some in (1, clips - 1):
            lif.run(condition=RunSteps(num_steps=some * steps), run_cfg=model)
            now = time.perf_counter()
            ends = np.append(ends, np.linspace(ends[-1] if ends.size else start, now, some + 1)[1:])
    else:
        lif.run(condition=RunSteps(num_steps=clips * steps), run_cfg=model)
    lif.stop()  # without it the program would not end
    seconds = np.diff(ends if record == "nothing" else np.load(folder / "ends.npy"), prepend=start).tolist()
    versions = {"lava_version": importlib.metadata.version("lava-nc"), "python": platform.python_version()}
    (folder / "result.json").write_text(json.dumps({**versions, "seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
