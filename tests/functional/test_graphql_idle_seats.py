"""`aiIdleSeats` names those who have a seat and do not use it, page by page, as far as the reader may see them."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from tests.functional.test_graphql_isolation import name
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request
from tests.support.random_events import TODAY

QUERY = """
    query ($features: [AiUsageFeature!], $first: Int, $after: String, $last: Int, $before: String) {
        aiInstanceIdleSeats(features: $features, first: $first, after: $after, last: $last, before: $before) {
            count
            nodes { user { id username lastDuoActivityOn } assignedOn }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    }
"""
ASSIGNED, REMOVED, CHAT, REVIEW = 1001, 1002, 6, 13


COUNTS = """{
    before: aiInstanceIdleSeats(first: 2) { count nodes { assignedOn } }
    after: aiInstanceIdleSeats(first: 2) { nodes { assignedOn } count }
    all: aiInstanceIdleSeats(first: 9) { nodes { assignedOn } count }
}"""


@pytest.fixture(params=["postgresql", "clickhouse", "rollups"])
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ago(days: int) -> Any:
    return NOW - timedelta(days=days)


def pages(api: GraphqlHandler, *, forwards: bool) -> Iterator[list[str]]:
    """Yields the users of each page of two."""
    cursor = None
    while True:
        given = {"first": 2, "after": cursor} if forwards else {"last": 2, "before": cursor}
        found = ask(api, QUERY, **given)["aiInstanceIdleSeats"]
        yield [node["user"]["id"] for node in found["nodes"]]
        info = found["pageInfo"]
        if not info["hasNextPage" if forwards else "hasPreviousPage"]:
            return
        cursor = info["endCursor" if forwards else "startCursor"]


def test_holders_of_seats_without_use_are_named_with_their_last_activity(
    api: GraphqlHandler, insert: Insert, bring: Callable[[], Any], connection: psycopg.Connection
) -> None:
    for user in (1, 2, 3, 4):
        insert(ago(60), event=ASSIGNED, user_id=user, path="27/28/", product="duo")
    insert(ago(50), event=ASSIGNED, user_id=1, path="27/28/", product="pro")
    insert(ago(40), event=REMOVED, user_id=1, path="27/28/", product="duo")
    insert(ago(30), event=REMOVED, user_id=2, path="27/28/", product="duo")
    insert(ago(20), event=CHAT, user_id=1, path="27/28/")
    insert(ago(1), event=CHAT, user_id=3, path="27/28/")
    insert(ago(1), event=CHAT, user_id=5, path="27/28/")  # has no seat
    connection.execute("INSERT INTO users (id, username) VALUES (1, 'root')")
    name(connection, 1, "27/28/", "root", NOW)
    bring()
    root = {
        "user": {"id": "1", "username": "root", "lastDuoActivityOn": str(TODAY - timedelta(days=20))},
        "assignedOn": str(TODAY - timedelta(days=50)),
    }
    fourth = {
        "user": {"id": "4", "username": None, "lastDuoActivityOn": None},
        "assignedOn": str(TODAY - timedelta(days=60)),
    }
    third = {
        "user": {"id": "3", "username": None, "lastDuoActivityOn": str(TODAY - timedelta(days=1))},
        "assignedOn": str(TODAY - timedelta(days=60)),
    }
    idle = ask(api, QUERY)["aiInstanceIdleSeats"]
    assert (idle["count"], idle["nodes"]) == (2, [root, fourth])
    idle = ask(api, QUERY, features=["CODE_REVIEW"])["aiInstanceIdleSeats"]
    assert (idle["count"], idle["nodes"]) == (3, [root, third, fourth])
    nobody = ask(api, QUERY, "3/")["aiInstanceIdleSeats"]
    assert (nobody["count"], nobody["nodes"]) == (0, [])


def test_idle_seats_are_read_page_by_page_in_both_directions(
    api: GraphqlHandler, insert: Insert, bring: Callable[[], Any]
) -> None:
    users = [1, 2, 5, 8, 2**63 - 1]
    for user in users:
        insert(ago(60), event=ASSIGNED, user_id=user, product="duo")
    bring()
    ids = list(map(str, users))
    assert list(pages(api, forwards=True)) == [ids[:2], ids[2:4], ids[4:]]
    assert list(pages(api, forwards=False)) == [ids[3:], ids[1:3], ids[:1]]
    counts = ask(api, COUNTS)
    assert {name: (found["count"], len(found["nodes"])) for name, found in counts.items()} == {
        "before": (5, 2),
        "after": (5, 2),
        "all": (5, 5),
    }


def test_a_cursor_of_other_users_is_refused(api: GraphqlHandler, insert: Insert) -> None:
    insert()
    found = ask(api, "{ aiInstanceUserMetrics { pageInfo { endCursor } } }")
    cursor = found["aiInstanceUserMetrics"]["pageInfo"]["endCursor"]
    _, answer = request(api, {"query": QUERY, "variables": {"after": cursor}})
    assert "after is not a cursor of this connection" in answer["errors"][0]["message"]
