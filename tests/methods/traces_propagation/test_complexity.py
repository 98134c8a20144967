import pytest
import torch

from edgekws.methods.traces_propagation.complexity import complexity, complexity_of
from edgekws.methods.traces_propagation.rule import BatchRule, PrototypeRule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

LOCALITY = {"no_update_locking", "no_weight_transport", "local_in_time", "local_in_space"}
CHECKS = {"traces_two_per_neuron", "memory_linear", "learning_signal_linear", "auxiliary_classes_by_neurons",
          "auxiliary_not_by_layer", "tess_by_formula", "tess_as_it_runs", *LOCALITY}


@pytest.fixture(scope="module")
def paper_size():
    return complexity(Network(), inputs=120, outputs=36, batch=37, frames=101)


def test_the_papers_network(paper_size):
    values = paper_size["values"]
    # traces_propagation.md, section 2.8: 272,700 trainable; 16,200 + 202,500 frozen; prototypes [101, 36, 450]
    assert values["trained"]["counted"] == 272_700
    assert values["auxiliary_label"] == {"formula": 16_200, "counted": 16_200}
    assert values["auxiliary_recurrent"] == {"formula": 202_500, "counted": 202_500}
    assert values["prototypes"] == {"formula": 101 * 36 * 450, "counted": 101 * 36 * 450}
    assert values["traces"] == {"formula": 2 * 37 * 450, "counted": 2 * 37 * 450}
    assert paper_size["operations"] == {
        "learning_signal": {"formula": 2 * 37 * 37 * 450, "counted": 2 * 37 * 37 * 450},
        "learning_signal_prototypes": {"formula": 2 * 37 * 36 * 450, "counted": 2 * 37 * 36 * 450}}


def test_only_memory_beside_the_traces_breaks_a_claim(paper_size):
    checks = paper_size["checks"]
    assert set(checks) == CHECKS
    assert [name for name, check in checks.items() if not check["holds"]] == ["auxiliary_classes_by_neurons", "tess_as_it_runs"]
    assert "202,500" in checks["auxiliary_classes_by_neurons"]["why"]
    # 2 B 450 + 16,200 + 202,500 < B (570 + 450 + 450) + 16,200 from B = 356 on
    assert "356 to 2048" in checks["tess_as_it_runs"]["why"]
    assert "1 to 35 out of" in checks["tess_by_formula"]["why"]


def test_both_forms_are_counted_and_named(paper_size):
    checks = paper_size["checks"]
    for name in ("traces_two_per_neuron", "memory_linear", "learning_signal_linear"):
        assert "published form" in checks[name]["why"] and "form that runs" in checks[name]["why"]
    for name in LOCALITY - {"local_in_time"}:
        assert "all 8 hidden layers of 4 nets" in checks[name]["why"]
    assert f"{(37 + 36) * 450:,}" in checks["traces_two_per_neuron"]["why"]
    assert f"{101 * 36 * 450:,}" in checks["traces_two_per_neuron"]["why"]


@pytest.mark.parametrize("hidden", [[20], [20, 30], [16, 24, 8]])
def test_feed_forward_nets_hold_what_is_said_of_the_rule_alone(hidden):
    found = complexity(Network(hidden=hidden, recurrent=False), inputs=6, outputs=5, batch=4, frames=3)
    assert {name for name, check in found["checks"].items() if not check["holds"]} <= {"tess_as_it_runs"}, found["checks"]
    for count in found["operations"].values():
        assert count["formula"] == count["counted"]


@pytest.mark.parametrize("recurrent", [False, True])
def test_auxiliary_values_do_not_grow_with_the_layers(recurrent):
    found = complexity(Network(hidden=[9, 9], recurrent=recurrent), inputs=8, outputs=7, batch=4, frames=3)
    check = found["checks"]["auxiliary_not_by_layer"]
    frozen = 7 * 9 + 9 * 9 * recurrent
    assert check["holds"] and f"{frozen} with 2, {frozen} with 3, {frozen} with 4" in check["why"]
    assert ("R_S, 81" in check["why"]) == recurrent


def test_a_matrix_for_each_layer_is_caught(monkeypatch):
    honest = BatchRule._allocate

    def with_a_matrix_each(self, size):
        honest(self, size)
        for target in self.targets:
            target.weights = target.weights.clone()
    monkeypatch.setattr(BatchRule, "_allocate", with_a_matrix_each)
    checks = complexity(Network(hidden=[9]), inputs=8, outputs=7, batch=4, frames=3)["checks"]
    assert not checks["auxiliary_not_by_layer"]["holds"]


def test_a_batch_that_looks_like_another_size_is_counted_one_larger():
    found = complexity(Network(hidden=[9]), inputs=8, outputs=7, batch=7, frames=3)
    assert found["sizes"]["batch"] == 10
    assert found["operations"]["learning_signal"]["counted"] == 2 * 10 * 10 * 9


def test_a_network_at_hand_is_left_as_it_is():
    net = RecurrentLIF(Network(hidden=[9]), inputs=8, outputs=7, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert complexity_of(net, batch=4, frames=3) == complexity(net.settings, inputs=8, outputs=7, batch=4, frames=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def first_gradient(rule):
    return next(iter(rule.gradients.values()))


def breaches(monkeypatch, form, breach):
    """Properties that are found not to hold of a rule whose gradients ``breach`` changes, and the reasons."""
    honest = form._hidden_gradients

    def dishonest(self):
        honest(self)
        breach(self)
    monkeypatch.setattr(form, "_hidden_gradients", dishonest)
    checks = complexity(Network(hidden=[9]), inputs=8, outputs=7, batch=4, frames=3)["checks"]
    return {name: checks[name]["why"] for name in LOCALITY if not checks[name]["holds"]}


@pytest.mark.parametrize("form", [BatchRule, PrototypeRule])
def test_a_rule_that_reads_the_readout_weights_is_caught(monkeypatch, form):
    found = breaches(monkeypatch, form, lambda rule: first_gradient(rule).add_(rule.net.readout.sum()))
    assert set(found) == {"no_update_locking", "no_weight_transport", "local_in_space"}
    named = "batch form" if form is BatchRule else "prototype form"
    assert all(f"{named}, {kind}, layer 1" in why for why in found.values() for kind in ("feed-forward", "recurrent"))


def test_a_rule_that_waits_for_the_output_is_locked_but_transports_no_weights(monkeypatch):
    """Random feedback of the output's error (as e-prop has it): the readout must have run, its weights are not read."""
    found = breaches(monkeypatch, BatchRule, lambda rule: first_gradient(rule).add_(rule.readout_potential.sum()))
    assert set(found) == {"no_update_locking", "local_in_space"}


def test_a_breach_in_a_deeper_layer_of_recurrent_nets_alone_is_caught(monkeypatch):
    def breach(rule):
        if rule.net.settings.recurrent and len(rule.net.hidden) > 2:
            list(rule.gradients.values())[1].add_(rule.layers[2].weights.sum())
    found = breaches(monkeypatch, BatchRule, breach)
    assert set(found) == {"no_update_locking", "no_weight_transport", "local_in_space"}
    assert all(why.endswith("not so: batch form, recurrent, layer 2") for why in found.values())


def test_a_synapse_that_depends_on_its_neighbours_is_caught(monkeypatch):
    """Nothing above is read, so the network is neither locked nor are weights transported."""
    found = breaches(monkeypatch, BatchRule, lambda rule: first_gradient(rule).add_(rule.layers[0].weights.sum()))
    assert set(found) == {"local_in_space"}


def test_a_rule_that_remembers_every_frame_is_caught(monkeypatch):
    honest = BatchRule.step

    def remembering(self, frame):
        self.history = [*getattr(self, "history", []), torch.clone(frame)]
        return honest(self, frame)
    monkeypatch.setattr(BatchRule, "step", remembering)
    checks = complexity(Network(hidden=[9]), inputs=8, outputs=7, batch=4, frames=3)["checks"]
    assert not checks["local_in_time"]["holds"]
