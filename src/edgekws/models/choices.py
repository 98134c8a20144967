"""Names that settings and commands choose from. Apart from both: settings take a quarter of a second to import."""

from __future__ import annotations

from typing import Literal

Backbone = Literal["ds_cnn_s", "ds_cnn_m", "ds_cnn_l", "resnet15", "resnet15_narrow"]
