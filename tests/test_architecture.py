"""What may import what, how long a module may be, and that no central file names a method."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY

from edgekws.core import registry

SOURCE = REPOSITORY / "src" / "edgekws"
# The public names of `edgekws` are the one door that knows where each learning rule lives.
# What runs on a device is Traces Propagation, and it is measured beside the bench.
CENTRAL = sorted(path for path in SOURCE.rglob("*.py")
                 if not {"methods", "embedded"} & set(path.relative_to(SOURCE).parts) and path != SOURCE / "__init__.py")
NAMES = sorted({path.parent.name for path in (SOURCE / "methods").glob("*/__init__.py")})


def test_imports_point_one_way():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_room_is_in_the_contract():
    """A new folder or module at the top has a place in the order, or the contract says nothing of it."""
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    layers = re.search(r"^layers = \[(.*)\]$", (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert layers is not None
    assert rooms - {"__init__"} == set(re.findall(r'"(\w+)"', layers[1]))


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_module_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", CENTRAL, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_central_module_imports_a_method(path):
    """Docstrings may name a method as an example; code may not."""
    code = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import) edgekws\.methods\.\w+", code, re.MULTILINE)


def test_every_method_has_one_name_everywhere():
    assert NAMES
    for name in NAMES:
        for path in (f"workflow/rules/{name}.smk", f"notebooks/{name}.ipynb", f"claims/{name}.yaml", f"tests/methods/{name}"):
            assert (REPOSITORY / path).exists(), path
    assert set(registry.names("cli")) == set(registry.names("settings")) == set(NAMES)
