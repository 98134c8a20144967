"""What OnDA's commands do: pre-train, personalise every user by every schedule, check the Hessian, write what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from edgekws.core.checkpoint import NOWHERE, Checkpoint, checksum
from edgekws.core.device import describe
from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed, provenance
from edgekws.methods.onda import calibration, false_alarms, hessian, pretraining, roles, self_learning
from edgekws.methods.onda import words as packing
from edgekws.methods.onda.calibration import Calibrated
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.schedules import Device, WordClips, adapted
from edgekws.methods.onda.scoring import Stretch
from edgekws.methods.onda.self_learning import PseudoLabels
from edgekws.methods.onda.settings import OnDA, Personalisation, Pretraining, Schedule
from edgekws.methods.onda.windows import Windows, open_windows
from edgekws.models import encoder as encoders
from edgekws.models.choices import Backbone
from edgekws.models.encoder import Encoder

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


# ------------------------------------------------------------------------------------------------ before deployment
def pretrain_encoder(encoder: Encoder, backbone: Backbone, words: Path, out: Path, settings: Pretraining, *, seed: int,
                     threads: int, episodes: int | None = None, offline: float = 0.0, device: torch.device | None = None,
                     progress: bool = False) -> float:
    """Train an encoder on packed words, write it, and return how well it tells held-out clips apart (percent).

    It goes on where an earlier start was cut off.
    """
    packed = packing.open_words(words)
    episodes = episodes or settings.episodes_of.get(backbone)
    on = describe(device or torch.device("cpu"))
    about = {"pretraining": settings.model_dump(mode="json"), "seed": seed, "offline": offline}
    with Checkpoint(out, inputs=[words, words.with_suffix(".parquet")], threads=threads, device=on, backbone=backbone,
                    episodes=episodes, start=checksum(encoder.state_dict()), **about) as checkpoint:
        trained = pretraining.pretrain(encoder, packed, settings, seed=seed, episodes=episodes, device=device,
                                       progress=progress, checkpoint=checkpoint)
        separation = pretraining.separation(trained, packed, seed=seed)
        encoders.save_encoder(out, trained, backbone, about={**about, **separation},
                              provenance=provenance(corpus=packed.facts, threads=threads, device=on))
    return float(separation["accuracy"])


# ------------------------------------------------------------------------------------------------ measuring
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
                 words: WordClips | None) -> None:
        self.windows, self.settings, self.seed = windows, settings, seed
        tables = [roles.for_user(windows.table, user, seed=seed) for user in users]
        draws = [calibration.draw(table, user, settings.calibration, seed) for table, user in zip(tables, users, strict=True)]
        self.devices = [Device(encoder, windows, draw, settings, seed, words) for draw in draws]
        self.negatives, self.tested = _shared(windows, tables, "negative")
        self.stream, self.heard = _shared(windows, tables, "stream")
        self.tables = tables
        embedder = Embedder(encoder)
        self.calibrated = [calibration.calibrate(embedder, windows, draw, settings.calibration) for draw in draws]
        prototypes = torch.stack([found.prototype for found in self.calibrated])
        if settings.evaluation.screen_every == 1 or settings.experiment.screening_check:
            self.deployed_scores = self.negatives.scores(
                self.negatives.distances(embedder, windows.mfcc, prototypes), [found.filter for found in self.calibrated])
        else:
            self.deployed_scores = np.stack([self._negative_scores(embedder, found) for found in self.calibrated], 1)
        self.stream_distances = self.stream.distances(embedder, windows.mfcc, prototypes)

    def measure(self, index: int, encoder: Encoder, deployed: bool = False) -> dict[str, Any]:
        """Operating points of an encoder for one user, calibrated anew with its weights."""
        embedder = Embedder(encoder)
        if deployed:
            return self._points(index, encoder, embedder, self.calibrated[index], self.deployed_scores[:, index])
        found = self.calibrate(index, embedder)
        return self._points(index, encoder, embedder, found, self._negative_scores(embedder, found))

    def calibrate(self, index: int, embedder: Embedder) -> Calibrated:
        """A user's prototype, filter and thresholds with the weights of an encoder."""
        return calibration.calibrate(embedder, self.windows, self.devices[index].draw, self.settings.calibration)

    def _points(self, index: int, encoder: Encoder, embedder: Embedder, calibrated: Calibrated,
                negative: Floats) -> dict[str, Any]:
        drawn = self.devices[index].draw
        queries = Stretch.of(self.windows, drawn.queries)
        positive = queries.scores(queries.distances(embedder, self.windows.mfcc, calibrated.prototype[None]),
                                  [calibrated.filter])[:, 0]
        kept = self.tested[index] & ~self.negatives.table.index.isin(drawn.negatives)
        hours = float(self.negatives.table.seconds.to_numpy()[kept].sum()) / 3600
        return {**operating_points(positive, negative[kept], hours, calibrated, self.settings), "hours": hours,
                "queries": len(positive), "gap": calibrated.gap, "filter": calibrated.filter,
                "parameters": encoders.parameters(encoder),
                "multiply_accumulates": encoders.multiply_accumulates(encoder), "widths": list(encoder.widths)}

    def _negative_scores(self, embedder: Embedder, calibrated: Calibrated) -> Floats:
        """Scores of the test negatives; infinite for those that screening rules out (``evaluation.screen_every``)."""
        mfcc, prototype, evaluation = self.windows.mfcc, calibrated.prototype[None], self.settings.evaluation
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
        embedder = Embedder(encoder)
        screened = self._points(index, encoder, embedder, found, self._negative_scores(embedder, found))
        whole = self.measure(index, encoder, deployed=True)
        return {name: screened[name] == whole[name] for name in ("accuracy", "curve", "false_alarms_per_hour")}

    def stream_of(self, index: int) -> tuple[pd.DataFrame, torch.Tensor]:
        """What a user's device hears unlabelled, with true labels for their wake word, and its distances [windows]."""
        heard = self.heard[index]
        rows = np.repeat(heard, self.stream.windows)
        some = self.stream.part(np.flatnonzero(heard)).table
        return (some.assign(positive=self.tables[index]["positive"].loc[some.index]),
                self.stream_distances[torch.from_numpy(rows), index])

    def why_not(self, index: int, labels: PseudoLabels) -> str:
        """Why a user is left with the encoder as deployed: "calibration" without a gap, too few "labels", or ""."""
        if self.calibrated[index].failed and self.settings.calibration.refuse_negative_gap:
            return "calibration"
        return "" if self_learning.trainable(labels, self.settings.finetuning) else "labels"

    def personalise(self, index: int, schedules: list[Schedule], ratios: list[float]) -> Iterator[dict[str, Any]]:
        """Rows of one user: the encoder as deployed, then every schedule and ratio."""
        device, calibrated = self.devices[index], self.calibrated[index]
        deployed = self.measure(index, device.encoder, deployed=True)
        stream = self.stream_of(index)
        labels = self_learning.pseudo_label(*stream, calibrated, seed=device.random("pseudo-labels"))
        oracle = self_learning.oracle_labels(*stream, calibrated, seed=device.random("pseudo-labels"))
        common = {"user": device.draw.user, "seed": self.seed, "labels": labels.facts}
        yield {**common, "schedule": "pretrained", "ratio": 0.0, "adapted": False, "why": "", "training": {}, **deployed}
        why = self.why_not(index, labels)
        plain: list[tuple[Encoder, dict[str, Any]]] = []

        def weights_only() -> tuple[Encoder, dict[str, Any]]:
            if not plain:
                plain.append(device.fine_tuned(device.encoder, labels, "fine-tuning"))
            return plain[0]

        for schedule in schedules:
            lacking = why if why == "calibration" or not schedule.startswith("oracle") else self.why_not(index, oracle)
            if lacking:
                # Nothing to adapt with: the user keeps the encoder as deployed, and is counted.
                for ratio in [0.0] if schedule in ("none", "oracle") else ratios:
                    yield {**common, "schedule": schedule, "ratio": ratio, "adapted": False, "why": lacking, "training": {},
                           **deployed}
                continue
            for ratio, encoder, facts in adapted(device, schedule, ratios, labels, oracle, weights_only):
                yield {**common, "schedule": schedule, "ratio": ratio, "adapted": True, "why": "", "training": facts,
                       **self.measure(index, encoder)}


def _shared(windows: Windows, tables: list[pd.DataFrame], role: str) -> tuple[Stretch, npt.NDArray[np.bool_]]:
    """The utterances that have a role for any user, and for whom: [users, utterances]."""
    found = np.stack([(table["role"] == role).to_numpy() for table in tables])
    rows = np.flatnonzero(found.any(0))
    return Stretch.of(windows, rows), found[:, rows]


def users_of(windows: Windows, limit: int | None, parts: int, part: int, who: str = "person") -> list[str]:
    """The users of one part: sorted, the first ``limit``, dealt out in turn."""
    return roles.users_of(windows.table, who)[:limit][part::parts]


def personalise_file(features: Path, encoder: Path, words: Path, settings: Personalisation, *, offline: float, seed: int,
                     part: int, threads: int, progress: bool = False, checkpoint: Checkpoint = NOWHERE) -> dict[str, Any]:
    """The metrics file of one job: rows of every user of the part; after a cut it goes on with the next user."""
    windows = open_windows(features)
    net, backbone, metadata = encoders.load_encoder(encoder)
    chosen = settings.experiment
    if backbone != chosen.backbone or metadata["settings"].get("offline", 0.0) != offline:
        raise UserError(f"holds {backbone}, pruned by {metadata['settings'].get('offline', 0.0):g} before deployment; "
                        f"the experiment wants {chosen.backbone} and {offline:g}", where=encoder,
                        remedy="give the encoder that was made for it")
    users = users_of(windows, chosen.users, chosen.parts, part, chosen.who)
    needs_words = "hap_wrong_domain" in chosen.schedules
    rows: list[dict[str, Any]] = []
    screening = None
    facts = false_alarms.resolution(float(windows.facts["negative_seconds"]) / 3600, settings.evaluation.false_alarms_per_hour)
    if users:
        bench = Bench(windows, net, settings, users, seed,
                      words=pretraining.word_features(packing.open_words(words), seed=seed) if needs_words else None)
        screening = bench.screening(0)

        def rows_of(index: int) -> list[dict[str, Any]]:
            return [{"offline": offline, **row} for row in bench.personalise(index, chosen.schedules, chosen.ratios)]

        for some in tqdm(checkpoint.each(range(len(users)), rows_of, of="users"), total=len(users), unit=" users",
                         disable=not progress, desc="personalising"):
            rows += some
    return {"schema": 1, "paper": "onda", "seed": seed, "offline": offline, "part": part,
            "settings": settings.model_dump(mode="json"),
            "provenance": provenance(corpus=corpus_facts(windows, metadata), threads=threads),
            "operating_point": facts, "screening": screening, "encoder": _encoder_facts(metadata, net), "rows": rows}


def corpus_facts(windows: Windows, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of the wake words, and what the pre-training of the encoder adds to what they meet."""
    words = metadata["provenance"].get("corpus", {}).get("name", "")
    return {**windows.facts["corpus"], "pretraining": words, "meets": ["mswc"] if words == "mswc_en" else []}


def _encoder_facts(metadata: Mapping[str, Any], net: Encoder) -> dict[str, Any]:
    """Which encoder it is and what it was trained on; ``published`` says where it is from if it was not trained here."""
    about = metadata["settings"]
    return {"backbone": about["backbone"], "pretraining": about.get("pretraining"), "published": about.get("published"),
            "trained_on": metadata["provenance"].get("corpus", {}).get("name", ""), "separation": about.get("accuracy"),
            "parameters": encoders.parameters(net), "multiply_accumulates": encoders.multiply_accumulates(net)}


def adapt_user(features: Path, encoder: Path, out: Path, settings: Personalisation, *, user: str | None, schedule: Schedule,
               ratio: float, seed: int, threads: int, progress: bool = False) -> str:
    """Adapt one user's encoder and write the model that their device would run; returns a line to read.

    Raises:
        UserError: There is no such user, or their calibration gave no gap or too few pseudo-labels to adapt with.
    """
    windows = open_windows(features)
    net, backbone, metadata = encoders.load_encoder(encoder)
    users = users_of(windows, None, 1, 0, settings.experiment.who)
    user = users[0] if user is None else user
    if user not in users:
        raise UserError(f"has no user '{user}'", where=features, remedy=did_you_mean(user, users))
    bench = Bench(windows, net, settings, [user], seed, words=None)
    device, before = bench.devices[0], bench.measure(0, net, deployed=True)
    labels = self_learning.pseudo_label(*bench.stream_of(0), bench.calibrated[0], seed=device.random("pseudo-labels"))
    if bench.why_not(0, labels):
        found, facts, after = net, {"steps": 0}, before
    else:
        _, found, facts = next(adapted(device, schedule, [ratio], labels, labels, lambda: device.fine_tuned(
            net, labels, "fine-tuning", progress=progress)))
        after = bench.measure(0, found)
    calibrated = bench.calibrate(0, Embedder(found))
    about = provenance(corpus=corpus_facts(windows, metadata), threads=threads)
    encoders.save_encoder(out, found, backbone, provenance=about, about={
        "wake_word": calibration.as_settings(calibrated, windows.stride),
        "personalised": {"user": user, "schedule": schedule, "ratio": ratio, "seed": seed, **facts,
                         "labels": labels.facts},
        "offline": metadata["settings"].get("offline", 0.0), **settings.model_dump(mode="json", exclude={"experiment"})})
    return (f"user {user}: {before['accuracy']:.1f} % to {after['accuracy']:.1f} % at "
            f"{settings.evaluation.false_alarms_per_hour:g} false alarms an hour; {before['parameters']:,} to "
            f"{after['parameters']:,} parameters; {facts['steps']} updates")


# ------------------------------------------------------------------------------------------------ the Hessian
def hessian_file(encoder: Path, words: Path, settings: OnDA, *, seed: int, threads: int,
                 progress: bool = False) -> dict[str, Any]:
    """The metrics file of the Hessian: convergence against the exact trace, and stability of the ranking by probes."""
    net, backbone, _ = encoders.load_encoder(encoder)
    packed = packing.open_words(words)
    losses = self_learning.word_losses(
        net, *pretraining.word_features(packed, seed=seed), settings.calibration.recordings, settings.finetuning,
        settings.pruning, seed=derive_seed(seed, "onda hessian"))
    return {"schema": 1, "paper": "onda", "experiment": "hessian", "backbone": backbone, "seed": seed,
            "settings": settings.model_dump(mode="json", include={"hessian", "calibration", "finetuning", "pruning"}),
            "provenance": provenance(corpus=packed.facts, threads=threads), "active_fraction": losses.active_fraction,
            "stability": hessian.ranking_stability(net, losses, settings.hessian, settings.pruning, seed=seed,
                                                   progress=progress),
            "convergence": hessian.hutchinson_convergence(settings.hessian, seed=seed)}

