"""OnDA's commands for one's own wake word, at the top of the command line: adapt, enrol, listen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekws.core.errors import UserError
from edgekws.core.options import Device, Progress, Seed, SetOption, SettingsText, Threads, example, pin_threads

front = typer.Typer()

EncoderPath = Annotated[Path, typer.Argument(help="Encoder (.safetensors).")]
WindowsPath = Annotated[Path, typer.Argument(help="Windows of `edgekws onda features` (.npy).")]


@front.command("adapt", epilog=example(
    "adapt results/demo/features/onda.npy results/demo/models/onda/ds_cnn_s.safetensors adapted.safetensors --schedule "
    "onda_1 --ratio 0.25"))
def adapt(
    features: WindowsPath,
    encoder: EncoderPath,
    out: Annotated[Path, typer.Argument(help="Adapted model to write (.safetensors), for `edgekws listen`.")],
    user: Annotated[str | None, typer.Option(help="A user of the corpus; the first one if not given.")] = None,
    schedule: Annotated[Literal["none", "onda_1", "onda_2", "robust", "robust_distilled"], typer.Option(
        help="Weights only; pruned before fine-tuning (HAP); pruned after it (L1); weights our way; distilled smaller before.",
    )] = "onda_1",
    ratio: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the channels to prune.")] = 0.5,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1, device: Device = "cpu",
) -> None:
    """Personalise an encoder for one user and write the model a device would run.

    Settings: {"calibration": ..., "finetuning": ..., "pruning": ...} of the section onda.
    """
    pin_threads(threads)
    from edgekws.core import device as devices
    from edgekws.core import settings as s
    from edgekws.methods.onda import experiments
    from edgekws.methods.onda.settings import Personalisation

    told = experiments.adapt_user(features, encoder, out, s.read(Personalisation, settings, set_ or ()), user=user,
                                  schedule=schedule, ratio=ratio, seed=seed, threads=threads, device=devices.choose(device))
    typer.echo(told)


@front.command("enrol", epilog=example(
    "enrol results/demo/models/onda/ds_cnn_s.safetensors mine.safetensors --positive take1.wav --positive take2.wav "
    "--negative talk.wav"))
def enrol(
    encoder: EncoderPath,
    out: Annotated[Path, typer.Argument(help="Model to write (.safetensors), for `edgekws listen`.")],
    positive: Annotated[list[Path] | None, typer.Option(
        help="A recording of the wake word, in any format and rate; repeat for each.")] = None,
    negative: Annotated[list[Path] | None, typer.Option(help="A recording of other speech; repeat for each.")] = None,
    settings: SettingsText = None, set_: SetOption = None, threads: Threads = 1,
) -> None:
    """Teach an encoder a wake word of your own from a few recordings, without training.

    Settings: onda.calibration.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.methods.onda import listening
    from edgekws.methods.onda.settings import Calibration

    if not positive or not negative:
        raise UserError("needs recordings of the wake word and of other speech", where="edgekws enrol",
                        remedy="give --positive and --negative, three of each for instance")
    typer.echo(listening.enrol(encoder, out, positive, negative, s.read(Calibration, settings, set_ or ())))


@front.command("listen", epilog=example("listen mine.safetensors recording.wav"))
def listen(
    model: Annotated[Path, typer.Argument(help="Model of `edgekws adapt` or `enrol` (.safetensors).")],
    recording: Annotated[Path, typer.Argument(
        help="A recording of any length (WAV, FLAC, Ogg, MP3 ...); - takes it from a pipe, as it is recorded.")],
    threshold: Annotated[float | None, typer.Option(help="Detect below this distance; default: the calibrated one.")] = None,
    threads: Threads = 1, progress: Progress = True,
) -> None:
    """Print every detection of the wake word in a long recording: its time and its distance."""
    pin_threads(threads)
    from edgekws.methods.onda import listening

    for found in listening.listen(model, recording, threshold=threshold, progress=progress):
        typer.echo(f"{found.time:.3f}\t{found.distance:.4f}")
