"""The embedded wake-word corpus: a wake phrase and ordinary sentences said by espeak-ng, in HeySnips' layout.

Stands in for HeySnips (onda.md, section 4.1), which only a licensed person has: voices, rooms and microphones are those
of :mod:`edgekws.corpus.synthetic`, the sentences come from a small grammar. data/wake_words/README.md says what
such speech can and cannot show.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.corpus.audio import FULL_SCALE, SAMPLE_RATE, encode_wav
from edgekws.corpus.espeak import Espeak, espeak_data, in_children
from edgekws.corpus.index import SYNTHETIC_MARKER
from edgekws.corpus.settings import SyntheticWakeWords
from edgekws.corpus.synthetic import (
    TRAINING,
    USERS,
    Range,
    Samples,
    Speaker,
    add_member,
    draw_speaker,
    impulse_response,
    shape_spectrum,
    speak_dry,
    writing_tar,
)

ROOT = "synthetic_wake_words"
"""The folder that everything in the archive lies in."""

MOST_SPEECH = 300.0
"""Seconds of sentences by one dev or test speaker; where more are wanted, bystanders who say no wake phrase join."""

SENTENCE_SECONDS = (2.0, 9.0)
"""The shortest and the longest sentence, silence included."""

SHORTEST_PHRASE = 1.0
"""Seconds of a wake phrase, silence included, at least: shorter utterances are not used."""

_SILENCE = (0.1, 0.6)
_STEP = SAMPLE_RATE // 20
_SETTING = "onda.corpus.synthetic.phrase"

WORDS = {name: tuple(words.split("|")) for name, words in {
    "genre": "jazz|rock|folk|classical|country|reggae|dance|piano|guitar|summer|party|christmas|nineties|calm|happy",
    "artist": "the beatles|johnny cash|billie holiday|madonna|mozart|the rolling stones|nina simone|elton john|bach",
    "room": "kitchen|bedroom|hallway|bathroom|garage|living room|garden|office|basement|attic|dining room",
    "device": "lights|lamp|heating|fan|television|radio|oven|alarm|blinds|printer|washing machine|vacuum cleaner|speaker",
    "number": "two|three|five|seven|ten|twelve|fifteen|twenty|twenty five|thirty|forty five|fifty|sixty|ninety",
    "unit": "seconds|minutes|hours",
    "day": "today|tomorrow|on monday|on tuesday|on wednesday|on thursday|on friday|this weekend|next week|tonight",
    "hour": "six|seven thirty|half past eight|nine|a quarter to ten|noon|three in the afternoon|midnight|five o'clock",
    "city": "london|paris|berlin|madrid|chicago|tokyo|sydney|boston|dublin|toronto|cape town|the mountains",
    "food": "bread|milk|butter|apples|potatoes|coffee|cheese|rice|tomatoes|chocolate|onions|orange juice|fish|pasta|eggs",
    "dish": "soup|salad|a pizza|pancakes|a curry|roast chicken|a sandwich|vegetable stew|an omelette",
    "person": "my mother|my brother|anna|david|the doctor|grandma|my boss|the neighbours|sarah|uncle george|our teacher",
    "place": "station|supermarket|library|airport|museum|school|hospital|beach|restaurant|post office|swimming pool|bank",
    "adjective": "beautiful|strange|funny|expensive|difficult|quiet|wonderful|tiring|interesting|cold|busy|lovely",
    "thing": "keys|umbrella|bicycle|passport|jacket|laptop|glasses|shopping list|ticket|suitcase|camera|letter",
    "topic": "the election|football|the economy|science|the strike|the traffic|the stock market|tennis|technology",
    "animal": "dog|cat|horse|rabbit|parrot",
    "activity": "cooking|running|reading|gardening|swimming|painting|cleaning|driving|working|sleeping",
    "level": "up|down|louder|softer|brighter|darker|warmer|cooler",
}.items()}

TEMPLATES = tuple(line.strip() for line in """
    play some {genre} music in the {room}
    could you play something by {artist}
    skip this song and play the next one by {artist}
    turn the music {level} please
    what is the name of this {genre} song
    turn off the {device} in the {room}
    switch on the {device} at {hour}
    make the {device} in the {room} a bit {level}
    is the {device} in the {room} still on
    set a timer for {number} {unit}
    remind me to call {person} {day} at {hour}
    wake me up at {hour} {day}
    how many {unit} are left on the timer
    what will the weather be like in {city} {day}
    will it rain in {city} {day}
    do i need my {thing} {day}
    is it going to be {adjective} in {city} {day}
    add {food} and {food} to the shopping list
    we have run out of {food} again
    how long do i have to cook the {food} for {dish}
    find a recipe for {dish} with {food} and {food}
    please order {number} packets of {food}
    tell me the news about {topic}
    did you hear what they said about {topic} {day}
    i read an {adjective} story about {topic} in the paper
    send a message to {person} that i will be late
    call {person} and say that we are on our way
    when does the next bus leave for the {place}
    how far is it to the {place} from here
    i left my {thing} at the {place} yesterday
    have you seen my {thing} anywhere
    i think the {thing} is in the {room}
    the {animal} wants to go out into the garden
    the {animal} ate all the {food} that i had bought
    i was {activity} when {person} came home
    {person} has been {activity} all day long
    that was a really {adjective} evening at the {place}
    let us meet {person} at the {place} {day}
    {person} is making {dish} for dinner {day}
    do you know why {person} went to {city}
    it has been so {adjective} since we came back from {city}
    we should go {activity} {day} if it is not too {adjective}
    book a table for {number} people {day} at {hour}
    what time does the {place} close {day}
    translate the word {adjective} into french
    how much does a ticket to {city} cost {day}
    i do not like {genre} music very much
    my flight to {city} leaves at {hour}
    can you hear the {animal} in the {room}
    what is {number} times {number}
""".strip().splitlines())

NEAR_MISS_TEMPLATES = (
    "{near} is what i said to {person}", "did you say {near} or not", "{person} said {near} in the {room}",
    "i heard {near} on the radio", "{near} and some {food} please", "we talked about {near} at the {place}",
    "why is there {near} in the {room}", "{near} {day} would be {adjective}")

HEY_SNIPS_ALIKE = (
    "hey snap", "hay ships", "they slip", "a chips", "hey sniff", "they sniff", "hey steps", "hey nips", "the snips",
    "hey slips", "a snip", "they skip", "hey sneaks", "say snips", "hey there snips", "great snips", "hey chips")
"""Near misses of the default phrase; those of another one are made from it by :func:`near_misses`."""

_ONSETS = ("ch", "sh", "sl", "t", "l", "gr", "m")
_PUNCTUATION = ("{}", "{}.", "{}!", "{}?")


@dataclass(frozen=True)
class _Part:
    """What one speaker says: ``positives`` wake phrases, then sentences of ``seconds`` in all."""

    worker: int
    split: str
    positives: int
    seconds: float


def synthesise(settings: SyntheticWakeWords, seed: int, out: Path, *, jobs: int = 1, progress: bool = False) -> None:
    """Write the corpus as one archive in the layout of HeySnips v2; ``out`` may end in .tar or .tar.gz.

    The same settings and seed give the same bytes, whatever ``jobs`` is. The sentences of the train split, and
    those of dev and test together, last as long as the settings say, and less than one utterance more.

    Args:
        settings: Phrase, speakers, hours, near misses and range of the noise.
        seed: What every random choice derives from.
        out: The archive.
        jobs: Processes at a time.
        progress: Show how far it is.

    Raises:
        UserError: The phrase cannot be spoken or avoided, espeak-ng cannot be loaded or run, or the disk is full.
            Nothing is left of ``out`` then.
    """
    import scipy.signal  # noqa: F401  (once, before the first fork)

    from edgekws.core.progress import tqdm

    phrase = _check_phrase(settings.phrase)
    alike = near_misses(phrase)
    sentence(phrase, alike, settings.near_misses, np.random.default_rng(0))
    parts = _parts(settings)
    manifests: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "test": []}
    hours = {"train": _Hours(parts, ("train",)), "users": _Hours(parts, ("dev", "test"))}
    with espeak_data([*TRAINING.variants, *USERS.variants]) as (library, data), writing_tar(out) as tar:
        for name, text in _texts(settings, len(parts)).items():
            add_member(tar, f"{ROOT}/{name}", text.encode())

        def speak(part: _Part) -> npt.NDArray[np.int16]:
            return _pack(_utterances(Espeak(library, data), part, phrase, alike, settings, seed))

        spoken = tqdm(zip(parts, in_children((partial(speak, part) for part in parts), jobs), strict=True),
                      total=len(parts), unit=" speakers", desc="speaking", disable=not progress)
        for part, packed in spoken:
            pool = hours["train" if part.split == "train" else "users"]
            pool.next(part)
            for number, samples in enumerate(_unpack(packed)):
                positive = number < part.positives
                if not positive and not pool.wants(samples):
                    break
                identity = str(uuid.UUID(bytes=hashlib.sha256(f"{seed}/{part.worker}/{number}".encode()).digest()[:16],
                                         version=4))
                path = f"audio_files/{identity}.wav"
                add_member(tar, f"{ROOT}/{path}", encode_wav(samples))
                manifests[part.split].append({
                    "duration": len(samples) / SAMPLE_RATE, "worker_id": part.worker, "audio_file_path": path,
                    "id": identity, "is_hotword": int(positive)})
        for split, items in manifests.items():
            add_member(tar, f"{ROOT}/{split}.json", (json.dumps(items, indent=1) + "\n").encode())


class _Hours:
    """Keeps the sentences of a pool of speakers to their number of seconds: what one says too much the next leaves out."""

    def __init__(self, parts: list[_Part], splits: tuple[str, ...]) -> None:
        self.share = dict(zip((part.worker for part in parts if part.split in splits),
                              np.cumsum([part.seconds for part in parts if part.split in splits]), strict=True))
        self.spoken, self.wanted = 0.0, 0.0

    def next(self, part: _Part) -> None:
        self.wanted = float(self.share[part.worker])

    def wants(self, samples: npt.NDArray[np.int16]) -> bool:
        """Whether this sentence still belongs in, up to this speaker's share; it is counted then."""
        if self.spoken >= self.wanted:
            return False
        self.spoken += len(samples) / SAMPLE_RATE
        return True


def _parts(settings: SyntheticWakeWords) -> list[_Part]:
    """Every speaker's part: the stream's, the users', and bystanders where the users alone would speak too long."""
    train = ["train"] * settings.speakers.train
    users = ["dev"] * settings.speakers.dev + ["test"] * settings.speakers.test
    more = max(0, math.ceil(3600 * settings.test_hours / MOST_SPEECH) - len(users))
    bystanders = ["dev", "test"] * (more // 2) + ["test"] * (more % 2)
    seconds = {"train": 3600 * settings.stream_hours / len(train),
               "users": 3600 * settings.test_hours / len(users + bystanders)}
    said = ([(split, settings.positives, seconds["train"]) for split in train]
            + [(split, settings.user_positives, seconds["users"]) for split in users]
            + [(split, 0, seconds["users"]) for split in bystanders])
    return [_Part(worker, *part) for worker, part in enumerate(said)]


def _texts(settings: SyntheticWakeWords, speakers: int) -> dict[str, str]:
    about = (f"'{settings.phrase}' and other sentences spoken by {speakers} synthetic voices of espeak-ng, made by edgekws in "
             "the layout of\nHeySnips. No person spoke here.\n")
    return {SYNTHETIC_MARKER: about, "README.md": about,
            "LICENSE": "Made by a program (edgekws, with espeak-ng); no rights are claimed in these recordings.\n"}


# ------------------------------------------------------------------------------------------------ what is said
def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation.

    >>> words_of("Hey, Snips! It's o'clock")
    ['hey', 'snips', "it's", "o'clock"]
    """
    return re.findall(r"[a-z']+", text.lower())


def holds(text: str, phrase: str) -> bool:
    """Whether some words of ``text``, one after the other, spell ``phrase``, however they are divided.

    >>> holds("Hey! Snips, please", "hey snips"), holds("heys nips", "hey snips"), holds("they snips", "hey snips")
    (True, True, False)
    """
    words, wanted = words_of(text), "".join(words_of(phrase))
    return any("".join(words[start:end]) == wanted for start in range(len(words)) for end in range(start + 1, len(words) + 1))


def near_misses(phrase: str) -> list[str]:
    """What sounds like ``phrase`` but is not: known ones, or its words with other onsets or endings, and words left out."""
    words = words_of(phrase)
    if words == ["hey", "snips"]:
        return list(HEY_SNIPS_ALIKE)
    made = [[*words[:place], other, *words[place + 1:]] for place, word in enumerate(words) for other in _alike(word)]
    made += [words[:place] + words[place + 1:] for place in range(len(words))]
    return sorted({" ".join(near) for near in made if near and not holds(" ".join(near), phrase)})


def _alike(word: str) -> list[str]:
    onset, rest = re.fullmatch(r"([^aeiouy]*)(.*)", word).groups()  # type: ignore[union-attr]
    endings = [word[:-1] + other for other in "tnl" if len(word) > 3 and word[-1] not in "aeiouy"]
    return [other + rest for other in _ONSETS if rest and other != onset] + [other for other in endings if other != word]


def sentence(phrase: str, alike: list[str], near_share: float, rng: np.random.Generator) -> str:
    """One or two sentences of the grammar that do not hold ``phrase``.

    Args:
        phrase: The wake phrase.
        alike: What sounds like it.
        near_share: Probability that the text holds one of these.
        rng: What draws.

    Raises:
        UserError: The phrase is so common that no sentence avoids it.
    """
    for _ in range(1000):
        texts = [_fill(TEMPLATES[rng.integers(len(TEMPLATES))], rng) for _ in range(2 if rng.random() < 0.3 else 1)]
        if rng.random() < near_share:
            template = NEAR_MISS_TEMPLATES[rng.integers(len(NEAR_MISS_TEMPLATES))]
            texts[0] = _fill(template.replace("{near}", alike[rng.integers(len(alike))]), rng)
        text = " ".join(f"{text.capitalize()}{'.?!'[rng.choice(3, p=[0.7, 0.2, 0.1])]}" for text in texts)
        if not holds(text, phrase):
            return text
    raise UserError(f"'{phrase}' is in too many of the ordinary sentences", where=_SETTING,
                    remedy="choose a phrase of two or three words that nobody says by chance")


def _fill(template: str, rng: np.random.Generator) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: str(rng.choice(WORDS[slot[1]])), template)


def _check_phrase(phrase: str) -> str:
    if not re.fullmatch(r"[A-Za-z']+( [A-Za-z']+){0,4}", phrase) or not near_misses(phrase):
        raise UserError(f"'{phrase}' is not a phrase of one to five English words", where=_SETTING,
                        remedy="use plain words with one space between them, such as: hey snips")
    return phrase.lower()


# ------------------------------------------------------------------------------------------------ one speaker
def _utterances(espeak: Espeak, part: _Part, phrase: str, alike: list[str], settings: SyntheticWakeWords,
                seed: int) -> Iterator[npt.NDArray[np.int16]]:
    """The wake phrases of one speaker, then their sentences, the last of which crosses the speaker's number of seconds."""
    speaker = draw_speaker(f"wake words {part.worker}", part.split, settings.noise_db, seed)
    room = impulse_response(speaker, np.random.default_rng(derive_seed(seed, f"wake words room {part.worker}")))
    number, seconds = 0, 0.0
    while number < part.positives or seconds < part.seconds:
        rng = np.random.default_rng(derive_seed(seed, f"wake words utterance {part.worker} {number}"))
        if number < part.positives:
            text, shortest = str(rng.choice(_PUNCTUATION)).format(phrase), SHORTEST_PHRASE
        else:
            text, shortest = sentence(phrase, alike, settings.near_misses, rng), SENTENCE_SECONDS[0]
        samples = _record(_speak(espeak, speaker, text, rng), speaker, room, settings.noise_db, shortest, rng)
        if number >= part.positives:
            seconds += len(samples) / SAMPLE_RATE
        yield samples
        number += 1


def _speak(espeak: Espeak, speaker: Speaker, text: str, rng: np.random.Generator) -> Samples:
    """A dry utterance at 16 kHz; one too long for :data:`SENTENCE_SECONDS` is said again, faster, and then cut.

    A person never says a phrase twice alike: rate, pitch and intonation vary far more than between the takes of a word.
    """
    tract = speaker.tract * rng.uniform(0.98, 1.02)
    rate = speaker.rate * rng.uniform(0.8, 1.2) / tract
    pitch = float(np.clip(speaker.pitch + rng.uniform(-12, 12), 0, 99))
    intonation = float(np.clip(speaker.intonation + rng.uniform(-20, 20), 0, 99))
    seed = int(rng.integers(2**31))
    longest = round((SENTENCE_SECONDS[1] - 2 * _SILENCE[1]) * SAMPLE_RATE) - _STEP

    def say(rate: float) -> Samples:
        return speak_dry(espeak, text, speaker.voice, rate=rate, pitch=pitch, intonation=intonation, tract=tract, seed=seed)

    spoken = say(rate)
    return spoken if len(spoken) <= longest else say(rate * len(spoken) / longest)[:longest]


def _record(spoken: Samples, speaker: Speaker, room: Samples, noise_db: Range, shortest: float,
            rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """A dry utterance as it is recorded: silence around it, in a room, with noise of its own, through the microphone.

    Its length is at least ``shortest`` seconds and a multiple of 50 ms: quick to transform, and exact in the manifest.
    """
    from scipy.signal import fftconvolve

    before, after = (round(rng.uniform(*_SILENCE) * SAMPLE_RATE) for _ in range(2))
    length = math.ceil(max(before + len(spoken) + after, shortest * SAMPLE_RATE) / _STEP) * _STEP
    heard = np.zeros(length)
    wet = fftconvolve(spoken, room)[:length - before]
    heard[before:before + len(wet)] = wet

    colour, snr = rng.uniform(0.0, 2.0), rng.uniform(*noise_db)
    noise = shape_spectrum(rng.standard_normal(length), lambda f: f ** (-colour / 2))
    heard += noise * np.sqrt(np.mean(spoken**2) * 10 ** (-snr / 10) / np.mean(noise**2))
    heard = shape_spectrum(heard, lambda f: 10 ** (speaker.tilt * np.log2(f / 1000) / 20))
    peak = FULL_SCALE * 10 ** ((speaker.level + rng.uniform(-3, 3)) / 20)
    samples: npt.NDArray[np.int16] = np.round(heard * peak / np.abs(heard).max()).astype(np.int16)
    return samples


def _pack(utterances: Iterator[npt.NDArray[np.int16]]) -> npt.NDArray[np.int16]:
    """Utterances as one array: their number and their lengths as 32-bit integers, then the samples."""
    clips = list(utterances)
    return np.concatenate([np.array([len(clips), *map(len, clips)], np.int32).view(np.int16), *clips])


def _unpack(packed: npt.NDArray[np.int16]) -> list[npt.NDArray[np.int16]]:
    """The inverse of :func:`_pack`."""
    count = int(packed[:2].view(np.int32)[0])
    lengths = packed[2:2 + 2 * count].view(np.int32)
    return np.split(packed[2 + 2 * count:], np.cumsum(lengths))[:-1]
