"""What the commands of the chip measure, put together from files: all arms of a seed, Lava's check, second opinions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekws.core import files, settings
from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.features import pack
from edgekws.methods.neuedge import chip as chips
from edgekws.methods.neuedge import experiments, mapping, measure
from edgekws.methods.neuedge.choices import NeuEdgeArm
from edgekws.methods.neuedge.experiments import Corpus
from edgekws.methods.neuedge.loihi import nir_export, referee
from edgekws.methods.neuedge.loihi.network import quantise
from edgekws.methods.neuedge.second_opinion import ask
from edgekws.methods.neuedge.settings import Encoder, NeuEdge, Referee
from edgekws.models import feedforward_lif, temporal_conv
from edgekws.models.feedforward_lif import FeedForwardLIF

_NIR_CLIPS = 20  # that the exported graph is run on


def open_arm(path: Path, words: Sequence[str]) -> tuple[FeedForwardLIF, dict[str, Any]]:
    """A spiking arm and what it was made with.

    Raises:
        UserError: The file is no spiking arm, or knows other words than the corpus.
    """
    net, metadata = feedforward_lif.load_network(path)
    return net, _about(path, metadata, words)


def _about(path: Path, metadata: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    about: dict[str, Any] = metadata["settings"]
    if about["vocabulary"] != list(words):
        raise UserError(f"knows the words {', '.join(about['vocabulary'])}, the corpus has {', '.join(words)}", where=path,
                        remedy="train it on this corpus")
    return about


def measure_seed(corpus: Corpus, noise: Path, models: Sequence[Path], chosen: NeuEdge, *, seed: int) -> dict[str, Any]:
    """Everything that is measured of the arms of one seed; ``models`` are all of them, in any order.

    Returns:
        ``settings`` (of the training, as the models know it, and of what was measured), ``rows`` (one for each variant,
        the conventional net last), ``gamma``, ``noise``, ``noise_source``,
        ``placements``, ``training`` (for each arm its validation accuracy and epochs).
    """
    kinds = {path: files.architecture_of(path) for path in models}
    rows = corpus.rows("test")
    features, labels = np.asarray(corpus.features[rows]), corpus.labels(rows)
    parts = measure.subsets(features)
    arms: dict[str, measure.Arm] = {}
    trained: dict[str, dict[str, Any]] = {}
    ann = None
    for path, architecture in kinds.items():
        if architecture == temporal_conv.ARCHITECTURE:
            net, metadata = temporal_conv.load_network(path)
            trained["ann"] = _about(path, metadata, corpus.words)
            ann = measure.conventional(net, features, labels, parts)
            continue
        spiking, about = open_arm(path, corpus.words)
        trained[about["arm"]] = about
        arms[about["arm"]] = measure.prepare(about["arm"], spiking, corpus, chosen, activity=about["activity"], seed=seed)
    if ann is None or arms.keys() != experiments.CODES.keys():
        raise UserError(f"are not one of each arm: {', '.join(sorted(trained))}", where="models",
                        remedy=f"give {', '.join(experiments.ARMS)} of one seed")
    spikes = {name: experiments.encode_rows(corpus.features, rows, experiments.CODES[arm.name], chosen.encoder, seed=seed)
              for name, arm in arms.items()}
    drawn: list[tuple[NeuEdgeArm, measure.Placement]] = [
        ("hybrid", "naive"), ("hybrid", "optimised"), ("mapped", "naive"), ("mapped", "optimised")]
    where = {(name, placement): measure.placed(arms[name], placement, chosen.hardware, seed=seed,
                                               start=trained[name]["mapping"])
             for name, placement in dict.fromkeys([*drawn, *((row.arm, row.placement) for row in measure.VARIANTS)])}
    measured = [measure.measure(variant, arms[variant.arm], where[variant.arm, variant.placement], spikes[variant.arm],
                                labels, parts, chosen) for variant in measure.VARIANTS]
    for row in measured:
        if row["variant"] in ("rate", "lif", "hybrid"):
            coded = experiments.coding(corpus, experiments.CODES[row["arm"]], chosen.encoder, bins=chosen.grid.bins, seed=seed)
            row["information"] = {"bits": coded.bits, "bits_control": coded.control,
                                  "bits_per_spike": coded.bits_per_spike}
    noisy, noisy_labels, source = _noisy(corpus, noise, chosen, seed=seed)
    mapped = arms["mapped"], where["mapped", "optimised"]
    return {
        "settings": {**{name: trained["mapped"][name] for name in ("features", "network", "training")},
                     "conventional": trained["ann"]["conventional"],
                     **chosen.model_dump(mode="json", include={"encoder", "grid", "hardware", "adaptive"})},
        "rows": [*measured, ann],
        "gamma": list(measure.sweep_gamma(*mapped, spikes["mapped"], labels, parts, chosen)),
        "noise": list(measure.noise_test(*mapped, noisy, noisy_labels, chosen)), "noise_source": source,
        "placements": [_placement(arms[name], placement, where[name, placement], chosen) for name, placement in drawn],
        "training": {name: {"validation_accuracy": about["validation_accuracy"], "epochs": about["epochs"]}
                     for name, about in trained.items()},
    }


def _placement(arm: measure.Arm, placement: str, where: mapping.Mapping, chosen: NeuEdge) -> dict[str, Any]:
    """A mapping to be drawn, with how full its cores are and the way of a mean clip's spikes."""
    chip = chips.chip(chosen.hardware.chip)
    moved = mapping.traffic(where, arm.masks, arm.rates, chip)
    return {"arm": arm.name, "placement": placement, "chip": chip.name, "sizes": where.sizes,
            "tiles": [chip.width.value, chip.height.value], "cores_per_tile": chip.cores_per_tile.value,
            "synapses": sum(int(mask.sum()) for mask in arm.masks), "messages": float(moved.messages),
            "hops": float(moved.hops), **mapping.utilisation(where, arm.masks, chip)}


def _noisy(corpus: Corpus, path: Path, chosen: NeuEdge, *, seed: int) -> tuple[
        dict[float | None, npt.NDArray[np.uint8]], dict[float | None, npt.NDArray[np.int64]], dict[str, Any]]:
    """Spikes and labels at every ratio (None: noise alone), and where the noise comes from."""
    table, facts = files.read_table(path.with_suffix(".parquet"))
    features = pack.open_features(path)
    spikes: dict[float | None, npt.NDArray[np.uint8]] = {}
    labels: dict[float | None, npt.NDArray[np.int64]] = {}
    ratios = [None if np.isnan(ratio) else float(ratio) for ratio in table["snr_db"].unique()]
    for ratio in ratios:
        some = table[table["snr_db"].isna() if ratio is None else table["snr_db"] == ratio]
        spikes[ratio] = experiments.encode_rows(features, some["row"].to_numpy(), "hybrid", chosen.encoder, seed=seed)
        labels[ratio] = np.zeros(0, np.int64) if ratio is None else corpus.labels(some["clip"].to_numpy())
    return spikes, labels, {"made": facts["made"], "sources": facts["sources"]}


# ------------------------------------------------------------------------------------------------ referees
def _sample(corpus: Corpus, clips: int, seed: int) -> npt.NDArray[np.int64]:
    """Some clips of the test split, drawn by the seed, in the order of the index."""
    rows = corpus.rows("test")
    return np.sort(np.random.default_rng(derive_seed(seed, "referee")).permutation(rows)[:clips])


def _spikes_of(corpus: Corpus, rows: npt.NDArray[np.int64], about: dict[str, Any], seed: int) -> npt.NDArray[np.uint8]:
    encoder = settings.validate(Encoder, about["encoder"], where="model")
    return experiments.encode_rows(corpus.features, rows, experiments.CODES[about["arm"]], encoder, seed=seed)


def referee_file(corpus: Corpus, environment: Path, models: Sequence[Path], chosen: Referee, *, seed: int,
                 progress: bool = False) -> dict[str, Any]:
    """Lava's check of every model on the same test clips, and the NIR graph's.

    Returns:
        ``status`` ("agrees", "differs", "not run"), ``why``, ``compared`` and ``equal`` over all models, layers and
        quantities, ``share`` (per cent equal; None where not run), ``models``: each with Lava's answer and that of the
        NIR graph.
    """
    rows = _sample(corpus, chosen.clips, seed)
    found = []
    for path in models:
        net, about = open_arm(path, corpus.words)
        spikes = _spikes_of(corpus, rows, about, seed)
        answer = referee.referee(quantise(net, corpus.words), spikes, environment, timeout=chosen.timeout, progress=progress)
        found.append({"arm": about["arm"], "seed": about["seed"], "lava": answer,
                      "nir": _nir(net, spikes[:_NIR_CLIPS])})
    counts = [layer[kind] for each in found for layer in each["lava"].get("layers", []) for kind in ("spikes", "u", "v")]
    compared, equal = sum(count["compared"] for count in counts), sum(count["equal"] for count in counts)
    worst = max((each["lava"] for each in found), key=lambda answer: ("agrees", "differs", "not run").index(answer["status"]))
    return {"status": worst["status"], "why": worst["why"], "clips": len(rows), "compared": compared, "equal": equal,
            "share": 100 * equal / compared if compared else None, "models": found}


def _nir(net: FeedForwardLIF, spikes: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """The NIR graph of a net, written, read back and run in Norse."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.nir"
        nir_export.write(path, nir_export.to_nir(net))
        return nir_export.check(path, net, spikes)


def second_opinion_file(corpus: Corpus, neurobench: Path, sanafe: Path, model: Path, chosen: NeuEdge, *,
                        seed: int) -> dict[str, Any]:
    """NeuroBench's and SANA-FE's figures of one net beside ours, on the clips that Lava sees."""
    rows = _sample(corpus, chosen.referee.clips, seed)
    net, about = open_arm(model, corpus.words)
    spikes = _spikes_of(corpus, rows, about, seed)
    arm = measure.prepare(about["arm"], net, corpus, chosen, activity=about["activity"], seed=seed)
    placement: measure.Placement = "optimised" if about["mapping"] else "naive"
    where = measure.placed(arm, placement, chosen.hardware, seed=seed, start=about["mapping"])
    parts = {"all": np.arange(len(rows))}
    ours = measure.measure(measure.Variant(arm.name, arm.name, placement), arm, where, spikes, corpus.labels(rows), parts,
                           chosen)
    return {"arm": about["arm"], "seed": about["seed"], "clips": len(rows),
            "neurobench": ask.neurobench(net, spikes, corpus.labels(rows), neurobench, timeout=chosen.referee.timeout),
            "sanafe": ask.sanafe(arm.integers, spikes, ask.places(where), sanafe, timeout=chosen.referee.timeout),
            "ours": ours["subsets"]["all"]}
