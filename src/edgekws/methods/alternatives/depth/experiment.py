"""Traces Propagation on deeper nets, beside back-propagation through time, DECOLLE and TESS on the same nets.

Nets of one to four recurrent layers hear the log-mel frames one after another; a VGG-like net sees the picture of a clip as a
constant current for some steps. Every rule starts from the same weights and has the same passes over the same clips, and its
learning rate is the best of the same grid for the validation split. The local rules update at each time step, back-propagation
once for each batch, as in the papers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.memory import LiveTensors
from edgekws.core.optimiser import Adam
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.features.mfcc import BANDS, FRAMES, RANGE_DB
from edgekws.features.normalise import set_moments
from edgekws.methods.alternatives.depth.convolutional import DecolleConv, TessConv
from edgekws.methods.alternatives.local_rules import decolle, tess
from edgekws.methods.alternatives.settings import Depth, DepthRule
from edgekws.methods.traces_propagation.convolutional import ConvolutionalRule
from edgekws.methods.traces_propagation.rule import best_rule, make_rule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.models.spiking_conv import SpikingConv
from edgekws.protocol.clips import Clips, Corpus
from edgekws.protocol.settings import Training
from edgekws.protocol.tasks import training_rows
from edgekws.protocol.training import batches

Net = RecurrentLIF | SpikingConv
CONVOLUTION = "vgg"
"""Name of the convolutional net; the recurrent ones are named by their layers, "1" …"""

_MEASURED_CLIPS = 8  # in the batch whose memory is counted


class Rule(Protocol):
    """A local rule on a net: :class:`edgekws.protocol.step_rule.StepRule` or its convolutional twin."""

    @property
    def parameters(self) -> Mapping[str, Tensor]: ...

    def begin(self, labels: Tensor) -> None: ...

    def step(self, frame: Tensor) -> Mapping[str, Tensor]: ...


class Pictures:
    """Mel levels as the nets of this bench take them.

    Args:
        mean, deviation: Of each band over the training clips, above a clip's floor, [40].
    """

    def __init__(self, mean: Tensor, deviation: Tensor, settings: Depth) -> None:
        self.mean, self.deviation, self.settings = mean, deviation, settings

    def frames(self, levels: Tensor) -> Tensor:
        """[clips, 47, 80], two frames of 10 ms a step, of levels [clips, 94, 40]."""
        floor = levels.amax((1, 2), keepdim=True) - RANGE_DB
        return ((torch.maximum(levels, floor) - self.mean) / self.deviation).reshape(len(levels), FRAMES, 2 * BANDS)

    def shown(self, levels: Tensor) -> Tensor:
        """[clips, steps, 1, height, width]: the same averaged picture at each step."""
        whole = self.frames(levels).reshape(len(levels), 1, 2 * FRAMES, BANDS)
        return adaptive_avg_pool2d(whole, self.settings.picture)[:, None].expand(-1, self.settings.presented, -1, -1, -1)

    def of(self, net: Net, levels: Tensor) -> Tensor:
        """What ``net`` takes."""
        return self.shown(levels) if isinstance(net, SpikingConv) else self.frames(levels)


def fresh(name: str, settings: Depth, network: Network, *, outputs: int, seed: int) -> Net:
    """An untrained net: "1", "2" … hidden layers, or the convolutional one; deterministic in ``seed``."""
    generator = torch.Generator().manual_seed(derive_seed(seed, f"weights {name}"))
    if name == CONVOLUTION:
        assert settings.convolution is not None
        return SpikingConv(settings.convolution, shape=(1, *settings.picture), outputs=outputs, generator=generator)
    chosen = network.model_copy(update={"hidden": [settings.neurons] * int(name), "spare_outputs": 0})
    return RecurrentLIF(chosen, inputs=2 * BANDS, outputs=outputs, generator=generator)


def local_rule(name: DepthRule, net: Net, *, seed: int) -> Rule | None:
    """The local rule of that name; None for back-propagation."""
    if name == "bptt":
        return None
    if isinstance(net, SpikingConv):
        if name == "traces_propagation":
            return ConvolutionalRule(net)
        return DecolleConv(net, seed=seed) if name == "decolle" else TessConv(net, seed=seed)
    if name == "traces_propagation":
        return make_rule(net, best_rule(net.settings))
    return decolle.Decolle(net, seed=seed) if name == "decolle" else tess.Tess(net, seed=seed)


def auxiliary(rule: Rule | None, net: Net) -> dict[str, int]:
    """Fixed weights that a rule needs beside the net's: all, those of layers above the first, recurrent ones (R_S)."""
    if rule is None:
        return {"all": 0, "above_first": 0, "recurrent": 0}
    if isinstance(rule, ConvolutionalRule):
        return {"all": rule.auxiliary(), "above_first": 0, "recurrent": 0}
    if projections := getattr(rule, "projections", None):
        return {"all": sum(each.numel() for each in projections),
                "above_first": sum(each.numel() for each in projections[1:]), "recurrent": 0}
    assert isinstance(net, RecurrentLIF)
    whole = net.target.weight
    return {"all": whole.numel(), "above_first": 0, "recurrent": whole.numel() - len(whole) * net.outputs}


def learn(net: Net, rule: Rule | None, frames: Tensor, labels: Tensor, optimiser: Adam) -> None:
    """One batch: an update at each time step by a local rule, or one by back-propagation through time."""
    if rule is None:
        weights = net.trained
        loss = cross_entropy(net(frames), labels)
        optimiser.step(dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True)))
        return
    with torch.no_grad():
        rule.begin(labels)
        for frame in frames.unbind(1):
            optimiser.step(rule.step(frame))


def train(net: Net, rule: Rule | None, clips: Clips, pictures: Pictures, budget: Training, *, seed: int) -> None:
    """Train ``net`` in place; rates fall along a cosine."""
    optimiser = Adam(net.trained, budget.learning_rate)
    for batch, labels in batches(clips, clips.labels, budget, optimiser, net.trained, outputs=net.outputs, check=net.check,
                                 seed=seed, prepare=lambda levels: pictures.of(net, levels)):
        learn(net, rule, batch, labels, optimiser)
        del batch


@torch.no_grad()
def accuracy(net: Net, clips: Clips, pictures: Pictures) -> float:
    """Share of the clips whose word is found, in percent."""
    found = [net(pictures.of(net, clips[np.arange(start, min(start + 128, len(clips)))])).argmax(1)
             for start in range(0, len(clips), 128)]
    return 100.0 * float((torch.cat(found).numpy() == clips.labels).mean())


def memory(net: Net, rule: Rule | None, frames: Tensor, labels: Tensor) -> int:
    """Bytes of all tensors at their most while one batch is learnt from, the net's and the optimiser's included."""
    with LiveTensors() as counted:
        counted.see(frames)
        for tensor in net.state_dict().values():
            counted.see(tensor)
        learn(net, rule, frames, labels, Adam(net.trained, 1e-3))
    return int(counted.peak)


def run(corpus: Corpus, settings: Depth, network: Network, *, excluded: list[str], seed: int, progress: bool = False,
        checkpoint: Checkpoint = NOWHERE) -> list[dict[str, Any]]:
    """Every net by every rule: rows with ``net``, ``rule``, ``rates`` (validation accuracy by rate), ``test_accuracy`` …"""
    draw = np.random.default_rng(derive_seed(seed, "depth clips"))

    def some(rows: np.ndarray, most: int) -> np.ndarray:
        return np.sort(draw.permutation(rows)[:most])

    scale, index = torch.ones(BANDS), corpus.index
    rows = some(training_rows(index, excluded=excluded, balanced=False, seed=seed), settings.clips)
    train_clips = corpus.clips(rows, frozen_scale=scale)
    validation, test = (corpus.clips(some(index[index.split == split]["clip"].to_numpy(), settings.held_out), frozen_scale=scale)
                        for split in ("validation", "test"))
    mean, deviation = (torch.from_numpy(moment) for moment in set_moments(corpus.features, rows))
    pictures = Pictures(mean, deviation, settings)
    nets = [*map(str, settings.layers), *([CONVOLUTION] if settings.convolution else [])]
    outputs = len(corpus.vocabulary)

    def point(where: tuple[str, DepthRule, float]) -> dict[str, Any]:
        name, rule, rate = where
        net = fresh(name, settings, network, outputs=outputs, seed=seed)
        local = local_rule(rule, net, seed=derive_seed(seed, "fixed readouts"))
        budget = Training(learning_rate=rate, epochs=settings.epochs, batch_size=settings.batch_size)
        train(net, local, train_clips, pictures, budget, seed=derive_seed(seed, "depth batches"))
        return {"net": name, "rule": rule, "learning_rate": rate, "validation": accuracy(net, validation, pictures),
                "test": accuracy(net, test, pictures)}

    swept = list(itertools.product(nets, settings.rules, sorted(settings.learning_rate)))
    points = list(tqdm(checkpoint.each(swept, point, of="trainings"), total=len(swept), desc=f"depth, seed {seed}",
                       unit="training", disable=not progress))
    found = []
    for name, rule in itertools.product(nets, settings.rules):
        tried = [each for each in points if (each["net"], each["rule"]) == (name, rule)]
        best = max(tried, key=lambda each: each["validation"])
        net = fresh(name, settings, network, outputs=outputs, seed=seed)
        local = local_rule(rule, net, seed=0)
        few = np.arange(min(_MEASURED_CLIPS, len(train_clips)))
        found.append({
            "net": name, "rule": rule, "learning_rate": best["learning_rate"], "test_accuracy": best["test"],
            "validation_accuracy": best["validation"],
            "rates": {f"{each['learning_rate']:g}": each["validation"] for each in tried},
            "weights": sum(tensor.numel() for tensor in net.trained.values()), "auxiliary": auxiliary(local, net),
            "memory": memory(net, local, pictures.of(net, train_clips[few]).contiguous(),
                             torch.as_tensor(train_clips.labels[few]))})
    return found
