"""Training of the arms by surrogate-gradient back-propagation through time (NeuEdge, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_linear_bn_weights

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.optimiser import Adam
from edgekws.methods.neuedge.hardware_loss import HardwareLoss
from edgekws.methods.neuedge.settings import SpikingTraining
from edgekws.models.feedforward_lif import FeedForwardLIF, quantised
from edgekws.models.temporal_conv import TemporalConv
from edgekws.neurons.adaptive import AdaptiveRule, Follower
from edgekws.protocol.training import Features, batches

Encode = Callable[[npt.NDArray[np.float32], np.random.Generator], npt.NDArray[np.uint8]]
"""Features [clips, steps, bands] to spikes of the same shape; a stochastic code draws from the generator."""

_CHUNK = 256  # clips that are evaluated together
_MEMORY = 0.95  # of the running mean of activity over batches


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


def augmented(features: npt.NDArray[np.float32], budget: SpikingTraining,
              generator: np.random.Generator) -> npt.NDArray[np.float32]:
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


def train_spiking(net: FeedForwardLIF, features: Features, labels: npt.NDArray[np.int64], budget: SpikingTraining, *,
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
        UserError: There is no clip, or features or labels do not fit the network.
    """
    generator = np.random.default_rng(seed)
    last_phase = budget.epochs - math.floor(budget.quantised * budget.epochs)
    cut = None if hardware is None else min(math.ceil(hardware.settings.cut * budget.epochs), last_phase - 1)
    run = _Spiking(net, budget, hardware, generator)
    trained = run.trained
    for spikes, wanted in batches(
            features, labels, budget, run, net.state_dict(), outputs=net.outputs, check=net.check, seed=generator,
            progress=progress, on_epoch=run.end, checkpoint=checkpoint, rate=partial(_rate, budget),
            prepare=lambda some: time_major(encode(augmented(np.asarray(some), budget, generator), generator))):
        epoch = len(trained.epochs)
        if hardware is not None and epoch == cut and trained.masks is None:
            trained.masks = hardware.prune([matrix.detach() for matrix in net.weights])
        if run.norm is not None and epoch >= last_phase:
            run.fold()
        kept = run.kept = [matrix if trained.masks is None else matrix * trained.masks[index]
                           for index, matrix in enumerate(net.weights)]
        scores, fired = net(
            spikes, weights=kept if run.norm else [quantised(matrix) for matrix in kept], normalise=run.norm,
            follow=_followers(adaptive(trained.activity) if adaptive and trained.activity else None, len(net.hidden)),
            dropout=_dropout(net, len(wanted), budget.dropout, generator))
        loss = run.measured(scores, wanted)
        per_clip = [spikes.sum(0).mean(0), *(counts.mean(0) for counts in fired)]
        if hardware is not None:
            terms = hardware.loss(kept, per_clip)
            run.means.add(**{name: float(term.detach()) for name, term in terms.items()})
            loss = loss + hardware.weight * torch.stack(list(terms.values())).sum()
        run.descend(loss)
        run.counts = _running(run.counts, [count.detach() for count in per_clip])
        trained.activity = [float(count.mean()) / len(spikes) for count in run.counts[1:]]

    net.requires_grad_(False)
    if run.norm is not None:
        run.norm.fold(net)
    if trained.masks is not None:
        for matrix, mask in zip(net.weights, trained.masks, strict=True):
            matrix.mul_(mask)
    return trained


class Normalisation(nn.Module):
    """Batch normalisation of the input currents of the hidden layers over clips and steps (Ioffe & Szegedy 2015).

    A new layer's current has a deviation of 4 thresholds, since a neuron takes a tenth of it in a step. The first ten
    batches are averaged, later ones followed.

    Args:
        net: Whose layers are normalised.

    Attributes:
        layers: One normalisation for each hidden layer.
    """

    _MOMENTUM, _GAIN = 0.1, 4.0

    layers: Sequence[nn.BatchNorm1d]

    def __init__(self, net: FeedForwardLIF) -> None:
        super().__init__()
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            nn.BatchNorm1d(layer.out_features) for layer in net.hidden)
        for norm in self.layers:
            nn.init.constant_(norm.weight, self._GAIN * net.settings.threshold)
        self.to(net.readout.weight.device)

    def forward(self, layer: int, current: Tensor) -> Tensor:
        """The normalised current of a layer, [steps, clips, neurons], by the batch's own statistics."""
        norm = self.layers[layer]
        assert norm.num_batches_tracked is not None
        norm.momentum = max(self._MOMENTUM, 1 / (int(norm.num_batches_tracked) + 1))
        normalised: Tensor = norm(current.flatten(0, 1))
        return normalised.view_as(current)

    @torch.no_grad()
    def observe(self, layer: int, mean: Tensor, variance: Tensor, values: int) -> None:
        """Let a batch into the running statistics, as :meth:`forward` does."""
        norm = self.layers[layer]
        assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
        share = max(self._MOMENTUM, 1 / (int(norm.num_batches_tracked) + 1))
        norm.running_mean.lerp_(mean.to(norm.running_mean), share)
        norm.running_var.lerp_((variance * values / (values - 1)).to(norm.running_var), share)
        norm.num_batches_tracked.add_(1)

    @torch.no_grad()
    def fold(self, net: FeedForwardLIF) -> None:
        """Put scales and offsets, by the running statistics, into the network's weights and biases."""
        for layer, norm in zip(net.hidden, self.layers, strict=True):
            assert norm.running_mean is not None and norm.running_var is not None
            weights, bias = fuse_linear_bn_weights(layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps,
                                                   norm.weight, norm.bias)
            layer.weight.copy_(weights)
            layer.bias.copy_(bias)


class _Descent:
    """Adam on clipped gradients, and what epochs measure; an optimiser whose state is all that a checkpoint needs.

    Attributes:
        rate: Learning rate of the next update.
        weights: What is trained, by name.
    """

    def __init__(self, weights: dict[str, Tensor], budget: SpikingTraining) -> None:
        self.rate, self.budget = budget.learning_rate, budget
        self.trained, self.means = Trained(activity=[]), _Means()
        self.use(weights)

    def use(self, weights: dict[str, Tensor]) -> None:
        """Train these from here on, with a fresh Adam."""
        self.weights = weights
        for tensor in weights.values():
            tensor.requires_grad_()
        self._adam = Adam(weights, self.budget.learning_rate, decay=self.budget.weight_decay)

    def measured(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy of a batch, which goes with its accuracy into the epoch's means."""
        loss = functional.cross_entropy(scores, wanted)
        self.means.add(loss=loss.item(), accuracy=100 * (int((scores.argmax(1) == wanted).sum()) / len(wanted)))
        return loss

    def descend(self, loss: Tensor) -> None:
        """One update against the gradient of ``loss``."""
        self.step(dict(zip(self.weights, torch.autograd.grad(loss, list(self.weights.values())), strict=True)))

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One update with the gradients of the same names, clipped together.

        Not by ``clip_grad_norm_``: it adds 1e-6 to the norm, and an update that is off by that much soon moves a spike.
        """
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values()))
        if norm > self.budget.clip:
            gradients = {name: gradient * (self.budget.clip / norm) for name, gradient in gradients.items()}
        self._adam.rate = self.rate
        self._adam.step(gradients)

    def end(self, epoch: int) -> None:
        """Note what an epoch has measured."""
        self.trained.epochs.append({"epoch": epoch, **self.means.take()})

    def state(self) -> dict[str, Any]:
        """The state after an epoch, beside the network's tensors."""
        return {"adam": self._adam.state(), "epochs": self.trained.epochs}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same training."""
        self._adam.restore(state["adam"])
        self.trained.epochs[:] = state["epochs"]


class _Spiking(_Descent):
    """What the training of a spiking network changes as it goes.

    Attributes:
        norm: The normalisation of the currents, None once it is folded into the network.
        kept: The matrices of the last batch, without what was cut.
        counts: [neurons] running means of the spikes in a clip: encoder, hidden layers.
    """

    def __init__(self, net: FeedForwardLIF, budget: SpikingTraining, hardware: HardwareLoss | None,
                 generator: np.random.Generator) -> None:
        self._net, self._hardware, self._generator = net, hardware, generator
        self.norm: Normalisation | None = Normalisation(net)
        self.kept: list[Tensor] = []
        self.counts: list[Tensor] = []
        gains: dict[str, Tensor] = {f"gain.{index}": norm.weight for index, norm in enumerate(self.norm.layers)}
        offsets: dict[str, Tensor] = {f"offset.{index}": norm.bias for index, norm in enumerate(self.norm.layers)}
        matrices: dict[str, Tensor] = {name: tensor for name, tensor in net.named_parameters() if not name.endswith(".bias")}
        super().__init__(matrices | gains | offsets, budget)

    def fold(self) -> None:
        """From here on train the network as it will be used."""
        assert self.norm is not None
        self.norm.fold(self._net)
        self.norm = None
        self.use(dict(self._net.named_parameters()))

    def end(self, epoch: int) -> None:
        """Note what an epoch has measured, and map the network anew."""
        row: dict[str, Any] = {"epoch": epoch, "quantised": self.norm is None, **self.means.take()}
        if self._hardware is not None:
            row["mapping"] = self._hardware.remap([matrix.detach() for matrix in self.kept], self.counts,
                                                  seed=int(self._generator.integers(2**31)))
        self.trained.epochs.append(row)

    def state(self) -> dict[str, Any]:
        """The state after an epoch, beside the network's tensors."""
        return {**super().state(), "norm": None if self.norm is None else self.norm.state_dict(), "counts": self.counts,
                "activity": self.trained.activity, "masks": self.trained.masks,
                "hardware": None if self._hardware is None else self._hardware.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same training."""
        if state["norm"] is None:
            self.norm = None
            self.use(dict(self._net.named_parameters()))
        elif self.norm is not None:
            self.norm.load_state_dict(state["norm"])
        super().restore(state)
        if self._hardware is not None:
            self._hardware.restore(state["hardware"])
        there = self._net.readout.weight.device
        self.counts = [count.to(there) for count in state["counts"]]
        self.trained.masks = None if state["masks"] is None else [mask.to(there) for mask in state["masks"]]
        self.trained.activity = state["activity"]


def train_conventional(net: TemporalConv, features: Features, labels: npt.NDArray[np.int64], budget: SpikingTraining, *,
                       seed: int, progress: str | None = None, checkpoint: Checkpoint = NOWHERE) -> Trained:
    """Train the conventional net in place with the same budget, in floating point to the end.

    Raises:
        UserError: There is no clip, or features or labels do not fit the network.
    """
    generator, run = np.random.default_rng(seed), _Descent(dict(net.named_parameters()), budget)
    for clips, wanted in batches(
            features, labels, budget, run, net.state_dict(), outputs=net.readout.out_features, check=net.check,
            seed=generator, progress=progress, on_epoch=run.end, checkpoint=checkpoint, rate=partial(_rate, budget),
            prepare=lambda some: torch.from_numpy(augmented(np.asarray(some), budget, generator))):
        run.descend(run.measured(net(clips), wanted))
    net.requires_grad_(False)
    return run.trained


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
        follow = _followers(adaptive, len(net.hidden))
        scores, layers = net(time_major(some), weights=weights, follow=follow)
        said.append(scores.argmax(1).numpy())
        fired = [total + float(counts.sum()) / (spikes.shape[1] * counts.shape[1] * len(spikes))
                 for total, counts in zip(fired, layers, strict=True)]
    return np.concatenate(said), fired


def _followers(rule: AdaptiveRule | None, layers: int) -> list[Follower] | None:
    return None if rule is None else [rule.follower(layer) for layer in range(layers)]


def _rate(budget: SpikingTraining, share: float) -> float:
    """Learning rate of a cosine, ``share`` of the way down."""
    low, high = budget.final_learning_rate, budget.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


def _dropout(net: FeedForwardLIF, clips: int, share: float, generator: np.random.Generator) -> list[Tensor] | None:
    """Factors that leave out ``share`` of each layer's neurons for a whole clip, and make up for it in the others."""
    if share == 0:
        return None
    return [torch.from_numpy((generator.random((clips, len(bias))) >= share).astype(np.float32) / (1 - share))
            .to(bias.device) for bias in net.biases]


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
