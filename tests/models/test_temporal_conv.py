"""The conventional net: its work counted one product at a time, its scores against loops, files."""

import math

import pytest
import torch

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.models.settings import Conventional
from edgekws.models.temporal_conv import TemporalConv, load_network, save_network


def network(seed=0, inputs=5, outputs=3, **values):
    net = TemporalConv(Conventional(**{"channels": [4, 6], "width": 3, "stride": 2, **values}), inputs=inputs,
                       outputs=outputs, generator=torch.Generator().manual_seed(seed))
    for layer in (*net.convolutions, net.readout):
        layer.bias.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(len(layer.bias)))
    return net


def by_hand(net, clip):
    """Scores of one clip [steps][bands] in plain Python, and the products that were formed on the way."""
    products, stride = 0, net.settings.stride
    for kernel, bias in ((layer.weight, layer.bias) for layer in net.convolutions):
        width = kernel.shape[2]
        silence = [[0.0] * kernel.shape[1]] * (width // 2)
        padded = silence + clip + silence
        clip = []
        for start in range(0, len(padded) - width + 1, stride):
            row = []
            for channel, start_value in zip(kernel.tolist(), bias.tolist(), strict=True):
                total = start_value
                for band, taps in enumerate(channel):
                    for tap, weight in enumerate(taps):
                        total += weight * padded[start + tap][band]
                        products += 1
                row.append(max(total, 0.0))
            clip.append(row)
    mean = [sum(values) / len(clip) for values in zip(*clip, strict=True)]
    scores = [sum(w * m for w, m in zip(row, mean, strict=True)) + bias
              for row, bias in zip(net.readout.weight.tolist(), net.readout.bias.tolist(), strict=True)]
    return scores, products + net.readout.weight.numel()


@pytest.mark.parametrize(("values", "steps"), [
    ({}, 12), ({}, 13), ({"width": 4}, 11), ({"width": 1, "stride": 3}, 10), ({"channels": [7], "stride": 1, "width": 5}, 6),
], ids=["even", "odd", "even-kernel", "points", "one-layer"])
def test_scores_and_work_by_hand(values, steps):
    net = network(**values)
    features = torch.rand(2, steps, 5, generator=torch.Generator().manual_seed(1))
    scores = net(features)
    for clip, found in zip(features, scores, strict=True):
        expected, products = by_hand(net, clip.tolist())
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-5)
        assert net.multiply_accumulates(steps) == products


def test_work_of_the_default_net():
    """50 steps of 40 bands: 25 outputs of 32 x 40 x 9, 13 of 32 x 32 x 9, and 35 x 32."""
    net = TemporalConv(Conventional(), inputs=40, outputs=35, generator=torch.Generator())
    assert net.multiply_accumulates(50) == 25 * 11_520 + 13 * 9_216 + 1_120


def test_initial_weights_are_hes():
    net = TemporalConv(Conventional(channels=[64, 64]), inputs=40, outputs=35, generator=torch.Generator().manual_seed(0))
    for layer in (*net.convolutions, net.readout):
        weights, bound = layer.weight, math.sqrt(6 / layer.weight[0].numel())
        assert weights.abs().max() <= bound
        assert weights.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not layer.bias.any()
    assert not any(tensor.requires_grad for tensor in net.parameters())


@pytest.mark.parametrize("shape", [(12, 5), (2, 12, 4)], ids=["no-clips", "bands"])
def test_features_that_do_not_fit_are_refused(shape):
    with pytest.raises(UserError, match="5 bands"):
        network().check(torch.zeros(shape))


def test_file_and_back(tmp_path):
    net = network()
    save_network(tmp_path / "net.safetensors", net, vocabulary=["no", "yes", "up"], about={"arm": "ann"},
                 provenance={"code": "test"})
    back, metadata = load_network(tmp_path / "net.safetensors")
    assert back.settings == net.settings
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name])
    assert metadata["settings"]["vocabulary"] == ["no", "yes", "up"]
    assert (metadata["settings"]["arm"], metadata["provenance"]) == ("ann", {"code": "test"})


@pytest.mark.parametrize(("change", "message"), [
    (lambda tensors: tensors.pop("convolutions.0.weight"), r"convolutions\.0\.weight"),
    (lambda tensors: tensors.pop("readout.weight"), r"readout\.weight"),
    (lambda tensors: tensors.pop("convolutions.1.bias"), r"convolutions\.1\.bias"),
    (lambda tensors: tensors.update({"convolutions.1.weight": torch.zeros(6, 4, 5)}), r"'convolutions\.1\.weight' has shape"),
], ids=["no-kernel", "no-readout", "no-bias", "kernel"])
def test_damaged_files_are_refused_with_their_name(tmp_path, change, message):
    net, path = network(), tmp_path / "net.safetensors"
    tensors = net.state_dict()
    change(tensors)
    files.write_model(path, tensors, architecture="temporal_conv", provenance={},
                      settings={"conventional": net.settings.model_dump(), "vocabulary": []})
    with pytest.raises(UserError, match=message) as caught:
        load_network(path)
    assert caught.value.where == path


def test_a_spiking_net_is_refused(tmp_path):
    files.write_model(tmp_path / "net.safetensors", {"readout": torch.zeros(2, 2)}, architecture="feedforward_lif",
                      provenance={}, settings={})
    with pytest.raises(UserError, match="feedforward_lif"):
        load_network(tmp_path / "net.safetensors")
