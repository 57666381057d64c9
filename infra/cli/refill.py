"""`usage-events refill`: fills a new PostgreSQL from ClickHouse."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from functions.shared import settings
from infra.cli.environment import use_local_stack
from infra.cli.terminal import errors_reported, format_moment

if TYPE_CHECKING:
    from infra.operations.refill.refill import Refilled


def refill(
    *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be restored, and check.")] = False
) -> None:
    """Fill a new, migrated, empty PostgreSQL with the directory and the events that ClickHouse has."""
    from infra.operations.refill.refill import Refill

    use_local_stack()
    with errors_reported():
        url = settings.clickhouse_url()
        if url is None:
            raise settings.SettingError("ClickHouse is disabled: CLICKHOUSE_URL is not set")
        refilled = Refill(settings.database_url(), url, lambda line: typer.echo(line, err=True)).run(dry_run=dry_run)
        for line in _dry_lines(refilled) if dry_run else _lines(refilled):
            typer.echo(line)


def _dry_lines(refilled: "Refilled") -> Iterator[str]:
    for table, rows in sorted(refilled.directory_rows.items()):
        yield f"{table}: {rows:,} rows"
    for month, events in refilled.events.items():
        yield f"{month:%Y-%m}: {events:,} events"
    yield from _lost(refilled)


def _lines(refilled: "Refilled") -> Iterator[str]:
    if refilled.was_finished:
        yield "This database was refilled before; there is nothing to do."
        return
    yield f"{refilled.added:,} events of {sum(map(bool, refilled.events.values()))} months were restored."
    yield from _lost(refilled)
    yield "Now run `usage-events migrate`, `usage-events sync` and `usage-events verify`."


def _lost(refilled: "Refilled") -> Iterator[str]:
    until = "the last sync" if refilled.complete_to is None else format_moment(refilled.complete_to)
    yield f"What the lost PostgreSQL stored, changed or deleted after {until} may be missing; what waits on the queue"
    yield "arrives by itself. Rejected events do not come back, and neither do events that ClickHouse had refused."
    for subject in refilled.unfinished_erasures:
        yield f"Its erasure was interrupted, so repeat it: usage-events {subject.split()[0]} erase {subject.split()[1]}"
