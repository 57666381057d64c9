"""`usage-events`: what a team or an operator does from the command line."""

import json
import os
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from functions.shared.feature import DefinitionError
from functions.shared.registry import Registry, load

app = typer.Typer(help="AI usage events: definitions, schema and tokens.", no_args_is_help=True)
definitions_app = typer.Typer(help="The events that definitions/ names.", no_args_is_help=True)
token_app = typer.Typer(help="Tokens for the HTTPS routes.", no_args_is_help=True)
app.add_typer(definitions_app, name="definitions")
app.add_typer(token_app, name="token")

WIDTH_WHERE_PIPED = 160
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@definitions_app.command("list")
def list_definitions() -> None:
    """List every event, by id."""
    registry = _registry()
    table = Table("id", "event", "feature", "owner", "deprecated")
    for _, event in sorted(registry.by_id.items()):
        deprecated = "yes" if event.deprecated else ""
        table.add_row(str(event.id), event.name, event.feature.name, event.feature.owner, deprecated)
    Console(width=None if sys.stdout.isatty() else WIDTH_WHERE_PIPED).print(table)


@definitions_app.command("check")
def check_definitions() -> None:
    """Check that the definitions fit each other; a deployment refuses those that don't."""
    registry = _registry()
    typer.echo(f"{len(registry.events)} events in {len(registry.features)} features fit each other.")


@app.command("schema")
def print_schema() -> None:
    """Print the GraphQL schema that the definitions make."""
    from functions.graphql.schema import schema_text

    typer.echo(schema_text(_registry()))


@token_app.command("create")
def create_token(
    sub: Annotated[str, typer.Option(help="The user's id.")],
    scope: Annotated[
        list[str], typer.Option(help="events:read, events:write or events:write:own; may be given several times.")
    ],
    namespace: Annotated[
        list[str] | None, typer.Option(help="A traversal path like 27/28/, or * for all; may be given several times.")
    ] = None,
    expires: Annotated[str, typer.Option(help="From now: 30m, 12h, 7d.")] = "1d",
) -> None:
    """Print a token, signed with AUTH_SECRET or, in a checkout, with the running local stack's secret."""
    from functions.shared.grant import EVERYTHING, READ, WRITE, WRITE_OWN, is_traversal_path
    from infra.token import sign

    for name in scope:
        if name not in (READ, WRITE, WRITE_OWN):
            raise typer.BadParameter(f"{name!r} is no scope", param_hint="--scope")
    for path in namespace or ():
        if path != EVERYTHING and not is_traversal_path(path):
            raise typer.BadParameter(f"{path!r} is neither * nor like 27/28/", param_hint="--namespace")
    duration = _duration(expires)
    typer.echo(sign(_auth_secret(), sub, scope, namespace or (), duration))


def _registry() -> Registry:
    try:
        return load()
    except DefinitionError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not like 30m, 12h or 7d", param_hint="--expires")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _auth_secret() -> str:
    secret = os.environ.get("AUTH_SECRET")
    if secret:
        return secret
    for folder in (Path.cwd(), *Path.cwd().parents):
        stack = folder / ".local" / "stack.json"
        if stack.exists():
            return str(json.loads(stack.read_text())["auth_secret"])
    typer.echo("No secret to sign with: set AUTH_SECRET, or start the local stack (make start).", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
