"""`usage-events`: commands for teams and operators."""

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from functions.shared import settings
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.counted import counted
from functions.shared.postgres import TimeLimits, connect
from infra.cli import definitions, directory, dlq, erasure, namespace, rejected, tokens
from infra.cli.contract import contract
from infra.cli.demo_data import demo_data
from infra.cli.doctor import doctor
from infra.cli.environment import use_local_stack
from infra.cli.export import export
from infra.cli.load import load
from infra.cli.lost_requests import lost_requests
from infra.cli.refill import refill
from infra.cli.reprocess import reprocess
from infra.cli.tenants import tenants
from infra.cli.terminal import console, errors_reported
from infra.cli.verify import verify

if TYPE_CHECKING:
    from functions.sync.report import Report

app = typer.Typer(help="AI usage events: definitions, schema, tokens and operations.", no_args_is_help=True)
app.add_typer(definitions.app, name="definitions")
app.add_typer(tokens.app, name="token")
app.add_typer(rejected.app, name="rejected")
app.add_typer(dlq.app, name="dlq")
app.add_typer(directory.app, name="directory")
app.add_typer(erasure.user, name="user")
app.add_typer(namespace.app, name="namespace")

WAIT_SECONDS = 60
RUN_SECONDS = 24 * 60 * 60


@app.command("schema")
def print_schema() -> None:
    """Print the GraphQL schema built from the definitions."""
    from functions.graphql.schema import schema_text

    typer.echo(schema_text(definitions.load_definitions()), nl=False)


@app.command("sync")
def synchronise(
    *,
    reset: Annotated[bool, typer.Option("--reset", help="Copy again from the first row.")] = False,
    replay: Annotated[bool, typer.Option("--replay", help="First retry the rows that ClickHouse refused.")] = False,
) -> None:
    """Copy everything committed until now to ClickHouse, and wait until it is there."""
    from functions.sync.analysis import REFILL, Analysis
    from functions.sync.catch_up import catch_up
    from functions.sync.refused import count_waiting
    from functions.sync.rollups import Rollups
    from functions.sync.sync import Sync

    use_local_stack()
    with errors_reported():
        url = settings.clickhouse_url()
        if url is None:
            raise settings.SettingError("ClickHouse is disabled: CLICKHOUSE_URL is not set")
        database_url = settings.database_url()
        sync = Sync(
            database_url,
            url,
            settings.clickhouse_cluster(),
            progress=_show_progress,
            durable=settings.clickhouse_durable_inserts(),
        )
        if reset:
            typer.echo(
                f"Starting from the first row; {counted(sync.reset(WAIT_SECONDS), 'row')} came from another PostgreSQL."
            )
        if replay:
            taken, refused = sync.replay(WAIT_SECONDS)
            typer.echo(f"Of the refused rows, ClickHouse accepted {taken:,} and refused {refused:,} again.")
        with connect(database_url, TimeLimits(WAIT_SECONDS, WAIT_SECONDS)) as connection:
            report = catch_up(sync, connection, WAIT_SECONDS, RUN_SECONDS)
            rollups = Rollups(database_url, url, settings.clickhouse_cluster(), rebuild_seconds=0).run(RUN_SECONDS)
            analysis = Analysis(database_url, url, settings.clickhouse_cluster()).run(RUN_SECONDS)
            refused = count_waiting(connection)
        but = f", except {counted(refused, 'refused row')} in rejected_events" if refused else ""
        typer.echo(f"{counted(report.rows, 'row', 'was')} copied; everything committed before is in ClickHouse{but}.")
        typer.echo(f"Rollups of {counted(rollups.days, 'day')} were built.")
        if analysis.is_of_another:
            typer.echo(f"ClickHouse keeps the directory of another PostgreSQL: {REFILL}.")


app.command("verify")(verify)
app.command("doctor")(doctor)
app.command("contract")(contract)
app.command("demo-data")(demo_data)
app.command("export")(export)
app.command("load")(load)
app.command("reprocess")(reprocess)
app.command("refill")(refill)
app.command("tenants")(tenants)
app.command("lost-requests")(lost_requests)


@app.command("retention")
def retain(
    *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes without making them.")] = False
) -> None:
    """Make partitions for the coming months, and drop old ones whose rows are in ClickHouse."""
    from functions.retention.retention import Retention, RetentionError

    use_local_stack()
    with errors_reported():
        retention = Retention.of_settings()
        clickhouse = "off" if retention.clickhouse_url is None else "on"
        typer.echo(f"PostgreSQL keeps {counted(retention.months, 'month')}; ClickHouse is {clickhouse}.")
        report = retention.run(datetime.now(UTC), RUN_SECONDS, dry_run=dry_run)
        for line in report.lines():
            typer.echo(line)
        if report.failure:
            raise RetentionError(report.failure)


@app.command("migrate")
def migrate_database() -> None:
    """Apply the migrations and record the definitions, as a deployment does, without its limit of an hour."""
    from infra.migrations.budget import Unfinished
    from infra.migrations.migrate import migrate
    from infra.migrations.roles import roles_of_settings

    registry = definitions.load_definitions()
    use_local_stack()
    with errors_reported():
        months, accepted = settings.retention_months(), settings.accept_unreadable()
        try:
            roles = roles_of_settings()
            migrate(settings.database_url(), registry, months, RUN_SECONDS, accepted, roles, typer.echo)
        except (DefinitionError, Unfinished) as error:
            typer.echo(error, err=True)
            raise typer.Exit(1) from None


@app.command("status")
def show_status() -> None:
    """Show the state of partitions, ClickHouse, rejected events and queues; without PostgreSQL, that of the queues."""
    from infra.cli.status import queues, status

    use_local_stack()
    with errors_reported():
        database_url = settings.database_url()
        queue_url = settings.queue_url() if os.environ.get("QUEUE_URL") else None
        try:
            with connect(database_url, TimeLimits(RUN_SECONDS, RUN_SECONDS)) as connection:
                console().print(status(connection, settings.clickhouse_url()))
        finally:
            if queue_url is not None:
                console().print(queues(queue_url))


def _show_progress(report: "Report") -> None:
    typer.echo(f"{counted(report.rows, 'row')} …", err=True)
