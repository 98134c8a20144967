"""Personalisation by pseudo-labels (onda.md, sections 2.2 to 2.4, 3.3 and 3.4; behaviour of the base code).

A few recordings give a prototype, a filter and thresholds; they label the windows of an unlabelled stream; triplets of
pseudo-positive, recording and pseudo-negative train the encoder. Distances are squared, of embeddings of length 1: 0 to 4.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edgekws.core.errors import UserError
from edgekws.core.optimiser import Adam
from edgekws.core.progress import tqdm
from edgekws.methods.onda import pruning
from edgekws.methods.onda.calibration import Calibrated, Draw, Rows, _filtered_utterances, crops_of, distances
from edgekws.methods.onda.hessian import Loss
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.settings import FineTuning, Precision, Pruning
from edgekws.methods.onda.windows import Windows
from edgekws.models.encoder import Encoder

if TYPE_CHECKING:
    import pandas as pd

_STATISTICS_WINDOWS = 512  # enough for running statistics


# ------------------------------------------------------------------------------------------------ pseudo-labels
class PseudoLabels(NamedTuple):
    """Windows of the stream that are trained on.

    Attributes:
        positives: Rows of the windows taken for the wake word.
        negatives: Rows of those taken for something else.
        facts: Utterances taken for the wake word (``positives``) and for something else (``negatives``), how many of
            each rightly (``true_positives``, ``true_negatives``), ``discarded`` ones, and wake words that are not
            among the positives (``missed``).
    """

    positives: Rows
    negatives: Rows
    facts: dict[str, int]


def pseudo_label(table: pd.DataFrame, found: Tensor, calibrated: Calibrated, *, seed: int) -> PseudoLabels:
    """Label the utterances of a stream by their distance from the prototype (section 2.3).

    Of a pseudo-positive the window nearest to the prototype is kept, moved back by the filter's delay; of a pseudo-negative
    any window, drawn at random, padding included.

    Args:
        table: Rows of the stream's utterances.
        found: Distances [windows] of their windows, utterances in turn.
        seed: Of the windows drawn.
    """
    smooth, starts = _stream(table, found, calibrated)
    scores = np.minimum.reduceat(smooth, starts)
    near = scores < calibrated.low
    return _labelled(table, smooth, starts, near, ~near & (scores > calibrated.high), calibrated, seed)


def oracle_labels(table: pd.DataFrame, found: Tensor, calibrated: Calibrated, *, seed: int) -> PseudoLabels:
    """True labels in place of pseudo-labels, windows chosen alike: what perfect labelling would give (section 6)."""
    positive = table["positive"].to_numpy()
    return _labelled(table, *_stream(table, found, calibrated), positive, ~positive, calibrated, seed)


def _stream(table: pd.DataFrame, found: Tensor, calibrated: Calibrated) -> tuple[npt.NDArray[np.float32], Rows]:
    """Filtered distances [windows] of a stream, and where each utterance begins in them."""
    windows = table["windows"].to_numpy()
    starts = np.cumsum(windows) - windows
    places = np.arange(len(found)) - np.repeat(starts, windows)
    return _filtered_utterances(found[:, None], places, calibrated.filter)[:, 0].numpy(), starts


def _labelled(table: pd.DataFrame, smooth: npt.NDArray[np.float32], starts: Rows, near: npt.NDArray[np.bool_],
              far: npt.NDArray[np.bool_], calibrated: Calibrated, seed: int) -> PseudoLabels:
    first, windows, true = (table[name].to_numpy() for name in ("first", "windows", "positive"))
    nearest = np.array([smooth[start:start + count].argmin() for start, count in zip(starts[near], windows[near], strict=True)],
                       np.int64)
    anywhere = np.random.default_rng(seed).integers(windows[far])
    facts = {"positives": near.sum(), "true_positives": (near & true).sum(), "negatives": far.sum(),
             "true_negatives": (far & ~true).sum(), "discarded": (~near & ~far).sum(), "missed": (true & ~near).sum()}
    return PseudoLabels(first[near] + np.maximum(nearest - (calibrated.filter - 1), 0), first[far] + anywhere,
                        {name: int(count) for name, count in facts.items()})


# ------------------------------------------------------------------------------------------------ triplets
def violations(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """d(anchor, positive) - d(anchor, negative) + margin, [B, K, N], of embeddings [B, E], [K, E] and [N, E] of length 1.

    A triplet is active where this is above 0; differentiable.
    """
    return distances(anchors, positives)[:, :, None] - distances(anchors, negatives)[:, None] + margin


def triplet_loss(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Mean hinge over all triplets; see :func:`violations`."""
    return functional.relu(violations(anchors, positives, negatives, margin)).mean()


class Batch(NamedTuple):
    """Windows that go through the encoder together.

    Attributes:
        mfcc: [B + K + N, 47, 10]: anchors, positives, negatives.
        sizes: B, K and N.
    """

    mfcc: Tensor
    sizes: list[int]

    @classmethod
    def of(cls, parts: Sequence[npt.NDArray[np.float32]]) -> Batch:
        """A batch from its anchors, positives and negatives, [n, 47, 10] each; on the CPU."""
        return cls(torch.from_numpy(np.concatenate(parts)), [len(part) for part in parts])

    def embedded(self, encoder: Encoder, precision: Precision) -> Tensor:
        """Embeddings [B + K + N, E] float32 by an encoder, on its device; differentiable."""
        device = next(encoder.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            found: Tensor = encoder(self.mfcc.to(device))
        return found.float()

    def violations(self, embeddings: Tensor, settings: FineTuning) -> Tensor:
        """:func:`violations` of the batch's embeddings [B + K + N, E]."""
        anchors, positives, negatives = torch.split(embeddings, self.sizes)
        return violations(anchors, positives, negatives[int(settings.skip_first_negative):], settings.margin)


def trainable(labels: PseudoLabels, settings: FineTuning) -> bool:
    """Whether the pseudo-labels suffice for a batch."""
    return len(labels.positives) >= settings.positives and len(labels.negatives) > int(settings.skip_first_negative)


def epoch(mfcc: npt.NDArray[np.float32], crops: npt.NDArray[np.float32], labels: PseudoLabels, settings: FineTuning,
          generator: np.random.Generator) -> Iterator[Batch]:
    """The batches of one pass over the pseudo-positives, shuffled; what does not fill a batch is left out.

    Anchors are pseudo-positives, positives the user's recordings, negatives drawn from the pseudo-negatives.

    Args:
        mfcc: MFCC [windows, 47, 10] that the labels are rows of.
        crops: MFCC [K, 47, 10] of the user's recordings.
    """
    order = generator.permutation(labels.positives)
    for start in range(0, len(order) - settings.positives + 1, settings.positives):
        negatives = generator.choice(labels.negatives, min(settings.negatives, len(labels.negatives)), replace=False)
        parts = [mfcc[order[start:start + settings.positives]], crops, mfcc[negatives]]
        yield Batch.of(parts)


def _at_most(labels: PseudoLabels, settings: FineTuning, generator: np.random.Generator) -> PseudoLabels:
    """The pseudo-labels with no more positives than the settings want."""
    if settings.most_positives is None:
        return labels
    return labels._replace(positives=generator.permutation(labels.positives)[:settings.most_positives])


# ------------------------------------------------------------------------------------------------ fine-tuning
def fine_tune(encoder: Encoder, windows: Windows, drawn: Draw, labels: PseudoLabels, settings: FineTuning, *, seed: int,
              precision: Precision = "float32", progress: bool = False) -> tuple[Encoder, dict[str, Any]]:
    """A copy of an encoder, trained on triplets (sections 2.4 and 3.4, step 5), in evaluation mode.

    All weights are trained; normalisation is by the joint batch of anchors, recordings and negatives.

    Args:
        encoder: Stays as it is; where it is, the copy is trained.
        seed: Of order and negatives. The bytes of the result depend on the threads too.

    Returns:
        The encoder, and ``steps`` (0: too few pseudo-labels, nothing was trained), and of the first and the last epoch
        the mean ``loss`` and the share of triplets with a loss, ``active_fraction`` (empty where nothing was trained).

    Raises:
        UserError: The loss diverged.
    """
    generator, encoder = np.random.default_rng(seed), copy.deepcopy(encoder)
    labels = _at_most(labels, settings, generator)
    if not trainable(labels, settings):
        return encoder.eval(), {"steps": 0, "loss": [], "active_fraction": []}
    encoder = encoder.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    weights = {name: weight.requires_grad_() for name, weight in encoder.named_parameters()}
    optimiser = Adam(weights, settings.learning_rate)
    nothing = tuple(torch.zeros_like(weight) for weight in weights.values())
    crops, means = crops_of(windows, drawn), list[tuple[float, float]]()
    for _ in tqdm(range(settings.epochs), unit=" epochs", desc="fine-tuning", disable=not progress):
        measured = []
        for batch in epoch(windows.mfcc, crops, labels, settings, generator):
            found = batch.violations(batch.embedded(encoder, precision), settings)
            loss, active = functional.relu(found).mean(), (found > 0).float().mean().item()
            # Without an active triplet it is known without a backward pass; Adam's momentum goes on.
            gradients = torch.autograd.grad(loss, list(weights.values())) if active else nothing
            optimiser.step(dict(zip(weights, gradients, strict=True)))
            measured.append((loss.item(), active))
        means.append((float(np.mean([loss for loss, _ in measured])), float(np.mean([share for _, share in measured]))))
        if not np.isfinite(means[-1][0]):
            raise UserError("is so high that the loss diverged", where="onda.finetuning.learning_rate",
                            remedy="lower it")
    ends = [means[0], means[-1]]
    tuned: Encoder = encoder.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    if settings.statistics_after:
        tuned = recalibrated(tuned, windows, labels)
    return tuned, {"steps": optimiser.steps, "loss": [loss for loss, _ in ends], "active_fraction": [share for _, share in ends]}


def recalibrated(encoder: Encoder, windows: Windows, labels: PseudoLabels) -> Encoder:
    """An encoder with running statistics taken anew over labelled windows, and no other change."""
    rows = np.sort(np.concatenate([labels.positives, labels.negatives]))
    some = rows[::max(1, len(rows) // _STATISTICS_WINDOWS)]
    return pruning.recalibrate(encoder, torch.from_numpy(windows.mfcc[some]))


# ------------------------------------------------------------------------------------------------ for the Hessian
class HessianLosses(list[Loss]):
    """Losses of mini-batches, each a net in evaluation mode to a scalar, for :func:`edgekws.methods.onda.hessian.hap_traces`.

    Attributes:
        active_fraction: Share of the triplets that have a loss with the encoder they were made for.
        hinge: Whether triplets without a loss count as 0. Where few have one, the losses are taken without the hinge:
            the others have no Hessian (gap 7).
    """

    def __init__(self, encoder: Encoder, batches: Sequence[Batch], settings: FineTuning, least_active: float) -> None:
        embedder, device = Embedder(encoder), next(encoder.parameters()).device
        shares = [(batch.violations(embedder.embed(batch.mfcc), settings) > 0).float().mean().item() for batch in batches]
        self.active_fraction = float(np.mean(shares))
        self.hinge = self.active_fraction >= least_active
        super().__init__(self._loss(batch, settings, device) for batch in batches)

    def _loss(self, batch: Batch, settings: FineTuning, device: torch.device) -> Loss:
        def loss(net: Any) -> Tensor:
            found = batch.violations(net(batch.mfcc.to(device)), settings)
            return (functional.relu(found) if self.hinge else found).mean()

        return loss


def hessian_losses(encoder: Encoder, mfcc: npt.NDArray[np.float32], crops: npt.NDArray[np.float32], labels: PseudoLabels,
                   settings: FineTuning, chosen: Pruning, *, seed: int) -> HessianLosses:
    """Losses of ``chosen.batches`` mini-batches as :func:`fine_tune` would have them.

    Args:
        encoder: Whose share of active triplets decides on the hinge.
        mfcc: MFCC [windows, 47, 10] that the labels are rows of.
        crops: MFCC [K, 47, 10] of the user's recordings.

    Raises:
        UserError: The labels do not suffice for a batch.
    """
    generator = np.random.default_rng(seed)
    labels = _at_most(labels, settings, generator)
    if not trainable(labels, settings):
        raise UserError(f"are too many for a batch: the stream gave {len(labels.positives)} positives and "
                        f"{len(labels.negatives)} negatives", where="onda.finetuning.positives and .negatives",
                        remedy="lower them, or give a larger stream")
    endless = itertools.chain.from_iterable(epoch(mfcc, crops, labels, settings, generator) for _ in itertools.count())
    return HessianLosses(encoder, list(itertools.islice(endless, chosen.batches)), settings, chosen.least_active)


def word_losses(encoder: Encoder, clips: npt.NDArray[np.float32], words: Rows, recordings: int, settings: FineTuning,
                chosen: Pruning, *, seed: int) -> HessianLosses:
    """The same of pre-training words, which know nothing of the user: each mini-batch has a word for a wake word.

    Args:
        clips: MFCC [n, 47, 10].
        words: Number of each clip's word, [n]; two words at least, of two clips at least.
        recordings: Clips that stand for the user's recordings; fewer where the word has too few for a whole batch.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(np.unique(words))
    batches = []
    for word in itertools.islice(itertools.cycle(order), chosen.batches):
        own, others = generator.permutation(np.flatnonzero(words == word)), generator.permutation(np.flatnonzero(words != word))
        taught = min(recordings, len(own) // 2)
        parts = [clips[own[taught:taught + settings.positives]], clips[own[:taught]], clips[others[:settings.negatives]]]
        batches.append(Batch.of(parts))
    return HessianLosses(encoder, batches, settings, chosen.least_active)
