"""The command line: one verb per step of the workflow, each usable by hand.

Every room brings its own commands as ``cli.app``; those of the methods are found by the names of their folders. What a method
offers to a person with recordings of their own stands at the top of the tree: ``cli.front``.
"""

from __future__ import annotations

import errno
import importlib
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import edgekws
from edgekws.core import registry, threads
from edgekws.core.errors import UserError
from edgekws.core.options import example

ROOMS = {"corpus": "corpus.cli", "protocol": "protocol.cli", **{name.replace("_", "-"): f"methods.{name}.cli"
         for name in registry.names("cli")}, "delta": "models.delta.cli", "embedded": "embedded.cli", "claims": "ledger.cli",
         "report": "report.cli", "run": "run.cli", "release": "run.release"}
_STEPS = "Steps of the workflow"


class _Rooms(TyperGroup):
    """The rooms' commands. A room that is named is imported alone: all of them take longer than many a command."""

    def _open(self, name: str) -> None:
        room, opened = importlib.import_module(f"edgekws.{ROOMS[name]}"), typer.Typer()
        opened.add_typer(room.app, name=name, rich_help_panel=_STEPS)
        for command in room.front.registered_commands if hasattr(room, "front") else ():
            command.rich_help_panel = "With recordings of your own"
            opened.registered_commands.append(command)
        for command_name, command in typer.main.get_group(opened).commands.items():
            self.add_command(command, command_name)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # Who has the commands at the top, and what an unknown name may have been, only all rooms tell.
        for name in [cmd_name] if cmd_name in (*ROOMS, *self.commands) else ROOMS:
            if name not in self.commands:
                self._open(name)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        last = [*ROOMS, "settings"]
        for name in ROOMS:
            self.get_command(ctx, name)
        return [*(name for name in self.commands if name not in last), *last]


app = typer.Typer(cls=_Rooms, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Keyword spotting that adapts on the device: adapt a model to your own voice; replicate the papers.")
settings_app = typer.Typer(no_args_is_help=True, help="The settings: check them, write their defaults.")
app.add_typer(settings_app, name="settings", rich_help_panel=_STEPS)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"edgekws {edgekws.__version__}")
        raise typer.Exit


@app.command("doctor", epilog=example("doctor"), rich_help_panel="This machine")
def doctor() -> None:
    """What this machine has and lacks, what each thing is for, and the command that brings it."""
    from edgekws.run import doctor

    typer.echo(f"edgekws {edgekws.__version__}, Python {sys.version.split()[0]} at {sys.executable}")
    for row in doctor.examine(Path()):
        typer.echo(f"{'yes' if row.there else 'no':3}  {row.what} ({row.state})")
        if row.remedy:
            typer.echo(f"     -> {row.remedy}")


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


_REMEDIES = {errno.ENOSPC: "free some space and run it again", errno.EDQUOT: "free some space and run it again",
             errno.EACCES: "give yourself the permission, or choose another path",
             errno.EPERM: "give yourself the permission, or choose another path",
             errno.EROFS: "choose a path on a disk that can be written to",
             errno.EMFILE: "raise the limit of open files (ulimit -n) and run it again",
             errno.ENOMEM: "close other programs, or use a machine with more memory"}


def _stop(what: str, remedy: str) -> NoReturn:
    typer.echo(f"error: {what}\n  remedy: {remedy}", err=True)
    sys.exit(2)


def main() -> None:
    """Entry point: what a person can mend becomes one message and exit code 2.

    That is a :class:`UserError`, a file or a disk that the system refuses, and a package or library that is missing.
    """
    threads.settle()
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        _stop(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error),
              _REMEDIES.get(error.errno or 0, "check that path, its permissions and the disk, and run it again"))
    except ModuleNotFoundError as error:  # the library by itself comes without what only the workflow needs
        if error.name is None or error.name.startswith("edgekws"):
            raise
        _stop(f"this command needs the package '{error.name}', which is not installed",
              "run pip install 'edgekws[workflow,federated]'")
    except ImportError as error:
        if (error.name or "edgekws").startswith("edgekws"):
            raise
        _stop(f"a library cannot be loaded ({error})", "`edgekws doctor` tells what this machine lacks, and what mends it")


if __name__ == "__main__":
    main()
