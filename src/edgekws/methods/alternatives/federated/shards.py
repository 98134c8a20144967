"""One user's clips as a linear layer sees them.

The readout integrates with a leak l, so its potential m after T frames is linear in the spikes s of the last hidden
layer::

    m^T = sum_t l^(T-t) W_o s^t = W_o c,        c = sum_t l^(T-t) s^t

With frozen hidden layers the (leaky) spike counts c are all that training the readout needs of a clip. What a client
learns is a change U, by which the potential of the base grows: ``m + U z``. Either z = c, and the adapted readout is
W_o + U; or z = A c with a random matrix A that everybody has, and U is LoRA's other factor. With A frozen the mean of
the clients' factors is the factor of the mean change, which it is not if both are trained (FFA-LoRA: Sun et al. 2024,
arXiv:2403.12313).

This module needs no more than torch: Flower's clients use it too, in an environment of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True)
class Shard:
    """Clips of one user.

    Attributes:
        inputs: [clips, width], z of each.
        potential: [clips, outputs], of the base's readout.
        labels: [clips], int64.
    """

    inputs: Tensor
    potential: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, places: Tensor) -> Shard:
        return Shard(self.inputs[places], self.potential[places], self.labels[places])

    def unchanged(self) -> Tensor:
        """The change that changes nothing, [outputs, width]."""
        return self.inputs.new_zeros(self.potential.shape[1], self.inputs.shape[1])

    def forward(self, change: Tensor) -> Tensor:
        """Potential of the changed readout, [clips, outputs]."""
        return torch.addmm(self.potential, self.inputs, change.T)

    def gradient(self, change: Tensor) -> Tensor:
        """Gradient of the cross-entropy, summed over the clips, with respect to ``change``."""
        error = torch.softmax(self.forward(change), 1).sub_(one_hot(self.labels, self.potential.shape[1]))
        return error.T @ self.inputs

    def correct(self, change: Tensor) -> int:
        """How many clips the changed readout gets right."""
        return int((self.forward(change).argmax(1) == self.labels).sum())


def joined(shards: Sequence[Shard]) -> Shard:
    """The clips of all of them."""
    return Shard(torch.cat([shard.inputs for shard in shards]), torch.cat([shard.potential for shard in shards]),
                 torch.cat([shard.labels for shard in shards]))


def shards_as_tensors(shards: Sequence[Shard]) -> dict[str, Tensor]:
    """All shards as named tensors, for a safetensors file."""
    return {f"{index}.{name}": tensor.contiguous() for index, shard in enumerate(shards)
            for name, tensor in vars(shard).items()}


@functools.cache
def read_shards(path: Path) -> list[Shard]:
    """The shards of a safetensors file made from :func:`shards_as_tensors`; read once in a process."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    return [Shard(*(tensors[f"{index}.{name}"] for name in ("inputs", "potential", "labels")))
            for index in range(len(tensors) // 3)]
