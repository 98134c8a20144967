"""What OnDA's experiments decide, as sentences: what adapting gives, what pruning costs, whether the aims are met.

The aims are ours: an encoder at least three times smaller that is as accurate as the large one, clean and in noise, and an
adaptation without pruning that gains 15 points in noise. A sentence is there where its metrics are; none is written by hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from edgekws.ledger.wording import listed, told
from edgekws.methods.onda import false_alarms, style
from edgekws.methods.onda.paired import DEPLOYED, WEIGHTS_ONLY, Arm, arms, difference, labels
from edgekws.methods.onda.settings import CLEAN, UNPRUNED

NOISE = "noise_10"
"""The noise that the aims are about: 10 dB below the loudest second."""

GAIN, FEWER, LOSS = 15.0, 3.0, 2.0
"""Points that adapting is to gain in noise; times fewer parameters; points of accuracy that an interval may reach below."""

LARGE = ("ds_cnn_l", "resnet15")

_ENOUGH = 3  # pairs of a user and a draw

_TRUE_LABELS = "oracle"  # no device has them
_ADAPTING = ("statistics", "none", "more_updates", "robust", _TRUE_LABELS)
_PRUNING = ("onda_1", "onda_2", "random_before", "distilled", "robust_distilled")
_WHO = {"anybody": "a wake word that anybody may say", "person": "one person's own wake word"}


def heading(content: Mapping[str, Any]) -> str:
    """Encoder, and whose the wake word is."""
    return f"{style.encoder(content['encoder']['backbone'])}, {whose(content)}"


def whose(content: Mapping[str, Any]) -> str:
    """Whose the wake word of an experiment is, in words."""
    return _WHO[content["settings"].get("experiment", {}).get("who", "person")]


def label(arm: Arm) -> str:
    """
    >>> label(Arm("onda_1", 50.0)), label(Arm("none"))
    ('OnDA-1 at 50 %', 'weights only')
    """
    return style.schedule(arm.schedule).label + (f" at {arm.ratio:g} %" if arm.ratio else "")


def rate(content: Mapping[str, Any]) -> str:
    """The operating point in false alarms an hour, as metrics files name it."""
    return f"{content['operating_point']['false_alarms_per_hour']:g}"


def places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The two conditions that sentences are about, where they were measured, and how they are called."""
    known = next(arms(content))[1]["conditions"]
    return [(name, spoken) for name, spoken in ((CLEAN, "clean"), (NOISE, "at 10 dB")) if name in known]


def _above(content: Mapping[str, Any], arm: Arm, other: Arm) -> str:
    found = [(difference(content, arm, other, name), spoken) for name, spoken in places(content)]
    return " and ".join(f"{told(cell, '+')} {spoken}" for cell, spoken in found if cell is not None)


# ------------------------------------------------------------------------------------------------ one experiment
def sentences(content: Mapping[str, Any]) -> list[str]:
    """What one experiment tells: how hours of negatives count, what adapting gives, what pruning costs."""
    known = dict(arms(content))
    adapting = [Arm(name) for name in _ADAPTING if Arm(name) in known]
    deployed = known[DEPLOYED]["conditions"]
    accurate = " and ".join(f"{told(deployed[name]['at'][rate(content)])} % {spoken}" for name, spoken in places(content))
    lines = [f"As deployed it finds {accurate}; {negatives(content)}."]
    if adapting:
        lines.append("Points over that by adapting without pruning: "
                     + "; ".join(f"{label(arm)} {_above(content, arm, DEPLOYED)}" for arm in adapting) + ".")
    reference = WEIGHTS_ONLY if WEIGHTS_ONLY in known else DEPLOYED
    pruned = sorted((arm for arm in known if arm.schedule in _PRUNING),
                    key=lambda arm: (_PRUNING.index(arm.schedule), arm.ratio))
    if pruned:
        lines.append(f"Points by pruning, against the unpruned encoder ({label(reference)}): " + "; ".join(
            f"{label(arm)} ({known[arm]['compression']:.1f} times smaller) {_above(content, arm, reference)}"
            for arm in pruned) + ".")
        kept = [arm for arm in pruned if all(_above_by(cell, -LOSS) for _, _, cell in _losses(content, arm))]
        where = " and ".join(spoken for _, spoken in places(content))
        lines.append(f"No more than {LOSS:g} points lost, by the whole interval, {where}, against the encoder as deployed and "
                     f"after fine-tuning: {listed([label(arm) for arm in kept]) if kept else 'nothing that prunes'}.")
    if (found := labels(content)) is not None:
        lines.append(f"The devices labelled {found[0]:.0f} % of the wake words in their streams as such, and {found[1]:.0f} % of "
                     "what they took for one was one.")
    return lines


def negatives(content: Mapping[str, Any]) -> str:
    """Hours that false alarms are counted over, and how finely they tell a rate."""
    allowed_rate = content["operating_point"]["false_alarms_per_hour"]
    hours = sorted(row["hours"] for row in content["rows"] if "hours" in row) or [content["operating_point"]["hours"]]
    allowed = sorted({int(false_alarms.resolution(each, allowed_rate)["allowed"]) for each in (hours[0], hours[-1])})
    return (f"{rate(content)} false alarms an hour are {' or '.join(map(str, allowed))} in the {_range(hours[0], hours[-1])} h "
            f"of a user's test negatives, so that rates are told in steps of {1 / hours[0]:.2f} an hour")


def _range(low: float, high: float) -> str:
    """
    >>> _range(2.04, 2.11), _range(2.0, 2.001)
    ('2.04 to 2.11', '2.00')
    """
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _above_by(cell: Mapping[str, Any], points: float) -> bool:
    """Whether the whole interval lies above so many points; without one nothing is known."""
    return cell["ci_low"] is not None and cell["ci_low"] > points


def _losses(content: Mapping[str, Any], arm: Arm) -> Iterator[tuple[str, Arm, dict[str, Any]]]:
    """Condition, unpruned arm and difference from it: from the encoder as deployed and after fine-tuning, in both conditions."""
    for name, spoken in places(content):
        for other in (DEPLOYED, WEIGHTS_ONLY):
            if (cell := difference(content, arm, other, name)) is not None:
                yield spoken, other, cell


# ------------------------------------------------------------------------------------------------ the aims
class Aim(NamedTuple):
    """An aim of ours for one experiment, whether it is met, and the numbers."""

    aim: str
    of: str
    verdict: str
    why: str

    def __str__(self) -> str:
        return f"{self.aim}, {self.of}: {self.verdict}. {self.why}"


def aims(experiments: Mapping[str, Any]) -> list[Aim]:
    """Whether each aim is met, with the numbers, and what stands in the way where it is not."""
    found = [line for content in experiments.values() if (line := _gains(content))]
    return found + [_shrinks(content, experiments) for content in experiments.values() if content["encoder"]["backbone"] in LARGE]


def missing(experiments: Mapping[str, Any]) -> list[str]:
    """The large encoders that no experiment is of, as a sentence."""
    measured = {content["encoder"]["backbone"] for content in experiments.values()}
    names = [style.encoder(name) for name in LARGE if name not in measured]
    return [f"{listed(names)}: not measured in this run."] if names else []


def instead(experiments: Mapping[str, Any], rivals: Mapping[str, Any]) -> Iterator[str]:
    """What other detectors find of the same wake words, and whether the encoder as deployed is above them."""
    for name, detectors in rivals["detectors"].items():
        for detector, cells in detectors.items():
            here = [(spoken, cells[condition]) for condition, spoken in places(experiments[name]) if condition in cells]
            lines = [f"{told(cell['accuracy'])} % {spoken} (the encoder as deployed "
                     f"{told(cell['ours_above'].get('pretrained'), '+')}, adapted in our way "
                     f"{told(cell['ours_above'].get('robust'), '+')})" for spoken, cell in here]
            yield f"{heading(experiments[name])}: {style.DETECTORS[detector]} finds {' and '.join(lines)}."


def in_short(experiments: Mapping[str, Any], rivals: Mapping[str, Any] | None = None) -> list[str]:
    """For a person outside the project: what fine-tuning gives, what pruning by half costs, and whether the aims are met.

    Experiments of fewer than three pairs of a user and a draw have no interval worth a sentence here; the page has them.
    """
    lines = []
    experiments = {name: content for name, content in experiments.items()
                   if len({(row["user"], row["seed"]) for row in content["rows"]}) >= _ENOUGH}
    for content in experiments.values():
        known = dict(arms(content)).keys()
        gains = [f"{name} {_above(content, arm, DEPLOYED)}" for name, arm in (
            ("fine-tuning on what the device labelled", WEIGHTS_ONLY), ("our robust adaptation", Arm("robust"))) if arm in known]
        costs = [f"{style.schedule(name).label} {_above(content, Arm(name, 50.0), WEIGHTS_ONLY)}"
                 for name in ("onda_1", "onda_2", "robust_distilled") if {Arm(name, 50.0), WEIGHTS_ONLY} <= known]
        if gains:
            lines.append(f"{heading(content)}, points over the encoder as deployed: {'; '.join(gains)}."
                         + (f" Half of its channels pruned, beside fine-tuning alone: {'; '.join(costs)}." if costs else ""))
    found = aims(experiments)
    for aim in dict.fromkeys(each.aim for each in found):
        lines.append(f"{aim}: " + "; ".join(f"{each.verdict} ({each.of})" for each in found if each.aim == aim) + ".")
    return [*lines, *(instead(experiments, rivals) if rivals else ())]


def _gains(content: Mapping[str, Any]) -> Aim | None:
    """Whether an adaptation without pruning gains enough in noise."""
    known = dict(arms(content))
    candidates = {arm: known[arm]["conditions"][NOISE]["gain"] for arm in known
                  if arm.schedule in UNPRUNED and arm.schedule != _TRUE_LABELS and NOISE in known[arm]["conditions"]}
    if not candidates:
        return None
    best = max(candidates, key=lambda arm: candidates[arm]["value"])
    cell = candidates[best]
    met = cell["ci_low"] is not None and cell["ci_low"] >= GAIN
    short = "one draw gives no interval" if cell["ci_low"] is None else "not by the whole interval"
    verdict = "reached" if met else f"reached on average, {short}" if cell["value"] >= GAIN else "not reached"
    bound = ""
    oracle = known.get(Arm(_TRUE_LABELS))
    if not met and oracle is not None:
        bound = f"; true labels in place of the device's own give {told(oracle['conditions'][NOISE]['gain'], '+')}"
    return Aim(f"{GAIN:g} points gained at 10 dB without pruning", heading(content), verdict,
               f"The most is {told(cell, '+')} by {label(best)}{bound}.")


def _shrinks(content: Mapping[str, Any], experiments: Mapping[str, Any]) -> Aim:
    """Whether a pruned encoder of a third of the parameters is as accurate as the unpruned one, and above a smaller one."""
    known = dict(arms(content))
    small = [arm for arm in known if arm.schedule in _PRUNING and arm.schedule != "random_before"
             and known[arm]["compression"] >= FEWER]
    title = f"{FEWER:g} times fewer parameters at equal accuracy, clean and at 10 dB"
    if not small:
        return Aim(title, heading(content), "not measured", "No arm is as small.")
    losses = {arm: list(_losses(content, arm)) for arm in small}
    nearest = max(small, key=lambda arm: min(cell["value"] for _, _, cell in losses[arm]))
    worst = min(losses[nearest], key=lambda each: each[2]["value"])
    kept = all(_above_by(cell, -LOSS) for _, _, cell in losses[nearest])
    beside = _beside(content, nearest, known[nearest]["parameters"], experiments)
    met = kept and all(_above_by(cell, 0) for _, _, cell in beside)
    if met:
        bound = ""
    elif worst[2]["value"] < -LOSS:
        bound = f" What stands in the way is accuracy itself, most of all {worst[0]} against {label(worst[1])}."
    elif not kept:
        bound = (f" The means are kept; what stands in the way is the interval: {worst[2]['n']} units do not exclude a loss of "
                 f"{LOSS:g} points.")
    else:
        bound = " What stands in the way is the smaller encoder, which needs no pruning."
    compared = "".join(f" {told(cell, '+')} {spoken} against {name} as deployed;" for name, spoken, cell in beside)
    return Aim(title, heading(content), "reached" if met else "not reached",
               f"Nearest is {label(nearest)}, {known[nearest]['compression']:.1f} times smaller: "
               + "; ".join(f"{told(cell, '+')} {spoken} against {label(other)}" for spoken, other, cell in losses[nearest])
               + (";" + compared.rstrip(";") if compared else "") + "." + bound)


def _beside(content: Mapping[str, Any], arm: Arm, parameters: float,
            experiments: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """The unpruned encoder of nearest size that was measured for the same users: name, condition and difference from it."""
    smaller = [other for other in experiments.values() if whose(other) == whose(content)
               and other["encoder"]["parameters"] < content["encoder"]["parameters"]]
    if not smaller:
        return []
    nearest = min(smaller, key=lambda other: abs(math.log(other["encoder"]["parameters"] / parameters)))
    found = [(spoken, difference(content, arm, DEPLOYED, name, than=nearest)) for name, spoken in places(content)]
    return [(style.encoder(nearest["encoder"]["backbone"]), spoken, cell) for spoken, cell in found if cell is not None]
