"""The statement that runs an `Aggregation` on ClickHouse."""

from collections.abc import Callable
from typing import Any

import msgspec

from functions.graphql.clickhouse import group_order, measure_sql, payload_sql
from functions.graphql.clickhouse.where import where_condition
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind
from functions.graphql.query.bind import add_value
from functions.shared.payload_value import DeclaredPaths

_GROUPS = """
    SELECT {columns}
    FROM {rows}
    {moments}
    WHERE {conditions}
    {groups}
    {having}
    {order}
    LIMIT {{limit:UInt32}}
"""

# An event counts in its own group, and as one of the previous period in the group of a later moment: one in each group
# whose previous period the event is in.
_MOMENTS = "ARRAY JOIN [(timestamp, true), {later}] AS moment"
_BOTH_ENDS_OF_NEXT_WEEK = """
    (toDateTime64(toMonday(timestamp) + 7, 6, 'UTC'), false),
    (toDateTime64(toMonday(timestamp) + 13, 6, 'UTC'), false)
"""
_LATER = {
    Dimension.DAY: "(timestamp + toIntervalDay(1), false)",
    Dimension.WEEK: "(timestamp + toIntervalWeek(1), false)",
    Dimension.MONTH: "(timestamp + toIntervalMonth(1), false)",
    None: "(timestamp, false)",
}
_WITHIN_OWN_OR_PREVIOUS = """
    if(moment.2, timestamp >= {own_start:DateTime64(6, 'UTC')}, timestamp < {previous_end:DateTime64(6, 'UTC')})
"""

# A quotient beyond a double's range is missing.
_RATIO = "if(isFinite({dividend} / {divisor}), {dividend} / {divisor}, NULL)"

_FEATURE = "transform(event, {known_events:Array(UInt16)}, {known_features:Array(String)}, '')"


class Rows(msgspec.Struct, frozen=True):
    """What a statement groups: events, or rows that each stand for several events of a day.

    Attributes:
        source: a table, or a statement in brackets, with the columns `timestamp`, `event` and those to group by.
        conditions: which rows are selected.
        count: returns the expression that counts the events of the rows that fulfil a condition.
        users: returns the expression that counts their users.
        values: returns the expression of a measure at a path, of the rows that fulfil a condition.
        declared: payload paths that have a column of their own, of events.
    """

    source: str
    conditions: str
    count: Callable[[str], str]
    users: Callable[[str], str]
    values: Callable[[Measure, str], str]
    declared: DeclaredPaths = frozenset()


def event_rows(aggregation: Aggregation, values: dict[str, Any], declared: DeclaredPaths) -> Rows:
    """The selected events themselves; adds their bind parameters to `values`.

    Args:
        declared: payload paths that have a column of their own.
    """

    return Rows(
        source="ai_usage_events FINAL",
        conditions=where_condition(aggregation.selection, values, declared),
        count=lambda counts: f"countIf({counts})",
        users=lambda counts: f"uniqExactIf(user_id, {counts})",
        values=lambda measure, counts: measure_sql.of_events(measure, counts, values, declared),
        declared=declared,
    )


def aggregation_statement(aggregation: Aggregation, rows: Rows, values: dict[str, Any]) -> str:
    """A statement that answers a row for each group; adds its bind parameters to `values`."""
    conditions = rows.conditions
    moment, is_current, moments = "timestamp", "true", ""
    if aggregation.looks_back:
        moment, is_current = "moment.1", "moment.2"
        later = _BOTH_ENDS_OF_NEXT_WEEK if aggregation.splits_weeks else _LATER[aggregation.period]
        moments = _MOMENTS.format(later=later)
        values |= {
            "own_start": aggregation.selection.start,
            "start": aggregation.previous_start,
            "end": aggregation.selection.end,
            "previous_end": aggregation.previous_end,
        }
        conditions += f" AND {_WITHIN_OWN_OR_PREVIOUS}"
    values |= {
        "known_events": list(aggregation.feature_of),
        "known_features": list(aggregation.feature_of.values()),
        "limit": aggregation.limit,
    }
    keys = [_key(dimension, moment) for dimension in aggregation.dimensions]
    for path in aggregation.paths:
        keys += payload_sql.scalar_key(path, values, rows.declared)
    columns = [f"{key} AS key_{number}" for number, key in enumerate(keys)]
    for number, measure in enumerate(aggregation.measures):
        columns.append(f"{_measure(measure, is_current, values, rows)} AS measure_{number}")
    names = [f"key_{number}" for number in range(len(keys))]
    return _GROUPS.format(
        columns=", ".join(columns),
        rows=rows.source,
        moments=moments,
        conditions=conditions,
        groups=f"GROUP BY {', '.join(names)}" if keys else "",
        having=group_order.having(aggregation, rows.count(is_current), values),
        order=group_order.order(aggregation),
    )


def _key(dimension: Dimension, moment: str) -> str:
    match dimension:
        case Dimension.FEATURE:
            return _FEATURE
        case Dimension.EVENT:
            return "event"
        case Dimension.USER:
            return "user_id"
        case Dimension.NAMESPACE:
            return "namespace_path"
        case Dimension.PROJECT:
            return "project_id"
        case Dimension.DAY:
            return f"toDate({moment})"
        case Dimension.WEEK:
            return f"toMonday({moment})"
        case Dimension.MONTH:
            return f"toStartOfMonth({moment})"


def _measure(measure: Measure, is_current: str, values: dict[str, Any], rows: Rows) -> str:
    matches = []
    if measure.event_ids is not None:
        matches.append(f"event IN {{{add_value(values, list(measure.event_ids))}:Array(UInt16)}}")
    matches += [payload_sql.condition(condition, values, rows.declared) for condition in measure.conditions]
    counts, counts_before = (" AND ".join([moment, *matches]) for moment in (is_current, f"NOT {is_current}"))
    match measure.kind:
        case MeasureKind.EVENTS:
            return rows.count(counts)
        case MeasureKind.USERS:
            return rows.users(counts)
        case MeasureKind.FEATURES:
            return f"arrayUniq(arrayMap(event -> {_FEATURE}, groupUniqArrayIf(event, {counts})))"
        case MeasureKind.LAST_DAY:
            return f"toDate(maxOrNullIf(timestamp, {counts}))"
        case MeasureKind.RATIO:
            dividend, divisor = (f"toFloat64({_measure(part, is_current, values, rows)})" for part in measure.of)
            return _RATIO.format(dividend=dividend, divisor=divisor)
        case MeasureKind.PREVIOUS_USERS:
            return rows.users(counts_before)
        case MeasureKind.RETURNING_USERS:
            # Users of both periods = users of one + users of the other - users of either.
            of_either = " AND ".join(matches) or "true"
            return f"{rows.users(counts)} + {rows.users(counts_before)} - {rows.users(of_either)}"
    return rows.values(measure, counts)
