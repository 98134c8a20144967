"""Leaky integrate-and-fire neurons with an immediate reset (traces_propagation.md, section 2.1).

The paper's symbols and our names, for one layer at time step t::

    u^t = alpha v^{t-1} + W s_in^t + R s^{t-1}        potential before the reset
    s^t = 1[u^t >= theta]                             spikes
    v^t = u^t (1 - s^t)  or  u^t - theta s^t          potential after a hard or a soft reset

with leak = alpha, threshold = theta. There is no bias and no gain of (1 - alpha) on the input. The threshold is one
number, or a tensor with one for each neuron.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reset = Literal["hard", "soft"]


def step(current: Tensor, v: Tensor, *, leak: float, threshold: float | Tensor,
         reset: Reset) -> tuple[Tensor, Tensor, Tensor]:
    """One time step, as a pure function; all tensors have the shape of ``v``.

    Args:
        current: Input current of this step, recurrent part included.
        v: Potential after the reset of the step before.

    Returns:
        The potential before the reset, the spikes (0 or 1, in the type of ``v``), the potential after the reset.
    """
    u = leak * v + current
    spikes = (u >= threshold).to(u.dtype)
    return u, spikes, u * (1 - spikes) if reset == "hard" else u - threshold * spikes


class Layer:
    """The state of one layer over a batch, advanced in place: what the fast loops are made of.

    The input of a step and the layer's own spikes of the step before lie side by side in ``presynaptic``, as
    W and R do in ``weights``. So a step is one matrix product, and so is the gradient of both matrices.

    Args:
        weights: [neurons, inputs + neurons] if recurrent, else [neurons, inputs]; kept by reference, so that the
            layer follows an optimiser that works in place.
        size: Clips in the batch.
        inputs: Width of the layer's input.
    """

    def __init__(self, weights: Tensor, size: int, *, inputs: int, leak: float, threshold: float | Tensor,
                 reset: Reset) -> None:
        neurons, width = weights.shape
        self.weights, self.inputs, self.recurrent = weights, inputs, width > inputs
        self.leak, self.threshold, self.hard = leak, threshold, reset == "hard"
        self.presynaptic = weights.new_zeros(size, width)
        self.potential = weights.new_zeros(size, neurons)
        self.spikes = weights.new_zeros(size, neurons)

    def clear(self) -> None:
        """Back to rest: no potential, no spikes."""
        self.potential.zero_()
        self.spikes.zero_()

    def integrate(self, drive: Tensor) -> None:
        """Add ``drive`` [size, inputs] and the recurrent input: ``potential`` is then the one before the reset."""
        self.presynaptic[:, :self.inputs] = drive
        if self.recurrent:
            self.presynaptic[:, self.inputs:] = self.spikes
        self.potential.addmm_(self.presynaptic, self.weights.T, beta=self.leak)

    def fire(self) -> None:
        """Spikes from ``potential``, and its reset."""
        torch.ge(self.potential, self.threshold, out=self.spikes)
        if self.hard:
            self.potential.mul_(self.potential < self.threshold)
        else:
            self.potential.sub_(self.spikes * self.threshold)
