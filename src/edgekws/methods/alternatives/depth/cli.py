"""The verbs of ``edgekws alternatives`` that are about deeper nets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekws.core.options import (
    AlsoLeftOut,
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


@app.command("depth", epilog=example(
    "alternatives depth results/demo/features/levels.npy results/demo/corpus/index.parquet "
    "results/demo/corpus/plan_one_user.parquet results/demo/metrics/alternatives/depth/seed0.json"))
def depth(
    levels: Annotated[Path, typer.Argument(help="Mel levels of `edgekws alternatives levels` (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan of the one user to leave out (.parquet).")],
    out: MetricsPath,
    also: AlsoLeftOut = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Train nets of several depths, and a convolutional one, by Traces Propagation and other rules, and measure them.

    Settings: {"depth": ..., "network": ...} of the sections alternatives and traces_propagation.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.depth import experiment
    from edgekws.methods.alternatives.settings import DepthJob
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.users import left_out

    chosen = s.read(DepthJob, settings, set_ or ())
    corpus, facts = open_corpus(levels, index)
    plans = [plan, *([also] if also else [])]
    excluded = left_out(*(files.read_table(path) for path in plans))
    about = {**chosen.model_dump(mode="json"), "excluded": excluded}
    with Checkpoint(out, inputs=[levels, index, *plans], threads=threads, seed=seed, **about) as checkpoint:
        rows = experiment.run(corpus, chosen.depth, chosen.network, excluded=excluded, seed=seed, progress=progress,
                              checkpoint=checkpoint)
        metrics.write(out, {"schema": 1, "paper": "traces_propagation", "seed": seed, "settings": about,
                            "provenance": provenance(corpus=facts, threads=threads), "rows": rows}, kinds.DepthSeed)


@app.command("summarise-depth", epilog=example(
    "alternatives summarise-depth results/demo/metrics/traces_propagation/depth.json "
    "results/demo/metrics/alternatives/depth/seed0.json"))
def summarise_depth(
    out: Annotated[Path, typer.Argument(help="Summary to write, depth.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `depth`, of any seeds.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate the results of `depth`: means with intervals over seeds, and what they say of the paper's claim.

    Settings: statistics.
    """
    from edgekws.core import settings as s
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.depth import summary
    from edgekws.methods.traces_propagation.metrics import KINDS
    from edgekws.protocol import metrics
    from edgekws.protocol.settings import Statistics

    read = [metrics.read(part, kinds.DepthSeed).content for part in parts]
    metrics.write(out, summary.depth_file(read, s.read(Statistics, settings, set_ or ())), KINDS["depth"])
