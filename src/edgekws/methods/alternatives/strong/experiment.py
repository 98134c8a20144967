"""Does adaptation still pay once the base is good? The methods of the bench on the strong bases, users as everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from edgekws.core import files
from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.features.mfcc import BANDS, LEVEL_FRAMES, of_levels
from edgekws.methods.alternatives import ds_cnn, experiments
from edgekws.methods.alternatives.settings import AlternativeMethod, Strong, StrongName
from edgekws.methods.traces_propagation.summary import per_user, summarise
from edgekws.models.adaptive_lif import AdaptiveLIF, save_network
from edgekws.protocol import statistics
from edgekws.protocol.clips import Corpus
from edgekws.protocol.settings import Statistics
from edgekws.protocol.tasks import tasks

PAYS = 0.0
"""Points that a user must gain on average, at the lower end of the interval, for adapting to pay."""


def read_noise(path: Path) -> Tensor:
    """Mel levels of seconds of noise, [n, 94, 40].

    Raises:
        UserError: The file is missing, or holds something else.
    """
    remedy = "make it with `edgekws alternatives levels`"
    found = files.open_array(path, "file of noise", remedy)
    if found.ndim != 3 or found.shape[1:] != (LEVEL_FRAMES, BANDS):
        raise UserError(f"holds {found.shape}, not (seconds, {LEVEL_FRAMES}, {BANDS})", where=path, remedy=remedy)
    return torch.from_numpy(np.array(found))


def accuracies(net: ds_cnn.Classifier | AdaptiveLIF, corpus: Corpus, *, excluded: Sequence[str]) -> dict[str, float]:
    """Share of the clips of the validation and of the test split whose word is found, percent."""
    scores: Callable[[Tensor], Tensor] = net if isinstance(net, AdaptiveLIF) else lambda levels: net(of_levels(levels))
    found = {}
    for split in ("validation", "test"):
        chosen = corpus.index[(corpus.index.split == split) & ~corpus.index.speaker.isin(excluded)]
        clips = corpus.clips(chosen["clip"].to_numpy(), frozen_scale=torch.ones(BANDS))
        with torch.no_grad():
            right = [(scores(clips[places]).argmax(1).numpy() == clips.labels[places]).sum()
                     for start in range(0, len(clips), 256)
                     if len(places := np.arange(start, min(start + 256, len(clips))))]
        found[split] = 100.0 * float(sum(right)) / max(1, len(clips))
    return found


def write_base(path: Path, net: ds_cnn.Classifier | AdaptiveLIF, *, vocabulary: Sequence[str], about: Mapping[str, Any],
               provenance: Mapping[str, Any]) -> None:
    """Write a strong base; the DS-CNN as any DS-CNN of the bench."""
    if isinstance(net, AdaptiveLIF):
        save_network(path, net, vocabulary=vocabulary, about=about, provenance=provenance)
    else:
        ds_cnn.save_classifier(path, net, vocabulary=vocabulary, about=about, provenance=provenance)


def run(table: pd.DataFrame, facts: dict[str, Any], base: experiments.Base, corpus: Corpus, name: StrongName, settings: Strong,
        *, seed: int, others: int | None, progress: bool = False,
        checkpoint: Checkpoint = NOWHERE) -> dict[str, Any]:
    """Every method for this net: its rate chosen on the validation users, then the test users, folds and shots.

    Returns:
        By method ``budget``, ``grid``, whether the best rate lies ``on_edge``, and ``rows`` as of
        :func:`edgekws.protocol.tasks.measure_tasks`.
    """
    methods = {key: method for key, method in settings.methods.items() if method.net == name}
    words = corpus.index.set_index("clip").word
    known = [str(shot) for shot in facts["shots"]]
    shots = [shot for shot in map(str, settings.shots) if shot in known]
    work = tasks(table, facts, words, shots=shots or known, splits=["test"], folds=settings.folds, turn=seed)

    def one(method: AlternativeMethod) -> dict[str, Any]:
        budget, grid, edges = experiments.tune(table, facts, {seed: base}, corpus, method, settings.training, settings.tuning)
        rows = experiments.run_tasks(work, base, corpus, method, budget, seed=seed, others=others,
                                     progress=f"{method.kind}, seed {seed}" if progress else None)
        return {"budget": budget.model_dump(), "grid": grid, "on_edge": edges, "rows": rows}

    return dict(zip(methods, checkpoint.each(list(methods.values()), one, of="methods"), strict=True))


def strong_file(parts: Sequence[Mapping[str, Any]], settings: Statistics) -> dict[str, Any]:
    """``metrics/alternatives/strong.json`` from the files of its nets and seeds (``docs/files.md``)."""
    first = parts[0]
    rows = per_user(pd.DataFrame([{"method": method, "seed": part["seed"], **row} for part in parts
                                  for method, told in part["methods"].items() for row in told["rows"]]))
    summary = summarise(rows, settings)
    methods = {name: method for part in parts for name, method in part["settings"]["strong"]["methods"].items()}
    bases = {net: {split: statistics.cell([part["settings"]["base"]["accuracy"][split] for part in parts if part["net"] == net],
                                          settings) for split in ("validation", "test")}
             for net in dict.fromkeys(part["net"] for part in parts)}
    return {"schema": 1, "paper": "alternatives", "experiment": "strong", "seeds": sorted({part["seed"] for part in parts}),
            "settings": {"strong": {**first["settings"]["strong"], "methods": methods}, "plan": first["settings"]["plan"],
                         "statistics": settings.model_dump()},
            "provenance": first["provenance"], "bases": bases,
            "budgets": {method: told["budget"] for part in parts for method, told in part["methods"].items()},
            "summary": summary, "checks": checks(summary), "rows": rows.to_dict("records")}


def checks(summary: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Whether adapting still pays: the mean gain with the most clips, at the lower end of its interval, is above 0."""
    told = {}
    for method, shots in summary.items():
        shot, cell = list(shots.items())[-1]
        low = cell["gain"]["ci_low"] if cell["gain"]["ci_low"] is not None else cell["gain"]["value"]
        told[method] = {"holds": low > PAYS,
                        "why": f"{cell['gain']['value']:+.1f} points with {shot} clips over {cell['users']} users, the interval "
                               f"begins at {low:+.1f}; others lose {cell['forgetting']['value']:.1f}"}
    return told
