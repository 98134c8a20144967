"""The hardware's part of the loss, and the mapping it refers to (Eq. 9 and 10; explicit forms of section 2.2).

Weights come in blocks, one for each pair of neuron groups. A block is there to the degree of its gate::

    gate = 1 - exp(-q),      q = mean(w^2) in the block / mean(w^2) in the matrix

The gate is blind to the scale of a matrix, so the loss cannot be lowered by shrinking all weights (which silences the
network); it is lowered by making blocks unequal, weak ones weaker. :meth:`HardwareLoss.prune` cuts the blocks whose gate
is below 0.5. With the mapping fixed (``n_c`` neurons in core c, ``m_c`` bits of memory by gates), N and M what a core
holds, the terms are::

    utilisation = 1 - sum_c n_c / N / sum_c max(n_c / N, m_c / M)
    traffic     = sum_i r_i sum_c link_ic (1 + hops_ic) / reference,   link_ic = 1 - prod over blocks of i in c (1 - gate)
    memory      = sum_c m_c / (of the dense network) + sum_c relu(m_c / M - 1)^2

Utilisation departs from section 2.2, ``1 - sum_c max(n_c / N, m_c / M) / sum_c u_c``. There memory counts as use, so its
gradient fills cores with weights and works against the third term; nothing in it brings down the number of cores.
Here the sum below the line is how many cores the network needs, and only where memory, not neurons, takes up a core
is there a pull to prune it. The other form is kept: ``form="occupancy"``.

The mapping is solved discretely, once an epoch (Algorithm 1, line 12): :meth:`HardwareLoss.remap`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from edgekws.core.errors import UserError
from edgekws.methods.neuedge import mapping as mapping_module
from edgekws.methods.neuedge import placement
from edgekws.methods.neuedge.chip import Chip
from edgekws.methods.neuedge.mapping import Mapping
from edgekws.methods.neuedge.settings import Hardware

Form = Literal["needed", "occupancy"]

CUT = 0.5  # gates below it are cut


class HardwareLoss:
    """The three terms of Eq. 10 for one network on one chip.

    In its first epochs a network fires little and its gradients are small; the hardware's would win, and silence it. So
    the loss waits and is then faded in. The end of the waiting also sets the reference of the traffic.

    Args:
        hardware: Weights of the terms (lambda 1 to 3), group size, budget of the placement.
        sizes: Units of every population: encoder, hidden layers, readout.
        chip: The chip; that of the settings is for the caller to look up.
        form: Which utilisation term; see above.
        warm_up: Epochs, counted in remappings, without the loss.
        ramp: Epochs over which it then rises to its weight.
        device: Where the network's tensors are; the mapping is solved on the CPU.

    Attributes:
        mapping: The mapping in force, None before the first call.
        seconds: Duration of each remapping. Kept apart from what :meth:`remap` returns, which repeats exactly.
    """

    def __init__(self, hardware: Hardware, sizes: Sequence[int], chip: Chip, *, form: Form = "needed",
                 warm_up: int = 5, ramp: int = 5, device: torch.device | None = None) -> None:
        if len(sizes) < 2:
            raise UserError(f"a network of populations {list(sizes)} has no weights", where="hardware loss",
                            remedy="give the sizes of at least the inputs and the outputs")
        self.settings, self.sizes, self.chip, self.form = hardware, list(sizes), chip, form
        self.warm_up, self.ramp = warm_up, ramp
        self.mapping: Mapping | None = None
        self.seconds: list[float] = []
        self._reference = 1.0
        self._kept: list[Tensor] | None = None  # blocks left by the cut
        self._device = torch.device("cpu") if device is None else device
        self._groups = [_group_sizes(size, hardware.group).to(self._device) for size in self.sizes]
        self._blocks = [torch.outer(to, of) for of, to in itertools.pairwise(self._groups)]  # weights in each block
        self._distance = torch.tensor(1.0 + chip.hops.sum(0), dtype=torch.float32, device=self._device)
        self._shares: list[Tensor] = []  # [cores, groups] of each population: share of a group's neurons in a core
        self._ways: list[Tensor] = []  # [cores, groups] of each source: 1 + hops from the group to the core

    @property
    def weight(self) -> float:
        """Of all three terms beside the task's loss (lambda_hw), as far as it has been faded in."""
        risen = (len(self.seconds) - self.warm_up + 1) / (self.ramp + 1)
        return self.settings.weight * min(max(risen, 0.0), 1.0)

    def loss(self, weights: Sequence[Tensor], rates: Sequence[Tensor]) -> dict[str, Tensor]:
        """The terms for the present mapping, each times its own weight (lambda 1 to 3) and from 0 to about that weight.

        Args:
            weights: [to, from] of each matrix.
            rates: [neurons] mean spikes in a clip of the population each matrix reads from: encoder, hidden layers.

        Returns:
            ``utilisation``, ``traffic`` and ``memory``: scalars, differentiable in weights and rates. Their sum times
            :attr:`weight` is what the loss gains.

        Raises:
            UserError: Shapes are not those of the network; or, in the first call, it does not fit the chip.
        """
        self._check(weights)
        if self.mapping is None:
            self._begin(weights, rates)
        gates, links = self._gates(weights)
        load = torch.stack([share @ groups for share, groups in zip(self._shares, self._groups, strict=True)]).sum(0)
        bits = torch.stack([share @ (gate * blocks).sum(1) for share, gate, blocks in
                            zip(self._shares[1:], gates, self._blocks, strict=True)]).sum(0)
        dense = torch.stack([blocks.sum() for blocks in self._blocks]).sum()
        load, filled = load / self.chip.neurons.value, bits * self.chip.weight_bits.value / self.chip.synapse_bits.value
        terms = {
            "utilisation": self._utilisation(load, filled),
            "traffic": self._traffic(links, rates),
            "memory": bits.sum() / dense + (filled - 1).relu().square().sum(),
        }
        return {name: getattr(self.settings, name) * term for name, term in terms.items()}

    def remap(self, weights: Sequence[Tensor], rates: Sequence[Tensor], seed: int) -> dict[str, Any]:
        """Solve the mapping anew for the network as it is cut, or would be now, starting from the mapping in force.

        Args:
            weights: [to, from] of each matrix.
            rates: [neurons] mean spikes in a clip, as in :meth:`loss`.
            seed: Of the annealing.

        Returns:
            ``cost`` and, of the mapping before, ``cost_before`` (None where it does not fit any more); ``cores``;
            ``utilisation``, ``neurons`` and ``synapse_bits`` as :func:`edgekws.methods.neuedge.mapping.utilisation` has them;
            ``density``: share of the weights that are left; ``messages`` and ``hops`` of a mean clip.

        Raises:
            UserError: Shapes are not those of the network, or it does not fit the chip.
        """
        self._check(weights)
        if self.mapping is None:
            self._begin(weights, rates)
        assert self.mapping is not None
        started = time.perf_counter()
        masks, spikes = _masks(self._whole(self._keep(weights))), _arrays(rates)
        hardware, chip, before = self.settings, self.chip, self.mapping
        lambdas = (hardware.utilisation, hardware.traffic, hardware.memory)
        self._adopt(placement.optimise(before, masks, spikes, chip, steps=hardware.placement_steps, seed=seed,
                                            group=hardware.group, weights=lambdas))
        self.seconds.append(time.perf_counter() - started)
        if len(self.seconds) == self.warm_up:
            self._set_reference(rates)
        costs = [mapping_module.cost(each, masks, spikes, chip, weights=lambdas) for each in (before, self.mapping)]
        used = mapping_module.utilisation(self.mapping, masks, chip)
        moved = mapping_module.traffic(self.mapping, masks, spikes, chip)
        return {
            "cost_before": costs[0] if mapping_module.fits(before, masks, chip) else None, "cost": costs[1],
            "cores": used["cores_used"], **{name: used[name] for name in ("utilisation", "neurons", "synapse_bits")},
            "density": sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks),
            "messages": float(moved.messages), "hops": float(moved.hops),
        }

    def prune(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Cut for good: which weights stay, bool, in the shapes of the weights.

        Those of the blocks whose gate is at least :data:`CUT`, of the strongest block of every group of readout units,
        and of the strongest block of every matrix. From here on gates are 0 or 1 and only the traffic's term still has a
        gradient, in the rates: what is left to train is the task.
        """
        self._check(weights)
        self._kept = self._keep(weights)
        return self._whole(self._kept)

    def state(self) -> dict[str, Any]:
        """What remappings and the cut have left, for a checkpoint."""
        return {"mapping": None if self.mapping is None else self.mapping.to_json(), "seconds": self.seconds,
                "reference": self._reference, "kept": self._kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state` of the same network and chip."""
        if state["mapping"] is not None:
            self._adopt(Mapping.from_json(state["mapping"]))
        self.seconds, self._reference = state["seconds"], state["reference"]
        self._kept = None if state["kept"] is None else [kept.to(self._device) for kept in state["kept"]]

    def gates(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The gate of every block, [groups to, groups from] for each matrix."""
        self._check(weights)
        return self._gates(weights)[0]

    # -------------------------------------------------------------------------------------------- terms
    def _gates(self, weights: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Gates [groups to, groups from], and links [cores, groups from], of each matrix."""
        if self._kept is not None:
            gates = [kept.float() for kept in self._kept]
            links = [((share > 0).float() @ gate > 0).float() for share, gate in zip(self._shares[1:], gates, strict=False)]
            return gates, links
        strengths = self._strengths(weights)
        # A product of (1 - gate) is the exponential of a sum.
        links = [1 - torch.exp(-((share > 0).float() @ strength))
                 for share, strength in zip(self._shares[1:], strengths, strict=False)]
        return [1 - torch.exp(-strength) for strength in strengths], links

    def _strengths(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """q of every block, [groups to, groups from] for each matrix.

        The gradient is multiplied by the number of weights in the block: each weight is pulled as if it were the block,
        not as one in 256 that share the pull, which the noise of the task's gradient would drown.
        """
        group, strengths = self.settings.group, []
        for matrix, blocks in zip(weights, self._blocks, strict=True):
            to, of = matrix.shape
            padded = pad(matrix.square(), (0, -of % group, 0, -to % group))
            block = padded.view(len(blocks), group, -1, group).sum((1, 3))
            strength = block / blocks * (matrix.numel() / block.sum().clamp(min=1e-12))
            strengths.append(strength * blocks - (strength * (blocks - 1)).detach())
        return strengths

    def _utilisation(self, load: Tensor, filled: Tensor) -> Tensor:
        occupied = torch.maximum(load, filled).sum()
        if self.form == "needed":
            return 1 - load.sum() / occupied
        # u_c = 1 - exp(-n_c / kappa), with kappa a group, so that a core with several of them counts as in use.
        used = 1 - torch.exp(-load * self.chip.neurons.value / self.settings.group)
        return 1 - occupied / used.sum()

    def _traffic(self, links: Sequence[Tensor], rates: Sequence[Tensor]) -> Tensor:
        group = self.settings.group
        grouped = [pad(rate, (0, -len(rate) % group)).view(-1, group).sum(1) for rate in rates]
        terms = [(rate * (link * way).sum(0)).sum() for rate, link, way in zip(grouped, links, self._ways, strict=True)]
        return torch.stack(terms).sum() / self._reference

    # -------------------------------------------------------------------------------------------- state
    def _begin(self, weights: Sequence[Tensor], rates: Sequence[Tensor]) -> None:
        hardware = self.settings
        self._set_reference(rates)
        self._adopt(placement.optimise(
            None, _masks(self._whole(self._keep(weights))), _arrays(rates), self.chip, seed=0,
            steps=hardware.placement_steps, group=hardware.group,
            weights=(hardware.utilisation, hardware.traffic, hardware.memory)))

    def _set_reference(self, rates: Sequence[Tensor]) -> None:
        dense = [np.ones((to, of), dtype=bool) for of, to in itertools.pairwise(self.sizes)]
        self._reference = mapping_module.reference_traffic(dense, _arrays(rates), self.chip)

    def _adopt(self, mapping: Mapping) -> None:
        self.mapping, self._shares = mapping, []
        group = self.settings.group
        for core_of, groups in zip(mapping.cores, self._groups, strict=True):
            one_hot = torch.zeros(self.chip.cores, len(core_of))
            one_hot[torch.from_numpy(core_of), torch.arange(len(core_of))] = 1
            padded = pad(one_hot, (0, -len(core_of) % group)).to(self._device)
            self._shares.append(padded.view(self.chip.cores, -1, group).sum(2) / groups)
        self._ways = [self._distance @ share for share in self._shares[:-1]]

    def _keep(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Which blocks stay: what was left by the cut or would be now, bool [groups to, groups from] for each matrix."""
        if self._kept is not None:
            return self._kept
        kept = []
        for index, strength in enumerate(self._strengths([matrix.detach() for matrix in weights])):
            keep = 1 - torch.exp(-strength) >= CUT
            keep.view(-1)[strength.argmax()] = True
            if index == len(weights) - 1:
                keep[torch.arange(len(keep), device=keep.device), strength.argmax(1)] = True
            kept.append(keep)
        return kept

    def _whole(self, blocks: Sequence[Tensor]) -> list[Tensor]:
        """Blocks as masks of weights."""
        group = self.settings.group
        return [block.repeat_interleave(group, 0)[:to].repeat_interleave(group, 1)[:, :of]
                for block, (of, to) in zip(blocks, itertools.pairwise(self.sizes), strict=True)]

    def _check(self, weights: Sequence[Tensor]) -> None:
        shapes = [tuple(matrix.shape) for matrix in weights]
        wanted = [(to, of) for of, to in itertools.pairwise(self.sizes)]
        if shapes != wanted:
            raise UserError(f"weights of shapes {shapes} are not of a network {self.sizes}", where="hardware loss",
                            remedy="give the matrices from the input to the readout, [to, from]")


def _group_sizes(size: int, group: int) -> Tensor:
    """Neurons in each group of a population, float32 [groups]; the last may be smaller."""
    return torch.tensor([min(group, size - start) for start in range(0, size, group)], dtype=torch.float32)


def _masks(masks: Sequence[Tensor]) -> list[npt.NDArray[np.bool_]]:
    return [mask.cpu().numpy() for mask in masks]


def _arrays(rates: Sequence[Tensor]) -> list[npt.NDArray[np.float64]]:
    return [rate.detach().cpu().double().numpy() for rate in rates]
