"""Training of the arms by surrogate-gradient back-propagation through time (NeuEdge, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.core.optimiser import Adam
from edgekws.core.progress import tqdm
from edgekws.methods.neuedge.adaptive import AdaptiveRule
from edgekws.methods.neuedge.hardware_loss import HardwareLoss
from edgekws.methods.neuedge.settings import SpikingTraining
from edgekws.models.feedforward_lif import FeedForwardLIF, quantised
from edgekws.models.temporal_conv import TemporalConv
from edgekws.models.tensors import fill

Features = npt.NDArray[np.float32]
Encode = Callable[[Features, np.random.Generator], npt.NDArray[np.uint8]]
"""Features [clips, steps, bands] to spikes of the same shape; a stochastic code draws from the generator."""

_CHUNK = 256  # clips that are evaluated together
_MEMORY = 0.95  # of the running mean of activity over batches


class Clips(Protocol):
    """Features of N clips: an array, a memory map, or anything that is indexed like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any, /) -> Any:
        """Features [clips, steps, bands] at ``places``, an array of clip numbers."""


@dataclass
class Trained:
    """What training leaves beside the weights.

    Attributes:
        activity: Mean spike rate of each hidden layer over the last training batches.
        masks: Which weights are left, for each matrix, where some were cut.
        epochs: What each epoch measured.
    """

    activity: list[float]
    masks: list[Tensor] | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)


def time_major(spikes: npt.NDArray[np.uint8]) -> Tensor:
    """Spikes [clips, steps, units] of an encoder as float32 [steps, clips, units]."""
    return torch.from_numpy(np.ascontiguousarray(spikes.transpose(1, 0, 2))).float()


def augmented(features: Features, budget: SpikingTraining, generator: np.random.Generator) -> Features:
    """Each clip moved in time, over the bands and in level, by chance and up to what the budget says.

    What a move in time or over the bands lays bare is 0; levels stay from 0 to 1, and silence (0) stays silence.

    Args:
        features: [clips, steps, bands] from 0 to 1.
    """
    moved = features
    for axis, most in ((1, budget.time_shift), (2, budget.band_shift)):
        if most:
            padding = [(0, 0)] * 3
            padding[axis] = (most, most)
            starts = generator.integers(0, 2 * most + 1, len(moved))
            places = starts[:, None] + np.arange(moved.shape[axis])
            moved = np.take_along_axis(np.pad(moved, padding), np.expand_dims(places, 3 - axis), axis=axis)
    if budget.level_shift:
        shift = generator.uniform(-budget.level_shift, budget.level_shift, (len(moved), 1, 1)).astype(np.float32)
        moved = np.where(moved > 0, np.clip(moved + shift, 0, 1), moved)
    return moved


def followers(rule: AdaptiveRule, layers: int) -> list[Callable[[Tensor], Tensor]]:
    """The rule's running state for one batch: for each layer, activity of a step to the next threshold's factor."""
    def follower(layer: int) -> Callable[[Tensor], Tensor]:
        activity: Tensor | float = rule.targets[layer]

        def follow(rate: Tensor) -> Tensor:
            nonlocal activity
            activity = rule.follow(activity, rate)
            return rule.factor(activity, layer)

        return follow

    return [follower(layer) for layer in range(layers)]


def train_spiking(net: FeedForwardLIF, features: Clips, labels: npt.NDArray[np.int64], budget: SpikingTraining, *,
                  encode: Encode, seed: int, hardware: HardwareLoss | None = None,
                  adaptive: Callable[[Sequence[float]], AdaptiveRule] | None = None,
                  progress: str | None = None, checkpoint: Checkpoint = NOWHERE) -> Trained:
    """Train ``net`` in place: cross-entropy of the mean readout potential, and the hardware's loss beside it (Eq. 9).

    Currents are normalised over batch and time (:class:`Normalisation`) until the last epochs. Those train the network
    as it will be used: scales and offsets folded into weights and biases, and weights on 8 bits in the forward pass
    (the weights that are left behind are the full-precision ones underneath). With hardware the mapping is optimised after
    every epoch (Algorithm 1, line 12), and once on the way the blocks of weights that the hardware's loss has driven to
    nothing are cut for good: while currents are still normalised, since what is cut shifts them.

    Args:
        features: N clips.
        labels: [N].
        encode: Features to spikes; drawn anew for every batch.
        seed: Of the order of clips, the shifts, dropout and the code.
        hardware: The chip's loss and the mapping it refers to.
        adaptive: Thresholds that follow the activity in training too, from the targets they should have.
        progress: Label of a progress bar, if one is wanted.
        checkpoint: Where an earlier start may have left off, and where this one's state goes after each epoch.

    Raises:
        UserError: There is no clip.
    """
    generator = np.random.default_rng(seed)
    layers, last_phase = len(net.hidden), budget.epochs - math.floor(budget.quantised * budget.epochs)
    cut = None if hardware is None else min(math.ceil(hardware.settings.cut * budget.epochs), last_phase - 1)
    run, means = _Spiking(net, budget, hardware, generator), _Means()
    trained = run.trained
    if (found := checkpoint.found()) is not None:
        run.restore(found)

    for batch in _batches(len(labels), budget, generator, progress, first=len(trained.epochs)):
        if hardware is not None and batch.epoch == cut and trained.masks is None:
            trained.masks = hardware.prune([matrix.detach() for matrix in net.weights])
        if run.norm is not None and batch.epoch >= last_phase:
            run.fold()
        clips = augmented(np.asarray(features[batch.clips]), budget, generator)
        spikes = time_major(encode(clips, generator)).to(net.readout.device)
        kept = [matrix if trained.masks is None else matrix * trained.masks[i] for i, matrix in enumerate(net.weights)]
        scores, fired = net.scores(
            spikes, weights=kept if run.norm else [quantised(matrix) for matrix in kept], normalise=run.norm,
            follow=followers(adaptive(trained.activity), layers) if adaptive and trained.activity else None,
            dropout=_dropout(net, len(batch.clips), budget.dropout, generator))
        wanted = torch.from_numpy(labels[batch.clips]).to(scores.device)
        loss = functional.cross_entropy(scores, wanted)
        means.add(loss=loss.item(), accuracy=_percent_right(scores, wanted))
        per_clip = [spikes.sum(0).mean(0), *(layer.sum(0).mean(0) for layer in fired)]
        if hardware is not None:
            terms = hardware.loss(kept, per_clip)
            means.add(**{name: float(term.detach()) for name, term in terms.items()})
            loss = loss + hardware.weight * torch.stack(list(terms.values())).sum()
        _update(run.optimiser, run.weights, loss, budget, batch.share)

        run.counts = _running(run.counts, [count.detach() for count in per_clip])
        trained.activity = [float(count.mean()) / len(spikes) for count in run.counts[1:]]
        if batch.last:
            row: dict[str, Any] = {"epoch": batch.epoch, "quantised": run.norm is None, **means.take()}
            if hardware is not None:
                row["mapping"] = hardware.remap([matrix.detach() for matrix in kept], run.counts,
                                                seed=int(generator.integers(2**31)))
            trained.epochs.append(row)
            if checkpoint.due():
                checkpoint.save(f"epoch {batch.epoch + 1} of {budget.epochs}", run.state())

    with torch.no_grad():
        if run.norm is not None:
            run.norm.fold(net)
        for tensor in net.tensors().values():
            tensor.requires_grad_(False)
        for index, matrix in enumerate(net.weights):
            if trained.masks is not None:
                matrix.mul_(trained.masks[index])
    return trained


class Normalisation:
    """Batch normalisation of the input currents of the hidden layers over clips and steps (Ioffe & Szegedy 2015).

    Args:
        net: Whose layers are normalised.

    Attributes:
        gains: [neurons] of each layer; a new layer's current has a deviation of 4 thresholds, since a neuron takes a
            tenth of it in a step.
        offsets: [neurons] of each layer, from 0.
    """

    _EPSILON, _MOMENTUM, _GAIN = 1e-5, 0.1, 4.0

    def __init__(self, net: FeedForwardLIF) -> None:
        self.gains = [torch.full_like(bias, self._GAIN * net.settings.threshold) for bias in net.biases]
        self.offsets = [torch.zeros_like(bias) for bias in net.biases]
        self._means = [torch.zeros_like(bias) for bias in net.biases]
        self._variances = [torch.zeros_like(bias) for bias in net.biases]
        self._batches = 0

    def tensors(self) -> dict[str, Tensor]:
        """What is trained, by name."""
        return {**{f"gain.{index}": gain for index, gain in enumerate(self.gains)},
                **{f"offset.{index}": offset for index, offset in enumerate(self.offsets)}}

    def __call__(self, layer: int, current: Tensor) -> Tensor:
        """The normalised current of a layer, [steps, clips, neurons], by the batch's own statistics."""
        self._batches += layer == 0
        momentum = max(self._MOMENTUM, 1 / self._batches)  # the first batches are averaged
        return functional.batch_norm(current.flatten(0, 1), self._means[layer], self._variances[layer], self.gains[layer],
                                     self.offsets[layer], training=True, momentum=momentum,
                                     eps=self._EPSILON).view_as(current)

    def state(self) -> dict[str, Any]:
        """What is trained and the running statistics, for a checkpoint."""
        return {"gains": self.gains, "offsets": self.offsets, "means": self._means, "variances": self._variances,
                "batches": self._batches}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same layers."""
        own = self.state()
        self._batches = state["batches"]
        for name in ("gains", "offsets", "means", "variances"):
            for tensor, kept in zip(own[name], state[name], strict=True):
                tensor.copy_(kept)

    @torch.no_grad()
    def fold(self, net: FeedForwardLIF) -> None:
        """Put scales and offsets, by the running statistics, into the network's weights and biases."""
        for index, (weights, bias) in enumerate(zip(net.hidden, net.biases, strict=True)):
            scale = self.gains[index] * torch.rsqrt(self._variances[index] + self._EPSILON)
            weights.mul_(scale[:, None])
            bias.copy_(self.offsets[index] - self._means[index] * scale)


class _Spiking:
    """What the training of a spiking network changes as it goes, and so what a checkpoint of it holds.

    Attributes:
        norm: The normalisation of the currents, None once it is folded into the network.
        weights: What the optimiser works on, by name.
        counts: [neurons] running means of the spikes in a clip: encoder, hidden layers.
    """

    def __init__(self, net: FeedForwardLIF, budget: SpikingTraining, hardware: HardwareLoss | None,
                 generator: np.random.Generator) -> None:
        self._net, self._budget, self._hardware, self._generator = net, budget, hardware, generator
        self.trained = Trained(activity=[])
        self.counts: list[Tensor] = []
        self._use(Normalisation(net))

    def fold(self) -> None:
        """From here on train the network as it will be used, with a fresh optimiser."""
        assert self.norm is not None
        self.norm.fold(self._net)
        self._use(None)

    def _use(self, norm: Normalisation | None) -> None:
        self.norm, self.weights = norm, self._net.tensors()
        if norm is not None:
            matrices = {name: tensor for name, tensor in self.weights.items() if not name.startswith("bias.")}
            self.weights = {**matrices, **norm.tensors()}
        self.optimiser = _begin(self.weights, self._budget)

    def state(self) -> dict[str, Any]:
        """The state after an epoch."""
        return {"net": self._net.tensors(), "norm": None if self.norm is None else self.norm.state(),
                "optimiser": self.optimiser.state(), "counts": self.counts, "activity": self.trained.activity,
                "masks": self.trained.masks, "epochs": self.trained.epochs,
                "hardware": None if self._hardware is None else self._hardware.state(),
                "draws": self._generator.bit_generator.state}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same training."""
        if state["norm"] is None:
            self._use(None)
        elif self.norm is not None:
            self.norm.restore(state["norm"])
        if self._hardware is not None:
            self._hardware.restore(state["hardware"])
        fill(self._net.tensors(), state["net"])
        self.optimiser.restore(state["optimiser"])
        there = self._net.readout.device
        self.counts = [count.to(there) for count in state["counts"]]
        self.trained.masks = None if state["masks"] is None else [mask.to(there) for mask in state["masks"]]
        self._generator.bit_generator.state, self.trained.activity = state["draws"], state["activity"]
        self.trained.epochs[:] = state["epochs"]


def train_conventional(net: TemporalConv, features: Clips, labels: npt.NDArray[np.int64], budget: SpikingTraining, *,
                       seed: int, progress: str | None = None, checkpoint: Checkpoint = NOWHERE) -> Trained:
    """Train the conventional net in place with the same budget, in floating point to the end.

    Raises:
        UserError: There is no clip.
    """
    generator = np.random.default_rng(seed)
    weights = net.parameters()
    optimiser = _begin(weights, budget)
    trained, means = Trained(activity=[]), _Means()
    if (found := checkpoint.found()) is not None:
        with torch.no_grad():
            fill(weights, found["weights"])
        optimiser.restore(found["optimiser"])
        generator.bit_generator.state, trained.epochs = found["draws"], found["epochs"]
    for batch in _batches(len(labels), budget, generator, progress, first=len(trained.epochs)):
        clips = torch.from_numpy(augmented(np.asarray(features[batch.clips]), budget, generator))
        scores = net.scores(clips.to(net.readout.device))
        wanted = torch.from_numpy(labels[batch.clips]).to(scores.device)
        loss = functional.cross_entropy(scores, wanted)
        means.add(loss=loss.item(), accuracy=_percent_right(scores, wanted))
        _update(optimiser, weights, loss, budget, batch.share)
        if batch.last:
            trained.epochs.append({"epoch": batch.epoch, **means.take()})
            if checkpoint.due():
                checkpoint.save(f"epoch {batch.epoch + 1} of {budget.epochs}", {
                    "weights": weights, "optimiser": optimiser.state(), "draws": generator.bit_generator.state,
                    "epochs": trained.epochs})
    for tensor in weights.values():
        tensor.requires_grad_(False)
    return trained


@torch.no_grad()
def evaluate(net: FeedForwardLIF, spikes: npt.NDArray[np.uint8], *, weights: Sequence[Tensor] | None = None,
             adaptive: AdaptiveRule | None = None) -> tuple[npt.NDArray[np.int64], list[float]]:
    """The network in floating point on encoder spikes [clips, steps, inputs].

    Returns:
        The word of each clip, [clips], and the mean spike rate of each hidden layer.
    """
    said, fired = [], [0.0] * len(net.hidden)
    for start in range(0, len(spikes), _CHUNK):
        some = spikes[start:start + _CHUNK]
        follow = followers(adaptive, len(net.hidden)) if adaptive else None
        scores, layers = net.scores(time_major(some), weights=weights, follow=follow)
        said.append(scores.argmax(1).numpy())
        fired = [total + float(layer.mean()) * len(some) / len(spikes) for total, layer in zip(fired, layers,
                                                                                              strict=True)]
    return np.concatenate(said), fired


class _Batch(NamedTuple):
    epoch: int
    share: float  # of all updates, already made
    clips: npt.NDArray[np.int64]
    last: bool  # of its epoch


def _batches(clips: int, budget: SpikingTraining, generator: np.random.Generator,
             progress: str | None, first: int = 0) -> Iterator[_Batch]:
    if clips == 0:
        raise UserError("there are no clips to train on", where="training set", remedy="check the corpus and the split")
    batches = math.ceil(clips / budget.batch_size)
    total = budget.epochs * batches
    with tqdm(total=total, initial=first * batches, desc=progress, unit="batch", disable=progress is None) as bar:
        for epoch in range(first, budget.epochs):
            order = generator.permutation(clips)
            for number in range(batches):
                chosen = order[number * budget.batch_size:(number + 1) * budget.batch_size]
                yield _Batch(epoch, (epoch * batches + number) / total, np.sort(chosen), number == batches - 1)
                bar.update()


def _begin(weights: dict[str, Tensor], budget: SpikingTraining) -> Adam:
    for tensor in weights.values():
        tensor.requires_grad_()
    return Adam(weights, budget.learning_rate, decay=budget.weight_decay)


def _update(optimiser: Adam, weights: dict[str, Tensor], loss: Tensor, budget: SpikingTraining, share: float) -> None:
    """One step of Adam on the clipped gradient, at the rate of a cosine ``share`` of the way down."""
    gradients = torch.autograd.grad(loss, list(weights.values()))
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    if norm > budget.clip:
        gradients = tuple(gradient * (budget.clip / norm) for gradient in gradients)
    low, high = budget.final_learning_rate, budget.learning_rate
    optimiser.rate = low + (high - low) * (1 + math.cos(math.pi * share)) / 2
    optimiser.step(dict(zip(weights, gradients, strict=True)))


def _dropout(net: FeedForwardLIF, clips: int, share: float, generator: np.random.Generator) -> list[Tensor] | None:
    """Factors that leave out ``share`` of each layer's neurons for a whole clip, and make up for it in the others."""
    if share == 0:
        return None
    return [torch.from_numpy((generator.random((clips, len(weights))) >= share).astype(np.float32) / (1 - share))
            .to(weights.device) for weights in net.hidden]


def _percent_right(scores: Tensor, wanted: Tensor) -> float:
    return 100 * (int((scores.argmax(1) == wanted).sum()) / len(wanted))


def _running(means: list[Tensor], new: list[Tensor]) -> list[Tensor]:
    if not means:
        return new
    return [_MEMORY * mean + (1 - _MEMORY) * value for mean, value in zip(means, new, strict=True)]


class _Means:
    """Means by name, since they were last taken."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        means = {name: float(np.mean(values)) for name, values in self._values.items()}
        self._values.clear()
        return means
