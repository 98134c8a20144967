"""Encoders as ONNX files, in single precision and with eight-bit numbers, for the runtimes that read them.

The graph goes from MFCC [n, 47, 10] to embeddings [n, E] of length 1: front end, prototype and filter are not in it. Needs the
packages onnx and onnxruntime (``pip install edgekws[onnx]``), which are imported where they are used.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.methods.onda.bench import Bench
from edgekws.methods.onda.inference import CHUNK, Embedder
from edgekws.methods.onda.settings import Personalisation
from edgekws.methods.onda.windows import Windows, rows_of
from edgekws.models.encoder import COEFFICIENTS, FRAMES, Encoder

MFCC, EMBEDDING = "mfcc", "embedding"
"""Names of the graph's input and output."""

OPERATORS = 17
"""Version of ONNX's operators: what runtimes of 2022 and later read."""

TOLERANCE = 1e-5
"""The most that an embedding of the written file may differ from the encoder's."""


def runtime() -> ModuleType:
    """The package onnxruntime.

    Raises:
        UserError: It, or onnx, is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise UserError(f"needs the package {error.name}", where="edgekws onda onnx",
                        remedy="pip install edgekws[onnx], or: pip install onnx onnxruntime") from error
    return onnxruntime  # type: ignore[no-any-return]


class OnnxEmbedder(Embedder):
    """An encoder in an ONNX file, run by onnxruntime on one thread of this machine's processor."""

    def __init__(self, path: Path) -> None:
        options = runtime().SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = runtime().InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def embed(self, mfcc: Tensor | npt.NDArray[np.float32]) -> Tensor:
        """Embeddings [n, E] float32 of length 1 of MFCC [n, 47, 10]."""
        parts = [self._session.run([EMBEDDING], {MFCC: np.asarray(mfcc[start:start + CHUNK], np.float32)})[0]
                 for start in range(0, len(mfcc), CHUNK)]
        size = self._session.get_outputs()[0].shape[-1]
        return torch.from_numpy(np.concatenate(parts)) if parts else torch.empty(0, size)


def export(encoder: Encoder, out: Path) -> float:
    """Write an encoder in single precision, once the file has been read back and found to compute the same.

    Returns:
        The largest difference between its embeddings of 64 random windows and the encoder's own.

    Raises:
        UserError: onnx or onnxruntime is missing, or the file computes something else (:data:`TOLERANCE`).
    """
    runtime()
    windows = np.random.default_rng(0).normal(0, 10, (64, FRAMES, COEFFICIENTS)).astype(np.float32)
    encoder = encoder.cpu().eval()
    with files.writing(out) as part:
        with warnings.catch_warnings():
            # The exporter by tracing needs no package beside onnx; nothing in these nets depends on their input.
            warnings.simplefilter("ignore")
            torch.onnx.export(encoder, (torch.from_numpy(windows[:2]),), str(part), dynamo=False, opset_version=OPERATORS,
                              input_names=[MFCC], output_names=[EMBEDDING],
                              dynamic_axes={MFCC: {0: "windows"}, EMBEDDING: {0: "windows"}})
        with torch.inference_mode():
            difference = float((OnnxEmbedder(part).embed(windows) - encoder(torch.from_numpy(windows))).abs().max())
        if difference > TOLERANCE:
            raise UserError(f"computes embeddings that differ by {difference:.1e} from the encoder's", where=out,
                            remedy="use another version of onnxruntime")
    return difference


def quantise(exported: Path, out: Path, mfcc: npt.NDArray[np.float32]) -> None:
    """Write an exported encoder with eight-bit weights (one scale a channel) and activations, whose ranges windows give.

    The first convolution stays in single precision: of the MFCC the first coefficient is ten times the others, which one
    scale for all would drown. Ranges leave the outermost 0.001 % of the values out. Both were chosen by how alike embeddings
    of the stream stay.

    Args:
        exported: Of :func:`export`.
        mfcc: Windows [n, 47, 10] that ranges are taken from: what a device hears, not what it is tested with.

    Raises:
        UserError: onnx or onnxruntime is missing, or there are no windows.
    """
    runtime()
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not len(mfcc):
        raise UserError("gives no window to take the ranges of activations from", where="edgekws onda onnx",
                        remedy="give windows of a stream (--windows)")

    class Windows(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._chunks: Iterator[dict[str, Any]] = iter(
                {MFCC: np.ascontiguousarray(mfcc[start:start + CHUNK])} for start in range(0, len(mfcc), CHUNK))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._chunks, None)

    with tempfile.TemporaryDirectory() as folder, files.writing(out) as part, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(exported), str(prepared))
        first = next(node.name for node in onnx.load(str(prepared)).graph.node if node.op_type == "Conv")
        quantization.quantize_static(
            str(prepared), str(part), Windows(), per_channel=True, nodes_to_exclude=[first],
            weight_type=quantization.QuantType.QInt8, activation_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what onnxruntime says while it counts, and its advice to do what is done."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.setLevel(level)


def stream_windows(windows: Windows, most: int, *, seed: int) -> npt.NDArray[np.float32]:
    """MFCC of windows [n, 47, 10] drawn from what the device hears unlabelled, at most so many."""
    rows = rows_of(windows.table[windows.table.role == "stream"])
    drawn = np.random.default_rng(seed).permutation(rows)[:most]
    return np.array(windows.mfcc[np.sort(drawn)])


def accuracy(windows: Windows, encoder: Encoder, embedder: Embedder, settings: Personalisation, users: list[str], *,
             seed: int) -> tuple[list[float], list[float]]:
    """Accuracy of each user at the operating point, in percent: by the encoder, and by an embedder in its place.

    Prototype, filter and thresholds are calibrated with what embeds; recordings and test are the same.
    """
    bench = Bench(windows, encoder, settings, users, seed, words=None)
    return ([bench.measure(index, encoder, deployed=True)["accuracy"] for index in range(len(users))],
            [bench.measure(index, encoder, embedder=embedder)["accuracy"] for index in range(len(users))])
