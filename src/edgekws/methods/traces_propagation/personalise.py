"""Adapt a base model to one person's own recordings: what a practitioner comes for."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgekws.core.errors import UserError, did_you_mean
from edgekws.corpus import archive, audio
from edgekws.features import logmel, normalise
from edgekws.features.settings import Features
from edgekws.methods.traces_propagation import experiments
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.clips import Clips
from edgekws.protocol.settings import Training


@dataclass(frozen=True)
class Recordings:
    """A person's recordings, each once: features (N, T, F), labels (N,) and the file of each.

    ``repeats`` has the files whose audio is that of an earlier one, with that file; none of them is among ``files``.
    """

    features: np.ndarray
    labels: np.ndarray
    files: list[str]
    repeats: dict[str, str]


def read_recordings(folder: Path, vocabulary: list[str], settings: Features) -> Recordings:
    """Read ``<word>/<anything>.wav`` under ``folder`` (16 kHz, mono, 16-bit PCM).

    Recordings of the same samples, under whatever name or word, count as one take (the first): a copy that is held back
    would be a test on what was learnt.

    Raises:
        UserError: A word the model does not know, a bad recording, or fewer than two recordings that differ.
    """
    waves, labels, files = [], [], []
    first: dict[str, str] = {}
    repeats: dict[str, str] = {}
    for name, data in archive.read_members(folder):
        word, _, rest = name.partition("/")
        if data is None or not rest.endswith(".wav"):
            continue
        if word not in vocabulary:
            raise UserError(f"the model does not know the word '{word}'", where=folder / word,
                            remedy=did_you_mean(word, vocabulary))
        samples = audio.decode_wav(data, str(folder / name))
        if (same := first.setdefault(hashlib.sha256(samples.tobytes()).hexdigest(), name)) != name:
            repeats[name] = same
            continue
        waves.append(logmel.prepare(samples))
        labels.append(vocabulary.index(word))
        files.append(name)
    if len(waves) < 2:
        copies = f" and {len(repeats)} repeat(s) of it" if repeats else ""
        raise UserError(f"holds {len(waves)} recording(s){copies}; at least two are needed, one to learn from and one to test",
                        where=folder, remedy="record each word at least twice, as <word>/<name>.wav")
    features = logmel.log_mel_deltas(np.stack(waves), settings)
    return Recordings(np.asarray(features, np.float32), np.array(labels, np.int64), files, repeats)


def hold_back(recordings: Recordings, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places of the recordings to learn from and of those held back: ``share`` of each word, at least one of two."""
    shuffle, learn, held = random.Random(seed), [], []
    for label in sorted(set(recordings.labels.tolist())):
        takes = [place for place, other in enumerate(recordings.labels) if other == label]
        shuffle.shuffle(takes)
        back = max(1, round(share * len(takes))) if len(takes) > 1 else 0
        held += takes[:back]
        learn += takes[back:]
    return sorted(learn), sorted(held)


def personalise(base: experiments.Base, recordings: Recordings, budget: Training, *, share: float,
                seed: int) -> tuple[RecurrentLIF, dict[str, object]]:
    """Adapt to the recordings by Traces Propagation; accuracy is on the ones held back.

    Returns:
        The adapted network and a report: accuracies in percent, the word found in each held-back recording, and the files
        that were left out because they repeat another one.
    """
    learn, held = hold_back(recordings, share, seed)
    if not held:
        raise UserError("no word has two recordings, so none can be held back to test on", where="recordings",
                        remedy="record each word at least twice")

    def clips(places: list[int]) -> Clips:
        own = recordings.features[places]
        scale = base.scale if base.scale is not None else torch.from_numpy(normalise.set_scale(own))
        return Clips(recordings.features, np.array(places), recordings.labels[places], scale[None],
                     np.zeros(len(places), np.int64))

    support, query = clips(learn), clips(held)
    net = experiments.adapt(base.net, "traces_propagation", support, budget, seed=seed)
    before, after = (experiments.predict(each, query) for each in (base.net, net))

    def found(outputs: np.ndarray, place: int) -> str | None:
        output = int(outputs[place])
        return base.vocabulary[output] if output < len(base.vocabulary) else None

    return net, {
        "learnt_from": len(learn), "held_back": len(held),
        "accuracy_before": 100.0 * float((before == query.labels).mean()),
        "accuracy_after": 100.0 * float((after == query.labels).mean()),
        "recordings": [{"file": recordings.files[where], "before": found(before, place), "after": found(after, place)}
                       for place, where in enumerate(held)],
        "repeats": [{"file": file, "repeat_of": same} for file, same in recordings.repeats.items()]}
