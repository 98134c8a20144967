"""Which channels of a wake-word encoder go, and the smaller encoder that is left (onda.md, section 2.5).

A channel of a group is everything that vanishes together. What belongs together, and the cutting itself, is
torch-pruning's affair (Fang et al., "DepGraph", CVPR 2023); the scores and the choice are here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from edgekws.core.errors import UserError
from edgekws.methods.onda.settings import Pruning
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.encoder import COEFFICIENTS, FRAMES, Encoder, closed_form
from edgekws.models.resnet15 import ResNet15


# ------------------------------------------------------------------------------------------------ groups
@dataclass(frozen=True)
class Group:
    """Channels that are cut together; one group for each of an encoder's widths, the embedding last.

    Attributes:
        channels: How many there are.
        producers: Names of the convolutions whose output channels these are: several on a residual stream.
        depthwise: Names of the depthwise convolutions that these channels pass through (gap 5).
    """

    channels: int
    producers: tuple[str, ...]
    depthwise: tuple[str, ...]

    def filters(self) -> Iterator[tuple[str, ...]]:
        """For each producer, the convolutions whose filters make up a channel: its own and the depthwise ones."""
        for producer in self.producers:
            yield (producer, *self.depthwise)


def groups(encoder: Encoder) -> list[Group]:
    """The groups of an encoder, found by torch-pruning, in the order of its widths."""
    # Traced on a twin whose widths all differ and exceed 1: a depthwise convolution of one channel looks like any other.
    twin = _like(encoder, list(range(2, 2 + len(encoder.widths))))
    names = {module: name for name, module in twin.named_modules()}
    graph = _dependencies(twin)
    found = []
    for dependencies in graph.get_all_groups(root_module_types=[nn.Conv2d]):
        layers = {dependency.target.module for dependency, _ in dependencies
                  if graph.is_out_channel_pruning_fn(dependency.handler)}
        convolutions = [layer for layer in twin.modules() if layer in layers and isinstance(layer, nn.Conv2d)]
        found.append(Group(convolutions[0].out_channels, tuple(names[layer] for layer in convolutions if layer.groups == 1),
                           tuple(names[layer] for layer in convolutions if layer.groups > 1)))
    found.sort(key=lambda group: group.channels)
    if [group.channels for group in found] != twin.widths:
        raise RuntimeError(f"torch-pruning finds the groups {found} where widths {twin.widths} were expected")
    return [replace(group, channels=width) for group, width in zip(found, encoder.widths, strict=True)]


# ------------------------------------------------------------------------------------------------ scores
def l1_scores(encoder: Encoder, settings: Pruning) -> list[Tensor]:
    """Global L1: |w| of the filters of every channel, meant or summed; float64 [channels] for each group."""
    def score(weights: list[Tensor]) -> Tensor:
        magnitudes = torch.cat(weights, 1).abs()
        return magnitudes.mean(1) if settings.l1 == "mean" else magnitudes.sum(1)

    return [_joined([score([_weight(encoder, name) for name in filters]) for filters in group.filters()], settings)
            for group in groups(encoder)]


def hap_scores(encoder: Encoder, traces: Mapping[str, Tensor], settings: Pruning) -> list[Tensor]:
    """HAP: mean Hessian eigenvalue of a channel's filters times their squared norm; float64 [channels] for each group.

    Args:
        traces: Trace of the Hessian's block of every filter, by the name of the convolution:
            :func:`edgekws.methods.onda.hessian.hap_traces`.
    """
    def score(filters: tuple[str, ...]) -> Tensor:
        weights = torch.cat([_weight(encoder, name) for name in filters], 1)
        trace = torch.stack([traces[name].double() for name in filters]).sum(0)
        return (trace.abs() if settings.hap_trace == "absolute" else trace) / weights.shape[1] * weights.square().sum(1)

    return [_joined([score(filters) for filters in group.filters()], settings) for group in groups(encoder)]


def random_scores(encoder: Encoder, generator: torch.Generator) -> list[Tensor]:
    """Scores without meaning, uniform from 0 to 1; float64 [channels] for each group."""
    return [torch.rand(width, dtype=torch.float64, generator=generator) for width in encoder.widths]


def _joined(members: list[Tensor], settings: Pruning) -> Tensor:
    """One score [channels] from those of the convolutions that share the channels (gap 4)."""
    stacked = torch.stack(members)
    return stacked.sum(0) if settings.residual == "sum" else stacked.mean(0)


def _weight(encoder: Encoder, name: str) -> Tensor:
    """A convolution's weights as float64 [filters, weights of a filter]."""
    weight = encoder.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight.detach().cpu().double().flatten(1)


# ------------------------------------------------------------------------------------------------ choice
def pooled(scores: Sequence[Tensor], settings: Pruning) -> Tensor:
    """The scores that compete, one after the other [prunable channels]: all, or all but the embedding's (gap 6)."""
    return torch.cat(list(scores if settings.embedding else scores[:-1])).double()


def selection(encoder: Encoder, scores: Sequence[Tensor], ratio: float, settings: Pruning) -> list[Tensor]:
    """Which channels stay: booleans [channels] for each group.

    The lowest scores of all groups go, ties by position, until the ratio is met: of the prunable channels (rounded), or
    of all the parameters (the first choice that reaches it). What a group's limit holds back counts as gone, so that
    fewer go than asked for (as in HAP's code), or is made up for by other groups (``settings.surplus``).

    Raises:
        UserError: A score is not a finite number.
    """
    ranked = pooled(scores, settings)
    if not ranked.isfinite().all():
        raise UserError("the scores of the channels are not finite numbers: the encoder or its Hessian has overflowed",
                        where="pruning", remedy="use a smaller learning rate")
    count = closed_form(encoder)
    widths, counted = list(encoder.widths), list(encoder.widths)
    least = [max(1, width - int(settings.largest_share * width)) for width in widths]
    kept = [torch.ones(width, dtype=torch.bool) for width in widths]
    places = [(group, channel) for group, width in enumerate(widths) for channel in range(width)]

    def enough() -> bool:
        if settings.target == "channels":
            return sum(encoder.widths) - sum(counted) >= round(ratio * len(ranked))
        return count(encoder.widths) - count(counted) >= ratio * count(encoder.widths)

    for place in ranked.argsort(stable=True).tolist():
        if enough():
            break
        group, channel = places[place]
        goes = widths[group] > least[group]
        if goes:
            kept[group][channel] = False
            widths[group] -= 1
        if goes or settings.surplus == "stays":
            counted[group] -= 1
    return kept


# ------------------------------------------------------------------------------------------------ the smaller encoder
def prune(encoder: Encoder, scores: Sequence[Tensor], ratio: float, settings: Pruning) -> Encoder:
    """A new, dense encoder without the channels of the lowest scores; the given one stays as it is.

    Args:
        scores: [channels] for each group.
        ratio: Share of the channels or of the parameters that goes; 0 gives an equal copy.

    Raises:
        UserError: A score is not a finite number.
    """
    from torch_pruning import prune_conv_out_channels

    kept = selection(encoder, scores, ratio, settings)
    cut = copy.deepcopy(encoder)
    graph = _dependencies(cut)
    for group, stays in zip(groups(encoder), kept, strict=True):
        if not stays.all():
            producer = cut.get_submodule(group.producers[0])
            graph.get_pruning_group(producer, prune_conv_out_channels, (~stays).nonzero().flatten().tolist()).prune()
    # Into a net built for these widths: it refuses tensors that were cut otherwise.
    smaller = _like(encoder, [int(stays.sum()) for stays in kept])
    smaller.load_state_dict(cut.state_dict())
    return smaller.train(encoder.training)


def recalibrate(encoder: Encoder, mfcc: Tensor, batch: int = 128) -> Encoder:
    """A copy of an encoder whose running statistics are the means over batches of ``mfcc`` (gap 9).

    Args:
        mfcc: [n, 47, 10]; with n = 0 the statistics stay.
        batch: Windows of a batch at most; batches are of even size.
    """
    renewed = copy.deepcopy(encoder)
    norms = [module for module in renewed.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    if len(mfcc):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over batches in place of a decaying one
        renewed.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            for some in mfcc.tensor_split(-(-len(mfcc) // batch)):
                renewed(some.to(next(renewed.parameters()).device))
        renewed.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return renewed.train(encoder.training)


def _like(encoder: Encoder, widths: list[int]) -> Encoder:
    """A new encoder of the same kind with other widths."""
    like = next(encoder.parameters())
    with torch.random.fork_rng(devices=[]):
        new = DsCnn(widths, encoder.halve) if isinstance(encoder, DsCnn) else ResNet15(widths)
    return new.to(like.device, like.dtype)


def _dependencies(encoder: Encoder) -> Any:
    """torch-pruning's graph of what depends on what; leaves the encoder in evaluation mode."""
    from torch_pruning import DependencyGraph

    example = next(encoder.parameters()).new_zeros(1, FRAMES, COEFFICIENTS)
    with torch.enable_grad():  # the graph is read off autograd's
        return DependencyGraph().build_dependency(encoder.requires_grad_(), example)
