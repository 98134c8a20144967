"""Loihi's integer arithmetic for whole test sets: every u, v and spike that Lava's bit-accurate models give.

Layer by layer, since nothing feeds back: the accumulated inputs of several steps of a block of clips are one float32
matrix product, exact because no sum of weights can reach 2^24 (:class:`~.network.LoihiLayer` sees to that); then
a scan over time in float64, exact for products of 24 by 12 bits, on states that stay in the cache. Blocks are
independent: neither their size nor the number of threads shows in the results.

Time: the input's step t reaches layer i (counted from 0) at step t + i + 1. A layer's *own* steps are the ``steps`` ones
in which the clip reaches it; scores, spike counts and active updates are taken over those, so that latency costs
nothing and the float network's step t is comparable. Before them a layer is at rest, unless it has biases: those work
from the first step on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.loihi.network import LARGEST_STATE, LARGEST_VTH, NO_MEMORY, LoihiLayer, LoihiNetwork

_BLOCK = 64  # clips that are run together
_WRAP = 2**24
_TICKS = 10  # of a block whose inputs are accumulated together: they are still in the cache when the scan comes

Float64 = npt.NDArray[np.float64]
Spikes = npt.NDArray[np.uint8]


class Rule(Protocol):
    """What an adaptive threshold has to offer (:class:`edgekws.neurons.adaptive.AdaptiveRule`)."""

    @property
    def targets(self) -> tuple[float, ...]: ...
    def factor(self, activity: Any, layer: int) -> Any: ...
    def follow(self, activity: Any, rate: Any) -> Any: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """States of one layer after every step, (clips, steps + delay, neurons): u and v int32, s uint8."""

    u: npt.NDArray[np.int32]
    v: npt.NDArray[np.int32]
    s: Spikes


@dataclasses.dataclass(frozen=True, eq=False)
class Simulation:
    """What came of the clips.

    Attributes:
        scores: (clips, words) float64, mean over the readout's own steps of its v.
        predictions: (clips,) int64, the word with the largest score (the first of equals).
        spike_counts: For each hidden layer (clips, neurons) uint16.
        active_updates: For each layer, the readout last, (clips,) int64: updates of compartments that were not at rest.
            A compartment rests in a step if v was 0, u is 0 and it has no bias, so that nothing changes; SANA-FE's Loihi
            model calls such a compartment idle and every other one updated or fired. Davies et al. (2018) price
            "active" and "inactive" updates and leave the words undefined.
        traces: For each layer, if recorded.
    """

    scores: Float64
    predictions: npt.NDArray[np.int64]
    spike_counts: list[npt.NDArray[np.uint16]]
    active_updates: list[npt.NDArray[np.int64]]
    traces: list[Trace] | None


def simulate(net: LoihiNetwork, spikes: Spikes, *, adaptive: Rule | None = None, record: bool = False,
             block: int = _BLOCK, threads: int | None = None) -> Simulation:
    """Run clips through a network, each from rest.

    Args:
        spikes: (clips, steps, inputs), 0 or 1, of the encoder.
        adaptive: Moves the hidden layers' thresholds (Eq. 11): clip by clip and layer by layer,
            ``vth[t] = round(vth * factor)`` with the activity up to the step before; the activity starts at the target
            with the layer's own steps. Halves are rounded to even, the result is kept within the register.
        record: Keep u, v and s of every step.
        block: Clips that are run together; a matter of speed.
        threads: Threads; None takes torch's number.

    Raises:
        UserError: The spikes do not fit the network, or the adaptive threshold has not a target for each hidden layer.
    """
    import torch

    if (spikes.ndim != 3 or spikes.dtype != np.uint8 or not 1 <= spikes.shape[1] < 2**16 or spikes.shape[2] != net.inputs
            or spikes.max(initial=0) > 1):
        raise UserError(f"spikes are {spikes.dtype} of shape {spikes.shape}, not 0 or 1 in uint8 (clips, 1 to 65535 steps, "
                        f"{net.inputs})", where="spikes",
                        remedy="encode the features with the encoder the network was trained with")
    if adaptive is not None and len(adaptive.targets) != len(net.layers) - 1:
        raise UserError(f"{len(adaptive.targets)} targets for {len(net.layers) - 1} hidden layers",
                        where="adaptive threshold", remedy="give the target activity of each hidden layer")
    if block < 1 or (threads is not None and threads < 1):
        raise UserError(f"blocks of {block} clips on {threads} threads", where="simulate", remedy="give 1 or more of both")
    # Memory of a block is taken once by each worker: fresh pages would cost as much as the arithmetic.
    starts = range(0, max(len(spikes), 1), block)
    workers = min(threads or torch.get_num_threads(), len(starts))
    parts: list[Simulation | None] = [None] * len(starts)

    def work(worker: int) -> None:
        run = _Block(net, min(block, len(spikes)), spikes.shape[1], adaptive, record=record)
        for index in range(worker, len(starts), workers):
            parts[index] = run(spikes[starts[index]:starts[index] + block])

    with _one_thread_each():
        if workers == 1:
            work(0)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, range(workers)))
    return _joined([part for part in parts if part is not None])


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Matrix products inside the block use one thread of torch's: the blocks are what runs side by side."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Block:
    """Runs blocks of at most ``size`` clips, one after the other, in memory of its own."""

    def __init__(self, net: LoihiNetwork, size: int, steps: int, adaptive: Rule | None, *, record: bool) -> None:
        self.steps, self.adaptive, self.record = steps, adaptive, record
        # Before its own steps a layer without biases rests: it can begin with them.
        self.late = record or any(layer.bias.any() for layer in net.layers)
        ticks = steps + net.delay if self.late else steps
        self.drive = np.zeros((ticks, size, net.inputs), np.bool_)
        self.layers = [_Layer(layer, size, ticks, late=self.late, record=record) for layer in net.layers]

    def __call__(self, spikes: Spikes) -> Simulation:
        clips, steps = len(spikes), self.steps
        drive = self.drive[:, :clips]
        drive[:steps] = spikes.transpose(1, 0, 2)
        counts, updates, traces, total = [], [], [], np.empty(0)
        for index, layer in enumerate(self.layers):
            own = slice(index + 1, index + 1 + steps) if self.late else slice(0, steps)
            hidden = index < len(self.layers) - 1
            total = layer.run(drive, own, self.adaptive if hidden else None, index)
            updates.append(layer.active[own, :clips].sum(0, dtype=np.uint16).sum(1, dtype=np.int64))
            drive = layer.fired[:, :clips]
            if hidden:
                counts.append(drive[own].sum(0, dtype=np.uint16))
            if self.record:
                u, v, s = (states.transpose(1, 0, 2) for states in (layer.us[:, :clips], layer.vs[:, :clips], drive))
                traces.append(Trace(u.astype(np.int32), v.astype(np.int32), s.astype(np.uint8)))
        return Simulation(total / steps, total.argmax(1), counts, updates, traces if self.record else None)


class _Layer:
    """One layer, its constants as the scan wants them, and its memory.

    Attributes:
        fired, active: bool (ticks, clips, neurons), of the block run last.
        us, vs: float64 (ticks, clips, neurons) if recorded.
    """

    def __init__(self, layer: LoihiLayer, size: int, ticks: int, *, late: bool, record: bool) -> None:
        import torch

        self.layer, self.late, self.record = layer, late, record
        # 64 2^weight_exp goes into the weights, unless something is rounded off in between.
        self.rounds = bool((layer.synapses % 2.0**-layer.weight_exp != 0).any())
        matrix = layer.synapses.T * 2.0**layer.weight_exp * (1 if self.rounds else 64)
        self.matrix = torch.from_numpy(matrix.astype(np.float32, order="C"))
        self.u_kept, self.v_kept = (4095 - layer.du) / 4096, (4096 - layer.dv) / 4096
        # Wrapping and clipping cost time: only where a state can get there.
        self.wraps = layer.du != NO_MEMORY or 64 * layer.largest_input > LARGEST_STATE
        self.clips = self.wraps or layer.largest_potential > LARGEST_STATE
        self.bias = layer.bias.astype(np.float64) if layer.bias.any() else None
        self.arrived = np.empty((_TICKS * size, layer.inputs), np.float32)
        self.input = np.empty((_TICKS * size, layer.neurons), np.float32)
        self.fired, self.active = (np.empty((ticks, size, layer.neurons), np.bool_) for _ in range(2))
        self.us, self.vs = (np.empty((ticks if record else 0, size, layer.neurons)) for _ in range(2))

    def accumulate(self, drive: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """64 a, (ticks, clips, neurons), of at most _TICKS ticks of 0 or 1 (ticks, clips, inputs)."""
        import torch

        ticks, clips, _ = drive.shape
        arrived, result = self.arrived[:ticks * clips], self.input[:ticks * clips]
        arrived.reshape(drive.shape)[:] = drive
        torch.mm(torch.from_numpy(arrived), self.matrix, out=torch.from_numpy(result))
        if self.rounds:
            np.multiply(np.floor(result, out=result), 64, out=result)
        return result.reshape(ticks, clips, self.layer.neurons)

    def run(self, drive: npt.NDArray[Any], own: slice, adaptive: Rule | None, index: int) -> Float64:
        """Run a block, 0 or 1 (ticks, clips, inputs); v summed over the own ticks, (clips, neurons)."""
        (ticks, clips, _), neurons = drive.shape, self.layer.neurons
        v, u, total = (np.zeros((clips, neurons)) for _ in range(3))
        theta: Any = 64.0 * self.layer.vth
        activity = np.full((clips, 1), adaptive.targets[index]) if adaptive else None
        if self.late:  # on the global clock, spikes arrive one tick after they were fired
            drive = np.concatenate([np.zeros_like(drive[:1]), drive[:-1]])
        for start in range(0, ticks, _TICKS):
            inputs = self.accumulate(drive[start:start + _TICKS])
            for t, arriving in enumerate(inputs, start):
                mine = own.start <= t < own.stop
                if adaptive and mine:
                    theta = 64 * np.rint(self.layer.vth * adaptive.factor(activity, index)).clip(0, LARGEST_VTH)
                active, fired = self.active[t, :clips], self.fired[t, :clips]
                np.not_equal(v, 0, out=active)
                if self.wraps:
                    u = np.trunc(u * self.u_kept) + arriving
                    u = np.where(u > _WRAP // 2, u - _WRAP, np.where(u <= -_WRAP // 2, u + _WRAP, u))
                    active |= u != 0
                else:
                    u = arriving
                np.trunc(np.multiply(v, self.v_kept, out=v), out=v)
                v += u
                if self.bias is not None:
                    v += self.bias
                if self.clips:
                    np.clip(v, -LARGEST_STATE, LARGEST_STATE, out=v)
                np.greater(v, theta, out=fired)
                v[fired] = 0
                if mine:
                    total += v
                if adaptive and mine:
                    activity = adaptive.follow(activity, fired.sum(1, keepdims=True) / neurons)
                if self.record:
                    self.us[t, :clips], self.vs[t, :clips] = u, v
            if not self.wraps:
                self.active[start:start + len(inputs), :clips] |= inputs != 0
        if self.bias is not None:
            self.active[:, :clips] |= self.bias != 0
        return total


def _joined(parts: list[Simulation]) -> Simulation:
    def each(name: str) -> list[Any]:
        return [np.concatenate(arrays) for arrays in zip(*(getattr(part, name) for part in parts), strict=True)]

    traces = None
    if parts[0].traces is not None:
        traces = [Trace(*(np.concatenate([getattr(layer, name) for layer in layers]) for name in ("u", "v", "s")))
                  for layers in zip(*(part.traces or [] for part in parts), strict=True)]
    return Simulation(np.concatenate([part.scores for part in parts]), np.concatenate([part.predictions for part in parts]),
                      each("spike_counts"), each("active_updates"), traces)
