"""What the papers say, as data: ``claims/<paper>.yaml``, and the facts of a corpus that decide what a number is worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus.index import KNOWN_ARCHIVES
from edgekws.ledger.pointers import KindOf, check_claim
from edgekws.ledger.wording import spoken_neutral
from edgekws.protocol.statistics import Interval

GSC_V2_SHA256 = KNOWN_ARCHIVES["speech_commands_v0.02.tar.gz"]

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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Uncertainty(_Strict):
    """The spread a paper gives: a standard deviation over ``n`` repetitions, or just a note."""

    std: float | None = Field(None, ge=0)
    n: int | None = Field(None, ge=1)
    population: bool = False  # the std divides by n, not by n - 1
    note: str = ""


class Fact(_Strict):
    """Something a metrics file must say for the test to be the paper's own, given as a JSON pointer into it.

    It ``equals`` a value, is ``among`` several, is a list of ``count`` entries, or ``at_least`` a number (of a list: its length).
    """

    path: str
    equals: Any = None
    among: list[Any] | None = None
    count: int | None = None
    at_least: float | None = None
    name: str = Field(description="in what a test differs that does not meet it, for the reader")

    @model_validator(mode="after")
    def _one_of_them(self) -> Fact:
        if len(self.model_fields_set & {"equals", "among", "count", "at_least"}) != 1:
            raise ValueError("give one of equals, among, count and at_least")
        return self

    def holds(self, metrics: Any) -> bool:
        """Whether a metrics file says so."""
        try:
            found = at_pointer(metrics, self.path)
        except KeyError:
            return False
        if self.count is not None:
            return isinstance(found, list) and len(found) == self.count
        if self.at_least is not None:
            size = len(found) if isinstance(found, list) else found
            return isinstance(size, int | float) and not isinstance(size, bool) and size >= self.at_least
        return found in self.among if self.among is not None else bool(found == self.equals)


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
        of = spoken_neutral(self.of)
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

    @field_validator("expects", mode="before")
    @classmethod
    def _flat(cls, expects: Any) -> Any:
        if not isinstance(expects, list):
            return expects
        return [fact for some in expects for fact in (some if isinstance(some, list) else [some])]

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
        UserError: The folder has none, a file is not of the shape above, or an id occurs twice.
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
        # libyaml where PyYAML has it: Snakemake reads all claims at every start, which takes 0.4 s without.
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
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
