"""Model files that were damaged, converted or edited: one clear error, whatever the loader."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.models import encoder as encoders
from edgekws.models import feedforward_lif, recurrent_lif, temporal_conv
from edgekws.models.settings import Conventional, LifNetwork, Network


def saved(folder, kind):
    """A small model of a kind, as its own writer leaves it, and its loader."""
    path, new = folder / f"{kind}.safetensors", torch.Generator()
    more = {"vocabulary": ["no", "yes"], "about": {"features": {"mels": 40}}, "provenance": {}}
    if kind == "recurrent":
        net = recurrent_lif.RecurrentLIF(Network(hidden=[4]), inputs=6, outputs=3, generator=new)
        recurrent_lif.save_network(path, net, feature_scale=torch.ones(6), **more)
        return path, recurrent_lif.load_network
    if kind == "feed-forward":
        net = feedforward_lif.FeedForwardLIF(LifNetwork(hidden=[4]), inputs=6, outputs=2, generator=new)
        feedforward_lif.save_network(path, net, **more)
        return path, feedforward_lif.load_network
    if kind == "conventional":
        net = temporal_conv.TemporalConv(Conventional(), inputs=6, outputs=2, generator=new)
        temporal_conv.save_network(path, net, **more)
        return path, temporal_conv.load_network
    encoders.save_encoder(path, encoders.build("ds_cnn_s", [4] * 5, seed=0), "ds_cnn_s", about={}, provenance={})
    return path, encoders.load_encoder


def changed(path, tensors=None, settings=None):
    """The same file with its tensors and settings put through functions."""
    with safe_open(path, "pt") as stored:
        about = stored.metadata()
        held = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    if tensors:
        held = tensors(held)
    if settings:
        made_with = json.loads(about["settings"])
        settings(made_with)
        about["settings"] = json.dumps(made_with)
    save_file(held, path, metadata=about)


def every(change):
    return lambda held: {name: change(tensor) if tensor.is_floating_point() else tensor for name, tensor in held.items()}


KINDS = ("recurrent", "feed-forward", "conventional", "encoder")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_file_is_read(tmp_path, kind):
    path, load = saved(tmp_path, kind)
    changed(path)
    load(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("change", "says"), [
    (every(lambda tensor: tensor.half()), "is float16, not float32"),
    (every(lambda tensor: tensor.bfloat16()), "is bfloat16, not float32"),
    (every(lambda tensor: tensor.double()), "is float64, not float32"),
    (every(lambda tensor: (100 * tensor).to(torch.int8)), "is int8 and has no scale|names no known encoder"),
    (every(lambda tensor: torch.full_like(tensor, float("nan"))), "no numbers"),
    (every(lambda tensor: torch.full_like(tensor, float("inf"))), "no numbers")])
def test_weights_of_another_precision_or_that_are_no_numbers(tmp_path, kind, change, says):
    path, load = saved(tmp_path, kind)
    changed(path, change)
    with pytest.raises(UserError, match=says) as caught:
        load(path)
    assert caught.value.where == path and caught.value.remedy


@pytest.mark.parametrize("kind", KINDS)
def test_one_weight_that_is_no_number_is_enough(tmp_path, kind):
    path, load = saved(tmp_path, kind)

    def spoil(held):
        name = min(name for name in held if held[name].is_floating_point())
        held[name].view(-1)[0] = float("nan")
        return held

    changed(path, spoil)
    with pytest.raises(UserError, match="no numbers"):
        load(path)


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize(("words", "says"), [
    (None, "does not say its 'vocabulary'"), ("yes no", "no list of words"), ([], "no list of words"),
    ([1, 2], "no list of words"),
    (["yes", "yes"], "names a word twice"), (["a", "b", "c", "d"], r"has 4 words for \d outputs")])
def test_a_vocabulary_that_is_none(tmp_path, kind, words, says):
    path, load = saved(tmp_path, kind)
    changed(path, settings=lambda made_with: made_with.update(vocabulary=words))
    with pytest.raises(UserError, match=says) as caught:
        load(path)
    assert caught.value.where == path
    changed(path, settings=lambda made_with: made_with.pop("vocabulary"))
    with pytest.raises(UserError, match="does not say its 'vocabulary'"):
        load(path)


@pytest.mark.parametrize("scale", [torch.zeros(6), torch.ones(5), torch.ones(1, 6), -torch.ones(6),
                                   torch.ones(6, dtype=torch.int32)])
def test_a_feature_scale_that_does_not_fit(tmp_path, scale):
    path, load = saved(tmp_path, "recurrent")
    changed(path, lambda held: held | {"feature_scale": scale})
    with pytest.raises(UserError, match=r"'feature_scale' is \w+ of shape .*, not 6 values above 0"):
        load(path)


@pytest.mark.parametrize(("kind", "name"), [
    ("recurrent", "network"), ("feed-forward", "network"), ("conventional", "conventional")])
def test_settings_that_are_missing(tmp_path, kind, name):
    path, load = saved(tmp_path, kind)
    changed(path, settings=lambda made_with: made_with.pop(name))
    with pytest.raises(UserError, match=f"does not say its '{name}'"):
        load(path)


def test_a_pointer_of_git_lfs_is_called_one(tmp_path):
    (tmp_path / "a.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 2\n")
    with pytest.raises(UserError, match="Git LFS") as caught:
        files.read_model(tmp_path / "a.safetensors")
    assert "git lfs pull" in caught.value.remedy
