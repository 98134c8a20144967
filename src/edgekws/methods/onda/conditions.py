"""Rooms and noise: the same utterances as they would sound elsewhere.

A condition changes the samples and leaves an utterance's length, so that its windows are the clean ones' row by row. Noise is
from the recordings beside Google Speech Commands (``_background_noise_``), or made where the archive has none (pink and white).
Every second recording is for testing, the others may be mixed in while a device learns: what it is tested in it has never heard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.provenance import derive_seed
from edgekws.corpus import noise
from edgekws.corpus.audio import SAMPLE_RATE
from edgekws.corpus.noise import Noise
from edgekws.methods.onda.settings import CLEAN, Condition

Samples = npt.NDArray[np.float32]

_SHORTEST, _DIRECT = 0.0025, 1.0  # seconds between sound and first echo; level of the direct sound, as loud as all echoes


def of_archive(archive: Path | None, seed: int) -> tuple[list[Noise], bool]:
    """Noise recordings of an archive in GSC's layout, or made ones where it has none; and whether they were made."""
    found = noise.recorded(archive) if archive is not None else []
    return (found, False) if len(found) > 1 else (noise.made(seed), True)


def altered(condition: Condition, noises: list[Noise], *, seed: int) -> Callable[[str, Samples, Samples], Samples]:
    """What a condition makes of an utterance: a function of its name, its samples [n] and its loudest second.

    The ratio of signal to noise is that of the loudest second's power: an utterance's pauses do not count. An utterance has
    the same room, noise and place in it at every ratio; they depend on the seed and its name alone.

    Raises:
        UserError: There are too few noise recordings.
    """
    chosen = _chosen(condition, noises)
    if not chosen:
        raise UserError("needs two noise recordings at least, one of them for learning", where="onda.conditions",
                        remedy="give an archive that has more of them")

    def alter(name: str, samples: Samples, loudest: Samples) -> Samples:
        generator = np.random.default_rng(derive_seed(seed, f"onda {condition.noises} {name}"))
        place, level, room = generator.random(2), generator.random(), generator.spawn(1)[0]
        if condition.reverberation:
            samples = reverberated(samples, condition.reverberation, room)
        if condition.snr_db is None:
            return samples
        low, high = condition.snr_db
        sound = chosen[int(place[0] * len(chosen))].samples
        sound = np.resize(np.roll(sound, -int(place[1] * len(sound))), len(samples))
        return noise.mix(samples, sound, low + level * (high - low), level_of=loudest)

    return alter


def reverberated(samples: Samples, seconds: float, generator: np.random.Generator) -> Samples:
    """An utterance in a made room: white noise that decays by 60 dB in so many seconds, after a direct sound of equal energy.

    As long as before, and as loud (of its power).
    """
    from scipy.signal import fftconvolve

    length = round(seconds * SAMPLE_RATE)
    response = generator.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    response[:round(_SHORTEST * SAMPLE_RATE)] = 0
    response /= np.sqrt(np.square(response).sum())
    response[0] = _DIRECT
    heard = fftconvolve(samples, response)[:len(samples)]
    power = np.mean(np.square(heard))
    return (heard * np.sqrt(np.mean(np.square(samples, dtype=np.float64)) / power) if power else heard).astype(np.float32)


def named(name: str, known: Mapping[str, Condition], archive: Path | None, *,
          seed: int) -> tuple[Callable[[str, Samples, Samples], Samples] | None, list[str]]:
    """:func:`altered` of a condition by its name, None where it changes nothing; and the names of the noises it mixes in.

    Raises:
        UserError: There is no such condition, or there are too few noise recordings.
    """
    if name == CLEAN:
        return None, []
    if name not in known:
        raise UserError(f"has no condition '{name}'", where="onda.conditions", remedy=did_you_mean(name, [CLEAN, *known]))
    noises = of_archive(archive, seed)[0]
    mixed = _chosen(known[name], noises) if known[name].snr_db is not None else []
    return altered(known[name], noises, seed=seed), [noise.name for noise in mixed]


def _chosen(condition: Condition, noises: list[Noise]) -> list[Noise]:
    return noises[0 if condition.noises == "testing" else 1::2]
