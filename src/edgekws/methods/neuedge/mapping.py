"""Which neuron sits in which core, and what that takes: resources, utilisation, traffic and cost (section 7.8).

A network is its populations in order (encoder, hidden layers, readout) and the masks of nonzero weights between them,
``masks[k]`` [neurons of population k + 1, neurons of population k]. The encoder has no synapses on the chip; it takes
neurons and out-axons.

A core is limited in neurons, in bits of synaptic memory, in in-axons (one for each source neuron that reaches the core)
and in out-axons (one for each of its neurons and each core that neuron reaches, its own among them). A spike travels
once to every core it reaches: multicast ends at the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.chip import Chip
from edgekws.methods.neuedge.chip import chip as chip_named

Masks = Sequence[npt.NDArray[np.bool_]]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mapping:
    """The core of every neuron, [neurons] for each population, on a chip of that name."""

    chip: str
    cores: tuple[Ints, ...]

    @property
    def sizes(self) -> list[int]:
        return [len(population) for population in self.cores]

    @property
    def used(self) -> Ints:
        """Numbers of the cores that hold a neuron, ascending."""
        return np.unique(np.concatenate(self.cores))

    def to_json(self) -> dict[str, Any]:
        """Plain data: the cores, and for drawing the tile (x, y) of each core in use."""
        places = chip_named(self.chip).positions
        return {"chip": self.chip, "cores": [population.tolist() for population in self.cores],
                "tiles": {str(core): places[core].tolist() for core in self.used}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Mapping:
        """The inverse of :meth:`to_json`.

        Raises:
            UserError: The data is not of that form, or names a core the chip does not have.
        """
        try:
            mapping = cls(str(data["chip"]), tuple(np.array(population, dtype=np.int64) for population in data["cores"]))
            last, first = max(map(np.max, mapping.cores)), min(map(np.min, mapping.cores))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"is not a mapping ({error!r})", where="mapping", remedy="build it again") from error
        cores = chip_named(mapping.chip).cores
        if not 0 <= first <= last < cores:
            raise UserError(f"core {last if last >= cores else first} is not among the {cores} of {mapping.chip}",
                            where="mapping", remedy="build it again")
        return mapping


class Resources(NamedTuple):
    """What a mapping takes of each core, [cores] each; and the most cores that one neuron reaches."""

    neurons: Ints
    synapse_bits: Ints
    in_axons: Ints
    out_axons: Ints
    destinations: int


def population_name(index: int, populations: int) -> str:
    """What a population is called in messages and figures."""
    if index == 0:
        return "encoder"
    return "readout" if index == populations - 1 else f"hidden {index}"


# ------------------------------------------------------------------------------------------------ measuring
def reach(mapping: Mapping, masks: Masks, chip: Chip) -> list[npt.NDArray[np.bool_]]:
    """Which cores each source neuron sends its spikes to: [cores, neurons] for each mask."""
    reached = []
    for mask, core_of in zip(masks, mapping.cores[1:], strict=True):
        rows = np.zeros((chip.cores, mask.shape[1]), dtype=bool)
        for core in np.unique(core_of):
            rows[core] = mask[core_of == core].any(0)
        reached.append(rows)
    return reached


def resources(mapping: Mapping, masks: Masks, chip: Chip) -> Resources:
    """What each core is asked for, whether it has it or not.

    Raises:
        UserError: Mapping and masks are of different networks.
    """
    same_network(mapping, masks)
    neurons, bits, outs = np.zeros((3, chip.cores), dtype=np.int64)
    for core_of in mapping.cores:
        neurons += np.bincount(core_of, minlength=chip.cores)
    reached, most = reach(mapping, masks, chip), 0
    ins: Ints = np.sum([rows.sum(1) for rows in reached], axis=0, dtype=np.int64)
    for mask, rows, source, target in zip(masks, reached, mapping.cores, mapping.cores[1:], strict=False):
        np.add.at(bits, target, mask.sum(1) * chip.weight_bits.value)
        destinations = rows.sum(0)
        np.add.at(outs, source, destinations)
        most = max(most, int(destinations.max(initial=0)))
    return Resources(neurons, bits, ins, outs, most)


def fits(mapping: Mapping, masks: Masks, chip: Chip) -> bool:
    """Whether no core is asked for more than it has."""
    needed = resources(mapping, masks, chip)
    limited = chip.destinations is not None and needed.destinations > chip.destinations.value
    return not limited and all((getattr(needed, name) <= most).all() for name, most in chip.capacity.items())


def utilisation(mapping: Mapping, masks: Masks, chip: Chip) -> dict[str, Any]:
    """How full the cores in use are.

    Returns:
        ``utilisation``: the fullest resource of a core as a share of what the core has, averaged over the cores in use
        (section 7.8); ``neurons``, ``synapse_bits``, ``in_axons``, ``out_axons``: the same of one resource;
        ``of_chip``: ``utilisation`` averaged over all cores; ``cores_used``; and ``cores``, one entry for each in use:
        ``core``, ``tile`` (x, y), ``populations`` (neurons of each) and the occupancy by resource.
    """
    needed, places = resources(mapping, masks, chip), chip.positions
    shares = {name: getattr(needed, name) / most for name, most in chip.capacity.items()}
    used, fullest = mapping.used, np.max(list(shares.values()), axis=0)
    held = np.stack([np.bincount(core_of, minlength=chip.cores) for core_of in mapping.cores], axis=1)
    return {
        "utilisation": float(fullest[used].mean()),
        **{name: float(share[used].mean()) for name, share in shares.items()},
        "of_chip": float(fullest.mean()),
        "cores_used": len(used),
        "cores": [{"core": int(core), "tile": places[core].tolist(), "populations": held[core].tolist(),
                   **{name: float(share[core]) for name, share in shares.items()}} for core in used],
    }


class Traffic(NamedTuple):
    """Spikes on their way, for each clip (or whatever the leading axes of the spike counts are).

    Attributes:
        messages: Spikes times the cores each is sent to.
        within_tile: Those of the messages whose core lies in the tile they start from.
        hops_east_west: Hops of all messages along x.
        hops_north_south: Hops of all messages along y.
    """

    messages: Floats
    within_tile: Floats
    hops_east_west: Floats
    hops_north_south: Floats

    @property
    def hops(self) -> Floats:
        return self.hops_east_west + self.hops_north_south


def traffic(mapping: Mapping, masks: Masks, spikes: Sequence[npt.NDArray[Any]], chip: Chip) -> Traffic:
    """Messages and hops of the spikes of every source population.

    Args:
        spikes: Spike counts [..., neurons] of each population but the readout, whose potentials stay where they are.
    """
    same_network(mapping, masks)
    east_west, north_south = chip.hops
    total: list[Any] = [0.0] * 4
    for counts, rows, source in zip(spikes, reach(mapping, masks, chip), mapping.cores, strict=False):
        across, along = east_west[:, source], north_south[:, source]
        weights = (rows, rows & (across + along == 0), rows * across, rows * along)
        total = [so_far + np.asarray(counts, dtype=np.float64) @ each.sum(0) for so_far, each in
                 zip(total, weights, strict=True)]
    return Traffic(*(np.asarray(each, dtype=np.float64) for each in total))


def reference_traffic(masks: Masks, spikes: Sequence[npt.NDArray[Any]], chip: Chip) -> float:
    """What traffic is measured in: every spike sent one hop far to as many cores as its targets fill at least.

    Independent of the mapping, so that costs of different mappings of a network compare.
    """
    total = 0.0
    for mask, counts in zip(masks, spikes, strict=True):
        bits = int(mask.sum()) * chip.weight_bits.value
        cores = max(-(-mask.shape[0] // chip.neurons.value), -(-bits // chip.synapse_bits.value))
        total += 2.0 * cores * float(np.sum(counts))
    return max(total, 1e-9)


def cost(mapping: Mapping, masks: Masks, spikes: Sequence[npt.NDArray[Any]], chip: Chip, *,
         weights: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> float:
    """What an optimised placement makes small: Eq. 10 for a given network, each term from 0 to about 1.

    Utilisation: 1 less the occupancy of the cores in use, by neurons or memory, whichever is more (section 2.2; axons
    are left out here, since wasting them would pay). Traffic: each message counts 1 and its hops, in units of
    :func:`reference_traffic`. Memory: empty share of the synaptic memory of the cores in use.

    Args:
        spikes: Mean spikes [neurons] of each population but the readout.
        weights: Of utilisation, traffic and memory (lambda 1 to 3).
    """
    needed, moved, used = resources(mapping, masks, chip), traffic(mapping, masks, spikes, chip), mapping.used
    memory = needed.synapse_bits[used] / chip.synapse_bits.value
    occupied = np.maximum(needed.neurons[used] / chip.neurons.value, memory)
    terms = (1 - occupied.mean(), float(moved.messages + moved.hops) / reference_traffic(masks, spikes, chip),
             1 - memory.mean())
    return float(np.dot(weights, terms))


def same_network(mapping: Mapping, masks: Masks) -> None:
    sizes = [masks[0].shape[1], *(mask.shape[0] for mask in masks)]
    if sizes != mapping.sizes:
        raise UserError(f"the mapping is of populations {mapping.sizes}, the network has {sizes}", where="mapping",
                        remedy="map this network")
