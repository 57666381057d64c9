"""The fields about people answer what a plain model says of the same events, on both stores, for several grants."""

import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.graphql import ask
from tests.support.metrics_model import Event
from tests.support.people_model import PeopleModel
from tests.support.random_events import FILTERS, GIVEN, random_filters

QUERIES = 300 if os.environ.get("SOAK") else 25
GRANTS = [["*"], ["27/28/"], ["27/28/", "3/"]]
PEOPLE = f"""
    query ({FILTERS}) {{
        aiInstanceActiveUsers({GIVEN}) {{ date dailyUsersCount weeklyUsersCount monthlyUsersCount stickiness }}
    }}
"""


@pytest.fixture(params=["postgresql", "clickhouse", "rollups"])
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("namespaces", GRANTS, ids=str)
def test_people_are_counted_as_the_model_counts_them(
    namespaces: list[str], api: GraphqlHandler, events: list[Event], bring: Callable[[], Any]
) -> None:
    bring()
    chance = Random(5)
    model = PeopleModel(events, None if namespaces == ["*"] else tuple(namespaces))
    for _ in range(QUERIES):
        filters = random_filters(chance)
        answer = ask(api, PEOPLE, *namespaces, **filters)
        assert answer["aiInstanceActiveUsers"] == model.active_users(filters), filters
