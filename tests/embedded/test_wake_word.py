"""The wake-word encoder in C against PyTorch, and against itself on another target."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgekws.core.errors import UserError
from edgekws.embedded import library, wake_word
from edgekws.features.mfcc import mfcc
from edgekws.methods.onda import calibration, listening
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.settings import Calibration
from edgekws.models import encoder
from edgekws.models.delta.int8 import rounded
from edgekws.models.tensors import fill

WIDTHS = {"ds_cnn_s": [12, 8, 16, 8, 12], "ds_cnn_l": [12, 8, 16, 8, 12, 10]}
STRIDE = 2000


@pytest.fixture(scope="module", params=list(WIDTHS))
def net(request):
    """A narrow encoder, as pruning leaves one, with running statistics of its own."""
    made = encoder.build(request.param, WIDTHS[request.param], seed=1)
    random = torch.Generator().manual_seed(2)
    tensors = encoder.tensors_of(made)
    fill(tensors, {name: tensor + 0.2 * torch.rand(tensor.shape, generator=random) for name, tensor in tensors.items()})
    return made.eval()


@pytest.fixture
def open_ear(built):
    def make(blob, target="host"):
        path = built(target)
        return library.Library(library.Host(path) if target == "host" else library.WebAssembly(path), blob)

    return make


def word(seed, samples=20_000, pitch=700):
    """A recording of one short sound in noise."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    tone = np.sin(2 * np.pi * pitch * time * (1 + 0.4 * time)) * np.exp(-((time - 0.5 - 0.05 * random.random()) / 0.15) ** 2)
    return np.round(8000 * tone + 150 * random.standard_normal(samples)).astype(np.int16)


def floats(samples):
    return samples.astype(np.float32) / 32768


def test_embeddings_are_those_of_pytorch(net, open_ear):
    ear = open_ear(wake_word.encoder(net, {}, where="net"))
    ear.start_ear()
    seconds = np.stack([word(seed, 16_000, 300 + 200 * seed) for seed in range(4)] + [np.zeros(16_000, np.int16)])
    wanted = Embedder(net).embed(mfcc(torch.from_numpy(floats(seconds)))).numpy()
    found = np.stack([ear.embed(second) for second in seconds])
    assert np.abs(found - wanted).max() < 1e-4
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6


def test_int8_weights_are_those_that_int8_can_hold(net, open_ear, monkeypatch):
    coarse = open_ear(wake_word.encoder(net, {}, precision="int8", where="net"))
    coarse.start_ear()
    found = coarse.embed(word(0, 16_000)).tobytes()
    plain = wake_word.matrix
    monkeypatch.setattr(wake_word, "matrix", lambda section, weights, precision: plain(section, rounded(weights), "fp32"))
    fine = open_ear(wake_word.encoder(net, {}, where="net"))
    fine.start_ear()
    assert fine.embed(word(0, 16_000)).tobytes() == found


def calibrated(net, positives, negatives):
    """By the library's own functions, on 16-bit recordings."""
    embedder = Embedder(net)
    crops = np.stack([listening.loudest_second(floats(samples), 400) for samples in positives])
    prototype = functional.normalize(embedder.embed(mfcc(torch.from_numpy(crops))).mean(0), dim=0)
    near, far = ([torch.cat(list(listening.distances(embedder, prototype[None], [floats(samples)], STRIDE)))
                  for samples in recordings] for recordings in (positives, negatives))
    return embedder, calibration.thresholds(prototype, near, far, 16_000 // STRIDE, Calibration())


def test_enrolling_and_listening_are_those_of_pytorch(net, open_ear):
    positives = [word(seed, 20_000 + 1000 * seed) for seed in range(3)]
    negatives = [word(seed, 25_000, 2500) for seed in (7, 8)] + [word(9, 9_000, 1500)]
    embedder, wanted = calibrated(net, positives, negatives)
    assert not wanted.failed
    results = []
    stream = np.concatenate([word(20, 40_000, 2500), word(21, 30_000), word(22, 30_000, 1500), word(23, 30_500)])
    for target in ("host", "wasm"):
        ear = open_ear(wake_word.encoder(net, {}, where="net"), target)
        ear.start_ear()
        results.append([ear.enrol(positives, negatives), ear.detect(stream), ear.detect(stream)])
    assert results[0] == results[1]
    (length, threshold), found, again = results[0]
    assert length == wanted.filter and threshold == pytest.approx(wanted.detection, abs=1e-4)
    assert found == again
    distances = listening.distances(embedder, wanted.prototype[None], [floats(stream)], STRIDE)
    expected, last = [], -np.inf
    for window, distance in listening.minima(listening.smoothed(distances, length), threshold):
        end = max(window - (length - 1), 0) * STRIDE
        if end - last >= 16_000:
            last = end
            expected.append((end, distance))
    assert len(expected) >= 1 and [end for end, _ in found] == [end for end, _ in expected]
    assert np.allclose([distance for _, distance in found], [distance for _, distance in expected], atol=1e-4)


def test_an_enrolled_model_listens_at_once(net, open_ear):
    positives, negatives = [word(seed) for seed in range(3)], [word(7, 25_000, 2500)]
    _, known = calibrated(net, positives, negatives)
    fresh, taught = (open_ear(wake_word.encoder(net, settings, where="net")) for settings in (
        {}, {"wake_word": calibration.as_settings(known, STRIDE)}))
    taught.start_ear()
    found = taught.detect(word(30, 40_000))
    assert len(found) == 1
    fresh = open_ear(wake_word.encoder(net, {}, where="net"))
    fresh.start_ear()
    with pytest.raises(UserError, match="nothing to work on"):
        fresh.detect(word(30))


def test_what_cannot_be_told_apart_and_what_is_no_encoder(net, open_ear):
    ear = open_ear(wake_word.encoder(net, {}, where="net"))
    with pytest.raises(UserError, match="too small"):
        ear.start_ear(room=1000)
    ear.start_ear()
    with pytest.raises(UserError, match="told from the other speech"):
        ear.enrol([word(0)], [word(0)])
    with pytest.raises(UserError, match=r"another kind|not possible"):
        ear.start(clips=1)
    with pytest.raises(UserError, match="ResNet15"):
        wake_word.encoder(encoder.build("resnet15_narrow"), {}, where="net")
