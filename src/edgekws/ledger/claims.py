"""The claims ledger: what the papers say, held against what a run measured. The rules are told in docs/verdicts.md.

Claims are data (``claims/<paper>.yaml``); a verdict is a pure function of the claim, our number with its interval and
facts about the corpus it was measured on. Each verdict names the one rule of :data:`RULES` that gave it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekws.core import files
from edgekws.core.errors import UserError, did_you_mean
from edgekws.corpus.index import KNOWN_ARCHIVES
from edgekws.ledger.pointers import KindOf, check_claim
from edgekws.protocol.statistics import FEW, Interval, t_half_width

SCHEMA = 2
"""Of ``claims.json``. 2 added the verdict ``contradicted`` and the fields ``rule`` and ``missing``."""

Verdict = Literal["replicated", "direction_only", "not_replicated", "contradicted", "effect_seen_on_synthetic",
                  "not_testable", "not_run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

VERDICT_LABELS: dict[Verdict, str] = {
    "replicated": "replicated", "direction_only": "direction only", "not_replicated": "not replicated",
    "contradicted": "contradicted", "effect_seen_on_synthetic": "effect seen on synthetic speech",
    "not_testable": "not testable", "not_run": "not run"}


class Rule(NamedTuple):
    """A row of the table of docs/verdicts.md."""

    when: str
    verdict: Verdict


RULES: dict[str, Rule] = {
    "out-of-reach": Rule("nothing measures the claim, and it needs a corpus or a device that this version cannot use",
                         "not_testable"),
    "no-test": Rule("nothing measures the claim in this version", "not_run"),
    "not-in-this-run": Rule("this run has no such metrics file, or nothing at that place in it", "not_run"),
    "could-not-measure": Rule("the metrics file says that this machine could not measure it", "not_testable"),
    "another-claims-corpus": Rule("the claim lists its corpora, and this run's is none of them", "not_testable"),
    "checks-hold": Rule("an analytic claim, or the paper's own test: every check holds", "replicated"),
    "checks-fail": Rule("an analytic claim, or the paper's own test: a check fails", "not_replicated"),
    "one-repetition": Rule("one repetition only, so no interval", "not_testable"),
    "no-spread": Rule("fewer than 20 repetitions gave one and the same value, so no interval, and it is none that is the same "
                      "each time (a size, a mapping)", "not_testable"),
    "synthetic-effect": Rule("synthetic speech, and an effect", "effect_seen_on_synthetic"),
    "synthetic": Rule("synthetic speech, and no effect", "not_testable"),
    "elsewhere-effect": Rule("not the paper's own test, and an effect", "direction_only"),
    "elsewhere": Rule("not the paper's own test, and no effect", "not_testable"),
    "equivalent": Rule("equivalence is claimed, and our interval lies wholly within the margin", "replicated"),
    "beyond-the-margin": Rule("equivalence is claimed, and our interval lies wholly beyond the margin", "contradicted"),
    "margin-undecided": Rule("equivalence is claimed, and our interval reaches over the margin", "not_testable"),
    "other-way": Rule("our interval lies wholly on the other side of no effect", "contradicted"),
    "direction-claimed": Rule("the paper gives a direction and no number, and there is an effect", "replicated"),
    "no-number": Rule("the paper gives no number, and there is no effect to be judged without one", "not_testable"),
    "overlap": Rule("the intervals overlap, and there is an effect, or the claim has no direction and ours reaches no further "
                    "than a tenth of the paper's number", "replicated"),
    "too-wide": Rule("the intervals overlap, and ours holds no effect too, or the claim has no direction and ours reaches "
                     "further than a tenth of the paper's number", "not_testable"),
    "another-size": Rule("the intervals do not overlap, and there is an effect", "direction_only"),
    "apart": Rule("otherwise: the intervals do not overlap", "not_replicated"),
}
"""How a verdict follows, in this order: the first rule that applies gives it. docs/verdicts.md shows the same table."""

GSC_V2_SHA256 = KNOWN_ARCHIVES["speech_commands_v0.02.tar.gz"]
REACH = 0.1
"""Of the paper's number: half the width that our interval may have for its overlap with a claim without a direction to count."""

_WAKE_WORDS = {"heysnips_v2": ["heysnips_v2"], "heysnapdragon": ["heysnapdragon", "heysnips_v2"]}

Requirement = Literal["gsc_v2", "gpu", "nmnist", "shd", "dvs_gesture", "cifar10_dvs", "cifar10", "loihi2", "truenorth",
                      "jetson", "heysnips_v2", "heysnapdragon", "mswc"]
REQUIREMENT_NAMES: dict[Requirement, str] = {
    "gsc_v2": "Google Speech Commands v0.02", "gpu": "a GPU", "nmnist": "N-MNIST", "shd": "SHD",
    "dvs_gesture": "DVS-Gesture", "cifar10_dvs": "CIFAR10-DVS", "cifar10": "CIFAR-10", "loihi2": "a Loihi 2",
    "truenorth": "a TrueNorth", "jetson": "a Jetson", "heysnips_v2": "HeySnips v2", "heysnapdragon": "HeySnapdragon",
    "mswc": "MSWC"}

WITHIN_REACH = {"gsc_v2", "gpu", "heysnips_v2", "heysnapdragon", "mswc", "jetson"}
"""Requirements that a run of this version can meet."""


# ------------------------------------------------------------------------------------------------ what the papers say
class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Uncertainty(_Strict):
    """The spread a paper gives: a standard deviation over ``n`` repetitions, or just a note."""

    std: float | None = Field(None, ge=0)
    n: int | None = Field(None, ge=1)
    population: bool = False  # the std divides by n, not by n - 1
    note: str = ""


class Fact(_Strict):
    """Something a metrics file must say for the test to be the paper's own, given as a JSON pointer into it."""

    path: str
    equals: Any = None
    count: int | None = None  # length of the list found there
    name: str = Field(description="what it is, for the reader")


class Number(_Strict):
    """A number shown beside a claim's own."""

    name: str
    experiment: str
    path: str


class Equivalence(_Strict):
    """For claims that something is kept or equal: what difference from ``of`` still counts as none, in the claim's unit.

    For something kept (an accuracy), only the side of the loss counts: ``sides: below``.
    """

    margin: float = Field(gt=0)
    of: float = 0.0
    sides: Literal["both", "below", "above"] = "both"

    def holds(self, ours: Interval) -> bool:
        """Our interval lies wholly within the margin."""
        return (ours.ci_low is not None and ours.ci_high is not None
                and (self.sides == "above" or ours.ci_low > self.of - self.margin)
                and (self.sides == "below" or ours.ci_high < self.of + self.margin))

    def fails(self, ours: Interval) -> bool:
        """Our interval lies wholly beyond the margin."""
        return (ours.ci_low is not None and ours.ci_high is not None
                and ((self.sides != "above" and ours.ci_high < self.of - self.margin)
                     or (self.sides != "below" and ours.ci_low > self.of + self.margin)))

    @property
    def spoken(self) -> str:
        """
        >>> Equivalence(margin=1, sides="below").spoken, Equivalence(margin=0.1, of=1).spoken
        ('no more than 1 below zero', 'within 0.1 of 1')
        """
        of = _spoken_neutral(self.of)
        return f"within {self.margin:g} of {of}" if self.sides == "both" else f"no more than {self.margin:g} {self.sides} {of}"


class Binding(_Strict):
    """Where our number is: a JSON pointer into ``metrics/<paper>/<experiment>.json``.

    ``path`` leads to ``{"value", "ci_low", "ci_high", "n"}``; ``checks`` instead lead to ``{"holds", "why"}``.
    ``direction`` says which side of ``neutral`` the claimed effect is on, for claims that are effects: 0, or 1 for a ratio.
    ``equivalence`` takes its place where the claim is that there is none. ``corpus`` lists the corpora that may stand for
    the claim's own, where the same experiment may run on others. Where the test cannot be the paper's own (another
    corpus), ``elsewhere`` names the number that stands for it: many users tell more than one. ``exact`` says that repetitions
    may well agree to the last digit: a size, a mapping. What is counted on clips agrees by chance.
    """

    experiment: str
    path: str | None = None
    checks: list[str] = []
    direction: Literal["higher", "lower"] | None = None
    neutral: float = 0.0
    equivalence: Equivalence | None = None
    exact: bool = False
    corpus: list[str] = []
    expects: list[Fact] = []
    elsewhere: Number | None = None
    also: list[Number] = []

    @model_validator(mode="after")
    def _one_of_them(self) -> Binding:
        if (self.path is None) == (not self.checks):
            raise ValueError("give either a path or checks")
        if self.equivalence is not None and (self.direction is not None or self.checks):
            raise ValueError("equivalence is for a number without a direction")
        return self

    @property
    def experiments(self) -> list[str]:
        """The experiments whose metrics a verdict can rest on."""
        return [self.experiment] if self.elsewhere is None else [self.experiment, self.elsewhere.experiment]


class Claim(_Strict):
    """One sentence of a paper: its number, on what it was measured, where it stands, and what doubt there is about it."""

    id: str = Field(pattern=r"^[a-z]+-\d{2}$")
    paper: str
    statement: str
    value: float | tuple[float, float] | None
    unit: str | None
    uncertainty: Uncertainty = Uncertainty()
    dataset: str
    requires: list[Requirement]
    evidence: str
    doubt: str = ""
    measured: Binding | None = None

    @property
    def analytic(self) -> bool:
        """About a rule or a formula, not about speech: decided on any corpus."""
        return self.dataset.startswith("none")

    @property
    def needs(self) -> list[str]:
        """What the claim needs that no run of this version can have, by name."""
        return [REQUIREMENT_NAMES[name] for name in self.requires if name not in WITHIN_REACH]


class Paper(_Strict):
    """One file of claims.

    ``made_by`` names the rule of the workflow that makes an experiment's metrics, and under ``"*"`` that of all others.
    """

    paper: str
    title: str
    authors: str
    year: int
    url: str
    made_by: dict[str, str] = {}
    claims: list[Claim]

    def rule_of(self, experiment: str) -> str | None:
        """The workflow's rule that makes ``metrics/<paper>/<experiment>.json``, as far as the file of claims says."""
        return self.made_by.get(experiment, self.made_by.get("*"))


def read_papers(folder: str | Path, kind_of: KindOf | None = None) -> list[Paper]:
    """Every ``*.yaml`` of a folder, by file name.

    Args:
        kind_of: Which model a metrics file has; with it, every pointer of every claim is checked.

    Raises:
        UserError: The folder has none, a file is not of the shape above, an id occurs twice, or a pointer leads nowhere.
    """
    papers = [read_paper(path) for path in sorted(Path(folder).glob("*.yaml"))]
    if not papers:
        raise UserError("holds no claims (*.yaml)", where=folder, remedy="give the folder claims/ of the repository")
    seen: set[str] = set()
    for claim in (claim for paper in papers for claim in paper.claims):
        if claim.id in seen:
            raise UserError(f"claim '{claim.id}' occurs twice", where=folder, remedy="give each claim an id of its own")
        seen.add(claim.id)
        if kind_of is not None:
            check_claim(claim, kind_of, folder)
    return papers


def read_paper(path: str | Path) -> Paper:
    """Raises: UserError naming the claim and field that is wrong."""
    path = files.existing(path, "file of claims")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        shared = {"paper": found["paper"]}
        return Paper.model_validate({**found, "claims": [{**shared, **claim} for claim in found["claims"]]})
    except yaml.YAMLError as error:
        raise UserError(f"is not valid YAML ({error})", where=path, remedy="mend the file") from error
    except (TypeError, KeyError) as error:
        raise UserError("is not a mapping with 'paper' and a list 'claims'", where=path,
                        remedy="see claims/traces_propagation.yaml for the shape") from error
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        if first["loc"][:1] == ("claims",) and len(first["loc"]) > 1:
            at = f"{found['claims'][int(first['loc'][1])].get('id', '?')}: {'.'.join(map(str, first['loc'][2:]))}"
        raise UserError(f"{at}: {first['msg'].lower()}", where=path,
                        remedy="see claims/traces_propagation.yaml for the shape") from error


# ------------------------------------------------------------------------------------------------ what was measured
class CorpusFacts(BaseModel):
    """Facts of the corpus as metrics files carry them in ``provenance.corpus``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = "unknown"
    archive: str = ""
    archive_sha256: str = ""
    synthetic: bool = False
    words: list[str] = []
    clips: int | None = None
    speakers: int | None = None
    meets: list[str] = []

    @property
    def has(self) -> set[str]:
        """Which requirements are met: by this corpus, and by what the measurement says of itself (``meets``)."""
        if self.synthetic:
            return set()
        own = {"gsc_v2"} if self.archive_sha256 == GSC_V2_SHA256 else set(_WAKE_WORDS.get(self.name, []))
        return own | set(self.meets)

    @property
    def label(self) -> str:
        """Name and size, short: a number means nothing without them."""
        if self.synthetic:
            name = "synthetic speech"
        else:
            name = "GSC v0.02" if "gsc_v2" in self.has else self.archive or self.name
        sizes = [f"{size:,} {what}" for size, what in ((len(self.words) or None, "words"), (self.speakers, "speakers"),
                                                        (self.clips, "clips")) if size]
        return f"{name} ({', '.join(sizes)})" if sizes else name


def at_pointer(document: Any, pointer: str) -> Any:
    """The value a JSON pointer (RFC 6901) leads to.

    >>> at_pointer({"a": [{"b/c": 1}]}, "/a/0/b~1c")
    1

    Raises:
        KeyError: There is nothing at that place.
    """
    if pointer and not pointer.startswith("/"):
        raise KeyError(pointer)
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, Mapping) and key in document:
            document = document[key]
        elif isinstance(document, list) and key.isdecimal() and int(key) < len(document):
            document = document[int(key)]
        else:
            raise KeyError(pointer)
    return document


def interval_at(metrics: Any, pointer: str) -> Interval:
    """Raises: KeyError if there is no ``{"value", "n"}`` at the pointer."""
    found = at_pointer(metrics, pointer)
    if found is None:  # there was nobody to measure it on
        raise KeyError(pointer)
    return Interval(found["value"], found.get("ci_low"), found.get("ci_high"), found["n"])


def unmet_facts(facts: Iterable[Fact], metrics: Any) -> list[str]:
    """The names of the facts that do not hold in a metrics file."""
    def holds(fact: Fact) -> bool:
        try:
            found = at_pointer(metrics, fact.path)
        except KeyError:
            return False
        return len(found) == fact.count if fact.count is not None else bool(found == fact.equals)

    return [fact.name for fact in facts if not holds(fact)]


# ------------------------------------------------------------------------------------------------ verdicts
class Judgement(NamedTuple):
    """Which of :data:`RULES` applies, and why, with the numbers."""

    rule: str
    why: str

    @property
    def verdict(self) -> Verdict:
        return RULES[self.rule].verdict


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
    if ours.ci_low is None:
        return Judgement("one-repetition", f"one repetition gives no interval: {told}")
    if no_spread(claim, ours):
        return Judgement("no-spread", f"all repetitions gave the same value, too few for an interval: {told}")
    if corpus.synthetic or _differing(claim, corpus, differences):
        where = _where(claim, corpus, differences)
        place = "synthetic" if corpus.synthetic else "elsewhere"
        if seen:
            only = "the effect only, not its size" if corpus.synthetic else "so the direction only"
            return Judgement(f"{place}-effect", f"{where}, {only}: {told}")
        return Judgement(place, f"{where}{_no_effect(claim.measured, ours)}: {told}")
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
        return Judgement("too-wide", f"our interval holds the paper's value and {_spoken_neutral(neutral)}, "
                         f"too wide to tell: {told}")
    if seen:
        return Judgement("another-size", f"same direction, another size: {told}")
    return Judgement("apart", f"the intervals do not overlap: {told}")


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
    place = "synthetic" if corpus.synthetic else "elsewhere"
    return Judgement(place if failed else f"{place}-effect", f"{_where(claim, corpus, differences)}: {why}")


def _differing(claim: Claim, corpus: CorpusFacts, differences: Sequence[str]) -> list[str]:
    """In what a test differs from the paper's own."""
    return [*(f"not {name}" for name in _lacking(claim, corpus)), *differences]


def _where(claim: Claim, corpus: CorpusFacts, differences: Sequence[str]) -> str:
    """On what it was measured, what the claim would need, and what else differs."""
    if corpus.synthetic:
        lacking = _lacking(claim, corpus)
        instead = f" in place of {_listed(lacking)}" if lacking else ""
        return f"synthetic speech{instead}{''.join(f'; {difference}' for difference in differences)}"
    return f"measured on {corpus.label} ({'; '.join(_differing(claim, corpus, differences))})"


def _listed(names: Sequence[str]) -> str:
    """
    >>> _listed(["A"]), _listed(["A", "B", "C"])
    ('A', 'A, B and C')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


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
    return f", where our interval holds {_spoken_neutral(binding.neutral)}"


def _spoken_neutral(neutral: float) -> str:
    return "zero" if neutral == 0 else f"{neutral:g}"


def spoken(ours: Interval, unit: str | None) -> str:
    """A number as a reader wants it.

    >>> spoken(Interval(9.5, 7.25, 11.75, 30), "percentage points")
    '9.50 [7.25, 11.75] points, n = 30'
    """
    around = "" if ours.ci_low is None else f" [{ours.ci_low:.2f}, {ours.ci_high:.2f}]"
    return f"{ours.value:.2f}{around}{spoken_unit(unit)}, n = {ours.n}"


def spoken_paper(value: float | Sequence[float] | None, std: float | None, unit: str | None) -> str:
    """A paper's value with the spread it states.

    >>> spoken_paper(81.62, 2.2, "%"), spoken_paper([91, 96], None, "%"), spoken_paper(9.63, None, "x")
    ('81.62 ± 2.20 %', '91 to 96 %', '9.63×')
    """
    if value is None:
        return "no number"
    if not isinstance(value, int | float):
        return f"{value[0]:g} to {value[1]:g}{spoken_unit(unit)}"
    text = f"{value:.2f}" if std is not None or unit == "percentage points" else f"{value:g}"
    return f"{text}{'' if std is None else f' ± {std:.2f}'}{spoken_unit(unit)}"


def spoken_unit(unit: str | None) -> str:
    """
    >>> spoken_unit("x"), spoken_unit("percentage points"), spoken_unit(None)
    ('×', ' points', '')
    """
    return {None: "", "percentage points": " points", "x": "×"}.get(unit, f" {unit}")


# ------------------------------------------------------------------------------------------------ the ledger
def build_ledger(run: str, claims: str | Path, results: str | Path, provenance: Mapping[str, Any], *,
                 paper: str | None = None, kind_of: KindOf | None = None) -> dict[str, Any]:
    """The content of ``results/<run>/claims.json``: every claim with our number, the verdict and why.

    Args:
        run: Name of the run.
        claims: Folder of the papers' claims.
        results: Folder of the run's results; metrics are in ``metrics/<paper>/<experiment>.json`` below it.
        provenance: Of the ledger itself.
        paper: The claims of this paper alone.
        kind_of: See :func:`read_papers`.

    Returns:
        ``{"schema": 2, "run", "provenance", "measured_by", "papers", "claims"}``, ready for :func:`write_ledger`;
        ``measured_by`` are the versions of the code that the metrics name, which may be older than the ledger's.

    Raises:
        UserError: A file of claims or of metrics is malformed, or there is no such paper.
    """
    papers = read_papers(claims, kind_of)
    if paper is not None:
        if paper not in (known := [each.paper for each in papers]):
            raise UserError(f"holds no paper '{paper}'", where=claims, remedy=did_you_mean(paper, known))
        papers = [each for each in papers if each.paper == paper]
    return {
        "schema": SCHEMA, "run": run, "provenance": dict(provenance),
        "measured_by": sorted({str(code) for each in papers
                               for path in sorted((Path(results) / "metrics" / each.paper).glob("*.json"))
                               if (code := files.read_json(path).get("provenance", {}).get("code"))}),
        "papers": {each.paper: each.model_dump(exclude={"paper", "made_by", "claims"}) for each in papers},
        "claims": [entry(claim, Path(results) / "metrics") for each in papers for claim in each.claims],
    }


def entry(claim: Claim, metrics: Path) -> dict[str, Any]:
    """One claim's line of the ledger."""
    paper = paper_interval(claim)
    line: dict[str, Any] = {
        "id": claim.id, "paper": claim.paper, "statement": claim.statement, "unit": claim.unit,
        "paper_value": list(claim.value) if isinstance(claim.value, tuple) else claim.value,
        "paper_std": claim.uncertainty.std, "paper_ci_low": paper and paper[0], "paper_ci_high": paper and paper[1],
        "value": None, "ci_low": None, "ci_high": None, "n": None, "corpus": None,
        "verdict": None, "rule": None, "why": "", "missing": [], "metrics": [], "also": [],
        "dataset": claim.dataset, "requires": list(claim.requires), "evidence": claim.evidence, "doubt": claim.doubt}

    def judged(rule: str, why: str, **more: Any) -> dict[str, Any]:
        return {**line, "verdict": RULES[rule].verdict, "rule": rule, "why": why, **more}

    binding = claim.measured
    if binding is None:
        if claim.needs:
            return judged("out-of-reach", f"it needs {_listed(claim.needs)}, which no run of this version can have",
                          missing=[name for name in claim.requires if name not in WITHIN_REACH])
        return judged("no-test", "this version of the workflow does not measure it")
    path = metrics / claim.paper / f"{binding.experiment}.json"
    if not path.is_file():
        return judged("not-in-this-run", f"'{binding.experiment}' was not measured in this run")
    found = files.read_json(path)
    corpus = CorpusFacts.model_validate(found.get("provenance", {}).get("corpus", {}))
    line["also"] = [shown for number in binding.also if (shown := _also(number, metrics / claim.paper))]
    line["missing"] = [] if claim.analytic else _missing(claim, corpus)
    try:
        differences = unmet_facts(binding.expects, found)
        if binding.checks:
            checks = {pointer: at_pointer(found, pointer) for pointer in binding.checks}
            judgement = judge_checks(claim, checks, corpus, differences)
            return judged(*judgement, corpus="none (analytic)" if claim.analytic else corpus.label,
                          metrics=[f"{path.as_posix()}#{pointer}" for pointer in checks])
        assert binding.path is not None
        pointer = binding.path
        if (differences or line["missing"]) and binding.elsewhere is not None:
            instead = metrics / claim.paper / f"{binding.elsewhere.experiment}.json"
            if instead.is_file():
                path, pointer, found = instead, binding.elsewhere.path, files.read_json(instead)
                differences = [f"{binding.elsewhere.name} instead of the paper's one"]
        reason = _not_measured(found, pointer)
        if reason is not None:
            return judged("could-not-measure", reason)
        ours = interval_at(found, pointer)
        if binding.corpus and corpus.name not in binding.corpus:
            return judged("another-claims-corpus", f"this run is on {corpus.label}, the claim on {claim.dataset}")
    except KeyError as error:
        return judged("not-in-this-run", f"'{path.stem}' of this run holds no {error.args[0]}")
    rule, why = judge(claim, ours, corpus, differences)
    return judged(rule, why, **ours.as_dict(), corpus=corpus.label, metrics=[f"{path.as_posix()}#{pointer}"])


def _not_measured(metrics: Any, pointer: str) -> str | None:
    """Why a metrics file holds no number at a place where it might: ``{"measured": false, "why": ...}``."""
    found = at_pointer(metrics, pointer)
    return f"not measured: {found['why']}" if isinstance(found, Mapping) and found.get("measured") is False else None


def _missing(claim: Claim, corpus: CorpusFacts) -> list[Requirement]:
    """What the claim requires and this corpus is not; a GPU no longer counts once there is a measurement."""
    return [name for name in claim.requires if name != "gpu" and name not in corpus.has]


def _lacking(claim: Claim, corpus: CorpusFacts) -> list[str]:
    """The same in words."""
    return [REQUIREMENT_NAMES[name] for name in _missing(claim, corpus)]


def _also(number: Number, metrics: Path) -> dict[str, Any] | None:
    path = metrics / f"{number.experiment}.json"
    if not path.is_file():
        return None
    try:
        ours = interval_at(files.read_json(path), number.path)
    except KeyError:
        return None
    return {"name": number.name, **ours.as_dict(), "metrics": f"{path.as_posix()}#{number.path}"}


def read_ledger(path: str | Path) -> dict[str, Any]:
    """Raises: UserError if the file is missing, or no ledger of the present schema."""
    path = files.existing(path, "ledger of claims")
    found = files.read_json(path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise UserError(f"is no ledger of schema {SCHEMA}", where=path, remedy="build the claims again")
    return found


def code_of(ledger: Mapping[str, Any]) -> str:
    """The code that measured, and the ledger's own where it is another.

    >>> code_of({"measured_by": ["1 (a)"], "provenance": {"code": "1 (a)"}})
    '1 (a)'
    >>> code_of({"measured_by": ["1 (a)", "1 (b)"], "provenance": {"code": "1 (b)"}})
    '1 (a) and 1 (b), judged by 1 (b)'
    """
    own, measured = str(ledger["provenance"].get("code", "unknown")), ledger.get("measured_by") or []
    return own if measured in ([], [own]) else f"{_listed(measured)}, judged by {own}"


def is_decided(line: Mapping[str, Any]) -> bool:
    """Whether a line of the ledger holds a number of ours, or the outcome of a check."""
    return line["value"] is not None or line["verdict"] not in ("not_testable", "not_run")


def verdict_counts(ledger: Mapping[str, Any]) -> dict[str, int]:
    """How many claims got each verdict, in the order of :data:`VERDICTS`, without those that none got."""
    given = [claim["verdict"] for claim in ledger["claims"]]
    return {verdict: given.count(verdict) for verdict in VERDICTS if verdict in given}


_COLUMNS = ("id", "paper", "statement", "unit", "paper_value", "paper_std", "value", "ci_low", "ci_high", "n", "corpus",
            "verdict", "rule", "why", "missing", "dataset", "doubt")


def ledger_csv(ledger: Mapping[str, Any]) -> str:
    """The ledger as CSV, one line per claim; a range of the paper is written ``low..high``."""
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for claim in ledger["claims"]:
        value = claim["paper_value"]
        table.writerow({**claim, "missing": " ".join(claim["missing"]),
                        "paper_value": "..".join(map(str, value)) if isinstance(value, list) else value})
    return text.getvalue()


def claims_table(claims: Iterable[Mapping[str, Any]]) -> Markup:
    """Lines of a ledger as an HTML table, without styles of its own."""
    def sortable(value: Any) -> Any:
        return value[0] if isinstance(value, list) else "" if value is None else value

    return Markup(_templates().get_template("claims_table.html").render(
        claims=list(claims), spoken_paper=spoken_paper, unit=spoken_unit, sortable=sortable, labels=VERDICT_LABELS,
        order={verdict: place for place, verdict in enumerate(VERDICTS)}))


def ledger_html(ledger: Mapping[str, Any]) -> str:
    """The ledger as a plain page of its own, a table for each paper."""
    tables = [(f"{about['title']} ({about['authors']}, {about['year']})",
               claims_table(claim for claim in ledger["claims"] if claim["paper"] == paper))
              for paper, about in ledger["papers"].items()]
    return _templates().get_template("claims_page.html").render(ledger=ledger, tables=tables) + "\n"


def _templates() -> Environment:
    return Environment(loader=PackageLoader("edgekws.ledger"), autoescape=True, undefined=StrictUndefined)


def write_ledger(out: str | Path, ledger: Mapping[str, Any]) -> None:
    """Write ``<out>.json`` and beside it the same as ``.csv`` and as an ``.html`` page."""
    out = Path(out)
    files.write_text(out.with_suffix(".csv"), ledger_csv(ledger))
    files.write_text(out.with_suffix(".html"), ledger_html(ledger))
    files.write_json(out, ledger)
