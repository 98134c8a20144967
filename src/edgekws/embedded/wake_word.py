"""A DS-CNN wake-word encoder as an image for the C library, with its wake word where the model knows one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekws.core.errors import UserError
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.embedded.image import WAKE_WORD, Precision, Spectrum, integers, matrix, pack
from edgekws.features import mfcc
from edgekws.features.logmel import mel_filters
from edgekws.features.settings import LogMel
from edgekws.methods.onda.inference import folded
from edgekws.methods.onda.settings import WakeWindows
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.encoder import Encoder, load_encoder


def encoder(net: Encoder, settings: dict[str, Any], *, precision: Precision = "fp32", where: str | Path) -> bytes:
    """The image of an encoder, pruned and adapted ones too; batch normalisation is folded into its convolutions.

    Args:
        settings: Of the model's file: ``wake_word``, where it was personalised.
        precision: Of the weights: as they are, or int8 with a scale for each channel.
        where: What to call the model in an error.

    Raises:
        UserError: It is no DS-CNN.
    """
    if not isinstance(net, DsCnn):
        raise UserError("is a ResNet15; the device runs DS-CNNs", where=where,
                        remedy="train onda.experiments.<name>.backbone ds_cnn_s, or export it as ONNX")
    stem: Any = net.stem
    blocks: Any = net.blocks
    bands = LogMel(window=mfcc.SPECTRUM, hop=mfcc.HOP, mels=mfcc.BANDS, lowest=0, highest=8000)
    word = settings.get("wake_word") or {}
    step = int(word.get("stride", WakeWindows().stride))
    sections = {
        "SIZE": integers(CLIP_SAMPLES, mfcc.FRAMES, mfcc.COEFFICIENTS, len(blocks), stem[1].stride[1], blocks[0][1].stride[0],
                         step, net.padding[0]),
        "WIDS": integers(*net.widths),
        **Spectrum(mfcc.WINDOW, mfcc.SPECTRUM, mfcc.HOP, mel_filters(bands)).sections(),
        "DCTM": mfcc.cosines().numpy().astype("<f4").tobytes()}

    def add(kind: str, number: int, weights: Tensor, bias: Tensor) -> None:
        # Channels are last in a folded kernel's memory: [out, rows, columns, in].
        sections.update(matrix(f"{kind}W{number:02d}", weights, precision))
        sections[f"{kind}B{number:02d}"] = bias.numpy().astype("<f4").tobytes()

    with torch.no_grad():
        weights, bias = folded(stem[1], stem[2])
        add("S", 0, weights.reshape(len(weights), -1), bias)
        for number, block in enumerate(blocks):
            weights, bias = folded(block[1], block[2])
            add("D", number, weights.reshape(len(weights), 9), bias)
            weights, bias = folded(block[4], block[5])
            add("P", number, weights.flatten(1), bias)
    if word:
        sections["WAKE"] = np.array([*word["prototype"], word["filter"], word["detection"]], "<f4").tobytes()
    return pack(WAKE_WORD, sections)


def of_model(path: str | Path, precision: Precision = "fp32") -> bytes:
    """The image of a model's file.

    Raises:
        UserError: The file is missing or damaged, or is no DS-CNN.
    """
    net, _, metadata = load_encoder(path)
    return encoder(net, metadata["settings"], precision=precision, where=path)
