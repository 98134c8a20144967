"""Names that settings and commands choose from. Apart from both: settings take a quarter of a second to import."""

from __future__ import annotations

from typing import Literal

Contrast = Literal["batch", "classes"]
"""What the rule tells a clip apart from."""
EventData = Literal["shd", "nmnist", "dvs_gesture", "cifar10_dvs"]
"""Event data sets of the paper."""

MethodName = Literal["traces_propagation", "from_scratch", "readout_only", "bptt", "bptt_equal_updates", "rehearsal",
                     "class_contrast", "recipe"]
