"""Damaged images, deltas and sounds for the C library, under the address and undefined-behaviour sanitizers.

    python -m benchmarks.embedded_fuzz --inputs 20000

Needs gcc or clang with its sanitizers (the compiler of `envs/tool embedded` has no address sanitizer). Any report of a
sanitizer ends the run with an error; the same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from edgekws.embedded import compiler, image, wake_word
from edgekws.features.settings import Features
from edgekws.models import encoder
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network

FLAGS = ["-std=c99", "-O1", "-g", "-ffp-contract=off", "-fno-math-errno", "-fno-omit-frame-pointer",
         "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]


def images(folder: Path) -> list[Path]:
    """Small nets of both kinds and precisions."""
    net = RecurrentLIF(Network(hidden=[8]), inputs=120, outputs=4, generator=torch.Generator().manual_seed(1))
    metadata = {"vocabulary": ["a", "b", "c"], "feature_scale": torch.ones(120),
                "settings": {"features": Features().model_dump()}}
    ear = encoder.build("ds_cnn_s", [4, 4, 4, 4, 4]).eval()
    blobs = [image.spiking(net, metadata, precision=precision, where="net") for precision in ("fp32", "int8")]
    blobs += [wake_word.encoder(ear, {}, precision=precision, where="net") for precision in ("fp32", "int8")]
    paths = [folder / f"image{number}.bin" for number in range(len(blobs))]
    for path, blob in zip(paths, blobs, strict=True):
        path.write_bytes(blob)
    return paths


def fuzz(inputs: int, seed: int) -> str:
    """Run so many inputs; what the program says of them.

    Raises:
        FileNotFoundError: There is no C compiler with sanitizers.
        subprocess.CalledProcessError: A sanitizer found something.
    """
    cc = shutil.which("gcc") or shutil.which("clang")
    if cc is None:
        raise FileNotFoundError("gcc or clang")
    folder = compiler.sources()
    with tempfile.TemporaryDirectory() as temporary:
        program = Path(temporary) / "fuzz"
        subprocess.run([cc, *FLAGS, *(folder / name for name in compiler.SOURCES), folder / "targets" / "fuzz.c", "-o", program],
                       check=True)
        done = subprocess.run([program, str(seed), str(inputs), *images(Path(temporary))], check=True, text=True,
                              stdout=subprocess.PIPE, stderr=sys.stderr)
    return done.stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(fuzz(arguments.inputs, arguments.seed))
