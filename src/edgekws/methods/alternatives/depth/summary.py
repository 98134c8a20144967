"""What deeper nets show, over seeds: ``metrics/traces_propagation/depth.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics

CONVOLUTION = "vgg"
SCALES = 0.9
"""Share of back-propagation's accuracy that Traces Propagation must keep on the same net for it to "scale" there."""


def depth_file(parts: Sequence[Mapping[str, Any]], settings: Statistics) -> dict[str, Any]:
    """The metrics file from those of its seeds (``docs/files.md``)."""
    first = parts[0]
    rows = pd.DataFrame([{"seed": part["seed"], **row} for part in parts for row in part["rows"]])
    nets: dict[str, dict[str, Any]] = {}
    for (net, rule), some in rows.groupby(["net", "rule"], sort=False):
        one = some.iloc[0]
        nets.setdefault(str(net), {})[str(rule)] = {
            "accuracy": statistics.cell(some.test_accuracy, settings),
            "validation": statistics.cell(some.validation_accuracy, settings),
            "learning_rates": [float(rate) for rate in some.learning_rate], "weights": int(one.weights),
            "memory": int(one.memory), "auxiliary": one.auxiliary}
    return {"schema": 1, "paper": "traces_propagation", "experiment": "depth", "seeds": sorted(part["seed"] for part in parts),
            "settings": {**first["settings"], "statistics": settings.model_dump()}, "provenance": first["provenance"],
            "nets": nets, "checks": checks(nets, len(first["provenance"]["corpus"]["words"]))}


def checks(nets: Mapping[str, Mapping[str, Any]], words: int) -> dict[str, Any]:
    """The two halves of the paper's claim about depth, as far as the nets are there."""
    told: dict[str, Any] = {}
    ours = {net: rules["traces_propagation"] for net, rules in nets.items() if "traces_propagation" in rules}
    if ours:
        above = {net: cell["auxiliary"]["above_first"] for net, cell in ours.items()}
        recurrent = {cell["auxiliary"]["all"] for net, cell in ours.items() if net != CONVOLUTION}
        told["auxiliary_not_by_layer"] = {
            "holds": not any(above.values()) and len(recurrent) <= 1,
            "why": "fixed weights of layers above the first: " + ", ".join(f"{each} ({name(net)})" for net, each in above.items())
                   + "; in all " + ", ".join(f"{cell['auxiliary']['all']:,} ({name(net)})" for net, cell in ours.items())}
    if {"traces_propagation", "bptt"} <= set(nets.get(CONVOLUTION, {})):
        local, bptt = (nets[CONVOLUTION][rule]["accuracy"]["value"] for rule in ("traces_propagation", "bptt"))
        told["scales"] = {"holds": local >= SCALES * bptt and local >= 200 / words,
                          "why": f"on the VGG-like net {local:.1f} % of the test clips, back-propagation through time {bptt:.1f} "
                                 f"%; at least {SCALES:.0%} of it, and twice chance, were asked for"}
    return told


def name(net: str) -> str:
    """A net in words.

    >>> name("1"), name("3"), name("vgg")
    ('1 layer', '3 layers', 'VGG-like')
    """
    return "VGG-like" if net == CONVOLUTION else f"{net} layer{'s' * (net != '1')}"
