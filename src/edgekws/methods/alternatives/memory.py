"""Peak memory of an adaptation and what it goes to, counted as any method runs, and by formula.

Methods are measured as they are: what a tensor is follows from what is done with it.

* The update tells parameters, gradients and the optimiser's state apart: torch's fused kernels, which
  :mod:`edgekws.core.optimiser` calls, are handed each as a list.
* What autograd saves between the forward and the backward pass are activations.
* The batch is what the clips give when they are indexed; the labels, and the order of the clips, go with it.
* What was there before, or came from outside, is frozen: base weights that are read and not trained. A copy of them is
  the same, as long as it is only a copy. Weights that are never read but to copy them do not count (the base that an
  adapted copy was made of, a delta made of adapted weights): a device leaves them in flash.
* What else lives on from one time step to the next is a trace, or other state of the method. A step starts where another
  part of the batch is read in the forward pass, or weights are updated. The rest is temporary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves

from edgekws.core import optimiser as optimisers
from edgekws.core.memory import LiveTensors
from edgekws.neurons import norse_twin  # noqa: F401  Norse makes tensors when it is imported: not while memory is measured
from edgekws.protocol.training import Features

Category = Literal["parameters", "frozen", "gradients", "optimiser", "activations", "traces", "batch", "temporary"]
CATEGORIES: tuple[Category, ...] = get_args(Category)

_aten = torch.ops.aten
_UPDATES = (_aten._fused_adam_, _aten._fused_sgd_)
_COPIES = (_aten.clone, _aten._to_copy)
_SHAPED_ALIKE = (_aten.new_empty, _aten.new_zeros, _aten.new_full, _aten.empty_like, _aten.zeros_like, _aten.full_like)
_NO_READING = (*_COPIES, *_SHAPED_ALIKE, _aten.copy_, _aten.detach, _aten.equal, _aten._unsafe_view, _aten.lift_fresh,
               _aten.set_)


@dataclass(frozen=True)
class Usage:
    """Bytes that an adaptation takes.

    Attributes:
        peak: All of them, at their largest.
        at_peak: By category at that moment; they sum to ``peak``.
        largest: By category, each at its own largest.
    """

    peak: int
    at_peak: dict[Category, int]
    largest: dict[Category, int]

    def told(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


@dataclass(eq=False)
class _Life:
    """A storage from its first to its last moment.

    Attributes:
        step: In which it began.
        whole: Holds whole numbers: labels, and the order of the clips.
        category: As far as it follows from an operation.
        read: It counts: nothing says that it is only kept.
        carried: Into another step.
    """

    size: int
    born: int
    step: int
    whole: bool
    category: Category | None = None
    read: bool = True
    died: int | None = None
    carried: bool = False


class Ledger(LiveTensors):  # type: ignore[no-untyped-call]
    """Writes down when each storage comes and goes, and what it is used for."""

    def __init__(self) -> None:
        super().__init__()
        self._lives: list[_Life] = []
        self._living: dict[int, _Life] = {}
        self._moment = self._step = 0
        self._place = (0, 0)
        self._paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._paused:
            return func(*args, **(kwargs or {}))
        packet, given = func.overloadpacket, list(_tensors((args, kwargs)))
        for tensor in given:
            if self.see(tensor):
                life = self._life(tensor)
                life.category, life.read = ("batch", True) if life.whole else ("frozen", False)
        if not (func.is_view or packet in _NO_READING):
            self._reads(given)
        out = func(*args, **(kwargs or {}))
        if packet in _UPDATES:
            self._updated(args)
        for tensor in _tensors(out):
            new = self.see(tensor)
            life = self._life(tensor)
            if packet is _aten.set_ and new:  # copy.deepcopy makes storages by itself
                life.category, life.read = "frozen", False
            elif packet in _COPIES and new and tensor.dtype == given[0].dtype and self._weights(given[0]):
                life.category, life.read = self._life(given[0]).category, False
            elif packet is _aten.copy_ and life.category is None and self._weights(given[1]):
                life.category = self._life(given[1]).category  # a new module is given the base's weights
        return out

    def see(self, tensor: Tensor) -> bool:
        new = super().see(tensor)
        if new:
            self._moment += 1
            storage = tensor.untyped_storage()
            life = _Life(storage.nbytes(), self._moment, self._step, whole=tensor.dtype == torch.int64)
            self._lives.append(life)
            self._living[storage._cdata] = life
        return new

    def _gone(self, key: int, size: int, reference: object) -> None:
        super()._gone(key, size, reference)
        self._moment += 1
        life = self._living.pop(key)
        life.died, life.carried = self._moment, self._step > life.step

    def _life(self, tensor: Tensor) -> _Life:
        return self._living[tensor.untyped_storage()._cdata]

    def _weights(self, tensor: Tensor) -> bool:
        return self._life(tensor).category in ("frozen", "parameters")

    def _reads(self, given: list[Tensor]) -> None:
        forwards = torch._C._current_graph_task_id() == -1
        for tensor in given:
            life = self._life(tensor)
            life.read = True
            place = tensor.untyped_storage()._cdata, int(tensor.storage_offset())
            if life.category == "batch" and tensor.is_floating_point() and forwards and place != self._place:
                self._place = place
                self._step += 1

    def _updated(self, args: Any) -> None:
        """``args`` of torch's fused kernels: parameters, gradients, then lists of state."""
        for category, tensors in zip(("parameters", "gradients", "optimiser", "optimiser", "optimiser", "optimiser"), args,
                                     strict=False):
            self.mark(category, *tensors)  # type: ignore[arg-type]
        self._step += 1

    def mark(self, category: Category, *tensors: Tensor) -> None:
        """Say what tensors are."""
        for tensor in tensors:
            self.see(tensor)
            self._life(tensor).category = category

    def saved(self, tensor: Tensor) -> Tensor:
        """Autograd saves a tensor: an activation, unless it is known to be something else."""
        self.see(tensor)
        life = self._life(tensor)
        life.category = life.category or "activations"
        return tensor

    def batches(self, features: Features) -> Features:
        """The same clips; what they give when indexed is a batch, and what making it takes is not counted."""
        return _Batches(features, self)

    def usage(self) -> Usage:
        """What was used up to now.

        Only in the end is it known what a tensor is: the peak is looked for when all is written down.
        """
        changes = np.zeros((self._moment + 2, len(CATEGORIES)), np.int64)
        for life in self._lives:
            if life.read:
                carried = life.carried or (life.died is None and self._step > life.step)
                otherwise = "temporary" if not carried else "batch" if life.whole else "traces"
                place = CATEGORIES.index(life.category or otherwise)
                changes[life.born, place] += life.size
                changes[life.died or self._moment + 1, place] -= life.size
        alive = changes.cumsum(axis=0)
        moment = int(alive.sum(axis=1).argmax())
        at_peak = dict(zip(CATEGORIES, alive[moment].tolist(), strict=True))
        return Usage(sum(at_peak.values()), at_peak, dict(zip(CATEGORIES, alive.max(axis=0).tolist(), strict=True)))


class _Batches:
    def __init__(self, features: Features, ledger: Ledger) -> None:
        self._features, self._ledger = features, ledger

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, places: Any) -> Tensor:
        self._ledger._paused = True
        try:
            batch = torch.as_tensor(self._features[places])
        finally:
            self._ledger._paused = False
        self._ledger.mark("batch", batch)
        return batch


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def measure(operation: Callable[[Ledger], object]) -> Usage:
    """What an operation takes; it is handed the ledger, for what the ledger cannot know by itself (the batch)."""
    ledger = Ledger()
    with ledger, saved_tensors_hooks(ledger.saved, lambda tensor: tensor):
        operation(ledger)
    return ledger.usage()


def measure_learning(learn: Callable[..., object], net: Any, features: Features, *args: Any, **options: Any) -> Usage:
    """What ``learn(net, features, *args, **options)`` takes: any method that only indexes the features it is given."""
    return measure(lambda ledger: learn(net, ledger.batches(features), *args, **options))


# ------------------------------------------------------------------------------------------------ by formula
Method = Literal["traces_propagation", "traces_propagation_batch", "eprop", "eprop_random",
                 "decolle", "etlp", "osttp", "tess", "full", "full_int8", "readout", "threshold", "lora", "adapter"]
"""Kinds of methods for the spiking net: Traces Propagation in the prototype form that one hidden layer takes, in that of
all pairs, and with frozen hidden layers; the other local rules; back-propagation."""

Stored = Literal["fp32", "int8"]
FROZEN_BASE: tuple[Method, ...] = ("readout", "threshold", "lora", "adapter")
"""Methods that leave the base (but for the readout that two of them train) as it is, so that it can be stored as int8."""


@dataclass(frozen=True)
class Sizes:
    """A spiking net with one recurrent hidden layer, and a user's clips.

    Attributes:
        inputs: Features of a frame, F.
        neurons: H.
        outputs: Words and spare outputs, O.
        frames: Of a clip, T.
        clips: All that are learnt from, N.
    """

    inputs: int
    neurons: int
    outputs: int
    frames: int
    clips: int

    @property
    def presynaptic(self) -> int:
        """What drives a hidden neuron: the frame and the layer's own spikes, F + H."""
        return self.inputs + self.neurons

    @property
    def weights(self) -> int:
        """All that the base trains: H (F + H) + O H."""
        return self.neurons * (self.presynaptic + self.outputs)


def formula(method: Method, sizes: Sizes, batch: int, optimiser: optimisers.Name = "adam", *, rank: int = 4,
            stored: Stored = "fp32") -> dict[Category, int]:
    """Bytes that a method takes, by category; everything is float32 but labels, the clips' order and what is ``stored``.

    Parameters, frozen weights, gradients, the optimiser's state and the traces of local rules are exact. Activations are
    what autograd keeps, to within a few numbers a frame, and at their most: gradients of a back-propagation come as its
    activations go. Temporary tensors are left out: a device sums in place where autograd makes new sums. So is what
    frozen layers hold while they run, once for each clip.

    Args:
        batch: Clips that are learnt from together, B.
        rank: Of LoRA, or the width of the adapter's bottleneck.
        stored: What the weights of a base that is not trained are stored in; int8 has a scale of four bytes for each row
            of a tensor. Other methods are not changed by it.
    """
    hidden, readout = sizes.neurons * sizes.presynaptic, sizes.outputs * sizes.neurons
    rows = 2 * sizes.neurons  # of the input's and of the recurrent matrix
    trained, tensors, frozen = sizes.weights, 2, 0
    match method:
        case "traces_propagation" | "traces_propagation_batch":
            frozen = 4 * sizes.neurons * (sizes.outputs + sizes.neurons)  # the target path
        case "readout":
            trained, tensors, frozen = readout, 1, _stored(hidden, rows, stored)
        case "threshold":
            trained, tensors, frozen = sizes.neurons, 1, _stored(sizes.weights, rows + sizes.outputs, stored)
        case "adapter":
            trained, tensors = 2 * rank * sizes.neurons, 2
            frozen = _stored(sizes.weights, rows + sizes.outputs, stored)
        case "lora":  # two factors each of the input's, the recurrent and the readout's matrix
            trained, tensors = rank * (sizes.presynaptic + 3 * sizes.neurons + sizes.outputs), 6
            frozen = _stored(sizes.weights, rows + sizes.outputs, stored)
    return {
        "parameters": 4 * trained, "frozen": frozen, "gradients": 4 * trained,
        "optimiser": 4 * (2 * trained + tensors) if optimiser == "adam" else 0,  # two moments, and a count for each tensor
        "activations": 4 * _activations(method, sizes, batch, rank),
        "traces": _traces(method, sizes, batch),
        "batch": 4 * batch * sizes.frames * sizes.inputs + 8 * (batch + 2 * sizes.clips)}


def _stored(values: int, rows: int, stored: Stored) -> int:
    return 4 * values if stored == "fp32" else values + 4 * rows


def _activations(method: Method, sizes: Sizes, batch: int, rank: int) -> int:
    """Values that wait for the backward pass."""
    steps = sizes.frames * batch
    # What drives a neuron is kept for its weights, and of Norse's neuron four values: three if only the threshold learns.
    through_time = steps * (sizes.presynaptic + 4 * sizes.neurons)
    match method:
        case "full":
            return through_time
        case "full_int8":
            return through_time + sizes.weights  # as they are when quantised
        case "lora":  # the neuron's values, spikes among them, and what comes out of each down-projection
            return steps * (4 * sizes.neurons + 3 * rank)
        case "threshold":
            return steps * 3 * sizes.neurons
        case "adapter":
            return steps * (sizes.neurons + rank)
        case "readout":
            return batch * sizes.neurons
        case _:
            return 0


def _traces(method: Method, sizes: Sizes, batch: int) -> int:
    """Bytes of what goes on from frame to frame, with fixed random matrices, and of what is kept of each clip."""
    neurons, outputs, presynaptic = sizes.neurons, sizes.outputs, sizes.presynaptic
    # A layer has what drives it, potential, spikes, surrogate derivative and a trace; the readout potential and label.
    local = batch * (presynaptic + 4 * neurons + 2 * outputs)
    random, synapses = outputs * neurons, batch * neurons * presynaptic
    values = 0
    match method:
        case "traces_propagation":  # the target path, once for each class, and its traces in all frames
            values = (local + batch * outputs + 2 * outputs * (outputs + 1) + 5 * neurons * outputs
                      + sizes.frames * outputs * neurons)
        case "traces_propagation_batch":  # the target path as large as the input path
            values = local + batch * (2 * outputs + 5 * neurons)
        case "eprop":
            values = local + batch * presynaptic + synapses
        case "eprop_random":
            values = local + batch * presynaptic + synapses + random
        case "osttp":
            values = local + batch * neurons + synapses + random
        case "decolle":
            values = local + batch * presynaptic + random
        case "etlp" | "tess":
            values = local + batch * (presynaptic + neurons) + random
        case "readout":  # sums of a clip's spikes, float32, and which clips are known
            return sizes.clips * (4 * neurons + 1)
        case "adapter":  # its spikes, a byte each
            return sizes.clips * (sizes.frames * neurons + 1)
    return 4 * values
