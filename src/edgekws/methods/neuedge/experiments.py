"""The arms of NeuEdge's ablation, and the encoder swept: what is trained on which code, with what beside it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.methods.neuedge import chip, encoding, information, training
from edgekws.methods.neuedge.choices import NeuEdgeArm
from edgekws.methods.neuedge.hardware_loss import HardwareLoss
from edgekws.methods.neuedge.settings import AdaptiveThreshold, Encoder, EncodingGrid, NeuEdge
from edgekws.models import feedforward_lif, temporal_conv
from edgekws.models.feedforward_lif import FeedForwardLIF
from edgekws.models.temporal_conv import TemporalConv
from edgekws.neurons.adaptive import AdaptiveRule

Features = npt.NDArray[np.float32]
Code = Literal["rate", "lif", "hybrid"]

ARMS: tuple[NeuEdgeArm, ...] = get_args(NeuEdgeArm)
CODES: dict[NeuEdgeArm, Code] = {"rate": "rate", "lif": "lif", "hybrid": "hybrid", "mapped": "hybrid", "full": "hybrid"}
"""The code of each spiking arm."""

_CHUNK = 512  # clips that are encoded together, so that a memory map is never read whole
_INFORMED = 8192  # training clips from which information is estimated, at most: few clips leave a bias


@dataclass(frozen=True)
class Corpus:
    """Features [clips, steps, bands] of every clip of an index, and the words in the order of their labels."""

    features: Features
    index: pd.DataFrame
    words: list[str]

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Clips of a split; those of the test split once where a recording repeats."""
        chosen = self.index["split"] == split
        if split == "test":
            chosen &= self.index["repeat_of"] == ""
        rows: npt.NDArray[np.int64] = np.flatnonzero(chosen.to_numpy())
        return rows

    def labels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Labels of some clips."""
        places = {word: label for label, word in enumerate(self.words)}
        return np.array([places[word] for word in self.index["word"].to_numpy()[rows]], dtype=np.int64)


class Taken:
    """Some clips of a memory map, read when they are asked for."""

    def __init__(self, features: Features, rows: npt.NDArray[np.int64]) -> None:
        self._features, self._rows = features, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, places: Any, /) -> Any:
        return self._features[self._rows[places]]


def encoder_of(code: Code, encoder: Encoder) -> Encoder:
    """The encoder's settings under a code: the plain LIF code is the hybrid one without modulation."""
    return encoder.model_copy(update={"alpha": 0.0}) if code == "lif" else encoder


def encode(features: Features, code: Code, encoder: Encoder,
           generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Spikes [clips, steps, units] of features [clips, steps, bands]; only the rate code draws from the generator."""
    return encode_driven(encoding.channels(features, encoder), code, encoder, generator)


def encode_driven(driven: Features, code: Code, encoder: Encoder,
                  generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """:func:`encode` of what the units are driven by, [clips, steps, units]."""
    if code == "rate":
        return encoding.bernoulli(driven, generator)
    return encoding.hybrid(driven, encoder_of(code, encoder))


def encode_rows(features: Features, rows: npt.NDArray[np.int64], code: Code, encoder: Encoder, *,
                seed: int) -> npt.NDArray[np.uint8]:
    """Spikes of some clips of a memory map; the rate code is drawn once, by the seed."""
    generator = np.random.default_rng(derive_seed(seed, "rate code"))
    return np.concatenate([encode(np.asarray(features[rows[start:start + _CHUNK]]), code, encoder, generator)
                           for start in range(0, len(rows), _CHUNK)])


def train_arm(corpus: Corpus, arm: NeuEdgeArm, chosen: NeuEdge, *, seed: int, device: torch.device | None = None,
              progress: bool = False,
              checkpoint: Checkpoint = NOWHERE) -> tuple[FeedForwardLIF | TemporalConv, dict[str, Any]]:
    """Train one arm on the training split.

    * ``rate``: the Bernoulli code. ``lif``: the encoder without modulation. ``hybrid``: with it.
    * ``mapped``: hybrid, with the hardware's loss and the mapping optimised every epoch.
    * ``full``: mapped, with thresholds that adapt while training too.
    * ``ann``: the conventional net on the features themselves.

    Returns:
        The network, on the CPU, and what is known of it: ``activity``, ``epochs``, ``validation_accuracy``, ``mapping``.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, f"neuedge {arm} weights"))
    train_seed = derive_seed(seed, f"neuedge {arm} training")
    rows = corpus.rows("train")
    clips, labels, bands = Taken(corpus.features, rows), corpus.labels(rows), corpus.features.shape[2]
    label = f"{arm}, seed {seed}" if progress else None
    net: FeedForwardLIF | TemporalConv
    if arm == "ann":
        net = TemporalConv(chosen.conventional, inputs=bands, outputs=len(corpus.words), generator=generator)
        net.to(device)
        trained = training.train_conventional(net, clips, labels, chosen.training, seed=train_seed, progress=label,
                                              checkpoint=checkpoint)
        net.to("cpu")
        return net, {"activity": [], "epochs": trained.epochs, "mapping": None,
                     "validation_accuracy": _accuracy(corpus, "validation", _conventional(net))}
    units = encoding.units_of(bands, chosen.encoder)
    net = FeedForwardLIF(chosen.network, inputs=units, outputs=len(corpus.words), generator=generator)
    net.to(device)
    hardware = None
    if arm in ("mapped", "full"):
        warm_up = math.ceil(chosen.hardware.warm_up * chosen.training.epochs)
        hardware = HardwareLoss(chosen.hardware, [units, *chosen.network.hidden, len(corpus.words)],
                                chip.chip(chosen.hardware.chip), warm_up=warm_up, ramp=warm_up, device=device)
    code = CODES[arm]
    trained = training.train_spiking(
        net, clips, labels, chosen.training, seed=train_seed, hardware=hardware, progress=label, checkpoint=checkpoint,
        encode=lambda features, draws: encode(features, code, chosen.encoder, draws),
        adaptive=rule_maker(chosen.adaptive, chosen.adaptive.chosen) if arm == "full" else None)
    net.to("cpu")
    rule = rule_maker(chosen.adaptive, chosen.adaptive.chosen)(trained.activity) if arm == "full" else None

    draws = np.random.default_rng(derive_seed(seed, "rate code"))

    def words(features: Features) -> npt.NDArray[np.int64]:
        assert isinstance(net, FeedForwardLIF)
        return training.evaluate(net, encode(features, code, chosen.encoder, draws), adaptive=rule)[0]

    return net, {"activity": trained.activity, "epochs": trained.epochs,
                 "mapping": hardware.mapping.to_json() if hardware and hardware.mapping else None,
                 "validation_accuracy": _accuracy(corpus, "validation", words)}


def rule_maker(adaptive: AdaptiveThreshold, gamma: float,
               sign: Literal[1, -1] = 1) -> Callable[[Sequence[float]], AdaptiveRule]:
    """From target activities to the rule of Eq. 11 with this gain."""
    return lambda targets: AdaptiveRule(gamma=gamma, targets=tuple(targets), decay=adaptive.decay, clamp=adaptive.clamp,
                                        sign=sign)


def write_arm(path: Path, net: FeedForwardLIF | TemporalConv, *, words: Sequence[str], about: dict[str, Any],
              provenance: dict[str, Any]) -> None:
    """Write a trained arm."""
    save = feedforward_lif.save_network if isinstance(net, FeedForwardLIF) else temporal_conv.save_network
    save(path, net, vocabulary=words, about=about, provenance=provenance)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ the encoder swept
def coding(corpus: Corpus, code: Code, encoder: Encoder, *, bins: int, seed: int) -> information.Information:
    """Information in a code's spikes about its input, on training clips: of all splits the largest by far."""
    rows = corpus.rows("train")
    rows = np.sort(np.random.default_rng(derive_seed(seed, "information")).permutation(rows)[:_INFORMED])
    driven = encoding.channels(np.asarray(corpus.features[rows]), encoder)
    spikes = encode_driven(driven, code, encoder, np.random.default_rng(derive_seed(seed, "rate code")))
    return information.coding_efficiency(driven, spikes, bins=bins, seed=seed, window=min(information.WINDOW, driven.shape[1]))


def grid_points(grid: EncodingGrid) -> list[tuple[Code, float | None, float | None]]:
    """Code, base threshold and alpha of each point: the rate code, then the whole grid."""
    swept = itertools.product(grid.base_threshold, grid.alpha)
    return [("rate", None, None), *(("hybrid", base, alpha) for base, alpha in swept)]


def sweep_encoder(corpus: Corpus, chosen: NeuEdge, *, seed: int, device: torch.device | None = None,
                  progress: bool = False, checkpoint: Checkpoint = NOWHERE) -> Iterator[dict[str, Any]]:
    """Spikes and accuracy at every point of the grid, on the validation split, and information on the training split.

    The net at each point is the plain one, trained for the grid's own number of epochs.
    """
    rows = corpus.rows("validation")
    budget = chosen.training.model_copy(update={"epochs": chosen.grid.epochs})

    def measure(point: tuple[Code, float | None, float | None]) -> dict[str, Any]:
        code, base, alpha = point
        swept = {} if base is None else {"base_threshold": base, "alpha": alpha}
        here = chosen.model_copy(update={"training": budget, "encoder": chosen.encoder.model_copy(update=swept)})
        spikes = encode_rows(corpus.features, rows, code, here.encoder, seed=seed)
        found = coding(corpus, code, here.encoder, bins=chosen.grid.bins, seed=seed)
        _, about = train_arm(corpus, "rate" if code == "rate" else "hybrid", here, seed=seed, device=device)
        return {"code": code, "base_threshold": base, "alpha": alpha, "clips": len(rows),
                "spikes_per_clip": float(spikes.sum(dtype=np.int64)) / len(spikes), "units": int(spikes.shape[2]),
                "steps": int(spikes.shape[1]), "bits": found.bits, "plug_in": found.plug_in, "control": found.control,
                "spikes_per_window": found.spikes,
                "bits_per_spike": found.bits_per_spike if found.spikes else None,
                "accuracy": about["validation_accuracy"], "activity": about["activity"]}

    points = grid_points(chosen.grid)
    yield from tqdm(checkpoint.each(points, measure, of="points"), total=len(points), desc="encoder", unit="point",
                    disable=not progress)


def encoding_file(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the grid tells: each point against the rate code, and whether alpha adds spikes or saves them."""
    rate = rows[0]
    grid = [{**row, "spike_reduction": rate["spikes_per_clip"] / max(row["spikes_per_clip"], 1e-9),
             "accuracy_change": row["accuracy"] - rate["accuracy"],
             "efficiency_gain": (row["bits_per_spike"] / rate["bits_per_spike"]
                                 if row["bits_per_spike"] and rate["bits_per_spike"] else None)}
            for row in rows[1:]]
    rising, total, example = 0, 0, ""
    for base in dict.fromkeys(row["base_threshold"] for row in grid):
        spikes = [row["spikes_per_clip"] for row in sorted((row for row in grid if row["base_threshold"] == base),
                                                           key=lambda row: row["alpha"])]
        rising += sum(after > before for before, after in itertools.pairwise(spikes))
        total += len(spikes) - 1
        example = example or f"at a base threshold of {base:g} {' -> '.join(f'{count:.0f}' for count in spikes)} spikes a clip"
    fewer = {"holds": rising == 0 and total > 0,
             "why": f"a larger alpha gives more spikes in {rising} of {total} steps of the grid ({example})"}
    return {"rate": rate, "grid": grid, "checks": {"alpha_saves_spikes": fewer}}


def _conventional(net: TemporalConv) -> Callable[[Features], npt.NDArray[np.int64]]:
    @torch.no_grad()
    def words(features: Features) -> npt.NDArray[np.int64]:
        scores: torch.Tensor = net(torch.from_numpy(features))
        return scores.argmax(1).numpy()

    return words


def _accuracy(corpus: Corpus, split: str, words: Callable[[Features], npt.NDArray[np.int64]]) -> float:
    """Per cent of a split's clips whose word is said right.

    Raises:
        UserError: The split is empty.
    """
    rows = corpus.rows(split)
    if not len(rows):
        raise UserError(f"has no clip of the {split} split", where="corpus",
                        remedy="take a corpus with speakers of every split")
    right = [words(np.asarray(corpus.features[some])) == corpus.labels(some)
             for some in np.array_split(rows, max(1, len(rows) // _CHUNK))]
    return 100 * float(np.concatenate(right).mean())
