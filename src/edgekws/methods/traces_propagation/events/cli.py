"""The verb of ``edgekws traces-propagation`` that is about event data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekws.core.options import example
from edgekws.methods.traces_propagation.choices import EventData

app = typer.Typer()


@app.command("events", epilog=example(
    "traces-propagation events data/events/shd .envs/tonic results/paper/features/events/shd.npy --dataset shd"))
def events(
    source: Annotated[Path, typer.Argument(help="Folder of the data set, as docs/event_data.md says.")],
    environment: Annotated[Path, typer.Argument(help="What `envs/tool tonic FOLDER` built.")],
    out: Annotated[Path, typer.Argument(help="Events to write (.npy); a table of the clips goes beside it (.parquet).")],
    dataset: Annotated[EventData, typer.Option(help="Which data set it is.")] = "shd",
) -> None:
    """Read SHD, N-MNIST, DVS-Gesture or CIFAR10-DVS with Tonic, and pack it for the networks."""
    from edgekws.methods.traces_propagation.events.clips import convert

    table = convert(source, environment, out, dataset)
    counts = table.split.value_counts()
    typer.echo(f"{len(table)} clips of {table.label.nunique()} classes: {counts['train']} train, {counts['test']} test; "
               f"{table.events.sum():,} events")
