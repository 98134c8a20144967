"""Memory by hand, by formula and as counted agree to the byte where nothing is left open."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekws.core import optimiser
from edgekws.methods.alternatives.memory import CATEGORIES, Sizes, formula, measure, measure_learning
from edgekws.methods.alternatives.settings import AlternativeTraining
from edgekws.methods.traces_propagation.rule import make_rule
from edgekws.methods.traces_propagation.training import epochs
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.neurons import layers
from edgekws.protocol.clips import Clips

SIZES = Sizes(inputs=7, neurons=20, outputs=5, frames=11, clips=12)


def make_net(sizes=SIZES):
    return RecurrentLIF(Network(hidden=[sizes.neurons], threshold=0.3), inputs=sizes.inputs, outputs=sizes.outputs,
                        generator=torch.Generator().manual_seed(0))


def local(net, features, labels, method, budget, *, seed):
    """Traces Propagation as a method of the bench, in one of :data:`FORMS`; "readout" leaves the hidden layer alone."""
    (form, name), adapted = method, copy.deepcopy(net)
    rule = make_rule(adapted, form, hidden=form != "readout")
    updates = optimiser.make(name, rule.parameters, budget.learning_rate)
    for batch, wanted in epochs(adapted, features, labels, budget, updates, seed=seed):
        rule.begin(wanted)
        for frame in batch.unbind(1):
            updates.step(rule.step(frame))
        del batch, frame
    return {name: tensor.clone() for name, tensor in adapted.state_dict().items()}


def through_time(net, features, labels, method, budget, *, seed):
    (_, name), adapted = method, copy.deepcopy(net)
    weights = adapted.trained
    updates = optimiser.make(name, weights, budget.learning_rate)
    for batch, wanted in epochs(adapted, features, labels, budget, updates, seed=seed):
        loss = torch.nn.functional.cross_entropy(adapted(batch), wanted)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        updates.step(dict(zip(weights, gradients, strict=True)))
        del batch, loss, gradients
    return {name: tensor.clone() for name, tensor in adapted.state_dict().items()}


FORMS = {"traces_propagation": "prototype", "traces_propagation_batch": "batch"}


def usage(method, sizes, batch, name="adam"):
    budget = AlternativeTraining(epochs=2, batch_size=batch)
    features = torch.rand(sizes.clips, sizes.frames, sizes.inputs, generator=torch.Generator().manual_seed(1))
    learn = through_time if method == "full" else local
    return measure_learning(learn, make_net(sizes), features, torch.arange(sizes.clips) % sizes.outputs,
                            (FORMS.get(method), name), budget, seed=0)


# ------------------------------------------------------------------------------------------------ by hand
@pytest.mark.parametrize(("name", "moments"), [("adam", 2), ("sgd", 0)])
def test_two_linear_layers_by_hand(name, moments):
    net = torch.nn.Sequential(torch.nn.Linear(10, 6, bias=False), torch.nn.Linear(6, 3, bias=False))

    def learn(net, features):
        weights = dict(net.named_parameters())
        updates = optimiser.make(name, weights, 0.1)
        for _ in range(2):
            batch = features[np.arange(4)]
            gradients = torch.autograd.grad(net(batch).square().sum(), list(weights.values()))
            updates.step(dict(zip(weights, gradients, strict=True)))
            del batch, gradients

    found = measure_learning(learn, net, np.ones((9, 10), np.float32)).largest
    trained = 10 * 6 + 6 * 3
    assert found["parameters"] == found["gradients"] == 4 * trained
    assert found["optimiser"] == moments * 4 * trained + (8 if moments else 0)  # Adam counts its steps for each tensor
    assert found["batch"] == 4 * 4 * 10
    assert found["activations"] == 4 * 4 * (6 + 3)  # what the second layer and the square were given
    assert found["frozen"] == found["traces"] == 0


def test_the_peak_and_its_split_by_hand():
    base = torch.ones(100)

    def operation(ledger):
        batch = ledger.batches(torch.ones(2, 3, 50))[[0, 1]]  # 1200 bytes
        state = torch.zeros(2, 50)  # 400 bytes, alive in all steps
        copied = base.clone()  # 400 bytes, which are read
        _kept = base.clone()  # which are not
        for frame in batch.unbind(1):
            state.add_(frame)
            wide = copied.repeat(3)  # 1200 bytes, gone before the next step
            del wide

    found = measure(operation)
    assert found.at_peak == {**dict.fromkeys(CATEGORIES, 0), "batch": 1200, "traces": 400, "frozen": 400, "temporary": 1200}
    assert found.peak == 3200 and found.told()["peak"] == 3200


def test_the_base_counts_where_it_is_read():
    net = torch.nn.Linear(8, 4, bias=False)
    features = torch.ones(1, 8)

    def trains_a_copy(net, features):
        own = copy.deepcopy(net).weight
        gradient, = torch.autograd.grad((features[[0]] @ own.T).sum(), own)
        optimiser.make("sgd", {"weight": own}, 0.1).step({"weight": gradient})
        assert not torch.equal(own, net.weight)

    def trains_beside_it(net, features):
        own = torch.zeros(4, requires_grad=True)
        gradient, = torch.autograd.grad((net(features[[0]]).detach() + own).sum(), own)
        optimiser.make("sgd", {"bias": own}, 0.1).step({"bias": gradient})

    def trains_beside_a_new_one(net, features):
        twin = torch.nn.Linear(8, 4, bias=False)
        twin.load_state_dict(net.state_dict())
        trains_beside_it(twin, features)

    def trains_beside_a_copy(net, features):
        trains_beside_it(copy.deepcopy(net), features)

    normalised = torch.nn.Sequential(torch.nn.BatchNorm1d(8, affine=False), net).eval()  # 16 numbers, and a count

    def trains_beside_buffers(_, features):
        trains_beside_it(copy.deepcopy(normalised), features)

    learns = (trains_a_copy, trains_beside_it, trains_beside_a_new_one, trains_beside_a_copy, trains_beside_buffers)
    found = [measure_learning(learn, net, features).largest for learn in learns]
    assert [(each["parameters"], each["frozen"]) for each in found] == \
        [(128, 0), (16, 128), (16, 128), (16, 128), (16, 128 + 64)]


def test_reading_the_clips_is_not_counted():
    features = np.ones((6, 5, 4), np.float32)
    clips = Clips(features, np.arange(6), np.zeros(6, np.int64), torch.full((1, 4), 2.0), np.zeros(6, np.int64))

    def learn(_, features):
        (features[np.arange(3)] + 1).sum()

    found = measure_learning(learn, None, clips)
    assert found.at_peak == {**dict.fromkeys(CATEGORIES, 0), "batch": 240, "temporary": 240}


# ------------------------------------------------------------------------------------------------ by formula
@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("method", FORMS)
def test_traces_propagation_takes_what_the_formula_says(method, batch, name):
    found, expected = usage(method, SIZES, batch, name), formula(method, SIZES, batch, name)
    assert {kind: found.largest[kind] for kind in expected if kind not in ("traces", "batch")} \
        == {kind: size for kind, size in expected.items() if kind not in ("traces", "batch")}
    # While the labels of a batch take the place of the last one's there are both.
    assert {kind: found.largest[kind] - expected[kind] for kind in ("traces", "batch")} == {
        "traces": 4 * batch * SIZES.outputs, "batch": 8 * batch}
    spare = found.peak - sum(expected.values())
    assert 0 <= spare <= 4 * batch * (4 * SIZES.neurons + 6 * SIZES.outputs)


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("batch", [1, 4])
def test_back_propagation_takes_what_the_formula_says(batch, name):
    found, expected = usage("full", SIZES, batch, name), formula("full", SIZES, batch, name)
    assert all(found.largest[kind] == expected[kind] for kind in ("parameters", "gradients", "optimiser"))
    spare = found.largest["activations"] - expected["activations"]
    assert 0 <= spare <= 8 * SIZES.frames  # Norse's constants
    # Sums of gradients are made anew for each frame: three times the weights at most, beside a frame's own tensors.
    frame = 4 * batch * (3 * SIZES.presynaptic + 8 * SIZES.neurons)
    assert expected["parameters"] < found.at_peak["temporary"] <= 3 * expected["parameters"] + frame
    assert found.peak <= sum(expected.values()) + 3 * expected["parameters"] + frame


def test_how_memory_grows_with_the_frames():
    longer = replace(SIZES, frames=3 * SIZES.frames)
    grown = {method: {kind: usage(method, longer, 4).largest[kind] - usage(method, SIZES, 4).largest[kind]
                      for kind in ("traces", "activations")} for method in ("full", *FORMS)}
    more, values = 2 * SIZES.frames, 4 * (SIZES.presynaptic + 4 * SIZES.neurons)
    assert grown["traces_propagation_batch"] == {"traces": 0, "activations": 0}
    assert grown["traces_propagation"] == {"traces": 4 * more * SIZES.outputs * SIZES.neurons, "activations": 0}
    assert 4 * more * values <= grown["full"]["activations"] <= 4 * more * (values + 2)


def test_frozen_weights_as_int8():
    hidden = SIZES.neurons * SIZES.presynaptic
    assert formula("lora", SIZES, 1)["frozen"] == 4 * (hidden + SIZES.outputs * SIZES.neurons)
    as_int8 = formula("readout", SIZES, 1, stored="int8")
    assert as_int8["frozen"] == hidden + 4 * 2 * SIZES.neurons
    assert formula("full", SIZES, 1, stored="int8") == formula("full", SIZES, 1)


# ------------------------------------------------------------------------------------------------ fixed-size buffers
@pytest.mark.parametrize("method", ["full", *FORMS])
def test_more_clips_take_no_more_than_their_labels_and_order(method):
    few, many = (usage(method, replace(SIZES, clips=clips), 4) for clips in (8, 40))
    assert many.peak - few.peak == 32 * 2 * 8
    assert {kind: many.largest[kind] - few.largest[kind] for kind in CATEGORIES if kind != "batch"} == \
        {kind: 0 for kind in CATEGORIES if kind != "batch"}


@pytest.mark.parametrize("method", ["full", "traces_propagation"])
def test_the_same_bytes_twice(method):
    assert usage(method, SIZES, 4) == usage(method, SIZES, 4)
    budget = AlternativeTraining(epochs=2, batch_size=4)
    features, labels = torch.rand(8, 5, SIZES.inputs), torch.arange(8) % SIZES.outputs
    learn = through_time if method == "full" else local
    with layers.dense():  # counting sees every tensor, so it takes the dense scan
        plain = learn(make_net(), features, labels, (FORMS.get(method), "adam"), budget, seed=0)
    counted = {}
    measure_learning(lambda *args, **options: counted.update(learn(*args, **options)), make_net(), features, labels,
                     (FORMS.get(method), "adam"), budget, seed=0)
    assert all(torch.equal(counted[name], tensor) for name, tensor in plain.items())
