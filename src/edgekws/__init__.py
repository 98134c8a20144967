"""Keyword spotting that adapts on the device: three papers replicated in one workflow.

The local rules work on any PyTorch net (docs/rules.md): ``from edgekws import TracesPropagation``. They are imported when
first asked for, since they take PyTorch with them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgekws.core.version import __version__ as __version__

if TYPE_CHECKING:
    from edgekws.methods.alternatives.local_rules.public import Decolle as Decolle
    from edgekws.methods.alternatives.local_rules.public import EProp as EProp
    from edgekws.methods.alternatives.local_rules.public import Etlp as Etlp
    from edgekws.methods.alternatives.local_rules.public import Osttp as Osttp
    from edgekws.methods.alternatives.local_rules.public import RandomEProp as RandomEProp
    from edgekws.methods.alternatives.local_rules.public import Tess as Tess
    from edgekws.methods.traces_propagation.public import TracesPropagation as TracesPropagation


__all__ = ["Decolle", "EProp", "Etlp", "Osttp", "RandomEProp", "Tess", "TracesPropagation"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "traces_propagation" if name == "TracesPropagation" else "alternatives.local_rules"
    return getattr(importlib.import_module(f"edgekws.methods.{home}.public"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
