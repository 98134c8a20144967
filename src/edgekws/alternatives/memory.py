"""Peak memory of an adaptation and what it goes to, counted as any method runs, and by formula.

Methods are measured as they are: what a tensor is follows from what is done with it.

* The update tells parameters, gradients and the optimiser's state apart: torch's fused kernels, which
  :mod:`edgekws.optimiser` calls, are handed each as a list.
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

from edgekws.memory import LiveTensors
from edgekws.traces_propagation.training import Features

Category = Literal["parameters", "frozen", "gradients", "optimiser", "activations", "traces", "batch", "temporary"]
CATEGORIES: tuple[Category, ...] = get_args(Category)

_aten = torch.ops.aten
_UPDATES = (_aten._fused_adam_, _aten._fused_sgd_)
_COPIES = (_aten.clone, _aten._to_copy)
_NO_READING = (*_COPIES, _aten.copy_, _aten.detach, _aten.equal, _aten._unsafe_view, _aten.lift_fresh, _aten.set_)


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
    """A storage from its first to its last moment; ``read`` as long as nothing says that it is only kept."""

    size: int
    born: int
    step: int
    category: Category | None = None
    read: bool = True
    died: int | None = None
    carried: bool = False


class Ledger(LiveTensors):
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
            if self.see(tensor) and tensor.dtype != torch.int64:
                self._life(tensor).category, self._life(tensor).read = "frozen", False
        if not (func.is_view or packet in _NO_READING):
            self._reads(given)
        out = func(*args, **(kwargs or {}))
        if packet in _UPDATES:
            self._updated(args)
        for tensor in _tensors(out):
            if self.see(tensor) and packet in _COPIES and tensor.dtype == given[0].dtype:
                source = self._life(given[0])
                if source.category in ("frozen", "parameters"):
                    self._life(tensor).category, self._life(tensor).read = source.category, False
        return out

    def see(self, tensor: Tensor) -> bool:
        new = super().see(tensor)
        if new:
            self._moment += 1
            storage = tensor.untyped_storage()
            # Whole numbers are labels and the order of the clips.
            life = _Life(storage.nbytes(), self._moment, self._step, "batch" if tensor.dtype == torch.int64 else None)
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

    def _reads(self, given: list[Tensor]) -> None:
        forwards = torch._C._current_graph_task_id() == -1  # type: ignore[attr-defined]
        for tensor in given:
            life = self._life(tensor)
            life.read = True
            place = tensor.untyped_storage()._cdata, tensor.storage_offset()
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
        """What was used up to now."""
        changes = np.zeros((self._moment + 2, len(CATEGORIES)), np.int64)
        for life in self._lives:
            if life.read:
                ended = life.died is None and self._step > life.step
                place = CATEGORIES.index(life.category or ("traces" if life.carried or ended else "temporary"))
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
    with Ledger() as ledger, saved_tensors_hooks(ledger.saved, lambda tensor: tensor):
        operation(ledger)
        return ledger.usage()


def measure_learning(learn: Callable[..., object], net: Any, features: Features, *args: Any, **options: Any) -> Usage:
    """What ``learn(net, features, *args, **options)`` takes: any method that only indexes the features it is given."""
    return measure(lambda ledger: learn(net, ledger.batches(features), *args, **options))
