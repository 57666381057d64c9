"""Runs an `Aggregation` on PostgreSQL.

Where users are counted, the statement first groups events by group and user, and then counts rows, so that nothing has
to be sorted. It skips this step if a measure needs single events.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from psycopg import sql

from functions.graphql.postgres import group_order
from functions.graphql.postgres.measure_sql import MeasureSql, needs_features
from functions.graphql.postgres.payload_reader import PayloadReader
from functions.graphql.postgres.where import where_condition
from functions.graphql.query.aggregation import (
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
    GROUP BY {groups}
    {having}
    {order}
    LIMIT %(limit)s
""")

_FOUND = sql.SQL("""
    SELECT {keys}{is_current} AS is_current, events.user_id, events.event, events.timestamp{columns}
    FROM ai_usage_events AS events {features} {moments}
    WHERE {conditions}
""")
_EVENTS = sql.SQL("SELECT found.*{path_keys} FROM ({found}) AS found")
_USERS = sql.SQL("""
    SELECT {keys}user_id, bool_or(is_current) AS is_current{columns}
    FROM ({events}) AS found
    GROUP BY {keys}user_id
""")

_FEATURES = sql.SQL("""
    LEFT JOIN (
        SELECT event, name COLLATE "C" AS feature, bits::bit({width}) AS feature_bit
        FROM unnest(%(known_events)s::smallint[], %(known_features)s::text[], %(feature_bits)s::text[])
             AS known (event, name, bits)
    ) AS features ON features.event = events.event
""")

# Answers one row even without any event, as `GROUP BY ()` does.
_ONE_GROUP = sql.SQL("()")

_DISTINCT = sql.SQL("""
    SELECT key, array_agg(value)
    FROM (SELECT DISTINCT key, {value} AS value FROM ({found}) AS found) AS distinct_values
    WHERE value IS NOT NULL
    GROUP BY key
""")
_DISTINCT_OF = sql.SQL("SELECT {key} AS key{columns} FROM ai_usage_events AS events WHERE {conditions}")

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

# Key of each dimension.
_KEYS: dict[Dimension, sql.SQL] = {
    Dimension.FEATURE: sql.SQL("features.feature"),
    Dimension.EVENT: sql.SQL("events.event"),
    Dimension.USER: sql.SQL("events.user_id"),
    Dimension.NAMESPACE: sql.SQL("coalesce(events.namespace_path, '')"),
    Dimension.PROJECT: sql.SQL("coalesce(events.project_id, 0)"),
    Dimension.DAY: sql.SQL("({moment})::date"),
    Dimension.WEEK: sql.SQL("date_trunc('week', {moment})::date"),
    Dimension.MONTH: sql.SQL("date_trunc('month', {moment})::date"),
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
    reader = PayloadReader(values)
    path_keys = [part for path in aggregation.paths for part in reader.scalar_key(path)]
    measures = MeasureSql(aggregation.measures, reader, values)
    values["limit"] = aggregation.limit
    count = len(aggregation.dimensions)
    keys = [sql.Identifier(f"key_{number}") for number in range(count + len(path_keys))]
    found = _FOUND.format(
        keys=_each(
            sql.SQL("{} AS {}, ").format(_KEYS[dimension].format(moment=moment), key)
            for dimension, key in zip(aggregation.dimensions, keys, strict=False)
        ),
        is_current=is_current,
        columns=_each([_feature_bit(aggregation), measures.event_columns, reader.columns]),
        features=_features(aggregation, values),
        moments=moments,
        conditions=conditions,
    )
    counted = _EVENTS.format(
        found=reader.read(found),
        path_keys=_each(
            sql.SQL(", {} AS {}").format(part, key) for part, key in zip(path_keys, keys[count:], strict=True)
        ),
    )
    if measures.by_user:
        listed = _each(sql.SQL("{}, ").format(key) for key in keys)
        counted = _USERS.format(keys=listed, columns=measures.user_columns, events=counted)
    return _GROUPS.format(
        counted=counted,
        keys=_each(sql.SQL("{}, ").format(key) for key in keys),
        measures=sql.SQL(", ").join(measures.expressions),
        groups=sql.SQL(", ").join(keys) if keys else _ONE_GROUP,
        having=group_order.having(aggregation, keys, measures.expressions, values),
        order=group_order.order(aggregation, keys, measures.expressions),
    )


def _features(aggregation: Aggregation, values: dict[str, Any]) -> sql.Composable:
    """The features of the event types, each with a bit of its own, if the statement needs them."""
    if Dimension.FEATURE not in aggregation.dimensions and not needs_features(aggregation.measures):
        return sql.SQL("")
    names = list(dict.fromkeys(aggregation.feature_of.values()))
    values |= {
        "known_events": list(aggregation.feature_of),
        "known_features": list(aggregation.feature_of.values()),
        "feature_bits": [f"{1 << names.index(name):0{len(names)}b}" for name in aggregation.feature_of.values()],
    }
    return _FEATURES.format(width=sql.Literal(max(1, len(names))))


def _feature_bit(aggregation: Aggregation) -> sql.Composable:
    return sql.SQL(", features.feature_bit" if needs_features(aggregation.measures) else "")


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
    reader = PayloadReader(values)
    value = reader.typed(measure.path, measure.value_type)
    found = _DISTINCT_OF.format(
        key=sql.SQL("events.user_id") if by_user else sql.SQL("NULL::bigint"),
        columns=reader.columns,
        conditions=where_condition(selection, values),
    )
    statement = _DISTINCT.format(value=value, found=reader.read(found))
    return dict(connection.execute(statement, values, prepare=False))


def _each(parts: Iterable[sql.Composable]) -> sql.Composable:
    return sql.Composed(list(parts))
