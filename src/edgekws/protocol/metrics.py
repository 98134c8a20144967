"""What metrics files hold: the envelope that all share, how they are written and read, and JSON pointers into them.

A method describes its files in ``methods/<name>/metrics.py``: ``KINDS`` has a :class:`Metrics` for each experiment by name,
under ``"*"`` for experiments that the settings name. Claims point into them (``claims/<paper>.yaml``), and
:func:`check_pointer` tells without a run whether a pointer leads anywhere.
"""

from __future__ import annotations

import functools
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError

from edgekws.core import files, registry
from edgekws.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from edgekws.protocol.settings import Statistics

Kind = TypeVar("Kind", bound="Metrics")

Number = int | float
"""Whichever of the two the file holds: a whole float stays one."""

Shot = Annotated[str, Field(pattern=r"^([1-9]\d*|all)$")]
"""Support clips of each word, as a key."""


@dataclass(frozen=True)
class Of:
    """Beside ``dict[str, Any]``: what is in it today. Files keep what they were made with, so that is not enforced in them,
    but a claim may point at nothing else."""

    kind: Any


class Fields(BaseModel):
    """A part of a metrics file by field; it may hold more, at which no claim can point."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Cell(Fields):
    """A number with its interval, as :class:`edgekws.protocol.statistics.Interval` has it."""

    value: Number
    ci_low: Number | None
    ci_high: Number | None
    n: int


class Check(Fields):
    """Whether something holds, and why."""

    holds: bool
    why: str


class NotMeasured(Fields):
    """In place of a number that this machine could not measure."""

    measured: Literal[False]
    why: str


class Corpus(Fields):
    """The corpus that a number was measured on."""

    name: str
    archive: str
    archive_bytes: int
    archive_sha256: str
    synthetic: bool
    words: list[str]
    clips: int
    speakers: int
    split_disagreements: int
    positives: int
    negative_hours: dict[str, float]
    pretraining: str
    meets: list[str]


class Provenance(Fields):
    """See :func:`edgekws.core.provenance.provenance`."""

    code: str
    python: str
    packages: dict[str, str]
    platform: str
    device: str
    threads: int
    corpus: Corpus


class Metrics(Fields):
    """The envelope of every metrics file; subclasses add what was measured."""

    schema_: Literal[1] = Field(alias="schema")
    paper: str
    experiment: str | None = None
    seed: int | None = None
    seeds: list[int] | None = None
    settings: dict[str, Any]
    provenance: Annotated[dict[str, Any], Of(Provenance)]

    _content: dict[str, Any] | None = PrivateAttr(None)

    @property
    def content(self) -> dict[str, Any]:
        """The same as JSON values, in the order of the file that it was read from."""
        return self.model_dump(by_alias=True, exclude_unset=True) if self._content is None else self._content


def write(path: str | Path, content: Metrics | Mapping[str, Any], kind: type[Metrics] = Metrics) -> None:
    """Write a metrics file, the same byte for byte for the same content.

    Raises:
        UserError: It is not of its kind; nothing is written then.
    """
    plain = content.content if isinstance(content, Metrics) else dict(content)
    _checked(json.loads(json.dumps(plain)), type(content) if isinstance(content, Metrics) else kind, path,
             "this is a bug; please report it")
    files.write_json(path, plain)


def read(path: str | Path, kind: type[Kind]) -> Kind:
    """Raises: UserError if the file is missing, or is not of this kind, with the field that is wrong."""
    return _checked(files.read_json(path), kind, path, "check the path; if the workflow made it, delete it and run again")


def summarise(out: Path, parts: Sequence[Path], part: type[Metrics], into: type[Metrics],
              make: Callable[[Sequence[dict[str, Any]], Statistics], dict[str, Any]], settings: Statistics) -> None:
    """Aggregate metrics files of one kind into one of another: what every ``summarise`` command does.

    Raises:
        UserError: A part is missing or of another kind.
    """
    write(out, make([read(path, part).content for path in parts], settings), into)


def _checked(content: Any, kind: type[Kind], path: str | Path, remedy: str) -> Kind:
    try:
        found = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "(top)"
        raise UserError(f"holds no metrics ({kind.__name__}): field '{at}': {first['msg'].lower()}", where=path,
                        remedy=remedy) from error
    found._content = content
    return found


# ------------------------------------------------------------------------------------------------ pointers
_WANTED = {Cell: "a number with its interval", Check: "a check"}


def check_pointer(kind: type[BaseModel], pointer: str, wanted: type[Fields] | None = None) -> None:
    """Whether a JSON pointer (RFC 6901) can lead to something in files of a kind.

    Args:
        kind: The model of the file.
        wanted: :class:`Cell` or :class:`Check` where the pointer must lead to one.

    Raises:
        UserError: It cannot, with the nearest name that is known at that place.
    """
    if pointer and not pointer.startswith("/"):
        raise UserError(f"'{pointer}' is no JSON pointer", remedy="begin it with a slash")
    here: list[Any] = [kind]
    walked = ""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        below = [found for each in here for found in _below(each, key)]
        if not below:
            known = [name for each in here for name in _names(each)]
            raise UserError(f"'{pointer}' leads nowhere: no '{key}' in {walked or 'the file'}",
                            remedy=did_you_mean(key, known) if known else f"see {kind.__module__}.{kind.__name__}")
        here, walked = below, f"{walked}/{part}"
    if wanted is not None and not any(each is Any or (isinstance(each, type) and issubclass(each, wanted)) for each in here):
        raise UserError(f"'{pointer}' does not lead to {_WANTED.get(wanted, wanted.__name__)}",
                        remedy=f"see {kind.__module__}.{kind.__name__}")


def _branches(annotation: Any, metadata: Iterable[Any] = ()) -> Iterator[Any]:
    """The types of an annotation, unions and :class:`Of` resolved."""
    if of := next((found for found in metadata if isinstance(found, Of)), None):
        annotation = of.kind
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        yield from _branches(arguments[0], arguments[1:])
    elif origin in (typing.Union, types.UnionType):
        for each in arguments:
            yield from _branches(each)
    else:
        yield annotation


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _below(kind: Any, key: str) -> Iterator[Any]:
    """The types that a value of a type may hold under a key."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (Any, dict, list):
        yield Any
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        if field := _fields(kind).get(key):
            yield from _branches(field.annotation, field.metadata)
    elif origin is dict:
        if _is_key(arguments[0], key):
            yield from _branches(arguments[1])
    elif origin in (list, tuple) and key.isdecimal():
        yield from _branches(arguments[0])


@functools.cache
def _keys(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _is_key(annotation: Any, key: str) -> bool:
    try:
        _keys(annotation).validate_python(key)
    except ValidationError:
        return False
    return True


def _names(kind: Any) -> Iterator[str]:
    """The names a type knows: fields, and keys that are listed."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from _fields(kind)
    elif typing.get_origin(kind) is dict:
        for branch in _branches(typing.get_args(kind)[0]):
            if typing.get_origin(branch) is Literal:
                yield from map(str, typing.get_args(branch))


def kind_of(method: str, experiment: str) -> type[Metrics] | None:
    """What ``metrics/<method>/<experiment>.json`` holds; None where the method does not say.

    Raises:
        UserError: The method has no such experiment.
    """
    described = registry.module(method, "metrics")
    if described is None:
        return None
    kinds: dict[str, type[Metrics]] = described.KINDS
    if experiment not in kinds and "*" not in kinds:
        raise UserError(f"'{method}' has no experiment '{experiment}'", remedy=did_you_mean(experiment, kinds))
    return kinds.get(experiment, kinds.get("*"))
