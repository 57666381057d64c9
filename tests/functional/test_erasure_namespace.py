"""Everything of a customer that leaves is gone, and nothing of others."""

import os
from contextlib import closing
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from typer.testing import CliRunner, Result

from functions.ingest.consumer_handler import ConsumerHandler
from functions.shared import clickhouse
from infra.cli import app
from infra.operations.erasure.clickhouse import delete_events
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from tests.support.consuming import consume
from tests.support.erasing import SECONDS, Stores, chat, message, unknown

BEFORE = timedelta(minutes=1)

TEAM = {"namespace": {"path": "27/28/", "full_path": "acme/team"}, "project": {"id": 4, "full_path": "acme/team/app"}}
ROOT = {"namespace": {"path": "27/", "full_path": "acme"}}
OTHERS = {"namespace": {"path": "271/", "full_path": "others"}, "project": {"id": 9, "full_path": "others/app"}}
BY_PROJECT = {"event": "request_duo_chat_response", "user_id": 7, "project_id": 4}

PATHS = "SELECT namespace_path, count(*) FROM ai_usage_events GROUP BY 1 ORDER BY 1"

# As design gives it: rows with a version and a mark of removal.
VERSIONED = """
    CREATE TABLE ai_usage_events (
        id UUID, timestamp DateTime64(6, 'UTC'), event UInt16, user_id UInt64, namespace_path String,
        project_id UInt64, payload JSON, version UInt64, is_deleted UInt8
    )
    ENGINE = ReplacingMergeTree(version, is_deleted)
    PARTITION BY toYYYYMM(timestamp)
    ORDER BY (namespace_path, event, timestamp, id)
"""


@pytest.fixture
def stores(connection: psycopg.Connection, consumer: ConsumerHandler, database_url: str, clickhouse_url: str) -> Stores:
    return Stores(connection, consumer, database_url, clickhouse_url)


def run(stores: Stores, *arguments: str) -> Result:
    urls = {"DATABASE_URL": stores.database_url, "CLICKHOUSE_URL": stores.clickhouse_url}
    with patch.dict(os.environ):
        return CliRunner().invoke(app, ["namespace", *arguments], env=urls)


def rows(stores: Stores, statement: str) -> list[Any]:
    return stores.connection.execute(statement).fetchall()


def test_nothing_of_an_erased_namespace_is_left_and_everything_of_others(stores: Stores) -> None:
    stores.consume(
        chat(5, **TEAM), chat(5, **ROOT), chat(6, **OTHERS), chat(8, **TEAM), chat(8), chat(9, **OTHERS),
        unknown(5) | TEAM, unknown(5) | {"project_id": 4}, unknown(6) | OTHERS, unknown(6),
    )  # fmt: skip
    stores.sync()
    others = rows(stores, "SELECT event::text FROM ai_usage_events AS event WHERE user_id IN (6, 9) ORDER BY id")
    result = run(stores, "erase", "27/", "--yes")
    assert result.exit_code == 0, result.output
    assert "3 events" in result.output
    assert rows(stores, PATHS) == [("271/", 2), (None, 1)]
    assert (
        rows(stores, "SELECT event::text FROM ai_usage_events AS event WHERE user_id IN (6, 9) ORDER BY id") == others
    )
    assert rows(stores, "SELECT body::jsonb ->> 'project_id' FROM rejected_events") == [(None,), (None,)]
    assert rows(stores, "SELECT user_id, namespace_path FROM user_names ORDER BY 1, 2") == [
        (6, "271/"), (8, ""), (9, "271/"),
    ]  # fmt: skip
    assert rows(stores, "SELECT id, username FROM users ORDER BY 1") == [
        (5, None), (6, "name-6"), (8, "name-8"), (9, "name-9"),
    ]  # fmt: skip
    assert rows(stores, "SELECT id, full_path FROM namespaces") == [(271, "others")]
    assert rows(stores, "SELECT id, full_path FROM projects") == [(9, "others/app")]
    assert rows(stores, "SELECT DISTINCT kind, id FROM facts ORDER BY 1, 2") == [("namespace", 271), ("project", 9)]
    assert rows(stores, "SELECT count(*) FROM removed_keys") == [(0,)]
    with closing(clickhouse.connect(stores.clickhouse_url, SECONDS)) as client:
        statement = "SELECT namespace_path, count() FROM ai_usage_events FINAL GROUP BY 1 ORDER BY 1"
        assert client.query(statement).result_rows == [("", 1), ("271/", 2)]


def test_late_events_of_an_erased_namespace_are_not_stored_and_state_nothing(stores: Stores) -> None:
    stores.consume(chat(5, **TEAM))
    erased = Eraser(stores.database_url).erase(Subject("namespace", "27/"), "a test")
    late = message(
        [chat(5, **TEAM), BY_PROJECT, unknown(5) | TEAM, chat(6, **OTHERS), chat(7)], erased.requested_at - BEFORE
    )
    assert consume(stores.consumer, late) == []
    assert rows(stores, PATHS) == [("271/", 1), (None, 1)]
    assert rows(stores, "SELECT count(*) FROM rejected_events") == [(0,)]
    assert rows(stores, "SELECT id FROM namespaces") == [(271,)]
    assert rows(stores, "SELECT id FROM projects") == [(9,)]
    again = Eraser(stores.database_url).erase(Subject("namespace", "27/"), "a test")
    assert again.counts == {}
    assert consume(stores.consumer, message([BY_PROJECT], again.requested_at - BEFORE)) == []
    assert consume(stores.consumer, message([chat(5, **TEAM)])) == []
    assert rows(stores, PATHS) == [("27/28/", 1), ("271/", 1), (None, 1)]
    assert rows(stores, "SELECT id, full_path FROM projects ORDER BY 1") == [(4, "acme/team/app"), (9, "others/app")]


def test_another_namespace_gets_the_full_path_that_the_erased_one_held(stores: Stores) -> None:
    older = {"namespace": {"path": "30/", "full_path": "acme"}}
    stores.consume(chat(5, **older), sent_at=None)
    stores.consume(chat(5, **ROOT))
    assert rows(stores, "SELECT id, full_path FROM namespaces ORDER BY 1") == [(27, "acme"), (30, None)]
    Eraser(stores.database_url).erase(Subject("namespace", "27/"), "a test")
    assert rows(stores, "SELECT id, full_path FROM namespaces ORDER BY 1") == [(30, "acme")]


@pytest.mark.parametrize("path", ["27", "acme/", "/", "27/x/", "*"])
def test_a_namespace_to_erase_is_named_by_its_ids(path: str, stores: Stores) -> None:
    result = run(stores, "erase", path, "--yes")
    assert result.exit_code == 2
    assert "is not like 27/28/" in " ".join(result.output.split())


def test_older_versions_of_an_erased_event_go_too(clickhouse_url: str) -> None:
    moved_in, moved_out = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"
    removed, others = "00000000-0000-7000-8000-000000000003", "00000000-0000-7000-8000-000000000004"
    stored = [
        (moved_in, 5, "30/", 1, 0), (moved_in, 0, "30/", 2, 1), (moved_in, 5, "27/", 2, 0),
        (moved_out, 5, "27/", 1, 0), (moved_out, 0, "27/", 2, 1), (moved_out, 5, "30/", 2, 0),
        (removed, 5, "30/", 1, 0), (removed, 0, "30/", 2, 1), (removed, 0, "27/", 3, 1),
        (others, 6, "30/", 1, 0),
    ]  # fmt: skip
    with closing(clickhouse.connect(clickhouse_url, SECONDS)) as client:
        client.command(VERSIONED)
        for identifier, user, path, version, is_deleted in stored:
            client.command(
                "INSERT INTO ai_usage_events VALUES"
                f" ('{identifier}', '2026-11-20 12:00:00', 6, {user}, '{path}', 0, '{{}}', {version}, {is_deleted})"
            )
        delete_events(client, Subject("namespace", "27/"), [], None, SECONDS)
        left = client.query("SELECT toString(id), namespace_path FROM ai_usage_events ORDER BY id, namespace_path")
    assert left.result_rows == [(moved_out, "30/"), (others, "30/")]
