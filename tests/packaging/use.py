"""What somebody does who installed the library by itself, outside of the repository; run by tests/packaging/prove."""

import importlib.util
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import norse.torch as norse
import numpy as np
import torch
from norse.torch.module.lif_box import LIFBoxCell

from edgekws import TracesPropagation
from edgekws.features.settings import Features
from edgekws.methods.traces_propagation import experiments
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

HERE = Path(sys.executable).parent


def seconds(code):
    """Wall time of a fresh interpreter that runs ``code``, above that of one that does nothing; the better of three."""
    def once(text):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", text], check=True)
        return time.perf_counter() - start

    return min(once(code) for _ in range(3)) - min(once("pass") for _ in range(3))


def edgekws(*arguments):
    return subprocess.run([HERE / "edgekws", *map(str, arguments)], capture_output=True, text=True)


def main():
    for absent in ("snakemake", "dvc", "flwr", "papermill", "opacus", "matplotlib"):
        assert importlib.util.find_spec(absent) is None, f"{absent} came along"
    plain, torch_, rule = map(seconds, ("import edgekws", "import torch", "from edgekws import TracesPropagation"))
    print(f"  import edgekws {plain:.2f} s, torch {torch_:.2f} s, a rule {rule:.2f} s")

    learner = TracesPropagation(norse.SequentialState(torch.nn.Linear(12, 30), LIFBoxCell(), torch.nn.Linear(30, 4)), outputs=4)
    learner.step(torch.rand(8, 12), torch.arange(8) % 4)
    assert all(parameter.grad is not None for parameter in learner.parameters())

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["no", "yes"]
        net = RecurrentLIF(Network(hidden=[16]), inputs=120, outputs=3, generator=torch.Generator().manual_seed(0))
        experiments.write_base(folder / "base.safetensors", experiments.Base(net, words, torch.ones(120)),
                               about={"features": Features().model_dump(), "network": Network(hidden=[16]).model_dump()},
                               provenance={"corpus": {}})
        noise = np.random.default_rng(0)
        for word in words:
            for take in range(4):
                path = folder / "mine" / word / f"{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                with wave.open(str(path), "wb") as out:
                    out.setparams((1, 2, 16_000, 0, "NONE", ""))
                    out.writeframes(noise.integers(-9000, 9000, 16_000, dtype=np.int16).tobytes())
        done = edgekws("personalise", folder / "base.safetensors", folder / "mine", folder / "adapted.safetensors")
        assert done.returncode == 0, done.stderr
        assert edgekws("delta", "diff", folder / "base.safetensors", folder / "adapted.safetensors",
                       folder / "delta.safetensors").returncode == 0
        assert edgekws("--help").returncode == 0 and edgekws("doctor").returncode == 0
        refused = edgekws("report", "notebook", "none.ipynb", folder / "out.ipynb")
        assert refused.returncode == 2 and "edgekws[workflow" in refused.stderr, refused.stderr
    print("  rule, personalise, delta, help, doctor: as expected")


if __name__ == "__main__":
    main()
