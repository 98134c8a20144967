"""A model as an image for the C library: what ``edgekws_open`` (embedded/image.c) reads.

Little-endian. A header of six numbers of 32 bits (magic, version, bytes, CRC-32 of all that follows the first four, kind,
number of sections), a table (name of four letters, offset, bytes) and the sections, each at a multiple of four. Matrices are
stored [from, to], so that a spike adds one row.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.settings import validate
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.features.logmel import difference_operator, frames_of, mel_filters
from edgekws.features.settings import Features
from edgekws.models.delta.format import SCHEMA, About, checksum
from edgekws.models.delta.int8 import quantise
from edgekws.models.recurrent_lif import RecurrentLIF, load_network

Precision = Literal["fp32", "int8"]

MAGIC, VERSION = 0x53574B45, 1
SPIKING, WAKE_WORD = 1, 2
_ONE = 1 << 30  # of the fixed-point constants of a spectrum
_LARGEST = 4096


@dataclass(frozen=True)
class Spectrum:
    """A front end's spectrum.

    Attributes:
        window: Samples under the Hann window, which stands in the middle of ``size``.
        filters: Mel filters [mels, size // 2 + 1].
    """

    window: int
    size: int
    hop: int
    filters: npt.NDArray[np.float32]

    def sections(self) -> dict[str, bytes]:
        """As sections of an image.

        Raises:
            UserError: The C library's transform cannot take the size.
        """
        rest = self.size // 2
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if self.size % 4 or rest != 1 or not 8 <= self.size <= _LARGEST:
            raise UserError(f"is {self.size} samples; the device takes multiples of 4 without a prime factor above 5",
                            where="features.window", remedy="train a base with another window, for example 480")
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        used = [np.flatnonzero(row) for row in self.filters]
        bands = [(int(bins[0]), int(bins[-1] - bins[0] + 1)) for bins in used]
        weights = np.concatenate([row[first:first + count] for row, (first, count) in zip(self.filters, bands, strict=True)])
        return {
            "FRNT": integers(self.window, self.size, self.hop, len(self.filters), 0, 0),
            "HANN": np.rint(hann * _ONE).astype("<i4").tobytes(),
            "COSN": np.rint(np.cos(2 * np.pi * np.arange(self.size) / self.size) * _ONE).astype("<i4").tobytes(),
            "BAND": np.array(bands, "<u2").tobytes(),
            "MELS": weights.astype("<f4").tobytes()}


def spiking(net: RecurrentLIF, metadata: Mapping[str, Any], *, precision: Precision = "fp32", where: str | Path) -> bytes:
    """The image of a base model of Traces Propagation.

    Args:
        metadata: Of :func:`edgekws.models.recurrent_lif.load_network`.
        precision: Of the weights: as they are, or int8 with a scale for each neuron. A delta is for the base that was
            exported, in either case.
        where: What to call the model in an error.

    Raises:
        UserError: The net has what the device does not: more than one hidden layer, no frozen feature scale, tensors that an
            adapted net added.
    """
    network, scale = net.settings, metadata["feature_scale"]
    if len(net.hidden) != 1:
        raise UserError(f"has {len(net.hidden)} hidden layers; the device learns through prototypes, which take one", where=where,
                        remedy="train a base with traces_propagation.network.hidden of one number")
    if scale is None:
        raise UserError("was trained under per-set normalisation, which a device cannot do: it would need all clips at once",
                        where=where, remedy="export a base of frozen normalisation, models/traces_propagation/base_frozen*")
    if net.added:
        raise UserError(f"also has {', '.join(sorted(net.added))}, which the device does not know", where=where,
                        remedy="export the base, or a net whose own weights were adapted")
    features = validate(Features, files.setting_of(metadata, "features", where), where=str(where))
    frames, width = frames_of(features), features.delta_width
    if 3 * features.mels != net.inputs:
        raise UserError(f"takes {net.inputs} features a frame, its front end makes {3 * features.mels}", where=where,
                        remedy="fetch an intact copy, or train it again")
    words = list(metadata["vocabulary"])
    tensors = {**net.state_dict(), "feature_scale": scale}
    recurrent = int(network.recurrent)
    names = {"WINP": "hidden.0.input", "WOUT": "readout", "TLAB": "target.label"}
    if recurrent:
        names |= {"WREC": "hidden.0.recurrent", "TREC": "target.recurrent"}
    sections = {
        "SIZE": integers(network.hidden[0], net.outputs, len(words), recurrent, int(network.reset == "soft"), CLIP_SAMPLES,
                          width, 0),
        "CNST": _floats(network.membrane_leak, network.trace_leak, network.output_leak, network.threshold,
                        network.surrogate_scale),
        **Spectrum(features.window, features.window, features.hop, mel_filters(features)).sections(),
        "DIFF": _differences(frames, width), "SCAL": scale.numpy().astype("<f4").tobytes(),
        "WORD": b"".join(word.encode() + b"\0" for word in words), "BASE": checksum(tensors).encode()}
    for section, name in names.items():
        sections |= matrix(section, tensors[name], precision)
    sections |= _delta_headers({name: tensors[names[name_]].shape for name_, name in _TRAINED.items() if name_ in names},
                               checksum(tensors))
    return pack(SPIKING, sections)


_TRAINED = {"WINP": "hidden.0.input", "WREC": "hidden.0.recurrent", "WOUT": "readout"}
"""What learning on the device changes, in the order in which the library writes it."""


def matrix(section: str, weights: Tensor, precision: Precision) -> dict[str, bytes]:
    """A matrix [to, from] as sections: floats; or int8, and scales under its name with a small first letter."""
    if precision == "fp32":
        return {section: weights.T.contiguous().numpy().astype("<f4").tobytes()}
    integers, scale = quantise(weights)
    return {section: integers.T.contiguous().numpy().tobytes(),
            f"{section[0].lower()}{section[1:]}": scale.numpy().astype("<f4").tobytes()}


def pack(kind: int, sections: Mapping[str, bytes]) -> bytes:
    """An image of sections by name."""
    table, body, offset = b"", b"", 24 + 12 * len(sections)
    for name, content in sections.items():
        table += struct.pack("<4sII", name.encode(), offset + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    rest = struct.pack("<II", kind, len(sections)) + table + body
    return struct.pack("<IIII", MAGIC, VERSION, 16 + len(rest), zlib.crc32(rest)) + rest


def integers(*values: int) -> bytes:
    """Numbers of 32 bits as a section."""
    return struct.pack(f"<{len(values)}I", *values)


def _floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _differences(frames: int, width: int) -> bytes:
    """Filters [width, 2, width] of the first frames, of one in the middle, and of the last ones."""
    operator = difference_operator(frames, width).reshape(frames, 3, frames)[:, 1:]
    half = width // 2
    rows = [operator[t, :, :width] for t in range(half)]
    rows.append(operator[half, :, :width])
    rows += [operator[t, :, frames - width:] for t in range(frames - half, frames)]
    return np.stack(rows).astype("<f4").tobytes()


def _delta_headers(shapes: Mapping[str, torch.Size], base: str) -> dict[str, bytes]:
    """Headers of the files that the library writes: safetensors, up to where the tensors begin.

    In fp32 the tensors replace the base's; in int8 they are added to them (:mod:`edgekws.models.delta.format`).
    """
    def header(precision: Precision) -> bytes:
        about = About(architecture="recurrent_lif", base=base, method="traces_propagation", precision=precision)
        entries: dict[str, Any] = {}
        place = 0

        def add(name: str, dtype: str, shape: list[int], size: int) -> None:
            nonlocal place
            count = size * int(np.prod(shape))
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + count]}
            place += count

        for name, shape in shapes.items():
            if precision == "fp32":
                add(f"replaced/{name}", "F32", list(shape), 4)
            else:
                add(f"scale/difference/{name}", "F32", [shape[0], 1], 4)
        for name, shape in shapes.items() if precision == "int8" else ():
            add(f"difference/{name}", "I8", list(shape), 1)
        settings = json.dumps({"schema": SCHEMA, **about.model_dump()}, sort_keys=True)
        entries["__metadata__"] = {"format": "edgekws-model-1", "architecture": "delta", "settings": settings,
                                   "provenance": json.dumps({"made_by": "edgekws embedded"})}
        text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    return {"DHDR": header("fp32"), "DHD8": header("int8")}


def of_model(path: str | Path, precision: Precision = "fp32") -> bytes:
    """The image of a model's file.

    Raises:
        UserError: The file is missing or damaged, or holds what the device cannot run.
    """
    return spiking(*load_network(path), precision=precision, where=path)


def as_c(blob: bytes) -> str:
    """An image as a C array ``edgekws_image`` of 32-bit numbers, so that it is aligned; ``edgekws_image_bytes`` is its size."""
    numbers = np.frombuffer(blob + b"\0" * (-len(blob) % 4), "<u4")
    lines = [", ".join(f"0x{number:08X}" for number in numbers[start:start + 10]) for start in range(0, len(numbers), 10)]
    return ("/* Written by `edgekws embedded export`. */\n#include <stdint.h>\n\n"
            f"const uint32_t edgekws_image_bytes = {len(blob)};\nconst uint32_t edgekws_image[{len(numbers)}] = {{\n    "
            + ",\n    ".join(lines) + "};\n")
