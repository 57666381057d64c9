"""Answers questions about users over time on PostgreSQL."""

import re
from typing import Any

from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.postgres.where import where_condition
from functions.graphql.query.people import (
    ALL_SEATS,
    Activity,
    Adoption,
    Earlier,
    FirstUse,
    IdleSeats,
    Question,
    SeatChanges,
    Seats,
    Tiers,
)
from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection

# A user's periods are first gathered as bits: a hash table of users and periods would not fit in memory.
_ACTIVITY = sql.SQL("""
    WITH gathered AS (
        SELECT user_id, period / 60 AS block, bit_or(1::bigint << (period %% 60)) AS periods
        FROM (
            SELECT events.user_id, {number} AS period
            FROM ai_usage_events AS events
            WHERE {conditions}
            OFFSET 0
        ) AS found
        GROUP BY 1, 2
    ), used AS (
        SELECT user_id, block * 60 + place AS period
        FROM gathered
        CROSS JOIN generate_series(0, 59) AS place
        WHERE (periods >> place) & 1 = 1
    ), compared AS (
        SELECT period, coalesce(period - {earlier} OVER (PARTITION BY user_id ORDER BY period), 0) AS distance
        FROM used
    )
    SELECT period, least(distance, %(farthest)s) AS distance, count(*)
    FROM compared
    WHERE {answered}
    GROUP BY 1, 2
""")

_TIERS = sql.SQL("""
    SELECT width_bucket(total, %(thresholds)s::bigint[]), count(*)
    FROM (
        SELECT count(*) AS total
        FROM ai_usage_events AS events
        WHERE {conditions}
        GROUP BY events.user_id
    ) AS users
    GROUP BY 1
""")

# A seat's state at the end of each day, then the changes of each user's number of seats, then those of whether there
# is any.
_SEAT_CHANGES = sql.SQL("""
    WITH states AS (
        SELECT DISTINCT ON (user_id, place, product, day)
               events.user_id, coalesce(events.namespace_path, '') AS place, coalesce({product}, '') AS product,
               {day} AS day, (events.event = ANY(%(assigned_ids)s::smallint[]))::integer AS held
        FROM ai_usage_events AS events
        WHERE {conditions}
        ORDER BY user_id, place, product, day, events.timestamp DESC, events.id DESC
    ), changes AS (
        SELECT user_id, day,
               held - coalesce(lag(held) OVER (PARTITION BY user_id, place, product ORDER BY day), 0) AS change
        FROM states
    ), totals AS (
        SELECT user_id, day, sum(sum(change)) OVER (PARTITION BY user_id ORDER BY day) AS seats
        FROM changes
        GROUP BY user_id, day
    ), users AS (
        SELECT day, (seats > 0)::integer
               - coalesce((lag(seats) OVER (PARTITION BY user_id ORDER BY day) > 0)::integer, 0) AS change
        FROM totals
    )
    SELECT greatest(day, %(since)s), sum(change)::bigint
    FROM users
    GROUP BY 1
""")

_HOLDERS = sql.SQL("""
    SELECT user_id, min(timestamp)::date AS since
    FROM (
        SELECT DISTINCT ON (user_id, place, product)
               events.user_id, events.timestamp, coalesce(events.namespace_path, '') AS place,
               coalesce({product}, '') AS product,
               events.event = ANY(%(assigned_ids)s::smallint[]) AS held
        FROM ai_usage_events AS events
        WHERE {conditions}
        ORDER BY user_id, place, product, events.timestamp DESC, events.id DESC
    ) AS states
    WHERE held
    GROUP BY user_id
""")

_ADOPTION = sql.SQL("""
    WITH holders AS ({holders}), used AS (
        SELECT DISTINCT events.user_id, events.event
        FROM ai_usage_events AS events
        JOIN holders USING (user_id)
        WHERE {conditions}
    )
    SELECT coalesce(features.name, ''), count(DISTINCT used.user_id)
    FROM used
    JOIN unnest(%(known_events)s::smallint[], %(known_features)s::text[]) AS features (event, name) USING (event)
    GROUP BY ROLLUP (features.name)
    UNION ALL
    SELECT %(all_seats)s, count(*)
    FROM holders
""")

_IDLE = sql.SQL("""
    WITH holders AS ({holders}), used AS (
        SELECT DISTINCT events.user_id
        FROM ai_usage_events AS events
        JOIN holders USING (user_id)
        WHERE {conditions}
    ), idle AS (
        SELECT holders.user_id, holders.since
        FROM holders
        LEFT JOIN used USING (user_id)
        WHERE used.user_id IS NULL
    )
    {answer}
""")
_IDLE_PAGE = sql.SQL("""
    SELECT user_id, since
    FROM idle
    WHERE {beyond}
    ORDER BY user_id {direction}
    LIMIT %(limit)s
""")
_IDLE_COUNT = sql.SQL("SELECT count(*) FROM idle")

_FIRST_USE = sql.SQL("""
    WITH seats AS (
        SELECT events.user_id, min(events.timestamp) AS assigned
        FROM ai_usage_events AS events
        WHERE {assigned}
        GROUP BY events.user_id
    ), waited AS (
        SELECT (extract(epoch FROM min(events.timestamp - seats.assigned)) * 1000000)::double precision AS microseconds
        FROM ai_usage_events AS events
        JOIN seats ON seats.user_id = events.user_id AND seats.assigned <= events.timestamp
        WHERE {conditions}
        GROUP BY events.user_id
    )
    SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY microseconds),
           percentile_cont(0.9) WITHIN GROUP (ORDER BY microseconds)
    FROM waited
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
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def people_statement(question: Question, values: dict[str, Any]) -> sql.Composed:
    """The statement that answers a question; adds its bind parameters to `values`."""
    match question:
        case Activity():
            return _activity(question, values)
        case Tiers(selection, thresholds):
            values["thresholds"] = list(thresholds)
            return _TIERS.format(conditions=where_condition(selection, values))
        case SeatChanges(seats, since):
            values["since"] = since
            return _of_seats(_SEAT_CHANGES, seats, values)
        case Adoption():
            return _adoption(question, values)
        case IdleSeats():
            return _idle(question, values)
        case FirstUse(selection, assigned):
            conditions = where_condition(selection, values)
            return _FIRST_USE.format(assigned=separate_condition("assigned", assigned, values), conditions=conditions)


def separate_condition(prefix: str, selection: Selection, values: dict[str, Any]) -> sql.Composable:
    """The condition of a second selection in a statement, whose bind parameters have names of their own."""
    own: dict[str, Any] = {}
    condition = where_condition(selection, own)
    values |= {f"{prefix}_{name}": value for name, value in own.items()}
    return _renamed(prefix, condition)


def _renamed(prefix: str, part: sql.Composable) -> sql.Composable:
    return sql.SQL(_PLACEHOLDER.sub(rf"%({prefix}_\1)s", part.as_string()))


def _activity(question: Activity, values: dict[str, Any]) -> sql.Composed:
    values |= {"since": question.since, "farthest": question.farthest}
    return _ACTIVITY.format(
        number=_NUMBERS[question.period],
        conditions=where_condition(question.selection, values),
        earlier=_EARLIER[question.earlier],
        answered=_ANSWERED[question.earlier],
    )


def _of_seats(statement: sql.SQL, seats: Seats, values: dict[str, Any]) -> sql.Composed:
    values["assigned_ids"] = list(seats.assigned_ids)
    return statement.format(
        product=payload_sql.text(seats.product, values),
        day=_NUMBERS[Period.DAY],
        conditions=where_condition(seats.selection, values),
    )


def _holders(seats: Seats, values: dict[str, Any]) -> sql.Composable:
    """The statement of the users that have a seat, and since when."""
    of_seats: dict[str, Any] = {}
    holders = _renamed("seat", _of_seats(_HOLDERS, seats, of_seats))
    values |= {f"seat_{name}": value for name, value in of_seats.items()}
    return holders


def _idle(question: IdleSeats, values: dict[str, Any]) -> sql.Composed:
    values |= {"limit": question.limit, "beyond": question.beyond}
    after, direction = ("<", "DESC") if question.backwards else (">", "ASC")
    page = _IDLE_PAGE.format(
        beyond=sql.SQL("true" if question.beyond is None else f"user_id {after} %(beyond)s"),
        direction=sql.SQL(direction),
    )
    return _IDLE.format(
        holders=_holders(question.seats, values),
        conditions=where_condition(question.selection, values),
        answer=_IDLE_COUNT if question.only_count else page,
    )


def _adoption(question: Adoption, values: dict[str, Any]) -> sql.Composed:
    holders = _holders(question.seats, values)
    values |= {
        "known_events": list(question.feature_of),
        "known_features": list(question.feature_of.values()),
        "all_seats": ALL_SEATS,
    }
    return _ADOPTION.format(holders=holders, conditions=where_condition(question.selection, values))
