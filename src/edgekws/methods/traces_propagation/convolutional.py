"""Traces Propagation for convolutions: a loss for each place of a map, and a target path with maps of its own.

Section 2.9 of traces_propagation.md and the authors' code. Traces are those of the pooled spikes. For layer l, with P places
in its map and epsilon[p] the trace of all channels at place p::

    z[b,b'] = mean_p epsilon[b,p] . epsilon~[b',p]                          similarity
    d[b,b'] = mean_p |epsilon~_{l-1}[b,p] - epsilon~_{l-1}[b',p] + 1e-9|    distance of the targets one level below
    G = (softmax(z) - softmax(-d)) / B
    dE/dpooled spikes = G epsilon~ / P,  of the target path G^T epsilon / P

The first layer's target path is one dense map S of the label to its neurons, [channels x height x width, classes], without
pooling; the layers above share their kernels with the input path.

Given its weights the target path depends on nothing but the class, in every layer. So it runs once for each class that is in
the batch, and the pairs fall into groups: with n_c clips of class c, softmax(z) becomes ``n_c exp(z[b,c])``, normalised, and
softmax(-d) likewise. The numbers are those of all pairs (as section 2.8 has it for one layer).

The gradient of a kernel is that of one time step, by PyTorch: through pooling, surrogate and weight standardisation. The
readout's is ``(softmax(m) - c)^T epsilon_L / B``, which the authors give to its weights without that of their standardisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from edgekws.methods.traces_propagation.rule import OFFSET
from edgekws.models.spiking_conv import SpikingConv


class StepState:
    """What all local rules on a :class:`SpikingConv` share: the state of a batch, and the readout.

    For each batch call :meth:`begin`, then :meth:`step` for each frame; the network's weights are read at each step.

    Attributes:
        parameters: What is trained, by name.
        readout_potential: [clips, outputs], of the present batch.
    """

    def __init__(self, net: SpikingConv) -> None:
        self.net = net
        self.parameters: Mapping[str, Tensor] = net.trained
        self.readout_potential = net.readout.new_empty(0, net.outputs)

    def begin(self, labels: Tensor) -> None:
        """Start a batch at rest: ``labels`` [clips], integers below the number of outputs."""
        self.labels = labels
        self.label = torch.nn.functional.one_hot(labels, self.net.outputs).to(self.net.readout)
        self.readout_potential = torch.zeros_like(self.label)
        self.membranes: list[Tensor | float] = [0.0] * len(self.net.kernels)

    def auxiliary(self) -> int:
        """Weights that the rule needs beside the net's."""
        raise NotImplementedError

    def _readout(self, spikes: Tensor, trace: Tensor) -> Tensor:
        """Advance the readout by the last layer's pooled spikes; the gradient of its weights."""
        self.readout_potential = self.net.settings.output_leak * self.readout_potential + self.net.score(spikes).detach()
        error = torch.softmax(self.readout_potential, 1).sub_(self.label).div_(len(self.label))
        return error.T @ trace.flatten(1)


class ConvolutionalRule(StepState):
    """The rule; see the module."""

    def begin(self, labels: Tensor) -> None:
        super().begin(labels)
        classes, self.class_of = torch.unique(labels, return_inverse=True)
        self.classes = torch.nn.functional.one_hot(classes, self.net.outputs).to(self.net.readout)
        self.counts = torch.bincount(self.class_of).to(self.net.readout)
        self._label_trace = torch.zeros_like(self.classes)
        self._target_membrane: Tensor | float = 0.0
        self.traces: list[Tensor | float] = [0.0] * len(self.net.kernels)
        self.target_traces: list[Tensor | float] = [0.0] * len(self.net.kernels)

    def auxiliary(self) -> int:
        return self.net.target.numel()

    def step(self, frame: Tensor) -> dict[str, Tensor]:
        """Advance by one frame [clips, channels, height, width]; the gradients at this time step, by name."""
        net, clips, beta = self.net, len(frame), self.net.settings.trace_leak
        gradients: dict[str, Tensor] = {}
        self._label_trace = beta * self._label_trace + self.classes
        below = self._label_trace[:, :, None]
        drive, wanted = frame, self._first_target()
        for index, kernel in enumerate(net.kernels):
            with torch.enable_grad():
                # From the second layer on both paths run as one batch, through the same kernels.
                both = drive if index == 0 else torch.cat([drive, wanted])
                _, spikes, membrane = net.fire(net.current(index, both), self.membranes[index])
                pooled = net.pool(index, spikes)
            self.membranes[index] = membrane.detach()
            fired = pooled.detach()
            drive, wanted = fired[:clips], wanted if index == 0 else fired[clips:]
            trace = self.traces[index] = beta * self.traces[index] + drive
            target = self.target_traces[index] = beta * self.target_traces[index] + wanted
            factor = self.factor(trace, target, below) / math.prod(drive.shape[2:])
            signal = [(factor @ target.flatten(1)).view_as(drive)]
            if index:  # the first layer's target path runs through S, which is frozen
                signal.append((factor.T @ trace.flatten(1)).view_as(wanted))
            gradients[f"kernels.{index}"] = torch.autograd.grad(pooled, kernel, torch.cat(signal))[0]
            below = target.flatten(2)
        return gradients | {"readout": self._readout(drive, trace)}

    @torch.no_grad()
    def factor(self, trace: Tensor, target: Tensor, below: Tensor) -> Tensor:
        """G summed over the clips of each class, [clips, classes of the batch].

        Args:
            trace: [clips, channels, height, width].
            target: Of the target path, [classes, channels, height, width].
            below: Of the target path one level below, [classes, channels, places].
        """
        places, log_counts = math.prod(target.shape[2:]), self.counts.log()
        similarity = trace.flatten(1) @ target.flatten(1).T / places
        vectors = below.permute(2, 0, 1)
        distance = torch.cdist(vectors + OFFSET, vectors, compute_mode="donot_use_mm_for_euclid_dist").mean(0)
        wanted = torch.softmax(log_counts - distance, 1)[self.class_of]
        return torch.softmax(log_counts + similarity, 1).sub_(wanted).div_(len(trace))

    @torch.no_grad()
    def _first_target(self) -> Tensor:
        """Spikes of the first layer's target path, [classes, channels, height, width]."""
        net = self.net
        if not isinstance(self._target_membrane, Tensor):  # S c is the same in all frames
            self._target_current = (self.classes @ net.target.T).view(-1, net.channels[1], *net.shape[1:])
        _, spikes, self._target_membrane = net.fire(self._target_current, self._target_membrane)
        return net.pool(0, spikes)
