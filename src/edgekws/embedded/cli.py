"""Commands for devices. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekws.core.options import Seed, SetOption, SettingsText, example

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


@app.command("page", epilog=example(
    "embedded page results/demo/models/traces_propagation/base_frozen_seed0.safetensors voice.html"))
def page(
    model: Annotated[Path, typer.Argument(help="Base model of Traces Propagation (.safetensors), of frozen normalisation.")],
    out: Annotated[Path, typer.Argument(help="Page to write (.html): one file, opened from a disk or any web server.")],
    measured: Annotated[Path | None, typer.Option(help="Metrics of such users, many_users.json, to say what to expect.")] = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, environment: Environment = Path(".envs/embedded"),
) -> None:
    """Write the page that learns a person's voice in their browser and sends nothing anywhere.

    Settings: a training budget (learning_rate, epochs, batch_size); the default is the paper's.
    """
    from edgekws.core import settings as s
    from edgekws.core.environments import NotRun
    from edgekws.core.errors import UserError
    from edgekws.embedded import page
    from edgekws.protocol.settings import Training

    expected = page.expected_of(measured) if measured else None
    try:
        size = page.build(model, out, s.read(Training, settings, set_ or ()), expected=expected, seed=seed,
                          environment=environment)
    except NotRun as reason:
        raise UserError(str(reason), where=environment, remedy="envs/tool embedded .envs/embedded") from None
    typer.echo(f"{out}: {size:,} bytes; open it in a browser")
