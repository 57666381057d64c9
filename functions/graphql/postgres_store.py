"""Events, users and namespaces as PostgreSQL has them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from functions.graphql.event_query import EventQuery, QueryTooSlow, StoredEvent, StoreUnavailable, end_of_namespace
from functions.shared.postgres import Connection, Database

# Every query wants the newest few in the order of an index; a bitmap scan would read all there are and sort them.
PLANNER_OPTIONS = "-c enable_bitmapscan=off"

# A namespace with at most so many below it is read path by path, each in the order of time; one with more is found
# soon enough among all events in the order of time.
MOST_PATHS = 40

# Of users as well: each one's events are in the order of time.
MOST_USERS = 40

_MICROSECOND = timedelta(microseconds=1)

_BY_TIME = sql.SQL("""
    SELECT events.id, events.timestamp, events.event, events.user_id, events.namespace_path, events.payload::text
    FROM ai_usage_events AS events
    WHERE {asked_for}
    ORDER BY events.timestamp DESC, events.id DESC
    LIMIT %(limit)s
""")

_BY_USER = sql.SQL("""
    SELECT events.id, events.timestamp, events.event, events.user_id, events.namespace_path, events.payload::text
    FROM unnest(%(user_ids)s::bigint[]) AS users (id)
    CROSS JOIN LATERAL (
        SELECT *
        FROM ai_usage_events AS events
        WHERE events.user_id = users.id AND {asked_for}
        ORDER BY events.timestamp DESC, events.id DESC
        LIMIT %(limit)s
    ) AS events
    ORDER BY events.timestamp DESC, events.id DESC
    LIMIT %(limit)s
""")

_BY_PATH = sql.SQL("""
    SELECT events.id, events.timestamp, events.event, events.user_id, events.namespace_path, events.payload::text
    FROM unnest(%(paths)s::text[]) AS namespaces (path)
    CROSS JOIN LATERAL (
        SELECT *
        FROM ai_usage_events AS events
        WHERE events.namespace_path = namespaces.path AND {asked_for}
        ORDER BY events.timestamp DESC, events.id DESC
        LIMIT %(limit)s
    ) AS events
    ORDER BY events.timestamp DESC, events.id DESC
    LIMIT %(limit)s
""")

_WITHIN_PERIOD = sql.SQL("""
    events.timestamp >= %(start)s AND events.timestamp < %(end)s AND events.event = ANY(%(event_ids)s::smallint[])
""")
_AFTER_POSITION = sql.SQL("(events.timestamp, events.id) < (%(after_timestamp)s, %(after_id)s)")
_OF_USERS = sql.SQL("events.user_id = ANY(%(user_ids)s::bigint[])")
_WITHIN_NAMESPACE = sql.SQL("events.namespace_path >= {low} AND events.namespace_path < {high}")

# Each step finds the next path in the index, however many events the last one has.
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

_USERNAMES = "SELECT id, username FROM users WHERE id = ANY(%s) AND username IS NOT NULL"

_PATH_OF = """
    SELECT path FROM namespaces WHERE full_path = %(full_path)s
    UNION ALL
    SELECT namespace_path FROM projects WHERE full_path = %(full_path)s AND namespace_path IS NOT NULL
    LIMIT 1
"""

_FULL_PATH_OF = "SELECT full_path FROM namespaces WHERE path = %s"


class PostgresDirectory:
    """The users and namespaces that PostgreSQL knows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def usernames(self, user_ids: set[int]) -> dict[int, str]:
        """The names of those that have one."""
        return dict(_rows(self._database, _USERNAMES, [list(user_ids)]))

    def path_of(self, full_path: str) -> str | None:
        """The traversal path of the namespace, or of the project's namespace."""
        return next((path for (path,) in _rows(self._database, _PATH_OF, {"full_path": full_path})), None)

    def full_path_of(self, path: str) -> str | None:
        """The full path of the namespace at a traversal path."""
        return next((full_path for (full_path,) in _rows(self._database, _FULL_PATH_OF, [path])), None)


class PostgresStore:
    """The events that PostgreSQL keeps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def events(self, query: EventQuery) -> list[StoredEvent]:
        """As `EventStore.events`."""
        if query.selects_nothing:
            return []
        try:
            return self._database.run(lambda connection: _events(query, connection))
        except psycopg.errors.QueryCanceled as error:
            raise QueryTooSlow from error
        except psycopg.OperationalError as error:
            raise StoreUnavailable from error


def _events(query: EventQuery, connection: Connection) -> list[StoredEvent]:
    values = {
        "start": query.start,
        "end": query.end,
        "event_ids": list(query.event_ids),
        "user_ids": list(query.user_ids or ()),
        "limit": query.limit,
    }
    asked_for = [_WITHIN_PERIOD]
    if query.after is not None:
        # No partition after the position is looked at.
        values["end"] = min(query.end, query.after.timestamp + _MICROSECOND)
        values |= {"after_timestamp": query.after.timestamp, "after_id": query.after.id}
        asked_for.append(_AFTER_POSITION)
    if query.user_ids is not None and len(query.user_ids) <= MOST_USERS:
        return _read(_BY_USER, [*asked_for, *_within(query, values)], values, connection)
    if query.user_ids is not None:
        asked_for.append(_OF_USERS)
    paths = _paths(query, values, connection) if query.namespaces else None
    if paths is None:
        return _read(_BY_TIME, [*asked_for, *_within(query, values)], values, connection)
    return _read(_BY_PATH, asked_for, values | {"paths": paths}, connection) if paths else []


def _read(
    statement: sql.SQL, asked_for: Sequence[sql.Composable], values: dict[str, Any], connection: Connection
) -> list[StoredEvent]:
    whole = statement.format(asked_for=sql.SQL(" AND ").join(asked_for))
    # Never as a prepared statement: the best plan depends on the values.
    return [
        StoredEvent(identifier, timestamp, event, user_id, namespace_path, msgspec.Raw(payload.encode()))
        for identifier, timestamp, event, user_id, namespace_path, payload in connection.execute(
            whole, values, prepare=False
        )
    ]


def _within(query: EventQuery, values: dict[str, Any]) -> list[sql.Composable]:
    """The condition that events are in one of the query's namespaces; its values are added to `values`."""
    conditions = []
    for number, path in enumerate(query.namespaces or ()):
        low, high = f"low_{number}", f"high_{number}"
        values |= {low: path, high: end_of_namespace(path)}
        conditions.append(_WITHIN_NAMESPACE.format(low=sql.Placeholder(low), high=sql.Placeholder(high)))
    return [sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))] if conditions else []


def _paths(query: EventQuery, values: dict[str, Any], connection: Connection) -> list[str] | None:
    """The paths that events have within the query's namespaces; None where they are more than a few."""
    found: set[str] = set()
    months = {"start": _month_of(values["start"]), "end": values["end"]}
    for namespace in query.namespaces or ():
        bounds = {"low": namespace, "high": end_of_namespace(namespace), "limit": MOST_PATHS + 1}
        found.update(path for (path,) in connection.execute(_PATHS, months | bounds, prepare=False))
        if len(found) > MOST_PATHS:
            return None
    return sorted(found)


def _month_of(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _rows(database: Database, statement: str, values: Any) -> list[Any]:
    return database.run(lambda connection: connection.execute(statement, values).fetchall())
