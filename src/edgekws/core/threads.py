"""How the threads of the libraries that compute wait for one another, and how many there are.

These libraries read it from the environment once, when they are loaded: every command says it before anything else. What the
environment says already is left as it is.
"""

from __future__ import annotations

import os

COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Where OpenMP, MKL and OpenBLAS read their number of threads."""

_WAITING = {
    # By default a thread of libgomp (torch on Linux) spins for milliseconds while it waits, one of LLVM's OpenMP (macOS) for 200.
    # Alone on a machine that wins little; beside other work it takes the core from whom it waits for, and a step takes twice
    # as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
}


def settle() -> None:
    """Have threads sleep while they wait, and make one of each library the default, for this process and those it starts.

    What asks for more threads asks for them by number (``edgekws.core.options.pin_threads``).
    """
    for variable, value in {**_WAITING, **dict.fromkeys(COUNTS, "1")}.items():
        os.environ.setdefault(variable, value)
