"""The network: sizes, initial weights, inference, files."""

import copy
import math

import pytest
import torch

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.models.delta.delta import Delta
from edgekws.models.recurrent_lif import RecurrentLIF, load_network, save_network
from edgekws.models.settings import Network
from edgekws.neurons import layers, lif


@pytest.fixture(autouse=True)
def inference():
    """Nets as they are used, not trained."""
    with torch.no_grad():
        yield


def network(seed=0, inputs=6, outputs=4, **values):
    return RecurrentLIF(Network(**values), inputs=inputs, outputs=outputs,
                        generator=torch.Generator().manual_seed(seed))


def test_parameter_counts_of_the_paper():
    net = network(inputs=120, outputs=36)
    assert sum(tensor.numel() for tensor in net.trained.values()) == 272_700
    assert net.target.weight.numel() == 218_700
    assert {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} == {
        "hidden.0.input": (450, 120), "hidden.0.recurrent": (450, 450), "readout": (36, 450),
        "target.label": (450, 36), "target.recurrent": (450, 450)}


def test_initial_weights_are_uniform_by_fan_in():
    for name, tensor in network(inputs=120, outputs=36).state_dict().items():
        bound = 1 / math.sqrt(tensor.shape[1])
        assert tensor.abs().max() <= bound
        assert tensor.std() == pytest.approx(bound / math.sqrt(3), rel=0.02), name


def test_same_seed_same_weights_other_seed_others():
    assert torch.equal(network(1).hidden[0].weight, network(1).hidden[0].weight)
    assert not torch.equal(network(1).hidden[0].weight, network(2).hidden[0].weight)


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("output_leak", [1.0, 0.9])
def test_forward_equals_a_plain_loop(recurrent, reset, output_leak):
    net = network(hidden=[9, 7], recurrent=recurrent, reset=reset, output_leak=output_leak, threshold=0.3)
    net = net.to(torch.float64)
    weights, constants = net.state_dict(), {"leak": 0.77, "threshold": 0.3, "reset": reset}
    x = torch.rand(5, 30, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    v = [x.new_zeros(5, size) for size in (9, 7)]
    s = [x.new_zeros(5, size) for size in (9, 7)]
    m = x.new_zeros(5, 4)
    for t in range(30):
        drive = x[:, t]
        for index in range(2):
            current = drive @ weights[f"hidden.{index}.input"].T
            if recurrent:
                current = current + s[index] @ weights[f"hidden.{index}.recurrent"].T
            _, s[index], v[index] = lif.step(current, v[index], **constants)
            drive = s[index]
        m = output_leak * m + drive @ weights["readout"].T
    assert m.abs().max() > 0.1
    torch.testing.assert_close(net.forward(x), m, rtol=0, atol=1e-12)


def test_forward_in_chunks_is_forward_clip_by_clip():
    net = network(hidden=[8], threshold=0.3).to(torch.float64)
    x = torch.rand(1100, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = net.forward(x)
    assert whole.shape == (1100, 4)
    for clip in (0, 511, 512, 1099):
        torch.testing.assert_close(whole[clip], net.forward(x[clip:clip + 1])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("values", [{"hidden": [9, 7]}, {"hidden": [9], "recurrent": False}])
def test_a_state_dict_is_loaded_into_another_net_and_is_a_view(values):
    one, other = network(1, **values), network(2, **values)
    other.load_state_dict(one.state_dict(), strict=True)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    other.state_dict()["hidden.0.input"].fill_(7)
    assert other.hidden[0].weight[:, :6].eq(7).all() and not one.hidden[0].weight.eq(7).any()
    damaged = {name: tensor for name, tensor in one.state_dict().items() if name != "hidden.0.input"}
    with pytest.raises(RuntimeError, match=r"hidden\.0\.weight"):
        other.load_state_dict(damaged, strict=True)


# ------------------------------------------------------------------------------------------------ adapted nets
def additions(hidden=9, width=3):
    random = torch.Generator().manual_seed(5)
    return {"hidden.0.threshold": 0.2 + 0.4 * torch.rand(hidden, generator=random),
            "adapter.down": torch.randn(width, hidden, generator=random),
            "adapter.up": torch.randn(hidden, width, generator=random)}


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_thresholds_and_adapter_equal_a_plain_loop(reset):
    net = network(hidden=[9], reset=reset, threshold=0.3).to(torch.float64)
    added = {name: tensor.double() for name, tensor in additions().items()}
    weights, theta = net.state_dict(), added["hidden.0.threshold"]
    x = torch.rand(5, 30, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    v, s, m = x.new_zeros(5, 9), x.new_zeros(5, 9), x.new_zeros(5, 4)
    for frame in x.unbind(1):
        current = frame @ weights["hidden.0.input"].T + s @ weights["hidden.0.recurrent"].T
        _, s, v = lif.step(current, v, leak=0.77, threshold=theta, reset=reset)
        drive = s + torch.relu(s @ added["adapter.down"].T) @ added["adapter.up"].T
        m = m + drive @ weights["readout"].T
    found = net.adapted(Delta(added=added)).forward(x)
    torch.testing.assert_close(found, m, rtol=0, atol=1e-12)
    assert (found - net.forward(x)).abs().max() > 0.1


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_equal_thresholds_and_an_empty_adapter_change_no_bit(reset):
    net, x = network(hidden=[9], threshold=0.3, reset=reset), torch.rand(5, 30, 6, generator=torch.Generator().manual_seed(1)) * 2
    same = {"hidden.0.threshold": torch.full((9,), 0.3), "adapter.down": torch.ones(2, 9), "adapter.up": torch.zeros(9, 2)}
    thresholds = {"hidden.0.threshold": same["hidden.0.threshold"]}
    assert net.forward(x).abs().max() > 0.1
    assert torch.equal(net.adapted(Delta(added=thresholds)).forward(x), net.forward(x))
    with layers.dense():  # which nets with an adapter take anyway
        assert torch.equal(net.adapted(Delta(added=same)).forward(x), net.forward(x))


def test_an_adapted_net_in_a_file_and_back(tmp_path):
    net = network(hidden=[9]).adapted(Delta(added=additions()))
    save_network(tmp_path / "net.safetensors", net, vocabulary=["yes"], provenance={})
    back, _ = load_network(tmp_path / "net.safetensors")
    assert back.state_dict().keys() == net.state_dict().keys() == {*network(hidden=[9]).state_dict(), *additions()}
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in net.state_dict().items())
    assert back.trained.keys() == network(hidden=[9]).trained.keys()


@pytest.mark.parametrize("change, message", [
    ({"hidden.0.threshold": torch.ones(8)}, "hidden.0.threshold"), ({"hidden.1.threshold": torch.ones(9)}, "hidden.1.threshold"),
    ({"adapter.down": torch.ones(2, 9)}, "adapter.up"),
    ({"adapter.down": torch.ones(2, 9), "adapter.up": torch.ones(9, 3)}, "adapter.up")])
def test_additions_that_do_not_fit_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        network(hidden=[9]).adapted(Delta(added=change))


def test_what_is_added_is_frozen_and_goes_when_it_is_replaced():
    net = network(hidden=[9]).adapted(Delta(added=additions()))
    assert net.added.keys() == additions().keys() and not any(tensor.requires_grad for tensor in net.added.values())
    with pytest.raises(UserError, match=r"hidden\.3\.threshold"):
        net.added = {"hidden.3.threshold": torch.ones(9)}
    assert net.added.keys() == additions().keys()
    net.added = {}
    assert net.state_dict().keys() == network(hidden=[9]).state_dict().keys()


def test_a_copy_of_an_adapted_net_shares_nothing():
    net = network(hidden=[9]).adapted(Delta(added=additions()))
    twin = copy.deepcopy(net)
    for tensor in twin.added.values():
        tensor.add_(1)
    assert all(torch.equal(net.added[name], tensor) for name, tensor in additions().items())


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 0, 6)])
def test_features_that_do_not_fit_are_refused(shape):
    with pytest.raises(UserError, match="6 inputs"):
        network().forward(torch.zeros(shape))


def test_a_copy_shares_nothing():
    net = network()
    twin = copy.deepcopy(net)
    for tensor in (*twin.trained.values(), twin.target.weight):
        tensor.add_(1)
    assert not any(torch.equal(old, new) for old, new in
                   zip(net.state_dict().values(), twin.state_dict().values(), strict=True))
    assert net.to(torch.float64).readout.dtype == torch.float64


@pytest.mark.parametrize("values", [{}, {"recurrent": False}, {"hidden": [9, 7]}])
@pytest.mark.parametrize("scale", [None, torch.arange(1.0, 7.0)])
def test_file_and_back(tmp_path, values, scale):
    net = network(**{"hidden": [9], **values})
    save_network(tmp_path / "net.safetensors", net, vocabulary=["no", "stop", "yes"], feature_scale=scale,
                 provenance={"code": "test"})
    back, about = load_network(tmp_path / "net.safetensors")
    assert back.settings == net.settings
    assert (back.inputs, back.outputs) == (6, 4)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name])
    assert about["vocabulary"] == ["no", "stop", "yes"]
    assert about["provenance"] == {"code": "test"}
    assert scale is about["feature_scale"] is None or torch.equal(scale, about["feature_scale"])
    save_network(tmp_path / "again.safetensors", back, vocabulary=about["vocabulary"],
                 feature_scale=about["feature_scale"], provenance=about["provenance"])
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()


@pytest.mark.parametrize(("change", "message"), [
    (lambda tensors: tensors.pop("readout"), "readout"),
    (lambda tensors: tensors.update(readout=torch.zeros(4, 3)), "shape"),
    (lambda tensors: tensors.update(extra=torch.zeros(4, 3)), "extra"),
])
def test_damaged_files_are_refused_with_their_name(tmp_path, change, message):
    net, path = network(hidden=[9]), tmp_path / "net.safetensors"
    tensors = dict(net.state_dict())
    change(tensors)
    files.write_model(path, tensors, architecture="recurrent_lif", provenance={},
                      settings={"network": net.settings.model_dump(), "vocabulary": ["yes"]})
    with pytest.raises(UserError, match=message) as caught:
        load_network(path)
    assert caught.value.where == path
