"""The schedules: what is done on one user's device, in which order (onda.md, sections 2.4, 2.5 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgekws.models.encoder import Encoder
from edgekws.onda import hessian, pruning, self_learning
from edgekws.onda.self_learning import Draw, PseudoLabels
from edgekws.onda.windows import Windows
from edgekws.provenance import derive_seed
from edgekws.settings import Personalisation, Schedule

WordClips = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""MFCC [clips, 47, 10] of words, and the number of each one's word."""

_STATISTICS_WINDOWS = 512  # enough for running statistics


@dataclass
class Device:
    """One user's device: what it holds before any adaptation.

    Attributes:
        encoder: As deployed.
        windows: The stream and the test utterances.
        draw: The user's recordings, the other utterances beside them, and the test utterances.
        settings: Calibration, fine-tuning and pruning.
        seed: Of the repetition.
        words: Clips of the pre-training words, for Hessians of the wrong domain.
    """

    encoder: Encoder
    windows: Windows
    draw: Draw
    settings: Personalisation
    seed: int
    words: WordClips | None = None

    def random(self, use: str) -> int:
        """A seed for one use of randomness, this user's own."""
        return derive_seed(self.seed, f"onda {self.draw.user} {use}")

    def fine_tuned(self, encoder: Encoder, labels: PseudoLabels, use: str) -> tuple[Encoder, dict[str, Any]]:
        """The encoder after fine-tuning on pseudo-labels, and how that went."""
        return self_learning.fine_tune(encoder, self.windows, self.draw, labels, self.settings.finetuning,
                                       seed=self.random(use))

    def pruned(self, encoder: Encoder, scores: list[torch.Tensor], ratio: float, labels: PseudoLabels) -> Encoder:
        """A smaller encoder, its running statistics taken anew over the labelled windows (gap 9)."""
        smaller = pruning.prune(encoder, scores, ratio, self.settings.pruning)
        if smaller.widths == encoder.widths:
            return smaller
        rows = np.sort(np.concatenate([labels.positives, labels.negatives]))
        some = rows[::max(1, len(rows) // _STATISTICS_WINDOWS)]
        return pruning.recalibrate(smaller, torch.from_numpy(self.windows.mfcc[some]))

    def hap(self, encoder: Encoder, labels: PseudoLabels) -> list[torch.Tensor]:
        """HAP scores from the triplets of the user's recordings and the pseudo-labelled stream."""
        return self._hap(encoder, self_learning.hessian_losses(
            encoder, self.windows.mfcc, self_learning.crops_of(self.windows, self.draw), labels, self.settings.finetuning,
            self.settings.pruning, seed=self.random("hessian")))

    def hap_of_words(self, encoder: Encoder) -> list[torch.Tensor]:
        """HAP scores from triplets of pre-training words: data of the wrong domain."""
        assert self.words is not None
        return self._hap(encoder, self_learning.word_losses(
            encoder, *self.words, self.settings.calibration.recordings, self.settings.finetuning, self.settings.pruning,
            seed=self.random("hessian")))

    def _hap(self, encoder: Encoder, losses: self_learning.HessianLosses) -> list[torch.Tensor]:
        traces = hessian.hap_traces(encoder, losses, self.settings.pruning,
                                    torch.Generator().manual_seed(self.random("probes")))
        return pruning.hap_scores(encoder, traces, self.settings.pruning)

    def at_random(self, encoder: Encoder) -> list[torch.Tensor]:
        """Scores without meaning: the control that any criterion must beat."""
        return pruning.random_scores(encoder, torch.Generator().manual_seed(self.random("channels")))


def adapted(device: Device, schedule: Schedule, ratios: list[float], labels: PseudoLabels, oracle: PseudoLabels,
            plain: Callable[[], tuple[Encoder, dict[str, Any]]]) -> Iterator[tuple[float, Encoder, dict[str, Any]]]:
    """Ratio, adapted encoder and facts of its training, for each ratio of a schedule (0 where it prunes nothing).

    Args:
        labels: Pseudo-labels of the stream.
        oracle: True labels of the stream.
        plain: Weights-only adaptation, made once and shared by the schedules that prune after it.
    """
    start = device.encoder
    if schedule == "none":
        yield 0.0, *plain()
        return
    if schedule == "oracle":
        yield 0.0, *device.fine_tuned(start, oracle, "fine-tuning")
        return
    settings = device.settings.pruning
    if schedule in ("onda_2", "hap_after", "random_after"):
        tuned, before = plain()
        scores = {"onda_2": lambda: pruning.l1_scores(tuned, settings), "hap_after": lambda: device.hap(tuned, labels),
                  "random_after": lambda: device.at_random(tuned)}[schedule]()
        for ratio in ratios:
            net, facts = device.fine_tuned(device.pruned(tuned, scores, ratio, labels), labels, "second fine-tuning")
            yield ratio, net, {**facts, "steps": before["steps"] + facts["steps"]}
        return
    used = oracle if schedule == "oracle_onda_1" else labels
    scores = {"onda_1": lambda: device.hap(start, used), "oracle_onda_1": lambda: device.hap(start, used),
              "hap_wrong_domain": lambda: device.hap_of_words(start),
              "l1_before": lambda: pruning.l1_scores(start, settings),
              "random_before": lambda: device.at_random(start)}[schedule]()
    for ratio in ratios:
        yield ratio, *device.fine_tuned(device.pruned(start, scores, ratio, used), used, "fine-tuning")
