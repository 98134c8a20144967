"""Adapting a net by a local rule: an optimiser's update at each time step, one loop for all rules."""

from __future__ import annotations

import copy

import torch

from edgekws.core import optimiser
from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.learning import MakeOptimiser
from edgekws.methods.alternatives.local_rules.decolle import Decolle
from edgekws.methods.alternatives.local_rules.eprop import RandomEprop, SymmetricEprop
from edgekws.methods.alternatives.local_rules.etlp import Etlp
from edgekws.methods.alternatives.local_rules.osttp import Osttp
from edgekws.methods.alternatives.local_rules.rule import LocalRule
from edgekws.methods.alternatives.local_rules.tess import Tess
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining
from edgekws.methods.traces_propagation.rule import best_rule, make_rule
from edgekws.methods.traces_propagation.training import epochs
from edgekws.models.delta.delta import Delta
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.step_rule import StepRule
from edgekws.protocol.training import Features, Labels

RULES: dict[str, type[LocalRule]] = {
    "eprop": SymmetricEprop,
    "eprop_random": RandomEprop,
    "decolle": Decolle,
    "etlp": Etlp,
    "osttp": Osttp,
    "tess": Tess,
}


def make_local_rule(net: RecurrentLIF, kind: str, *, seed: int) -> StepRule:
    """The rule of that kind on ``net``: Traces Propagation in its quickest form, or one of :data:`RULES`.

    Raises:
        UserError: There is no such rule.
    """
    if kind == "traces_propagation":
        return make_rule(net, best_rule(net.settings))
    if kind not in RULES:
        raise UserError(f"'{kind}' is no local rule", where="method",
                        remedy=did_you_mean(kind, ["traces_propagation", *RULES]))
    return RULES[kind](net, seed=seed)


@torch.no_grad()
def learn(net: RecurrentLIF, features: Features, labels: Labels, method: AlternativeMethod, budget: AlternativeTraining,
          *, seed: int, make: MakeOptimiser = optimiser.make) -> Delta:
    """Adapt by the local rule ``method.kind``; :class:`edgekws.methods.alternatives.learning.Learn` says what is what.

    Everything that the net is trained in is trained: hidden layers and readout.

    Raises:
        UserError: There is no such rule, or the clips do not fit the net.
    """
    adapted = copy.deepcopy(net)
    rule = make_local_rule(adapted, method.kind, seed=derive_seed(seed, "projections"))
    updates = make(method.optimiser, rule.parameters, budget.learning_rate)
    for batch, wanted in epochs(adapted, features, labels, budget, updates, seed=seed):
        rule.learn(batch, wanted, updates)
        del batch
    return Delta(replaced={name: tensor.clone(memory_format=torch.contiguous_format)
                           for name, tensor in adapted.state_dict().items() if not name.startswith("target.")})
