"""The consumer, against PostgreSQL's fastest way in (binary COPY), and against a usual one (multi-row INSERT)."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

import psycopg

from functions.ingest.consumer_handler import ConsumerHandler, build
from functions.ingest.pipeline import Consumer
from functions.shared import event_columns
from functions.shared.catalog import registry
from tests.bench.engines import database, postgres_server
from tests.bench.events import events, records
from tests.bench.measure import Measurement, rates, seconds_of

EVENTS = 300_000
BATCH = 5_000
WARM_UP = 2
ROWS_PER_STATEMENT = 1_000

RETENTION_MONTHS = 3
WITH_FUNCTIONS = "tests.bench.with_functions"

COLUMNS = event_columns.ALL
READY_MADE = f"""
    COPY (
        SELECT {COLUMNS}
        FROM ai_usage_events
        WHERE xact_id > %s::xid8
        ORDER BY date_trunc('month', timestamp), id
    ) TO STDOUT (FORMAT BINARY)
"""
COPY = f"COPY ai_usage_events ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
NEWEST = "SELECT xact_id FROM ai_usage_events ORDER BY xact_id DESC LIMIT 1"
SELECT = """
    SELECT id, timestamp, event, user_id, namespace_path, project_id, payload::text
    FROM ai_usage_events
    WHERE xact_id > %s::xid8
"""
ROW = "(%s, %s, %s, %s, %s, %s, %s)"


def measure(folder: Path) -> Iterator[Measurement]:
    """Measures `consume_vs_binary_copy`, `consume_vs_upsert` and `consume_functions`."""
    with postgres_server(folder / "consume") as server:
        consumed, computed, copied, upserted = _seconds(server)
    yield rates("consume_vs_binary_copy", BATCH, "rows", consumed, copied)
    yield rates("consume_vs_upsert", BATCH, "rows", consumed, upserted)
    yield rates("consume_functions", BATCH, "rows", computed, copied)


def consume(database_url: str) -> None:
    """Stores the events in a database, batch by batch."""
    consumer = build(database_url=database_url, retention_months=RETENTION_MONTHS)
    for message in _messages():
        consumer(message, None)
    consumer.consumer.database.close()


def _messages() -> Iterator[dict[str, Any]]:
    """Yields batches of events as Lambda hands them to the consumer."""
    return ({"Records": records(list(batch))} for batch in batched(events(EVENTS), BATCH, strict=True))


def _seconds(server: str) -> list[list[float]]:
    """Returns the seconds of each batch: of the consumer, of the one with functions, of COPY, and of INSERT."""
    urls = [database(server, name) for name in ("consumed", "computed", "copied", "upserted")]
    consumer, computing = (build(database_url=url, retention_months=RETENTION_MONTHS) for url in urls[:2])
    _compute_payloads(computing)
    taken = []
    with (
        psycopg.connect(urls[0], autocommit=True) as reader,
        psycopg.connect(urls[2]) as copying,
        psycopg.connect(urls[3]) as upserting,
    ):
        for message in _messages():
            (newest,) = reader.execute(NEWEST).fetchone() or ("0",)
            consumed = seconds_of(partial(consumer, message, None))
            binary, rows = _written(reader, newest)
            copied = seconds_of(partial(_copy, copying, binary))
            upserted = seconds_of(partial(_upsert, upserting, rows))
            taken.append((consumed, seconds_of(partial(computing, message, None)), copied, upserted))
    for handler in (consumer, computing):
        handler.consumer.database.close()
    return [list(seconds) for seconds in zip(*taken[WARM_UP:], strict=True)]


def _compute_payloads(handler: ConsumerHandler) -> None:
    """Gives a consumer definitions whose functions compute the payloads."""
    database = handler.consumer.database
    handler.consumer = Consumer(database, registry.load(WITH_FUNCTIONS), RETENTION_MONTHS)


def _written(reader: psycopg.Connection, before: str) -> tuple[bytes, list[Any]]:
    """Returns the rows that the consumer wrote after a transaction: as text for COPY, and as values."""
    with reader.cursor().copy(READY_MADE, [before]) as copy:
        binary = b"".join(map(bytes, copy))
    rows = reader.execute(SELECT, [before]).fetchall()
    if len(rows) != BATCH:
        raise RuntimeError(f"The consumer stored {len(rows)} of {BATCH} events")
    return binary, rows


def _copy(connection: psycopg.Connection, binary: bytes) -> None:
    with connection.cursor().copy(COPY) as copy:
        copy.write(binary)
    connection.commit()


def _upsert(connection: psycopg.Connection, rows: Sequence[Any]) -> None:
    """Inserts a thousand rows a statement, as GitLab does."""
    for chunk in batched(rows, ROWS_PER_STATEMENT, strict=False):
        values = ", ".join([ROW] * len(chunk))
        statement = f"INSERT INTO ai_usage_events ({COLUMNS}) VALUES {values} ON CONFLICT DO NOTHING"
        connection.execute(statement, [value for row in chunk for value in row])
    connection.commit()
