"""Embeddings of many windows: a wake-word encoder as it runs on the device, faster than its module and equal to it.

Batch normalisation goes into the convolutions' weights, maps are stored with the channels last, and what is linear after
the last ReLU (the last convolution, its normalisation and the mean over the map) is done once a window instead of once a
place of the map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from edgekws.methods.onda.settings import Precision
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.encoder import COEFFICIENTS, FRAMES, Encoder
from edgekws.models.resnet15 import ResNet15

CHUNK = 32
"""Windows that go through the net together: more would leave the cache."""

Net = Callable[[Tensor], Tensor]
"""MFCC [n, 47, 10] to embeddings [n, E] of any length."""


class Embedder:
    """An encoder in evaluation mode, copied: later changes of the encoder do not show.

    Args:
        encoder: Either kind, with any widths, on any device; its weights and running statistics are taken.
        precision: In bfloat16 the sums of products have eight bits of mantissa on their way in, and squared distances an
            error of about 0.01 (root mean square; ``tests/methods/onda/test_inference.py`` holds it).
    """

    def __init__(self, encoder: Encoder, precision: Precision = "float32") -> None:
        with torch.no_grad():
            self._net = _ds_cnn(encoder) if isinstance(encoder, DsCnn) else _resnet15(encoder)
        self._size, self._device, self._half = encoder.widths[-1], next(encoder.parameters()).device, precision == "bfloat16"

    def embed(self, mfcc: Tensor | npt.NDArray[np.float32]) -> Tensor:
        """Embeddings [n, E] float32 of length 1, on the CPU and without a gradient, of MFCC [n, 47, 10].

        Raises:
            ValueError: The MFCC have another shape.
        """
        if mfcc.ndim != 3 or tuple(mfcc.shape[1:]) != (FRAMES, COEFFICIENTS):
            raise ValueError(f"expected MFCC of shape [n, {FRAMES}, {COEFFICIENTS}], got {list(mfcc.shape)}")
        embeddings = torch.empty(len(mfcc), self._size)
        with torch.inference_mode():
            for start in range(0, len(mfcc), CHUNK):
                some: Any = mfcc[start:start + CHUNK]
                chunk = some if isinstance(some, Tensor) else torch.from_numpy(np.array(some))
                with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
                    found = self._net(chunk.to(self._device))
                embeddings[start:start + CHUNK] = functional.normalize(found.float()).cpu()
        return embeddings


def _ds_cnn(encoder: DsCnn) -> Net:
    padding, stem = encoder.stem[0], encoder.stem[1]
    assert isinstance(stem, nn.Conv2d)
    (height, width), (down, across) = stem.kernel_size, stem.stride
    kernel, shift = folded(stem, encoder.stem[2])
    blocks: Any = encoder.blocks  # each: ReLU, depthwise, its normalisation, ReLU, pointwise, its normalisation
    depthwise = [(*folded(block[1], block[2]), block[1].stride) for block in blocks]
    *pointwise, head = [folded(block[4], block[5]) for block in blocks]

    def separate(maps: Tensor, layer: int) -> Tensor:
        weight, bias, stride = depthwise[layer]
        maps = functional.conv2d(maps.permute(0, 3, 1, 2), weight, bias, stride, padding=1, groups=len(weight))
        return maps.permute(0, 2, 3, 1).relu_()

    def run(mfcc: Tensor) -> Tensor:
        patches = padding(mfcc).unfold(1, height, down).unfold(2, width, across).flatten(3)
        maps = functional.linear(patches, kernel.flatten(1), shift).relu_()  # [n, time, coefficient, channel]
        for layer, (weight, bias) in enumerate(pointwise):
            maps = functional.linear(separate(maps, layer), weight.flatten(1), bias).relu_()
        weight, bias = head
        return functional.linear(separate(maps, -1).mean((1, 2)), weight.flatten(1), bias)

    return run


def _resnet15(encoder: ResNet15) -> Net:
    stem = encoder.stem.weight.clone()
    layers: Any = encoder.blocks
    blocks = [(folded(block.first, block.first_norm), folded(block.second, block.second_norm)) for block in layers]
    head, bias = folded(encoder.head, encoder.head_norm)

    def run(mfcc: Tensor) -> Tensor:
        maps = functional.conv2d(mfcc[:, None].contiguous(memory_format=torch.channels_last), stem, padding=1)
        for first, second in blocks:
            maps.relu_()
            inner = functional.conv2d(maps, *first, padding=1).relu_()
            maps += functional.conv2d(inner, *second, padding=1)
        maps.relu_()
        # The mean over the map of a convolution: each place of its kernel sees the map without a row or a column.
        rows = torch.stack([maps[:, :, :-1].sum(2), maps.sum(2), maps[:, :, 1:].sum(2)], 2)
        seen = torch.stack([rows[..., :-1].sum(3), rows.sum(3), rows[..., 1:].sum(3)], 3)
        return functional.linear(seen.flatten(1) / maps[0, 0].numel(), head.flatten(1), bias)

    return run


def folded(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weights, channels last, and biases of a convolution with its normalisation."""
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps,
                                        norm.weight, norm.bias)
    return weight.detach().contiguous(memory_format=torch.channels_last), bias.detach()
