"""The spiking network: its sizes, its scores against a loop and against Norse, 8-bit weights, files."""

import copy
import math

import pytest
import torch

from benchmarks import neuedge as benchmark
from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.models.feedforward_lif import FeedForwardLIF, load_network, quantised, save_network
from edgekws.models.settings import LifNetwork


def network(seed=0, inputs=6, outputs=4, **values):
    return FeedForwardLIF(LifNetwork(**{"hidden": [9, 7], **values}), inputs=inputs, outputs=outputs,
                          generator=torch.Generator().manual_seed(seed))


def busy(**values):
    """A network in double precision, with biases, whose neurons fire."""
    net, generator = network(**values).double(), torch.Generator().manual_seed(1)
    for layer in net.hidden:
        layer.weight.mul_(8)
        layer.bias.copy_(torch.randn(len(layer.bias), generator=generator, dtype=torch.float64))
    return net


def spikes(steps=30, clips=5, inputs=6):
    generator = torch.Generator().manual_seed(2)
    return (torch.rand(steps, clips, inputs, generator=generator) < 0.4).double()


# ------------------------------------------------------------------------------------------------ sizes
def test_weights_of_the_specification():
    net = network(inputs=40, outputs=35, hidden=[256, 256])
    assert sum(weights.numel() for weights in net.weights) == 84_736
    assert {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} == {
        "hidden.0.weight": (256, 40), "hidden.0.bias": (256,), "hidden.1.weight": (256, 256), "hidden.1.bias": (256,),
        "readout.weight": (35, 256)}
    assert not any(tensor.requires_grad for tensor in net.parameters())
    assert (net.inputs, net.outputs) == (40, 35)


def test_initial_weights_are_uniform_by_fan_in():
    net = network(inputs=120, outputs=35, hidden=[256, 256])
    for weights, gain in zip(net.weights, (1, 1, 10), strict=True):
        bound = gain / math.sqrt(weights.shape[1])
        assert weights.abs().max() <= bound
        assert weights.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not any(bias.any() for bias in net.biases)


def test_same_seed_same_weights_other_seed_others():
    assert torch.equal(network(1).readout.weight, network(1).readout.weight)
    assert not torch.equal(network(1).readout.weight, network(2).readout.weight)


# ------------------------------------------------------------------------------------------------ scores
def plain_loop(net, inputs, dropout=None):
    """Eq. 3 as it is written, a neuron of a clip at a time."""
    steps, clips, _ = inputs.shape
    values, scores = net.settings, torch.zeros(clips, net.outputs, dtype=inputs.dtype)
    fired = [torch.zeros(steps, clips, len(bias), dtype=inputs.dtype) for bias in net.biases]
    for clip in range(clips):
        v = [[0.0] * len(weights) for weights in net.weights]
        for t in range(steps):
            drive = inputs[t, clip].tolist()
            for index, (weights, bias) in enumerate(zip(net.weights, net.biases, strict=False)):
                for neuron, row in enumerate(weights.tolist()):
                    current = sum(w * s for w, s in zip(row, drive, strict=True)) + float(bias[neuron])
                    u = v[index][neuron] + (1 - values.leak) * (current - v[index][neuron])
                    if u > values.threshold:
                        fired[index][t, clip, neuron] = 1
                        u = 0.0 if values.reset == "hard" else u - values.threshold
                    v[index][neuron] = u
                drive = (fired[index][t, clip] * (1 if dropout is None else dropout[index][clip])).tolist()
            for word, row in enumerate(net.readout.weight.tolist()):
                current = sum(w * s for w, s in zip(row, drive, strict=True))
                v[-1][word] += (1 - values.output_leak) * (current - v[-1][word])
                scores[clip, word] += v[-1][word] / steps
    return scores, fired


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_scores_equal_a_plain_loop(reset):
    net, inputs = busy(reset=reset, leak=0.8, threshold=0.7, output_leak=0.6), spikes()
    (scores, counts), fired = net(inputs), net.spikes(inputs)
    expected, expected_fired = plain_loop(net, inputs)
    for layer, expected_layer in zip(fired, expected_fired, strict=True):
        assert 0.02 < float(layer.mean()) < 0.6
        assert torch.equal(layer, expected_layer)
    assert all(torch.equal(*pair) for pair in zip(counts, (layer.sum(0) for layer in expected_fired), strict=True))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)


def test_dropout_scales_what_a_layer_sends_on():
    net, inputs = busy(), spikes(steps=12)
    dropout = [torch.tensor([0.0, 2]).double().repeat(5, 5)[:, :9], torch.tensor([0.5, 0, 1.5]).double().repeat(5, 3)[:, :7]]
    scores, fired = net(inputs, dropout=dropout)[0], net.spikes(inputs, dropout=dropout)
    expected, expected_fired = plain_loop(net, inputs, dropout)
    assert all(torch.equal(*layers) for layers in zip(fired, expected_fired, strict=True))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)


def test_other_weights_take_the_place_of_its_own():
    net, other = busy(), busy(seed=3)
    assert all(torch.equal(*pair) for pair in zip(net.biases, other.biases, strict=True))
    assert torch.equal(net(spikes(), weights=other.weights)[0], other(spikes())[0])
    assert not torch.equal(net(spikes())[0], other(spikes())[0])


def test_a_deep_copy_shares_no_memory():
    net = busy()
    twin = copy.deepcopy(net)
    twin.readout.weight.zero_()
    assert net.readout.weight.any() and not twin(spikes())[0].any()


def test_normalise_takes_the_place_of_the_biases():
    net, currents = busy(), []

    def normalise(layer, current):
        currents.append(current)
        return current + net.biases[layer]

    scores, _ = net(spikes(), normalise=normalise)
    assert torch.equal(currents[0], spikes() @ net.hidden[0].weight.T)
    torch.testing.assert_close(scores, net(spikes())[0], rtol=0, atol=1e-12)


def test_a_moving_threshold_starts_from_the_next_step():
    """One input that is on in every step; from step 1 on the threshold is out of reach."""
    net = network(inputs=1, outputs=1, hidden=[1], leak=0.5)
    net.hidden[0].weight.fill_(4)
    seen = []

    def follow(rate):
        seen.append(rate.tolist())
        return torch.full_like(rate, 100.0)

    (fired,) = net.spikes(torch.ones(3, 2, 1), follow=[follow])
    assert fired[:, 0, 0].tolist() == [1, 0, 0]
    assert seen == [[[1], [1]], [[0], [0]], [[0], [0]]]


@pytest.mark.parametrize("shape", [(2, 6), (2, 3, 5), (0, 2, 6)], ids=["no-clips", "inputs", "no-steps"])
def test_spikes_that_do_not_fit_are_refused(shape):
    with pytest.raises(UserError, match="6 inputs"):
        network()(torch.zeros(shape))


@pytest.mark.parametrize("variant", ["ours", "norse, by layer"])
def test_the_benchmark_measures_the_same_numbers(variant, monkeypatch):
    """Norse's loop as its users write it, readout and all, against ours: spikes equal, gradients to 1e-5."""
    monkeypatch.setattr(benchmark, "NETWORK", LifNetwork(hidden=[24, 16], surrogate_slope=1.0, output_leak=0.8))
    monkeypatch.setattr(benchmark, "STEPS", 25)
    found = benchmark.agreement(variant, 6)
    assert found["spikes"] > 100
    assert found["spikes_that_differ"] == 0
    assert found["largest_gradient_difference"] < 1e-5


def test_the_benchmark_times_the_same_loss(monkeypatch):
    monkeypatch.setattr(benchmark, "NETWORK", LifNetwork(hidden=[24, 16], surrogate_slope=1.0))
    inputs, _ = benchmark.batch_of(4, torch.float64)
    ours, theirs = (benchmark.VARIANTS[variant](benchmark.new_network(torch.float64))(inputs)[0]
                    for variant in ("ours", "norse"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------------ 8 bits
def test_quantised_weights_by_hand():
    weights = torch.tensor([[1.27, -0.6], [0.004, -0.006]])
    torch.testing.assert_close(quantised(weights), torch.tensor([[1.27, -0.6], [0, -0.01]]), rtol=0, atol=1e-7)


def test_quantised_weights_are_255_symmetric_levels():
    weights = torch.linspace(-3, 3, 2001)
    found = quantised(weights)
    levels = found.unique()
    assert len(levels) == 255
    torch.testing.assert_close(levels, -levels.flip(0), rtol=0, atol=1e-6)
    assert (found - weights).abs().max() <= 3 / 127 / 2 + 1e-6
    torch.testing.assert_close(quantised(found), found)
    assert not quantised(torch.zeros(3)).any()


def test_gradient_passes_straight_through_rounding():
    weights = torch.tensor([0.5, -0.1, 0.3], requires_grad=True)
    sent_back = torch.tensor([1.0, 2.0, -3.0])
    quantised(weights).backward(sent_back)
    assert torch.equal(weights.grad, sent_back)


# ------------------------------------------------------------------------------------------------ files
def test_file_and_back(tmp_path):
    net = network(reset="soft", leak=0.7)
    net.biases[1].uniform_(generator=torch.Generator().manual_seed(1))
    save_network(tmp_path / "net.safetensors", net, vocabulary=["no", "yes", "up", "go"], about={"arm": "rate"},
                 provenance={"code": "test"})
    back, metadata = load_network(tmp_path / "net.safetensors")
    assert back.settings == net.settings
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name])
    assert metadata["settings"]["vocabulary"] == ["no", "yes", "up", "go"]
    assert metadata["settings"]["arm"] == "rate"
    assert metadata["provenance"] == {"code": "test"}
    save_network(tmp_path / "again.safetensors", back, vocabulary=["no", "yes", "up", "go"], about={"arm": "rate"},
                 provenance={"code": "test"})
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()


def written(path, change, architecture="feedforward_lif", **settings):
    net = network()
    tensors = net.state_dict()
    change(tensors)
    files.write_model(path, tensors, architecture=architecture, provenance={},
                      settings={"network": net.settings.model_dump(), "vocabulary": [], **settings})
    return path


@pytest.mark.parametrize(("change", "message"), [
    (lambda tensors: tensors.pop("readout.weight"), r"readout\.weight"),
    (lambda tensors: tensors.pop("hidden.0.weight"), r"hidden\.0\.weight"),
    (lambda tensors: tensors.pop("hidden.1.bias"), r"hidden\.1\.bias"),
    (lambda tensors: tensors.update(extra=torch.zeros(2)), "extra"),
    (lambda tensors: tensors.update({"hidden.0.bias": torch.zeros(8)}),
     r"'hidden\.0\.bias' has shape \(8,\), the settings want \(9,\)"),
    (lambda tensors: tensors.update({"hidden.1.weight": torch.zeros(7, 8)}), r"'hidden\.1\.weight' has shape"),
    (lambda tensors: tensors.update({"readout": tensors.pop("readout.weight")}), r"'readout', 'readout\.weight'"),
], ids=["no-readout", "no-input", "no-bias", "one-more", "bias", "matrix", "old-names"])
def test_damaged_files_are_refused_with_their_name(tmp_path, change, message):
    path = written(tmp_path / "net.safetensors", change)
    with pytest.raises(UserError, match=message) as caught:
        load_network(path)
    assert caught.value.where == path


@pytest.mark.parametrize(("settings", "message"), [
    ({"network": {"leek": 0.9}}, "leek"), ({"network": None}, "does not say its 'network'"), ({"network": {"leak": 2}}, "leak"),
], ids=["unknown", "absent", "range"])
def test_settings_that_are_none_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        load_network(written(tmp_path / "net.safetensors", lambda tensors: None, **settings))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="recurrent_lif"):
        load_network(written(tmp_path / "net.safetensors", lambda tensors: None, architecture="recurrent_lif"))
    (tmp_path / "text.safetensors").write_text("none of that")
    with pytest.raises(UserError, match="safetensors"):
        load_network(tmp_path / "text.safetensors")
    with pytest.raises(UserError, match="no such model"):
        load_network(tmp_path / "absent.safetensors")
