"""`usage-events definitions`: lists and checks definitions, and compares them with what is deployed."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from functions.shared import settings
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.registry import Registry, load
from functions.shared.counted import counted
from functions.shared.postgres import TimeLimits, connect
from infra.cli.environment import names_database, use_local_stack
from infra.cli.terminal import console, errors_reported

if TYPE_CHECKING:
    from infra.migrations.change import Finding

app = typer.Typer(help="The events defined in definitions/.", no_args_is_help=True)

LIMITS = TimeLimits(statement=600, transaction=600)


@app.command("list")
def list_definitions() -> None:
    """List every event, by id."""
    registry = load_definitions()
    table = Table("id", "event", "feature", "owner", "deprecated")
    for _, event in sorted(registry.by_id.items()):
        deprecated = "yes" if event.deprecated else ""
        table.add_row(str(event.id), event.name, event.feature.name, event.feature.owner, deprecated)
    console().print(table)
    for reserved in registry.reserved:
        ids = ", ".join(map(str, reserved.ids))
        typer.echo(f"Reserved in {reserved.file}: {ids} ({reserved.reason}).")


@app.command()
def check(
    *, offline: Annotated[bool, typer.Option("--offline", help="Do not compare with what is deployed.")] = False
) -> None:
    """Check that the definitions are consistent, with each other and with what is deployed.

    A deployment refuses what this command refuses. Without a database in the settings and without a running local
    stack, the definitions are only checked against each other.
    """
    registry = load_definitions()
    if not offline:
        use_local_stack()
        if names_database():
            _require_deployable(registry)
    typer.echo(
        f"{counted(len(registry.events), 'event')} in {counted(len(registry.features), 'feature')} are consistent."
    )


@app.command()
def diff() -> None:
    """Show how the definitions differ from those deployed, and what happens to stored rows."""
    registry = load_definitions()
    use_local_stack()
    findings = _findings(registry)
    for finding in findings:
        for line in finding.lines():
            typer.echo(line)
    if not findings:
        typer.echo("The definitions are those that are deployed.")


def load_definitions() -> Registry:
    """Returns the registry; prints what is wrong with the definitions and exits if it can't be loaded."""
    try:
        return load()
    except DefinitionError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


def _require_deployable(registry: Registry) -> None:
    from infra.migrations.change import require_accepted

    findings = _findings(registry)
    for finding in findings:
        if finding.change.rows is not None and not finding.hides_rows:
            typer.echo("\n".join(finding.lines()))
    try:
        require_accepted(findings, settings.accept_unreadable())
    except DefinitionError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


def _findings(registry: Registry) -> "list[Finding]":
    from infra.migrations.change import find
    from infra.migrations.changes import changes
    from infra.migrations.deployed import read_deployed

    with errors_reported(), connect(settings.database_url(), LIMITS) as connection:
        return find(connection, changes(read_deployed(connection), registry))
