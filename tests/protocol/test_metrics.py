"""Metrics files: written and read by their models, and pointers into the models."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.protocol import metrics
from edgekws.protocol.metrics import Cell, Check, Fields, Metrics, NotMeasured, Number, Of, Shot, check_pointer
from edgekws.protocol.settings import Training


class Row(Fields):
    user: str
    gain: Number


class Toy(Metrics):
    experiment: Literal["toy"]
    settings: Annotated[dict[str, Any], Of(dict[Literal["training"], Training])]
    summary: dict[Literal["mine", "theirs"], dict[Shot, Cell | NotMeasured]]
    by_share: dict[Annotated[str, Field(pattern=r"^\d+$")], Cell | None]
    checks: dict[Literal["holds_up"], Check]
    rows: list[Row]


CELL = {"value": 2, "ci_low": 1.0, "ci_high": 3.5, "n": 4, "std": 0.5}


def toy(**changed: Any) -> dict[str, Any]:
    """Fields in another order than the model's, whole floats, and one that the model does not know."""
    return {"schema": 1, "paper": "toys", "rows": [{"gain": 1.0, "user": "u0", "fold": 0}, {"gain": 1, "user": "u1"}],
            "experiment": "toy", "settings": {"training": {"epochs": 3}, "old": 1}, "provenance": {"code": "1", "corpus": {}},
            "checks": {"holds_up": {"holds": True, "why": "é"}}, "more": [1.0, 1, None], "by_share": {},
            "summary": {"mine": {"all": CELL, "1": {"measured": False, "why": "no clock"}}}, **changed}


def test_what_is_written_is_byte_for_byte_what_it_was_and_read_again(tmp_path):
    plain, ours, again = (tmp_path / name for name in ("plain.json", "ours.json", "again.json"))
    files.write_json(plain, toy())
    metrics.write(ours, toy(), Toy)
    found = metrics.read(ours, Toy)
    metrics.write(again, found)
    assert plain.read_bytes() == ours.read_bytes() == again.read_bytes()
    assert found.content == toy() and list(found.content) == list(toy())
    cell = found.summary["mine"]["all"]
    assert isinstance(cell, Cell) and (cell.value, cell.n) == (2, 4) and isinstance(found.summary["mine"]["1"], NotMeasured)


def test_a_model_that_was_made_here_is_written_without_what_was_not_given(tmp_path):
    made = Toy(schema=1, paper="toys", experiment="toy", settings={}, provenance={}, summary={"mine": {"all": Cell(**CELL)}},
               by_share={}, checks={}, rows=[])
    metrics.write(tmp_path / "made.json", made)
    content = json.loads((tmp_path / "made.json").read_text())
    assert content["schema"] == 1 and content["summary"] == {"mine": {"all": CELL}} and "seeds" not in content


@pytest.mark.parametrize(("changed", "field"), [
    ({"schema": 2}, "schema"), ({"experiment": "tyo"}, "experiment"), ({"provenance": None}, "provenance"),
    ({"summary": {"mine": {"all": {"value": 1.0}}}}, r"summary\.mine\.all"), ({"summary": {"yours": {}}}, r"summary\.yours"),
    ({"summary": {"mine": {"0": CELL}}}, r"summary\.mine\.0"), ({"rows": [{"user": "u", "gain": "1"}]}, r"rows\.0\.gain"),
    ({"checks": {"holds_up": {"holds": 1, "why": ""}}}, r"checks\.holds_up\.holds")])
def test_what_is_not_of_its_kind_is_refused_with_its_field(changed, field, tmp_path):
    path = tmp_path / "toy.json"
    with pytest.raises(UserError, match=rf"toy\.json.*\(Toy\).*'{field}"):
        metrics.write(path, toy(**changed), Toy)
    assert not path.exists(), "nothing of it is written"
    files.write_json(path, toy(**changed))
    with pytest.raises(UserError, match=rf"toy\.json.*\(Toy\).*'{field}"):
        metrics.read(path, Toy)


@pytest.mark.parametrize("text", ["[]", "1", "{}"])
def test_what_is_no_metrics_file_at_all_is_refused(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json"):
        metrics.read(tmp_path / "a.json", Metrics)


@pytest.mark.parametrize(("pointer", "wanted"), [
    ("", None), ("/summary/mine/all", Cell), ("/summary/theirs/12", Cell), ("/by_share/50", Cell), ("/checks/holds_up", Check),
    ("/schema", None), ("/rows/3/user", None), ("/settings/training/epochs", None), ("/provenance/corpus/words", None),
    ("/summary/mine/all/value", None), ("/seeds/0", None)])
def test_a_pointer_leads_through_fields_keys_lists_and_unions(pointer, wanted):
    check_pointer(Toy, pointer, wanted)


@pytest.mark.parametrize(("pointer", "wanted", "told"), [
    ("/sumary/mine/all", Cell, r"no 'sumary' in the file\n.*did you mean 'summary'"),
    ("/schema_", None, "did you mean 'schema'"),
    ("/summary/mien/all", Cell, r"no 'mien' in /summary\n.*did you mean 'mine'"),
    ("/summary/mine/some", Cell, "no 'some' in /summary/mine"),
    ("/by_share/half", Cell, "no 'half'"), ("/rows/first", None, "no 'first'"), ("/rows/0/gian", None, "did you mean 'gain'"),
    ("/settings/old", None, "choose one of: training"), ("/settings/training/epoch", None, "did you mean 'epochs'"),
    ("/provenance/corpus/word", None, "did you mean 'words'"), ("/paper/first", None, "no 'first' in /paper"),
    ("/summary/mine/all/std", None, "no 'std'"), ("/summary/mine", Cell, "not lead to a number with its interval"),
    ("/rows/0/gain", Cell, "not lead to a number with its interval"), ("/checks/holds_up", Cell, "not lead to a number"),
    ("/summary/mine/all", Check, "not lead to a check"), ("summary", None, "is no JSON pointer")])
def test_a_pointer_that_leads_nowhere_is_told_with_what_is_there(pointer, wanted, told):
    with pytest.raises(UserError, match=told):
        check_pointer(Toy, pointer, wanted)
