"""Where training computes: the CPU, or a GPU where there is one.

On the CPU the same seed gives the same bytes on every machine, whatever the number of jobs. A GPU adds in another order: its
results agree with those within a tolerance, not byte for byte, and say in their provenance what they were made on. So ``cpu``
is the default; ``cuda`` wants a GPU and stops without one; ``auto`` takes one where there is one, and the bytes of a result
then depend on the machine.

Random numbers are drawn on the CPU whatever the device, so that both see the same weights, batches and noise.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from edgekws.core.errors import UserError

if TYPE_CHECKING:
    import torch

Name = Literal["cpu", "cuda", "auto"]


def choose(name: Name) -> torch.device:
    """The device of a name; a GPU is made to repeat itself bit by bit, in full precision.

    Raises:
        UserError: A GPU is asked for and there is none that torch can use.
    """
    # Before the first call of cuBLAS: without it the deterministic matrix products refuse to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("there is no GPU that torch can use", where="setting 'device' (--device)",
                        remedy="set it to cpu; or install a build of torch for your GPU and see that its driver runs")
    torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa would be further from the CPU than rounding is
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda")


def describe(device: torch.device) -> str:
    """What a result says that it was made on.

    >>> import torch
    >>> describe(torch.device("cpu"))
    'cpu'
    """
    if device.type == "cpu":
        return "cpu"
    import torch

    return f"{device.type} ({torch.cuda.get_device_name(device)})"
