"""One road for every method: from a base and a user's clips to an adapted net, its rows, its budget and its size."""

import dataclasses
import typing

import pytest
import torch
from tests.methods.alternatives.conftest import BUDGETS, NETWORK, WORDS

from edgekws.core.errors import UserError
from edgekws.methods.alternatives import ds_cnn, experiments
from edgekws.methods.alternatives.settings import AlternativeMethod, Alternatives, AlternativeTuning, LocalRule
from edgekws.models.encoder import tensors_of
from edgekws.models.recurrent_lif import RecurrentLIF, save_network
from edgekws.protocol.tasks import Task

METHODS = Alternatives().methods
INPUTS, NEURONS, OUTPUTS = 6, NETWORK.hidden[0], len(WORDS) + NETWORK.spare_outputs
TRAINED = NEURONS * (INPUTS + NEURONS + OUTPUTS)
MATRICES = {"hidden.0.input", "hidden.0.recurrent", "readout"}

pytestmark = pytest.mark.usefixtures("one_thread")


def of_net(net):
    return [name for name, method in METHODS.items() if method.net == net]


def checked(toy, name):
    """Adapt to both users by a method of the settings; the deltas' tensors, after what holds for every method."""
    base, method = toy.base, METHODS[name]
    before = {tensor: values.clone() for tensor, values in base.tensors.items()}
    right = {"base": 0, "adapted": 0}
    for task in toy.work:
        support = toy.corpus.clips(task.support, frozen_scale=base.scale)
        net, delta = experiments.adapt(base, support, method, BUDGETS[method.net], seed=0)
        for which, asked in (("base", base.net), ("adapted", net)):
            right[which] += int((base.predict(asked, support) == support.labels).sum())
    after = tensors_of(base.net)
    assert after.keys() == before.keys(), f"{name} changed the base"
    assert all(torch.equal(values, before[tensor]) for tensor, values in after.items()), f"{name} changed the base"
    assert right["adapted"] > right["base"], f"{name} learnt nothing"
    return {form: set(getattr(delta, form)) for form in ("replaced", "low_rank", "added")}


# ------------------------------------------------------------------------------------------------ every method
@pytest.mark.parametrize("name", of_net("spiking"))
def test_every_method_adapts_the_spiking_net_and_leaves_the_base(spiking, name):
    found = checked(spiking, name)
    nothing = {"replaced": set(), "low_rank": set(), "added": set()}
    match METHODS[name].kind:
        case "readout":
            assert found == nothing | {"replaced": {"readout"}}
        case "lora":
            assert found == nothing | {"low_rank": MATRICES}
        case "threshold":
            assert found == nothing | {"added": {"hidden.0.threshold"}}
        case "adapter":
            assert found == nothing | {"added": {"adapter.down", "adapter.up"}}
        case _:
            assert found == nothing | {"replaced": MATRICES}


def test_every_method_adapts_the_conventional_net_and_leaves_the_base(conventional):
    """In one test: LoRA's library takes seconds to import."""
    found = {name: checked(conventional, name) for name in of_net("ds_cnn")}
    weights = {name for name, _ in conventional.base.net.named_parameters()}
    linear = {"linear.weight", "linear.bias"}
    assert found["ds_cnn_full"]["replaced"] == weights
    assert found["ds_cnn_readout"]["replaced"] == linear < found["ds_cnn_last_layer"]["replaced"] < weights
    factored = {f"{layer}.weight" for layer in conventional.base.net.factored()}
    assert all(found[f"ds_cnn_lora_{rank}"]["low_rank"] == factored for rank in (1, 4, 16))
    assert len(found["ds_cnn_adapter"]["added"]) == 2 * 4 and not found["ds_cnn_adapter"]["replaced"]


def test_every_kind_is_among_the_methods_of_the_settings():
    """But the last layer of the spiking net, which has one hidden layer."""
    kinds = {(method.net, method.kind) for method in METHODS.values()}
    assert {kind for net, kind in kinds if net == "spiking"} == {
        *typing.get_args(LocalRule), "full", "full_int8", "readout", "threshold", "lora", "adapter"}
    assert {kind for net, kind in kinds if net == "ds_cnn"} == {"full", "readout", "last_layer", "threshold", "lora", "adapter"}


@pytest.mark.parametrize("name", ["osttp", "bptt_adapter"])
def test_new_weights_and_the_order_of_clips_follow_from_the_seed(spiking, name):
    support = spiking.corpus.clips(spiking.work[0].support, frozen_scale=spiking.base.scale)
    budget = BUDGETS["spiking"].model_copy(update={"batch_size": 2})
    first, again, other = (experiments.adapt(spiking.base, support, METHODS[name], budget, seed=seed)[0].state_dict()
                           for seed in (0, 0, 1))
    assert all(torch.equal(values, again[tensor]) for tensor, values in first.items())
    assert not all(torch.equal(values, other[tensor]) for tensor, values in first.items())


def test_adapting_goes_on_from_a_given_net(spiking):
    support = spiking.corpus.clips(spiking.work[0].support, frozen_scale=spiking.base.scale)
    method, budget = METHODS["bptt_readout"], BUDGETS["spiking"]
    first, _ = experiments.adapt(spiking.base, support, method, budget, seed=0)
    second, _ = experiments.adapt(spiking.base, support, method, budget, seed=0, net=first)
    whole, delta = experiments.adapt(dataclasses.replace(spiking.base, net=first), support, method, budget, seed=0)
    assert torch.equal(second.readout, whole.readout) and torch.equal(delta.replaced["readout"], whole.readout)
    assert not torch.equal(second.readout, first.readout)


@pytest.mark.parametrize("kind", typing.get_args(LocalRule))
def test_a_local_rule_is_for_spiking_nets(kind):
    with pytest.raises(UserError, match=f"'{kind}' is a rule for spiking nets"):
        experiments.learner(AlternativeMethod(kind=kind, net="ds_cnn"))


# ------------------------------------------------------------------------------------------------ bases
def test_a_base_of_either_kind_is_read_as_it_was_written(spiking, conventional, tmp_path):
    save_network(tmp_path / "s", spiking.base.net, vocabulary=WORDS, feature_scale=spiking.base.scale, provenance={})
    ds_cnn.save_classifier(tmp_path / "d", conventional.base.net, vocabulary=WORDS, provenance={})
    for toy, name, net in ((spiking, "s", "spiking"), (conventional, "d", "ds_cnn")):
        base, about = experiments.read_base(tmp_path / name, net)
        clips = toy.corpus.clips(range(30), frozen_scale=toy.base.scale)
        assert base.vocabulary == WORDS and torch.equal(base.scale, toy.base.scale)
        assert about["settings"]["vocabulary"] == WORDS
        assert (base.predict(base.net, clips) == toy.base.predict(toy.base.net, clips)).all()
    with pytest.raises(UserError, match="recurrent_lif"):
        experiments.read_base(tmp_path / "s", "ds_cnn")
    with pytest.raises(UserError, match="ds_cnn_classifier"):
        experiments.read_base(tmp_path / "d", "spiking")


def test_a_base_whose_sets_have_each_their_own_scale_is_refused(spiking, tmp_path):
    save_network(tmp_path / "s", spiking.base.net, vocabulary=WORDS, provenance={})
    with pytest.raises(UserError, match="scale of each set") as told:
        experiments.read_base(tmp_path / "s", "spiking")
    assert "--normalisation frozen" in told.value.remedy and told.value.where == tmp_path / "s"


# ------------------------------------------------------------------------------------------------ rows and rates
def by_hand(toy, adapted, predict):
    """The toy's base with another notion of what an adapted net is, and of what a net says."""
    return dataclasses.replace(toy.base, adapted=adapted, predict=predict)


def test_rows_by_hand(spiking):
    """The base is wrong on every third clip, the adapted net on "yes" alone."""
    base, corpus = spiking.base, spiking.corpus

    def said(net, clips):
        wrong = clips.labels == 2 if net == "adapted" else clips.rows % 3 == 0
        return (clips.labels + wrong) % len(WORDS)

    made = by_hand(spiking, lambda net, delta: "adapted", said)
    users = corpus.index[corpus.index.split == "test"]
    own = users[users.speaker == "u0"]["clip"].tolist()
    others = users[users.speaker == "u1"]["clip"].tolist()
    labels = [WORDS.index(word) for word in corpus.index.word]
    split = corpus.index["clip"][corpus.index.split == "test"].tolist()
    work = [Task("u0", "test", fold, 2, "all", own[:5], own[5:]) for fold in (0, 1)]
    asked = [[split[place] for place in task.share(len(split), 1000, seed=0) if split[place] in others] for task in work]
    first, second = experiments.run_tasks(work, made, corpus, METHODS["bptt_readout"], BUDGETS["spiking"], seed=0, others=1000)
    assert first == {
        "user": "u0", "split": "test", "fold": 0, "shot": "all", "support_clips": 5, "query_clips": len(own) - 5,
        "correct_before": sum(clip % 3 != 0 for clip in own[5:]), "correct_after": sum(labels[clip] != 2 for clip in own[5:]),
        "others_clips": len(asked[0]), "others_before": sum(clip % 3 != 0 for clip in asked[0]),
        "others_after": sum(labels[clip] != 2 for clip in asked[0])}
    assert second["others_after"] == sum(labels[clip] != 2 for clip in asked[1])
    assert sorted(asked[0] + asked[1]) == sorted(others), "two folds share the others"
    assert torch.equal(base.net.readout, spiking.base.tensors["readout"])


@pytest.mark.parametrize(("right", "best"), [
    ({1e-4: 3, 1e-3: 5, 1e-2: 4}, 1e-3), ({1e-4: 3, 1e-3: 5, 1e-2: 5}, 1e-3), ({1e-4: 2, 1e-3: 2, 1e-2: 2}, 1e-4)])
def test_the_best_rate_is_taken_and_of_equals_the_lowest(spiking, right, best):
    """Adam's first step moves a weight by the learning rate: so much tells how many clips a net has right."""
    def moved(net, delta):
        return float((delta.replaced["readout"] - net.readout).abs().max())

    def said(net, clips):
        known = 1 if isinstance(net, RecurrentLIF) else min((abs(rate - net), clips) for rate, clips in right.items())[1]
        return (clips.labels + (range(len(clips)) >= torch.tensor(known).numpy())) % len(WORDS)

    grid = AlternativeTuning(learning_rate=sorted(right, reverse=True), widen=0)
    asked = []

    def counted(net, clips):
        asked.append({spiking.corpus.index.split[row] for row in clips.rows})
        return said(net, clips)

    start = BUDGETS["spiking"].model_copy(update={"epochs": 1, "learning_rate": 1e-3})
    budget, points, _ = experiments.tune(spiking.table, spiking.facts, {0: by_hand(spiking, moved, counted)}, spiking.corpus,
                                         METHODS["bptt_readout"], start, grid)
    assert budget == start.model_copy(update={"learning_rate": best})
    queries = 6  # of each validation user's first fold
    assert points == [{"learning_rate": rate, "users": 2, "before": pytest.approx(100 / queries),
                       "after": pytest.approx(100 * clips / queries), "widened": None} for rate, clips in sorted(right.items())]
    assert all(splits <= {"validation"} for splits in asked), "test users have no say"


# ------------------------------------------------------------------------------------------------ sizes
@pytest.mark.parametrize(("name", "values"), [
    ("bptt_full", TRAINED), ("traces_propagation", TRAINED), ("bptt_readout", OUTPUTS * NEURONS), ("bptt_threshold", NEURONS),
    ("bptt_adapter", 2 * 4 * NEURONS), *((f"bptt_lora_{rank}", rank * (INPUTS + NEURONS + 2 * NEURONS + NEURONS + OUTPUTS))
                                         for rank in (1, 4, 16))])
def test_a_deltas_numbers_in_closed_form(spiking, name, values):
    found = experiments.delta_of(spiking.work[0], spiking.base, spiking.corpus, METHODS[name], BUDGETS["spiking"])
    assert (found["values"], found["base_values"], found["share"]) == (values, TRAINED, values / TRAINED)
    assert found["bytes"]["fp32"] == 4 * values
    assert values < found["bytes"]["int8"] < 4 * values


def test_the_share_leaves_out_the_target_path(spiking):
    """Which Traces Propagation trains by, and which no device that listens needs."""
    every = sum(tensor.numel() for tensor in spiking.base.tensors.values())
    assert every == TRAINED + NEURONS * (OUTPUTS + NEURONS)


def test_a_conventional_deltas_numbers_in_closed_form(conventional):
    net = conventional.base.net
    width, words = net.encoder.widths[-1], len(WORDS)
    sizes = {name: experiments.delta_of(conventional.work[0], conventional.base, conventional.corpus, METHODS[name],
                                        BUDGETS["ds_cnn"]) for name in ("ds_cnn_full", "ds_cnn_readout", "ds_cnn_lora_4")}
    assert {name: found["values"] for name, found in sizes.items()} == {
        "ds_cnn_full": sum(weights.numel() for weights in net.parameters()), "ds_cnn_readout": words * (width + 1),
        "ds_cnn_lora_4": 4 * (4 * 2 * width + width + words)}
    whole = sum(tensor.numel() for tensor in tensors_of(net).values())
    assert {found["base_values"] for found in sizes.values()} == {whole}
    assert sizes["ds_cnn_full"]["share"] < 1, "running statistics and the inputs' scale stay"
