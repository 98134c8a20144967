"""The commands of Traces Propagation. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekws.core.options import (
    AlsoLeftOut,
    Device,
    IndexPath,
    MetricsPath,
    MoreBases,
    Progress,
    Seed,
    SetOption,
    SettingsText,
    Threads,
    example,
    pin_threads,
)
from edgekws.methods.traces_propagation.choices import MethodName
from edgekws.methods.traces_propagation.events import cli as events

app = typer.Typer(no_args_is_help=True, help="Traces Propagation: base models, adaptation to a user, controls.")
front = typer.Typer()

Method = Annotated[MethodName, typer.Option(
    help="What is done with the user's support clips.")]


@app.command("features", epilog=example(
    "traces-propagation features results/demo/corpus/synthetic.tar results/demo/corpus/index.parquet "
    "results/demo/features/traces_propagation.npy"))
def features(
    archive: Annotated[Path, typer.Argument(help="Archive the index was made from.")],
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Packed features to write (.npy).")],
    settings: SettingsText = None, set_: SetOption = None, threads: Threads = 1, progress: Progress = True,
) -> None:
    """Log-mel features with differences of every clip, packed into one memory-mapped array.

    Settings: traces_propagation.features.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.features import pack
    from edgekws.features.settings import Features

    pack.extract(archive, index, out, s.read(Features, settings, set_ or ()), progress=progress)


@app.command("base", epilog=example(
    "traces-propagation base results/demo/features/traces_propagation.npy results/demo/corpus/index.parquet "
    "results/demo/corpus/plan_one_user.parquet results/demo/models/traces_propagation/base_frozen_seed0.safetensors"))
def base(
    features: Annotated[Path, typer.Argument(help="Packed features (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan of the one user to leave out (.parquet).")],
    out: Annotated[Path, typer.Argument(help="Base model to write (.safetensors).")],
    normalisation: Annotated[Literal["frozen", "per_set"], typer.Option(
        help="Scale of the features: frozen from the training clips, or each set's own (the authors').")] = "frozen",
    also: AlsoLeftOut = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    device: Device = "cpu", progress: Progress = True,
) -> None:
    """Train a base model by Traces Propagation on every training speaker but those left out.

    Settings: {"network": ..., "base": ..., "features": ...} of the section traces_propagation.
    """
    pin_threads(threads)
    from edgekws.core import device as devices
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.traces_propagation import experiments
    from edgekws.methods.traces_propagation.settings import TracesPropagation
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.users import left_out

    where = devices.choose(device)
    on = devices.describe(where)
    chosen = s.read(TracesPropagation, settings, set_ or ())
    # Mel bands and their first and second differences.
    corpus, facts = open_corpus(features, index, values=3 * chosen.features.mels)
    plans = [plan, *([also] if also else [])]
    excluded = left_out(*(files.read_table(path) for path in plans))
    about = {"network": chosen.network.model_dump(), "base": chosen.base.model_dump(),
             "features": chosen.features.model_dump(), "normalisation": normalisation, "seed": seed, "excluded": excluded}
    with Checkpoint(out, inputs=[features, index, *plans], threads=threads, device=on, **about) as checkpoint:
        base = experiments.train_base(corpus, chosen.network, chosen.base, per_set=normalisation == "per_set",
                                      excluded=excluded, seed=seed, device=where, progress=progress, checkpoint=checkpoint)
        measured = experiments.accuracy(base.net, experiments.split_clips(
            corpus, base, "test", excluded=excluded, set_size=chosen.base.set_size))
        experiments.write_base(out, base, about={**about, "test_accuracy": measured},
                               provenance=provenance(corpus=facts, threads=threads, device=on))
    typer.echo(f"accuracy on the test split: {measured:.2f} %")


@app.command("tune", epilog=example(
    "traces-propagation tune results/demo/features/traces_propagation.npy results/demo/corpus/index.parquet "
    "results/demo/corpus/plan_many_users.parquet results/demo/models/traces_propagation/base_frozen_seed0.safetensors "
    "results/demo/metrics/traces_propagation/tuning/traces_propagation.json"))
def tune(
    features: Annotated[Path, typer.Argument(help="Packed features (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan (.parquet).")],
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors).")],
    out: Annotated[Path, typer.Argument(help="Chosen budget and the whole grid to write (.json).")],
    method: Method = "traces_propagation",
    more: MoreBases = None,
    settings: SettingsText = None, set_: SetOption = None, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Choose a method's learning rate, epochs and batch size, or the recipe, on the validation split's users, over all seeds.

    Settings: {"tuning": ..., "recipe_search": ..., "methods": ...} of the section traces_propagation.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.traces_propagation import experiments
    from edgekws.methods.traces_propagation import metrics as kinds
    from edgekws.methods.traces_propagation.settings import TracesPropagation
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus

    chosen = s.read(TracesPropagation, settings, set_ or ())
    corpus, facts = open_corpus(features, index)
    start = getattr(chosen.methods, method)
    bases = [base, *(more or [])]
    loaded, about = experiments.read_bases(bases)
    table, plan_facts = files.read_table(plan)
    search = chosen.recipe_search if method == "recipe" else chosen.tuning
    made_with = {"tuning": search.model_dump(), "start": start.model_dump()}
    with Checkpoint(out, inputs=[features, index, plan, *bases], threads=threads, method=method, **made_with) as checkpoint:
        budget, grid, edges = experiments.tune(table, plan_facts, loaded, corpus, method, start, search,
                                               excluded=about["settings"]["excluded"], progress=progress,
                                               checkpoint=checkpoint)
        metrics.write(out, {"schema": 1, "paper": "traces_propagation", "method": method, "seeds": list(loaded),
                            "settings": {**made_with, "base": about["settings"]},
                            "provenance": provenance(corpus=facts, threads=threads),
                            "budget": budget.model_dump(), "grid": grid, "on_edge": edges}, kinds.Tuned)
    typer.echo(f"{method}: {budget}")


@app.command("adapt", epilog=example(
    "traces-propagation adapt results/demo/features/traces_propagation.npy results/demo/corpus/index.parquet "
    "results/demo/corpus/plan_one_user.parquet results/demo/models/traces_propagation/base_frozen_seed0.safetensors "
    "results/demo/metrics/traces_propagation/one_user/traces_propagation_seed0.json"))
def adapt(
    features: Annotated[Path, typer.Argument(help="Packed features (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan (.parquet).")],
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors).")],
    out: MetricsPath,
    method: Method = "traces_propagation",
    budget: Annotated[Path | None, typer.Option(help="Budget chosen by `tune`; only users who report are then measured.")] = None,
    shot: Annotated[list[str] | None, typer.Option(help="Some of the plan's shots only; may be repeated.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Users, at most.")] = None,
    folds: Annotated[int | None, typer.Option(min=1, help="Folds of each user, at most.")] = None,
    oracle: Annotated[bool, typer.Option("--oracle", help="Learn from the query, too: a bound, no result.")] = False,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Adapt a base model to every user, fold and shot of a plan by one method, and measure it.

    Settings: {"methods": ..., "others": ...} of the section traces_propagation.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.traces_propagation import experiments
    from edgekws.methods.traces_propagation import metrics as kinds
    from edgekws.methods.traces_propagation.settings import TracesPropagation
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.tasks import tasks
    from edgekws.protocol.users import REPORT

    chosen = s.read(TracesPropagation, settings, set_ or ())
    spent = getattr(chosen.methods, method)
    if budget is not None:
        spent = s.validate(type(spent), metrics.read(budget, kinds.Tuned).budget, where=str(budget))
    corpus, facts = open_corpus(features, index)
    loaded, about = experiments.read_base(base)
    table, plan_facts = files.read_table(plan)
    work = tasks(table, plan_facts, corpus.index.set_index("clip").word, shots=shot,
                 splits=REPORT if budget is not None else None, users=users, folds=folds, turn=seed)
    if oracle:
        work = [replace(task, support=[*task.support, *task.query]) for task in work]
    made_with = {"budget": spent.model_dump(), "tuned": budget is not None, "others": chosen.others}
    with Checkpoint(out, inputs=[features, index, plan, base], threads=threads, method=method, seed=seed, shot=shot,
                    users=users, folds=folds, oracle=oracle, **made_with) as checkpoint:
        rows = list(experiments.run_tasks(work, loaded, corpus, method, spent, seed=seed, others=chosen.others,
                                          excluded=about["settings"]["excluded"], progress=progress, checkpoint=checkpoint))
        metrics.write(out, {"schema": 1, "paper": "traces_propagation", "method": method, "seed": seed,
                            "settings": {**made_with, "oracle": oracle, "plan": plan_facts, "base": about["settings"]},
                            "provenance": provenance(corpus=facts, threads=threads), "rows": rows}, kinds.Adapted)


@app.command("summarise", epilog=example(
    "traces-propagation summarise results/demo/metrics/traces_propagation/one_user.json "
    "results/demo/metrics/traces_propagation/one_user/traces_propagation_seed0.json"))
def summarise(
    out: Annotated[Path, typer.Argument(help="Summary to write, <experiment>.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `adapt`, any methods and seeds of one experiment.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate an experiment's results: per user, and means with bootstrap intervals by method and shot.

    Settings: statistics.
    """
    from edgekws.core import settings as s
    from edgekws.methods.traces_propagation import metrics as kinds
    from edgekws.methods.traces_propagation import summary
    from edgekws.protocol import metrics
    from edgekws.protocol.settings import Statistics

    read = [metrics.read(part, kinds.Adapted).content for part in parts]
    metrics.write(out, summary.experiment_file(out.stem, read, s.read(Statistics, settings, set_ or ())), kinds.Experiment)


@app.command("stream", epilog=example(
    "traces-propagation stream results/demo/features/traces_propagation.npy results/demo/corpus/index.parquet "
    "results/demo/corpus/plan_many_users.parquet results/demo/models/traces_propagation/base_frozen_seed0.safetensors "
    "results/demo/metrics/traces_propagation/one_clip/seed0.json"))
def stream(
    features: Annotated[Path, typer.Argument(help="Packed features (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan of many users (.parquet).")],
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors).")],
    out: MetricsPath,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Learn from clips one by one, with the published contrast and with all classes as contrast, and measure the gain.

    Settings: {"stream": ...} of the section traces_propagation.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.traces_propagation import experiments
    from edgekws.methods.traces_propagation import metrics as kinds
    from edgekws.methods.traces_propagation import stream as streaming
    from edgekws.methods.traces_propagation.settings import TracesPropagation
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.tasks import tasks
    from edgekws.protocol.users import REPORT

    chosen = s.read(TracesPropagation, settings, set_ or ()).stream
    corpus, facts = open_corpus(features, index)
    loaded, about = experiments.read_base(base)
    table, plan_facts = files.read_table(plan)
    work = tasks(table, plan_facts, corpus.index.set_index("clip").word, shots=["all"], splits=REPORT, users=chosen.users,
                 folds=chosen.folds, turn=seed)
    made_with = {"stream": chosen.model_dump()}
    with Checkpoint(out, inputs=[features, index, plan, base], threads=threads, seed=seed, **made_with) as checkpoint:
        rows = streaming.run(work, loaded, corpus, chosen, seed=seed, progress=progress, checkpoint=checkpoint)
        metrics.write(out, {"schema": 1, "paper": "traces_propagation", "seed": seed,
                            "settings": {**made_with, "plan": plan_facts, "base": about["settings"]},
                            "provenance": provenance(corpus=facts, threads=threads), "rows": rows}, kinds.Heard)


@app.command("summarise-stream", epilog=example(
    "traces-propagation summarise-stream results/demo/metrics/traces_propagation/one_clip.json "
    "results/demo/metrics/traces_propagation/one_clip/seed0.json"))
def summarise_stream(
    out: Annotated[Path, typer.Argument(help="Summary to write, one_clip.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `stream`, one for each seed.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate the gain against clips heard so far.

    Settings: statistics.
    """
    from edgekws.core import settings as s
    from edgekws.methods.traces_propagation import metrics as kinds
    from edgekws.methods.traces_propagation import stream as streaming
    from edgekws.protocol import metrics
    from edgekws.protocol.settings import Statistics

    read = [metrics.read(part, kinds.Heard).content for part in parts]
    chosen = s.read(Statistics, settings, set_ or ())
    metrics.write(out, {"schema": 1, "paper": "traces_propagation", "experiment": "one_clip",
                        "seeds": sorted(part["seed"] for part in read), "users": len({row["user"] for row in read[0]["rows"]}),
                        "settings": {**read[0]["settings"], "statistics": chosen.model_dump()},
                        "provenance": read[0]["provenance"], **streaming.summarise(read, chosen)}, kinds.OneClip)


@app.command("findings", epilog=example(
    "traces-propagation findings results/wide/metrics/traces_propagation docs/people.md --readme README.md"))
def findings(
    metrics_: Annotated[Path, typer.Argument(metavar="METRICS", help="Folder of a run's metrics of Traces Propagation.")],
    out: Annotated[Path, typer.Argument(help="Page to write (.md).")],
    readme: Annotated[Path | None, typer.Option(help="A file to put the page's sentences into, between its marks.")] = None,
    expect: Annotated[Path | None, typer.Option(help="What `personalise` says beforehand, to write (.json).")] = None,
    figures: Annotated[str, typer.Option(help="Where the figures are, from the page.")] = "figures/people",
) -> None:
    """Write up what many people's adaptations tell, from the metrics alone."""
    from edgekws.core import files
    from edgekws.methods.traces_propagation import findings as written

    found = written.read(metrics_)
    with files.writing(out) as part:
        part.write_text(written.page(found, run=metrics_.resolve().parents[1].name, figures=figures))
    if readme is not None:
        files.write_between(readme, written.BEGIN, written.END, "\n".join(f"* {line}" for line in written.sentences(found)),
                            what="findings")
    if expect is not None and (known := written.expected(found)) is not None:
        files.write_json(expect, known)


@app.command("complexity", epilog=example(
    "traces-propagation complexity results/demo/models/traces_propagation/base_frozen_seed0.safetensors "
    "results/demo/metrics/traces_propagation/complexity.json"))
def complexity(
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors).")],
    out: MetricsPath,
) -> None:
    """Count the rule's traces, auxiliary weights and operations, by formula and from the running state."""
    from edgekws.methods.traces_propagation import experiments
    from edgekws.methods.traces_propagation import metrics as kinds
    from edgekws.protocol import metrics

    metrics.write(out, experiments.complexity_file(*experiments.read_base(base)), kinds.Complexity)


@front.command("personalise", epilog=example(
    "personalise results/demo/models/traces_propagation/base_frozen_seed0.safetensors my_recordings/ adapted.safetensors"))
def personalise(
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors), of frozen normalisation for use on a device.")],
    recordings: Annotated[Path, typer.Argument(
        help="A person's recordings, <word>/<name>, in a folder or an archive: WAV, FLAC, Ogg, MP3, AIFF ... of any rate.")],
    out: Annotated[Path, typer.Argument(help="Adapted model to write (.safetensors).")],
    hold_back: Annotated[float, typer.Option(min=0.05, max=0.9, help="Share of each word's takes kept for testing.")] = 0.2,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
) -> None:
    """Adapt a base model to your own recordings and tell its accuracy on held-back takes.

    Settings: traces_propagation.methods.recipe. What that gains on average is told beforehand, where it was measured.
    """
    pin_threads(threads)
    import json

    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.progress import tell
    from edgekws.core.provenance import provenance
    from edgekws.features.settings import Features
    from edgekws.methods.traces_propagation import experiments, personalise
    from edgekws.methods.traces_propagation.settings import Recipe

    budget = s.read(Recipe, settings, set_ or ())
    loaded, about = experiments.read_base(base)
    features = s.validate(Features, files.setting_of(about, "features", base), where=str(base))
    own = personalise.read_recordings(recordings, loaded.vocabulary, features)
    for file, what in [*((file, f"left out: {why}") for file, why in own.left_out.items()), *own.notes.items()]:
        tell(f"{file}: {what}")
    net, report = personalise.personalise(loaded, own, budget, share=hold_back, seed=seed)
    experiments.write_base(
        out, experiments.Base(net, loaded.vocabulary, loaded.scale),
        about={**about["settings"], "personalised": {"budget": budget.model_dump(), "seed": seed,
                                                        "hold_back": hold_back, "base_sha256": files.sha256_of(base)}},
        provenance=provenance(corpus=about["provenance"]["corpus"], threads=threads))
    typer.echo(json.dumps(report, indent=1, ensure_ascii=False))


app.registered_commands += events.app.registered_commands
