"""The whole way of an event through every function and command, for tests of unusual surroundings."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any
from unittest.mock import patch
from uuid import UUID

import psycopg
from typer.testing import CliRunner

from functions.graphql.query.budget import Deadline
from functions.retention.retention import Retention
from functions.shared import clickhouse
from functions.shared.catalog import registry
from functions.shared.grant import TRUSTED
from functions.shared.identifier import derived_id
from functions.shared.postgres import TimeLimits
from functions.shared.timestamp import format_timestamp, months_before
from functions.sync.sync import Sync
from infra.cli import app
from infra.migrations.migrate import migrate
from tests.support.clock import NOW
from tests.support.consuming import Queues
from tests.support.graphql import ask, built
from tests.support.ways_in import token, ways_in

SECONDS = 60
RETENTION_MONTHS = 3
LIMITS = TimeLimits(statement=SECONDS, transaction=SECONDS)
USERNAME = "Zoë Café ☕"
BRANCH = 'café\'s \\ "ünïcode" {NULL} 🦊'
PLACE = {"path": "27/28/", "full_path": "gitlab-org/gitlab"}
# Days up to the twelfth may be taken for months, and the other way around.
FIRST_DAY = NOW.replace(day=1, hour=11, minute=12, second=13, microsecond=456789)
PERIOD = f'startDate: "{months_before(NOW, 2):%Y-%m-%d}", endDate: "{NOW:%Y-%m-%d}"'
PAGE = f"""{{
    namespace(fullPath: "gitlab-org/gitlab") {{
        aiUsageData {{ all({PERIOD}) {{ nodes {{ id timestamp user {{ id username }} namespacePath payload }} }} }}
        aiMetrics({PERIOD}) {{ codeSuggestions {{ codeSuggestionShownInIdeEventCount }} }}
    }}
}}"""
STORED = "SELECT id, timestamp, event, user_id, namespace_path, payload FROM ai_usage_events ORDER BY id"


def _event(number: int, timestamp: datetime, **attributes: Any) -> dict[str, Any]:
    return {
        "event": "code_suggestion_shown_in_ide",
        "id": str(derived_id(timestamp, "main path", number)),
        "timestamp": format_timestamp(timestamp),
        "user": {"id": 1, "username": USERNAME},
        "namespace": PLACE,
        "branch_name": BRANCH,
        "suggestion_size": number,
    } | attributes


EVENTS = [
    _event(1, FIRST_DAY),
    _event(2, months_before(FIRST_DAY, 1)),
    _event(3, FIRST_DAY, namespace={"id": 28}),
]

REJECTED = _event(4, FIRST_DAY, event="no_such_event")


def walk(
    administration: psycopg.Connection, session_url: str, pooled_url: str, clickhouse_url: str, queues: Queues
) -> None:
    """Goes the whole way on an empty database, and checks the result of each step.

    Args:
        administration: a connection without hostile settings, to read the database.
        session_url: URL for functions that need a session of their own.
        pooled_url: URL for the consumer and GraphQL.
    """
    migrate(session_url, registry.load(), RETENTION_MONTHS)
    assert migrate(session_url, registry.load(), RETENTION_MONTHS) == ["recorded 41 event types of release 1"]
    with ways_in(pooled_url) as ways:
        sender = {"Authorization": f"Bearer {token(namespaces=['*'], sub='1')}"}
        for attempt in ("new", "again", "and again"):
            status, answer = ways.post(json.dumps(EVENTS).encode(), sender)
            assert (status, answer["accepted"]) == (202, len(EVENTS))
            outcome = ways.consume_waiting()
            assert outcome.stored == (len(EVENTS) if attempt == "new" else 0)
            assert outcome.rejected == []
        ways.consume(json.dumps(REJECTED, ensure_ascii=False))
        _replay(ways.consumer, session_url, administration, queues)
    assert administration.execute(STORED).fetchall() == sorted(_expected(event) for event in EVENTS)
    assert administration.execute("SELECT username FROM users").fetchall() == [(USERNAME,)]
    sync = Sync(session_url, clickhouse_url)
    assert sync.run(SECONDS).rows == len(EVENTS)
    assert sync.run(SECONDS).rows == 0
    _compare(clickhouse_url)
    report = Retention(session_url, RETENTION_MONTHS, clickhouse_url).run(NOW, SECONDS)
    assert (report.made, report.dropped, report.failure) == ([], [], "")
    for url, source in ((None, "postgresql"), (clickhouse_url, "clickhouse")):
        _read(pooled_url, url, source)
    assert "caf" in _command(session_url, clickhouse_url, "rejected", "show", _rejected(administration))
    assert "table " in _command(session_url, clickhouse_url, "status")


def _replay(consumer: Any, session_url: str, administration: psycopg.Connection, queues: Queues) -> None:
    environment = {"QUEUE_URL": queues.url, "DATABASE_URL": session_url}
    with patch.dict(os.environ):
        result = CliRunner().invoke(app, ["rejected", "replay", "--since", f"{FIRST_DAY:%Y-%m-%d}"], env=environment)
    assert "1 event is on the queue again." in result.output, result.output
    queues.consume(consumer)
    assert administration.execute("SELECT attempts, body FROM rejected_events").fetchall() == [
        (2, json.dumps(REJECTED, ensure_ascii=False))
    ]


def _rejected(administration: psycopg.Connection) -> str:
    row = administration.execute("SELECT id FROM rejected_events LIMIT 1").fetchone()
    assert row is not None
    return str(row[0])


def _command(database_url: str, clickhouse_url: str, *arguments: str) -> str:
    environment = {"DATABASE_URL": database_url, "CLICKHOUSE_URL": clickhouse_url}
    with patch.dict(os.environ):
        result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def _payload(event: dict[str, Any]) -> dict[str, Any]:
    return {"branch_name": event["branch_name"], "suggestion_size": event["suggestion_size"]}


def _expected(event: dict[str, Any]) -> tuple[Any, ...]:
    return (UUID(event["id"]), datetime.fromisoformat(event["timestamp"]), 2, 1, PLACE["path"], _payload(event))


def _compare(clickhouse_url: str) -> None:
    with closing(clickhouse.connect(clickhouse_url, SECONDS)) as client:
        rows = client.query(
            "SELECT toString(id), toUnixTimestamp64Micro(timestamp), namespace_path, toJSONString(payload)"
            " FROM ai_usage_events FINAL ORDER BY toString(id)",
            settings=clickhouse.READ_SETTINGS,
        ).result_rows
    expected = [
        (event["id"], round(datetime.fromisoformat(event["timestamp"]).timestamp() * 1_000_000), PLACE["path"])
        for event in EVENTS
    ]
    assert [row[:3] for row in rows] == sorted(expected)
    payloads: Callable[[Any], str] = lambda payload: json.dumps(payload, sort_keys=True)  # noqa: E731
    assert sorted(payloads(json.loads(row[3])) for row in rows) == sorted(payloads(_payload(one)) for one in EVENTS)


def _read(pooled_url: str, clickhouse_url: str | None, source: str) -> None:
    with built(pooled_url, clickhouse_url=clickhouse_url) as handler:
        for _ in range(7):  # psycopg prepares what is executed more than five times
            data = ask(handler, PAGE)["namespace"]
            nodes = data["aiUsageData"]["all"]["nodes"]
            assert {node["id"] for node in nodes} == {event["id"] for event in EVENTS}
            assert {node["user"]["username"] for node in nodes} == {USERNAME}
            assert {node["payload"]["branch_name"] for node in nodes} == {BRANCH}
            times = {datetime.fromisoformat(node["timestamp"]) for node in nodes}
            assert times == {datetime.fromisoformat(event["timestamp"]) for event in EVENTS}
            assert data["aiMetrics"]["codeSuggestions"]["codeSuggestionShownInIdeEventCount"] == len(EVENTS)
        assert handler.stores.current(TRUSTED, Deadline(SECONDS)).name == source
