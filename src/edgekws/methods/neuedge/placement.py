"""Where neurons are put: the naive mapping, a better one by annealing, and both for networks of many sizes (section 3).

Arrays of the optimiser: ``units`` are groups of neurons that move together, ``sources`` are neurons of one unit that
reach the same units, so they count as one, with a multiplicity.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.chip import RESOURCES, Chip
from edgekws.methods.neuedge.mapping import (
    Floats,
    Ints,
    Mapping,
    Masks,
    cost,
    fits,
    population_name,
    reference_traffic,
    utilisation,
)

_TITLES = {"neurons": "neurons", "synapse_bits": "bits of synaptic memory", "in_axons": "in-axons",
           "out_axons": "out-axons", "destinations": "destination cores"}
_HOT, _COLD = 0.03, 0.0003  # temperatures of the annealing, in units of the cost


def naive(masks: Masks, chip: Chip) -> Mapping:
    """Every population starts a new core and fills one after the other with as many neurons as fit, in their order.

    Raises:
        UserError: A neuron asks for more than a core has, or the network for more cores than the chip has.
    """
    populations = len(masks) + 1
    pieces: list[list[int]] = [[] for _ in range(populations)]  # where each core's share of a population ends
    limits: list[str] = [""] * populations
    destinations = np.zeros(masks[-1].shape[0], dtype=np.int64)
    # From the back: how many cores a neuron reaches depends on how the next population was cut.
    for index in reversed(range(populations)):
        name = population_name(index, populations)
        rows = masks[index - 1] if index else np.zeros((masks[0].shape[1], 0), dtype=bool)
        pieces[index], limits[index] = _fill(rows, destinations, chip, name)
        if index:
            starts = [0, *pieces[index][:-1]]
            destinations = np.logical_or.reduceat(rows, starts, axis=0).sum(0, dtype=np.int64)
    counts = [len(ends) for ends in pieces]
    if sum(counts) > chip.cores:
        worst = int(np.argmax(counts))
        raise UserError(
            f"the network takes {sum(counts)} cores layer by layer, {sum(counts) - chip.cores} more than the chip's "
            f"{chip.cores}; most go to {population_name(worst, populations)}: {counts[worst]} cores, "
            f"{_over(masks, worst, limits[worst], chip)}",
            where=chip.name, remedy="make that layer smaller, prune its weights, or choose a larger chip")
    first, cores = 0, []
    for ends in pieces:
        cores.append(np.repeat(np.arange(first, first + len(ends)), np.diff([0, *ends])))
        first += len(ends)
    return Mapping(chip.name, tuple(cores))


def _fill(rows: npt.NDArray[np.bool_], destinations: Ints, chip: Chip, name: str) -> tuple[list[int], str]:
    """Ends of the pieces a population is cut into, and the resource that cuts it (that is fullest where none does)."""
    most = np.array(list(chip.capacity.values()))
    bits = rows.sum(1) * chip.weight_bits.value
    ends: list[int] = []
    start, limit = 0, ""
    sources, load = np.zeros(rows.shape[1], dtype=bool), np.zeros(4, dtype=np.int64)
    for neuron, row in enumerate(rows):
        if chip.destinations is not None and destinations[neuron] > chip.destinations.value:
            _refuse(name, neuron, "destinations", int(destinations[neuron]), chip.destinations.value, chip)
        merged = sources | row
        grown = np.array([load[0] + 1, load[1] + bits[neuron], merged.sum(), load[3] + destinations[neuron]])
        if (grown > most).any():
            limit = limit or RESOURCES[int(np.argmax(grown / most))]
            if neuron > start:
                ends.append(neuron)
            start, merged = neuron, row
            grown = np.array([1, bits[neuron], row.sum(), destinations[neuron]])
            for resource, needed, has in zip(RESOURCES, grown, most, strict=True):
                if needed > has:
                    _refuse(name, neuron, resource, int(needed), int(has), chip)
        sources, load = merged, grown
    return [*ends, len(rows)], limit or RESOURCES[int(np.argmax(load / most))]


def _refuse(name: str, neuron: int, resource: str, needed: int, has: int, chip: Chip) -> None:
    raise UserError(f"neuron {neuron} of {name} alone needs {needed:,} {_TITLES[resource]}, {needed - has:,} more than "
                    f"a core has", where=chip.name,
                    remedy="make the layer before (or, for out-axons and destinations, the layer after) smaller, prune "
                           "its weights, or choose another chip")


def _over(masks: Masks, index: int, resource: str, chip: Chip) -> str:
    """How far a population exceeds one core in the resource that cuts it."""
    if resource == "neurons":
        size = masks[index].shape[1] if index < len(masks) else masks[-1].shape[0]
        return f"for its {size:,} neurons, {size - chip.neurons.value:,} more than one core holds"
    if resource == "synapse_bits":
        bits = int(masks[index - 1].sum()) * chip.weight_bits.value
        return f"for its {bits:,} bits of synaptic memory, {bits - chip.synapse_bits.value:,} more than one core holds"
    return f"for its {_TITLES[resource]}"


# ------------------------------------------------------------------------------------------------ optimised
class _Unit(NamedTuple):
    population: int
    start: int
    stop: int


class _State:
    """A mapping of units while it is being changed; every number of :func:`cost` and :func:`fits`, kept up to date."""

    def __init__(self, units: list[_Unit], masks: Masks, spikes: Sequence[npt.NDArray[Any]], chip: Chip,
                 weights: tuple[float, float, float]) -> None:
        self.units, self.chip, self.weights = units, chip, weights
        self.size = np.array([unit.stop - unit.start for unit in units])
        self.bits = np.array([int(masks[unit.population - 1][unit.start:unit.stop].sum()) * chip.weight_bits.value
                              if unit.population else 0 for unit in units])
        self.reaches, self.owner, self.many, self.rate = _sources(units, masks, spikes)
        self.core = np.full(len(units), -1)
        self.neurons, self.memory = np.zeros((2, chip.cores), dtype=np.int64)
        self.links = np.zeros((chip.cores, len(self.owner)), dtype=np.int32)  # units in a core that a source reaches
        self.distance = 1.0 + chip.hops.sum(0)
        self.reference = reference_traffic(masks, spikes, chip)

    def put(self, unit: int, core: int) -> None:
        """Move a unit to a core, or off the chip (-1)."""
        for place, sign in ((self.core[unit], -1), (core, 1)):
            if place >= 0:
                self.neurons[place] += sign * self.size[unit]
                self.memory[place] += sign * self.bits[unit]
                self.links[place] += sign * self.reaches[unit]
        self.core[unit] = core

    def room(self, cores: npt.NDArray[Any]) -> bool:
        """Whether these cores have the neurons and the memory: cheap, and most moves fail here."""
        return bool((self.neurons[cores] <= self.chip.neurons.value).all()
                    and (self.memory[cores] <= self.chip.synapse_bits.value).all())

    def fits(self) -> bool:
        chip = self.chip
        if not self.room(np.arange(chip.cores)):
            return False
        reached = self.links > 0
        if (reached @ self.many > chip.in_axons.value).any():
            return False
        destinations = reached.sum(0)
        if chip.destinations is not None and destinations.max(initial=0) > chip.destinations.value:
            return False
        home = self.core[self.owner]
        placed = home >= 0
        outs = np.bincount(home[placed], (self.many * destinations)[placed], minlength=chip.cores)
        return bool((outs <= chip.out_axons.value).all())

    def cost(self) -> float:
        """:func:`cost` of the present mapping; every unit has a core."""
        used = self.neurons > 0
        memory = self.memory[used] / self.chip.synapse_bits.value
        occupied = np.maximum(self.neurons[used] / self.chip.neurons.value, memory)
        moved = float(np.einsum("cs,cs->s", self.links > 0, self.distance[:, self.core[self.owner]]) @ self.rate)
        utilised, sent, filled = self.weights
        return float(utilised * (1 - occupied.mean()) + sent * moved / self.reference + filled * (1 - memory.mean()))


def _sources(units: list[_Unit], masks: Masks, spikes: Sequence[npt.NDArray[Any]],
             ) -> tuple[npt.NDArray[np.int32], Ints, Ints, Floats]:
    """Neurons of one unit that reach the same units, as one source.

    Returns:
        Whether a source reaches a unit [units, sources], and for each source its own unit, how many neurons it stands
        for, and how many spikes they fire together.
    """
    columns, owners, many, rates = [], [], [], []
    for index, unit in enumerate(units):
        if unit.population == len(masks):
            continue
        mask, counts = masks[unit.population][:, unit.start:unit.stop], spikes[unit.population][unit.start:unit.stop]
        targets = [place for place, other in enumerate(units) if other.population == unit.population + 1]
        starts = [units[place].start for place in targets]
        reached = np.zeros((len(units), mask.shape[1]), dtype=np.int32)
        reached[targets] = np.logical_or.reduceat(mask, starts, axis=0)
        patterns, which = np.unique(reached, axis=1, return_inverse=True)
        which = which.reshape(-1)
        columns.append(patterns)
        owners += [index] * patterns.shape[1]
        many.append(np.bincount(which))
        rates.append(np.bincount(which, np.asarray(counts, dtype=np.float64)))
    return np.concatenate(columns, axis=1), np.array(owners), np.concatenate(many), np.concatenate(rates)


def _units(masks: Masks, chip: Chip, group: int) -> list[_Unit]:
    """Groups of neurons in their order; a group that does not fit a core is halved until it does."""
    def halves(population: int, start: int, stop: int) -> list[_Unit]:
        bits = int(masks[population - 1][start:stop].sum()) * chip.weight_bits.value if population else 0
        ins = int(masks[population - 1][start:stop].any(0).sum()) if population else 0
        small = (stop - start <= chip.neurons.value and bits <= chip.synapse_bits.value and ins <= chip.in_axons.value)
        if small or stop - start == 1:
            return [_Unit(population, start, stop)]
        middle = (start + stop) // 2
        return [*halves(population, start, middle), *halves(population, middle, stop)]

    sizes = [masks[0].shape[1], *(mask.shape[0] for mask in masks)]
    return [unit for population, size in enumerate(sizes) for start in range(0, size, group)
            for unit in halves(population, start, min(start + group, size))]


def optimise(mapping: Mapping | None, masks: Masks, spikes_per_neuron: Sequence[npt.NDArray[Any]], chip: Chip, *,
             steps: int = 2000, seed: int = 0, group: int = 16,
             weights: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Mapping:
    """A mapping of small :func:`cost`: greedy packing in topological order, then simulated annealing (section 3).

    The annealing moves a group to another core, swaps two groups, swaps the contents of two cores, or empties a core
    into the others; it never leaves the mappings that fit. The best of it, of ``mapping`` and of the naive mapping is
    returned, so the cost never rises.

    Args:
        mapping: Where to start, or None; one that does not fit (any more) is passed over.
        spikes_per_neuron: Mean spikes [neurons] of each population but the readout.
        steps: Moves that are tried.
        seed: Of the moves.
        group: Neurons that move together.
        weights: Of utilisation, traffic and memory (lambda 1 to 3).

    Raises:
        UserError: Nothing fits; the message says what is short (see :func:`naive`).
    """
    candidates = [] if mapping is None or mapping.chip != chip.name or not fits(mapping, masks, chip) else [mapping]
    refusal: UserError | None = None
    try:
        candidates.append(naive(masks, chip))
    except UserError as error:
        refusal = error
    state = _State(_units(masks, chip, group), masks, spikes_per_neuron, chip, weights)
    starts = [*(_of_units(candidate, state.units) for candidate in candidates), *_greedy(state)]
    best = _anneal(state, [start for start in starts if start is not None], steps, np.random.default_rng(seed))
    if best is not None:
        candidates.append(_of_neurons(best, state.units, chip))
    if not candidates:
        assert refusal is not None
        raise refusal
    return min(candidates, key=lambda candidate: cost(candidate, masks, spikes_per_neuron, chip, weights=weights))


def _of_units(mapping: Mapping, units: list[_Unit]) -> Ints | None:
    """The core of every unit, if no unit is spread over several."""
    shares = [mapping.cores[unit.population][unit.start:unit.stop] for unit in units]
    return np.array([share[0] for share in shares]) if all((share == share[0]).all() for share in shares) else None


def _of_neurons(cores: Ints, units: list[_Unit], chip: Chip) -> Mapping:
    populations = range(units[-1].population + 1)
    return Mapping(chip.name, tuple(
        np.repeat([core for core, unit in zip(cores, units, strict=True) if unit.population == population],
                  [unit.stop - unit.start for unit in units if unit.population == population])
        for population in populations))


def _set(state: _State, cores: Iterable[int]) -> None:
    for unit, core in enumerate(cores):
        state.put(unit, int(core))


def _greedy(state: _State) -> list[Ints]:
    """Packings in topological order: into the first core with room, and into the one it leaves most balanced."""
    found = []
    chip = state.chip
    for balanced in (False, True):
        _set(state, [-1] * len(state.units))
        for unit in range(len(state.units)):
            used = np.flatnonzero(state.neurons)
            if balanced:
                neurons = (state.neurons[used] + state.size[unit]) / chip.neurons.value
                memory = (state.memory[used] + state.bits[unit]) / chip.synapse_bits.value
                used = used[np.argsort(np.abs(neurons - memory), kind="stable")]
            free = np.flatnonzero(state.neurons == 0)[:1]
            if not _place(state, unit, [*used, *free]):
                break
        else:
            found.append(state.core.copy())
    return found


def _place(state: _State, unit: int, cores: Iterable[int]) -> bool:
    """Put a unit into the first of these cores where the mapping fits; else leave it off the chip."""
    for core in cores:
        state.put(unit, int(core))
        if state.room(np.array([core])) and state.fits():
            return True
    state.put(unit, -1)
    return False


def _anneal(state: _State, starts: list[Ints], steps: int, generator: np.random.Generator) -> Ints | None:
    """The best mapping of units met on a walk from the best of ``starts``."""
    best, lowest = None, np.inf
    for start in starts:
        _set(state, start)
        if state.fits() and state.cost() < lowest:
            best, lowest = start, state.cost()
    if best is None:
        return None
    _set(state, best)
    now = lowest
    for step in range(steps):
        before = state.core.copy()
        changed = _move(state, generator)
        if len(changed) and state.room(state.core[changed]) and state.fits():
            after = state.cost()
            temperature = _HOT * (_COLD / _HOT) ** (step / steps)
            if after <= now or generator.random() < np.exp((now - after) / temperature):
                now = after
                if now < lowest - 1e-12:
                    best, lowest = state.core.copy(), now
                continue
        for unit in changed:
            state.put(unit, int(before[unit]))
    return best


def _move(state: _State, generator: np.random.Generator) -> npt.NDArray[Any]:
    """Try one random change; the units that were moved."""
    kind, units = generator.random(), len(state.units)
    one, other = generator.integers(units, size=2)
    if kind < 0.45:  # a group to another group's core or, now and then, to any core
        core = state.core[other] if generator.random() < 0.85 else generator.integers(state.chip.cores)
        target = {int(one): int(core)}
    elif kind < 0.8:
        target = {int(one): int(state.core[other]), int(other): int(state.core[one])}
    elif kind < 0.92:  # the contents of a core change places with those of any core
        mine, any_core = int(state.core[one]), int(generator.integers(state.chip.cores))
        target = {int(unit): any_core for unit in np.flatnonzero(state.core == mine)}
        target |= {int(unit): mine for unit in np.flatnonzero(state.core == any_core)}
    else:
        return _empty(state, int(state.core[one]), generator)
    moved = [unit for unit, core in target.items() if core != state.core[unit]]
    for unit in moved:
        state.put(unit, target[unit])
    return np.array(moved, dtype=np.int64)


def _empty(state: _State, core: int, generator: np.random.Generator) -> npt.NDArray[Any]:
    """Spread a core's units over the others in use; those moved so far, should one not fit (the caller undoes it)."""
    inside = generator.permutation(np.flatnonzero(state.core == core))
    others = generator.permutation(np.setdiff1d(np.flatnonzero(state.neurons), [core]))
    spare = (state.chip.neurons.value - state.neurons[others]).sum(), (
        state.chip.synapse_bits.value - state.memory[others]).sum()
    if spare[0] < state.neurons[core] or spare[1] < state.memory[core]:
        return inside[:0]
    for unit in inside:
        state.put(unit, -1)
    for unit in inside:
        if not _place(state, int(unit), others):
            for placed in inside:
                state.put(placed, core)
            return inside[:0]
    return inside


# ------------------------------------------------------------------------------------------------ where numbers come from
def sweep(sizes: Iterable[Sequence[int]], chip: Chip, *, steps: int = 500, seed: int = 0, group: int = 16,
          ) -> list[dict[str, Any]]:
    """Utilisation of dense networks of these layer sizes (inputs first), mapped naively and optimised.

    Shows what the sizes alone decide: nothing is trained, every neuron fires once.

    Returns:
        For each network ``sizes``, ``weights`` and, as ``naive`` and ``optimised``, what :func:`utilisation` says
        without its list of cores, or None where the network does not fit the chip.
    """
    rows = []
    for layers in sizes:
        masks = [np.ones((to, of), dtype=bool) for of, to in itertools.pairwise(layers)]
        spikes = [np.ones(layer) for layer in layers[:-1]]
        row: dict[str, Any] = {"sizes": list(layers), "weights": sum(mask.size for mask in masks)}
        for name in ("naive", "optimised"):
            try:
                mapping = naive(masks, chip) if name == "naive" else optimise(
                    None, masks, spikes, chip, steps=steps, seed=seed, group=group)
            except UserError:
                row[name] = None
                continue
            measured = utilisation(mapping, masks, chip)
            row[name] = {key: value for key, value in measured.items() if key != "cores"}
        rows.append(row)
    return rows
