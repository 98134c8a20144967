import errno
import io
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import audio, index
from edgekws.features import logmel, pack
from edgekws.features.settings import Features

SETTINGS = Features()


def clips(n, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(0, 3000, random.integers(8000, 18_000)).astype(np.int16) for _ in range(n)]


def expected(recordings):
    return logmel.log_mel_deltas(np.stack([logmel.prepare(samples) for samples in recordings]), SETTINGS)


def test_rows_follow_their_number_and_not_their_order(tmp_path):
    recordings, path = clips(13), tmp_path / "features.npy"
    order = np.random.default_rng(1).permutation(13)
    pack.extract_waves(((int(row), recordings[row]) for row in order), 13, SETTINGS, path, batch=5)
    features = pack.open_features(path)
    np.testing.assert_allclose(features, expected(recordings), atol=1e-6)
    assert not features.flags.writeable


def test_the_same_clips_give_the_same_bytes(tmp_path):
    recordings = clips(13)
    for name in ("one.npy", "two.npy"):
        pack.extract_waves(enumerate(recordings), 13, SETTINGS, tmp_path / name, batch=8)
    assert files.sha256_of(tmp_path / "one.npy") == files.sha256_of(tmp_path / "two.npy")


@pytest.fixture
def corpus(tmp_path):
    """An archive of 2 words by 3 speakers, its index, and the clips in the index's order."""
    recordings = clips(6)
    archive = tmp_path / "corpus.tar"
    with tarfile.open(archive, "w") as members:
        for clip in (4, 0, 5, 1, 2, 3):
            member = tarfile.TarInfo(f"{('no', 'yes')[clip // 3]}/{'abc'[clip % 3]}_nohash_0.wav")
            content = audio.encode_wav(recordings[clip])
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    index.write_index(tmp_path / "index.parquet", *index.build_index(archive))
    return archive, tmp_path / "index.parquet", recordings


def test_extract_follows_the_index(corpus, tmp_path, capsys):
    archive, index_path, recordings = corpus
    out = tmp_path / "out/features.npy"
    pack.extract(archive, index_path, out, SETTINGS, batch=4, progress=True)
    np.testing.assert_allclose(pack.open_features(out), expected(recordings), atol=1e-6)
    assert [path.name for path in out.parent.iterdir()] == ["features.npy"]
    assert "clip" not in capsys.readouterr().err, "no progress bar where nobody watches"


def test_an_archive_that_breaks_off_is_an_error_and_leaves_nothing(corpus, tmp_path):
    archive, index_path, _ = corpus
    archive.write_bytes(archive.read_bytes()[:40_000])
    with pytest.raises(UserError, match=r"corpus\.tar"):
        pack.extract(archive, index_path, tmp_path / "out/features.npy", SETTINGS, batch=1)
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_an_error_before_any_work_and_leaves_nothing(corpus, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(logmel, "prepare", lambda samples: pytest.fail("a clip was computed"))
    with pytest.raises(UserError, match="no space left"):
        pack.extract(*corpus[:2], tmp_path / "out/features.npy", SETTINGS)
    assert not list((tmp_path / "out").iterdir())


def test_a_system_that_cannot_reserve_space_writes_the_same(monkeypatch, tmp_path):
    recordings = clips(3)
    pack.extract_waves(enumerate(recordings), 3, SETTINGS, tmp_path / "reserved.npy")
    monkeypatch.delattr(os, "posix_fallocate")
    pack.extract_waves(enumerate(recordings), 3, SETTINGS, tmp_path / "grown.npy")
    assert files.sha256_of(tmp_path / "reserved.npy") == files.sha256_of(tmp_path / "grown.npy")


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from edgekws.features import pack
from edgekws.features.settings import Features
torch.set_num_threads(1)
n = int(sys.argv[1])
samples = np.random.default_rng(0).normal(0, 3000, 16_000).astype(np.int16)
pack.extract_waves(((row, samples) for row in range(n)), n, Features(), Path(sys.argv[2]), batch=64)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kilobytes on Linux only")
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """2000 clips make a file of 97 MB; the peak resident set stays that of 200 clips."""
    few, many = (int(subprocess.run([sys.executable, "-c", PEAK, str(n), str(tmp_path / f"{n}.npy")], check=True,
                                    capture_output=True, text=True).stdout) for n in (200, 2000))
    assert many - few < 20, f"{few} MB for 200 clips, {many} MB for 2000"


@pytest.mark.parametrize(("content", "what"), [
    (np.zeros((3, 4), np.float32), "float32 of shape"),
    (np.zeros((3, 4, 5), np.float64), "float64 of shape"),
    (b"not numpy at all", "not a readable"),
    (b"", "not a readable"),
])
def test_other_files_are_refused(tmp_path, content, what):
    path = tmp_path / "features.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(UserError, match=what):
        pack.open_features(path)


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "features.npy"
    np.save(path, np.zeros((3, 4, 5), np.float32))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="not a readable"):
        pack.open_features(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.npy: no such features file"):
        pack.open_features(tmp_path / "nothing.npy")
