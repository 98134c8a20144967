"""The tutorial runs as it is written, and what the documentation shows of it is that notebook."""

import json

import pytest
from tests.workflow.conftest import ROOT

from edgekws.report import notebooks

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("finished run")]


def test_the_tutorial_runs(finished, tmp_path, monkeypatch):
    run = finished.results()
    monkeypatch.chdir(ROOT)
    notebooks.execute(ROOT / "notebooks" / "tutorial.ipynb", tmp_path / "tutorial.ipynb", {
        "base": str(run / "models" / "traces_propagation" / "base_frozen_seed0.safetensors"),
        "archive": str(run / "corpus" / "synthetic.tar"), "index": str(run / "corpus" / "index.parquet")})
    shown = (tmp_path / "tutorial.ipynb").read_text(encoding="utf-8")
    assert "learnt from" in shown and "image/png" in shown and "said:" in shown


def test_the_page_is_the_notebook_executed():
    source, page = (json.loads((ROOT / folder / "tutorial.ipynb").read_text(encoding="utf-8"))
                    for folder in ("notebooks", "docs"))
    assert [cell["source"] for cell in page["cells"]] == [cell["source"] for cell in source["cells"]], "run `make tutorial`"
    assert all(cell["outputs"] for cell in page["cells"][4:] if cell["cell_type"] == "code")
