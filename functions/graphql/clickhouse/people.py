"""Answers questions about users over time on ClickHouse."""

import re
from typing import Any

from functions.graphql.clickhouse import payload_sql
from functions.graphql.clickhouse.aggregation import Rows
from functions.graphql.clickhouse.where import where_condition
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind
from functions.graphql.query.people import (
    ALL_SEATS,
    Activity,
    Adoption,
    Earlier,
    FirstUse,
    IdleSeats,
    SeatChanges,
    Seats,
    Tiers,
)
from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection
from functions.shared.payload_value import DeclaredPaths

type Counted = Activity | Tiers | Adoption | IdleSeats
"""Questions about how many events each user has of what on which day, which rollups know too."""

_ACTIVITY = """
    SELECT period, least(distance, {{farthest:Int32}}) AS capped, count()
    FROM (
        SELECT arraySort(groupUniqArray({number})) AS periods
        FROM {rows}
        WHERE {conditions}
        GROUP BY user_id
    )
    ARRAY JOIN periods AS period, {distances} AS distance
    WHERE {answered}
    GROUP BY period, capped
"""

_TIERS = """
    SELECT arrayCount(threshold -> total >= threshold, {{thresholds:Array(UInt64)}}) AS tier, count()
    FROM (
        SELECT {count} AS total
        FROM {rows}
        WHERE {conditions}
        GROUP BY user_id
    )
    GROUP BY tier
"""

# A seat's state at the end of each day, then the changes of each user's number of seats, then those of whether there
# is any.
_SEAT_CHANGES = """
    SELECT greatest(day, {{since:Int32}}) AS from_day, sum(change)
    FROM (
        SELECT day, toInt64(seats > 0) - toInt64(lagInFrame(seats, 1, toInt64(0)) OVER {by_user} > 0) AS change
        FROM (
            SELECT user_id, day, sum(changed) OVER {by_user} AS seats
            FROM (
                SELECT user_id, day, sum(one) AS changed
                FROM (
                    SELECT user_id, day, held - lagInFrame(held, 1, toInt64(0)) OVER {by_seat} AS one
                    FROM (
                        SELECT user_id, namespace_path AS place, ifNull({product}, '') AS product_name,
                               toInt32(toDate32(timestamp)) AS day, {held} AS held
                        FROM ai_usage_events FINAL
                        WHERE {conditions}
                        GROUP BY user_id, place, product_name, day
                    )
                )
                GROUP BY user_id, day
            )
        )
    )
    GROUP BY from_day
"""
_BY_USER = "(PARTITION BY user_id ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
_BY_SEAT = "(PARTITION BY user_id, place, product_name ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
_HELD = "toInt64(argMax(event IN {assigned_ids:Array(UInt16)}, (timestamp, UUIDToNum(id))))"

_HOLDERS = """
    SELECT user_id, toDate32(min(last)) AS since
    FROM (
        SELECT user_id, namespace_path AS place, ifNull({product}, '') AS product_name, {held} AS held,
               max(timestamp) AS last
        FROM ai_usage_events FINAL
        WHERE {conditions}
        GROUP BY user_id, place, product_name
    )
    WHERE held = 1
    GROUP BY user_id
"""

_ADOPTION = """
    SELECT transform(event, {{known_events:Array(UInt16)}}, {{known_features:Array(String)}}, '') AS feature,
           uniqExact(user_id)
    FROM {rows}
    WHERE {conditions} AND user_id IN (SELECT user_id FROM ({holders}))
    GROUP BY feature WITH ROLLUP
    UNION ALL
    SELECT {{all_seats:String}}, count()
    FROM ({holders})
"""

_IDLE = """
    SELECT {columns}
    FROM ({holders})
    WHERE user_id NOT IN (SELECT user_id FROM {rows} WHERE {conditions}) AND {beyond}
    {page}
"""
_IDLE_PAGE = "ORDER BY user_id {direction} LIMIT {{limit:UInt32}}"

_FIRST_USE = """
    SELECT count(), quantileExactInclusive(0.5)(microseconds), quantileExactInclusive(0.9)(microseconds)
    FROM (
        SELECT min(used - assigned) AS microseconds
        FROM (
            SELECT user_id, toUnixTimestamp64Micro(timestamp) AS used
            FROM ai_usage_events FINAL
            WHERE {conditions}
        ) AS uses
        INNER JOIN (
            SELECT user_id, toUnixTimestamp64Micro(min(timestamp)) AS assigned
            FROM ai_usage_events FINAL
            WHERE {assigned}
            GROUP BY user_id
        ) AS seats USING (user_id)
        WHERE used >= assigned
        GROUP BY user_id
    )
"""

# As `Period.number_of`.
_NUMBERS = {
    Period.DAY: "toInt32(toDate32(timestamp))",
    Period.WEEK: "toInt32(intDiv(toInt32(toDate32(timestamp)) + 3, 7))",
    Period.MONTH: "toInt32(toYear(timestamp) * 12 + toMonth(timestamp) - 1)",
}
_DISTANCES = {
    Earlier.PREVIOUS: "arrayDifference(periods)",
    Earlier.FIRST: "arrayMap(number -> number - periods[1], periods)",
}
_ANSWERED = {Earlier.PREVIOUS: "period >= {since:Int32}", Earlier.FIRST: "period - distance >= {since:Int32}"}
_PARAMETER = re.compile(r"\{(\w+):")


def counted_by_user(question: Counted) -> Aggregation:
    """An aggregation that reads the rows that the question needs, those of rollups too."""
    return Aggregation(question.selection, {}, (Measure(MeasureKind.EVENTS),), (Dimension.USER,))


def counted_statement(question: Counted, declared: DeclaredPaths, rows: Rows, values: dict[str, Any]) -> str:
    """The statement that answers a question from rows; adds its bind parameters to `values`.

    Args:
        declared: payload paths that have a column of their own.
        rows: the rows of `counted_by_user`.
    """
    match question:
        case Activity():
            return _activity(question, rows, values)
        case Tiers(_, thresholds):
            values["thresholds"] = list(thresholds)
            return _TIERS.format(count=rows.count("true"), rows=rows.source, conditions=rows.conditions)
        case Adoption():
            return _adoption(question, declared, rows, values)
        case IdleSeats():
            return _idle(question, declared, rows, values)


def statement_of_events(question: SeatChanges | FirstUse, declared: DeclaredPaths, values: dict[str, Any]) -> str:
    """The statement that answers a question from events alone; adds its bind parameters to `values`.

    Args:
        declared: payload paths that have a column of their own.
    """
    match question:
        case SeatChanges(seats, since):
            values["since"] = since
            return _of_seats(_SEAT_CHANGES, seats, declared, values)
        case FirstUse(selection, assigned):
            conditions = where_condition(selection, values, declared)
            of_seats = separate_condition("assigned", assigned, declared, values)
            return _FIRST_USE.format(conditions=conditions, assigned=of_seats)


def separate_condition(prefix: str, selection: Selection, declared: DeclaredPaths, values: dict[str, Any]) -> str:
    """The condition of a second selection in a statement, whose bind parameters have names of their own."""
    own: dict[str, Any] = {}
    condition = where_condition(selection, own, declared)
    values |= {f"{prefix}_{name}": value for name, value in own.items()}
    return _renamed(prefix, condition)


def _renamed(prefix: str, text: str) -> str:
    return _PARAMETER.sub(rf"{{{prefix}_\1:", text)


def _activity(question: Activity, rows: Rows, values: dict[str, Any]) -> str:
    values |= {"since": question.since, "farthest": question.farthest}
    return _ACTIVITY.format(
        number=_NUMBERS[question.period],
        rows=rows.source,
        conditions=rows.conditions,
        distances=_DISTANCES[question.earlier],
        answered=_ANSWERED[question.earlier],
    )


def _of_seats(statement: str, seats: Seats, declared: DeclaredPaths, values: dict[str, Any]) -> str:
    values["assigned_ids"] = list(seats.assigned_ids)
    return statement.format(
        product=payload_sql.text(seats.product, values, declared),
        held=_HELD,
        by_user=_BY_USER,
        by_seat=_BY_SEAT,
        conditions=where_condition(seats.selection, values, declared),
    )


def _holders(seats: Seats, declared: DeclaredPaths, values: dict[str, Any]) -> str:
    """The statement of the users that have a seat, and since when."""
    of_seats: dict[str, Any] = {}
    holders = _renamed("seat", _of_seats(_HOLDERS, seats, declared, of_seats))
    values |= {f"seat_{name}": value for name, value in of_seats.items()}
    return holders


def _idle(question: IdleSeats, declared: DeclaredPaths, rows: Rows, values: dict[str, Any]) -> str:
    values |= {"limit": question.limit, "beyond": question.beyond}
    after, direction = ("<", "DESC") if question.backwards else (">", "ASC")
    return _IDLE.format(
        columns="count()" if question.only_count else "user_id, since",
        holders=_holders(question.seats, declared, values),
        rows=rows.source,
        conditions=rows.conditions,
        beyond="true" if question.beyond is None else f"user_id {after} {{beyond:UInt64}}",
        page="" if question.only_count else _IDLE_PAGE.format(direction=direction),
    )


def _adoption(question: Adoption, declared: DeclaredPaths, rows: Rows, values: dict[str, Any]) -> str:
    holders = _holders(question.seats, declared, values)
    values |= {
        "known_events": list(question.feature_of),
        "known_features": list(question.feature_of.values()),
        "all_seats": ALL_SEATS,
    }
    return _ADOPTION.format(rows=rows.source, conditions=rows.conditions, holders=holders)
