"""The command line: one verb per step of the workflow, each usable by hand.

Every room brings its own commands as ``cli.app``; those of the methods are found by the names of their folders. What a method
offers to a person with recordings of their own stands at the top of the tree: ``cli.front``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

import edgekws
from edgekws.core import registry
from edgekws.core.errors import UserError
from edgekws.core.options import example

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Keyword spotting that adapts on the device: adapt a model to your own voice; replicate the papers.")
settings_app = typer.Typer(no_args_is_help=True, help="The settings: check them, write their defaults.")
ROOMS = {"corpus": "corpus.cli", "protocol": "protocol.cli", **{name.replace("_", "-"): f"methods.{name}.cli"
         for name in registry.names("cli")}, "delta": "models.delta.cli", "claims": "ledger.cli", "report": "report.cli",
         "run": "run.cli", "release": "run.release"}
for name, module in ROOMS.items():
    room = importlib.import_module(f"edgekws.{module}")
    app.add_typer(room.app, name=name, rich_help_panel="Steps of the workflow")
    for command in room.front.registered_commands if hasattr(room, "front") else ():
        command.rich_help_panel = "With recordings of your own"
        app.registered_commands.append(command)
app.add_typer(settings_app, name="settings", rich_help_panel="Steps of the workflow")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"edgekws {edgekws.__version__}")
        raise typer.Exit


@settings_app.command("write", epilog=example("settings write config/default.yaml workflow/schemas/config.schema.json"))
def settings_write(
    default: Annotated[Path, typer.Argument(help="YAML of all defaults.")] = Path("config/default.yaml"),
    schema: Annotated[Path, typer.Argument(help="JSON schema.")] = Path("workflow/schemas/config.schema.json"),
) -> None:
    """Write config/default.yaml and the JSON schema from the library's settings."""
    from edgekws.config import default_yaml, json_schema
    from edgekws.core import files

    files.write_text(default, default_yaml())
    files.write_text(schema, json_schema())


@settings_app.command("check", epilog=example("settings check config/demo.yaml"))
def settings_check(
    overlays: Annotated[list[Path], typer.Argument(help="YAML overlays, for example config/demo.yaml, as for --configfile.")],
) -> None:
    """Check overlays, laid over the defaults in turn as Snakemake does: names, types and ranges."""
    from edgekws.run import workflow

    workflow.read_config(overlays)
    typer.echo(f"{' '.join(map(str, overlays))}: good")


def main() -> None:
    """Entry point: a :class:`UserError` becomes one message and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
