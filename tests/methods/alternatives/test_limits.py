"""Budgets: rows by hand, the widest net that fits, and what was measured beside them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pandas as pd
import pytest
import torch

from edgekws.core import optimiser
from edgekws.methods.alternatives import limits
from edgekws.methods.alternatives.limits import BUDGETS, Cell
from edgekws.methods.alternatives.memory import FROZEN_BASE, Sizes, formula
from edgekws.methods.alternatives.settings import DeviceLimits
from edgekws.methods.traces_propagation.rule import make_rule
from edgekws.methods.traces_propagation.training import epochs
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

SIZES = Sizes(inputs=120, neurons=0, outputs=12, frames=101, clips=16)


def learn(net, features, labels, method, budget, *, seed):
    """Traces Propagation as a method of the bench, in the form of one hidden layer."""
    adapted = copy.deepcopy(net)
    rule = make_rule(adapted, "prototype")
    updates = optimiser.make(method.optimiser, rule.parameters, budget.learning_rate)
    for batch, wanted in epochs(adapted, features, labels, budget, updates, seed=seed):
        rule.begin(wanted)
        for frame in batch.unbind(1):
            updates.step(rule.step(frame))
        del batch, frame


def test_cells_are_all_combinations_and_int8_where_the_base_is_frozen():
    found = limits.cells(["full", "lora"], [64, 128])
    assert len(found) == len(set(found)) == 2 * 2 * 2 * (1 + 2)
    assert {cell.method for cell in found if cell.stored == "int8"} == {"lora"} <= set(FROZEN_BASE)


def test_a_row_by_hand():
    # 10 inputs, 4 neurons, 2 outputs, 3 frames, one clip, with SGD: 4 (10 + 4) + 2 4 = 64 weights.
    sizes = Sizes(inputs=10, neurons=0, outputs=2, frames=3, clips=1)
    cell = Cell("full", 4, "sgd", 1)
    weights, activations, batch = 4 * 64, 4 * 3 * (10 + 5 * 4), 4 * 3 * 10 + 3 * 8
    needed = 2 * weights + activations + batch
    row, = limits.table([cell], sizes, [needed - 1, needed, 2 * needed], measured={cell: needed + 1})
    assert row == {"method": "full", "neurons": 4, "optimiser": "sgd", "batch": 1, "stored": "fp32",
                   "formula_bytes": needed, "measured_bytes": needed + 1,
                   "formula_budget": needed, "measured_budget": 2 * needed}
    row, = limits.table([cell], sizes, [needed - 1])
    assert row["formula_budget"] is row["measured_bytes"] is row["measured_budget"] is None


@pytest.mark.parametrize("cell", [
    Cell("full", 0, "adam", 8), Cell("traces_propagation", 0, "adam", 1), Cell("eprop", 0, "sgd", 1),
    Cell("traces_propagation_batch", 0, "sgd", 8), Cell("lora", 0, "adam", 1, "int8")])
def test_the_widest_net_is_the_last_that_fits(cell):
    def needed(neurons):
        return sum(formula(cell.method, replace(SIZES, neurons=neurons), cell.batch, cell.optimiser,
                           stored=cell.stored).values())

    for budget in BUDGETS:
        neurons = limits.widest(cell, SIZES, budget)
        assert needed(neurons) <= budget < needed(neurons + 1) if neurons else needed(1) > budget


def test_widths_grow_with_the_budget_and_shrink_with_the_optimisers_state():
    found = pd.DataFrame(limits.widths(["full", "readout"], SIZES, batches=[1]))
    wide = found.set_index(["method", "stored", "optimiser", "budget"]).neurons
    for method, stored in (("full", "fp32"), ("readout", "fp32"), ("readout", "int8")):
        for name in ("adam", "sgd"):
            assert wide[method, stored, name].is_monotonic_increasing
            assert wide[method, stored, name][BUDGETS[-1]] > wide[method, stored, name][BUDGETS[0]] >= 0
        assert (wide[method, stored, "sgd"] >= wide[method, stored, "adam"]).all()
    assert (wide["readout", "int8"] > wide["readout", "fp32"]).all()


def test_measured_cells_stand_beside_the_formula():
    sizes, network = Sizes(inputs=8, neurons=0, outputs=4, frames=6, clips=6), Network(hidden=[1], threshold=0.3)
    chosen = limits.cells(["traces_propagation"], [16, 24], batches=[1, 3])
    measured = {cell: limits.measured_usage(cell, learn, network, sizes).peak for cell in chosen}
    rows = limits.table(chosen, sizes, measured=measured)
    assert json.loads(json.dumps(rows)) == rows
    for row in rows:
        # Beside the formula there are one step's own tensors and two batches' labels.
        assert 0 <= row["measured_bytes"] - row["formula_bytes"] <= 4 * row["batch"] * (4 * row["neurons"] + 6 * 4)
    by_cell = {(row["neurons"], row["optimiser"], row["batch"]): row["measured_bytes"] for row in rows}
    for neurons in (16, 24):
        trained = neurons * (8 + neurons + 4)
        assert by_cell[neurons, "adam", 1] - by_cell[neurons, "sgd", 1] == 4 * (2 * trained + 2)


def test_the_table_of_a_device():
    net = RecurrentLIF(Network(hidden=[9], threshold=0.3), inputs=6, outputs=4, generator=torch.Generator().manual_seed(0))
    settings = DeviceLimits(budgets=[8, 64], widths=[24, 12], batch_sizes=[1, 2], clips=4)
    found = limits.device_table(net, settings, frames=5)
    assert json.loads(json.dumps(found)) == found
    sizes = Sizes(inputs=6, neurons=12, outputs=4, frames=5, clips=4)
    assert found["sizes"] == vars(sizes), "the base's own width is not asked about"
    rows = pd.DataFrame(found["rows"])
    stored = len(limits.METHODS) + len({"readout", "threshold", "lora", "adapter"})
    assert len(rows) == stored * len(["adam", "sgd"]) * 2 * 2 and set(rows.neurons) == {12, 24}
    # Measured is what the bench takes, with Adam, float32 and the narrowest net; beside it the formula is nearly the same.
    measured = rows[rows.measured_bytes.notna()]
    assert set(measured.method) == set(limits.METHODS) - {"traces_propagation_batch"}
    assert set(zip(measured.neurons, measured.optimiser, measured.stored, strict=True)) == {(12, "adam", "fp32")}
    assert sorted(measured.batch.unique()) == [1, 2] and len(measured) == 2 * measured.method.nunique()
    assert measured.formula_bytes.to_numpy() == pytest.approx(measured.measured_bytes.to_numpy(), rel=0.35)
    assert (rows.formula_budget.dropna().isin([8 * limits.KIB, 64 * limits.KIB])).all()
    wide = pd.DataFrame(found["widest"])
    assert len(wide) == stored * len(["adam", "sgd"]) * 2 * 2 and set(wide.budget) == {8 * limits.KIB, 64 * limits.KIB}
    # What a row says of a width the table of the widest nets says, too.
    both = rows.merge(wide, on=["method", "optimiser", "batch", "stored"], suffixes=("", "_most"))
    assert ((both.formula_bytes <= both.budget) == (both.neurons <= both.neurons_most)).all()
