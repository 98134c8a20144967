"""The conventional classifier, its base training, and every way to adapt it."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy, relu

from edgekws.core.checkpoint import Checkpoint
from edgekws.core.errors import UserError
from edgekws.corpus import index
from edgekws.features import logmel, pack
from edgekws.features.mfcc import mfcc
from edgekws.methods.alternatives import ds_cnn
from edgekws.methods.alternatives.ds_cnn import Classifier, Part, adapted, learn
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining
from edgekws.models.delta.delta import Delta
from edgekws.models.encoder import tensors_of
from edgekws.protocol.clips import Corpus
from edgekws.protocol.settings import Training
from edgekws.protocol.training import cosine_rate

KINDS = ["full", "full_int8", "readout", "last_layer", "threshold", "lora", "adapter"]
BUDGET = AlternativeTraining(learning_rate=1e-2, epochs=4, batch_size=12)
pytestmark = pytest.mark.usefixtures("one_thread")


def method(kind, rank=2, **values):
    return AlternativeMethod(kind=kind, net="ds_cnn", rank=rank, **values)


def classifier(widths=(12,) * 5, outputs=3):
    """A classifier whose statistics are those of a task."""
    net, (features, _) = Classifier(outputs, widths=widths), task(clips=90, seed=9)
    net.mean[:], net.deviation[:] = features.mean((0, 1)), features.std((0, 1))
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches, here of one
    with torch.no_grad():
        net.train()(features)
    return net.eval()


def task(clips=36, seed=0, noise=0.5):
    """MFCC of three classes, each with a spectrum of its own, in noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(3, 1, 10, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(clips) % 3
    return patterns[labels] + noise * torch.randn(clips, 47, 10, generator=generator), labels


def disturb(part, seed=0):
    """Values of their own for all that a part trains, new factors included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in part.weights.values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))


def accuracy(net, features, labels):
    return float((ds_cnn.predict(net, features) == labels.numpy()).mean())


def same(first, second):
    first, second = tensors_of(first), tensors_of(second)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ------------------------------------------------------------------------------------------------ the net
def test_logits_are_a_linear_map_of_the_mean_of_the_rectified_last_map():
    net, features = classifier(), task()[0]
    maps = net.encoder.stem(((features - net.mean) / net.deviation)[:, None])
    for block in net.encoder.blocks:
        maps = block(maps)
    assert bool((maps < 0).any())
    expected = torch.einsum("ow,nwtf->no", net.linear.weight, relu(maps)) / maps[0, 0].numel() + net.linear.bias
    torch.testing.assert_close(net(features), expected)


def test_predictions_are_those_of_the_whole_set_at_once():
    net, (features, _) = classifier(), task(clips=150)
    np.testing.assert_array_equal(ds_cnn.predict(net, features.numpy()), net(features).argmax(1).numpy())
    assert ds_cnn.predict(net, features[:0]).shape == (0,)


def test_weights_follow_from_the_seed():
    assert same(Classifier(4, seed=1), Classifier(4, seed=1))
    assert not torch.equal(Classifier(4, seed=1).linear.weight, Classifier(4, seed=2).linear.weight)


@pytest.mark.parametrize("kind", ["full", "adapter"])
def test_file_round_trip(kind, tmp_path):
    net, path = classifier(widths=(5, 6, 7, 8, 9)), tmp_path / "classifier.safetensors"
    part = Part(net, method(kind), seed=0)
    disturb(part)
    made = adapted(net, part.delta())
    ds_cnn.save_classifier(path, made, vocabulary=["no", "up", "yes"], about={"seed": 3}, provenance={"code": "test"})
    read, metadata = ds_cnn.load_classifier(path)
    assert same(read, made) and not read.training
    assert metadata["vocabulary"] == ["no", "up", "yes"] and metadata["settings"]["seed"] == 3
    assert metadata["provenance"] == {"code": "test"}


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    net, path = classifier(), tmp_path / "classifier.safetensors"
    tensors = tensors_of(net)
    del tensors["encoder.blocks.2.4.weight"]
    monkeypatch.setattr(ds_cnn.classifier, "tensors_of", lambda net: tensors)
    ds_cnn.save_classifier(path, net, vocabulary=[], provenance={})
    with pytest.raises(UserError, match="does not hold the tensors") as caught:
        ds_cnn.load_classifier(path)
    assert caught.value.where == path


# ------------------------------------------------------------------------------------------------ what is changed
CONVOLUTIONS = ["stem.1", *(f"blocks.{block}.{layer}" for block in range(4) for layer in (1, 4))]
NORMALISATIONS = ["stem.2", *(f"blocks.{block}.{layer}" for block in range(4) for layer in (2, 5))]
CHANGED = {
    "readout": {"linear.weight", "linear.bias"},
    "last_layer": {"linear.weight", "linear.bias",
                   *(f"encoder.blocks.3.{layer}.{what}" for layer in (1, 2, 4, 5) for what in ("weight", "bias"))},
    "threshold": {"linear.bias", *(f"encoder.{name}.bias" for name in CONVOLUTIONS + NORMALISATIONS),
                  *(f"encoder.{name}.weight" for name in NORMALISATIONS)},
    "lora": {"linear.weight", *(f"encoder.blocks.{block}.4.weight" for block in range(4))},
    "adapter": {f"adapters.{block}.{what}.weight" for block in range(4) for what in ("down", "up")},
}
CHANGED["full"] = CHANGED["full_int8"] = CHANGED["threshold"] | {
    "linear.weight", *(f"encoder.{name}.weight" for name in CONVOLUTIONS)}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_the_kind_names_changes(kind):
    net, untouched = classifier(), classifier()
    delta = learn(net, *task(), method(kind), BUDGET, seed=0)
    before, after = tensors_of(net), tensors_of(adapted(net, delta))
    assert {name for name in after if name not in before or not torch.equal(before[name], after[name])} == CHANGED[kind]
    assert same(net, untouched)


@pytest.mark.parametrize(("kind", "values"), [
    ("full", 22_976 + 64 * 8 + 8), ("full_int8", 22_976 + 64 * 8 + 8), ("readout", 64 * 8 + 8),
    ("last_layer", 12 * 64 + 64 * 64 + 3 * 64 + 64 * 8 + 8),
    ("threshold", 3 * 64 + 4 * 6 * 64 + 8),  # a bias and an affine pair for each convolution's channels
    ("lora", 3 * (4 * (64 + 64) + 64 + 8)), ("adapter", 3 * 4 * (64 + 64))])
def test_values_of_a_delta_by_closed_form(kind, values):
    part = Part(Classifier(8), method(kind, rank=3), seed=0)
    assert part.delta().values == values == sum(tensor.numel() for tensor in part.weights.values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "lora"])
def test_base_and_delta_give_the_trained_nets_logits_bit_by_bit(kind):
    net, (features, _) = classifier(), task()
    part = Part(net, method(kind), seed=0)
    disturb(part)
    logits = part.logits(features)
    assert torch.equal(adapted(net, part.delta())(features), logits)
    assert not torch.allclose(net(features), logits, atol=1e-3)


def test_lora_is_merged_as_peft_merges_it():
    net, (features, _) = classifier(), task()
    part = Part(net, method("lora"), seed=0)
    disturb(part)
    delta = part.delta()
    for name, (up, down) in delta.low_rank.items():
        layer = part.net.get_submodule(name.removesuffix(".weight"))
        assert torch.equal(layer.get_delta_weight("default"), (up @ down).view_as(layer.base_layer.weight))
    torch.testing.assert_close(adapted(net, delta)(features), part.net(features), rtol=0, atol=1e-5)
    assert not torch.allclose(net(features), part.net(features), atol=1e-3)


@pytest.mark.parametrize("kind", ["lora", "adapter"])
def test_new_weights_are_the_identity_and_follow_from_the_seed(kind):
    net, (features, _) = classifier(), task()
    first, second, other = (Part(net, method(kind), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.logits(features), net(features))
    assert torch.equal(adapted(net, first.delta())(features), net(features))
    for name in first.weights:
        assert torch.equal(first.weights[name], second.weights[name])
    assert any(not torch.equal(first.weights[name], other.weights[name]) for name in first.weights)


def test_eight_bit_kernels_are_on_the_grid():
    net = classifier()
    delta = learn(net, *task(), method("full_int8"), BUDGET, seed=0)
    rounded = Part(net, method("full_int8"), seed=0).delta()
    for name, tensor in delta.replaced.items():
        if tensor.ndim > 1:
            levels = 127 * tensor / tensor.abs().max()
            torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)
            assert not torch.equal(tensor, rounded.replaced[name])


# ------------------------------------------------------------------------------------------------ how it is learnt
@pytest.mark.parametrize("kind", ["full", "readout"])
def test_gradient_descent_by_hand(kind):
    """One batch an epoch: w - rate * gradient in evaluation mode, at the cosine's rates, through the whole net."""
    net, (features, labels) = classifier(), task()
    budget = AlternativeTraining(learning_rate=0.05, epochs=3)
    delta = learn(net, features, labels, method(kind, optimiser="sgd"), budget, seed=0)
    twin = classifier()
    trained = {name: tensor for name, tensor in twin.named_parameters() if name in CHANGED[kind]}
    for epoch in range(3):
        gradients = torch.autograd.grad(cross_entropy(twin(features), labels), list(trained.values()))
        with torch.no_grad():
            for tensor, gradient in zip(trained.values(), gradients, strict=True):
                tensor -= cosine_rate(0.05, epoch, 3) * gradient
    assert delta.replaced.keys() == trained.keys()
    for name, tensor in delta.replaced.items():
        torch.testing.assert_close(tensor, trained[name].detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_learns_above_the_base(kind):
    net, (features, labels) = classifier((16,) * 5), task(clips=60, seed=1)
    start = accuracy(net, features, labels)
    budget = AlternativeTraining(learning_rate=2e-2, epochs=30, batch_size=12)
    delta = learn(net, *task(), method(kind, rank=4), budget, seed=0)
    assert accuracy(adapted(net, delta), features, labels) >= max(0.9, start + 0.3)


@pytest.mark.parametrize("kind", ["full", "lora", "adapter"])
def test_same_seed_same_bytes(kind):
    net, budget = classifier(), AlternativeTraining(epochs=2, batch_size=10)
    first, second, other = (learn(net, *task(), method(kind), budget, seed=seed).tensors() for seed in (7, 7, 8))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("kind", ["full", "readout"])
@pytest.mark.parametrize(("spoil", "said"), [
    (lambda features, labels: (features[:, :46], labels), "do not fit"),
    (lambda features, labels: (features * float("nan"), labels), "not finite"),
    (lambda features, labels: (features, labels[:-1]), "36 clips and 35 labels"),
    (lambda features, labels: (features, labels + 1), "labels from 1 to 3"),
    (lambda features, labels: (features[:0], labels[:0]), "no clips"),
])
def test_clips_that_do_not_fit_are_refused(kind, spoil, said):
    with pytest.raises(UserError, match=said):
        learn(classifier(), *spoil(*task()), method(kind), BUDGET, seed=0)


def test_a_rule_for_spiking_nets_is_refused():
    with pytest.raises(UserError, match="'eprop' is a rule for spiking nets"):
        learn(classifier(), *task(), method("eprop"), BUDGET, seed=0)


def test_a_delta_of_another_net_is_refused():
    delta = Part(classifier(widths=(9,) * 5), method("readout"), seed=0).delta()
    with pytest.raises(UserError, match=r"linear\.weight"):
        adapted(classifier(), delta)
    with pytest.raises(UserError, match="does not hold the tensors"):
        adapted(classifier(), Delta(added={"adapters.0.down.weight": torch.zeros(2, 12, 1, 1)}))


# ------------------------------------------------------------------------------------------------ corpus and base
def corpus():
    """Three words by six speakers; clips that base training must not see hold no numbers."""
    features, labels = task(clips=54)
    words, speakers = ["no", "up", "yes"], np.repeat(["a", "b", "c", "d", "left_out", "tester"], 9)
    table = pd.DataFrame({"clip": np.arange(54), "word": [words[label] for label in labels], "speaker": speakers,
                          "split": np.where(speakers == "tester", "test", "train"), "sha256": [str(clip) for clip in range(54)]})
    hidden = 7 * features
    hidden[36:] = float("nan")
    return Corpus(hidden.numpy(), table, words)


def train(seed=0, checkpoint=None, epochs=3):
    more = {} if checkpoint is None else {"checkpoint": checkpoint}
    return ds_cnn.train_base(corpus(), Training(learning_rate=3e-3, epochs=epochs, batch_size=4), excluded=["left_out"],
                             seed=seed, **more)


def test_base_training_sees_the_training_speakers_alone():
    net, seen = train(epochs=6), corpus().features[:36]
    np.testing.assert_allclose(net.mean, seen.mean((0, 1), dtype=np.float64), atol=1e-5)
    np.testing.assert_allclose(net.deviation, seen.std((0, 1), dtype=np.float64, ddof=1), rtol=1e-5)
    features, labels = task(clips=60, seed=5)
    assert accuracy(net, 7 * features, labels) >= 0.9 and not net.training


def test_base_training_repeats_itself():
    assert same(train(seed=1), train(seed=1))
    assert not torch.equal(train(seed=1).linear.weight, train(seed=2).linear.weight)


def test_base_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    class Cut(Exception):
        pass

    save, saved = Checkpoint.save, []

    def cutting(self, after, state):
        save(self, after, state)
        saved.append(after)
        if len(saved) == 2:
            raise Cut

    monkeypatch.setattr(Checkpoint, "due", lambda self: self.path is not None)
    with monkeypatch.context() as patched, pytest.raises(Cut):
        patched.setattr(Checkpoint, "save", cutting)
        with Checkpoint(tmp_path / "base") as checkpoint:
            train(checkpoint=checkpoint)
    assert saved == ["epoch 1 of 3", "epoch 2 of 3"]
    with Checkpoint(tmp_path / "base") as checkpoint:
        assert same(train(checkpoint=checkpoint), train())


def test_features_are_the_mfcc_of_each_clip_of_the_index(make_archive, sound, tmp_path):
    recordings = {f"{word}/{speaker}_nohash_0.wav": sound(seed, samples, peak) for seed, (word, speaker, samples, peak) in
                  enumerate([("yes", "b", 16_000, 900), ("no", "a", 12_000, 30_000), ("yes", "a", 18_000, 400)])}
    archive, index_path, out = make_archive(recordings), tmp_path / "index.parquet", tmp_path / "out" / "features.npy"
    index.write_index(index_path, *index.build_index(archive))
    ds_cnn.extract(archive, index_path, out, batch=2)
    table, _ = index.read_index(index_path)
    waves = np.stack([logmel.prepare(recordings[path]) for path in table.path])
    features = pack.open_features(out)
    assert features.shape == (3, 47, 10) and [path.name for path in out.parent.iterdir()] == ["features.npy"]
    np.testing.assert_allclose(features, mfcc(torch.from_numpy(waves)).numpy(), rtol=1e-5, atol=1e-4)
    clips = ds_cnn.clips_of(Corpus(features, table, ["no", "yes"]), [2, 0])
    np.testing.assert_array_equal(clips[[0, 1]].numpy(), features[[2, 0]])
    assert clips.labels.tolist() == [1, 0]
