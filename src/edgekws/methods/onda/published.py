"""The encoders that the base pipeline publishes, brought into files of ours (github.com/mrusci/ondevice-learning-kws, MIT).

Each is a whole module that ``torch.save`` wrote: DSCNNS.pt, DSCNNM.pt, DSCNNL.pt and RESNET15.pt, trained on 500 words of MSWC
English by the recipe of onda.md, section 2.1. Nothing in them is unpickled (:mod:`edgekws.core.torch_file`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekws.core.errors import UserError
from edgekws.core.files import sha256_of
from edgekws.core.provenance import provenance
from edgekws.core.torch_file import Module, read_module, state_of
from edgekws.methods.onda.settings import Pretraining
from edgekws.models import encoder as encoders
from edgekws.models.choices import Backbone
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.encoder import Encoder
from edgekws.models.tensors import fill

RECIPE = Pretraining(words="MSWC English", noise="DEMAND", snr_as_released=True)
"""How the published encoders were trained, as their repository documents it for its nets of 500 words; the files do not say."""

_UPSTREAM = "https://github.com/mrusci/ondevice-learning-kws"
_FRONT_END = {"sample_rate": 16_000, "n_fft": 1024, "win_length": 640, "hop_length": 320, "n_mels": 40}
_REMEDY = "give DSCNNS.pt, DSCNNM.pt, DSCNNL.pt or RESNET15.pt of that repository's pretrained_models, unchanged"


def import_encoder(path: Path, out: Path) -> tuple[Encoder, Backbone]:
    """Write a published encoder as a file of ours, for every command that takes one, and return it.

    Names, shapes, strides, padding and front end are checked against our net of the same name.

    Raises:
        UserError: The file is missing or damaged, or is no encoder that the repository publishes.
    """
    whole = read_module(path)
    found = whole.parts.get("encoder")
    if found is None or found.kind not in ("DSCNN", "Res15_Batch"):
        raise UserError("holds no encoder of the base pipeline, DSCNN or Res15_Batch", where=path, remedy=_REMEDY)
    layers = _ds_cnn_layers(found) if found.kind == "DSCNN" else _resnet_layers(found)
    net, backbone = _same_net(layers, found.kind, path)
    _check_front_end(whole, path)
    if isinstance(net, DsCnn):
        padding = _zeros(found)
        if padding != list(net.padding):
            raise UserError(f"pads its input by {padding}, not by {list(net.padding)}", where=path, remedy=_REMEDY)
    fill(encoders.tensors_of(net), _tensors(net, layers))
    sha256 = sha256_of(path)
    encoders.save_encoder(out, net.eval(), backbone, provenance=provenance(corpus={"name": "mswc_en"}), about={
        "offline": 0.0, "pretraining": RECIPE.model_dump(mode="json"),
        "published": {"repository": _UPSTREAM, "file": path.name, "sha256": sha256, "licence": "MIT"}})
    return net, backbone


def _ds_cnn_layers(found: Module) -> list[Module]:
    """Convolutions and normalisations in turn."""
    sequence = found.parts.get("dscnn", found)
    return [part for part in sequence.parts.values() if part.kind in ("Conv2d", "BatchNorm2d")]


def _resnet_layers(found: Module) -> list[Module]:
    """Convolutions, each but the first with the normalisation of its number."""
    names = [name for number in range(14) for name in (f"conv{number}", f"bn{number}")]
    return [found.parts[name] for name in names if name in found.parts]


def _own_layers(net: Encoder) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]


def _shapes(tensors: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if name != "num_batches_tracked"}


def _same_net(layers: list[Module], kind: str, path: Path) -> tuple[Encoder, Backbone]:
    """Our net whose layers have the names, shapes and strides of these."""
    for backbone in encoders.WIDTHS:
        net = encoders.build(backbone)
        own = _own_layers(net)
        if (kind == "DSCNN") == isinstance(net, DsCnn) and len(own) == len(layers) and all(
                _shapes(dict(ours.state_dict())) == _shapes(theirs.tensors)
                and tuple(theirs.attributes.get("stride", ())) == tuple(getattr(ours, "stride", ()))
                and theirs.attributes.get("eps", 0.0) == getattr(ours, "eps", 0.0)
                for (_, ours), theirs in zip(own, layers, strict=True)):
            return net, backbone
    raise UserError(f"is a {kind} of other layers than DS-CNN-S, -M, -L and ResNet15", where=path, remedy=_REMEDY)


def _tensors(net: Encoder, layers: list[Module]) -> dict[str, torch.Tensor]:
    return {f"{name}.{of}": torch.from_numpy(tensor.copy())
            for (name, _), layer in zip(_own_layers(net), layers, strict=True)
            for of, tensor in layer.tensors.items() if of != "num_batches_tracked"}


def _zeros(found: Module) -> list[int]:
    """Zeros around the input: before and after the coefficients, before and after the frames."""
    first = next(iter(found.parts.get("dscnn", found).parts.values()), None)
    return list(first.attributes.get("padding", ())) if first is not None else []


def _check_front_end(whole: Module, path: Path) -> None:
    """Raises: UserError if its embeddings are not of length 1, or its features are others than ours."""
    features = whole.attributes.get("preprocessing")
    said = state_of(features, "mfcc", "MelSpectrogram")
    if (not whole.attributes.get("emb_norm") or state_of(features).get("feature_bin_count") != encoders.COEFFICIENTS
            or {name: said.get(name) for name in _FRONT_END} != _FRONT_END):
        raise UserError("hears other features than 47 frames of 10 MFCC, or does not bring its embeddings to length 1",
                        where=path, remedy=_REMEDY)
