"""The consumer, against PostgreSQL's fastest way in (binary COPY), and against a usual one (multi-row INSERT)."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import batched
from typing import Any

import psycopg

from functions.ingest.consumer_handler import build
from tests.bench.engines import database
from tests.bench.events import events, records
from tests.bench.measure import Measurement, rates, seconds_of

EVENTS = 300_000
BATCH = 5_000
WARM_UP = 2
ROWS_PER_STATEMENT = 1_000

COLUMNS = "id, timestamp, event, user_id, namespace_path, payload"
READY_MADE = f"""
    COPY (
        SELECT {COLUMNS}
        FROM ai_usage_events
        WHERE xact_id = %s::xid8
        ORDER BY date_trunc('month', timestamp), id
    ) TO STDOUT (FORMAT BINARY)
"""
COPY = f"COPY ai_usage_events ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
NEWEST = "SELECT xact_id FROM ai_usage_events ORDER BY xact_id DESC LIMIT 1"
SELECT = """
    SELECT id, timestamp, event, user_id, namespace_path, payload::text FROM ai_usage_events WHERE xact_id = %s::xid8
"""
ROW = "(%s, %s, %s, %s, %s, %s)"


def measure(server: str) -> Iterator[Measurement]:
    """Measures `consume_vs_binary_copy` and `consume_vs_upsert`; leaves the events in the database `consumed`."""
    urls = [database(server, name) for name in ("consumed", "copied", "upserted")]
    consumer = build(database_url=urls[0], retention_months=3, log_level="WARNING")
    consumed, copied, upserted = [], [], []
    with (
        psycopg.connect(urls[0], autocommit=True) as reader,
        psycopg.connect(urls[1]) as copying,
        psycopg.connect(urls[2]) as upserting,
    ):
        for batch in batched(events(EVENTS), BATCH, strict=True):
            message = {"Records": records(list(batch))}
            consumed.append(seconds_of(partial(consumer, message, None)))
            binary, rows = _written(reader)
            copied.append(seconds_of(partial(_copy, copying, binary)))
            upserted.append(seconds_of(partial(_upsert, upserting, rows)))
    consumer.consumer.database.close()
    own, others, upserts = consumed[WARM_UP:], copied[WARM_UP:], upserted[WARM_UP:]
    yield rates("consume_vs_binary_copy", BATCH, "rows", own, others, 0.75)
    yield rates("consume_vs_upsert", BATCH, "rows", own, upserts, 2.5)


def _written(reader: psycopg.Connection) -> tuple[bytes, list[Any]]:
    """Returns the rows that the consumer wrote: as text for COPY, and as values."""
    (transaction,) = reader.execute(NEWEST).fetchone() or ("0",)
    with reader.cursor().copy(READY_MADE, [transaction]) as copy:
        binary = b"".join(map(bytes, copy))
    rows = reader.execute(SELECT, [transaction]).fetchall()
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
