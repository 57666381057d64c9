"""Runs an `Aggregation` on PostgreSQL.

Where users are counted, the statement first groups events by group and user, and then counts rows, so that nothing has
to be sorted. It skips this step if a measure needs single events, or if an index is sorted by the groups.

What is done for each event is kept cheap: an array by event id says which feature an event is of, and days and weeks
become dates only in the answer.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from psycopg import sql

from functions.graphql.postgres import group_order
from functions.graphql.postgres.measure_sql import MeasureSql
from functions.graphql.postgres.payload_reader import PayloadReader
from functions.graphql.postgres.where import where_condition
from functions.graphql.query.aggregation import (
    PERIODS,
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
    SELECT {shown}{measures}
    FROM counted
    GROUP BY {groups}
    {having}
    {order}
    LIMIT %(limit)s
""")

_FOUND = sql.SQL("""
    SELECT {keys}{is_current} AS is_current, events.user_id, events.event, events.timestamp{columns}
    FROM ai_usage_events AS events {moments}
    WHERE {conditions}
""")
_EVENTS = sql.SQL("SELECT found.*{path_keys} FROM ({found}) AS found")
_USERS = sql.SQL("""
    SELECT {keys}user_id, {is_current} AS is_current{columns}
    FROM ({events}) AS found
    GROUP BY {keys}user_id
""")

_FEATURE = sql.SQL("(%(features)s::smallint[])[events.event]")
_FEATURE_NAME = sql.SQL("""(%(feature_names)s::text[])[{key}] COLLATE "C\"""")
_DATE = sql.SQL("{key}::date")
_TRUE = sql.SQL("true")
_ANY_IS_CURRENT = sql.SQL("bool_or(is_current)")

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
_LATER: dict[Dimension, sql.SQL] = {
    Dimension.DAY: _NEXT_DAY,
    Dimension.WEEK: _NEXT_WEEK,
    Dimension.MONTH: _NEXT_MONTH,
}
_WITHIN_OWN_OR_PREVIOUS = sql.SQL("""
    CASE WHEN moments.is_current THEN events.timestamp >= %(own_start)s ELSE events.timestamp < %(previous_end)s END
""")

# Without days, weeks or months, the previous period ends where the selection begins: each event is in one of the two.
_IS_IN_SELECTION = sql.SQL("(events.timestamp >= %(own_start)s)")

# Key of each dimension. A day or week begins with its first moment; 2001 began on a Monday.
_KEYS: dict[Dimension, sql.SQL] = {
    Dimension.FEATURE: _FEATURE,
    Dimension.EVENT: sql.SQL("events.event"),
    Dimension.USER: sql.SQL("events.user_id"),
    Dimension.NAMESPACE: sql.SQL("coalesce(events.namespace_path, '')"),
    Dimension.PROJECT: sql.SQL("coalesce(events.project_id, 0)"),
    Dimension.DAY: sql.SQL("date_bin('1 day', {moment}, '2001-01-01 00:00+00')"),
    Dimension.WEEK: sql.SQL("date_bin('7 days', {moment}, '2001-01-01 00:00+00')"),
    Dimension.MONTH: sql.SQL("date_trunc('month', {moment})"),
}

# What the answer shows of a key; other keys are shown as they are.
_SHOWN: dict[Dimension, sql.SQL] = {Dimension.FEATURE: _FEATURE_NAME, **dict.fromkeys(PERIODS, _DATE)}


def read_aggregation(aggregation: Aggregation, connection: SlottedConnection | Connection) -> list[tuple[Any, ...]]:
    """Reads the rows of `EventStore.aggregate`."""
    aggregation = _of_measured_events(aggregation)
    if aggregation.selection.selects_nothing:
        return empty_rows(aggregation)
    values: dict[str, Any] = {}
    statement = _statement(aggregation, values)
    rows = connection.execute(statement, values, prepare=False).fetchall()
    if any(measure.kind is MeasureKind.DISTINCT for measure in aggregation.measures):
        rows = _with_distinct(aggregation, rows, connection)
    return list(answer_rows(aggregation, rows))


def _of_measured_events(aggregation: Aggregation) -> Aggregation:
    """Leaves out events that nothing is measured of, before their payloads are looked at. Groups keep all events."""
    parts = [part for measure in aggregation.measures for part in measure.with_parts if not part.of]
    measured: set[int] = set()
    for part in parts:
        if part.event_ids is None or aggregation.is_grouped:
            return aggregation
        measured.update(part.event_ids)
    event_ids = tuple(event for event in aggregation.selection.event_ids if event in measured)
    selection = msgspec.structs.replace(aggregation.selection, event_ids=event_ids)
    return msgspec.structs.replace(aggregation, selection=selection)


def _statement(aggregation: Aggregation, values: dict[str, Any]) -> sql.Composed:
    reader = PayloadReader(values)
    path_keys = [part for path in aggregation.paths for part in reader.scalar_key(path)]
    measures = MeasureSql(aggregation, reader, values)
    keys = [sql.Identifier(f"key_{number}") for number in range(len(aggregation.dimensions) + len(path_keys))]
    found = _found(aggregation, measures, reader, keys, values)
    counted = _EVENTS.format(
        found=reader.read(found),
        path_keys=_each(
            sql.SQL(", {} AS {}").format(part, key)
            for part, key in zip(path_keys, keys[len(aggregation.dimensions) :], strict=True)
        ),
    )
    if measures.by_user:
        counted = _USERS.format(
            keys=_each(sql.SQL("{}, ").format(key) for key in keys),
            is_current=_ANY_IS_CURRENT if aggregation.looks_back else _TRUE,
            columns=measures.user_columns,
            events=counted,
        )
    values["limit"] = aggregation.limit
    shown = [
        _SHOWN[of].format(key=key) if of in _SHOWN else key
        for of, key in zip(aggregation.dimensions, keys, strict=False)
    ]
    shown += keys[len(aggregation.dimensions) :]
    return _GROUPS.format(
        counted=counted,
        shown=_each(sql.SQL("{}, ").format(key) for key in shown),
        measures=sql.SQL(", ").join(measures.expressions),
        groups=sql.SQL(", ").join(keys) if keys else _ONE_GROUP,
        having=group_order.having(aggregation, shown, measures.expressions, values),
        order=group_order.order(aggregation, shown, measures.expressions),
    )


def _found(
    aggregation: Aggregation,
    measures: MeasureSql,
    reader: PayloadReader,
    keys: Sequence[sql.Composable],
    values: dict[str, Any],
) -> sql.Composed:
    """The events to measure, with what the groups and measures need of each."""
    moment, is_current = sql.SQL("events.timestamp"), _TRUE
    moments: sql.Composable = sql.SQL("")
    conditions = where_condition(aggregation.selection, values)
    if aggregation.looks_back:
        values |= {"own_start": values["start"], "start": aggregation.previous_start}
        is_current = _IS_IN_SELECTION
    if aggregation.looks_back and aggregation.period is not None:
        moment, is_current = sql.SQL("moments.moment"), sql.SQL("moments.is_current")
        later = _BOTH_ENDS_OF_NEXT_WEEK if aggregation.splits_weeks else _LATER[aggregation.period]
        moments = _MOMENTS.format(later=later)
        values["previous_end"] = aggregation.previous_end
        conditions = sql.SQL(" AND ").join([conditions, _WITHIN_OWN_OR_PREVIOUS])
    if Dimension.FEATURE in aggregation.dimensions:
        values |= _features(aggregation)
    return _FOUND.format(
        keys=_each(
            sql.SQL("{} AS {}, ").format(_KEYS[dimension].format(moment=moment), key)
            for dimension, key in zip(aggregation.dimensions, keys, strict=False)
        ),
        is_current=is_current,
        columns=_each([measures.event_columns, reader.columns]),
        moments=moments,
        conditions=conditions,
    )


def _features(aggregation: Aggregation) -> dict[str, list[Any]]:
    """Bind parameters: the names of the features, sorted, and the number of each event id's feature, 0 without one."""
    names = sorted(set(aggregation.feature_of.values()))
    number_of = {name: number for number, name in enumerate(names, 1)}
    features = (aggregation.feature_of.get(event) for event in range(1, max(aggregation.feature_of, default=0) + 1))
    return {"feature_names": names, "features": [number_of.get(feature or "", 0) for feature in features]}


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
