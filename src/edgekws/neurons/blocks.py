"""A PyTorch user's spiking net, read as hidden blocks and a readout, so that local rules can run it step by step.

What can be read: ``norse.torch.SequentialState`` or ``torch.nn.Sequential``, nested or not, of

* hidden blocks: a ``torch.nn.Linear``, with or without bias, and a spiking cell, or a recurrent cell that has input
  weights of its own (Norse's ``LIFRecurrentCell``) and needs no Linear;
* the readout: the last Linear, and after it, if wanted, Norse's ``LIBoxCell`` or ``LICell``.

A cell is any module called as ``spikes, state = cell(current, state)``. Recurrent weights are those named
``recurrent_weights``, input weights of a cell those named ``input_weights``, as in Norse.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from edgekws.core.errors import UserError

_INTEGRATORS = {"LIBoxCell", "LICell"}
_WHOLE_CLIPS = {"SNN", "SNNRecurrent", "RNNBase"}
_SUPPORTED = ("a rule reads a torch.nn.Sequential or norse.torch.SequentialState of hidden blocks (torch.nn.Linear, then a "
              "cell called as `spikes, state = cell(current, state)`) and a last torch.nn.Linear, optionally followed by "
              "Norse's LIBoxCell or LICell")


def detached(state: Any) -> Any:
    """A cell's state, cut from the graph: tensors alone or in (named) tuples, lists and dictionaries."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*map(detached, state))
    if isinstance(state, tuple | list):
        return type(state)(map(detached, state))
    return {key: detached(value) for key, value in state.items()} if isinstance(state, dict) else state


@dataclass(frozen=True, eq=False)
class Block:
    """A hidden layer.

    Attributes:
        linear: What makes the cell's input current of the layer's input; None where the cell has its own input weights.
        prefix: Start of the names of the parameters in the net, of ``linear`` and of ``cell``.
    """

    linear: nn.Linear | None
    cell: nn.Module
    prefix: tuple[str, str]

    @property
    def inputs(self) -> int:
        """Width of the layer's input."""
        return int(self._matrix.shape[1])

    @property
    def neurons(self) -> int:
        """Neurons of the layer."""
        return len(self.input_weights) if isinstance(self.input_weights, Tensor) else len(self._matrix)

    @property
    def input_weights(self) -> Tensor | None:
        """Input weights of the cell's own, [neurons, width]."""
        return getattr(self.cell, "input_weights", None)

    @property
    def recurrent_weights(self) -> Tensor | None:
        """Recurrent weights, [neurons, neurons]; None in a feed-forward layer."""
        return getattr(self.cell, "recurrent_weights", None)

    @property
    def _matrix(self) -> Tensor:
        matrix = self.linear.weight if self.linear is not None else self.input_weights
        assert matrix is not None  # read_net refuses a cell without either
        return matrix

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters, by their names in the net."""
        pairs = zip(self.prefix, (self.linear, self.cell), strict=True)
        return {f"{prefix}.{name}": parameter for prefix, module in pairs if module is not None
                for name, parameter in module.named_parameters() if parameter.requires_grad}

    def current(self, drive: Tensor) -> Tensor:
        """What the cell is called with, for a layer's input ``drive`` [clips, inputs]."""
        return drive if self.linear is None else self.linear(drive)


@dataclass(frozen=True, eq=False)
class Readout:
    """The last Linear and, if there is one, the integrator after it."""

    linear: nn.Linear
    integrator: nn.Module | None
    prefix: str

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters of the Linear, by their names in the net."""
        return {f"{self.prefix}.{name}": parameter for name, parameter in self.linear.named_parameters()
                if parameter.requires_grad}


@dataclass(frozen=True)
class Blocks:
    """A net: hidden blocks from the input on, and the readout."""

    hidden: list[Block]
    readout: Readout

    @property
    def widths(self) -> list[int]:
        """Inputs, neurons of each hidden layer, outputs."""
        return [self.hidden[0].inputs, *(block.neurons for block in self.hidden), self.readout.linear.out_features]

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters, by their names in the net."""
        named = [block.parameters() for block in self.hidden]
        return {name: parameter for part in (*named, self.readout.parameters()) for name, parameter in part.items()}


def read_net(net: nn.Module, *, outputs: int) -> Blocks:
    """The blocks of ``net``, which share its modules.

    Args:
        outputs: Classes: the width that the last Linear must have.

    Raises:
        UserError: The net has a module that is not supported here or stands in the wrong place; the error names it.
    """
    def refuse(name: str, module: nn.Module, why: str) -> UserError:
        return UserError(f"module '{name}' ({type(module).__name__}) {why}", where="net", remedy=_SUPPORTED)

    if not isinstance(net, nn.Sequential):
        raise UserError(f"a {type(net).__name__} is no torch.nn.Sequential", where="net", remedy=_SUPPORTED)
    hidden: list[Block] = []
    linear: nn.Linear | None = None
    place, integrator = "", None
    for name, module in _flat(net, ""):
        if integrator is not None:
            raise refuse(name, module, "stands after the integrator, which must come last")
        if isinstance(module, nn.Linear):
            if linear is not None:
                raise refuse(name, module, "follows another Linear, with no cell between them")
            linear, place = module, name
        elif _is_a(module, _WHOLE_CLIPS):
            raise refuse(name, module, "takes whole clips; a rule needs the cell, which takes one frame")
        elif _is_a(module, _INTEGRATORS):
            if linear is None:
                raise refuse(name, module, "integrates, but no Linear stands before it")
            integrator = module
        elif "state" in inspect.signature(module.forward).parameters:
            block = Block(linear, module, (place, name))
            if linear is None and block.input_weights is None:
                raise refuse(name, module, "has no input weights, and no Linear stands before it")
            hidden.append(block)
            linear = None
        else:
            raise refuse(name, module, "is neither a Linear nor a cell")
    if linear is None or not hidden:
        raise UserError("has no readout: no Linear stands after the last cell" if linear is None else "has no spiking cell",
                        where="net", remedy=_SUPPORTED)
    if linear.out_features != outputs:
        raise UserError(f"the last Linear ('{place}') has {linear.out_features} outputs, not {outputs}", where="outputs",
                        remedy=f"say outputs={linear.out_features}, or give the net {outputs} outputs")
    return Blocks(hidden, Readout(linear, integrator, place))


def _flat(net: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules inside nested Sequentials, in order, with their names."""
    for name, module in net.named_children():
        if isinstance(module, nn.Sequential):
            yield from _flat(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def _is_a(module: nn.Module, names: set[str]) -> bool:
    """By the names of its classes, so that Norse need not be imported."""
    return any(kind.__name__ in names for kind in type(module).__mro__)
