import importlib.util
import sys

import numpy as np
import pytest
import torch
from tests.methods.onda.nets import lively

from edgekws.core.errors import UserError
from edgekws.methods.onda import onnx_export
from edgekws.methods.onda.inference import CHUNK
from edgekws.models.encoder import build

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
    reason="onnx and onnxruntime are not installed (pip install edgekws[onnx])")


def windows(count):
    return 10 * torch.randn(count, 47, 10, generator=torch.Generator().manual_seed(0)).numpy()


@needs_onnx
@pytest.mark.parametrize(("backbone", "widths"), [
    ("ds_cnn_s", None), ("ds_cnn_l", [5, 1, 9, 30, 7, 12]), ("resnet15", [6, 1, 9, 3, 12, 5, 4, 7])])
def test_a_written_encoder_embeds_as_it_did(tmp_path, backbone, widths):
    encoder, given = lively(build(backbone, widths)).float(), windows(CHUNK + 3)
    difference = onnx_export.export(encoder, tmp_path / "encoder.onnx")
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(given))
    found = onnx_export.OnnxEmbedder(tmp_path / "encoder.onnx").embed(given)
    assert difference < onnx_export.TOLERANCE and (found - expected).abs().max() < onnx_export.TOLERANCE


@needs_onnx
def test_eight_bits_are_smaller_and_embed_alike(tmp_path):
    full, small, given = tmp_path / "full.onnx", tmp_path / "small.onnx", windows(2 * CHUNK)
    encoder = build("ds_cnn_s", [48] * 5).train()
    encoder(torch.from_numpy(given))  # statistics of its own
    onnx_export.export(encoder.eval(), full)
    onnx_export.quantise(full, small, given)
    both = [onnx_export.OnnxEmbedder(path).embed(given) for path in (full, small)]
    assert small.stat().st_size < full.stat().st_size
    assert (both[0] * both[1]).sum(1).mean() > 0.95, "the cosine of an embedding and its eight-bit one"


@needs_onnx
def test_no_windows_give_no_ranges(tmp_path):
    onnx_export.export(build("ds_cnn_s", [4] * 5), tmp_path / "full.onnx")
    with pytest.raises(UserError, match="no window"):
        onnx_export.quantise(tmp_path / "full.onnx", tmp_path / "small.onnx", np.empty((0, 47, 10), np.float32))
    assert not (tmp_path / "small.onnx").exists()


def test_without_onnx_the_remedy_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="needs the package onnx"):
        onnx_export.export(build("ds_cnn_s", [4] * 5), tmp_path / "encoder.onnx")
    assert not (tmp_path / "encoder.onnx").exists()
