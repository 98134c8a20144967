"""The schedules: what is done on one user's device, in which order (onda.md, sections 2.4, 2.5 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgekws.core.provenance import derive_seed
from edgekws.methods.onda import calibration, hessian, pruning, robust, self_learning
from edgekws.methods.onda.calibration import Draw, Rows
from edgekws.methods.onda.self_learning import PseudoLabels
from edgekws.methods.onda.settings import UNPRUNED, Personalisation, Schedule
from edgekws.methods.onda.windows import Windows
from edgekws.models.encoder import Encoder

WordClips = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""MFCC [clips, 47, 10] of words, and the number of each one's word."""

CRITERIA: dict[Schedule, str] = {
    "onda_1": "hap", "oracle_onda_1": "hap", "hap_wrong_domain": "hap_of_words", "l1_before": "l1", "random_before": "random",
    "onda_2": "l1", "hap_after": "hap", "random_after": "random"}
"""What each schedule that prunes scores channels by: HAP on the user's triplets or on those of pre-training words (data of
the wrong domain), global L1, or nothing."""

DISTILLED: set[Schedule] = {"distilled", "robust_distilled"}

OURS: set[Schedule] = {"robust", *DISTILLED}
"""Beyond the paper; the threshold of their device is set on its stream."""

_AFTER: set[Schedule] = {"onda_2", "hap_after", "random_after"}  # these prune what was fine-tuned, and fine-tune again


@dataclass
class Device:
    """One user's device: what it holds before any adaptation.

    Attributes:
        encoder: As deployed.
        windows: The stream as the device hears it, and the user's recordings.
        noisy: The same with noise mixed in, for schedules that want it.
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
    noisy: Windows | None = None

    @property
    def heard(self) -> robust.Heard:
        """Stream and recordings, as they are and with noise."""
        return robust.Heard(self.windows, self.noisy or self.windows)

    def random(self, use: str) -> int:
        """A seed for one use of randomness, this user's own."""
        return derive_seed(self.seed, f"onda {self.draw.user} {use}")

    def fine_tuned(self, encoder: Encoder, labels: PseudoLabels, use: str, *,
                   progress: bool = False) -> tuple[Encoder, dict[str, Any]]:
        """The encoder after fine-tuning on pseudo-labels, and how that went."""
        return self_learning.fine_tune(encoder, self.windows, self.draw, labels, self.settings.finetuning,
                                       seed=self.random(use), precision=self.settings.precision, progress=progress)

    def adapted(self, encoder: Encoder, labels: PseudoLabels, look_alikes: Rows) -> tuple[Encoder, dict[str, Any]]:
        """The encoder after robust adaptation, and how that went."""
        return robust.adapt(encoder, self.heard, self.draw, labels, look_alikes, self.settings.robust,
                            seed=self.random("robust"), precision=self.settings.precision)

    def pruned(self, encoder: Encoder, scores: list[torch.Tensor], ratio: float, labels: PseudoLabels) -> Encoder:
        """A smaller encoder, its running statistics taken anew over the labelled windows (gap 9)."""
        smaller = pruning.prune(encoder, scores, ratio, self.settings.pruning)
        return smaller if smaller.widths == encoder.widths else self_learning.recalibrated(smaller, self.windows, labels)

    def scores(self, criterion: str, encoder: Encoder, labels: PseudoLabels) -> list[torch.Tensor]:
        """Scores of an encoder's channels, [channels] for each group, by a criterion of :data:`CRITERIA`."""
        settings = self.settings.pruning
        if criterion == "l1":
            return pruning.l1_scores(encoder, settings)
        if criterion == "random":  # without meaning: the control that any criterion must beat
            return pruning.random_scores(encoder, torch.Generator().manual_seed(self.random("channels")))
        if criterion == "hap":
            losses = self_learning.hessian_losses(
                encoder, self.windows.mfcc, calibration.crops_of(self.windows, self.draw), labels,
                self.settings.finetuning, settings, seed=self.random("hessian"))
        else:
            assert self.words is not None
            losses = self_learning.word_losses(encoder, *self.words, self.settings.calibration.recordings,
                                               self.settings.finetuning, settings, seed=self.random("hessian"))
        traces = hessian.hap_traces(encoder, losses, settings, torch.Generator().manual_seed(self.random("probes")))
        return pruning.hap_scores(encoder, traces, settings)


@dataclass(frozen=True)
class Known:
    """What the schedules of one user share.

    Attributes:
        labels: Pseudo-labels of the stream.
        oracle: True labels of the stream.
        look_alikes: Windows of the stream that are near the prototype and no wake words, as far as the device knows.
        plain: Weights-only adaptation, made once.
        distilled: The encoder as deployed made smaller by a ratio, made once for all users of a stream.
    """

    labels: PseudoLabels
    oracle: PseudoLabels
    look_alikes: Rows
    plain: Callable[[], tuple[Encoder, dict[str, Any]]]
    distilled: Callable[[float], Encoder]


def adapted(device: Device, schedule: Schedule, ratios: list[float],
            known: Known) -> Iterator[tuple[float, Encoder, dict[str, Any]]]:
    """Ratio, adapted encoder and facts of its training, for each ratio of a schedule (0 where it prunes nothing)."""
    start, labels = device.encoder, known.labels
    if schedule in UNPRUNED:
        yield 0.0, *_unpruned(device, schedule, known)
        return
    if schedule in DISTILLED:
        for ratio in ratios:
            net, facts = known.distilled(ratio), {"steps": 0, "loss": [], "active_fraction": []}
            if schedule == "robust_distilled":
                net, facts = device.adapted(net, labels, known.look_alikes)
            yield ratio, net, {**facts, "distillation_steps": device.settings.distillation.updates}
        return
    used = known.oracle if schedule == "oracle_onda_1" else labels
    if schedule in _AFTER:
        start, before = known.plain()
        use, steps = "second fine-tuning", before["steps"]
    else:
        use, steps = "fine-tuning", 0
    scores = device.scores(CRITERIA[schedule], start, used)
    for ratio in ratios:
        net, facts = device.fine_tuned(device.pruned(start, scores, ratio, used), used, use)
        yield ratio, net, {**facts, "steps": steps + facts["steps"]}


def _unpruned(device: Device, schedule: Schedule, known: Known) -> tuple[Encoder, dict[str, Any]]:
    start, settings = device.encoder, device.settings
    if schedule == "none":
        return known.plain()
    if schedule == "oracle":
        return device.fine_tuned(start, known.oracle, "fine-tuning")
    if schedule == "robust":
        return device.adapted(start, known.labels, known.look_alikes)
    if schedule == "more_updates":
        longer = settings.finetuning.model_copy(update={"epochs": settings.finetuning.more * settings.finetuning.epochs})
        return self_learning.fine_tune(start, device.windows, device.draw, known.labels, longer,
                                       seed=device.random("fine-tuning"), precision=settings.precision)
    return (self_learning.recalibrated(start, device.windows, known.labels),
            {"steps": 0, "loss": [], "active_fraction": []})
