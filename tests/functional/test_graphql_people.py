"""The fields about people answer what a plain model says of the same events, on both stores, for several grants."""

import os
from collections.abc import Callable
from random import Random
from typing import Any

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.graphql import ask
from tests.support.metrics_model import Event
from tests.support.people_model import PeopleModel
from tests.support.random_events import FILTERS, GIVEN, store
from tests.support.random_people import random_people, random_people_filters

QUERIES = 300 if os.environ.get("SOAK") else 20
GRANTS = [["*"], ["27/28/"], ["27/28/", "3/"]]
PEOPLE = f"""
    query ({FILTERS}, $period: AiUsagePeriod!, $thresholds: [Int!], $product: String) {{
        aiInstanceActiveUsers({GIVEN}) {{ date dailyUsersCount weeklyUsersCount monthlyUsersCount stickiness }}
        aiInstanceUserLifecycle({GIVEN}, period: $period) {{
            periodStart newUsersCount returningUsersCount resurrectedUsersCount lapsedUsersCount
        }}
        aiInstanceUserRetention({GIVEN}, period: $period) {{
            cohortStart usersCount periods {{ offset usersCount rate }}
        }}
        aiInstanceUsageTiers({GIVEN}, thresholds: $thresholds) {{ minimum maximum usersCount }}
        aiInstanceSeats(startDate: $startDate, endDate: $endDate, product: $product) {{ date assignedCount }}
        aiInstanceAdoption({GIVEN}, product: $product) {{ feature seatsCount usersCount rate }}
        aiInstanceTimeToFirstUse({GIVEN}, product: $product) {{ usersCount medianSeconds p90Seconds }}
    }}
"""


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
        period, thresholds = chance.choice(["DAY", "WEEK", "MONTH"]), chance.choice([[1, 10, 50, 200], [2, 3], [1]])
        product = chance.choice([None, "duo_pro", "none"])
        given = {"period": period, "thresholds": thresholds, "product": product}
        assert ask(api, PEOPLE, *namespaces, **filters, **given) == {
            "aiInstanceActiveUsers": model.active_users(filters),
            "aiInstanceUserLifecycle": model.lifecycle(filters, period),
            "aiInstanceUserRetention": model.retention(filters, period),
            "aiInstanceUsageTiers": model.tiers(filters, thresholds),
            "aiInstanceSeats": model.seats(filters, product),
            "aiInstanceAdoption": model.adoption(filters, product),
            "aiInstanceTimeToFirstUse": model.first_use(filters, product),
        }, (filters, given)


SESSIONS = f"""
    query ({FILTERS}, $groups: [AiUsageDimension!], $paths: [String!]) {{
        aiInstanceSessions({GIVEN}, groupBy: $groups, payloadGroupBy: $paths, first: 1000) {{
            feature event user {{ id }} namespacePath projectId day week month payload
            sessionsCount usersCount completedCount completionRate abandonedCount abandonmentRate
            medianDuration p95Duration
        }}
    }}
"""


@pytest.mark.parametrize("namespaces", GRANTS, ids=str)
def test_sessions_are_measured_as_the_model_measures_them(
    namespaces: list[str], api: GraphqlHandler, events: list[Event], bring: Callable[[], Any]
) -> None:
    bring()
    chance = Random(6)
    model = PeopleModel(events, None if namespaces == ["*"] else tuple(namespaces))
    for _ in range(2 * QUERIES):
        filters = random_people_filters(chance)
        groups = chance.sample(["FEATURE", "EVENT", "USER", "NAMESPACE", "PROJECT", "DAY", "WEEK", "MONTH"], 2)
        groups, paths = groups[: chance.choice([0, 1, 2])], chance.choice([[], ["flow_type"]])
        rows = ask(api, SESSIONS, *namespaces, **filters, groups=groups, paths=paths)["aiInstanceSessions"]
        assert rows == model.session_rows(filters, groups, paths), (filters, groups, paths)
