"""The verbs of ``edgekws alternatives`` that are about strong bases."""

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
from edgekws.methods.alternatives.settings import StrongName

app = typer.Typer()

Levels = Annotated[Path, typer.Argument(help="Mel levels of `edgekws alternatives levels` (.npy).")]
_INDEX, _METRICS = "results/demo/corpus/index.parquet", "results/demo/metrics/alternatives/"
_BASE = "results/demo/models/alternatives/strong_spiking_seed0.safetensors"

Net = Annotated[StrongName, typer.Option(help="The spiking or the convolutional net.")]


@app.command("levels", epilog=example(
    "alternatives levels results/demo/corpus/synthetic.tar results/demo/corpus/index.parquet results/demo/features/levels.npy "
    "results/demo/features/levels_noise.npy"))
def levels(
    archive: Annotated[Path, typer.Argument(help="Archive or folder in GSC's layout.")],
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Packed mel levels to write (.npy).")],
    noise: Annotated[Path, typer.Argument(help="Mel levels of seconds of noise to write (.npy).")],
    seed: Seed = 0, threads: Threads = 1, progress: Progress = True,
) -> None:
    """Mel levels of every clip and of the archive's noise: what clips are augmented from."""
    pin_threads(threads)
    from edgekws.methods.alternatives.strong import levels as extraction

    extraction.extract(archive, index, out, progress=progress)
    extraction.extract_noise(archive, noise, seed=seed)


@app.command("strong-base", epilog=example(
    f"alternatives strong-base results/demo/features/levels.npy results/demo/features/levels_noise.npy {_INDEX} "
    f"results/demo/corpus/plan_one_user.parquet {_BASE} --net strong_spiking"))
def strong_base(
    levels: Levels,
    noise: Annotated[Path, typer.Argument(help="Mel levels of seconds of noise, of the same command (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan of the one user to leave out (.parquet).")],
    out: Annotated[Path, typer.Argument(help="Base model to write (.safetensors).")],
    net: Net = "strong_spiking",
    also: AlsoLeftOut = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Train a strong base, with augmentation and a schedule that converges, on every training speaker but those left out.

    Settings: alternatives.strong.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives.settings import Strong
    from edgekws.methods.alternatives.strong import experiment, training
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.users import left_out

    chosen = s.read(Strong, settings, set_ or ())
    corpus, facts = open_corpus(levels, index)
    plans = [plan, *([also] if also else [])]
    excluded = left_out(*(files.read_table(path) for path in plans))
    parts = {"augmentation", "ds_cnn"} if net == "strong_ds_cnn" else {"augmentation", "spiking", "network"}
    about = {"training": chosen.model_dump(mode="json", include=parts), "seed": seed, "excluded": excluded}
    with Checkpoint(out, inputs=[levels, noise, index, *plans], threads=threads, net=net, **about) as checkpoint:
        made = training.train_base(corpus, experiment.read_noise(noise), net, chosen, excluded=excluded, seed=seed,
                                   progress=progress, checkpoint=checkpoint)
        found = experiment.accuracies(made, corpus, excluded=excluded)
        experiment.write_base(out, made, vocabulary=corpus.vocabulary, about={**about, "accuracy": found},
                              provenance=provenance(corpus=facts, threads=threads))
    typer.echo(f"accuracy on the validation split: {found['validation']:.2f} %, on the test split: {found['test']:.2f} %")


@app.command("strong-adapt", epilog=example(
    f"alternatives strong-adapt results/demo/features/levels.npy {_INDEX} results/demo/corpus/plan_many_users.parquet {_BASE} "
    f"{_METRICS}strong/strong_spiking_seed0.json --net strong_spiking"))
def strong_adapt(
    features: Annotated[Path, typer.Argument(help="Mel levels for the spiking net, MFCC for the DS-CNN (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan of the users (.parquet).")],
    base: Annotated[Path, typer.Argument(help="Strong base of that net (.safetensors).")],
    out: MetricsPath,
    net: Net = "strong_spiking",
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Adapt a strong base to every test user by each method, at the learning rate that is best for the validation users.

    Settings: {"strong": ..., "others": ...} of the section alternatives.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives import experiments
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.settings import Alternatives
    from edgekws.methods.alternatives.strong import experiment
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus

    chosen = s.read(Alternatives, settings, set_ or ())
    corpus, facts = open_corpus(features, index)
    loaded, about = experiments.read_base(base, net)
    table, plan_facts = files.read_table(plan)
    parts = {"methods", "training", "tuning", "shots", "folds"}
    made_with = {"strong": chosen.strong.model_dump(mode="json", include=parts), "others": chosen.others}
    with Checkpoint(out, inputs=[features, index, plan, base], threads=threads, net=net, seed=seed, **made_with) as checkpoint:
        found = experiment.run(table, plan_facts, loaded, corpus, net, chosen.strong, seed=seed, others=chosen.others,
                               progress=progress, checkpoint=checkpoint)
        metrics.write(out, {"schema": 1, "paper": "alternatives", "net": net, "seed": seed,
                            "settings": {**made_with, "plan": plan_facts, "base": about["settings"]},
                            "provenance": provenance(corpus=facts, threads=threads), "methods": found}, kinds.StrongSeed)


@app.command("summarise-strong", epilog=example(
    f"alternatives summarise-strong {_METRICS}strong.json {_METRICS}strong/strong_spiking_seed0.json"))
def summarise_strong(
    out: Annotated[Path, typer.Argument(help="Summary to write, strong.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `strong-adapt`, of any nets and seeds.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate the results of `strong-adapt`: accuracy of the bases, gains with intervals over users.

    Settings: statistics.
    """
    from edgekws.core import settings as s
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.strong import experiment
    from edgekws.protocol import metrics
    from edgekws.protocol.settings import Statistics

    read = [metrics.read(part, kinds.StrongSeed).content for part in parts]
    metrics.write(out, experiment.strong_file(read, s.read(Statistics, settings, set_ or ())), kinds.StrongBases)


@app.command("findings", epilog=example(
    f"alternatives findings {_METRICS}strong.json results/demo/metrics/traces_propagation/depth.json "
    "docs/depth_and_strong_bases.md"))
def findings(
    strong: Annotated[Path, typer.Argument(help="Metrics of `summarise-strong`.")],
    depth: Annotated[Path, typer.Argument(help="Metrics of `summarise-depth`.")],
    out: Annotated[Path, typer.Argument(help="Page to write (.md).")],
    note: Annotated[str | None, typer.Option(help="What a reader must know of this run beside its settings.")] = None,
) -> None:
    """Write what a run found about depth and strong bases as a page."""
    from edgekws.core import files
    from edgekws.methods.alternatives import findings as pages
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.traces_propagation.metrics import KINDS
    from edgekws.protocol import metrics

    text = pages.page(metrics.read(strong, kinds.StrongBases).content, metrics.read(depth, KINDS["depth"]).content, note=note)
    with files.writing(out) as part:
        part.write_text(text, encoding="utf-8")
