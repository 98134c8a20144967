import pytest
import torch

from edgekws.methods.traces_propagation.complexity import complexity, complexity_of
from edgekws.methods.traces_propagation.rule import BatchRule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

CHECKS = {"traces_two_per_neuron", "memory_linear", "learning_signal_linear", "auxiliary_classes_by_neurons",
          "no_update_locking", "no_weight_transport", "local_in_time", "local_in_space"}


@pytest.fixture(scope="module")
def paper_size():
    return complexity(Network(), inputs=120, outputs=36, batch=37, frames=101)


def test_the_papers_network(paper_size):
    values = paper_size["values"]
    # traces_propagation.md, section 2.8: 272,700 trainable; 16,200 + 202,500 frozen; prototypes [101, 36, 450]
    assert values["trained"]["counted"] == 272_700
    assert values["auxiliary_label"] == {"formula": 16_200, "counted": 16_200}
    assert values["auxiliary_recurrent"] == {"formula": 202_500, "counted": 202_500}
    assert values["prototypes"]["formula"] == 101 * 36 * 450
    assert values["traces"] == {"formula": 2 * 37 * 450, "counted": 2 * 37 * 450}
    assert paper_size["operations"]["learning_signal"] == {"formula": 2 * 37 * 37 * 450, "counted": 2 * 37 * 37 * 450}


def test_only_the_auxiliary_memory_of_a_recurrent_net_breaks_the_claim(paper_size):
    checks = paper_size["checks"]
    assert set(checks) == CHECKS
    assert [name for name, check in checks.items() if not check["holds"]] == ["auxiliary_classes_by_neurons"]
    assert "202,500" in checks["auxiliary_classes_by_neurons"]["why"]


@pytest.mark.parametrize("hidden", [[20], [20, 30], [16, 24, 8]])
def test_feed_forward_nets_hold_every_claim(hidden):
    found = complexity(Network(hidden=hidden, recurrent=False), inputs=6, outputs=5, batch=4, frames=3)
    assert all(check["holds"] for check in found["checks"].values()), found["checks"]
    signal = found["operations"]["learning_signal"]
    assert signal["formula"] == signal["counted"]


def test_a_batch_that_looks_like_another_size_is_counted_one_larger():
    found = complexity(Network(hidden=[9]), inputs=8, outputs=7, batch=7, frames=3)
    assert found["sizes"]["batch"] == 10
    assert found["operations"]["learning_signal"]["counted"] == 2 * 10 * 10 * 9


def test_a_network_at_hand_is_left_as_it_is():
    net = RecurrentLIF(Network(hidden=[9]), inputs=8, outputs=7, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert complexity_of(net, batch=4, frames=3) == complexity(net.settings, inputs=8, outputs=7, batch=4, frames=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_rule_that_looks_up_is_caught(monkeypatch):
    honest = BatchRule._hidden_gradients

    def locked(self):
        honest(self)
        self.gradients["hidden.0.weight"].add_(self.net.readout.sum())
    monkeypatch.setattr(BatchRule, "_hidden_gradients", locked)
    checks = complexity(Network(hidden=[9]), inputs=8, outputs=7, batch=4, frames=3)["checks"]
    assert not any(checks[name]["holds"] for name in ("no_update_locking", "no_weight_transport", "local_in_space"))


def test_a_rule_that_remembers_every_frame_is_caught(monkeypatch):
    honest = BatchRule.step

    def remembering(self, frame):
        self.history = [*getattr(self, "history", []), torch.clone(frame)]
        return honest(self, frame)
    monkeypatch.setattr(BatchRule, "step", remembering)
    checks = complexity(Network(hidden=[9]), inputs=8, outputs=7, batch=4, frames=3)["checks"]
    assert not checks["local_in_time"]["holds"]
