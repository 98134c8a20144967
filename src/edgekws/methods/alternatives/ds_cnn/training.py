"""Base training of the conventional classifier: cross-entropy on the training split's speakers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.optimiser import Adam
from edgekws.core.provenance import derive_seed
from edgekws.features.normalise import set_moments
from edgekws.methods.alternatives.ds_cnn.classifier import Classifier, clips_of, predict
from edgekws.models.encoder import tensors_of
from edgekws.protocol.clips import Corpus
from edgekws.protocol.settings import Training
from edgekws.protocol.tasks import training_rows
from edgekws.protocol.training import batches


def train_base(corpus: Corpus, budget: Training, *, excluded: Sequence[str], seed: int,
               device: torch.device | None = None, progress: bool = False,
               checkpoint: Checkpoint = NOWHERE) -> Classifier:
    """Train a classifier by Adam; deterministic in ``seed``, also where it goes on from a checkpoint.

    Learning rates fall as in :func:`edgekws.protocol.training.batches`. The scale of the inputs is that of the
    training clips.

    Args:
        corpus: MFCC of :func:`edgekws.methods.alternatives.ds_cnn.classifier.extract` with their index.
        excluded: Speakers of the training split who are left out.
        device: Where it is trained; the classifier comes back to the CPU, in evaluation mode.

    Raises:
        UserError: Nothing is left to train on, an excluded speaker is unknown, or the features do not fit.
    """
    rows = training_rows(corpus.index, excluded=excluded, balanced=False, seed=seed)
    clips = clips_of(corpus, rows)
    net = Classifier(len(corpus.vocabulary), seed=derive_seed(seed, "weights"))
    net.mean[:], net.deviation[:] = (torch.from_numpy(moment) for moment in set_moments(corpus.features, rows))
    net = net.to(device).train()
    weights = dict(net.named_parameters())
    optimiser = Adam(weights, budget.learning_rate)
    for batch, wanted in batches(clips, clips.labels, budget, optimiser, tensors_of(net), outputs=net.outputs,
                                 check=net.check, seed=derive_seed(seed, "base batches"),
                                 progress="base classifier" if progress else None, checkpoint=checkpoint):
        gradients = torch.autograd.grad(cross_entropy(net(batch), wanted), list(weights.values()))
        optimiser.step(dict(zip(weights, gradients, strict=True)))
    return net.cpu().eval()


def test_accuracy(net: Classifier, corpus: Corpus, *, excluded: Sequence[str]) -> float:
    """Share of the test split's clips, but for the excluded speakers', whose word is found, in percent."""
    chosen = corpus.index[(corpus.index.split == "test") & ~corpus.index.speaker.isin(excluded)]
    clips = clips_of(corpus, chosen["clip"].to_numpy())
    return 100.0 * float((predict(net, clips) == clips.labels).mean())
