"""The tensors of a file that ``torch.save`` wrote of a whole module, without unpickling anything.

Such a file is a zip: a pickle that says what the module is made of, and the numbers of each tensor. Unpickling would import and
run whatever the pickle names. Here its opcodes are read (pickletools) and followed by hand: only those that put plain values
together are known, whatever a pickle names stays a name, and what it would call is written down and not called.
"""

from __future__ import annotations

import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekws.core.errors import UserError
from edgekws.core.files import existing

_MOST_BYTES = 64 * 2**20
"""Larger pickles and tensors are refused."""

_STORAGES = {"torch FloatStorage": "<f4", "torch DoubleStorage": "<f8", "torch LongStorage": "<i8", "torch IntStorage": "<i4"}
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class NotKnown(Exception):
    """A pickle holds what a module of plain layers does not."""


@dataclass
class Thing:
    """What a pickle would make by a call: by which name, of what, and the state it would set then."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Module:
    """A module of a file: its class by name, plain attributes, tensors and parts, in the order it had them."""

    kind: str
    attributes: dict[str, Any]
    tensors: dict[str, npt.NDArray[Any]]
    parts: dict[str, Module]

    def all_tensors(self, prefix: str = "") -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Tensors of this module and its parts under the names that ``state_dict`` gives them."""
        for name, tensor in self.tensors.items():
            yield prefix + name, tensor
        for name, part in self.parts.items():
            yield from part.all_tensors(f"{prefix}{name}.")


def read_module(path: str | Path) -> Module:
    """The module of a file of ``torch.save(module, path)`` (torch 1.6 and later); nothing in it is run.

    Raises:
        UserError: The file is missing, damaged, or no such file.
    """
    path = existing(path, "file of torch")
    remedy = "give a file that torch.save wrote of a whole module, as its owner publishes it"
    try:
        with zipfile.ZipFile(path) as opened:
            sizes = {entry.filename: entry.file_size for entry in opened.infolist()}
            pickles = [name for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise UserError("is a zip archive, but torch did not write it (no data.pkl)", where=path, remedy=remedy)
            folder = pickles[0].removesuffix("data.pkl")

            def content(name: str) -> bytes:
                if not 0 <= sizes.get(name, -1) <= _MOST_BYTES:
                    raise NotKnown(f"'{name}' is missing, or larger than {_MOST_BYTES} bytes")
                return opened.read(name)

            found = _follow(content(pickles[0]))
            return _module(found, lambda key: content(f"{folder}data/{key}"))
    except _DAMAGED as error:
        raise UserError(f"is damaged, or not the zip archive that torch writes ({error})", where=path, remedy=remedy) from error
    except NotKnown as error:
        raise UserError(f"is not a module of plain layers: {error}", where=path, remedy=remedy) from error


def state_of(found: Any, *path: str) -> dict[str, Any]:
    """What a pickled object sets, or one inside it by names of attributes and parts; nothing where there is no such one."""
    for name in path:
        state = state_of(found)
        parts = state.get("_modules")
        inner = (parts.items if isinstance(parts, Thing) else parts) or {}
        found = state[name] if name in state else inner.get(name)
    return found.state if isinstance(found, Thing) and isinstance(found.state, dict) else {}


# ------------------------------------------------------------------------------------------------ the pickle
def _follow(data: bytes) -> Any:
    """What a pickle describes: plain values, :class:`Thing` in place of calls, "module name" in place of what it names."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        taken = stack[start:]
        del stack[start:]
        return taken

    def last(count: int) -> tuple[Any, ...]:
        if len(stack) < count:
            raise IndexError
        taken = tuple(stack[-count:])
        del stack[-count:]
        return taken

    def set_items(pairs: list[Any]) -> None:
        target = stack[-1].items if isinstance(stack[-1], Thing) else stack[-1]
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def call(_: Any) -> None:
        name, arguments = last(2)
        stack.append(Thing(_text(name), tuple(arguments)))

    def build(_: Any) -> None:
        state = stack.pop()
        stack[-1].state = state

    act: dict[str, Callable[[Any], Any]] = {
        "PROTO": lambda _: None, "STOP": lambda _: None, "MARK": lambda _: marks.append(len(stack)),
        "NONE": lambda _: stack.append(None),
        "NEWTRUE": lambda _: stack.append(True), "NEWFALSE": lambda _: stack.append(False),
        "EMPTY_DICT": lambda _: stack.append({}), "EMPTY_LIST": lambda _: stack.append([]),
        "EMPTY_TUPLE": lambda _: stack.append(()), "TUPLE": lambda _: stack.append(tuple(since_mark())),
        "TUPLE1": lambda _: stack.append(last(1)), "TUPLE2": lambda _: stack.append(last(2)),
        "TUPLE3": lambda _: stack.append(last(3)), "APPEND": lambda _: stack[-1].append(stack.pop()),
        "APPENDS": lambda _: (lambda taken: stack[-1].extend(taken))(since_mark()),
        "SETITEM": lambda _: set_items(list(last(2))), "SETITEMS": lambda _: set_items(since_mark()),
        "REDUCE": call, "NEWOBJ": call, "BUILD": build, "BINPERSID": lambda _: stack.append(Thing("storage", tuple(stack.pop())))}
    for kind in ("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "LONG1", "GLOBAL"):
        act[kind] = stack.append
    for kind in ("BINPUT", "LONG_BINPUT"):
        act[kind] = lambda place: memo.__setitem__(place, stack[-1])
    for kind in ("BINGET", "LONG_BINGET"):
        act[kind] = lambda place: stack.append(memo[place])
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name not in act:
                raise NotKnown(f"its pickle has the instruction {opcode.name}")
            act[opcode.name](argument)
        (found,) = stack
    except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise NotKnown(f"its pickle is damaged ({error})") from error
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise NotKnown("its pickle calls what is no name")
    return value


# ------------------------------------------------------------------------------------------------ modules and tensors
def _module(found: Any, numbers: Callable[[str], bytes]) -> Module:
    if not isinstance(found, Thing) or not isinstance(found.state, dict) or "_modules" not in found.state:
        raise NotKnown("it holds something else")
    state = dict(found.state)
    tensors = {}
    for group in ("_parameters", "_buffers"):
        for name, value in _entries(state.pop(group, None)).items():
            if value is not None:
                tensors[name] = _tensor(value, numbers)
    parts = {name: _module(part, numbers) for name, part in _entries(state.pop("_modules", None)).items() if part is not None}
    return Module(found.name.rpartition(" ")[2], {name: value for name, value in state.items() if not name.startswith("_")},
                  tensors, parts)


def _entries(value: Any) -> dict[str, Any]:
    entries = value.items if isinstance(value, Thing) else value
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise NotKnown("a module in it has no table of its parts and tensors")
    return entries


def _tensor(value: Any, numbers: Callable[[str], bytes]) -> npt.NDArray[Any]:
    """A tensor by its storage, place, shape and strides; only whole, contiguous ones are known."""
    if isinstance(value, Thing) and value.name == "torch._utils _rebuild_parameter":
        value = value.arguments[0]
    match value:
        case Thing("torch._utils _rebuild_tensor_v2", (Thing("storage", ("storage", str(kind), str(key), _, int(count))),
                                                       0, tuple(shape), tuple(strides), *_)) if kind in _STORAGES:
            pass
        case _:
            raise NotKnown("a tensor in it is of another form")
    if not all(isinstance(extent, int) and extent >= 0 for extent in (*shape, *strides)):
        raise NotKnown("a tensor's shape is no list of numbers")
    plain = tuple(prod(shape[axis + 1:]) for axis in range(len(shape)))
    if prod(shape) != count or any(extent > 1 and given != wanted
                                   for extent, given, wanted in zip(shape, strides, plain, strict=True)):
        raise NotKnown("a tensor in it is a part of another, or transposed")
    data = numbers(key)
    if len(data) != count * np.dtype(_STORAGES[kind]).itemsize:
        raise NotKnown(f"tensor '{key}' has {len(data)} bytes, not those of {count} numbers")
    return np.frombuffer(data, _STORAGES[kind]).reshape(shape)
