"""The verbs of ``edgekws alternatives`` that are about learning together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekws.core.options import (
    FeaturesPath,
    IndexPath,
    MetricsPath,
    Progress,
    Seed,
    SetOption,
    SettingsText,
    Threads,
    example,
    pin_threads,
)

app = typer.Typer()

PlanPath = Annotated[Path, typer.Argument(help="Plan of the users (.parquet).")]


@app.command("federate", epilog=example(
    "alternatives federate results/demo/features/traces_propagation.npy results/demo/corpus/index.parquet "
    "results/demo/corpus/plan_many_users.parquet results/demo/models/traces_propagation/base_frozen_seed0.safetensors "
    ".envs/flower results/demo/metrics/alternatives/federated/seed0.json"))
def federate(
    features: FeaturesPath,
    index: IndexPath,
    plan: PlanPath,
    base: Annotated[Path, typer.Argument(help="Spiking base model (.safetensors).")],
    environment: Annotated[Path, typer.Argument(help="What `envs/tool flower FOLDER` built; without Flower a loop runs.")],
    out: MetricsPath,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Users with words of their own teach one readout together: alone, pooled, federated, and with differential privacy.

    Settings: alternatives.federated.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.experiments import read_base
    from edgekws.methods.alternatives.federated import experiments
    from edgekws.methods.alternatives.settings import Federated
    from edgekws.methods.traces_propagation.experiments import Base
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus

    chosen = s.read(Federated, settings, set_ or ())
    corpus, facts = open_corpus(features, index)
    read, about = read_base(base, "spiking")
    loaded = Base(read.net, read.vocabulary, read.scale)
    table, plan_facts = files.read_table(plan)
    found = experiments.run(table, plan_facts, loaded, corpus, chosen, environment,
                            excluded=about["settings"]["excluded"], seed=seed, progress=progress)
    metrics.write(out, {"schema": 1, "paper": "alternatives", "seed": seed,
                        "settings": {"federated": chosen.model_dump(), "plan": plan_facts, "base": about["settings"]},
                        "provenance": provenance(corpus=facts, threads=threads), **found}, kinds.FederatedSeed)


@app.command("summarise-federated", epilog=example(
    "alternatives summarise-federated results/demo/metrics/alternatives/federated.json "
    "results/demo/metrics/alternatives/federated/seed0.json"))
def summarise_federated(
    out: Annotated[Path, typer.Argument(help="Summary to write, federated.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `federate`, one for each seed.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate the results of `federate`: means with intervals over users, and the curves by round.

    Settings: statistics.
    """
    from edgekws.core import settings as s
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives import summary
    from edgekws.protocol import metrics
    from edgekws.protocol.settings import Statistics

    metrics.summarise(out, parts, kinds.FederatedSeed, kinds.FederatedSummary, summary.federated_file,
                      s.read(Statistics, settings, set_ or ()))
