"""Deltas in files and back: bit for bit in fp32, within half a step in int8, and nothing else is taken for one."""

import hashlib
import json

import pytest
import torch

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.models.delta import format
from edgekws.models.delta.delta import Delta, apply, between
from edgekws.models.delta.int8 import dequantise, quantise
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

KINDS = ("dense", "low_rank", "threshold", "adapter", "difference", "empty")


@pytest.fixture(autouse=True)
def inference():
    """Nets as they are used, not trained."""
    with torch.no_grad():
        yield


@pytest.fixture
def net():
    return RecurrentLIF(Network(hidden=[20], threshold=0.3), inputs=6, outputs=4, generator=torch.Generator().manual_seed(0))


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def delta_of(kind, net, size=0.05):
    match kind:
        case "dense":
            return Delta(replaced={name: net.state_dict()[name] + size * random(*net.state_dict()[name].shape)
                                   for name in ("hidden.0.recurrent", "readout")})
        case "low_rank":
            return Delta(low_rank={"hidden.0.input": (random(20, 2), size * random(2, 6)),
                                   "readout": (random(4, 3), size * random(3, 20))})
        case "threshold":
            return Delta(added={"hidden.0.threshold": 0.3 + size * random(20)})
        case "adapter":
            return Delta(added={"adapter.down": random(3, 20), "adapter.up": size * random(20, 3)})
        case "difference":
            return Delta(difference={"readout": size * random(4, 20)})
    return Delta()


def about(net, precision="fp32", **values):
    return format.About(architecture="recurrent_lif", base=format.checksum(net.state_dict()), method="test", precision=precision,
                        **values)


def there_and_back(path, net, delta, precision):
    format.write_delta(path, delta, about(net, precision), base=net.state_dict(), provenance={"code": "test"})
    return format.read_delta(path, base=format.checksum(net.state_dict()))[0]


def clips():
    return torch.rand(30, 25, 6, generator=torch.Generator().manual_seed(2)) * 2


# ------------------------------------------------------------------------------------------------ fp32
@pytest.mark.parametrize("kind", KINDS)
def test_fp32_gives_the_adapted_nets_logits_bit_for_bit(tmp_path, net, kind):
    delta = delta_of(kind, net)
    adapted = net.adapted(delta)
    back = there_and_back(tmp_path / "d", net, delta, "fp32")
    assert torch.equal(net.adapted(back).forward(clips()), adapted.forward(clips()))
    assert back.tensors().keys() == delta.tensors().keys()
    assert all(torch.equal(tensor, back.tensors()[name]) for name, tensor in delta.tensors().items())
    assert kind == "empty" or not torch.equal(adapted.forward(clips()), net.forward(clips()))


def test_what_a_file_tells_comes_back(tmp_path, net):
    told = about(net, settings={"personalised": {"clips": 9}})
    for name in ("a", "b"):
        format.write_delta(tmp_path / name, delta_of("dense", net), told, provenance={"code": "test"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    _, back, provenance = format.read_delta(tmp_path / "a")
    assert back == told and provenance == {"code": "test"}


def test_what_adapting_changed_is_found():
    base = {"same": torch.ones(3), "other": torch.zeros(2), "count": torch.tensor(3)}
    found = between(base, {**base, "other": torch.tensor([0.0, 1.0]), "count": torch.tensor(4), "new": torch.ones(1)})
    assert found.replaced.keys() == {"other", "count"} and found.added.keys() == {"new"} and not found.low_rank
    assert between(base, {name: tensor.clone() for name, tensor in base.items()}).values == 0
    for other, message in (({**base, "other": torch.zeros(3)}, "'other'"), ({"same": base["same"]}, "no 'other'"),
                           ({**base, "other": torch.zeros(2).double()}, "float64")):
        with pytest.raises(UserError, match=message):
            between(base, other)


def test_products_reach_the_1x1_convolution_that_they_are_for():
    base = {"pointwise": random(5, 7, 1, 1)}
    up, down = random(5, 2, seed=2), random(2, 7, seed=3)
    low_rank = apply(base, Delta(low_rank={"pointwise": (up, down)}))["pointwise"]
    torch.testing.assert_close(low_rank, base["pointwise"] + (up @ down)[:, :, None, None])
    assert torch.equal(apply(base, Delta(difference={"pointwise": up @ down}))["pointwise"], low_rank)
    with pytest.raises(UserError, match="pointwise"):
        apply(base, Delta(low_rank={"pointwise": (up, random(2, 6))}))


# ------------------------------------------------------------------------------------------------ int8
def test_quantised_by_hand():
    """127 and 2 fill the first row's scale of 1; 1.27 the second's of 0.01; a row of zeros stays zero."""
    tensor = torch.tensor([[127.0, -2.4, 0.6], [-1.27, 0.011, 0.0], [0.0, 0.0, 0.0]])
    integers, scale = quantise(tensor)
    assert integers.tolist() == [[127, -2, 1], [-127, 1, 0], [0, 0, 0]]
    assert scale.shape == (3, 1) and scale.flatten().tolist() == pytest.approx([1, 0.01, 0], rel=1e-4)
    assert quantise(tensor, axis=1)[0][:, 2].tolist() == [127, 0, 0]
    vector, one = quantise(torch.tensor([-254.0, 3.1]))
    assert vector.tolist() == [-127, 2] and one.item() == pytest.approx(2, rel=1e-4)


def test_quantising_twice_is_quantising_once():
    """Products of an integer and a scale are exact, whatever the size of the numbers."""
    for size in (1e-20, 1.0, 3e7):
        integers, scale = quantise(size * random(500, 40))
        again, same = quantise(dequantise(integers, scale))
        assert torch.equal(again, integers) and torch.equal(same, scale)
        assert integers.abs().amax(1).eq(127).all()


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_within_half_a_step_of_each_row(tmp_path, net, kind):
    delta = delta_of(kind, net)
    back = there_and_back(tmp_path / "d", net, delta, "int8")
    wanted = {**{name: tensor - net.state_dict()[name] for name, tensor in delta.replaced.items()},
              **{name: tensor for name, tensor in delta.tensors().items() if name not in delta.replaced}}
    assert back.tensors().keys() == wanted.keys()
    for name, tensor in wanted.items():
        axis = 1 - int(name.endswith(".up")) if tensor.ndim > 1 else 0
        step = tensor.abs().amax(axis, keepdim=True) / 127
        assert torch.all((back.tensors()[name] - tensor).abs() <= 0.501 * step)
        assert kind == "empty" or not torch.equal(back.tensors()[name], tensor)


@pytest.mark.parametrize("kind, scales", [("dense", 20 + 4), ("low_rank", 2 + 2 + 3 + 3), ("threshold", 1), ("adapter", 3 + 3)])
def test_int8_takes_a_byte_a_number_and_its_scales(tmp_path, net, kind, scales):
    delta = delta_of(kind, net)
    there_and_back(tmp_path / "d", net, delta, "int8")
    found = format.stored_bytes(tmp_path / "d")
    assert sum(values for values, _ in found.values()) == delta.values
    assert sum(size for _, size in found.values()) == delta.values + 4 * scales
    there_and_back(tmp_path / "d", net, delta, "fp32")
    assert sum(size for _, size in format.stored_bytes(tmp_path / "d").values()) == 4 * delta.values


def test_weights_that_int8_can_hold_are_stored_without_loss(tmp_path, net):
    rounded = dequantise(*quantise(net.readout + 0.1 * random(4, 20)))
    back = there_and_back(tmp_path / "d", net, Delta(replaced={"readout": rounded}), "int8")
    assert torch.equal(back.replaced["readout"], rounded)
    assert format.stored_bytes(tmp_path / "d") == {"replaced/readout": (80, 80 + 4 * 4)}


def test_integers_stay_as_they_are_in_int8(tmp_path, net):
    format.write_delta(tmp_path / "d", Delta(replaced={"count": torch.tensor([100_000])}), about(net, "int8"), provenance={})
    assert torch.equal(format.read_delta(tmp_path / "d")[0].replaced["count"], torch.tensor([100_000]))


def test_int8_refuses_what_it_cannot_hold(tmp_path, net):
    with pytest.raises(UserError, match="not finite"):
        there_and_back(tmp_path / "d", net, Delta(added={"hidden.0.threshold": torch.full((20,), float("nan"))}), "int8")
    with pytest.raises(UserError, match="no base"):
        format.write_delta(tmp_path / "d", delta_of("dense", net), about(net, "int8"), provenance={})
    assert not (tmp_path / "d").exists()


# ------------------------------------------------------------------------------------------------ the base
def test_the_checksum_is_of_names_types_shapes_and_values_only():
    tensors = {"b": torch.arange(6.0), "a": torch.tensor(1)}
    same = format.checksum({"a": torch.tensor(1), "b": torch.arange(12.0)[:6]})
    assert format.checksum(tensors) == same
    bytes_ = b"a torch.int64 []\n" + (1).to_bytes(8, "little") + b"b torch.float32 [6]\n" + torch.arange(6.0).numpy().tobytes()
    assert same == hashlib.sha256(bytes_).hexdigest()
    for other in ({**tensors, "b": torch.arange(6.0).view(2, 3)}, {**tensors, "a": torch.tensor(1.0)}, {"b": tensors["b"]},
                  {**tensors, "a": torch.tensor(2)}, {"c": tensors["b"], "a": tensors["a"]}):
        assert format.checksum(other) != same


def test_a_delta_of_another_base_is_refused_with_both_checksums(tmp_path, net):
    there_and_back(tmp_path / "d", net, delta_of("dense", net), "fp32")
    own = format.checksum(net.state_dict())
    net.readout[0, 0] += 1
    other = format.checksum(net.state_dict())
    with pytest.raises(UserError, match=f"{own[:12]}.*{other[:12]}") as told:
        format.read_delta(tmp_path / "d", base=other)
    assert told.value.where == tmp_path / "d"


def test_a_delta_that_does_not_fit_is_not_written(tmp_path, net):
    with pytest.raises(UserError, match="'readout'"):
        there_and_back(tmp_path / "d", net, Delta(replaced={"readout": torch.zeros(4, 21)}), "fp32")
    with pytest.raises(UserError, match="no such tensor"):
        there_and_back(tmp_path / "d", net, Delta(difference={"hidden.7.input": torch.zeros(4, 21)}), "fp32")
    assert not (tmp_path / "d").exists()


# ------------------------------------------------------------------------------------------------ bad files
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_one_error(tmp_path, net, precision, share):
    path = tmp_path / "d"
    there_and_back(path, net, delta_of("dense", net), precision)
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(UserError) as told:
        format.read_delta(path)
    assert told.value.where == path and told.value.remedy


GOOD = {"schema": 1, "architecture": "recurrent_lif", "base": "0" * 64, "method": "", "precision": "fp32", "settings": {}}


@pytest.mark.parametrize("change, message", [
    ({"schema": 2}, "no delta of schema 1"), ({"base": "../../etc"}, "'base'"), ({"base": None}, "'base'"),
    ({"precision": "fp8"}, "'precision'"), ({"settings": [1]}, "'settings'"), ({"surprise": 1}, "surprise")])
def test_hostile_metadata_are_refused(tmp_path, change, message):
    files.write_model(tmp_path / "good", {}, architecture="delta", settings=GOOD, provenance={})
    assert format.read_delta(tmp_path / "good")[0].values == 0
    files.write_model(tmp_path / "d", {}, architecture="delta", settings={**GOOD, **change}, provenance={})
    with pytest.raises(UserError, match=message) as told:
        format.read_delta(tmp_path / "d")
    assert told.value.where == tmp_path / "d"


@pytest.mark.parametrize("tensors, message", [
    ({"weights": torch.ones(2)}, "'weights'"), ({"replaced/": torch.ones(2)}, "'replaced/'"),
    ({"low_rank/a.up": torch.ones(2, 1)}, "'a'"),
    ({"low_rank/a.up": torch.ones(2, 1), "low_rank/a.down": torch.ones(2, 2)}, "'a'"),
    ({"low_rank/a.up": torch.ones(2), "low_rank/a.down": torch.ones(2)}, "'a'"),
    ({"low_rank/a.up": torch.ones(2, 1), "low_rank/a.down": torch.ones(1, 2), "low_rank/a.middle": torch.ones(1)}, "no factor"),
    ({"added/a": torch.ones(2), "scale/added/a": torch.ones(())}, "scale of 'added/a'"),
    ({"added/a": torch.ones(2, dtype=torch.int8), "scale/added/a": torch.ones(3)}, "scale of 'added/a'")])
def test_hostile_tensors_are_refused(tmp_path, tensors, message):
    files.write_model(tmp_path / "d", tensors, architecture="delta", settings=GOOD, provenance={})
    with pytest.raises(UserError, match=message):
        format.read_delta(tmp_path / "d")


def test_other_files_are_no_deltas_and_deltas_no_models(tmp_path, net):
    from safetensors.torch import save_file

    files.write_model(tmp_path / "m", net.state_dict(), architecture="recurrent_lif", settings={}, provenance={})
    with pytest.raises(UserError, match="no delta"):
        format.read_delta(tmp_path / "m")
    there_and_back(tmp_path / "d", net, delta_of("dense", net), "fp32")
    with pytest.raises(UserError, match="is a delta"):
        format.read_model(tmp_path / "d")
    for metadata in (None, {"settings": "{}"}, {"settings": "{", "provenance": "{}", "architecture": "delta"},
                     {"settings": json.dumps([]), "provenance": "{}", "architecture": "delta"}):
        save_file({"a": torch.ones(1)}, tmp_path / "s", metadata)
        for read in (format.read_delta, format.read_model):
            with pytest.raises(UserError, match="not those of a model of ours") as told:
                read(tmp_path / "s")
            assert told.value.where == tmp_path / "s"
