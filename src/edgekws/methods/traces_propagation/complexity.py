"""What the rule of Traces Propagation keeps and computes, by the paper's formulas and counted on the running rule.

Bears on the paper's complexity table (traces_propagation.md, section 5.3): for ``L`` hidden layers of ``H`` neurons,
``O`` outputs and batch ``B``, traces of ``2 B L H`` values, auxiliary weights ``O H``, a learning signal linear in
``L H``; and no update locking, no weight transport, local in time and in space.

As in the paper's table, the learning signal leaves out the forward pass and the weight update itself (the outer product
of learning signal and presynaptic spikes), which every rule needs.

Both forms are run: the published one, which compares all pairs of clips (:class:`BatchRule`), and the one of prototypes, which
takes its place where there is one hidden layer and gives the same numbers (:class:`PrototypeRule`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from edgekws.methods.traces_propagation.rule import BatchRule, Form, PrototypeRule, best_rule, make_rule
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

_STEPS = 10  # frames that locality is checked over
_SMALL: dict[Form, list[int]] = {"batch": [24, 16, 20], "prototype": [24]}  # hidden layers that locality is checked on
_BATCHES = 2048  # the largest batch at which memory is compared with that of TESS


def complexity_of(net: RecurrentLIF, *, batch: int = 32, frames: int = 101) -> dict[str, Any]:
    """:func:`complexity` of a network at hand; only its sizes are taken, its weights stay as they are."""
    return complexity(net.settings, inputs=net.inputs, outputs=net.outputs, batch=batch, frames=frames)


def complexity(network: Network, *, inputs: int, outputs: int, batch: int, frames: int,
               seed: int = 0) -> dict[str, Any]:
    """Values kept, operations and locality of the rule for a network.

    Args:
        network: The network; the published form of the rule runs on one of its size, and the one of prototypes where it can.
        inputs: Features of a frame.
        outputs: Words and spare outputs (``O``).
        batch: Clips in a batch (``B``), at least 2; counted with the next larger one where it equals another size.
        frames: Time steps of a clip: what the prototype form keeps grows with it.
        seed: Of the random weights and clips it is run on; no count depends on it.

    Returns:
        ``sizes``; ``values`` and ``operations`` (multiply-adds a time step) with ``formula`` and ``counted``;
        ``checks``, each ``{"holds": bool, "why": sentence}``.
    """
    # The products of B x B matrices are known by their shape, so no other size may be B.
    taken = {inputs, outputs, *(width * factor for width in network.hidden for factor in (1, 2))}
    batch = next(size for size in itertools.count(batch) if size not in taken)
    sizes = {"inputs": inputs, "hidden": list(network.hidden), "outputs": outputs, "batch": batch, "frames": frames,
             "recurrent": network.recurrent}

    def run(form: Form = "batch", hidden: Sequence[int] | None = None) -> tuple[Any, int]:
        other = network if hidden is None else network.model_copy(update={"hidden": list(hidden)})
        return _run(form, other, inputs, outputs, batch, seed, frames)

    rule, operations = run()
    neurons, first, target = sum(network.hidden), network.hidden[0], rule.targets[0]
    trained = sum(weights.numel() for weights in rule.parameters.values())
    values: dict[str, dict[str, int | None]] = {
        "traces": {"formula": 2 * batch * neurons, "counted": _traces(rule)},
        "label_trace": {"formula": batch * outputs, "counted": rule.label_trace.numel()},
        "auxiliary_label": {"formula": outputs * first, "counted": target.weights[:, :target.inputs].numel()},
        "auxiliary_recurrent": {"formula": first * first if network.recurrent else 0,
                                "counted": target.weights[:, target.inputs:].numel()},
        "trained": {"formula": None, "counted": trained},
        "adam": {"formula": 2 * trained, "counted": None},
        "prototypes": {"formula": None, "counted": None},
    }
    counts = {"learning_signal": {"formula": _learning_signal(network, batch), "counted": operations}}
    if best_rule(network) == "prototype":
        table, signal = run("prototype")
        values["prototypes"] = {"formula": frames * outputs * first, "counted": _prototypes(table)}
        counts["learning_signal_prototypes"] = {"formula": 2 * batch * outputs * first, "counted": signal}
    return {
        "sizes": sizes, "values": values, "operations": counts,
        "checks": {**_growth(network, batch, frames, run), **_auxiliary(values, network, run),
                   **_against_tess(network, inputs, outputs), **_locality(network, inputs, outputs, seed)},
    }


# ------------------------------------------------------------------------------------------------ memory and time
def _learning_signal(network: Network, batch: int) -> int:
    """Multiply-adds of comparing all pairs and of handing the result back, for each layer; both paths from layer 2."""
    return sum(batch * batch * neurons * (2 if index == 0 else 3) for index, neurons in enumerate(network.hidden))


def _growth(network: Network, batch: int, frames: int, run: Callable[..., tuple[Any, int]]) -> dict[str, Any]:
    """Counts again with twice the neurons, and with another layer; the form of prototypes with twice the neurons."""
    added = network.hidden[-1]
    wide, deep = [2 * neurons for neurons in network.hidden], [*network.hidden, added]
    (rule, operations), (wider, wide_operations), (deeper, deep_operations) = run(), run(hidden=wide), run(hidden=deep)
    neurons, traces, wide_traces, deep_traces = sum(network.hidden), _traces(rule), _traces(wider), _traces(deeper)
    expected = 2 * batch * neurons
    linear = wide_traces == 2 * traces and deep_traces * neurons == traces * (neurons + added)
    # A layer above the first also learns from its target path: three comparisons instead of two.
    signal = wide_operations == 2 * operations and deep_operations - operations == 3 * batch * batch * added
    of_traces = f"the published form keeps {traces:,} trace values, 2BLH is {expected:,}"
    of_memory = f"in the published form twice the neurons make {wide_traces / traces:.2f} times the traces, one more layer " \
                f"of {added} makes {deep_traces / traces:.2f} times"
    of_signal = f"in the published form twice the neurons make {wide_operations / operations:.2f} times the multiply-adds of " \
                f"the learning signal, one more layer adds {deep_operations - operations:,} to {operations:,}"
    if best_rule(network) == "prototype":
        (table, few), (larger, more) = run("prototype"), run("prototype", wide)
        kept, wide_kept = (_traces(each) + _prototypes(each) for each in (table, larger))
        linear, signal = linear and wide_kept == 2 * kept, signal and more == 2 * few
        of_traces += f"; the form that runs keeps {_traces(table):,} (clips and classes), and {_prototypes(table):,} of " \
                     f"prototypes for {frames} frames, in their place"
        of_memory += f"; in the form that runs, prototypes included, twice the neurons make {wide_kept / kept:.2f} times"
        of_signal += f"; in the form that runs twice the neurons make {few:,} into {more:,}"
    return {"traces_two_per_neuron": _check(traces == expected, of_traces), "memory_linear": _check(linear, of_memory),
            "learning_signal_linear": _check(signal, of_signal)}


def _auxiliary(values: Mapping[str, Mapping[str, int | None]], network: Network,
               run: Callable[..., tuple[Any, int]]) -> dict[str, Any]:
    label, recurrent = values["auxiliary_label"]["counted"], values["auxiliary_recurrent"]["counted"]
    why = f"auxiliary memory of O x H: the frozen label matrix of {label:,} values is all"
    if recurrent:
        why = f"auxiliary memory of O x H: beside the label matrix of {label:,} values the recurrent " \
              f"target path keeps a frozen matrix of {recurrent:,} (H x H)"
    why += ", in both forms" if best_rule(network) == "prototype" else ""
    depths = [[*network.hidden, *[network.hidden[-1]] * more] for more in range(3)]
    found = [_frozen(run(hidden=hidden)[0]) for hidden in depths]
    told = ", ".join(f"{count:,} with {len(hidden)}" for count, hidden in zip(found, depths, strict=True))
    return {
        "auxiliary_classes_by_neurons": _check(not recurrent, why),
        "auxiliary_not_by_layer": _check(
            len(set(found)) == 1, f"frozen values by the number of hidden layers, all that the rule holds beside what is "
            f"trained and its state: {told}" + (f" (R_S, {recurrent:,} of them, stands at the first layer alone)"
                                                if recurrent else "")),
    }


def _frozen(rule: BatchRule) -> int:
    """Values of matrices that the rule's layers run through, in either path, and that are not trained."""
    trained = {weights.data_ptr() for weights in rule.parameters.values()}
    return sum({layer.weights.data_ptr(): layer.weights.numel() for layer in [*rule.layers, *rule.targets]
                if layer.weights.data_ptr() not in trained}.values())


def _traces(rule: BatchRule | PrototypeRule) -> int:
    targets = rule.targets if isinstance(rule, BatchRule) else [rule._target]
    return sum(layer.trace.numel() for layer in [*rule.layers, *targets])


def _prototypes(rule: BatchRule | PrototypeRule) -> int:
    return sum(kept.numel() for kept in rule._prototypes) if isinstance(rule, PrototypeRule) else 0


def tess_values(network: Network, *, inputs: int, outputs: int, batch: int) -> int:
    """Trace and auxiliary values of TESS: a trace of each presynaptic input and of each neuron, the readout's own, and a
    matrix of classes by neurons in each layer (:mod:`edgekws.methods.alternatives.local_rules.tess`, counted there).
    """
    widths = [inputs, *network.hidden]
    presynaptic = sum(widths[:-1]) + (sum(network.hidden) if network.recurrent else 0)
    return batch * (presynaptic + sum(network.hidden) + network.hidden[-1]) + outputs * sum(network.hidden)


def _against_tess(network: Network, inputs: int, outputs: int) -> dict[str, Any]:
    """Whether Traces Propagation needs less memory than TESS only with more classes than clips in a batch.

    The paper's Eq. 25 is known by its result alone. It follows where TESS has one trace for each neuron, ``BLH + OLH``, and
    the ``OH`` of Traces Propagation is left out; so that is what the formula takes.
    """
    first, neurons = network.hidden[0], sum(network.hidden)
    batches = range(1, max(_BATCHES, 2 * outputs) + 1)
    frozen = outputs * first + (first * first if network.recurrent else 0)
    published = [batch for batch in batches if 2 * batch * neurons < batch * neurons + outputs * neurons]
    counted = [batch for batch in batches if 2 * batch * neurons + frozen
               < tess_values(network, inputs=inputs, outputs=outputs, batch=batch)]

    def check(found: Sequence[int], how: str) -> dict[str, Any]:
        told = f"with batches of {found[0]} to {found[-1]}" if found else "with no batch"
        return _check(all(batch < outputs for batch in found), f"{how}, it needs less memory than TESS {told} out of 1 to "
                      f"{batches[-1]}, of {outputs} classes")

    return {
        "tess_by_formula": check(published, "by 2BLH against BLH + OLH (Eq. 25 as its result implies)"),
        "tess_as_it_runs": check(counted, "by all traces and auxiliary matrices as both rules run on this net, R_S and TESS's "
                                          "postsynaptic traces included"),
    }


class MultiplyAdds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the multiply-adds of matrix products in ``count``: all, or those with a matrix of a ``shape``."""

    def __init__(self, shape: tuple[int, int] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape = None if shape is None else torch.Size(shape)
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
            left, right = (arg for arg in args[-2:])
            if self.shape is None or self.shape in (left.shape, right.shape, made.shape):
                self.count += left.shape[0] * left.shape[1] * right.shape[1]
        return made


def _run(form: Form, network: Network, inputs: int, outputs: int, batch: int, seed: int,
         frames: int) -> tuple[Any, int]:
    """The rule after one frame, and the multiply-adds of its learning signal; with the prototypes of all frames."""
    rule, clips = _begin(form, network, inputs, outputs, batch, seed, 1)
    rule.step(clips[0])
    with torch.no_grad(), MultiplyAdds((batch, batch if form == "batch" else outputs)) as operations:
        rule._hidden_gradients()
    if isinstance(rule, PrototypeRule):
        rule.prototype(frames - 1)
    return rule, operations.count


def _begin(form: Form, network: Network, inputs: int, outputs: int, batch: int, seed: int,
           steps: int) -> tuple[Any, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rule = make_rule(RecurrentLIF(network, inputs=inputs, outputs=outputs, generator=generator), form)
    rule.begin(torch.arange(batch) % outputs)
    return rule, 3 * torch.rand(steps, batch, inputs, generator=generator)


# ------------------------------------------------------------------------------------------------ locality
def _locality(network: Network, inputs: int, outputs: int, seed: int) -> dict[str, Any]:
    """Each property by an experiment of its own, on every hidden layer of small nets, whatever the network's own depth.

    Three layers in the published form and one in the form of prototypes, each feed-forward and recurrent. The threshold is
    low, so that both paths spike; a layer that learns nothing fails, since a gradient that stays the same would show nothing.
    """
    cases = [(form, network.model_copy(update={"hidden": hidden, "recurrent": recurrent, "threshold": 0.1}))
             for form, hidden in _SMALL.items() for recurrent in (False, True)]
    failed: dict[str, list[str]] = {"no_update_locking": [], "no_weight_transport": [], "local_in_space": []}
    kept, longer = 0, 0
    for form, small in cases:
        plain = _gradients(*_begin(form, small, inputs, outputs, 5, seed, _STEPS))
        found = {"no_update_locking": _cut_off(form, small, inputs, outputs, seed),
                 "no_weight_transport": _exchanged(form, small, inputs, outputs, seed),
                 "local_in_space": _from_own_traces(form, small, inputs, outputs, seed)}
        for name, layers in found.items():
            for index, gradient in enumerate(layers):
                near = 1e-4 * float(plain[index].abs().max()) if name == "local_in_space" else 0.0
                if not plain[index].any() or float((gradient - plain[index]).abs().max()) > near:
                    failed[name].append(f"{form} form, {'recurrent' if small.recurrent else 'feed-forward'}, layer {index + 1}")
        kept, longer = (count + _kept(form, small, inputs, outputs, seed, steps)
                        for count, steps in ((kept, _STEPS), (longer, 10 * _STEPS)))
    where = f"on all {sum(len(small.hidden) for _, small in cases)} hidden layers of {len(cases)} nets (published form of " \
            f"{len(_SMALL['batch'])} layers, form of prototypes of 1, each feed-forward and recurrent), over {_STEPS} frames"

    def check(name: str, what: str) -> dict[str, Any]:
        but = failed[name]
        return _check(not but, f"{what}, {where}" + (f"; not so: {', '.join(but)}" if but else ""))

    return {
        "no_update_locking": check("no_update_locking", "a layer's gradient is the same where the layers above it do not "
                                   "exist and the readout is another"),
        "no_weight_transport": check("no_weight_transport", "a layer's gradient is the same where the weights of the layers "
                                     "above and of the readout are exchanged between the forward pass and learning"),
        "local_in_space": check("local_in_space", "a synapse's gradient follows from its own input, its own neuron's traces "
                                "and derivative and the layer's third factor, which takes all clips of the batch"),
        "local_in_time": _check(
            kept == longer, f"the rules keep {kept:,} values after {_STEPS} frames, {longer:,} after {10 * _STEPS}, in the "
            f"same {len(cases)} nets; the table of prototypes, constants of a net, is left out: it has O x H for each frame"),
    }


def _gradients(rule: Any, frames: Tensor) -> list[Tensor]:
    """Gradients of each hidden layer at all frames, [frames, neurons, inputs]."""
    found = []
    for frame in frames:
        made = rule.step(frame)
        found.append([gradient.clone() for name, gradient in made.items() if name != "readout"])
    return [torch.stack(layer) for layer in zip(*found, strict=True)]


def _cut_off(form: Form, network: Network, inputs: int, outputs: int, seed: int) -> list[Tensor]:
    """Gradients of each layer in a net that ends there: same weights up to it, another readout."""
    whole, frames = _begin(form, network, inputs, outputs, 5, seed, _STEPS)
    found = []
    for index in range(len(network.hidden)):
        ending = network.model_copy(update={"hidden": network.hidden[:index + 1]})
        rule, _ = _begin(form, ending, inputs, outputs, 5, seed + 1, 1)
        with torch.no_grad():
            for mine, others in zip(_weights(rule), _weights(whole), strict=False):
                mine.copy_(others)
        found.append(_gradients(rule, frames)[index])
    return found


def _weights(rule: Any) -> list[Tensor]:
    """Weights of the target path's first layer, then of each hidden layer."""
    target = rule.targets[0] if isinstance(rule, BatchRule) else rule._target
    return [target.weights, *(layer.weights for layer in rule.layers)]


def _exchanged(form: Form, network: Network, inputs: int, outputs: int, seed: int) -> list[Tensor]:
    """Gradients of each layer where learning, but not the forward pass, meets other weights above it."""
    found = []
    for index in range(len(network.hidden)):
        rule, frames = _begin(form, network, inputs, outputs, 5, seed, _STEPS)

        def learn(rule: Any = rule, index: int = index, honest: Callable[[], None] = rule._hidden_gradients) -> None:
            above = [*(layer.weights for layer in rule.layers[index + 1:]), rule.net.readout]
            before = [weights.clone() for weights in above]
            for weights in above:
                weights.mul_(-3.0)
            honest()
            for weights, own in zip(above, before, strict=True):
                weights.copy_(own)

        rule._hidden_gradients = learn
        found.append(_gradients(rule, frames)[index])
    return found


def _from_own_traces(form: Form, network: Network, inputs: int, outputs: int, seed: int) -> list[Tensor]:
    """Gradients of each layer, put together from what each synapse has at hand and the third factor (section 2.6)."""
    rule, frames = _begin(form, network, inputs, outputs, 5, seed, _STEPS)
    found: list[list[Tensor]] = []
    label_trace = torch.zeros_like(rule.label)
    for time, frame in enumerate(frames):
        rule.step(frame)
        label_trace = network.trace_leak * label_trace + rule.label
        below, made = label_trace, []
        for index, layer in enumerate(rule.layers):
            target = rule.targets[index] if form == "batch" else None
            trace = rule.prototype(time)[rule.label.argmax(1)] if target is None else target.trace
            factor = torch.softmax(layer.trace @ trace.T, 1) - torch.softmax(-BatchRule.distance(below), 1)
            factor = factor / len(rule.label)
            gradient = torch.einsum("bc,ci,bi,bj->ij", factor, trace, layer.derivative, layer.presynaptic)
            if index and target is not None:
                gradient += torch.einsum("cb,ci,bi,bj->ij", factor, layer.trace, target.derivative, target.presynaptic)
            made.append(gradient)
            below = trace
        found.append(made)
    return [torch.stack(layer) for layer in zip(*found, strict=True)]


def _kept(form: Form, network: Network, inputs: int, outputs: int, seed: int, steps: int) -> int:
    """Values that the rule keeps after some frames, without the table of prototypes."""
    rule, frames = _begin(form, network, inputs, outputs, 5, seed, steps)
    for frame in frames:
        rule.step(frame)
    return sum({id(tensor): tensor.numel() for tensor in tensors_held(rule)}.values()) - _prototypes(rule)


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
