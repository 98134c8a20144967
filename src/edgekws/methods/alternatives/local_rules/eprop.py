"""e-prop (Bellec et al. 2020, "A solution to the learning dilemma for recurrent networks of spiking neurons",
Nature Communications 11:3625).

The paper's symbols and our names, for neuron j, presynaptic i and output k::

    zbar_i^t = alpha zbar_i^{t-1} + z_i            presynaptic trace          ``filtered``, alpha = membrane_leak
    e_ji^t   = psi_j^t zbar_i^t                    eligibility (Eq. 22)
    ebar_ji^t = kappa ebar_ji^{t-1} + e_ji^t       filtered by the readout    ``traced``, kappa = output_leak
    L_j^t    = sum_k B_jk (pi_k^t - pi*_k)         learning signal (Eq. 4; pi = softmax(y), classification)
    dE/dW_ji = sum_t L_j^t ebar_ji^t               (Eq. 1, 28)

Deviations that our net forces:

* The paper's reset subtracts z_j theta, with no gradient; ours is hard by default, and what it takes away is a constant
  just the same: the eligibility vector (Eq. 14) does not go through the reset, and Eq. 22 holds as it stands.
* Inputs are read at t and recurrent spikes at t - 1, in our net's order. No refractory period, no adaptive threshold, so
  nothing of Eq. 24 to 25.
* The readout integrates (kappa = 1 by default), and there is a loss at each step from the first frame on, where the
  paper's tasks with one answer have it in a recall period.
* The paper sums over a sequence before an update; here each step's L_j^t ebar_ji^t is applied at once.

With weights that stand still and one layer the gradients are exact but for the recurrent path, and exact altogether
without recurrence. ``ebar`` is needed for each clip and synapse: the filter over a product of a pre- and a postsynaptic
number does not factorise, and L changes with the error of each clip, so that the sum over clips cannot be kept instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgekws.methods.alternatives.local_rules.rule import FilteredLayer, LocalRule
from edgekws.models.recurrent_lif import RecurrentLIF


class EpropLayer(FilteredLayer):
    """Eligibility of e-prop.

    Attributes:
        traced: ebar, [clips, neurons, inputs + neurons].
    """

    def __init__(self, net: RecurrentLIF, index: int, size: int) -> None:
        super().__init__(net, index, size)
        self.output_leak = net.settings.output_leak
        self.traced = self.weights.new_empty(size, *self.weights.shape)

    def traces(self) -> Sequence[Tensor]:
        return [self.filtered, self.traced]

    def gradient(self, signal: Tensor, out: Tensor) -> None:
        torch.bmm(signal.T[:, None], self.traced.transpose(0, 1), out=out[:, None])

    def _trace(self) -> None:
        super()._trace()
        self.traced.baddbmm_(self.derivative[:, :, None], self.filtered[:, None], beta=self.output_leak)


class SymmetricEprop(LocalRule):
    """Symmetric e-prop: B is W_o^T. Layers below the last have no way to the readout; their B is random."""

    layer_type = EpropLayer

    def _project(self, generator: torch.Generator) -> list[Tensor]:
        return super()._project(generator)[:-1]

    def _signal(self, index: int, error: Tensor) -> Tensor:
        return error @ [*self.projections, self.net.readout][index]


class RandomEprop(LocalRule):
    """Random e-prop: B is random for every layer (broadcast alignment), so no weights are transported."""

    layer_type = EpropLayer

    def _signal(self, index: int, error: Tensor) -> Tensor:
        return error @ self.projections[index]
