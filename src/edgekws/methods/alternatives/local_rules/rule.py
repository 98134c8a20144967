"""What the local rules share: layers that keep eligibility traces, and the three factors of an update.

Every rule here changes the weight from i to j of hidden layer l, at each time step t, by a product of a learning signal
of the postsynaptic neuron and an eligibility of the synapse, summed over the clips b of a batch::

    dE/dW_ji = sum_b  signal[b, j]  eligibility[b, j, i]

They differ in the two factors. What is common follows from our net (:mod:`edgekws.neurons.lif`) and holds for all:

* One layer's W and R lie side by side; i runs over the input x^t of the layer and its own spikes s^{t-1}, ``presynaptic``.
  No gradient flows back through s^{t-1} to the neurons that sent it.
* psi(u) is the arctan surrogate (:mod:`edgekws.neurons.surrogate`), at the potential before the reset.
* The reset carries no gradient: the surrogate is up to ``surrogate_scale`` high (10), and through a hard reset, whose
  derivative has a term -leak u psi(u), gradients would grow by leak threshold scale = 5 at each spike. Beyond that there
  are two readings, and each rule says which is its own. Either what the reset takes away is a constant, and then
  du^t/du^{t-1} = leak always; or the spike in it is, and then a hard reset cuts memory off: leak (1 - s^{t-1}).
* Where du^t/du^{t-1} = leak, the eligibility vector du_j/dW_ji is the same for all neurons j: the presynaptic activity,
  low-pass filtered, of which ``inputs`` numbers a clip suffice (Bellec et al. 2020, Eq. 22; exact).
* The task's loss at t is the mean over the clips of the cross-entropy of softmax(m^t), m the readout's potential; the
  weights that classify, W_o, learn by its exact gradient, for which the last layer's spikes are filtered with the
  readout's own leak.
* There is an update at each time step, as with Traces Propagation, so m^t and all traces add up what different weights
  have computed.
* Regularisers of activity, which most of the papers add, are left out: no rule of the bench has any.

Random matrices come from a seed; they are no tensors of the network and hence no part of what is learnt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.neurons.lif import Layer
from edgekws.neurons.surrogate import arctan_derivative
from edgekws.protocol.step_rule import StepRule


class EligibilityLayer(Layer):
    """A hidden layer that keeps what the eligibility of its synapses takes; the base of one class for each kind.

    Args:
        index: Which hidden layer of the network it is.
        size: Clips in the batch.

    Attributes:
        derivative: psi(u) of the present step, [clips, neurons].
    """

    def __init__(self, net: RecurrentLIF, index: int, size: int) -> None:
        network, synapses = net.settings, net.hidden[index]
        super().__init__(synapses.weight, size, inputs=synapses.inputs, leak=network.membrane_leak, threshold=network.threshold,
                         reset=network.reset)
        self.scale = network.surrogate_scale
        self.derivative = torch.empty_like(self.potential)

    def traces(self) -> Sequence[Tensor]:
        """What it keeps from one step to the next beside potential and spikes."""
        raise NotImplementedError

    def clear(self) -> None:
        super().clear()
        for trace in self.traces():
            trace.zero_()

    def step(self, drive: Tensor) -> None:
        """One time step, with the traces."""
        self.integrate(drive)
        arctan_derivative(self.potential, self.threshold, self.scale, out=self.derivative)
        self._trace()
        self.fire()

    def gradient(self, signal: Tensor, out: Tensor) -> None:
        """Into ``out``, shaped as the weights: the sum over clips of signal [clips, neurons] times eligibility."""
        raise NotImplementedError

    def _trace(self) -> None:
        """Advance the traces: ``presynaptic``, ``potential`` and ``derivative`` are those of t, ``spikes`` of t - 1."""
        raise NotImplementedError


class FilteredLayer(EligibilityLayer):
    """Eligibility psi(u_j) times the presynaptic activity, low-pass filtered with the membrane's leak.

    Attributes:
        filtered: [clips, inputs + neurons], or [clips, inputs] without recurrence.
    """

    def __init__(self, net: RecurrentLIF, index: int, size: int) -> None:
        super().__init__(net, index, size)
        self.filtered = torch.empty_like(self.presynaptic)

    def traces(self) -> Sequence[Tensor]:
        return [self.filtered]

    def gradient(self, signal: Tensor, out: Tensor) -> None:
        torch.mm((signal * self.derivative).T, self.filtered, out=out)

    def _trace(self) -> None:
        self.filtered.mul_(self.leak).add_(self.presynaptic)


class LocalRule(StepRule):
    """The forward pass and the readout; a rule adds its kind of layer and its learning signal.

    Args:
        net: The network; its weights are read at each step.
        seed: Of the random matrices, where the rule has any.

    Attributes:
        layer_type: The kind of eligibility.
        projections: For each hidden layer the fixed matrix [outputs, neurons] between classes and neurons.
        readout_trace: The last layer's spikes, filtered with the readout's leak, [clips, neurons].
    """

    layer_type: ClassVar[type[EligibilityLayer]] = FilteredLayer

    def __init__(self, net: RecurrentLIF, *, seed: int) -> None:
        super().__init__(net)
        self.layers: list[EligibilityLayer] = []
        self.projections = self._project(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def step(self, frame: Tensor) -> dict[str, Tensor]:
        drive = frame
        for layer in self.layers:
            layer.step(drive)
            drive = layer.spikes
        error = self._error(drive)
        self.readout_trace.mul_(self.net.settings.output_leak).add_(drive)
        torch.mm(error.T, self.readout_trace, out=self.gradients["readout"])
        for index, layer in enumerate(self.layers):
            layer.gradient(self._signal(index, error), out=self.gradients[f"hidden.{index}.weight"])
        return self.gradients

    def _signal(self, index: int, error: Tensor) -> Tensor:
        """The learning signal of a hidden layer, [clips, neurons]; ``error`` is the readout's, [clips, outputs]."""
        raise NotImplementedError

    def _project(self, generator: torch.Generator) -> list[Tensor]:
        """Uniform within 1/sqrt(neurons), as a new network's readout is."""
        def matrix(neurons: int) -> Tensor:
            drawn = torch.rand(self.net.outputs, neurons, generator=generator, dtype=torch.float32)
            return (2 * drawn - 1).div_(math.sqrt(neurons)).to(self.net.readout)

        return [matrix(neurons) for neurons in self.net.settings.hidden]

    def _allocate(self, size: int) -> None:
        self.layers = [self.layer_type(self.net, index, size) for index in range(len(self.net.hidden))]
        self.readout_trace = torch.empty_like(self.layers[-1].spikes)

    def _clear(self) -> None:
        for layer in self.layers:
            layer.clear()
        self.readout_trace.zero_()


class TargetRule(LocalRule):
    """Direct random target projection (Frenkel et al. 2021, Front. Neurosci. 15:629892): the label is the signal.

    signal_l = c B_l / clips, with c the one-hot label and B_l ``projections[l]``. It knows no error, so it never ends.
    The label is the same in all frames, so its projection is computed once for a clip.
    """

    def _clear(self) -> None:
        super()._clear()
        self.signals = [self.label @ projection / len(self.label) for projection in self.projections]

    def _signal(self, index: int, error: Tensor) -> Tensor:
        return self.signals[index]


class LocalLossRule(LocalRule):
    """A loss in each layer: the cross-entropy of a fixed readout G_l of the layer's present spikes.

    signal_l = (softmax(s_l G_l^T) - c) G_l / clips, with G_l ``projections[l]``.
    """

    def _signal(self, index: int, error: Tensor) -> Tensor:
        projection = self.projections[index]
        local = torch.softmax(self.layers[index].spikes @ projection.T, 1).sub_(self.label).div_(len(self.label))
        return local @ projection
