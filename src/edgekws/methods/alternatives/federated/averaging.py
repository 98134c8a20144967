"""Federated averaging (McMahan et al. 2017, algorithm 1) as a loop over the clients in order.

What Flower's engine is checked against, and what runs where Flower cannot be installed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.federated.clients import Local, train
from edgekws.methods.alternatives.federated.shards import Shard


@dataclass(frozen=True)
class Federation:
    """One federated training.

    Attributes:
        rounds: The clients that take part in each round.
        local: What each of them does.
        seed: Of their batches and noise.
        secure: The server only sees the sum of what the clients send (SecAgg+); the loop does not.
    """

    rounds: list[list[int]]
    local: Local
    seed: int
    secure: bool = False


def draw_rounds(clients: int, *, rounds: int, per_round: int | None, seed: int) -> list[list[int]]:
    """The clients of each round, in ascending order: all, or ``per_round`` drawn anew for each."""
    draw = random.Random(derive_seed(seed, "clients of each round"))
    number = min(per_round or clients, clients)
    return [sorted(draw.sample(range(clients), number)) for _ in range(rounds)]


def reply(shard: Shard, change: Tensor, federation: Federation, *, number: int, client: int) -> Tensor:
    """What a client sends back in round ``number`` (from 0) for the server's ``change``."""
    return train(shard, change, federation.local, seed=derive_seed(federation.seed, f"round {number}/client {client}"))


def mean(changes: Sequence[Tensor], clips: Sequence[int]) -> Tensor:
    """The mean of changes, weighted by the clients' numbers of clips, in order.

    Each product is rounded to the type of the changes before it is added, which is how Flower's ``FedAvg`` does it: the two
    engines give the same bytes.
    """
    total, mean = sum(clips), torch.zeros_like(changes[0])
    for change, weight in zip(changes, clips, strict=True):
        mean += (change.double() * (weight / total)).to(mean.dtype)
    return mean


def federate(shards: Sequence[Shard], federation: Federation) -> Tensor:
    """The server's change after each round, [rounds, outputs, width], from none at all."""
    change, history = shards[0].unchanged(), []
    for number, present in enumerate(federation.rounds):
        replies = [reply(shards[client], change, federation, number=number, client=client) for client in present]
        change = mean(replies, [len(shards[client]) for client in present])
        history.append(change)
    return torch.stack(history)
