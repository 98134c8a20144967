import pytest
import torch

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.models import counts
from edgekws.models.encoder import WIDTHS, build, load_encoder, multiply_accumulates, parameters, save_encoder, tensors_of

PUBLISHED = {"ds_cnn_s": 22_976, "ds_cnn_m": 136_052, "ds_cnn_l": 413_448, "resnet15": 479_808}


def mfcc(windows=2, seed=0):
    return 20 * torch.randn(windows, 47, 10, generator=torch.Generator().manual_seed(seed))


def save(path, encoder, backbone, **about):
    save_encoder(path, encoder, backbone, about=about, provenance={"code": "test"})


# ------------------------------------------------------------------------------------------------ sizes
@pytest.mark.parametrize(("backbone", "count"), PUBLISHED.items())
def test_parameters_are_the_papers(backbone, count):
    encoder = build(backbone)
    assert parameters(encoder) == count == sum(weight.numel() for weight in encoder.parameters())


@pytest.mark.parametrize("backbone", WIDTHS)
def test_uneven_widths_are_counted_as_they_are(backbone):
    encoder = build(backbone, [3 + 2 * place for place in range(len(WIDTHS[backbone]))])
    assert parameters(encoder) == sum(weight.numel() for weight in encoder.parameters())


@pytest.mark.parametrize(("kept", "whole", "embedding_kept"), [
    (48, 270_000, 276_912), (36, 151_956, None), (32, 120_096, 129_312), (24, 67_608, None), (16, 30_096, 37_008)])
def test_pruned_sizes_of_resnet15_are_the_tables(kept, whole, embedding_kept):
    assert counts.resnet15([kept] * 8) == whole
    if embedding_kept:
        assert counts.resnet15([kept] * 7 + [64]) == embedding_kept


@pytest.mark.parametrize(("kept", "count"), [(207, 238_671), (138, 111_504), (69, 31_947)])
def test_pruned_sizes_of_ds_cnn_are_the_tables(kept, count):
    assert counts.ds_cnn([kept] * 6) == count


@pytest.mark.parametrize(("backbone", "millions"), [
    ("ds_cnn_s", 2.5), ("ds_cnn_m", 9.1), ("ds_cnn_l", 26.2), ("resnet15", 225.5)])
def test_multiply_accumulates_are_the_papers(backbone, millions):
    assert multiply_accumulates(build(backbone)) / 1e6 == pytest.approx(millions, abs=0.06)


def test_counting_leaves_the_encoder_as_it_was():
    encoder = build("ds_cnn_s").train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    assert multiply_accumulates(encoder) == multiply_accumulates(encoder)
    assert encoder.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


# ------------------------------------------------------------------------------------------------ what they compute
@pytest.mark.parametrize("backbone", WIDTHS)
def test_embeddings_have_the_last_width_and_length_1(backbone):
    found = build(backbone).eval()(mfcc(3))
    assert found.shape == (3, WIDTHS[backbone][-1])
    assert torch.allclose(found.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(("backbone", "stem", "last"), [
    ("ds_cnn_s", (24, 5), (24, 5)), ("ds_cnn_m", (24, 10), (12, 5)), ("ds_cnn_l", (24, 10), (12, 5))])
def test_maps_have_the_papers_extents(backbone, stem, last):
    encoder = build(backbone)
    maps = encoder.stem(mfcc(1)[:, None])
    assert maps.shape[2:] == stem
    for block in encoder.blocks:
        maps = block(maps)
    assert maps.shape[2:] == last


def test_the_first_convolution_sees_five_frames_before_and_two_coefficients_below():
    encoder = build("ds_cnn_l")
    weight = torch.zeros(276, 1, 10, 4)
    weight[:, 0, 5, 2] = 1
    with torch.no_grad():
        encoder.stem[1].weight.copy_(weight)
        encoder.stem[1].bias.zero_()
    given = mfcc(1)
    assert torch.allclose(encoder.stem[1](encoder.stem[0](given[:, None]))[0, 0], given[0, ::2])


def test_a_residual_block_adds_to_its_rectified_input():
    block = build("resnet15", [2] * 8).blocks[0].eval()
    with torch.no_grad():
        block.second.weight.zero_()
    maps = torch.randn(1, 2, 47, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(maps), maps.clamp(min=0))


def test_the_embedding_keeps_its_sign():
    # No ReLU stands after the last normalisation.
    for backbone in ("ds_cnn_s", "resnet15_narrow"):
        encoder = build(backbone)
        for seed in range(3):
            encoder(mfcc(16, seed))
        found = encoder.eval()(mfcc(8))
        assert (found < 0).any() and (found > 0).any()


def test_windows_do_not_depend_on_each_other_in_evaluation():
    encoder, given = build("resnet15_narrow").eval(), mfcc(4)
    assert torch.allclose(encoder(given)[2:3], encoder(given[2:3]), atol=1e-6)


# ------------------------------------------------------------------------------------------------ seeds and files
def test_weights_follow_from_the_seed_alone():
    torch.manual_seed(5)
    first, state = build("ds_cnn_s", seed=3), torch.get_rng_state()
    torch.manual_seed(6)
    again, other = build("ds_cnn_s", seed=3), build("ds_cnn_s", seed=4)
    assert torch.equal(first.stem[1].weight, again.stem[1].weight)
    assert not torch.equal(first.stem[1].weight, other.stem[1].weight)
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn from what the caller seeded


@pytest.mark.parametrize(("backbone", "widths"), [("ds_cnn_s", [5, 6, 7, 8, 9]), ("resnet15", [4, 1, 2, 3, 4, 5, 6, 7])])
def test_what_is_written_is_read(tmp_path, backbone, widths):
    encoder = build(backbone, widths, seed=1)
    encoder(mfcc(4))  # running statistics of its own
    save(tmp_path / "net.safetensors", encoder, backbone, offline=0.25)
    found, kind, metadata = load_encoder(tmp_path / "net.safetensors")
    assert kind == backbone and found.widths == widths and not found.training
    assert metadata["settings"]["offline"] == 0.25 and metadata["provenance"] == {"code": "test"}
    assert torch.equal(found(mfcc()), encoder.eval()(mfcc()))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such model"):
        load_encoder(tmp_path / "none.safetensors")


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "net.safetensors"
    save(path, build("ds_cnn_s"), "ds_cnn_s")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"net\.safetensors: is not a readable"):
        load_encoder(path)


@pytest.mark.parametrize("said", [
    {"backbone": "ds_cnn_x"}, {"widths": [64] * 4}, {"widths": [64, 64, 64, 64, 0]}, {"widths": "64"}])
def test_a_file_of_no_known_encoder_is_refused(tmp_path, said):
    path = tmp_path / "net.safetensors"
    files.write_model(path, tensors_of(build("ds_cnn_s")), architecture="wake_word_encoder", provenance={},
                      settings={"backbone": "ds_cnn_s", "widths": [64] * 5, **said})
    with pytest.raises(UserError, match="names no known encoder"):
        load_encoder(path)


def test_widths_that_are_not_the_tensors_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    files.write_model(path, tensors_of(build("ds_cnn_s")), architecture="wake_word_encoder", provenance={},
                      settings={"backbone": "ds_cnn_s", "widths": [63] + [64] * 4, "padding": [1, 1, 5, 4]})
    with pytest.raises(UserError, match=r"net\.safetensors: .*has shape"):
        load_encoder(path)


@pytest.mark.parametrize("kept", [None, [2, 1, 5, 4]])
def test_a_small_ds_cnn_that_padded_otherwise_is_refused(tmp_path, kept):
    path = tmp_path / "net.safetensors"
    files.write_model(path, tensors_of(build("ds_cnn_s")), architecture="wake_word_encoder", provenance={},
                      settings={"backbone": "ds_cnn_s", "widths": [64] * 5, **({"padding": kept} if kept else {})})
    with pytest.raises(UserError, match=r"net\.safetensors: is of a net that padded its input otherwise"):
        load_encoder(path)


def test_larger_ones_of_before_are_read_as_they_were(tmp_path):
    path = tmp_path / "net.safetensors"
    files.write_model(path, tensors_of(build("ds_cnn_m")), architecture="wake_word_encoder", provenance={},
                      settings={"backbone": "ds_cnn_m", "widths": [172] * 5})
    assert load_encoder(path)[1] == "ds_cnn_m"


@pytest.mark.parametrize(("backbone", "before"), [("ds_cnn_s", (5, 1)), ("ds_cnn_m", (5, 2))])
def test_the_stem_is_padded_as_the_published_nets_are(backbone, before):
    # (ceil(10 / stride) - 1) * stride + 4 - 10 zeros: two where the coefficients are halved, three where they are not.
    encoder = build(backbone)
    frames, coefficients = before
    weight = torch.zeros_like(encoder.stem[1].weight)
    weight[:, 0, frames, coefficients] = 1
    with torch.no_grad():
        encoder.stem[1].weight.copy_(weight)
        encoder.stem[1].bias.zero_()
    given = mfcc(1)
    step = 2 if backbone == "ds_cnn_s" else 1
    assert torch.allclose(encoder.stem[1](encoder.stem[0](given[:, None]))[0, 0], given[0, ::2, ::step])
