"""Rehearsal: clips of the base's training mixed into a user's, against forgetting."""

from __future__ import annotations

import numpy as np

from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.protocol.clips import Clips, joined


def rehearse(support: Clips, known: Clips, count: int, *, seed: int) -> Clips:
    """The support set with ``count`` clips of the base's training beside it, each word as often as any other.

    Words that the division leaves over are drawn, as are a word's clips; clips of the support set are never drawn.

    Args:
        known: What the base was trained on, from the same packed features; a clip may come more than once.

    Raises:
        UserError: A word has too few clips, or the features are not the same.
    """
    draw = np.random.default_rng(derive_seed(seed, "rehearsal"))
    rows, places = np.unique(known.rows, return_index=True)
    places = places[~np.isin(rows, support.rows)]
    words = draw.permutation(np.unique(known.labels))
    chosen = []
    for number, word in enumerate(words):
        wanted = count // len(words) + (number < count % len(words))
        of_word = places[known.labels[places] == word]
        if len(of_word) < wanted:
            raise UserError(f"wants {wanted} clips of class {word}, there are {len(of_word)} beside the user's own",
                            where="rehearsal", remedy="rehearse fewer clips")
        chosen.append(draw.permutation(of_word)[:wanted])
    taken = np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
    return joined(support, known.some(taken))
