"""Remedies beside a method, and users one after another: each net as it comes out by hand, and sums known by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.methods.alternatives.conftest import BUDGETS

from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives import experiments, forgetting, retention
from edgekws.methods.alternatives.settings import Alternatives, Retention
from edgekws.protocol.rehearsal import rehearse
from edgekws.protocol.settings import Statistics
from edgekws.protocol.tasks import tasks, training_rows

METHODS = Alternatives().methods
SETTINGS = Retention(rehearsal=[3, 7], elastic=[1.0, 1e6], fisher_clips=1000)
REHEARSED, HELD = [("rehearsal", 3.0), ("rehearsal", 7.0)], [("elastic", 1.0), ("elastic", 1e6)]
EXCLUDED = ["t1"]

pytestmark = pytest.mark.usefixtures("one_thread")


def recording(base):
    """The base, and the list of nets other than its own that were asked about a user's query, in that order."""
    asked = []

    def predict(net, clips):
        if net is not base.net and not (asked and asked[-1] is net):
            asked.append(net)
        return base.predict(net, clips)

    return dataclasses.replace(base, predict=predict), asked


def remedied(toy, name, settings=SETTINGS):
    """Rows, and the net of each row."""
    base, asked = recording(toy.base)
    method = METHODS[name]
    rows = retention.remedies(toy.work, base, toy.corpus, method, BUDGETS[method.net], settings, excluded=EXCLUDED, seed=5,
                              others=20)
    assert len(rows) == len(asked)
    return rows, asked


def same(first, second):
    second = second.state_dict()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.state_dict().items())


def seed_of(task, seed=5):
    return derive_seed(seed, f"{task.user}/{task.fold}/{task.shot}")


# ------------------------------------------------------------------------------------------------ remedies
@pytest.mark.parametrize(("name", "swept"), [
    ("bptt_full", [*REHEARSED, *HELD]), ("traces_propagation", [*REHEARSED, *HELD]), ("bptt_readout", [*REHEARSED, *HELD]),
    ("bptt_lora_4", REHEARSED), ("bptt_adapter", REHEARSED), ("bptt_threshold", REHEARSED), ("ds_cnn_full", REHEARSED)])
def test_elastic_weights_are_tried_where_a_method_trains_the_spiking_nets_own(spiking, conventional, name, swept):
    toy = spiking if METHODS[name].net == "spiking" else conventional
    rows, _ = remedied(toy, name)
    assert [(row["remedy"], row["strength"]) for row in rows] == [each for each in [("none", 0.0), *swept] for _ in toy.work]
    assert [row["user"] for row in rows[:2]] == [task.user for task in toy.work]


def test_without_a_remedy_the_rows_are_those_of_adapting(spiking):
    rows, _ = remedied(spiking, "bptt_full")
    plain = experiments.run_tasks(spiking.work, spiking.base, spiking.corpus, METHODS["bptt_full"], BUDGETS["spiking"], seed=5,
                                  others=20)
    assert rows[:2] == [{"remedy": "none", "strength": 0.0, **row} for row in plain]


def test_rehearsal_adds_clips_that_the_base_was_trained_on(spiking):
    toy, method = spiking, METHODS["bptt_full"]
    rows, nets = remedied(toy, "bptt_full")
    trained = training_rows(toy.corpus.index, excluded=EXCLUDED, balanced=False, seed=5)
    known = toy.corpus.clips(trained, frozen_scale=toy.base.scale)
    assert set(toy.corpus.index.speaker[known.rows]) == {"t0", "t2"}
    for place, count in ((2, 3), (4, 7)):
        for task, net, row in zip(toy.work, nets[place:], rows[place:], strict=False):
            support = toy.corpus.clips(task.support, frozen_scale=toy.base.scale)
            mixed = rehearse(support, known, count, seed=derive_seed(seed_of(task), "rehearsal"))
            expected, _ = experiments.adapt(toy.base, mixed, method, BUDGETS["spiking"], seed=seed_of(task))
            assert same(net, expected) and row["support_clips"] == len(support) == len(mixed) - count


def test_elastic_weights_are_held_where_the_bases_answers_depend_on_them(spiking):
    toy, method = spiking, METHODS["bptt_full"]
    _, (*_, light, _, heavy, _) = remedied(toy, "bptt_full")
    trained = training_rows(toy.corpus.index, excluded=EXCLUDED, balanced=False, seed=5)
    known = toy.corpus.clips(trained, frozen_scale=toy.base.scale)
    fisher = forgetting.fisher_information(toy.base.net, known[np.arange(len(known))], known.labels)
    task = toy.work[0]
    support = toy.corpus.clips(task.support, frozen_scale=toy.base.scale)

    def moved(net):
        """What the penalty is made of, without its weight."""
        return float(sum((fisher[name] * (net.trained[name] - weights).square()).sum()
                         for name, weights in toy.base.net.trained.items()))

    free, _ = experiments.adapt(toy.base, support, method, BUDGETS["spiking"], seed=seed_of(task))
    assert moved(heavy) < 0.5 * moved(light) and moved(light) < moved(free)
    # Clip by clip in another order, the Fisher information differs in its last digits.
    make = forgetting.anchoring(fisher, 1.0)
    expected, _ = experiments.adapt(toy.base, support, method, BUDGETS["spiking"], seed=seed_of(task), make=make)
    torch.testing.assert_close(light.readout, expected.readout, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(expected.readout, free.readout, rtol=1e-2, atol=1e-2)


def test_fisher_information_is_estimated_from_as_many_clips_as_are_wanted(spiking, monkeypatch):
    asked = []

    def counted(net, features, labels, estimate=forgetting.fisher_information):
        asked.append((len(features), len(labels)))
        return estimate(net, features, labels)

    monkeypatch.setattr(forgetting, "fisher_information", counted)
    remedied(spiking, "bptt_readout", SETTINGS.model_copy(update={"fisher_clips": 5, "rehearsal": []}))
    assert asked == [(5, 5)], "once for all users and weights"


# ------------------------------------------------------------------------------------------------ one after another
def four_users(toy):
    words = toy.corpus.index.set_index("clip").word
    return tasks(toy.table, toy.facts, words, shots=["all"], splits=["validation", "test"], folds=1)


@pytest.mark.parametrize("name", ["traces_propagation", "bptt_threshold", "bptt_lora_4"])
def test_users_one_after_another_by_hand(spiking, name):
    toy, method, budget = spiking, METHODS[name], BUDGETS["spiking"]
    work = {task.user: task for task in four_users(toy)}
    groups = retention.deal(list(work.values()), 2, seed=5)
    rows = retention.one_after_another(groups, toy.base, toy.corpus, method, budget, seed=5)
    order = {(row["group"], row["place"]): row["user"] for row in rows if row["after"] == 0}
    assert sorted(order) == [(0, 0), (0, 1), (1, 0), (1, 1)] and sorted(order.values()) == sorted(work), "groups share no user"

    def clips(user, role):
        return toy.corpus.clips(getattr(work[user], role), frozen_scale=toy.base.scale)

    def right(net, user):
        return int((toy.base.predict(net, clips(user, "query")) == clips(user, "query").labels).sum())

    expected = []
    for group in (0, 1):
        first, second = order[group, 0], order[group, 1]
        alone = {user: experiments.adapt(toy.base, clips(user, "support"), method, budget, seed=seed_of(work[user]))[0]
                 for user in (first, second)}
        both, _ = experiments.adapt(toy.base, clips(second, "support"), method, budget, seed=seed_of(work[second]),
                                    net=alone[first])
        for user, place, after, net in ((first, 0, 0, alone[first]), (first, 0, 1, both), (second, 1, 0, both)):
            expected.append({"group": group, "user": user, "place": place, "after": after, "query_clips": 6,
                             "before": right(toy.base.net, user), "alone": right(alone[user], user), "shared": right(net, user)})
    assert rows == expected


@pytest.mark.parametrize(("size", "dealt"), [(2, 2), (3, 1), (4, 1)])
def test_groups_share_no_user_and_who_is_left_over_goes_without(spiking, size, dealt):
    groups = retention.deal(four_users(spiking), size, seed=5)
    users = [task.user for group in groups for task in group]
    assert [len(group) for group in groups] == [size] * dealt and len(set(users)) == len(users) == size * dealt


def test_three_users_are_asked_again_after_each_that_follows(spiking):
    groups = retention.deal(four_users(spiking), 3, seed=5)
    rows = retention.one_after_another(groups, spiking.base, spiking.corpus, METHODS["bptt_readout"], BUDGETS["spiking"], seed=5)
    assert [(row["group"], row["place"], row["after"]) for row in rows] == [
        (0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 2), (0, 1, 1), (0, 2, 0)]
    assert [row["user"] for row in rows if row["after"] == 0] == [task.user for task in groups[0]]


def test_the_order_of_users_follows_from_the_seed(spiking):
    orders = [tuple(task.user for group in retention.deal(four_users(spiking), 2, seed=seed) for task in group)
              for seed in (0, 0, 1, 2, 3, 4)]
    assert orders[0] == orders[1] and len(set(orders)) > 1


def test_too_few_users_are_told(spiking):
    with pytest.raises(UserError, match="4 test users make no group of 5") as told:
        retention.deal(four_users(spiking), 5, seed=5)
    assert "alternatives.retention.sequence" in told.value.remedy


# ------------------------------------------------------------------------------------------------ sums
def remedy_row(user, remedy, strength, after, others_after):
    return {"user": user, "remedy": remedy, "strength": strength, "query_clips": 10, "correct_before": 5, "correct_after": after,
            "others_clips": 20, "others_before": 16, "others_after": others_after}


def sequence_row(user, after, alone, shared, group=0):
    return {"group": group, "user": user, "place": 0, "after": after, "query_clips": 20, "before": 8, "alone": alone,
            "shared": shared}


def part(seed, remedies, sequence, method="bptt_full"):
    return {"method": method, "seed": seed, "remedies": remedies, "sequence": sequence}


def test_remedies_are_summed_up_over_users():
    # Forgotten by a and b: 4 and 2 of 20 clips without, 1 and 1 with rehearsal.
    rows = [remedy_row("a", "none", 0.0, 9, 12), remedy_row("b", "none", 0.0, 8, 14),
            remedy_row("a", "rehearsal", 64.0, 8, 15), remedy_row("b", "rehearsal", 64.0, 8, 15)]
    found = retention.summarise([part(0, rows, [sequence_row("a", 0, 10, 10)])], Statistics())["bptt_full"]["remedies"]
    assert list(found) == ["none", "rehearsal_64"]
    assert (found["rehearsal_64"]["remedy"], found["rehearsal_64"]["strength"]) == ("rehearsal", 64.0)
    assert {name: {what: cell[what]["value"] for what in ("gain", "forgetting", "saved")} for name, cell in found.items()} == {
        "none": {"gain": pytest.approx(35), "forgetting": pytest.approx(15), "saved": 0},
        "rehearsal_64": {"gain": pytest.approx(30), "forgetting": pytest.approx(5), "saved": pytest.approx(10)}}
    # 15 and 5 points are saved: Student's t of two values.
    assert found["rehearsal_64"]["saved"]["ci_high"] == pytest.approx(10 + 12.7062 * 5, abs=1e-3)
    assert found["rehearsal_64"]["forgetting"]["ci_low"] == pytest.approx(5), "both forget alike"


def test_seeds_of_a_user_are_averaged_first():
    rows = [[remedy_row(user, "none", 0.0, 5 + change, 16) for user, change in (("a", seed), ("b", 2 * seed))] for seed in (0, 2)]
    sequence = [[sequence_row("a", 0, 10, 10)]] * 2
    found = retention.summarise([part(seed, *each) for seed, each in enumerate(zip(rows, sequence, strict=True))], Statistics())
    gain = found["bptt_full"]["remedies"]["none"]["gain"]
    assert (gain["n"], gain["value"]) == (2, pytest.approx((10 + 20) / 2))


def test_loss_is_since_ones_own_turn_and_its_interval_is_over_devices():
    rows = [remedy_row("a", "none", 0.0, 9, 12)]
    # Of the second device the users start lower and lose as many clips: 2 and 4 of 20, on the first 6 and 8.
    turns = [sequence_row(user, after, 10, shared, group) for group, user, counts in (
        (0, "a", (18, 12)), (0, "b", (14, 6)), (1, "c", (9, 7)), (1, "d", (8, 4))) for after, shared in enumerate(counts)]
    found = retention.summarise([part(0, rows, turns)], Statistics())["bptt_full"]["sequence"]
    assert found["0"]["lost"] == {"value": 0, "ci_low": 0, "ci_high": 0, "n": 2}
    lost = found["1"]["lost"]
    assert (lost["n"], lost["value"]) == (2, pytest.approx((35 + 15) / 2))
    assert lost["ci_high"] == pytest.approx(25 + 12.7062 * 10, abs=1e-3), "Student's t of two devices"
    again = retention.summarise([part(0, rows, turns), part(1, rows, turns)], Statistics())["bptt_full"]["sequence"]
    assert again["1"]["lost"]["n"] == 4, "a seed is a device of its own"


def test_what_is_left_of_a_user_is_told_by_the_users_since():
    rows = [remedy_row("a", "none", 0.0, 9, 12)]
    sequence = [sequence_row("a", 0, 18, 18), sequence_row("a", 1, 18, 12), sequence_row("b", 0, 16, 14)]
    found = retention.summarise([part(0, rows, sequence), part(0, rows, sequence[:1], "bptt_lora_4")], Statistics())
    assert list(found) == ["bptt_full", "bptt_lora_4"]
    told = {after: {name: interval["value"] for name, interval in cell.items()}
            for after, cell in found["bptt_full"]["sequence"].items()}
    assert told == {"0": {"before": 40, "alone": 85, "shared": 80, "lost": 0},
                    "1": {"before": 40, "alone": 90, "shared": 60, "lost": 30}}
    assert list(found["bptt_lora_4"]["sequence"]) == ["0"]
