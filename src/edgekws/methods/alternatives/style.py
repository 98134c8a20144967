"""How the figures of the bench draw what else could adapt the models."""

from __future__ import annotations

from edgekws.core.style import BLUE, GREEN, ORANGE, VERMILION, Looks, looks_of
from edgekws.methods.traces_propagation import style as traces_propagation

# A colour for each family (local rules; BPTT of all weights, of a part; DS-CNN), a marker for each member.
ALTERNATIVES = {
    "traces_propagation": traces_propagation.METHODS["traces_propagation"],
    "eprop": Looks("e-prop", BLUE, "s"),
    "eprop_random": Looks("e-prop, random feedback", BLUE, "X"),
    "decolle": Looks("DECOLLE", BLUE, "^"),
    "etlp": Looks("ETLP", BLUE, "v"),
    "osttp": Looks("OSTTP", BLUE, "D"),
    "tess": Looks("TESS", BLUE, "P"),
    "bptt_full": Looks("BPTT, all weights", VERMILION, "o"),
    "bptt_full_sgd": Looks("BPTT, all weights, SGD", VERMILION, "X"),
    "bptt_full_int8": Looks("BPTT, all weights, int8", VERMILION, "s"),
    "bptt_lora_1": Looks("BPTT, LoRA 1", ORANGE, "^"),
    "bptt_lora_4": Looks("BPTT, LoRA 4", ORANGE, "s"),
    "bptt_lora_16": Looks("BPTT, LoRA 16", ORANGE, "D"),
    "bptt_adapter": Looks("BPTT, adapter", ORANGE, "P"),
    "bptt_threshold": Looks("BPTT, thresholds", ORANGE, "v"),
    "bptt_readout": Looks("readout", ORANGE, "*"),
    "ds_cnn_full": Looks("DS-CNN, all weights", GREEN, "o"),
    "ds_cnn_last_layer": Looks("DS-CNN, last block", GREEN, "X"),
    "ds_cnn_lora_1": Looks("DS-CNN, LoRA 1", GREEN, "^"),
    "ds_cnn_lora_4": Looks("DS-CNN, LoRA 4", GREEN, "s"),
    "ds_cnn_lora_16": Looks("DS-CNN, LoRA 16", GREEN, "D"),
    "ds_cnn_adapter": Looks("DS-CNN, adapters", GREEN, "P"),
    "ds_cnn_threshold": Looks("DS-CNN, biases and norms", GREEN, "v"),
    "ds_cnn_readout": Looks("DS-CNN, readout", GREEN, "*"),
}

BASES = {"strong_spiking": "adaptive LIF, recurrent", "strong_ds_cnn": "DS-CNN"}
"""What the strong bases are called."""


def alternative(name: str) -> Looks:
    """Label and looks of a method of the bench."""
    return looks_of(ALTERNATIVES, name)


def rule(name: str) -> Looks:
    """Label and looks of a rule that trains deeper nets: those of the bench, and back-propagation through time."""
    return looks_of(ALTERNATIVES | traces_propagation.METHODS, name)
