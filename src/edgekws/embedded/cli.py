"""Commands for devices. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekws.core.options import IndexPath, MetricsPath, Progress, Seed, SetOption, SettingsText, example

app = typer.Typer(no_args_is_help=True, help="Models on a device: the C library that listens and learns.")

_BASE = "results/demo/models/traces_propagation/base_frozen_seed0.safetensors"
Environment = Annotated[Path, typer.Option(help="Where `envs/tool embedded` put the compiler.")]
_ENVIRONMENT = Path(".envs/embedded")
Precision = Annotated[Literal["fp32", "int8"], typer.Option(
    help="Of the weights: as they are, or a byte each with a scale for each neuron.")]
TargetName = Annotated[Literal["host", "wasm", "cortex-m4", "cortex-m7", "cortex-m33"], typer.Option(help="What for.")]
BaseModel = Annotated[Path, typer.Argument(help="Base model of Traces Propagation (.safetensors), of frozen normalisation.")]


@app.command("export", epilog=example(f"embedded export {_BASE} device --precision int8"))
def export(
    model: Annotated[Path, typer.Argument(
        help="Base model of Traces Propagation, of frozen normalisation, or a DS-CNN wake-word encoder (.safetensors).")],
    out: Annotated[Path, typer.Argument(help="Folder to write: model.bin and model.c (the image), and the library's sources.")],
    precision: Precision = "fp32",
) -> None:
    """Write a model as an image for the C library, with all that a firmware is built from."""
    import shutil

    from edgekws.core import files
    from edgekws.embedded import compiler, image, wake_word

    encoder = files.architecture_of(model) == "wake_word_encoder"
    blob = (wake_word if encoder else image).of_model(model, precision)
    folder = compiler.sources()
    with files.writing(out / "model.bin") as part:
        part.write_bytes(blob)
    files.write_text(out / "model.c", image.as_c(blob))
    for name in ("edgekws.h", "internal.h", *compiler.SOURCES):
        shutil.copyfile(folder / name, out / name)
    typer.echo(f"{out}: an image of {len(blob):,} bytes, and the library")


@app.command("build", epilog=example("embedded build device/edgekws.wasm --target wasm"))
def build(
    out: Annotated[Path, typer.Argument(help="What to write: a shared library, a WebAssembly module, or a firmware (.elf).")],
    target: TargetName = "host",
    image: Annotated[Path | None, typer.Option(help="Of a firmware: model.c of `export`.")] = None,
    arena: Annotated[int, typer.Option(help="Of a firmware: bytes of its arena.")] = 65536,
    ram: Annotated[int | None, typer.Option(
        help="Of a firmware: KiB of RAM that it may take; all of the board's if not given.")] = None,
    environment: Environment = _ENVIRONMENT,
) -> None:
    """Build the C library with its flat functions (embedded/README.md), or a firmware that runs jobs."""
    from edgekws.core.environments import NotRun
    from edgekws.core.errors import UserError
    from edgekws.core.files import existing
    from edgekws.embedded import compiler

    try:
        if target in ("host", "wasm"):
            compiler.build_library(target, out, environment=environment)
        elif image is None:
            raise UserError("needs a model to put into it", where="--image",
                            remedy="give model.c, which `edgekws embedded export` writes")
        else:
            compiler.build_runner(target, out, image_c=existing(image, "image"), arena_bytes=arena,
                                  ram_bytes=None if ram is None else 1024 * ram, environment=environment)
    except NotRun as reason:
        raise UserError(str(reason), where=environment, remedy="envs/tool embedded .envs/embedded") from None
    typer.echo(f"{out}: {out.stat().st_size:,} bytes")


@app.command("page", epilog=example(
    "embedded page results/demo/models/traces_propagation/base_frozen_seed0.safetensors voice.html"))
def page(
    model: Annotated[Path, typer.Argument(help="Base model of Traces Propagation (.safetensors), of frozen normalisation.")],
    out: Annotated[Path, typer.Argument(help="Page to write (.html): one file, opened from a disk or any web server.")],
    measured: Annotated[Path | None, typer.Option(help="Metrics of such users, many_users.json, to say what to expect.")] = None,
    or_say_why: Annotated[bool, typer.Option(
        "--or-say-why", help="Where there is no compiler write a page that says so, in place of an error.")] = False,
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
        if not or_say_why:
            raise UserError(str(reason), where=environment, remedy="envs/tool embedded .envs/embedded") from None
        size = page.say_why(str(reason), out)
    typer.echo(f"{out}: {size:,} bytes; open it in a browser")


@app.command("run", epilog=example(f"embedded run {_BASE} recordings --target cortex-m4"))
def run(
    model: BaseModel,
    recordings: Annotated[Path, typer.Argument(help="A person's recordings: <word>/<name>.wav, 16 kHz mono PCM.")],
    target: TargetName = "cortex-m4",
    precision: Precision = "fp32",
    hold_back: Annotated[float, typer.Option(min=0.05, max=0.9, help="Share of each word's takes kept for testing.")] = 0.2,
    megahertz: Annotated[float, typer.Option(min=1, help="Clock for which times are told, at an instruction a cycle.")] = 168,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, environment: Environment = _ENVIRONMENT,
) -> None:
    """Adapt to a person's recordings on a target, and tell what it took; a Cortex-M is emulated by QEMU.

    Settings: a training budget (learning_rate, epochs); the default is the paper's.
    """
    from edgekws.core import settings as s
    from edgekws.core.environments import NotRun
    from edgekws.embedded import measure
    from edgekws.protocol.settings import Training

    try:
        typer.echo(measure.on_recordings(
            model, recordings, target, precision=precision, hold_back=hold_back, budget=s.read(Training, settings, set_ or ()),
            seed=seed, megahertz=megahertz, environment=environment))
    except NotRun as reason:
        typer.echo(f"not run: {reason}")


@app.command("measure", epilog=example(
    "embedded measure results/demo/corpus/archive.tar.gz results/demo/corpus/index.parquet "
    f"results/demo/corpus/plan_many_users.parquet {_BASE} results/demo/metrics/alternatives/device.json"))
def measured(
    archive: Annotated[Path, typer.Argument(help="Archive the index was made from.")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan (.parquet).")],
    base: BaseModel,
    out: MetricsPath,
    settings: SettingsText = None, set_: SetOption = None, environment: Environment = _ENVIRONMENT,
    progress: Progress = True,
) -> None:
    """Build the library for every target and let users adapt there: same bits, memory, instructions, what fits a budget.

    Settings: {"device": ...} of the section alternatives. What cannot be run on this machine is marked, with the reason.
    """
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.environments import NotRun
    from edgekws.core.provenance import provenance
    from edgekws.corpus.index import read_index
    from edgekws.embedded import measure
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.settings import Alternatives
    from edgekws.methods.traces_propagation import experiments
    from edgekws.protocol import metrics

    chosen = s.read(Alternatives, settings, set_ or ()).device
    table, facts = read_index(index)
    loaded, about = experiments.read_base(base)
    users = measure.read_users(archive, table, *files.read_table(plan), loaded.vocabulary, chosen.users)
    try:
        found = measure.measure(loaded, about, users, chosen, environment=environment, progress=progress)
    except NotRun as reason:
        found = {"targets": {target: {"measured": False, "why": str(reason)} for target in chosen.targets},
                 "users": [], "widths": [], "budgets": [], "checks": {}}
    metrics.write(out, {"schema": 1, "paper": "alternatives", "experiment": "device",
                        "settings": {"device": chosen.model_dump()}, "provenance": provenance(corpus=facts), **found},
                  kinds.DeviceRun)
    for target, told in found["targets"].items():
        typer.echo(f"{target}: {'run' if told['measured'] else 'not run: ' + told['why']}")
