"""The encoders that the base pipeline publishes: read, checked, and equal to a plain forward pass of what the files hold."""

import math
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekws.core.errors import UserError
from edgekws.core.torch_file import read_module
from edgekws.features.mfcc import mfcc
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.published import import_encoder
from edgekws.models.encoder import build, load_encoder

BACKBONES = ("ds_cnn_s", "ds_cnn_m", "ds_cnn_l", "resnet15")


# ------------------------------------------------------------------------------------------------ with the published files
def same(maps, weight, bias, stride, groups=1):
    """A convolution as TensorFlow pads it ("same"), but with the larger half of an odd number of zeros first."""
    pads = []
    for extent, kernel, step in zip(maps.shape[2:], weight.shape[2:], stride, strict=True):
        zeros = (math.ceil(extent / step) - 1) * step + kernel - extent
        pads = [math.ceil(zeros / 2), zeros // 2, *pads]
    return functional.conv2d(functional.pad(maps, pads), weight, bias, stride, groups=groups)


def plain_ds_cnn(tensors, features, size):
    """The published forward pass, by the file's own names, in double precision."""
    first, blocks = (2, 2 if size == "s" else 1), 5 if size == "l" else 4
    steps = [(1, 1) if size == "s" or block else (2, 2) for block in range(blocks)]

    def norm(maps, place):
        mean, var, weight, bias = (tensors[f"encoder.dscnn.{place}.{name}"][:, None, None]
                                   for name in ("running_mean", "running_var", "weight", "bias"))
        return (maps - mean) / (var + 1e-5).sqrt() * weight + bias

    def layer(place):
        return tensors[f"encoder.dscnn.{place}.weight"], tensors[f"encoder.dscnn.{place}.bias"]

    maps = norm(same(features[:, None], *layer(1), first), 2).relu()
    for block, step in enumerate(steps):
        at = 4 + 7 * block
        maps = norm(same(maps, *layer(at + 1), step, groups=maps.shape[1]), at + 2).relu()
        maps = norm(functional.conv2d(maps, *layer(at + 4)), at + 5)
        maps = maps.relu() if block + 1 < blocks else maps
    return functional.normalize(maps.mean((2, 3)))


def plain_resnet15(tensors, features):
    def convolved(maps, number):
        mean, var = (tensors[f"encoder.bn{number}.{name}"][:, None, None] for name in ("running_mean", "running_var"))
        return (functional.conv2d(maps.relu(), tensors[f"encoder.conv{number}.weight"], padding=1) - mean) / (var + 1e-5).sqrt()

    maps = functional.conv2d(features[:, None], tensors["encoder.conv0.weight"], padding=1)
    for number in range(1, 13, 2):
        maps = convolved(convolved(maps, number), number + 1) + maps.relu()
    return functional.normalize(convolved(maps, 13).mean((2, 3)))


def sounds():
    """[clips, 16000] of sweeps, noises, silence and a click."""
    rng, time = np.random.default_rng(0), np.arange(16_000) / 16_000
    swept = [np.sin(2 * np.pi * (low * time + speed * time**2)) * np.sin(np.pi * time) ** 2
             for low, speed in ((100, 300), (400, -100), (800, 900), (2000, -700))]
    noises = [scale * rng.standard_normal(16_000) for scale in (1e-4, 1e-2, 0.3)]
    click = np.zeros(16_000)
    click[9000] = 0.9
    return torch.from_numpy(np.stack([*swept, *noises, np.zeros(16_000), click]).astype(np.float32))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_embeddings_are_those_of_the_published_encoder(published_encoders, tmp_path, backbone):
    path = published_encoders[backbone]
    import_encoder(path, tmp_path / "net.safetensors")
    net, kind, _ = load_encoder(tmp_path / "net.safetensors")
    assert kind == backbone
    tensors = {name: torch.tensor(value).double() for name, value in read_module(path).all_tensors() if value.dtype == np.float32}
    features = mfcc(sounds())
    wanted = plain_resnet15(tensors, features.double()) if backbone == "resnet15" else plain_ds_cnn(
        tensors, features.double(), backbone[-1])
    with torch.no_grad():
        assert (net(features) - wanted).abs().max() < 2e-6
    assert (Embedder(net).embed(features) - wanted).abs().max() < 2e-6


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_front_end_is_that_of_the_published_files(published_encoders, backbone):


    path = published_encoders[backbone]
    front = read_module(path).attributes["preprocessing"].state["mfcc"].state
    spectrum = front["_modules"].items["MelSpectrogram"].state["_modules"].items
    with zipfile.ZipFile(path) as archive:
        def table(holder, name):
            thing = holder["_buffers"].items[name]
            storage, _, shape, strides = thing.arguments[:4]
            numbers = np.frombuffer(archive.read(f"archive/data/{storage.arguments[2]}"), "<f4")
            return np.lib.stride_tricks.as_strided(numbers, shape, [4 * step for step in strides])

        window = table(spectrum["spectrogram"].state, "window")
        mel = table(spectrum["mel_scale"].state, "fb")
        cosine = table(front, "dct_mat")
    waves = sounds().double().numpy()
    frames = np.lib.stride_tricks.sliding_window_view(waves, 1024, 1)[:, ::320]
    padded = np.pad(window.astype(np.float64), (192, 192))
    power = np.abs(np.fft.rfft(frames * padded)) ** 2
    decibels = 10 * np.log10(np.maximum(power @ mel, 1e-10))
    decibels = np.maximum(decibels, decibels.max((1, 2), keepdims=True) - 80)
    assert np.abs(mfcc(sounds()).numpy() - (decibels @ cosine)[..., :10]).max() < 2e-3


# ------------------------------------------------------------------------------------------------ without them
class ReprModel(nn.Module):
    def __init__(self, encoder, preprocessing):
        super().__init__()
        self.encoder, self.preprocessing, self.emb_norm = encoder, preprocessing, True


class DSCNN(nn.Module):
    pass


class MFCC:
    pass


def front_end(**changed):
    features, transform = MFCC(), nn.Module()
    spectrogram = nn.Module()
    for name, value in {"sample_rate": 16_000, "n_fft": 1024, "win_length": 640, "hop_length": 320, "n_mels": 40,
                        **changed}.items():
        setattr(spectrogram, name, value)
    transform.MelSpectrogram = spectrogram
    features.feature_bin_count, features.mfcc = 10, transform
    return features


def like_the_published(net, path, *, padding=None, **changed):
    """A file in the form of DSCNNS.pt with the weights of a net of ours."""
    layers = [nn.ZeroPad2d(padding or net.padding), *list(net.stem)[1:]]
    for block in net.blocks:
        layers += [nn.ReLU(), nn.ZeroPad2d(1), *list(block)[1:]]
    encoder = DSCNN()
    encoder.dscnn = nn.Sequential(*layers)
    torch.save(ReprModel(encoder, front_end(**changed)), path)
    return path


def test_a_file_of_that_form_is_read(tmp_path):
    net = build("ds_cnn_s", seed=3)
    found, backbone = import_encoder(like_the_published(net, tmp_path / "S.pt"), tmp_path / "net.safetensors")
    features = 20 * torch.randn(3, 47, 10, generator=torch.Generator().manual_seed(0))
    read, kind, metadata = load_encoder(tmp_path / "net.safetensors")
    assert backbone == kind == "ds_cnn_s"
    with torch.no_grad():
        assert torch.equal(read(features), net.eval()(features)) and torch.equal(found(features), net(features))
    said = metadata["settings"]["published"]
    assert said["file"] == "S.pt" and len(said["sha256"]) == 64 and metadata["provenance"]["corpus"]["name"] == "mswc_en"


@pytest.mark.parametrize(("made", "says"), [
    (lambda path: like_the_published(build("ds_cnn_s"), path, padding=(2, 1, 5, 4)), r"pads its input by \[2, 1, 5, 4\]"),
    (lambda path: like_the_published(build("ds_cnn_s", [64, 64, 64, 64, 32]), path), "of other layers than DS-CNN-S"),
    (lambda path: like_the_published(build("ds_cnn_s"), path, hop_length=160), "hears other features"),
    (lambda path: torch.save(build("ds_cnn_s"), path), "holds no encoder of the base pipeline"),
    (lambda path: path.write_text("no zip"), "is damaged, or not the zip archive that torch writes"),
])
def test_other_files_are_refused_and_nothing_is_written(tmp_path, made, says):
    path = tmp_path / "net.pt"
    made(path)
    with pytest.raises(UserError, match=rf"net\.pt: .*{says}"):
        import_encoder(path, tmp_path / "net.safetensors")
    assert not (tmp_path / "net.safetensors").exists()
