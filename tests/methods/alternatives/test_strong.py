"""Strong bases: augmentation, training that can be cut off, adapting, the verbs from levels to a summary."""

import json

import numpy as np
import pytest
import torch
from tests.methods.alternatives.conftest import WORDS, made_up_corpus
from typer.testing import CliRunner

from edgekws.core import files
from edgekws.core.checkpoint import Checkpoint
from edgekws.core.errors import UserError
from edgekws.corpus import index
from edgekws.methods.alternatives import cli, experiments
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining, Augmentation, Strong
from edgekws.methods.alternatives.strong import learning, training
from edgekws.methods.alternatives.strong.augmentation import Augment
from edgekws.models.adaptive_lif import AdaptiveLIF
from edgekws.models.encoder import tensors_of
from edgekws.protocol import users as plan
from edgekws.protocol.settings import ManyUsers, OneUser

pytestmark = pytest.mark.usefixtures("one_thread")
NOTHING = {"shift": 0.0, "stretch": 0.0, "warp": 0.0, "noise_probability": 0.0, "masks": 0}
SMALL = Strong.model_validate({
    "ds_cnn": {"epochs": 3, "batch_size": 12, "widths": [8] * 5},
    "spiking": {"epochs": 4, "batch_size": 12, "learning_rate": 0.02},
    "network": {"hidden": [12]}, "augmentation": {"warp": 0.0, "stretch": 0.02, "shift": 0.02}, "folds": 1, "shots": ["all"],
    "tuning": {"learning_rate": [0.001, 0.01], "users": 1}, "training": {"epochs": 2}})
BUDGET = AlternativeTraining(learning_rate=1e-3, epochs=2, batch_size=8)
FACTS = {"archive": "toy.tar", "archive_sha256": "0" * 64, "archive_bytes": 1, "name": "gsc", "words": WORDS, "synthetic": True,
         "clips": 84, "speakers": 7}


def corpus():
    made = made_up_corpus(94, 40)
    return type(made)(made.features * 8 - 40, made.index, made.vocabulary)


NOISE = 5 * torch.randn(6, 94, 40, generator=torch.Generator().manual_seed(5)) - 60


def augment(seed=0, **changed):
    return Augment(Augmentation(**{**NOTHING, **changed}), NOISE, np.random.default_rng(seed))


def picture():
    """One loud cell in silence, of each of 200 clips."""
    levels = torch.full((200, 94, 40), -100.0)
    levels[:, 47, 20] = 0.0
    return levels


# ------------------------------------------------------------------------------------------------ augmentation
def test_without_any_variation_clips_stay_as_they_are_and_the_given_ones_always_do():
    levels = torch.from_numpy(corpus().features[:8])
    torch.testing.assert_close(augment()(levels), levels, rtol=0, atol=1e-3)
    kept = levels.clone()
    Augment(Augmentation(), NOISE, np.random.default_rng(0))(levels)
    assert torch.equal(levels, kept)


def loudest(levels):
    places = levels.flatten(1).argmax(1)
    return places // 40, places % 40


def test_a_shift_moves_frames_up_to_its_limit_and_brings_in_silence():
    rows, bands = loudest(augment(shift=0.1).warped(picture()))
    assert (bands == 20).all() and rows.min() >= 47 - 11 and rows.max() <= 47 + 11 and rows.max() - rows.min() > 15
    moved = augment(shift=0.1).warped(torch.full((50, 94, 40), -10.0))
    assert (moved[:, 40:50] > -11).all() and (moved[:, [0, -1]] < -90).any()


def test_a_warp_moves_bands_and_a_stretch_moves_what_is_off_the_middle():
    rows, bands = loudest(augment(warp=0.1).warped(picture()))
    assert (rows == 47).all() and bands.min() < 20 < bands.max() and bands.min() >= 16 and bands.max() <= 24
    early = picture().roll(-30, 1)
    rows, bands = loudest(augment(stretch=0.2).warped(early))
    assert (bands == 20).all()
    assert rows.min() < 17 < rows.max()


def test_noise_is_added_as_power_at_the_ratio_that_is_asked_for():
    levels = torch.from_numpy(corpus().features[:40])
    noisy = augment(noise_probability=1.0, snr_db=(10.0, 10.0)).noisy(levels)
    power = lambda dB: (10 ** (dB.double() / 10)).mean((1, 2))  # noqa: E731
    torch.testing.assert_close(power(noisy) / power(levels), torch.full((40,), 1.1, dtype=torch.float64), rtol=1e-3, atol=0)
    some = augment(noise_probability=0.5).noisy(levels)
    untouched = (some - levels).abs().amax((1, 2)) < 1e-3
    assert 5 < untouched.sum() < 35


def test_masks_hide_stripes_no_wider_than_asked():
    levels = torch.randn(60, 94, 40, generator=torch.Generator().manual_seed(0))
    hidden = augment(masks=1, masked_frames=7, masked_bands=3).masked(levels) != levels
    frames, bands = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert 4 < frames.max() <= 7 and 1 < bands.max() <= 3 and frames.min() == 0


# ------------------------------------------------------------------------------------------------ training
@pytest.mark.parametrize("name", ["strong_ds_cnn", "strong_spiking"])
def test_training_repeats_itself_and_goes_on_to_the_same_bytes_where_it_was_cut_off(name, tmp_path, monkeypatch):
    monkeypatch.setattr("edgekws.core.checkpoint.PAUSE", 0.0)
    monkeypatch.setattr("edgekws.core.checkpoint.SHARE", 1e9)
    whole = tensors_of(training.train_base(corpus(), NOISE, name, SMALL, excluded=["t1"], seed=3))
    saved, save = [], Checkpoint.save

    def cut_off(self, after, state):
        save(self, after, state)
        saved.append(after)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", cut_off)
    for again in range(2):
        with Checkpoint(tmp_path / "b.safetensors", name=name) as checkpoint:
            if not again:
                with pytest.raises(KeyboardInterrupt):
                    training.train_base(corpus(), NOISE, name, SMALL, excluded=["t1"], seed=3, checkpoint=checkpoint)
                checkpoint.path = None  # what is left stays for the next start
            else:
                resumed = training.train_base(corpus(), NOISE, name, SMALL, excluded=["t1"], seed=3, checkpoint=checkpoint)
    assert saved[1].startswith("epoch 2 of")
    assert all(torch.equal(tensor, tensors_of(resumed)[key]) for key, tensor in whole.items())


def test_the_spiking_base_learns_the_words_and_adapting_it_changes_what_the_method_names():
    settings = SMALL.model_copy(update={"spiking": SMALL.spiking.model_copy(update={"epochs": 25})})
    data = corpus()
    net = training.train_base(data, NOISE, "strong_spiking", settings, excluded=[], seed=0)
    assert isinstance(net, AdaptiveLIF) and not net.norms
    users = data.clips(data.index[data.index.split == "test"]["clip"].to_numpy(), frozen_scale=torch.ones(40))
    assert (learning.predict(net, users) == users.labels).mean() > 0.6
    for kind, untouched in (("readout", {"hidden.0.weight", "cells.0.recurrent_weights"}), ("full", {"cells.0.alpha"}),
                            ("traces_propagation", {"cells.0.beta"})):
        method = AlternativeMethod(kind=kind, net="strong_spiking")
        delta = learning.learn(net, users, users.labels, method, BUDGET, seed=0)
        changed = {name for name, tensor in learning.adapted(net, delta).state_dict().items()
                   if not torch.equal(tensor, net.state_dict()[name])}
        assert "readout.weight" in changed and not changed & (untouched | {"mean", "deviation"})
        assert kind == "readout" or {"hidden.0.weight", "hidden.0.bias"} <= changed
    with pytest.raises(UserError, match="no 'lora'"):
        learning.learn(net, users, users.labels, AlternativeMethod(kind="lora", net="strong_spiking"), BUDGET, seed=0)


# ------------------------------------------------------------------------------------------------ the verbs
def test_from_levels_to_the_summary(tmp_path):
    data = corpus()
    index.write_index(tmp_path / "i.parquet", data.index, FACTS)
    files.write_table(tmp_path / "one.parquet", *plan.one_user(data.index, OneUser(speaker="t1", support_fraction=0.5)))
    many = ManyUsers(minimum_takes=6, folds=2, shots=[1, "all"])
    files.write_table(tmp_path / "many.parquet", *plan.many_users(data.index, many))
    np.save(tmp_path / "levels.npy", data.features)
    np.save(tmp_path / "noise.npy", NOISE.numpy())
    np.save(tmp_path / "mfcc.npy", data.features[:, ::2, :10].copy())
    parts = []
    for net, features in (("strong_spiking", "levels"), ("strong_ds_cnn", "mfcc")):
        base, out = tmp_path / f"{net}.safetensors", tmp_path / f"{net}.json"
        run("strong-base", tmp_path / "levels.npy", tmp_path / "noise.npy", tmp_path / "i.parquet", tmp_path / "one.parquet",
            base, "--net", net, "--settings", SMALL.model_dump_json(), "--no-progress")
        assert experiments.read_base(base, net)[1]["settings"]["accuracy"].keys() == {"validation", "test"}
        run("strong-adapt", tmp_path / f"{features}.npy", tmp_path / "i.parquet", tmp_path / "many.parquet", base, out,
            "--net", net, "--settings", json.dumps({"strong": SMALL.model_dump(mode="json"), "others": 12}), "--no-progress")
        parts.append(out)
    run("summarise-strong", tmp_path / "strong.json", *parts, "--set", "resamples=20")
    found = files.read_json(tmp_path / "strong.json")
    assert set(found["summary"]) == set(SMALL.methods) == set(found["checks"])
    assert found["bases"].keys() == {"strong_spiking", "strong_ds_cnn"}
    assert {row["user"] for row in found["rows"]} == {"u0", "u1"}


def run(*arguments):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
