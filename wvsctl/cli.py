"""The command `wvsctl`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from wvsctl.binding import Common, with_shared_options
from wvsctl.commands import audit, current, doctor, obs, snapshot, task, workspace
from wvsctl.output import printable
from wvsctl.version import VERSION

app: Final = typer.Typer(
    name="wvsctl",
    help="WVS, the Workspace Versioning Service: snapshot, roll back and drop the working directories of agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _group in (workspace, snapshot, current, task, audit, obs):
    app.add_typer(_group.app)
doctor.register(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(printable(f"wvsctl {VERSION}"))
        raise typer.Exit


def _root(
    context: typer.Context,
    common: Common,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Which wvsctl.")] = False,
) -> None:
    """WVS, the Workspace Versioning Service: snapshot, roll back and drop the working directories of agents."""
    context.obj = common


app.callback()(with_shared_options(_root))


def main() -> None:
    """Run one command; raises SystemExit with its exit code."""
    app(prog_name="wvsctl")
