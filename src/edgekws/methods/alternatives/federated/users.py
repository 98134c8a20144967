"""The federation's users: each has some of the words only, and is tested on all of its own."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.federated.shards import Shard
from edgekws.methods.traces_propagation.experiments import Base
from edgekws.models.delta.delta import Delta
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.clips import Clips, Corpus
from edgekws.protocol.tasks import Task


@torch.no_grad()
def spike_counts(net: RecurrentLIF, clips: Clips, batch_size: int = 512) -> Tensor:
    """(Leaky) spike counts of the last hidden layer, [clips, neurons]: times the readout they are its last potential."""
    counter = copy.deepcopy(net)
    counter.readout = torch.nn.Parameter(torch.eye(net.readout.shape[1], dtype=net.readout.dtype))
    parts = [counter(clips[np.arange(start, min(start + batch_size, len(clips)))])
             for start in range(0, len(clips), batch_size)]
    return torch.cat(parts) if parts else counter.readout[:0].detach()


@dataclass(frozen=True)
class View:
    """How a client sees spike counts c: z = A c, with the same A for all clients, drawn or fixed without their clips.

    Without a rank A is 1 / ``scale``. Then the change U that is learnt makes the readout W_o + U A.

    Attributes:
        scale: Root mean square norm of c over clips of the base's own training. It makes a gradient's norm about 1.
        down: [rank, neurons], from N(0, 1 / rank), if LoRA's up-projection is learnt and not the whole readout.
    """

    scale: float
    down: Tensor | None = None

    @classmethod
    def of(cls, net: RecurrentLIF, clips: Clips, *, rank: int | None, seed: int) -> View:
        """The view that makes z of about unit norm on ``clips``."""
        counts = spike_counts(net, clips)
        generator = torch.Generator().manual_seed(derive_seed(seed, "down-projection"))
        down = torch.randn(rank, counts.shape[1], generator=generator) / math.sqrt(rank) if rank else None
        return cls(float(counts.square().sum(1).mean().sqrt()), down)

    def shard(self, net: RecurrentLIF, clips: Clips) -> Shard:
        """The clips as a client sees them."""
        counts = spike_counts(net, clips)
        seen = counts if self.down is None else counts @ self.down.T
        return Shard(seen / self.scale, counts @ net.readout.detach().T, torch.from_numpy(clips.labels))

    def delta(self, net: RecurrentLIF, change: Tensor) -> Delta:
        """A change [outputs, width] as a delta of the net."""
        if self.down is None:
            return Delta(replaced={"readout": net.readout.detach() + change / self.scale})
        return Delta(low_rank={"readout": (change / self.scale, self.down)})


@dataclass(frozen=True)
class User:
    """One client and what it is tested on.

    Attributes:
        words: Those it has clips to learn from, sorted.
        support: The clips it learns from.
        query: Its clips to test on, of all its words.
        known: Which of them are of its ``words``, [clips].
    """

    name: str
    words: list[str]
    support: Shard
    query: Shard
    known: Tensor


def own_words(user: str, words: Sequence[str], number: int, *, seed: int) -> list[str]:
    """The words that a user learns from: ``number`` of those it has, drawn by its name, so whoever else takes part."""
    have = sorted(set(words))
    return sorted(random.Random(derive_seed(seed, f"words/{user}")).sample(have, min(number, len(have))))


def gather(base: Base, corpus: Corpus, work: Sequence[Task], view: View, *, words: int, seed: int) -> list[User]:
    """The users of some tasks, one fold and shot of each; ``words`` that each has clips of, at most."""
    word_of = corpus.index.set_index("clip").word

    def user(task: Task) -> User:
        own = own_words(task.user, word_of[task.support].tolist(), words, seed=seed)
        support = [clip for clip in task.support if word_of[clip] in own]
        clips = [corpus.clips(rows, frozen_scale=base.scale) for rows in (support, task.query)]
        learnt, tested = (view.shard(base.net, part) for part in clips)
        return User(task.user, own, learnt, tested, known=torch.tensor([word_of[clip] in own for clip in task.query]))

    return [user(task) for task in work]
