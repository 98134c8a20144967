import numpy as np
import pytest
import torch

from edgekws import TracesPropagation
from edgekws.core.errors import UserError
from edgekws.models.adaptive_lif import AdaptiveLIF, load_network, save_network
from edgekws.models.settings import AdaptiveNetwork


def levels(clips=5, seed=0):
    return 20 * torch.randn(clips, 94, 40, generator=torch.Generator().manual_seed(seed)) - 50


@pytest.fixture
def trained():
    """A net whose normalisations have seen some clips."""
    net = AdaptiveLIF(AdaptiveNetwork(hidden=[9, 7], dropout=0.3), outputs=4, generator=torch.Generator().manual_seed(0))
    net.mean.fill_(-50.0)
    net.deviation.fill_(20.0)
    generator = np.random.default_rng(0)
    for seed in range(5):
        net.train()(levels(seed=seed), generator)
    with torch.no_grad():
        for norm in net.norms:
            norm.bias.uniform_(-0.5, 1.5, generator=torch.Generator().manual_seed(3))
    return net.eval()


def test_a_folded_net_says_what_the_trained_one_says_without_normalisations(trained):
    folded = trained.folded()
    assert not folded.norms and folded.hidden[0].bias is not None
    with torch.no_grad():
        torch.testing.assert_close(folded(levels()), trained(levels()), rtol=1e-3, atol=1e-3)
        assert folded(levels()).std() > 0


def test_the_body_step_by_step_is_the_net(trained):
    net = trained.folded()
    states, potential = [None] * 2, 0.0
    with torch.no_grad():
        for frame in net.frames(levels()).unbind(1):
            drive = frame
            for index in range(2):
                drive, states[index] = net.body()[2 * index + 1](net.body()[2 * index](drive), states[index])
            potential = potential + net.readout(drive)
        torch.testing.assert_close(potential, net(levels()), rtol=1e-4, atol=1e-4)


def test_the_public_rule_of_traces_propagation_reads_the_body_and_moves_its_weights(trained):
    net = trained.folded()
    rule = TracesPropagation(net.body(), outputs=4)
    rule.begin(torch.tensor([0, 1, 2, 3, 0]))
    moved = set()
    for frame in net.frames(levels()).unbind(1):
        rule.step(frame)
        moved |= {name for name, tensor in net.named_parameters() if tensor.grad is not None and tensor.grad.any()}
    assert {"hidden.0.weight", "hidden.1.weight", "hidden.0.bias", "readout.weight", "cells.0.recurrent_weights"} <= moved


def test_dropout_follows_from_the_generator(trained):
    trained.train()
    with torch.no_grad():
        first, again, other = (trained(levels(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_file_round_trip(trained, tmp_path):
    net = trained.folded()
    save_network(tmp_path / "n.safetensors", net, vocabulary=["a", "b", "c", "d"], about={}, provenance={})
    read, metadata = load_network(tmp_path / "n.safetensors")
    assert metadata["vocabulary"] == ["a", "b", "c", "d"]
    assert all(torch.equal(tensor, read.state_dict()[name]) for name, tensor in net.state_dict().items())


def test_other_features_are_refused(trained):
    with pytest.raises(UserError, match="do not fit"):
        trained.check(torch.zeros(2, 47, 10))
