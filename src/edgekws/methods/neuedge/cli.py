"""The commands of NeuEdge. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    example,
    pin_threads,
)
from edgekws.methods.neuedge.choices import NeuEdgeArm

if TYPE_CHECKING:
    from edgekws.methods.neuedge import experiments

app = typer.Typer(no_args_is_help=True,
                  help="NeuEdge: encoder, training of the ablation's arms, Loihi's integers and simulation, Lava's check.")


def _open_neuedge(features: Path, index_path: Path) -> tuple[experiments.Corpus, dict[str, Any]]:
    from edgekws.features import pack, unit_logmel
    from edgekws.methods.neuedge import experiments

    packed, table, facts = pack.open_indexed(features, index_path)
    unit_logmel.read_scale(features)  # features without one are not on a scale from 0 to 1
    return experiments.Corpus(packed, table, list(facts["words"])), facts


@app.command("features", epilog=example(
    "neuedge features results/demo/corpus/synthetic.tar results/demo/corpus/index.parquet results/demo/features/neuedge.npy"))
def features(
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


@app.command("noise", epilog=example(
    "neuedge noise results/demo/corpus/synthetic.tar results/demo/corpus/index.parquet results/demo/features/neuedge.json "
    "results/demo/features/neuedge_noise.npy"))
def noise(
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


@app.command("encode", epilog=example(
    "neuedge encode results/demo/features/neuedge.npy results/demo/corpus/index.parquet "
    "results/demo/metrics/neuedge/encoding.json"))
def encode(
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
    from edgekws.core import settings as s
    from edgekws.core.checkpoint import Checkpoint
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge import experiments
    from edgekws.methods.neuedge import metrics as kinds
    from edgekws.methods.neuedge.settings import NeuEdge
    from edgekws.protocol import metrics

    where = devices.choose(device)
    on = devices.describe(where)
    chosen = s.read(NeuEdge, settings, set_ or ())
    corpus, facts = _open_neuedge(features, index)
    made_with = chosen.model_dump(mode="json", include={"encoder", "grid", "network", "training"})
    with Checkpoint(out, inputs=[features, index], threads=threads, device=on, seed=seed, **made_with) as checkpoint:
        rows = list(experiments.sweep_encoder(corpus, chosen, seed=seed, device=where, progress=progress,
                                              checkpoint=checkpoint))
        metrics.write(out, {"schema": 1, "paper": "neuedge", "experiment": "encoding", "seed": seed,
                            "settings": made_with, "provenance": provenance(corpus=facts, threads=threads, device=on),
                            **experiments.encoding_file(rows)}, kinds.Encoding)


@app.command("train", epilog=example(
    "neuedge train results/demo/features/neuedge.npy results/demo/corpus/index.parquet "
    "results/demo/models/neuedge/hybrid_seed0.safetensors --arm hybrid"))
def train(
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


@app.command("utilisation", epilog=example("neuedge utilisation results/demo/metrics/neuedge/utilisation.json"))
def utilisation(
    out: MetricsPath,
    settings: SettingsText = None, set_: SetOption = None,
    inputs: Annotated[int, typer.Option(min=1, help="Units of the encoder.")] = 120,
    words: Annotated[int, typer.Option(min=1, help="Outputs.")] = 35,
) -> None:
    """Utilisation of every chip by networks of many sizes, mapped naively and optimised; nothing is trained.

    Settings: the section neuedge.hardware.
    """
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge import chip, placement
    from edgekws.methods.neuedge import metrics as kinds
    from edgekws.methods.neuedge.settings import Hardware
    from edgekws.protocol import metrics

    hardware = s.read(Hardware, settings, set_ or ())
    metrics.write(out, {
        "schema": 1, "paper": "neuedge", "experiment": "utilisation", "provenance": provenance(),
        "settings": {"hardware": hardware.model_dump(), "inputs": inputs, "words": words},
        "chips": {name: placement.sweep([[inputs, width, width, words] for width in hardware.widths], chip.chip(name),
                                   group=hardware.group) for name in hardware.sweep_chips}}, kinds.Utilisation)


@app.command("summarise", epilog=example(
    "neuedge summarise results/demo/metrics/neuedge/ablation.json results/demo/metrics/neuedge/ablation/seed0.json"))
def summarise(
    out: Annotated[Path, typer.Argument(help="Summary to write (.json).")],
    parts: Annotated[list[Path], typer.Argument(help="Metrics of `edgekws neuedge measure`, one for each seed.")],
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Aggregate the ablation: means with intervals over seeds, and the effect of each step.

    Settings: statistics.
    """
    from edgekws.core import settings as s
    from edgekws.methods.neuedge import metrics as kinds
    from edgekws.methods.neuedge import summary
    from edgekws.protocol import metrics
    from edgekws.protocol.settings import Statistics

    metrics.summarise(out, parts, kinds.Measured, kinds.Ablation, summary.ablation_file, s.read(Statistics, settings, set_ or ()))


@app.command("export", epilog=example(
    "neuedge export results/demo/models/neuedge/mapped_seed0.safetensors "
    "results/demo/models/neuedge/loihi/mapped_seed0.safetensors --nir results/demo/models/neuedge/loihi/mapped_seed0.nir"))
def export(
    model: Annotated[Path, typer.Argument(help="A spiking arm (.safetensors).")],
    out: Annotated[Path, typer.Argument(help="The network in Loihi's integers to write (.safetensors).")],
    nir: Annotated[Path | None, typer.Option(help="Write the float network as NIR graph (.nir) too.")] = None,
    portable_nir: Annotated[Path | None, typer.Option(
        help="The same for simulators that read no leaky integrator (Norse's importer, snnTorch): it gives the current into the "
        "readout.")] = None,
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
    if portable_nir is not None:
        nir_export.write(portable_nir, nir_export.to_nir(net, portable=True))
    network.save_network(out, network.quantise(net, about["vocabulary"]), provenance=provenance(corpus=corpus),
                         about={name: about[name] for name in ("arm", "seed", "encoder", "features")})


@app.command("measure", epilog=example(
    "neuedge measure results/demo/features/neuedge.npy results/demo/corpus/index.parquet "
    "results/demo/features/neuedge_noise.npy results/demo/metrics/neuedge/ablation/seed0.json "
    "results/demo/models/neuedge/rate_seed0.safetensors results/demo/models/neuedge/hybrid_seed0.safetensors"))
def measure(
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
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge import metrics as kinds
    from edgekws.methods.neuedge import on_chip
    from edgekws.methods.neuedge.settings import NeuEdge
    from edgekws.protocol import metrics

    chosen = s.read(NeuEdge, settings, set_ or ())
    corpus, facts = _open_neuedge(features, index)
    metrics.write(out, {"schema": 1, "paper": "neuedge", "seed": seed,
                        "provenance": provenance(corpus=facts, threads=threads),
                        **on_chip.measure_seed(corpus, noise, models, chosen, seed=seed)}, kinds.Measured)


@app.command("referee", epilog=example(
    "neuedge referee results/demo/features/neuedge.npy results/demo/corpus/index.parquet .envs/lava "
    "results/demo/metrics/neuedge/referee.json results/demo/models/neuedge/mapped_seed0.safetensors"))
def referee(
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
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge import metrics as kinds
    from edgekws.methods.neuedge import on_chip
    from edgekws.methods.neuedge.settings import Referee
    from edgekws.protocol import metrics

    chosen = s.read(Referee, settings, set_ or ())
    corpus, facts = _open_neuedge(features, index)
    metrics.write(out, {"schema": 1, "paper": "neuedge", "experiment": "referee", "settings": chosen.model_dump(),
                        "provenance": provenance(corpus=facts, threads=threads),
                        **on_chip.referee_file(corpus, environment, models, chosen, seed=seed,
                                                   progress=progress)}, kinds.Refereed)


@app.command("second-opinion", epilog=example(
    "neuedge second-opinion results/demo/features/neuedge.npy results/demo/corpus/index.parquet .envs/neurobench "
    ".envs/sanafe results/demo/metrics/neuedge/second_opinion.json results/demo/models/neuedge/mapped_seed0.safetensors"))
def second_opinion(
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
    from edgekws.core import settings as s
    from edgekws.core.provenance import provenance
    from edgekws.methods.neuedge import metrics as kinds
    from edgekws.methods.neuedge import on_chip
    from edgekws.methods.neuedge.settings import NeuEdge
    from edgekws.protocol import metrics

    chosen = s.read(NeuEdge, settings, set_ or ())
    used = {"encoder", "hardware", "adaptive", "referee"}
    corpus, facts = _open_neuedge(features, index)
    metrics.write(out, {"schema": 1, "paper": "neuedge", "experiment": "second_opinion",
                        "settings": chosen.model_dump(mode="json", include=used),
                        "provenance": provenance(corpus=facts, threads=threads),
                        **on_chip.second_opinion_file(corpus, neurobench, sanafe, model, chosen, seed=seed)},
                  kinds.SecondOpinion)
