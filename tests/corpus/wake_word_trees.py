"""Tiny wake-word corpora in the exact layouts of HeySnips and the Qualcomm Keyword Speech Dataset: bursts of a sine."""

import json
import tarfile
import uuid
import zipfile
from pathlib import Path

import numpy as np

from edgekws.corpus import wake_words
from edgekws.corpus.audio import SAMPLE_RATE, encode_wav

V1, V2 = wake_words.ROOTS
SPLITS = tuple(wake_words.MANIFESTS.values())


def burst(seconds: float, frequency: float = 440.0, amplitude: float = 0.3) -> np.ndarray:
    """int16 of shape (samples,): silence, a sine in the middle third, silence."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sounding = (time > seconds / 3) & (time < 2 * seconds / 3)
    return np.round(amplitude * 32767 * np.sin(2 * np.pi * frequency * time) * sounding).astype(np.int16)


def heysnips(folder: Path, *, root: str = V2, speakers: dict[str, int] | None = None, positives: int = 3, negatives: int = 2,
             synthetic: bool = False) -> Path:
    """Write HeySnips' tree into ``folder`` and return its root folder.

    Each of the ``speakers`` of a split says ``positives`` wake words (440 Hz, 1.2 s, 1.3 s, …) and ``negatives`` other
    utterances (880 Hz, 2 s, 2.5 s, …). Worker ids count from 812345001, through the splits.
    """
    path, worker = folder / root, 812_345_000
    (path / "audio_files").mkdir(parents=True)
    for split in SPLITS:
        items = []
        for _ in range((speakers or {"train": 3, "dev": 2, "test": 2})[split]):
            worker += 1
            for take in range(positives + negatives):
                positive = take < positives
                seconds = round(1.2 + take / 10 if positive else 2 + (take - positives) / 2, 2)
                identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{worker}/{take}"))
                (path / "audio_files" / f"{identity}.wav").write_bytes(encode_wav(burst(seconds, 440 if positive else 880)))
                items.append({"duration": seconds, "worker_id": worker, "audio_file_path": f"audio_files/{identity}.wav",
                              "id": identity, "is_hotword": int(positive)})
        (path / f"{split}.json").write_text(json.dumps(items))
    if synthetic:
        (path / "SYNTHETIC").write_text("No person spoke here.\n")
    return path


def heysnapdragon(folder: Path, *, speakers: int = 5, takes: int = 3) -> Path:
    """Write the Qualcomm Keyword Speech Dataset's tree into ``folder`` and return its root folder.

    Speaker ``p<k>`` says "Hey Snapdragon" ``takes`` times, 1.5 s long, and "Hi Galaxy" once.
    """
    path = folder / "qualcomm_keyword_speech_dataset"
    for keyword, count in (("hey_snapdragon", takes), ("hi_galaxy", 1)):
        for speaker in range(speakers):
            (path / keyword / f"p{speaker}").mkdir(parents=True)
            for take in range(count):
                wav = encode_wav(burst(1.5, 300 + 10 * speaker + take))
                (path / keyword / f"p{speaker}" / f"{take}.wav").write_bytes(wav)
    (path / "LICENSE.pdf").write_bytes(b"%PDF")
    return path


def tarred(tree: Path, out: Path, *, manifests_last: bool = False) -> Path:
    """The tree as .tar or .tar.gz, as ``out``'s name says."""
    with tarfile.open(out, "w:gz" if out.suffix == ".gz" else "w") as tar:
        for path in sorted(tree.rglob("*"), key=lambda path: ((path.suffix == ".json") == manifests_last, path)):
            if path.is_file():
                tar.add(path, f"{tree.name}/{path.relative_to(tree).as_posix()}")
    return out


def zipped(tree: Path, out: Path) -> Path:
    """The tree as .zip, its files in reversed order."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(tree.rglob("*"), reverse=True):
            archive.write(path, f"{tree.name}/{path.relative_to(tree).as_posix()}")
    return out
