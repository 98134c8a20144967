"""Encoders for tests of the channels' scores."""

import torch

from edgekws.models import encoder as encoders


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def lively(encoder, seed=0):
    """The encoder in float64 with every tensor at random: a new net's statistics and offsets are 0 and 1."""
    encoder, random = encoder.double(), generator(seed)
    with torch.no_grad():
        for tensor in encoders.tensors_of(encoder).values():
            tensor.copy_(torch.rand(tensor.shape, generator=random) * 0.8 + 0.2 if tensor.ndim == 1
                         else torch.randn(tensor.shape, generator=random) * tensor[0].numel() ** -0.5)
    return encoder.eval()
