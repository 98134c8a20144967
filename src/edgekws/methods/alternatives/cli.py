"""The verbs of ``edgekws alternatives``. Heavy libraries are imported inside them, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekws.core.errors import UserError, did_you_mean
from edgekws.core.options import (
    AlsoLeftOut,
    FeaturesPath,
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
from edgekws.methods.alternatives import further
from edgekws.methods.alternatives.settings import NetName

if TYPE_CHECKING:
    from edgekws.methods.alternatives.settings import AlternativeMethod, Alternatives, AlternativeTraining

app = typer.Typer(no_args_is_help=True, help="What else could adapt the models: local rules, parameter-efficient fine-tuning, "
                                             "memory, forgetting, federated learning.")

PlanPath = Annotated[Path, typer.Argument(help="Plan of the users (.parquet).")]
BasePath = Annotated[Path, typer.Argument(help="Base model of the method's kind of net (.safetensors).")]
MethodName = Annotated[str, typer.Option(help="A method of the settings, by name.")]

_BASE = "results/demo/models/traces_propagation/base_frozen_seed0.safetensors"
_METRICS = "results/demo/metrics/alternatives/"
_USERS = ("results/demo/features/traces_propagation.npy results/demo/corpus/index.parquet "
          f"results/demo/corpus/plan_many_users.parquet {_BASE}")


def _method(chosen: Alternatives, name: str) -> AlternativeMethod:
    if name not in chosen.methods:
        raise UserError(f"no such method: '{name}'", where="--method", remedy=did_you_mean(name, chosen.methods))
    return chosen.methods[name]


def _budget(path: Path) -> AlternativeTraining:
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.methods.alternatives.settings import AlternativeTraining

    found = files.read_json(path)
    if not isinstance(found, dict) or "budget" not in found:
        raise UserError("holds no budget", where=path, remedy="give what `edgekws alternatives tune` wrote")
    return s.validate(AlternativeTraining, found["budget"], where=str(path))


@app.command("features", epilog=example(
    "alternatives features results/demo/corpus/synthetic.tar results/demo/corpus/index.parquet "
    "results/demo/features/alternatives.npy"))
def features(
    archive: Annotated[Path, typer.Argument(help="Archive or folder in GSC's layout.")],
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Packed MFCC to write (.npy).")],
    threads: Threads = 1, progress: Progress = True,
) -> None:
    """MFCC of every clip, for the DS-CNN."""
    pin_threads(threads)
    from edgekws.methods.alternatives import ds_cnn

    ds_cnn.extract(archive, index, out, progress=progress)


@app.command("base", epilog=example(
    "alternatives base results/demo/features/alternatives.npy results/demo/corpus/index.parquet "
    "results/demo/corpus/plan_one_user.parquet results/demo/models/alternatives/base_ds_cnn_seed0.safetensors"))
def base(
    features: FeaturesPath,
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan of the one user to leave out (.parquet).")],
    out: Annotated[Path, typer.Argument(help="Base model to write (.safetensors).")],
    also: AlsoLeftOut = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Train the DS-CNN on every training speaker but those left out.

    Settings: alternatives.ds_cnn.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives import ds_cnn
    from edgekws.methods.alternatives.settings import DsCnnTraining
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.users import left_out

    chosen = s.read(DsCnnTraining, settings, set_ or ())
    corpus, facts = open_corpus(features, index)
    plans = [plan, *([also] if also else [])]
    excluded = left_out(*(files.read_table(path) for path in plans))
    about = {"training": chosen.model_dump(), "seed": seed, "excluded": excluded}
    with Checkpoint(out, inputs=[features, index, *plans], threads=threads, **about) as checkpoint:
        net = ds_cnn.train_base(corpus, chosen, excluded=excluded, seed=seed, progress=progress, checkpoint=checkpoint)
        measured = ds_cnn.test_accuracy(net, corpus, excluded=excluded)
        ds_cnn.save_classifier(out, net, vocabulary=corpus.vocabulary, about={**about, "test_accuracy": measured},
                               provenance=provenance(corpus=facts, threads=threads))
    typer.echo(f"accuracy on the test split: {measured:.2f} %")


@app.command("tune", epilog=example(f"alternatives tune {_USERS} {_METRICS}tuning/decolle.json --method decolle"))
def tune(
    features: FeaturesPath,
    index: IndexPath,
    plan: PlanPath,
    base: BasePath,
    out: Annotated[Path, typer.Argument(help="Chosen budget and all learning rates to write (.json).")],
    method: MethodName = "traces_propagation",
    more: MoreBases = None,
    settings: SettingsText = None, set_: SetOption = None, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Choose a method's learning rate on the validation split's users, over all seeds.

    Settings: {"methods": ..., "training": ..., "tuning": ...} of the section alternatives.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives import experiments
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.settings import Alternatives
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus

    chosen = s.read(Alternatives, settings, set_ or ())
    way = _method(chosen, method)
    corpus, facts = open_corpus(features, index)
    bases = [base, *(more or [])]
    loaded, about = experiments.read_bases(bases, way.net)
    table, plan_facts = files.read_table(plan)
    made_with = {"method": way.model_dump(), "training": chosen.training.model_dump(), "tuning": chosen.tuning.model_dump()}
    with Checkpoint(out, inputs=[features, index, plan, *bases], threads=threads, **made_with) as checkpoint:
        budget, points, edges = experiments.tune(table, plan_facts, loaded, corpus, way, chosen.training, chosen.tuning,
                                                 progress=progress, checkpoint=checkpoint)
        metrics.write(out, {"schema": 1, "paper": "alternatives", "method": method, "seeds": list(loaded),
                            "settings": {**made_with, "base": about["settings"]},
                            "provenance": provenance(corpus=facts, threads=threads),
                            "budget": budget.model_dump(), "grid": points, "on_edge": edges}, kinds.Tuned)
    typer.echo(f"{method}: learning rate {budget.learning_rate:g}")


@app.command("adapt", epilog=example(
    f"alternatives adapt {_USERS} {_METRICS}tuning/decolle.json {_METRICS}adaptation/decolle_seed0.json --method decolle"))
def adapt(
    features: FeaturesPath,
    index: IndexPath,
    plan: PlanPath,
    base: BasePath,
    budget: Annotated[Path, typer.Argument(help="Budget chosen by `tune` (.json).")],
    out: MetricsPath,
    method: MethodName = "traces_propagation",
    shot: Annotated[list[str] | None, typer.Option(help="Some of the plan's shots only; may be repeated.")] = None,
    folds: Annotated[int | None, typer.Option(min=1, help="Folds of each user, at most.")] = None,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Adapt a base net to every test user, fold and shot of a plan by one method, and measure it.

    Settings: {"methods": ..., "others": ...} of the section alternatives.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives import experiments
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.settings import Alternatives
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.tasks import tasks
    from edgekws.protocol.users import REPORT

    chosen = s.read(Alternatives, settings, set_ or ())
    way = _method(chosen, method)
    spent = _budget(budget)
    corpus, facts = open_corpus(features, index)
    loaded, about = experiments.read_base(base, way.net)
    table, plan_facts = files.read_table(plan)
    known = [str(each) for each in plan_facts["shots"]]
    for name in shot or ():
        if name not in known:
            raise UserError(f"no such shot: '{name}'", where="--shot", remedy=did_you_mean(name, known))
    work = tasks(table, plan_facts, corpus.index.set_index("clip").word, shots=shot, splits=REPORT,
                 users=way.users, folds=folds, turn=seed)
    made_with = {"method": way.model_dump(), "budget": spent.model_dump(), "others": chosen.others}
    with Checkpoint(out, inputs=[features, index, plan, base], threads=threads, seed=seed, shot=shot, folds=folds,
                    **made_with) as checkpoint:
        rows = experiments.run_tasks(work, loaded, corpus, way, spent, seed=seed, others=chosen.others,
                                     progress=f"{method}, seed {seed}" if progress else None, checkpoint=checkpoint)
        metrics.write(out, {"schema": 1, "paper": "alternatives", "method": method, "seed": seed,
                            "settings": {**made_with, "plan": plan_facts, "base": about["settings"]},
                            "provenance": provenance(corpus=facts, threads=threads),
                            "delta": experiments.delta_of(work[0], loaded, corpus, way, spent), "rows": rows}, kinds.Adapted)


@app.command("summarise", epilog=example(
    f"alternatives summarise {_METRICS}adaptation.json {_METRICS}adaptation/decolle_seed0.json"))
def summarise(
    out: Annotated[Path, typer.Argument(help="Summary to write, adaptation.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `adapt`, any methods and seeds.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate the methods' results: gains with intervals over users, what they change, what they keep of full fine-tuning.

    Settings: statistics.
    """
    from edgekws.core import settings as s
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives import summary
    from edgekws.protocol import metrics
    from edgekws.protocol.settings import Statistics

    metrics.summarise(out, parts, kinds.Adapted, kinds.Adaptation, summary.adaptation_file,
                      s.read(Statistics, settings, set_ or ()))


@app.command("complexity", epilog=example(f"alternatives complexity {_BASE} {_METRICS}complexity.json"))
def complexity(
    base: Annotated[Path, typer.Argument(help="Spiking base model (.safetensors); only its sizes are taken.")],
    out: MetricsPath,
) -> None:
    """Traces, auxiliary weights and operations of every local rule, by formula and counted on the running rule."""
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.local_rules import complexity as counting
    from edgekws.models.recurrent_lif import load_network
    from edgekws.protocol import metrics

    net, about = load_network(base)
    metrics.write(out, {"schema": 1, "paper": "alternatives", "experiment": "complexity",
                        "settings": {"network": about["settings"]["network"]}, "provenance": about["provenance"],
                        **counting.complexity(net.settings, inputs=net.inputs, outputs=net.outputs, batch=32)}, kinds.Complexity)


@app.command("cost", epilog=example(f"alternatives cost {_USERS} {_METRICS}cost_spiking.json --net spiking"))
def cost(
    features: FeaturesPath,
    index: IndexPath,
    plan: PlanPath,
    base: BasePath,
    out: MetricsPath,
    net: Annotated[NetName, typer.Option(help="Kind of the base; its methods of the settings are measured.")] = "spiking",
    settings: SettingsText = None, set_: SetOption = None, threads: Threads = 1, progress: Progress = True,
) -> None:
    """Peak memory and seconds of adapting to one user, by every method of a kind of net.

    Settings: {"methods": ..., "training": ..., "limits": ...} of the section alternatives.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives import cost as costing
    from edgekws.methods.alternatives import experiments
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.settings import Alternatives
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.tasks import tasks
    from edgekws.protocol.users import REPORT

    chosen = s.read(Alternatives, settings, set_ or ())
    methods = {name: method for name, method in chosen.methods.items() if method.net == net}
    if not methods:
        raise UserError(f"no method is for the net {net}", where="alternatives.methods",
                        remedy="add one, or choose another --net")
    corpus, facts = open_corpus(features, index)
    loaded, about = experiments.read_base(base, net)
    work = tasks(*files.read_table(plan), corpus.index.set_index("clip").word, splits=REPORT, users=1, folds=1)
    clips = corpus.clips(work[-1].support, frozen_scale=loaded.scale)
    measured = costing.costs(loaded, clips, methods, chosen.training, repetitions=chosen.limits.repetitions,
                             progress=progress)
    metrics.write(out, {"schema": 1, "paper": "alternatives", "experiment": f"cost_{net}",
                        "settings": {"training": chosen.training.model_dump(), "base": about["settings"]},
                        "provenance": provenance(corpus=facts, threads=threads), **measured}, kinds.Cost)


@app.command("limits", epilog=example(f"alternatives limits {_BASE} {_METRICS}limits.json"))
def limits(
    base: Annotated[Path, typer.Argument(help="Spiking base model (.safetensors); only its sizes are taken.")],
    out: MetricsPath,
    frames: Annotated[int | None, typer.Option(
        min=1, help="Frames of a clip; if not given as many as the base's front end makes of a second.")] = None,
    settings: SettingsText = None, set_: SetOption = None, threads: Threads = 1, progress: Progress = True,
) -> None:
    """Which methods fit which nets on a device: peak memory by formula, and measured where torch can.

    Settings: {"limits": ...} of the section alternatives.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.corpus.audio import CLIP_SAMPLES
    from edgekws.features.settings import Features
    from edgekws.methods.alternatives import limits as limiting
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.settings import Alternatives
    from edgekws.models.recurrent_lif import load_network
    from edgekws.protocol import metrics

    chosen = s.read(Alternatives, settings, set_ or ()).limits
    net, about = load_network(base)
    if frames is None:
        frames = CLIP_SAMPLES // s.validate(Features, about["settings"].get("features"), where=str(base)).hop + 1
    metrics.write(out, {"schema": 1, "paper": "alternatives", "experiment": "limits",
                        "settings": {"limits": chosen.model_dump()}, "provenance": about["provenance"],
                        **limiting.device_table(net, chosen, frames=frames, progress=progress)}, kinds.Limits)


@app.command("retain", epilog=example(
    f"alternatives retain {_USERS} {_METRICS}tuning/bptt_full.json {_METRICS}retention/bptt_full_seed0.json --method bptt_full"))
def retain(
    features: FeaturesPath,
    index: IndexPath,
    plan: PlanPath,
    base: BasePath,
    budget: Annotated[Path, typer.Argument(help="Budget chosen by `tune` (.json).")],
    out: MetricsPath,
    method: MethodName = "bptt_full",
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Remedies against forgetting, and users one after another on one device; all support clips of each user's first fold.

    Settings: {"methods": ..., "retention": ..., "others": ...} of the section alternatives.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.alternatives import experiments, retention
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives.settings import Alternatives
    from edgekws.protocol import metrics
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.tasks import tasks
    from edgekws.protocol.users import REPORT

    chosen = s.read(Alternatives, settings, set_ or ())
    way = _method(chosen, method)
    spent = _budget(budget)
    corpus, facts = open_corpus(features, index)
    loaded, about = experiments.read_base(base, way.net)
    table, plan_facts = files.read_table(plan)
    work = tasks(table, plan_facts, corpus.index.set_index("clip").word, shots=["all"], splits=REPORT, folds=1,
                 users=chosen.retention.users)
    groups = retention.deal(work, chosen.retention.sequence, seed=seed)
    made_with = {"method": way.model_dump(), "budget": spent.model_dump(), "retention": chosen.retention.model_dump(),
                 "others": chosen.others}
    with Checkpoint(out, inputs=[features, index, plan, base], threads=threads, seed=seed, **made_with) as checkpoint:
        remedies = retention.remedies(work, loaded, corpus, way, spent, chosen.retention,
                                      excluded=about["settings"]["excluded"], seed=seed, others=chosen.others,
                                      progress=progress, checkpoint=checkpoint)
        sequence = retention.one_after_another(groups, loaded, corpus, way, spent, seed=seed, progress=progress)
        metrics.write(out, {"schema": 1, "paper": "alternatives", "method": method, "seed": seed,
                            "settings": {**made_with, "plan": plan_facts, "base": about["settings"]},
                            "provenance": provenance(corpus=facts, threads=threads),
                            "remedies": remedies, "sequence": sequence}, kinds.Retained)


@app.command("summarise-retention", epilog=example(
    f"alternatives summarise-retention {_METRICS}retention.json {_METRICS}retention/bptt_full_seed0.json"))
def summarise_retention(
    out: Annotated[Path, typer.Argument(help="Summary to write, retention.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `retain`, any methods and seeds.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate the results of `retain`: means with intervals over users.

    Settings: statistics.
    """
    from edgekws.core import settings as s
    from edgekws.methods.alternatives import metrics as kinds
    from edgekws.methods.alternatives import retention
    from edgekws.protocol import metrics
    from edgekws.protocol.settings import Statistics

    metrics.summarise(out, parts, kinds.Retained, kinds.RetentionSummary, retention.retention_file,
                      s.read(Statistics, settings, set_ or ()))


app.registered_commands += further.COMMANDS
