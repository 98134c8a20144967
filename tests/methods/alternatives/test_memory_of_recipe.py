"""The recipe's training memory beside the rule's own, counted as both run."""

import numpy as np
import torch

from edgekws.methods.alternatives.memory import measure_learning
from edgekws.methods.traces_propagation import recipe
from edgekws.methods.traces_propagation.settings import Adaptation, Recipe
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.protocol.clips import Clips


def peak(budget):
    net = RecurrentLIF(Network(hidden=[60]), inputs=30, outputs=8, generator=torch.Generator().manual_seed(0))
    features = np.random.default_rng(0).random((16, 40, 30), dtype=np.float32)
    support = Clips(features, np.arange(16), np.arange(16) % 7, torch.ones(1, 30), np.zeros(16, np.int64))

    def learn(net, features, labels):
        return recipe.adapt(net, support, budget, known=None, seed=0)

    return measure_learning(learn, net, support, support.labels).peak


def test_the_recipe_takes_no_more_memory_than_the_rule():
    """Augmenting a batch where it lies may take one clip more, which is what the hundredth allows for."""
    assert peak(Recipe(epochs=2)) <= 1.01 * peak(Adaptation(epochs=2)) + 40 * 30 * 4
