"""SQL of a page of events.

Composing a statement takes as long as some pages take PostgreSQL, so statements are kept: they differ by what is asked
for, not by the values.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, LiteralString, NamedTuple

from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.postgres.username_sql import username
from functions.graphql.query.bind import add_value
from functions.graphql.query.store import RequestedFields
from functions.shared import event_columns

_MAX_STATEMENTS = 500

# Computes the columns for the events of the page only.
_PAGE = sql.SQL("""
    SELECT {columns}
    FROM ({events}) AS events
    ORDER BY events.timestamp {order}, events.id {order}
""")

# Asks once for the name of each user on the page.
_PAGE_WITH_USERNAMES = sql.SQL("""
    WITH page AS MATERIALIZED ({events}),
         named (user_id, username) AS MATERIALIZED (
             SELECT asked.user_id, {username} FROM (SELECT DISTINCT user_id FROM page) AS asked
         )
    SELECT {columns}
    FROM page AS events
    LEFT JOIN named ON named.user_id = events.user_id
    ORDER BY events.timestamp {order}, events.id {order}
""")
_ASKED_USER = sql.SQL("asked.user_id")
_GRANTED = sql.Placeholder("granted")

_ALL = sql.SQL("""
    SELECT *
    FROM ai_usage_events AS events
    WHERE {conditions}
    ORDER BY events.timestamp {order}, events.id {order}
    LIMIT %(limit)s
""")

# Reads the newest events of each value of a column, and merges them.
_OF_EACH = sql.SQL("""
    SELECT events.*
    FROM ({values}) AS separate (value)
    CROSS JOIN LATERAL (
        SELECT *
        FROM ai_usage_events AS events
        WHERE events.{column} = separate.value AND {conditions}
        ORDER BY events.timestamp {order}, events.id {order}
        LIMIT %(limit)s
    ) AS events
    ORDER BY events.timestamp {order}, events.id {order}
    LIMIT %(limit)s
""")

# Each step jumps to the next path in the index, however many events the previous path has.
_PATHS = sql.SQL("""
    WITH RECURSIVE paths (path, high) AS (
        SELECT first.namespace_path, within.high
        FROM unnest(%(lows)s::text[], %(highs)s::text[]) AS within (low, high)
        CROSS JOIN LATERAL (
            SELECT namespace_path
            FROM ai_usage_events
            WHERE namespace_path >= within.low AND namespace_path < within.high
                  AND timestamp >= %(first_month)s AND timestamp < %(end)s
            ORDER BY namespace_path
            LIMIT 1
        ) AS first
        UNION ALL
        SELECT next.namespace_path, paths.high
        FROM paths
        CROSS JOIN LATERAL (
            SELECT namespace_path
            FROM ai_usage_events
            WHERE namespace_path > paths.path AND namespace_path < paths.high
                  AND timestamp >= %(first_month)s AND timestamp < %(end)s
            ORDER BY namespace_path
            LIMIT 1
        ) AS next
    )
    SELECT path FROM paths
""")

SOME_PATHS = _PATHS + sql.SQL("LIMIT %(paths_limit)s")
"""The first paths of events in the namespaces from `lows` to `highs`."""

_COLUMNS = sql.SQL(event_columns.beside_payload("events"))
_USERNAME = sql.SQL("named.username")
_PAYLOAD = sql.SQL("events.payload::text")
_VALUES_AT_KEYS = sql.SQL("to_json(ARRAY[{}])::text")
_VALUE_AT_KEY = sql.SQL("events.payload -> {}::text")
_NOTHING = sql.SQL("NULL")


class Source(NamedTuple):
    """How a page's events are found: among all events in time order, or those of each value of a column.

    Attributes:
        values: statement that selects the values.
    """

    column: str = ""
    values: str = ""


BY_TIME = Source()
BY_USER = Source("user_id", "SELECT id FROM unnest(%(user_ids)s::bigint[]) AS users (id)")
BY_PROJECT = Source("project_id", "SELECT id FROM unnest(%(project_ids)s::bigint[]) AS projects (id)")
BY_PATH = Source("namespace_path", sql.SQL("SELECT DISTINCT path FROM ({}) AS paths").format(_PATHS).as_string())


class Direction(NamedTuple):
    """Order of the events, and the condition that an event is beyond a position."""

    order: LiteralString
    is_beyond: sql.SQL


FORWARDS = Direction("DESC", sql.SQL("(events.timestamp, events.id) < (%(timestamp)s, %(id)s)"))
BACKWARDS = Direction("ASC", sql.SQL("(events.timestamp, events.id) > (%(timestamp)s, %(id)s)"))


class Columns(NamedTuple):
    """The columns of an `EventRow`, with their bind parameters."""

    text: str
    values: Mapping[str, Any]


@lru_cache(_MAX_STATEMENTS)
def columns(requested: RequestedFields) -> Columns:
    """The columns to select."""
    values: dict[str, Any] = {}
    keys = [_VALUE_AT_KEY.format(sql.Placeholder(add_value(values, key))) for key in requested.keys]
    selected = [
        _COLUMNS,
        _USERNAME if requested.usernames else _NOTHING,
        _PAYLOAD if requested.payload else _NOTHING,
        _VALUES_AT_KEYS.format(sql.SQL(", ").join(keys)) if keys else _NOTHING,
        *(payload_sql.json_text(path, values) for path in requested.paths),
    ]
    return Columns(sql.SQL(", ").join(selected).as_string(), values)


@lru_cache(_MAX_STATEMENTS)
def page_statement(
    columns: str,
    source: Source,
    conditions: tuple[str, ...],
    order: LiteralString,
    *,
    usernames: bool,
    everywhere: bool,
) -> sql.SQL:
    """The statement of a page.

    Args:
        columns: text of the columns.
        conditions: texts of the conditions on an event.
        usernames: whether the columns hold usernames.
        everywhere: whether the reader's grant covers everything.
    """
    events = (_OF_EACH if source.column else _ALL).format(
        conditions=sql.SQL(" AND ").join(map(_text, conditions)),
        order=sql.SQL(order),
        column=_text(source.column),
        values=_text(source.values),
    )
    statement = (_PAGE_WITH_USERNAMES if usernames else _PAGE).format(
        columns=_text(columns),
        events=events,
        order=sql.SQL(order),
        username=username(_ASKED_USER, _GRANTED, everywhere=everywhere),
    )
    return _text(statement.as_string())


def _text(composed: str) -> sql.SQL:
    """SQL that was composed before."""
    return sql.SQL(composed)
