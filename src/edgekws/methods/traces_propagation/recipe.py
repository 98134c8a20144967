"""Adaptation that pays: the rule with what keeps it from overfitting a user and from forgetting everybody else.

Around the rule of the paper, or its form with all classes as contrast:

* each pass hears the support clips *augmented*: moved in time, with a band of frequencies and a stretch of time masked
  (SpecAugment, Park et al. 2019, without time warping), and with noise. Loudness needs no augmentation: the front end
  divides each clip by its own maximum before the logarithm and by its deviation after, so that gain drops out;
* a few clips of the base's training are heard again beside them (*rehearsal*);
* layers have learning rates of their own;
* the weights that come out are *averaged with the base's*, each layer by its own share (Wortsman et al. 2022, "Robust
  fine-tuning of zero-shot models", where it keeps what the base knew at no cost to what was learnt).

Memory stays that of the rule: augmentation changes a batch where it lies, and the base's weights, which a device has in its
flash anyway, are only read at the end.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekws.core.provenance import derive_seed
from edgekws.methods.traces_propagation import training
from edgekws.methods.traces_propagation.rule import best_rule
from edgekws.methods.traces_propagation.settings import Adaptation
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.clips import Clips
from edgekws.protocol.rehearsal import rehearse

CHANNELS = 3
"""Log-mel and its first and second differences: a masked band is masked in all of them."""


class Augment:
    """Changes each clip of a batch at random, every time it is heard; deterministic in ``seed`` and the order of calls."""

    def __init__(self, budget: Adaptation, *, seed: int) -> None:
        self.budget, self._draw = budget, np.random.default_rng(seed)

    def __call__(self, batch: Any) -> Tensor:
        """Features [clips, frames, inputs] moved, masked and noisy; where the batch lies, so that it takes no more memory.

        Frames that move in are silent.
        """
        features = torch.as_tensor(batch)
        budget, (clips, frames, inputs) = self.budget, features.shape
        if budget.shift:
            for clip, by in zip(features, self._draw.integers(-budget.shift, budget.shift + 1, clips).tolist(), strict=True):
                move(clip, by)
        if budget.mask_frames:
            for clip, masked in zip(features, self._spans(clips, frames, budget.mask_frames), strict=True):
                clip[masked] = 0
        if budget.mask_bands:
            bands = features.view(clips, frames, CHANNELS, inputs // CHANNELS)
            for clip, masked in zip(bands, self._spans(clips, inputs // CHANNELS, budget.mask_bands), strict=True):
                clip[:, :, masked] = 0
        if budget.noise:
            for clip in features:
                noise = self._draw.standard_normal(clip.shape, np.float32)
                clip.add_(torch.from_numpy(noise).to(clip), alpha=budget.noise)
        return features

    def _spans(self, clips: int, width: int, most: int) -> list[slice]:
        """A stretch of up to ``most`` places for each clip."""
        length = self._draw.integers(0, most + 1, (clips, 1))
        start = self._draw.integers(0, np.maximum(width - length, 0) + 1)
        return [slice(int(first), int(first + long)) for first, long in zip(start[:, 0], length[:, 0], strict=True)]


def move(clip: Tensor, by: int) -> None:
    """Moves a clip [frames, inputs] later by so many frames (earlier, if negative), silence in place of what moved out."""
    if by > 0:
        clip[by:] = clip[:-by].clone()
        clip[:by] = 0
    elif by < 0:
        clip[:by] = clip[-by:].clone()
        clip[by:] = 0


def adapt(base: RecurrentLIF, support: Clips, budget: Adaptation, *, known: Clips | None, seed: int) -> RecurrentLIF:
    """A copy of ``base`` adapted to the support set.

    Args:
        known: What the base was trained on; needed where the budget rehearses.
        seed: Of the order of the clips, of what is rehearsed and of the augmentation.

    Raises:
        UserError: A word has too few clips to rehearse.
    """
    heard = support
    if budget.rehearsal and known is not None:
        heard = rehearse(support, known, budget.rehearsal, seed=derive_seed(seed, "rehearsal"))
    net = copy.deepcopy(base)
    training.train(net, heard, heard.labels, budget, seed=derive_seed(seed, "support batches"), rule=best_rule(base.settings),
                   contrast=budget.contrast, hidden_rate=budget.hidden_rate,
                   prepare=Augment(budget, seed=derive_seed(seed, "augmentation")))
    average(net, base, hidden=budget.kept_hidden, readout=budget.kept_readout)
    return net


@torch.no_grad()
def average(net: RecurrentLIF, base: RecurrentLIF, *, hidden: float, readout: float) -> None:
    """Moves the weights of ``net`` back towards those of ``base``, by shares from 0 to 1."""
    kept = base.trained
    for name, weights in net.trained.items():
        weights.lerp_(kept[name], readout if name == "readout" else hidden)
