"""Files between steps: open formats only, written beside and then renamed.

A reader never sees a half-written file: every writer fills ``.<name>.<pid>.part`` in the same folder, flushes
it to disk and renames it. What a killed writer left behind goes when the file is written next.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekws.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

_REFUSED = {errno.ENOENT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
_AGAIN = "check the path; if the workflow made it, delete it and run again"


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, else delete it.

    Raises:
        UserError: The disk is full, or the folder cannot be written to. Then nothing is left of the new file, and the
            old one, if there is one, is as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.*.part"):
            stale.unlink(missing_ok=True)
        yield part
        with open(part, "rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except OSError as error:
        if _is_full(error):
            raise UserError("no space left on the disk; nothing was written", where=path,
                            remedy="free some space, or point the run at another disk, and start again") from error
        if error.errno in _REFUSED and _concerns(error, part):
            raise UserError(f"cannot be written ({error.strerror})", where=path,
                            remedy="check the folder's permissions, or choose another output") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _is_full(error: OSError) -> bool:
    # numpy has no number for it: "200000 requested and 8176 written".
    return error.errno in {errno.ENOSPC, errno.EDQUOT} or (error.errno is None and "requested and" in str(error))


def _concerns(error: OSError, part: Path) -> bool:
    """Whether it is the new file, or a folder on the way to it, that was refused, and not something that is read."""
    return error.filename is None or Path(error.filename) in {part, *part.parents}


def existing(path: str | Path, what: str = "file") -> Path:
    """``path`` if it is a file.

    Raises:
        UserError: There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such {what}", where=path, remedy="check the path, or build it with the workflow first")
    return path


def open_array(path: str | Path, what: str, remedy: str) -> np.memmap[Any, Any]:
    """The array of a .npy file, mapped read-only.

    Raises:
        UserError: The file is missing, is cut short, is no .npy file, or holds objects.
    """
    import numpy as np

    path = existing(path, what)
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError) as error:
        raise UserError(f"is not a readable .npy file ({error})", where=path, remedy=remedy) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with writing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_between(path: str | Path, begin: str, end: str, text: str, *, what: str = "table") -> None:
    """Put a text between two marker lines of a Markdown file; the rest of it stays as it is.

    Args:
        what: The text, for the error.

    Raises:
        UserError: The file has not both markers once, in order.
    """
    path = existing(path, "Markdown file")
    whole = path.read_text(encoding="utf-8")
    if whole.count(begin) != 1 or whole.count(end) != 1 or whole.index(begin) > whole.index(end):
        raise UserError(f"has no place for the {what}", where=path,
                        remedy=f"add the lines '{begin}' and '{end}', once each, where it shall be")
    write_text(path, f"{whole.partition(begin)[0]}{begin}\n{text}\n{end}{whole.partition(end)[2]}")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON that is the same byte for byte for the same value; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Raises: UserError if the file is missing or is not JSON."""
    path = existing(path, "JSON file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"is not valid JSON ({error})", where=path, remedy=_AGAIN) from error


def write_table(path: str | Path, table: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a parquet table; ``metadata`` (JSON values) travels in the file's schema under ``edgekws``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({
        **(arrow.schema.metadata or {}), b"edgekws": json.dumps(metadata or {}, sort_keys=True).encode()})
    with writing(path) as part:
        pq.write_table(arrow, part)


def read_table(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table written by :func:`write_table` and its metadata.

    Raises:
        UserError: The file is missing, or is not parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = existing(path, "table")
    try:
        arrow = pq.read_table(path)
        metadata = json.loads((arrow.schema.metadata or {}).get(b"edgekws", b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"is not a readable parquet table ({error})", where=path, remedy=_AGAIN) from error
    return arrow.to_pandas(), metadata


def write_model(path: str | Path, tensors: Mapping[str, torch.Tensor], *, architecture: str,
                settings: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write a model as safetensors with ``format``, ``architecture``, ``settings``, ``provenance`` as metadata."""
    from safetensors.torch import save

    metadata = {"format": "edgekws-model-1", "architecture": architecture,
                "settings": json.dumps(settings, sort_keys=True), "provenance": json.dumps(provenance, sort_keys=True)}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with writing(path) as part:
        part.write_bytes(_canonical(save(plain, metadata=metadata)))


def _canonical(blob: bytes) -> bytes:
    """The same safetensors blob with its header's keys sorted: the library writes metadata in hash order."""
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:8 + length])
    text = json.dumps({key: header[key] for key in sorted(header)}, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + blob[8 + length:]


def read_model(path: str | Path, architecture: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and metadata (``settings`` and ``provenance`` decoded) of a model written by :func:`write_model`.

    Raises:
        UserError: The file is missing, is no safetensors file, was not written by :func:`write_model`, holds another
            architecture than the one that is asked for, or weights that are no numbers or of another precision.
    """
    with _opened_model(path) as stored:
        metadata: dict[str, Any] = dict(stored.metadata() or {})
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    if architecture is not None and metadata.get("architecture") != architecture:
        raise UserError(f"holds '{metadata.get('architecture')}', not '{architecture}'", where=path,
                        remedy="pass a model made by this paper's own training step")
    try:
        decoded = {field: json.loads(metadata[field]) for field in ("settings", "provenance")}
    except (KeyError, ValueError) as error:
        raise UserError(f"its metadata are not those of a model of ours ({error})", where=path,
                        remedy="pass a model that edgekws wrote") from error
    if "architecture" not in metadata or not all(isinstance(value, dict) for value in decoded.values()):
        raise UserError("its metadata are not those of a model of ours", where=path, remedy="pass a model that edgekws wrote")
    for name, tensor in tensors.items():
        _check_weights(path, name, tensor)
    return tensors, metadata | decoded


def _check_weights(path: str | Path, name: str, tensor: torch.Tensor) -> None:
    if not tensor.is_floating_point():
        return  # integers stand for a chip's weights, or have their scale beside them: whoever takes them sees to it
    if str(tensor.dtype) != "torch.float32":
        raise UserError(f"'{name}' is {str(tensor.dtype).removeprefix('torch.')}, not float32", where=path,
                        remedy="give the model as edgekws wrote it, in full precision")
    if not bool(tensor.isfinite().all()):
        raise UserError(f"'{name}' holds values that are no numbers (NaN or infinite)", where=path,
                        remedy="train it again, at a lower learning rate perhaps, or fetch an intact copy")


def setting_of(metadata: Mapping[str, Any], name: str, path: str | Path) -> Any:
    """What a model was made with, of the metadata of :func:`read_model`.

    Raises:
        UserError: It does not say.
    """
    found = metadata["settings"].get(name)
    if found is None:
        raise UserError(f"does not say its '{name}'", where=path, remedy="pass a model as edgekws wrote it, or train it again")
    return found


def vocabulary_of(metadata: Mapping[str, Any], outputs: int, path: str | Path) -> list[str]:
    """The words of a model, in the order of its outputs.

    Raises:
        UserError: It names none, they are no words or not all different, or there are more of them than outputs.
    """
    words = setting_of(metadata, "vocabulary", path)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise UserError(f"its vocabulary is no list of words: {words!r:.60}", where=path, remedy="train it again")
    if len(set(words)) < len(words) or len(words) > outputs:
        wrong = "names a word twice" if len(set(words)) < len(words) else f"has {len(words)} words for {outputs} outputs"
        raise UserError(f"its vocabulary {wrong}", where=path, remedy="fetch an intact copy, or train it again")
    return list(words)


def architecture_of(path: str | Path) -> str:
    """The architecture of a model written by :func:`write_model`, "" where it names none.

    Raises:
        UserError: The file is missing or is no safetensors file.
    """
    with _opened_model(path) as stored:
        return str((stored.metadata() or {}).get("architecture", ""))


@contextlib.contextmanager
def _opened_model(path: str | Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    path = existing(path, "model")
    with path.open("rb") as file:
        if file.read(23) == b"version https://git-lfs":
            raise UserError("is a pointer of Git LFS, not the model itself", where=path, remedy="fetch it: git lfs pull")
    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except SafetensorError as error:
        raise UserError(f"is not a readable safetensors model ({error})", where=path,
                        remedy=f"{_AGAIN}, or fetch an intact copy") from error


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with open(existing(path), "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
