"""Commands about the claims. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekws.core.options import example

app = typer.Typer(no_args_is_help=True, help="The claims of the papers and their verdicts.")


@app.command("ledger", epilog=example(
    "claims ledger demo claims results/demo results/demo/corpus/index.parquet results/demo/claims.json"))
def ledger(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    claims: Annotated[Path, typer.Argument(help="Folder of the papers' claims (*.yaml).")],
    results: Annotated[Path, typer.Argument(help="Folder of the run's results.")],
    index: Annotated[Path, typer.Argument(help="Index of the run's corpus (.parquet).")],
    out: Annotated[Path, typer.Argument(help="Ledger to write (.json; .csv and .html beside it).")],
    paper: Annotated[str | None, typer.Option(help="The claims of this paper alone.")] = None,
) -> None:
    """Evaluate every claim against what this run measured: number, verdict and why."""
    from edgekws.core.provenance import provenance
    from edgekws.corpus import index as corpus_index_
    from edgekws.ledger.build import build_ledger, findings, verdict_counts, write_ledger
    from edgekws.protocol.metrics import kind_of

    _, facts = corpus_index_.read_index(index)
    made = build_ledger(run, claims, results, provenance(corpus=facts), paper=paper, kind_of=kind_of)
    write_ledger(out, made)
    typer.echo(", ".join(f"{count} {verdict}" for verdict, count in verdict_counts(made).items()))
    for name, learnt in findings(made).items():
        typer.echo(f"{name}: {learnt['words']}")


@app.command("list", epilog=example("claims list"))
def list_(
    papers: Annotated[Path, typer.Option(help="Folder of the papers' claims (*.yaml).")] = Path("claims"),
) -> None:
    """List every claim: its id, the paper's number, the name of its target, and what it says."""
    from edgekws.ledger.schema import read_papers
    from edgekws.ledger.wording import spoken_paper

    for paper in read_papers(papers):
        typer.echo(paper.title)
        for claim in paper.claims:
            number = "–" if claim.value is None else spoken_paper(claim.value, claim.uncertainty.std, claim.unit)
            typer.echo(f"  {claim.id}  {number}  claim_{claim.id.replace('-', '_')}  {claim.statement}")


@app.command("explain", epilog=example("claims explain tp-02 --run demo"))
def explain(
    claim: Annotated[str, typer.Argument(help="Id of a claim, for example tp-02.")],
    run: Annotated[str, typer.Option(help="Name of the run: results/<run> is looked at.")] = "demo",
    claims: Annotated[Path | None, typer.Option(help="A ledger (claims.json) in place of the run's.")] = None,
    papers: Annotated[Path, typer.Option(help="Folder of the papers' claims (*.yaml).")] = Path("claims"),
) -> None:
    """Trace a verdict back: verdict, rule, number, file, how it is made, settings, seeds, corpus, code."""
    from edgekws.ledger import explain

    typer.echo(explain.explain(claim, papers, results=Path("results") / run, ledger=claims), nl=False)


@app.command("table", epilog=example("claims table results/gsc_subset/claims.json docs/claims.md"))
def table(
    ledger: Annotated[Path, typer.Argument(help="Ledger of a run on real recordings (claims.json).")],
    page: Annotated[Path, typer.Argument(help="Markdown file with the two markers to write between.")],
    claim: Annotated[list[str] | None, typer.Option(help="A claim to show; may be repeated. Default: the headlines.")] = None,
) -> None:
    """Write a table of claims into a page: paper's number, ours, verdict, target."""
    from edgekws.ledger import table
    from edgekws.ledger.build import read_ledger

    table.write(page, read_ledger(ledger), claim or table.HEADLINES)
