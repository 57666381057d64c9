import json
import time
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID

import jwt
import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.graphql.store_router import StoreRouter
from functions.shared.auth import Authenticator
from functions.shared.failure import RedactedError
from functions.shared.settings import AuthSettings
from functions.shared.timestamp import format_timestamp
from functions.sync.sync import Sync
from infra.local import ports
from tests.support.clock import NOW
from tests.support.graphql import SECRET, Insert, ask, request

PAGE = """
    query ($first: Int, $after: String, $events: [AiUsageEventType!], $users: [ID!], $start: Date, $end: Date) {
        aiInstanceUsageData {
            all(first: $first, after: $after, events: $events, userIds: $users, startDate: $start, endDate: $end) {
                nodes { id }
                edges { cursor node { id } }
                pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
            }
        }
    }
"""


def page(handler: GraphqlHandler, *namespaces: str, **variables: Any) -> Any:
    return ask(handler, PAGE, *namespaces, **variables)["aiInstanceUsageData"]["all"]


def ids(handler: GraphqlHandler, *namespaces: str, **variables: Any) -> list[str]:
    return [node["id"] for node in page(handler, *namespaces, **variables)["nodes"]]


def test_an_event_is_shown_with_its_user_and_payload(
    either: GraphqlHandler, insert: Insert, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO users (id, username) VALUES (1, 'root')")
    moment = NOW.replace(microsecond=123456)
    identifier = insert(moment, 7, 1, "27/28/", job_id=1, ratio=1.0, big=2**64 - 1)
    fields = "__typename id timestamp event user { id username } namespacePath projectId payload"
    answer = ask(either, f"{{ aiInstanceUsageData {{ all {{ nodes {{ {fields} }} }} }} }}")
    assert answer["aiInstanceUsageData"]["all"]["nodes"] == [
        {
            "__typename": "TroubleshootJobEvent",
            "id": identifier,
            "timestamp": format_timestamp(moment),
            "event": "TROUBLESHOOT_JOB",
            "user": {"id": "1", "username": "root"},
            "namespacePath": "27/28/",
            "projectId": None,
            "payload": {"job_id": 1, "ratio": 1.0, "big": 2**64 - 1},
        }
    ]


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_pages_show_every_event_once_newest_first_also_while_others_arrive(
    size: int, either: GraphqlHandler, insert: Insert
) -> None:
    moments = [NOW - timedelta(hours=hours) for hours in (1, 2, 2, 2, 3, 3, 4, 5, 6, 6)]
    stored = {insert(moment): moment for moment in moments}
    expected = sorted(stored, key=lambda identifier: (stored[identifier], UUID(identifier).int), reverse=True)
    seen: list[str] = []
    after = None
    while True:
        answer = page(either, first=size, after=after)
        info = answer["pageInfo"]
        seen += [node["id"] for node in answer["nodes"]]
        assert [edge["node"] for edge in answer["edges"]] == answer["nodes"]
        assert (info["startCursor"], info["endCursor"]) == (
            answer["edges"][0]["cursor"],
            answer["edges"][-1]["cursor"],
        )
        assert info["hasPreviousPage"] is (after is not None)
        insert(NOW)  # newer than all
        if not info["hasNextPage"]:
            break
        after = info["endCursor"]
    assert seen == expected


@pytest.mark.parametrize(
    ("variables", "days"),
    [
        ({}, range(7)),
        ({"start": 9}, range(10)),
        ({"end": 3}, range(3, 10)),
        ({"start": 5, "end": 2}, range(2, 6)),
        ({"start": 70, "end": 60}, range(60, 71)),
        ({"start": 0, "end": 0}, range(1)),
    ],
)
def test_days_are_inclusive_and_the_last_seven_by_default(
    variables: dict[str, int], days: range, either: GraphqlHandler, insert: Insert
) -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    stored = {
        insert(midnight - timedelta(days=day) + offset): day
        for day in (0, 1, 2, 3, 5, 6, 7, 9, 10, 59, 60, 70, 71)
        for offset in (timedelta(0), timedelta(days=1) - timedelta(microseconds=1))
    }
    dates = {name: (midnight - timedelta(days=day)).date().isoformat() for name, day in variables.items()}
    seen = {stored[identifier] for identifier in ids(either, **dates)}
    assert seen == {day for day in stored.values() if day in days}


def test_events_and_users_filter(either: GraphqlHandler, insert: Insert) -> None:
    stored = {insert(event=event, user_id=user): (event, user) for event in (2, 3, 6) for user in (1, 2, 3)}

    def seen(**variables: Any) -> set[tuple[int, int]]:
        return {stored[identifier] for identifier in ids(either, **variables)}

    assert seen(events=["REQUEST_DUO_CHAT_RESPONSE"]) == {(6, 1), (6, 2), (6, 3)}
    assert seen(users=["1", "3"]) == {(event, user) for event in (2, 3, 6) for user in (1, 3)}
    assert seen(users=["1", "1"]) == {(2, 1), (3, 1), (6, 1)}
    assert seen(users=[str(user) for user in range(1, 200)]) == set(stored.values())
    both = seen(events=["CODE_SUGGESTION_SHOWN_IN_IDE", "CODE_SUGGESTION_ACCEPTED_IN_IDE"], users=["2"])
    assert both == {(2, 2), (3, 2)}
    assert seen(events=[]) == seen(users=[]) == set()


PATHS = ["27/", "27/28/", "27/28/5/", "27/281/", "27/3/", "3/", "2/", None]


SEEN_WITH: list[tuple[list[str], set[str | None]]] = [
    (["*"], set(PATHS)),
    (["27/"], {"27/", "27/28/", "27/28/5/", "27/281/", "27/3/"}),
    (["27/28/"], {"27/28/", "27/28/5/"}),
    (["27/28/", "3/"], {"27/28/", "27/28/5/", "3/"}),
    (["27/28"], set()),
    (["99/"], set()),
]
FILTERS: list[dict[str, Any]] = [{}, {"users": ["1"]}, {"users": [str(user) for user in range(1, 100)]}]


@pytest.mark.parametrize("crowd", [0, 60], ids=["few namespaces", "many namespaces"])
def test_a_token_sees_only_its_namespaces(crowd: int, either: GraphqlHandler, insert: Insert) -> None:
    for number in range(crowd):
        insert(path=f"27/28/5/{number + 1}/", user_id=1000)
    stored = {insert(path=path): path for path in PATHS}
    for (namespaces, seen), filters in product(SEEN_WITH, FILTERS):
        found = ids(either, *namespaces, **filters, first=1000)
        assert {stored[identifier] for identifier in found if identifier in stored} == seen, (namespaces, filters)
        allowed = tuple(namespaces) if namespaces != ["27/28"] else ()
        crowded = crowd if not filters and ("*" in allowed or "27/28/5/".startswith(allowed)) else 0
        assert len(found) == len(seen) + crowded


@pytest.fixture
def directory(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO namespaces VALUES (27, '27/', 'gitlab-org'), (28, '27/28/', 'gitlab-org/gitlab')")
    connection.execute("INSERT INTO namespaces VALUES (281, '27/281/', 'gitlab-org/other'), (29, '27/29/', NULL)")
    connection.execute("INSERT INTO projects VALUES (4, '27/28/', 'gitlab-org/gitlab/project'), (5, NULL, 'lost')")
    connection.execute("INSERT INTO namespaces VALUES (30, '30/', 'both')")
    connection.execute("INSERT INTO projects VALUES (6, '27/28/', 'both')")


@pytest.mark.parametrize(
    ("asked", "namespaces", "group", "project"),
    [
        ("gitlab-org", ["*"], ("27/", "gitlab-org"), None),
        ("gitlab-org/gitlab", ["27/"], ("27/28/", "gitlab-org/gitlab"), None),
        ("gitlab-org/gitlab", ["27/28/"], ("27/28/", "gitlab-org/gitlab"), None),
        ("gitlab-org/gitlab/project", ["27/28/"], None, ("27/28/", "gitlab-org/gitlab/project")),
        ("gitlab-org/gitlab/project", ["27/"], None, ("27/28/", "gitlab-org/gitlab/project")),
        ("27/28/", ["27/28/"], ("27/28/", "gitlab-org/gitlab"), None),
        ("27/28/99/", ["27/28/"], ("27/28/99/", "27/28/99/"), None),
        ("27/29/", ["*"], ("27/29/", "27/29/"), None),
        ("gitlab-org", ["27/28/"], None, None),
        ("27/", ["27/28/"], None, None),
        ("gitlab-org/other", ["27/28/"], None, None),
        ("gitlab-org/gitlab/project", ["27/28/5/", "27/29/"], None, None),
        ("27/281/", ["27/28/"], None, None),
        ("27/28", ["*"], None, None),
        ("unknown", ["*"], None, None),
        ("nul\0", ["*"], None, None),
        ("lost", ["*"], None, ("", "lost")),
        ("lost", ["27/"], None, None),
        ("both", ["*"], ("30/", "both"), ("27/28/", "both")),
        ("both", ["27/"], None, ("27/28/", "both")),
        ("", ["*"], None, None),
    ],
)
@pytest.mark.usefixtures("directory")
def test_a_group_is_no_project_and_either_is_found_by_its_path_within_the_grant(
    asked: str,
    namespaces: list[str],
    group: tuple[str, str] | None,
    project: tuple[str, str] | None,
    api: GraphqlHandler,
) -> None:
    query = "query ($path: ID!) { namespace(fullPath: $path) { ...n } group(fullPath: $path) { ...n } "
    query += "project(fullPath: $path) { ...n } } fragment n on Namespace { path fullPath }"
    answer = ask(api, query, *namespaces, path=asked)
    found = {name: node and (node["path"], node["fullPath"]) for name, node in answer.items()}
    assert found == {"namespace": group or project, "group": group, "project": project}


@pytest.mark.usefixtures("directory")
def test_a_namespaces_events_are_its_own_and_those_of_all_below(either: GraphqlHandler, insert: Insert) -> None:
    stored = {insert(path=path): path for path in PATHS}
    query = "query ($path: ID!) { namespace(fullPath: $path) { aiUsageData { all { nodes { id } } } } }"
    for asked in ("gitlab-org/gitlab", "27/28/"):
        nodes = ask(either, query, path=asked)["namespace"]["aiUsageData"]["all"]["nodes"]
        assert {stored[node["id"]] for node in nodes} == {"27/28/", "27/28/5/"}


def test_a_stored_event_that_no_definition_names_is_left_out(either: GraphqlHandler, insert: Insert) -> None:
    known = insert()
    for _ in range(3):
        insert(event=32767)
    answer = page(either, first=1)
    assert [node["id"] for node in answer["nodes"]] == [known]
    assert answer["pageInfo"]["hasNextPage"] is False


def test_usernames_are_read_with_the_events_and_only_where_they_are_asked_for(
    api: GraphqlHandler, insert: Insert, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("INSERT INTO users (id, username) VALUES (1, 'root')")
    for user in range(1, 30):
        insert(user_id=user)
    statements: list[str] = []
    execute = psycopg.Connection.execute

    def noted(connection: Any, statement: Any, *arguments: Any, **options: Any) -> Any:
        statements.append(statement if isinstance(statement, str) else statement.as_string())
        return execute(connection, statement, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", noted)
    query = "{ aiInstanceUsageData { all { nodes { user { id %s } } } } }"
    ask(api, query % "")
    assert not any("username" in statement for statement in statements)
    statements.clear()
    nodes = ask(api, query % "username")["aiInstanceUsageData"]["all"]["nodes"]
    assert len(statements) == 1
    assert {node["user"]["username"] for node in nodes} == {"root", None}


@pytest.mark.parametrize("store_name", ["clickhouse"], indirect=True)
def test_usernames_beside_clickhouse_are_read_at_once_and_only_if_asked_for(
    either: GraphqlHandler, insert: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in range(1, 30):
        insert(user_id=user)
    asked: list[set[int]] = []

    def usernames(_: object, user_ids: set[int]) -> dict[int, str]:
        asked.append(user_ids)
        return {1: "root"}

    monkeypatch.setattr("functions.graphql.postgres.directory.PostgresDirectory.usernames", usernames)
    query = "{ aiInstanceUsageData { all { nodes { user { id %s } } } } }"
    ask(either, query % "")
    assert asked == []
    nodes = ask(either, query % "username")["aiInstanceUsageData"]["all"]["nodes"]
    assert asked == [set(range(1, 30))]
    assert {node["user"]["username"] for node in nodes} == {"root", None}


@pytest.mark.parametrize("store_name", ["clickhouse"], indirect=True)
def test_usernames_that_can_not_be_read_are_errors_of_their_own_fields(
    either: GraphqlHandler, insert: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in (1, 2):
        insert(user_id=user)

    def usernames(*_: object) -> dict[int, str]:
        raise ValueError("an inside")

    monkeypatch.setattr("functions.graphql.postgres.directory.PostgresDirectory.usernames", usernames)
    query = "{ aiInstanceUsageData { all { nodes { user { id } } edges { e: node { user { name: username } } } } } }"
    _, answer = request(either, {"query": query})
    found = answer["data"]["aiInstanceUsageData"]["all"]
    assert {node["user"]["id"] for node in found["nodes"]} == {"1", "2"}
    assert [edge["e"]["user"]["name"] for edge in found["edges"]] == [None, None]
    paths = [["aiInstanceUsageData", "all", "edges", index, "e", "user", "name"] for index in range(2)]
    assert [error["path"] for error in answer["errors"]] == paths
    assert all("Something went wrong on our side" in error["message"] for error in answer["errors"])


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"first": -1}, "first must be from 0 to 1000"),
        ({"first": 1001}, "first must be from 0 to 1000"),
        ({"after": "nonsense"}, "after is not a cursor of this connection"),
        ({"after": ""}, "after is not a cursor of this connection"),
        ({"start": "2026-11-20", "end": "2026-11-19"}, "endDate 2026-11-19 is before startDate 2026-11-20"),
        ({"start": "20 November"}, "is not a day"),
        ({"start": 20}, "is not a day"),
        ({"end": "9999-12-31"}, "is out of range: days are from 1970-01-01 to 2199-12-31"),
        ({"end": "0001-01-01"}, "is out of range: days are from 1970-01-01 to 2199-12-31"),
        ({"users": ["root"]}, "'root' is not a user's id"),
        ({"users": ["0"]}, "'0' is not a user's id"),
        ({"users": ["9223372036854775808"]}, "not a user's id"),
        ({"users": ["1" * 5_000]}, "not a user's id"),
        ({"events": ["UNKNOWN"]}, "UNKNOWN"),
    ],
)
def test_an_argument_that_can_not_be_used_is_named(variables: Any, said: str, api: GraphqlHandler) -> None:
    status, answer = request(api, {"query": PAGE, "variables": variables})
    assert status == 200
    (error,) = answer["errors"]
    assert said in error["message"]
    assert "extensions" not in error


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"headers": {}}, 401),
        ({"headers": None}, 401),
        ({"headers": {"Authorization": "Bearer x"}}, 401),
        ({"body": "{"}, 400),
        ({"body": None}, 400),
        ({"body": "[]"}, 400),
        ({"body": '[{"query": "{ __typename }"}]'}, 400),
        ({"body": "!", "isBase64Encoded": True}, 400),
        ({"body": "eyJxdWVyeSI6ICJ7IF9fdHlwZW5hbWUgfSJ9", "isBase64Encoded": True}, 200),
        ({"body": '{"query": "{ __typename }"}'}, 200),
    ],
)
def test_a_request_is_answered_with_the_fitting_status(changes: Any, status: int, api: GraphqlHandler) -> None:
    answered, answer = request(api, "", **changes)
    assert answered == status
    assert (answer == {"data": {"__typename": "Query"}}) if status == 200 else (answer.keys() & {"message", "errors"})


def test_a_token_without_the_scope_is_refused(api: GraphqlHandler) -> None:
    claims = {"sub": "1", "scope": "events:write", "namespaces": ["*"], "exp": time.time() + 60}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}
    assert request(api, {"query": "{ __typename }"}, headers=headers)[0] == 403


def test_a_token_that_no_keys_are_there_to_check_with_is_answered_with_503(api: GraphqlHandler) -> None:
    nowhere = AuthSettings(jwks_url=f"http://127.0.0.1:{ports.free()}/keys", issuer="issuer", audience="events")
    api.authenticator = Authenticator(nowhere)
    status, answer = request(api, {"query": "{ __typename }"})
    assert (status, answer.keys()) == (503, {"message"})
    assert "again" in answer["message"]


@pytest.mark.parametrize("query", [{}, {"query": 1}, {"query": "{"}, {"query": "{ unknown }"}, {"query": ""}])
def test_a_query_that_is_none_is_answered_with_an_error(query: Any, api: GraphqlHandler) -> None:
    status, answer = request(api, query)
    assert status == (200 if str(query.get("query", "")).startswith("{") else 400)
    assert answer["errors"][0]["message"]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (psycopg.errors.SyntaxError('syntax error at or near "SECRET_COLUMN"'), "Something went wrong"),
        (ValueError("SECRET_COLUMN"), "Something went wrong"),
        (psycopg.OperationalError("connection to SECRET_COLUMN refused"), "The database can't be reached"),
        (psycopg.errors.QueryCanceled("SECRET_COLUMN"), "took too long"),
    ],
)
def test_an_unexpected_error_shows_an_id_that_is_in_the_log_and_no_inside(
    failure: Exception,
    said: str,
    api: GraphqlHandler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr("functions.graphql.postgres.store.PostgresStore.events", fail)
    _, answer = request(api, {"query": PAGE})
    (error,) = answer["errors"]
    assert said in error["message"]
    assert "SECRET_COLUMN" not in json.dumps(answer)
    if "took too long" not in said:
        error_id = error["message"].removesuffix(".").rpartition(" ")[2]
        (logged,) = [record for record in caplog.records if getattr(record, "error_id", None) == error_id]
        assert logged.exc_info
        assert logged.exc_info[0] in (type(failure), RedactedError)
        assert "SECRET_COLUMN" not in str(logged.exc_info)


def test_a_restarted_database_is_not_noticed(
    api: GraphqlHandler, insert: Insert, connection: psycopg.Connection
) -> None:
    insert()
    assert len(ids(api)) == 1
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert len(ids(api)) == 1


def test_the_schema_has_every_event_and_marks_the_deprecated_ones(api: GraphqlHandler) -> None:
    query = """{
        __type(name: "AiUsageEventType") {
            enumValues(includeDeprecated: true) { name description isDeprecated }
        }
    }"""
    values = {value["name"]: value for value in ask(api, query)["__type"]["enumValues"]}
    assert values.keys() == {name.upper() for name in api.registry.events}
    deprecated = {name for name, value in values.items() if value["isDeprecated"]}
    assert deprecated == {"CODE_SUGGESTIONS_REQUESTED", "CODE_SUGGESTION_DIRECT_ACCESS_TOKEN_REFRESH"}
    assert values["TROUBLESHOOT_JOB"]["description"].startswith("Root cause analysis of failed CI jobs.")


@pytest.mark.parametrize("caught_up", [True, False])
def test_events_come_from_clickhouse_once_the_first_backfill_has_caught_up(
    caught_up: bool,
    api: GraphqlHandler,
    insert: Insert,
    database_url: str,
    clickhouse_url: str,
) -> None:
    for _ in range(3):
        insert()
    api.stores = StoreRouter(api.database, clickhouse_url)
    assert source_of(api) == "postgresql"
    Sync(database_url, clickhouse_url, chunk_bytes=1).run(60 if caught_up else 0)
    api.stores = StoreRouter(api.database, clickhouse_url)
    assert source_of(api) == ("clickhouse" if caught_up else "postgresql")
    assert len(ids(api)) == 3


def test_without_clickhouse_events_come_from_postgresql(api: GraphqlHandler, insert: Insert) -> None:
    insert()
    assert source_of(api) == "postgresql"
    api.stores = StoreRouter(api.database, "clickhouse://default@127.0.0.1:1/default")
    assert source_of(api) == "postgresql"
    assert len(ids(api)) == 1


def source_of(handler: GraphqlHandler) -> str:
    status, answer = request(handler, {"query": PAGE})
    assert status == 200
    return str(answer["extensions"]["source"])
