"""Answers questions about users over time on PostgreSQL."""

import re
from datetime import date
from typing import Any

import msgspec
from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.postgres.where import where_condition
from functions.graphql.query.bind import add_value
from functions.graphql.query.days import midnight
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
from functions.graphql.query.selection import Selection
from functions.graphql.query.slots import SlottedConnection

# A user's periods are first gathered as bits, in a column for each block of periods: a hash table of users and periods
# would not fit in memory. The period before one is found among the bits, and else in an earlier block.
_ACTIVITY = sql.SQL("""
    WITH gathered AS (
        SELECT events.user_id{columns}
        FROM ai_usage_events AS events
        WHERE {conditions}
        GROUP BY events.user_id
    ), blocks AS (
        SELECT first, periods, {reference} OVER (PARTITION BY user_id ORDER BY first) AS reference
        FROM gathered
        CROSS JOIN LATERAL (VALUES {blocks}) AS block (first, periods)
        WHERE periods <> 0
    ), used AS (
        SELECT first, first + place AS period, periods & ((1::bigint << place) - 1) AS earlier, reference
        FROM blocks
        CROSS JOIN generate_series(0, {last_place}) AS place
        WHERE periods & (1::bigint << place) <> 0
        OFFSET 0
    ), compared AS (
        SELECT period, {distance} AS distance
        FROM used
        OFFSET 0
    )
    SELECT period, least(distance, %(farthest)s) AS distance, count(*)
    FROM compared
    WHERE {answered}
    GROUP BY 1, 2
""")
_PERIODS = sql.SQL("""
    , bit_or(1::bigint << (width_bucket(events.timestamp, {starts}::timestamptz[]) - 1)){of_block} AS {column}
""")
_OF_BLOCK = sql.SQL(" FILTER (WHERE events.timestamp >= {start} AND events.timestamp < {end})")
_BLOCK = 62  # bits of a `bigint` that are used
_GREATEST_BIT = sql.SQL("(64 - position(B'1' IN ({bits})::bit(64)))")
_MOMENTS = """
    SELECT min(timestamp), max(timestamp)
    FROM ai_usage_events
    WHERE timestamp >= %(start)s AND timestamp < %(end)s
"""

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

_DAY = sql.SQL("(events.timestamp::date - DATE '1970-01-01')")  # as `Period.number_of`

# The period that a user's periods are compared with, as far as a block tells it to itself or to later blocks.
_REFERENCES = {
    Earlier.PREVIOUS: sql.SQL("lag(first + {greatest})").format(greatest=_GREATEST_BIT.format(bits=sql.SQL("periods"))),
    Earlier.FIRST: sql.SQL("first_value(first + {least})").format(
        least=_GREATEST_BIT.format(bits=sql.SQL("periods & -periods"))
    ),
}
_DISTANCES = {
    Earlier.PREVIOUS: sql.SQL("coalesce(period - coalesce(first + {greatest}, reference), 0)").format(
        greatest=_GREATEST_BIT.format(bits=sql.SQL("NULLIF(earlier, 0)"))
    ),
    Earlier.FIRST: sql.SQL("period - reference"),
}
_ANSWERED = {
    Earlier.PREVIOUS: sql.SQL("period >= %(since)s"),
    Earlier.FIRST: sql.SQL("period - distance >= %(since)s"),
}
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def read_people(question: Question, connection: SlottedConnection) -> list[tuple[Any, ...]]:
    """Reads the rows of `EventStore.people`."""
    values: dict[str, Any] = {}
    if isinstance(question, Activity):
        selection = question.selection
        bounds = {"start": selection.start, "end": selection.end}
        ((first_moment, last_moment),) = connection.execute(_MOMENTS, bounds).fetchall()
        if first_moment is None:
            return []
        statement = _activity(question, first_moment.date(), last_moment.date(), values)
    else:
        statement = _statement(question, values)
    return connection.execute(statement, values).fetchall()


def _statement(question: Tiers | SeatChanges | Adoption | IdleSeats | FirstUse, values: dict[str, Any]) -> sql.Composed:
    match question:
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


def _activity(question: Activity, first_day: date, last_day: date, values: dict[str, Any]) -> sql.Composed:
    """The statement that answers an `Activity`.

    Args:
        first_day: the day of the first event in the selection's time.
        last_day: that of the last one.
    """
    period = question.period
    numbers = range(period.number_of(first_day), period.number_of(last_day) + 1)
    starts = [midnight(period.start_of(number)) for number in range(numbers.start, numbers.stop + 1)]
    # Events that were stored since the first and the last day were read would be in no period.
    start, end = max(question.selection.start, starts[0]), min(question.selection.end, starts[-1])
    selection = msgspec.structs.replace(question.selection, start=start, end=end)
    columns, blocks = [], []
    for place in range(0, len(numbers), _BLOCK):
        of_block = numbers[place : place + _BLOCK]
        column = sql.Identifier(f"block_{place}")
        blocks.append(sql.SQL("({}, {})").format(sql.Literal(of_block.start), column))
        columns.append(
            _PERIODS.format(
                starts=sql.Placeholder(add_value(values, starts[place : place + len(of_block)])),
                of_block=_OF_BLOCK.format(
                    start=sql.Literal(starts[place]), end=sql.Literal(starts[place + len(of_block)])
                )
                if len(of_block) < len(numbers)
                else sql.SQL(""),
                column=column,
            )
        )
    values |= {"since": question.since, "farthest": question.farthest}
    return _ACTIVITY.format(
        columns=sql.Composed(columns),
        conditions=where_condition(selection, values),
        reference=_REFERENCES[question.earlier],
        blocks=sql.SQL(", ").join(blocks),
        last_place=sql.Literal(_BLOCK - 1),
        distance=_DISTANCES[question.earlier],
        answered=_ANSWERED[question.earlier],
    )


def _of_seats(statement: sql.SQL, seats: Seats, values: dict[str, Any]) -> sql.Composed:
    values["assigned_ids"] = list(seats.assigned_ids)
    return statement.format(
        product=payload_sql.text(seats.product, values),
        day=_DAY,
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
