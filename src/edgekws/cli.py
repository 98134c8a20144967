"""The command line: one verb per step of the workflow, each usable by hand.

Heavy libraries are imported inside the verbs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import edgekws
from edgekws.core.errors import UserError
from edgekws.core.options import (
    Device,
    FeaturesPath,
    IndexPath,
    MetricsPath,
    Progress,
    Seed,
    SetOption,
    SettingsText,
    Threads,
    pin_threads,
)
from edgekws.methods.neuedge.choices import NeuEdgeArm
from edgekws.methods.traces_propagation.choices import MethodName
from edgekws.run.release import app as release_app

if TYPE_CHECKING:
    from edgekws.methods.neuedge import experiments

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Keyword spotting that adapts on the device: replicate the papers, step by step.")
corpus_app = typer.Typer(no_args_is_help=True, help="Archives of speech: make, pin and index them.")
tp_app = typer.Typer(no_args_is_help=True, help="Traces Propagation: base models, adaptation to a user, controls.")
neuedge_app = typer.Typer(no_args_is_help=True, help="NeuEdge: encoder, training of the ablation's arms, chip models.")
loihi_app = typer.Typer(no_args_is_help=True, help="Loihi: integers, simulation, Lava's check, second opinions.")
claims_app = typer.Typer(no_args_is_help=True, help="The claims of the papers and their verdicts.")
report_app = typer.Typer(no_args_is_help=True, help="Notebooks, figures and the report.")
settings_app = typer.Typer(no_args_is_help=True, help="The settings: check them, write their defaults.")
# A package with a cli.py brings its verbs along, as `app`: so does every method.
_HERE = Path(__file__).parent
PACKAGES = {path.parent.name.replace("_", "-"): importlib.import_module(
                ".".join(("edgekws", *path.relative_to(_HERE).with_suffix("").parts))).app
            for path in sorted([*_HERE.glob("*/cli.py"), _HERE / "models/delta/cli.py", *_HERE.glob("methods/*/cli.py")])}
for name, group in {"corpus": corpus_app, "traces-propagation": tp_app, "neuedge": neuedge_app, "loihi": loihi_app,
                    **PACKAGES, "claims": claims_app, "report": report_app, "release": release_app,
                    "settings": settings_app}.items():
    app.add_typer(group, name=name)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"edgekws {edgekws.__version__}")
        raise typer.Exit


# ------------------------------------------------------------------------------------------------ corpus
@corpus_app.command("synthesise")
def corpus_synthesise(
    out: Annotated[Path, typer.Argument(help="Archive to write (.tar).")],
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; the bytes do not depend on it.")] = 1,
    progress: Progress = True,
) -> None:
    """Make the embedded corpus: synthetic speech in the layout of Google Speech Commands.

    Settings: corpus.synthetic.
    """
    from edgekws.core import settings as s
    from edgekws.corpus import synthetic
    from edgekws.corpus.settings import Synthetic

    synthetic.synthesise(s.read(Synthetic, settings, set_ or ()), seed, out, jobs=jobs, progress=progress)


@corpus_app.command("register")
def corpus_register(
    kind: Annotated[Literal["gsc", "heysnips"], typer.Argument(
        help="gsc: an archive in the layout of Google Speech Commands; heysnips: HeySnips v1 or v2.")],
    archive: Annotated[str, typer.Argument(help="The archive; for heysnips also the temporary URL that its owner sent.")],
    out: Annotated[Path | None, typer.Argument(
        help="Where the project keeps it; <out>.dvc pins its size and checksum. Default: data/<kind>/given/<name>.")] = None,
    progress: Progress = True,
) -> None:
    """Pin an archive with DVC: every later run then names exactly the file it used."""
    from edgekws.corpus import register

    if kind == "heysnips":
        typer.echo(register.register_heysnips(archive, out, progress=progress))
    else:
        register.register(Path(archive), out)


@corpus_app.command("synthesise-wake-words")
def corpus_synthesise_wake_words(
    out: Annotated[Path, typer.Argument(help="Archive to write (.tar).")],
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; the bytes do not depend on it.")] = 1,
    progress: Progress = True,
) -> None:
    """Make the embedded wake-word corpus: synthetic speech in the layout of HeySnips.

    Settings: onda.corpus.synthetic.
    """
    from edgekws.core import settings as s
    from edgekws.corpus import synthetic_wake_words
    from edgekws.corpus.settings import SyntheticWakeWords

    synthetic_wake_words.synthesise(s.read(SyntheticWakeWords, settings, set_ or ()), seed, out, jobs=jobs,
                                    progress=progress)


@corpus_app.command("index-wake-words")
def corpus_index_wake_words(
    archive: Annotated[Path, typer.Argument(help="Archive or folder in the layout of HeySnips (v1 or v2).")],
    out: Annotated[Path, typer.Argument(help="Index to write (.parquet).")],
    positives: Annotated[Path | None, typer.Option(help="HeySnapdragon: the Qualcomm Keyword Speech Dataset.")] = None,
    salt: Annotated[Path | None, typer.Option(
        help="File with the salt of the speakers' hashes, made if absent; default: beside the archive.")] = None,
    progress: Progress = True,
) -> None:
    """List every utterance of a wake-word corpus; of its speakers only salted hashes are kept."""
    from edgekws.corpus import index, wake_words

    table, facts = wake_words.build_index(archive, positives=positives, salt=salt, progress=progress)
    index.write_index(out, table, facts)
    typer.echo(f"{facts['clips']} utterances of {facts['speakers']} speakers, {facts['positives']} wake words; hours of other "
               "speech: " + ", ".join(f"{split} {hours:.2f}" for split, hours in facts["negative_hours"].items()))


@corpus_app.command("index")
def corpus_index(
    archive: Annotated[Path, typer.Argument(help="Archive (.tar, .tar.gz) or folder in the layout of GSC.")],
    out: Annotated[Path, typer.Argument(help="Index to write (.parquet).")],
    sha256: Annotated[str | None, typer.Option(help="Refuse the archive unless it has this SHA-256.")] = None,
    progress: Progress = True,
) -> None:
    """List every clip of an archive: word, speaker, take, split, repeats, flags."""
    from edgekws.corpus import index

    table, facts = index.build_index(archive, progress=progress)
    if sha256:
        index.verify_checksum(facts, sha256)
    index.write_index(out, table, facts)
    typer.echo(f"{facts['clips']} clips of {facts['speakers']} speakers, {len(facts['words'])} words: "
               + ", ".join(f"{count} {split}" for split, count in table.split.value_counts().items())
               + f"; {int((table.repeat_of != '').sum())} repeats, {int(table.silent.sum())} near-silent")


# ------------------------------------------------------------------------------------------------ Traces Propagation
@tp_app.command("features")
def tp_features(
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


@tp_app.command("plan")
def tp_plan(
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Plan to write (.parquet).")],
    protocol: Annotated[Literal["one_user", "many_users"], typer.Option(
        help="One left-out speaker (the paper's), or all users of the validation and test splits.")] = "many_users",
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Split the users' clips into support and query.

    Settings: traces_propagation.one_user or traces_propagation.many_users, as --protocol says.
    """
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.corpus import index as corpus_index_
    from edgekws.protocol import users as plan
    from edgekws.protocol.settings import ManyUsers, OneUser

    table, facts = corpus_index_.read_index(index)
    if protocol == "one_user":
        made, about = plan.one_user(table, s.read(OneUser, settings, set_ or ()))
        plan.check_full_gsc(about, facts)
    else:
        made, about = plan.many_users(table, s.read(ManyUsers, settings, set_ or ()))
    files.write_table(out, made, about)
    typer.echo(", ".join(f"{name}: {value}" for name, value in about.items()))


@tp_app.command("base")
def tp_base(
    features: Annotated[Path, typer.Argument(help="Packed features (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan of the one user to leave out (.parquet).")],
    out: Annotated[Path, typer.Argument(help="Base model to write (.safetensors).")],
    normalisation: Annotated[Literal["frozen", "per_set"], typer.Option(
        help="Scale of the features: frozen from the training clips, or each set's own (the authors').")] = "frozen",
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    device: Device = "cpu", progress: Progress = True,
) -> None:
    """Train a base model by Traces Propagation on every training speaker but the left-out user.

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

    where = devices.choose(device)
    on = devices.describe(where)
    chosen = s.read(TracesPropagation, settings, set_ or ())
    # Mel bands and their first and second differences.
    corpus, facts = open_corpus(features, index, values=3 * chosen.features.mels)
    user = files.read_table(plan)[1]["user"]
    about = {"network": chosen.network.model_dump(), "base": chosen.base.model_dump(),
             "features": chosen.features.model_dump(), "normalisation": normalisation, "seed": seed, "excluded": [user]}
    with Checkpoint(out, inputs=[features, index, plan], threads=threads, device=on, **about) as checkpoint:
        base = experiments.train_base(corpus, chosen.network, chosen.base, per_set=normalisation == "per_set",
                                      excluded=[user], seed=seed, device=where, progress=progress, checkpoint=checkpoint)
        measured = experiments.accuracy(base.net, experiments.split_clips(
            corpus, base, "test", excluded=[user], set_size=chosen.base.set_size))
        experiments.write_base(out, base, about={**about, "test_accuracy": measured},
                               provenance=provenance(corpus=facts, threads=threads, device=on))
    typer.echo(f"accuracy on the test split: {measured:.2f} %")


Method = Annotated[MethodName, typer.Option(
    help="What is done with the user's support clips.")]


@tp_app.command("tune")
def tp_tune(
    features: Annotated[Path, typer.Argument(help="Packed features (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan (.parquet).")],
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors).")],
    out: Annotated[Path, typer.Argument(help="Chosen budget and the whole grid to write (.json).")],
    method: Method = "traces_propagation",
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    progress: Progress = True,
) -> None:
    """Choose a method's learning rate, epochs and batch size on the validation split's users.

    Settings: {"tuning": ...} of the section traces_propagation.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.traces_propagation import experiments
    from edgekws.methods.traces_propagation.settings import TracesPropagation
    from edgekws.protocol.clips import open_corpus

    chosen = s.read(TracesPropagation, settings, set_ or ())
    corpus, facts = open_corpus(features, index)
    loaded, about = experiments.read_base(base)
    table, plan_facts = files.read_table(plan)
    with Checkpoint(out, inputs=[features, index, plan, base], threads=threads, method=method, seed=seed,
                    tuning=chosen.tuning.model_dump()) as checkpoint:
        budget, grid = experiments.tune(table, plan_facts, loaded, corpus, method, chosen.tuning, seed=seed,
                                        progress=progress, checkpoint=checkpoint)
        files.write_json(out, {"schema": 1, "paper": "traces_propagation", "method": method, "seed": seed,
                               "settings": {"tuning": chosen.tuning.model_dump(), "base": about["settings"]},
                               "provenance": provenance(corpus=facts, threads=threads),
                               "budget": budget.model_dump(), "grid": grid})
    typer.echo(f"{method}: {budget}")


@tp_app.command("adapt")
def tp_adapt(
    features: Annotated[Path, typer.Argument(help="Packed features (.npy).")],
    index: IndexPath,
    plan: Annotated[Path, typer.Argument(help="Plan (.parquet).")],
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors).")],
    out: MetricsPath,
    method: Method = "traces_propagation",
    budget: Annotated[Path | None, typer.Option(help="Budget chosen by `tune`; only test users are then measured.")] = None,
    shot: Annotated[list[str] | None, typer.Option(help="Some of the plan's shots only; may be repeated.")] = None,
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
    from edgekws.methods.traces_propagation.settings import TracesPropagation
    from edgekws.protocol.clips import open_corpus
    from edgekws.protocol.settings import Training
    from edgekws.protocol.tasks import tasks

    chosen = s.read(TracesPropagation, settings, set_ or ())
    spent = getattr(chosen.methods, method)
    if budget is not None:
        spent = s.validate(Training, files.read_json(budget).get("budget"), where=str(budget))
    corpus, facts = open_corpus(features, index)
    loaded, about = experiments.read_base(base)
    table, plan_facts = files.read_table(plan)
    work = tasks(table, plan_facts, corpus.index.set_index("clip").word, shots=shot,
                             splits=["test"] if budget is not None else None)
    made_with = {"budget": spent.model_dump(), "tuned": budget is not None, "others": chosen.others}
    with Checkpoint(out, inputs=[features, index, plan, base], threads=threads, method=method, seed=seed, shot=shot,
                    **made_with) as checkpoint:
        rows = list(experiments.run_tasks(work, loaded, corpus, method, spent, seed=seed, others=chosen.others,
                                          progress=progress, checkpoint=checkpoint))
        files.write_json(out, {"schema": 1, "paper": "traces_propagation", "method": method, "seed": seed,
                               "settings": {**made_with, "plan": plan_facts, "base": about["settings"]},
                               "provenance": provenance(corpus=facts, threads=threads), "rows": rows})


@tp_app.command("summarise")
def tp_summarise(
    out: Annotated[Path, typer.Argument(help="Summary to write, <experiment>.json.")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `adapt`, any methods and seeds of one experiment.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Sum an experiment up: per user, and means with bootstrap intervals by method and shot.

    Settings: statistics.
    """
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.methods.traces_propagation import summary
    from edgekws.protocol.settings import Statistics

    files.write_json(out, summary.experiment_file(
        out.stem, [files.read_json(part) for part in parts], s.read(Statistics, settings, set_ or ())))


@tp_app.command("complexity")
def tp_complexity(
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors).")],
    out: MetricsPath,
) -> None:
    """Count the rule's traces, auxiliary weights and operations, by formula and from the running state."""
    from edgekws.core import files
    from edgekws.methods.traces_propagation import experiments

    files.write_json(out, experiments.complexity_file(*experiments.read_base(base)))


@tp_app.command("personalise")
def tp_personalise(
    base: Annotated[Path, typer.Argument(help="Base model (.safetensors), of frozen normalisation for use on a device.")],
    recordings: Annotated[Path, typer.Argument(help="A person's recordings: <word>/<name>.wav, 16 kHz mono PCM.")],
    out: Annotated[Path, typer.Argument(help="Adapted model to write (.safetensors).")],
    hold_back: Annotated[float, typer.Option(min=0.05, max=0.9, help="Share of each word's takes kept for testing.")] = 0.2,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
) -> None:
    """Adapt a base model to your own recordings and tell its accuracy on held-back takes.

    Settings: a training budget (learning_rate, epochs, batch_size); the default is the paper's.
    """
    pin_threads(threads)
    import json

    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.features.settings import Features
    from edgekws.methods.traces_propagation import experiments, personalise
    from edgekws.protocol.settings import Training

    budget = s.read(Training, settings, set_ or ())
    loaded, about = experiments.read_base(base)
    own = personalise.read_recordings(recordings, loaded.vocabulary, Features(**about["settings"]["features"]))
    net, report = personalise.personalise(loaded, own, budget, share=hold_back, seed=seed)
    experiments.write_base(
        out, experiments.Base(net, loaded.vocabulary, loaded.scale),
        about={**about["settings"], "personalised": {"budget": budget.model_dump(), "seed": seed,
                                                        "hold_back": hold_back, "base_sha256": files.sha256_of(base)}},
        provenance=provenance(corpus=about["provenance"]["corpus"], threads=threads))
    typer.echo(json.dumps(report, indent=1, ensure_ascii=False))


# ------------------------------------------------------------------------------------------------ NeuEdge
def _open_neuedge(features: Path, index_path: Path) -> tuple[experiments.Corpus, dict[str, Any]]:
    from edgekws.features import pack, unit_logmel
    from edgekws.methods.neuedge import experiments

    packed, table, facts = pack.open_indexed(features, index_path)
    unit_logmel.read_scale(features)  # features without one are not on a scale from 0 to 1
    return experiments.Corpus(packed, table, list(facts["words"])), facts


@neuedge_app.command("features")
def neuedge_features(
    archive: Annotated[Path, typer.Argument(help="Archive the index was made from.")],
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Features to write (.npy); their scale goes beside it (.json).")],
    settings: SettingsText = None, set_: SetOption = None, threads: Threads = 1, progress: Progress = True,
) -> None:
    """Log-mel features of every clip, each band from 0 to 1 by percentiles of the training clips.

    Settings: neuedge.features.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.features import unit_logmel
    from edgekws.features.settings import LogMel

    unit_logmel.extract(archive, index, out, s.read(LogMel, settings, set_ or ()), progress=progress)


@neuedge_app.command("noise")
def neuedge_noise(
    archive: Annotated[Path, typer.Argument(help="Archive the index was made from.")],
    index: IndexPath,
    scale: Annotated[Path, typer.Argument(help="Features whose scale is used (.npy or its .json).")],
    out: Annotated[Path, typer.Argument(help="Features to write (.npy); what each row is goes beside it (.parquet).")],
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1, progress: Progress = True,
) -> None:
    """Features of test clips with background noise at several ratios, and of noise alone.

    Settings: neuedge.noise.
    """
    pin_threads(threads)
    from edgekws.core import settings as s
    from edgekws.features import unit_logmel
    from edgekws.methods.neuedge import noise
    from edgekws.methods.neuedge.settings import NoiseTest

    fitted, front = unit_logmel.read_scale(scale)
    noise.noisy_features(archive, index, fitted, front, s.read(NoiseTest, settings, set_ or ()), out, seed=seed,
                         progress=progress)


@neuedge_app.command("encode")
def neuedge_encode(
    features: FeaturesPath,
    index: IndexPath,
    out: MetricsPath,
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    device: Device = "cpu", progress: Progress = True,
) -> None:
    """Sweep the encoder: spikes, bits per spike and accuracy over base thresholds and alphas (validation split).

    Settings: the section neuedge.
    """
    pin_threads(threads)
    from edgekws.core import device as devices
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge import experiments
    from edgekws.methods.neuedge.settings import NeuEdge

    where = devices.choose(device)
    on = devices.describe(where)
    chosen = s.read(NeuEdge, settings, set_ or ())
    corpus, facts = _open_neuedge(features, index)
    made_with = chosen.model_dump(mode="json", include={"encoder", "grid", "network", "training"})
    with Checkpoint(out, inputs=[features, index], threads=threads, device=on, seed=seed, **made_with) as checkpoint:
        rows = list(experiments.sweep_encoder(corpus, chosen, seed=seed, device=where, progress=progress,
                                              checkpoint=checkpoint))
        files.write_json(out, {"schema": 1, "paper": "neuedge", "experiment": "encoding", "seed": seed,
                               "settings": made_with, "provenance": provenance(corpus=facts, threads=threads, device=on),
                               **experiments.encoding_file(rows)})


@neuedge_app.command("train")
def neuedge_train(
    features: FeaturesPath,
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Model to write (.safetensors).")],
    arm: Annotated[NeuEdgeArm, typer.Option(
        help="Rate code; plain LIF code; hybrid code; with hardware-aware training; with adaptive thresholds in training "
             "too; the conventional net.")] = "hybrid",
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
    device: Device = "cpu", progress: Progress = True,
) -> None:
    """Train one arm of the ablation.

    Settings: the section neuedge.
    """
    pin_threads(threads)
    from edgekws.core import device as devices
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge import experiments
    from edgekws.methods.neuedge.settings import NeuEdge

    where = devices.choose(device)
    on = devices.describe(where)
    chosen = s.read(NeuEdge, settings, set_ or ())
    corpus, facts = _open_neuedge(features, index)
    made_with = chosen.of_arm(arm)
    with Checkpoint(out, inputs=[features, index], threads=threads, device=on, arm=arm, seed=seed, **made_with) as checkpoint:
        net, about = experiments.train_arm(corpus, arm, chosen, seed=seed, device=where, progress=progress,
                                           checkpoint=checkpoint)
        experiments.write_arm(out, net, words=corpus.words, about={"arm": arm, "seed": seed, **about, **made_with},
                              provenance=provenance(corpus=facts, threads=threads, device=on))
    typer.echo(f"accuracy on the validation split: {about['validation_accuracy']:.2f} %")


@neuedge_app.command("utilisation")
def neuedge_utilisation(
    out: MetricsPath,
    settings: SettingsText = None, set_: SetOption = None,
    inputs: Annotated[int, typer.Option(min=1, help="Units of the encoder.")] = 120,
    words: Annotated[int, typer.Option(min=1, help="Outputs.")] = 35,
) -> None:
    """Utilisation of every chip by networks of many sizes, mapped naively and optimised; nothing is trained.

    Settings: the section neuedge.hardware.
    """
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge import chip, mapping
    from edgekws.methods.neuedge.settings import Hardware

    hardware = s.read(Hardware, settings, set_ or ())
    files.write_json(out, {
        "schema": 1, "paper": "neuedge", "experiment": "utilisation", "provenance": provenance(),
        "settings": {"hardware": hardware.model_dump(), "inputs": inputs, "words": words},
        "chips": {name: mapping.sweep([[inputs, width, width, words] for width in hardware.widths], chip.chip(name),
                                      group=hardware.group) for name in hardware.sweep_chips}})


@neuedge_app.command("summarise")
def neuedge_summarise(
    out: Annotated[Path, typer.Argument(help="Summary to write (.json).")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `edgekws loihi measure`, one for each seed.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Sum the ablation up: means with intervals over seeds, and the effect of each step.

    Settings: statistics.
    """
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.methods.neuedge import summary
    from edgekws.protocol.settings import Statistics

    files.write_json(out, summary.ablation_file([files.read_json(part) for part in parts],
                                                s.read(Statistics, settings, set_ or ())))


# ------------------------------------------------------------------------------------------------ Loihi
@loihi_app.command("export")
def loihi_export(
    model: Annotated[Path, typer.Argument(help="A spiking arm (.safetensors).")],
    out: Annotated[Path, typer.Argument(help="The network in Loihi's integers to write (.safetensors).")],
    nir: Annotated[Path | None, typer.Option(help="Write the float network as NIR graph (.nir) too.")] = None,
) -> None:
    """Export a trained net: weights, exponents, decays and thresholds as Loihi's integers; and as NIR."""
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge.loihi import network, nir_export
    from edgekws.models import feedforward_lif

    net, metadata = feedforward_lif.load_network(model)
    about = metadata["settings"]
    corpus = metadata["provenance"].get("corpus")
    if nir is not None:
        nir_export.write(nir, nir_export.to_nir(net))
    network.save_network(out, network.quantise(net, about["vocabulary"]), provenance=provenance(corpus=corpus),
                         about={name: about[name] for name in ("arm", "seed", "encoder", "features")})


@loihi_app.command("measure")
def loihi_measure(
    features: FeaturesPath,
    index: IndexPath,
    noise: Annotated[Path, typer.Argument(help="Features with noise (.npy), of `edgekws neuedge noise`.")],
    out: MetricsPath,
    models: Annotated[list[Path], typer.Argument(help="Models of all arms, of one seed.")],
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
) -> None:
    """Measure all arms of one seed on the simulated chip: accuracy, spikes, energy, utilisation, noise.

    Settings: encoder, grid, hardware and adaptive of the section neuedge; how the models were trained, they know themselves.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge.loihi import experiments
    from edgekws.methods.neuedge.settings import NeuEdge

    chosen = s.read(NeuEdge, settings, set_ or ())
    corpus, facts = _open_neuedge(features, index)
    files.write_json(out, {"schema": 1, "paper": "neuedge", "seed": seed,
                           "provenance": provenance(corpus=facts, threads=threads),
                           **experiments.measure_seed(corpus, noise, models, chosen, seed=seed)})


@loihi_app.command("referee")
def loihi_referee(
    features: FeaturesPath,
    index: IndexPath,
    environment: Annotated[Path, typer.Argument(help="Environment with Lava, built by `envs/tool lava FOLDER`.")],
    out: MetricsPath,
    models: Annotated[list[Path], typer.Argument(help="Spiking arms (.safetensors).")],
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1, progress: Progress = True,
) -> None:
    """Run test clips through Lava and compare every spike and state of every layer with our simulator.

    The NIR export is checked in the same go. Settings: the section neuedge.referee.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge.loihi import experiments
    from edgekws.methods.neuedge.settings import Referee

    chosen = s.read(Referee, settings, set_ or ())
    corpus, facts = _open_neuedge(features, index)
    files.write_json(out, {"schema": 1, "paper": "neuedge", "experiment": "referee", "settings": chosen.model_dump(),
                           "provenance": provenance(corpus=facts, threads=threads),
                           **experiments.referee_file(corpus, environment, models, chosen, seed=seed,
                                                      progress=progress)})


@loihi_app.command("second-opinion")
def loihi_second_opinion(
    features: FeaturesPath,
    index: IndexPath,
    neurobench: Annotated[Path, typer.Argument(help="Environment with NeuroBench, of `envs/tool neurobench FOLDER`.")],
    sanafe: Annotated[Path, typer.Argument(help="Environment with SANA-FE, of `envs/tool sanafe FOLDER`.")],
    out: MetricsPath,
    model: Annotated[Path, typer.Argument(help="A spiking arm (.safetensors).")],
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0, threads: Threads = 1,
) -> None:
    """Ask NeuroBench for the net's complexity and SANA-FE for its energy on Loihi 1, and compare with our counts.

    Settings: encoder, hardware, adaptive and referee of the section neuedge.
    """
    pin_threads(threads)
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge.loihi import experiments
    from edgekws.methods.neuedge.settings import NeuEdge

    chosen = s.read(NeuEdge, settings, set_ or ())
    used = {"encoder", "hardware", "adaptive", "referee"}
    corpus, facts = _open_neuedge(features, index)
    files.write_json(out, {"schema": 1, "paper": "neuedge", "experiment": "second_opinion",
                           "settings": chosen.model_dump(mode="json", include=used),
                           "provenance": provenance(corpus=facts, threads=threads),
                           **experiments.second_opinion_file(corpus, neurobench, sanafe, model, chosen, seed=seed)})


# ------------------------------------------------------------------------------------------------ claims, report
@claims_app.command("ledger")
def claims_ledger(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    claims: Annotated[Path, typer.Argument(help="Folder of the papers' claims (*.yaml).")],
    results: Annotated[Path, typer.Argument(help="Folder of the run's results.")],
    index: Annotated[Path, typer.Argument(help="Index of the run's corpus (.parquet).")],
    out: Annotated[Path, typer.Argument(help="Ledger to write (.json; .csv and .html beside it).")],
    paper: Annotated[str | None, typer.Option(help="The claims of this paper alone.")] = None,
) -> None:
    """Hold every claim against what this run measured, and state the verdict and why."""
    from edgekws.core.provenance import provenance
    from edgekws.corpus import index as corpus_index_
    from edgekws.ledger import claims as ledger

    _, facts = corpus_index_.read_index(index)
    made = ledger.build_ledger(run, claims, results, provenance(corpus=facts), paper=paper)
    ledger.write_ledger(out, made)
    counts = ledger.verdict_counts(made)
    typer.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


@claims_app.command("explain")
def claims_explain(
    claim: Annotated[str, typer.Argument(help="Id of a claim, for example tp-02.")],
    run: Annotated[str, typer.Option(help="Name of the run: results/<run> is looked at.")] = "demo",
    claims: Annotated[Path | None, typer.Option(help="A ledger (claims.json) in place of the run's.")] = None,
    papers: Annotated[Path, typer.Option(help="Folder of the papers' claims (*.yaml).")] = Path("claims"),
) -> None:
    """Tell the way back from a claim: verdict, rule, number, file, how it is made, settings, seeds, corpus, code."""
    from edgekws.ledger import explain

    typer.echo(explain.explain(claim, papers, results=Path("results") / run, ledger=claims), nl=False)


@claims_app.command("readme")
def claims_readme(
    ledger: Annotated[Path, typer.Argument(help="Ledger of a run on real recordings (claims.json).")],
    readme: Annotated[Path, typer.Argument(help="Markdown file with the two markers to write between.")],
    claim: Annotated[list[str] | None, typer.Option(help="A claim to show; may be repeated. Default: the headlines.")] = None,
) -> None:
    """Write the table of headline claims into a README: paper's number, ours, verdict, target."""
    from edgekws.ledger import claims
    from edgekws.ledger import readme as page

    page.write(readme, claims.read_ledger(ledger), claim or page.HEADLINES)


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """``name=value`` of an option that may be repeated, by name."""
    for text in given or ():
        if not text.partition("=")[0] or "=" not in text:
            raise typer.BadParameter(f"'{text}' is not of the form name=value", param_hint=option)
    return dict(text.split("=", 1) for text in given or ())


@report_app.command("notebook")
def report_notebook(
    notebook: Annotated[Path, typer.Argument(help="Template (.ipynb) with a cell tagged `parameters`.")],
    out: Annotated[Path, typer.Argument(help="Executed copy to write (.ipynb).")],
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE",
                                                        help="A parameter of the notebook; may be repeated.")] = None,
) -> None:
    """Execute a notebook with papermill; an unknown parameter is refused, a failed run leaves nothing."""
    from edgekws.report import notebooks

    notebooks.execute(notebook, out, _pairs("--parameter", parameter))


@report_app.command("rulegraph")
def report_rulegraph(
    out: Annotated[Path, typer.Argument(help="Picture to write (.svg).")],
    dot: Annotated[Path | None, typer.Option(help="Rule graph in dot form; default: standard input.")] = None,
) -> None:
    """Draw Snakemake's rule graph without graphviz."""
    from edgekws.core import files
    from edgekws.report import rulegraph

    files.write_text(out, rulegraph.draw(dot.read_text(encoding="utf-8") if dot else sys.stdin.read()))


@report_app.command("build")
def report_build(
    results: Annotated[Path, typer.Argument(help="Folder of the run's results.")],
    out: Annotated[Path, typer.Argument(help="Report to write (.html).")],
    name: Annotated[list[str] | None, typer.Option("--name", metavar="PAPER=NAME", help="What a paper is called, in the order "
                                                   "to show them in; may be repeated.")] = None,
    deviations: Annotated[Path | None, typer.Option(help="Where the papers are silent, what was chosen (.md).")] = None,
    config: Annotated[Path | None, typer.Option(help="The run's whole configuration (.json).")] = None,
) -> None:
    """Write the report: one self-contained page, from the claims down to how it was made."""
    from edgekws import report

    report.build(results, out, names=_pairs("--name", name), deviations=deviations, config=config)


# ------------------------------------------------------------------------------------------------ settings
@settings_app.command("write")
def settings_write(
    default: Annotated[Path, typer.Argument(help="YAML of all defaults.")] = Path("config/default.yaml"),
    schema: Annotated[Path, typer.Argument(help="JSON schema.")] = Path("workflow/schemas/config.schema.json"),
) -> None:
    """Write config/default.yaml and the JSON schema from the library's settings."""
    from edgekws.config import default_yaml, json_schema
    from edgekws.core import files

    files.write_text(default, default_yaml())
    files.write_text(schema, json_schema())


@settings_app.command("check")
def settings_check(
    overlays: Annotated[list[Path], typer.Argument(help="YAML overlays, for example config/demo.yaml, as for --configfile.")],
) -> None:
    """Check overlays, laid over the defaults in turn as Snakemake does: names, types and ranges."""
    from edgekws.run import workflow

    workflow.read_config(overlays)
    typer.echo(f"{' '.join(map(str, overlays))}: good")


def main() -> None:
    """Entry point: a :class:`UserError` becomes one message and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
