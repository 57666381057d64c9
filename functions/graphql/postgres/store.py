"""`PostgresStore`: reads events from PostgreSQL."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.postgres.aggregation import read_aggregation
from functions.graphql.postgres.username_sql import username
from functions.graphql.postgres.where import (
    event_conditions,
    month_of,
    namespace_conditions,
    project_conditions,
    user_conditions,
    where_condition,
)
from functions.graphql.query.aggregation import Aggregation
from functions.graphql.query.bind import add_value
from functions.graphql.query.budget import Deadline
from functions.graphql.query.errors import QueryTooSlow, StoreUnavailable
from functions.graphql.query.selection import Selection
from functions.graphql.query.slots import Slots, SlottedConnection
from functions.graphql.query.store import EventRow, PageWindow, RequestedFields
from functions.shared import event_columns
from functions.shared.grant import Grant
from functions.shared.traversal_path import namespace_upper_bound

# A page needs the newest few events, which an index scan yields in order; a bitmap scan would read and sort all.
# No parallel workers, and a memory limit for each sort and hash table, so that one query leaves room for others.
PLANNER_OPTIONS = "-c enable_bitmapscan=off -c max_parallel_workers_per_gather=0 -c work_mem=16MB"

# Time limit of the connection; a statement that starts late in its request gets the time left as its own limit.
STATEMENT_SECONDS = 9
_TOLERANCE_SECONDS = 1
_LIMIT = "SELECT set_config('statement_timeout', %s, true)"

# With at most this many paths, a page reads each path's events in time order, and merges them. Events of more paths are
# frequent enough to be found quickly among all events in time order.
MAX_SEPARATE_PATHS = 40

# Likewise for users and projects.
MAX_SEPARATE_USERS = 40
MAX_SEPARATE_PROJECTS = 40

_MICROSECOND = timedelta(microseconds=1)

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

_BY_TIME = sql.SQL("""
    SELECT *
    FROM ai_usage_events AS events
    WHERE {conditions}
    ORDER BY events.timestamp {order}, events.id {order}
    LIMIT %(limit)s
""")

_BY_USER = sql.SQL("""
    SELECT events.*
    FROM unnest(%(user_ids)s::bigint[]) AS users (id)
    CROSS JOIN LATERAL (
        SELECT *
        FROM ai_usage_events AS events
        WHERE events.user_id = users.id AND {conditions}
        ORDER BY events.timestamp {order}, events.id {order}
        LIMIT %(limit)s
    ) AS events
    ORDER BY events.timestamp {order}, events.id {order}
    LIMIT %(limit)s
""")

_BY_PROJECT = sql.SQL("""
    SELECT events.*
    FROM unnest(%(project_ids)s::bigint[]) AS projects (id)
    CROSS JOIN LATERAL (
        SELECT *
        FROM ai_usage_events AS events
        WHERE events.project_id = projects.id AND {conditions}
        ORDER BY events.timestamp {order}, events.id {order}
        LIMIT %(limit)s
    ) AS events
    ORDER BY events.timestamp {order}, events.id {order}
    LIMIT %(limit)s
""")

_BY_PATH = sql.SQL("""
    SELECT events.*
    FROM unnest(%(paths)s::text[]) AS namespaces (path)
    CROSS JOIN LATERAL (
        SELECT *
        FROM ai_usage_events AS events
        WHERE events.namespace_path = namespaces.path AND {conditions}
        ORDER BY events.timestamp {order}, events.id {order}
        LIMIT %(limit)s
    ) AS events
    ORDER BY events.timestamp {order}, events.id {order}
    LIMIT %(limit)s
""")

_COUNT = sql.SQL("SELECT count(*) FROM ai_usage_events AS events WHERE {conditions}")

_COLUMNS = sql.SQL(event_columns.beside_payload("events"))
_WHOLE_PAYLOAD = sql.SQL("events.payload::text")
_VALUES_AT_KEYS = sql.SQL("to_json(ARRAY[{}])::text")
_VALUE_AT_KEY = sql.SQL("events.payload -> {}::text")
_NOTHING = sql.SQL("NULL")
_USERNAME = sql.SQL("named.username")


class _Direction(NamedTuple):
    order: sql.SQL
    is_beyond: sql.SQL


_FORWARDS = _Direction(sql.SQL("DESC"), sql.SQL("(events.timestamp, events.id) < (%(timestamp)s, %(id)s)"))
_BACKWARDS = _Direction(sql.SQL("ASC"), sql.SQL("(events.timestamp, events.id) > (%(timestamp)s, %(id)s)"))

# Each step jumps to the next path in the index, however many events the previous path has.
_PATHS = """
    WITH RECURSIVE paths (path) AS (
        (
            SELECT namespace_path
            FROM ai_usage_events
            WHERE namespace_path >= %(low)s AND namespace_path < %(high)s
                  AND timestamp >= %(start)s AND timestamp < %(end)s
            ORDER BY namespace_path
            LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT namespace_path
            FROM ai_usage_events
            WHERE namespace_path > paths.path AND namespace_path < %(high)s
                  AND timestamp >= %(start)s AND timestamp < %(end)s
            ORDER BY namespace_path
            LIMIT 1
        )
        FROM paths
        WHERE paths.path IS NOT NULL
    )
    SELECT path FROM paths WHERE path IS NOT NULL LIMIT %(limit)s
"""


class PostgresStore:
    """An `EventStore` on PostgreSQL.

    Args:
        grant: the reader's grant, which limits the usernames to see.
    """

    knows_usernames = True

    def __init__(self, slots: Slots, deadline: Deadline, grant: Grant) -> None:
        self._slots = slots
        self._deadline = deadline
        self._grant = grant

    def events(self, selection: Selection, window: PageWindow, requested: RequestedFields) -> list[EventRow]:
        """See `EventStore.events`."""
        if selection.selects_nothing:
            return []
        found = self._read(lambda connection: self._events(selection, window, requested, connection))
        return found[::-1] if window.backwards else found

    def count(self, selection: Selection) -> int:
        """See `EventStore.count`."""
        if selection.selects_nothing:
            return 0
        values: dict[str, Any] = {}
        statement = _COUNT.format(conditions=where_condition(selection, values))
        rows = self._read(lambda connection: connection.execute(statement, values, prepare=False).fetchall())
        return int(rows[0][0])

    def aggregate(self, aggregation: Aggregation) -> list[tuple[Any, ...]]:
        """See `EventStore.aggregate`."""
        return self._read(lambda connection: read_aggregation(aggregation, connection))

    def _read[Result](self, work: Callable[[SlottedConnection], Result]) -> Result:
        def limited(slotted: SlottedConnection) -> Result:
            seconds = self._deadline.remaining()
            if seconds > STATEMENT_SECONDS - _TOLERANCE_SECONDS:
                return work(slotted)  # the connection's own limit is close enough
            with slotted.connection.transaction():
                slotted.connection.execute(_LIMIT, [f"{seconds:.3f}s"])
                return work(slotted)

        try:
            return self._slots.read(limited)
        except psycopg.errors.QueryCanceled as error:
            raise QueryTooSlow from error
        except psycopg.OperationalError as error:
            raise StoreUnavailable from error

    def _events(
        self, selection: Selection, window: PageWindow, requested: RequestedFields, connection: SlottedConnection
    ) -> list[EventRow]:
        values: dict[str, Any] = {"limit": window.limit}
        conditions = event_conditions(selection, values)
        direction = _BACKWARDS if window.backwards else _FORWARDS
        if window.beyond is not None:
            # Narrows the period, so that PostgreSQL skips the partitions before the position.
            if window.backwards:
                values["start"] = max(selection.start, window.beyond.timestamp)
            else:
                values["end"] = min(selection.end, window.beyond.timestamp + _MICROSECOND)
            values |= {"timestamp": window.beyond.timestamp, "id": window.beyond.id}
            conditions.append(direction.is_beyond)
        statement, further_conditions = _narrowed(selection, values, connection)
        events = statement.format(
            conditions=sql.SQL(" AND ").join(conditions + further_conditions), order=direction.order
        )
        whole = (_PAGE_WITH_USERNAMES if requested.usernames else _PAGE).format(
            columns=sql.SQL(", ").join(_columns(requested, values)),
            events=events,
            order=direction.order,
            username=username(_ASKED_USER, _GRANTED, self._grant),
        )
        values["granted"] = list(self._grant.namespaces)
        # Not prepared: the best plan depends on the values.
        return connection.execute(whole, values, prepare=False).fetchall()


def _narrowed(
    selection: Selection, values: dict[str, Any], connection: SlottedConnection
) -> tuple[sql.SQL, list[sql.Composable]]:
    """The statement that reads the fewest events, and its conditions on users, projects and namespaces.

    A statement by users, projects or paths needs no condition on these.
    """
    of_users, of_projects = user_conditions(selection, values), project_conditions(selection, values)
    if _are_few(selection.user_ids, MAX_SEPARATE_USERS):
        return _BY_USER, of_projects + namespace_conditions(selection, values)
    if _are_few(selection.project_ids, MAX_SEPARATE_PROJECTS):
        return _BY_PROJECT, of_users + namespace_conditions(selection, values)
    paths = _paths(selection, values, connection)
    if paths is None:
        return _BY_TIME, of_users + of_projects + namespace_conditions(selection, values)
    values["paths"] = paths
    return _BY_PATH, of_users + of_projects


def _are_few(ids: Sequence[int] | None, limit: int) -> bool:
    return ids is not None and len(ids) <= limit


def _columns(requested: RequestedFields, values: dict[str, Any]) -> list[sql.Composable]:
    """The columns of an `EventRow`."""
    keys = [_VALUE_AT_KEY.format(sql.Placeholder(add_value(values, key))) for key in requested.keys]
    return [
        _COLUMNS,
        _USERNAME if requested.usernames else _NOTHING,
        _WHOLE_PAYLOAD if requested.payload else _NOTHING,
        _VALUES_AT_KEYS.format(sql.SQL(", ").join(keys)) if keys else _NOTHING,
        *(payload_sql.json_text(path, values) for path in requested.paths),
    ]


def _paths(selection: Selection, values: dict[str, Any], connection: SlottedConnection) -> list[str] | None:
    """The paths of events in the selection's namespaces; None for all namespaces, or over `MAX_SEPARATE_PATHS`."""
    if selection.namespaces is None:
        return None
    found: set[str] = set()
    months = {"start": month_of(values["start"]), "end": values["end"]}
    for namespace in selection.namespaces:
        bounds = {"low": namespace, "high": namespace_upper_bound(namespace), "limit": MAX_SEPARATE_PATHS + 1}
        found.update(path for (path,) in connection.execute(_PATHS, months | bounds, prepare=False))
        if len(found) > MAX_SEPARATE_PATHS:
            return None
    return sorted(found)
