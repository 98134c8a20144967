"""One clip at a time: what the two contrasts learn of it, and what is kept."""

import numpy as np
import pytest
import torch

from edgekws.methods.traces_propagation import stream
from edgekws.methods.traces_propagation.settings import Stream
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.protocol.clips import Clips
from edgekws.protocol.settings import Statistics


@pytest.fixture
def base():
    return RecurrentLIF(Network(hidden=[20], threshold=0.3), inputs=6, outputs=4, generator=torch.Generator().manual_seed(0))


def clips(labels):
    features = np.random.default_rng(0).random((len(labels), 10, 6), dtype=np.float32)
    return Clips(features, np.arange(len(labels)), np.array(labels), torch.ones(1, 6), np.zeros(len(labels), np.int64))


def learn(base, labels, way, **settings):
    chosen = Stream(learning_rate=1e-3, **settings)
    return [{name: tensor.clone() for name, tensor in net.state_dict().items()}
            for net in stream.hear(base, clips(labels), way, chosen, seed=1)]


def test_as_published_clips_one_by_one_leave_the_hidden_layer_as_it_was(base):
    for state in learn(base, [0, 1, 2], stream.Way("batch", 0)):
        assert torch.equal(state["hidden.0.input"], base.state_dict()["hidden.0.input"])
        assert torch.equal(state["hidden.0.recurrent"], base.state_dict()["hidden.0.recurrent"])
    assert not torch.equal(state["readout"], base.readout), "the readout learns"


def test_mended_the_first_clip_teaches_the_hidden_layer(base):
    first = learn(base, [0, 1, 2], stream.Way("classes", 0))[0]
    assert not torch.equal(first["hidden.0.input"], base.state_dict()["hidden.0.input"])


def test_a_reservoir_is_contrast_enough_from_the_second_clip_on(base):
    states = learn(base, [0, 1], stream.Way("batch", 1))
    assert torch.equal(states[0]["hidden.0.input"], base.state_dict()["hidden.0.input"])
    assert not torch.equal(states[1]["hidden.0.input"], base.state_dict()["hidden.0.input"])


def test_the_reservoir_is_bounded_and_a_fair_sample(base, monkeypatch):
    """Over many streams every clip is kept about equally often; a batch never holds more than the new clip and the kept."""
    held = np.zeros(6)
    chosen = Stream(learning_rate=1e-9)

    class Watched(Clips):
        def __getitem__(self, places):
            batches.append(list(places))
            return super().__getitem__(places)

    own = clips([0, 1, 2, 3, 0, 1, 2])
    for seed in range(150):
        batches = []
        watched = Watched(own.features, own.rows, own.labels, own.scale, own.scale_of)
        for _ in stream.hear(base, watched, stream.Way("classes", 2), chosen, seed=seed):
            pass
        assert [len(batch) for batch in batches] == [1, 2, 3, 3, 3, 3, 3]
        held[batches[-1][1:]] += 1
    assert held.sum() == 300 and abs(held - 50).max() < 5 * (150 * (1 / 3) * (2 / 3)) ** 0.5


def test_curves_hold_where_every_user_has_heard_as_much():
    def row(user, heard, gained, kind="stream", size=0):
        return {"user": user, "fold": 0, "kind": kind, "contrast": "batch", "size": size, "heard": heard, "query_clips": 10,
                "correct_before": 5, "correct_after": 5 + gained}

    part = {"seed": 0, "rows": [row("a", 1, 1), row("a", 8, 2), row("b", 1, 0), row("b", 6, 1), row("a", 8, 3, "batches", 16),
                                row("b", 6, 2, "batches", 16)]}
    found = stream.summarise([part], Statistics())
    assert list(found["curves"]["batch_0"]) == ["1"] and found["curves"]["batch_0"]["1"]["value"] == pytest.approx(5)
    assert found["batches"]["batch"]["16"]["value"] == pytest.approx(25)
