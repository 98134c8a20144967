import numpy as np
import torch

from edgekws.features import normalise


def features(clips=600, seed=0):
    random = np.random.default_rng(seed)
    values = random.normal(3, random.uniform(0.1, 5, 7), (clips, 11, 7)).astype(np.float32)
    values[..., 4] = 0.1
    return values


def test_scale_is_torchs_standard_deviation():
    values = features()
    expected = torch.from_numpy(values).double().std((0, 1)).numpy()
    expected[4] = 1
    scale = normalise.set_scale(values)
    assert scale.shape == (7,) and scale.dtype == np.float32
    np.testing.assert_allclose(scale, expected, rtol=1e-6)


def test_a_feature_that_never_changes_keeps_its_value():
    values = features(5)
    scale = normalise.set_scale(values)
    assert scale[4] == 1
    np.testing.assert_array_equal((values / scale)[..., 4], values[..., 4])


def test_applying_the_sets_own_scale_gives_unit_deviation():
    values = features()
    again = normalise.set_scale(values / normalise.set_scale(values))
    np.testing.assert_allclose(again, 1, rtol=1e-5)


def test_a_draw_counts_repetitions():
    values, rows = features(50), np.array([3, 3, 3, 7, 20])
    np.testing.assert_allclose(normalise.set_scale(values, rows), normalise.set_scale(values[rows]), rtol=1e-6)
    assert not np.allclose(normalise.set_scale(values, rows), normalise.set_scale(values[np.unique(rows)]))


def test_arrays_maps_and_tensors_agree(tmp_path):
    values = features()
    np.save(tmp_path / "features.npy", values)
    scale = normalise.set_scale(values)
    tensor = normalise.set_scale(torch.from_numpy(values))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), scale)
    np.testing.assert_array_equal(normalise.set_scale(np.load(tmp_path / "features.npy", mmap_mode="r")), scale)


def test_a_large_offset_costs_no_precision():
    values = features()
    np.testing.assert_allclose(normalise.set_scale(values + np.float32(1000)), normalise.set_scale(values), rtol=2e-3)


def test_moments_are_those_of_the_clips_taken():
    values, rows = features(), np.array([3, 500, 17])
    mean, scale = normalise.set_moments(values, rows)
    np.testing.assert_allclose(mean, values[rows].mean((0, 1), dtype=np.float64), rtol=1e-6)
    np.testing.assert_array_equal(scale, normalise.set_scale(values, rows))
