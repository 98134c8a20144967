"""Commands about notebooks and the report. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgekws.core.options import example

app = typer.Typer(no_args_is_help=True, help="Notebooks, figures and the report.")


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """``name=value`` of an option that may be repeated, by name."""
    for text in given or ():
        if not text.partition("=")[0] or "=" not in text:
            raise typer.BadParameter(f"'{text}' is not of the form name=value", param_hint=option)
    return dict(text.split("=", 1) for text in given or ())


@app.command("notebook", epilog=example("report notebook notebooks/tutorial.ipynb docs/tutorial.ipynb"))
def notebook(
    notebook: Annotated[Path, typer.Argument(help="Template (.ipynb) with a cell tagged `parameters`.")],
    out: Annotated[Path, typer.Argument(help="Executed copy to write (.ipynb).")],
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE",
                                                        help="A parameter of the notebook; may be repeated.")] = None,
) -> None:
    """Execute a notebook with papermill; an unknown parameter is refused, a failed run leaves nothing."""
    from edgekws.report import notebooks

    notebooks.execute(notebook, out, _pairs("--parameter", parameter))


@app.command("rulegraph", epilog=example("report rulegraph rulegraph.svg --dot rulegraph.dot"))
def rulegraph(
    out: Annotated[Path, typer.Argument(help="Picture to write (.svg).")],
    dot: Annotated[Path | None, typer.Option(help="Rule graph in dot form; default: standard input.")] = None,
) -> None:
    """Draw Snakemake's rule graph without graphviz."""
    from edgekws.core import files
    from edgekws.report import rulegraph

    files.write_text(out, rulegraph.draw(dot.read_text(encoding="utf-8") if dot else sys.stdin.read()))


@app.command("build", epilog=example(
    "report build results/demo results/demo/report.html --deviations docs/deviations.md --config results/demo/config.json"))
def build(
    results: Annotated[Path, typer.Argument(help="Folder of the run's results.")],
    out: Annotated[Path, typer.Argument(help="Report to write (.html).")],
    name: Annotated[list[str] | None, typer.Option("--name", metavar="PAPER=NAME", help="What a paper is called, in the order "
                                                   "to show them in; may be repeated.")] = None,
    deviations: Annotated[Path | None, typer.Option(help="Where the papers are silent, what was chosen (.md).")] = None,
    config: Annotated[Path | None, typer.Option(help="The run's whole configuration (.json).")] = None,
) -> None:
    """Write the report: one self-contained page, from the claims down to how it was made."""
    from edgekws import report

    report.build(results, out, names=_pairs("--name", name), deviations=deviations, config=config)
