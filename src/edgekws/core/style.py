"""One look for all figures: colours by method, the same bytes on every repetition, and a stamp on synthetic speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgekws.core import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER_COLOUR, INK, FAINT = "#555555", "#1d2129", "#c9ced6"


class Method(NamedTuple):
    """How a way to adapt is named and drawn."""

    label: str
    colour: str
    marker: str


# Okabe and Ito's palette: told apart with any colour vision, and by the marker without colour.
METHODS = {
    "traces_propagation": Method("Traces Propagation", "#0072b2", "o"),
    "bptt": Method("BPTT", "#d55e00", "s"),
    "readout_only": Method("Readout only", "#009e73", "^"),
    "from_scratch": Method("From scratch", "#b0639a", "D"),
}

# NeuEdge's ablation, in the order of the paper's table; each with its control.
VARIANTS = {
    "rate": Method("rate code", "#777777", "o"),
    "lif": Method("LIF code (\N{GREEK SMALL LETTER ALPHA} = 0)", "#56b4e9", "v"),
    "hybrid": Method("+ hybrid code", "#0072b2", "s"),
    "mapped": Method("+ mapping", "#009e73", "^"),
    "adaptive": Method("+ adaptive threshold", "#d55e00", "D"),
    "homeostatic": Method("+ homeostatic instead", "#b0639a", "P"),
    "full": Method("full", "#1d2129", "*"),
    "ann": Method("conventional net", "#a07800", "X"),
}

# How thresholds move: not at all, by Eq. 11 as printed, by Eq. 11 with the other sign.
THRESHOLDS = {
    0: Method("fixed thresholds", "#009e73", "^"),
    1: Method("adaptive, as printed", "#d55e00", "D"),
    -1: Method("adaptive, homeostatic", "#b0639a", "P"),
}

# Populations of a network on a chip; further hidden layers take up the colours again.
POPULATIONS = {"encoder": "#56b4e9", "hidden 1": "#0072b2", "hidden 2": "#009e73", "readout": "#e69f00"}

# Terms of an energy, in the order in which they are stacked.
TERMS = {
    "synapses": Method("synaptic operations", "#0072b2", ""),
    "active_updates": Method("updates with input", "#e69f00", ""),
    "inactive_updates": Method("updates without", "#f0d9a0", ""),
    "spikes": Method("spikes", "#d55e00", ""),
    "messages": Method("messages to cores", "#009e73", ""),
    "hops": Method("hops between tiles", "#b0639a", ""),
    "static": Method("static", "#777777", ""),
}

# What OnDA does on a device: colours by what channels are chosen by, markers up where that is before fine-tuning.
SCHEDULES = {
    "pretrained": Method("as deployed", "#777777", "o"),
    "none": Method("weights only", "#1d2129", "s"),
    "oracle": Method("weights only, true labels", "#009e73", "D"),
    "onda_1": Method("OnDA-1", "#0072b2", "^"),
    "l1_before": Method("L1, before", "#e69f00", "^"),
    "random_before": Method("random, before", "#b0639a", "^"),
    "hap_wrong_domain": Method("HAP on words, before", "#56b4e9", "^"),
    "oracle_onda_1": Method("OnDA-1, true labels", "#009e73", "^"),
    "onda_2": Method("OnDA-2", "#d55e00", "v"),
    "hap_after": Method("HAP, after", "#56b4e9", "v"),
    "random_after": Method("random, after", "#b0639a", "v"),
}
CONTROLS = ("oracle", "l1_before", "random_before", "hap_wrong_domain", "oracle_onda_1", "hap_after", "random_after")
"""Schedules that the paper does not have."""

# Parts of an adaptation on a device, in the order in which they are stacked.
ADAPTATION = {
    "probes": Method("HAP: Hessian's trace", "#0072b2", ""),
    "first updates": Method("first fine-tuning", "#e69f00", ""),
    "pruning": Method("pruning", "#1d2129", ""),
    "recalibration": Method("statistics anew", "#b0639a", ""),
    "updates": Method("fine-tuning", "#f0d9a0", ""),
}

ENCODERS = {"ds_cnn_s": "DS-CNN-S", "ds_cnn_m": "DS-CNN-M", "ds_cnn_l": "DS-CNN-L", "resnet15": "ResNet15",
            "resnet15_narrow": "ResNet15, narrow"}

# What else could adapt the models: a colour for each family, a marker for each member.
ALTERNATIVES = {
    "traces_propagation": Method("Traces Propagation", "#0072b2", "o"),
    "eprop": Method("e-prop", "#0072b2", "s"),
    "eprop_random": Method("e-prop, random feedback", "#0072b2", "X"),
    "decolle": Method("DECOLLE", "#0072b2", "^"),
    "etlp": Method("ETLP", "#0072b2", "v"),
    "osttp": Method("OSTTP", "#0072b2", "D"),
    "tess": Method("TESS", "#0072b2", "P"),
    "bptt_full": Method("BPTT, all weights", "#d55e00", "o"),
    "bptt_full_sgd": Method("BPTT, all weights, SGD", "#d55e00", "X"),
    "bptt_full_int8": Method("BPTT, all weights, int8", "#d55e00", "s"),
    "bptt_lora_1": Method("BPTT, LoRA 1", "#e69f00", "^"),
    "bptt_lora_4": Method("BPTT, LoRA 4", "#e69f00", "s"),
    "bptt_lora_16": Method("BPTT, LoRA 16", "#e69f00", "D"),
    "bptt_adapter": Method("BPTT, adapter", "#e69f00", "P"),
    "bptt_threshold": Method("BPTT, thresholds", "#e69f00", "v"),
    "bptt_readout": Method("readout", "#e69f00", "*"),
    "ds_cnn_full": Method("DS-CNN, all weights", "#009e73", "o"),
    "ds_cnn_last_layer": Method("DS-CNN, last block", "#009e73", "X"),
    "ds_cnn_lora_1": Method("DS-CNN, LoRA 1", "#009e73", "^"),
    "ds_cnn_lora_4": Method("DS-CNN, LoRA 4", "#009e73", "s"),
    "ds_cnn_lora_16": Method("DS-CNN, LoRA 16", "#009e73", "D"),
    "ds_cnn_adapter": Method("DS-CNN, adapters", "#009e73", "P"),
    "ds_cnn_threshold": Method("DS-CNN, biases and norms", "#009e73", "v"),
    "ds_cnn_readout": Method("DS-CNN, readout", "#009e73", "*"),
}
FAMILIES = {"#0072b2": "local rules", "#d55e00": "BPTT, all weights", "#e69f00": "BPTT, a part", "#009e73": "DS-CNN"}
"""What the colours of :data:`ALTERNATIVES` stand for."""


def alternative(name: str) -> Method:
    """Label and looks of a method of the bench; one that is not known is drawn in grey under its own name."""
    return ALTERNATIVES.get(name, Method(name.replace("_", " "), "#777777", "x"))


def method(name: str) -> Method:
    """A method's label and looks; one that is not known is drawn in grey under its own name."""
    return METHODS.get(name, Method(name.replace("_", " "), "#777777", "x"))


def variant(name: str) -> Method:
    """Label and looks of a row of NeuEdge's ablation; one that is not known is drawn in grey under its own name."""
    return VARIANTS.get(name, Method(name.replace("_", " "), "#777777", "x"))


def schedule(name: str) -> Method:
    """Label and looks of what OnDA does on a device; one that is not known is drawn in grey under its own name."""
    return SCHEDULES.get(name, Method(name.replace("_", " "), "#777777", "x"))


def encoder(name: str) -> str:
    """
    >>> encoder("ds_cnn_l"), encoder("other_net")
    ('DS-CNN-L', 'other net')
    """
    return ENCODERS.get(name, name.replace("_", " "))


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


def shot_label(shot: str) -> str:
    """
    >>> shot_label("1"), shot_label("5"), shot_label("all")
    ('1 clip', '5 clips', 'all clips')
    """
    return f"{shot} clip" if shot == "1" else f"{shot} clips"


def use() -> None:
    """Set matplotlib's defaults for this process."""
    import matplotlib as mpl

    mpl.rcParams.update({
        "svg.hashsalt": "edgekws", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.5,
        "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 9.5,
        "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.grid": True,
        "axes.grid.axis": "y", "axes.axisbelow": True, "grid.color": "#e6e8ec", "grid.linewidth": 0.8,
        "legend.frameon": False, "figure.dpi": 110, "figure.facecolor": "white", "figure.constrained_layout.use": True,
    })


def save(fig: Figure, name: str, folder: str | Path, *, synthetic: bool) -> None:
    """Write ``<folder>/<name>.svg`` and ``.png``; the same figure gives the same bytes.

    Args:
        fig: The figure.
        name: File name without suffix.
        folder: Made if missing.
        synthetic: Stamp the figure: it shows synthetic speech.
    """
    if synthetic:
        stamp(fig)
    for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        with files.writing(Path(folder) / f"{name}.{suffix}") as part:
            fig.savefig(part, format=suffix, metadata=metadata, dpi=160)


def stamp(fig: Figure) -> None:
    """Write "synthetic speech" onto the figure, where a copied picture keeps it."""
    fig.suptitle("synthetic speech", x=0.995, ha="right", fontsize=8, style="italic", color="#7a3e00")


def point(axes: Axes, x: float, interval: dict[str, Any], looks: Method, *, label: str | None = None,
          hollow: bool = False) -> None:
    """A mean with its interval as a bar; without an interval (one repetition), the mean alone."""
    axes.errorbar([x], [interval["value"]], yerr=_bars(interval), fmt=looks.marker, color=looks.colour, label=label,
                  capsize=2.5, markersize=6, markerfacecolor="white" if hollow else looks.colour, elinewidth=1.4, zorder=3)


def lying_point(axes: Axes, y: float, interval: dict[str, Any], looks: Method, *, label: str | None = None,
                hollow: bool = False) -> None:
    """As :func:`point`, with the number on the x axis."""
    axes.errorbar([interval["value"]], [y], xerr=_bars(interval), fmt=looks.marker, color=looks.colour, label=label,
                  capsize=2.5, markersize=6, markerfacecolor="white" if hollow else looks.colour, elinewidth=1.4, zorder=3)


def _bars(interval: dict[str, Any]) -> Sequence[Sequence[float]] | None:
    if interval["ci_low"] is None:
        return None
    return [[interval["value"] - interval["ci_low"]], [interval["ci_high"] - interval["value"]]]
