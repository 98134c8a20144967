"""OnDA's commands. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekws.core.errors import UserError
from edgekws.core.options import (
    Device,
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
from edgekws.methods.onda.front import EncoderPath, WindowsPath, front
from edgekws.models.choices import Backbone

__all__ = ["app", "front"]

app = typer.Typer(no_args_is_help=True,
                  help="OnDA: wake-word encoders, personalisation by pseudo-labels, pruning on the device.")

WordsPath = Annotated[Path, typer.Argument(help="Words packed by `edgekws onda words` (.npy).")]


@app.command("words", epilog=example(
    "onda words results/demo/features/onda_words.npy --archive results/demo/corpus/synthetic.tar "
    "--index results/demo/corpus/index.parquet"))
def words(
    out: Annotated[Path, typer.Argument(help="Words to write (.npy); their table goes beside it (.parquet).")],
    archive: Annotated[Path | None, typer.Option(help="Archive in the layout of GSC, where the settings name no MSWC.")] = None,
    index: Annotated[Path | None, typer.Option(help="Its index (.parquet).")] = None,
    settings: SettingsText = None, set_: SetOption = None, progress: Progress = True,
) -> None:
    """Pack the words that the encoder is pre-trained on: GSC's training clips, or MSWC English.

    Settings: onda.pretraining.
    """
    from edgekws.core import settings as s
    from edgekws.methods.onda import words as packing
    from edgekws.methods.onda.settings import Pretraining

    packing.pack_words(out, s.read(Pretraining, settings, set_ or ()), archive=archive, index=index, progress=progress)


@app.command("features", epilog=example(
    "onda features results/demo/corpus/wake_words.tar results/demo/corpus/wake_words.parquet results/demo/features/onda.npy"))
def features(
    archive: Annotated[Path, typer.Argument(help="Archive or folder of wake words: HeySnips' layout, or open ones.")],
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Windows to write (.npy); crops and table go beside it.")],
    positives: Annotated[Path | None, typer.Option(help="HeySnapdragon: the Qualcomm Keyword Speech Dataset.")] = None,
    speech: Annotated[list[Path] | None, typer.Option(
        help="Open wake words: other speech, as the index was given it; repeat for each.")] = None,
    condition: Annotated[str, typer.Option(help="How they sound: a name of onda.conditions, or clean.")] = "clean",
    noise: Annotated[Path | None, typer.Option(help="Archive in GSC's layout whose noise is added; none makes noise.")] = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1, progress: Progress = True,
) -> None:
    """MFCC of every one-second window of the stream and of the test utterances.

    Settings: {"windows": ..., "corpus": ..., "conditions": ...} of the section onda.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.methods.onda import conditions, windows
    from edgekws.methods.onda.settings import OnDA

    chosen = s.read(OnDA, settings, set_ or ())
    alter, noises = conditions.named(condition, chosen.conditions, noise, seed=seed)
    windows.extract(archive, index, out, chosen.windows, chosen.corpus, positives=positives, speech=speech or [], alter=alter,
                    noises=noises, seed=seed, progress=progress)


@app.command("pretrain", epilog=example(
    "onda pretrain results/demo/features/onda_words.npy results/demo/models/onda/ds_cnn_s.safetensors --backbone ds_cnn_s"))
def pretrain(
    words: WordsPath,
    out: Annotated[Path, typer.Argument(help="Encoder to write (.safetensors).")],
    backbone: Annotated[Backbone, typer.Option(
        help="Kind and size of the net.")] = "ds_cnn_l",
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    device: Device = "cpu", progress: Progress = True,
) -> None:
    """Train an encoder with triplets of words, as before deployment.

    Settings: onda.pretraining.
    """
    pin_threads(threads)
    from edgekws.core import device as devices
    from edgekws.core import settings as s
    from edgekws.methods.onda import experiments
    from edgekws.methods.onda.settings import Pretraining
    from edgekws.models import encoder as encoders

    chosen = s.read(Pretraining, settings, set_ or ())
    accuracy = experiments.pretrain_encoder(encoders.build(backbone, seed=seed), backbone, words, out, chosen, seed=seed,
                                            threads=threads, device=devices.choose(device),
                                            progress=progress)
    typer.echo(f"nearest prototype of a word is right for {accuracy:.1f} % of held-out clips")


@app.command("import", epilog=example(
    "onda import data/encoders/published/DSCNNS.pt results/demo/models/onda/ds_cnn_s.safetensors"))
def import_(
    published: Annotated[Path, typer.Argument(help="DSCNNS.pt, DSCNNM.pt, DSCNNL.pt or RESNET15.pt of the base pipeline.")],
    out: Annotated[Path, typer.Argument(help="Encoder to write (.safetensors).")],
) -> None:
    """Bring in an encoder that the base pipeline published; nothing in its pickle is run.

    data/encoders/README.md says how to get the four.
    """
    from edgekws.methods.onda.published import import_encoder
    from edgekws.models.encoder import parameters

    net, backbone = import_encoder(published, out)
    typer.echo(f"{backbone}, {parameters(net):,} parameters")


@app.command("prune-offline", epilog=example(
    "onda prune-offline results/demo/models/onda/ds_cnn_s.safetensors results/demo/features/onda_words.npy "
    "results/demo/models/onda/ds_cnn_s_offline25.safetensors --share 0.25"))
def prune_offline(
    encoder: EncoderPath,
    words: WordsPath,
    out: Annotated[Path, typer.Argument(help="Encoder to write (.safetensors).")],
    share: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share of the channels to prune.")] = 0.25,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    device: Device = "cpu", progress: Progress = True,
) -> None:
    """Prune an encoder before deployment (global L1) and train it on by the pre-training recipe.

    Settings: {"pretraining": ..., "pruning": ...} of the section onda.
    """
    pin_threads(threads)
    from edgekws.core import device as devices
    from edgekws.core import settings as s
    from edgekws.methods.onda import experiments, pruning
    from edgekws.methods.onda.settings import OnDA
    from edgekws.models import encoder as encoders

    where = devices.choose(device)
    chosen = s.read(OnDA, settings, set_ or ())
    net, backbone, _ = encoders.load_encoder(encoder)
    smaller = pruning.prune(net, pruning.l1_scores(net, chosen.pruning), share, chosen.pruning)
    accuracy = experiments.pretrain_encoder(smaller, backbone, words, out, chosen.pretraining, seed=seed, threads=threads,
                                            episodes=chosen.pruning.retrain_episodes, offline=share,
                                            device=where, progress=progress)
    typer.echo(f"{encoders.parameters(net):,} to {encoders.parameters(smaller):,} parameters; "
               f"nearest prototype right for {accuracy:.1f} % of held-out clips")


@app.command("personalise", epilog=example(
    "onda personalise results/demo/features/onda.npy results/demo/models/onda/ds_cnn_s.safetensors "
    "results/demo/features/onda_words.npy results/demo/metrics/onda/ds_cnn/offline0_seed0_part0.json"))
def personalise(
    features: WindowsPath,
    encoder: EncoderPath,
    words: WordsPath,
    out: MetricsPath,
    offline: Annotated[float, typer.Option(min=0, max=0.99, help="Share that was pruned before deployment.")] = 0.0,
    part: Annotated[int, typer.Option(min=0, help="Which of the experiment's parts of the users.")] = 0,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    device: Device = "cpu", progress: Progress = True,
) -> None:
    """Calibrate, pseudo-label, prune, fine-tune and measure for every user of a part, by every schedule and ratio.

    Settings: {"experiment": ..., "calibration": ..., "finetuning": ..., "pruning": ..., "evaluation": ...}.
    Under other conditions the windows are read from files beside FEATURES: onda_noise_10.npy beside onda.npy.
    """
    pin_threads(threads)
    from edgekws.core import device as devices
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.methods.onda import experiments, windows
    from edgekws.methods.onda import metrics as kinds
    from edgekws.methods.onda.settings import Personalisation
    from edgekws.protocol import metrics

    chosen = s.read(Personalisation, settings, set_ or ())
    where = devices.choose(device)
    heard = [features, *(windows.beside(features, name) for name in sorted(experiments.conditions_of(chosen.experiment)))]
    with Checkpoint(out, inputs=[*heard, features.with_suffix(".parquet"), encoder, words], threads=threads, seed=seed,
                    offline=offline, part=part, device=devices.describe(where),
                    settings=chosen.model_dump(mode="json")) as checkpoint:
        metrics.write(out, experiments.personalise_file(features, encoder, words, chosen, offline=offline, seed=seed,
                                                        part=part, threads=threads, device=where, progress=progress,
                                                        checkpoint=checkpoint), kinds.Personalised)


@app.command("summarise", epilog=example(
    "onda summarise results/demo/metrics/onda/ds_cnn.json results/demo/metrics/onda/ds_cnn/offline0_seed0_part0.json"))
def summarise(
    out: Annotated[Path, typer.Argument(help="Summary to write, <experiment>.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `edgekws onda personalise`, all of one experiment.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate an experiment's results: means over users with intervals, effects, the largest compression at equal accuracy.

    Settings: {"evaluation": ..., "statistics": ...}.
    """
    from edgekws.core import settings as s
    from edgekws.methods.onda import metrics as kinds
    from edgekws.methods.onda import summary
    from edgekws.methods.onda.settings import OndaSummary
    from edgekws.protocol import metrics

    chosen = s.read(OndaSummary, settings, set_ or ())
    read = [metrics.read(part, kinds.Personalised).content for part in parts]
    metrics.write(out, summary.experiment_file(out.stem, read, chosen.evaluation, chosen.statistics), kinds.Experiment)


@app.command("findings", epilog=example("onda findings results/open/metrics/onda docs/onda.md --readme README.md"))
def findings(
    metrics_: Annotated[Path, typer.Argument(metavar="METRICS", help="Folder of a run's metrics of OnDA.")],
    out: Annotated[Path, typer.Argument(help="Page to write (.md).")],
    readme: Annotated[Path | None, typer.Option(help="A file to put the page's first sentences into, between its marks.")] = None,
    figures: Annotated[str, typer.Option(help="Where the figure goes, from the page.")] = "figures/onda",
) -> None:
    """Write up what OnDA's experiments tell, clean and elsewhere, with a figure, from the metrics alone."""
    from edgekws.core import files
    from edgekws.methods.onda import aims
    from edgekws.methods.onda import findings as written

    found = written.read(metrics_)
    with files.writing(out) as part:
        part.write_text(written.page(found.experiments, run=metrics_.resolve().parents[1].name, figures=figures,
                                     cost=found.cost, rivals=found.rivals))
    if readme is not None:
        lines = aims.in_short(found.experiments, found.rivals)
        files.write_between(readme, written.BEGIN, written.END, "\n".join(f"* {line}" for line in lines), what="findings")
    written.draw(found.experiments, out.parent / figures)


@app.command("hessian", epilog=example(
    "onda hessian results/demo/models/onda/ds_cnn_s.safetensors results/demo/features/onda_words.npy "
    "results/demo/metrics/onda/hessian.json"))
def hessian(
    encoder: EncoderPath,
    words: WordsPath,
    out: MetricsPath,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    device: Device = "cpu", progress: Progress = True,
) -> None:
    """How good Hutchinson's estimate of the Hessian's trace is, and how stable the ranking of channels.

    Settings: {"hessian": ..., "finetuning": ..., "pruning": ...} of the section onda.
    """
    pin_threads(threads)
    from edgekws.core import device as devices
    from edgekws.core import settings as s
    from edgekws.methods.onda import experiments
    from edgekws.methods.onda import metrics as kinds
    from edgekws.methods.onda.settings import OnDA
    from edgekws.protocol import metrics

    metrics.write(out, experiments.hessian_file(encoder, words, s.read(OnDA, settings, set_ or ()), seed=seed,
                                                threads=threads, device=devices.choose(device), progress=progress),
                  kinds.Hessian)


@app.command("cost", epilog=example(
    "onda cost results/demo/models/onda/ds_cnn_s.safetensors results/demo/metrics/onda/cost.json"))
def cost(
    encoder: EncoderPath,
    out: MetricsPath,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 2, progress: Progress = True,
) -> None:
    """Time, memory and energy of adaptation and inference on this machine, pruned against unpruned.

    Settings: {"cost": ..., "calibration": ..., "finetuning": ..., "pruning": ...} of the section onda.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.methods.onda import cost as costs
    from edgekws.methods.onda import metrics as kinds
    from edgekws.methods.onda.settings import OnDA
    from edgekws.protocol import metrics

    metrics.write(out, costs.cost_file(encoder, s.read(OnDA, settings, set_ or ()), seed=seed, threads=threads,
                                       progress=progress), kinds.Cost)


@app.command("engine", epilog=example(
    "onda engine data/open_wake_words/recordings results/open/corpus/wake_words.parquet "
    "results/open/features/onda_engine.parquet --speech data/librispeech/test-clean.tar.gz"))
def engine(
    archive: Annotated[Path, typer.Argument(help="Recordings of open wake words.")],
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Table to write (.parquet), beside the windows: onda_noise_10_engine.parquet.")],
    speech: Annotated[list[Path] | None, typer.Option(
        help="Other speech, as the index was given it; repeat for each.")] = None,
    condition: Annotated[str, typer.Option(help="How they sound: a name of onda.conditions, or clean.")] = "clean",
    noise: Annotated[Path | None, typer.Option(help="Archive in GSC's layout whose noise is added; none makes noise.")] = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, progress: Progress = True,
) -> None:
    """What a keyword engine from pip hears of the utterances that detectors are tested with.

    Settings: {"windows": ..., "corpus": ..., "conditions": ..., "rivals": ...} of the section onda.
    """
    from edgekws.core import settings as s
    from edgekws.methods.onda import conditions
    from edgekws.methods.onda import engine as engines
    from edgekws.methods.onda.settings import OnDA

    chosen = s.read(OnDA, settings, set_ or ())
    alter, _ = conditions.named(condition, chosen.conditions, noise, seed=seed)
    engines.write(archive, index, out, chosen, speech=speech or [], alter=alter, seed=seed, progress=progress)


@app.command("rivals", epilog=example(
    "onda rivals results/open/features/onda.npy results/open/metrics/onda/rivals.json results/open/metrics/onda/person_s.json"))
def rivals(
    features: WindowsPath,
    out: MetricsPath,
    experiments: Annotated[list[Path], typer.Argument(help="Summaries of the experiments they are held against.")],
    settings: SettingsText = None, set_: SetOption = None, threads: Threads = 1, progress: Progress = True,
) -> None:
    """What a user could take instead: nearest template and a keyword engine, on an experiment's users, draws and conditions.

    Settings: onda.rivals. Conditions, and what the engine heard, are read from files beside FEATURES.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.methods.onda import metrics as kinds
    from edgekws.methods.onda import rivals as others
    from edgekws.methods.onda.settings import Rivals
    from edgekws.protocol import metrics

    chosen = s.read(Rivals, settings, set_ or ())
    read = [metrics.read(path, kinds.Experiment).content for path in experiments]
    with Checkpoint(out, inputs=[features.with_suffix(".parquet"), *experiments], threads=threads,
                    settings=chosen.model_dump(mode="json")) as checkpoint:
        metrics.write(out, others.rivals_file(features, read, chosen, threads=threads, progress=progress,
                                              checkpoint=checkpoint), kinds.RivalDetectors)


@app.command("onnx", epilog=example(
    "onda onnx results/demo/models/onda/adapted.safetensors encoder.onnx --int8 encoder_int8.onnx "
    "--windows results/demo/features/onda.npy"))
def onnx(
    encoder: EncoderPath,
    out: Annotated[Path, typer.Argument(help="File to write (.onnx).")],
    int8: Annotated[Path | None, typer.Option(help="The same with eight-bit weights and activations (.onnx).")] = None,
    windows: Annotated[Path | None, typer.Option(
        help="Windows of `edgekws onda features` (.npy): their stream tells the ranges, their users the accuracy.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Users that both are tested with, at most; default: all.")] = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
) -> None:
    """Export an encoder as ONNX, from MFCC to embedding, and check what was written with onnxruntime.

    Any encoder: as pre-trained, pruned, enrolled or adapted.
    Settings: {"experiment": ..., "calibration": ..., "evaluation": ...}.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.ledger.wording import told
    from edgekws.methods.onda import experiments, onnx_export
    from edgekws.methods.onda.settings import Personalisation
    from edgekws.methods.onda.windows import open_windows
    from edgekws.models.encoder import load_encoder
    from edgekws.protocol import statistics

    chosen = s.read(Personalisation, settings, set_ or ())
    if int8 is not None and windows is None:
        raise UserError("needs windows, which tell the ranges of activations", where="edgekws onda onnx",
                        remedy="give --windows beside --int8")
    net, _, _ = load_encoder(encoder)
    difference = onnx_export.export(net, out)
    typer.echo(f"{out}: {out.stat().st_size:,} bytes; embeddings within {difference:.0e} of the encoder's")
    if int8 is None or windows is None:
        return
    heard = open_windows(windows)
    onnx_export.quantise(out, int8, onnx_export.stream_windows(heard, 512, seed=seed))
    own = experiments.users_of(heard, users, 1, 0, chosen.experiment.who)
    full, small = onnx_export.accuracy(heard, net, onnx_export.OnnxEmbedder(int8), chosen, own, seed=seed)
    less = statistics.mean_interval([one - other for one, other in zip(small, full, strict=True)])
    typer.echo(f"{int8}: {int8.stat().st_size:,} bytes; {len(own)} users at {chosen.evaluation.false_alarms_per_hour:g} false "
               f"alarms an hour: {sum(full) / len(own):.1f} % in single precision, {sum(small) / len(own):.1f} % with eight "
               f"bits, {told(less.as_dict(), '+')} points")
