"""Reads events from either store as a stream of blocks, newest first."""

from collections.abc import Iterator, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.graphql.clickhouse import payload_sql
from functions.graphql.clickhouse.store import event_row
from functions.graphql.clickhouse.where import where_condition as in_clickhouse
from functions.graphql.postgres.where import where_condition as in_postgresql
from functions.graphql.query.selection import Selection
from functions.graphql.query.store import EventRow, RequestedFields
from functions.shared import clickhouse, event_columns
from functions.shared.postgres import Connection

ROWS_AT_ONCE = 2000

_PAYLOAD = RequestedFields(payload=True)

_POSTGRESQL = sql.SQL("""
    SELECT {columns}, NULL, events.payload::text
    FROM ai_usage_events AS events
    WHERE {conditions}
    ORDER BY events.timestamp DESC, events.id DESC
""")

# The cursor is read to its end, so the plan that is fastest on the whole is the best.
_PLAN_FOR_ALL = "SET LOCAL cursor_tuple_fraction = 1"

_CLICKHOUSE = """
    SELECT {columns}, toJSONString(payload)
    FROM ai_usage_events FINAL
    WHERE {conditions}
    ORDER BY timestamp DESC, UUIDToNum(id) DESC
"""

_SETTINGS = payload_sql.SETTINGS | {
    "max_block_size": ROWS_AT_ONCE,
    "max_bytes_before_external_sort": 256 * 1024 * 1024,
    "do_not_merge_across_partitions_select_final": 1,
    "output_format_json_escape_forward_slashes": 0,
    "output_format_json_quote_64bit_integers": 0,
}


def of_postgresql(connection: Connection, selection: Selection) -> Iterator[Sequence[EventRow]]:
    """Yields the selected events. Requires an open transaction."""
    values: dict[str, Any] = {}
    statement = _POSTGRESQL.format(
        columns=sql.SQL(event_columns.beside_payload("events")), conditions=in_postgresql(selection, values)
    )
    connection.execute(_PLAN_FOR_ALL)
    with connection.cursor(name="exported_events") as cursor:
        cursor.execute(statement, values)
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield rows


def of_clickhouse(client: Client, selection: Selection) -> Iterator[Sequence[EventRow]]:
    """Yields the selected events."""
    values: dict[str, Any] = {}
    conditions = in_clickhouse(selection, values, clickhouse.declared_paths(client))
    statement = _CLICKHOUSE.format(columns=", ".join(event_columns.NAMES_BESIDE_PAYLOAD), conditions=conditions)
    with client.query_row_block_stream(statement, parameters=values, settings=_SETTINGS) as stream:
        for rows in stream:
            yield [event_row(row, _PAYLOAD) for row in rows]
