"""How the figures of OnDA draw schedules and the parts of an adaptation, and what encoders are called."""

from __future__ import annotations

from edgekws.core.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SAND, SKY, VERMILION, Looks, looks_of

# What OnDA does on a device: colours by what channels are chosen by, markers up where that is before fine-tuning.
SCHEDULES = {
    "pretrained": Looks("as deployed", GREY, "o"),
    "none": Looks("weights only", INK, "s"),
    "oracle": Looks("weights only, true labels", GREEN, "D"),
    "onda_1": Looks("OnDA-1", BLUE, "^"),
    "l1_before": Looks("L1, before", ORANGE, "^"),
    "random_before": Looks("random, before", PURPLE, "^"),
    "hap_wrong_domain": Looks("HAP on words, before", SKY, "^"),
    "oracle_onda_1": Looks("OnDA-1, true labels", GREEN, "^"),
    "onda_2": Looks("OnDA-2", VERMILION, "v"),
    "hap_after": Looks("HAP, after", SKY, "v"),
    "random_after": Looks("random, after", PURPLE, "v"),
    "statistics": Looks("statistics only", SAND, "o"),
    "more_updates": Looks("weights only, more updates", SAND, "s"),
    "robust": Looks("robust, unpruned (ours)", GREEN, "*"),
    "distilled": Looks("distilled (ours)", SKY, "P"),
    "robust_distilled": Looks("distilled, then robust (ours)", GREEN, "P"),
}
CONTROLS = ("oracle", "l1_before", "random_before", "hap_wrong_domain", "oracle_onda_1", "hap_after", "random_after",
            "statistics", "more_updates", "robust", "distilled", "robust_distilled")
"""Schedules that the paper does not have."""

# Parts of an adaptation on a device, in the order in which they are stacked.
ADAPTATION = {
    "probes": Looks("HAP: Hessian's trace", BLUE, ""),
    "first updates": Looks("first fine-tuning", ORANGE, ""),
    "pruning": Looks("pruning", INK, ""),
    "recalibration": Looks("statistics anew", PURPLE, ""),
    "updates": Looks("fine-tuning", SAND, ""),
}

ENCODERS = {"ds_cnn_s": "DS-CNN-S", "ds_cnn_m": "DS-CNN-M", "ds_cnn_l": "DS-CNN-L", "resnet15": "ResNet15",
            "resnet15_narrow": "ResNet15, narrow"}


DETECTORS = {"templates": "nearest template (DTW)", "engine": "Porcupine 1.9.5"}
"""What a user could take instead."""


def schedule(name: str) -> Looks:
    """Label and looks of what happens on a device."""
    return looks_of(SCHEDULES, name)


def encoder(name: str) -> str:
    """
    >>> encoder("ds_cnn_l"), encoder("other_net")
    ('DS-CNN-L', 'other net')
    """
    return ENCODERS.get(name, name.replace("_", " "))
