"""Measures sessions on PostgreSQL."""

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql

from functions.graphql.postgres.group_order import sort_keys
from functions.graphql.postgres.payload_reader import PayloadReader
from functions.graphql.postgres.people import separate_condition
from functions.graphql.postgres.where import where_condition
from functions.graphql.query.aggregation import KEY_COLUMNS, Dimension
from functions.graphql.query.bind import add_value
from functions.graphql.query.sessions import Sessions
from functions.graphql.query.slots import SlottedConnection

# Only what is needed of events is kept, and sorted by what tells most of them apart. What sessions are grouped by is
# computed once each.
_SESSIONS = sql.SQL("""
    WITH found AS (
        SELECT id, timestamp, event, user_id, project_id, place, feature, matches{path_values},
               NULLIF(CASE {session_keys} END, '') COLLATE "C" AS session_key
        FROM ({found}) AS found
    ), begun AS (
        SELECT DISTINCT ON (session_key, place, feature) *
        FROM found
        WHERE session_key IS NOT NULL AND event = ANY(%(begins)s::smallint[])
        ORDER BY session_key, place, feature, timestamp, id
    ), ended AS (
        SELECT session_key, place, feature, max(timestamp) AS ended,
               max(timestamp) FILTER (WHERE event = ANY(%(completes)s::smallint[])) AS completed,
               max(timestamp) FILTER (WHERE event = ANY(%(abandons)s::smallint[])) AS abandoned
        FROM found
        WHERE session_key IS NOT NULL AND event = ANY(%(ends)s::smallint[])
        GROUP BY 1, 2, 3
    ), sessions AS (
        SELECT event, user_id, project_id, place, feature, timestamp{paths},
               coalesce(completed >= timestamp, false) AS is_completed,
               coalesce(abandoned >= timestamp, false) AND NOT coalesce(completed >= timestamp, false) AS is_abandoned,
               CASE WHEN ended >= timestamp
                    THEN (extract(epoch FROM ended - timestamp) * 1000000)::double precision
               END AS duration
        FROM begun
        LEFT JOIN ended USING (session_key, place, feature)
        WHERE matches
    )
    {answer}
""")
_ANSWER = sql.SQL("""
    SELECT {keys}count(*), count(DISTINCT user_id), count(*) FILTER (WHERE is_completed),
           count(*) FILTER (WHERE is_abandoned), count(duration),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY duration),
           percentile_cont(0.95) WITHIN GROUP (ORDER BY duration)
    FROM sessions
    GROUP BY {groups}
    {having}
    ORDER BY {order}
    LIMIT %(limit)s
""")
_ONLY_COUNT = sql.SQL("SELECT count(*) FROM (SELECT FROM sessions GROUP BY {groups}) AS groups")
_HAVING = sql.SQL("HAVING ROW(-count(*), {keys}) {after} ROW({position})")
# Events that begin a session after the period, or end one before it, change no answer.
_FOUND = sql.SQL("""
    SELECT events.id, events.timestamp, events.event, events.user_id, events.project_id,
           coalesce(events.namespace_path, '') COLLATE "C" AS place, CASE {features} END COLLATE "C" AS feature,
           coalesce(events.event = ANY(%(begins)s::smallint[]) AND {matches}, false) AS matches{columns}
    FROM ai_usage_events AS events
    WHERE {conditions}
      AND (events.event = ANY(%(begins)s::smallint[]) AND events.timestamp < %(matched_end)s
           OR events.event = ANY(%(ends)s::smallint[]) AND events.timestamp >= %(matched_start)s)
""")
_WHEN = sql.SQL(" WHEN event = ANY({event_ids}::smallint[]) THEN {value}")
_KEYS = {
    Dimension.FEATURE: sql.SQL("feature"),
    Dimension.EVENT: sql.SQL("event"),
    Dimension.USER: sql.SQL("user_id"),
    Dimension.NAMESPACE: sql.SQL("place"),
    Dimension.PROJECT: sql.SQL("coalesce(project_id, 0)"),
    Dimension.DAY: sql.SQL("timestamp::date"),
    Dimension.WEEK: sql.SQL("date_trunc('week', timestamp)::date"),
    Dimension.MONTH: sql.SQL("date_trunc('month', timestamp)::date"),
}
_AS_TEXT = sql.SQL("{value}::text")


def read_sessions(question: Sessions, connection: SlottedConnection) -> list[tuple[Any, ...]]:
    """Reads the rows of `EventStore.people` for sessions."""
    values: dict[str, Any] = {}
    return connection.execute(_statement(question, values), values).fetchall()


def _statement(question: Sessions, values: dict[str, Any]) -> sql.Composed:
    matches = separate_condition("matched", question.matched, values)
    conditions = where_condition(question.covered, values)
    reader = PayloadReader(values)
    names, session_keys = [], []
    for number, feature in enumerate(question.features):
        ids, name = sql.Placeholder(f"events_{number}"), sql.Placeholder(f"feature_{number}")
        values |= {f"events_{number}": [*feature.begins, *feature.ends], f"feature_{number}": feature.name}
        names.append(_WHEN.format(event_ids=ids, value=name))
        value = _AS_TEXT.format(value=reader.typed(feature.key, feature.key_type))
        session_keys.append(_WHEN.format(event_ids=ids, value=value))
    values |= question.bind_values
    at_paths = [part for path in question.paths for part in reader.scalar_key(path)]
    path_values = [
        part for path in dict.fromkeys(question.paths) for part in (reader.value(path), reader.numeric(path))
    ]
    path_names = [sql.Identifier(f"path_{number}") for number in range(KEY_COLUMNS * len(question.paths))]
    keys = [*(_KEYS[dimension] for dimension in question.dimensions), *path_names]
    found = _FOUND.format(features=_each(names), matches=matches, columns=reader.columns, conditions=conditions)
    return _SESSIONS.format(
        found=reader.read(found),
        path_values=_each(sql.SQL(", {}").format(value) for value in path_values),
        session_keys=_each(session_keys),
        paths=_each(sql.SQL(", {} AS {}").format(part, name) for part, name in zip(at_paths, path_names, strict=True)),
        answer=_answer(question, keys, values),
    )


def _answer(question: Sessions, keys: Sequence[sql.Composable], values: dict[str, Any]) -> sql.Composable:
    groups = sql.SQL(", ").join(keys) if keys else sql.SQL("()")
    if question.only_count:
        return _ONLY_COUNT.format(groups=groups)
    sorted_by = sort_keys(keys, len(question.dimensions), question.paths)
    having: sql.Composable = sql.SQL("")
    if question.beyond is not None:
        (count,) = question.beyond.ordered
        position = [sql.Placeholder(add_value(values, value)) for value in (-count, *question.beyond.keys)]
        after = sql.SQL("<" if question.backwards else ">")
        having = _HAVING.format(keys=sql.SQL(", ").join(sorted_by), after=after, position=sql.SQL(", ").join(position))
    count_direction, direction = ("ASC", "DESC") if question.backwards else ("DESC", "ASC")
    order = [sql.SQL("count(*) {}").format(sql.SQL(count_direction))]
    order += [sql.SQL("{} {}").format(key, sql.SQL(direction)) for key in sorted_by]
    return _ANSWER.format(
        keys=_each(sql.SQL("{}, ").format(key) for key in keys),
        groups=groups,
        having=having,
        order=sql.SQL(", ").join(order),
    )


def _each(parts: Iterable[sql.Composable]) -> sql.Composable:
    return sql.Composed(list(parts))
