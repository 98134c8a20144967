"""What is counted of an arm on the simulated chip: a net of two neurons by hand, subsets, the rules of thresholds."""

import numpy as np
import pandas as pd
import pytest
import torch

from edgekws.methods.neuedge import experiments, measure
from edgekws.methods.neuedge.loihi.network import quantise
from edgekws.methods.neuedge.loihi.simulator import simulate
from edgekws.methods.neuedge.mapping import Mapping
from edgekws.methods.neuedge.settings import Hardware, NeuEdge
from edgekws.models.feedforward_lif import FeedForwardLIF
from edgekws.models.settings import Conventional, LifNetwork
from edgekws.models.temporal_conv import TemporalConv

CHOSEN = NeuEdge(hardware=Hardware(group=4, placement_steps=50))
WORDS = ("no", "yes")
SPIKES = np.array([[[1, 1], [0, 1], [1, 0]], [[0, 0], [0, 0], [0, 0]]], np.uint8)  # the second clip is silent
PARTS = {"all": np.array([0, 1]), "quiet": np.array([1])}


def tiny():
    """Each neuron has one input, neuron 1 a bias too; both words listen to neuron 0 alone, the second twice as much."""
    net = FeedForwardLIF(LifNetwork(hidden=[2], leak=0.5, threshold=1.0), inputs=2, outputs=2,
                         generator=torch.Generator())
    net.hidden[0].weight.copy_(torch.tensor([[4.0, 0], [0, 1]]))
    net.biases[0].copy_(torch.tensor([0, 0.5]))
    net.readout.weight.copy_(torch.tensor([[1.0, 0], [2, 0]]))
    integers = quantise(net, WORDS)
    return measure.Arm("hybrid", net, integers, [layer.synapses != 0 for layer in integers.layers], (0.25,),
                       [np.array([1.0, 1]), np.array([1.0, 0.5])])


def row_of(arm):
    where = measure.placed(arm, "naive", CHOSEN.hardware, seed=0)
    variant = measure.Variant("hybrid", "hybrid", "naive")
    return measure.measure(variant, arm, where, SPIKES, np.array([1, 1]), PARTS, CHOSEN)


# ------------------------------------------------------------------------------------------------ by hand
def test_events_by_hand():
    """Clip 0: neuron 0 fires twice; neuron 1 is at 0.75 and 1.125, where it fires, then at 0.25. Clip 1: nothing fires."""
    quiet, both = (row_of(tiny())["subsets"][name] for name in ("quiet", "all"))
    assert quiet["spikes"] == {"encoder": 0, "hidden 1": 0}
    assert both["spikes"] == {"encoder": 4 / 2, "hidden 1": 3 / 2}
    assert both["spikes_total"] == 7 / 2
    # Encoder units are updated in every step, and so is neuron 1 with its bias. In clip 0 neuron 0 is in two steps of three
    # (it is back at 0 in the other) and both words are in all three; in clip 1 they rest.
    assert quiet["events"] == {"synaptic_operations": 0, "active_updates": 6 + 3, "inactive_updates": 3 + 6, "spikes": 0,
                               "messages": 0, "hops_east_west": 0, "hops_north_south": 0}
    # Four encoder spikes meet one weight each, two of neuron 0 meet two, the one of neuron 1 meets none.
    assert both["events"] == pytest.approx({
        "synaptic_operations": 8 / 2, "active_updates": (6 + 5 + 6 + 9) / 2, "inactive_updates": (1 + 9) / 2,
        "spikes": 7 / 2, "messages": (4 + 2) / 2, "hops_east_west": 0, "hops_north_south": 0})


def test_energy_and_time_by_hand():
    found = row_of(tiny())["subsets"]["all"]
    # Davies et al. 2018: 23.6 pJ a synaptic operation, 81 and 52 an update, 1.7 the way inside a tile.
    terms = {"synapses": 4 * 23.6, "active_updates": 13 * 81, "inactive_updates": 5 * 52, "messages": 3 * 1.7}
    for term, picojoules in terms.items():
        assert found["joules"]["davies2018"][term] == pytest.approx(picojoules * 1e-12)
    assert found["joules"]["davies2018"]["total"] == pytest.approx(sum(terms.values()) * 1e-12)
    assert found["joules"]["arithmetic45"]["total"] == pytest.approx(4 * 0.9e-12)
    # Three cores in one tile. The busiest one of clip 0 has two neurons (8.4 ns) and four synaptic operations in three steps
    # (3.5 ns), and so has the readout's; the way inside the tile is 2.1 ns, the barrier 113 ns.
    busy, idle = 2 * 8.4 + 4 / 3 * 3.5, 2 * 8.4
    step = (busy + idle) / 2 + 2.1 + 113
    assert found["seconds"]["step"] == pytest.approx(step * 1e-9)
    assert (found["steps"], found["delay"]) == (3, 2)
    assert found["seconds"]["whole_clip"] == pytest.approx(5 * step * 1e-9)
    assert found["seconds"]["after_last_frame"] == pytest.approx(3 * step * 1e-9)
    assert found["static_joules"] == pytest.approx({"none": 0, "idle": 5 * step * 1e-9 * 0.03})
    # Operations a nanojoule, the mean of both clips; the silent one had none.
    first = 8 / (8 * 23.6 + 17 * 81 + 1 * 52 + 6 * 1.7)
    assert found["efficiency"]["gsop_per_s_per_w"] == pytest.approx(first * 1e3 / 2)


def test_chip_and_accuracies_by_hand():
    row = row_of(tiny())
    assert (row["variant"], row["arm"], row["placement"], row["sign"], row["gamma"]) == ("hybrid", "hybrid", "naive", 0, 0)
    # Clip 0 is heard as "yes", the silent one as the first word.
    assert row["subsets"]["all"]["correct"] == {"float": 1, "quantised": 1, "integer": 1}
    assert row["subsets"]["quiet"]["correct"] == {"float": 0, "quantised": 0, "integer": 0}
    assert (row["subsets"]["all"]["clips"], row["subsets"]["quiet"]["clips"]) == (2, 1)
    # Each population has a core of its own: two of 64 neurons each; 0, 2 and 2 weights of 8 bits.
    assert row["chip"]["name"] == "mini_chip"
    assert (row["chip"]["cores_used"], row["chip"]["density"]) == (3, 0.5)
    assert row["chip"]["neurons"] == pytest.approx(2 / 64)
    assert row["chip"]["synapse_bits"] == pytest.approx(2 / 3 * 16 / 65_536)
    assert row["chip"]["utilisation"] == pytest.approx(2 / 64)


def test_accuracies_are_of_three_networks():
    """A weight that 8 bits round to 0 decides in floating point alone."""
    arm = tiny()
    arm.net.readout.weight.copy_(torch.tensor([[0.0, 0], [-0.001, 1]]))  # neuron 1 says "yes", neuron 0 softly "no"
    integers = quantise(arm.net, WORDS)
    arm = arm._replace(integers=integers, masks=[layer.synapses != 0 for layer in integers.layers])
    only_first = np.array([[[1, 0], [0, 0], [0, 0]]], np.uint8)
    where = measure.placed(arm, "naive", CHOSEN.hardware, seed=0)
    found = measure.measure(measure.VARIANTS[2], arm, where, only_first, np.array([0]), {"all": np.array([0])}, CHOSEN)
    assert found["subsets"]["all"]["correct"] == {"float": 1, "quantised": 1, "integer": 1}
    arm.net.readout.weight[1, 0] = 0.001  # now softly "yes": after rounding it is a draw, which goes to the first word
    integers = quantise(arm.net, WORDS)
    arm = arm._replace(integers=integers)
    found = measure.measure(measure.VARIANTS[2], arm, where, only_first, np.array([1]), {"all": np.array([0])}, CHOSEN)
    assert found["subsets"]["all"]["correct"] == {"float": 1, "quantised": 0, "integer": 0}


# ------------------------------------------------------------------------------------------------ subsets and rules
def test_the_quiet_subset_is_the_lowest_quarter():
    features = np.zeros((9, 2, 3), np.float32) + np.array([5, 1, 7, 0, 8, 2, 6, 3, 4], np.float32)[:, None, None]
    found = measure.subsets(features)
    assert found["all"].tolist() == list(range(9))
    assert found["quiet"].tolist() == [1, 3]  # two of nine, in their order
    assert measure.subsets(features[:1])["quiet"].tolist() == [0]


def test_rules_of_the_variants():
    arm, adaptive = tiny(), CHOSEN.adaptive
    assert measure.rule_of(0, arm, adaptive, 0.5) is None
    printed, homeostatic = (measure.rule_of(sign, arm, adaptive, 0.5) for sign in (1, -1))
    assert (printed.gamma, printed.targets, printed.sign) == (0.5, (0.25,), 1)
    # A layer that is busier than its target gets a lower threshold as printed, a higher one the other way round.
    assert printed.factor(np.array([0.75]), 0).tolist() == [0.75]
    assert homeostatic.factor(np.array([0.75]), 0).tolist() == [1.25]


def test_variants_are_the_paper_s_table():
    assert [variant.name for variant in measure.VARIANTS] == ["rate", "lif", "hybrid", "mapped", "adaptive", "homeostatic",
                                                              "full"]
    assert {variant.arm for variant in measure.VARIANTS} == set(experiments.CODES)
    assert [variant.sign for variant in measure.VARIANTS] == [0, 0, 0, 0, 1, -1, 1]
    assert {variant.arm for variant in measure.VARIANTS if variant.placement == "optimised"} == {"mapped", "full"}


# ------------------------------------------------------------------------------------------------ larger nets
@pytest.fixture
def busy(float_net, random_spikes):
    """An arm of 12-20-16-5 that fires, and 16 clips."""
    net = float_net()
    integers = quantise(net, tuple("abcde"))
    spikes = random_spikes(16, 25, 12)
    run = simulate(integers, spikes)
    rates = [spikes.sum(1).mean(0), *(counts.mean(0) for counts in run.spike_counts)]
    targets = tuple(float(rate.mean()) / 25 for rate in rates[1:])
    arm = measure.Arm("mapped", net, integers, [layer.synapses != 0 for layer in integers.layers], targets, rates)
    return arm, measure.placed(arm, "optimised", CHOSEN.hardware, seed=0), spikes, run


def test_the_sweep_of_gamma(busy):
    arm, where, spikes, run = busy
    busiest = np.argsort(spikes.sum((1, 2)))[-4:]
    parts = {"all": np.arange(16), "busy": busiest}
    rows = list(measure.sweep_gamma(arm, where, spikes, run.predictions, parts, CHOSEN))
    assert [(row["sign"], row["gamma"], row["subset"]) for row in rows] == [
        (sign, gamma, name) for sign in (1, -1) for gamma in (0.0, 0.25, 0.5, 1.0) for name in ("all", "busy")]
    found = {(row["sign"], row["gamma"], row["subset"]): row for row in rows}
    fixed = found[1, 0.0, "all"]
    assert fixed == {**found[-1, 0.0, "all"], "sign": 1}  # no gain, no sign
    assert (fixed["correct"], fixed["clips"]) == (16, 16)
    hidden = sum(float(counts.sum(1).mean()) for counts in run.spike_counts)
    assert fixed["hidden_spikes"] == pytest.approx(hidden)
    assert fixed["spikes_total"] == pytest.approx(hidden + spikes.sum() / 16)
    # On the busiest clips thresholds fall as printed, and rise the other way round; spikes and energy follow.
    printed, homeostatic = found[1, 1.0, "busy"], found[-1, 1.0, "busy"]
    assert homeostatic["hidden_spikes"] < found[1, 0.0, "busy"]["hidden_spikes"] < printed["hidden_spikes"]
    assert homeostatic["joules"]["davies2018"] < printed["joules"]["davies2018"]


def test_the_measured_variants_take_the_chosen_gain(busy):
    arm, where, spikes, run = busy
    parts = {"all": np.arange(16)}
    swept = {(row["sign"], row["gamma"]): row for row in
             measure.sweep_gamma(arm, where, spikes, run.predictions, parts, CHOSEN)}
    for variant in measure.VARIANTS[3:6]:
        row = measure.measure(variant, arm, where, spikes, run.predictions, parts, CHOSEN)
        expected = swept[variant.sign or 1, 0.5 if variant.sign else 0.0]
        assert row["subsets"]["all"]["spikes_total"] == expected["spikes_total"]
        assert row["subsets"]["all"]["correct"]["integer"] == expected["correct"]
        assert row["gamma"] == (0.5 if variant.sign else 0)
        assert row["targets"] == list(arm.targets)


def test_the_noise_test(busy):
    arm, where, spikes, run = busy
    given = {10.0: spikes[:6], None: spikes[6:]}
    labels = {10.0: run.predictions[:6], None: np.zeros(0, np.int64)}
    rows = list(measure.noise_test(arm, where, given, labels, CHOSEN))
    assert [(row["snr_db"], row["sign"], row["clips"]) for row in rows] == [
        (ratio, sign, clips) for ratio, clips in ((10.0, 6), (None, 10)) for sign in (0, 1, -1)]
    assert rows[0]["correct"] == 6
    assert [row["correct"] for row in rows[3:]] == [None] * 3
    assert rows[0]["spikes_total"] == pytest.approx(
        (spikes[:6].sum() + sum(int(counts[:6].sum()) for counts in run.spike_counts)) / 6)
    assert all(row["joules"].keys() == {"davies2018", "sanafe", "arithmetic45"} for row in rows)


def test_placements(busy):
    arm, optimised, _, _ = busy
    naive = measure.placed(arm, "naive", CHOSEN.hardware, seed=0)
    assert len(naive.used) == 4  # a core for each population
    assert len(optimised.used) < 4
    again = measure.placed(arm, "optimised", CHOSEN.hardware, seed=0)
    assert all(np.array_equal(*cores) for cores in zip(optimised.cores, again.cores, strict=True))
    # From a start it goes on, and does not get worse.
    onward = measure.placed(arm, "optimised", CHOSEN.hardware, seed=1, start=optimised.to_json())
    assert isinstance(onward, Mapping)
    assert len(onward.used) <= len(optimised.used)


# ------------------------------------------------------------------------------------------------ from a corpus
@pytest.fixture
def corpus():
    features = np.random.default_rng(0).uniform(0, 1, (24, 20, 4)).astype(np.float32)
    index = pd.DataFrame({"word": ["no", "yes"] * 12, "split": ["train"] * 16 + ["test"] * 8, "repeat_of": [""] * 24})
    return experiments.Corpus(features, index, list(WORDS))


def test_an_arm_is_prepared_on_training_clips(corpus, float_net):
    net = float_net(outputs=2)
    arm = measure.prepare("lif", net, corpus, CHOSEN, activity=[0.3, 0.4], seed=0)
    spikes = experiments.encode_rows(corpus.features, corpus.rows("train"), "lif", CHOSEN.encoder, seed=0)
    run = simulate(quantise(net, WORDS), spikes)
    assert arm.integers.words == WORDS
    assert [mask.shape for mask in arm.masks] == [(20, 12), (16, 20), (2, 16)]
    for mask, weights in zip(arm.masks, net.weights, strict=True):
        assert np.array_equal(mask, (weights / weights.abs().max() * 127).round().numpy() != 0)
    np.testing.assert_allclose(arm.rates[0], spikes.sum(1).mean(0))
    for rate, counts in zip(arm.rates[1:], run.spike_counts, strict=True):
        np.testing.assert_allclose(rate, counts.mean(0))
    assert arm.targets == pytest.approx([counts.mean() / 20 for counts in run.spike_counts])
    assert min(arm.targets) > 0.01
    full = measure.prepare("full", net, corpus, CHOSEN, activity=[0.3, 0.4], seed=0)
    assert full.targets == (0.3, 0.4)  # those it was trained with


def test_the_conventional_net_by_hand():
    net = TemporalConv(Conventional(channels=[4], width=3, stride=2), inputs=4, outputs=2,
                       generator=torch.Generator().manual_seed(0))
    features = np.random.default_rng(0).uniform(0, 1, (300, 20, 4)).astype(np.float32)
    with torch.no_grad():
        labels = net(torch.from_numpy(features)).argmax(1).numpy()
    labels[:3] = 1 - labels[:3]
    found = measure.conventional(net, features, labels, {"all": np.arange(300), "quiet": np.array([1, 2, 3])})
    assert found["macs"] == 10 * 4 * 4 * 3 + 2 * 4
    assert found["joules"] == pytest.approx({"float32": 488 * 4.6e-12, "int8": 488 * 0.23e-12})
    assert found["subsets"] == {"all": {"clips": 300, "correct": {"float": 297}},
                                "quiet": {"clips": 3, "correct": {"float": 1}}}
