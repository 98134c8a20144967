"""Adapt a base model to one person's own recordings: what a practitioner comes for."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgekws.core import files
from edgekws.core.errors import UserError, did_you_mean
from edgekws.corpus import archive, audio, recordings
from edgekws.features import logmel, normalise
from edgekws.features.settings import Features
from edgekws.methods.traces_propagation import experiments
from edgekws.methods.traces_propagation.settings import Adaptation, Recipe
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.clips import Clips

EXPECTED = Path(__file__).with_name("expected.json")
"""What many people gained by the recipe."""


@dataclass(frozen=True)
class Recordings:
    """A person's recordings, each once: features (N, T, F), labels (N,) and the file of each.

    ``repeats`` has the files whose audio is that of an earlier one, with that file, ``left_out`` those that cannot be used,
    with the reason; none of them is among ``files``. ``notes`` has what is to be said of a file.
    """

    features: np.ndarray
    labels: np.ndarray
    files: list[str]
    repeats: dict[str, str]
    left_out: dict[str, str]
    notes: dict[str, str]


def read_recordings(folder: Path, vocabulary: list[str], settings: Features) -> Recordings:
    """Read the recordings ``<word>/<anything>`` under ``folder``, or in an archive of it, in any format of libsndfile.

    The word is the first folder of a path that the model knows, in whatever case. Recordings of the same samples, under
    whatever name or word, count as one take (the first): a copy that is held back would be a test on what was learnt.

    Raises:
        UserError: A word the model does not know, or fewer than two recordings that can be used and differ.
    """
    waves, labels, files = [], [], []
    first: dict[str, str] = {}
    repeats: dict[str, str] = {}
    left_out: dict[str, str] = {}
    notes: dict[str, str] = {}
    known = {archive.plain_name(word).casefold(): label for label, word in enumerate(vocabulary)}
    if not folder.exists():
        raise UserError("no such folder or archive", where=folder, remedy="check the path of your recordings")
    for name, data in archive.read_members(folder):
        if data is None or not audio.is_audio(name):
            continue
        words = name.split("/")[:-1]
        label = next((known[word.casefold()] for word in words if word.casefold() in known), None)
        if label is None:
            if words:
                raise UserError(f"the model does not know the word '{words[0]}'", where=folder / words[0],
                                remedy=did_you_mean(words[0], vocabulary))
            left_out[name] = "lies in no folder of a word"
            continue
        try:
            own = recordings.take(data, name)
        except UserError as error:
            left_out[name] = f"{error.what}; {error.remedy}"
            continue
        if (same := first.setdefault(hashlib.sha256(own.samples.tobytes()).hexdigest(), name)) != name:
            repeats[name] = same
            continue
        if own.notes:
            notes[name] = "; ".join(own.notes)
        waves.append(logmel.prepare(own.samples))
        labels.append(label)
        files.append(name)
    if len(waves) < 2:
        others = f" and {len(repeats)} repeat(s) of it" if repeats else ""
        for name, why in list(left_out.items())[:1]:
            others += f"; {len(left_out)} cannot be used, the first being '{name}': {why}"
        raise UserError(f"holds {len(waves)} recording(s){others}; at least two are needed, one to learn from and one to test",
                        where=folder, remedy="record each word at least twice, as <word>/<name>.wav")
    features = logmel.log_mel_deltas(np.stack(waves), settings)
    return Recordings(np.asarray(features, np.float32), np.array(labels, np.int64), files, repeats, left_out, notes)


def hold_back(given: Recordings, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places of the recordings to learn from and of those held back: ``share`` of each word, at least one of two."""
    shuffle, learn, held = random.Random(seed), [], []
    for label in sorted(set(given.labels.tolist())):
        takes = [place for place, other in enumerate(given.labels) if other == label]
        shuffle.shuffle(takes)
        back = max(1, round(share * len(takes))) if len(takes) > 1 else 0
        held += takes[:back]
        learn += takes[back:]
    return sorted(learn), sorted(held)


def expectation(path: Path = EXPECTED) -> dict[str, object] | None:
    """What the recipe gains on average, by clips of each word, as `edgekws traces-propagation findings` wrote it.

    None where it was not measured, or of another recipe than today's.
    """
    if not path.is_file():
        return None
    found: dict[str, object] = files.read_json(path)
    return found if found["budget"] == Recipe().model_dump() else None


def personalise(base: experiments.Base, given: Recordings, budget: Adaptation, *, share: float,
                seed: int) -> tuple[RecurrentLIF, dict[str, object]]:
    """Adapt to the recordings by the recipe; accuracy is on the ones held back.

    Returns:
        The adapted network and a report: accuracies in percent, the word found in each held-back recording, the files
        that repeat another one or cannot be used, and what is to be said of those that were.
    """
    learn, held = hold_back(given, share, seed)
    if not held:
        raise UserError("no word has two recordings, so none can be held back to test on", where="recordings",
                        remedy="record each word at least twice")

    def clips(places: list[int]) -> Clips:
        own = given.features[places]
        scale = base.scale if base.scale is not None else torch.from_numpy(normalise.set_scale(own))
        return Clips(given.features, np.array(places), given.labels[places], scale[None],
                     np.zeros(len(places), np.int64))

    support, query = clips(learn), clips(held)
    net = experiments.adapt(base.net, "recipe", support, budget, seed=seed)
    before, after = (experiments.predict(each, query) for each in (base.net, net))

    def found(outputs: np.ndarray, place: int) -> str | None:
        output = int(outputs[place])
        return base.vocabulary[output] if output < len(base.vocabulary) else None

    return net, {
        "expected": expectation() if budget == Recipe() else None,
        "learnt_from": len(learn), "held_back": len(held),
        "accuracy_before": 100.0 * float((before == query.labels).mean()),
        "accuracy_after": 100.0 * float((after == query.labels).mean()),
        "recordings": [{"file": given.files[where], "before": found(before, place), "after": found(after, place)}
                       for place, where in enumerate(held)],
        "repeats": [{"file": file, "repeat_of": same} for file, same in given.repeats.items()],
        "left_out": [{"file": file, "why": why} for file, why in given.left_out.items()],
        "notes": [{"file": file, "note": note} for file, note in given.notes.items()]}
