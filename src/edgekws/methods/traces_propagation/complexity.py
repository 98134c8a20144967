"""What the rule of Traces Propagation keeps and computes, by the paper's formulas and counted on the running rule.

Bears on the paper's complexity table (traces_propagation.md, section 5.3): for ``L`` hidden layers of ``H`` neurons,
``O`` outputs and batch ``B``, traces of ``2 B L H`` values, auxiliary weights ``O H``, a learning signal linear in
``L H``; and no update locking, no weight transport, local in time and in space.

As in the paper's table, the learning signal leaves out the forward pass and the weight update itself (the outer product
of learning signal and presynaptic spikes), which every rule needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from edgekws.methods.traces_propagation.rule import BatchRule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

_STEPS = 10  # frames that locality is checked over


def complexity_of(net: RecurrentLIF, *, batch: int = 32, frames: int = 101) -> dict[str, Any]:
    """:func:`complexity` of a network at hand; only its sizes are taken, its weights stay as they are."""
    return complexity(net.settings, inputs=net.inputs, outputs=net.outputs, batch=batch, frames=frames)


def complexity(network: Network, *, inputs: int, outputs: int, batch: int, frames: int,
               seed: int = 0) -> dict[str, Any]:
    """Values kept, operations and locality of the rule for a network.

    Args:
        network: The network; the general (all pairs) form of the rule runs on one of its size.
        inputs: Features of a frame.
        outputs: Words and spare outputs (``O``).
        batch: Clips in a batch (``B``), at least 2; counted with the next larger one where it equals another size.
        frames: Time steps of a clip: what the prototype form keeps grows with it.
        seed: Of the random weights and clips it is run on; no count depends on it.

    Returns:
        ``sizes``; ``values`` and ``operations`` (multiply-adds a time step) with ``formula`` and ``counted``;
        ``checks``, each ``{"holds": bool, "why": sentence}``.
    """
    neurons = sum(network.hidden)
    # The products of B x B matrices are known by their shape, so no other size may be B.
    taken = {inputs, outputs, *(width * factor for width in network.hidden for factor in (1, 2))}
    batch = next(size for size in itertools.count(batch) if size not in taken)
    rule, operations = _run(network, inputs, outputs, batch, seed)
    net = rule.net
    traces = _traces(rule)
    trained = sum(weights.numel() for weights in net.trained.values())
    first = network.hidden[0]
    recurrent = first * first if network.recurrent else 0
    values: dict[str, dict[str, int | None]] = {
        "traces": {"formula": 2 * batch * neurons, "counted": traces},
        "label_trace": {"formula": batch * outputs, "counted": rule.label_trace.numel()},
        "auxiliary_label": {"formula": outputs * first, "counted": net.state_dict()["target.label"].numel()},
        "auxiliary_recurrent": {"formula": recurrent, "counted": net.target.weight.numel() - outputs * first},
        "trained": {"formula": None, "counted": trained},
        "adam": {"formula": 2 * trained, "counted": None},
        "prototypes": {"formula": frames * outputs * first if len(network.hidden) == 1 else None, "counted": None},
    }
    return {
        "sizes": {"inputs": inputs, "hidden": list(network.hidden), "outputs": outputs, "batch": batch,
                  "frames": frames, "recurrent": network.recurrent},
        "values": values,
        "operations": {"learning_signal": {"formula": _learning_signal(network, batch), "counted": operations}},
        "checks": {**_growth(network, inputs, outputs, batch, seed, traces, operations), **_auxiliary(values, network),
                   **_locality(network, inputs, outputs, seed)},
    }


# ------------------------------------------------------------------------------------------------ memory and time
def _learning_signal(network: Network, batch: int) -> int:
    """Multiply-adds of comparing all pairs and of handing the result back, for each layer; both paths from layer 2."""
    return sum(batch * batch * neurons * (2 if index == 0 else 3) for index, neurons in enumerate(network.hidden))


def _growth(network: Network, inputs: int, outputs: int, batch: int, seed: int, traces: int,
            operations: int) -> dict[str, Any]:
    """Counts again with twice the neurons, and with another layer."""
    wide = network.model_copy(update={"hidden": [2 * neurons for neurons in network.hidden]})
    deep = network.model_copy(update={"hidden": [*network.hidden, network.hidden[-1]]})
    more = {name: _run(other, inputs, outputs, batch, seed) for name, other in (("wide", wide), ("deep", deep))}
    wide_traces, deep_traces = (_traces(more[name][0]) for name in ("wide", "deep"))
    neurons, added = sum(network.hidden), network.hidden[-1]
    expected = 2 * batch * neurons
    linear = wide_traces == 2 * traces and deep_traces * neurons == traces * (neurons + added)
    wide_operations, deep_operations = more["wide"][1], more["deep"][1]
    # A layer above the first also learns from its target path: three comparisons instead of two.
    signal = (wide_operations == 2 * operations
              and deep_operations - operations == 3 * batch * batch * added)
    return {
        "traces_two_per_neuron": _check(
            traces == expected, f"the rule keeps {traces:,} trace values, 2BLH is {expected:,}"),
        "memory_linear": _check(linear, f"twice the neurons make {wide_traces / traces:.2f} times the traces, one more "
                                        f"layer of {added} makes {deep_traces / traces:.2f} times"),
        "learning_signal_linear": _check(
            signal, f"twice the neurons make {wide_operations / operations:.2f} times the multiply-adds of the "
                    f"learning signal, one more layer adds {deep_operations - operations:,} to {operations:,}"),
    }


def _auxiliary(values: Mapping[str, Mapping[str, int | None]], network: Network) -> dict[str, Any]:
    label, recurrent = values["auxiliary_label"]["counted"], values["auxiliary_recurrent"]["counted"]
    why = f"auxiliary memory of O x H: the frozen label matrix of {label:,} values is all"
    if recurrent:
        why = f"auxiliary memory of O x H: beside the label matrix of {label:,} values the recurrent " \
              f"target path keeps a frozen matrix of {recurrent:,} (H x H)"
    return {"auxiliary_classes_by_neurons": _check(not recurrent, why)}


def _traces(rule: BatchRule) -> int:
    return sum(layer.trace.numel() for layer in [*rule.layers, *rule.targets])


class MultiplyAdds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the multiply-adds of matrix products in ``count``: all, or those with a ``batch`` x ``batch`` matrix."""

    def __init__(self, batch: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.square = None if batch is None else torch.Size((batch, batch))
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
            left, right = (arg for arg in args[-2:])
            if self.square is None or self.square in (left.shape, right.shape, made.shape):
                self.count += left.shape[0] * left.shape[1] * right.shape[1]
        return made


def _run(network: Network, inputs: int, outputs: int, batch: int, seed: int) -> tuple[BatchRule, int]:
    """The rule after one frame, and the multiply-adds of its learning signal."""
    rule, frames = _begin(network, inputs, outputs, batch, seed, 1)
    with MultiplyAdds(batch) as operations:
        rule.step(frames[0])
    return rule, operations.count


def _begin(network: Network, inputs: int, outputs: int, batch: int, seed: int,
           steps: int) -> tuple[BatchRule, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rule = BatchRule(RecurrentLIF(network, inputs=inputs, outputs=outputs, generator=generator))
    rule.begin(torch.arange(batch) % outputs)
    return rule, 3 * torch.rand(steps, batch, inputs, generator=generator)


# ------------------------------------------------------------------------------------------------ locality
def _locality(network: Network, inputs: int, outputs: int, seed: int) -> dict[str, Any]:
    """Checked on two small hidden layers, whatever the network's own depth: with one layer nothing could be locked.

    The threshold is low, so that both paths spike and a gradient that is the same is not merely zero.
    """
    small = network.model_copy(update={"hidden": [24, 24], "threshold": 0.1})
    gradient, kept = _first_gradient(small, inputs, outputs, seed, steps=_STEPS)
    other, _ = _first_gradient(small, inputs, outputs, seed, steps=_STEPS, change_above=True)
    same = torch.equal(gradient, other) and bool(gradient.any())
    found = "does not change" if same else "changes"
    longer = _first_gradient(small, inputs, outputs, seed, steps=10 * _STEPS)[1]
    return {
        "no_update_locking": _check(same, f"the first layer's gradient {found} with what the layers above compute"),
        "no_weight_transport": _check(same, f"the first layer's gradient {found} with the weights above it"),
        "local_in_space": _check(same, f"between layers: the first layer's gradient {found} with the layers above "
                                       "(it takes all clips of the batch)"),
        "local_in_time": _check(kept == longer, f"the rule keeps {kept:,} values after {_STEPS} frames, "
                                                f"{longer:,} after {10 * _STEPS}"),
    }


def _first_gradient(network: Network, inputs: int, outputs: int, seed: int, *, steps: int,
                    change_above: bool = False) -> tuple[Tensor, int]:
    """Gradient of the first layer at the last of ``steps`` frames, and how many values the rule then keeps."""
    rule, frames = _begin(network, inputs, outputs, 5, seed, steps)
    if change_above:
        with torch.no_grad():
            for weights in (*(layer.weight for layer in rule.net.hidden[1:]), rule.net.readout):
                weights.mul_(-3.0)
    for frame in frames:
        rule.step(frame)
    return rule.gradients["hidden.0.weight"].clone(), sum({id(tensor): tensor.numel() for tensor in tensors_held(rule)}.values())


def tensors_held(thing: Any) -> Iterator[Tensor]:
    """Every tensor an object holds, directly, in lists and in its parts; one that is shared comes more than once."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        for part in thing.values():
            yield from tensors_held(part)
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from tensors_held(part)
    elif hasattr(thing, "__dict__"):
        yield from tensors_held(vars(thing))


def _check(holds: bool, why: str) -> dict[str, Any]:
    return {"holds": holds, "why": why}
