"""Commands about a run as a whole: how far it has come, and what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekws.core.errors import UserError
from edgekws.core.options import example
from edgekws.core.text import aligned

if TYPE_CHECKING:
    from edgekws.run.measured import Measured

app = typer.Typer(no_args_is_help=True, help="A run as a whole: how far it has come, and what it needs.")

_COMMITTED = Path("docs/benchmarks.json")

ConfigFiles = Annotated[list[Path] | None, typer.Option(
    "--configfile", metavar="YAML", help="Configuration of the run, as for Snakemake; may be repeated. Default: the demo.")]
MeasuredPaths = Annotated[list[Path] | None, typer.Option(
    "--measured", metavar="RUN|JSON", help="What was measured: a folder results/<run>, or a summary that `edgekws run "
    "measured` wrote; may be repeated. Default: the summary in docs/, and all runs in results/.")]
Cores = Annotated[list[int] | None, typer.Option(min=1, help="Cores to estimate the time on; may be repeated.")]


def _measured(sources: list[Path] | None) -> Measured:
    from edgekws.run import measured

    if sources:
        return measured.load(sources)
    found, readable = measured.runs_in(Path("results")), []
    for folder in found:
        try:
            readable.append(measured.summarise([folder]))
        except UserError as error:
            typer.echo(f"passed over: {error.args[0].splitlines()[0]}", err=True)
    if _COMMITTED.is_file():  # of larger runs than may be here
        readable.append(measured.load([_COMMITTED]))
    if not readable:
        raise UserError("no run has been measured yet", where="results", remedy="run the demo (make), or name a summary by "
                        "--measured")
    return measured.together(readable)


@app.command("status", epilog=example("run status --configfile config/demo.yaml"))
def status(configfile: ConfigFiles = None, measured: MeasuredPaths = None, cores: Cores = None) -> None:
    """What of a run is built, out of date or missing, and what building the rest would cost."""
    from edgekws.run import estimate, page, workflow

    configfiles = configfile or [Path("config/demo.yaml")]
    workflow.read_config(configfiles)  # what is wrong with the settings is reported before anything else
    named = _measured(measured) if measured else None
    jobs = workflow.plan(configfiles)
    typer.echo(aligned(page.status_table(jobs)))
    rest = [job for job in jobs if job.status != "built"]
    if not rest:
        typer.echo("\nEverything is built.")
        return
    rates = named or _measured(None)
    found = estimate.estimate(rest, rates)
    typer.echo("\nThe rest: " + page.needs(found, cores or _here()))
    for line in [page.footing(found, rates), *page.caveats(found)]:
        typer.echo(line)


@app.command("cost", epilog=example("run cost --configfile config/paper.yaml --cores 128"))
def cost(
    configfile: ConfigFiles = None, measured: MeasuredPaths = None, cores: Cores = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this page, too (.md).")] = None,
    table: Annotated[Path | None, typer.Option(help="Write a table by method between the markers of this page (.md).")] = None,
) -> None:
    """What a whole run needs: jobs, core hours and memory by rule, estimated from benchmarks."""
    from edgekws.core import files
    from edgekws.run import estimate, page, workflow

    configfiles = configfile or [Path("config/demo.yaml")]
    config = workflow.read_config(configfiles)
    rates = _measured(measured)
    found = estimate.estimate(workflow.plan(configfiles, status=False), rates)
    chosen = cores or [2, 16, 128]
    typer.echo(aligned(page.cost_table(found)))
    for line in ["", page.needs(found, chosen), page.footing(found, rates), *page.caveats(found)]:
        typer.echo(line)
    if table is not None:
        files.write_between(table, page.BEGIN, page.END, page.markdown_table(page.paper_table(found)))
    if markdown is not None:
        options = [*(f"--configfile {path}" for path in configfiles), *(f"--measured {path}" for path in measured or ()),
                   *(f"--cores {some}" for some in cores or ()), f"--markdown {markdown}",
                   *([f"--table {table}"] if table else [])]
        files.write_text(markdown, page.markdown(found, rates, title=f"What the run `{config.run}` needs",
                                                 command=f"edgekws run cost {' '.join(options)}", cores=chosen))


@app.command("measured", epilog=example("run measured results/demo --out measured.json"))
def measured_(
    runs: Annotated[list[Path], typer.Argument(help="Folders results/<run> of finished runs.")],
    out: Annotated[Path, typer.Option("--out", help="Summary to write (.json).")],
) -> None:
    """Sum up the benchmarks of runs in a small file, which other machines can estimate by."""
    from edgekws.core import files
    from edgekws.run import measured

    files.write_json(out, measured.summarise(runs).to_json())


def _here() -> list[int]:
    """The cores of this machine."""
    import os

    return [os.cpu_count() or 1]
