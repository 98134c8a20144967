"""Federated fine-tuning: the readout as a linear layer, averaging, differential privacy, and Flower beside the loop."""

import dataclasses
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.federated import averaging, experiments, flower, flower_run, privacy
from edgekws.methods.alternatives.federated.averaging import Federation
from edgekws.methods.alternatives.federated.clients import Local, batches, train
from edgekws.methods.alternatives.federated.shards import Shard, joined, read_shards, shards_as_tensors
from edgekws.methods.alternatives.federated.users import View, gather, own_words, spike_counts
from edgekws.methods.alternatives.settings import Federated
from edgekws.methods.traces_propagation import experiments as tp
from edgekws.methods.traces_propagation.experiments import Base
from edgekws.models.delta.delta import apply
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.protocol import users as plan
from edgekws.protocol.clips import Corpus
from edgekws.protocol.tasks import tasks

WORDS = ["down", "go", "left", "no", "right", "yes"]
ALL = Local(learning_rate=0.5, sampling=1.0, steps=3)
SOME = dataclasses.replace(ALL, sampling=0.4, steps=6)
SMALL = Federated(rounds=6, steps=5, words=3, folds=2, learning_rates=[3.0, 30.0], noise=[1.0, 8.0], others=30)


@pytest.fixture
def net():
    settings = Network(hidden=[24], threshold=0.3, spare_outputs=1)
    return RecurrentLIF(settings, inputs=5, outputs=7, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def corpus():
    """Six words and speakers; each word has features of its own, each speaker shifts them."""
    random = np.random.default_rng(0)
    rows, features = [], []
    centre = random.random((len(WORDS), 5)) * 1.2
    for speaker, split in enumerate(["train", "validation", "validation", "test", "test", "test"]):
        shift = random.normal(size=5) * 0.3
        for word in WORDS:
            for take in range(4):
                rows.append((len(rows), f"s{speaker}", word, split, f"{word}/s{speaker}_{take}.wav", "",
                             str(len(rows))))
                features.append(centre[WORDS.index(word)] + shift + random.normal(size=(15, 5)) * 0.5)
    index = pd.DataFrame(rows, columns=["clip", "speaker", "word", "split", "path", "repeat_of", "sha256"])
    return Corpus(np.array(features, np.float32), index, WORDS)


@pytest.fixture
def base(net):
    return Base(net, WORDS, torch.full((5,), 0.8))


@pytest.fixture
def users_plan(corpus):
    from edgekws.protocol.settings import ManyUsers

    return plan.many_users(corpus.index, ManyUsers(minimum_takes=20, folds=2, shots=["all"]))


def shard(clips, seed=0, width=12, outputs=5):
    generator = torch.Generator().manual_seed(seed)
    return Shard(torch.randn(clips, width, generator=generator) / math.sqrt(width),
                 torch.randn(clips, outputs, generator=generator), torch.randint(outputs, (clips,), generator=generator))


# ------------------------------------------------------------------------------------------------ the linear layer
@pytest.mark.parametrize("values", [{}, {"output_leak": 0.9}, {"hidden": [24, 16]}])
def test_spike_counts_times_readout_is_the_nets_output(corpus, values):
    network = Network(**{"hidden": [24], "threshold": 0.3, **values})
    net = RecurrentLIF(network, inputs=5, outputs=7, generator=torch.Generator().manual_seed(3))
    clips = corpus.clips(np.arange(40), frozen_scale=torch.full((5,), 0.8))
    counts = spike_counts(net, clips, batch_size=16)
    assert counts.sum(1).min() > 0
    if network.output_leak == 1:
        assert torch.equal(counts, counts.round())
    with torch.no_grad():
        torch.testing.assert_close(counts @ net.readout.T, net(clips[np.arange(40)]))


def test_gradient_is_autograds_through_time(net, corpus):
    clips = corpus.clips(np.arange(20), frozen_scale=None)
    readout = net.readout.detach().clone().requires_grad_()
    layer, potential = net.layer(0, 20), torch.zeros(20, 7)
    for frame in clips[np.arange(20)].unbind(1):
        with torch.no_grad():
            layer.integrate(frame)
            layer.fire()
        potential = net.settings.output_leak * potential + layer.spikes.clone() @ readout.T
    (expected,) = torch.autograd.grad(cross_entropy(potential, torch.from_numpy(clips.labels), reduction="sum"), readout)
    seen = View(scale=1.0).shard(net, clips)
    torch.testing.assert_close(seen.gradient(seen.unchanged()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [None, 3])
def test_change_as_delta_gives_the_same_outputs(net, corpus, rank):
    clips = corpus.clips(np.arange(0, 60, 2), frozen_scale=None)
    view = View.of(net, clips, rank=rank, seed=5)
    seen = view.shard(net, clips)
    change = torch.randn(seen.unchanged().shape, generator=torch.Generator().manual_seed(1))
    assert change.shape == (7, rank or 24)
    delta = view.delta(net, change)
    assert delta.values == (7 * 24 if rank is None else (7 + 24) * 3)
    adapted = RecurrentLIF.of(net.settings, apply(net.state_dict(), delta))
    with torch.no_grad():
        found = adapted(clips[np.arange(30)])
    torch.testing.assert_close(found, seen.forward(change), rtol=1e-4, atol=1e-4)


def test_inputs_have_unit_norm_on_average(net, corpus):
    clips = corpus.clips(np.arange(50), frozen_scale=None)
    full = View.of(net, clips, rank=None, seed=0)
    assert full.shard(net, clips).inputs.square().sum(1).mean().item() == pytest.approx(1)
    norms = [View.of(net, clips, rank=8, seed=seed).shard(net, clips).inputs.square().sum(1).mean() for seed in range(60)]
    assert float(np.mean(norms)) == pytest.approx(1, abs=0.2)


# ------------------------------------------------------------------------------------------------ local training
def test_full_batches_are_gradient_descent():
    clips, start = shard(9), torch.full((5, 12), 0.1)
    expected = start.clone()
    for _ in range(3):
        potential = clips.potential + clips.inputs @ expected.T
        error = torch.softmax(potential, 1) - torch.eye(5)[clips.labels]
        expected = expected - 0.5 / 9 * error.T @ clips.inputs
    torch.testing.assert_close(train(clips, start, ALL, seed=0), expected)
    assert torch.equal(start, torch.full((5, 12), 0.1))


def test_batches_are_opacus_poisson_samples():
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    theirs = list(UniformWithReplacementSampler(num_samples=30, sample_rate=0.2, steps=5,
                                                generator=torch.Generator().manual_seed(4)))
    ours = [places.tolist() for places in batches(30, Local(1.0, 0.2, 5), seed=4)]
    assert ours == theirs
    assert len({tuple(places) for places in ours}) == 5


def test_no_noise_and_no_clipping_is_plain_training():
    clips = shard(20)
    plain = train(clips, clips.unchanged(), SOME, seed=3)
    private = train(clips, clips.unchanged(), dataclasses.replace(SOME, noise=0.0, clipping=1e6), seed=3)
    assert plain.abs().max() > 0.01
    torch.testing.assert_close(private, plain, rtol=0, atol=1e-6)


def test_each_clips_gradient_is_clipped():
    clips, clipping = shard(20), 0.8
    norms, total = [], torch.zeros(5, 12)
    for place in range(20):
        gradient = clips[torch.tensor([place])].gradient(clips.unchanged())
        norms.append(float(gradient.norm()))
        total += gradient * min(1.0, clipping / norms[-1])
    assert min(norms) < clipping < max(norms)
    step = dataclasses.replace(ALL, steps=1, noise=0.0, clipping=clipping)
    torch.testing.assert_close(train(clips, clips.unchanged(), step, seed=0), -0.5 / 20 * total, rtol=1e-4, atol=1e-6)


def test_noise_has_its_standard_deviation_in_every_step_also_without_clips():
    clips, none = shard(4, width=2000), torch.empty(0, dtype=torch.int64)
    start = clips.unchanged()
    once, twice = (privacy.descend(clips, start, [none] * steps, 0.5, noise=3.0, clipping=2.0, seed=1) for steps in (1, 2))
    assert once.std().item() == pytest.approx(0.5 * 3 * 2, rel=0.03)
    assert (twice - once).std().item() == pytest.approx(0.5 * 3 * 2, rel=0.03)
    assert abs(torch.corrcoef(torch.stack([once.flatten(), (twice - once).flatten()]))[0, 1]) < 0.05


# ------------------------------------------------------------------------------------------------ epsilon
def test_epsilon_is_opacus_accountants_step_by_step():
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    for _ in range(60):
        accountant.step(noise_multiplier=1.5, sample_rate=0.25)
    assert privacy.epsilon(1.5, sampling=0.25, steps=60, delta=1e-5) == pytest.approx(accountant.get_epsilon(1e-5))


def test_epsilon_of_the_gaussian_mechanism_by_hand():
    """Without sampling Rényi's divergence of order a is steps a / (2 noise^2); conversion: Balle et al. 2020, theorem 21."""
    noise, steps, delta = 4.0, 10, 1e-5
    by_order = [steps * a / (2 * noise**2) + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1)
                for a in np.arange(1.5, 60, 0.01)]
    assert privacy.epsilon(noise, sampling=1.0, steps=steps, delta=delta) == pytest.approx(min(by_order), rel=1e-3)


def test_epsilon_falls_with_noise_and_grows_with_steps():
    of_noise = [privacy.epsilon(noise, sampling=0.25, steps=40, delta=1e-5) for noise in (0.5, 1, 2, 4, 8)]
    assert of_noise == sorted(of_noise, reverse=True)
    assert privacy.epsilon(1, sampling=0.25, steps=80, delta=1e-5) > of_noise[1]
    assert privacy.epsilon(0, sampling=0.25, steps=40, delta=1e-5) is None


# ------------------------------------------------------------------------------------------------ averaging
def test_mean_by_hand():
    changes = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0, -4.0]])]
    assert averaging.mean(changes, [1, 1, 2]).tolist() == [[1.25, -1.0]]


def test_one_client_is_local_training():
    clips, federation = shard(15), Federation([[0]] * 4, SOME, seed=7)
    expected = clips.unchanged()
    for number, found in enumerate(averaging.federate([clips], federation)):
        expected = train(clips, expected, SOME, seed=derive_seed(7, f"round {number}/client 0"))
        assert torch.equal(found, expected)


def test_identical_clients_are_one_of_them():
    clips = shard(15)
    four = averaging.federate([clips] * 4, Federation([[0, 1, 2, 3]] * 3, ALL, seed=0))
    assert torch.equal(four, averaging.federate([clips], Federation([[0]] * 3, ALL, seed=0)))


def test_absent_clients_count_for_nothing():
    shards = [shard(15), shard(10, seed=1), shard(20, seed=2)]
    found = averaging.federate(shards, Federation([[0, 2]] * 2, ALL, seed=0))
    shards[1] = shard(99, seed=9)
    assert torch.equal(found, averaging.federate(shards, Federation([[0, 2]] * 2, ALL, seed=0)))


def test_one_step_of_all_is_a_step_on_the_joined_clips():
    shards = [shard(15), shard(5, seed=1)]
    step = dataclasses.replace(ALL, steps=1)
    together = averaging.federate(shards, Federation([[0, 1]], step, seed=0))[-1]
    torch.testing.assert_close(together, train(joined(shards), shards[0].unchanged(), step, seed=0))


def test_drawn_rounds():
    drawn = averaging.draw_rounds(9, rounds=20, per_round=4, seed=1)
    assert drawn == averaging.draw_rounds(9, rounds=20, per_round=4, seed=1) != averaging.draw_rounds(
        9, rounds=20, per_round=4, seed=2)
    assert all(present == sorted(set(present)) and len(present) == 4 for present in drawn)
    assert {client for present in drawn for client in present} == set(range(9))
    assert averaging.draw_rounds(3, rounds=2, per_round=None, seed=0) == [[0, 1, 2]] * 2


# ------------------------------------------------------------------------------------------------ users
def test_users_have_different_words_the_same_ones_each_time():
    users = {f"u{number}": own_words(f"u{number}", WORDS * 3, 3, seed=0) for number in range(8)}
    assert len({tuple(words) for words in users.values()}) > 4
    assert all(len(set(words)) == 3 and set(words) <= set(WORDS) for words in users.values())
    assert own_words("u3", reversed(WORDS), 3, seed=0) == users["u3"]
    assert any(own_words(user, WORDS, 3, seed=1) != words for user, words in users.items())
    assert own_words("u0", ["yes", "no", "yes"], 3, seed=0) == ["no", "yes"]


def test_users_learn_from_their_words_and_are_tested_on_all(base, corpus, users_plan):
    table, facts = users_plan
    work = tasks(table, facts, corpus.index.set_index("clip").word, splits=["test"], folds=1)
    users = gather(base, corpus, work, View(scale=1.0), words=2, seed=0)
    assert [user.name for user in users] == ["s3", "s4", "s5"]
    for user, task in zip(users, work, strict=True):
        assert sorted({WORDS[label] for label in user.support.labels}) == user.words
        assert len(user.support) == sum(corpus.index.word[clip] in user.words for clip in task.support)
        assert [WORDS[label] for label in user.query.labels] == corpus.index.word[task.query].tolist()
        assert {WORDS[label] for label in user.query.labels[user.known]} <= set(user.words)
        assert not {WORDS[label] for label in user.query.labels[~user.known]} & set(user.words)


# ------------------------------------------------------------------------------------------------ the experiment
def not_built(tmp_path):
    (tmp_path / "not_installed.txt").write_text("no network here\nand more that is this machine's\n")
    return tmp_path


def test_experiment_without_flower(base, corpus, users_plan, tmp_path):
    result = experiments.run(*users_plan, base, corpus, SMALL, not_built(tmp_path), excluded=(), seed=0)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result == experiments.run(*users_plan, base, corpus, SMALL, tmp_path, excluded=(), seed=0)
    assert (result["engine"], result["why"]) == ("loop", "no network here")
    assert result["bytes"] == {"values": 7 * 24, "fp32": {"down": 672, "up": 672}, "federated": None, "secure": None}
    rows = pd.DataFrame(result["rows"])
    before = rows[rows.way == "base"].set_index(["fold", "user"])
    for (fold, user), row in before.iterrows():
        table = users_plan[0]
        query = table[(table.user == user) & (table.fold == fold) & (table.role == "query")]["clip"].to_numpy()
        clips = corpus.clips(query, frozen_scale=base.scale)
        assert row.correct == (tp.predict(base.net, clips) == clips.labels).sum()
    own = (100 * rows.correct / rows.query_clips).groupby(rows.way).mean()
    for way in ("federated", "private_1", "private_8"):
        curve = result["curves"][way]["own"]
        assert len(curve) == SMALL.rounds + 1
        assert (curve[0], curve[-1]) == pytest.approx((own["base"], own[way]))
    assert own["centralised"] > own["base"] + 10
    known = rows.groupby("way")[["known_correct", "known_clips"]].sum()
    assert known.known_correct["local"] > known.known_correct["base"]
    assert set(rows.others_clips) == {0}  # all speakers of the test split take part
    for way, points in result["tuned"].items():
        assert max(point["own"] for point in points) == {
            point["learning_rate"]: point["own"] for point in points}[result["rates"][way]]
    assert result["tuned"].keys() == result["rates"].keys() == {"local", *(
        f"{way}{then}" for way in ("centralised", "federated", "private_1", "private_8") for then in ("", "_local"))}
    private = result["privacy"]
    assert private["private_1"]["steps"] == 30
    assert private["private_1"]["epsilon"] > private["private_8"]["epsilon"] > 0


def test_the_noise_that_epsilon_is_of_is_the_noise_that_is_trained_with(base, corpus, users_plan, tmp_path):
    learning = experiments.Learning(SMALL, seed=0)
    local = {way: learning.federation(way, range(3), 0.5).local for way in learning.noise}
    assert {way: (one.noise, one.clipping, one.sampling, one.steps) for way, one in local.items()} == {
        way: (noise, SMALL.clipping, SMALL.sampling, SMALL.steps)
        for way, noise in (("federated", None), ("private_1", 1.0), ("private_8", 8.0))}
    one_rate = SMALL.model_copy(update={"learning_rates": [3.0]})
    curves = experiments.run(*users_plan, base, corpus, one_rate, not_built(tmp_path), excluded=(), seed=0)["curves"]
    assert len({tuple(curve["own"]) for curve in curves.values()}) == 3, "one rate, three noises"


def test_epsilon_is_of_the_user_who_takes_part_most_often_in_any_fold():
    settings = SMALL.model_copy(update={"users_per_round": 1, "noise": [2.0]})
    learning = experiments.Learning(settings, seed=0)
    group = [None] * 2  # of users only the number counts
    told = experiments._privacy(learning, [group[:1], group])["private_2"]
    assert told["steps"] == SMALL.steps * SMALL.rounds, "alone in a fold, a user takes part in every round"
    assert told["steps"] > experiments._privacy(learning, [group])["private_2"]["steps"]


def test_others_are_test_clips_of_speakers_who_take_no_part(base, corpus, users_plan, tmp_path):
    settings = SMALL.model_copy(update={"users": 2, "noise": [], "folds": 1})
    result = experiments.run(*users_plan, base, corpus, settings, not_built(tmp_path), excluded=(), seed=0)
    rows = pd.DataFrame(result["rows"])
    assert set(rows.user) == {"s3", "s4"}
    clips = corpus.clips(corpus.index[corpus.index.speaker == "s5"]["clip"], frozen_scale=base.scale)
    right = int((tp.predict(base.net, clips) == clips.labels).sum())
    assert {(row.others_clips, row.others_correct) for row in rows[rows.way == "base"].itertuples()} == {(24, right)}
    assert result["curves"]["federated"]["others"][0] == pytest.approx(100 * right / 24)


# ------------------------------------------------------------------------------------------------ Flower
def test_shards_pass_through_a_file(tmp_path):
    from safetensors.torch import save_file

    shards = [shard(4), shard(7, seed=1)]
    save_file(shards_as_tensors(shards), tmp_path / "shards.safetensors")
    for found, expected in zip(read_shards(tmp_path / "shards.safetensors"), shards, strict=True):
        assert all(torch.equal(found, expected) for found, expected in zip(
            vars(found).values(), vars(expected).values(), strict=True))


def test_flower_is_not_run_beside_another_python(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({"python": [3, 9]}))
    flower_run.main(tmp_path)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert json.loads((tmp_path / "result.json").read_text()) == {
        "not_run": f"the environment has Python {version}, torch is installed for 3.9"}


def test_rounding_bound_by_hand():
    assert flower.rounding_bound([10, 20], largest=0.0) == pytest.approx(2 * 16 / 2**22 / 1.5)


@pytest.mark.slow
def test_flower_is_the_loop_and_masked_sums_are_the_plain_ones():
    environment = Path(os.environ.get("EDGEKWS_FLOWER") or Path(__file__).parents[3] / ".envs" / "flower")
    if not (environment / "bin" / "python").exists():
        pytest.skip("no Flower: build it with `envs/tool flower .envs/flower`, or name an environment in EDGEKWS_FLOWER")
    shards = [shard(clips, seed=clips, width=50) for clips in (12, 20, 30, 17, 9)]
    rounds = averaging.draw_rounds(5, rounds=3, per_round=4, seed=0)
    plain = Federation(rounds, SOME, seed=1)
    private = Federation(rounds, dataclasses.replace(SOME, noise=1.0), seed=2)
    found = flower.run(shards, [plain, private, dataclasses.replace(plain, secure=True)], environment)
    for result, federation in zip(found[:2], (plain, private), strict=True):
        assert torch.equal(result.changes, averaging.federate(shards, federation))
    first, masked = averaging.federate(shards, plain)[0], found[2].changes[0]
    assert not torch.equal(masked, first)
    assert (masked - first).abs().max() <= flower.rounding_bound([len(shards[client]) for client in rounds[0]],
                                                                 float(first.abs().max()) * 2)
    values = 4 * 4 * 5 * 50  # four clients, float32
    for passed in found[0].bytes + found[1].bytes:
        assert values < passed["down"] < values + 4 * 300
        assert values < passed["up"] < values + 4 * 400
    assert all(passed["up"] > 2 * values for passed in found[2].bytes)  # masked values are 64-bit integers
