"""DS-CNN encoders: depthwise-separable convolutions from MFCC to an embedding (onda.md, section 3.2)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from edgekws.core.errors import UserError


class DsCnn(nn.Module):
    """A convolution over 47 x 10 MFCC, depthwise-separable blocks, a mean over the map, and length 1.

    Every convolution has a bias and is batch-normalised; a ReLU comes before each but the first. Zeros around a map are as
    many as give the strided convolution ceil(extent / stride) steps; of an odd number the larger half comes first.

    Args:
        widths: Channels of the first convolution and of each block's pointwise convolution; the last is the embedding.
        halve: Where the second halving of the time axis takes place: "block" (M and L: the first depthwise
            convolution, which halves the coefficients too) or "stem" (S: the first convolution halves the
            coefficients, and the time axis is halved once).

    Attributes:
        padding: Zeros before and after the coefficients, and before and after the frames.
        stem: First convolution with its normalisation.
        blocks: Depthwise and pointwise convolutions.
    """

    def __init__(self, widths: list[int], halve: str) -> None:
        super().__init__()
        self.widths, self.halve = list(widths), halve
        self.padding = (1, 1, 5, 4) if halve == "stem" else (2, 1, 5, 4)
        self.stem = nn.Sequential(nn.ZeroPad2d(self.padding),
                                  nn.Conv2d(1, widths[0], (10, 4), (2, 2 if halve == "stem" else 1)),
                                  nn.BatchNorm2d(widths[0]))
        self.blocks = nn.ModuleList()
        for index, (before, after) in enumerate(itertools.pairwise(widths)):
            # Where the map is halved, the zeros on its far side are beyond the last step.
            stride = 2 if index == 0 and halve == "block" else 1
            self.blocks.append(nn.Sequential(
                nn.ReLU(), nn.Conv2d(before, before, 3, stride, padding=1, groups=before), nn.BatchNorm2d(before),
                nn.ReLU(), nn.Conv2d(before, after, 1), nn.BatchNorm2d(after)))

    def forward(self, mfcc: Tensor) -> Tensor:
        """Embeddings [clips, widths[-1]] of length 1 from MFCC [clips, 47, 10]; differentiable."""
        maps = self.stem(mfcc[:, None])
        for block in self.blocks:
            maps = block(maps)
        return functional.normalize(maps.mean((2, 3)))


    def check_padding(self, kept: Any, where: str | Path) -> None:
        """Make sure that a file was written by a net that pads as this one: its weights mean nothing to another.

        Args:
            kept: What the file's settings say (``padding``); nothing in files from before it was written down.

        Raises:
            UserError: It padded otherwise. A net that halves the coefficients in its stem padded them by 2 and 1 once.
        """
        if list(kept or (2, 1, 5, 4)) != list(self.padding):
            raise UserError("is of a net that padded its input otherwise (an older version of DS-CNN-S)", where=where,
                            remedy="make it again: the same step of the workflow trains it as the published nets are padded")
