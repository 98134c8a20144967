"""How the figures of NeuEdge draw variants, thresholds, populations of a chip and terms of an energy."""

from __future__ import annotations

from edgekws.core.style import BLUE, GREEN, GREY, INK, OCHRE, ORANGE, PURPLE, SAND, SKY, VERMILION, Looks, looks_of

# NeuEdge's ablation, in the order of the paper's table; each with its control.
VARIANTS = {
    "rate": Looks("rate code", GREY, "o"),
    "lif": Looks("LIF code (\N{GREEK SMALL LETTER ALPHA} = 0)", SKY, "v"),
    "hybrid": Looks("+ hybrid code", BLUE, "s"),
    "mapped": Looks("+ mapping", GREEN, "^"),
    "adaptive": Looks("+ adaptive threshold", VERMILION, "D"),
    "homeostatic": Looks("+ homeostatic instead", PURPLE, "P"),
    "full": Looks("full", INK, "*"),
    "ann": Looks("conventional net", OCHRE, "X"),
}

# How thresholds move: not at all, by Eq. 11 as printed, by Eq. 11 with the other sign.
THRESHOLDS = {
    0: Looks("fixed thresholds", GREEN, "^"),
    1: Looks("adaptive, as printed", VERMILION, "D"),
    -1: Looks("adaptive, homeostatic", PURPLE, "P"),
}

# Populations of a network on a chip; further hidden layers take up the colours again.
POPULATIONS = {"encoder": SKY, "hidden 1": BLUE, "hidden 2": GREEN, "readout": ORANGE}

# Terms of an energy, in the order in which they are stacked.
TERMS = {
    "synapses": Looks("synaptic operations", BLUE, ""),
    "active_updates": Looks("updates with input", ORANGE, ""),
    "inactive_updates": Looks("updates without", SAND, ""),
    "spikes": Looks("spikes", VERMILION, ""),
    "messages": Looks("messages to cores", GREEN, ""),
    "hops": Looks("hops between tiles", PURPLE, ""),
    "static": Looks("static", GREY, ""),
}


def variant(name: str) -> Looks:
    """Label and looks of a row of the ablation."""
    return looks_of(VARIANTS, name)


def population(index: int, populations: int) -> tuple[str, str]:
    """Name and colour of a population: the first is the encoder, the last the readout.

    >>> population(0, 4)[0], population(2, 4)[0], population(3, 4)[0]
    ('encoder', 'hidden 2', 'readout')
    """
    if index == 0:
        name = "encoder"
    else:
        name = "readout" if index == populations - 1 else f"hidden {index}"
    return name, POPULATIONS.get(name, list(POPULATIONS.values())[1 + (index - 1) % 2])
