"""Chips, prices and times: ``chips.yaml`` read and checked. Every constant carries its unit and its source."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekws.core.errors import UserError, did_you_mean

RESOURCES = ("neurons", "synapse_bits", "in_axons", "out_axons")
"""What a core has a limited number of."""

Entry = TypeVar("Entry")
_SI = {"count": 1.0, "bit": 1.0, "pJ": 1e-12, "mW": 1e-3, "ns": 1e-9, "ms": 1e-3}


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Constant(_Data):
    """A number, its unit, and where it comes from (a name under ``sources``)."""

    value: float = Field(ge=0)
    unit: Literal["count", "bit", "pJ", "mW", "ns", "ms"] = "count"
    source: str

    @property
    def si(self) -> float:
        """In joules, watts or seconds."""
        return self.value * _SI[self.unit]


class Count(Constant):
    value: int = Field(ge=1)


class Chip(_Data):
    """Limits of a core, and the mesh of tiles the cores sit in."""

    name: str = ""
    about: str
    width: Count
    height: Count
    cores_per_tile: Count
    neurons: Count
    synapse_bits: Count
    weight_bits: Count
    in_axons: Count
    out_axons: Count
    destinations: Count | None
    timing: str

    @property
    def cores(self) -> int:
        return self.width.value * self.height.value * self.cores_per_tile.value

    @property
    def capacity(self) -> dict[str, int]:
        """Limit of each of :data:`RESOURCES` in one core."""
        return {name: int(getattr(self, name).value) for name in RESOURCES}

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """(x, y) of each core's tile, [cores, 2]; cores are numbered tile by tile, tiles row by row."""
        tile = np.arange(self.cores) // self.cores_per_tile.value
        return np.stack([tile % self.width.value, tile // self.width.value], axis=1)

    @property
    def hops(self) -> npt.NDArray[np.int64]:
        """Hops east-west and north-south between any two cores, [2, cores, cores]: routes go along x, then y."""
        places = self.positions.T
        hops: npt.NDArray[np.int64] = np.abs(places[:, :, None] - places[:, None, :])
        return hops


class Prices(_Data):
    """Energy of one event of each kind."""

    about: str
    synapse: Constant
    update_active: Constant
    update_inactive: Constant
    spike: Constant
    message: Constant
    delivery: Constant
    hop_east_west: Constant
    hop_north_south: Constant


class Timing(Prices):
    """Time of one event of each kind, and of the barrier that ends a step."""

    barrier_one: Constant
    barrier_all: Constant
    tiles: Count

    def barrier(self, tiles: int) -> float:
        """Seconds the barrier takes where this many tiles are in use."""
        share = (tiles - 1) / max(self.tiles.value - 1, 1)
        return self.barrier_one.si + min(max(share, 0.0), 1.0) * (self.barrier_all.si - self.barrier_one.si)


class Catalogue(_Data):
    """All of ``chips.yaml``."""

    sources: dict[str, str]
    chips: dict[str, Chip]
    prices: dict[str, Prices]
    macs: dict[str, Constant]
    static_power: dict[str, Constant]
    timings: dict[str, Timing]

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("chips"), dict):
            chips = {name: {**chip, "name": name} if isinstance(chip, dict) else chip
                     for name, chip in values["chips"].items()}
            return {**values, "chips": chips}
        return values

    @model_validator(mode="after")
    def _complete(self) -> Catalogue:
        for where, constant in _constants(self):
            if constant.source not in self.sources:
                raise ValueError(f"{where}: source '{constant.source}' is not listed under sources")
        for name, chip in self.chips.items():
            if chip.timing not in self.timings:
                raise ValueError(f"chips.{name}.timing: there are no timings '{chip.timing}'")
        return self


def _constants(data: BaseModel | dict[str, Any], where: str = "") -> list[tuple[str, Constant]]:
    """Every constant below ``data``, with the path that leads to it."""
    found = []
    for name, value in (data.items() if isinstance(data, dict) else data):
        path = f"{where}.{name}".removeprefix(".")
        if isinstance(value, Constant):
            found.append((path, value))
        elif isinstance(value, BaseModel | dict):
            found += _constants(value, path)
    return found


def read(path: str | Path | None = None) -> Catalogue:
    """The catalogue in a YAML file, or the package's own.

    Raises:
        UserError: The file is missing, or something in it is; the message names the place.
    """
    where = Path(path) if path is not None else None
    if where is not None and not where.is_file():
        raise UserError("no such chip file", where=where, remedy="give a YAML file in the form of chips.yaml")
    text = (where or resources.files(__package__) / "chips.yaml").read_text(encoding="utf-8")
    try:
        return Catalogue.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"is not valid YAML ({error})", where=where or "chips.yaml", remedy="mend the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{name}: {what}" if name else what, where=where or "chips.yaml",
                        remedy="mend it after the model of the other entries") from error


@functools.cache
def load() -> Catalogue:
    """The package's own catalogue, read once."""
    return read()


def chip(name: str) -> Chip:
    """Raises: UserError with the nearest name if there is no such chip."""
    return _entry(load().chips, name, "chip")


def prices(name: str) -> Prices:
    """Raises: UserError with the nearest name if there is no such price set."""
    return _entry(load().prices, name, "price set")


def timing(name: str) -> Timing:
    """Raises: UserError with the nearest name if there are no such timings."""
    return _entry(load().timings, name, "set of timings")


def _entry(entries: dict[str, Entry], name: str, kind: str) -> Entry:
    if name not in entries:
        raise UserError(f"there is no {kind} '{name}'", where="chips.yaml", remedy=did_you_mean(name, entries))
    return entries[name]
