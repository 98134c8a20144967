"""The figures of a run with their captions, as data URLs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.core.errors import UserError


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By paper, the figures that have a caption (``figures/<paper>.json``: title, see, caption, alt by name), as data URLs."""
    found: dict[str, list[dict[str, Any]]] = {}
    for captions in sorted(folder.glob("*.json")):
        for name, about in files.read_json(captions).items():
            path = folder / f"{name}.svg"
            if not path.is_file():
                raise UserError(f"has a caption for '{name}', but there is no such figure", where=captions,
                                remedy="build the figures again")
            data = base64.b64encode(path.read_bytes()).decode()
            found.setdefault(captions.stem, []).append(
                {"see": "", "name": name, **about, "src": f"data:image/svg+xml;base64,{data}"})
    return found
