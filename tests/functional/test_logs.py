"""Logs hold no data of events, queries or definitions: every way in, and every failure on the way."""

import base64
import io
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import replace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import psycopg
import pytest
from psycopg.types.json import Jsonb

from functions.graphql.clickhouse.store import ClickHouseStore
from functions.graphql.handler import GraphqlHandler
from functions.graphql.postgres.store import PostgresStore
from functions.graphql.query.budget import Deadline
from functions.ingest.api_handler import IngestHandler
from functions.ingest.api_handler import build as build_ingest
from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.consumer_handler import build as build_consumer
from functions.retention.handler import build as build_retention
from functions.retention.retention import Retention
from functions.shared import clickhouse
from functions.shared.catalog.registry import load
from functions.shared.failure import class_and_code, redact_errors, redacted
from functions.shared.grant import TRUSTED
from functions.shared.settings import AuthSettings
from functions.sync.handler import build as build_sync
from functions.sync.sync import Sync
from infra.local import ports
from infra.migrations.handler import build as build_migrations
from tests.support.clock import NOW
from tests.support.consuming import ACCOUNT
from tests.support.definitions import write_package
from tests.support.graphql import built
from tests.support.lambda_context import FakeContext
from tests.support.logged import logged_to
from tests.support.ways_in import SECRET

# In every text that comes from outside; it would be found however a log escapes it.
MARKER = "XqvMARKERvqX"
ID = "0198f0a2-6b1c-7d3e-9a55-0d2f5c1b7e44"

TRIGGER = f"""
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'refused: % {MARKER}', NEW USING DETAIL = NEW::text, HINT = NEW::text, ERRCODE = '{{code}}';
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON {{table}} FOR EACH ROW EXECUTE FUNCTION refuse();
"""

DEFINITIONS = f"""
from definitions import Context, Feature, Payload

class Marked(Payload):
    text: str | None = None
    number: int | None = None

plain = Feature("plain", owner="o", payload=Marked)
plain.events(request_duo_chat_response=1)

raising = Feature("raising", owner="o")

@raising.events(raising=2)
def raising_transformation(context: Context) -> dict:
    raise ValueError(str(dict(context)))

untold = Feature("untold", owner="o")

class Untold(Exception):
    def __str__(self) -> str:
        raise KeyError("{MARKER}")

@untold.events(untold=3)
def untold_transformation(context: Context) -> dict:
    raise Untold

prefetching = Feature("prefetching", owner="o")
prefetching.events(prefetching=4)

@prefetching.prefetch
def prefetch(contexts, connection):
    if contexts[0].get("sql"):
        connection.execute("SELECT %s::int", [contexts[0]["text"]])
    raise ValueError(str([dict(context) for context in contexts]))

returning = Feature("returning", owner="o")

@returning.events(returning=5)
def returning_transformation(context: Context) -> dict:
    return {{"text": object(), "number": context["text"], "{MARKER}": {{1, 2}}}}
"""


def event(name: str = "request_duo_chat_response", **changes: Any) -> dict[str, Any]:
    """Returns an event with the marker in every place for a text."""
    return {
        "event": name,
        "id": str(uuid4()),
        "user": {"id": 1, "username": f"user {MARKER}"},
        "namespace": {"path": "27/28/", "full_path": f"{MARKER}/app"},
        "project": {"id": 4, "full_path": f"{MARKER}/app/project"},
        "text": f"text {MARKER}",
        MARKER: MARKER,
    } | changes


@dataclass
class Logs:
    """Everything that the process writes, and that Lambda would write of an error."""

    caplog: pytest.LogCaptureFixture
    capfd: pytest.CaptureFixture[str]
    stream: io.StringIO = field(default_factory=io.StringIO)
    raised: list[str] = field(default_factory=list)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns the function's result; logs an error with class, message and traceback, as Lambda does."""
        try:
            return function(*arguments)
        except Exception as error:  # noqa: BLE001 - as Lambda does
            self.raised += traceback.format_exception(error)
            return None

    def text(self) -> str:
        output = self.capfd.readouterr()
        formatter = logging.Formatter("%(name)s %(message)s")
        records = [formatter.format(record) + str(vars(record)) for record in self.caplog.records]
        return "\n".join([self.stream.getvalue(), output.out, output.err, *records, *self.raised])


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Logs:
    """The test's logs; fails if nothing was logged."""
    caplog.set_level(logging.WARNING)  # as Lambda's root logger is
    return Logs(caplog, capfd)


@pytest.fixture
def consumer(database_url: str, folder: Path, logs: Logs) -> Iterator[ConsumerHandler]:
    """The consumer with failing definitions, logging to the standard output."""
    defined = load(write_package(folder, team=DEFINITIONS).name)
    handler = build_consumer(database_url=database_url, retention_months=3)
    handler.consumer = replace(handler.consumer, registry=defined)
    with logged_to(logs.stream):
        yield handler
    handler.consumer.database.close()


def records(*bodies: str) -> dict[str, Any]:
    attributes = {"SentTimestamp": str(round(NOW.timestamp() * 1000)), "ApproximateReceiveCount": "1"}
    return {"Records": [{"messageId": str(uuid4()), "body": body, "attributes": attributes} for body in bodies]}


def execute(database_url: str, *statements: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


BODIES: dict[str, Any] = {
    "plain": event(),
    "raising": event("raising"),
    "not saying why": event("untold"),
    "prefetching": event("prefetching"),
    "prefetching in vain": event("prefetching", sql=True),
    "returning no JSON": event("returning"),
    "unknown": event(f"unknown {MARKER}"),
    "broken": event(MARKER)["event"] + '{"event": "' + MARKER,
    "not UTF-8": f"\ud800{MARKER}",
    "wrong types": event(user={"id": MARKER}, timestamp=MARKER, id=MARKER),
    "an envelope": {"Type": "Notification", "Message": f'{{"event": "{MARKER}', "MessageId": MARKER},
    "a cloud event": {"specversion": MARKER, "id": MARKER, "source": MARKER, "type": MARKER, "data": MARKER},
    "deep": f"{'[' * 5000}{MARKER}",
    "huge": event(filler=MARKER * 10_000),
}

FAULTS: dict[str, list[str]] = {
    "none": [],
    "a constraint": ["ALTER TABLE ai_usage_events ADD CONSTRAINT no CHECK (payload->>'text' IS NULL) NOT VALID"],
    "a trigger": [TRIGGER.format(table="ai_usage_events", code="P0001")],
    "a trigger that poses as a timeout": [TRIGGER.format(table="ai_usage_events", code="57014")],
    "a trigger that poses as a shutdown": [TRIGGER.format(table="ai_usage_events", code="57P01")],
    "a trigger on users": [TRIGGER.format(table="users", code="22000")],
    "a trigger on rejected events": [TRIGGER.format(table="rejected_events", code="P0001")],
    "no users": ["DROP TABLE users"],
    "no events": ["DROP TABLE ai_usage_events CASCADE"],
    "other types": ["ALTER TABLE users ALTER COLUMN username TYPE varchar(3)"],
    "unique usernames": [
        "CREATE UNIQUE INDEX ON users (username)",
        f"INSERT INTO users (id, username) VALUES (99, 'user {MARKER}')",
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_consumer_logs_no_contents_whatever_postgresql_refuses(
    fault: str, consumer: ConsumerHandler, database_url: str, logs: Logs
) -> None:
    execute(database_url, *FAULTS[fault])
    for body in BODIES.values():
        text = body if isinstance(body, str) else json.dumps(body)
        logs.run(consumer, records(text), None)
    logs.run(consumer, records(*(json.dumps(body) for body in BODIES.values())), None)
    logs.run(consumer, {"Records": [{"messageId": MARKER[:0], "body": MARKER}]}, None)
    logged = logs.text()
    assert MARKER not in logged
    assert "consumed" in logged or "PostgreSQL" in logged


@pytest.mark.parametrize("fault", ["a constraint", "a trigger"])
def test_a_refused_row_is_logged_by_its_id(
    fault: str, consumer: ConsumerHandler, database_url: str, logs: Logs
) -> None:
    execute(database_url, *FAULTS[fault])
    consumer(records(json.dumps(event())), None)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id, body FROM rejected_events").fetchall()
    ((identifier, body),) = rows
    assert MARKER in body
    assert str(identifier) in logs.text()


def headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-Marker": MARKER, "Idempotency-Key": MARKER, "Content-Type": MARKER}


def token(secret: str = SECRET, header: dict[str, Any] | None = None, **claims: Any) -> str:
    standard = {"sub": "1", "scope": "events:read events:write", "namespaces": ["*"], "exp": 4_000_000_000}
    return jwt.encode(standard | claims, secret, headers=header)


TOKENS = {
    "good": token(),
    "of another": token("another secret of thirty-two characters or more"),
    "expired": token(exp=1, sub=MARKER),
    "without a scope": token(scope=MARKER),
    "with odd claims": token(sub=MARKER, namespaces=MARKER, aud=MARKER),
    "of an unknown key": token(header={"kid": MARKER, "jku": f"https://{MARKER}"}),
    "broken": f"{MARKER}.{MARKER}.{MARKER}",
    "no token": MARKER,
}


@pytest.fixture
def ingest(monkeypatch: pytest.MonkeyPatch, logs: Logs) -> Iterator[IngestHandler]:
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{ports.free()}")
    monkeypatch.setattr("functions.shared.queue.RETRY_AFTER_SECONDS", ())
    handler = build_ingest(auth=AuthSettings(secret=SECRET), queue_url="https://queue", retention_months=3)
    with logged_to(logs.stream):
        yield handler


@pytest.mark.parametrize("kind", TOKENS)
def test_the_ingest_api_logs_no_contents(kind: str, ingest: IngestHandler, logs: Logs) -> None:
    bodies = (
        [body if isinstance(body, str) else json.dumps(body) for body in BODIES.values()] if kind == "good" else ["{}"]
    )
    for body in bodies:
        for path in ("/v1/events", "/track_event", f"/{MARKER}"):
            request = {
                "path": path,
                "resource": path,
                "headers": headers(TOKENS[kind]),
                "body": base64.b64encode(body.encode(errors="replace")).decode(),
                "isBase64Encoded": True,
                "queryStringParameters": {MARKER: MARKER},
            }
            logs.run(ingest, request, None)
    ingest.intake = replace(ingest.intake, send=fail)
    request = {"headers": headers(TOKENS["good"]) | {"Content-Type": "application/json"}, "body": json.dumps(event())}
    logs.run(ingest, request, None)
    logged = logs.text()
    assert MARKER not in logged
    assert "RedactedError: KeyError from ValueError" in logged


def fail(*_: Any, **__: Any) -> Any:
    """Raises an error whose message and cause quote the marker."""
    try:
        int(MARKER)
    except ValueError as error:
        raise KeyError(MARKER) from error


FILTER = f'payload: [{{path: "text", eq: "{MARKER}"}}, {{path: "{MARKER}", gt: 1}}]'
QUERIES: list[dict[str, Any]] = [
    {"query": f"{{ aiInstanceUsageData {{ all({FILTER}) {{ nodes {{ id payload }} }} }} }}"},
    {
        "query": 'query Marked($text: JSON!) { aiInstanceUsageData { all(payload: [{path: "text", eq: $text}])'
        " { nodes { id payload user { username } } } } }",
        "variables": {"text": MARKER, MARKER: MARKER},
        "operationName": "Marked",
    },
    {"query": f'{{ namespace(fullPath: "{MARKER}/app") {{ path }} project(fullPath: "{MARKER}") {{ path }} }}'},
    {"query": f'{{ aiInstanceUsage(by: [PAYLOAD], payloadPath: "{MARKER}") {{ {MARKER} }} }}'},
    {"query": f"{{ {MARKER}("},
    {"query": MARKER, "operationName": MARKER},
    {"query": f'query A($x: {MARKER}!) {{ node(id: "{MARKER}") {{ id }} }}', "variables": {"x": MARKER}},
    {"query": f"# {MARKER * 10_000}\n{{ eventDefinitions {{ id }} }}"},
    {"query": 5, "variables": MARKER, "extensions": {"persistedQuery": MARKER}},
]


@pytest.fixture
def graphql(database_url: str, clickhouse_url: str, logs: Logs) -> Iterator[GraphqlHandler]:
    with built(database_url, clickhouse_url=clickhouse_url) as handler, logged_to(logs.stream):
        yield handler


JSON_BODY = {"Content-Type": "application/json"}


def asked(handler: GraphqlHandler, logs: Logs, kind: str = "good") -> None:
    bodies = [json.dumps(query) for query in QUERIES] + [MARKER, f'{{"query": "{MARKER}']
    for body in bodies if kind == "good" else bodies[:1]:
        request = {
            "httpMethod": "POST",
            "headers": headers(TOKENS[kind]) | JSON_BODY,
            "body": body,
            "isBase64Encoded": False,
        }
        logs.run(handler, request, None)
    parameters = {"query": MARKER}
    logs.run(handler, {"httpMethod": "GET", "headers": {}, "queryStringParameters": parameters}, None)


@pytest.mark.parametrize("kind", TOKENS)
def test_graphql_logs_nothing_of_tokens(kind: str, graphql: GraphqlHandler, logs: Logs) -> None:
    asked(graphql, logs, kind)
    assert MARKER not in logs.text()


def renamed_column(database_url: str, clickhouse_url: str) -> None:
    execute(database_url, "ALTER TABLE ai_usage_events RENAME COLUMN user_id TO person_id")
    with closing(clickhouse.connect(clickhouse_url, 10)) as client:
        client.command("ALTER TABLE ai_usage_events RENAME COLUMN user_id TO person_id")


def without_tables(database_url: str, clickhouse_url: str) -> None:
    execute(database_url, "DROP TABLE ai_usage_events CASCADE", "DROP TABLE users", "DROP TABLE namespaces")
    with closing(clickhouse.connect(clickhouse_url, 10)) as client:
        client.command("DROP TABLE ai_usage_events SYNC")


READING_FAULTS: dict[str, Callable[[str, str], None] | None] = {
    "none": None,
    "a column": renamed_column,
    "tables": without_tables,
    "unforeseen": None,
    "away": None,
}


@pytest.mark.parametrize("fault", READING_FAULTS)
@pytest.mark.parametrize("source", ["postgresql", "clickhouse"])
def test_graphql_logs_no_contents_whatever_its_stores_lack(
    source: str,
    fault: str,
    graphql: GraphqlHandler,
    logs: Logs,
    database_url: str,
    clickhouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execute(database_url, f"INSERT INTO users (id, username) VALUES (1, '{MARKER}')")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload) VALUES (%s, %s, 6, 1, %s)",
            [ID, NOW, Jsonb({"text": MARKER})],
        )
    if source == "clickhouse":
        Sync(database_url, clickhouse_url).run(10)
        assert graphql.stores.current(TRUSTED, Deadline(9)).name == "clickhouse"
    cause = READING_FAULTS[fault]
    if cause is not None and (source == "clickhouse" or fault != "none"):
        if source == "postgresql":
            Sync(database_url, clickhouse_url).run(1)
        cause(database_url, clickhouse_url)
    if fault == "unforeseen":
        monkeypatch.setattr(STORES[source], "events", fail)
    if fault == "away":
        port = ports.free()
        graphql.database.close()
        monkeypatch.setattr(graphql.database, "_source", f"postgresql://{MARKER}:{MARKER}@127.0.0.1:{port}/x".lower())
        reader = graphql.stores._reader
        if reader is not None:
            monkeypatch.setattr(reader, "_source", f"http://127.0.0.1:{port}")
    asked(graphql, logs)
    logged = logs.text()
    assert MARKER not in logged
    if fault in ("unforeseen", "tables"):
        assert "A request failed" in logged


STORES = {"postgresql": PostgresStore, "clickhouse": ClickHouseStore}


def refusing_rows(database_url: str, clickhouse_url: str, client: Any) -> None:
    client.command(
        "ALTER TABLE ai_usage_events ADD CONSTRAINT no CHECK throwIf(1, concat('refused ', toJSONString(payload)))"
    )


def other_types(database_url: str, clickhouse_url: str, client: Any) -> None:
    client.command("ALTER TABLE ai_usage_events RENAME COLUMN user_id TO someone")


def unparsable(database_url: str, clickhouse_url: str, client: Any) -> None:
    execute(
        database_url,
        f"""UPDATE ai_usage_events SET user_id = -1, namespace_path = '{MARKER}', payload = '{{"text": "{MARKER}"}}'""",
    )


def dropped(database_url: str, clickhouse_url: str, client: Any) -> None:
    execute(database_url, "DROP TABLE sync_state")


def unforeseen(database_url: str, clickhouse_url: str, client: Any) -> None:
    execute(database_url, TRIGGER.format(table="sync_state", code="P0001"))


SYNC_FAULTS = {one.__name__: one for one in (refusing_rows, other_types, unparsable, dropped, unforeseen)}


@pytest.mark.parametrize("most", [100, 0])
@pytest.mark.parametrize("fault", [*SYNC_FAULTS, "away", "raising"])
def test_the_sync_and_the_retention_log_no_contents(
    fault: str, most: int, database_url: str, clickhouse_url: str, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = Sync(database_url, clickhouse_url)
    sync.run(10)
    with psycopg.connect(database_url) as connection:
        for number in range(3):
            connection.execute(
                "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
                " VALUES (%s, %s, 6, 1, %s, %s)",
                [uuid4(), NOW, f"{MARKER}/", Jsonb({MARKER: MARKER, "number": number})],
            )
    if fault in SYNC_FAULTS:
        with closing(clickhouse.connect(clickhouse_url, 10)) as client:
            SYNC_FAULTS[fault](database_url, clickhouse_url, client)
    url = f"clickhouse://{MARKER}:{MARKER}@127.0.0.1:{ports.free()}/x" if fault == "away" else clickhouse_url
    monkeypatch.setattr("functions.sync.sync.MAX_REFUSALS", most)
    if fault == "raising":
        monkeypatch.setattr("functions.sync.sync.id_of", fail)
    synced = build_sync(database_url=database_url, clickhouse_url=url)
    retained = build_retention(Retention(database_url, 3, clickhouse_url=url))
    for handler in (synced, retained):
        with logged_to(logs.stream):
            logs.run(handler, {}, FakeContext())
    logged = logs.text()
    assert MARKER not in logged
    assert ("retained" in logged) is (fault != "dropped")
    assert "The sync failed" in logged or "refused" in logged


@pytest.mark.parametrize("fault", ["trigger", "away", "contradiction"])
def test_the_migrations_log_no_contents(fault: str, database_url: str, logs: Logs) -> None:
    answers: list[dict[str, Any]] = []
    if fault == "trigger":
        execute(database_url, TRIGGER.format(table="event_types", code="P0001"))
    url = f"postgresql://u:{MARKER}@127.0.0.1:{ports.free()}/x" if fault == "away" else database_url
    built = build_migrations(lambda: url, lambda: 3)
    handler = replace(built, send=lambda _, answer: answers.append(answer))
    if fault == "contradiction":
        handler = replace(handler, migrate=fail)
    names = {"StackId": "stack", "RequestId": "request", "LogicalResourceId": "Migrations", "ResponseURL": MARKER}
    with logged_to(logs.stream):
        logs.run(handler, names | {"RequestType": "Create"}, FakeContext())
    logged = logs.text()
    assert MARKER not in logged
    assert "The migrations failed" in logged
    assert MARKER not in str(answers)
    assert [answer["Status"] for answer in answers] == ["FAILED"]


def test_a_replacing_error_has_the_traceback_and_kinds_but_no_contents() -> None:
    with pytest.raises(KeyError, match=MARKER) as caught:
        fail()
    error = redacted(caught.value)
    assert str(error) == "KeyError from ValueError"
    written = "".join(traceback.format_exception(error))
    assert "in fail" in written
    assert f"'{MARKER}'" not in written
    refused = psycopg.errors.CheckViolation(MARKER)
    assert str(redacted(refused)) == class_and_code(refused) == "CheckViolation 23514"
    assert isinstance(redacted(refused), psycopg.errors.CheckViolation)


def test_an_error_whose_words_are_ours_is_raised_without_its_causes() -> None:
    class Ours(Exception):
        pass

    @redact_errors(Ours)
    def function() -> None:
        try:
            fail()
        except KeyError as error:
            raise Ours("too many rows") from error

    with pytest.raises(Ours, match="too many rows") as caught:
        function()
    assert f"'{MARKER}'" not in "".join(traceback.format_exception(caught.value))
