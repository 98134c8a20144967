"""Energy and time of an inference from counted events and published prices (section 5.4).

    E = synaptic operations e_syn + active updates e_act + inactive updates e_inact + spikes e_spike
        + messages (e_msg + e_tile) + hops e_hop + P_static t

Every term is returned by name. Counts may be arrays, one entry for each clip, and so are the joules. The result is an
estimate with the constants of its price set, never a chip's power; what each set leaves out is said in ``chips.yaml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.chip import Chip, Constant, Prices, Timing
from edgekws.methods.neuedge.mapping import Mapping, Masks, Traffic, reach

Floats = npt.NDArray[np.float64]
Count = float | npt.NDArray[Any]


class Events(NamedTuple):
    """What happens in an inference, for each clip: numbers or arrays of one shape.

    Attributes:
        synaptic_operations: Spikes times the nonzero weights each meets.
        active_updates: Updates of neurons that had input in the step.
        inactive_updates: The other updates.
        spikes: Of every neuron on the chip.
        messages: Spikes times the cores each is sent to.
        hops_east_west: Hops of all messages along x.
        hops_north_south: Hops of all messages along y.
    """

    synaptic_operations: Count = 0.0
    active_updates: Count = 0.0
    inactive_updates: Count = 0.0
    spikes: Count = 0.0
    messages: Count = 0.0
    hops_east_west: Count = 0.0
    hops_north_south: Count = 0.0


def synaptic_operations(spike_counts: Sequence[npt.NDArray[Any]], masks: Masks) -> npt.NDArray[np.int64]:
    """Accumulations of each clip, NeuroBench's effective ACs: nonzero weights met by spikes, biases left out.

    Args:
        spike_counts: [..., neurons] of each population but the readout.
        masks: Nonzero weights [to, from] that each of them meets.

    Returns:
        In the shape of the leading axes.
    """
    return np.asarray(sum(counts.astype(np.int64) @ mask.sum(0, dtype=np.int64)
                          for counts, mask in zip(spike_counts, masks, strict=True)), dtype=np.int64)


def count_events(spike_counts: Sequence[npt.NDArray[Any]], active_updates: Sequence[Count], masks: Masks, *, steps: int,
                 traffic: Traffic | None = None) -> Events:
    """The events of each clip.

    Args:
        spike_counts: [clips, neurons] of each population but the readout.
        active_updates: [clips] of each population, or of those on the chip; the rest of their updates are inactive.
        masks: Nonzero weights [to, from] of each matrix; as many populations as ``active_updates`` has are on the chip,
            counted from the readout back.
        steps: Time steps of a clip.
        traffic: From :func:`edgekws.methods.neuedge.mapping.traffic`; without it nothing is paid for the way.

    Raises:
        UserError: More updates are active than there are.
    """
    sizes = [masks[0].shape[1], *(mask.shape[0] for mask in masks)][-len(active_updates):]
    active = np.sum([np.asarray(count, dtype=np.float64) for count in active_updates], axis=0)
    idle = steps * sum(sizes) - active
    if (idle < 0).any():
        raise UserError(f"{int(np.max(active))} active updates of populations {sizes} in {steps} steps", where="energy",
                        remedy="count each neuron at most once in a step")
    spikes = np.sum([counts.sum(-1, dtype=np.int64) for counts in spike_counts], axis=0)
    way = traffic or Traffic(*(np.zeros(np.shape(spikes)) for _ in range(4)))
    return Events(synaptic_operations(spike_counts, masks), active, idle, spikes, way.messages, way.hops_east_west,
                  way.hops_north_south)


def energy(events: Events, prices: Prices, *, static_power: float = 0.0, seconds: Count = 0.0) -> dict[str, Floats]:
    """Joules of each clip by term, and their ``total``.

    Args:
        events: Of each clip.
        prices: A price set.
        static_power: Watts drawn whatever happens.
        seconds: Time of the inference that the static power is paid for.

    Returns:
        ``synapses``, ``active_updates``, ``inactive_updates``, ``spikes``, ``messages``, ``hops``, ``static``,
        ``total``; each in the shape of the counts.
    """
    terms = {
        "synapses": events.synaptic_operations * np.float64(prices.synapse.si),
        "active_updates": events.active_updates * np.float64(prices.update_active.si),
        "inactive_updates": events.inactive_updates * np.float64(prices.update_inactive.si),
        "spikes": events.spikes * np.float64(prices.spike.si),
        "messages": events.messages * np.float64(prices.message.si + prices.delivery.si),
        "hops": (events.hops_east_west * np.float64(prices.hop_east_west.si)
                 + events.hops_north_south * np.float64(prices.hop_north_south.si)),
        "static": seconds * np.float64(static_power),
    }
    shape = np.broadcast_shapes(*(np.shape(term) for term in terms.values()))
    whole = {name: np.broadcast_to(np.asarray(term, dtype=np.float64), shape) for name, term in terms.items()}
    return {**whole, "total": np.sum(list(whole.values()), axis=0)}


def ann_energy(macs: Count, mac: Constant) -> Floats:
    """Joules of a conventional network's multiply-adds, arithmetic alone: to be set beside ``arithmetic45`` only."""
    return np.asarray(macs, dtype=np.float64) * mac.si


def efficiency(joules: Count, operations: Count, *, weights: int, steps: int) -> dict[str, Floats]:
    """Giga-operations a second and watt, which is operations a nanojoule, counted in two ways that must not be mixed.

    Args:
        joules: Of each clip.
        operations: Synaptic operations of each clip.
        weights: Of the dense network.
        steps: Time steps of a clip.

    Returns:
        ``gsop_per_s_per_w``: synaptic operations that took place.
        ``dense_equivalent_gop_per_s_per_w``: a multiplication and an addition for every weight in every step, whether
        there was a spike or not: what the net would do were it not spiking.
    """
    spent = np.asarray(joules, dtype=np.float64) * 1e9
    return {"gsop_per_s_per_w": np.asarray(operations, dtype=np.float64) / spent,
            "dense_equivalent_gop_per_s_per_w": 2.0 * weights * steps / spent}


# ------------------------------------------------------------------------------------------------ time
class StepTime(NamedTuple):
    """Seconds of a mean time step, for each clip: ``total`` = ``core`` + ``way`` + ``barrier``."""

    total: Floats
    core: Floats
    way: float
    barrier: float


def step_time(mapping: Mapping, masks: Masks, spike_counts: Sequence[npt.NDArray[Any]], chip: Chip, timing: Timing, *,
              steps: int) -> StepTime:
    """A lower bound on the time of a step: the busiest core, then the longest way of a message, then the barrier.

    Cores work side by side and wait for each other at the end of every step. A core updates its neurons (all taken as
    active), accumulates what comes in and sends what goes out, one after the other. Spikes are spread evenly over the
    steps and no message waits for another, so a real step takes longer.

    Args:
        spike_counts: [clips, neurons] of each population but the readout.
        steps: Time steps of a clip.

    Returns:
        ``total`` and ``core`` are [clips].
    """
    neurons = np.bincount(np.concatenate(mapping.cores), minlength=chip.cores)
    busy: Any = neurons * timing.update_active.si
    across, along = chip.hops
    way = 0.0
    for counts, mask, rows, source, target in zip(spike_counts, masks, reach(mapping, masks, chip), mapping.cores,
                                                  mapping.cores[1:], strict=False):
        met = np.zeros((chip.cores, mask.shape[1]))  # weights a source meets in each core
        np.add.at(met, target, mask)
        home = np.zeros((mask.shape[1], chip.cores))
        home[np.arange(mask.shape[1]), source] = timing.spike.si + rows.sum(0) * timing.message.si
        busy = busy + counts.astype(np.float64) / steps @ (met.T * timing.synapse.si + home)
        each = timing.delivery.si + across * timing.hop_east_west.si + along * timing.hop_north_south.si
        way = max(way, float((each[:, source] * rows).max(initial=0.0)))
    tiles = len(np.unique(mapping.used // chip.cores_per_tile.value))
    longest = np.asarray(busy).max(-1)
    barrier = timing.barrier(tiles)
    return StepTime(longest + way + barrier, longest, way, barrier)


def latency(step_seconds: Count, *, steps: int, delay: int) -> dict[str, Floats]:
    """Seconds to an answer.

    Args:
        step_seconds: Of a time step, from :func:`step_time`.
        steps: Time steps of a clip.
        delay: Steps by which the layers lag behind their input together.

    Returns:
        ``whole_clip``: all steps as fast as the chip goes, for a clip that is there in full.
        ``after_last_frame``: what is left to do when the last frame of live speech comes in; the frames before it were
        worked on as they came.
    """
    step = np.asarray(step_seconds, dtype=np.float64)
    return {"whole_clip": (steps + delay) * step, "after_last_frame": (1 + delay) * step}
