"""A table in ClickHouse that has no versions is made anew, with all history that only ClickHouse has."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from functions.graphql.handler import GraphqlHandler
from functions.graphql.store_router import StoreRouter
from functions.shared import clickhouse
from functions.shared.clickhouse import last_migration, target_of
from functions.sync import rebuild
from functions.sync.error import SyncError
from functions.sync.migrations import NEWEST
from functions.sync.report import Report
from functions.sync.sync import Sync
from tests.functional.test_declared_paths import AS_IT_WAS
from tests.functional.test_sync import LAST_MONTH, SECONDS, in_clickhouse, in_postgres, insert
from tests.support.clock import NOW

FORMER = UUID("01a20e35-f7ab-76fd-9619-988571e5939c")
HISTORY = datetime(2020, 1, 30, tzinfo=UTC)
HOURS = 72

COPY = "INSERT INTO ai_usage_events SELECT * FROM ai_usage_events"

FILL = """
    INSERT INTO ai_usage_events
    SELECT generateUUIDv4(), fromUnixTimestamp({start:UInt32}) + toIntervalMinute(30 * number), 6, 1, '27/', '{"n": 1}'
    FROM numbers(2 * {hours:UInt32})
"""

TABLES = """
    SELECT name
    FROM system.tables
    WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name <> 'ai_usage_sync_marks'
    ORDER BY name
"""


@pytest.fixture
def client(clickhouse_url: str) -> Iterator[Client]:
    with closing(clickhouse.connect(clickhouse_url, SECONDS)) as client:
        client.command(AS_IT_WAS)
        yield client


def fill(client: Client, start: datetime = HISTORY, hours: int = HOURS) -> None:
    """Stores two events an hour in the former table."""
    client.command(FILL, parameters={"start": int(start.timestamp()), "hours": hours})


def put(client: Client, timestamp: datetime, payload: str = "{}", event_id: UUID | None = None, user: int = 1) -> UUID:
    """Stores an event in the former table, as the sync of before did."""
    event_id = event_id or uuid4()
    values = {"id": event_id, "timestamp": timestamp, "user": user, "payload": payload}
    client.command(
        "INSERT INTO ai_usage_events SELECT {id:UUID}, {timestamp:DateTime64(6, 'UTC')}, 6, {user:UInt64}, '27/28/',"
        " {payload:String}",
        parameters=values,
    )
    return event_id


def known(connection: psycopg.Connection) -> None:
    """Makes PostgreSQL know the former table as one that has caught up."""
    connection.execute(
        "INSERT INTO sync_state (target, xact_id, id, updated_at, caught_up_at) VALUES (%s, '3', %s, now(), now())",
        [str(FORMER), UUID(int=1)],
    )


def history(client: Client) -> list[Any]:
    statement = "SELECT id, timestamp, user_id FROM ai_usage_events FINAL WHERE timestamp < '2021-01-01' ORDER BY ALL"
    return list(client.query(statement).result_rows)


def test_the_new_table_has_the_history_and_what_postgresql_says_now(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    fill(client)
    client.command(COPY)  # rows are there twice until their parts are merged
    updated, moved = insert(connection, {"n": 2}), insert(connection, namespace_path="1/")
    put(client, NOW, '{"n": 1}', updated)
    put(client, NOW, event_id=moved)
    put(client, LAST_MONTH)  # deleted in PostgreSQL, unseen
    before = history(client)
    known(connection)
    report = sync.run(SECONDS)
    assert (report.status, report.rows, report.history_rows, report.reason) == ("caught_up", 2, 2 * HOURS, "")
    assert history(client) == before
    assert [row for row in in_clickhouse(client) if row[1].year > 2020] == in_postgres(connection)
    assert target_of(client) not in (None, FORMER)
    assert last_migration(client) == NEWEST
    assert [name for (name,) in client.query(TABLES).result_rows] == ["ai_usage_events"]
    assert connection.execute("SELECT count(*) FROM sync_state").fetchone() == (1,)
    assert (sync.run(SECONDS).rows, history(client)) == (0, before)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["CREATE TABLE", "INSERT INTO", "MODIFY COMMENT", "EXCHANGE", "VIEW", "DROP TABLE"])
def test_a_migration_that_stops_anywhere_is_continued_by_the_next_run(
    step: str, when: str, sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "MAX_ROWS_AT_ONCE", 60)
    fill(client)
    insert(connection)
    before = history(client)
    command = type(client).command

    def fail(own: Client, statement: str, *arguments: Any, **options: Any) -> Any:
        if step in statement and when == "before":
            raise ClickHouseError("the connection is gone")
        answer = command(own, statement, *arguments, **options)
        if step in statement:
            raise ClickHouseError("the connection is gone")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(type(client), "command", fail)
        with pytest.raises(ClickHouseError, match="is gone"):
            sync.run(SECONDS)
    assert sync.run(SECONDS).status == "caught_up"
    assert history(client) == before
    assert len(in_clickhouse(client)) == len(before) + 1
    assert [name for (name,) in client.query(TABLES).result_rows] == ["ai_usage_events"]
    assert client.query("SELECT count() FROM ai_usage_events_current").result_rows == [(len(before) + 1,)]


def test_a_migration_goes_on_run_after_run_and_says_how_far_it_is(
    database_url: str,
    clickhouse_url: str,
    connection: psycopg.Connection,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rebuild, "MAX_ROWS_AT_ONCE", 50)
    fill(client)
    before = history(client)
    seen: list[str] = []

    def progress(report: Report) -> None:
        seen.append(report.reason)

    sync = Sync(database_url, clickhouse_url, progress=progress)
    known(connection)
    reports = []
    with monkeypatch.context() as patched:
        for _ in range(2):
            count = len(seen)
            clock = SimpleNamespace(monotonic=lambda count=count: 0 if len(seen) == count else 1000)
            patched.setattr(rebuild, "time", clock)
            patched.setattr("functions.sync.sync.time", SimpleNamespace(monotonic=lambda: 0))
            reports.append(sync.run(10))
    assert [(report.status, report.history_rows) for report in reports] == [("migrating", 50), ("migrating", 46)]
    assert connection.execute("SELECT count(*) FROM sync_state WHERE caught_up_at IS NOT NULL").fetchone() == (0,)
    assert seen[0] == "the table in ClickHouse is made anew: copying the history of 2020-01"
    with pytest.raises(SyncError, match="made anew first"):
        sync.replay(SECONDS)
    assert sync.run(SECONDS).status == "caught_up"
    assert seen[2].endswith("2020-02")
    assert history(client) == before


def test_readers_use_postgresql_until_the_new_table_has_caught_up(
    sync: Sync, api: GraphqlHandler, clickhouse_url: str, connection: psycopg.Connection, client: Client
) -> None:
    known(connection)
    assert not StoreRouter(api.database, clickhouse_url)._check(clickhouse_url)
    sync.run(SECONDS)
    assert StoreRouter(api.database, clickhouse_url)._check(clickhouse_url)


@pytest.mark.parametrize(
    ("payload", "project"),
    [
        ('{"project_id": 4}', 4),
        ('{"project_id": "4"}', 4),
        ('{"project_id": 9223372036854775807}', 2**63 - 1),
        ('{"project_id": 9223372036854775808}', 0),
        ('{"project_id": "9999999999999999999"}', 0),
        ('{"project_id": -4}', 0),
        ('{"project_id": 0}', 0),
        ('{"project_id": 4.5}', 0),
        ('{"project_id": "four"}', 0),
        ('{"project_id": [4]}', 0),
        ('{"project_id": {"a": 4}}', 0),
        ('{"project_id": true}', 0),
        ("{}", 0),
    ],
)
def test_history_gets_its_project_from_the_payload(payload: str, project: int, sync: Sync, client: Client) -> None:
    put(client, HISTORY, payload)
    sync.run(SECONDS)
    found = client.query("SELECT project_id, version, is_deleted FROM ai_usage_events FINAL").result_rows
    assert found == [(project, 0, 0)]


def test_an_engine_without_exchange_renames_also_after_a_stop_in_the_middle(
    sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)
    before = history(client)
    command = type(client).command

    def refuse(own: Client, statement: str, *arguments: Any, **options: Any) -> Any:
        if statement.startswith("EXCHANGE"):
            raise DatabaseError("not implemented", code=48)
        if statement.startswith("RENAME"):
            command(own, "RENAME TABLE ai_usage_events TO ai_usage_events_rebuilt_former")
            raise ClickHouseError("the connection is gone")
        return command(own, statement, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(client), "command", refuse)
        with pytest.raises(ClickHouseError, match="is gone"):
            sync.run(SECONDS)
    assert sync.run(SECONDS).status == "caught_up"
    assert history(client) == before
    assert [name for (name,) in client.query(TABLES).result_rows] == ["ai_usage_events"]


def test_columns_of_paths_that_nobody_declares_any_more_stay(
    database_url: str, clickhouse_url: str, client: Client
) -> None:
    client.command("ALTER TABLE ai_usage_events ADD COLUMN `payload/old` Dynamic MATERIALIZED payload.old")
    put(client, HISTORY, '{"old": 3}')
    Sync(database_url, clickhouse_url, declared=[("new",)]).run(SECONDS)
    assert clickhouse.declared_paths(client) == {("old",), ("new",)}
    assert client.query("SELECT `payload/old` FROM ai_usage_events FINAL").result_rows == [(3,)]


def test_history_that_was_copied_in_part_is_completed(
    sync: Sync, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)
    before = history(client)

    def copy_half(own: rebuild.Rebuild, start: int, end: int) -> None:
        copy(own, start, (start + end) // 2 + 1000)
        raise ClickHouseError("the connection is gone")

    copy = rebuild.Rebuild._copy
    with monkeypatch.context() as patched:
        patched.setattr(rebuild.Rebuild, "_copy", copy_half)
        with pytest.raises(ClickHouseError, match="is gone"):
            sync.run(SECONDS)
    sync.run(SECONDS)
    assert history(client) == before
