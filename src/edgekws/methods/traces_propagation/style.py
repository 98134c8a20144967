"""How the figures of Traces Propagation draw each way to adapt."""

from __future__ import annotations

from edgekws.core.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Looks, looks_of

# Told apart with any colour vision, and by the marker without colour.
METHODS = {
    "traces_propagation": Looks("Traces Propagation", BLUE, "o"),
    "bptt": Looks("BPTT", VERMILION, "s"),
    "readout_only": Looks("Readout only", GREEN, "^"),
    "bptt_equal_updates": Looks("BPTT, equal updates", VERMILION, "X"),
    "rehearsal": Looks("TP with rehearsal", SKY, "v"),
    "class_contrast": Looks("TP, all classes", SKY, "P"),
    "recipe": Looks("Our recipe", ORANGE, "*"),
    "from_scratch": Looks("From scratch", PURPLE, "D"),
}


def method(name: str) -> Looks:
    """Label and looks of a way to adapt."""
    return looks_of(METHODS, name)
