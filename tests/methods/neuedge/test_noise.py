"""Noise beside speech: levels, sources, and the file of noisy features."""

import numpy as np
import pytest

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import index
from edgekws.features import pack, unit_logmel
from edgekws.features.settings import LogMel
from edgekws.methods.neuedge import noise
from edgekws.methods.neuedge.settings import NoiseTest

FRONT = LogMel(pool=10)
SCALE = unit_logmel.Scale(np.full(40, -11.5, np.float32), np.full(40, 2, np.float32))
TEST = NoiseTest(snr_db=[20.0, 0.0], clips=6)
SPEAKERS = ("c50f55b8", "022cd682")  # one of the training split, one of the test split


def level(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


# ------------------------------------------------------------------------------------------------ the file
@pytest.fixture
def corpus(make_gsc, sound, tmp_path):
    """Two words by one test speaker, five takes each, one of them a repeat, and two noises."""
    archive = make_gsc(speakers=SPEAKERS, takes=4, **{
        "yes/022cd682_nohash_7.wav": sound(99, 9000),
        "yes/022cd682_nohash_8.wav": sound(99, 9000),
        "_background_noise_/tap.wav": sound(1, 40_000, 500), "_background_noise_/bike.wav": sound(2, 30_000, 500)})
    index.write_index(tmp_path / "index.parquet", *index.build_index(archive))
    return archive, tmp_path / "index.parquet"


def write(corpus, out, test=TEST, seed=0, **more):
    noise.noisy_features(*corpus, SCALE, FRONT, test, out, seed=seed, **more)
    return pack.open_features(out), *files.read_table(out.with_suffix(".parquet"))


def test_every_clip_at_every_ratio_and_noise_alone(corpus, tmp_path):
    features, table, facts = write(corpus, tmp_path / "out/noisy.npy")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["noisy.npy", "noisy.parquet"]
    assert features.shape == (6 * 2 + 1, 10, 40) and 0 <= features.min() < features.max() <= 1
    assert list(table.columns) == ["row", "clip", "snr_db", "source"]
    assert table["row"].tolist() == list(range(13))
    assert table["snr_db"][:12].tolist() == [20.0] * 6 + [0.0] * 6 and np.isnan(table["snr_db"][12])
    assert table["clip"][:6].tolist() == table["clip"][6:12].tolist() and table["clip"][12] == -1
    assert set(table["source"]) <= {"tap.wav", "bike.wav"}
    assert table["source"][:6].tolist() == table["source"][6:12].tolist(), "the same noise at every ratio"
    assert facts == {"made": False, "sources": ["bike.wav", "tap.wav"], "seed": 0}


def test_only_distinct_test_clips_are_taken(corpus, tmp_path):
    features, table, _ = write(corpus, tmp_path / "noisy.npy", NoiseTest(snr_db=[10.0]))
    clips, _ = index.read_index(corpus[1])
    chosen = clips.loc[table["clip"][table["clip"] >= 0]]
    assert set(chosen["split"]) == {"test"} and (chosen["repeat_of"] == "").all() and len(chosen) == 9
    assert len(features) == 9 + 2


def test_rows_hold_what_the_table_says(corpus, tmp_path):
    """With next to no noise, the features are those of the clean clip."""
    features, table, _ = write(corpus, tmp_path / "noisy.npy", NoiseTest(snr_db=[100.0, -10.0], clips=6))
    recordings = dict(index.iter_clips(corpus[0], index.read_index(corpus[1])[0]))
    waves = np.stack([unit_logmel.prepare(recordings[clip]) for clip in table["clip"][:6]])
    clean = unit_logmel.features(waves, FRONT, SCALE)
    np.testing.assert_allclose(features[:6], clean, atol=1e-3)
    assert features[6:12].mean() > clean.mean() + 0.1


def test_noise_alone_keeps_its_level(make_gsc, tmp_path):
    square = np.resize(np.array([400, -400], np.int16), 16_000)  # one second: rolled or not, it sounds the same
    archive = make_gsc(speakers=SPEAKERS, **{"_background_noise_/square.wav": square})
    index.write_index(tmp_path / "index.parquet", *index.build_index(archive))
    features, table, _ = write((archive, tmp_path / "index.parquet"), tmp_path / "noisy.npy", NoiseTest(snr_db=[0.0]))
    expected = unit_logmel.features(unit_logmel.prepare(square)[None], FRONT, SCALE)[0]
    np.testing.assert_allclose(features[table["clip"] == -1][0, 1:-1], expected[1:-1], atol=1e-4)


def test_noise_depends_on_seed_and_clip_alone(corpus, tmp_path):
    many, table, _ = write(corpus, tmp_path / "many.npy", NoiseTest(snr_db=[0.0]), batch=2)
    again, few, _ = write(corpus, tmp_path / "few.npy", NoiseTest(snr_db=[5.0, 0.0], clips=3))
    for row, clip in few[few["snr_db"] == 0][["row", "clip"]].itertuples(index=False):
        np.testing.assert_allclose(again[row], many[table.index[table["clip"] == clip][0]], atol=1e-5)
    other, _, _ = write(corpus, tmp_path / "other.npy", NoiseTest(snr_db=[0.0]), seed=1)
    assert (other != many).any()


def test_the_same_seed_gives_the_same_bytes(corpus, tmp_path):
    for name in ("one.npy", "two.npy"):
        write(corpus, tmp_path / name)
    for suffix in (".npy", ".parquet"):
        assert files.sha256_of(tmp_path / f"one{suffix}") == files.sha256_of(tmp_path / f"two{suffix}")


def test_a_corpus_without_recordings_gets_made_noise(make_gsc, tmp_path):
    archive = make_gsc(speakers=SPEAKERS)
    index.write_index(tmp_path / "index.parquet", *index.build_index(archive))
    features, table, facts = write((archive, tmp_path / "index.parquet"), tmp_path / "noisy.npy")
    assert facts["made"] and facts["sources"] == ["made pink noise", "made white noise"]
    assert set(table["source"]) <= set(facts["sources"]) and len(features) == 4 * 2 + 1


def test_a_corpus_without_test_clips_is_refused(make_gsc, tmp_path):
    archive = make_gsc(speakers=SPEAKERS[:1])
    index.write_index(tmp_path / "index.parquet", *index.build_index(archive))
    with pytest.raises(UserError, match="no test clip"):
        write((archive, tmp_path / "index.parquet"), tmp_path / "noisy.npy")


def test_an_archive_that_breaks_off_leaves_nothing(corpus, tmp_path):
    corpus[0].write_bytes(corpus[0].read_bytes()[:200_000])
    with pytest.raises(UserError, match="damaged"):
        write(corpus, tmp_path / "out/noisy.npy")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
