"""Commands about users. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekws.core.options import IndexPath, SetOption, SettingsText, example

app = typer.Typer(no_args_is_help=True, help="The protocol: who adapts to what.")


@app.callback()
def _group() -> None:
    """Keeps the one verb a verb."""


@app.command("plan", epilog=example(
    "protocol plan results/demo/corpus/index.parquet results/demo/corpus/plan_many_users.parquet --protocol many_users"))
def plan(
    index: IndexPath,
    out: Annotated[Path, typer.Argument(help="Plan to write (.parquet).")],
    protocol: Annotated[Literal["one_user", "many_users"], typer.Option(
        help="One left-out speaker (the paper's), or all users of the validation and test splits.")] = "many_users",
    settings: SettingsText = None, set_: SetOption = None,
) -> None:
    """Split the users' clips into support and query.

    Settings: traces_propagation.one_user or traces_propagation.many_users, as --protocol says.
    """
    from edgekws.core import files
    from edgekws.core import settings as s
    from edgekws.corpus import index as corpus_index_
    from edgekws.protocol import users as plan
    from edgekws.protocol.settings import ManyUsers, OneUser

    table, facts = corpus_index_.read_index(index)
    if protocol == "one_user":
        made, about = plan.one_user(table, s.read(OneUser, settings, set_ or ()))
        plan.check_full_gsc(made, about, facts)
    else:
        made, about = plan.many_users(table, s.read(ManyUsers, settings, set_ or ()))
    files.write_table(out, made, about)
    typer.echo(", ".join(f"{name}: {value}" for name, value in about.items()))
