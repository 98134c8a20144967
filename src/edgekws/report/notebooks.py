"""Execute a notebook with papermill, strictly: what papermill accepts in silence is refused here."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgekws.core import files
from edgekws.core.errors import UserError, did_you_mean


def execute(notebook: str | Path, out: str | Path, parameters: Mapping[str, str]) -> None:
    """Execute ``notebook`` in the present folder, by this interpreter, and write the executed copy.

    Times and paths are left out of the copy, so that the same inputs give the same file.

    Args:
        notebook: Template with a cell tagged ``parameters``.
        out: Executed copy to write; nothing is left behind if a cell fails.
        parameters: Values by name; each name must be in the tagged cell.

    Raises:
        UserError: The file is missing or is not a notebook, the notebook has no such parameter, or one of its cells failed.
    """
    import nbformat
    import papermill

    notebook = files.existing(notebook, "notebook")
    try:
        known = papermill.inspect_notebook(str(notebook))
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise UserError("is not a notebook", where=notebook, remedy="give an .ipynb file") from error
    for name in parameters:
        if name not in known:
            raise UserError(f"does not know the parameter '{name}'", where=notebook, remedy=did_you_mean(name, known))
    with _own_jupyter() as folder:
        made = folder / "executed.ipynb"
        try:
            papermill.execute_notebook(str(notebook), str(made), parameters=dict(parameters), kernel_name="python3",
                                       progress_bar=False)
        except (RuntimeError, OSError) as error:  # the kernel died or could not be started
            raise UserError(f"could not be run ({error})", where=notebook,
                            remedy=f"see that `{sys.executable} -m ipykernel --version` answers") from error
        except papermill.PapermillExecutionError as error:
            raise UserError(f"cell {error.exec_count} failed: {error.ename}: {error.evalue}", where=notebook,
                            remedy="check the files that its parameters name") from error
        executed = nbformat.read(made, as_version=4)  # type: ignore[no-untyped-call]
    executed.metadata.pop("papermill", None)
    for number, cell in enumerate(executed.cells):
        cell.id = f"cell-{number}"
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
    files.write_text(out, nbformat.writes(executed) + "\n")  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _own_jupyter() -> Iterator[Path]:
    """A folder for this run's configuration of Jupyter and IPython: nobody's own kernels, start-up files or settings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kernel = folder / "kernels" / "python3"
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps({
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Python 3",
            "language": "python"}), encoding="utf-8")
        apart = {f"JUPYTER_{what}": name for what in ("PATH", "DATA_DIR", "CONFIG_DIR", "RUNTIME_DIR")}
        before = dict(os.environ)
        os.environ |= {**apart, "JUPYTER_NO_CONFIG": "1", "IPYTHONDIR": name, "PYTHONSTARTUP": ""}
        try:
            yield folder
        finally:
            os.environ.clear()
            os.environ |= before
