"""How PostgreSQL compares the periods of each user, against the same in plain Python."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.graphql.postgres import people
from functions.graphql.query.people import Activity, Earlier
from functions.graphql.query.periods import Period
from functions.graphql.query.selection import Selection
from tests.support.clock import NOW

EVENT = 6
DAYS = 70
START, END = NOW - timedelta(days=DAYS), NOW + timedelta(hours=1)
INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)
    SELECT gen_random_uuid(), %s - hours * interval '1 hour', %s, user_id, '{}'
    FROM unnest(%s::bigint[], %s::int[]) AS used (user_id, hours)
"""

uses = st.lists(st.tuples(st.integers(1, 3), st.integers(0, DAYS * 24 - 1)), max_size=40)


def expected(used: list[tuple[int, int]], question: Activity) -> Iterator[tuple[int, int]]:
    """The period and the distance of each period of each user."""
    for user in {user for user, _ in used}:
        moments = (NOW - timedelta(hours=hours) for other, hours in used if other == user)
        periods = sorted({question.period.number_of(moment.date()) for moment in moments})
        first = periods[0]
        for previous, number in zip([first, *periods], periods, strict=False):
            reference = first if question.earlier is Earlier.FIRST else previous
            begins = first if question.earlier is Earlier.FIRST else number
            if begins >= question.since:
                yield number, min(number - reference, question.farthest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example removes its events
@given(
    used=uses,
    period=st.sampled_from(Period),
    earlier=st.sampled_from(Earlier),
    since=st.integers(0, DAYS),
    farthest=st.integers(1, DAYS),
    block=st.sampled_from([1, 2, 5, people._BLOCK]),
)
def test_periods_are_compared_across_blocks_of_bits(
    used: list[tuple[int, int]],
    period: Period,
    earlier: Earlier,
    since: int,
    farthest: int,
    block: int,
    connection: psycopg.Connection,
) -> None:
    first_period = period.number_of((NOW - timedelta(days=since)).date())
    question = Activity(Selection(None, START, END, (EVENT,)), period, first_period, earlier, farthest)
    unslotted: Any = connection
    with connection.transaction(force_rollback=True), mock.patch.object(people, "_BLOCK", block):
        connection.execute(INSERT, [NOW, EVENT, [user for user, _ in used], [hours for _, hours in used]])
        rows = people.read_people(question, unslotted)
    found = {(number, distance): users for number, distance, users in rows}
    assert found == Counter(expected(used, question))
