"""DECOLLE (Kaiser, Mostafa & Neftci 2020, "Synaptic Plasticity Dynamics for Deep Continuous Local Learning",
Frontiers in Neuroscience 14:424).

The paper's symbols and our names, for layer l::

    P_j^t = alpha P_j^{t-1} + S_in                     presynaptic trace     ``filtered``
    Y^l = G^l S^l                                      local readout, G fixed and random     ``projections``
    L^l = loss(Y^l, target) at each step               local loss
    dL/dW_ij = (sum_k G_ki dL/dY_k) sigma'(U_i) P_j    the paper's three-factor rule ("error", "post", "pre")

Deviations that our net forces:

* Our neuron has no synaptic current, so P is filtered once, with the membrane's leak, where the paper's has two time
  constants. What the reset takes away is a constant, as in the paper the refractory term's derivative is dropped.
* The local loss is the softmax cross-entropy with the label, as for all rules here; the paper has mean squared error.
* The paper's layers are feed-forward. Recurrent weights learn in the same way, their presynaptic spikes those of t - 1.
* The paper reads its answer off the fixed local readouts; here the net's own readout answers, and learns by its own
  error. It gives the hidden layers nothing.
"""

from __future__ import annotations

from edgekws.methods.alternatives.local_rules.rule import LocalLossRule


class Decolle(LocalLossRule):
    """DECOLLE: a random readout and a loss in each layer, at each step."""
