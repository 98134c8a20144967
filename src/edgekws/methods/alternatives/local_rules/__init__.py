"""Local learning rules for spiking nets beside Traces Propagation, each from its paper."""

from edgekws.methods.alternatives.local_rules.learning import RULES, learn, make_local_rule

__all__ = ["RULES", "learn", "make_local_rule"]
