"""Base models, adaptation to users, tuning and summing up, on a tiny made-up corpus."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation import experiments
from edgekws.methods.traces_propagation.settings import Adaptation, BaseTraining, Methods, RecipeSearch
from edgekws.models.settings import Network
from edgekws.protocol import users as plan
from edgekws.protocol.clips import Corpus
from edgekws.protocol.settings import ManyUsers, Training, Tuning
from edgekws.protocol.tasks import first_folds, tasks, training_rows

NETWORK = Network(hidden=[24])
WORDS = ["no", "stop", "yes"]


@pytest.fixture(scope="module")
def corpus():
    """Three words, 12 training speakers and 4 users; a user's voice shifts the features."""
    rng = np.random.default_rng(0)
    rows, features = [], []
    shape = rng.normal(size=(len(WORDS), 12, 6)).astype(np.float32)
    people = [(f"t{n:02}", "train", 4) for n in range(12)]
    people += [("v0", "validation", 6), ("v1", "validation", 6), ("u0", "test", 6), ("u1", "test", 6)]
    for speaker, split, takes in people:
        voice = rng.normal(size=(1, 6)).astype(np.float32) * (0.2 if split == "train" else 1.0)
        for label, word in enumerate(WORDS):
            for take in range(takes):
                path = f"{word}/{speaker}_nohash_{take}.wav"
                rows.append((word, speaker, take, path, path, split, ""))
                features.append(3 * shape[label] + voice + 0.5 * rng.normal(size=(12, 6)).astype(np.float32))
    table = pd.DataFrame(rows, columns=["word", "speaker", "take", "path", "sha256", "split", "repeat_of"])
    return Corpus(np.stack(features), table.assign(clip=range(len(table))), WORDS)


@pytest.fixture(scope="module")
def base(corpus):
    budget = BaseTraining(learning_rate=3e-3, epochs=12, batch_size=32)
    return experiments.train_base(corpus, NETWORK, budget, per_set=False, excluded=[], seed=1)


@pytest.fixture(scope="module")
def users(corpus):
    return plan.many_users(corpus.index, ManyUsers(minimum_takes=10, folds=3))


def test_base_model_learns_and_is_reproducible(corpus, base):
    test = experiments.split_clips(corpus, base, "train", excluded=[], set_size=512)
    assert experiments.accuracy(base.net, test) > 80
    again = experiments.train_base(corpus, NETWORK, BaseTraining(learning_rate=3e-3, epochs=12, batch_size=32),
                                   per_set=False, excluded=[], seed=1)
    assert all(torch.equal(a, b) for a, b in zip(base.net.state_dict().values(), again.net.state_dict().values(), strict=True))


def test_base_model_round_trip(tmp_path, corpus, base):
    experiments.write_base(tmp_path / "b.safetensors", base, about={"normalisation": "frozen"}, provenance={"code": "x"})
    read, about = experiments.read_base(tmp_path / "b.safetensors")
    assert read.vocabulary == WORDS and torch.equal(read.scale, base.scale)
    assert about["settings"]["normalisation"] == "frozen"
    clips = corpus.clips(range(20), frozen_scale=base.scale)
    assert (experiments.predict(read.net, clips) == experiments.predict(base.net, clips)).all()


def test_excluded_speakers_never_train(corpus):
    rows = training_rows(corpus.index, excluded=["t03"], balanced=True, seed=0)
    speakers = set(corpus.index.speaker[rows])
    assert "t03" not in speakers and not speakers & {"v0", "v1", "u0", "u1"}
    with pytest.raises(UserError, match="did you mean 't03'"):
        training_rows(corpus.index, excluded=["t033"], balanced=False, seed=0)


def test_a_copy_of_what_an_excluded_speaker_said_never_trains(corpus):
    index = corpus.index.copy()
    mine = index.index[index.speaker == "t03"][0]
    copy = index.index[index.speaker == "t04"][0]
    index.loc[copy, "sha256"] = index.loc[mine, "sha256"]
    assert copy not in training_rows(index, excluded=["t03"], balanced=False, seed=0)
    assert copy in training_rows(index, excluded=[], balanced=False, seed=0)


def test_balanced_draw_evens_words_out():
    """One word is ten times as frequent as the other; the draw has both about equally often."""
    index = pd.DataFrame({"word": ["a"] * 1000 + ["b"] * 100, "speaker": "s", "split": "train",
                          "clip": range(1100), "sha256": [str(clip) for clip in range(1100)]})
    rows = training_rows(index, excluded=[], balanced=True, seed=0)
    share = float((index.word[rows] == "a").mean())
    assert len(rows) == 1100 and abs(share - 0.5) < 4 * np.sqrt(0.25 / 1100)
    assert list(training_rows(index, excluded=[], balanced=False, seed=0)) == list(range(1100))


@pytest.mark.parametrize("method", list(Methods.model_fields))
def test_each_method_changes_what_it_may_and_nothing_else(corpus, base, users, method):
    work = tasks(*users, corpus.index.word, shots=["all"], splits=["test"], folds=1)
    support = corpus.clips(work[0].support, frozen_scale=base.scale)
    before = {name: tensor.clone() for name, tensor in base.net.state_dict().items()}
    kind = Methods.model_fields[method].annotation
    net = experiments.adapt(base.net, method, support, kind(learning_rate=1e-3, epochs=2), seed=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.net.state_dict().items()), "the base is untouched"
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    every = {"hidden.0.input", "hidden.0.recurrent", "readout"}
    assert changed == {"readout_only": {"readout"}, "from_scratch": set(before)}.get(method, every)


def test_readout_only_adaptation_helps_a_shifted_user(corpus, base, users):
    rows = run(corpus, base, users, "readout_only", Training(learning_rate=3e-3, epochs=20))
    total = rows[["correct_before", "correct_after"]].sum()
    assert total.correct_after > total.correct_before


def run(corpus, base, users, method, budget, others=20, **cut):
    work = tasks(*users, corpus.index.word, splits=["test"], **cut)
    return pd.DataFrame(experiments.run_tasks(work, base, corpus, method, budget, seed=0, others=others))


def test_rows_do_not_depend_on_which_other_tasks_run(corpus, base, users):
    budget = Training(learning_rate=1e-3, epochs=2)
    whole = run(corpus, base, users, "traces_propagation", budget)
    alone = run(corpus, base, users, "traces_propagation", budget, shots=[3], folds=1)
    same = whole[(whole.shot == "3") & (whole.fold == whole.user.map(first_folds(*users)))].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, alone)


def test_forgetting_is_measured_on_other_speakers_only(corpus, base, users):
    rows = run(corpus, base, users, "traces_propagation", Training(epochs=1), shots=["all"], others=None)
    own = corpus.index[corpus.index.split == "test"].groupby("speaker").size()
    asked = rows.groupby("user").others_clips.sum()
    assert {user: own.sum() - clips for user, clips in own.items()} == asked.to_dict(), "each clip of the others once"
    fewer = run(corpus, base, users, "traces_propagation", Training(epochs=1), shots=["all"], others=9)
    assert 0 < fewer.others_clips.sum() <= 2 * 9


def test_the_others_clips_are_dealt_over_the_folds_anew_for_each_user(corpus, base, users):
    work = tasks(*users, corpus.index.word, shots=["all"])
    for user in ("u0", "v1"):
        shares = [task.share(20, None, seed=0) for task in work if task.user == user]
        assert len(shares) == 3 and sorted(np.concatenate(shares)) == list(range(20))
        assert sum(len(task.share(20, 8, seed=0)) for task in work if task.user == user) == 8
    assert len({tuple(task.share(20, 8, seed=0)) for task in work if task.fold == 0}) > 1


def test_a_user_who_has_the_test_split_alone_is_told_of(corpus, base, users):
    user = tasks(*users, corpus.index.word, splits=["test"])[0].user
    index = corpus.index.copy()
    index.loc[(index.split == "test") & (index.speaker != user), "split"] = "train"
    with pytest.raises(UserError, match=f"nobody besides {user}"):
        run(dataclasses.replace(corpus, index=index), base, users, "traces_propagation", Training(epochs=1), shots=["all"])


def test_per_set_normalisation_scales_each_set_by_itself(corpus):
    clips = corpus.clips([0, 5, 9, 30, 31], frozen_scale=None, set_size=3)
    first, second = clips[[0, 1, 2]], clips[[3, 4]]
    assert torch.allclose(first.flatten(0, 1).std(0), torch.ones(6), atol=1e-5)
    assert torch.allclose(second.flatten(0, 1).std(0), torch.ones(6), atol=1e-5)
    assert torch.equal(clips[[4]], second[1:])


def test_tuning_takes_the_best_point_on_validation_users_only(corpus, base, users):
    grid = Tuning(learning_rate=[1e-9, 3e-3], epochs=[10], batch_size=[1024], users=4, widen=0)
    start = Training(learning_rate=1e-4, epochs=10)
    chosen, points, edges = experiments.tune(*users, {0: base, 1: base}, corpus, "readout_only", start, grid)
    assert start.learning_rate in {point["learning_rate"] for point in points}, "the default is always tried"
    assert ("learning_rate" in edges) == (chosen.learning_rate in (1e-9, 3e-3))
    assert {point["users"] for point in points} == {2}
    best = max(points, key=lambda point: point["after"])
    assert chosen.learning_rate == best["learning_rate"]
    idle = next(point for point in points if point["learning_rate"] == 1e-9)
    assert idle["after"] == idle["before"], "a vanishing learning rate changes nothing"


def test_the_recipe_is_chosen_on_validation_users_and_pays_for_what_others_lose(corpus, base, users):
    def chosen(weight):
        grid = RecipeSearch(kept_hidden=[0.0, 1.0], kept_readout=[0.0, 1.0], rehearsal=[0], shift=[0], mask_frames=[0],
                            mask_bands=[0], noise=[0.0], contrast=["classes"], hidden_rate=[1.0], learning_rate=[3e-2],
                            epochs=[20], shots=["all"], others=None, allowed=0.0, weight=weight)
        start = Adaptation(learning_rate=3e-2, epochs=20, contrast="classes")
        budget, points, edges = experiments.tune(*users, {0: base}, corpus, "recipe", start, grid)
        assert edges == [] and {point["users"] for point in points} == {2}
        assert max(points, key=lambda point: point["score"])["kept_hidden"] == budget.kept_hidden
        return budget, points

    dear, points = chosen(1000.0)
    lost = {(point["kept_hidden"], point["kept_readout"]): point["forgetting"] for point in points}
    assert lost[dear.kept_hidden, dear.kept_readout] == min(lost.values()), "nothing is worth what others lose"


def test_batches_that_hold_every_support_set_are_tried_once(corpus, base, users):
    grid = Tuning(learning_rate=[1e-4], epochs=[1], batch_size=[100, 1024], users=1, widen=0)
    _, points, _ = experiments.tune(*users, {0: base}, corpus, "readout_only", Training(epochs=1), grid)
    assert [point["batch_size"] for point in points] == [1024]
