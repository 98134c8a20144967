"""Parameter-efficient fine-tuning of the spiking net: back-propagation through time into a part of it.

The neurons, their surrogate derivative and the loss are those of the full baseline
(:mod:`edgekws.methods.traces_propagation.bptt`): one update for each batch, from the cross-entropy of the
readout's potential after the last frame. What is trained:

* ``full``        every weight; ``full_int8`` the same under fake quantisation;
* ``readout``     the readout; ``last_layer`` it and the last hidden layer;
* ``threshold``   a threshold for each hidden neuron, as BitFit (Ben Zaken et al. 2022) trains biases. A neuron with a
  constant bias current b and leak alpha drifts up by b / (1 - alpha) between its spikes; lowering its threshold by so
  much does the same up to the reset and the first steps of a clip, when the leak has not filled up yet;
* ``lora``        for each matrix of the hidden layers and the readout ``W + up down`` (Hu et al. 2022) with alpha = rank,
  so that the product is not scaled; ``down`` starts random, ``up`` at zero;
* ``adapter``     a bottleneck between the last hidden layer's spikes and the readout (Houlsby et al. 2019), whose ``up``
  starts at zero. Hidden layers stay as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from edgekws.core import optimiser
from edgekws.core.errors import UserError
from edgekws.core.optimiser import Optimiser
from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.learning import MakeOptimiser
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining
from edgekws.methods.traces_propagation.training import epochs
from edgekws.models.delta.delta import Delta
from edgekws.models.delta.int8 import rounded
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.protocol.settings import Training
from edgekws.protocol.training import Features, Labels

Tensors: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Part:
    """What is trained of a net, and what follows from it.

    Attributes:
        trained: Tensors at their start; they are trained in place.
        weights: From them, differentiably, those that the forward pass takes in place of the net's own or beside them, by
            the names that :meth:`~edgekws.models.recurrent_lif.RecurrentLIF.spikes` knows.
        delta: From them, what changed.
    """

    trained: dict[str, Tensor]
    weights: Callable[[Tensors], Tensors]
    delta: Callable[[Tensors], Delta]


def learn(net: RecurrentLIF, features: Features, labels: Labels, method: AlternativeMethod, budget: AlternativeTraining,
          *, seed: int, make: MakeOptimiser = optimiser.make) -> Delta:
    """Adapt ``net`` by back-propagation into the part that ``method.kind`` names, as a :class:`~.learning.Learn`.

    What an earlier delta has added to the net (thresholds, an adapter) takes part, and is trained on where it is what the
    method trains.

    Raises:
        UserError: The clips do not fit the net, or the method does not: a local rule, ``last_layer`` with one hidden layer.
    """
    part = part_of(net, method, seed=derive_seed(seed, "new weights"))
    return train(net, part, features, labels, budget, make(method.optimiser, part.trained, budget.learning_rate), seed=seed)


def train(net: RecurrentLIF, part: Part, features: Features, labels: Labels, budget: Training, updates: Optimiser, *,
          seed: int) -> Delta:
    """Train a part that was made from ``net``, which stays as it is; arguments and errors are those of :func:`learn`.

    Args:
        updates: Of ``part.trained``.
    """
    leaves = {name: tensor.requires_grad_() for name, tensor in part.trained.items()}
    own = {name: tensor.detach() for name, tensor in net.named_parameters()}
    asked = _Asked(features)
    frozen = _Frozen(net, own, len(features), summed="adapter.down" not in {**own, **leaves})
    trains_hidden = any(name.startswith("hidden.") for name in leaves)
    for batch, wanted in epochs(net, asked, labels, budget, updates, seed=seed):
        weights = {**own, **part.weights(leaves)}
        potential = (net.potential(weights, batch) if trains_hidden
                     else net.integrate(weights, frozen.spikes(asked.places, batch).unbind(1)))
        gradients = torch.autograd.grad(cross_entropy(potential, wanted), list(leaves.values()))
        updates.step(dict(zip(leaves, gradients, strict=True)))
        del batch, weights, potential, gradients
    return part.delta({name: tensor.detach() for name, tensor in leaves.items()})


def part_of(net: RecurrentLIF, method: AlternativeMethod, *, seed: int) -> Part:
    """What a method trains of a net, at its start; ``seed`` is that of new weights. Errors are those of :func:`learn`."""
    generator = torch.Generator().manual_seed(seed)

    def random(neurons: int, fan_in: int) -> Tensor:
        return ((2 * torch.rand(neurons, fan_in, generator=generator) - 1) / math.sqrt(fan_in)).to(net.readout)

    last = len(net.hidden) - 1
    match method.kind:
        case "full" | "full_int8":
            return _matrices(net, list(net.trained), quantised=method.kind == "full_int8")
        case "readout":
            return _matrices(net, ["readout"])
        case "last_layer" if last > 0:
            return _matrices(net, [f"hidden.{last}.weight", "readout"])
        case "last_layer":
            raise UserError("the last hidden layer is the only one, so this is 'full'", where="method last_layer",
                            remedy="train 'full', or take a net with two hidden layers")
        case "threshold":
            new = {f"hidden.{index}.threshold": net.readout.new_full((neurons,), net.settings.threshold)
                   for index, neurons in enumerate(net.settings.hidden)}
            return _added(net, new)
        case "adapter":
            width = net.readout.shape[1]
            return _added(net, {"adapter.down": random(method.rank, width),
                                "adapter.up": net.readout.new_zeros(width, method.rank)})
        case "lora":
            factors = {name: (matrix.new_zeros(len(matrix), method.rank), random(method.rank, matrix.shape[1]))
                       for name, matrix in _named(net, {name: tensor.detach() for name, tensor in net.trained.items()}).items()}
            return low_rank(factors)
        case rule:
            raise UserError(f"'{rule}' is a local rule, not back-propagation", where="method",
                            remedy="call the rule's own learn")


def _matrices(net: RecurrentLIF, names: list[str], *, quantised: bool = False) -> Part:
    """Whole matrices of ``net.trained``; quantised, the forward pass has them as int8 would, each row of a tensor."""
    def weights(trained: Tensors) -> Tensors:
        if not quantised:
            return trained
        return _packed({name: _straight_through(matrix) for name, matrix in _named(net, trained).items()})

    def delta(trained: Tensors) -> Delta:
        return Delta(replaced={name: rounded(matrix) if quantised else matrix.clone()
                               for name, matrix in _named(net, trained).items()})

    return Part({name: net.trained[name].detach().clone() for name in names}, weights, delta)


def _straight_through(matrix: Tensor) -> Tensor:
    """Rounded to int8, with a gradient as if it were not (Bengio et al. 2013)."""
    return rounded(matrix.detach()) + (matrix - matrix.detach())


def _added(net: RecurrentLIF, new: dict[str, Tensor]) -> Part:
    """Tensors that the net does not have yet, or has from an earlier delta."""
    def delta(trained: Tensors) -> Delta:
        return Delta(replaced={name: tensor for name, tensor in trained.items() if name in net.added},
                     added={name: tensor for name, tensor in trained.items() if name not in net.added})

    return Part({name: net.added.get(name, tensor).clone() for name, tensor in new.items()}, lambda trained: trained, delta)


def low_rank(factors: Mapping[str, tuple[Tensor, Tensor]]) -> Part:
    """Products of ``(up [out, rank], down [rank, in])`` added to matrices that are named as in the net's ``state_dict``."""
    def delta(trained: Tensors) -> Delta:
        return Delta(low_rank={name: (trained[f"{name}.up"], trained[f"{name}.down"]) for name in factors})

    return Part({f"{name}.{part}": factor for name, pair in factors.items()
                  for part, factor in zip(("up", "down"), pair, strict=True)}, lambda trained: trained, delta)


# ------------------------------------------------------------------------------------------------ names
def _named(net: RecurrentLIF, parameters: Tensors) -> dict[str, Tensor]:
    """Matrices of ``net.trained`` by the names of the net's ``state_dict``: W and R, each on its own."""
    named: dict[str, Tensor] = {}
    for index, layer in enumerate(net.hidden):
        if (matrix := parameters.get(f"hidden.{index}.weight")) is not None:
            named |= {f"hidden.{index}.{name}": part for name, part in layer.parts(matrix).items()}
    return named | ({"readout": parameters["readout"]} if "readout" in parameters else {})


def _packed(named: Tensors) -> dict[str, Tensor]:
    """The inverse of :func:`_named`."""
    packed: dict[str, Tensor] = {}
    for name, matrix in named.items():
        whole = re.sub(r"\.(input|recurrent)$", ".weight", name)
        packed[whole] = torch.cat([packed[whole], matrix], 1) if whole in packed else matrix
    return packed


# ------------------------------------------------------------------------------------------------ frozen hidden layers
class _Asked:
    """Features that remember which clips were asked for last."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self.places = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, places: Any, /) -> Any:
        self.places = torch.as_tensor(places)
        return self.features[places]


class _Frozen:
    """The last hidden layer's spikes of each clip, computed when it is first asked for and without a graph.

    Args:
        weights: Of the net, as :meth:`~edgekws.models.recurrent_lif.RecurrentLIF.spikes` takes them.
        clips: How many there are.
        summed: Keep the readout's leaky sum of the frames in place of the frames: all that a readout alone is trained on.
    """

    def __init__(self, net: RecurrentLIF, weights: Tensors, clips: int, *, summed: bool) -> None:
        self.net, self.weights, self.summed = net, weights, summed
        self._known = torch.zeros(clips, dtype=torch.bool)
        self._kept = torch.empty(0)

    @torch.no_grad()
    def spikes(self, places: Tensor, batch: Tensor) -> Tensor:
        """Spikes [clips, frames, H] (or one "frame", their sum) of the clips at ``places``, whose features are ``batch``."""
        if not self._known[places].all():
            frames = self.net.spikes(self.weights, batch)
            if self.summed:
                found = batch.new_zeros(len(batch), self.net.settings.hidden[-1])
                for spikes in frames:
                    found.mul_(self.net.settings.output_leak).add_(spikes)
                found = found[:, None]
            else:
                found = torch.stack([spikes.bool() for spikes in frames], 1)
            if not len(self._kept):
                self._kept = found.new_empty(len(self._known), *found.shape[1:])
            self._kept[places], self._known[places] = found, True
        return self._kept[places].to(batch.dtype)
