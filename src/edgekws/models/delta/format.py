"""A delta as a small file: safetensors in fp32 or int8, which names the base that it is for.

Tensors are named ``<form>/<name>``: ``replaced``, ``low_rank`` (``<name>.up`` and ``.down``), ``difference`` and ``added``
as in :class:`~edgekws.models.delta.delta.Delta`. In fp32 every value is as it was, so the applied delta is the adapted model, bit
for bit. In int8 a tensor of floats is integers with scales beside them, ``scale/<form>/<name>``: one for each row of a
matrix, for each column of a factor ``up``, or for a whole vector (:mod:`edgekws.models.delta.int8`). A replaced tensor that int8
can hold as it is, as quantisation-aware training leaves it, is stored without loss; of any other its difference from the
base is stored, which is within half a scale of the true one. Tensors of integers stay as they are.

The metadata are those of every model of ours, with ``delta`` as architecture; its settings are :class:`About` and the schema.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.settings import Settings, validate
from edgekws.models.delta.delta import Delta, apply
from edgekws.models.delta.int8 import dequantise, quantise, rounded

ARCHITECTURE = "delta"
SCHEMA = 1
_DAMAGED = "fetch an intact copy, or write it again with `edgekws delta diff`"


class About(Settings):
    """What a file tells about its delta."""

    architecture: str = Field(description="of the base")
    base: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="checksum of the base's tensors")]
    method: str = Field("", description="how it was adapted")
    precision: Literal["fp32", "int8"] = Field("fp32", description="of the stored values")
    settings: dict[str, Any] = Field(default_factory=dict, description="those of the adapted model that are not the base's")


# ------------------------------------------------------------------------------------------------ bases
@dataclass(frozen=True)
class Model:
    """A model file of any architecture; the tensors are all that the file has, a front end's scale included."""

    tensors: dict[str, Tensor]
    architecture: str
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @cached_property
    def checksum(self) -> str:
        """See :func:`checksum`."""
        return checksum(self.tensors)


def read_model(path: str | Path) -> Model:
    """Any model that :func:`edgekws.core.files.write_model` wrote.

    Raises:
        UserError: The file is missing, damaged, no such model, or a delta.
    """
    tensors, metadata = files.read_model(path)
    if metadata["architecture"] == ARCHITECTURE:
        raise UserError("is a delta, not a model", where=path, remedy="give the base first, then the delta")
    return Model(tensors, metadata["architecture"], metadata["settings"], metadata["provenance"])


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of a model's tensors in the order of their names: name, type, shape, bytes; metadata do not count."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_base(about: About, found: str, *, where: str | Path = "delta") -> None:
    """Raises: UserError if ``found``, the :func:`checksum` of a base, is not the one that the delta is for."""
    if found != about.base:
        raise UserError(f"is for the base {about.base[:12]}…; this base is {found[:12]}…", where=where,
                        remedy="apply it to the base that it was made from")


# ------------------------------------------------------------------------------------------------ writing and reading
def write_delta(path: str | Path, delta: Delta, about: About, *, provenance: Mapping[str, Any],
                base: Mapping[str, Tensor] | None = None) -> None:
    """Write a delta; the same delta gives the same bytes.

    Args:
        base: The base's tensors, from which int8 takes differences of replaced tensors.

    Raises:
        UserError: It does not fit the base, or int8 is asked for and a value is not finite, or there is no base to take a
            difference from.
    """
    stored = _keyed(delta)
    if base is not None:
        apply(base, delta)  # raises what does not fit
    if about.precision == "int8":
        stored = _as_int8(stored, base or {}, where=path)
    files.write_model(path, stored, architecture=ARCHITECTURE, settings={"schema": SCHEMA, **about.model_dump()},
                      provenance=provenance)


def read_delta(path: str | Path, *, base: str | None = None) -> tuple[Delta, About, dict[str, Any]]:
    """A delta written by :func:`write_delta`, what its file tells about it, and its provenance.

    Args:
        base: :func:`checksum` of the base that it is going to be applied to.

    Raises:
        UserError: The file is missing, damaged or no delta, or the delta is for another base.
    """
    stored, metadata = files.read_model(path)
    settings = dict(metadata["settings"])
    if metadata["architecture"] != ARCHITECTURE or settings.pop("schema", None) != SCHEMA:
        raise UserError(f"is no delta of schema {SCHEMA}", where=path, remedy="give a file of `edgekws delta diff`")
    try:
        about = validate(About, settings)
        delta = _from_keyed({key: _as_float(key, tensor, stored) for key, tensor in stored.items()
                             if not key.startswith("scale/")})
    except UserError as error:
        raise UserError(f"is no sound delta: {error.what}", where=path, remedy=_DAMAGED) from error
    if base is not None:
        check_base(about, base, where=path)
    return delta, about, metadata["provenance"]


def stored_bytes(path: str | Path) -> dict[str, tuple[int, int]]:
    """Numbers of each tensor of a delta's file, and the bytes that carry them, scales included; by ``<form>/<name>``."""
    stored, _ = files.read_model(path, ARCHITECTURE)
    return {key: (tensor.numel(), sum(part.nbytes for part in (tensor, stored.get(f"scale/{key}")) if part is not None))
            for key, tensor in sorted(stored.items()) if not key.startswith("scale/")}


def payload(delta: Delta, base: Mapping[str, Tensor], precision: Literal["fp32", "int8"]) -> int:
    """Bytes of the tensors that a delta's file would hold, scales included; metadata come on top."""
    stored = _keyed(delta)
    if precision == "int8":
        stored = _as_int8(stored, base, where="delta")
    return sum(tensor.nbytes for tensor in stored.values())


def _keyed(delta: Delta) -> dict[str, Tensor]:
    factors = {f"{name}.{part}": factor for name, pair in delta.low_rank.items()
               for part, factor in zip(("up", "down"), pair, strict=True)}
    forms = {"replaced": delta.replaced, "low_rank": factors, "difference": delta.difference, "added": delta.added}
    return {f"{form}/{name}": tensor for form, tensors in forms.items() for name, tensor in tensors.items()}


def _from_keyed(stored: Mapping[str, Tensor]) -> Delta:
    """The inverse of :func:`_keyed`."""
    forms: dict[str, dict[str, Tensor]] = {"replaced": {}, "low_rank": {}, "difference": {}, "added": {}}
    for key, tensor in stored.items():
        form, _, name = key.partition("/")
        if form not in forms or not name:
            raise UserError(f"holds '{key}', which no delta has")
        forms[form][name] = tensor
    factors = forms["low_rank"]
    pairs = {}
    for name in sorted({key.rpartition(".")[0] for key in factors}):
        up, down = factors.pop(f"{name}.up", None), factors.pop(f"{name}.down", None)
        if up is None or down is None or up.ndim != 2 or down.ndim != 2 or up.shape[1] != len(down):
            raise UserError(f"the factors of '{name}' do not make a product")
        pairs[name] = (up, down)
    if factors:
        raise UserError(f"'{next(iter(factors))}' is no factor")
    return Delta(forms["replaced"], pairs, forms["difference"], forms["added"])


def _as_int8(stored: Mapping[str, Tensor], base: Mapping[str, Tensor], *, where: str | Path) -> dict[str, Tensor]:
    small: dict[str, Tensor] = {}
    for given, tensor in stored.items():
        key = given
        if not tensor.is_floating_point():
            small[key] = tensor
            continue
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"'{key}' has values that are not finite, which int8 cannot hold", where=where,
                            remedy="adapt again at a lower learning rate, or write it in fp32")
        if key.startswith("replaced/") and not torch.equal(rounded(tensor), tensor):
            name = key.removeprefix("replaced/")
            if name not in base:
                raise UserError(f"'{name}' is known by its values only, and there is no base to take their difference from",
                                where=where, remedy="give the base, or write it in fp32")
            key, tensor = f"difference/{name}", tensor - base[name]
        small[key], small[f"scale/{key}"] = quantise(tensor, axis=int(tensor.ndim > 1 and "up" in key.split(".")))
    return small


def _as_float(key: str, tensor: Tensor, stored: Mapping[str, Tensor]) -> Tensor:
    scale = stored.get(f"scale/{key}")
    if scale is None:
        return tensor
    fits = scale.ndim in {0, tensor.ndim} and all(
        own in {1, other} for own, other in zip(scale.shape, tensor.shape, strict=False))
    if tensor.dtype != torch.int8 or not scale.is_floating_point() or not fits:
        raise UserError(f"the scale of '{key}' does not fit it")
    return dequantise(tensor, scale)
