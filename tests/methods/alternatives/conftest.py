"""A made-up corpus of three words and seven people, heard by either net, and a small base net of each kind."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from edgekws.methods.alternatives import ds_cnn
from edgekws.methods.alternatives.experiments import Base
from edgekws.methods.alternatives.settings import AlternativeTraining
from edgekws.methods.traces_propagation import experiments
from edgekws.methods.traces_propagation.settings import BaseTraining
from edgekws.models.encoder import tensors_of
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.protocol import users as plan
from edgekws.protocol.clips import Corpus
from edgekws.protocol.settings import ManyUsers, Training
from edgekws.protocol.tasks import Task, tasks

WORDS = ["no", "stop", "yes"]
PEOPLE = {"t0": "train", "t1": "train", "t2": "train", "v0": "validation", "v1": "validation", "u0": "test", "u1": "test"}
TAKES = 4
NETWORK = Network(hidden=[14], threshold=0.3)
BUDGETS = {"spiking": AlternativeTraining(learning_rate=0.03, epochs=20),
           "ds_cnn": AlternativeTraining(learning_rate=0.002, epochs=10)}


class Toy(NamedTuple):
    """A base net, the corpus it hears, the plan of its users and the facts of that, and the test users' first folds."""

    base: Base
    corpus: Corpus
    table: pd.DataFrame
    facts: dict
    work: list[Task]


def made_up_corpus(frames, inputs, *, users_voice=1.0):
    """Every person says every word ``TAKES`` times; a word has a pattern, a person's voice shifts it, a user's by more."""
    rng = np.random.default_rng(0)
    shape, rows, features = 2 * rng.normal(size=(len(WORDS), frames, inputs)), [], []
    for person, split in PEOPLE.items():
        voice = rng.normal(size=inputs) * (1.0 if split == "train" else users_voice)
        for label, word in enumerate(WORDS):
            for take in range(TAKES):
                path = f"{word}/{person}_nohash_{take}.wav"
                rows.append((word, person, take, path, path, split, ""))
                features.append(shape[label] + voice + 0.5 * rng.normal(size=(frames, inputs)))
    index = pd.DataFrame(rows, columns=["word", "speaker", "take", "path", "sha256", "split", "repeat_of"])
    return Corpus(np.array(features, np.float32), index.assign(clip=range(len(index))), WORDS)


def toy(base, corpus):
    table, facts = plan.many_users(corpus.index, ManyUsers(minimum_takes=6, folds=2, shots=[1, "all"]))
    work = tasks(table, facts, corpus.index.set_index("clip").word, shots=["all"], splits=["test"], folds=1)
    return Toy(base, corpus, table, facts, work)


@pytest.fixture(scope="session")
def spiking():
    """A recurrent spiking net of 14 neurons that has learnt a little from the training split."""
    corpus = made_up_corpus(8, 6)
    trained = experiments.train_base(corpus, NETWORK, BaseTraining(learning_rate=3e-3, epochs=6, batch_size=12), per_set=False,
                                     excluded=[], seed=1)
    return toy(Base(trained.net, trained.net.state_dict(), WORDS, trained.scale, RecurrentLIF.adapted, experiments.predict),
               corpus)


@pytest.fixture(scope="session")
def conventional():
    """A DS-CNN that has learnt a little from the training split."""
    corpus = made_up_corpus(47, 10, users_voice=3.5)
    net = ds_cnn.train_base(corpus, Training(learning_rate=3e-3, epochs=12, batch_size=12), excluded=[], seed=1)
    return toy(Base(net, tensors_of(net), WORDS, torch.ones(10), ds_cnn.adapted, ds_cnn.predict), corpus)
