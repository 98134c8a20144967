"""An encoder made smaller on the unlabelled stream: pruned in steps, refitted, and taught by itself. Ours, beyond the paper.

No label and no recording of the user is needed, so the smaller encoder serves any wake word. In each step every layer loses the
same share of its channels, those whose output matters least to what reads it; what reads them is fitted anew by least squares,
so that it gives what the larger encoder gave; and the whole learns to embed windows, some of them with noise, where the
encoder as deployed embeds them without.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekws.core.optimiser import Adam
from edgekws.methods.onda import pruning
from edgekws.methods.onda.calibration import Rows
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.robust import Heard
from edgekws.methods.onda.settings import Distillation, Precision, Pruning
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.encoder import Encoder

_RIDGE = 1e-3  # of the mean squared input: keeps the normal equations well conditioned


def readers(encoder: Encoder) -> list[list[tuple[str, int]]]:
    """For each group of channels the convolutions that read it, each with the group that it writes."""
    blocks = range(len(encoder.blocks))
    if isinstance(encoder, DsCnn):
        return [[(f"blocks.{number}.4", number + 1)] for number in blocks] + [[]]
    inner = [[(f"blocks.{number}.second", 0)] for number in blocks]
    return [[(f"blocks.{number}.first", number + 1) for number in blocks] + [("head", len(blocks) + 1)], *inner, []]


def importance(encoder: Encoder, mfcc: Tensor) -> list[Tensor]:
    """How much of what its readers add up comes from each channel: second moment times squared weights; float64 [channels].

    Of the embedding, which nothing reads, every channel counts alike.

    Args:
        mfcc: Windows [n, 47, 10] that the second moments are taken over.
    """
    named = readers(encoder)
    heard = _heard(encoder, [name for group in named for name, _ in group], mfcc)
    scores = []
    for width, group in zip(encoder.widths, named, strict=True):
        score = torch.zeros(width, dtype=torch.float64)
        for name, _ in group:
            given, answered = heard[name]
            weight = encoder.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            power = given.double().square().mean((0, 2, 3)) * weight.detach().double().square().sum((0, 2, 3))
            score += (power / answered.double().square().sum(1).mean()).cpu()
        scores.append(score if group else torch.ones(width, dtype=torch.float64))
    return scores


def evenly(scores: Sequence[Tensor]) -> list[Tensor]:
    """Ranks inside each group, from 0 to 1, in place of scores: every group then loses the same share."""
    return [(score.argsort(stable=True).argsort(stable=True).double() + 0.5) / len(score) for score in scores]


def refit(smaller: Encoder, larger: Encoder, kept: Sequence[Tensor], given: Tensor, wanted: Tensor, *, places: int,
          seed: int) -> Encoder:
    """Fit the convolutions that read pruned channels, from the first to the last, by least squares; no gradient.

    Args:
        smaller: Changed in place, and returned.
        larger: Whose outputs they are fitted to, in the channels that are left.
        kept: Which channels of ``larger`` those are, [channels] for each group.
        given, wanted: Windows [n, 47, 10] for the smaller and for the larger encoder; alike, but for noise.
        places: Places of each window's map taken, at most.
        seed: Of the places.
    """
    order = sorted((name, group) for readers_of in readers(larger) for name, group in readers_of)
    targets = {name: answered for name, (_, answered) in _heard(larger, [name for name, _ in order], wanted).items()}
    generator = torch.Generator().manual_seed(seed)
    for name, group in order:
        layer = smaller.get_submodule(name)
        assert isinstance(layer, nn.Conv2d) and isinstance(layer.padding, tuple)
        [(maps, _)] = _heard(smaller, [name], given).values()
        inputs = functional.unfold(maps, layer.kernel_size, padding=layer.padding)
        outputs = targets[name][:, kept[group].to(maps.device)].flatten(2)
        chosen = torch.randperm(inputs.shape[2], generator=generator)[:places].to(maps.device)
        inputs, outputs = (some[..., chosen].transpose(1, 2).flatten(0, 1).double() for some in (inputs, outputs))
        if layer.bias is not None:
            inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)
        normal = inputs.T @ inputs
        normal.diagonal().add_(_RIDGE * float(normal.diagonal().mean()))
        found = torch.linalg.solve(normal, inputs.T @ outputs)
        with torch.no_grad():
            if layer.bias is not None:
                layer.bias.copy_(found[-1])
                found = found[:-1]
            layer.weight.copy_(found.T.reshape(layer.weight.shape))
    return smaller


def compress(encoder: Encoder, heard: Heard, stream: Rows, ratio: float, settings: Distillation, chosen: Pruning, *, seed: int,
             precision: Precision = "float32") -> Encoder:
    """A smaller encoder that embeds as the given one does, in evaluation mode.

    Args:
        encoder: Stays as it is, and teaches.
        stream: Rows of the windows of the stream.
        ratio: Share of each layer's channels that goes.
        chosen: How channels are cut; the embedding, which is what is learnt, stays.
        seed: Of the windows and of their noise.
    """
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.choice(stream, min(settings.windows, len(stream)), replace=False))
    targets = Embedder(encoder, precision).embed(heard.plain.mfcc[rows])
    some = rows[::max(1, len(rows) // settings.refit_windows)]
    clean, noisy = (torch.from_numpy(windows.mfcc[some]) for windows in (heard.plain, heard.noisy))
    given, wanted = torch.cat([clean, noisy]), torch.cat([clean, clean])
    share, smaller = 1 - (1 - ratio) ** (1 / settings.steps), encoder
    limits = chosen.model_copy(update={"target": "channels", "embedding": False, "largest_share": 1.0, "surplus": "others"})
    for step in range(settings.steps):
        before, ranks = smaller, evenly(importance(smaller, given))
        smaller = pruning.prune(before, ranks, share, limits)
        # A second step fits to a net that has learnt to hear through noise already.
        smaller = refit(smaller, before, pruning.selection(before, ranks, share, limits), given, given if step else wanted,
                        places=settings.refit_places, seed=seed)
        smaller = _taught(smaller, heard, rows, targets, settings, generator, precision)
    return smaller


def _taught(encoder: Encoder, heard: Heard, rows: Rows, targets: Tensor, settings: Distillation,
            generator: np.random.Generator, precision: Precision) -> Encoder:
    """The encoder, trained in place on squared distances from the targets [rows, E]."""
    encoder = encoder.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    device = next(encoder.parameters()).device
    weights = {name: weight.requires_grad_() for name, weight in encoder.named_parameters()}
    optimiser, updates = Adam(weights, settings.learning_rate), settings.updates // settings.steps
    for update in range(updates):
        optimiser.rate = settings.learning_rate * (1 + np.cos(np.pi * update / updates)) / 2
        places = generator.choice(len(rows), min(settings.batch, len(rows)), replace=False)
        mfcc = torch.from_numpy(heard.windows(rows[places], settings.noise, generator)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            embeddings = encoder(mfcc).float()
        loss = (embeddings - targets[places].to(device)).square().sum(1).mean()
        optimiser.step(dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True)))
    return encoder.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload, no-any-return]


def _heard(encoder: Encoder, names: Sequence[str], mfcc: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Inputs and outputs of convolutions [n, channels, time, coefficient], in evaluation mode, by name."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str, _layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        found[name] = inputs[0].detach(), output.detach()

    hooks = [encoder.get_submodule(name).register_forward_hook(functools.partial(keep, name)) for name in names]
    training = encoder.training
    with torch.no_grad():
        encoder.eval()(mfcc.to(next(encoder.parameters()).device))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return found
