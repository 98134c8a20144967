"""Settings of the front ends."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgekws.core.settings import PositiveInt, Settings


class Features(Settings):
    """Log-mel with first and second differences (traces_propagation.md, section 4)."""

    window: PositiveInt = Field(480, description="samples in a window (30 ms)")
    hop: PositiveInt = Field(160, description="samples between frames (10 ms)")
    mels: PositiveInt = Field(40, description="mel bands")
    lowest: Annotated[float, Field(ge=0)] = Field(20.0, description="lowest frequency, Hz")
    highest: Annotated[float, Field(gt=0, le=8000)] = Field(4000.0, description="highest frequency, Hz")
    delta_width: Literal[3, 5, 7, 9, 11] = Field(9, description="frames in the window of the differences")


class LogMel(Settings):
    """Log-mel frames on a scale from 0 to 1 (neuedge.md, section 4)."""

    window: PositiveInt = Field(400, description="samples in a window (25 ms)")
    hop: PositiveInt = Field(160, description="samples between frames (10 ms)")
    mels: PositiveInt = Field(40, description="mel bands")
    lowest: Annotated[float, Field(ge=0)] = Field(20.0, description="lowest frequency, Hz")
    highest: Annotated[float, Field(gt=0, le=8000)] = Field(8000.0, description="highest frequency, Hz")
    pool: PositiveInt = Field(2, description="frames averaged into one time step of the network")
    percentiles: tuple[float, float] = Field(
        (1.0, 99.0), description="percentiles of a band over the training clips that become 0 and 1")
