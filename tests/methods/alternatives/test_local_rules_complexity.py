"""The table of complexities: formulas against counts, counts by hand, and that a breach would show."""

import json

import pytest
import torch

from edgekws.methods.alternatives.local_rules import complexity as table
from edgekws.methods.alternatives.local_rules.complexity import complexity
from edgekws.methods.alternatives.local_rules.learning import RULES
from edgekws.methods.traces_propagation.complexity import tensors_held, tess_values
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.neurons.lif import Layer

COLUMNS = "update_locking_free", "no_weight_transport", "local_in_time", "local_in_space"


@pytest.mark.parametrize(("hidden", "recurrent"), [([20], True), ([20, 30], True), ([16, 24, 8], False)])
def test_formulas_are_what_is_counted(hidden, recurrent):
    found = complexity(Network(hidden=hidden, recurrent=recurrent), inputs=6, outputs=5, batch=4)
    assert json.loads(json.dumps(found)) == found
    assert list(found["rules"]) == ["traces_propagation", *RULES]
    for name, row in found["rules"].items():
        for part in ("trace", "auxiliary", "learning_signal"):
            assert row[part]["counted"] == row[part]["formula"], (name, part)


@pytest.mark.parametrize(("hidden", "recurrent"), [([20], True), ([20, 30], True), ([16, 24, 8], False)])
def test_traces_propagation_compares_itself_with_what_tess_really_keeps(hidden, recurrent):
    network = Network(hidden=hidden, recurrent=recurrent)
    tess = complexity(network, inputs=6, outputs=5, batch=4)["rules"]["tess"]
    assert tess_values(network, inputs=6, outputs=5, batch=4) == tess["trace"]["counted"] + tess["auxiliary"]["counted"]


def test_counts_by_hand():
    """Batch 4, inputs 6, recurrent layers of 20 and 30, outputs 5: N = 26 and 50, 520 and 1500 synapses."""
    rules = complexity(Network(hidden=[20, 30]), inputs=6, outputs=5, batch=4)["rules"]
    counted = {name: [rules[name][part]["counted"] for part in ("trace", "auxiliary", "learning_signal")]
               for name in rules}
    assert counted == {
        "traces_propagation": [2 * 4 * 50, 5 * 20 + 20 * 20, 4 * 4 * (2 * 20 + 3 * 30)],
        "eprop": [4 * (2020 + 76 + 30), 5 * 20, 4 * 5 * 50],
        "eprop_random": [4 * (2020 + 76 + 30), 5 * 50, 4 * 5 * 50],
        "decolle": [4 * (76 + 30), 5 * 50, 2 * 4 * 5 * 50],
        "etlp": [4 * (76 + 30), 5 * 50, 4 * 5 * 50],
        "osttp": [4 * (2020 + 30), 5 * 50, 4 * 5 * 50],
        "tess": [4 * (76 + 50 + 30), 5 * 50, 2 * 4 * 5 * 50],
    }
    assert {name for name, row in rules.items() if row["trace"]["per_synapse"] == 4 * (2020 + 30)} == {"decolle", "etlp"}
    assert {name for name, row in rules.items() if row["learning_signal"]["per"] == "clip"} == {"etlp", "osttp"}


@pytest.mark.parametrize("kind", RULES)
def test_a_layer_keeps_nothing_but_its_traces(kind):
    net = RecurrentLIF(Network(hidden=[9]), inputs=4, outputs=3, generator=torch.Generator().manual_seed(0))
    layer = RULES[kind].layer_type(net, 0, 5)
    plain = sum(tensor.numel() for tensor in tensors_held(Layer(net.hidden[0].weight, 5, inputs=4, leak=0.5, threshold=1,
                                                                reset="hard")))
    traces = sum(trace.numel() for trace in layer.traces())
    assert sum(tensor.numel() for tensor in tensors_held(layer)) == plain + layer.derivative.numel() + traces


def test_locality_is_what_the_papers_say():
    rules = complexity(Network(hidden=[9]), inputs=8, outputs=7, batch=4)["rules"]
    assert {name: tuple(row[column]["holds"] for column in COLUMNS) for name, row in rules.items()} == {
        "traces_propagation": (True, True, True, True),
        "eprop": (False, False, True, False),
        "eprop_random": (False, True, True, False),
        "decolle": (True, True, True, True),
        "etlp": (True, True, True, True),
        "osttp": (True, True, True, True),
        "tess": (True, True, True, True),
    }
    for row in rules.values():
        assert all(row[column]["paper"] in (None, row[column]["holds"]) for column in COLUMNS)


def test_a_rule_that_remembers_all_frames_is_caught(monkeypatch):
    honest = RULES["etlp"]._signal

    def hoarding(self, index, error):
        self.history = [*getattr(self, "history", []), error.clone()]
        return honest(self, index, error)

    monkeypatch.setattr(RULES["etlp"], "_signal", hoarding)
    row = table._locality("etlp", Network(hidden=[9]), 8, 7, seed=0)
    assert not row["local_in_time"]["holds"]
    assert row["local_in_space"]["holds"]
