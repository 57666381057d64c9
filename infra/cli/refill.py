"""`usage-events refill`: fills a PostgreSQL from ClickHouse that is new, or was put back to an earlier moment."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from functions.shared import settings
from functions.shared.counted import counted
from infra.cli.environment import use_local_stack
from infra.cli.terminal import errors_reported, format_moment

if TYPE_CHECKING:
    from infra.operations.refill.refill import Refilled


def refill(
    *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be restored, and check.")] = False
) -> None:
    """Fill PostgreSQL with the directory and the events that only ClickHouse has.

    PostgreSQL is either new, migrated and empty, or was put back to an earlier moment.
    """
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
    yield from _notes(refilled)


def _lines(refilled: "Refilled") -> Iterator[str]:
    if refilled.was_finished:
        yield "This database was refilled before; there is nothing to do."
        return
    yield f"{refilled.added:,} events of {sum(map(bool, refilled.events.values()))} months were restored."
    yield from _notes(refilled)
    yield "Now run `usage-events migrate`, `usage-events sync` and `usage-events verify`."


def _notes(refilled: "Refilled") -> Iterator[str]:
    if refilled.is_put_back:
        yield f"Events that both stores have otherwise stay as PostgreSQL has them: {refilled.differing:,}."
    until = "the last sync" if refilled.complete_to is None else format_moment(refilled.complete_to)
    yield f"What the lost PostgreSQL stored, changed or deleted after {until} may be missing; what waits on the queue"
    yield "arrives by itself. Rejected events do not come back, and neither do events that ClickHouse had refused."
    for subject in refilled.unfinished_erasures:
        kind, name = subject.split()
        yield f"Not all is erased that was to be, so repeat it: usage-events {kind} erase {name}"
    if refilled.forgotten_erasures:
        users = ", ".join(map(str, refilled.erased_users)) or "none"
        yield f"{counted(refilled.forgotten_erasures, 'user', 'was')} erased after the moment, and no record tells who."
        yield f"Find out who of those is back whom PostgreSQL knows and ClickHouse does not, and erase them: {users}"
