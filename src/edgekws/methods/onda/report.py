"""OnDA on the report's page: its arms, the largest compression, controls and costs in tables, and what the paper leaves open.

Nothing is measured here: the metrics are read, paired and put beside the paper's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekws.ledger.schema import CorpusFacts
from edgekws.methods.onda import style
from edgekws.methods.onda.metrics import KINDS
from edgekws.methods.onda.paired import Key, clusters
from edgekws.models import counts
from edgekws.protocol import metrics, statistics
from edgekws.protocol.settings import Statistics

AXES = {"%": "Accuracy at 0.5 false alarms an hour, %", "x": "Compression and gains, times"}

RULES = ("strict", "slack")
"""Readings of equal accuracy: none lost, or a little (``settings.evaluation.slack``)."""

WHO = {"all": "either schedule", "onda_1": "OnDA-1", "onda_2": "OnDA-2"}

_ORDER = ("ds_cnn", "resnet", "stacking", "controls")
_UNPRUNED = ("pretrained", "none")
_CHECKS = {"onda_1_pays_at_once": "That OnDA-1 costs less than weights only",
           "onda_2_breaks_even_later": "That OnDA-2 pays later"}


def read(folder: Path) -> dict[str, Any] | None:
    """Metrics of ``metrics/onda``: ``experiments`` by name, ``hessian``, ``cost`` and ``rivals``; ``None`` for none."""
    found = {path.stem: metrics.read(path, KINDS.get(path.stem, KINDS["*"])).content for path in sorted(folder.glob("*.json"))}
    experiments = {name: content for name, content in found.items() if "summary" in content}
    if not found:
        return None
    ordered = sorted(experiments, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    return {"experiments": {name: experiments[name] for name in ordered}, "hessian": found.get("hessian"),
            "cost": found.get("cost"), "rivals": found.get("rivals")}


def corpora(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The corpora of the experiments: of wake words, another than the run's own."""
    return [content["provenance"]["corpus"] for content in found["experiments"].values()]


def section(found: Mapping[str, Any], ledger: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows.

    Args:
        found: From :func:`read`.
        ledger: Whose claims hold the paper's numbers.
    """
    said = {claim["id"]: claim["paper_value"] for claim in ledger["claims"]}
    experiments = found["experiments"]
    return {"experiments": [{
        "name": name, "encoder": encoder_label(content), "corpus": corpus_label(content), "resolution": resolution(content),
        "arms": arms(content), "conditions": conditions(content),
        "compression": compressions(content, said), "stacking": stacking(content),
        "effects": effects(content) if is_controls(content) else None,
        "rate": content["operating_point"]["false_alarms_per_hour"], "slack": slack(content),
        "encoder_facts": content["encoder"], "calibrations": content["calibrations"], "screening": content["screening"],
        "ratios": sorted({100 * row["ratio"] for row in content["rows"] if row["ratio"]}),
        "users": len(content["users"]), "seeds": len(content["seeds"])} for name, content in experiments.items()],
        "cost": costs(found["cost"]) if found["cost"] else None, "hessian": found["hessian"], "paper": implied(said),
        "threshold": thresholds(experiments)}


# ------------------------------------------------------------------------------------------------ words for numbers
def encoder_label(content: Mapping[str, Any]) -> str:
    """The encoder of an experiment."""
    return style.encoder(content["encoder"]["backbone"])


def corpus_label(content: Mapping[str, Any]) -> str:
    """Name and size of the corpus, and the hours of its negatives that the metric rests on."""
    return CorpusFacts.model_validate(content["provenance"]["corpus"]).label


def slack(content: Mapping[str, Any]) -> float:
    """Points of accuracy that the second reading of equal accuracy allows to be lost."""
    return float(content["settings"]["evaluation"]["slack"])


def resolution(content: Mapping[str, Any]) -> str:
    """What the hours of negatives allow at the operating point, in words.

    >>> resolution({"operating_point": {"hours": 0.5, "false_alarms_per_hour": 0.5, "allowed": 0, "smallest_rate": 2.0,
    ...                                 "told": False}})
    '0.5 an hour over 0.50 h of negatives allows no false alarm: the lowest rate it can resolve is 2 an hour'
    """
    point = content["operating_point"]
    many = "no false alarm" if not point["allowed"] else f"{point['allowed']} false alarm{'s' * (point['allowed'] > 1)}"
    return (f"{point['false_alarms_per_hour']:g} an hour over {point['hours']:.2f} h of negatives allows {many}: the lowest "
            f"rate it can resolve is {point['smallest_rate']:.2g} an hour")


def arm_label(arm: Mapping[str, Any]) -> str:
    """An arm of the largest compression, in words.

    >>> arm_label({"offline": 0.25, "schedule": "onda_1", "ratio": 0.5})
    'OnDA-1, 50 % (25 % offline)'
    """
    label = style.schedule(arm["schedule"]).label + (f", {100 * arm['ratio']:g} %" if arm["ratio"] else "")
    return label + (f" ({100 * arm['offline']:g} % offline)" if arm["offline"] else "")


def is_controls(content: Mapping[str, Any]) -> bool:
    """Whether an experiment has schedules that the paper does not have."""
    return any(name in style.CONTROLS for schedules in content["summary"].values() for name in schedules)


# ------------------------------------------------------------------------------------------------ arms
def arms(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each offline share, schedule and ratio (percent), in that order.

    Beside what the summary has of it: ``gain``, points over the encoder as deployed with the same offline share, and
    ``against``, over weights-only adaptation of that encoder (None where that is the same or was not measured).
    """
    known = list(style.SCHEDULES)
    gain, against = (_paired(content, other) for other in _UNPRUNED)
    rows = []
    for offline, schedules in sorted(content["summary"].items(), key=lambda item: float(item[0])):
        for name in sorted(schedules, key=lambda each: known.index(each) if each in known else len(known)):
            for ratio, cell in sorted(schedules[name].items(), key=lambda item: float(item[0])):
                place = (float(offline), name, float(ratio))
                rows.append({**cell, "offline": float(offline), "schedule": name, "ratio": float(ratio),
                             "label": style.schedule(name).label, "gain": gain.get(place), "against": against.get(place)})
    return rows


def conditions(content: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The arms under every condition, the clean one first; none where an experiment was tested in that alone.

    Of each: ``at`` (accuracy by false alarms an hour), ``gain`` over the encoder as deployed, and what the device's own
    threshold gives.
    """
    rows = arms(content)
    names = list(rows[0]["conditions"]) if rows else []
    return {name: [{**row, **row["conditions"][name]} for row in rows] for name in names} if len(names) > 1 else {}


def _paired(content: Mapping[str, Any], other: str) -> dict[tuple[float, str, float], dict[str, Any]]:
    """Differences in accuracy from an unpruned schedule, by arm (percent): same user, seed and offline share."""
    chosen = Statistics.model_validate(content["settings"]["statistics"])
    start = {(row["offline"], row["user"], row["seed"]): row["accuracy"] for row in content["rows"] if row["schedule"] == other}
    pairs: dict[tuple[float, str, float], list[tuple[Key, float]]] = {}
    for row in content["rows"]:
        before = start.get((row["offline"], row["user"], row["seed"]))
        if before is not None and row["schedule"] not in (other, "pretrained"):
            place = (round(100 * row["offline"], 6), row["schedule"], round(100 * row["ratio"], 6))
            pairs.setdefault(place, []).append(((row["user"], row["seed"]), row["accuracy"] - before))
    return {place: statistics.cell([change for _, change in found], chosen, clusters([key for key, _ in found]))
            for place, found in pairs.items()}


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (size, accuracy) those that no smaller or equal one reaches, by size.

    >>> pareto_front([(3, 90), (1, 70), (2, 60), (4, 90), (3, 80)])
    [(1, 70), (3, 90)]
    """
    front: list[tuple[float, float]] = []
    for size, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((size, accuracy))
    return front


def paper_compression(content: Mapping[str, Any], said: Mapping[str, Any]) -> tuple[str, float] | None:
    """The paper's encoder and largest compression that an experiment's belong beside; None where the paper has none."""
    backbone, corpus = content["encoder"]["backbone"], content["provenance"]["corpus"]["name"]
    if backbone.startswith("ds_cnn"):
        label, claim = "DS-CNN-L", None if corpus == "heysnapdragon" else "onda-01"
    else:
        label, claim = "ResNet15", "onda-03" if corpus == "heysnapdragon" else "onda-02"
    value = said.get(claim) if claim else None
    return (label, float(value)) if value else None


def compressions(content: Mapping[str, Any], said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The largest compression by who may prune: at each rule, beside the paper's (for either schedule)."""
    paper = paper_compression(content, said)
    return [{"label": label, "paper": paper if who == "all" else None,
             "rules": {rule: {**cell, "of": arm_label(cell["arm"])} for rule in RULES
                       if (cell := content["iso"].get(rule, {}).get(who))}}
            for who, label in WHO.items() if who in content["iso"].get("strict", {})]


def effects(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Paired differences between schedules, by offline share: ``ratios`` and their ``mean``."""
    from edgekws.methods.onda.summary import EFFECTS

    def spoken(name: str) -> str:
        if name not in EFFECTS:
            return name.replace("_", " ")
        return " against ".join(style.schedule(each).label for each in EFFECTS[name])

    return [{"label": spoken(name), "name": name, "offline": float(offline), "mean": cell["mean"],
             "ratios": {float(ratio): value for ratio, value in cell.items() if ratio != "mean"}}
            for offline, by_name in content["effects"].items() for name, cell in by_name.items()]


def stacking(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What pruning on the device costs an encoder that was pruned before (points), by schedule."""
    return [{"label": style.schedule(name).label, "mean": found["mean"]} for name, found in content["stacking"].items()]


def thresholds(experiments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy at the operating point beside what the calibrated threshold gives, of weights-only adaptation."""
    return [{"encoder": encoder_label(content), "rate": content["operating_point"]["false_alarms_per_hour"],
             **content["summary"]["0"]["none"]["0"]} for content in experiments.values()
            if not is_controls(content) and "none" in content["summary"].get("0", {})]


# ------------------------------------------------------------------------------------------------ cost
def costs(cost: Mapping[str, Any]) -> dict[str, Any]:
    """Nets and adaptations in rows, on the processor and, where there is one, on the GPU."""
    devices = [_device(f"{cost['device']['name']}, {cost['device']['threads']} threads", cost)]
    if cost["gpu"]["measured"]:
        devices.append(_device(cost["gpu"]["name"], cost["gpu"]))
    return {"encoder": style.encoder(cost["backbone"]), "jetson": cost["device"]["jetson"], "sizes": _sizes(cost),
            "updates": cost["adaptation"]["updates"], "devices": devices, "gpu": cost["gpu"]}


def _device(label: str, told: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": label, "nets": _nets(told), "adaptations": adaptations(told), "probing": probing(told),
            "cheaper_from": told["break_even"]["onda_1_updates"],
            "checks": {name: {"text": text, **told["checks"][name]} for name, text in _CHECKS.items()},
            "energy": told["energy"], "largest": told["largest"]}


def _by_share(cost: Mapping[str, Any]) -> list[tuple[float, Mapping[str, Any]]]:
    return [(0.0, cost["unpruned"]), *sorted((float(name), net) for name, net in cost["pruned"].items())]


def _sizes(cost: Mapping[str, Any]) -> list[dict[str, Any]]:
    full = cost["unpruned"]
    return [{"ratio": ratio, **{name: net[name] for name in ("parameters", "multiply_accumulates", "bytes")},
             **{f"{name}_gain": full[name] / net[name] for name in ("parameters", "multiply_accumulates", "bytes")}}
            for ratio, net in _by_share(cost)]


def _nets(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"ratio": ratio, "gain": net.get("gain", {}),
             **{name: scaled(net[name], 1e3) for name in ("inference", "embedder", "update") if name in net}}
            for ratio, net in _by_share(told)]


def adaptations(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Weights only, then each schedule and ratio: seconds in all and by part, gain, peak memory, break-even."""
    whole = told["adaptation"]
    rows = [{"schedule": "none", "ratio": 0.0, "break_even": None, "gain": None,
             "parts": {"updates": whole["none"]["total"]["value"]}, **whole["none"]}]
    rows += [{"schedule": schedule, "ratio": float(ratio), "break_even": told["break_even"][schedule][ratio], **found}
             for schedule in ("onda_1", "onda_2") for ratio, found in sorted(whole[schedule].items(), key=lambda i: float(i[0]))]
    return [{**row, "label": style.schedule(row["schedule"]).label, "peak_bytes": row.get("peak_bytes", {})} for row in rows]


def probing(told: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest share that the Hessian's trace has of the time of OnDA-1's adaptation, percent."""
    shares = [100 * found["parts"]["probes"] / sum(found["parts"].values()) for found in told["adaptation"]["onda_1"].values()]
    return min(shares), max(shares)


def scaled(found: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """An interval in another unit."""
    return {name: factor * value if name != "n" and value is not None else value for name, value in found.items()}


# ------------------------------------------------------------------------------------------------ the paper's own numbers
def implied(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the paper's largest compressions come to: parameters left, and channels of every layer kept, percent.

    All layers pruned alike, the embedding too (onda.md, section 5.3).
    """
    rows = []
    for claim, label, widths, parameters in (("onda-01", "DS-CNN-L", [276.0] * 6, counts.ds_cnn),
                                             ("onda-02", "ResNet15", [64.0] * 8, counts.resnet15),
                                             ("onda-03", "ResNet15", [64.0] * 8, counts.resnet15)):
        if value := said.get(claim):
            left = parameters(widths) / value
            rows.append({"claim": claim, "label": label, "value": float(value), "left": left,
                         "kept": 100 * _share_kept(parameters, widths, left), "gone": 100 * (1 - 1 / value)})
    return rows


def _share_kept(parameters: Callable[[Sequence[float]], float], widths: Sequence[float], left: float) -> float:
    """Share of the channels of every layer with which so many parameters are left."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if parameters([middle * width for width in widths]) < left else (low, middle)
    return high
