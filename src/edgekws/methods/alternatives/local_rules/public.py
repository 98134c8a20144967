"""The bench's other local rules on any PyTorch spiking net: the classes of this folder, fed by cells of the user's own.

A rule of the bench needs four things of a layer at each step: what it receives (inputs, its own spikes of the step before,
and 1 for a bias), its spikes, the derivative of these by the input current, and the factor that the membrane keeps. The
spikes and the derivative come from one step of the cell, by autograd; the factor from the cell's settings, so here a cell is
one that has a single membrane leak: Norse's ``LIFBoxCell`` (``1 - dt tau_mem_inv``), and those of
:mod:`edgekws.neurons.cells`. The derivative by the current includes the gain of the input, ``dt tau_mem_inv``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgekws.core.errors import UserError
from edgekws.methods.alternatives.local_rules import decolle, eprop, etlp, osttp, rule, tess
from edgekws.methods.traces_propagation.public import refuse_settings
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network
from edgekws.neurons.blocks import Block, Blocks, detached, read_net
from edgekws.neurons.cells import ArctanLIFCell, LIFBoxRecurrentCell
from edgekws.protocol.local_rule import LocalRule, ReadoutState


def membrane(block: Block) -> tuple[float, bool]:
    """The factor on a cell's potential from one step to the next, and whether its reset is hard.

    Raises:
        UserError: The cell has more states than a membrane, a leak for each neuron, or a reset unknown here.
    """
    cell: Any = block.cell
    if isinstance(cell, ArctanLIFCell):
        return cell.leak, cell.reset == "hard"
    name, remedy = type(cell).__name__, ("take Norse's LIFBoxCell, or LIFBoxRecurrentCell or ArctanLIFCell of "
                                         "edgekws.neurons.cells; TracesPropagation takes any cell")
    if block.linear is None or not (isinstance(cell, LIFBoxRecurrentCell) or name == "LIFBoxCell"):
        raise UserError(f"module '{block.prefix[1]}' ({name}) is no neuron with a membrane potential alone, as this rule needs",
                        where="net", remedy=remedy)
    reset = cell.p.reset_method.__name__
    if torch.as_tensor(cell.p.tau_mem_inv).numel() != 1 or reset not in ("reset_value", "reset_subtract"):
        raise UserError(f"module '{block.prefix[1]}' ({name}) has a time constant for each neuron, or the reset '{reset}'",
                        where="net", remedy="take one time constant, and Norse's reset_value or reset_subtract")
    return 1 - float(cell.dt * cell.p.tau_mem_inv), reset == "reset_value"


class View:
    """A user's net as the bench's rules see one; matrices are [to, from].

    Attributes:
        hidden: For each hidden layer a matrix [neurons, inputs (+ neurons if recurrent) (+ 1 if there is a bias)]; the
            rules read their shapes and the type only.
        settings: Widths of the hidden layers and the leak of the readout.
        gain: Of the readout's input.
    """

    def __init__(self, blocks: Blocks, output_leak: float) -> None:
        self.blocks, self.membranes = blocks, [membrane(block) for block in blocks.hidden]
        self.linear, integrator = blocks.readout.linear, blocks.readout.integrator
        self.gain = 1.0
        if integrator is not None:
            if type(integrator).__name__ != "LIBoxCell":
                raise UserError(f"the readout's {type(integrator).__name__} is no integrator with one leak", where="net",
                                remedy="take Norse's LIBoxCell, or none")
            kept: Any = integrator
            self.gain = float(kept.dt * kept.p.tau_mem_inv)
            output_leak = 1 - self.gain
        self.inputs, self.outputs = blocks.widths[0], blocks.widths[-1]
        self.settings = Network.model_construct(hidden=blocks.widths[1:-1], output_leak=output_leak)
        self.hidden = [SimpleNamespace(inputs=width, weight=torch.cat(
            [tensor.detach().reshape(block.neurons, -1) for tensor in weights(block).values()], 1))
            for block, width in zip(blocks.hidden, blocks.widths, strict=False)]

    @property
    def readout(self) -> Tensor:
        """The derivative of the readout's potential by the last layer's spikes, [outputs, neurons]."""
        return self.gain * self.linear.weight.detach()


def weights(block: Block) -> dict[str, Tensor]:
    """The synapses of a layer by their names in the net, in the order of a view's columns: inputs, recurrent, bias."""
    assert block.linear is not None  # membrane() refuses a block without a Linear
    named = {f"{block.prefix[0]}.weight": block.linear.weight}
    if block.recurrent_weights is not None:
        named[f"{block.prefix[1]}.recurrent_weights"] = block.recurrent_weights
    if block.linear.bias is not None:
        named[f"{block.prefix[0]}.bias"] = block.linear.bias
    return named


class CellLayer(rule.EligibilityLayer):
    """A layer of the bench whose spikes and derivative come from a user's cell; mixed with a kind of eligibility."""

    def __init__(self, net: Any, index: int, size: int) -> None:
        super().__init__(net, index, size)
        self.block, (self.leak, self.hard) = net.blocks.hidden[index], net.membranes[index]
        self.state: object = None

    def clear(self) -> None:
        super().clear()
        self.state = None

    def step(self, drive: Tensor) -> None:
        with torch.enable_grad():
            current = self.block.current(drive).detach().requires_grad_()
            spikes, state = self.block.cell(current, self.state)
        # States are constant, so a neuron's spike depends on its own current alone: the sum's gradient is elementwise.
        self.derivative.copy_(torch.autograd.grad(spikes, current, torch.ones_like(spikes))[0])
        recurrent = self.block.recurrent_weights is not None
        received = [drive, *([self.spikes] if recurrent else []), *([torch.ones_like(drive[:, :1])] if self._biased else [])]
        torch.cat(received, 1, out=self.presynaptic)
        self._trace()
        self.spikes.copy_(spikes.detach())
        self.state = detached(state)

    @property
    def _biased(self) -> bool:
        return self.block.linear.bias is not None


class CellRule(rule.LocalRule):
    """An engine: a rule of the bench on the view of a net; mixed with the rule."""

    parameters: dict[str, Tensor]

    def __init__(self, view: Any, *, seed: int) -> None:
        # Not StepRule's __init__, which is for tensors with the names of a RecurrentLIF.
        self.net, self.layers = view, []
        blocks = view.blocks
        named = [*(weights(block) for block in blocks.hidden), blocks.readout.parameters()]
        self.parameters = {name: tensor for part in named for name, tensor in part.items() if tensor.requires_grad}
        self.gradients = {f"hidden.{index}.weight": torch.zeros_like(layer.weight) for index, layer in enumerate(view.hidden)}
        self.gradients["readout"] = torch.zeros_like(view.readout)
        self.readout_potential = view.readout.new_empty(0, view.outputs)
        self.projections = self._project(torch.Generator().manual_seed(seed))
        self._readout, self._bias_trace = ReadoutState(blocks.readout, view.settings.output_leak), 0.0

    @torch.no_grad()
    def step(self, frame: Tensor) -> dict[str, Tensor]:
        view: Any = self.net
        matrices = super().step(frame)
        self._bias_trace = view.settings.output_leak * self._bias_trace + 1
        found = {f"{view.blocks.readout.prefix}.weight": view.gain * matrices["readout"],
                 f"{view.blocks.readout.prefix}.bias": view.gain * self._bias_trace * self._output_error.sum(0)}
        for index, block in enumerate(view.blocks.hidden):
            named = weights(block)
            widths = [tensor[0].numel() for tensor in named.values()]
            parts = torch.split(matrices[f"hidden.{index}.weight"], widths, 1)
            for (name, tensor), part in zip(named.items(), parts, strict=True):
                found[name] = part.reshape(tensor.shape)
        return found

    def _clear(self) -> None:
        super()._clear()
        self._readout.clear()
        self._bias_trace = 0.0

    def _error(self, drive: Tensor) -> Tensor:
        self.readout_potential.copy_(self._readout.step(drive))
        self._output_error = torch.softmax(self.readout_potential, 1).sub_(self.label).div_(len(self.label))
        return self._output_error


def on_cells(kind: type[rule.LocalRule]) -> Any:
    """The rule ``kind`` of the bench, made for a view: a class to be called as ``(view, seed=…)``."""
    layer = type(f"Cell{kind.layer_type.__name__}", (CellLayer, kind.layer_type), {})
    return type(f"Cell{kind.__name__}", (CellRule, kind), {"layer_type": layer})


class BenchRule(LocalRule):
    """What the rules below share: the update is a learning signal times an eligibility, summed over the clips b::

        dE/dW_ji = sum_b  signal[b, j]  eligibility[b, j, i]

    where i is an input, a neuron of the same layer (its spikes of the step before) or the bias (always 1). The readout
    learns by the exact gradient of the cross-entropy of its present potential m. The equations of each rule, and where
    they differ from its paper, are in the docstring of its module in ``edgekws.methods.alternatives.local_rules``.

    Args:
        net: What :func:`edgekws.neurons.blocks.read_net` can read, with cells that have a membrane alone (the module's
            docstring says which), or a RecurrentLIF.
        outputs: Classes.
        output_leak: Factor on m from one step to the next, 1 by default; where the net ends in an integrator of its
            own, that one's potential is m, and this is ignored. Not for a RecurrentLIF, which has its own.
        seed: Of the fixed random matrices, where the rule has any.

    Raises:
        UserError: The net cannot be read, or this rule cannot take one of its cells; the error says which module.
    """

    kind: ClassVar[type[rule.LocalRule]]

    def __init__(self, net: nn.Module | RecurrentLIF, *, outputs: int, output_leak: float | None = None, seed: int = 0) -> None:
        about: Mapping[str, object] = {"seed": seed}
        if isinstance(net, RecurrentLIF):
            refuse_settings(net, outputs, [] if output_leak is None else ["output_leak"])
            super().__init__(self.kind(net, seed=seed), [net.inputs, *net.settings.hidden, net.outputs], about)
            return
        blocks = read_net(net, outputs=outputs)
        view = View(blocks, 1.0 if output_leak is None else output_leak)
        super().__init__(on_cells(self.kind)(view, seed=seed), blocks.widths, about)


class EProp(BenchRule):
    """Symmetric e-prop (Bellec et al. 2020, Nature Communications 11:3625): the readout's error through its own weights.

    Signal ``error W_o`` for the last hidden layer, through a fixed random matrix for those below; eligibility
    ``psi(u) zbar``, filtered by the readout's leak, zbar the presynaptic activity filtered by the membrane's. One trace for
    each clip and synapse, [clips, neurons, inputs].
    """

    kind = eprop.SymmetricEprop


class RandomEProp(BenchRule):
    """Random e-prop (Bellec et al. 2020): as :class:`EProp`, the error through a fixed random matrix in every layer."""

    kind = eprop.RandomEprop


class Decolle(BenchRule):
    """DECOLLE (Kaiser, Mostafa & Neftci 2020, Frontiers in Neuroscience 14:424): a loss in each layer.

    Signal ``(softmax(s G^T) - c) G / clips`` with a fixed random G [outputs, neurons]; eligibility ``psi(u) zbar``.
    """

    kind = decolle.Decolle


class Etlp(BenchRule):
    """ETLP (Quintana et al. 2024, arXiv 2301.08281): signal ``c B / clips``, B fixed and random; eligibility ``psi(u) zbar``."""

    kind = etlp.Etlp


class Osttp(BenchRule):
    """OSTTP (Ortner et al. 2023, arXiv 2304.05124): the signal of :class:`Etlp`, an eligibility that goes through the reset.

    One trace for each clip and synapse, [clips, neurons, inputs].
    """

    kind = osttp.Osttp


class Tess(BenchRule):
    """TESS (Apolinario, Roy & Frenkel 2025, arXiv 2502.01837): pre- and postsynaptic traces with leaks of their own.

    Signal as in :class:`Decolle`, with square waves for G; nothing is random.
    """

    kind = tess.Tess
