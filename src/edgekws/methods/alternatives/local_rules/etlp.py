"""ETLP (Quintana et al. 2024, "ETLP: Event-based Three-factor Local Plasticity for online learning with neuromorphic
hardware", arXiv 2301.08281).

The paper's three factors and our names::

    presynaptic spike trace, filtered as the membrane is                ``filtered``
    surrogate derivative of the postsynaptic membrane voltage           ``derivative``
    label, projected through a fixed random matrix, no error computed   ``signals``: direct random target projection

Deviations that our net forces:

* The paper's updates are events: a teaching neuron of the label's class spikes, and its spike, through the random
  matrix, triggers the update. Clocked as ours is, that neuron spikes in every frame, so every step has an update.
* The paper's recurrent nets adapt their thresholds, which adds a term to the eligibility; our neurons do not.
* The trace goes on through the postsynaptic reset (the trace of the paper's rule belongs to the presynaptic neuron).
* The output layer learns by its error, as with direct random target projection.
"""

from __future__ import annotations

from edgekws.methods.alternatives.local_rules.rule import TargetRule


class Etlp(TargetRule):
    """ETLP: presynaptic trace, membrane voltage and projected label."""
