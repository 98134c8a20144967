"""How the figures of Traces Propagation draw each way to adapt."""

from __future__ import annotations

from edgekws.core.style import BLUE, GREEN, PURPLE, VERMILION, Looks, looks_of

# Told apart with any colour vision, and by the marker without colour.
METHODS = {
    "traces_propagation": Looks("Traces Propagation", BLUE, "o"),
    "bptt": Looks("BPTT", VERMILION, "s"),
    "readout_only": Looks("Readout only", GREEN, "^"),
    "from_scratch": Looks("From scratch", PURPLE, "D"),
}


def method(name: str) -> Looks:
    """Label and looks of a way to adapt."""
    return looks_of(METHODS, name)
