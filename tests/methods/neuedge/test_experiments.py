"""The arms: what each is trained on and with; the encoder swept, and what its file says."""

import numpy as np
import pandas as pd
import pytest
import torch

from edgekws.core.provenance import derive_seed
from edgekws.methods.neuedge import encoding, experiments, training
from edgekws.methods.neuedge.mapping import Mapping
from edgekws.methods.neuedge.settings import AdaptiveThreshold, Encoder, EncodingGrid, Hardware, NeuEdge, SpikingTraining
from edgekws.models import feedforward_lif, temporal_conv
from edgekws.models.feedforward_lif import FeedForwardLIF
from edgekws.models.settings import Conventional, LifNetwork
from edgekws.models.temporal_conv import TemporalConv

WORDS = ["no", "up", "yes"]
ENCODER = Encoder(base_threshold=1.5)


pytestmark = pytest.mark.usefixtures("one_thread")  # these networks are too small for more


@pytest.fixture(scope="module")
def corpus():
    """72 clips of three words, two bands each; a third of them repeats the clip before it."""
    random = np.random.default_rng(0)
    labels = np.arange(72) % 3
    features = random.uniform(0, 0.3, (72, 30, 6)).astype(np.float32)
    for clip, label in enumerate(labels):
        features[clip, 5:, 2 * label:2 * label + 2] += 0.6
    index = pd.DataFrame({"word": [WORDS[label] for label in labels],
                          "split": ["train"] * 48 + ["validation"] * 12 + ["test"] * 12,
                          "repeat_of": [f"clip {clip - 1}" if clip % 3 == 2 else "" for clip in range(72)]})
    return experiments.Corpus(features, index, WORDS)


def chosen(**values):
    plain = {"encoder": ENCODER, "network": LifNetwork(hidden=[12, 12]),
             "training": SpikingTraining(epochs=10, batch_size=16, time_shift=0, band_shift=0, level_shift=0.0),
             "hardware": Hardware(group=4, placement_steps=10), "conventional": Conventional(channels=[8])}
    return NeuEdge(**{**plain, **values})


# ------------------------------------------------------------------------------------------------ clips
def test_rows_of_a_split_and_their_labels(corpus):
    assert corpus.rows("train").tolist() == list(range(48))
    assert corpus.rows("validation").tolist() == list(range(48, 60))
    assert corpus.rows("test").tolist() == [clip for clip in range(60, 72) if clip % 3 != 2]  # repeats are left out
    assert corpus.labels(np.array([7, 2, 60])).tolist() == [1, 2, 0]


def test_labels_follow_the_order_of_the_words(corpus):
    other = experiments.Corpus(corpus.features, corpus.index, ["yes", "no", "up"])
    assert other.labels(np.array([0, 1, 2])).tolist() == [1, 2, 0]


def test_clips_taken_are_read_when_asked_for():
    class Recorded:
        def __init__(self, values):
            self.values, self.asked = values, []

        def __getitem__(self, places):
            self.asked.append(places.tolist())
            return self.values[places]

    features = Recorded(np.arange(10.0))
    taken = experiments.Taken(features, np.array([8, 3, 5]))
    assert len(taken) == 3
    assert features.asked == []
    assert taken[np.array([2, 0])].tolist() == [5, 8]
    assert features.asked == [[5, 8]]


# ------------------------------------------------------------------------------------------------ codes
def test_codes_of_the_arms():
    assert experiments.ARMS == ("rate", "lif", "hybrid", "mapped", "full", "ann")
    assert experiments.CODES == {"rate": "rate", "lif": "lif", "hybrid": "hybrid", "mapped": "hybrid", "full": "hybrid"}


def test_the_lif_code_is_the_hybrid_one_without_modulation(corpus):
    features, generator = corpus.features[:4], np.random.default_rng(0)
    plain = encoding.hybrid(encoding.channels(features, ENCODER), ENCODER.model_copy(update={"alpha": 0.0}))
    assert np.array_equal(experiments.encode(features, "lif", ENCODER, generator), plain)
    modulated = experiments.encode(features, "hybrid", ENCODER, generator)
    assert np.array_equal(modulated, encoding.hybrid(encoding.channels(features, ENCODER), ENCODER))
    assert modulated.sum() > plain.sum() > 0
    assert experiments.encoder_of("hybrid", ENCODER) == experiments.encoder_of("rate", ENCODER) == ENCODER
    assert generator.random() == np.random.default_rng(0).random()  # neither has drawn


def test_the_rate_code_draws(corpus):
    generator = np.random.default_rng(0)
    first, second = (experiments.encode(corpus.features[:4], "rate", ENCODER, generator) for _ in range(2))
    assert first.shape == (4, 30, 18)
    assert not np.array_equal(first, second)
    driven = encoding.channels(corpus.features[:4], ENCODER)
    assert first.mean() == pytest.approx(driven.mean(), abs=0.03)
    assert not first[driven == 0].any()


@pytest.mark.parametrize("code", ["rate", "lif", "hybrid"])
def test_rows_are_encoded_alike_in_pieces_and_at_once(corpus, code, monkeypatch):
    rows = np.array([50, 3, 12, 70, 9])
    whole = experiments.encode_rows(corpus.features, rows, code, ENCODER, seed=1)
    generator = np.random.default_rng(derive_seed(1, "rate code"))
    assert np.array_equal(whole, experiments.encode(corpus.features[rows], code, ENCODER, generator))
    monkeypatch.setattr(experiments, "_CHUNK", 2)
    assert np.array_equal(whole, experiments.encode_rows(corpus.features, rows, code, ENCODER, seed=1))
    other = experiments.encode_rows(corpus.features, rows, code, ENCODER, seed=2)
    assert np.array_equal(whole, other) == (code != "rate")


# ------------------------------------------------------------------------------------------------ arms
@pytest.mark.parametrize("arm", experiments.ARMS)
def test_every_arm_is_trained_as_its_name_says(corpus, arm, monkeypatch):
    codes, options = set(), []
    encode, train = experiments.encode, training.train_spiking
    monkeypatch.setattr(experiments, "encode",
                        lambda features, code, *rest: codes.add(code) or encode(features, code, *rest))
    monkeypatch.setattr(training, "train_spiking",
                        lambda *given, **named: options.append(named) or train(*given, **named))
    net, about = experiments.train_arm(corpus, arm, chosen(), seed=0)
    assert about.keys() == {"activity", "epochs", "mapping", "validation_accuracy"}
    assert about["validation_accuracy"] > 60
    assert len(about["epochs"]) == 10
    if arm == "ann":
        assert isinstance(net, TemporalConv) and not options
        assert net.convolutions[0].in_channels == 6
        assert (about["activity"], about["mapping"]) == ([], None)
        return
    assert isinstance(net, FeedForwardLIF)
    assert (net.inputs, net.outputs, net.settings.hidden) == (18, 3, [12, 12])
    assert codes == {experiments.CODES[arm]}
    assert (options[0]["hardware"] is not None) == (arm in ("mapped", "full"))
    assert (options[0]["adaptive"] is not None) == (arm == "full")
    assert len(about["activity"]) == 2
    if arm in ("mapped", "full"):
        assert Mapping.from_json(about["mapping"]).sizes == [18, 12, 12, 3]
        assert (options[0]["hardware"].warm_up, options[0]["hardware"].ramp) == (2, 2)  # a fifth of ten epochs
    else:
        assert about["mapping"] is None


def test_arms_and_seeds_start_from_weights_of_their_own(corpus):
    untrained = chosen(training=SpikingTraining(epochs=1, learning_rate=1e-30, final_learning_rate=1e-30,
                                                         quantised=0.0))

    def readout(arm, seed):
        return experiments.train_arm(corpus, arm, untrained, seed=seed)[0].readout.weight

    assert torch.equal(readout("hybrid", 0), readout("hybrid", 0))
    assert not torch.equal(readout("hybrid", 0), readout("hybrid", 1))
    assert not torch.equal(readout("hybrid", 0), readout("lif", 0))


@pytest.mark.parametrize("arm", ["rate", "mapped", "ann"])
def test_a_seed_decides_on_every_byte_of_an_arm(corpus, arm, tmp_path):
    for name in ("first", "second"):
        net, about = experiments.train_arm(corpus, arm, chosen(), seed=3)
        experiments.write_arm(tmp_path / name, net, words=WORDS, about={"arm": arm, **about}, provenance={})
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    load = temporal_conv.load_network if arm == "ann" else feedforward_lif.load_network
    back, metadata = load(tmp_path / "first")
    assert torch.equal(back.readout.weight, net.readout.weight)
    assert metadata["settings"]["vocabulary"] == WORDS
    assert metadata["settings"]["validation_accuracy"] == about["validation_accuracy"]


@pytest.mark.parametrize("arm", ["rate", "lif"])
def test_validation_accuracy_is_that_of_the_network(corpus, arm):
    """By hand, on the spikes of the validation split."""
    net, about = experiments.train_arm(corpus, arm, chosen(), seed=0)
    rows = corpus.rows("validation")
    said, _ = training.evaluate(net, experiments.encode_rows(corpus.features, rows, arm, ENCODER, seed=0))
    assert about["validation_accuracy"] == pytest.approx(100 * (said == corpus.labels(rows)).mean())


def test_rule_maker():
    rule = experiments.rule_maker(AdaptiveThreshold(decay=0.8, clamp=(0.25, 3.0)), 0.7, -1)([0.1, 0.2])
    assert (rule.gamma, rule.targets, rule.decay, rule.clamp, rule.sign) == (0.7, (0.1, 0.2), 0.8, (0.25, 3.0), -1)


# ------------------------------------------------------------------------------------------------ the encoder swept
def test_points_of_the_grid():
    grid = EncodingGrid(base_threshold=[1.0, 2.0], alpha=[0.0, 0.5])
    assert experiments.grid_points(grid) == [
        ("rate", None, None), ("hybrid", 1.0, 0.0), ("hybrid", 1.0, 0.5), ("hybrid", 2.0, 0.0), ("hybrid", 2.0, 0.5)]


def test_the_sweep_encodes_and_trains_at_every_point(corpus):
    grid = EncodingGrid(base_threshold=[1.5], alpha=[0.0, 0.75], epochs=2)
    rows = list(experiments.sweep_encoder(corpus, chosen(grid=grid), seed=0))
    assert [(row["code"], row["base_threshold"], row["alpha"]) for row in rows] == [
        ("rate", None, None), ("hybrid", 1.5, 0.0), ("hybrid", 1.5, 0.75)]
    validation, train = corpus.rows("validation"), corpus.rows("train")
    for row, code, alpha in zip(rows, ("rate", "lif", "hybrid"), (0.5, 0.5, 0.75), strict=True):
        encoder = ENCODER.model_copy(update={"alpha": alpha})
        spikes, informed = (experiments.encode_rows(corpus.features, some, code, encoder, seed=0)
                            for some in (validation, train))
        assert row["spikes_per_clip"] == pytest.approx(spikes.sum() / 12)
        assert (row["clips"], row["steps"], row["units"]) == (12, 30, 18)
        assert row["spikes_per_window"] == pytest.approx(informed[:, :25].sum() / (len(train) * 18))
        assert row["bits_per_spike"] == pytest.approx((row["bits"] - row["control"]) / row["spikes_per_window"])
        assert len(row["activity"]) == 2
        assert 0 <= row["accuracy"] <= 100
    _, about = experiments.train_arm(corpus, "hybrid", chosen(
        encoder=ENCODER.model_copy(update={"alpha": 0.75}),
        training=chosen().training.model_copy(update={"epochs": 2})), seed=0)
    assert rows[2]["accuracy"] == about["validation_accuracy"]


def point(base, alpha, spikes, *, accuracy=80.0, efficiency=0.5):
    return {"code": "hybrid", "base_threshold": base, "alpha": alpha, "spikes_per_clip": spikes, "accuracy": accuracy,
            "bits_per_spike": efficiency}


RATE = {"code": "rate", "base_threshold": None, "alpha": None, "spikes_per_clip": 900.0, "accuracy": 84.0,
        "bits_per_spike": 0.25}


def test_points_are_held_against_the_rate_code():
    found = experiments.encoding_file([RATE, point(2.0, 0.5, 300.0), point(4.0, 0.5, 0.0, efficiency=None)])
    assert found["rate"] == RATE
    first, silent = found["grid"]
    assert (first["spike_reduction"], first["accuracy_change"], first["efficiency_gain"]) == (3.0, -4.0, 2.0)
    assert silent["efficiency_gain"] is None
    assert silent["spike_reduction"] > 1e9


def test_the_check_of_alpha_where_it_adds_spikes():
    rows = [point(1.0, 0.5, 250.0), point(1.0, 0.0, 200.0), point(1.0, 0.75, 240.0), point(2.0, 0.0, 90.0),
            point(2.0, 0.5, 100.0), point(2.0, 0.75, 110.0)]
    check = experiments.encoding_file([RATE, *rows])["checks"]["alpha_saves_spikes"]
    assert check == {"holds": False, "why": "a larger alpha gives more spikes in 3 of 4 steps of the grid (at a base "
                                            "threshold of 1 200 -> 250 -> 240 spikes a clip)"}


def test_the_check_of_alpha_where_it_saves_spikes():
    rows = [point(1.5, 0.0, 200.0), point(1.5, 0.5, 150.0), point(1.5, 0.75, 150.0)]
    check = experiments.encoding_file([RATE, *rows])["checks"]["alpha_saves_spikes"]
    assert check["holds"]
    assert check["why"].startswith("a larger alpha gives more spikes in 0 of 2 steps")


def test_the_check_of_alpha_needs_two_of_them():
    check = experiments.encoding_file([RATE, point(1.5, 0.5, 100.0), point(2.0, 0.5, 50.0)])["checks"]["alpha_saves_spikes"]
    assert not check["holds"]
