"""What a user could take instead of an encoder and its adaptation, on the very users, draws and conditions of an experiment.

The same recordings, queries, negatives and operating point; two detectors: nearest template by dynamic time warping
(:mod:`.templates`), and a keyword engine (:mod:`.engine`) that needs no recordings but knows its makers' words alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.core.progress import tqdm
from edgekws.core.provenance import provenance
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.methods.onda import calibration, engine, false_alarms, roles, templates
from edgekws.methods.onda.paired import Arm, Key, accuracies, clusters
from edgekws.methods.onda.settings import CLEAN, Calibration, OndaEvaluation, Rivals
from edgekws.methods.onda.windows import Windows, open_condition
from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

OURS = (Arm("pretrained"), Arm("robust"))
"""Arms that the others are held against: as deployed, and adapted in our way."""


class Asked(NamedTuple):
    """What one user and draw is tested with: rows of the table of windows, and what the negatives last, hours."""

    queries: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    recordings: npt.NDArray[np.int64]
    hours: float


def asked(table: pd.DataFrame, user: str, settings: Calibration, *, seed: int) -> Asked:
    """As an experiment tests this user and draw (:meth:`edgekws.methods.onda.bench.Bench.measure`)."""
    own = roles.for_user(table, user, seed=seed)
    drawn = calibration.draw(own, user, settings, seed)
    negatives = np.setdiff1d(np.flatnonzero(own["role"] == "negative"), drawn.negatives)
    return Asked(drawn.queries, negatives, drawn.recordings, float(own["seconds"].to_numpy()[negatives].sum()) / 3600)


def template_scores(windows: Windows, there: Windows, test: Asked, band: int) -> tuple[Floats, Floats]:
    """Distances of queries and negatives from the nearest recording, as they sound ``there``; padding does not count."""
    own = templates.normalised(windows.crops[windows.table["crop"].to_numpy()[test.recordings]])
    first, count = (windows.table[name].to_numpy(np.int64) for name in ("first", "windows"))
    padding = CLIP_SAMPLES // windows.stride

    def scores(rows: npt.NDArray[np.int64]) -> Floats:
        spans = [np.arange(first[row] + padding, first[row] + count[row] - padding) for row in rows]
        starts = np.concatenate([[0], np.cumsum([len(span) for span in spans])[:-1]])
        found = templates.warped(own, templates.normalised(there.mfcc[np.concatenate(spans)]), band)
        return templates.scores(found, starts)

    return scores(test.queries), scores(test.negatives)


def rivals_file(features: Path, experiments: Sequence[Mapping[str, Any]], settings: Rivals, *, threads: int,
                progress: bool = False, checkpoint: Checkpoint = NOWHERE) -> dict[str, Any]:
    """The metrics file: every user and draw that the experiments measured, by every detector that knows the keyword.

    Args:
        features: Windows of the clean utterances; those of conditions, and what the engine heard, lie beside them.
        experiments: Their summaries, ``<experiment>.json``.

    Raises:
        UserError: A file is missing or of other utterances, or the experiments are of no keyword by name.
    """
    names = {name for content in experiments for name in conditions_of(content, settings)}
    windows = {name: open_condition(features, name) for name in sorted(names)}
    clean = windows[CLEAN]
    if not (clean.table["keyword"] != "").any() or "/" not in str(clean.table["user"].max()):
        raise UserError("holds no keywords by name", where=features, remedy="take open wake words: onda.corpus.name")
    heard = {name: engine.read(engine.beside(features, name), clean) for name in windows} if settings.engine else {}
    work = [(content, *key) for content in experiments for key in pairs(content)]

    def rows(job: tuple[Mapping[str, Any], str, int]) -> list[dict[str, Any]]:
        content, user, seed = job
        test = asked(clean.table, user, Calibration.model_validate(content["settings"]["calibration"]), seed=seed)
        evaluation = OndaEvaluation.model_validate(content["settings"]["evaluation"])
        word = user.rpartition("/")[2]
        conditions = conditions_of(content, settings)
        scores = {"templates": {name: template_scores(clean, windows[name], test, settings.band) for name in conditions}}
        if settings.engine and any((table["keyword"] == word).any() for table in heard.values()):
            of_all = {name: engine.scores(heard[name], word, len(clean.table)) for name in conditions}
            scores["engine"] = {name: (found[test.queries], found[test.negatives]) for name, found in of_all.items()}
        return [{"of": content["experiment"], "detector": detector, "user": user, "seed": seed, "hours": test.hours,
                 **_points(by_condition, test.hours, evaluation)} for detector, by_condition in scores.items()]

    found: list[dict[str, Any]] = []
    for some in tqdm(checkpoint.each(work, rows, of="users"), total=len(work), unit=" users", desc="other detectors",
                     disable=not progress):
        found += some
    return {"schema": 1, "paper": "onda", "experiment": "rivals", "settings": settings.model_dump(mode="json"),
            "provenance": provenance(corpus=experiments[0]["provenance"]["corpus"], threads=threads),
            "detectors": {content["experiment"]: summary(content, [row for row in found if row["of"] == content["experiment"]])
                          for content in experiments}, "rows": found}


def conditions_of(content: Mapping[str, Any], settings: Rivals) -> list[str]:
    """The conditions of an experiment that are measured, the clean one first."""
    wanted = settings.conditions
    return [CLEAN, *(name for name in content["settings"]["experiment"]["conditions"] if wanted is None or name in wanted)]


def pairs(content: Mapping[str, Any]) -> list[Key]:
    """Users and draws that an experiment measured."""
    return sorted({(row["user"], row["seed"]) for row in content["rows"] if row["schedule"] == "pretrained"})


def _points(scores: Mapping[str, tuple[Floats, Floats]], hours: float, evaluation: OndaEvaluation) -> dict[str, Any]:
    def at(name: str, rate: float) -> float:
        return false_alarms.operating_point(*scores[name], hours, rate).accuracy

    return {"accuracy": {name: at(name, evaluation.false_alarms_per_hour) for name in scores},
            "curve": {name: [at(name, rate) for rate in evaluation.curve] for name in scores}}


def summary(content: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By detector and condition the mean ``accuracy``, and ``ours_above``: points by which the experiment's arms are above."""
    chosen = Statistics.model_validate(content["settings"]["statistics"])

    def cell(values: Mapping[Key, float]) -> dict[str, Any]:
        keys = sorted(values)
        return statistics.cell([values[key] for key in keys], chosen, clusters(keys))

    def above(arm: Arm, theirs: Mapping[Key, float], condition: str) -> Iterator[tuple[str, dict[str, Any]]]:
        ours = accuracies(content, arm, condition)
        if both := ours.keys() & theirs.keys():
            yield arm.schedule, cell({key: ours[key] - theirs[key] for key in both})

    found: dict[str, Any] = {}
    for detector in dict.fromkeys(row["detector"] for row in rows):
        own = [row for row in rows if row["detector"] == detector]
        for condition in own[0]["accuracy"]:
            theirs = {(row["user"], row["seed"]): row["accuracy"][condition] for row in own}
            found.setdefault(detector, {})[condition] = {
                "accuracy": cell(theirs), "ours_above": dict(each for arm in OURS for each in above(arm, theirs, condition))}
    return found
