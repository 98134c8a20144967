"""OSTTP (Ortner et al. 2023, "Online Spatio-Temporal Learning with Target Projection", arXiv 2304.05124): the
eligibility traces of OSTL (Bohnstingl et al. 2022, IEEE TNNLS) with direct random target projection.

The papers' symbols and our names, for layer l with state s (our potential u) and output y (our spikes)::

    eps^t = (ds^t/ds^{t-1}) eps^{t-1} + ds^t/dtheta     eligibility vector     ``traced``
    e^t   = (dy^t/ds^t) eps^t                           eligibility tensor     psi(u) ``traced``
    L_l^t = B_l y*^t                                    learning signal        ``signals``
    dE/dtheta_l = sum_t L_l^t e^t

OSTL's spiking neural unit has our hard reset, s^t = g(W x^t + H y^{t-1} + l s^{t-1} (1 - y^{t-1})), so here the trace
goes through it: ds_j^t/ds_j^{t-1} = leak (1 - s_j^{t-1}), different for each neuron and clip, and the eligibility is one
trace for each clip and synapse. After a soft reset it is the leak.

Deviations that our net forces:

* The term of ds^t/ds^{t-1} that differentiates the reset's own spike is left out (:mod:`.rule` says why).
* So is ds^t/dy^{t-1} = H, the path through the other neurons: with it traces would be neurons times as many (the
  papers' full form for recurrent layers); this is their form of as many traces as synapses.
* The paper's output layer learns by OSTL from its error, which for our readout is its exact gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgekws.methods.alternatives.local_rules.rule import EligibilityLayer, TargetRule
from edgekws.models.recurrent_lif import RecurrentLIF


class OstlLayer(EligibilityLayer):
    """Eligibility of OSTL.

    Attributes:
        traced: eps, [clips, neurons, inputs + neurons].
    """

    def __init__(self, net: RecurrentLIF, index: int, size: int) -> None:
        super().__init__(net, index, size)
        self.traced = self.weights.new_empty(size, *self.weights.shape)

    def traces(self) -> Sequence[Tensor]:
        return [self.traced]

    def gradient(self, signal: Tensor, out: Tensor) -> None:
        torch.bmm((signal * self.derivative).T[:, None], self.traced.transpose(0, 1), out=out[:, None])

    def _trace(self) -> None:
        kept = self.leak * (1 - self.spikes) if self.hard else torch.full_like(self.spikes, self.leak)
        torch.addcmul(self.presynaptic[:, None], self.traced, kept[:, :, None], out=self.traced)


class Osttp(TargetRule):
    """OSTTP: OSTL's traces and the projected label."""

    layer_type = OstlLayer
