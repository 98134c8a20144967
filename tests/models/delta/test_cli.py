"""The verbs of `edgekws delta`, on models of two papers."""

import pytest
import torch
from typer.testing import CliRunner

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.models import encoder
from edgekws.models.delta import cli, format, int8
from edgekws.models.delta.delta import Delta
from edgekws.models.recurrent_lif import RecurrentLIF, load_network, save_network
from edgekws.models.settings import Network

CLIPS = torch.rand(10, 25, 6, generator=torch.Generator().manual_seed(2)) * 2


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False).output


@pytest.fixture
def spiking(tmp_path):
    """A base with the scale of its features, and two users' models."""
    net = RecurrentLIF(Network(hidden=[20], threshold=0.3), inputs=6, outputs=4, generator=torch.Generator().manual_seed(0))
    users = {f"user{seed}": net.adapted(Delta(replaced={"readout": random(4, 20, seed=seed)},
                                              added={"hidden.0.threshold": 0.3 + 0.1 * random(20, seed=seed + 9).abs()}))
             for seed in (1, 2)}
    for name, some in {"base": net, **users}.items():
        save_network(tmp_path / name, some, vocabulary=["no", "yes"], feature_scale=torch.arange(1.0, 7.0),
                     about={} if name == "base" else {"personalised": {"name": name}}, provenance={"code": name})
    return tmp_path


def test_diff_and_apply_give_the_adapted_model(spiking):
    said = run("diff", spiking / "base", spiking / "user1", spiking / "delta", "--method", "by hand")
    assert said == f"2 tensors, 100 numbers, {(spiking / 'delta').stat().st_size:,} bytes\n"
    run("apply", spiking / "base", spiking / "delta", spiking / "again")
    found, about = load_network(spiking / "again")
    wanted, told = load_network(spiking / "user1")
    with torch.no_grad():
        assert torch.equal(found(CLIPS), wanted(CLIPS))
    assert torch.equal(about["feature_scale"], told["feature_scale"])
    assert about["settings"] == told["settings"]
    assert about["provenance"]["base"] == {"code": "base"}
    assert about["provenance"]["delta"]["adapted"] == {"code": "user1"} and about["provenance"]["delta"]["method"] == "by hand"
    assert about["provenance"]["delta"]["sha256"] == files.sha256_of(spiking / "delta")
    run("diff", spiking / "base", spiking / "again", spiking / "second")
    assert format.stored_bytes(spiking / "second") == format.stored_bytes(spiking / "delta")


def test_identical_models_have_an_empty_delta(spiking):
    assert run("diff", spiking / "base", spiking / "base", spiking / "delta").startswith("0 tensors, 0 numbers, ")
    run("apply", spiking / "base", spiking / "delta", spiking / "again")
    assert format.read_model(spiking / "again").checksum == format.read_model(spiking / "base").checksum


def test_an_encoder_has_deltas_too(tmp_path):
    for seed in (0, 1):
        net = encoder.build("ds_cnn_s", seed=0)
        if seed:
            net.state_dict()["stem.2.running_mean"].fill_(0.25)
        encoder.save_encoder(tmp_path / str(seed), net, "ds_cnn_s", about={}, provenance={})
    run("diff", tmp_path / "0", tmp_path / "1", tmp_path / "delta")
    assert format.stored_bytes(tmp_path / "delta") == {"replaced/stem.2.running_mean": (64, 256)}
    run("apply", tmp_path / "0", tmp_path / "delta", tmp_path / "again")
    windows = random(2, encoder.FRAMES, encoder.COEFFICIENTS, seed=3)
    base, wanted, found = (encoder.load_encoder(tmp_path / name)[0](windows) for name in ("0", "1", "again"))
    assert torch.equal(found, wanted) and not torch.equal(found, base)


def test_merge_is_the_weighted_mean(spiking):
    for name in ("user1", "user2"):
        run("diff", spiking / "base", spiking / name, spiking / f"{name}.delta", "--method", "by hand")
    run("merge", spiking / "user1.delta", spiking / "user2.delta", spiking / "merged", "--weight", 3, "--weight", 1)
    merged, about, provenance = format.read_delta(spiking / "merged")
    torch.testing.assert_close(merged.replaced["readout"], (3 * random(4, 20, seed=1) + random(4, 20, seed=2)) / 4)
    assert about.method == "by hand" and about.settings == {}, "what is one user's own is nobody's now"
    assert [(user["weight"], user["adapted"]["code"]) for user in provenance["merged"]] == [(3, "user1"), (1, "user2")]


def test_int8_deltas_merge_in_int8(spiking):
    for name in ("user1", "user2"):
        run("diff", spiking / "base", spiking / name, spiking / f"{name}.delta", "--precision", "int8")
    run("merge", spiking / "user1.delta", spiking / "user1.delta", spiking / "twice")
    assert format.stored_bytes(spiking / "twice") == format.stored_bytes(spiking / "user1.delta")
    once, _, _ = format.read_delta(spiking / "user1.delta")
    twice, about, _ = format.read_delta(spiking / "twice")
    assert about.precision == "int8" and torch.equal(once.difference["readout"], twice.difference["readout"])


def test_weights_of_int8_nets_merge_in_fp32(spiking):
    """Their mean is on no int8 grid."""
    base, _ = load_network(spiking / "base")
    rounded = [int8.rounded(random(4, 20, seed=seed)) for seed in (1, 2)]
    for name, readout in zip("ab", rounded, strict=True):
        save_network(spiking / name, base.adapted(Delta(replaced={"readout": readout})), vocabulary=["no", "yes"],
                     feature_scale=torch.arange(1.0, 7.0), provenance={})
        run("diff", spiking / "base", spiking / name, spiking / f"{name}.delta", "--precision", "int8")
    run("merge", spiking / "a.delta", spiking / "b.delta", spiking / "merged")
    merged, about, _ = format.read_delta(spiking / "merged")
    assert about.precision == "fp32"
    torch.testing.assert_close(merged.replaced["readout"], (rounded[0] + rounded[1]) / 2, rtol=0, atol=1e-7)


def test_size_counts_by_tensor_and_in_all(spiking):
    run("diff", spiking / "base", spiking / "user1", spiking / "delta", "--precision", "int8", "--method", "by hand")
    base = format.read_model(spiking / "base")
    whole = 4 * (20 * 6 + 20 * 20 + 4 * 20 + 20 * 4 + 20 * 20 + 6)
    assert [line.split() for line in run("size", spiking / "delta", "--base", spiking / "base").splitlines()] == [
        f"{spiking / 'delta'}: int8, by hand, base {base.checksum[:12]}…, file of "
        f"{(spiking / 'delta').stat().st_size:,} bytes".split(),
        ["tensor", "numbers", "bytes", "of", "the", "base"],
        ["added/hidden.0.threshold", "20", "24", f"{2400 / whole:.2f}", "%"],
        ["difference/readout", "80", "96", f"{9600 / whole:.2f}", "%"], ["all", "100", "120", f"{12000 / whole:.2f}", "%"]]
    assert "of the base" not in run("size", spiking / "delta")


def test_another_base_is_refused_everywhere(spiking):
    run("diff", spiking / "base", spiking / "user1", spiking / "delta")
    run("diff", spiking / "user2", spiking / "user1", spiking / "other")
    first, second = (format.read_model(spiking / name).checksum[:12] for name in ("base", "user2"))
    for arguments, says in (
            (("apply", spiking / "user2", spiking / "delta", spiking / "out"), f"base {first}….*base is {second}"),
            (("merge", spiking / "delta", spiking / "other", spiking / "out"), f"base {second}….*base is {first}"),
            (("size", spiking / "delta", "--base", spiking / "user2"), f"base {first}….*base is {second}")):
        with pytest.raises(UserError, match=says):
            run(*arguments)
    assert not (spiking / "out").exists()


def test_what_makes_no_sense_is_refused(spiking, tmp_path):
    files.write_model(tmp_path / "other", {"a": torch.ones(1)}, architecture="another", settings={}, provenance={})
    with pytest.raises(UserError, match="'another', the base 'recurrent_lif'"):
        run("diff", spiking / "base", tmp_path / "other", tmp_path / "out")
    files.write_model(tmp_path / "other", {"a": torch.ones(1)}, architecture="recurrent_lif", settings={}, provenance={})
    with pytest.raises(UserError, match="has no '") as told:
        run("diff", spiking / "base", tmp_path / "other", tmp_path / "out")
    assert told.value.where == tmp_path / "other"
    run("diff", spiking / "base", spiking / "user1", spiking / "delta")
    with pytest.raises(UserError, match="no several"):
        run("merge", spiking / "delta", tmp_path / "out")
    assert not (tmp_path / "out").exists()
