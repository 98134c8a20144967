"""Names that settings and commands choose from. Apart from both: settings take a quarter of a second to import."""

from __future__ import annotations

from typing import Literal

MethodName = Literal["traces_propagation", "from_scratch", "readout_only", "bptt"]
