"""ResNet15 encoder without dilation: 3 x 3 convolutions on a residual stream (onda.md, section 3.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, bias=False)


class ResidualBlock(nn.Module):
    """Two convolutions, normalised without scale or shift, added to the rectified input."""

    def __init__(self, residual: int, inner: int) -> None:
        super().__init__()
        self.first, self.first_norm = _convolution(residual, inner), nn.BatchNorm2d(inner, affine=False)
        self.second, self.second_norm = _convolution(inner, residual), nn.BatchNorm2d(residual, affine=False)

    def forward(self, maps: Tensor) -> Tensor:
        """The stream [clips, residual, 47, 10] after this block; the skip is taken after the ReLU."""
        rectified = functional.relu(maps)
        inner = functional.relu(self.first_norm(self.first(rectified)))
        branch: Tensor = self.second_norm(self.second(inner))
        return branch + rectified


class ResNet15(nn.Module):
    """A convolution without normalisation, six residual blocks, a last convolution, a mean over the map, and length 1.

    Args:
        widths: Channels of the residual stream, of the inner map of each block, and of the embedding.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        residual, *inner, embedding = widths
        self.widths = list(widths)
        self.stem = _convolution(1, residual)
        self.blocks = nn.ModuleList(ResidualBlock(residual, width) for width in inner)
        self.head, self.head_norm = _convolution(residual, embedding), nn.BatchNorm2d(embedding, affine=False)

    def forward(self, mfcc: Tensor) -> Tensor:
        """Embeddings [clips, widths[-1]] of length 1 from MFCC [clips, 47, 10]; differentiable."""
        maps = self.stem(mfcc[:, None])
        for block in self.blocks:
            maps = block(maps)
        maps = self.head_norm(self.head(functional.relu(maps)))
        return functional.normalize(maps.mean((2, 3)))
