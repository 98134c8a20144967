"""A run made up for the tests: plausible numbers, drawn at random, of a corpus that does not exist."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from edgekws.ledger.build import build_ledger, write_ledger
from edgekws.methods.alternatives import cost, limits, retention
from edgekws.methods.alternatives import summary as alternatives_summary
from edgekws.methods.alternatives.memory import CATEGORIES, Sizes
from edgekws.methods.alternatives.settings import Alternatives, Federated, Retention
from edgekws.methods.neuedge import experiments, summary
from edgekws.methods.onda import summary as onda_summary
from edgekws.methods.onda.settings import OndaEvaluation
from edgekws.methods.traces_propagation import people
from edgekws.protocol import statistics
from edgekws.protocol.settings import Statistics

REPOSITORY = Path(__file__).parents[2]
NAMES = {"traces_propagation": "Traces Propagation", "neuedge": "NeuEdge", "onda": "OnDA", "alternatives": "Alternatives"}
METHODS = {"traces_propagation": 11.0, "bptt": 12.0, "readout_only": 4.0, "from_scratch": -55.0}
SHOTS = {"many_users": ("1", "3", "all"), "one_user": ("1", "5", "all")}


def made_up_metrics(experiment: str, *, users: int, synthetic: bool, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    methods = METHODS if experiment != "many_users_per_set" else {"traces_propagation": 11.0}
    rows, summary = [], {}
    for method, gain in methods.items():
        for size, shot in enumerate(SHOTS["one_user" if experiment == "one_user" else "many_users"]):
            own = []
            for user in range(users):
                for repeat in range(3):
                    before = float(np.clip(rng.normal(78, 6), 0, 100))
                    after = float(np.clip(before + gain * (0.6 + 0.3 * size) + rng.normal(0, 3), 0, 100))
                    lost = float(rng.normal(3 + 2 * size, 1))
                    own.append({"user": f"user{user}", "split": "test", "method": method, "shot": shot, "seed": repeat,
                                "query_clips": 40, "before": before, "after": after, "gain": after - before,
                                "others_before": 80.0, "others_after": 80.0 - lost, "forgetting": lost})
            cell = {"users": users, "seeds": 3}
            for name in ("before", "after", "gain", "forgetting"):
                values = [row[name] for row in own]
                by = [row["user" if users > 1 else "seed"] for row in own]
                cell[name] = statistics.clustered_mean_interval(values, by, resamples=200).as_dict()
            summary.setdefault(method, {})[shot] = cell
            rows += own
    corpus = {"name": "synthetic" if synthetic else "gsc", "archive": "made-up.tar", "archive_sha256": "0" * 64,
              "synthetic": synthetic, "words": ["yes", "no", "up", "down"], "clips": 1200, "speakers": 54}
    return {"schema": 1, "paper": "traces_propagation", "experiment": experiment, "settings": {}, "seeds": [0, 1, 2],
            "provenance": {"code": "0", "corpus": corpus},
            "base": {"test_accuracy": statistics.mean_interval([79, 81]).as_dict()}, "rows": rows,
            "summary": summary, "people": people.people(tasks_of(rows), Statistics(resamples=200))}


def tasks_of(rows: list[dict]) -> pd.DataFrame:
    """Rows of users as tasks of one fold, in 400 clips each."""
    return pd.DataFrame([{**{name: row[name] for name in ("method", "user", "split", "shot", "seed")}, "fold": 0,
                          "query_clips": 400, "correct_before": round(4 * row["before"]),
                          "correct_after": round(4 * row["after"]),
                          "others_clips": 400, "others_before": 320, "others_after": 320 - round(4 * row["forgetting"])}
                         for row in rows])


# ------------------------------------------------------------------------------------------------ NeuEdge
RESOURCES = ("neurons", "synapse_bits", "in_axons", "out_axons")
TERMS = {"davies2018": (23.6e-12, 81e-12, 52e-12, 0), "sanafe": (35.5e-12, 72.8e-12, 51.2e-12, 69.3e-12),
         "arithmetic45": (0.9e-12, 0, 0, 0)}
VARIANTS = {  # spikes of the encoder, synaptic operations, accuracy, sign of Eq. 11
    "rate": (6500, 2.4e6, 80, 0), "lif": (1500, 0.8e6, 79, 0), "hybrid": (2300, 1.1e6, 83, 0),
    "mapped": (2300, 0.6e6, 81, 0), "adaptive": (2300, 0.58e6, 80, 1), "homeostatic": (2300, 0.62e6, 81, -1),
    "full": (2300, 0.55e6, 81, 1)}


def made_up_placement(arm: str, placement: str, *, tiles: tuple[int, int] = (2, 2)) -> dict:
    """Two hidden layers of 256 on cores of 64 neurons: one layer a core, or three layers sharing each."""
    cores = []
    shares = ([[64, 0, 0, 0], [56, 0, 0, 0], *[[0, 64, 0, 0]] * 4, *[[0, 0, 64, 0]] * 4, [0, 0, 0, 35]]
              if placement == "naive" else [[12, 26, 26, 0]] * 9 + [[12, 22, 22, 35]])
    for core, populations in enumerate(shares):
        tile = core // 4
        cores.append({"core": core, "tile": [tile % tiles[0], tile // tiles[0]], "populations": populations,
                      "neurons": min(1.0, sum(populations) / 64), "synapse_bits": 0.25 + 0.05 * core,
                      "in_axons": 0.2, "out_axons": 0.1})
    used = {name: sum(core[name] for core in cores) / len(cores) for name in RESOURCES}
    return {"arm": arm, "placement": placement, "chip": "mini_chip", "sizes": [120, 256, 256, 35], "tiles": list(tiles),
            "cores_per_tile": 4, "synapses": 80000, "messages": 9000.0, "hops": 4200.0, **used,
            "utilisation": max(used.values()), "of_chip": 0.5, "cores_used": len(cores), "cores": cores}


def made_up_part(seed: int, corpus: dict, settings: dict) -> dict:
    """What ``edgekws loihi measure`` would write for a seed."""
    rng = np.random.default_rng(seed)
    rows = []
    for variant, (encoder, operations, accuracy, sign) in VARIANTS.items():
        parts = {}
        for subset, factor in (("all", 1.0), ("quiet", 0.5)):
            encoded, done = encoder * factor * rng.uniform(0.98, 1.02), operations * factor * rng.uniform(0.97, 1.03)
            hidden = encoded * 0.2
            updates, idle = 25_000 + encoded, 9_000 - encoded
            joules = {name: {"synapses": done * synapse, "active_updates": updates * active,
                             "inactive_updates": idle * inactive, "spikes": (encoded + hidden) * spike,
                             "messages": encoded * 5e-12, "hops": encoded * 2e-12,
                             "static": 0.0} for name, (synapse, active, inactive, spike) in TERMS.items()}
            for terms in joules.values():
                terms["total"] = sum(terms.values())
            right = int(10 * (accuracy + rng.normal(0, 0.5)))
            parts[subset] = {
                "clips": 1000, "correct": {"float": right + 4, "quantised": right + 3, "integer": right},
                "spikes": {"encoder": encoded, "hidden 1": hidden / 2, "hidden 2": hidden / 2},
                "spikes_total": encoded + hidden,
                "events": {"synaptic_operations": done, "active_updates": updates, "inactive_updates": idle,
                           "spikes": encoded + hidden, "messages": encoded * 3, "hops_east_west": encoded,
                           "hops_north_south": encoded / 2},
                "joules": joules, "static_joules": {"none": 0.0, "idle": 3e-6}, "steps": 50, "delay": 3,
                "seconds": {"step": 3e-6, "whole_clip": 1.6e-4, "after_last_frame": 1e-5},
                "efficiency": {"gsop_per_s_per_w": 30.0, "dense_equivalent_gop_per_s_per_w": 300.0}}
        used = made_up_placement("hybrid", "naive" if sign == 0 and variant != "mapped" else "optimised")
        row = {"variant": variant, "arm": variant, "placement": used["placement"], "sign": sign, "gamma": 0.5 * abs(sign),
               "targets": [0.03, 0.04], "chip": {"name": "mini_chip", "density": 0.8, "cores_used": used["cores_used"],
                                                 **{name: used[name] for name in ("utilisation", *RESOURCES)}},
               "subsets": parts}
        if variant in ("rate", "lif", "hybrid"):
            row["information"] = {"bits": 1.2, "bits_control": 0.3, "bits_per_spike": 1.2 / encoder * 100}
        rows.append(row)
    rows.append({"variant": "ann", "arm": "ann", "macs": 600_000, "joules": {"float32": 600_000 * 4.6e-12, "int8": 1.4e-7},
                 "subsets": {name: {"clips": 1000, "correct": {"float": 860 + seed}} for name in ("all", "quiet")}})

    def swept(sign: int, gamma: float, factor: float) -> dict:
        spikes = 2800 * factor * (1 - 0.08 * sign * gamma)
        return {"sign": sign, "clips": 500, "correct": int(405 - 30 * gamma + rng.integers(4)), "spikes_total": spikes,
                "joules": {name: 1e-6 + spikes * 2e-10 for name in TERMS}}

    gammas = settings["adaptive"]["gamma"]
    return {
        "seed": seed, "settings": settings, "provenance": {"code": "0", "corpus": corpus}, "rows": rows,
        "gamma": [{**swept(sign, gamma, factor), "gamma": gamma, "subset": subset} for sign in (1, -1) for gamma in gammas
                  for subset, factor in (("all", 1.0), ("quiet", 0.5))],
        "noise": [{**swept(sign, 0.5, 1.0 if snr is None else 1.3 - snr / 50), "snr_db": snr,
                   **({"correct": None} if snr is None else {})}
                  for snr in [*settings["noise"]["snr_db"], None] for sign in (0, 1, -1)],
        "noise_source": {"made": True, "sources": ["made pink noise"]},
        "placements": [made_up_placement(arm, placement) for arm in ("hybrid", "mapped")
                       for placement in ("naive", "optimised")],
        "training": {"mapped": {"validation_accuracy": 82.0, "epochs": []}}}


def made_up_encoding(corpus: dict) -> dict:
    """What ``edgekws neuedge encode`` would write, a point without a spike included."""
    def point(code: str, base: float | None, alpha: float | None, spikes: float) -> dict:
        return {"code": code, "base_threshold": base, "alpha": alpha, "clips": 900, "spikes_per_clip": spikes, "units": 120,
                "steps": 50, "bits": 1.5 * spikes / (spikes + 800), "plug_in": 1.0, "control": 0.1,
                "spikes_per_window": spikes / 240, "bits_per_spike": 200 / (spikes + 800) if spikes else None,
                "accuracy": 80 - 2e4 / (spikes + 500), "activity": [0.03, 0.04]}

    rows = [point("rate", None, None, 6500.0)]
    rows += [point("hybrid", base, alpha, 0.0 if base == 4 and alpha == 0 else 3000 * (1 + 1.2 * alpha) / base**1.3)
             for base in (1.0, 1.5, 2.0, 4.0) for alpha in (0.0, 0.25, 0.5, 0.75)]
    return {"schema": 1, "paper": "neuedge", "experiment": "encoding", "seed": 0, "settings": {},
            "provenance": {"code": "0", "corpus": corpus}, **experiments.encoding_file(rows)}


def made_up_utilisation() -> dict:
    """What ``edgekws neuedge utilisation`` would write; the widest network does not fit the small chip."""
    def used(width: int, cores: int, share: float) -> dict:
        return {"sizes": [120, width, width, 35], "utilisation": share, **dict.fromkeys(RESOURCES, share / 2),
                "of_chip": share * cores / 128, "cores_used": cores}

    def rows(size: int, most: int) -> list[dict]:
        return [{"sizes": [120, width, width, 35], "weights": 155 * width + width**2,
                 "naive": used(width, 4 + 2 * width // size, 0.3 + 0.4 * (width % size) / size) if width <= most else None,
                 "optimised": used(width, 1 + (120 + 2 * width) // size, 0.9) if width <= most else None}
                for width in (16, 64, 96, 256, 512)]

    return {"schema": 1, "paper": "neuedge", "experiment": "utilisation", "provenance": {"code": "0", "corpus": {}},
            "settings": {"hardware": {}, "inputs": 120, "words": 35},
            "chips": {"mini_chip": rows(64, 256), "loihi2": rows(4096, 512)}}


def made_up_opinions(corpus: dict, *, ran: bool) -> tuple[dict, dict]:
    """``referee.json`` and ``second_opinion.json``, of tools that ran or could not be installed."""
    head = {"schema": 1, "paper": "neuedge", "settings": {}, "provenance": {"code": "0", "corpus": corpus}}
    nir = {"clips": 20, "steps": 50, "spikes": {"compared": 512000, "fired": 9000, "equal": 512000},
           "predictions": {"compared": 20, "equal": 20}, "score_difference": 3e-16}
    why = "the packages of envs/lava.txt could not be installed here"
    missing = {"status": "not run", "why": why}
    counts = {"compared": 2500, "equal": 2500}
    lava = {"status": "agrees", "why": "", "clips": 50, "steps": 53, "lava_version": "0.10.0", "python": "3.10",
            "layers": [{"fired": 64, "spikes": counts, "u": counts, "v": counts}] * 3} if ran else missing
    referee = {**head, "experiment": "referee", "status": lava["status"], "why": lava["why"], "clips": 50,
               "compared": 45000 if ran else 0, "equal": 45000 if ran else 0, "share": 100.0 if ran else None,
               "models": [{"arm": arm, "seed": 0, "lava": lava, "nir": nir} for arm in ("hybrid", "mapped")]}
    agreed = {"status": "agrees", "why": "", "clips": 50, "steps": 53, "versions": {"tool": "1.0"}}
    numbers = {"footprint_bytes": 341000, "parameters": 85000, "connection_sparsity": 0.31, "effective_acs": 600123.5,
               "effective_macs": 0.0, "accuracy": 0.82}
    joules = {"synapse_energy": 2.1e-5, "soma_energy": 1.4e-6, "network_energy": 9e-7, "total_energy": 2.33e-5}
    spent = made_up_part(0, corpus, NEUEDGE)["rows"][3]["subsets"]["all"]
    return referee, {
        **head, "experiment": "second_opinion", "arm": "mapped", "seed": 0, "clips": 50, "ours": spent,
        "neurobench": {**agreed, "notes": {}, "figures": {
            name: {"theirs": value, "ours": value, "agree": True} for name, value in numbers.items()}} if ran else missing,
        "sanafe": {**agreed, "spikes": {"compared": 1960, "equal": 1960}, "chip_seconds": 3e-5, "energy": {}, "prices": {},
                   "figures": {name: {"theirs": value, "ours": value, "agree": True} for name, value in joules.items()}}
        if ran else missing}


NEUEDGE = {"adaptive": {"gamma": [0.0, 0.25, 0.5, 1.0], "chosen": 0.5, "decay": 0.9, "clamp": [0.5, 2.0]},
           "noise": {"snr_db": [20.0, 10.0, 5.0, 0.0], "clips": 500}, "hardware": {"chip": "mini_chip"},
           "encoder": {"base_threshold": 2.0, "alpha": 0.5}, "network": {"hidden": [256, 256]}}


def write_neuedge(folder: Path, *, seeds: int = 3, ran: bool = True, synthetic: bool = False) -> None:
    """Every file of ``metrics/neuedge``."""
    corpus = {"name": "made_up", "synthetic": synthetic, "words": ["yes", "no"], "clips": 1200, "speakers": 54}
    referee, opinion = made_up_opinions(corpus, ran=ran)
    parts = [made_up_part(seed, corpus, NEUEDGE) for seed in range(seeds)]
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"ablation": summary.ablation_file(parts, Statistics(resamples=200)), "encoding": made_up_encoding(corpus),
                "utilisation": made_up_utilisation(), "referee": referee, "second_opinion": opinion}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


# ------------------------------------------------------------------------------------------------ OnDA
PAPERS = ("none", "onda_1", "onda_2")
CONTROLS = ("none", "oracle", "onda_1", "l1_before", "random_before", "hap_wrong_domain", "oracle_onda_1", "onda_2", "hap_after",
            "random_after")
CURVE = [0.0, 0.25, 0.5, 1.0, 2.0, 8.0, 32.0]


def made_up_experiment(name: str, backbone: str, corpus: dict, *, users: int, seeds: int, schedules: tuple[str, ...] = PAPERS,
                       ratios: tuple[float, ...] = (0.25, 0.5, 0.75), offline: tuple[float, ...] = (0.0,),
                       whole: int = 400_000) -> dict:
    """What ``edgekws onda summarise`` would write; the first user keeps the encoder as deployed at the first seed."""
    rng = np.random.default_rng(len(name) + users)
    level = rng.normal(60, 12, users)
    rows = []

    def row(user: int, seed: int, share: float, schedule: str, ratio: float, accuracy: float) -> dict:
        kept = (1 - share) * (1 - ratio)
        accuracy = float(np.clip(accuracy, 0, 100))
        adapted = schedule != "pretrained" and (user, seed) != (0, 0)
        return {"user": f"user{user}", "seed": seed, "offline": share, "schedule": schedule, "ratio": ratio, "accuracy": accuracy,
                "curve": [float(np.clip(accuracy + 3 * (place - 2), 0, 100)) for place in range(len(CURVE))],
                "recall": float(np.clip(accuracy - 12, 0, 100)), "false_alarms_per_hour": float(rng.gamma(2, 1)),
                "parameters": int(whole * kept**1.9), "multiply_accumulates": int(60 * whole * kept**1.8),
                "adapted": adapted, "why": "" if adapted or schedule == "pretrained" else "labels",
                "training": {"steps": 40 * adapted}, "conditions": {"noise_10": {
                    "accuracy": accuracy / 2, "curve": [accuracy / 2] * len(CURVE), "recall": 20.0,
                    "false_alarms_per_hour": 2.0}}}

    parts = []
    for seed in range(seeds):
        for share in offline:
            for user in range(users):
                before = level[user] - 10 * share + rng.normal(0, 1)
                rows.append(row(user, seed, share, "pretrained", 0.0, before))
                for schedule in schedules:
                    for ratio in (0.0,) if schedule in ("none", "oracle") else ratios:
                        lost = 25 * ratio**3 + 12 * ratio * ("random" in schedule) + 2 * ratio * (schedule == "onda_2")
                        rows.append(row(user, seed, share, schedule, ratio, before + 16 - lost + rng.normal(0, 1.5)))
    parts.append({
        "rows": rows, "screening": {"accuracy": True, "curve": True, "false_alarms_per_hour": False},
        "settings": {"experiment": {"backbone": backbone}, "pruning": {"probes": 50}},
        "provenance": {"code": "0", "corpus": corpus},
        "operating_point": {"hours": 4.25, "false_alarms_per_hour": 0.5, "allowed": 2, "smallest_rate": 1 / 4.25, "told": True},
        "encoder": {"backbone": backbone, "pretraining": {}, "published": None, "trained_on": "gsc", "separation": 93.0,
                    "parameters": whole,
                    "multiply_accumulates": 60 * whole}})
    return onda_summary.experiment_file(name, parts, OndaEvaluation(curve=CURVE), Statistics(resamples=200))


def made_up_cost(*, gpu: bool, energy: bool) -> dict:
    """What ``edgekws onda cost`` would write."""
    def interval(value: float) -> dict:
        return {"value": value, "ci_low": 0.96 * value, "ci_high": 1.05 * value, "n": 10}

    def told(kinds: tuple[str, ...]) -> dict:
        gains = {"25": 1.2, "50": 1.6, "75": 2.6}
        parts = {name: {"pruning": 0.02, "recalibration": 0.5, "updates": 20 / gain} for name, gain in gains.items()}
        whole = {"onda_1": {"probes": 6.0}, "onda_2": {"first updates": 20.0}}
        adaptation = {schedule: {name: {"total": interval(sum((first | own).values())), "parts": first | own,
                                        "gain": interval(20 / sum((first | own).values())),
                                        "peak_bytes": {"tensors": 40e6, "resident": 60e6}} for name, own in parts.items()}
                      for schedule, first in whole.items()}
        largest = {f"{schedule}_{what}": {**interval(2.6 if what == "inference" else 1.4), "ratio": 0.75}
                   for schedule in whole for what in ("inference", "adaptation")}
        return {
            "unpruned": {kind: interval(2e-3) for kind in (*kinds, "probe")},
            "pruned": {name: {**{kind: interval(2e-3 / gain) for kind in kinds}, "gain": {kind: interval(gain) for kind in kinds}}
                       for name, gain in gains.items()},
            "adaptation": {"updates": 200, "none": {"total": interval(20.0), "peak_bytes": {"tensors": 30e6, "resident": None}},
                           **adaptation},
            "break_even": {"onda_1": dict.fromkeys(gains, interval(-3000)), "onda_2": dict.fromkeys(gains, interval(9000)),
                           "onda_1_updates": {"25": {"measured": False, "why": "an update is not cheaper"},
                                              "50": interval(90), "75": interval(60)},
                           "onda_2_after_onda_1": {**interval(12000), "ratio": 0.75}},
            "energy": {"measured": False, "why": "this machine shows no energy counter"}, "largest": largest,
            "checks": {"onda_1_pays_at_once": {"holds": True, "why": "seconds: 20 and 14"},
                       "onda_2_breaks_even_later": {"holds": True, "why": "9,000 inferences"}}}

    found = told(("inference", "embedder", "update"))
    if energy:
        found["energy"] = {"measured": True, "counter": "RAPL", "covers": "package", "idle_watts": 5.0,
                           **told(("inference", "embedder", "update"))}
        found["largest"] |= {f"{name}_energy": gain for name, gain in found["largest"].items()}
    for name, (net, kept) in zip(("0", "25", "50", "75"), [(found["unpruned"], 1.0), *zip(
            found["pruned"].values(), (0.57, 0.27, 0.08), strict=True)], strict=True):
        net |= {"widths": [276], "parameters": int(413448 * kept), "bytes": int(1.7e6 * kept),
                "multiply_accumulates": int(26.2e6 * kept), "name": name}
    return {"schema": 1, "paper": "onda", "experiment": "cost", "backbone": "ds_cnn_l", "settings": {}, "provenance": {
        "code": "0", "corpus": {"name": "noise on a made-up machine", "meets": []}}, "units": {"time": "s"},
        "device": {"name": "Made-up CPU", "jetson": False, "kind": "cpu", "threads": 2}, **found,
        "gpu": {"measured": True, "name": "Made-up GPU", **told(("inference", "update"))} if gpu
        else {"measured": False, "why": "no GPU"}}


def write_onda(folder: Path, *, users: int = 12, seeds: int = 3, whole: bool = True, synthetic: bool = True) -> None:
    """Every file of ``metrics/onda``; not ``whole``: one experiment of another name, on which nothing was pruned before."""
    corpus = {"name": "synthetic_wake_words" if synthetic else "heysnips_v2", "archive": "made-up.tar", "clips": 900,
              "speakers": 54, "synthetic": synthetic, "negative_hours": {"train": 1.0, "dev": 2.0, "test": 2.25}}
    contents = {"cost": made_up_cost(gpu=whole, energy=whole)}
    if whole:
        contents |= {
            "ds_cnn": made_up_experiment("ds_cnn", "ds_cnn_l", corpus, users=users, seeds=seeds, offline=(0.0, 0.25, 0.5)),
            "resnet": made_up_experiment("resnet", "resnet15", corpus, users=max(1, users // 2), seeds=1, whole=480_000),
            "controls": made_up_experiment("controls", "ds_cnn_s", corpus, users=users, seeds=seeds, schedules=CONTROLS,
                                           ratios=(0.25, 0.5)),
            "stacking": made_up_experiment("stacking", "ds_cnn_s", corpus, users=users, seeds=1, ratios=(0.5,),
                                           offline=(0.0, 0.25), whole=23_000)}
    else:
        contents["other"] = made_up_experiment("other", "ds_cnn_m", corpus, users=users, seeds=seeds,
                                               schedules=("none", "onda_1"), ratios=(0.5,))
    hessian = {"schema": 1, "paper": "onda", "experiment": "hessian", "backbone": "ds_cnn_s", "active_fraction": 0.42,
               "settings": {"pruning": {"probes": 50}, "hessian": {"repetitions": 5}},
               "provenance": {"code": "0", "corpus": {"name": "words", "synthetic": synthetic}},
               "stability": [{"probes": probes, "kendall_tau": 1 - 2 / probes**0.5, "overlap": 1 - 1.5 / probes**0.5}
                             for probes in (10, 50, 300)],
               "convergence": {"weights": 192, "slope": -0.5,
                               "errors": [{"probes": probes, "relative_error": 4 / probes**0.5} for probes in (10, 50, 300)]}}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**contents, "hessian": hessian}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


# ------------------------------------------------------------------------------------------------ alternatives
SIZES = Sizes(inputs=12, neurons=16, outputs=5, frames=9, clips=8)
GAINS = {"traces_propagation": 9, "bptt_full": 12, "bptt_readout": 5, "ds_cnn_full": 10, "ds_cnn_readout": 3}


def made_up_users(users: int, change: float, rng: np.random.Generator) -> list[dict]:
    """Rows of tasks; with ``change`` points more right than before, and half as many of the others' wrong."""
    rows = []
    for user in range(users):
        for shot, share in (("1", 0.5), ("all", 1.0)):
            before, lost = int(rng.integers(50, 80)), int(rng.integers(0, 3 + change))
            rows.append({"user": f"user{user}", "split": "test", "fold": 0, "shot": shot, "support_clips": 8, "query_clips": 100,
                         "correct_before": before, "correct_after": min(100, before + round(change * share)),
                         "others_clips": 100, "others_before": 80, "others_after": 80 - lost})
    return rows


def made_up_cost_of(net: str, head: dict) -> dict:
    """What ``edgekws alternatives cost`` would write."""
    methods = {name: method for name, method in Alternatives().methods.items() if method.net == net}
    found = {}
    for size, name in enumerate(methods):
        at_peak = {**dict.fromkeys(CATEGORIES, 1000 * (size + 1)), "batch": 5000}
        usage = {"peak": sum(at_peak.values()), "at_peak": at_peak, "largest": at_peak}
        found[name] = {"memory": usage, "memory_longer": usage, "seconds": 0.1 + 0.01 * size}
    return {**head, "experiment": f"cost_{net}", "clips": 8, "frames": 9, "methods": found, "checks": cost.checks(methods, found)}


def made_up_complexity(head: dict) -> dict:
    """What ``edgekws alternatives complexity`` would write; one count is not what the formula says."""
    def counted(number: int, text: str, paper: str | None, **more: Any) -> dict:
        return {"formula": number, "formula_text": text, "counted": number, "paper": paper, **more}

    def rule(batch: int, *holds: bool, paper: bool | None, per: str = "step", per_synapse: int | None = None) -> dict:
        names = ("update_locking_free", "no_weight_transport", "local_in_time", "local_in_space")
        return {"batch": batch, "trace": counted(120, "B (sum N_l + H_L)", "L H", per_synapse=per_synapse),
                "auxiliary": counted(40, "O sum H_l", None), "learning_signal": counted(160, "B O sum H_l", None, per=per),
                **{name: {"holds": each, "why": f"seen on <{name}>", "paper": paper}
                   for name, each in zip(names, holds, strict=True)}}

    rules = {"traces_propagation": rule(5, True, True, False, True, paper=True),
             "eprop": rule(4, False, False, True, False, paper=False),
             "etlp": rule(4, *[True] * 4, paper=None, per="clip", per_synapse=3000)}
    rules["eprop"]["trace"]["counted"] = 121
    return {**head, "experiment": "complexity", "rules": rules,
            "sizes": {"inputs": 6, "hidden": [8], "outputs": 5, "batch": 4, "recurrent": True}}


def made_up_federation(seed: int, users: int, head: dict, *, flower: bool) -> dict:
    """What ``edgekws alternatives federate`` would write of a seed."""
    settings = Federated(rounds=3, noise=[1.0, 4.0])
    ways = {"base": 0, "local": 6, "centralised": 14}
    for way, gain in (("centralised", 14), ("federated", 12), ("private_1", 5), ("private_4", 1)):
        ways |= {way: gain, f"{way}_local": gain + 4}
    rows = [{"way": way, "fold": 0, "user": f"user{user}", "support_clips": 8, "query_clips": 100, "known_clips": 60,
             "correct": 60 + gain + user % 3 + gain // 6 * (user % 3 - 1), "known_correct": 45 + gain // 2, "others_clips": 200,
             "others_correct": 160 - gain // 3} for way, gain in ways.items() for user in range(users)]
    private = {f"private_{noise:g}": {"noise": noise, "clipping": 1.0, "sampling": 0.25, "steps": 12, "delta": 1e-5,
                                      "epsilon": 9.5 / noise} for noise in settings.noise}
    sent = {"down": 5200.0, "up": 5300.0}
    secure = {"largest_difference": [1e-6, 2e-6, 3e-6], "bound_first_round": 1e-5, "largest_value": 0.5, "own_plain": 72.0,
              "own": 71.5}
    return {**head, "seed": seed, "settings": {"federated": settings.model_dump()}, "engine": "flower" if flower else "loop",
            "why": "" if flower else "the packages of envs/flower.txt could not be installed here",
            "versions": {"flwr": "1.0"} if flower else {}, "check": {"largest_difference": 2e-7} if flower else None,
            "secure": secure if flower else None, "users": {f"user{user}": ["yes", "no"] for user in range(users)},
            "tuned": {}, "rates": dict.fromkeys(ways, 1.0), "rows": rows, "privacy": private,
            "curves": {way: {"own": [60.0, 64.0, 68.0, 72.0], "others": [80.0] * 4} for way in ("federated", *private)},
            "bytes": {"values": 80, "fp32": {"down": 320, "up": 320}, "federated": sent if flower else None,
                      "secure": {"down": 5200.0, "up": 9000.0} if flower else None}}


@functools.cache
def made_up_alternatives(*, users: int = 6, seeds: int = 2, flower: bool = True, synthetic: bool = True) -> dict[str, dict]:
    """Every file of ``metrics/alternatives`` by name, not to be changed; the methods of the settings, and one nobody knows."""
    corpus = {"name": "synthetic" if synthetic else "gsc", "archive": "made-up.tar", "archive_sha256": "0" * 64,
              "synthetic": synthetic, "words": ["yes", "no"], "clips": 1200, "speakers": 54}
    head = {"schema": 1, "paper": "alternatives", "settings": {}, "provenance": {"code": "0", "corpus": corpus}}
    bench, rng, chosen = Alternatives(), np.random.default_rng(users), Statistics(resamples=200)
    methods = bench.methods | {"mine_<new>": bench.methods["bptt_readout"]}
    parts = []
    for seed in range(seeds):
        for name, method in methods.items():
            values = {"lora": 90 * method.rank, "readout": 80}.get(method.kind, 2000)
            parts.append({**head, "method": name, "seed": seed, "rows": made_up_users(users, GAINS.get(name, 8), rng),
                          "settings": {"method": method.model_dump(), "plan": {"users": users},
                                       "budget": {**bench.training.model_dump(), "learning_rate": 3e-4}},
                          "delta": {"values": values, "base_values": 2000, "share": values / 2000,
                                    "bytes": {"fp32": 4 * values, "int8": values + 40}}})
    remedies = [("none", 0.0), ("rehearsal", 16.0), ("rehearsal", 64.0), ("elastic", 1.0), ("elastic", 100.0), ("elastic", 1e4)]
    kept = [{"method": method, "seed": seed,
             "remedies": [{**row, "remedy": remedy, "strength": strength} for remedy, strength in remedies
                          if remedy != "elastic" or method != "bptt_lora_4"
                          for row in made_up_users(users, 9 - 3 * (remedy != "none"), rng) if row["shot"] == "all"],
             "sequence": [{"group": 0, "user": f"user{user}", "place": user, "after": after, "query_clips": 100, "before": 60,
                           "alone": 75, "shared": 75 - 3 * after} for user in range(users) for after in range(users - user)]}
            for seed in range(seeds) for method in bench.retention.methods]
    cells = limits.cells(["traces_propagation", "traces_propagation_batch", "full", "lora"], [16, 32], batches=[1, 8])
    measured = {cell: 40_000 for cell in cells if (cell.neurons, cell.optimiser, cell.stored) == (16, "adam", "fp32")}
    budgets = [8 * limits.KIB, 64 * limits.KIB]
    federated = [made_up_federation(seed, users, head, flower=flower) for seed in range(seeds)]
    return {
        "adaptation": alternatives_summary.adaptation_file(parts, chosen),
        "complexity": made_up_complexity(head),
        **{f"cost_{net}": made_up_cost_of(net, head) for net in ("spiking", "ds_cnn")},
        "limits": {**head, "experiment": "limits", "sizes": vars(SIZES),
                   "rows": limits.table(cells, SIZES, budgets, measured=measured),
                   "widest": limits.widths(["traces_propagation", "traces_propagation_batch", "full", "lora"], SIZES, budgets)},
        "device": {**head, "experiment": "device", "targets": {"host": {"measured": True},
                                                               "cortex-m4": {"measured": False, "why": "no emulator"}},
                   "users": [], "budgets": [],
                   "checks": {name: {"holds": True, "why": "on two targets"} for name in (
                       "same_bits", "no_float_exceptions", "static_memory", "fits_budgets", "less_memory_than_bptt")},
                   "widths": [{"neurons": 64, "rule": "traces", "optimiser": "adam", "clips": 26, "flash": 110_000,
                               "ram": 640_000, "stack": 800, "formula_bytes": 1_700_000,
                               "instructions": {"hear": 10, "frame": 20, "learn": 30}}]},
        "retention": {**head, "experiment": "retention", "seeds": list(range(seeds)),
                      "settings": {"retention": Retention(sequence=max(2, users)).model_dump()},
                      "summary": retention.summarise(kept, chosen)},
        "federated": alternatives_summary.federated_file(federated, chosen)}


def write_alternatives(folder: Path, *, missing: tuple[str, ...] = (), **made: Any) -> None:
    """Every file of ``metrics/alternatives`` but those that are ``missing``; the rest is given to
    :func:`made_up_alternatives`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in made_up_alternatives(**made).items():
        if name not in missing:
            (folder / f"{name}.json").write_text(json.dumps(content, allow_nan=False))


def fill_run(results: Path, *, synthetic: bool = True, experiments: tuple[str, ...] = (
        "one_user", "many_users", "many_users_per_set", "many_users_tuned"), neuedge: dict | None = None,
        onda: dict | None = None, alternatives: dict | None = None) -> Path:
    """Fill ``results/<run>`` with metrics, a ledger, and what Snakemake leaves; returns the folder.

    ``neuedge`` is given to :func:`write_neuedge`, ``onda`` to :func:`write_onda`, ``alternatives`` to
    :func:`write_alternatives`; without it there are no metrics of that paper.
    """
    folder = results / "metrics" / "traces_propagation"
    folder.mkdir(parents=True)
    for number, name in enumerate(experiments):
        content = made_up_metrics(name, users=1 if name == "one_user" else 24, synthetic=synthetic, seed=number)
        (folder / f"{name}.json").write_text(json.dumps(content))
    if neuedge is not None:
        write_neuedge(results / "metrics" / "neuedge", synthetic=synthetic, **neuedge)
    if onda is not None:
        write_onda(results / "metrics" / "onda", **{"synthetic": synthetic, **onda})
    if alternatives is not None:
        write_alternatives(results / "metrics" / "alternatives", **{"synthetic": synthetic, **alternatives})
    benchmark = results / "benchmarks" / "traces_propagation"
    benchmark.mkdir(parents=True)
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    (benchmark / "base_seed0.tsv").write_text(head + "60.0\t0:01:00\t500.5\t1\t1\t1\t0\t0\t90\t55.0\n")
    (benchmark / "base_seed1.tsv").write_text(head + "30.0\t0:00:30\t700.0\t1\t1\t1\t0\t0\t90\t25.0\n")
    (results / "benchmarks" / "claims.tsv").write_text(head + "0.4\t0:00:00\t-\t-\t-\t-\t-\t-\t-\tNA\n")
    ledger = build_ledger("made_up", REPOSITORY / "claims", results, content["provenance"])
    write_ledger(results / "claims.json", ledger)
    return results


@pytest.fixture
def made_up_run(tmp_path):
    """A function that fills ``results/made_up`` (:func:`fill_run`) and returns the folder."""
    return functools.partial(fill_run, tmp_path / "results" / "made_up")
