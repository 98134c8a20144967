"""Which methods fit which nets on a device: peak memory of an adaptation against a budget of bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from edgekws.core import optimiser as optimisers
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.experiments import learner
from edgekws.methods.alternatives.memory import FROZEN_BASE, Method, Sizes, Stored, Usage, formula, measure_learning
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining, DeviceLimits
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

KIB = 1024
BUDGETS = (256 * KIB, 512 * KIB, 1024 * KIB, 2048 * KIB)
METHODS: tuple[Method, ...] = (
    "traces_propagation", "traces_propagation_batch", "eprop", "eprop_random", "decolle", "etlp", "osttp", "tess", "full",
    "full_int8", "readout", "threshold", "lora", "adapter")
"""Those of the bench, for a spiking net with one hidden layer. Traces Propagation comes also in the form of all pairs, which the
bench does not take, since it is slower, and which keeps no prototypes."""


@dataclass(frozen=True)
class Cell:
    """One entry of the table.

    Attributes:
        neurons: Width of the hidden layer.
        batch: Clips that are learnt from together.
        stored: What a base that is not trained is stored in.
    """

    method: Method
    neurons: int
    optimiser: optimisers.Name
    batch: int
    stored: Stored = "fp32"


def cells(methods: Sequence[Method], widths: Sequence[int], optimisers: Sequence[optimisers.Name] = ("adam", "sgd"),
          batches: Sequence[int] = (1, 8)) -> list[Cell]:
    """All combinations; those that leave the base frozen both with float32 and with int8 weights."""
    return [Cell(method, neurons, optimiser, batch, stored)
            for method, neurons, optimiser, batch in itertools.product(methods, widths, optimisers, batches)
            for stored in _stored(method)]


def table(chosen: Sequence[Cell], sizes: Sizes, budgets: Sequence[int] = BUDGETS, *, rank: int = 4,
          measured: Mapping[Cell, int] | None = None) -> list[dict[str, Any]]:
    """A row for each cell: what it takes, and what it fits.

    Args:
        sizes: Of everything but the width.
        budgets: Bytes.
        rank: Of LoRA, or the width of the adapter's bottleneck.
        measured: Peak bytes of some of the cells.

    Returns:
        Rows for a table or a JSON file: the cell's fields, ``formula_bytes`` and ``measured_bytes`` (null where it was not
        measured), and the smallest budget that holds them, ``formula_budget`` and ``measured_budget`` (null for none).
    """
    rows = []
    for cell in chosen:
        needed = _bytes(cell, sizes, rank)
        found = (measured or {}).get(cell)
        rows.append({**vars(cell), "formula_bytes": needed, "measured_bytes": found,
                     "formula_budget": _smallest(budgets, needed),
                     "measured_budget": None if found is None else _smallest(budgets, found)})
    return rows


def widest(cell: Cell, sizes: Sizes, budget: int, *, rank: int = 4) -> int:
    """The largest number of hidden neurons with which a cell fits the budget, by the formula; 0 if one is too many.

    Args:
        cell: Its width is not looked at.
        sizes: Of everything but the width.
        budget: Bytes.
    """
    def fits(neurons: int) -> bool:
        return _bytes(replace(cell, neurons=neurons), sizes, rank) <= budget

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def widths(methods: Sequence[Method], sizes: Sizes, budgets: Sequence[int] = BUDGETS,
           optimisers: Sequence[optimisers.Name] = ("adam", "sgd"), batches: Sequence[int] = (1, 8), *,
           rank: int = 4) -> list[dict[str, Any]]:
    """:func:`widest` for all combinations: rows of ``method``, ``optimiser``, ``batch``, ``stored``, ``budget`` and
    ``neurons``."""
    return [{"method": cell.method, "optimiser": cell.optimiser, "batch": cell.batch, "stored": cell.stored,
             "budget": budget, "neurons": widest(cell, sizes, budget, rank=rank)}
            for cell in cells(methods, [0], optimisers, batches) for budget in budgets]


def device_table(net: RecurrentLIF, settings: DeviceLimits, *, frames: int, progress: bool = False) -> dict[str, Any]:
    """The budget table of nets like ``net``: every width, batch, optimiser and way to store the base, by formula.

    Measured too is every method of the bench with Adam at the narrowest width.

    Args:
        net: Its inputs, outputs and constants are taken.
        frames: Of a clip.

    Returns:
        ``sizes``, ``rows`` (:func:`table`) and ``widest`` (:func:`widths`).
    """
    sizes = Sizes(net.inputs, min(settings.widths), net.outputs, frames, settings.clips)
    budgets = [KIB * budget for budget in settings.budgets]
    chosen = cells(METHODS, settings.widths, batches=settings.batch_sizes)
    tried = [cell for cell in chosen if cell.method != "traces_propagation_batch"
             and (cell.neurons, cell.optimiser, cell.stored) == (min(settings.widths), "adam", "fp32")]
    measured = {cell: measured_usage(cell, learner(AlternativeMethod.model_validate({"kind": cell.method})), net.settings,
                                     sizes).peak
                for cell in tqdm(tried, desc="memory", unit="cell", disable=not progress)}
    return {"sizes": vars(sizes), "rows": table(chosen, sizes, budgets, measured=measured),
            "widest": widths(METHODS, sizes, budgets, batches=settings.batch_sizes)}


def measured_usage(cell: Cell, learn: Callable[..., object], network: Network, sizes: Sizes, *, rank: int = 4,
                   seed: int = 0) -> Usage:
    """What a method really takes, over two epochs with a net and clips of random numbers: values do not change it.

    Args:
        cell: Its method is one of the settings' kinds, and its base is stored as float32: torch trains no other.
        learn: The method, an :class:`edgekws.methods.alternatives.learning.Learn`.
        network: The neurons' constants.
        sizes: Of everything but the width.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "limits"))
    net = RecurrentLIF(network.model_copy(update={"hidden": [cell.neurons], "recurrent": True}), inputs=sizes.inputs,
                       outputs=sizes.outputs, generator=generator)
    features = torch.rand(sizes.clips, sizes.frames, sizes.inputs, generator=generator)
    method = AlternativeMethod.model_validate({"kind": cell.method, "rank": rank, "optimiser": cell.optimiser})
    budget = AlternativeTraining(epochs=2, batch_size=cell.batch)
    return measure_learning(learn, net, features, torch.arange(sizes.clips) % sizes.outputs, method, budget, seed=seed)


def _stored(method: Method) -> tuple[Stored, ...]:
    return ("fp32", "int8") if method in FROZEN_BASE else ("fp32",)


def _bytes(cell: Cell, sizes: Sizes, rank: int) -> int:
    sized = replace(sizes, neurons=cell.neurons)
    return sum(formula(cell.method, sized, cell.batch, cell.optimiser, rank=rank, stored=cell.stored).values())


def _smallest(budgets: Sequence[int], needed: int) -> int | None:
    return min((budget for budget in budgets if budget >= needed), default=None)
