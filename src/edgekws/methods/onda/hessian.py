"""Traces of the Hessian's blocks, one for each filter of an encoder, by Hutchinson's estimate (onda.md, section 2.5).

A probe v is +1 or -1 at random for every weight of every convolution at once. The sum of v * Hv over a filter's weights
has the trace of that filter's block of H as its mean. H is the Hessian of the loss by the convolutions' weights (no
biases, no normalisation), with the encoder in evaluation mode.

Differentiating twice by the weights is not needed for these sums. Let x and y be a convolution's input and output, d the
loss's gradient by y, and x', d' how x and d change as the weights move in the direction v. Then the sum of v * Hv over a
filter's weights is that of d' * conv(x, v) + d * conv(x', v) over its map. While no ReLU switches, x' comes from a
linear net, and d' from that net's gradient. x and d are the same for every probe of a mini-batch.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from edgekws.core.progress import tqdm
from edgekws.methods.onda import pruning
from edgekws.methods.onda.settings import HessianCheck, Pruning
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.encoder import COEFFICIENTS, Encoder

Loss = Callable[[Any], Tensor]
"""An encoder, or what embeds as it does, to a scalar; all the windows are embedded by one call."""

Traces = dict[str, Tensor]
"""Trace of each filter's block of the Hessian, float64 [filters], by the name of the convolution."""


# ------------------------------------------------------------------------------------------------ Hutchinson's estimate
def hap_traces(encoder: Encoder, losses: Sequence[Loss], settings: Pruning, generator: torch.Generator) -> Traces:
    """Hutchinson's estimate of the trace of every filter's block, the mean over probes.

    Args:
        encoder: Stays as it is.
        losses: Mini-batches; probes are dealt to them in turn (gap 7).
        settings: Number of probes in all.
        generator: Of the probes.
    """
    layers = _layers(encoder)
    traces: Traces = {name: torch.zeros(len(layer.weight), dtype=torch.float64) for name, layer in layers.items()}
    for number, loss in enumerate(losses[:settings.probes]):
        batch = _Batch(encoder, layers, loss)
        for _ in range(number, settings.probes, len(losses)):
            for name, trace in batch.probed({name: layer.probe(generator) for name, layer in layers.items()}).items():
                traces[name] += trace.cpu() / settings.probes
    return traces


@dataclass(frozen=True)
class _Layer:
    """A convolution with the normalisation that follows it inside its weights, by which the weights were multiplied.

    The sums of v * Hv are the encoder's where v is multiplied likewise.
    """

    weight: Tensor
    bias: Tensor | None
    factor: Tensor
    options: dict[str, Any]

    def __call__(self, maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if weight.shape[2:] == (1, 1):  # faster as what it is
            places = maps.permute(0, 2, 3, 1)
            products = functional.linear(places.reshape(-1, maps.shape[1]), weight.flatten(1), bias)
            return products.view(*places.shape[:3], -1).permute(0, 3, 1, 2)
        return functional.conv2d(maps, weight, bias, **self.options)

    def probe(self, generator: torch.Generator) -> Tensor:
        """+1 or -1 for every weight, times the factor."""
        signs = torch.randint(0, 2, self.weight.shape, generator=generator, dtype=torch.int8) * 2 - 1
        return (signs.to(self.factor.device) * self.factor).contiguous(memory_format=torch.channels_last)


def _layers(encoder: Encoder) -> dict[str, _Layer]:
    """The convolutions of an encoder by name, from the first to the last."""
    layers = {}
    named = [(name, layer) for name, layer in encoder.named_modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    for (name, layer), (_, norm) in itertools.pairwise([*named, ("", None)]):
        if not isinstance(layer, nn.Conv2d):
            continue
        weight, bias, factor = layer.weight, layer.bias, layer.weight.new_ones(layer.out_channels)
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            factor = (norm.running_var + norm.eps).rsqrt() * (norm.weight if norm.affine else 1)
            weight, bias = fuse_conv_bn_weights(weight, bias, norm.running_mean, norm.running_var, norm.eps,
                                                norm.weight, norm.bias)
        layers[name] = _Layer(weight.detach().contiguous(memory_format=torch.channels_last),
                              None if bias is None else bias.detach(), factor.detach()[:, None, None, None],
                              {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups})
    return layers


def _last_maps(encoder: Encoder, maps: Tensor, convolve: Callable[[str, Tensor], Tensor],
               rectify: Callable[[Tensor], Tensor]) -> Tensor:
    """The way through an encoder from [n, 1, 47, 10] to maps whose mean is the embedding, with these operations."""
    blocks = encoder.blocks
    if isinstance(encoder, DsCnn):
        maps = convolve("stem.1", encoder.stem[0](maps))
        for number in range(len(blocks)):
            maps = rectify(convolve(f"blocks.{number}.1", rectify(maps)))
            if number == len(blocks) - 1:  # the mean over the map, early: the last convolution does not look around
                maps = maps.mean((2, 3), keepdim=True)
            maps = convolve(f"blocks.{number}.4", maps)
        return maps
    maps = convolve("stem", maps)
    for number in range(len(blocks)):
        rectified = rectify(maps)
        inner = rectify(convolve(f"blocks.{number}.first", rectified))
        maps = convolve(f"blocks.{number}.second", inner) + rectified
    return convolve("head", rectify(maps))


class _Batch:
    """What a mini-batch has for every probe: the convolutions' inputs, the loss's gradient by their outputs, and masks.

    Raises:
        ValueError: The loss does not embed by one call.
    """

    def __init__(self, encoder: Encoder, layers: dict[str, _Layer], loss: Loss) -> None:
        self._encoder, self._layers = encoder, layers
        self._inputs: dict[str, Tensor] = {}
        self._masks: list[Tensor] = []
        outputs: dict[str, Tensor] = {}
        ends: list[tuple[Tensor, Tensor]] = []

        def convolve(name: str, maps: Tensor) -> Tensor:
            self._inputs[name] = maps.detach()
            outputs[name] = layers[name](maps, layers[name].weight, layers[name].bias)
            return outputs[name] if outputs[name].requires_grad else outputs[name].requires_grad_()

        def rectify(maps: Tensor) -> Tensor:
            self._masks.append((maps.detach() > 0).to(maps.dtype))
            return functional.relu(maps)

        def embed(mfcc: Tensor) -> Tensor:
            given = mfcc[:, None].contiguous(memory_format=torch.channels_last)
            last = _last_maps(encoder, given, convolve, rectify)
            leaf = last.detach().requires_grad_()
            ends.append((last, leaf))
            return functional.normalize(leaf.mean((2, 3)))

        with torch.enable_grad():
            value = loss(embed)
            if len(ends) != 1:
                raise ValueError(f"a loss must embed its windows by one call, not by {len(ends)}")
            [(last, self._end)] = ends
            # Beyond the last convolution the net is not linear: the gradient there keeps its graph.
            [self._gradient] = torch.autograd.grad(value, [self._end], create_graph=True)
            # A scalar, not grad_outputs: those make torch import a package of seconds.
            gradients = torch.autograd.grad((last * self._gradient.detach()).sum(), list(outputs.values()))
        self._gradients = dict(zip(outputs, gradients, strict=True))

    def probed(self, probe: dict[str, Tensor]) -> Traces:
        """The sum of v * Hv over the weights of each filter, for the probe v."""
        own = {name: layer(self._inputs[name], probe[name]).requires_grad_() for name, layer in self._layers.items()}
        products: dict[str, Tensor] = {}
        masks, first = iter(self._masks), next(iter(own))

        def convolve(name: str, moved: Tensor) -> Tensor:
            if name == first:  # nothing moves the first convolution's input
                return own[name]
            layer = self._layers[name]
            products[name] = (self._gradients[name] * layer(moved, probe[name])).sum((0, 2, 3))
            return layer(moved, layer.weight) + own[name]

        with torch.enable_grad():
            last = _last_maps(self._encoder, torch.empty(0, 1, 1, 1), convolve, lambda moved: moved * next(masks))
            [bent] = torch.autograd.grad((self._gradient * last.detach()).sum(), [self._end], retain_graph=True)
            total = (bent * last).sum() + torch.cat(list(products.values())).sum()
            gradients = torch.autograd.grad(total, list(own.values()))
        traces = {}
        for (name, maps), gradient in zip(own.items(), gradients, strict=True):
            traces[name] = (gradient * maps).detach().sum((0, 2, 3)).double()
            if name in products:
                traces[name] += products[name].detach()
        return traces


def exact_traces(encoder: nn.Module, loss: Loss) -> Traces:
    """The same traces from every diagonal element of the Hessian: as many backward passes as weights, for small nets."""
    net = copy.deepcopy(encoder).eval()
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
    gradients = torch.autograd.grad(loss(net), [layer.weight for layer in layers.values()], create_graph=True)
    traces = {}
    for (name, layer), gradient in zip(layers.items(), gradients, strict=True):
        diagonal = [torch.autograd.grad(element, layer.weight, retain_graph=True)[0].flatten()[place]
                    for place, element in enumerate(gradient.flatten())]
        traces[name] = torch.stack(diagonal).double().view(len(layer.weight), -1).sum(1)
    return traces


# ------------------------------------------------------------------------------------------------ how good it is
def kendall_tau(first: Tensor, second: Tensor) -> float:
    """Rank correlation of two lists of scores [channels], from -1 to 1 (tau-b)."""
    from scipy.stats import kendalltau

    return float(kendalltau(first.numpy(), second.numpy()).statistic)


def ranking_stability(encoder: Encoder, losses: Sequence[Loss], settings: HessianCheck, chosen: Pruning, *, seed: int,
                      progress: bool = False) -> list[dict[str, float]]:
    """How much the ranking of channels by HAP depends on the probes (gap 8).

    Args:
        chosen: How channels are scored and chosen; its number of probes is not used.
        seed: Of the probes; each ranking has its own.

    Returns:
        For each number of probes: means over pairs of rankings of Kendall's tau of the scores that compete, and of the
        share that the two have in common of the channels that would go at a ratio of one half.
    """
    generator = torch.Generator().manual_seed(seed)
    bar = tqdm(total=sum(settings.probes) * settings.repetitions, unit="probe", disable=not progress)
    found = []
    for probes in settings.probes:
        rankings, dropped = [], []
        for _ in range(settings.repetitions):
            traces = hap_traces(encoder, losses, chosen.model_copy(update={"probes": probes}), generator)
            scores = pruning.hap_scores(encoder, traces, chosen)
            rankings.append(pruning.pooled(scores, chosen))
            dropped.append(~torch.cat(pruning.selection(encoder, scores, 0.5, chosen)))
            bar.update(probes)
        found.append({"probes": probes, "kendall_tau": _over_pairs(kendall_tau, rankings),
                      "overlap": _over_pairs(lambda one, other: float((one & other).sum() / one.sum()), dropped)})
    bar.close()
    return found


def _over_pairs(compare: Callable[[Tensor, Tensor], float], values: Sequence[Tensor]) -> float:
    compared = [compare(one, other) for one, other in itertools.combinations(values, 2)]
    return sum(compared) / len(compared)


def hutchinson_convergence(settings: HessianCheck, *, seed: int) -> dict[str, Any]:
    """The estimate's error against the exact traces on a DS-CNN of three channels a layer and random triplets.

    Returns:
        Number of weights; for each number of probes the relative error of the filters' traces (Euclidean, root mean
        square over repetitions); and the slope of its logarithm by that of the number of probes, which is -1/2 for a
        mean of independent estimates.
    """
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(3, 4, 12, COEFFICIENTS, generator=generator, dtype=torch.float64)  # short ones do
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = pruning.recalibrate(DsCnn([3, 3, 3], "stem").double(), clips.flatten(0, 1))

    def loss(encoder: Any) -> Tensor:
        anchor, positive, negative = encoder(clips.flatten(0, 1)).unflatten(0, (3, 4))
        difference: Tensor = (anchor - positive).square().sum(1) - (anchor - negative).square().sum(1)
        return difference.mean()

    exact = torch.cat(list(exact_traces(net, loss).values()))
    errors = []
    for probes in settings.probes:
        chosen = Pruning(probes=probes)
        estimates = [torch.cat(list(hap_traces(net, [loss], chosen, generator).values()))
                     for _ in range(settings.repetitions)]
        errors.append(((torch.stack(estimates) - exact).square().sum(1).mean().sqrt() / exact.norm()).item())
    logarithms = torch.tensor([settings.probes, errors], dtype=torch.float64).log()
    across, down = logarithms - logarithms.mean(1, keepdim=True)
    weights = sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.Conv2d))
    return {"weights": weights, "slope": float(across @ down / (across @ across)),
            "errors": [{"probes": probes, "relative_error": error}
                       for probes, error in zip(settings.probes, errors, strict=True)]}
