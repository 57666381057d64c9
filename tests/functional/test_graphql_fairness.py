"""Queries of one tenant leave the stores free for other tenants."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.graphql.query import slots
from functions.graphql.query.budget import Deadline
from functions.graphql.query.errors import TooManyQueries
from functions.graphql.query.slots import MAX_TENANT_QUERIES, Slots
from functions.shared import locks
from functions.shared.grant import Grant
from functions.shared.postgres import Database, TimeLimits
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request
from tests.support.hostile_readers import hostile_readers

PAGE = '{ namespace(fullPath: "%s") { aiUsageData { all { nodes { id } count } } aiMetrics { totalEventCount } } }'
REFUSAL = "Too many queries of this token are running: at most 2 run at once; try again."
HOSTILE, VICTIM = "27/", "9/"

_MANY = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    SELECT md5('event ' || number)::uuid, %(newest)s::timestamptz - interval '1 second' * (number %% 500000), 3,
           number %% 50000 + 1, CASE WHEN number %% 100 = 0 THEN '9/' ELSE '27/28/' END,
           jsonb_build_object('language', 'l' || number %% 7, 'suggestion_size', number %% 911)
    FROM generate_series(1, %(count)s) AS numbers (number)
"""

_SLOTS_TAKEN = """
    SELECT count(*)
    FROM pg_locks
    WHERE locktype = 'advisory' AND classid = %s AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_WORKING = """
    SELECT count(*)
    FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE '%%counted%%' AND pid <> pg_backend_pid()
          AND query_start < clock_timestamp() - interval '0.2 seconds'
"""


def reader(*namespaces: str, sub: str = "1") -> Grant:
    return Grant(sub=sub, scopes=("events:read",), namespaces=namespaces)


@pytest.fixture
def occupied(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Takes all query slots of the tenant; closing the returned connection frees them."""
    monkeypatch.setattr(slots, "MAX_WAIT_SECONDS", 0.1)
    connections: list[psycopg.Connection] = []

    def occupied(grant: Grant, most: int = MAX_TENANT_QUERIES) -> psycopg.Connection:
        connection = psycopg.connect(database_url)
        connections.append(connection)
        for number in slots._numbers(grant, most):
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [locks.QUERY_SLOTS, number])
        return connection

    yield occupied
    for connection in connections:
        connection.close()


def test_a_tenants_query_beyond_its_limit_is_refused_and_others_are_answered(
    api: GraphqlHandler, bring: Callable[[], Any], insert: Insert, occupied: Any
) -> None:
    for path in ("27/28/", VICTIM):
        insert(path=path)
    bring()
    others = occupied(reader(HOSTILE))
    status, answer = request(api, {"query": PAGE % "27/28/"}, "27/28/")
    assert status == 200
    assert {error["message"] for error in answer["errors"]} == {REFUSAL}
    assert ask(api, PAGE % VICTIM, VICTIM)["namespace"]["aiMetrics"] == {"totalEventCount": 1}
    others.close()
    assert ask(api, PAGE % "27/28/", "27/28/")["namespace"]["aiMetrics"] == {"totalEventCount": 1}


def test_a_query_waits_for_a_slot(api: GraphqlHandler, bring: Callable[[], Any], insert: Insert, occupied: Any) -> None:
    insert(path="27/28/")
    bring()
    others = occupied(reader(HOSTILE))
    naps: list[float] = []
    sleep = time.sleep

    def nap(seconds: float) -> None:
        naps.append(seconds)
        others.close()
        sleep(seconds)  # the server gives up the locks of a closed connection a moment later

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "sleep", nap)
        assert ask(api, PAGE % "27/28/", "27/28/")["namespace"]["aiUsageData"]["all"]["count"] == 1
    assert naps


def test_answered_and_failed_queries_give_up_their_slots(
    api: GraphqlHandler, bring: Callable[[], Any], insert: Insert, connection: psycopg.Connection
) -> None:
    insert(path="27/28/")
    bring()
    ask(api, PAGE % "27/28/", "27/28/")
    deadline = Deadline(9)
    failing = Slots(api.database, reader(HOSTILE), deadline)
    with pytest.raises(psycopg.errors.DivisionByZero):
        failing.read(lambda slotted: slotted.execute("SELECT 1 / 0", None).fetchall())
    with pytest.raises(ZeroDivisionError):
        failing.hold(lambda: 1 // 0)
    assert connection.execute(_SLOTS_TAKEN, [locks.QUERY_SLOTS]).fetchone() == (0,)


def test_a_statement_without_a_slot_is_never_begun(database_url: str, occupied: Any) -> None:
    database = Database(database_url, TimeLimits(9, 25))
    occupied(reader(HOSTILE))
    with pytest.raises(TooManyQueries):
        Slots(database, reader(HOSTILE), Deadline(9)).read(
            lambda slotted: slotted.execute("SELECT nextval('no_such_' || pg_sleep(60)::text)", None).fetchall()
        )
    database.close()


def test_slots_belong_to_root_namespaces_or_to_the_user_of_a_token_for_everything(
    database_url: str, occupied: Any
) -> None:
    database = Database(database_url, TimeLimits(9, 25))

    def is_free(grant: Grant) -> bool:
        try:
            return Slots(database, grant, Deadline(9)).hold(lambda: True)
        except TooManyQueries:
            return False

    occupied(reader(HOSTILE))
    occupied(reader("*"), slots.MAX_INSTANCE_QUERIES)
    assert not any(map(is_free, (reader("27/"), reader("27/28/", "27/29/", sub="2"), reader("*"))))
    assert all(map(is_free, (reader("28/"), reader("27/", "28/"), reader("*", sub="2"), reader())))
    database.close()


def test_eight_hostile_readers_get_no_more_than_their_slots_of_postgresql(
    api: GraphqlHandler, database_url: str, connection: psycopg.Connection
) -> None:
    connection.execute(_MANY, {"newest": NOW, "count": 300_000})
    start = str((NOW - timedelta(days=7)).date())
    most_slots = most_working = answered = 0
    with hostile_readers(HOSTILE, start, database_url) as told:
        until = time.monotonic() + 60
        while (sum(map(len, told)) < 12 or answered < 5) and time.monotonic() < until:
            (taken,) = connection.execute(_SLOTS_TAKEN, [locks.QUERY_SLOTS]).fetchone() or (0,)
            (working,) = connection.execute(_WORKING).fetchone() or (0,)
            most_slots, most_working = max(most_slots, taken), max(most_working, working)
            if taken == MAX_TENANT_QUERIES:
                data = ask(api, PAGE % VICTIM, VICTIM)
                answered += len(data["namespace"]["aiUsageData"]["all"]["nodes"]) == 100
        messages = {line for lines in told for line in lines if line}
    assert (most_slots, answered >= 5) == (MAX_TENANT_QUERIES, True), (most_slots, answered)
    assert most_working <= MAX_TENANT_QUERIES
    assert messages <= {REFUSAL, "The query took too long: ask for fewer days, events or namespaces."}
