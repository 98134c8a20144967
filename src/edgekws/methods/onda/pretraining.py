"""Pre-training of a wake-word encoder with triplets of words (onda.md, sections 2.1 and 6).

An episode draws some words and some clips of each, moves the clips in time, adds noise, and takes one step of Adam on
the triplet loss of their embeddings: for each pair of a word, one clip of another word that is too near, drawn by chance.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.core.optimiser import Adam
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.corpus.archive import entries
from edgekws.corpus.audio import CLIP_SAMPLES, SAMPLE_RATE, is_audio
from edgekws.features.mfcc import mfcc
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.settings import Pretraining
from edgekws.methods.onda.words import Words, read_sound
from edgekws.models.encoder import Encoder

Floats = npt.NDArray[np.float32]

_COLOURS, _COLOUR_SECONDS = 9, 30  # made noises, from white (0) to brown (2), and the length of each
_NO_NOISE = "unpack DEMAND (*.wav) into it, or set onda.pretraining.noise to null to make noise"
_LOWEST = 20.0  # Hz, below which a made noise gets no louder
_PROTOTYPE_CLIPS, _QUERY_CLIPS = 5, 50  # of each held-out word, at most


# ------------------------------------------------------------------------------------------------ what is heard
def coloured_noises(generator: np.random.Generator) -> list[Floats]:
    """Half a minute each of noise whose power falls as 1 / f**exponent, exponents from 0 to 2; variance 1."""
    noises = []
    for exponent in np.linspace(0, 2, _COLOURS):
        white = generator.standard_normal(_COLOUR_SECONDS * SAMPLE_RATE)
        frequency = np.maximum(np.fft.rfftfreq(len(white), 1 / SAMPLE_RATE), _LOWEST)
        noise = np.fft.irfft(np.fft.rfft(white) * frequency ** (-exponent / 2), len(white))
        noises.append((noise / noise.std()).astype(np.float32))
    return noises


def recorded_noises(folder: Path) -> list[Floats]:
    """The recordings below a folder, at least a second each; of several microphones (DEMAND) those of ``ch01.wav``.

    They may have any format, rate and number of channels, and be links.

    Raises:
        UserError: There is no such folder, it holds no recording, or one cannot be read or is too short.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, remedy=_NO_NOISE)
    paths = [path for path, name in entries(folder) if is_audio(name) and not path.is_dir()]
    paths = [path for path in paths if path.name.lower() == "ch01.wav"] or paths
    if not paths:
        raise UserError("holds no noise recording", where=folder, remedy=_NO_NOISE)
    noises = [read_sound(path) for path in paths]
    for path, noise in zip(paths, noises, strict=True):
        if len(noise) < CLIP_SAMPLES:
            raise UserError("is shorter than a second", where=path, remedy="leave it out of the folder of noise")
    return noises


def power_ratio(snr_db: npt.NDArray[np.float64], as_released: bool) -> npt.NDArray[np.float64]:
    """Signal power over noise power; the base code computes 10**snr / 10 (quirk d)."""
    return 10**snr_db / 10 if as_released else 10 ** (snr_db / 10)


def augmented(waves: Floats, settings: Pretraining, noises: list[Floats], generator: np.random.Generator) -> Floats:
    """Each clip moved in time by chance (zeros come in), and most with noise at a ratio drawn from the range.

    Args:
        waves: [n, 16000]. Powers are those of the whole clip as moved; a silent one gets no noise.
        noises: Recordings that random seconds are taken from.
    """
    n, moved = len(waves), np.zeros_like(waves)
    shifts = generator.integers(-settings.time_shift, settings.time_shift + 1, n)
    noisy = generator.random(n) < settings.noise_probability
    ratios = power_ratio(generator.uniform(*settings.snr_db, n), settings.snr_as_released)
    sources = generator.integers(len(noises), size=n)
    places = generator.random(n)
    for wave, out, shift, ratio, source, place in zip(
            waves, moved, shifts, np.where(noisy, ratios, np.inf), sources, places, strict=True):
        out[max(shift, 0):CLIP_SAMPLES + min(shift, 0)] = wave[max(-shift, 0):CLIP_SAMPLES - max(shift, 0)]
        if ratio < np.inf:
            start = int(place * (len(noises[source]) - CLIP_SAMPLES + 1))
            noise = noises[source][start:start + CLIP_SAMPLES]
            power = noise @ noise
            if power > 0:
                out += np.sqrt(out @ out / (power * ratio), dtype=np.float32) * noise
    return moved


# ------------------------------------------------------------------------------------------------ triplets
def mine(distances: Tensor, labels: Tensor, margin: float, generator: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Triplets with random hard negatives: for each pair of a class one negative, drawn among those with a loss.

    Args:
        distances: Squared distances [n, n] of n embeddings.
        labels: Class of each, [n].
        margin: Of the loss max(d(anchor, positive) - d(anchor, negative) + margin, 0).

    Returns:
        Rows of anchors, positives and negatives, [triplets] each; an anchor comes before its positive. A pair whose
        every negative is far enough has no triplet.
    """
    distances = distances.detach()
    anchors, positives = torch.nonzero((labels[:, None] == labels).triu(1), as_tuple=True)
    limits = distances[anchors, positives] + margin
    hard = (distances[anchors] < limits[:, None]) & (labels[anchors][:, None] != labels)
    ranks = hard.cumsum(1, dtype=torch.int32)
    counts = ranks[:, -1]
    drawn = (torch.from_numpy(generator.random(len(counts))).to(counts.device) * counts).to(torch.int32) + 1
    negatives = torch.searchsorted(ranks, drawn[:, None])[:, 0]
    some = counts > 0
    return anchors[some], positives[some], negatives[some]


def triplet_loss(embeddings: Tensor, labels: Tensor, margin: float, generator: np.random.Generator) -> Tensor:
    """Mean loss of the mined triplets of embeddings [n, E] of length 1; 0 where there is none (section 2.1)."""
    distances = 2 - 2 * embeddings @ embeddings.T  # of vectors of length 1
    anchors, positives, negatives = mine(distances, labels, margin, generator)
    losses = functional.relu(distances[anchors, positives] - distances[anchors, negatives] + margin)
    return losses.sum() / max(len(losses), 1)


# ------------------------------------------------------------------------------------------------ training
def pretrain(encoder: Encoder, words: Words, settings: Pretraining, *, seed: int, episodes: int | None = None,
             device: torch.device | None = None, progress: bool = False,
             checkpoint: Checkpoint = NOWHERE) -> Encoder:
    """A copy of an encoder, trained on the training clips of words; in evaluation mode and on the CPU.

    Words are drawn anew in every episode, all alike however many clips they have; of a word with fewer than
    ``settings.clips`` all are taken.

    Args:
        seed: Of words, clips, shifts, noise and negatives. The bytes of the result depend on the threads too.
        episodes: Updates, where they are not ``settings.episodes``.
        device: Where the encoder is trained; clips get their noise and their MFCC on the CPU.
        checkpoint: Where an earlier start may have left off, and where this one's state goes now and then.

    Raises:
        UserError: Fewer than two words have two training clips, or the noise is missing.
    """
    generator = np.random.default_rng(derive_seed(seed, "onda pre-training"))
    by_word = _at_least_two(words.rows_by_word("train", least=2), "training")
    noises = recorded_noises(Path(settings.noise)) if settings.noise else coloured_noises(generator)
    total = settings.episodes if episodes is None else episodes
    encoder = copy.deepcopy(encoder).to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    weights = {name: weight.requires_grad_() for name, weight in encoder.named_parameters()}
    optimiser = Adam(weights, settings.learning_rate)
    first = 0
    if (found := checkpoint.found()) is not None:
        first = found["episodes"]
        encoder.load_state_dict(found["encoder"])
        optimiser.restore(found["optimiser"])
        generator.bit_generator.state = found["draws"]
    with tqdm(total=total, initial=first, unit=" episodes", desc="pre-training", disable=not progress) as bar:
        for episode in range(first, total):
            optimiser.rate = settings.learning_rate * 0.5 ** (episode * (settings.halvings + 1) // total)
            rows, labels = draw_episode(by_word, settings, generator)
            waves = augmented(words.waves(rows), settings, noises, generator)
            embeddings = encoder(mfcc(torch.from_numpy(waves)).to(device))
            loss = triplet_loss(embeddings, torch.from_numpy(labels).to(device), settings.margin, generator)
            gradients = torch.autograd.grad(loss, list(weights.values()))
            optimiser.step(dict(zip(weights, gradients, strict=True)))
            if checkpoint.due():
                checkpoint.save(f"episode {episode + 1} of {total}", {
                    "episodes": episode + 1, "encoder": encoder.state_dict(), "optimiser": optimiser.state(),
                    "draws": generator.bit_generator.state})
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            bar.update()
    trained: Encoder = encoder.cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    return trained


def draw_episode(by_word: list[npt.NDArray[np.int64]], settings: Pretraining,
                 generator: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the clips of one episode, and the number of each one's word."""
    chosen = generator.permutation(len(by_word))[:settings.classes]
    clips = [generator.permutation(by_word[word])[:settings.clips] for word in chosen]
    return np.concatenate(clips), np.repeat(chosen, [len(some) for some in clips])


# ------------------------------------------------------------------------------------------------ what was learnt
def separation(encoder: Encoder, words: Words, *, seed: int) -> dict[str, Any]:
    """How well an encoder tells held-out clips of the words apart, as they are, without noise.

    Of each word at most five clips make the prototype (their mean embedding, at length 1) and at most fifty others are
    asked for the nearest one.

    Returns:
        ``accuracy`` (percent of these that are nearest to their own word), ``held_out_words`` and ``held_out_clips``.

    Raises:
        UserError: Fewer than two words have two held-out clips.
    """
    generator = np.random.default_rng(derive_seed(seed, "onda separation"))
    by_word = _at_least_two(words.rows_by_word("dev", least=2), "held-out")
    embedder, prototypes, queries = Embedder(encoder), [], []
    for rows in by_word:
        chosen = generator.permutation(rows)[:_PROTOTYPE_CLIPS + _QUERY_CLIPS]
        taught = min(_PROTOTYPE_CLIPS, len(chosen) // 2)
        found = embedder.embed(mfcc(torch.from_numpy(words.waves(chosen))))
        prototypes.append(functional.normalize(found[:taught].mean(0), dim=0))
        queries.append(found[taught:])
    labels = torch.repeat_interleave(torch.arange(len(queries)), torch.tensor([len(some) for some in queries]))
    said = (torch.cat(queries) @ torch.stack(prototypes).T).argmax(1)
    return {"accuracy": 100 * float((said == labels).float().mean()), "held_out_words": len(by_word),
            "held_out_clips": len(labels)}


def word_features(words: Words, *, seed: int, classes: int = 80, clips: int = 30) -> tuple[Floats, npt.NDArray[np.int64]]:
    """MFCC [n, 47, 10] of some training clips of some words, as they are, and the number of each one's word, [n]."""
    generator = np.random.default_rng(derive_seed(seed, "onda word features"))
    by_word = _at_least_two(words.rows_by_word("train", least=2), "training")
    rows, labels = draw_episode(by_word, Pretraining(classes=classes, clips=clips), generator)
    return mfcc(torch.from_numpy(words.waves(rows))).numpy(), labels


def _at_least_two(by_word: list[npt.NDArray[np.int64]], kind: str) -> list[npt.NDArray[np.int64]]:
    if len(by_word) < 2:
        raise UserError(f"{len(by_word)} words have two {kind} clips; two are needed", where="packed words",
                        remedy="give a corpus with more words, or more speakers")
    return by_word
