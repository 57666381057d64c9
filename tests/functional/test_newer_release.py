"""This release after a newer one was deployed: every function leaves alone what only the newer one knows."""

import json
import os
from pathlib import Path
from unittest.mock import patch
from uuid import UUID

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from functions.retention.retention import Retention
from functions.shared.catalog import registry
from functions.shared.clickhouse import columns_of, target_of
from functions.shared.postgres import TimeLimits, connect
from functions.sync import migrations
from functions.sync.analysis import Analysis
from functions.sync.migrations import NEWEST
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from infra.cli import app
from infra.migrations import last_release
from infra.migrations.budget import LOCK_SECONDS, TimeBudget
from infra.migrations.migrate import migrate
from infra.migrations.schema import FOLDER, Schema
from tests.support.clock import NOW
from tests.support.graphql import Insert, ask, built
from tests.support.newer_release import EVENT, EVENT_ID, REVISION, with_newer_migration
from tests.support.ways_in import WaysIn

SECONDS = 60
LIMITS = TimeLimits(statement=SECONDS, transaction=SECONDS)
OWN = {"event": "request_duo_chat_response", "user_id": 1, "timestamp": NOW.isoformat()}
NEW = {"event": EVENT, "user_id": 1, "timestamp": NOW.isoformat()}
INTERNAL = NEW | {"additional_properties": {"channel_name": "a"}}
PERIOD = f'startDate: "{NOW:%Y-%m-%d}", endDate: "{NOW:%Y-%m-%d}"'
PAGE = f"{{ aiInstanceUsageData {{ all({PERIOD}) {{ nodes {{ id event }} }} }} }}"
CODES = "SELECT code, body FROM rejected_events"
COMMANDS = [
    ("status",),
    ("definitions", "check"),
    ("definitions", "diff"),
    ("retention", "--dry-run"),
    ("rejected", "list"),
    ("verify",),
    ("sync",),
    ("migrate",),
]


@pytest.fixture
def after_rollback(database_url: str, connection: psycopg.Connection, tmp_path: Path) -> None:
    """Makes the database one that a newer release was deployed to."""
    folder = with_newer_migration(FOLDER, tmp_path / "migrations")
    with (
        connect(database_url, LIMITS) as own,
        connect(database_url, LIMITS, f"-c lock_timeout={LOCK_SECONDS}s") as other,
    ):
        list(Schema(own, folder).upgrade(other, TimeBudget(SECONDS)))
    connection.execute("INSERT INTO releases (number, digest) VALUES (2, 'newer')")
    connection.execute("INSERT INTO event_types VALUES (%s, %s, 'channels', false, 2)", [EVENT_ID, EVENT])
    connection.execute("INSERT INTO payload_keys VALUES ('channels', 'channel_name', 'str', false, 2)")


def test_a_deployment_says_what_it_leaves_alone(
    after_rollback: None, database_url: str, connection: psycopg.Connection, insert: Insert
) -> None:
    insert(event=EVENT_ID)
    before = connection.execute("SELECT * FROM event_types ORDER BY id").fetchall()
    assert migrate(database_url, registry.load(), 3) == [
        f"left the schema as a newer release made it: this release does not know the migration {REVISION}",
        f"left alone, because release 2 is newer: event {EVENT} ({EVENT_ID})",
        "recorded 41 event types of release 1",
    ]
    assert connection.execute("SELECT * FROM event_types ORDER BY id").fetchall() == before


def test_events_of_this_release_are_stored_and_those_of_the_newer_one_kept(
    after_rollback: None, ways: WaysIn, connection: psycopg.Connection
) -> None:
    assert ways.consume(json.dumps(OWN)).stored == 1
    outcome = ways.consume(json.dumps([NEW, INTERNAL, INTERNAL | {"event": "no_such_event"}, OWN]))
    assert (outcome.stored, outcome.ignored, len(outcome.rejected)) == (1, 1, 2)
    rejected = connection.execute(CODES).fetchall()
    assert [code for code, _ in rejected] == ["unknown_event"] * 2
    assert {"additional_properties" in json.loads(body) for _, body in rejected} == {False, True}


def test_both_stores_keep_and_readers_leave_out_events_of_the_newer_release(
    after_rollback: None,
    database_url: str,
    clickhouse_url: str,
    client: Client,
    connection: psycopg.Connection,
    insert: Insert,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sync = Sync(database_url, clickhouse_url)
    sync.run(SECONDS)
    target = target_of(client)
    assert isinstance(target, UUID)
    client.command("ALTER TABLE ai_usage_events ADD COLUMN channel String")
    client.command("CREATE VIEW events_channels AS SELECT 1 AS one COMMENT 'made by the sync, version 0'")
    migrations.record(client, None, target, NEWEST + 1)
    own, _ = insert(event=6), insert(event=EVENT_ID, channel_name="a")
    assert sync.run(SECONDS).rows == 2
    assert f"does not know migration {NEWEST + 1}" in caplog.text
    Rollups(database_url, clickhouse_url).run(SECONDS)
    Analysis(database_url, clickhouse_url).run(SECONDS)
    assert "channel" in columns_of(client, "ai_usage_events")
    assert columns_of(client, "events_channels")
    report = Retention(database_url, 3, clickhouse_url).run(NOW, SECONDS)
    assert (report.made, report.dropped, report.failure) == ([], [], "")
    for url in (None, clickhouse_url):
        with built(database_url, clickhouse_url=url) as handler:
            page = ask(handler, PAGE)["aiInstanceUsageData"]["all"]["nodes"]
            assert page == [{"id": own, "event": "REQUEST_DUO_CHAT_RESPONSE"}]
    for command in COMMANDS:
        assert_works(command, database_url, clickhouse_url)
    assert target_of(client) == target
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (REVISION,)


def assert_works(command: tuple[str, ...], database_url: str, clickhouse_url: str) -> None:
    environment = {"DATABASE_URL": database_url, "CLICKHOUSE_URL": clickhouse_url}
    with patch.dict(os.environ):
        result = CliRunner().invoke(app, command, env=environment)
    assert result.exit_code == 0, (command, result.output)


# The columns that functions of the last release name, and the types that they rely on.
USED = {
    "id": "UUID",
    "timestamp": "DateTime64(6, 'UTC')",
    "event": "UInt16",
    "user_id": "UInt64",
    "namespace_path": "String",
    "project_id": "UInt64",
    "payload": "JSON",
    "version": "UInt64",
    "is_deleted": "UInt8",
}
SHAPE = """
    SELECT sorting_key, partition_key, engine
    FROM system.tables
    WHERE database = currentDatabase() AND name = 'ai_usage_events'
"""
REQUIRED = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'ai_usage_events'"


def test_the_table_in_clickhouse_has_what_the_last_release_uses(
    sync: Sync, client: Client, connection: psycopg.Connection
) -> None:
    sync.run(SECONDS)
    columns = {name: kind for name, kind in client.query(REQUIRED).result_rows}  # noqa: C416 - mypy knows no pairs here
    assert {name: kind for name, kind in USED.items() if name not in last_release.UNUSED}.items() <= columns.items()
    assert client.query(SHAPE).result_rows == [
        ("namespace_path, event, timestamp, id", "toYYYYMM(timestamp)", "ReplacingMergeTree")
    ]
    numbers = [migration.number for migration in migrations.MIGRATIONS]
    assert numbers == list(range(2, NEWEST + 1))
    assert last_release.CLICKHOUSE_MIGRATION <= NEWEST
