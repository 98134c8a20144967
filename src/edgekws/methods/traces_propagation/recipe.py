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
        """Moved, masked and noisy features [clips, frames, inputs] in place of the batch; frames that move in are silent."""
        features = torch.as_tensor(batch)
        budget, (clips, frames, inputs) = self.budget, features.shape
        if budget.shift:
            features = _shifted(features, torch.from_numpy(self._draw.integers(-budget.shift, budget.shift + 1, clips)))
        if budget.mask_frames:
            features = features.masked_fill(self._span(clips, frames, budget.mask_frames)[:, :, None], 0.0)
        if budget.mask_bands:
            band = self._span(clips, inputs // CHANNELS, budget.mask_bands)
            features = features.masked_fill(band.repeat(1, CHANNELS)[:, None], 0.0)
        if budget.noise:
            noise = self._draw.standard_normal(features.shape, np.float32)
            features = features + budget.noise * torch.from_numpy(noise).to(features)
        return features

    def _span(self, clips: int, width: int, most: int) -> Tensor:
        """A stretch of up to ``most`` places in each row, [clips, width]."""
        length = self._draw.integers(0, most + 1, (clips, 1))
        start = self._draw.integers(0, np.maximum(width - length, 0) + 1)
        place = np.arange(width)
        return torch.from_numpy((place >= start) & (place < start + length))


def _shifted(features: Tensor, by: Tensor) -> Tensor:
    """Each clip later by so many frames (earlier, if negative), zeros in place of what moved out."""
    frames = features.shape[1]
    source = torch.arange(frames)[None] - by[:, None]
    inside = (source >= 0) & (source < frames)
    moved = features.gather(1, source.clamp(0, frames - 1)[:, :, None].expand_as(features))
    return moved * inside[:, :, None]


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
