"""How settings are read, checked and written: the base class, overrides, clear errors, YAML with comments.

A section of the settings is what one family of commands depends on; the workflow hands each rule its own
section, so a changed value reruns just what it touches. Unknown names are refused with a suggestion. The sections
themselves live beside the code that they configure; :mod:`edgekws.config` puts them together.
"""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edgekws.core.errors import UserError, did_you_mean

Section = TypeVar("Section", bound="Settings")

Fraction = Annotated[float, Field(gt=0, lt=1)]

Share = Annotated[float, Field(ge=0, le=1)]

NonNegativeInt = Annotated[int, Field(ge=0)]

PositiveInt = Annotated[int, Field(ge=1)]

PositiveFloat = Annotated[float, Field(gt=0)]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


def _all_different(values: list[int]) -> list[int]:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"{', '.join(map(str, twice))} is there twice")
    return values


def _usable_path(path: str) -> str:
    if re.search(r"\{\s*\w+\s*(,[^{}]*)?\}", path):
        raise ValueError("Snakemake takes what is in braces for a wildcard: rename the file or folder")
    return str(Path(path).expanduser()) if path.startswith("~") else path


PathText = Annotated[str, AfterValidator(_usable_path)]
"""A path that a rule reads; ``~`` is the home folder."""

Seeds = Annotated[list[int], Field(min_length=1), AfterValidator(_all_different)]


class Settings(BaseModel):
    """A section: unknown names are refused, values cannot be changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def check_for_run(self) -> None:
        """Raises: ValueError for what a whole run cannot do without, or that its sections name in vain.

        Not asked of a section by itself: a rule hands its command just what the command is about.
        """


def read(section: type[Section], source: str | Path | None = None, overrides: typing.Sequence[str] = (),
         *, where: str = "settings") -> Section:
    """A section of the settings from JSON text or a YAML file, then ``name=value`` overrides (dots for depth).

    Raises:
        UserError: A name is unknown (with the nearest known one), or a value is out of range.
    """
    values: dict[str, Any] = {}
    if source is not None:
        text: str | bytes = str(source)
        if not str(source).lstrip().startswith("{"):
            where, path = str(source), Path(source)
            if not path.is_file():
                raise UserError("no such settings file", where=path, remedy="give a YAML file, or JSON text in braces")
            text = path.read_bytes()
        values = parse(text, where=where, empty=True)
    for override in overrides:
        _set(values, override)
    return validate(section, values, where=where)


def parse(text: str | bytes, *, where: str | Path, empty: bool = False) -> dict[str, Any]:
    """Settings by name from YAML, unchecked.

    Args:
        empty: Whether a text without any is one of none; Snakemake refuses it as a configuration.

    Raises:
        UserError: It is no YAML, or no mapping of names.
    """
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"is not valid YAML ({error})", where=where, remedy="mend the file") from error
    if found is None and empty:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UserError("holds no settings by name", where=where, remedy="write name: value, as in config/default.yaml")
    return found


def _set(values: dict[str, Any], override: str) -> None:
    name, sign, value = override.partition("=")
    if not sign or not name.strip():
        raise UserError("is not of the form name=value", where=f"--set {override}",
                        remedy="write, for example, --set learning_rate=0.001")
    *parents, last = name.strip().split(".")
    for place, parent in enumerate(parents, 1):
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"'{'.'.join(parents[:place])}' is one value and has no '{last}' in it", where=f"--set {override}",
                            remedy="name the settings down to the one that is meant")
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"'{value}' is not valid YAML", where=f"--set {override}", remedy="put it in quotes") from error


def validate(section: type[Section], values: Any, *, where: str = "settings") -> Section:
    """Raises: UserError naming the setting, what is wrong with it and the nearest known name."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # What pydantic calls a choice of a union is no setting.
        name = ".".join(str(part) for part in first["loc"] if not re.match(r"constrained-|literal\[", str(part))) or "(top)"
        if first["type"] == "extra_forbidden":
            known = _names_at(section, first["loc"][:-1])
            raise UserError(f"unknown setting '{name}'", where=where,
                            remedy=did_you_mean(str(first["loc"][-1]), known)) from error
        what = first["msg"].removeprefix("Value error, ")
        if first["loc"]:  # else it is about settings beside one another, all of which would be shown
            what = f"setting '{name}' is {first['input']!r}: {what}"
        raise UserError(what, where=where, remedy="see the comment beside it in config/default.yaml") from error


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The settings models inside a type annotation (through unions, lists and dicts)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _names_at(section: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names known at ``location`` inside ``section``; keys of a dict of sections are skipped over."""
    for part in location:
        if part in section.model_fields:
            inner = _models(section.model_fields[str(part)].annotation)
            if inner:
                section = inner[0]
    return list(section.model_fields)


def commented_yaml(section: BaseModel, depth: int = 0) -> list[str]:
    pad, lines = "  " * depth, []
    for name, field in type(section).model_fields.items():
        value, about = getattr(section, name), f"  # {field.description}" if field.description else ""
        if isinstance(value, BaseModel):
            lines += [f"{pad}{name}:{about}", *commented_yaml(value, depth + 1)]
        elif isinstance(value, dict) and value:
            lines.append(f"{pad}{name}:{about}")
            for key, item in value.items():
                lines += [f"{pad}  {key}:", *commented_yaml(item, depth + 2)]
        else:
            # YAML reads 1e-05 as text, 1.0e-05 as a number.
            text = re.sub(r"(?<![\d.])(\d)e", r"\1.0e", json.dumps(value))
            lines.append(f"{pad}{name}: {text}{about}")
    return lines


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Mappings laid over each other, depth first; later ones win.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
