"""Training of the strong bases: augmentation, a rate that rises and falls once, smoothed labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.optimiser import Adam
from edgekws.core.provenance import derive_seed
from edgekws.features.mfcc import BANDS, LEVEL_FRAMES, RANGE_DB, of_levels
from edgekws.methods.alternatives.ds_cnn import Classifier
from edgekws.methods.alternatives.settings import Strong, StrongName, StrongTraining
from edgekws.methods.alternatives.strong.augmentation import Augment
from edgekws.models.adaptive_lif import AdaptiveLIF
from edgekws.models.encoder import tensors_of
from edgekws.protocol.clips import Clips, Corpus
from edgekws.protocol.tasks import training_rows
from edgekws.protocol.training import batches

_MOMENT_CLIPS = 2048  # that the scale of the inputs is taken of, at most


def one_cycle(share: float, *, largest: float, warm_up: float) -> float:
    """Learning rate from the share of the updates made: up in a line, then down along a cosine to 0 (Smith & Topin 2019).

    >>> [round(one_cycle(share, largest=1.0, warm_up=0.1), 3) for share in (0, 0.05, 0.1, 0.55, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if share < warm_up:
        return largest * share / warm_up
    return largest * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up))) / 2


def train_base(corpus: Corpus, noises: Tensor, name: StrongName, settings: Strong, *, excluded: Sequence[str], seed: int,
               progress: bool = False, checkpoint: Checkpoint = NOWHERE) -> Classifier | AdaptiveLIF:
    """Train a strong base; deterministic in ``seed``, also where it goes on from a checkpoint.

    Args:
        corpus: Mel levels of :func:`edgekws.methods.alternatives.strong.levels.extract` with their index.
        noises: Mel levels of seconds of noise, [n, 94, 40].
        excluded: Speakers of the training split who are left out.

    Returns:
        The net in evaluation mode; the spiking one folded.

    Raises:
        UserError: Nothing is left to train on, an excluded speaker is unknown, or the features do not fit.
    """
    rows = training_rows(corpus.index, excluded=excluded, balanced=False, seed=seed)
    clips = corpus.clips(rows, frozen_scale=torch.ones(BANDS))
    generator = np.random.default_rng(derive_seed(seed, "strong base"))
    some = clips[np.linspace(0, len(clips) - 1, min(_MOMENT_CLIPS, len(clips))).astype(int)]
    if name == "strong_ds_cnn":
        net: Classifier | AdaptiveLIF = _fit_ds_cnn(corpus, some, clips, noises, settings, generator, seed, progress, checkpoint)
    else:
        net = _fit_spiking(corpus, some, clips, noises, settings, generator, seed, progress, checkpoint)
    return net.eval()


def _fit_ds_cnn(corpus: Corpus, some: Tensor, clips: Clips, noises: Tensor, settings: Strong, generator: np.random.Generator,
                seed: int, progress: bool, checkpoint: Checkpoint) -> Classifier:
    budget = settings.ds_cnn
    net = Classifier(len(corpus.vocabulary), widths=budget.widths, seed=derive_seed(seed, "weights"))
    net.deviation[:], net.mean[:] = torch.std_mean(of_levels(some), (0, 1))

    def scores(levels: Tensor) -> Tensor:
        means = net.embed(of_levels(levels))
        kept = torch.from_numpy(generator.random(means.shape, np.float32)) >= budget.dropout
        found: Tensor = net.linear(means * kept / (1 - budget.dropout))
        return found

    _fit(net, scores, clips, Augment(settings.augmentation, noises, generator), budget, generator, progress, checkpoint)
    return net


def _fit_spiking(corpus: Corpus, some: Tensor, clips: Clips, noises: Tensor, settings: Strong, generator: np.random.Generator,
                 seed: int, progress: bool, checkpoint: Checkpoint) -> AdaptiveLIF:
    net = AdaptiveLIF(settings.network, outputs=len(corpus.vocabulary),
                      generator=torch.Generator().manual_seed(derive_seed(seed, "weights")))
    floored = torch.maximum(some, some.amax((1, 2), keepdim=True) - RANGE_DB)
    net.deviation[:], net.mean[:] = torch.std_mean(floored, (0, 1))
    _fit(net, lambda levels: net(levels, generator), clips, Augment(settings.augmentation, noises, generator),
         settings.spiking, generator, progress, checkpoint)
    return net.folded()


def _fit(net: nn.Module, scores: Callable[[Tensor], Tensor], clips: Clips, augment: Augment, budget: StrongTraining,
         generator: np.random.Generator, progress: bool, checkpoint: Checkpoint) -> None:
    weights: Mapping[str, nn.Parameter] = dict(net.train().named_parameters())
    optimiser = Adam(weights, budget.learning_rate, shrink=budget.weight_decay)

    def check(levels: Tensor) -> None:
        assert levels.shape[1:] == (LEVEL_FRAMES, BANDS)

    outputs = int(max(clips.labels)) + 1
    for batch, labels in batches(
            clips, clips.labels, budget, optimiser, tensors_of(net), outputs=outputs, check=check, seed=generator,
            prepare=augment,
            rate=lambda share: one_cycle(share, largest=budget.learning_rate, warm_up=budget.warm_up),
            progress="strong base" if progress else None, checkpoint=checkpoint):
        loss = functional.cross_entropy(scores(batch), labels, label_smoothing=budget.label_smoothing)
        gradients = torch.autograd.grad(loss, list(weights.values()))
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        factor = float((budget.largest_gradient / norm).clamp(max=1))
        optimiser.step({name: gradient * factor for name, gradient in zip(weights, gradients, strict=True)})
