"""What the local rules keep and compute, by formula and counted on the running rules: the papers' table, redrawn.

Bears on the complexity table of Pes et al. 2025 (arXiv 2509.13053, Table 3; traces_propagation.md, section 5.3), whose
orders stand beside each count as ``paper``. Sizes: batch ``B``, hidden layers ``L`` of ``H_l`` neurons, ``N_l`` presynaptic
inputs of a neuron (its layer's inputs, and the layer's own neurons if recurrent), ``O`` outputs.

As in that table, the learning signal leaves out the forward pass, the weight update and the readout's own learning. The
traces include the readout's, of which each rule has one for each neuron of the last layer (Traces Propagation has it among
its others). Where the signal is computed once for a clip, it is also kept for that long, ``B sum H_l`` values more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgekws.methods.alternatives.local_rules.learning import RULES
from edgekws.methods.alternatives.local_rules.rule import FilteredLayer, LocalRule, TargetRule
from edgekws.methods.traces_propagation import complexity as traces_propagation
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

_STEPS = 10  # frames that locality is checked over
_COLUMNS = "update_locking_free", "no_weight_transport", "local_in_time", "local_in_space"

_PER_SYNAPSE = "B (sum H_l N_l + H_L)"
_PER_INPUT = "B (sum N_l + H_L)"
_TRACES = {
    "eprop": "B (sum H_l N_l + sum N_l + H_L)",
    "eprop_random": "B (sum H_l N_l + sum N_l + H_L)",
    "decolle": _PER_INPUT,
    "etlp": _PER_INPUT,
    "osttp": _PER_SYNAPSE,
    "tess": "B (sum N_l + sum H_l + H_L)",
}
_SIGNALS = {
    "eprop": "B O sum H_l",
    "eprop_random": "B O sum H_l",
    "decolle": "2 B O sum H_l",
    "etlp": "B O sum H_l",
    "osttp": "B O sum H_l",
    "tess": "2 B O sum H_l",
}

# Table 3: orders of space, time and auxiliary memory, and the four properties. It has no row for DECOLLE and ETLP; the
# text calls them rules of one trace for each neuron.
_UNSAID = (None,) * len(_COLUMNS)
_PAPER: dict[str, tuple[str | None, str | None, str | None, tuple[bool | None, ...]]] = {
    "traces_propagation": ("L H", "L H", "O H", (True, True, True, True)),
    "eprop": ("L H^2", "L H^2", None, (False, False, True, False)),
    "eprop_random": ("L H^2", "L O H", "L O H", (False, True, True, False)),
    "decolle": ("L H", None, None, _UNSAID),
    "etlp": ("L H", None, None, _UNSAID),
    "osttp": ("L H^2", "L O H", "L O H", (True, True, True, True)),
    "tess": ("L H", "L O H", "L O H", (True, True, True, True)),
}


def complexity(network: Network, *, inputs: int, outputs: int, batch: int, seed: int = 0) -> dict[str, Any]:
    """Values kept, multiply-adds and locality of every local rule, Traces Propagation among them, for a network.

    Args:
        network: The network; each rule runs on one of its size.
        inputs: Features of a frame.
        outputs: Words and spare outputs.
        batch: Clips in a batch, at least 2; Traces Propagation may be counted with a few more, its own ``batch``.
        seed: Of the random weights and clips they are run on; no count depends on it.

    Returns:
        ``sizes``, and ``rules`` by name. For each rule ``batch``; ``trace``, ``auxiliary`` (values) and
        ``learning_signal`` (multiply-adds, ``per`` time step or clip), each with ``formula``, ``formula_text``,
        ``counted`` and the order in the ``paper``; ``trace`` also ``per_synapse``, what one eligibility trace for each clip
        and synapse would take, where the rule gives the same numbers with less. ``update_locking_free``,
        ``no_weight_transport``, ``local_in_time``, ``local_in_space``: ``holds``, ``why`` and what the ``paper`` says.
    """
    rules = {kind: _row(kind, network, inputs, outputs, batch, seed) for kind in RULES}
    return {
        "sizes": {"inputs": inputs, "hidden": list(network.hidden), "outputs": outputs, "batch": batch,
                  "recurrent": network.recurrent},
        "rules": {"traces_propagation": _traces_propagation(network, inputs, outputs, batch, seed), **rules},
    }


def _row(kind: str, network: Network, inputs: int, outputs: int, batch: int, seed: int) -> dict[str, Any]:
    widths = [inputs, *network.hidden]
    presynaptic = [width + (neurons if network.recurrent else 0)
                   for width, neurons in zip(widths, network.hidden, strict=False)]
    synapses = sum(neurons * fan_in for neurons, fan_in in zip(network.hidden, presynaptic, strict=True))
    neurons, last = sum(network.hidden), network.hidden[-1]
    values = {
        _PER_INPUT: batch * (sum(presynaptic) + last),
        _PER_SYNAPSE: batch * (synapses + last),
        _TRACES["eprop"]: batch * (synapses + sum(presynaptic) + last),
        _TRACES["tess"]: batch * (sum(presynaptic) + neurons + last),
        "B O sum H_l": batch * outputs * neurons,
        "2 B O sum H_l": 2 * batch * outputs * neurons,
        "O sum H_l": outputs * neurons,
        "O (sum H_l - H_L)": outputs * (neurons - last),
    }

    rule, frames = _begin(kind, network, inputs, outputs, batch, seed, steps=1)
    rule.step(frames[0])
    steady = isinstance(rule, TargetRule)  # a signal that is the label's alone is computed once for a clip
    signal = _multiply_adds(lambda: rule.begin(torch.arange(batch) % outputs)) if steady else _multiply_adds(
        lambda: [rule._signal(index, rule.label) for index in range(len(rule.layers))])
    projections = "O (sum H_l - H_L)" if kind == "eprop" else "O sum H_l"
    space, time, auxiliary, _ = _PAPER[kind]

    def counted(text: str, count: int, paper: str | None, **more: Any) -> dict[str, Any]:
        return {"formula": values[text], "formula_text": text, "counted": count, "paper": paper, **more}

    less = rule.layer_type.gradient is FilteredLayer.gradient
    return {
        "batch": batch,
        "trace": counted(_TRACES[kind], _traces(rule), space, per_synapse=values[_PER_SYNAPSE] if less else None),
        "auxiliary": counted(projections, sum(matrix.numel() for matrix in rule.projections), auxiliary),
        "learning_signal": counted(_SIGNALS[kind], signal, time, per="clip" if steady else "step"),
        **_locality(kind, network, inputs, outputs, seed),
    }


def _traces_propagation(network: Network, inputs: int, outputs: int, batch: int, seed: int) -> dict[str, Any]:
    found = traces_propagation.complexity(network, inputs=inputs, outputs=outputs, batch=batch, frames=1, seed=seed)
    values, (space, time, auxiliary, properties) = found["values"], _PAPER["traces_propagation"]
    label, recurrent = values["auxiliary_label"], values["auxiliary_recurrent"]
    return {
        "batch": found["sizes"]["batch"],
        "trace": {**values["traces"], "formula_text": "2 B sum H_l", "paper": space, "per_synapse": None},
        "auxiliary": {"formula": label["formula"] + recurrent["formula"],
                      "formula_text": "O H_1 + H_1^2" if network.recurrent else "O H_1",
                      "counted": label["counted"] + recurrent["counted"], "paper": auxiliary},
        "learning_signal": {**found["operations"]["learning_signal"], "formula_text": "B^2 (2 H_1 + 3 sum H_l, l > 1)",
                            "paper": time, "per": "step"},
        **{column: {**found["checks"]["no_update_locking" if column == "update_locking_free" else column], "paper": says}
           for column, says in zip(_COLUMNS, properties, strict=True)},
    }


def _begin(kind: str, network: Network, inputs: int, outputs: int, batch: int, seed: int, *,
           steps: int) -> tuple[LocalRule, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rule = RULES[kind](RecurrentLIF(network, inputs=inputs, outputs=outputs, generator=generator), seed=seed)
    rule.begin(torch.arange(batch) % outputs)
    return rule, 3 * torch.rand(steps, batch, inputs, generator=generator)


def _traces(rule: LocalRule) -> int:
    return rule.readout_trace.numel() + sum(trace.numel() for layer in rule.layers for trace in layer.traces())


def _multiply_adds(run: Callable[[], object]) -> int:
    with traces_propagation.MultiplyAdds() as operations:
        run()
    return int(operations.count)


# ------------------------------------------------------------------------------------------------ locality
def _locality(kind: str, network: Network, inputs: int, outputs: int, seed: int) -> dict[str, Any]:
    """Checked on two small hidden layers that spike, as Traces Propagation's are."""
    small = network.model_copy(update={"hidden": [24, 24], "threshold": 0.1})
    error = torch.rand(5, outputs, generator=torch.Generator().manual_seed(seed)) - 0.5

    def run(*, above: bool = False, readout: bool = False, given: bool = False, steps: int = _STEPS) -> LocalRule:
        """The rule at the last step, with other weights in the upper layer or the readout, with a given error."""
        rule, frames = _begin(kind, small, inputs, outputs, 5, seed, steps=steps)
        with torch.no_grad():
            for weights in [*(layer.weight for layer in rule.net.hidden[1:] if above), *[rule.net.readout] * readout]:
                weights.mul_(-3)
        if given:
            rule._error = lambda drive: error  # type: ignore[method-assign]
        for frame in frames:
            rule.step(frame)
        return rule

    def same(here: LocalRule, there: LocalRule, *layers: str) -> bool:
        return all(torch.equal(here.gradients[layer], there.gradients[layer]) and bool(here.gradients[layer].any())
                   for layer in layers)

    plain, given = run(), run(given=True)
    unlocked = same(plain, run(above=True, readout=True), "hidden.0.weight")
    apart = (same(given, run(given=True, readout=True), "hidden.0.weight", "hidden.1.weight")
             and same(given, run(given=True, above=True), "hidden.0.weight"))
    kept, longer = (sum({id(tensor): tensor.numel() for tensor in traces_propagation.tensors_held(rule)}.values())
                    for rule in (plain, run(steps=10 * _STEPS)))
    alone, fixed = ("does not change" if holds else "changes" for holds in (unlocked, apart))
    found = (
        (unlocked, f"the first layer's gradient {alone} with what the layers above compute"),
        (apart, f"with the same error, a hidden layer's gradient {fixed} with the weights above it"),
        (kept == longer, f"the rule keeps {kept:,} values after {_STEPS} frames, {longer:,} after {10 * _STEPS}"),
        (unlocked, f"between layers: the first layer's gradient {alone} with the layers above"),
    )
    return {column: {"holds": holds, "why": why, "paper": paper}
            for column, (holds, why), paper in zip(_COLUMNS, found, _PAPER[kind][3], strict=True)}
