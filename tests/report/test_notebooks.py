import ast
import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest

from edgekws.core.errors import UserError
from edgekws.report import notebooks

REPOSITORY = Path(__file__).parents[2]


def notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    source = notebook(tmp_path / "a.ipynb", "metrics = 'x'", "raise SystemExit")
    with pytest.raises(UserError, match="does not know the parameter 'metrisc'") as error:
        notebooks.execute(source, tmp_path / "out.ipynb", {"metrisc": "y"})
    assert "did you mean 'metrics'?" in str(error.value)
    assert not (tmp_path / "out.ipynb").exists()


def test_what_is_no_notebook_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such notebook"):
        notebooks.execute(tmp_path / "none.ipynb", tmp_path / "out.ipynb", {})
    (tmp_path / "a.ipynb").write_text("not JSON")
    with pytest.raises(UserError, match="is not a notebook"):
        notebooks.execute(tmp_path / "a.ipynb", tmp_path / "out.ipynb", {})


@pytest.mark.slow
def test_a_persons_own_jupyter_and_ipython_change_nothing(tmp_path, monkeypatch):
    """A foreign kernel of the same name, start-up files and settings in the home folder."""
    kernel = tmp_path / "home" / ".local" / "share" / "jupyter" / "kernels" / "python3"
    startup = tmp_path / "home" / ".ipython" / "profile_default" / "startup"
    for folder in (kernel, startup):
        folder.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["false", "{connection_file}"], "display_name": "x",
                                                    "language": "R"}))
    (startup / "00.py").write_text("metrics = 'theirs'; print('hello')")
    (tmp_path / "startup.py").write_text("print('hello')")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    source = notebook(tmp_path / "a.ipynb", "metrics = 'ours'", "import sys; print(sys.executable, metrics)")
    notebooks.execute(source, tmp_path / "out.ipynb", {"metrics": "given"})
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    printed = [output.text for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert printed == [f"{sys.executable} given\n"]
    assert dict(os.environ) == before


def test_a_kernel_that_dies_is_told_in_one_sentence(tmp_path):
    source = notebook(tmp_path / "a.ipynb", "metrics = 'x'", "import os; os._exit(3)")
    with pytest.raises(UserError, match="could not be run") as error:
        notebooks.execute(source, tmp_path / "out.ipynb", {})
    assert "ipykernel" in error.value.remedy and not (tmp_path / "out.ipynb").exists()


def execute(results, out="notebook.ipynb", paper="traces_propagation"):
    notebooks.execute(REPOSITORY / "notebooks" / f"{paper}.ipynb", results / out, {
        "metrics": str(results / "metrics" / paper), "figures": str(results / "figures"),
        "claims": str(REPOSITORY / "claims" / f"{paper}.yaml")})
    return json.loads((results / "figures" / f"{paper}.json").read_text())


FIGURES = {"encoder_grid", "ablation", "adaptive_threshold", "noise", "mapping", "utilisation", "energy", "loihi"}


@pytest.mark.slow
@pytest.mark.parametrize("measured", [{"seeds": 3, "ran": True}, {"seeds": 1, "ran": False}], ids=["whole", "bare"])
def test_neuedges_template_draws_every_figure(made_up_run, measured):
    results = made_up_run(experiments=("one_user",), neuedge=measured, synthetic=not measured["ran"])
    captions = execute(results, paper="neuedge")
    assert set(captions) == FIGURES
    assert {path.name for path in (results / "figures").iterdir()} == {
        "neuedge.json", *(f"{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png"))}
    assert ("Lava agrees: 45,000 of 45,000 values equal" in captions["loihi"]["caption"]) is measured["ran"]
    assert ("so no intervals" in captions["ablation"]["caption"]) is (measured["seeds"] == 1)
    assert ("synthetic speech" in captions["ablation"]["caption"]) is not measured["ran"]
    # The paper's own steps, from its claims: 380, 312, 294, 201, 187 mW.
    for told in ("-17.9 %", "-5.8 %", "-31.6 %", "-7.0 %"):
        assert told in captions["ablation"]["caption"]
    assert "from 3,000 to 5,700 a clip" in captions["encoder_grid"]["caption"]


ONDA_FIGURES = {"pareto", "personalisation_gain", "detection_error", "conditions", "pruning_controls", "pruning_cost", "hessian"}


@pytest.mark.slow
@pytest.mark.parametrize("measured", [{"users": 5}, {"users": 1, "seeds": 1, "whole": False}], ids=["whole", "bare"])
def test_ondas_template_draws_every_figure(made_up_run, measured):
    whole = measured.get("whole", True)
    results = made_up_run(experiments=("one_user",), onda=measured, synthetic=whole)
    captions = execute(results, paper="onda")
    assert set(captions) == ONDA_FIGURES
    assert all(set(about) == {"title", "see", "caption", "alt"} for about in captions.values())
    assert {path.name for path in (results / "figures").iterdir()} == {
        "onda.json", *(f"{name}.{suffix}" for name in ONDA_FIGURES for suffix in ("svg", "png"))}
    assert ("so no intervals" in captions["pareto"]["caption"]) is not whole
    assert ("up to 3.33×, of ResNet15" in captions["pareto"]["caption"]) is whole
    assert "up to 9.63×, of DS-CNN-L" in captions["pareto"]["caption"]
    assert ("synthetic speech" in captions["pareto"]["caption"]) is whole
    assert "0.5 an hour over 4.25 h of negatives allows 2 false alarms" in captions["detection_error"]["caption"]
    assert ("OnDA-2 against HAP, after" in captions["pruning_controls"]["caption"]) is whole
    assert ("Energy was not measured: this machine shows no energy counter" in captions["pruning_cost"]["caption"]) is not whole
    assert "26 to 42 % of OnDA-1's time" in captions["pruning_cost"]["caption"]  # 6 s of 23.2, 19.0 and 14.2
    assert "slope is -0.50" in captions["hessian"]["caption"]


@pytest.mark.slow
def test_ondas_template_names_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"cell \d+ failed: UserError: .* holds no metrics of an experiment"):
        execute(tmp_path, paper="onda")


@pytest.mark.slow
def test_the_template_draws_every_figure_and_the_same_bytes_again(made_up_run):
    results = made_up_run()
    captions = execute(results)
    assert set(captions) == {"few_shot", "gain_per_user", "forgetting", "people", "who_gains", "gain_forgetting", "one_clip"}
    assert all(set(about) == {"title", "see", "caption", "alt"} for about in captions.values())
    assert "81.6 % before" in captions["few_shot"]["caption"]
    assert "synthetic speech" in captions["gain_per_user"]["caption"]
    pictures = {path.name: path.read_bytes() for path in sorted((results / "figures").iterdir())}
    assert set(pictures) == {"traces_propagation.json", *(f"{name}.{suffix}" for name in captions
                                                          for suffix in ("svg", "png"))}
    first = (results / "notebook.ipynb").read_bytes()
    execute(results)
    assert {path.name: path.read_bytes() for path in sorted((results / "figures").iterdir())} == pictures
    assert (results / "notebook.ipynb").read_bytes() == first


@pytest.mark.slow
def test_the_template_bears_missing_experiments(made_up_run):
    results = made_up_run(synthetic=False, experiments=("one_user",))
    captions = execute(results)
    assert len(captions) == 7 and "not measured" in captions["who_gains"]["caption"]
    printed = (results / "notebook.ipynb").read_text()
    missing = "many users; many users, beside the rule; many users, per-set normalisation; many users, tuned budget"
    assert f"Not measured in this run: {missing}" in printed
    assert "synthetic" not in captions["few_shot"]["caption"]


@pytest.mark.slow
def test_a_failing_cell_is_told_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"cell \d+ failed: UserError: .* holds no metrics of an experiment"):
        execute(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("paper", ["traces_propagation", "neuedge", "onda", "alternatives"])
def test_every_figure_says_what_to_see_here_and_in_snakemakes_report_alike(paper):
    cells = json.loads((REPOSITORY / "notebooks" / f"{paper}.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found = re.findall(r'captions\["(\w+)"\] = \{\n    "title": .*?\n    "see": (".*?"),\n    "caption"', code, re.DOTALL)
    assert len(found) == code.count('captions["') and len(found) >= 3
    for name, text in found:
        there = (REPOSITORY / "workflow" / "report" / f"{name}.rst").read_text().split()
        assert ast.literal_eval(f"({text})").split() == there, name
