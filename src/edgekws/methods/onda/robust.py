"""Robust adaptation: OnDA's triplets made harder, in noise, with the normalisation left as it is. Ours, beyond the paper.

What differs from the base's fine-tuning (:func:`edgekws.methods.onda.self_learning.fine_tune`):

* negatives are mined: of every pseudo-negative utterance the windows nearest to the prototype, and of those, from time to time,
  the ones that the encoder at work finds nearest. Random windows have no loss from the start;
* the margin is larger, and the loss is the mean over the triplets that have one;
* anchors, recordings and negatives are heard with noise added as often as without;
* anchors are shifted by a window at random, as a keyword is never where a window begins;
* running statistics of the normalisation stay: a batch of wake words and look-alikes is nothing like what the device hears.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from edgekws.core.optimiser import Adam
from edgekws.methods.onda.calibration import Draw, Rows, crops_of, distances
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.self_learning import Batch, PseudoLabels, violations
from edgekws.methods.onda.settings import Precision, Robust
from edgekws.methods.onda.windows import Windows
from edgekws.models.encoder import Encoder

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Heard:
    """The same utterances twice: as they were, and with the noise that is mixed in while learning.

    Attributes:
        plain: As the device heard them.
        noisy: With noise, row by row; ``plain`` where no such noise is at hand.
    """

    plain: Windows
    noisy: Windows

    def windows(self, rows: Rows, noise: float, generator: np.random.Generator) -> Floats:
        """MFCC [n, 47, 10] of windows, each with noise at a chance of ``noise``."""
        found = np.array(self.plain.mfcc[rows])
        chosen = generator.random(len(rows)) < noise
        found[chosen] = self.noisy.mfcc[rows[chosen]]
        return found

    def crops(self, drawn: Draw, noise: float) -> Floats:
        """MFCC of a user's recordings, and of the same with noise where there may be any."""
        plain = crops_of(self.plain, drawn)
        return np.concatenate([plain, crops_of(self.noisy, drawn)]) if noise and self.noisy is not self.plain else plain


def look_alikes(table: Any, found: npt.NDArray[np.float32], labels: PseudoLabels, nearest: int) -> Rows:
    """Of each pseudo-negative utterance the windows nearest to the prototype.

    Args:
        table: Rows of the stream's utterances.
        found: Distances [windows] of their windows as the encoder was deployed, utterances in turn.
        labels: Which utterances those are: by the windows drawn of them.
        nearest: Windows of each, at most.
    """
    first, windows = table["first"].to_numpy(), table["windows"].to_numpy()
    places, starts = np.searchsorted(np.sort(first), labels.negatives, "right") - 1, np.cumsum(windows) - windows
    rows = []
    for utterance in np.unique(np.argsort(first, kind="stable")[places]):
        own = found[starts[utterance]:starts[utterance] + windows[utterance]]
        rows.append(first[utterance] + np.argsort(own, kind="stable")[:nearest])
    return np.concatenate(rows) if rows else np.empty(0, np.int64)


def adapt(encoder: Encoder, heard: Heard, drawn: Draw, labels: PseudoLabels, candidates: Rows, settings: Robust, *, seed: int,
          precision: Precision = "float32") -> tuple[Encoder, dict[str, Any]]:
    """A copy of an encoder after robust adaptation, in evaluation mode; nothing is trained without labels of both kinds.

    Args:
        encoder: Stays as it is.
        candidates: Rows of the windows that negatives are mined from, :func:`look_alikes`.
        seed: Of everything drawn.

    Returns:
        The encoder, and ``steps``, and of the first and the last ten updates the mean ``loss`` and ``active_fraction``.
    """
    generator, encoder = np.random.default_rng(seed), copy.deepcopy(encoder).eval()
    if not len(labels.positives) or not len(candidates):
        return encoder, {"steps": 0, "loss": [], "active_fraction": []}
    encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = {name: weight.requires_grad_() for name, weight in encoder.named_parameters()}
    optimiser, crops = Adam(weights, settings.learning_rate), heard.crops(drawn, settings.noise)
    last, told = len(heard.plain.mfcc) - 1, list[tuple[float, float]]()
    for update in range(settings.updates):
        optimiser.rate = settings.learning_rate * (1 + np.cos(np.pi * update / settings.updates)) / 2
        if update % settings.mine_every == 0:
            hard = _mined(encoder, heard, crops, candidates, settings, generator, precision)
        anchors = generator.choice(labels.positives, settings.positives, replace=len(labels.positives) < settings.positives)
        anchors = np.clip(anchors + generator.integers(-settings.shift, settings.shift + 1, len(anchors)), 0, last)
        negatives = hard[generator.choice(len(hard), min(settings.negatives, len(hard)), replace=False)]
        batch = Batch.of([heard.windows(anchors, settings.noise, generator), crops, negatives])
        embeddings = batch.embedded(encoder, precision)
        own, recorded, others = torch.split(embeddings, batch.sizes)
        found = violations(own, recorded, others, settings.margin)
        active = int((found > 0).sum())
        if active:
            loss = functional.relu(found).sum() / active
            optimiser.step(dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True)))
        told.append((loss.item() if active else 0.0, active / found.numel()))
    tuned: Encoder = encoder.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    ends = [np.mean(told[:10], 0), np.mean(told[-10:], 0)]
    return tuned, {"steps": settings.updates, "loss": [float(loss) for loss, _ in ends],
                   "active_fraction": [float(share) for _, share in ends]}


def _mined(encoder: Encoder, heard: Heard, crops: Floats, candidates: Rows, settings: Robust, generator: np.random.Generator,
           precision: Precision) -> Floats:
    """MFCC of those candidates, some with noise, that are nearest to the recordings as the encoder is now."""
    embedder = Embedder(encoder, precision)
    some = heard.windows(generator.permutation(candidates)[:settings.pool], settings.noise, generator)
    prototype = functional.normalize(embedder.embed(crops).mean(0), dim=0)
    order = distances(embedder.embed(some), prototype[None])[:, 0].argsort()
    hardest: Floats = some[order[:max(1, round(settings.hardest * len(some)))].numpy()]
    return hardest
