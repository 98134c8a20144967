"""What makes a test the paper's own: every setting that a claim binds decides about its verdict."""

import json

import pytest
from tests.ledger.test_claims import CLAIMS

from edgekws.ledger.build import entry
from edgekws.ledger.schema import Fact, read_papers
from edgekws.ledger.verdict import unmet_facts
from edgekws.methods.traces_propagation.settings import TracesPropagation

NUMBERS = {claim.id: claim for paper in read_papers(CLAIMS) for claim in paper.claims if claim.measured and claim.measured.path}
BOUND = [pytest.param(name, fact, id=f"{name}:{fact.path}") for name, claim in NUMBERS.items() for fact in claim.measured.expects]


def put(document, pointer, value):
    """Write a value where a JSON pointer leads, making what is not there."""
    *way, last = pointer[1:].split("/")
    for part, following in zip(way, [*way, last][1:], strict=True):
        if isinstance(document, list):
            document += [{}] * (int(part) + 1 - len(document))
            document = document[int(part)]
        else:
            document = document.setdefault(part, [] if following.isdecimal() else {})
    document[last] = value


def meeting(fact):
    if fact.count is not None:
        return [f"word{number}" for number in range(fact.count)]
    if fact.at_least is not None:
        return list(range(int(fact.at_least))) if fact.path == "/seeds" else fact.at_least
    return fact.among[0] if fact.among is not None else fact.equals


def another(value, fact):
    """A value that does not meet a fact, made from one that does."""
    if fact.at_least is not None or fact.count is not None:
        return value[1:] if isinstance(value, list) else value - 0.01
    match value:
        case bool():
            return not value
        case int() | float():
            return 2 * value + 1
        case list():
            return [*value, value[0]]
        case _:
            return f"not {value}"


def interval(claim):
    """Our number where it is just what the claim says."""
    measured = claim.measured
    if measured.equivalence is not None:
        middle, half = measured.equivalence.of, measured.equivalence.margin / 2
    elif claim.value is None:
        middle, half = measured.neutral + (1 if measured.direction == "higher" else -1), 0.5
    else:
        middle = sum(claim.value) / 2 if isinstance(claim.value, tuple) else claim.value
        half = 0.01 * abs(middle)
    return {"value": middle, "ci_low": middle - half, "ci_high": middle + half, "n": 12}


def complete(claim):
    """A metrics file that meets all that a claim asks for."""
    metrics = {"provenance": {"corpus": {"name": (claim.measured.corpus or ["any"])[0], "meets": list(claim.requires)}}}
    put(metrics, claim.measured.path, interval(claim))
    for fact in claim.measured.expects:
        put(metrics, fact.path, meeting(fact))
    return metrics


def verdict_of(claim, metrics, folder):
    path = folder / claim.paper / f"{claim.measured.experiment}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(metrics))
    return entry(claim, folder)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_file_that_meets_every_setting_replicates_the_claim(name, tmp_path):
    line = verdict_of(NUMBERS[name], complete(NUMBERS[name]), tmp_path)
    assert line["verdict"] == "replicated", line["why"]


@pytest.mark.parametrize(("name", "fact"), BOUND)
def test_one_other_setting_makes_it_another_test(name, fact, tmp_path):
    claim = NUMBERS[name]
    metrics = complete(claim)
    put(metrics, fact.path, another(meeting(fact), fact))
    if fact.path.endswith("/measured"):  # what was not measured says why
        put(metrics, fact.path.removesuffix("measured") + "why", fact.name)
    line = verdict_of(claim, metrics, tmp_path)
    assert line["verdict"] != "replicated" and fact.name in line["why"]


def test_the_default_settings_of_traces_propagation_are_the_papers():
    chosen = TracesPropagation()
    experiment = chosen.experiments["one_user"]
    settings = {"tuned": experiment.tuned, "budgets": {"traces_propagation": chosen.methods.traces_propagation.model_dump()},
                "base": {"network": chosen.network.model_dump(), "base": chosen.base.model_dump(),
                         "features": chosen.features.model_dump(), "normalisation": experiment.normalisation,
                         "excluded": ["c50f55b8"]}}
    facts = [fact for fact in NUMBERS["tp-01"].measured.expects
             if fact.path.startswith("/settings") and not fact.path.startswith("/settings/plan")]
    assert len(facts) == 26 and not unmet_facts(facts, {"settings": settings})


def test_a_feed_forward_net_with_other_leaks_is_told_what_it_is(tmp_path):
    claim = NUMBERS["tp-05"]
    metrics = complete(claim)
    metrics["settings"]["base"]["network"] |= {"recurrent": False, "threshold": 2.0, "membrane_leak": 0.5, "trace_leak": 0.5,
                                               "reset": "soft"}
    metrics["settings"]["base"] |= {"normalisation": "frozen", "base": {"learning_rate": 0.01}}
    why = verdict_of(claim, metrics, tmp_path)["why"]
    for said in ("a network without recurrence", "another threshold", "another membrane leak", "another trace leak",
                 "another reset", "another normalisation", "another base training"):
        assert why.count(said) == 1


@pytest.mark.parametrize(("found", "holds"), [
    (3, True), (2.9, False), ([1, 2, 3], True), ([1, 2], False), (True, False), ("4", False), (None, False)])
def test_at_least_is_of_a_number_or_of_a_list(found, holds):
    assert Fact(path="/seeds", at_least=3, name="few").holds({"seeds": found}) == holds


@pytest.mark.parametrize("form", [{}, {"equals": 3, "at_least": 3}, {"count": 3, "among": [3]}])
def test_a_fact_has_one_form(form):
    with pytest.raises(ValueError, match="give one of"):
        Fact(path="/seeds", name="few", **form)
