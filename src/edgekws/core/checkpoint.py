"""Long jobs that go on where they were cut off, to the same bytes.

A :class:`Checkpoint` keeps the state of one job in ``<output>.checkpoint`` until the output is whole. The file is
safetensors: tensors as such (weights, optimiser, torch's generator), everything else as JSON in the metadata. It knows
what it was made from; a state of other settings, inputs, code or packages is told of and left alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.progress import tell
from edgekws.core.provenance import provenance, sources_checksum

if TYPE_CHECKING:
    from torch import Tensor

Task = TypeVar("Task")
Result = TypeVar("Result")

PAUSE = 5.0  # seconds between two savings, at least
SHARE = 0.01  # of a job's time that saving may take
_TENSOR = "$tensor"


class Checkpoint:
    """The state of one job beside its output; a context that removes it when the job is done.

    A state is a mapping of tensors, JSON values, and mappings and lists of these. What a job restores must be all that
    its further course depends on.

    Args:
        out: The job's output; None for a job whose state nobody keeps.
        inputs: Files that the job reads: they are known by size and time of change.
        made_with: Settings, seed, ``device`` (a GPU's state does not go on on a CPU) and whatever else the result depends
            on, as JSON values.
    """

    def __init__(self, out: Path | None, *, inputs: Iterable[Path] = (), threads: int = 1, **made_with: Any) -> None:
        self.path = None if out is None else out.with_name(out.name + ".checkpoint")
        self._next = time.monotonic() + PAUSE
        self._of: dict[str, str] = {}
        if out is not None:
            found = {str(path): files.existing(path).stat() for path in inputs}
            about = provenance(threads=threads, device=made_with.get("device", "cpu"))
            made_with |= {"inputs": {name: [about.st_size, about.st_mtime_ns] for name, about in found.items()},
                          "code": sources_checksum(), **{name: about[name] for name in about if name != "code"}}
            self._of = {name: json.dumps(value, sort_keys=True) for name, value in made_with.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.path is not None and kind is None:
            self.path.unlink(missing_ok=True)

    def due(self) -> bool:
        """Whether it is time to save again."""
        return self.path is not None and time.monotonic() >= self._next

    def save(self, after: str, state: Mapping[str, Any]) -> None:
        """Save the state; ``after`` says how far the job is.

        A full disk stops no training: that is told of, and the job goes on.
        """
        started = time.monotonic()
        try:
            self._write(after, state)
        except UserError as error:
            tell(f"{error.where}: {error.what}; going on without a checkpoint")
        ended = time.monotonic()
        self._next = ended + max(PAUSE, (ended - started) / SHARE)

    def found(self) -> dict[str, Any] | None:
        """The state that an earlier start of this job left; None if there is none that fits, and then a line says why."""
        if self.path is None or not self.path.exists():
            return None
        try:
            of, after, state = self._read()
        except ValueError as error:
            tell(f"{self.path}: is damaged ({error}); starting afresh")
            return None
        if other := sorted(name for name in {*of, *self._of} if of.get(name) != self._of.get(name)):
            tell(f"{self.path}: was made with another {', '.join(other)}; starting afresh")
            return None
        tell(f"{self.path}: going on after {after}")
        return state

    def each(self, tasks: Sequence[Task], do: Callable[[Task], Result], *, of: str) -> Iterator[Result]:
        """The result of every task, in order; those from before the job was cut off come from the checkpoint.

        Args:
            do: Its result is a JSON value that depends on the task alone.
            of: What the tasks are, for messages.
        """
        done: list[Result] = (self.found() or {"done": []})["done"]
        yield from done
        for task in tasks[len(done):]:
            done.append(do(task))
            if self.due():
                self.save(f"{len(done)} of {len(tasks)} {of}", {"done": done})
            yield done[-1]

    def _write(self, after: str, state: Mapping[str, Any]) -> None:
        from safetensors.torch import save

        assert self.path is not None
        tensors: dict[str, Tensor] = {}
        text = json.dumps(_apart(state, "", tensors))
        metadata = {"of": json.dumps(self._of), "after": after, "state": text, "sha256": checksum(tensors, text)}
        with files.writing(self.path) as part:
            part.write_bytes(save(tensors, metadata=metadata))

    def _read(self) -> tuple[dict[str, str], str, dict[str, Any]]:
        """What it was made from, how far it is, and the state. Raises: ValueError if the file is damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(error) from error
        if checksum(tensors, metadata.get("state", "")) != metadata.get("sha256"):
            raise ValueError("its checksum differs")
        return json.loads(metadata["of"]), metadata["after"], _together(json.loads(metadata["state"]), tensors)


NOWHERE = Checkpoint(None)
"""For whoever keeps no state: finds none and saves none."""


def checksum(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Hex SHA-256 of tensors, by name, and of a text."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value with each tensor moved to ``tensors`` and its name in its place."""
    import torch

    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {key: _apart(each, f"{name}/{key}", tensors) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_apart(each, f"{name}/{index}", tensors) for index, each in enumerate(value)]
    return value


def _together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of :func:`_apart`."""
    if isinstance(value, dict):
        return tensors[value[_TENSOR]] if _TENSOR in value else {key: _together(each, tensors) for key, each in value.items()}
    return [_together(each, tensors) for each in value] if isinstance(value, list) else value
