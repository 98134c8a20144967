"""The interface of the local rules for any PyTorch net: one call for each frame, gradients in ``.grad``.

::

    rule = TracesPropagation(net, outputs=10)
    optimiser = torch.optim.Adam(rule.parameters())
    for clip, labels in batches:                 # clip [frames, clips, inputs], labels [clips]
        rule.reset()
        for frame in clip:
            rule.step(frame, labels)
            optimiser.step()

Behind it is an :class:`Engine`, which computes the gradients: a rule of the bench on our own RecurrentLIF, or the same rule
on the blocks of a user's net (:mod:`edgekws.neurons.blocks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from edgekws.core.errors import UserError
from edgekws.neurons.blocks import Readout, detached


class Engine(Protocol):
    """What computes a rule's gradients; :class:`edgekws.protocol.step_rule.StepRule` is one.

    Attributes:
        parameters: What is trained, by name.
        readout_potential: [clips, outputs], of the present batch.
    """

    @property
    def parameters(self) -> Mapping[str, Tensor]: ...

    @property
    def readout_potential(self) -> Tensor: ...

    def begin(self, labels: Tensor) -> None: ...

    def step(self, frame: Tensor) -> Mapping[str, Tensor]: ...


class LocalRule:
    """A local learning rule on a net; what all public rules share.

    A rule reads the net's weights at each step and never changes them: an optimiser does. It keeps the state of the
    present batch (potentials, spikes, traces) and no other. Gradients replace what was in ``.grad``, so no ``zero_grad``
    is needed; a parameter with ``requires_grad=False`` gets none.

    Args:
        widths: Inputs, neurons of each hidden layer, outputs.
        about: Settings to show, by name.
    """

    def __init__(self, engine: Engine, widths: Sequence[int], about: Mapping[str, object]) -> None:
        self._engine, self._widths, self._about = engine, list(widths), dict(about)
        self._labels: Tensor | None = None

    def parameters(self) -> list[Tensor]:
        """What the rule trains, for an optimiser."""
        return list(self._engine.parameters.values())

    @property
    def potential(self) -> Tensor:
        """The readout's potential, [clips, outputs]; after a clip's last frame its largest entry is the prediction."""
        return self._engine.readout_potential.clone()

    def reset(self) -> None:
        """Forget the present batch: the next :meth:`step` begins at rest."""
        self._labels = None

    def begin(self, labels: Tensor) -> None:
        """Begin a batch at rest.

        Args:
            labels: The class of each clip, [clips], integers from 0.

        Raises:
            UserError: The labels are not one class for each clip.
        """
        outputs = self._widths[-1]
        if labels.ndim != 1 or labels.is_floating_point() or not len(labels):
            raise UserError(f"of shape {tuple(labels.shape)} and type {labels.dtype}", where="labels",
                            remedy="give one integer for each clip, [clips]")
        if labels.min() < 0 or labels.max() >= outputs:
            raise UserError(f"from {labels.min()} to {labels.max()}, and the net has {outputs} outputs", where="labels",
                            remedy=f"number the classes from 0 to {outputs - 1}")
        self._engine.begin(labels.long())
        self._labels = labels.clone()

    def step(self, frame: Tensor, labels: Tensor | None = None) -> Tensor:
        """One frame: advance the net, and put the gradients of this time step into ``.grad``.

        Args:
            frame: [clips, inputs].
            labels: [clips], the same in all frames of a batch; may be left out after :meth:`begin`. With another number
                of clips than before, a new batch begins.

        Returns:
            The readout's potential, [clips, outputs].

        Raises:
            UserError: No batch has begun, the frame does not fit, or the labels have changed within a batch.
        """
        if labels is not None and (self._labels is None or len(labels) != len(self._labels)):
            self.begin(labels)
        if self._labels is None:
            raise UserError("no batch has begun", where=type(self).__name__, remedy="call begin(labels), or step(frame, labels)")
        if labels is not None and not torch.equal(labels, self._labels):
            raise UserError("the labels have changed within a clip", where="labels",
                            remedy="call reset() before the first frame of the next clip")
        if frame.shape != (len(self._labels), self._widths[0]):
            raise UserError(f"of shape {tuple(frame.shape)}, not {(len(self._labels), self._widths[0])}", where="frame",
                            remedy="give one frame of each clip, [clips, inputs], in time's order")
        gradients = self._engine.step(frame)
        for name, parameter in self._engine.parameters.items():
            parameter.grad = gradients[name]
        return self.potential

    def __repr__(self) -> str:
        settings = [f"net={'-'.join(map(str, self._widths))}", *(f"{name}={value!r}" for name, value in self._about.items())]
        return f"{type(self).__name__}({', '.join(settings)})"


class ReadoutState:
    """The readout's potential m over a batch: the integrator's or, without one, ``m = leak m + linear(s)``."""

    def __init__(self, readout: Readout, leak: float) -> None:
        self.readout, self.leak = readout, leak
        self.clear()

    def clear(self) -> None:
        """Back to rest."""
        self._state: object = None

    @torch.no_grad()
    def step(self, spikes: Tensor) -> Tensor:
        """m [clips, outputs] after the last hidden layer's spikes [clips, neurons]."""
        current: Tensor = self.readout.linear(spikes)
        if self.readout.integrator is None:
            potential = current if self._state is None else self.leak * self._state + current  # type: ignore[operator]
            self._state = potential
        else:
            potential, state = self.readout.integrator(current, self._state)
            self._state = detached(state)
        return potential.detach()
