"""TESS (Apolinario, Roy & Frenkel 2025, "TESS: A Scalable Temporally and Spatially Local Learning Rule for Spiking
Neural Networks", arXiv 2502.01837).

The paper's symbols and our names, for layer l, o its input and Psi the surrogate derivative::

    tr o^t   = lambda_pre tr o^{t-1} + o^t                  presynaptic trace     ``filtered``
    tr Psi^t = lambda_post tr Psi^{t-1} + Psi(u^t)          postsynaptic trace    ``post``
    e_ij^t = alpha_pre Psi(u_i^t) tr o_j^t + alpha_post tr Psi_i^{t-1} o_j^t      causal part, non-causal part
    m^t = B^T (softmax(B o_l^t) - t*)                       learning signal, from the layer's own spikes o_l
    dW_ij = sum_t m_i^t e_ij^t

B is fixed: class k's row is a square wave over the neurons, sign(sin(f_k n)), f_k from 50 to 512 in equal steps, divided
by the number of neurons; numbers and the index t - 1 of the postsynaptic trace are those of the authors' code
(github.com/mapolinario94/TESS, models/layers). So are lambda_post = 0.2, lambda_pre = 0.5, alpha_pre = alpha_post = 1, their
setting on CIFAR; on their event data alpha_post is 0, the causal part alone.

Deviations that our net forces:

* sign(0) is 1, which makes B binary; the authors' code has 0 for neuron 0. Either way all classes treat that neuron alike,
  and it learns nothing.
* The learning signal is there from the first frame on; the authors have it in the last steps of a clip.
* The presynaptic trace has its own leak, which is not our membrane's; the postsynaptic reset does not touch it.
* The authors normalise the weights, and pool a layer's spikes before B; a fully connected layer has nothing to pool.
* The authors' classifier is a linear layer on the present spikes; ours integrates, and learns by its own error.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgekws.methods.alternatives.local_rules.rule import FilteredLayer, LocalLossRule
from edgekws.models.recurrent_lif import RecurrentLIF

PRE_LEAK, POST_LEAK = 0.5, 0.2
CAUSAL, NON_CAUSAL = 1.0, 1.0
FREQUENCIES = 50.0, 512.0


class TessLayer(FilteredLayer):
    """Eligibility of TESS.

    Attributes:
        post: Psi of the steps before t, filtered, [clips, neurons].
    """

    def __init__(self, net: RecurrentLIF, index: int, size: int) -> None:
        super().__init__(net, index, size)
        self.post = torch.empty_like(self.potential)

    def traces(self) -> Sequence[Tensor]:
        return [self.filtered, self.post]

    def gradient(self, signal: Tensor, out: Tensor) -> None:
        torch.mm((signal * self.derivative).T, self.filtered, out=out)
        out.addmm_((signal * self.post).T, self.presynaptic, beta=CAUSAL, alpha=NON_CAUSAL)
        self.post.mul_(POST_LEAK).add_(self.derivative)

    def _trace(self) -> None:
        self.filtered.mul_(PRE_LEAK).add_(self.presynaptic)


class Tess(LocalLossRule):
    """TESS: causal and non-causal traces, and a square-wave readout in each layer."""

    layer_type = TessLayer

    def _project(self, generator: torch.Generator) -> list[Tensor]:
        return [square_waves(self.net.outputs, neurons).to(self.net.readout) for neurons in self.net.settings.hidden]


def square_waves(outputs: int, neurons: int) -> Tensor:
    """B of a layer, [outputs, neurons]: plus and minus 1 / neurons."""
    frequency = torch.linspace(*FREQUENCIES, outputs, dtype=torch.float64)
    phase = frequency[:, None] * torch.arange(neurons, dtype=torch.float64)
    return torch.where(torch.sin(phase) >= 0, 1.0, -1.0).div_(neurons)
