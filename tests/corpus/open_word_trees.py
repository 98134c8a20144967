"""Tiny corpora of open wake words: noises in the layouts of Picovoice's benchmark and of LibriSpeech."""

import io
import tarfile
from pathlib import Path

import numpy as np
import soundfile

SPEAKERS, TAKES = ("ann", "ben", "cem", "dor"), 10
KEYWORDS = ("view glass", "jarvis")


def noise(seed: int, seconds: float = 1.5) -> np.ndarray:
    """int16 [samples] that no other seed resembles, quiet at both ends."""
    samples = round(seconds * 16_000)
    sound = np.random.default_rng(seed).standard_normal(samples) * np.hanning(samples) ** 2
    return np.round(4000 * sound).astype(np.int16)


def take(keyword: int, speaker: int, number: int) -> np.ndarray:
    return noise(10_000 * keyword + 100 * speaker + number)


def shifted(sound: np.ndarray, samples: int) -> np.ndarray:
    """The same take, as if the recorder had been started so many samples earlier."""
    return np.concatenate([np.zeros(samples, np.int16), sound[:-samples]])


def picovoice(folder: Path, *, takes: int = TAKES, copies: bool = True) -> tuple[Path, Path]:
    """A clone of the benchmark and the table of its speakers; ``ann`` replays her first take of each word, shifted."""
    lines = ["file,keyword,speaker,copy_of_another_take,sound"]
    for word, keyword in enumerate(KEYWORDS):
        place = folder / "wake-word-benchmark" / "audio" / keyword
        place.mkdir(parents=True)
        for speaker, name in enumerate(SPEAKERS):
            for number in range(takes):
                soundfile.write(place / f"{name}{number}.wav", take(word, speaker, number), 16_000)
                sound = "check" if name == "dor" else "yes"
                lines.append(f"{keyword}/{name}{number}.wav,{keyword.replace(' ', '_')},{name},0,{sound}")
        if copies:
            soundfile.write(place / "again.wav", shifted(take(word, 0, 0), 700), 16_000)
            lines.append(f"{keyword}/again.wav,{keyword.replace(' ', '_')},ann,1,yes")
    soundfile.write(folder / "wake-word-benchmark" / "audio" / "multiple_keywords.wav", noise(1), 16_000)
    (folder / "wake-word-benchmark" / ".git").mkdir()
    (folder / "wake-word-benchmark" / ".git" / "index").write_bytes(b"not a recording")
    table = folder / "speakers.csv"
    table.write_text("\n".join(lines) + "\n")
    return folder / "wake-word-benchmark", table


def librispeech(folder: Path, *, speakers: int = 4, utterances: int = 3, suffix: str = "flac") -> Path:
    """test-clean.tar.gz: ``LibriSpeech/test-clean/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac``."""
    path = folder / "test-clean.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for speaker in range(speakers):
            for utterance in range(utterances):
                buffer = io.BytesIO()
                kind = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {"format": "FLAC"}
                soundfile.write(buffer, noise(900_000 + 100 * speaker + utterance, 4.0), 16_000, **kind)
                name = f"LibriSpeech/test-clean/{speaker + 61}/70/{speaker + 61}-70-{utterance:04d}.{suffix}"
                entry = tarfile.TarInfo(name)
                entry.size = len(buffer.getvalue())
                archive.addfile(entry, io.BytesIO(buffer.getvalue()))
    return path
