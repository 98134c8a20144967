"""What OnDA's commands do: pre-train, personalise every user by every schedule, check the Hessian, write what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from edgekws.methods.onda.bench import Bench
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.schedules import OURS, adapted
from edgekws.methods.onda.settings import CLEAN, OnDA, OndaExperiment, Personalisation, Pretraining, Schedule
from edgekws.methods.onda.windows import Windows, open_condition, open_windows
from edgekws.models import encoder as encoders
from edgekws.models.choices import Backbone
from edgekws.models.encoder import Encoder

if TYPE_CHECKING:
    pass

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


# ------------------------------------------------------------------------------------------------ personalising
def users_of(windows: Windows, limit: int | None, parts: int, part: int, who: str = "person") -> list[str]:
    """The users of one part: sorted, the first ``limit``, dealt out in turn."""
    return roles.users_of(windows.table, who)[:limit][part::parts]


def personalise_file(features: Path, encoder: Path, words: Path, settings: Personalisation, *, offline: float, seed: int,
                     part: int, threads: int, device: torch.device | None = None, progress: bool = False,
                     checkpoint: Checkpoint = NOWHERE) -> dict[str, Any]:
    """The metrics file of one job: rows of every user of the part; after a cut it goes on with the next user."""
    windows = open_windows(features)
    net, backbone, metadata = encoders.load_encoder(encoder)
    chosen, on = settings.experiment, device or torch.device("cpu")
    if backbone != chosen.backbone or metadata["settings"].get("offline", 0.0) != offline:
        raise UserError(f"holds {backbone}, pruned by {metadata['settings'].get('offline', 0.0):g} before deployment; "
                        f"the experiment wants {chosen.backbone} and {offline:g}", where=encoder,
                        remedy="give the encoder that was made for it")
    users = users_of(windows, chosen.users, chosen.parts, part, chosen.who)
    needs_words = "hap_wrong_domain" in chosen.schedules
    rows: list[dict[str, Any]] = []
    screening = None
    elsewhere = _opened(features, chosen) if users else {}
    facts = false_alarms.resolution(float(windows.facts["negative_seconds"]) / 3600, settings.evaluation.false_alarms_per_hour)
    if users:
        bench = Bench(windows, net.to(on), settings, users, seed, conditions=elsewhere,
                      words=pretraining.word_features(packing.open_words(words), seed=seed) if needs_words else None)
        screening = bench.screening(0)

        def rows_of(index: int) -> list[dict[str, Any]]:
            return [{"offline": offline, **row} for row in bench.personalise(index, chosen.schedules, chosen.ratios)]

        for some in tqdm(checkpoint.each(range(len(users)), rows_of, of="users"), total=len(users), unit=" users",
                         disable=not progress, desc="personalising"):
            rows += some
    return {"schema": 1, "paper": "onda", "seed": seed, "offline": offline, "part": part,
            "settings": settings.model_dump(mode="json"),
            "provenance": provenance(corpus=corpus_facts(windows, metadata), threads=threads, device=describe(on)),
            "noises": {name: there.facts.get("noises", []) for name, there in elsewhere.items()},
            "operating_point": facts, "screening": screening, "encoder": _encoder_facts(metadata, net), "rows": rows}


def conditions_of(experiment: OndaExperiment) -> set[str]:
    """The conditions that an experiment names, besides the clean one."""
    return {*experiment.conditions, experiment.stream, experiment.learning or CLEAN} - {CLEAN}


def _opened(features: Path, experiment: OndaExperiment) -> dict[str, Windows]:
    return {name: open_condition(features, name) for name in sorted(conditions_of(experiment))}


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
               ratio: float, seed: int, threads: int, device: torch.device | None = None) -> str:
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
    on = device or torch.device("cpu")
    bench = Bench(windows, net.to(on), settings, [user], seed, words=None, conditions=_opened(features, settings.experiment))
    before, known = bench.measure(0, net, deployed=True), bench.known(0)
    look_alikes = known.look_alikes if schedule in OURS else None
    if bench.why_not(0, known.labels, schedule):
        found, facts, after = net, {"steps": 0}, before
    else:
        _, found, facts = next(adapted(bench.devices[0], schedule, [ratio], known))
        after = bench.measure(0, found, look_alikes=look_alikes)
    embedder = Embedder(found, settings.precision)
    calibrated = bench.calibrate(0, embedder)
    if look_alikes is not None and facts["steps"]:
        calibrated = replace(calibrated, detection=bench.stream_threshold(0, embedder, calibrated, look_alikes))

    about = provenance(corpus=corpus_facts(windows, metadata), threads=threads, device=describe(on))
    encoders.save_encoder(out, found.cpu(), backbone, provenance=about, about={
        "wake_word": calibration.as_settings(calibrated, windows.stride),
        "personalised": {"user": user, "schedule": schedule, "ratio": ratio, "seed": seed, **facts,
                         "labels": known.labels.facts},
        "offline": metadata["settings"].get("offline", 0.0), **settings.model_dump(mode="json", exclude={"experiment"})})
    return (f"user {user}: {before['accuracy']:.1f} % to {after['accuracy']:.1f} % at "
            f"{settings.evaluation.false_alarms_per_hour:g} false alarms an hour; {before['parameters']:,} to "
            f"{after['parameters']:,} parameters; {facts['steps']} updates")


# ------------------------------------------------------------------------------------------------ the Hessian
def hessian_file(encoder: Path, words: Path, settings: OnDA, *, seed: int, threads: int, device: torch.device | None = None,
                 progress: bool = False) -> dict[str, Any]:
    """The metrics file of the Hessian: convergence against the exact trace, and stability of the ranking by probes."""
    net, backbone, _ = encoders.load_encoder(encoder)
    on, packed = device or torch.device("cpu"), packing.open_words(words)
    net = net.to(on)
    losses = self_learning.word_losses(
        net, *pretraining.word_features(packed, seed=seed), settings.calibration.recordings, settings.finetuning,
        settings.pruning, seed=derive_seed(seed, "onda hessian"))
    return {"schema": 1, "paper": "onda", "experiment": "hessian", "backbone": backbone, "seed": seed,
            "settings": settings.model_dump(mode="json", include={"hessian", "calibration", "finetuning", "pruning"}),
            "provenance": provenance(corpus=packed.facts, threads=threads, device=describe(on)),
            "active_fraction": losses.active_fraction,
            "stability": hessian.ranking_stability(net, losses, settings.hessian, settings.pruning, seed=seed,
                                                   progress=progress),
            "convergence": hessian.hutchinson_convergence(settings.hessian, seed=seed)}

