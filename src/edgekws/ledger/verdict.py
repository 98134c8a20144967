"""How a verdict follows: a pure function of the claim, our number with its interval and facts about the corpus.

Each verdict names the one rule of :data:`RULES` that gave it. The rules are told in docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from edgekws.ledger.schema import REQUIREMENT_NAMES, Binding, Claim, CorpusFacts, Fact, Requirement
from edgekws.ledger.wording import listed, spoken, spoken_neutral, spoken_paper
from edgekws.protocol.statistics import FEW, Interval, t_half_width

Verdict = Literal["replicated", "direction_only", "not_replicated", "contradicted", "effect_seen_on_synthetic",
                  "not_testable", "not_run"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

VERDICT_LABELS: dict[Verdict, str] = {
    "replicated": "replicated", "direction_only": "direction only", "not_replicated": "not replicated",
    "contradicted": "contradicted", "effect_seen_on_synthetic": "effect seen on synthetic speech",
    "not_testable": "not testable", "not_run": "not run"}


class VerdictRule(NamedTuple):
    """A row of the table of docs/verdicts.md."""

    when: str
    verdict: Verdict


RULES: dict[str, VerdictRule] = {
    "out-of-reach": VerdictRule("nothing measures the claim, and it needs a corpus or a device that this version cannot use",
                                "not_testable"),
    "no-test": VerdictRule("nothing measures the claim in this version", "not_run"),
    "not-in-this-run": VerdictRule("this run has no such metrics file, or nothing at that place in it", "not_run"),
    "could-not-measure": VerdictRule("the metrics file says that this machine could not measure it", "not_testable"),
    "another-claims-corpus": VerdictRule("the claim lists its corpora, and this run's is none of them", "not_testable"),
    "checks-hold": VerdictRule("an analytic claim, or the paper's own test: every check holds", "replicated"),
    "checks-fail": VerdictRule("an analytic claim, or the paper's own test: a check fails", "not_replicated"),
    "elsewhere": VerdictRule("measured on other real recordings, on another device or by another protocol than the paper's; what "
                             "that tells is the finding", "not_run"),
    "one-repetition": VerdictRule("one repetition only, so no interval", "not_testable"),
    "no-spread": VerdictRule("fewer than 20 repetitions gave one and the same value, so no interval, and it is none that is the "
                             "same each time (a size, a mapping)", "not_testable"),
    "synthetic-effect": VerdictRule("synthetic speech, and an effect", "effect_seen_on_synthetic"),
    "synthetic": VerdictRule("synthetic speech, and no effect", "not_testable"),
    "equivalent": VerdictRule("equivalence is claimed, and our interval lies wholly within the margin", "replicated"),
    "beyond-the-margin": VerdictRule("equivalence is claimed, and our interval lies wholly beyond the margin", "contradicted"),
    "margin-undecided": VerdictRule("equivalence is claimed, and our interval reaches over the margin", "not_testable"),
    "other-way": VerdictRule("our interval lies wholly on the other side of no effect", "contradicted"),
    "direction-claimed": VerdictRule("the paper gives a direction and no number, and there is an effect", "replicated"),
    "no-number": VerdictRule("the paper gives no number, and there is no effect to be judged without one", "not_testable"),
    "overlap": VerdictRule("the intervals overlap, and there is an effect, or the claim has no direction and ours reaches no "
                           "further than a tenth of the paper's number", "replicated"),
    "too-wide": VerdictRule("the intervals overlap, and ours holds no effect too, or the claim has no direction and ours reaches "
                            "further than a tenth of the paper's number", "not_testable"),
    "another-size": VerdictRule("the intervals do not overlap, and there is an effect", "direction_only"),
    "apart": VerdictRule("otherwise: the intervals do not overlap", "not_replicated"),
}
"""How a verdict follows, in this order: the first rule that applies gives it. docs/verdicts.md shows the same table."""

Finding = Literal["supports", "supports_direction", "no_effect", "opposite", "undecided"]
FINDINGS: dict[Finding, str] = {
    "supports": "there is an effect, and the intervals overlap or the paper gives no number; or what is claimed to be kept or "
                "equal lies wholly within the margin; or every check holds",
    "supports_direction": "there is an effect, and the intervals do not overlap",
    "no_effect": "our interval holds no effect and lies wholly within half of the paper's effect on either side of it",
    "opposite": "our interval lies wholly on the other side of no effect, or beyond the margin; or a check fails",
    "undecided": "otherwise: no interval, or one too wide to tell; or the claim is a level (no direction, no margin), which "
                 "depends on what it is measured on",
}
"""What a measurement that is not the paper's own test tells of a claim, in this order. docs/verdicts.md shows the same table."""

FINDING_LABELS: dict[Finding, str] = {
    "supports": "supports the claim", "supports_direction": "supports its direction with another size",
    "no_effect": "shows no effect within half of the paper's", "opposite": "shows the opposite", "undecided": "undecided"}

BOUND = 0.5
"""Of the paper's effect: what our interval must stay within to show that there is none of note."""

REACH = 0.1
"""Of the paper's number: half the width that our interval may have for its overlap with a claim without a direction to count."""


class Found(NamedTuple):
    """What a measurement that is not the paper's own test tells, and why."""

    finding: Finding
    why: str


class Judgement(NamedTuple):
    """Which of :data:`RULES` applies, and why, with the numbers; where it is ``elsewhere``, also what was found there."""

    rule: str
    why: str
    found: Found | None = None

    @property
    def verdict(self) -> Verdict:
        return RULES[self.rule].verdict


def unmet_facts(facts: Iterable[Fact], metrics: Any) -> list[str]:
    """The names of the facts that do not hold in a metrics file, each once."""
    return list(dict.fromkeys(fact.name for fact in facts if not fact.holds(metrics)))


def paper_interval(claim: Claim, confidence: float = 0.95) -> tuple[float, float] | None:
    """The paper's value with its own spread: Student's t interval of its mean where it gives std and n; a range as it
    stands; else the bare value twice. ``None`` for a claim without a number.
    """
    if claim.value is None:
        return None
    if isinstance(claim.value, tuple):
        return claim.value
    spread = claim.uncertainty
    if spread.std is None or spread.n is None or spread.n < 2:
        return claim.value, claim.value
    std = spread.std * (spread.n / (spread.n - 1)) ** 0.5 if spread.population else spread.std
    half = t_half_width(std, spread.n, confidence)
    return claim.value - half, claim.value + half


def effect(ours: Interval, direction: Literal["higher", "lower"], neutral: float = 0.0) -> bool:
    """Our interval lies wholly on the claimed side of ``neutral``."""
    if ours.ci_low is None or ours.ci_high is None:
        return False
    return ours.ci_low > neutral if direction == "higher" else ours.ci_high < neutral


def overlaps(ours: Interval, paper: tuple[float, float]) -> bool:
    """The two intervals share a point; an interval of ours that does not exist overlaps nothing."""
    return ours.ci_low is not None and ours.ci_high is not None and ours.ci_low <= paper[1] and paper[0] <= ours.ci_high


def no_spread(claim: Claim, ours: Interval) -> bool:
    """Few repetitions gave one and the same value of what is counted on few clips: an interval of no width shows nothing."""
    assert claim.measured is not None and ours.ci_low is not None and ours.ci_high is not None
    width = ours.ci_high - ours.ci_low
    return not claim.measured.exact and ours.n < FEW and width <= 1e-9 * max(1.0, abs(ours.value))


def reaches_too_far(claim: Claim, ours: Interval) -> bool:
    """Our interval is so wide that it would hardly have missed the paper's number."""
    assert claim.value is not None and ours.ci_low is not None and ours.ci_high is not None
    number = max(map(abs, claim.value)) if isinstance(claim.value, tuple) else abs(claim.value)
    return (ours.ci_high - ours.ci_low) / 2 > REACH * number


def judge(claim: Claim, ours: Interval, corpus: CorpusFacts, differences: Sequence[str] = ()) -> Judgement:
    """The verdict on a claim with a number, measured.

    Args:
        claim: With a binding that has a path.
        ours: Our number.
        corpus: What it was measured on.
        differences: In what else the test differs from the paper's own.
    """
    assert claim.measured is not None
    direction, neutral, equivalence = claim.measured.direction, claim.measured.neutral, claim.measured.equivalence
    told = f"ours {spoken(ours, claim.unit)}; paper {spoken_paper(claim.value, claim.uncertainty.std, claim.unit)}"
    seen = equivalence.holds(ours) if equivalence else direction is not None and effect(ours, direction, neutral)
    if not corpus.synthetic and _differing(claim, corpus, differences):
        found = find(claim, ours)
        return Judgement("elsewhere", f"{_where(claim, corpus, differences)}; {found.why}: {told}", found)
    if ours.ci_low is None:
        return Judgement("one-repetition", f"one repetition gives no interval: {told}")
    if no_spread(claim, ours):
        return Judgement("no-spread", f"all repetitions gave the same value, too few for an interval: {told}")
    if corpus.synthetic:
        where = _where(claim, corpus, differences)
        if seen:
            return Judgement("synthetic-effect", f"{where}, the effect only, not its size: {told}")
        return Judgement("synthetic", f"{where}{_no_effect(claim.measured, ours)}: {told}")
    if equivalence is not None:
        if seen:
            return Judgement("equivalent", f"our interval lies {equivalence.spoken}: {told}")
        if equivalence.fails(ours):
            return Judgement("beyond-the-margin", f"our interval lies wholly beyond the margin ({equivalence.spoken}): {told}")
        return Judgement("margin-undecided", f"our interval reaches over the margin ({equivalence.spoken}), too wide to tell: "
                         f"{told}")
    if direction is not None and effect(ours, _opposite(direction), neutral):
        return Judgement("other-way", f"the effect goes the other way: {told}")
    paper = paper_interval(claim)
    if paper is None:
        if seen:
            return Judgement("direction-claimed", f"the paper claims a direction without a number, and it is there: {told}")
        return Judgement("no-number", f"the paper gives no number to compare with"
                         f"{_no_effect(claim.measured, ours)}: {told}")
    if overlaps(ours, paper):
        if direction is None and reaches_too_far(claim, ours):
            return Judgement("too-wide", f"our interval holds the paper's value, but reaches further than {REACH:.0%} of it, "
                             f"too wide to tell: {told}")
        if direction is None or seen:
            return Judgement("overlap", f"the intervals overlap: {told}")
        return Judgement("too-wide", f"our interval holds the paper's value and {spoken_neutral(neutral)}, "
                         f"too wide to tell: {told}")
    if seen:
        return Judgement("another-size", f"same direction, another size: {told}")
    return Judgement("apart", f"the intervals do not overlap: {told}")


def find(claim: Claim, ours: Interval) -> Found:
    """What our number tells of a claim where it was not measured by the paper's own test. One of :data:`FINDINGS`."""
    assert claim.measured is not None
    direction, neutral, equivalence = claim.measured.direction, claim.measured.neutral, claim.measured.equivalence
    if ours.ci_low is None or ours.ci_high is None:
        return Found("undecided", "one repetition gives no interval")
    if no_spread(claim, ours):
        return Found("undecided", "all repetitions gave the same value, too few for an interval")
    if equivalence is not None:
        if equivalence.holds(ours):
            return Found("supports", f"our interval lies {equivalence.spoken}")
        if equivalence.fails(ours):
            return Found("opposite", f"our interval lies wholly beyond the margin ({equivalence.spoken})")
        return Found("undecided", f"our interval reaches over the margin ({equivalence.spoken})")
    if direction is None:
        return Found("undecided", "a level depends on what it is measured on")
    paper = paper_interval(claim)
    if effect(ours, direction, neutral):
        if paper is None:
            return Found("supports", "the effect is there")
        if overlaps(ours, paper):
            return Found("supports", "the effect is there, and the intervals overlap")
        return Found("supports_direction", "same direction, another size")
    if effect(ours, _opposite(direction), neutral):
        return Found("opposite", "the effect goes the other way")
    holds = f"our interval holds {spoken_neutral(neutral)}"
    bounds = no_effect_bounds(claim)
    if bounds is None:
        return Found("undecided", f"{holds}, and the paper gives no size to take a bound from")
    low, high = bounds
    if low <= ours.ci_low and ours.ci_high <= high:
        return Found("no_effect", f"{holds} and lies within half of the paper's effect ({low:.2f} to {high:.2f})")
    return Found("undecided", f"{holds}, and reaches beyond half of the paper's effect ({low:.2f} to {high:.2f})")


def no_effect_bounds(claim: Claim) -> tuple[float, float] | None:
    """Half of the paper's effect on either side of no effect; for a ratio (neutral 1) its reciprocal on the other side.

    ``None`` for a claim without a number. Of a range, the end nearer to no effect counts.
    """
    assert claim.measured is not None
    if claim.value is None:
        return None
    neutral = claim.measured.neutral
    values = claim.value if isinstance(claim.value, tuple) else (claim.value,)
    half = BOUND * min(abs(value - neutral) for value in values)
    return (1 / (1 + half) if neutral == 1 else neutral - half), neutral + half


def judge_checks(claim: Claim, checks: Mapping[str, Mapping[str, Any]], corpus: CorpusFacts,
                 differences: Sequence[str] = ()) -> Judgement:
    """The verdict on a claim that is bound to checks (``{"holds", "why"}``).

    An analytic claim is about the running code and decided on any corpus; other checks are judged as numbers are, so that
    nothing measured on synthetic speech replicates or refutes anything.
    """
    failed = [check["why"] for check in checks.values() if not check["holds"]]
    passed = [check["why"] for check in checks.values() if check["holds"]]
    why = "; ".join([*(f"does not hold: {reason}" for reason in failed), *(f"holds: {reason}" for reason in passed)])
    if claim.analytic or not (corpus.synthetic or _differing(claim, corpus, differences)):
        return Judgement("checks-fail" if failed else "checks-hold", why)
    where = _where(claim, corpus, differences)
    if corpus.synthetic:
        return Judgement("synthetic" if failed else "synthetic-effect", f"{where}: {why}")
    return Judgement("elsewhere", f"{where}: {why}", Found("opposite" if failed else "supports", why))


def missing(claim: Claim, corpus: CorpusFacts) -> list[Requirement]:
    """What the claim requires and this corpus is not; a GPU no longer counts once there is a measurement."""
    return [name for name in claim.requires if name != "gpu" and name not in corpus.has]


def _lacking(claim: Claim, corpus: CorpusFacts) -> list[str]:
    """The same in words."""
    return [REQUIREMENT_NAMES[name] for name in missing(claim, corpus)]


def _differing(claim: Claim, corpus: CorpusFacts, differences: Sequence[str]) -> list[str]:
    """In what a test differs from the paper's own."""
    return [*(f"not {name}" for name in _lacking(claim, corpus)), *differences]


def _where(claim: Claim, corpus: CorpusFacts, differences: Sequence[str]) -> str:
    """On what it was measured, what the claim would need, and what else differs."""
    if corpus.synthetic:
        lacking = _lacking(claim, corpus)
        instead = f" in place of {listed(lacking)}" if lacking else ""
        return f"synthetic speech{instead}{''.join(f'; {difference}' for difference in differences)}"
    return f"measured on {corpus.label} ({'; '.join(_differing(claim, corpus, differences))})"


def _opposite(direction: Literal["higher", "lower"]) -> Literal["higher", "lower"]:
    return "lower" if direction == "higher" else "higher"


def _no_effect(binding: Binding, ours: Interval) -> str:
    """What our interval shows instead of the effect that is claimed."""
    if binding.equivalence is not None:
        beyond = "lies beyond" if binding.equivalence.fails(ours) else "reaches over"
        return f", where our interval {beyond} the margin ({binding.equivalence.spoken})"
    if binding.direction is None:
        return ""
    if effect(ours, _opposite(binding.direction), binding.neutral):
        return ", where the effect goes the other way"
    return f", where our interval holds {spoken_neutral(binding.neutral)}"
