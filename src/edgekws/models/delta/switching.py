"""One base in memory for several users: their deltas laid over it in place, one at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekws.models.delta.delta import Delta, apply
from edgekws.models.recurrent_lif import RecurrentLIF


class Switch:
    """Turns a living net into one user's and back, touching only what the deltas name.

    Only the base's values of tensors that are changed at the moment are kept beside the net. Going back is a copy, so the
    base is the same to the bit however often users change.

    Args:
        net: Any module; only a :class:`~edgekws.models.recurrent_lif.RecurrentLIF` has room for what a delta adds.

    Example:
        ``switch = Switch(net); switch.to(hers); net(clips); switch.to(None)``
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._tensors: dict[str, Tensor] = net.state_dict()  # in the net's own memory
        self._base: dict[str, Tensor] = {}  # of the tensors that are another user's now
        self._own_added = net.added if isinstance(net, RecurrentLIF) else {}

    @torch.no_grad()
    def to(self, delta: Delta | None) -> None:
        """Make the net that of ``delta``, or the base again.

        Raises:
            UserError: The delta does not fit the base; the net is then as it was.
        """
        delta = Delta() if delta is None else delta
        changed = {*delta.replaced, *delta.low_rank, *delta.difference}
        base = {name: self._base.get(name, tensor) for name, tensor in self._tensors.items()}
        laid = apply({name: base[name] for name in changed if name in base}, delta)
        if isinstance(self._net, RecurrentLIF):
            self._net.added = self._own_added | delta.added
        for name in self._base.keys() - changed:
            self._tensors[name].copy_(self._base.pop(name))
        for name in changed:
            if name not in self._base:
                self._base[name] = self._tensors[name].clone()
            self._tensors[name].copy_(laid[name])
