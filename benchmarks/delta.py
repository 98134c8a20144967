"""Time to switch a device from one user to the next, and what users' deltas take: beside reloading whole models.

    python -m benchmarks.delta [--threads 1] [--out results/benchmarks/delta.json]

On the network of the paper (120 inputs, 450 recurrent neurons, 36 outputs), two users of each kind of delta:

* ``in memory``    ``Switch.to`` with both deltas in memory: restore what the last user changed, lay the next over it;
* ``from file``    the same with the next user's delta read from its file first, and checked against the base;
* ``refill``       all tensors of the next user's model read from its file into the net that is there, the least that
  reloading can take (no adapter, no thresholds: a net without them has no room for them);
* ``reload``       the next user's whole model made from its file (``load_network``), as without deltas.

All take turns in one process; the page cache is warm, as the files were just written. Time is the median over repetitions;
that each gives the same logits is checked first.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import envelope, machine
from edgekws.core import files
from edgekws.models.delta import format
from edgekws.models.delta.delta import Delta
from edgekws.models.delta.int8 import rounded
from edgekws.models.delta.switching import Switch
from edgekws.models.recurrent_lif import RecurrentLIF, load_network, save_network
from edgekws.models.settings import Network
from edgekws.models.tensors import fill

MATRICES = ("hidden.0.input", "hidden.0.recurrent", "readout")
WAYS = ("in memory", "from file", "from file, int8", "refill", "reload")
WORDS = [f"word {number}" for number in range(36)]
KINDS = ("full", "full_int8", "readout", "threshold", "adapter_4", "lora_1", "lora_4", "lora_16")


def delta_of(kind: str, net: RecurrentLIF, user: int) -> Delta:
    """A delta of the shapes that a method of the bench gives; its numbers are random."""
    generator, tensors = torch.Generator().manual_seed(user), net.state_dict()

    def random(*shape: int) -> torch.Tensor:
        return 0.02 * torch.randn(shape, generator=generator)

    name, _, rank = kind.partition("_")
    match name:
        case "lora":
            return Delta(low_rank={key: (random(len(tensors[key]), int(rank)), random(int(rank), tensors[key].shape[1]))
                                   for key in MATRICES})
        case "adapter":
            return Delta(added={"adapter.down": random(int(rank), 450), "adapter.up": random(450, int(rank))})
        case "threshold":
            return Delta(added={"hidden.0.threshold": net.settings.threshold + random(450)})
        case "readout":
            return Delta(replaced={"readout": net.readout + random(*net.readout.shape)})
    changed = {key: tensors[key] + random(*tensors[key].shape) for key in MATRICES}
    return Delta(replaced={key: rounded(tensor) for key, tensor in changed.items()} if rank else changed)


@torch.no_grad()
def measure(kind: str, net: RecurrentLIF, base: format.Model, folder: Path, repetitions: int) -> dict[str, Any]:
    """Bytes of a user's files, and median milliseconds of each way to switch."""
    users = [delta_of(kind, net, user) for user in (1, 2)]
    adapted = [net.adapted(delta) for delta in users]
    clips = torch.rand(8, 101, 120, generator=torch.Generator().manual_seed(0))
    sizes = {}
    for user, (delta, own) in enumerate(zip(users, adapted, strict=True)):
        save_network(folder / f"{kind}{user}", own, vocabulary=WORDS, provenance={})
        for precision in ("fp32", "int8"):
            about = format.About(architecture=base.architecture, base=base.checksum, method=kind, precision=precision)
            path = folder / f"{kind}{user}.{precision}"
            format.write_delta(path, delta, about, base=base.tensors, provenance={})
            sizes[precision] = {"tensors": sum(size for _, size in format.stored_bytes(path).values()),
                                "file": path.stat().st_size}
    switch = Switch(net)

    def in_memory(user: int) -> RecurrentLIF:
        switch.to(users[user])
        return net

    def from_file(precision: str) -> Callable[[int], RecurrentLIF]:
        def turn(user: int) -> RecurrentLIF:
            switch.to(format.read_delta(folder / f"{kind}{user}.{precision}", base=base.checksum)[0])
            return net

        return turn

    def reload(user: int) -> RecurrentLIF:
        return load_network(folder / f"{kind}{user}")[0]

    twin = copy.deepcopy(net)

    def refill(user: int) -> RecurrentLIF:
        fill(twin.state_dict(), files.read_model(folder / f"{kind}{user}")[0])
        return twin

    ways = {"in memory": in_memory, "from file": from_file("fp32"), "from file, int8": from_file("int8"), "reload": reload}
    if not users[0].added:
        ways["refill"] = refill
    for name, way in ways.items():
        if name != "from file, int8":
            assert all(torch.equal(way(user).forward(clips), adapted[user].forward(clips)) for user in (0, 1, 0))
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(repetitions):
        for name, way in ways.items():
            way(repetition % 2)
            start = time.perf_counter()
            way((repetition + 1) % 2)
            taken[name].append((time.perf_counter() - start) * 1e3)
    switch.to(None)
    return {"values": users[0].values, "bytes": sizes, "share": sizes["fp32"]["tensors"] / sum(
        tensor.nbytes for tensor in base.tensors.values()),
        "milliseconds": {name: statistics.median(values) for name, values in taken.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/delta.json"))
    options, here_it_runs = parser.parse_args(), machine()
    torch.set_num_threads(options.threads)
    net = RecurrentLIF(Network(), inputs=120, outputs=36, generator=torch.Generator().manual_seed(0))
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        save_network(Path(folder) / "base", net, vocabulary=WORDS, provenance={})
        base = format.read_model(Path(folder) / "base")
        for kind in KINDS:
            rows[kind] = measure(kind, net, base, Path(folder), options.repetitions)
    assert format.checksum(net.state_dict()) == base.checksum, "the base is as it was, to the bit"
    whole = sum(tensor.nbytes for tensor in base.tensors.values())
    print(f"base of {whole:,} bytes; {options.threads} thread(s), median of {options.repetitions}; in brackets: times as fast "
          "as reload")
    print(f"{'delta':10} {'numbers':>8} {'fp32 B':>10} {'int8 B':>8} {'share':>7}"
          + "".join(f"{name + ', ms':>20}" for name in WAYS))
    for kind, row in rows.items():
        spent = row["milliseconds"]
        row["speed_up"] = {name: spent["reload"] / value for name, value in spent.items()}
        print(f"{kind:10} {row['values']:8,} {row['bytes']['fp32']['tensors']:10,} {row['bytes']['int8']['tensors']:8,} "
              f"{row['share']:7.2%}" + "".join(
                  f"{spent[name]:11.3f} ({row['speed_up'][name]:6.1f})" if name in spent else f"{'-':>20}" for name in WAYS))
    files.write_json(options.out, envelope(here_it_runs, threads=options.threads, repetitions=options.repetitions,
                                           base_bytes=whole, deltas=rows))
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
