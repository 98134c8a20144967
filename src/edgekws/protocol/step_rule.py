"""What local rules share that give gradients at each time step: the protocol of training, and the readout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from edgekws.core.errors import UserError
from edgekws.core.optimiser import Optimiser
from edgekws.models.recurrent_lif import RecurrentLIF


class StepRule:
    """What all rules share that give gradients at each time step: the protocol of training, and the readout.

    For each batch call :meth:`begin`, then :meth:`step` for each frame; apply the gradients in between. Weights are
    read from the network at each step, so an optimiser that works in place is all it takes.

    Attributes:
        parameters: The tensors of the network that are trained, by name.
        gradients: Their gradients, overwritten by each step.
        readout_potential: [clips, outputs], of the present batch.
    """

    trains_hidden = True

    def __init__(self, net: RecurrentLIF) -> None:
        if net.added:
            raise UserError(f"the rule is for the net of the paper; this one also has {', '.join(sorted(net.added))}",
                            where="rule", remedy="start from a base, or from one whose own weights were adapted")
        self.net = net
        self.parameters: dict[str, Tensor] = {
            name: weights for name, weights in net.trained.items() if self.trains_hidden or name == "readout"}
        self.gradients = {name: torch.zeros_like(weights) for name, weights in self.parameters.items()}
        self.readout_potential = net.readout.new_empty(0, net.outputs)

    @torch.no_grad()
    def begin(self, labels: Tensor) -> None:
        """Start a batch: ``labels`` [clips], integers below the number of outputs."""
        self.label = one_hot(labels, self.net.outputs).to(self.net.readout)
        if len(labels) != len(self.readout_potential):
            self.readout_potential = torch.empty_like(self.label)
            self._allocate(len(labels))
        self.readout_potential.zero_()
        self._clear()

    def step(self, frame: Tensor) -> dict[str, Tensor]:
        """Advance by one frame [clips, inputs]; the gradients at this time step, by the parameter's name."""
        raise NotImplementedError

    @torch.no_grad()
    def learn(self, batch: Tensor, labels: Tensor, updates: Optimiser) -> None:
        """Train on a batch [clips, frames, inputs] of ``labels`` [clips], with an update at each frame."""
        self.begin(labels)
        for frame in batch.unbind(1):
            updates.step(self.step(frame))

    def _allocate(self, size: int) -> None:
        raise NotImplementedError

    def _clear(self) -> None:
        raise NotImplementedError

    def _error(self, drive: Tensor) -> Tensor:
        """Advance the readout by the last layer's spikes; the gradient of the batch's cross-entropy by its potential."""
        self.readout_potential.addmm_(drive, self.net.readout.T, beta=self.net.settings.output_leak)
        return torch.softmax(self.readout_potential, 1).sub_(self.label).div_(len(self.label))
