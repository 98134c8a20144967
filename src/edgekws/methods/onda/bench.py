"""One job's users on their devices, and what their encoders are measured by."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from edgekws.core.provenance import derive_seed
from edgekws.methods.onda import calibration, distillation, false_alarms, robust, roles, self_learning
from edgekws.methods.onda.calibration import Calibrated, Rows
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.schedules import DISTILLED, OURS, Device, Known, WordClips, adapted
from edgekws.methods.onda.scoring import Stretch
from edgekws.methods.onda.self_learning import PseudoLabels
from edgekws.methods.onda.settings import CLEAN, UNPRUNED, Personalisation, Schedule
from edgekws.methods.onda.windows import Windows, rows_of
from edgekws.models import encoder as encoders
from edgekws.models.encoder import Encoder

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


def operating_points(positive: Floats, negative: Floats, hours: float, calibrated: Calibrated,
                     settings: Personalisation) -> dict[str, Any]:
    """Accuracy at the paper's operating point, on the curve, and what the calibrated threshold gives on a device."""
    rate = settings.evaluation.false_alarms_per_hour
    device = false_alarms.at_threshold(positive, negative, hours, calibrated.detection)
    return {"accuracy": false_alarms.operating_point(positive, negative, hours, rate).accuracy,
            "curve": [false_alarms.operating_point(positive, negative, hours, each).accuracy
                      for each in settings.evaluation.curve],
            "recall": device.recall, "false_alarms_per_hour": device.false_alarms_per_hour}


class Bench:
    """The test set, the stream, and the users of a job.

    Scores of the encoder as deployed are computed once for all users: their prototypes differ, the embeddings do not.
    """

    def __init__(self, windows: Windows, encoder: Encoder, settings: Personalisation, users: list[str], seed: int, *,
                 words: WordClips | None, conditions: Mapping[str, Windows] | None = None) -> None:
        self.windows, self.settings, self.seed, self._encoder = windows, settings, seed, encoder
        self._distilled: dict[float, Encoder] = {}
        known, table = {CLEAN: windows, **(conditions or {})}, windows.table
        self.conditions = {name: known[name] for name in (CLEAN, *settings.experiment.conditions)}
        # The user records in quiet, whatever the device hears later.
        heard = replace(known[settings.experiment.stream], crops=windows.crops)
        noisy = known.get(settings.experiment.learning) if settings.experiment.learning else None
        self.tables = [roles.for_user(table, user, seed=seed) for user in users]
        draws = [calibration.draw(own, user, settings.calibration, seed) for own, user in zip(self.tables, users, strict=True)]
        self.devices = [Device(encoder, heard, draw, settings, seed, words, noisy) for draw in draws]
        self.negatives, self.tested = _shared(windows, self.tables, "negative")
        self.stream, self.heard = _shared(windows, self.tables, "stream")
        embedder = Embedder(encoder, settings.precision)
        self.calibrated = [calibration.calibrate(embedder, windows, draw, settings.calibration) for draw in draws]
        prototypes = torch.stack([found.prototype for found in self.calibrated])
        whole = settings.evaluation.screen_every == 1 or settings.experiment.screening_check
        lengths = [found.filter for found in self.calibrated]
        self.deployed_scores = {
            name: self.negatives.scores(self.negatives.distances(embedder, there.mfcc, prototypes), lengths) if whole else
            np.stack([self._negative_scores(embedder, found, there) for found in self.calibrated], 1)
            for name, there in self.conditions.items()}
        self.stream_distances = self.stream.distances(embedder, heard.mfcc, prototypes)

    def measure(self, index: int, encoder: Encoder, *, deployed: bool = False, look_alikes: Rows | None = None,
                embedder: Embedder | None = None) -> dict[str, Any]:
        """Operating points of an encoder for one user, calibrated anew with its weights.

        Args:
            deployed: It is the encoder as deployed, whose scores are known.
            look_alikes: Windows of the stream that the device's threshold is set anew on; None leaves the calibrated one.
            embedder: What embeds in the encoder's place: another form of it.
        """
        embedder = embedder or Embedder(encoder, self.settings.precision)
        if deployed:
            return self._points(index, encoder, embedder, self.calibrated[index],
                                {name: scores[:, index] for name, scores in self.deployed_scores.items()})
        found = self.calibrate(index, embedder)
        if look_alikes is not None and len(look_alikes):
            found = replace(found, detection=self.stream_threshold(index, embedder, found, look_alikes))
        return self._points(index, encoder, embedder, found, {name: self._negative_scores(embedder, found, there)
                                                              for name, there in self.conditions.items()})

    def stream_threshold(self, index: int, embedder: Embedder, calibrated: Calibrated, look_alikes: Rows) -> float:
        """The distance below which as many look-alikes of the stream lie as there may be false alarms in its hours."""
        nearest = calibration.distances(embedder.embed(self.devices[index].windows.mfcc[look_alikes]),
                                        calibrated.prototype[None])[:, 0].numpy()
        hours = float(self.stream.table.seconds.to_numpy()[self.heard[index]].sum()) / 3600
        return false_alarms.operating_point([0.0], nearest, hours, self.settings.evaluation.false_alarms_per_hour).threshold

    def calibrate(self, index: int, embedder: Embedder) -> Calibrated:
        """A user's prototype, filter and thresholds with the weights of an encoder."""
        return calibration.calibrate(embedder, self.windows, self.devices[index].draw, self.settings.calibration)

    def _points(self, index: int, encoder: Encoder, embedder: Embedder, calibrated: Calibrated,
                negatives: Mapping[str, Floats]) -> dict[str, Any]:
        drawn = self.devices[index].draw
        queries = Stretch.of(self.windows, drawn.queries)
        kept = self.tested[index] & ~self.negatives.table.index.isin(drawn.negatives)
        hours = float(self.negatives.table.seconds.to_numpy()[kept].sum()) / 3600

        def points(name: str) -> dict[str, Any]:
            positive = queries.scores(queries.distances(embedder, self.conditions[name].mfcc, calibrated.prototype[None]),
                                      [calibrated.filter])[:, 0]
            return operating_points(positive, negatives[name][kept], hours, calibrated, self.settings)

        return {**points(CLEAN), "conditions": {name: points(name) for name in self.conditions if name != CLEAN}, "hours": hours,
                "queries": len(drawn.queries), "gap": calibrated.gap, "filter": calibrated.filter,
                "parameters": encoders.parameters(encoder),
                "multiply_accumulates": encoders.multiply_accumulates(encoder), "widths": list(encoder.widths)}

    def _negative_scores(self, embedder: Embedder, calibrated: Calibrated, there: Windows) -> Floats:
        """Scores of the test negatives under a condition; infinite for those ruled out by ``evaluation.screen_every``."""
        mfcc, prototype, evaluation = there.mfcc, calibrated.prototype[None], self.settings.evaluation
        near = self.negatives
        chosen = np.arange(len(near.first))
        if evaluation.screen_every > 1:
            coarse = near.coarse(embedder, mfcc, prototype, evaluation.screen_every)
            chosen = np.sort(np.argsort(coarse, kind="stable")[:math.ceil(evaluation.screen_share * len(coarse))])
            near = near.part(chosen)
        scores = np.full(len(self.negatives.first), np.inf)
        scores[chosen] = near.scores(near.distances(embedder, mfcc, prototype), [calibrated.filter])[:, 0]
        return scores

    def screening(self, index: int) -> dict[str, bool] | None:
        """Which figures of the encoder as deployed screening leaves as they are; None if that was not looked at."""
        if self.settings.evaluation.screen_every == 1 or not self.settings.experiment.screening_check:
            return None
        encoder, found = self.devices[index].encoder, self.calibrated[index]
        embedder = Embedder(encoder, self.settings.precision)
        screened = self._points(index, encoder, embedder, found, {name: self._negative_scores(embedder, found, there)
                                                                  for name, there in self.conditions.items()})
        whole = self.measure(index, encoder, deployed=True)
        return {name: screened[name] == whole[name] for name in ("accuracy", "curve", "false_alarms_per_hour")}

    def stream_of(self, index: int) -> tuple[pd.DataFrame, torch.Tensor]:
        """What a user's device hears unlabelled, with true labels for their wake word, and its distances [windows]."""
        heard = self.heard[index]
        rows = np.repeat(heard, self.stream.windows)
        some = self.stream.part(np.flatnonzero(heard)).table
        return (some.assign(positive=self.tables[index]["positive"].loc[some.index]),
                self.stream_distances[torch.from_numpy(rows), index])

    def why_not(self, index: int, labels: PseudoLabels, schedule: Schedule = "none") -> str:
        """Why a user is left with the encoder as deployed: "calibration" without a gap, too few "labels", or ""."""
        if self.calibrated[index].failed and self.settings.calibration.refuse_negative_gap:
            return "calibration"
        if schedule in DISTILLED:  # what comes after distilling is left out where there is nothing to learn from
            return ""
        enough = len(labels.positives) and len(labels.negatives) if schedule == "robust" else \
            self_learning.trainable(labels, self.settings.finetuning)
        return "" if enough else "labels"

    def distilled(self, ratio: float) -> Encoder:
        """The encoder as deployed, smaller by a ratio; made once, of what every user's device hears and nobody is tested with."""
        if ratio not in self._distilled:
            self._distilled[ratio] = self._compressed(ratio)
        return self._distilled[ratio]

    def _compressed(self, ratio: float) -> Encoder:
        table = self.windows.table
        common = table[(table.role == "stream") & ~table.speaker.isin(table.speaker[table.role == "user"])]
        return distillation.compress(self._encoder, self.devices[0].heard, rows_of(common), ratio,
                                     self.settings.distillation, self.settings.pruning,
                                     seed=derive_seed(self.seed, "onda distillation"), precision=self.settings.precision)

    def known(self, index: int) -> Known:
        """What the schedules of one user share."""
        device, calibrated, (table, found) = self.devices[index], self.calibrated[index], self.stream_of(index)
        seed = device.random("pseudo-labels")
        labels = self_learning.pseudo_label(table, found, calibrated, seed=seed)
        return Known(labels, self_learning.oracle_labels(table, found, calibrated, seed=seed),
                     robust.look_alikes(table, found.numpy(), labels, self.settings.robust.nearest),
                     functools.cache(lambda: device.fine_tuned(device.encoder, labels, "fine-tuning")), self.distilled)

    def personalise(self, index: int, schedules: list[Schedule], ratios: list[float]) -> Iterator[dict[str, Any]]:
        """Rows of one user: the encoder as deployed, then every schedule and ratio."""
        device, known = self.devices[index], self.known(index)
        deployed = self.measure(index, device.encoder, deployed=True)
        common = {"user": device.draw.user, "seed": self.seed, "labels": known.labels.facts}
        yield {**common, "schedule": "pretrained", "ratio": 0.0, "adapted": False, "why": "", "training": {}, **deployed}
        for schedule in schedules:
            # Where there is nothing to adapt with, the user keeps the encoder as deployed, and is counted.
            if why := self.why_not(index, known.oracle if schedule.startswith("oracle") else known.labels, schedule):
                left = {**common, "schedule": schedule, "adapted": False, "why": why, "training": {}, **deployed}
                yield from ({**left, "ratio": ratio} for ratio in ([0.0] if schedule in UNPRUNED else ratios))
                continue
            for ratio, encoder, facts in adapted(device, schedule, ratios, known):
                yield {**common, "schedule": schedule, "ratio": ratio, "adapted": True, "why": "", "training": facts,
                       **self.measure(index, encoder, look_alikes=known.look_alikes if schedule in OURS else None)}


def _shared(windows: Windows, tables: list[pd.DataFrame], role: str) -> tuple[Stretch, npt.NDArray[np.bool_]]:
    """The utterances that have a role for any user, and for whom: [users, utterances]."""
    found = np.stack([(table["role"] == role).to_numpy() for table in tables])
    rows = np.flatnonzero(found.any(0))
    return Stretch.of(windows, rows), found[:, rows]
