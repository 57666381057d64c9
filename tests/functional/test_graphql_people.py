"""The fields about people answer what a plain model says of the same events, on both stores, for several grants."""

import os
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from functions.graphql.handler import GraphqlHandler
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request
from tests.support.metrics_model import Event
from tests.support.people_model import PeopleModel
from tests.support.people_queries import PEOPLE, SESSIONS, people
from tests.support.random_events import TODAY, store
from tests.support.random_people import random_people, random_people_filters

NOTHING: list[dict[str, Any]] = [{"userIds": []}, {"features": []}, {"projectIds": []}, {"events": []}]
QUERIES = 300 if os.environ.get("SOAK") else 4
GRANTS = [["*"], ["27/28/"], ["27/28/", "3/"]]


@pytest.fixture(params=["postgresql", "clickhouse", "rollups"])
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def events(connection: psycopg.Connection) -> list[Event]:
    made = random_people(Random(11))
    store(connection, made)
    return made


@pytest.mark.parametrize("namespaces", GRANTS, ids=str)
def test_people_are_counted_as_the_model_counts_them(
    namespaces: list[str], api: GraphqlHandler, events: list[Event], bring: Callable[[], Any]
) -> None:
    bring()
    chance = Random(5)
    model = PeopleModel(events, None if namespaces == ["*"] else tuple(namespaces))
    for _ in range(QUERIES):
        filters = random_people_filters(chance)
        given: dict[str, Any] = {
            "period": chance.choice(["DAY", "WEEK", "MONTH"]),
            "thresholds": chance.choice([[1, 10, 50, 200], [2, 3], [1]]),
            "product": chance.choice([None, "duo_pro", "none"]),
        }
        assert ask(api, PEOPLE, *namespaces, **filters, **given) == people(model, filters, **given), (filters, given)


@pytest.mark.parametrize("namespaces", GRANTS, ids=str)
def test_sessions_are_measured_as_the_model_measures_them(
    namespaces: list[str], api: GraphqlHandler, events: list[Event], bring: Callable[[], Any]
) -> None:
    bring()
    chance = Random(6)
    model = PeopleModel(events, None if namespaces == ["*"] else tuple(namespaces))
    for _ in range(3 * QUERIES):
        filters = random_people_filters(chance)
        groups = chance.sample(["FEATURE", "EVENT", "USER", "NAMESPACE", "PROJECT", "DAY", "WEEK", "MONTH"], 2)
        groups, paths = groups[: chance.choice([0, 1, 2])], chance.choice([[], ["flow_type"]])
        rows = ask(api, SESSIONS, *namespaces, **filters, groups=groups, paths=paths)["aiInstanceSessions"]
        assert rows == model.session_rows(filters, groups, paths), (filters, groups, paths)


@pytest.mark.parametrize("store_name", ["rollups"])
def test_users_of_past_days_are_counted_from_rollups(
    api: GraphqlHandler, insert: Insert, bring: Callable[[], Any], client: Client
) -> None:
    for days, user_id in ((3, 1), (3, 2), (2, 1)):
        insert(NOW - timedelta(days=days), user_id=user_id)
    bring()
    client.command("TRUNCATE TABLE ai_usage_events")  # rollups have what the table has no longer
    filters = {"startDate": str(TODAY - timedelta(days=3)), "endDate": str(TODAY - timedelta(days=2))}
    answer = ask(api, PEOPLE, **filters, period="DAY", thresholds=[1, 2])
    assert [row["weeklyUsersCount"] for row in answer["aiInstanceActiveUsers"]] == [2, 2]
    assert [row["newUsersCount"] for row in answer["aiInstanceUserLifecycle"]] == [2, 0]
    assert [row["usersCount"] for row in answer["aiInstanceUserRetention"]] == [2, 0]
    assert [row["usersCount"] for row in answer["aiInstanceUsageTiers"]] == [1, 1]


@pytest.mark.parametrize("store_name", ["postgresql", "clickhouse"])
def test_a_user_is_new_to_a_reader_who_may_not_read_earlier_events(either: GraphqlHandler, insert: Insert) -> None:
    insert(NOW - timedelta(days=20), path="3/")
    insert(NOW, path="27/28/")
    insert(NOW, event=1001, path="3/", product="duo")
    query = f"""{{
        aiInstanceUserLifecycle(startDate: "{TODAY}", period: DAY) {{ newUsersCount resurrectedUsersCount }}
        aiInstanceUserRetention(startDate: "{TODAY}", period: DAY) {{ usersCount }}
        aiInstanceSeats(startDate: "{TODAY}") {{ assignedCount }}
        group(fullPath: "27/") {{ aiUserLifecycle(startDate: "{TODAY}", period: DAY) {{ newUsersCount }} }}
    }}"""
    limited, everything = ask(either, query, "27/"), ask(either, query)
    assert limited["aiInstanceUserLifecycle"] == [{"newUsersCount": 1, "resurrectedUsersCount": 0}]
    assert limited["aiInstanceUserRetention"] == [{"usersCount": 1}]
    assert limited["aiInstanceSeats"] == [{"assignedCount": 0}]
    assert everything["aiInstanceUserLifecycle"] == [{"newUsersCount": 0, "resurrectedUsersCount": 1}]
    assert everything["aiInstanceUserRetention"] == [{"usersCount": 0}]
    assert everything["aiInstanceSeats"] == [{"assignedCount": 1}]
    assert everything["group"] == limited["group"] == {"aiUserLifecycle": [{"newUsersCount": 1}]}


@pytest.mark.parametrize("store_name", ["postgresql", "clickhouse"])
def test_a_session_that_crosses_the_ends_of_the_days_counts_where_it_begins(
    either: GraphqlHandler, insert: Insert
) -> None:
    for days, event in ((3, 8), (2, 9), (1, 19)):
        insert(NOW - timedelta(days=days), event=event, path="27/", session_id=1)
    insert(NOW - timedelta(days=1), event=20, path="28/", session_id=1)  # of another namespace: of no session
    query = """{{
        aiInstanceSessions(startDate: "{0}", endDate: "{0}") {{
            sessionsCount completedCount medianDuration p95Duration
        }}
    }}"""
    seconds = timedelta(days=2).total_seconds()
    (begun,) = ask(either, query.format(TODAY - timedelta(days=3)))["aiInstanceSessions"]
    assert begun == {"sessionsCount": 1, "completedCount": 1, "medianDuration": seconds, "p95Duration": seconds}
    for days in (2, 1):
        (none,) = ask(either, query.format(TODAY - timedelta(days=days)))["aiInstanceSessions"]
        assert none == {"sessionsCount": 0, "completedCount": 0, "medianDuration": None, "p95Duration": None}


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("aiInstanceUsageTiers(thresholds: [0]) { usersCount }", "thresholds: a tier has at least 1 event, not 0"),
        (
            f"aiInstanceUsageTiers(thresholds: {list(range(1, 102))}) {{ usersCount }}",
            "thresholds takes at most 100 numbers, not 101",
        ),
        ('aiInstanceSeats(product: "\\u0000") { assignedCount }', "product contains U+0000"),
        ("aiInstanceSessions(first: 1001) { usersCount }", "first must be from 0 to 1000"),
        ('aiInstanceActiveUsers(startDate: "1980-01-01") { date }', "at most 10,000 are allowed"),
        ('aiInstanceUserRetention(startDate: "2000-01-01", period: DAY) { cohortStart }', "at most 10,000 are allowed"),
        ('aiInstanceAdoption(userIds: ["x"]) { rate }', "is not a user's id"),
    ],
)
def test_an_argument_that_can_not_be_used_is_named(field: str, said: str, api: GraphqlHandler) -> None:
    status, answer = request(api, {"query": f"{{ {field} }}"})
    assert status == 200
    (error,) = answer["errors"]
    assert said in error["message"]


@pytest.mark.parametrize("store_name", ["postgresql", "clickhouse"])
def test_filters_that_select_nothing_answer_zeros(either: GraphqlHandler, insert: Insert) -> None:
    insert(path="27/")
    insert(event=1001, path="27/", product="duo")
    given: dict[str, Any] = {"period": "DAY", "thresholds": [1], "startDate": str(TODAY), "endDate": str(TODAY)}
    for filters in NOTHING:
        answer = ask(either, PEOPLE, **given, **filters)
        assert answer["aiInstanceActiveUsers"][0]["monthlyUsersCount"] == 0
        assert answer["aiInstanceUserLifecycle"][0]["newUsersCount"] == 0
        assert answer["aiInstanceUsageTiers"][0]["usersCount"] == 0
        assert answer["aiInstanceAdoption"][0]["usersCount"] == 0
        assert answer["aiInstanceAdoption"][0]["seatsCount"] == (filters != {"userIds": []})
        assert answer["aiInstanceIdleSeats"]["count"] == (filters != {"userIds": []})
        (sessions,) = ask(either, SESSIONS, **given, **filters, groups=[], paths=[])["aiInstanceSessions"]
        assert sessions["sessionsCount"] == 0
