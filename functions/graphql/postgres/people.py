"""Answers questions about users over time on PostgreSQL."""

from typing import Any

from psycopg import sql

from functions.graphql.postgres.where import where_condition
from functions.graphql.query.people import Activity, Earlier, Question
from functions.graphql.query.periods import Period

_ACTIVITY = sql.SQL("""
    WITH used AS (
        SELECT DISTINCT events.user_id, {number} AS period
        FROM ai_usage_events AS events
        WHERE {conditions}
    ), compared AS (
        SELECT period, coalesce(period - {earlier} OVER (PARTITION BY user_id ORDER BY period), 0) AS distance
        FROM used
    )
    SELECT period, least(distance, %(farthest)s) AS distance, count(*)
    FROM compared
    WHERE {answered}
    GROUP BY 1, 2
""")

# As `Period.number_of`.
_NUMBERS = {
    Period.DAY: sql.SQL("(events.timestamp::date - DATE '1970-01-01')"),
    Period.WEEK: sql.SQL("((events.timestamp::date - DATE '1970-01-01' + 3) / 7)"),
    Period.MONTH: sql.SQL("""
        (extract(year FROM events.timestamp) * 12 + extract(month FROM events.timestamp) - 1)::integer
    """),
}
_EARLIER = {Earlier.PREVIOUS: sql.SQL("lag(period)"), Earlier.FIRST: sql.SQL("first_value(period)")}
_ANSWERED = {
    Earlier.PREVIOUS: sql.SQL("period >= %(since)s"),
    Earlier.FIRST: sql.SQL("period - distance >= %(since)s"),
}


def people_statement(question: Question, values: dict[str, Any]) -> sql.Composed:
    """The statement that answers a question; adds its bind parameters to `values`."""
    values |= {"since": question.since, "farthest": question.farthest}
    return _activity(question, values)


def _activity(question: Activity, values: dict[str, Any]) -> sql.Composed:
    return _ACTIVITY.format(
        number=_NUMBERS[question.period],
        conditions=where_condition(question.selection, values),
        earlier=_EARLIER[question.earlier],
        answered=_ANSWERED[question.earlier],
    )
