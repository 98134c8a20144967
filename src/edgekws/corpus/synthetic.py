"""The embedded corpus: speech made by espeak-ng, in the layout of Google Speech Commands.

espeak-ng keeps state from one utterance to the next, so each speaker speaks in a process of its own, which starts
the library afresh and seeds it: the bytes depend on the settings and the seed alone, not on the number of processes.

What makes a speaker: a voice, an accent, pitch, intonation and rate, a vocal tract (all formants shifted together by
resampling), a room, a microphone, and a noise. The users (validation and test) come from other voices and accents
than the training speakers, and from wider ranges: what a model learnt from the latter does not quite fit them, as it
does not quite fit a person who was not asked. data/synthetic/README.md says what such speech can and cannot show.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.corpus.audio import CLIP_SAMPLES, FULL_SCALE, SAMPLE_RATE, encode_wav
from edgekws.corpus.espeak import Espeak, espeak_data, in_children
from edgekws.corpus.index import LISTS, SPLITS, SYNTHETIC_MARKER, speaker_split
from edgekws.corpus.settings import Synthetic

Samples = npt.NDArray[np.float64]
Range = tuple[float, float]

LONGEST_WORD = 14_000
"""Samples a spoken word may have; a longer one is spoken again, faster, and then cut."""

SHORT_SHARE = 0.1
"""Share of the takes that are shorter than one second; the real corpus has such takes too."""

_ACTIVE = 0.02


@dataclass(frozen=True)
class Population:
    """What speakers are drawn from, each value uniformly from its range.

    Attributes:
        accents: Languages of espeak-ng that take a voice variant.
        variants: Voice variants of espeak-ng.
        pitch: Base pitch, espeak-ng's scale of 0 to 99.
        intonation: Pitch range, same scale.
        rate: Words a minute.
        tract: Factor on all formant frequencies (and the pitch).
        decay: Reverberation time of the room (−60 dB), seconds.
        reverberation: Energy of the reverberation relative to the direct sound.
        tilt: Slope of the microphone's response, dB per octave around 1 kHz.
        place: Where in the slack of the second the word lies, 0 (start) to 1 (end).
    """

    accents: tuple[str, ...]
    variants: tuple[str, ...]
    pitch: Range
    intonation: Range
    rate: Range
    tract: Range
    decay: Range
    reverberation: Range
    tilt: Range
    place: Range


TRAINING = Population(
    accents=("en-us", "en-gb-x-rp", "en"),
    variants=("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Alex", "Alicia", "Andy",
              "Annie", "Lee", "adam", "belinda", "benjamin", "boris", "edward", "max", "norbert", "quincy", "rob"),
    pitch=(35, 65), intonation=(35, 65), rate=(140, 200), tract=(0.93, 1.07), decay=(0.05, 0.2),
    reverberation=(0.0, 0.2), tilt=(-2.0, 2.0), place=(0.35, 0.65))

USERS = Population(
    accents=("en-gb-scotland", "en-us-nyc", "en-029", "en-gb-x-gbclan"),
    variants=("Denis", "Gene", "Gene2", "Jacky", "Marco", "Mario", "Michael", "Nguyen", "Reed", "aunty", "grandma",
              "john", "klatt3", "linda", "miguel", "sandro", "shelby", "steph", "victor", "zac"),
    pitch=(20, 80), intonation=(20, 80), rate=(120, 230), tract=(0.88, 1.14), decay=(0.1, 0.35),
    reverberation=(0.1, 0.5), tilt=(-4.0, 4.0), place=(0.25, 0.75))


@dataclass(frozen=True)
class Speaker:
    """One speaker: the values of a :class:`Population`, a voice, and the noise around the microphone.

    Attributes:
        noise_colour: Exponent of the noise's spectrum, 0 (white) to 2 (brown).
        snr: Signal-to-noise ratio, dB.
        level: Peak of the speech, dB of full scale.
    """

    name: str
    voice: str
    pitch: float
    intonation: float
    rate: float
    tract: float
    decay: float
    reverberation: float
    tilt: float
    place: float
    noise_colour: float
    snr: float
    level: float


def synthesise(settings: Synthetic, seed: int, out: Path, *, jobs: int = 1, progress: bool = False) -> None:
    """Write the synthetic corpus as one archive; ``out`` may end in .tar or .tar.gz.

    The same settings and seed give the same bytes, whatever ``jobs`` is.

    Args:
        settings: Words, speakers, takes and range of the noise.
        seed: What every random choice derives from.
        out: The archive.
        jobs: Processes at a time.
        progress: Show how far it is.

    Raises:
        UserError: espeak-ng cannot be loaded or run, a word cannot be spoken, or the disk is full. Nothing is left
            of ``out`` then.
    """
    import scipy.signal  # noqa: F401  (once, before the first fork)

    from edgekws.core.progress import tqdm

    words = _check_words(settings.words)
    splits = {split: _names(seed, split, getattr(settings.speakers, split)) for split in SPLITS}
    takes = {"train": settings.takes, "validation": settings.user_takes, "test": settings.user_takes}
    order = sorted((name, split) for split, names in splits.items() for name in names)
    with espeak_data([*TRAINING.variants, *USERS.variants]) as (library, data), writing_tar(out) as tar:
        for name, text in _texts(words, splits, takes).items():
            add_member(tar, name, text.encode())

        def speak(name: str, split: str) -> npt.NDArray[np.int16]:
            speaker = draw_speaker(name, split, settings.noise_db, seed)
            return _speak_all(Espeak(library, data), speaker, words, takes[split], settings.noise_db, seed)

        tasks = (lambda name=name, split=split: speak(name, split) for name, split in order)
        spoken = tqdm(zip(order, in_children(tasks, jobs), strict=True), total=len(order), unit=" speakers",
                      desc="speaking", disable=not progress)
        for (name, split), clips in spoken:
            for (word, take), clip in zip(_takes(words, takes[split]), clips, strict=True):
                add_member(tar, f"{word}/{name}_nohash_{take}.wav", encode_wav(clip[1:1 + clip[0]]))


def draw_speaker(name: str, split: str, noise_db: Range, seed: int) -> Speaker:
    """The speaker of this name: the same for the same arguments, whoever else there is."""
    rng = np.random.default_rng(derive_seed(seed, f"synthetic speaker {name}"))
    drawn = TRAINING if split == "train" else USERS
    accent, variant = drawn.accents[rng.integers(len(drawn.accents))], drawn.variants[rng.integers(len(drawn.variants))]
    ranges = {field: getattr(drawn, field) for field in ("pitch", "intonation", "rate", "tract", "decay",
                                                         "reverberation", "tilt", "place")}
    ranges |= {"noise_colour": (0.0, 2.0), "snr": noise_db, "level": (-15.0, -3.0)}
    return Speaker(name, f"{accent}+{variant}", **{field: rng.uniform(*limits) for field, limits in ranges.items()})


# ------------------------------------------------------------------------------------------------ the archive
def _check_words(words: list[str]) -> list[str]:
    for word in words:
        if not word.isascii() or not word.isalpha():
            raise UserError(f"'{word}' is not a word of English letters", where="corpus.synthetic.words",
                            remedy="use plain words, one each, such as: yes, no, forward")
    if len(set(words)) < len(words):
        raise UserError("a word is there twice", where="corpus.synthetic.words", remedy="name each word once")
    return sorted(words)


def _names(seed: int, split: str, count: int) -> list[str]:
    """Names of eight hexadecimal digits that the official rule puts into ``split``."""
    names: list[str] = []
    attempt = 0
    while len(names) < count:
        name = hashlib.sha256(f"{seed}/{split}/{attempt}".encode()).hexdigest()[:8]
        if speaker_split(name) == split and name not in names:
            names.append(name)
        attempt += 1
    return names


def _takes(words: list[str], takes: int) -> list[tuple[str, int]]:
    return [(word, take) for word in words for take in range(takes)]


def _texts(words: list[str], splits: dict[str, list[str]], takes: dict[str, int]) -> dict[str, str]:
    about = (f"{len(words)} words spoken by {sum(map(len, splits.values()))} synthetic voices of espeak-ng, made by "
             "edgekws in the layout of Google\nSpeech Commands. No person spoke here.\n")
    lists = {listed: "".join(f"{word}/{name}_nohash_{take}.wav\n" for word, take in _takes(words, takes[split])
                             for name in sorted(splits[split])) for split, listed in LISTS.items()}
    return {"LICENSE": "Made by a program (edgekws, with espeak-ng); no rights are claimed in these recordings.\n",
            "README.md": about, SYNTHETIC_MARKER: about, **lists}


@contextlib.contextmanager
def writing_tar(out: Path) -> Iterator[tarfile.TarFile]:
    """An archive to add members to, compressed if ``out`` ends in .gz; nothing is left of it if the block fails."""
    with files.writing(Path(out)) as part, part.open("wb") as file:
        compressed = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if Path(out).suffix == ".gz" else None
        with contextlib.closing(compressed or file) as stream, tarfile.open(
                fileobj=cast(IO[bytes], stream), mode="w", format=tarfile.USTAR_FORMAT) as tar:
            yield tar


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file whose header says nothing of the time, place or user it was made by."""
    member = tarfile.TarInfo(f"./{name}")
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


# ------------------------------------------------------------------------------------------------ espeak-ng


# ------------------------------------------------------------------------------------------------ one speaker
def _speak_all(espeak: Espeak, speaker: Speaker, words: list[str], takes: int, noise_db: Range,
               seed: int) -> npt.NDArray[np.int16]:
    """Every take of every word: (clips, 1 + samples), the number of samples first, then the samples."""
    room = impulse_response(speaker, np.random.default_rng(derive_seed(seed, f"synthetic room {speaker.name}")))
    clips = np.zeros((len(words) * takes, 1 + CLIP_SAMPLES), np.int16)
    for row, (word, take) in enumerate(_takes(words, takes)):
        rng = np.random.default_rng(derive_seed(seed, f"synthetic take {speaker.name} {word} {take}"))
        clip = _record(_speak(espeak, speaker, word, rng), speaker, room, noise_db, rng)
        clips[row, 0] = len(clip)
        clips[row, 1:1 + len(clip)] = clip
    return clips


def _speak(espeak: Espeak, speaker: Speaker, word: str, rng: np.random.Generator) -> Samples:
    """A dry word at 16 kHz without silence around it, at most :data:`LONGEST_WORD` samples."""
    tract = speaker.tract * rng.uniform(0.985, 1.015)
    rate = speaker.rate * rng.uniform(0.92, 1.08) / tract
    pitch = float(np.clip(speaker.pitch + rng.uniform(-5, 5), 0, 99))
    intonation = float(np.clip(speaker.intonation + rng.uniform(-8, 8), 0, 99))
    seed = int(rng.integers(2**31))

    def say(rate: float) -> Samples:
        return speak_dry(espeak, word, speaker.voice, rate=rate, pitch=pitch, intonation=intonation, tract=tract, seed=seed)

    spoken = say(rate)
    if len(spoken) > LONGEST_WORD:
        spoken = say(rate * len(spoken) / LONGEST_WORD)[:LONGEST_WORD]
    return spoken


def speak_dry(espeak: Espeak, text: str, voice: str, *, rate: float, pitch: float, intonation: float, tract: float,
              seed: int) -> Samples:
    """Text spoken at 16 kHz without silence around it, its formants (and pitch and rate) times ``tract``."""
    from scipy.signal import resample_poly

    spoken = espeak.say(text, voice, rate=float(np.clip(rate, 80, 450)), pitch=pitch, intonation=intonation, seed=seed)
    active = np.flatnonzero(np.abs(spoken) > _ACTIVE * np.abs(spoken).max())
    resampled: Samples = resample_poly(spoken[active[0]:active[-1] + 1], SAMPLE_RATE // 50,
                                       round(espeak.sample_rate / 50 * tract))
    return resampled


def impulse_response(speaker: Speaker, rng: np.random.Generator) -> Samples:
    """Impulse response: the direct sound, then noise that decays by 60 dB in ``speaker.decay`` seconds."""
    time = np.arange(1, round(speaker.decay * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / speaker.decay)
    return np.concatenate([[1.0], tail * np.sqrt(speaker.reverberation / np.sum(tail**2))])


def _record(spoken: Samples, speaker: Speaker, room: Samples, noise_db: Range,
            rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """A dry word as it is recorded: placed in time, in a room, with noise, through the microphone."""
    from scipy.signal import fftconvolve

    length = CLIP_SAMPLES if rng.random() >= SHORT_SHARE else int(rng.integers(LONGEST_WORD, CLIP_SAMPLES))
    place = float(np.clip(speaker.place + rng.uniform(-0.2, 0.2), 0, 1))
    start = round(place * (length - len(spoken)))
    speech = np.zeros(length)
    wet = fftconvolve(spoken, room)[:length - start]
    speech[start:start + len(wet)] = wet

    snr = float(np.clip(speaker.snr + rng.uniform(-3, 3), *noise_db))
    noise = shape_spectrum(rng.standard_normal(length), lambda f: f ** (-speaker.noise_colour / 2))
    power = np.mean(spoken**2) * 10 ** (-snr / 10)
    heard = speech + noise * np.sqrt(power / np.mean(noise**2))

    heard = shape_spectrum(heard, lambda f: 10 ** (speaker.tilt * np.log2(f / 1000) / 20))
    peak = FULL_SCALE * 10 ** ((speaker.level + rng.uniform(-3, 3)) / 20)
    samples: npt.NDArray[np.int16] = np.round(heard * peak / np.abs(heard).max()).astype(np.int16)
    return samples


def shape_spectrum(samples: Samples, response: Callable[[Samples], Samples]) -> Samples:
    """Filter by a real response of frequency in Hz (at least 60 Hz, below which it stays as it is there)."""
    frequency = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), 60.0)
    return np.fft.irfft(np.fft.rfft(samples) * response(frequency), len(samples))
