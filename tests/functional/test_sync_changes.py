"""What is updated, moved and deleted in PostgreSQL is so in ClickHouse too."""

from contextlib import closing
from datetime import timedelta
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg.types.json import Jsonb

from functions.shared import clickhouse
from functions.shared.sync_state import BEGINNING, read_watermark
from functions.sync import sync as sync_module
from functions.sync import table
from functions.sync.chunks import copied_rows
from functions.sync.error import SyncError
from functions.sync.sync import Sync
from tests.functional.test_sync import LARGE, LAST_MONTH, SECONDS, in_clickhouse, in_postgres, insert
from tests.support.clock import NOW

MOVE = "UPDATE ai_usage_events SET namespace_path = %s WHERE id = %s"
DELETE = "DELETE FROM ai_usage_events WHERE id = %s"

# Restored rows keep the numbers of the transactions that wrote them in another server.
AS_RESTORED = "SET session_replication_role = replica"


def waiting(connection: psycopg.Connection) -> int:
    """How many removed keys wait for the sync."""
    (count,) = connection.execute("SELECT count(*) FROM removed_keys").fetchone() or (0,)
    return int(count)


def test_deleted_and_updated_rows_are_so_in_clickhouse(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    updated, deleted, same = (insert(connection, {"n": number}) for number in range(3))
    sync.run(SECONDS)
    connection.execute("UPDATE ai_usage_events SET payload = %s WHERE id = %s", [Jsonb({"n": 7}), updated])
    connection.execute(DELETE, [deleted])
    report = sync.run(SECONDS)
    assert (report.rows, report.removed_keys) == (1, 1)
    assert in_clickhouse(client) == in_postgres(connection)
    assert {row[0] for row in in_clickhouse(client)} == {updated, same}
    assert waiting(connection) == 0
    sync.reset(SECONDS)
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)


CHANGES: dict[str, dict[str, Any]] = {
    "payload": {"payload": Jsonb({"n": 2})},
    "user": {"user_id": 9},
    "project": {"project_id": 4},
    "namespace": {"namespace_path": "27/"},
    "no_namespace": {"namespace_path": None},
    "event": {"event": 7},
    "time": {"timestamp": NOW - timedelta(seconds=1)},
    "month": {"timestamp": LAST_MONTH},
    "id": {"id": UUID(int=5)},
    "all": {"id": UUID(int=5), "timestamp": LAST_MONTH, "event": 7, "namespace_path": None, "user_id": 2},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_whatever_is_updated_replaces_the_row_and_so_does_the_way_back(
    changes: dict[str, Any], sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    row = {"id": UUID(int=4), "timestamp": NOW, "event": 6, "user_id": 1, "namespace_path": "27/28/"}
    first = {"project_id": None, "payload": Jsonb({"n": 1})} | row
    insert(connection, {"n": 1}, **row)
    sync.run(SECONDS)
    for values in (changes, first, changes, first):
        assignments = ", ".join(f"{name} = %s" for name in values)
        connection.execute(f"UPDATE ai_usage_events SET {assignments}", list(values.values()))
        sync.run(SECONDS)
        assert in_clickhouse(client) == in_postgres(connection)
    client.command("OPTIMIZE TABLE ai_usage_events FINAL")
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_row_that_moves_and_comes_back_between_two_runs_is_where_it_was(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    event_id = insert(connection)
    sync.run(SECONDS)
    for path in ("1/", "2/", "27/28/", "2/", "27/28/"):
        connection.execute(MOVE, [path, event_id])
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)
    with connection.transaction():
        connection.execute(MOVE, ["1/", event_id])
        connection.execute(MOVE, ["27/28/", event_id])
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)
    assert waiting(connection) == 0


def test_a_deleted_row_that_is_inserted_again_is_there(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    event_id = insert(connection, {"n": 1})
    sync.run(SECONDS)
    connection.execute(DELETE, [event_id])
    insert(connection, {"n": 2}, id=event_id)
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)


def test_an_older_transaction_that_changes_a_row_last_has_the_last_word(
    sync: Sync, connection: psycopg.Connection, client: Client, database_url: str
) -> None:
    event_id = insert(connection, {"n": 0})
    sync.run(SECONDS)
    with psycopg.connect(database_url) as older:
        insert(older)  # gives it a transaction number
        connection.execute(MOVE, ["1/", event_id])
        connection.execute("UPDATE ai_usage_events SET payload = %s WHERE id = %s", [Jsonb({"n": 1}), event_id])
        sync.run(SECONDS)
        older.execute(MOVE, ["27/28/", event_id])
        older.execute("UPDATE ai_usage_events SET payload = %s WHERE id = %s", [Jsonb({"n": 2}), event_id])
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_moved_event_is_seen_exactly_once_after_each_insert(
    database_url: str,
    clickhouse_url: str,
    connection: psycopg.Connection,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sync = Sync(database_url, clickhouse_url, chunk_bytes=1)
    ids = [insert(connection, {"a": LARGE if number % 2 else [0.5]}) for number in range(6)]
    sync.run(SECONDS)
    with connection.transaction():
        connection.execute("UPDATE ai_usage_events SET namespace_path = '1/'")
    insert(connection)
    for event_id in ids[:4]:
        connection.execute("UPDATE ai_usage_events SET user_id = 2 WHERE id = %s", [event_id])
    for event_id in ids[:2]:
        connection.execute(MOVE, ["2/", event_id])
    seen: list[int] = []
    insert_block = table._insert

    def insert_and_look(*arguments: Any) -> None:
        insert_block(*arguments)
        found = client.query("SELECT id FROM ai_usage_events FINAL WHERE id IN {ids:Array(UUID)}", {"ids": ids})
        seen.append(len(found.result_rows))

    monkeypatch.setattr(table, "_insert", insert_and_look)
    sync.run(SECONDS)
    assert set(seen) == {6}
    assert len(seen) > 6
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_reader_beside_the_sync_sees_each_moved_event_exactly_once(
    database_url: str, clickhouse_url: str, connection: psycopg.Connection, client: Client
) -> None:
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
        " SELECT gen_random_uuid(), %s, 6, number %% 50, '27/28/', '{}' FROM generate_series(1, 5000) AS number",
        [NOW],
    )
    Sync(database_url, clickhouse_url).run(SECONDS)
    done, seen = Event(), set[tuple[int, int]]()

    def read() -> None:
        with closing(clickhouse.connect(clickhouse_url, SECONDS)) as reader:
            while not done.is_set():
                statement = "SELECT count(), uniqExact(id) FROM ai_usage_events FINAL"
                ((rows, events),) = reader.query(statement).result_rows
                seen.add((rows, events))

    reader = Thread(target=read)
    reader.start()
    try:
        for path in ("1/", "2/", "27/28/"):
            connection.execute("UPDATE ai_usage_events SET namespace_path = %s", [path])
            connection.execute("UPDATE ai_usage_events SET namespace_path = '5/' WHERE user_id < 10")
            Sync(database_url, clickhouse_url, chunk_bytes=50_000).run(SECONDS)
    finally:
        done.set()
        reader.join()
    assert seen == {(5000, 5000)}
    assert in_clickhouse(client) == in_postgres(connection)


def test_one_insert_becomes_one_part(sync: Sync, connection: psycopg.Connection, client: Client) -> None:
    sync.run(SECONDS)
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
        " SELECT gen_random_uuid(), %s, 6, 1, '{}' FROM generate_series(1, 2000)",
        [NOW],
    )
    with copied_rows(connection, 1, BEGINNING, read_watermark(connection)) as stream:
        rows = stream.take(10_000)
    table.insert(client, rows)
    parts = "SELECT rows FROM system.parts WHERE database = currentDatabase() AND level = 0"  # also merged ones
    assert client.query(parts).result_rows == [(2000,)]


@pytest.mark.parametrize("stored", [False, True])
def test_a_run_that_ends_before_the_cursor_has_moved_is_repeated_without_harm(
    stored: bool, sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, deleted, other = (insert(connection, {"n": number}) for number in range(3))
    sync.run(SECONDS)

    def fail(*arguments: Any) -> None:
        if stored:
            table.insert(*arguments)
        raise ClickHouseError("the connection is gone")

    for path in ("1/", "2/", "1/", "27/28/"):
        connection.execute(MOVE, [path, moved])
        connection.execute(DELETE, [deleted])
        with monkeypatch.context() as patched:
            patched.setattr(sync_module, "insert", fail)
            with pytest.raises(ClickHouseError, match="is gone"):
                sync.run(SECONDS)
        insert(connection, {"n": path}, id=deleted)
        connection.execute("UPDATE ai_usage_events SET user_id = user_id + 1 WHERE id = %s", [other])
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)
    assert waiting(connection) == 0


def test_a_postgresql_with_lower_transaction_numbers_wins_over_older_copies(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    updated, deleted = insert(connection, {"n": 1}), insert(connection)
    sync.run(SECONDS)
    connection.execute("DELETE FROM sync_state")  # as a dump of before has none
    connection.execute(AS_RESTORED)
    connection.execute("UPDATE ai_usage_events SET payload = %s, xact_id = '3'", [Jsonb({"n": 2})])
    connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [deleted])
    connection.execute("RESET session_replication_role")
    insert(connection, id=deleted, namespace_path="1/")
    connection.execute(DELETE, [deleted])
    sync.run(SECONDS)
    assert [(row[0], row[5]) for row in in_clickhouse(client) if row[0] == updated] == [(updated, {"n": 2})]
    epochs = "SELECT epoch FROM sync_state"
    assert connection.execute(epochs).fetchone() == (2,)
    sync.reset(SECONDS)
    sync.run(SECONDS)
    assert connection.execute(epochs).fetchone() == (3,)
    assert sync.run(SECONDS).rows == 0


def test_removed_keys_stay_until_each_known_table_of_clickhouse_has_them(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    deleted = insert(connection)
    sync.run(SECONDS)
    client.command("RENAME TABLE ai_usage_events TO other_table")
    sync.run(SECONDS)
    connection.execute(DELETE, [deleted])
    sync.run(SECONDS)
    assert in_clickhouse(client) == []
    assert waiting(connection) == 1
    client.command("EXCHANGE TABLES ai_usage_events AND other_table")
    sync.run(SECONDS)
    assert in_clickhouse(client) == []
    assert waiting(connection) == 0


def test_a_removed_key_of_another_server_stops_the_sync_until_it_is_reset(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    kept, deleted = insert(connection), insert(connection)
    sync.run(SECONDS)
    connection.execute(DELETE, [deleted])
    ahead = "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 100)::text::xid8"
    connection.execute(f"UPDATE removed_keys SET xact_id = {ahead}")
    with pytest.raises(SyncError, match="restored"):
        sync.run(SECONDS)
    sync.reset(SECONDS)
    sync.run(SECONDS)
    assert [row[0] for row in in_clickhouse(client)] == [kept]


def test_an_update_that_clickhouse_refuses_hides_the_older_row_and_is_recorded(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    here, moved, other = (insert(connection, {"n": 1}) for _ in range(3))
    sync.run(SECONDS)
    connection.execute("UPDATE ai_usage_events SET user_id = -1 WHERE id = ANY(%s)", [[here, moved]])
    connection.execute(MOVE, ["1/", moved])
    connection.execute(MOVE, ["1/", other])
    report = sync.run(SECONDS)
    assert report.refused == 2
    assert [row[0] for row in in_clickhouse(client)] == [other]
    recorded = "SELECT event_id FROM rejected_events WHERE source = 'sync' AND replayed_at IS NULL"
    assert {row[0] for row in connection.execute(recorded)} == {here, moved}
    connection.execute("UPDATE ai_usage_events SET user_id = 5 WHERE id = ANY(%s)", [[here, moved]])
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)
    assert sync.replay(SECONDS) == (0, 0)
    assert connection.execute(recorded).fetchall() == []
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_refused_row_that_was_deleted_or_changed_is_not_replayed(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    deleted, changed = insert(connection, user_id=-1), insert(connection, user_id=-1)
    sync.run(SECONDS)
    connection.execute("UPDATE rejected_events SET body = jsonb_set(body::jsonb, '{user_id}', '5')::text")
    connection.execute(DELETE, [deleted])
    connection.execute("UPDATE ai_usage_events SET user_id = 7 WHERE id = %s", [changed])
    assert sync.replay(SECONDS) == (0, 0)
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)


def test_the_view_shows_the_current_events_and_their_columns(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    kept, deleted = insert(connection, {"n": 1}), insert(connection)
    sync.run(SECONDS)
    connection.execute(DELETE, [deleted])
    connection.execute(MOVE, ["1/", kept])
    sync.run(SECONDS)
    found = client.query("SELECT * FROM ai_usage_events_current")
    assert found.column_names == (
        "id",
        "timestamp",
        "event",
        "user_id",
        "namespace_path",
        "project_id",
        "payload",
    )
    assert [(row[0], row[4]) for row in found.result_rows] == [(kept, "1/")]


def test_an_id_in_two_months_is_deleted_in_one_of_them(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    event_id = uuid4()
    for timestamp in (NOW, LAST_MONTH):
        insert(connection, id=event_id, timestamp=timestamp)
    sync.run(SECONDS)
    connection.execute("DELETE FROM ai_usage_events WHERE timestamp = %s", [LAST_MONTH])
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)
