"""Names that settings and commands choose from. Apart from both: settings take a quarter of a second to import."""

from __future__ import annotations

from typing import Literal

NeuEdgeArm = Literal["rate", "lif", "hybrid", "mapped", "full", "ann"]
