import numpy as np
import pytest
import torch

from edgekws.methods.onda.inference import CHUNK, Embedder
from edgekws.models.encoder import WIDTHS, build


def mfcc(windows, seed=0):
    return 20 * torch.randn(windows, 47, 10, generator=torch.Generator().manual_seed(seed))


def encoder_of(backbone, widths=None):
    """An encoder whose every normalisation has statistics, and where it may a scale and a shift, of its own."""
    encoder = build(backbone, widths, seed=1).train()
    encoder(mfcc(16, seed=1))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.affine:
                module.weight.uniform_(0.5, 2, generator=generator)
                module.bias.normal_(generator=generator)
    return encoder.eval()


@pytest.mark.parametrize(("backbone", "widths"), [
    *((backbone, None) for backbone in WIDTHS if backbone != "resnet15"),
    ("ds_cnn_l", [5, 1, 9, 30, 7, 12]), ("ds_cnn_s", [3, 8, 1, 4, 6]), ("resnet15", [6, 1, 9, 3, 12, 5, 4, 7])])
def test_embeddings_are_the_modules(backbone, widths):
    encoder, given = encoder_of(backbone, widths), mfcc(CHUNK + 3)
    with torch.no_grad():
        expected = encoder(given)
    assert (Embedder(encoder).embed(given) - expected).abs().max() < 1e-5


def test_a_read_only_map_gives_what_the_tensor_gives(tmp_path):
    given = mfcc(5)
    np.save(tmp_path / "mfcc.npy", given.numpy())
    embedder = Embedder(encoder_of("ds_cnn_s"))
    assert torch.equal(embedder.embed(np.load(tmp_path / "mfcc.npy", mmap_mode="r")), embedder.embed(given))


def test_the_input_is_left_as_it_is():
    given = mfcc(3)
    before = given.clone()
    for backbone in ("ds_cnn_s", "resnet15_narrow"):
        Embedder(encoder_of(backbone)).embed(given)
    assert torch.equal(given, before)


def test_later_changes_of_the_encoder_do_not_show():
    for backbone in ("ds_cnn_s", "resnet15_narrow"):
        encoder = encoder_of(backbone)
        embedder, given = Embedder(encoder), mfcc(3)
        before = embedder.embed(given)
        with torch.no_grad():
            for tensor in encoder.state_dict().values():
                tensor += 1
        assert torch.equal(embedder.embed(given), before)


def test_a_training_encoder_is_taken_by_its_running_statistics():
    encoder = encoder_of("ds_cnn_s")
    expected = encoder(mfcc(4))
    assert torch.allclose(Embedder(encoder.train()).embed(mfcc(4)), expected, atol=1e-5)
    assert encoder.training


def test_embeddings_can_be_trained_against():
    found = Embedder(encoder_of("ds_cnn_s")).embed(mfcc(3))
    weight = torch.ones(64, requires_grad=True)
    (found * weight).sum().backward()
    assert torch.allclose(weight.grad, found.sum(0))


def test_no_window_gives_no_embedding():
    assert Embedder(encoder_of("ds_cnn_s")).embed(mfcc(0)).shape == (0, 64)


@pytest.mark.parametrize("shape", [(47, 10), (2, 10, 47), (2, 1, 47, 10)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected MFCC of shape"):
        Embedder(encoder_of("ds_cnn_s")).embed(torch.zeros(shape))


@pytest.mark.parametrize("backbone", ["ds_cnn_s", "ds_cnn_l", "resnet15_narrow"])
def test_bfloat16_keeps_squared_distances_within_its_tolerance(backbone):
    encoder, given = encoder_of(backbone), mfcc(64)
    whole, half = (Embedder(encoder, precision).embed(given) for precision in ("float32", "bfloat16"))
    assert half.dtype == torch.float32 and not torch.equal(whole, half)
    assert torch.allclose(half.norm(dim=1), torch.ones(64), atol=1e-5)
    off = (whole @ whole.T - half @ half.T) * 2
    assert off.square().mean().sqrt() < 0.01
