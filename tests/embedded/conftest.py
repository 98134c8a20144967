"""The C library, built once, and a small spiking net for it."""

import numpy as np
import pytest
import torch

from edgekws.core.environments import NotRun
from edgekws.embedded import compiler, image, library
from edgekws.features import logmel
from edgekws.features.settings import Features
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

WORDS = ["down", "left", "no", "yes"]


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A function that gives the library of a target, built where it is first asked for."""
    folder, paths = tmp_path_factory.mktemp("library"), {}

    def build(target):
        if target not in paths:
            try:
                compiler.build_library(target, folder / target)
            except NotRun as reason:
                pytest.skip(str(reason))
            paths[target] = folder / target
        return paths[target]

    return build


@pytest.fixture(scope="session")
def net():
    """An untrained net of 24 neurons whose potentials are busy enough to spike."""
    return RecurrentLIF(Network(hidden=[24]), inputs=120, outputs=len(WORDS) + 1, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def metadata():
    """What a base's file tells beside its weights."""
    scale = torch.rand(120, generator=torch.Generator().manual_seed(4)) + 0.5
    return {"vocabulary": WORDS, "feature_scale": scale, "settings": {"features": Features().model_dump()}}


@pytest.fixture
def open_library(built, net, metadata):
    """A function that opens an image of the net in a machine: ``host`` or ``wasm``."""
    def make(target="host", *, precision="fp32", blob=None):
        path = built(target)
        machine = library.Host(path) if target == "host" else library.WebAssembly(path)
        return library.Library(machine, blob or image.spiking(net, metadata, precision=precision, where="net"))

    return make


@pytest.fixture(scope="session")
def clips():
    """26 clips of gliding tones in noise, int16 (clips, 16000), and the number of each one's word."""
    random = np.random.default_rng(0)
    labels = np.arange(26) % len(WORDS)
    time = np.arange(16_000) / 16_000
    waves = []
    for label in labels:
        pitch = (300 + 400 * label) * (1 + 0.1 * random.standard_normal()) * (1 + (0.5 - label % 2) * time)
        tone = np.sin(2 * np.pi * np.cumsum(pitch) / 16_000) * np.exp(-((time - random.uniform(0.3, 0.7)) / 0.15) ** 2)
        waves.append(np.round(9000 * (tone + 0.05 * random.standard_normal(16_000)) / 1.3).astype(np.int16))
    return np.stack(waves), labels


@pytest.fixture(scope="session")
def features(clips, metadata):
    """Of those clips by the library's own front end, scaled as the net takes them, [clips, frames, inputs]."""
    own = logmel.log_mel_deltas(np.stack([logmel.prepare(wave) for wave in clips[0]]), Features())
    return torch.from_numpy(own) / metadata["feature_scale"]
