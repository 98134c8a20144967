"""The neurons of :mod:`edgekws.neurons.lif` in Norse's own step, differentiable through time.

Norse's LIFBox integrates ``v + dt tau_mem_inv (i - v)``. With ``dt tau_mem_inv = 1 - leak`` and the input current
divided by ``1 - leak`` that is ``leak v + current``, ours. Three things differ:

* Norse fires above the threshold, we fire at it too: the two differ where a potential equals it exactly.
* Norse's surrogate derivative is SuperSpike's, ``1 / (1 + |u - threshold|)^2`` (Norse 1.1 ignores the slope that
  can be set). Its height is 1, whatever the surrogate scale of the learning rule is.
* Norse's reset carries a gradient; our learning rule has none there.
"""

from __future__ import annotations

from typing import Any

import torch
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
from norse.torch.functional.reset import reset_subtract, reset_value
from torch import Tensor

from edgekws.neurons.lif import Reset


def parameters(like: Tensor, *, leak: float, threshold: float | Tensor, reset: Reset) -> Any:
    """Norse's LIFBoxParameters of our neuron, on the device and in the type of ``like``; a threshold may want a gradient."""
    def constant(value: float | Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=like.dtype, device=like.device)

    return LIFBoxParameters(tau_mem_inv=constant(1 - leak), v_leak=constant(0.0), v_th=constant(threshold),
                            v_reset=constant(0.0), method="super",
                            reset_method=reset_value if reset == "hard" else reset_subtract)


def step(current: Tensor, v: Tensor, neuron: Any) -> tuple[Tensor, Tensor]:
    """Spikes and potential after the reset; ``neuron`` from :func:`parameters`, shapes as in ``lif.step``."""
    spikes, state = lif_box_feed_forward_step(current / neuron.tau_mem_inv, LIFBoxFeedForwardState(v=v), neuron, dt=1.0)
    return spikes, state.v
