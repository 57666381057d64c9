"""An export has each event of both stores once, with names, payloads and rejected events."""

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from typer.testing import CliRunner

from functions.ingest.consumer_handler import ConsumerHandler
from functions.shared.catalog import registry
from infra.cli import app
from infra.operations.erasure.export import Exporter
from infra.operations.erasure.subject import Subject
from tests.support.erasing import MARKER, OTHER, USER, Stores, chat, unknown

TEAM = {"namespace": {"path": "27/28/", "full_path": "acme/team"}, "project": {"id": 4, "full_path": "acme/team/app"}}
MANY, MAX_BYTES = (100_000, 30_000_000) if os.environ.get("SOAK") else (6000, 12_000_000)


@pytest.fixture
def stores(connection: psycopg.Connection, consumer: ConsumerHandler, database_url: str, clickhouse_url: str) -> Stores:
    return Stores(connection, consumer, database_url, clickhouse_url)


def export(stores: Stores, kind: str, name: str, *arguments: str, **settings: str) -> Any:
    urls = {"DATABASE_URL": stores.database_url, "CLICKHOUSE_URL": stores.clickhouse_url}
    with patch.dict(os.environ):
        return CliRunner().invoke(app, [kind, "export", name, *arguments], env=urls | settings)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_export_has_each_event_of_both_stores_once(stores: Stores, tmp_path: Path) -> None:
    stores.fill(300, 50, 3)
    stores.connection.execute("UPDATE ai_usage_events SET payload = '{\"a.b\": [1, 2.5]}' WHERE project_id = 1")
    stores.connection.execute("DELETE FROM ai_usage_events WHERE user_id = 5 AND namespace_path IS NULL")
    expected = stores.connection.execute(
        "SELECT id::text, timestamp, user_id, namespace_path, project_id, payload FROM ai_usage_events"
        " WHERE user_id = 5 ORDER BY timestamp, id"
    ).fetchall()
    file = tmp_path / "user.ndjson"
    result = export(stores, "user", str(USER), "--output", str(file), "--by", "privacy desk")
    assert result.exit_code == 0, result.output
    assert file.stat().st_mode & 0o777 == 0o600
    found = lines(file.read_text())
    events = [line for line in found if line["record"] == "event"]
    assert [line["id"] for line in events[: len(expected)]] == [row[0] for row in expected]
    assert [line["payload"] for line in events[: len(expected)]] == [row[5] for row in expected]
    only_there = events[len(expected) :]
    assert len(only_there) == 50
    assert len({line["id"] for line in events}) == len(events)
    assert all(line["user_id"] == USER and line["event"] == "request_duo_chat_response" for line in events)
    assert all(MARKER in line["payload"]["language"] for line in only_there)
    assert {line["namespace_path"] for line in only_there} == {"27/1/", "27/2/", None}
    names = [line for line in found if line["record"] == "name"]
    assert [(line["namespace_path"], line["username"]) for line in names] == [(None, "name-5"), ("27/1/", "name-5")]
    assert [line["username"] for line in found if line["record"] == "user"] == ["name-5"]
    rejected = [line for line in found if line["record"] == "rejected_event"]
    assert [json.loads(line["body"])["secret"] for line in rejected] == [MARKER] * 3
    counts = {"events": len(events), "names": 3, "namespaces and projects": 0, "daily counts": 0, "rejected events": 3}
    recorded = "SELECT kind, subject, requested_by, counts, finished_at IS NOT NULL FROM exports"
    assert stores.connection.execute(recorded).fetchall() == [("user", "5", "privacy desk", counts, True)]


def test_an_export_without_a_file_is_printed_and_may_be_repeated(stores: Stores) -> None:
    stores.consume(chat(), chat(OTHER), unknown(), "{}")
    results = [export(stores, "user", "5", CLICKHOUSE_URL="") for _ in range(2)]
    assert results[0].stdout == results[1].stdout
    assert [line["record"] for line in lines(results[0].stdout)] == ["event", "user", "name", "rejected_event"]
    assert "Exported: 1 event, 2 names" in results[0].stderr


def test_the_export_of_a_namespace_has_what_lies_within(stores: Stores) -> None:
    stores.consume(chat(5, **TEAM), chat(6), unknown(6) | TEAM, unknown(6))
    stores.sync()
    found = lines(export(stores, "namespace", "27/").stdout)
    assert [line["record"] for line in found] == [
        "event",
        "name",
        "namespace",
        "namespace",
        "project",
        "usage",
        "rejected_event",
    ]
    assert (found[5]["tenant"], found[5]["events"], found[5]["stored"]) == ("27/", 1, 1)
    assert [line["id"] for line in found[2:5]] == [27, 28, 4]
    assert {fact["value"] for fact in found[4]["facts"]} == {"27/28/", "acme/team/app"}


def test_the_export_of_a_namespace_below_a_root_has_no_daily_counts(stores: Stores) -> None:
    stores.consume(chat(5, **TEAM))
    found = lines(export(stores, "namespace", "27/28/", CLICKHOUSE_URL="").stdout)
    assert [line["record"] for line in found] == ["event", "name", "namespace", "project"]


def test_an_export_of_many_events_takes_little_memory(stores: Stores) -> None:
    stores.fill(MANY, 2000, 1)

    class Sink:
        size = 0

        def write(self, line: bytes) -> None:
            self.size += len(line)

    sink: Any = Sink()
    told = list[str]()
    exporter = Exporter(stores.database_url, registry.load(), stores.clickhouse_url, told.append)
    tracemalloc.start()
    counts = exporter.export(Subject("user", str(USER)), "a test", sink)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts["events"] == MANY + 2002
    assert peak < MAX_BYTES
    assert sink.size > counts["events"] * 200
    assert len(told) == sum(counts.values()) // 10_000
