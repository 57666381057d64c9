"""Runs an `Aggregation` on PostgreSQL.

The statement first groups events by group, user and event type, so that it counts distinct users among few rows. It
skips this step if a measure needs single events.
"""

from collections.abc import Iterable
from itertools import count, islice
from typing import Any

import msgspec
from psycopg import sql

from functions.graphql.postgres import group_order, measure_sql, payload_sql
from functions.graphql.postgres.measure_sql import VALUES
from functions.graphql.postgres.where import where_condition
from functions.graphql.query.aggregation import (
    KEY_COLUMNS,
    Aggregation,
    Dimension,
    Measure,
    MeasureKind,
    answer_rows,
    empty_rows,
)
from functions.graphql.query.slots import SlottedConnection
from functions.shared.postgres import Connection

_GROUPS = sql.SQL("""
    WITH counted AS ({counted})
    SELECT {keys}{measures}
    FROM counted
    LEFT JOIN unnest(%(known_events)s::smallint[], %(known_features)s::text[]) AS features (event, name) USING (event)
    GROUP BY {groups}
    {having}
    {order}
    LIMIT %(limit)s
""")

_COUNTED_GROUPS = sql.SQL("""
    SELECT {keys}{is_current} AS is_current, events.user_id, events.event,
           count(*) AS total, max(events.timestamp) AS last{columns}
    FROM ai_usage_events AS events {moments}
    WHERE {conditions}
    GROUP BY {key_names}is_current, events.user_id, events.event
""")
_COUNTED_EVENTS = sql.SQL("""
    SELECT {keys}{is_current} AS is_current, events.user_id, events.event,
           1 AS total, events.timestamp AS last{columns}
    FROM ai_usage_events AS events {moments}
    WHERE {conditions}
""")

# Answers one row even without any event, as `GROUP BY ()` does.
_ONE_GROUP = sql.SQL("()")

_DISTINCT = sql.SQL("""
    SELECT {key}, array_agg(DISTINCT {value})
    FROM ai_usage_events AS events
    WHERE {conditions} AND {value} IS NOT NULL
    GROUP BY 1
""")

# An event counts in its own group, and as one of the previous period in the group of a later moment: one in each group
# whose previous period the event is in.
_MOMENTS = sql.SQL("""
    CROSS JOIN LATERAL (VALUES (events.timestamp, true), {later}) AS moments (moment, is_current)
""")
_NEXT_DAY = sql.SQL("(events.timestamp + interval '1 day', false)")
_NEXT_WEEK = sql.SQL("(events.timestamp + interval '7 days', false)")
_BOTH_ENDS_OF_NEXT_WEEK = sql.SQL("""
    (date_trunc('week', events.timestamp) + interval '7 days', false),
    (date_trunc('week', events.timestamp) + interval '13 days', false)
""")
_NEXT_MONTH = sql.SQL("(events.timestamp + interval '1 month', false)")
_ANY_MOMENT = sql.SQL("(events.timestamp, false)")
_LATER: dict[Dimension | None, sql.SQL] = {
    Dimension.DAY: _NEXT_DAY,
    Dimension.WEEK: _NEXT_WEEK,
    Dimension.MONTH: _NEXT_MONTH,
    None: _ANY_MOMENT,
}
_WITHIN_OWN_OR_PREVIOUS = sql.SQL("""
    CASE WHEN moments.is_current THEN events.timestamp >= %(own_start)s ELSE events.timestamp < %(previous_end)s END
""")

# Key of each dimension in the inner grouping, and in the outer one.
_INNER_KEYS: dict[Dimension, sql.SQL] = {
    Dimension.NAMESPACE: sql.SQL("coalesce(events.namespace_path, '')"),
    Dimension.PROJECT: sql.SQL("coalesce(events.project_id, 0)"),
    Dimension.DAY: sql.SQL("({moment})::date"),
    Dimension.WEEK: sql.SQL("date_trunc('week', {moment})::date"),
    Dimension.MONTH: sql.SQL("date_trunc('month', {moment})::date"),
}
_KEYS: dict[Dimension, sql.SQL] = {
    Dimension.FEATURE: sql.SQL('features.name COLLATE "C"'),
    Dimension.EVENT: sql.SQL("counted.event"),
    Dimension.USER: sql.SQL("counted.user_id"),
}


def read_aggregation(aggregation: Aggregation, connection: SlottedConnection | Connection) -> list[tuple[Any, ...]]:
    """Reads the rows of `EventStore.aggregate`."""
    if aggregation.selection.selects_nothing:
        return empty_rows(aggregation)
    values: dict[str, Any] = {}
    statement = _statement(aggregation, values)
    rows = connection.execute(statement, values, prepare=False).fetchall()
    if any(measure.kind is MeasureKind.DISTINCT for measure in aggregation.measures):
        rows = _with_distinct(aggregation, rows, connection)
    return list(answer_rows(aggregation, rows))


def _statement(aggregation: Aggregation, values: dict[str, Any]) -> sql.Composed:
    moment, is_current = sql.SQL("events.timestamp"), sql.SQL("true")
    moments: sql.Composable = sql.SQL("")
    conditions = where_condition(aggregation.selection, values)
    if aggregation.looks_back:
        moment, is_current = sql.SQL("moments.moment"), sql.SQL("moments.is_current")
        later = _BOTH_ENDS_OF_NEXT_WEEK if aggregation.splits_weeks else _LATER[aggregation.period]
        moments = _MOMENTS.format(later=later)
        values |= {
            "own_start": values["start"],
            "start": aggregation.previous_start,
            "previous_end": aggregation.previous_end,
        }
        conditions = sql.SQL(" AND ").join([conditions, _WITHIN_OWN_OR_PREVIOUS])
    inner_keys: list[sql.Composable] = [
        _INNER_KEYS[dimension].format(moment=moment) for dimension in aggregation.dimensions if dimension in _INNER_KEYS
    ]
    for path in aggregation.paths:
        inner_keys += payload_sql.scalar_key(path, values)
    keys = _outer_keys(aggregation)
    values |= {
        "known_events": list(aggregation.feature_of),
        "known_features": list(aggregation.feature_of.values()),
        "limit": aggregation.limit,
    }
    measures = measure_sql.expressions(aggregation.measures, values)
    counted = _COUNTED_EVENTS if measure_sql.needs_events(aggregation.measures) else _COUNTED_GROUPS
    return _GROUPS.format(
        counted=counted.format(
            keys=_each(sql.SQL("{} AS {}, ").format(key, _inner_name(n)) for n, key in enumerate(inner_keys)),
            key_names=_each(sql.SQL("{}, ").format(_inner_name(number)) for number in range(len(inner_keys))),
            is_current=is_current,
            columns=_each(measure_sql.counted_columns(aggregation.measures, values)),
            moments=moments,
            conditions=conditions,
        ),
        keys=_each(sql.SQL("{}, ").format(key) for key in keys),
        measures=sql.SQL(", ").join(measures),
        groups=sql.SQL(", ").join(keys) if keys else _ONE_GROUP,
        having=group_order.having(aggregation, keys, measures, values),
        order=group_order.order(aggregation, keys, measures),
    )


def _inner_name(number: int) -> sql.Identifier:
    return sql.Identifier(f"key_{number}")


def _outer_keys(aggregation: Aggregation) -> list[sql.Composable]:
    """The keys of a group, in the order of sorting ties."""
    inner_keys = (sql.Identifier("counted", f"key_{number}") for number in count())
    of_dimensions = [_KEYS.get(dimension) or next(inner_keys) for dimension in aggregation.dimensions]
    return [*of_dimensions, *islice(inner_keys, len(aggregation.paths) * KEY_COLUMNS)]


def _with_distinct(
    aggregation: Aggregation, rows: list[tuple[Any, ...]], connection: SlottedConnection | Connection
) -> list[tuple[Any, ...]]:
    """Fills the distinct values into the rows. Groups must be users, or a single one."""
    by_user = aggregation.dimensions == (Dimension.USER,)
    selection = aggregation.selection
    if by_user:
        selection = msgspec.structs.replace(selection, user_ids=tuple(row[0] for row in rows))
    if selection.selects_nothing:
        return rows
    completed = [list(row) for row in rows]
    for number, measure in enumerate(aggregation.measures):
        if measure.kind is MeasureKind.DISTINCT:
            found = _distinct(measure, selection, connection, by_user=by_user)
            for row in completed:
                row[number + by_user] = found.get(row[0] if by_user else None, [])
    return [tuple(row) for row in completed]


def _distinct(
    measure: Measure, selection: Any, connection: SlottedConnection | Connection, *, by_user: bool
) -> dict[int | None, list[Any]]:
    if measure.event_ids is not None:
        event_ids = tuple(event for event in selection.event_ids if event in measure.event_ids)
        selection = msgspec.structs.replace(selection, event_ids=event_ids)
    values: dict[str, Any] = {}
    statement = _DISTINCT.format(
        key=sql.SQL("events.user_id") if by_user else sql.SQL("NULL"),
        value=VALUES[measure.value_type](measure.path, values),
        conditions=where_condition(selection, values),
    )
    return dict(connection.execute(statement, values, prepare=False))


def _each(parts: Iterable[sql.Composable]) -> sql.Composable:
    return sql.Composed(list(parts))
