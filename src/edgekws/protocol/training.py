"""The training loop that all methods share: batches of all epochs, in a seeded order, kept in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekws.core.checkpoint import NOWHERE, Checkpoint
from edgekws.core.errors import UserError
from edgekws.core.optimiser import Optimiser
from edgekws.core.progress import tqdm
from edgekws.models.tensors import fill

Labels: TypeAlias = Tensor | npt.NDArray[Any]


class Features(Protocol):
    """Features of N clips: a tensor, an array, a memory map, or anything that is indexed like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any, /) -> Any:
        """Features [clips, frames, inputs] at ``places``, an array of clip numbers."""


class Budget(Protocol):
    """How long to train, in what steps: any method's settings of a training."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...


def cosine_rate(rate: float, epoch: int, epochs: int) -> float:
    """Learning rate of an epoch (from 0): cosine annealing from ``rate`` towards a quarter of it.

    >>> [round(cosine_rate(1e-4, epoch, 3), 10) for epoch in range(3)]
    [0.0001, 8.125e-05, 4.375e-05]
    """
    return rate * (0.25 + 0.75 * (1 + math.cos(math.pi * epoch / epochs)) / 2)


def batches(features: Features, labels: Labels, budget: Budget, optimiser: Optimiser, tensors: Mapping[str, Tensor], *,
            outputs: int, check: Callable[[Tensor], None], seed: int | np.random.Generator, progress: str | None = None,
            on_epoch: Callable[[int], None] | None = None, checkpoint: Checkpoint = NOWHERE,
            prepare: Callable[[Any], Tensor] | None = None,
            rate: Callable[[float], float] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of all epochs, on a network's device and in its type; sets the optimiser's rate for each epoch.

    Each epoch has all clips once, in an order of its own; its last batch may be smaller. Clips are gathered batch by
    batch, so a memory map is never read whole. From a checkpoint's epoch on, the network and the optimiser are what they
    were then.

    Args:
        tensors: All of the network that training changes, without gradients: what a checkpoint keeps.
        outputs: Labels are below this.
        check: Raises UserError for features that do not fit the network.
        seed: Of the order of clips. A generator that the caller draws from as well gives the orders too, each batch is
            then read in the order of the clips, and a checkpoint keeps the generator's state.
        on_epoch: Called after each epoch with its number (from 0), before the epoch goes into a checkpoint.
        prepare: Augments or encodes a batch as it was read; the network is given what it returns.
        rate: Learning rate from the share of all updates already made (from 0), in place of :func:`cosine_rate`.

    Yields:
        Features [clips, frames, inputs], or what ``prepare`` makes of them, and labels [clips].

    Raises:
        UserError: There is no clip, the numbers of clips and labels differ, a label is not one of the outputs, or
            features do not fit the network or are not finite.
    """
    like = next(iter(tensors.values()))
    wanted = torch.as_tensor(labels, device=like.device).to(torch.int64)
    if len(wanted) == 0:
        raise UserError("there are no clips to train on", where="training set", remedy="check the corpus and the split")
    if len(features) != len(wanted):
        raise UserError(f"has {len(features)} clips and {len(wanted)} labels", where="training set",
                        remedy="give one label per clip")
    if int(wanted.min()) < 0 or int(wanted.max()) >= outputs:
        raise UserError(f"has labels from {int(wanted.min())} to {int(wanted.max())}; the network has {outputs} "
                        "outputs", where="training set", remedy="use the vocabulary that the model was made for")
    order, first = _Order(seed, len(wanted)), 0
    if (found := checkpoint.found()) is not None:
        first = found["epochs"]
        fill(tensors, found["weights"])
        optimiser.restore(found["optimiser"])
        order.restore(found["order"])
    steps = math.ceil(len(wanted) / budget.batch_size)
    with tqdm(total=budget.epochs * steps, initial=first * steps, desc=progress, unit="batch",
              disable=progress is None) as bar:
        for epoch in range(first, budget.epochs):
            optimiser.rate = cosine_rate(budget.learning_rate, epoch, budget.epochs)
            for number, chosen in enumerate(order.batches(budget.batch_size)):
                if rate is not None:
                    optimiser.rate = rate((epoch * steps + number) / (budget.epochs * steps))
                read = features[chosen.numpy()]
                batch = (torch.as_tensor(read) if prepare is None else prepare(read)).to(like)
                del read
                check(batch)
                # By the extremes, which carry NaN along: isfinite itself takes the batch's memory once more.
                if not bool(torch.isfinite(torch.stack(batch.aminmax())).all()):
                    raise UserError("holds features that are not finite", where="training set",
                                    remedy="compute the features again")
                yield batch, wanted[chosen.to(wanted.device)]
                del batch  # two at a time would not fit a small device; what trains lets go of it likewise
                bar.update()
            if on_epoch is not None:
                on_epoch(epoch)
            if checkpoint.due():
                checkpoint.save(f"epoch {epoch + 1} of {budget.epochs}", {
                    "epochs": epoch + 1, "weights": tensors, "optimiser": optimiser.state(), "order": order.state()})


class _Order:
    """Orders of the clips, one for each epoch, from a seed or from a generator that others draw from as well."""

    def __init__(self, seed: int | np.random.Generator, clips: int) -> None:
        self._clips = clips
        self._generator = seed if isinstance(seed, np.random.Generator) else torch.Generator().manual_seed(seed)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Clip numbers of the batches of the next epoch."""
        if isinstance(self._generator, np.random.Generator):
            for chosen in torch.split(torch.from_numpy(self._generator.permutation(self._clips)), size):
                yield chosen.sort().values
        else:
            yield from torch.split(torch.randperm(self._clips, generator=self._generator), size)

    def state(self) -> Any:
        """The generator's state, for a checkpoint."""
        if isinstance(self._generator, np.random.Generator):
            return self._generator.bit_generator.state
        return self._generator.get_state()

    def restore(self, state: Any) -> None:
        """Go on from a :meth:`state`."""
        if isinstance(self._generator, np.random.Generator):
            self._generator.bit_generator.state = state
        else:
            self._generator.set_state(state)
