"""Answers questions about users over time on ClickHouse."""

from typing import Any

from functions.graphql.clickhouse.aggregation import Rows
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind
from functions.graphql.query.people import Activity, Earlier, Question
from functions.graphql.query.periods import Period

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


def counted_by_user(question: Question) -> Aggregation:
    """An aggregation that reads the rows that the question needs, those of rollups too."""
    return Aggregation(question.selection, {}, (Measure(MeasureKind.EVENTS),), (Dimension.USER,))


def people_statement(question: Question, rows: Rows, values: dict[str, Any]) -> str:
    """The statement that answers a question; adds its bind parameters to `values`.

    Args:
        rows: the rows of `counted_by_user`.
    """
    values |= {"since": question.since, "farthest": question.farthest}
    return _activity(question, rows)


def _activity(question: Activity, rows: Rows) -> str:
    return _ACTIVITY.format(
        number=_NUMBERS[question.period],
        rows=rows.source,
        conditions=rows.conditions,
        distances=_DISTANCES[question.earlier],
        answered=_ANSWERED[question.earlier],
    )
