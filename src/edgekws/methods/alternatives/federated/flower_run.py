"""Run federated trainings in Flower's simulation engine: a script for an environment of its own.

    python flower_run.py FOLDER

FOLDER holds ``job.json`` (python, packages, federations: as in
:class:`edgekws.methods.alternatives.federated.averaging.Federation`) and ``shards.safetensors``. Written
there: ``changes.safetensors`` (``0``, …: for each federation the server's change after each round, [rounds, outputs, width])
and ``result.json`` (bytes of each round, versions).

The environment holds Flower and Ray; torch, numpy, safetensors, Opacus and this project are taken from the folders that
``packages`` names. Each client is a node of the simulation, and calls what the loop calls. Averaging is Flower's
``FedAvg``, with the replies put in the order of the clients, as they arrive in any. Secure aggregation is Flower's SecAgg+
with its own quantisation (2^22 levels between -8 and 8); every client holds a share of every other's secrets, and two
thirds of them can make up for one that is lost. Its masks come from the system's randomness and cancel; its stochastic
rounding is seeded here. It is a simulation of the protocol and no audited implementation: numpy's generator expands the
masks from seeds of 32 bits, and numbers of clips travel in the clear.

Bytes are those of the messages' content in protobuf, which is what Flower would send, but for its envelope.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

SHARES = 2 / 3  # of the clients, needed to bring back what one of them took with it


def client_app(folder: Path, federations: list[Any]) -> Any:
    """Node number k trains on shard k; the server's message names federation and round."""
    from flwr.client import NumPyClient
    from flwr.client.mod import secaggplus_mod
    from flwr.clientapp import ClientApp
    from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS

    class User(NumPyClient):  # type: ignore[misc, unused-ignore]
        def __init__(self, number: int) -> None:
            self.number = number

        def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
            import numpy as np
            import torch

            from edgekws.core.provenance import derive_seed
            from edgekws.methods.alternatives.federated.averaging import reply
            from edgekws.methods.alternatives.federated.shards import read_shards

            federation, number = federations[config["federation"]], config["round"]
            shard = read_shards(folder / "shards.safetensors")[self.number]
            change = reply(shard, torch.tensor(parameters[0]), federation, number=number, client=self.number)
            # SecAgg+ rounds with the global generator, once this has returned.
            np.random.seed(derive_seed(federation.seed, f"round {number}/client {self.number}/rounding"))  # noqa: NPY002
            return [change.numpy()], len(shard), {}

    def masked(message: Any, context: Any, call_next: Any) -> Any:
        secure = RECORD_KEY_CONFIGS in message.content.config_records
        return (secaggplus_mod if secure else lambda message, context, _: call_next(message, context))(
            message, context, call_next)

    return ClientApp(client_fn=lambda context: User(int(context.node_config["partition-id"])).to_client(), mods=[masked])


class Meter:
    """A grid that counts the bytes of what passes, and hands replies on in the order of their nodes."""

    def __init__(self, grid: Any) -> None:
        self.grid, self.down, self.up = grid, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Any]:
        sent = list(messages)
        self.down += sum(self.size(message) for message in sent)
        replies = sorted(self.grid.send_and_receive(sent, timeout=timeout), key=lambda reply: reply.metadata.src_node_id)
        for message in replies:
            if message.has_error():
                raise RuntimeError(message.error.reason)
        self.up += sum(self.size(message) for message in replies)
        return replies

    @staticmethod
    def size(message: Any) -> int:
        from flwr.common.serde import recorddict_to_proto

        return int(recorddict_to_proto(message.content).ByteSize())


def strategy(number: int, federation: Any, meter: Meter, change: Any) -> Any:
    """FedAvg over the clients of each round, which keeps the changes and the bytes."""
    import numpy as np
    from flwr.common import FitIns, ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server.strategy import FedAvg

    class Recorded(FedAvg):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__(fraction_evaluate=0.0, accept_failures=False,
                             initial_parameters=ndarrays_to_parameters([change]))
            self.changes: list[Any] = []
            self.bytes: list[dict[str, int]] = []

        def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> list[Any]:
            meter.down = meter.up = 0
            nodes = sorted(client_manager.all().values(), key=lambda proxy: proxy.node_id)
            instructions = FitIns(parameters, {"federation": number, "round": server_round - 1})
            return [(nodes[client], instructions) for client in federation.rounds[server_round - 1]]

        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            parameters, metrics = super().aggregate_fit(server_round, results, failures)
            arrays = [array.astype(np.float32) for array in parameters_to_ndarrays(parameters)]  # SecAgg+ gives float64
            self.changes.append(arrays[0])
            self.bytes.append({"down": meter.down, "up": meter.up})
            return ndarrays_to_parameters(arrays), metrics

    return Recorded()


def server_app(folder: Path, federations: list[Any]) -> Any:
    """All federations one after the other: starting Ray takes longer than any of them."""
    import torch
    from flwr.server import LegacyContext, ServerConfig
    from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
    from flwr.serverapp import ServerApp
    from safetensors.torch import save_file

    from edgekws.methods.alternatives.federated.shards import read_shards

    app = ServerApp()

    @app.main()  # type: ignore[untyped-decorator, unused-ignore]
    def main(grid: Any, context: Any) -> None:
        shards = read_shards(folder / "shards.safetensors")
        grid.pull_interval = 0.005
        while len(list(grid.get_node_ids())) < len(shards):  # they come up while this thread runs already
            time.sleep(0.01)
        random.seed(0)  # SecAgg+ shuffles the clients
        meter, bytes_of, changes = Meter(grid), [], {}
        for number, federation in enumerate(federations):
            kept = strategy(number, federation, meter, shards[0].unchanged().numpy())
            secure = SecAggPlusWorkflow(1.0, SHARES, max_weight=float(max(map(len, shards)))) if federation.secure else None
            DefaultWorkflow(fit_workflow=secure)(meter, LegacyContext(
                context, config=ServerConfig(num_rounds=len(federation.rounds)), strategy=kept))
            changes[str(number)] = torch.stack([torch.from_numpy(change) for change in kept.changes])
            bytes_of.append(kept.bytes)
        save_file(changes, folder / "changes.safetensors")
        (folder / "result.json").write_text(json.dumps({
            "bytes": bytes_of, "versions": {name: metadata.version(name) for name in ("flwr", "ray")}}))

    return app


def number_nodes() -> None:
    """Number the nodes in order, where Flower draws numbers: then messages are as long on every repetition."""
    from itertools import count

    from flwr.server.superlink.linkstate import in_memory_linkstate

    numbers = count(1 << 63)
    in_memory_linkstate.generate_rand_int_from_bytes = lambda *_, **__: next(numbers)


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    if list(sys.version_info[:2]) != job["python"]:
        (folder / "result.json").write_text(json.dumps({
            "not_run": f"the environment has Python {sys.version_info[0]}.{sys.version_info[1]}, "
                       f"torch is installed for {job['python'][0]}.{job['python'][1]}"}))
        return
    sys.path.extend(job["packages"])
    # Nothing is to leave this machine, nor to stay in the home folder.
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "FLWR_HOME": str(folder / "flower")}
    from flwr.simulation import run_simulation

    from edgekws.methods.alternatives.federated.averaging import Federation
    from edgekws.methods.alternatives.federated.clients import Local
    from edgekws.methods.alternatives.federated.shards import read_shards

    federations = [Federation(**{**values, "local": Local(**values["local"])}) for values in job["federations"]]
    number_nodes()
    run_simulation(
        server_app(folder, federations), client_app(folder, federations), len(read_shards(folder / "shards.safetensors")),
        backend_config={
            "init_args": {"num_cpus": 1, "include_dashboard": False, "log_to_driver": False,
                          "object_store_memory": 80 << 20, "_temp_dir": str(folder / "ray")},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0}})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
