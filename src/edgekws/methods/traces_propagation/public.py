"""Traces Propagation on any PyTorch spiking net: the rule of :mod:`.rule`, for cells of the user's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import one_hot

from edgekws.core.errors import UserError
from edgekws.methods.traces_propagation.rule import BatchRule, best_rule, make_rule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.neurons.blocks import Block, Blocks, detached, read_net
from edgekws.protocol.local_rule import LocalRule, ReadoutState

_PROBE, _FIRING = 100, 0.1  # frames, and the share of neurons that fires to a class
TRACE_LEAK: float = Network.model_fields["trace_leak"].default


class TracesPropagation(LocalRule):
    """Traces Propagation (Pes et al. 2025, arXiv 2509.13053): local gradients at each time step.

    Each hidden layer l has two paths, the net's own and a *target path* (~), which the one-hot label c drives through a
    fixed random matrix S in place of the first layer's weights, and the net's own layers above. From a trace of the
    spikes s on either, [clips, neurons], follows a loss over all pairs of clips, which this layer alone descends::

        epsilon = beta epsilon + s                          epsilon~ = beta epsilon~ + s~
        E_l = cross-entropy(softmax(epsilon epsilon~^T), softmax(-distances of epsilon~_{l-1})) / clips
        G = (softmax(epsilon epsilon~^T) - softmax(-distances)) / clips
        dE/ds = G epsilon~        dE/ds~ = G^T epsilon      (s~ of the first layer teaches nothing)

    Weights, biases and recurrent weights get the product of dE/ds with the derivative of *one step* of the layer,
    which PyTorch computes by the cell's own surrogate; the states before are constants. The readout, with potential m,
    gets ``(softmax(m) - c)^T epsilon / clips``, its bias ``softmax(m) - c`` averaged over the clips.

    A batch needs clips of two classes at least: with one the hidden layers learn nothing.

    Args:
        net: What :func:`edgekws.neurons.blocks.read_net` can read, or a RecurrentLIF, whose own settings and S hold
            (the last four arguments must then be left out).
        outputs: Classes.
        trace_leak: beta, 0.977 by default.
        output_leak: Factor on m from one step to the next, 1 by default; where the net ends in an integrator of its
            own, that one's potential is m, and this is ignored.
        seed: Of S and, beside it, of the target path's recurrent weights R_S; 0 by default. They are uniform, and just
            large enough that a tenth of the first layer's neurons fires to a class.
        target: S, and beside it R_S if the first layer is recurrent, [neurons, outputs + neurons], in place of the
            random ones.

    Raises:
        UserError: The net cannot be read; the error says which module is in the way.
    """

    def __init__(self, net: nn.Module | RecurrentLIF, *, outputs: int, trace_leak: float | None = None,
                 output_leak: float | None = None, seed: int | None = None, target: Tensor | None = None) -> None:
        if isinstance(net, RecurrentLIF):
            given = {"trace_leak": trace_leak, "output_leak": output_leak, "seed": seed, "target": target}
            refuse_settings(net, outputs, [name for name, value in given.items() if value is not None])
            super().__init__(make_rule(net, best_rule(net.settings)), [net.inputs, *net.settings.hidden, net.outputs],
                             {"trace_leak": net.settings.trace_leak})
            return
        beta = TRACE_LEAK if trace_leak is None else trace_leak
        if not 0 <= beta <= 1:
            raise UserError(f"{beta} is not within 0 and 1", where="trace_leak", remedy="leave it out: the paper has 0.977")
        blocks = read_net(net, outputs=outputs)
        engine = CellRule(blocks, trace_leak=beta, output_leak=1.0 if output_leak is None else output_leak,
                          target=target_weights(blocks, outputs, seed or 0) if target is None else target)
        super().__init__(engine, blocks.widths, {"trace_leak": beta, "seed": None if target is not None else seed or 0})


def refuse_settings(net: RecurrentLIF, outputs: int, given: list[str]) -> None:
    """Raises: UserError if a RecurrentLIF does not have so many outputs, or what its settings say is given again."""
    if outputs != net.outputs:
        raise UserError(f"the net has {net.outputs} outputs, not {outputs}", where="outputs",
                        remedy=f"say outputs={net.outputs}")
    if given:
        raise UserError(f"a RecurrentLIF has its own {', '.join(given)}", where="rule",
                        remedy="leave it out, or change the net's")


class Path:
    """A layer's state over a batch, on one of the two paths.

    Args:
        replaced: Parameters of the cell to use in place of its own; the layer is then driven past its Linear.

    Attributes:
        spikes: Of the present step, [clips, neurons]; with a graph back to the layer's parameters, one step deep.
        trace: Of the spikes, [clips, neurons], without one.
    """

    def __init__(self, block: Block, trace_leak: float, replaced: dict[str, Tensor] | None = None) -> None:
        self.block, self.trace_leak, self.replaced = block, trace_leak, replaced
        self.clear()

    def clear(self) -> None:
        """Back to rest."""
        self._state: object = None
        self.trace: Tensor | float = 0.0

    def step(self, drive: Tensor) -> Tensor:
        """Advance by one step: the trace after it."""
        with torch.set_grad_enabled(self.replaced is None):
            if self.replaced is None:
                self.spikes, state = self.block.cell(self.block.current(drive), self._state)
            else:
                self.spikes, state = functional_call(self.block.cell, self.replaced, (drive, self._state))
        self._state = detached(state)
        trace: Tensor = self.trace_leak * self.trace + self.spikes.detach()
        self.trace = trace
        return trace


class TargetPath(Path):
    """The first layer's target path, driven by one-hot labels [clips, outputs] through S, with R_S in place of R."""

    def __init__(self, block: Block, trace_leak: float, target: Tensor, outputs: int) -> None:
        source, recurrent = target[:, :outputs], target[:, outputs:]
        # A cell with input weights of its own gets S in their place; else S makes the current.
        self.source = None if block.input_weights is not None else source
        replaced = {} if block.input_weights is None else {"input_weights": source}
        super().__init__(block, trace_leak, replaced | ({"recurrent_weights": recurrent} if recurrent.shape[1] else {}))

    def step(self, drive: Tensor) -> Tensor:
        return super().step(drive if self.source is None else drive @ self.source.T)


class CellRule:
    """The engine: :class:`.rule.BatchRule` for any cells; the attributes are those of a StepRule.

    Args:
        target: S, and R_S beside it if the first layer is recurrent: [neurons, outputs (+ neurons)].
    """

    def __init__(self, blocks: Blocks, *, trace_leak: float, output_leak: float, target: Tensor) -> None:
        first, outputs = blocks.hidden[0], blocks.widths[-1]
        shape = first.neurons, outputs + (0 if first.recurrent_weights is None else first.neurons)
        if target.shape != shape:
            raise UserError(f"of shape {tuple(target.shape)}, not {shape}", where="target",
                            remedy="give S and, if the first layer is recurrent, R_S beside it")
        self.parameters = blocks.parameters()
        self.readout_potential = blocks.readout.linear.weight.new_empty(0, outputs)
        self._blocks, self._trace_leak = blocks, trace_leak
        self._own = [Path(block, trace_leak) for block in blocks.hidden]
        self._targets = [TargetPath(first, trace_leak, target, outputs),
                         *(Path(block, trace_leak) for block in blocks.hidden[1:])]
        self._readout = ReadoutState(blocks.readout, output_leak)

    def begin(self, labels: Tensor) -> None:
        """Start a batch: ``labels`` [clips]."""
        self._label = one_hot(labels, self._blocks.widths[-1]).to(self._blocks.readout.linear.weight)
        self._label_trace = torch.zeros_like(self._label)
        self.readout_potential = torch.zeros_like(self._label)
        for path in (*self._own, *self._targets):
            path.clear()
        self._readout.clear()

    def step(self, frame: Tensor) -> dict[str, Tensor]:
        """Advance by one frame [clips, inputs]; the gradients at this time step, by the parameter's name."""
        gradients: dict[str, Tensor] = {}
        self._label_trace = self._trace_leak * self._label_trace + self._label
        drive, wanted, below = frame, self._label, self._label_trace
        for own, target in zip(self._own, self._targets, strict=True):
            trace, target_trace = own.step(drive), target.step(wanted)
            factor = torch.softmax(trace @ target_trace.T, 1).sub_(torch.softmax(-BatchRule.distance(below), 1))
            factor.div_(len(frame))
            gradients |= one_step_gradients(own.block.parameters(), [own.spikes, target.spikes],
                                            [factor @ target_trace, factor.T @ trace])
            drive, wanted, below = own.spikes.detach(), target.spikes.detach(), target_trace
        self.readout_potential = self._readout.step(drive)
        error = torch.softmax(self.readout_potential, 1).sub_(self._label).div_(len(frame))
        readout = self._blocks.readout
        with torch.enable_grad():
            response = readout.linear(trace)
        return gradients | one_step_gradients(readout.parameters(), [response], [error])


def one_step_gradients(parameters: dict[str, nn.Parameter], values: list[Tensor], factors: list[Tensor]) -> dict[str, Tensor]:
    """The gradient of ``sum(value * factor)`` by each parameter; 0 for one that no value depends on."""
    reached = [place for place, value in enumerate(values) if value.requires_grad]
    if not parameters or not reached:
        return {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    found = torch.autograd.grad([values[place] for place in reached], list(parameters.values()),
                                [factors[place] for place in reached], allow_unused=True)
    return {name: torch.zeros_like(parameter) if gradient is None else gradient
            for (name, parameter), gradient in zip(parameters.items(), found, strict=True)}


@torch.no_grad()
def target_weights(blocks: Blocks, outputs: int, seed: int) -> Tensor:
    """S, and R_S beside it if the first layer is recurrent: uniform within k/sqrt(fan_in), from ``seed``.

    k is the first of 1, sqrt 2, 2, 2 sqrt 2 … with which a tenth of the neurons fires to a class within 100 frames. So
    the target path fires whatever gain and threshold the cell has (the paper's neuron needs k = 1, Norse's LIFBox more).

    Raises:
        UserError: The first cell never fires.
    """
    block, generator = blocks.hidden[0], torch.Generator().manual_seed(seed)
    widths = [outputs] + ([] if block.recurrent_weights is None else [block.neurons])
    parts = [(2 * torch.rand(block.neurons, width, generator=generator) - 1) / math.sqrt(width) for width in widths]
    if getattr(block.cell, "autapses", True) is False:  # as in the cell, no neuron drives itself
        parts[1].fill_diagonal_(0)
    like = blocks.readout.linear.weight
    matrix, classes = torch.cat(parts, 1).to(like), torch.eye(outputs).to(like)
    for power in range(41):
        scaled = matrix * math.sqrt(2) ** power
        path = TargetPath(block, 1.0, scaled, outputs)
        for _ in range(_PROBE):
            count = path.step(classes)
        if (count > 0).to(like.dtype).mean() >= _FIRING:
            return scaled
    raise UserError("the first cell does not fire, however large its input", where="net",
                    remedy="check its threshold and its time constants, or give target=")
