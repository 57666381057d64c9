"""Canary events go from the front door to GraphQL, are seen by nobody who does not ask, and are sent by nobody else."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import boto3
import jwt
import pytest
from clickhouse_connect.driver.client import Client

from functions.canary.canary import Canary, Report
from functions.canary.handler import CanaryHandler, build
from functions.canary.https import Unanswered
from functions.canary.token import LIFE_SECONDS, token_source
from functions.graphql.handler import GraphqlHandler
from functions.graphql.store_router import StoreRouter
from functions.shared import canary
from functions.shared.auth import Authenticator
from functions.shared.secret import Secret
from functions.shared.settings import AuthSettings, CanarySettings, CanaryTokens
from functions.shared.signing_secrets import SigningSecrets
from functions.sync.analysis import Analysis
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, request
from tests.support.lambda_context import FakeContext
from tests.support.stack_in_process import serving
from tests.support.ways_in import SECRET, WaysIn, token

SECONDS = 60
NEVER = 0.0
CANARY = {"event": canary.NAME}
CANARY_SCOPE = f"Bearer {token(sub='canary', scope='canary', namespaces=[])}"
CHAT = {"event": "request_duo_chat_response", "user": {"id": 5}, "namespace": {"path": "27/28/"}}


def tokens(**changes: Any) -> CanaryTokens:
    return CanaryTokens(**{"token": None, "signing": SigningSecrets(SECRET), **changes})


@contextmanager
def stack(ways: WaysIn, api: GraphqlHandler, work: Callable[[], object]) -> Iterator[Canary]:
    """Yields a canary of a stack whose consumer and sync work after each request."""
    api.now = lambda: datetime.now(UTC)
    with serving({"/v1/events": ways.api, "/graphql": api}, work) as url:
        yield Canary(url, token_source(tokens()), sleep=lambda _: None)


def store(ways: WaysIn) -> None:
    if ways.waiting:
        ways.consume_waiting()


@pytest.fixture
def sent(ways: WaysIn, api: GraphqlHandler) -> Report:
    """A canary event that is in PostgreSQL."""
    with stack(ways, api, lambda: store(ways)) as sender:
        return sender.run(SECONDS)


def test_a_canary_measures_when_postgresql_shows_its_event(sent: Report, query: Callable[..., Any]) -> None:
    assert sent.failure == ""
    assert sent.postgresql_seconds is not None
    assert sent.postgresql_seconds > 0
    assert sent.clickhouse_seconds is None
    (row,) = query("SELECT id::text, event, user_id, namespace_path, project_id, payload FROM ai_usage_events")
    assert list(row.values()) == [sent.id, canary.EVENT_ID, canary.USER_ID, canary.NAMESPACE_PATH, None, {}]


def test_a_canary_measures_when_clickhouse_shows_its_event(
    ways: WaysIn, api: GraphqlHandler, database_url: str, clickhouse_url: str, sync: Sync
) -> None:
    api.stores = StoreRouter(api.database, clickhouse_url)
    steps: list[Callable[[], object]] = [lambda: None, lambda: store(ways), lambda: sync.run(SECONDS)]

    def work() -> None:
        if steps:
            steps.pop(0)()
        api.stores.check_again()

    with stack(ways, api, work) as sender:
        report = sender.run(SECONDS)
    assert report.failure == ""
    assert report.postgresql_seconds is not None
    assert report.clickhouse_seconds is not None
    assert 0 < report.postgresql_seconds < report.clickhouse_seconds


def test_a_canary_says_which_store_does_not_show_its_event(
    ways: WaysIn, api: GraphqlHandler, clickhouse_url: str, sync: Sync
) -> None:
    with stack(ways, api, lambda: None) as sender:
        report = sender.run(NEVER)
        assert (report.postgresql_seconds, report.failure) == (None, "PostgreSQL did not show the event in time")
    sync.run(SECONDS)
    api.stores = StoreRouter(api.database, clickhouse_url)
    with stack(ways, api, lambda: store(ways)) as sender:
        report = sender.run(NEVER)
        assert report.postgresql_seconds is not None
        assert (report.clickhouse_seconds, report.failure) == (None, "ClickHouse did not show the event in time")


def test_a_canary_says_why_its_event_was_not_accepted(ways: WaysIn, api: GraphqlHandler) -> None:
    report = Canary("http://127.0.0.1:1", lambda: "token").run(SECONDS)
    assert "The event was not accepted: URLError" in report.failure
    with stack(ways, api, lambda: None) as sender:
        report = Canary(sender.api_url, lambda: "token").run(SECONDS)
    assert "The event was not accepted: 401 UNAUTHORIZED" in report.failure
    assert report.id is None


def test_a_canary_says_why_graphql_can_not_be_asked(ways: WaysIn, api: GraphqlHandler) -> None:
    given = iter([token_source(tokens())(), "token"])
    with stack(ways, api, lambda: store(ways)) as sender:
        report = Canary(sender.api_url, lambda: next(given)).run(NEVER)
    assert "GraphQL can't be asked: 401 UNAUTHORIZED" in report.failure


def test_a_failed_canary_is_no_error_of_the_function(capsys: pytest.CaptureFixture[str]) -> None:
    handler: CanaryHandler = build(CanarySettings("http://127.0.0.1:1", tokens()))
    answer = handler({}, FakeContext())
    assert "The event was not accepted" in answer["failure"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [line.get("CanaryFailures") for line in lines] == [1]
    assert "CanarySeconds" not in lines[0]


def test_no_reader_sees_a_canary_that_he_does_not_ask_for(sent: Report, ways: WaysIn, either: GraphqlHandler) -> None:
    either.now = lambda: datetime.now(UTC)
    ways.post(json.dumps(CHAT).encode(), {"Authorization": f"Bearer {token(namespaces=['*'])}"})
    ways.consume_waiting()
    answer = ask(
        either,
        """{
            aiInstanceUsageData { all { nodes { event } } }
            aiInstanceMetrics { totalEventCount usersCount featuresCount }
            aiInstanceUserMetrics { nodes { user { id } totalEventCount } }
            aiInstanceUsage(groupBy: [NAMESPACE]) { namespacePath totalCount usersCount }
            aiInstanceActiveUsers { dailyUsersCount }
            aiInstanceUsageTiers(thresholds: [1]) { usersCount }
            aiInstanceSeats { assignedCount }
            namespaces { path }
            namespace(fullPath: "0/") { path }
            eventDefinitions { id }
        }""",
    )
    assert answer["aiInstanceUsageData"]["all"] == {"nodes": [{"event": "REQUEST_DUO_CHAT_RESPONSE"}]}
    assert answer["aiInstanceMetrics"] == {"totalEventCount": 1, "usersCount": 1, "featuresCount": 1}
    assert answer["aiInstanceUserMetrics"]["nodes"] == [{"user": {"id": "5"}, "totalEventCount": 1}]
    assert answer["aiInstanceUsage"] == [{"namespacePath": "27/28/", "totalCount": 1, "usersCount": 1}]
    assert max(one["dailyUsersCount"] for one in answer["aiInstanceActiveUsers"]) == 1
    assert [one["usersCount"] for one in answer["aiInstanceUsageTiers"]] == [1]
    assert answer["namespace"] is None
    assert canary.NAMESPACE_PATH not in [one["path"] for one in answer["namespaces"]]
    assert canary.EVENT_ID not in [one["id"] for one in answer["eventDefinitions"]]


def test_an_export_has_no_canary(sent: Report, ways: WaysIn, api: GraphqlHandler) -> None:
    ways.post(json.dumps(CHAT).encode(), {"Authorization": f"Bearer {token(namespaces=['*'])}"})
    ways.consume_waiting()
    headers = {"Authorization": f"Bearer {token(scope='events:read', namespaces=['*'])}"}
    answer = api({"httpMethod": "GET", "headers": headers, "resource": "/v1/export"}, None)
    assert answer["statusCode"] == 200
    assert canary.NAME not in answer["body"]
    assert len(answer["body"].splitlines()) == 2, answer["body"]


def test_a_canary_is_counted_for_no_tenant_and_no_query(
    ways: WaysIn, api: GraphqlHandler, query: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with stack(ways, api, lambda: store(ways)) as sender:
        sender.run(SECONDS)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [line["tenant"] for line in lines if "AcceptedEvents" in line] == ["canary"]
    assert [line for line in lines if "Queries" in line] == []
    assert query("SELECT * FROM tenant_usage") == []


def test_a_canary_leaves_nothing_in_the_directory(sent: Report, query: Callable[..., Any]) -> None:
    for table in ("users", "namespaces", "projects", "facts", "user_names", "restated_facts", "rejected_events"):
        assert query(f"SELECT * FROM {table}") == []
    assert query("SELECT * FROM event_types WHERE id = 0") == []


def test_views_and_rollups_in_clickhouse_leave_canaries_out(
    insert: Insert, database_url: str, clickhouse_url: str, sync: Sync, client: Client
) -> None:
    insert(NOW - timedelta(days=3), canary.EVENT_ID, canary.USER_ID, canary.NAMESPACE_PATH)
    sync.run(SECONDS)
    Analysis(database_url, clickhouse_url).run(SECONDS)
    assert Rollups(database_url, clickhouse_url, rebuild_seconds=0).run(SECONDS).days > 0
    assert client.command("SELECT count() FROM ai_usage_events FINAL") == 1
    for relation in ("events", "ai_usage_events_current"):
        assert client.command(f"SELECT count() FROM {relation}") == 0, relation
    for table in ("ai_usage_daily_totals", "ai_usage_daily_users"):
        assert client.command(f"SELECT sum(events) FROM {table}") == 0, table


@pytest.mark.parametrize(
    ("scope", "namespaces"),
    [
        ("events:write", ["*"]),
        ("events:write:own", []),
        ("directory:write events:write", ["27/"]),
        ("canary events:write", ["*"]),
        ("canary events:read", ["*"]),
    ],
)
def test_nobody_but_a_canary_may_send_a_canary_event(scope: str, namespaces: list[str], ways: WaysIn) -> None:
    headers = {"Authorization": f"Bearer {token(scope=scope, namespaces=namespaces)}"}
    status, answer = ways.post(json.dumps([CANARY, CANARY | {"user_id": 5}]).encode(), headers)
    if "read" in scope:
        assert status == 403
    else:
        assert {one["code"] for one in answer["rejected"]} == {"unknown_event"}
    assert ways.waiting == []


def test_the_queue_takes_no_canary_event(ways: WaysIn, query: Callable[..., Any]) -> None:
    ways.consume(json.dumps([CANARY | {"user_id": 5}]))
    assert query("SELECT code FROM rejected_events") == [{"code": "unknown_event"}]


@pytest.mark.parametrize("path", ["0/", "0/1/", "00/"])
def test_nobody_may_send_into_the_namespace_of_canaries(path: str, ways: WaysIn) -> None:
    for scope, namespaces in (("events:write", ["*"]), ("events:write", [path]), ("canary", [path])):
        headers = {"Authorization": f"Bearer {token(scope=scope, namespaces=namespaces)}"}
        status, answer = ways.post(json.dumps([CHAT | {"namespace": {"path": path}}]).encode(), headers)
        assert status == 400
        assert answer["rejected"][0]["code"] in ("invalid_namespace", "forbidden_namespace", "unknown_event")


@pytest.mark.parametrize(
    "also",
    [
        {"user": {"id": 5, "username": "root"}},
        {"user_id": "x"},
        {"namespace": {"path": "27/28/", "full_path": "a/b"}},
        {"project": {"id": 4, "full_path": "a/b/c"}},
        {"additional_properties": {"secret": "x"}},
        {"anything": "else"},
    ],
)
def test_whatever_a_canary_says_it_is_stored_as_a_canary(
    also: dict[str, Any], ways: WaysIn, query: Callable[..., Any]
) -> None:
    status, answer = ways.post(json.dumps([CANARY | also]).encode(), {"Authorization": CANARY_SCOPE})
    assert (status, answer["accepted"]) == (202, 1)
    ways.consume_waiting()
    (row,) = query("SELECT event, user_id, namespace_path, project_id, payload FROM ai_usage_events")
    assert list(row.values()) == [0, 0, "0/", None, {}]
    test_a_canary_leaves_nothing_in_the_directory(Report(), query)


def test_a_canary_can_send_no_other_event(ways: WaysIn) -> None:
    status, answer = ways.post(json.dumps([CHAT]).encode(), {"Authorization": CANARY_SCOPE})
    assert (status, answer["rejected"][0]["code"]) == (400, "unknown_event")


@pytest.mark.parametrize(
    ("changes", "claims"),
    [
        ({}, {}),
        ({"issuer": "one", "audience": "two"}, {"iss": "one", "aud": "two"}),
        ({"max_lifetime": 5}, {}),
    ],
)
def test_a_signed_token_is_what_the_functions_ask_for(changes: dict[str, Any], claims: dict[str, Any]) -> None:
    signed = token_source(tokens(**changes))()
    grant = Authenticator(AuthSettings(secret=SECRET, **changes)).grant({"Authorization": f"Bearer {signed}"})
    assert grant.is_canary
    decoded = jwt.decode(signed, SECRET, ["HS256"], options={"verify_aud": False})
    assert decoded["exp"] - decoded["iat"] == changes.get("max_lifetime", LIFE_SECONDS)
    assert claims.items() <= decoded.items()


def test_a_token_is_taken_from_a_secret_or_fetched_from_the_issuer(aws: None) -> None:
    def issue(event: dict[str, Any], _: object) -> dict[str, Any]:
        form = dict(parse_qsl(base64.b64decode(event["body"]).decode()))
        body = {"access_token": ",".join(f"{name}={value}" for name, value in sorted(form.items()))}
        return {"statusCode": 200, "headers": {}, "body": json.dumps(body)}

    manager = boto3.client("secretsmanager")
    arn = manager.create_secret(Name="canary", SecretString="given")["ARN"]
    get = token_source(tokens(token=Secret("CANARY_TOKEN_SECRET_ARN", arn, str)))
    assert get() == "given"
    with serving({"/token": issue}) as url:
        credentials = {"token_url": f"{url}/token", "client_id": "one", "client_secret": "two"}
        fetched = manager.create_secret(Name="fetched", SecretString=json.dumps(credentials))["ARN"]
        get = token_source(tokens(token=Secret("CANARY_TOKEN_SECRET_ARN", fetched, str)))
        assert get() == "client_id=one,client_secret=two,grant_type=client_credentials,scope=canary"
    malformed = manager.create_secret(Name="malformed", SecretString='{"token_url": 1}')["ARN"]
    with pytest.raises(Unanswered, match="CANARY_TOKEN_SECRET_ARN"):
        token_source(tokens(token=Secret("CANARY_TOKEN_SECRET_ARN", malformed, str)))()


@pytest.mark.parametrize(("expires_in", "kept_seconds"), [(3600, 240), (100, 50), (None, 60)])
def test_a_fetched_token_serves_all_requests_of_a_canary(
    expires_in: int | None, kept_seconds: int, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued: list[str] = []

    def issue(*_: object) -> dict[str, Any]:
        issued.append(f"token {len(issued)}")
        body = {"access_token": issued[-1]} | ({"expires_in": expires_in} if expires_in else {})
        return {"statusCode": 200, "headers": {}, "body": json.dumps(body)}

    now = 1000.0
    monkeypatch.setattr("functions.canary.token.monotonic", lambda: now)
    manager = boto3.client("secretsmanager")
    with serving({"/token": issue}) as url:
        credentials = {"token_url": f"{url}/token", "client_id": "one", "client_secret": "two"}
        arn = manager.create_secret(Name="fetched", SecretString=json.dumps(credentials))["ARN"]
        secret = Secret("CANARY_TOKEN_SECRET_ARN", arn, str)
        get = token_source(tokens(token=secret))
        assert [get(), get()] == ["token 0"] * 2
        now += kept_seconds - 1
        assert get() == "token 0"
        now += 1
        assert [get(), get()] == ["token 1"] * 2
        manager.put_secret_value(SecretId=arn, SecretString=json.dumps(credentials | {"client_secret": "three"}))
        secret.read_again(0)
        assert get() == "token 2"


@pytest.mark.parametrize(
    "text",
    [
        "{ aiInstanceUsageData { all { nodes { id } } } }",
        "{ eventDefinitions { name } }",
        "{ __schema { types { name } } }",
        canary.QUERY + " ",
        f"{canary.QUERY} query Other {{ eventDefinitions {{ name }} }}",
    ],
)
def test_a_canary_can_ask_nothing_else(text: str, api: GraphqlHandler) -> None:
    headers = {"Authorization": CANARY_SCOPE, "Content-Type": "application/json"}
    body = {"query": text, "variables": {"id": "0198f0a2-6b1c-7d3e-9a55-0d2f5c1b7e44"}}
    assert request(api, body, headers=headers)[0] == 403
    assert request(api, body | {"query": canary.QUERY}, headers=headers)[0] == 200


def test_a_canary_can_export_nothing(api: GraphqlHandler) -> None:
    headers = {"Authorization": CANARY_SCOPE}
    assert request(api, {}, headers=headers, httpMethod="GET", resource="/v1/export")[0] == 403


def test_only_readers_of_everything_find_a_canary_by_its_id(sent: Report, api: GraphqlHandler) -> None:
    text = f'{{ canaryEvent(id: "{sent.id}") {{ postgresql clickhouse }} }}'
    assert ask(api, text) == {"canaryEvent": {"postgresql": True, "clickhouse": None}}
    assert ask(api, text, "27/") == {"canaryEvent": None}
    for other in ("0198f0a2-6b1c-7d3e-9a55-0d2f5c1b7e44", "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44", "nonsense"):
        found = ask(api, text.replace(str(sent.id), other))["canaryEvent"]
        assert found in (None, {"postgresql": False, "clickhouse": None})
