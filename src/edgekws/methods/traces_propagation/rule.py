"""The learning rule of Traces Propagation: local gradients at each time step, without autograd.

The paper's symbols (traces_propagation.md, section 2) and our names, for hidden layer l at time step t::

    epsilon = beta epsilon + s            trace of the input path        ``layer.trace``
    epsilon~ = beta epsilon~ + s~         trace of the target path       ``target.trace``, prototypes
    z = epsilon epsilon~^T                similarity of all pairs
    d[b,b'] = |epsilon~_{l-1}[b] - epsilon~_{l-1}[b'] + 1e-9|            distance of the targets one level below
    G = (softmax(z) - softmax(-d)) / B    third factor                   ``factor``
    delta = (G epsilon~) * psi(u)         ``layer.derivative`` is psi(u)
    dE/d[W|R] = delta^T [s_{l-1}^t | s_l^{t-1}]      for l > 1 plus the same of the target path, with G^T epsilon
    dE/dW_o = (softmax(m) - c)^T epsilon_L / B       ``readout_potential`` is m, c the one-hot label

Two forms give the same numbers. :class:`BatchRule` compares all pairs of clips in a batch, and takes any number of
hidden layers. :class:`PrototypeRule` is for one hidden layer (section 2.8): there the target path depends on nothing
but the class, so its traces are computed once per network, and B x B comparisons become B x classes.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from edgekws.core.errors import UserError
from edgekws.core.optimiser import Adam, Optimiser
from edgekws.methods.traces_propagation.choices import Contrast
from edgekws.models.recurrent_lif import RecurrentLIF, Synapses
from edgekws.models.settings import Network
from edgekws.neurons.layers import compiled
from edgekws.neurons.lif import Layer
from edgekws.neurons.surrogate import arctan_derivative
from edgekws.protocol.step_rule import StepRule

Form = Literal["prototype", "batch"]
OFFSET = 1e-9  # inside the distance; it keeps the authors' autograd away from the root's pole at 0


class TracedLayer(Layer):
    """A layer that also keeps what the rule needs of it: spike traces and surrogate derivatives, [size, neurons]."""

    def __init__(self, net: RecurrentLIF, synapses: Synapses, size: int) -> None:
        network = net.settings
        super().__init__(synapses.weight, size, inputs=synapses.inputs, leak=network.membrane_leak, threshold=network.threshold,
                         reset=network.reset)
        self.trace_leak, self.scale = network.trace_leak, network.surrogate_scale
        self.trace = torch.zeros_like(self.potential)
        self.derivative = torch.empty_like(self.potential)

    def clear(self) -> None:
        super().clear()
        self.trace.zero_()

    def step(self, drive: Tensor, *, derivative: bool) -> None:
        """One time step; ``derivative`` says whether the surrogate derivative is wanted."""
        self.integrate(drive)
        if derivative:
            arctan_derivative(self.potential, self.threshold, self.scale, out=self.derivative)
        self.fire()
        self.trace.mul_(self.trace_leak).add_(self.spikes)


class ReadoutRule(StepRule):
    """The rule's readout part alone, with frozen hidden layers; the base of the two complete forms."""

    trains_hidden = False

    def __init__(self, net: RecurrentLIF) -> None:
        super().__init__(net)
        self.layers: list[TracedLayer] = []

    @torch.no_grad()
    def step(self, frame: Tensor) -> dict[str, Tensor]:
        drive = frame
        for layer in self.layers:
            layer.step(drive, derivative=self.trains_hidden)
            drive = layer.spikes
        if self.trains_hidden:
            self._hidden_gradients()
        torch.mm(self._error(drive).T, self.layers[-1].trace, out=self.gradients["readout"])
        return self.gradients

    @torch.no_grad()
    def learn(self, batch: Tensor, labels: Tensor, updates: Optimiser) -> None:
        if type(updates) is not Adam or not self._compiles(batch, updates):
            super().learn(batch, labels, updates)
            return
        from edgekws.neurons.kernel import traces

        network, (hidden,) = self.net.settings, self.net.hidden
        traces.learn(batch, labels, {"hidden": hidden.weight, "readout": self.net.readout}, hidden.inputs, updates,
                     traces.Constants(network.membrane_leak, network.trace_leak, network.output_leak, network.threshold,
                                      network.surrogate_scale, network.reset),
                     self._laid_out(batch.shape[1]), ["hidden", "readout"] if self.trains_hidden else ["readout"])

    def _compiles(self, batch: Tensor, updates: Adam) -> bool:
        """Whether compiled code does the same; it knows one hidden layer, prototypes and Adam."""
        return (type(self) in (ReadoutRule, PrototypeRule) and len(self.net.hidden) == 1 and not updates.decay
                and compiled("traces", batch, *self.net.trained.values()))

    def _laid_out(self, steps: int) -> Any:
        """What compiled code needs of the target path, nothing where hidden layers are not trained."""
        return None

    def _allocate(self, size: int) -> None:
        self.layers = [TracedLayer(self.net, synapses, size) for synapses in self.net.hidden]

    def _clear(self) -> None:
        for layer in self.layers:
            layer.clear()

    def _hidden_gradients(self) -> None:
        raise NotImplementedError


class BatchRule(ReadoutRule):
    """All pairs of clips in the batch (sections 2.3 to 2.6); any number of hidden layers."""

    trains_hidden = True

    def _allocate(self, size: int) -> None:
        super()._allocate(size)
        self.targets = [TracedLayer(self.net, self.net.target, size),
                        *(TracedLayer(self.net, synapses, size) for synapses in self.net.hidden[1:])]

    @staticmethod
    def distance(below: Tensor) -> Tensor:
        """d between all rows of ``below`` [clips, width]: [clips, clips]."""
        # Direct: distances from a Gram matrix would lose the small ones, which are the ones that matter.
        return torch.cdist(below + OFFSET, below, compute_mode="donot_use_mm_for_euclid_dist")

    def _clear(self) -> None:
        super()._clear()
        for target in self.targets:
            target.clear()
        self.label_trace = torch.zeros_like(self.label)

    def _hidden_gradients(self) -> None:
        drive, below = self.label, self.label_trace.mul_(self.net.settings.trace_leak).add_(self.label)
        for index, (layer, target) in enumerate(zip(self.layers, self.targets, strict=True)):
            target.step(drive, derivative=index > 0)
            factor = torch.softmax(layer.trace @ target.trace.T, 1)
            factor.sub_(torch.softmax(self.distance(below).neg_(), 1)).div_(len(self.label))
            gradient = self.gradients[f"hidden.{index}.weight"]
            torch.mm((factor @ target.trace).mul_(layer.derivative).T, layer.presynaptic, out=gradient)
            if index > 0:  # the target path of the first layer runs through S and R_S, which are frozen
                gradient.addmm_((factor.T @ layer.trace).mul_(target.derivative).T, target.presynaptic)
            drive, below = target.spikes, target.trace


class PrototypeRule(ReadoutRule):
    """The same through one prototype per class and time step (section 2.8); one hidden layer.

    With n_c clips of class c in the batch and ``a`` the label's trace (the sum of beta^k so far), the pairs fall into
    groups of one class each: softmax(z) becomes ``predicted``, softmax(-d) ``wanted``, both [clips, classes]. With the
    offset o = 1e-9 and C outputs, d is sqrt(C) o inside a class and sqrt(2 a^2 + C o^2) between two. Without it
    (the paper's section 2.8) gradients would move by some 1e-10 of their size.

    Args:
        contrast: What a clip is told apart from: as published the clips of its ``batch``, so that a batch of one class has
            no hidden gradient at all; or one clip of each of the ``classes`` that have a word, whoever is in the batch
            (ours). With one clip of each in the batch the two are the same.
    """

    trains_hidden = True

    def __init__(self, net: RecurrentLIF, contrast: Contrast = "batch") -> None:
        if len(net.hidden) != 1:
            raise UserError(f"the prototype form takes one hidden layer, this network has {len(net.hidden)}",
                            where="rule", remedy="use the 'batch' form")
        super().__init__(net)
        self._classes = torch.eye(net.outputs, dtype=net.readout.dtype, device=net.readout.device)
        self._target = TracedLayer(net, net.target, net.outputs)
        self._contrast = contrast
        self._prototypes: list[Tensor] = []

    @torch.no_grad()
    def prototype(self, time: int) -> Tensor:
        """Target traces of all classes at a time step, [outputs, neurons]; computed once, then kept."""
        while len(self._prototypes) <= time:
            self._target.step(self._classes, derivative=False)
            self._prototypes.append(self._target.trace.clone())
        return self._prototypes[time]

    def _compiles(self, batch: Tensor, updates: Adam) -> bool:
        return self._contrast == "batch" and super()._compiles(batch, updates)

    def _laid_out(self, steps: int) -> Any:
        return _laid_out(self, steps)

    def _other(self, label_trace: float) -> float:
        """What a pair of two classes weighs beside one of the same: exp(d inside a class - d between two)."""
        between = math.hypot(math.sqrt(2) * label_trace, math.sqrt(self.net.outputs) * OFFSET)
        return math.exp(math.sqrt(self.net.outputs) * OFFSET - between)

    def _clear(self) -> None:
        super()._clear()
        self._time, self._label_trace = 0, 0.0
        self._counts = self.label.sum(0)
        if self._contrast == "classes":
            self._counts.fill_(1)[self.net.outputs - self.net.settings.spare_outputs:] = 0
        self._log_counts = self._counts.log()  # -inf takes the classes that are not in the batch out
        self._own = self.label * self._counts

    def _hidden_gradients(self) -> None:
        layer, prototype = self.layers[0], self.prototype(self._time)
        self._time += 1
        self._label_trace = self.net.settings.trace_leak * self._label_trace + 1
        other = self._other(self._label_trace)
        predicted = torch.softmax(torch.addmm(self._log_counts, layer.trace, prototype.T), 1)
        wanted = torch.add(self._counts * other, self._own, alpha=1 - other)
        factor = predicted.sub_(wanted.div_(wanted.sum(1, keepdim=True))).div_(len(self.label))
        delta = (factor @ prototype).mul_(layer.derivative)
        torch.mm(delta.T, layer.presynaptic, out=self.gradients["hidden.0.weight"])


_last: tuple[tuple[Network, int], Tensor, Any] | None = None  # adapting to users one by one starts from the same target path


def _laid_out(rule: PrototypeRule, steps: int) -> Any:
    """Prototypes of every step as compiled code takes them, and the weights of pairs; those of the last target path are kept."""
    from edgekws.neurons.kernel import traces

    global _last
    key, weight = (rule.net.settings, steps), rule.net.target.weight
    if _last is None or _last[0] != key or not _same(_last[1], weight):
        label_trace, other = 0.0, []
        for _ in range(steps):
            label_trace = rule.net.settings.trace_leak * label_trace + 1
            other.append(rule._other(label_trace))
        stacked = torch.stack([rule.prototype(time) for time in range(steps)])
        _last = key, weight.clone(), (*traces.laid_out(stacked), other)
    return _last[2]


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def best_rule(network: Network) -> Form:
    """The form that is quickest: prototypes where there is one hidden layer."""
    return "prototype" if len(network.hidden) == 1 else "batch"


def make_rule(net: RecurrentLIF, form: Form, *, hidden: bool = True, contrast: Contrast = "batch") -> ReadoutRule:
    """The rule in the form asked for.

    Args:
        hidden: Train the hidden layers too, or the readout alone.
        contrast: See :class:`PrototypeRule`.

    Raises:
        UserError: Prototypes, or all classes as contrast, are asked for and there is more than one hidden layer.
    """
    if not hidden:
        return ReadoutRule(net)
    if form == "prototype" or contrast == "classes":
        return PrototypeRule(net, contrast)
    return BatchRule(net)
