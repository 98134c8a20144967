"""What the tests of every folder share: archives made on the spot, and the real one where there is one."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekws.corpus import audio

REPOSITORY = Path(__file__).parents[1]
REAL_ARCHIVE = "speech_commands_v0.01_8words.tar.gz"
HOW = "no real speech: set EDGEKWS_GSC_ARCHIVE to an archive in the layout of Google Speech Commands"
HOW_ENCODERS = ("no published encoders: set EDGEKWS_ENCODERS to the folder with DSCNNS.pt and the others "
                "(data/encoders/README.md)")
ENCODERS = {"ds_cnn_s": "DSCNNS.pt", "ds_cnn_m": "DSCNNM.pt", "ds_cnn_l": "DSCNNL.pt", "resnet15": "RESNET15.pt"}


@pytest.fixture(scope="session")
def real_archive():
    """The real archive; tests that ask for it are skipped where it is absent."""
    named = os.environ.get("EDGEKWS_GSC_ARCHIVE")
    archive = Path(named) if named else REPOSITORY.parent / "shared" / "gsc" / REAL_ARCHIVE
    if not archive.exists():
        pytest.skip(HOW)
    return archive


@pytest.fixture(scope="session")
def published_encoders():
    """Paths of the published encoders by backbone; tests that ask for them are skipped where they are absent."""
    named = os.environ.get("EDGEKWS_ENCODERS")
    if not named:
        pytest.skip(HOW_ENCODERS)
    paths = {backbone: Path(named) / name for backbone, name in ENCODERS.items()}
    assert all(path.is_file() for path in paths.values()), f"EDGEKWS_ENCODERS: {named} lacks some of {list(ENCODERS.values())}"
    return paths


def pytest_collection_modifyitems(items):
    """Slow tests first, so that no worker ends on a long one while the others are idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter):
    for how in (HOW, HOW_ENCODERS):
        skipped = [report for report in terminalreporter.stats.get("skipped", []) if how in str(report.longrepr)]
        if skipped:
            terminalreporter.write_line(f"{len(skipped)} tests skipped: {how}", yellow=True)


@pytest.fixture(scope="module", autouse=True)
def torch_as_it_was():
    """The commands pin torch's threads and determinism for their whole process; here that is the tests' process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")
    torch.set_flush_denormal(False)


@pytest.fixture
def one_thread():
    """For networks that are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sound():
    """A function that makes noise: int16 of shape (samples,), its largest magnitude ``peak``."""
    def make(seed: int = 0, samples: int = 16_000, peak: int = 8_000) -> np.ndarray:
        noise = np.random.default_rng(seed).uniform(-1, 1, samples)
        return np.round(noise * peak / np.abs(noise).max()).astype(np.int16)

    return make


@pytest.fixture
def make_archive(tmp_path):
    """A function that writes an archive: ``make({"yes/ab_nohash_0.wav": samples, "LICENSE": b"…", "no/": None})``.

    int16 samples become WAV files, bytes and text stay as they are, None makes a folder, and a tarfile.TarInfo goes
    in as it is. The name decides on compression.
    """
    def make(members: dict[str, object], name: str = "corpus.tar") -> Path:
        path = tmp_path / name
        form = path.suffix.removeprefix(".")
        with tarfile.open(path, f"w:{form}" if form in ("gz", "bz2", "xz") else "w") as tar:
            for member, content in members.items():
                header = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(f"./{member}")
                if isinstance(content, np.ndarray):
                    content = audio.encode_wav(content)
                if isinstance(content, str):
                    content = content.encode()
                if content is None:
                    header.type = tarfile.DIRTYPE
                if isinstance(content, bytes):
                    header.size = len(content)
                tar.addfile(header, io.BytesIO(content) if isinstance(content, bytes) else None)
        return path

    return make


@pytest.fixture
def make_gsc(make_archive, sound):
    """A function that writes an archive of noise in GSC's layout: every speaker says every word ``takes`` times."""
    def make(words=("no", "yes"), speakers=("c50f55b8", "099d52ad", "022cd682"), takes=2, name="gsc.tar", **more):
        names = [f"{word}/{speaker}_nohash_{take}.wav" for word in words for speaker in speakers
                 for take in range(takes)]
        return make_archive({**{clip: sound(seed) for seed, clip in enumerate(names)}, **more}, name)

    return make
