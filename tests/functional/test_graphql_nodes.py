"""Global ids, as Relay and Apollo's cache want them."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask

NODE = """
    query ($id: ID!) {
        node(id: $id) {
            __typename
            id
            ... on Namespace { path fullPath aiUsageData { all { count } } }
            ... on User { nodeId username }
            ... on AiUsageEvent { nodeId user { nodeId } payload job: payload(paths: ["job_id"]) }
            ... on TroubleshootJobEvent { jobId }
        }
    }
"""
EVENTS = "{ aiInstanceUsageData { id all { nodes { id nodeId user { id nodeId } } } } }"


def node(api: GraphqlHandler, global_id: str, *namespaces: str) -> Any:
    return ask(api, NODE, *namespaces, id=global_id)["node"]


def namespace(api: GraphqlHandler, path: str, *namespaces: str) -> Any:
    query = "query ($path: ID!) { namespace(fullPath: $path) { id path aiUsageData { id } } }"
    return ask(api, query, *namespaces, path=path)["namespace"]


def test_an_event_is_found_by_its_global_id(either: GraphqlHandler, insert: Insert) -> None:
    moment = NOW - timedelta(days=40)
    stored = [insert(moment, 7, user, "27/28/", job_id=user) for user in (1, 2, 3)]
    query = EVENTS.replace("all", f'all(startDate: "{moment.date()}", endDate: "{moment.date()}")')
    found = ask(either, query)["aiInstanceUsageData"]["all"]["nodes"]
    assert {one["id"] for one in found} == set(stored)
    for one in found:
        job_id = int(one["user"]["id"])
        assert node(either, one["nodeId"]) == {
            "__typename": "TroubleshootJobEvent",
            "id": one["id"],
            "nodeId": one["nodeId"],
            "user": {"nodeId": f"gid://gitlab/User/{job_id}"},
            "payload": {"job_id": job_id},
            "job": {"job_id": job_id},
            "jobId": job_id,
        }
        assert node(either, one["nodeId"], "27/28/")["id"] == one["id"]
        assert node(either, one["nodeId"], "27/29/") is None


def test_a_namespace_is_found_by_its_global_id(
    api: GraphqlHandler, insert: Insert, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO namespaces VALUES (27, '27/', 'gitlab-org'), (28, '27/28/', 'gitlab-org/gitlab')")
    insert(NOW, 6, 1, "27/28/")
    found = namespace(api, "gitlab-org/gitlab")
    assert found["id"] == namespace(api, "27/28/")["id"] == "gid://gitlab/Namespace/28"
    expected = {"path": "27/28/", "fullPath": "gitlab-org/gitlab", "aiUsageData": {"all": {"count": 1}}}
    assert node(api, found["id"]) == {"__typename": "Namespace", "id": found["id"], **expected}
    assert node(api, "gid://gitlab/Group/28")["path"] == "27/28/"
    assert node(api, found["id"], "27/28/")["path"] == "27/28/"
    assert node(api, found["id"], "27/29/") is None


def test_a_global_id_of_a_namespace_stays_when_the_namespace_moves(
    api: GraphqlHandler, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', 'gitlab-org/gitlab')")
    before = namespace(api, "27/28/")["id"]
    connection.execute("UPDATE namespaces SET path = '30/28/'")
    assert namespace(api, "30/28/")["id"] == before
    assert node(api, before)["path"] == "30/28/"


def test_a_namespace_that_the_directory_does_not_know_is_found_too(api: GraphqlHandler) -> None:
    found = namespace(api, "27/28/")
    assert found["id"] == "gid://gitlab/Namespace/27/28/"
    assert node(api, found["id"])["id"] == found["id"]
    assert node(api, found["id"], "3/") is None


def test_a_user_is_found_by_a_global_id(api: GraphqlHandler, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO users (id, username) VALUES (1, 'root')")
    identifier = "gid://gitlab/User/1"
    assert node(api, identifier) == {"__typename": "User", "id": "1", "nodeId": identifier, "username": "root"}
    assert node(api, identifier, "27/")["username"] is None


@pytest.mark.parametrize(
    "global_id",
    [
        "",
        "1",
        "gid://gitlab/User/0",
        "gid://gitlab/User/x",
        "gid://gitlab/User/9223372036854775808",
        "gid://gitlab/Namespace/999",
        "gid://gitlab/Namespace/0/",
        "gid://gitlab/Namespace/gitlab-org/28",
        "gid://gitlab/Namespace/1\0",
        "gid://gitlab/AiUsageEvent/x",
        "gid://gitlab/AiUsageEvent/" + "/" * 32,
        "gid://gitlab/AiUsageEvent/" + "_" * 32,
        "gid://gitlab/AiUsageData/*",
        "gid://gitlab/Issue/1",
        "gid://gitlab/User/" + "1" * 5_000,
    ],
)
def test_what_is_no_global_id_finds_nothing(global_id: str, api: GraphqlHandler) -> None:
    assert node(api, global_id) is None


def test_a_filter_by_users_takes_global_ids(either: GraphqlHandler, insert: Insert) -> None:
    stored = {insert(user_id=user): user for user in (1, 2, 3)}
    query = "query ($users: [ID!]) { aiInstanceUsageData { all(userIds: $users) { nodes { id } } } }"
    found = ask(either, query, users=["gid://gitlab/User/1", "3", "gid://gitlab/User/3"])
    assert {stored[one["id"]] for one in found["aiInstanceUsageData"]["all"]["nodes"]} == {1, 3}


def test_what_a_cache_keeps_has_an_id_of_its_own(api: GraphqlHandler) -> None:
    some = [namespace(api, path)["aiUsageData"]["id"] for path in ("27/", "27/28/")]
    instance = [ask(api, EVENTS, *grant)["aiInstanceUsageData"]["id"] for grant in ((), ("27/", "3/"))]
    assert len({*some, *instance, namespace(api, "27/")["id"]}) == 5
