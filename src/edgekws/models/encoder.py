"""The wake-word encoders by name: built from their widths, counted, written and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.models import counts
from edgekws.models.choices import Backbone
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.resnet15 import ResNet15
from edgekws.models.tensors import fill

Encoder = DsCnn | ResNet15
ARCHITECTURE = "wake_word_encoder"
FRAMES, COEFFICIENTS = 47, 10

WIDTHS: dict[Backbone, list[int]] = {
    "ds_cnn_s": [64] * 5, "ds_cnn_m": [172] * 5, "ds_cnn_l": [276] * 6,
    "resnet15": [64] * 8, "resnet15_narrow": [19] * 8}
"""Widths before pruning. The narrow net is Tang and Lin's (arXiv:1710.10361), for small runs."""


def build(backbone: Backbone, widths: list[int] | None = None, *, seed: int = 0) -> Encoder:
    """A new encoder on the CPU; its weights follow from the seed alone.

    Args:
        backbone: Kind of net.
        widths: Channels where it is not the unpruned net; see :class:`DsCnn` and :class:`ResNet15`.
    """
    widths = WIDTHS[backbone] if widths is None else widths
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if backbone.startswith("resnet15"):
            return ResNet15(widths)
        return DsCnn(widths, "stem" if backbone == "ds_cnn_s" else "block")


def parameters(encoder: Encoder) -> int:
    """Trained numbers of an encoder, by the closed form of its widths."""
    return closed_form(encoder)(encoder.widths)


def closed_form(encoder: Encoder) -> Callable[[Sequence[int]], int]:
    """From widths to trained numbers, for nets of an encoder's kind."""
    return counts.resnet15 if isinstance(encoder, ResNet15) else counts.ds_cnn


def multiply_accumulates(encoder: Encoder) -> int:
    """Multiply-accumulates of the convolutions for one window, padding included."""
    total, hooks = 0, []

    def count(layer: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, torch.nn.Conv2d)
        total += layer.weight[0].numel() * output[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in encoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    training = encoder.training
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, FRAMES, COEFFICIENTS))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return total


def tensors_of(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights and running statistics of an encoder by name, or of a net with one, without torch's batch counters."""
    return {name: tensor for name, tensor in net.state_dict().items() if not name.endswith("num_batches_tracked")}


def save_encoder(path: str | Path, encoder: Encoder, backbone: Backbone, *, about: Mapping[str, Any],
                 provenance: Mapping[str, Any]) -> None:
    """Write an encoder as safetensors; ``about`` (settings, prototype, thresholds) goes into its metadata."""
    padding = {"padding": list(encoder.padding)} if isinstance(encoder, DsCnn) else {}
    files.write_model(path, tensors_of(encoder), architecture=ARCHITECTURE, provenance=provenance,
                      settings={**about, "backbone": backbone, "widths": encoder.widths, **padding})


def load_encoder(path: str | Path) -> tuple[Encoder, Backbone, dict[str, Any]]:
    """An encoder written by :func:`save_encoder`, on the CPU and in evaluation mode, its backbone and metadata.

    Raises:
        UserError: The file is missing, is no such model, is damaged, or is of a net that padded its input otherwise.
    """
    tensors, metadata = files.read_model(path, ARCHITECTURE)
    backbone, widths = metadata["settings"].get("backbone"), metadata["settings"].get("widths")
    if (backbone not in get_args(Backbone) or not isinstance(widths, list) or len(widths) != len(WIDTHS[backbone])
            or not all(isinstance(width, int) and width > 0 for width in widths)):
        raise UserError(f"names no known encoder (backbone {backbone!r}, widths {widths!r})", where=path,
                        remedy="train it again, or fetch an intact copy")
    encoder = build(backbone, widths)
    if isinstance(encoder, DsCnn):
        encoder.check_padding(metadata["settings"].get("padding"), path)
    try:
        fill(tensors_of(encoder), tensors)
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from error
    return encoder.eval(), backbone, metadata
