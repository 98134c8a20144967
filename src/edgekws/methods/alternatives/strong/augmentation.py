"""Clips as they might also have been said and heard, made anew for each batch from their mel levels.

In this order, each clip by itself: spoken faster or slower, by a longer or shorter vocal tract (Jaitly & Hinton 2013,
"Vocal tract length perturbation improves speech recognition"), earlier or later, with noise, and with stripes of frames and
bands missing (SpecAugment: Park et al. 2019, arXiv:1904.08779). The first three are one affine map of the picture [frames,
bands]. Noise is added as power; what the phases of the two would add or take away is left out, being 0 on average.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgekws.features.mfcc import SILENCE_DB
from edgekws.methods.alternatives.settings import Augmentation


class Augment:
    """Augments batches of mel levels; draws from a generator of its own.

    Args:
        noises: Mel levels of seconds of noise, [n, 94, 40].
        generator: What all is drawn from; its state belongs into a checkpoint.
    """

    def __init__(self, settings: Augmentation, noises: Tensor, generator: np.random.Generator) -> None:
        self.settings, self.noises, self.generator = settings, noises, generator

    def __call__(self, levels: Tensor) -> Tensor:
        """The batch as it might have been, [clips, 94, 40], of levels [clips, 94, 40] in dB; these stay as they are."""
        return self.masked(self.noisy(self.warped(levels)))

    def warped(self, levels: Tensor) -> Tensor:
        """Each clip stretched in time, warped in frequency and moved; silence comes in from beyond its ends."""
        clips, frames, _ = levels.shape
        settings = self.settings
        stretch = 1 + settings.stretch * self._between(clips)
        warp = 1 + settings.warp * self._between(clips)
        shift = 2 * settings.shift * self._between(clips)  # in units of half a second
        zero = torch.zeros_like(shift)
        # Where each place of the new picture reads the old one: bands from their lowest edge, frames from the middle.
        theta = torch.stack([torch.stack([warp, zero, warp - 1], 1), torch.stack([zero, stretch, shift], 1)], 1)
        grid = functional.affine_grid(theta, [clips, 1, *levels.shape[1:]], align_corners=True)
        above = (levels - SILENCE_DB)[:, None]
        # Bands above the highest repeat it; frames beyond the ends are silent.
        inside = (grid[..., 1].abs() <= 1 + 1 / frames)[:, None]
        moved = functional.grid_sample(above, grid, padding_mode="border", align_corners=True)
        return (moved * inside)[:, 0] + SILENCE_DB

    def noisy(self, levels: Tensor) -> Tensor:
        """Most clips with noise, at a ratio of the mean powers drawn from the range of the settings."""
        clips = len(levels)
        chosen = self.noises[torch.from_numpy(self.generator.integers(len(self.noises), size=clips))]
        low, high = self.settings.snr_db
        ratio = low + (high - low) * self._random(clips)
        loud = self._random(clips) < self.settings.noise_probability
        speech, noise = _power(levels), _power(chosen)
        gain = speech.mean((1, 2)) / noise.mean((1, 2)) * 10 ** (-ratio / 10) * loud
        return (speech + noise * gain[:, None, None]).log10_().mul_(10)

    def masked(self, levels: Tensor) -> Tensor:
        """Stripes of frames and bands at the clip's mean level."""
        clips, frames, bands = levels.shape
        hidden = torch.zeros(clips, frames, bands, dtype=torch.bool)
        for _ in range(self.settings.masks):
            hidden |= self._stripe(clips, frames, self.settings.masked_frames)[:, :, None]
            hidden |= self._stripe(clips, bands, self.settings.masked_bands)[:, None]
        return torch.where(hidden, levels.mean((1, 2), keepdim=True), levels)

    def _between(self, clips: int) -> Tensor:
        """Numbers from -1 to 1, [clips]."""
        return 2 * self._random(clips) - 1

    def _random(self, clips: int) -> Tensor:
        """Numbers from 0 to 1, [clips]."""
        return torch.from_numpy(self.generator.random(clips, np.float32))

    def _stripe(self, clips: int, extent: int, widest: int) -> Tensor:
        """For each clip a stripe of 0 to ``widest`` places, [clips, extent]."""
        width = torch.from_numpy(self.generator.integers(widest + 1, size=(clips, 1)))
        start = (self._random(clips)[:, None] * (extent - width + 1)).long()
        place = torch.arange(extent)
        return (place >= start) & (place < start + width)


def _power(levels: Tensor) -> Tensor:
    return torch.exp(levels * 0.2302585092994046)
