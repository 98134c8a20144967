"""Commands for devices. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekws.core.options import example

app = typer.Typer(no_args_is_help=True, help="Models on a device: the C library that listens and learns.")

Environment = Annotated[Path, typer.Option(help="Where `envs/tool embedded` put the compiler.")]
Precision = Annotated[Literal["fp32", "int8"], typer.Option(
    help="Of the weights: as they are, or a byte each with a scale for each neuron.")]


@app.command("export", epilog=example(
    "embedded export results/demo/models/traces_propagation/base_frozen_seed0.safetensors device --precision int8"))
def export(
    model: Annotated[Path, typer.Argument(help="Base model of Traces Propagation (.safetensors), of frozen normalisation.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: model.bin and model.c (the image), and the library's sources.")],
    precision: Precision = "fp32",
) -> None:
    """Write a model as an image for the C library, with all that a firmware is built from."""
    import shutil

    from edgekws.core import files
    from edgekws.embedded import compiler, image

    blob = image.of_model(model, precision)
    folder = compiler.sources()
    with files.writing(out / "model.bin") as part:
        part.write_bytes(blob)
    files.write_text(out / "model.c", image.as_c(blob))
    for name in ("edgekws.h", "internal.h", *compiler.SOURCES):
        shutil.copyfile(folder / name, out / name)
    typer.echo(f"{out}: an image of {len(blob):,} bytes, and the library")


@app.command("build", epilog=example("embedded build device/edgekws.wasm --target wasm"))
def build(
    out: Annotated[Path, typer.Argument(help="What to write: a shared library (host) or a module (wasm).")],
    target: Annotated[Literal["host", "wasm"], typer.Option(help="What for.")] = "host",
    environment: Environment = Path(".envs/embedded"),
) -> None:
    """Build the C library with its flat functions (embedded/README.md)."""
    from edgekws.core.environments import NotRun
    from edgekws.core.errors import UserError
    from edgekws.embedded import compiler

    try:
        compiler.build_library(target, out, environment=environment)
    except NotRun as reason:
        raise UserError(str(reason), where=environment, remedy="envs/tool embedded .envs/embedded") from None
    typer.echo(f"{out}: {out.stat().st_size:,} bytes")
