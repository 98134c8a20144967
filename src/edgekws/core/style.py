"""One look for all figures: shared colours, the same bytes on every repetition, and a stamp on synthetic speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgekws.core import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, and shades beside it: told apart with any colour vision.
BLUE, SKY, GREEN, ORANGE, VERMILION = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00"
PURPLE, OCHRE, SAND, GREY = "#b0639a", "#a07800", "#f0d9a0", "#777777"
PAPER_COLOUR, INK, FAINT = "#555555", "#1d2129", "#c9ced6"


class Looks(NamedTuple):
    """How a thing is named and drawn in every figure that shows it."""

    label: str
    colour: str
    marker: str


def looks_of(known: Mapping[str, Looks], name: str) -> Looks:
    """The looks of a name; one that is not known is drawn in grey under its own name.

    >>> looks_of({}, "something_new")
    Looks(label='something new', colour='#777777', marker='x')
    """
    return known.get(name, Looks(name.replace("_", " "), GREY, "x"))


def shot_label(shot: str) -> str:
    """
    >>> shot_label("1"), shot_label("5"), shot_label("all")
    ('1 clip', '5 clips', 'all clips')
    """
    return f"{shot} clip" if shot == "1" else f"{shot} clips"


def use() -> None:
    """Set how figures look in this process, whatever the person's own matplotlibrc says."""
    import matplotlib as mpl

    mpl.rcdefaults()
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


def point(axes: Axes, x: float, interval: dict[str, Any], looks: Looks, *, label: str | None = None,
          hollow: bool = False) -> None:
    """A mean with its interval as a bar; without an interval (one repetition), the mean alone."""
    axes.errorbar([x], [interval["value"]], yerr=_bars(interval), fmt=looks.marker, color=looks.colour, label=label,
                  capsize=2.5, markersize=6, markerfacecolor="white" if hollow else looks.colour, elinewidth=1.4, zorder=3)


def lying_point(axes: Axes, y: float, interval: dict[str, Any], looks: Looks, *, label: str | None = None,
                hollow: bool = False) -> None:
    """As :func:`point`, with the number on the x axis."""
    axes.errorbar([interval["value"]], [y], xerr=_bars(interval), fmt=looks.marker, color=looks.colour, label=label,
                  capsize=2.5, markersize=6, markerfacecolor="white" if hollow else looks.colour, elinewidth=1.4, zorder=3)


def _bars(interval: dict[str, Any]) -> Sequence[Sequence[float]] | None:
    if interval["ci_low"] is None:
        return None
    return [[interval["value"] - interval["ci_low"]], [interval["ci_high"] - interval["value"]]]
