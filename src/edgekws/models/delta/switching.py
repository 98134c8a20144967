"""One base in memory for several users: their deltas laid over it in place, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import torch
from torch import Tensor

from edgekws.models.delta.delta import Delta, apply


class Switch:
    """Turns a living net into one user's and back, touching only what the deltas name.

    Only the base's values of tensors that are changed at the moment are kept beside the net. Going back is a copy, so the
    base is the same to the bit however often users change.

    Args:
        tensors: The net's own tensors by name, in its own memory: of a :class:`~edgekws.models.recurrent_lif.RecurrentLIF`
            its ``tensors()``, of a torch module its ``state_dict()``.
        added: Where the net keeps what a delta adds, by name (``RecurrentLIF.added``); None for nets that take nothing.

    Example:
        ``switch = Switch(net.tensors(), net.added); switch.to(hers); net.forward(clips); switch.to(None)``
    """

    def __init__(self, tensors: Mapping[str, Tensor], added: MutableMapping[str, Tensor] | None = None) -> None:
        self._tensors = dict(tensors)
        self._base: dict[str, Tensor] = {}  # of the tensors that are another user's now
        self._added = {} if added is None else added
        self._own_added = dict(self._added)

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
        for name in self._base.keys() - changed:
            self._tensors[name].copy_(self._base.pop(name))
        for name in changed:
            if name not in self._base:
                self._base[name] = self._tensors[name].clone()
            self._tensors[name].copy_(laid[name])
        self._added.clear()
        self._added.update(self._own_added | delta.added)
