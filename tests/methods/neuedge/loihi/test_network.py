"""Quantising: error bounds and what cannot be mapped; the registers' ranges; files."""

import dataclasses

import numpy as np
import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.methods.neuedge.loihi.network import LARGEST_VTH, LoihiNetwork, load_network, quantise, save_network
from edgekws.methods.neuedge.loihi.simulator import simulate
from edgekws.models.feedforward_lif import FeedForwardLIF, quantised

WORDS = tuple("abcde")


def test_weights_decays_and_thresholds_are_the_nearest(float_net):
    net = float_net(leak=0.8, output_leak=0.95, threshold=0.7)
    for index, (layer, weights) in enumerate(zip(quantise(net, WORDS).layers, net.weights, strict=True)):
        hidden = index < 2
        leak = 0.8 if hidden else 0.95
        scale = weights.abs().max().item() * (1 - leak) / 127
        np.testing.assert_array_equal(layer.weights, layer.synapses)  # nothing is lost to the lowest bit
        k = layer.weights / 2
        assert np.abs(k).max() == 127
        assert np.abs(scale * k - (1 - leak) * weights.numpy()).max() <= scale / 2 * (1 + 1e-9)
        assert (layer.weight_exp, layer.du, layer.dv) == (-1, 4095, round((1 - leak) * 4096))
        assert layer.vth == (round(0.7 / scale) if hidden else LARGEST_VTH)
        if hidden:
            exact = 64 * (1 - leak) * net.biases[index].numpy() / scale
            assert exact.std() > 100
            assert (np.abs(layer.bias - exact) <= 2.0**layer.bias_parts[1] / 2 * (1 + 1e-6)).all()
        else:
            assert not layer.bias.any()


def test_takes_the_levels_that_training_with_8_bits_uses(float_net):
    net = float_net()
    for layer, weights in zip(quantise(net, WORDS).layers, net.weights, strict=True):
        step = weights.abs().max() / 127
        np.testing.assert_array_equal(layer.weights / 2, (quantised(weights) / step).round().numpy())


def test_integers_do_what_the_float_network_with_these_weights_does(float_net, random_spikes):
    net = float_net(hidden=[64, 48])
    spikes = random_spikes(100, 40, 12)
    fixed = [quantised(weights) for weights in net.weights]
    scores, fired = net(torch.from_numpy(spikes.transpose(1, 0, 2)).float(), weights=fixed)
    found = simulate(quantise(net, WORDS), spikes)
    for counts, floats in zip(found.spike_counts, (layer.numpy() for layer in fired), strict=True):
        assert floats.mean() > 2
        assert np.abs(counts - floats).mean() < 0.05 * floats.mean()
    assert (found.predictions == scores.argmax(1).numpy()).mean() >= 0.9
    unit = net.readout.weight.abs().max().item() * (1 - net.settings.output_leak) / 127 / 64
    assert np.abs(found.scores * unit - scores.numpy()).mean() < 0.1 * scores.std().item()


def test_readout_cannot_reach_its_threshold(float_net):
    net = float_net(hidden=[400, 600], output_leak=0.99)
    net.readout.weight.fill_(0.5)
    readout = quantise(net, WORDS).layers[-1]
    assert readout.weight_exp < -1
    bound = int(readout.synapses.sum(1).max() * 2.0**readout.weight_exp) * 64 * 4096 / readout.dv
    assert bound <= 64 * LARGEST_VTH < 2 * bound
    # All inputs in every step for as long as it takes to settle:
    spikes = np.ones((1, 1500, 600), np.uint8)
    v = simulate(LoihiNetwork((readout,), WORDS), spikes, record=True).traces[0].v
    assert 0.95 * bound < v.max() <= bound


def test_large_thresholds_lower_the_exponent(float_net):
    net = float_net(gain=0.01)
    net.biases[0].zero_()
    hidden = quantise(net, WORDS).layers[0]
    assert hidden.weight_exp < -1
    scale = net.hidden[0].weight.abs().max().item() * (1 - net.settings.leak) / 127
    assert hidden.vth == round(net.settings.threshold / scale * 2.0**(hidden.weight_exp + 1)) <= LARGEST_VTH < 2 * hidden.vth


@pytest.mark.parametrize(("values", "change", "what"), [
    ({"reset": "soft"}, None, "soft reset"),
    ({"output_leak": 0.99999}, None, "beyond 24 bits"),
    ({}, 1e-9, "does not fit"),
    ({}, 1e9, "does not fit"),
    ({}, float("nan"), "not finite"),
    ({}, 0.0, "does not fit"),
], ids=["soft", "no leak", "small", "large", "nan", "bias"])
def test_refuses_what_cannot_be_mapped(float_net, values, change, what):
    net: FeedForwardLIF = float_net(**values)
    if change is not None:
        net.hidden[0].weight.mul_(change or 1)
        net.biases[0].add_(1e5 if change == 0 else 0)
    with pytest.raises(UserError, match=what):
        quantise(net, WORDS)


def test_silent_layer(float_net):
    net = float_net()
    net.hidden[1].weight.zero_()
    net.biases[1].zero_()
    found = simulate(quantise(net, WORDS), np.ones((1, 20, 12), np.uint8))
    assert found.spike_counts[0].sum() > 0
    assert found.spike_counts[1].sum() == 0


def test_synapses_drop_the_lowest_bit_of_mixed_signs_only(layer):
    assert layer([[255, -256, 3, -3, 300]]).synapses.tolist() == [[254, -256, 2, -4, 254]]
    assert layer([[255, 3, 300]]).synapses.tolist() == [[255, 3, 255]]
    assert layer([[-255, -3, -300]]).synapses.tolist() == [[-255, -3, -255]]


def test_biases_are_mantissa_and_exponent(layer):
    mantissa, exponent = layer([[1]] * 5, bias=[4095, -4096, 4096, -524288, 0]).bias_parts
    assert mantissa.tolist() == [4095, -4096, 2048, -4096, 0]
    assert exponent.tolist() == [0, 0, 1, 7, 0]
    for bias in (4097, 8191, 1 << 20):
        with pytest.raises(UserError, match="13-bit"):
            layer([[1]], bias=[bias])


@pytest.mark.parametrize(("name", "value"), [
    ("weight_exp", -9), ("weight_exp", 8), ("du", 4096), ("dv", -1), ("vth", 131072)])
def test_registers_have_ranges(layer, name, value):
    with pytest.raises(UserError, match=name):
        dataclasses.replace(layer([[1]]), **{name: value})


def test_input_that_could_wrap_twice_is_refused(layer):
    assert layer([[255] * 1028]).largest_input == 262140
    with pytest.raises(UserError, match="more than 2\\^18"):
        layer([[255] * 1029])
    with pytest.raises(UserError, match="more than 2\\^18"):
        layer([[-1, 2, -255] * 100], weight_exp=7)


def test_layers_and_words_fit(layer):
    with pytest.raises(UserError, match="1 neurons leads to one of 2 inputs"):
        LoihiNetwork((layer([[1]]), layer([[1, 1]])), ("a",))
    with pytest.raises(UserError, match="words do not fit"):
        LoihiNetwork((layer([[1]]),), ("a", "b"))


def test_saved_and_loaded_is_the_same(random_net, tmp_path):
    net = random_net(1)
    for name in ("one", "two"):
        save_network(tmp_path / name, net, about={"encoder": {"leak": 0.9}}, provenance={"code": "x"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found, metadata = load_network(tmp_path / "one")
    assert found.words == net.words
    assert metadata["settings"]["encoder"] == {"leak": 0.9}
    assert metadata["provenance"] == {"code": "x"}
    for left, right in zip(found.layers, net.layers, strict=True):
        for field in dataclasses.fields(left):
            np.testing.assert_array_equal(getattr(left, field.name), getattr(right, field.name), strict=True)


@pytest.mark.parametrize("damage", ["tensor", "constant", "range", "words"])
def test_damaged_file_is_refused(random_net, tmp_path, monkeypatch, damage):
    from edgekws.core import files

    whole = files.read_model
    path = tmp_path / "net.safetensors"
    save_network(path, random_net(1), about={}, provenance={})

    def read(*args):
        tensors, metadata = whole(*args)
        if damage == "tensor":
            del tensors["layer.1.bias"]
        elif damage == "constant":
            del metadata["settings"]["layers"][0]["du"]
        elif damage == "range":
            metadata["settings"]["layers"][0]["vth"] = 1 << 20
        else:
            metadata["settings"]["vocabulary"].pop()
        return tensors, metadata

    monkeypatch.setattr(files, "read_model", read)
    with pytest.raises(UserError, match=r"net\.safetensors"):
        load_network(path)
