"""`usage-events rejected`: lists, replays and deletes rejected events."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import msgspec
import typer
from rich.table import Table

from functions.shared import settings
from functions.shared.counted import counted
from functions.shared.postgres import Connection, TimeLimits, connect
from infra.cli.environment import use_local_stack
from infra.cli.terminal import (
    ASK_DOCTOR,
    console,
    errors_reported,
    format_moment,
    past_moment,
    printable,
    printable_lines,
)

if TYPE_CHECKING:
    from infra.operations.rejected_events import FormerAttempt, ReasonCount, RejectedEvent

app = typer.Typer(help="Rejected events: list, replay or delete them.", no_args_is_help=True)

LIMITS = TimeLimits(statement=300, transaction=300)

Code = Annotated[str | None, typer.Option(help="Only events rejected with this code, like unknown_event.")]
EventName = Annotated[str | None, typer.Option("--event", help="Only events of this name.")]
Since = Annotated[
    str | None, typer.Option(help="Only events received since: an age like 30m, 12h or 7d, a date or a time.")
]
Ids = Annotated[list[UUID] | None, typer.Argument(metavar="[ID]...", help="Only these rejected events.")]


@app.command("list")
def list_rejected(
    *,
    code: Code = None,
    event: EventName = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of newest events to list one by one.")] = 20,
) -> None:
    """List rejected events: counts by reason, and the newest events."""
    from infra.operations.rejected_events import count, read

    with _database() as connection:
        ids = _chosen(connection, None, code, event, since)
        counts = count(connection, ids)
        newest = read(connection, ids[-limit:])
    console().print(_summary(counts), _table(newest))


@app.command()
def show(identifier: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Print a rejected event: its reason, the sender's grant, earlier attempts and the body.

    ID is an id from the list, the event id that the sender received, or the id of the request that a log names. Several
    rejected events may share an event id or a request.
    """
    from infra.operations.rejected_events import history, of_event, of_request, read

    with _database() as connection:
        found = read(connection, of_request(connection, identifier))
        if (of_this := _uuid(identifier)) is not None:
            found = read(connection, [of_this]) or read(connection, of_event(connection, of_this)) or found
        former = [history(connection, event.id) for event in found]
    if not found:
        typer.echo(
            f"No rejected event is known by {printable(identifier)}: not as its own id, its event's or its request's. "
            "`usage-events rejected list` lists the newest ones.",
            err=True,
        )
        raise typer.Exit(1)
    for event, attempts in zip(found, former, strict=True):
        for line in _lines(event, attempts):
            typer.echo(line)


@app.command()
def replay(*, ids: Ids = None, code: Code = None, event: EventName = None, since: Since = None) -> None:
    """Put waiting rejected events on the queue again, unchanged; without ids or options, all of them.

    Replaying repeatedly stores an event only once. An event that is rejected again is listed again.
    """
    import boto3

    from infra.operations import rejected_events

    with _database() as connection:
        chosen = _chosen(connection, ids, code, event, since)
        done = rejected_events.replay(connection, boto3.client("sqs"), settings.queue_url(), chosen)
    typer.echo(f"{counted(done.sent, 'event', 'is')} on the queue again.")
    if done.skipped:
        typer.echo(f"{counted(done.skipped, 'event', 'was')} already replayed.")
    if done.of_sync:
        typer.echo(
            f"{counted(done.of_sync, 'row', 'was')} refused by ClickHouse, and PostgreSQL has all of these rows: "
            "usage-events sync --replay retries them."
        )
    if done.too_large:
        typer.echo(
            f"{counted(len(done.too_large), 'event', 'is')} still waiting, too large for a message with the sender's"
            f" grant: {', '.join(map(str, done.too_large))}",
            err=True,
        )
    if done.unsent:
        typer.echo(f"{counted(done.unsent, 'event', 'is')} still waiting: the queue took no more.", err=True)
        typer.echo(ASK_DOCTOR, err=True)
    if done.too_large or done.unsent:
        raise typer.Exit(1)


@app.command()
def drop(
    *,
    ids: Ids = None,
    code: Code = None,
    event: EventName = None,
    since: Since = None,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")] = False,
) -> None:
    """Delete rejected events permanently; without ids or options, all of them."""
    from infra.operations.rejected_events import delete

    with _database() as connection:
        chosen = _chosen(connection, ids, code, event, since)
        if chosen and not yes:
            typer.confirm(f"Delete {counted(len(chosen), 'rejected event')} permanently?", abort=True)
        typer.echo(f"{counted(delete(connection, chosen), 'rejected event', 'was')} deleted.")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


@contextmanager
def _database() -> Iterator[Connection]:
    use_local_stack()
    with errors_reported(), connect(settings.database_url(), LIMITS) as connection:
        yield connection


def _chosen(
    connection: Connection, ids: list[UUID] | None, code: str | None, event: str | None, since: str | None
) -> list[UUID]:
    """Returns the ids of the events that match the options, restricted to `ids` if given."""
    from infra.operations.rejected_events import find

    found = find(connection, code, event, past_moment(since, "--since") if since else None)
    if not ids:
        return found
    known = set(found)
    unknown = [str(identifier) for identifier in ids if identifier not in known]
    if unknown:
        raise typer.BadParameter(f"no such rejected event: {', '.join(unknown)}", param_hint="ID")
    return ids


def _summary(counts: "list[ReasonCount]") -> Table:
    table = Table(title="By reason", title_justify="left")
    for name in ("source", "code", "waiting", "replayed", "oldest", "newest", "newest message"):
        table.add_column(name, no_wrap=name in ("oldest", "newest"))
    for one in counts:
        cells = (f"{one.waiting:,}", f"{one.replayed:,}", format_moment(one.oldest), format_moment(one.newest))
        table.add_row(one.source, one.code, *cells, printable(one.message))
    return table


def _table(events: "list[RejectedEvent]") -> Table:
    table = Table(title="The newest", title_justify="left")
    for name in ("id, event id", "received", "code", "event", "attempts", "replayed"):
        table.add_column(name, no_wrap=name in ("id, event id", "received"))
    for event in events:
        replayed = format_moment(event.replayed_at) if event.replayed_at else "no"
        name = printable(event.event or "")
        ids = f"{event.id}\n{event.event_id or ''}".rstrip()
        table.add_row(ids, format_moment(event.received_at), event.code, name, str(event.attempts), replayed)
    return table


def _lines(event: "RejectedEvent", former: "list[FormerAttempt]") -> Iterator[str]:
    grant = msgspec.json.encode(event.sender_grant).decode() if event.sender_grant else "none: published on the queue"
    yield f"id           {event.id}"
    if event.event_id is not None:
        yield f"event id     {event.event_id}"
    if event.request_id is not None:
        yield f"request      {printable(event.request_id)}"
    yield f"event        {printable(event.event or 'unknown')}"
    yield f"received at  {event.received_at.astimezone(UTC).isoformat()}"
    yield f"source       {event.source}"
    yield f"grant        {printable(grant)}"
    for attempt in former:
        yield _attempt(attempt.attempt, attempt.code, attempt.message, attempt.replayed_at)
    yield _attempt(event.attempts, event.code, event.message, event.replayed_at)
    yield "body"
    yield from printable_lines(event.body)


def _attempt(number: int, code: str, message: str, replayed_at: datetime | None) -> str:
    said = f"attempt {number:<4} {code}: {printable(message)}"
    return f"{said.removesuffix('.')}, replayed {format_moment(replayed_at)}" if replayed_at else said
