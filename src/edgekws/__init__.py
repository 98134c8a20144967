"""Keyword spotting that adapts on the device: three papers replicated in one workflow.

The local rules work on any PyTorch net (docs/rules.md): ``from edgekws import TracesPropagation``. They are imported when
first asked for, since they take PyTorch with them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekws.methods.traces_propagation.public import TracesPropagation as TracesPropagation

__version__ = "0.1.0"

_HOMES = {
    "TracesPropagation": "edgekws.methods.traces_propagation.public",
}
__all__ = ["TracesPropagation"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
