"""Options that commands share, and what they do before the work: one spelling for all papers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edgekws.core.device import Name as DeviceName
from edgekws.core.threads import COUNTS

AlsoLeftOut = Annotated[Path | None, typer.Option(
    help="Plan of many users (.parquet): those of the training split are left out, too.")]
MoreBases = Annotated[list[Path] | None, typer.Option(
    "--base", help="Base model of another seed, over all of which is chosen; may be repeated.")]
SettingsText = Annotated[str | None, typer.Option(
    "--settings", metavar="YAML|JSON", help="Settings of this step: a YAML file, or JSON text. "
                                          "Default: as in config/default.yaml.")]
SetOption = Annotated[list[str] | None, typer.Option(
    "--set", metavar="NAME=VALUE", help="One setting, dots for depth; may be repeated.")]
IndexPath = Annotated[Path, typer.Argument(help="Index (.parquet).")]
MetricsPath = Annotated[Path, typer.Argument(help="Metrics to write (.json).")]
FeaturesPath = Annotated[Path, typer.Argument(help="Features (.npy).")]
Seed = Annotated[int, typer.Option(help="Seed of everything random in this step.")]
Threads = Annotated[int, typer.Option(min=1, help="Compute threads. The bytes of a result may depend on it.")]
Device = Annotated[DeviceName, typer.Option(
    help="Where to train: the CPU, a GPU, or a GPU where there is one; a GPU's results agree within a tolerance only.")]
Progress = Annotated[bool, typer.Option(
    "--progress/--no-progress", help="Tell how far it is: a bar on a terminal, a line every half minute in a log.")]


def example(command: str) -> str:
    """The end of a command's help: one call that works, most often on the files that the demo makes.

    Args:
        command: What follows ``edgekws``.
    """
    return f"Example: edgekws {command}"


def pin_threads(threads: int) -> None:
    """Compute threads and determinism of everything that follows in this process."""
    os.environ.update(dict.fromkeys(COUNTS, str(threads)))  # for the processes that it starts
    import torch

    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports a compiler, for 4 s
    # Adam's second moments of silent synapses sink below 1e-38, where arithmetic is slow and means nothing.
    torch.set_flush_denormal(True)
