"""A token with the scope `events:read:own` reads the events of its own user, wherever these lie, and nothing else."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import jwt
import msgspec
import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.graphql.query.own import OwnDirectory, OwnEvents
from functions.graphql.query.store import DirectoryReader
from tests.functional.test_graphql_isolation import COUNT, FITTING, FORWARDS, NUMBER, TEXT, name, queries, store
from tests.support.clock import NOW
from tests.support.graphql import SECRET, request
from tests.support.graphql_queries import QueryMaker, ways

OWN, OTHER = 1, NUMBER
PLACES = ("27/28/", "27/29/", None)
CLAIMED: list[list[str] | None] = [None, [], ["27/28/"], ["27/29/", "3/"], ["*"]]

FIGURES = """{
    aiInstanceUsageData { all { count nodes { id user { id username } namespacePath payload } } }
    aiInstanceMetrics { totalEventCount usersCount }
    aiInstanceUserMetrics { count nodes { user { id username } totalEventCount } }
    aiInstanceUsage(groupBy: [USER, NAMESPACE]) { user { id username } namespacePath totalCount }
}"""


def bearer(**claims: Any) -> dict[str, str]:
    """The headers of a request with a token for the user's own events."""
    all_claims = {"sub": str(OWN), "scope": "events:read:own", "exp": time.time() + 60} | claims
    kept = {name: value for name, value in all_claims.items() if value is not None}
    return {"Authorization": f"Bearer {jwt.encode(kept, SECRET)}", "Content-Type": "application/json"}


def own(api: GraphqlHandler, query: Any, **claims: Any) -> tuple[int, Any]:
    """Returns status and content of the answer to a token for the user's own events."""
    return request(api, query, headers=bearer(**claims))


def store_own(connection: psycopg.Connection) -> None:
    for number, path in enumerate(PLACES):
        store(connection, path, OWN, forbidden=False, first_id=10_000 * (number + 1))
    connection.execute("INSERT INTO users (id, username) VALUES (%s, 'root')", [OWN])


def store_seats(connection: psycopg.Connection, user: int, product: str, first_id: int) -> None:
    """Stores a seat that the user has since ten days in each of the places."""
    for number, path in enumerate(PLACES):
        connection.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
            " VALUES (%s, %s, 1001, %s, %s, %s)",
            [UUID(int=first_id + number), NOW - timedelta(days=10), user, path, json.dumps({"product": product})],
        )


def store_others(connection: psycopg.Connection) -> None:
    for number, path in enumerate((*PLACES, "27/", "3/")):
        store(connection, path, OTHER, forbidden=True, first_id=NUMBER + 10_000 * number)
    connection.execute("INSERT INTO users (id, username) VALUES (%s, %s)", [OTHER, TEXT])
    name(connection, OTHER, "27/28/", TEXT, NOW)
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', %s), (27, '27/', %s)", [f"{TEXT}/28", TEXT])
    connection.execute("INSERT INTO namespaces VALUES (29, '27/29/', 'group/allowed')")
    connection.execute("INSERT INTO projects VALUES (%s, '27/29/', %s)", [NUMBER, f"{TEXT}/project"])


def test_no_answer_depends_on_anybody_else(
    api: GraphqlHandler, bring: Callable[[], Any], connection: psycopg.Connection
) -> None:
    store_own(connection)
    bring()
    asked = queries(api)[: COUNT // 3]
    without = [own(api, query, namespaces=CLAIMED[place % len(CLAIMED)]) for place, query in enumerate(asked)]
    store_others(connection)
    bring()
    shown_to_own = shown_to_all = 0
    for place, (query, answer) in enumerate(zip(asked, without, strict=True)):
        assert own(api, query, namespaces=CLAIMED[place % len(CLAIMED)]) == answer, query
        assert TEXT not in json.dumps(answer), query
        assert str(NUMBER) not in json.dumps(answer), query
        shown_to_own += own(api, query, sub="4711") != answer
        shown_to_all += request(api, query, "*") != answer
    assert shown_to_all > COUNT // 30  # so that there was something to be seen
    assert shown_to_own > COUNT // 60


def test_no_field_of_the_schema_shows_anything_of_anybody_else(
    api: GraphqlHandler, bring: Callable[[], Any], connection: psycopg.Connection
) -> None:
    store_own(connection)
    store_seats(connection, OWN, "duo", 10**6)
    bring()
    asked = [
        QueryMaker(api.schema, Random(number), fitting=FITTING | FORWARDS | {"after": [None]}).along(way)
        for number, way in enumerate(ways(api.schema))
        if way[0][0] not in ("__schema", "__type")
    ]
    without = [own(api, query) for query in asked]
    store_others(connection)
    store_seats(connection, OTHER, TEXT, NUMBER + 10**6)
    bring()
    for query, answer in zip(asked, without, strict=True):
        assert own(api, query) == answer, query
        assert TEXT not in json.dumps(answer), query
    shown_to_all = [
        request(api, query, "*") != answer for query, answer in zip(asked[::10], without[::10], strict=True)
    ]
    assert sum(shown_to_all) > len(shown_to_all) // 20  # so that there was something to be seen


@pytest.mark.parametrize("claimed", CLAIMED, ids=str)
def test_own_events_are_read_wherever_they_lie_whatever_namespaces_the_token_names(
    api: GraphqlHandler, bring: Callable[[], Any], connection: psycopg.Connection, claimed: list[str] | None
) -> None:
    store_own(connection)
    store_others(connection)
    bring()
    status, answer = own(api, {"query": FIGURES}, namespaces=claimed)
    assert (status, answer.keys()) == (200, {"data", "extensions"})
    data = answer["data"]
    count = data["aiInstanceUsageData"]["all"]["count"]
    assert {node["namespacePath"] for node in data["aiInstanceUsageData"]["all"]["nodes"]} <= {"27/28/", "27/29/", None}
    assert data["aiInstanceMetrics"] == {"totalEventCount": count, "usersCount": 1}
    user = {"id": "1", "username": "root"}
    assert data["aiInstanceUserMetrics"] == {"count": 1, "nodes": [{"user": user, "totalEventCount": count}]}
    assert [row["user"] for row in data["aiInstanceUsage"]] == [user] * 3
    assert {row["namespacePath"] for row in data["aiInstanceUsage"]} == {"27/28/", "27/29/", None}
    assert sum(row["totalCount"] for row in data["aiInstanceUsage"]) == count > 0


def test_neither_namespaces_nor_other_users_are_found(api: GraphqlHandler, connection: psycopg.Connection) -> None:
    store_own(connection)
    store_others(connection)
    query = """query ($other: ID!, $own: ID!) {
        group(fullPath: "27/28/") { id } namespace(fullPath: "group/allowed") { id }
        project(fullPath: "forbidden/project") { id }
        other: node(id: $other) { id } own: node(id: $own) { ... on User { id username } }
        byPath: node(id: "gid://gitlab/Namespace/28") { id }
    }"""
    variables = {"other": f"gid://gitlab/User/{OTHER}", "own": f"gid://gitlab/User/{OWN}"}
    for claimed in CLAIMED:
        _, answer = own(api, {"query": query, "variables": variables}, namespaces=claimed)
        found = answer["data"]
        assert found.pop("own") == {"id": "1", "username": "root"}
        assert set(found.values()) == {None}
        assert "errors" not in answer


def test_another_users_event_is_not_found_by_its_global_id(api: GraphqlHandler, connection: psycopg.Connection) -> None:
    store_own(connection)
    store_others(connection)
    every = "{ aiInstanceUsageData { all(first: 1000) { nodes { nodeId user { id } } } } }"
    nodes = request(api, {"query": every}, "*")[1]["data"]["aiInstanceUsageData"]["all"]["nodes"]
    found = "query ($id: ID!) { node(id: $id) { ... on AiUsageEvent { user { id } } } }"
    for user in (OWN, OTHER):
        node = next(node for node in nodes if node["user"]["id"] == str(user))
        _, answer = own(api, {"query": found, "variables": {"id": node["nodeId"]}})
        assert answer["data"]["node"] == ({"user": {"id": "1"}} if user == OWN else None)


@pytest.mark.parametrize("claimed", CLAIMED, ids=str)
def test_an_export_has_ones_own_events_alone(
    api: GraphqlHandler, bring: Callable[[], Any], connection: psycopg.Connection, claimed: list[str] | None
) -> None:
    store_own(connection)
    store_others(connection)
    bring()
    event = {"resource": "/v1/export", "httpMethod": "GET", "headers": bearer(namespaces=claimed)}
    answer = api(event | {"multiValueQueryStringParameters": {"format": ["ndjson"]}}, None)
    assert answer["statusCode"] == 200
    events = [json.loads(line) for line in answer["body"].splitlines()]
    assert {event["user_id"] for event in events} == {OWN}
    assert {event["namespace_full_path"] for event in events} == {None}
    assert TEXT not in answer["body"]
    of_a_namespace = {"multiValueQueryStringParameters": {"namespace": ["27/28/"]}}
    assert api(event | of_a_namespace, None)["statusCode"] == 404


def test_with_both_scopes_the_wider_applies(api: GraphqlHandler, connection: psycopg.Connection) -> None:
    store_own(connection)
    store_others(connection)
    both = own(api, {"query": FIGURES}, scope="events:read events:read:own", namespaces=["27/28/"])
    assert both == request(api, {"query": FIGURES}, "27/28/")
    assert TEXT in json.dumps(both)


@pytest.mark.parametrize("sub", ["root", "01", "+1", "1.0", " 1", "٣", "0", "-1", str(2**63), "9e1", "1\n"])
def test_a_sub_that_is_no_users_id_reads_nothing(api: GraphqlHandler, sub: str) -> None:
    status, answer = own(api, {"query": FIGURES}, sub=sub)
    assert (status, answer.keys()) == (403, {"message"})
    assert "sub is a user's id" in answer["message"]


def test_a_question_without_a_selection_is_not_asked() -> None:
    class Store:
        knows_usernames = True

        def everything(self, question: object) -> str:
            return f"all {question}"

    class Question(msgspec.Struct):
        of: int

    events = OwnEvents(Store(), 1)  # type: ignore[arg-type]
    assert events.knows_usernames is True
    for question in (Question(1), (1, 2), None):
        with pytest.raises(TypeError):
            events.everything(question)
    with pytest.raises(TypeError):
        events.everything()


def test_the_directory_of_ones_own_has_every_method_of_a_directory() -> None:
    names = {name for name in vars(DirectoryReader) if not name.startswith("_")}
    assert names <= {name for name in vars(OwnDirectory) if not name.startswith("_")}
