"""`usage-events status`: shows how far events have come in each store and queue."""

from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg import sql
from rich.console import Group
from rich.table import Table

from functions.shared import clickhouse
from functions.shared.counted import counted
from functions.shared.partitions import partitions
from functions.shared.postgres import Connection
from functions.shared.sync_state import (
    SyncState,
    count_unsynced,
    foreign_position,
    oldest_transaction,
    read_state,
    read_watermark,
)
from functions.sync.clickhouse_moves import count_pending
from functions.sync.kept_directory import was_put_back
from functions.sync.marks import START_ANEW, replacement
from infra.cli.terminal import format_moment
from infra.cli.unfinished import unfinished as unfinished_runs
from infra.operations.dead_letters import NoDeadLetterQueue, dead_letter_queue_url
from infra.operations.erasure.record import unfinished
from infra.operations.moves import open_moves

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_COUNT = sql.SQL("SELECT count(*) FROM {partition}")

_REJECTED = """
    SELECT source, code, count(*) FILTER (WHERE replayed_at IS NULL), count(*), max(received_at)
    FROM rejected_events
    GROUP BY source, code
    ORDER BY source, code
"""

_CLICKHOUSE_SECONDS = 30


def status(connection: Connection, clickhouse_url: str | None) -> Group:
    """Returns the report on both stores, ready to print."""
    state, description = _state(connection, clickhouse_url)
    return Group(
        _partitions(connection, state),
        _sync(connection, state, description),
        *_moves(connection),
        _rejected(connection),
        *_unfinished_erasures(connection),
        *unfinished_runs(connection),
    )


def queues(queue_url: str) -> Table:
    """Returns the report on the queue and its dead letters."""
    sqs = boto3.client("sqs")
    table = Table("queue", "waiting", "in flight", "delayed", title="Queues", title_justify="left")
    try:
        for name, url in _queue_urls(sqs, queue_url):
            depth = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            table.add_row(
                name,
                depth["ApproximateNumberOfMessages"],
                depth["ApproximateNumberOfMessagesNotVisible"],
                depth["ApproximateNumberOfMessagesDelayed"],
            )
    except (BotoCoreError, ClientError) as error:
        table.add_row(f"can't be reached: {error}")
    return table


def _state(connection: Connection, clickhouse_url: str | None) -> tuple[SyncState | None, str]:
    """Returns the state of the sync, None if unknown, and a description of ClickHouse's state."""
    if clickhouse_url is None:
        return None, "off: CLICKHOUSE_URL is not set"
    try:
        with closing(clickhouse.connect(clickhouse_url, _CLICKHOUSE_SECONDS)) as client:
            target = clickhouse.target_of(client)
            moves = count_pending(connection, client)
            reason = _replaced(connection, client, target)
    except ClickHouseError as error:
        return None, f"can't be reached: {clickhouse.reason_of(error)}"
    if target is None:
        return SyncState(), "has no table yet"
    state = read_state(connection, target)
    if reason is not None:
        return None, f"unknown: {reason}"
    if foreign_position(connection, state.cursor) is not None:
        return None, f"unknown: PostgreSQL was restored from another server: run {START_ANEW}"
    return state, f"table {target}" + (f", where {counted(moves, 'move', 'is')} not done" if moves else "")


def _replaced(connection: Connection, client: Client, target: UUID | None) -> str | None:
    """Returns what took the place of the PostgreSQL that was copied, and what to do; None if nothing did."""
    reason = replacement(connection, client, target) if target is not None else None
    if reason is None and was_put_back(connection, client):
        return "ClickHouse has what PostgreSQL lost: run `usage-events refill`"
    return reason


def _partitions(connection: Connection, state: SyncState | None) -> Table:
    table = Table("partition", "rows", "not in ClickHouse", title="PostgreSQL", title_justify="left")
    for name in partitions(connection):
        row = connection.execute(_COUNT.format(partition=sql.Identifier(name))).fetchone()
        unsynced = "" if state is None else f"{count_unsynced(connection, name, state.cursor):,}"
        table.add_row(name, f"{row[0] if row else 0:,}", unsynced)
    return table


def _sync(connection: Connection, state: SyncState | None, description: str) -> Table:
    table = Table("what", "where", title="ClickHouse", title_justify="left", show_header=False)
    watermark = read_watermark(connection)
    table.add_row("state", description)
    if state is not None:
        table.add_row("cursor", f"transaction {state.cursor.xact_id}, event {state.cursor.id}")
        table.add_row(
            "complete up to", format_moment(state.caught_up_at) if state.caught_up_at else "backfill in progress"
        )
    if state is not None and state.caught_up_at is not None:
        table.add_row("lag", f"{(datetime.now(UTC) - state.caught_up_at).total_seconds():.1f} s")
    table.add_row("watermark", f"transaction {watermark.xact_id}")
    table.add_row("oldest transaction", str(oldest_transaction(connection) or "none is open"))
    return table


def _moves(connection: Connection) -> Iterator[Table]:
    """Yields a table of the moves that are not done, if there are any."""
    moves = open_moves(connection)
    if moves:
        table = Table("what", "from", "to", "since", "events moved", title="Moves", title_justify="left")
        for move in moves:
            since = format_moment(move.recorded_at)
            table.add_row(f"{move.kind} {move.id}", move.old_path, move.new_path, since, f"{move.progress:,}")
        yield table


def _rejected(connection: Connection) -> Table:
    table = Table("source", "code", "waiting", "all", "newest", title="Rejected events", title_justify="left")
    for source, code, waiting, count, newest in connection.execute(_REJECTED):
        table.add_row(source, code, f"{waiting:,}", f"{count:,}", format_moment(newest))
    return table


def _unfinished_erasures(connection: Connection) -> Iterator[Table]:
    """Yields a table of the erasures that must be repeated, or that are under way; nothing if there are none."""
    found = unfinished(connection)
    if found:
        table = Table("of", "asked for by", "when", "PostgreSQL", "ClickHouse", title="Unfinished erasures")
        table.title_justify = "left"
        for one in found:
            stores = one.postgresql, one.clickhouse
            table.add_row(f"{one.kind} {one.subject}", one.requested_by, format_moment(one.requested_at), *stores)
        yield table


def _queue_urls(sqs: "SQSClient", queue_url: str) -> Iterator[tuple[str, str]]:
    yield "events", queue_url
    with suppress(NoDeadLetterQueue):
        yield "dead letters", dead_letter_queue_url(sqs, queue_url)
