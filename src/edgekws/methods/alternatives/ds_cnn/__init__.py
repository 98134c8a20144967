"""A conventional keyword classifier beside the spiking one: same corpus, words, users, folds and shots."""

from edgekws.features.mfcc import COEFFICIENTS
from edgekws.methods.alternatives.ds_cnn.classifier import (
    Classifier,
    clips_of,
    extract,
    load_classifier,
    predict,
    save_classifier,
)
from edgekws.methods.alternatives.ds_cnn.learning import Part, adapted, learn
from edgekws.methods.alternatives.ds_cnn.training import test_accuracy, train_base

__all__ = ["COEFFICIENTS", "Classifier", "Part", "adapted", "clips_of", "extract", "learn", "load_classifier", "predict",
           "save_classifier", "test_accuracy", "train_base"]
