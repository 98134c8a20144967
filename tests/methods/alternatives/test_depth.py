"""DECOLLE and TESS on convolutions, and the comparison over depths."""

import itertools

import numpy as np
import pytest
import torch
from tests.methods.alternatives.conftest import made_up_corpus
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from edgekws.methods.alternatives.depth import experiment, summary
from edgekws.methods.alternatives.depth.convolutional import DecolleConv, TessConv
from edgekws.methods.alternatives.settings import Depth
from edgekws.models.settings import ConvNetwork, Network
from edgekws.models.spiking_conv import SpikingConv
from edgekws.protocol.settings import Statistics

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = Depth(layers=[1, 2], neurons=12, convolution=ConvNetwork(layers=["3", "4M", "4A"]), presented=3, clips=24, held_out=12,
              epochs=2, batch_size=8, learning_rate=[1e-3, 1e-2])


def network(seed=0):
    net = SpikingConv(ConvNetwork(layers=["3", "4M", "4A"], threshold=0.5), shape=(1, 8, 6), outputs=4,
                      generator=torch.Generator().manual_seed(seed))
    return net.double()


def frames(net, steps=1):
    return 2 * torch.randn(5, steps, *net.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


LABELS = torch.tensor([0, 1, 2, 3, 1])


@pytest.mark.parametrize("kind", [DecolleConv, TessConv])
def test_the_first_step_is_the_gradient_of_each_layers_local_loss(kind):
    # At rest there are no traces yet, so the rule is autograd through one step of each layer by itself.
    net = network()
    rule = kind(net, seed=0)
    rule.begin(LABELS)
    drive = frames(net)[:, 0]
    ours = rule.step(drive)
    for index, kernel in enumerate(net.kernels):
        pooled = net.pool(index, net.fire(net.current(index, drive), 0.0)[1])
        seen = pooled if kind is DecolleConv else adaptive_avg_pool2d(pooled, 2)
        loss = cross_entropy(seen.flatten(1) @ rule.projections[index].T, LABELS)
        torch.testing.assert_close(ours[f"kernels.{index}"], torch.autograd.grad(loss, kernel)[0], rtol=0, atol=1e-9)
        assert ours[f"kernels.{index}"].any()
        drive = pooled.detach()


@pytest.mark.parametrize("kind", [DecolleConv, TessConv])
def test_later_steps_remember_the_input(kind):
    net, whole = network(), frames(network(), 2)
    fresh, used = kind(net, seed=0), kind(net, seed=0)
    used.begin(LABELS)
    used.step(whole[:, 0])
    used.membranes = [0.0] * 3  # as if nothing but the traces were left of the first step
    fresh.begin(LABELS)
    assert not torch.equal(fresh.step(whole[:, 1])["kernels.0"], used.step(whole[:, 1])["kernels.0"])


def test_auxiliary_weights_are_counted():
    net = network()
    assert DecolleConv(net, seed=0).auxiliary() == 4 * (3 * 8 * 6 + 4 * 4 * 3 + 4 * 2 * 2)
    assert TessConv(net, seed=0).auxiliary() == 4 * (3 + 4 + 4) * 4


@pytest.fixture(scope="module")
def rows():
    corpus = made_up_corpus(94, 40)
    return experiment.run(corpus, SMALL, Network(threshold=0.3), excluded=[], seed=0)


def test_every_net_and_rule_takes_its_best_rate_and_is_counted(rows):
    assert [(row["net"], row["rule"]) for row in rows] == list(itertools.product(["1", "2", "vgg"], SMALL.rules))
    for row in rows:
        assert row["validation_accuracy"] == max(row["rates"].values())
        assert f"{row['learning_rate']:g}" in row["rates"] and len(row["rates"]) == 2
    told = {(row["net"], row["rule"]): row for row in rows}
    for net in ("1", "2", "vgg"):
        assert told[net, "bptt"]["auxiliary"]["all"] == 0 == told[net, "traces_propagation"]["auxiliary"]["above_first"]
        assert told[net, "bptt"]["memory"] > 0
    assert told["1", "traces_propagation"]["auxiliary"] == told["2", "traces_propagation"]["auxiliary"] == {
        "all": 12 * (3 + 12), "above_first": 0, "recurrent": 144}
    assert told["2", "decolle"]["auxiliary"]["above_first"] == 3 * 12


def test_memory_of_back_propagation_grows_with_the_steps_and_that_of_the_rule_does_not():
    labels, found = torch.arange(3), {}
    for rule, steps in itertools.product(("traces_propagation", "bptt"), (4, 8)):
        settings = SMALL.model_copy(update={"presented": steps})
        net = experiment.fresh("vgg", settings, Network(), outputs=3, seed=0)
        local = experiment.local_rule(rule, net, seed=0)
        found[rule, steps] = experiment.memory(net, local, torch.randn(3, steps, 1, *SMALL.picture), labels) - 4 * 3 * steps * 480
    assert found["traces_propagation", 8] == found["traces_propagation", 4]
    assert found["bptt", 8] > 1.4 * found["bptt", 4]


def test_the_rule_learns_what_the_corpus_holds():
    corpus = made_up_corpus(94, 40)
    settings = SMALL.model_copy(update={"layers": [2], "rules": ["traces_propagation"], "clips": 36, "epochs": 15,
                                        "learning_rate": [2e-3], "neurons": 32,
                                        "convolution": ConvNetwork(layers=["12", "12M", "12A"], threshold=0.5)})
    accuracies = {row["net"]: row["validation_accuracy"] for row in
                  experiment.run(corpus, settings, Network(threshold=0.3), excluded=[], seed=0)}
    assert min(accuracies.values()) >= 58, accuracies


def test_the_summary_tells_whether_the_claim_holds(rows):
    provenance = {"code": "0", "corpus": {"words": ["a", "b", "c"]}}
    part = {"seed": 0, "rows": rows, "settings": {}, "provenance": provenance}
    made = summary.depth_file([part], Statistics(resamples=10))
    assert made["checks"]["auxiliary_not_by_layer"]["holds"]
    cell = made["nets"]["vgg"]["traces_propagation"]
    assert cell["accuracy"]["value"] == next(row["test_accuracy"] for row in rows
                                             if (row["net"], row["rule"]) == ("vgg", "traces_propagation"))

    def vgg(local, bptt):
        nets = {"vgg": {rule: {"accuracy": {"value": value}, "auxiliary": {"all": 1, "above_first": 0}}
                        for rule, value in (("traces_propagation", local), ("bptt", bptt))}}
        return summary.checks(nets, 3)["scales"]["holds"]

    assert vgg(90, 95) and not vgg(80, 95) and not vgg(34, 33)
    assert np.isfinite(cell["memory"])
