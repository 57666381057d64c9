"""Everything of an erased user is gone from both stores, and nothing of anybody else."""

import os
import subprocess
import sys
from contextlib import closing
from typing import Any, LiteralString
from unittest.mock import patch

import psycopg
import pytest
from typer.testing import CliRunner, Result

from functions.ingest.consumer_handler import ConsumerHandler
from functions.retention.retention import Retention
from functions.shared import clickhouse, locks
from functions.shared.clickhouse import TABLE
from functions.sync.rebuild import OTHER_TABLE
from infra.cli import app
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from tests.functional.test_declared_paths import AS_IT_WAS
from tests.support.checkout import ROOT
from tests.support.clickhouse_front import serve_front
from tests.support.clock import NOW
from tests.support.consuming import Queues
from tests.support.erasing import MARKER, OTHER, SECONDS, USER, Stores, chat, unknown

EVENTS, ONLY_IN_CLICKHOUSE, QUEUED, REJECTED, KILLS = (
    (20_000, 1000, 100, 50, 40) if os.environ.get("SOAK") else (2500, 200, 20, 10, 6)
)
NOTHING = {"ai_usage_events": 0, "users": 0, "user_names": 0, "rejected_events": 0, "removed_keys": 0, "ClickHouse": 0}


@pytest.fixture
def stores(connection: psycopg.Connection, consumer: ConsumerHandler, database_url: str, clickhouse_url: str) -> Stores:
    return Stores(connection, consumer, database_url, clickhouse_url)


def run(stores: Stores, *arguments: str, **settings: str) -> Result:
    urls = {"DATABASE_URL": stores.database_url, "CLICKHOUSE_URL": stores.clickhouse_url}
    with patch.dict(os.environ):
        return CliRunner().invoke(app, arguments, env=urls | settings)


def erase(stores: Stores, *arguments: str) -> str:
    result = run(stores, "user", "erase", str(USER), "--yes", *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def records(stores: Stores) -> list[Any]:
    return stores.connection.execute(
        "SELECT kind, subject, requested_by, counts, postgresql, clickhouse, finished_at IS NOT NULL FROM erasures"
    ).fetchall()


def test_nothing_of_an_erased_user_is_left_and_everything_of_others(stores: Stores, queues: Queues) -> None:
    stores.fill(EVENTS, ONLY_IN_CLICKHOUSE, REJECTED)
    for user in (USER, OTHER):
        for _ in range(QUEUED // 2):
            queues.send(f"[{chat_text(user)}, {chat_text(user)}]")
    before = stores.of_others()
    assert stores.left()["ClickHouse"] == EVENTS + ONLY_IN_CLICKHOUSE + 2
    output = erase(stores, "--by", "privacy desk")
    assert f"{EVENTS + 2:,} events" in output
    assert f"Removed from ClickHouse: {EVENTS + ONLY_IN_CLICKHOUSE + 2:,} events" in output
    assert "is still on its way" in output
    assert stores.left() == NOTHING
    assert stores.of_others() == before
    queues.consume(stores.consumer)
    stores.sync()
    assert stores.left() == NOTHING
    others = "SELECT count(*) FROM ai_usage_events WHERE user_id = 6"
    assert stores.connection.execute(others).fetchone() == (EVENTS + 2 + QUEUED,)
    counts = {
        "events": EVENTS + 2,
        "rejected events": REJECTED,
        "names": 2,
        "clickhouse_events": EVENTS + ONLY_IN_CLICKHOUSE + 2,
    }
    assert records(stores) == [("user", str(USER), "privacy desk", counts, "done", "done", True)]


def chat_text(user: int) -> str:
    return f'{{"event": "request_duo_chat_response", "user_id": {user}}}'


def test_erasing_again_removes_nothing_and_says_so(stores: Stores) -> None:
    stores.fill(10, 5, 1)
    erase(stores)
    before = stores.of_others()
    assert "nothing was left" in erase(stores)
    assert stores.of_others() == before
    assert [row[3:] for row in records(stores)][1] == ({"clickhouse_events": 0}, "done", "done", True)


def test_an_erasure_that_is_killed_anywhere_is_finished_by_the_next(stores: Stores) -> None:
    stores.fill(EVENTS, ONLY_IN_CLICKHOUSE, REJECTED)
    before = stores.of_others()
    command = [sys.executable, "-m", "tests.support.killed_erasure", stores.database_url, stores.clickhouse_url]
    result = subprocess.run(
        [*command, str(USER), str(KILLS), "150"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > KILLS // 2
    assert stores.left() == NOTHING
    assert stores.of_others() == before
    assert stores.connection.execute("SELECT count(*) FROM erasures WHERE finished_at IS NULL").fetchone() == (0,)


def test_without_clickhouse_the_command_fails_and_is_finished_later(stores: Stores) -> None:
    stores.fill(10, 5, 1)
    before = stores.of_others()
    for url in ("clickhouse://127.0.0.1:9/x", ""):
        result = run(stores, "user", "erase", str(USER), "--yes", CLICKHOUSE_URL=url)
        assert result.exit_code == 1
        assert "ClickHouse is still to do: " in result.output
    assert records(stores)[0][4:] == ("done", "unfinished", False)
    assert "Unfinished erasures" in run(stores, "status").output
    left = stores.left()
    assert (left["ai_usage_events"], left["ClickHouse"], left["removed_keys"]) == (0, 17, 12)
    erase(stores)
    assert stores.left() == NOTHING
    assert stores.of_others() == before
    assert all(row[4:] == ("done", "done", True) for row in records(stores))
    assert "Unfinished erasures" not in run(stores, "status").output


def test_a_clickhouse_that_fails_during_the_mutation_is_still_to_do(stores: Stores) -> None:
    stores.fill(10, 5, 1)
    with serve_front(stores.clickhouse_url) as front:
        front.refused = {b"DELETE WHERE": 209}
        result = run(stores, "user", "erase", str(USER), "--yes", CLICKHOUSE_URL=front.url)
    assert (result.exit_code, "still to do: ClickHouse's error 209" in result.output) == (1, True)
    erase(stores)
    assert stores.left() == NOTHING


def test_a_running_sync_is_waited_for(stores: Stores) -> None:
    stores.fill(10, 5, 1)
    with psycopg.connect(stores.database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [locks.SYNC])
        result = run(stores, "user", "erase", str(USER), "--yes", "--wait", "1")
    assert result.exit_code == 1
    assert "ClickHouse is still to do: another sync is still running" in result.output
    erase(stores)
    assert stores.left() == NOTHING


@pytest.mark.parametrize("change", ["user_id = 5", "user_id = 5, namespace_path = '30/'"])
def test_no_version_stays_of_an_event_that_became_the_users_after_it_was_copied(
    change: LiteralString, stores: Stores
) -> None:
    stores.consume(chat(OTHER, language=MARKER), chat(OTHER))
    stores.sync()
    first = "SELECT id FROM ai_usage_events ORDER BY id LIMIT 1"
    ((event,),) = stores.connection.execute(first).fetchall()
    stores.connection.execute(f"UPDATE ai_usage_events SET {change} WHERE id = %s", [event])
    erase(stores)
    stores.sync()
    assert stores.left() == NOTHING
    ids = "SELECT DISTINCT id = {id:UUID} FROM ai_usage_events"
    with closing(clickhouse.connect(stores.clickhouse_url, SECONDS)) as client:
        assert client.query(ids, parameters={"id": event}).result_rows == [(0,)]


def test_what_the_user_gave_away_stays(stores: Stores) -> None:
    stores.consume(chat(namespace_path="27/"))
    stores.sync()
    stores.connection.execute("UPDATE ai_usage_events SET user_id = 6, namespace_path = '30/'")
    erase(stores)
    stores.sync()
    assert stores.left() == NOTHING
    with closing(clickhouse.connect(stores.clickhouse_url, SECONDS)) as client:
        rows = client.query("SELECT user_id, namespace_path FROM ai_usage_events FINAL").result_rows
    assert rows == [(6, "30/")]


@pytest.mark.parametrize("table", [TABLE, OTHER_TABLE])
def test_while_the_table_in_clickhouse_is_made_anew_nothing_is_removed_there(table: str, stores: Stores) -> None:
    with closing(clickhouse.connect(stores.clickhouse_url, SECONDS)) as client:
        client.command(AS_IT_WAS.replace(f"TABLE {TABLE}", f"TABLE {table}"))
        client.command(f"INSERT INTO {table} VALUES (generateUUIDv4(), now(), 6, 5, '', '{{}}')")
        result = run(stores, "user", "erase", str(USER), "--yes")
        assert result.exit_code == 1
        assert "ClickHouse is still to do: the sync makes the table in ClickHouse anew" in result.output
        assert client.query(f"SELECT count() FROM {table}").result_rows == [(1,)]
    assert records(stores)[0][4:] == ("done", "unfinished", False)
    stores.sync()
    erase(stores)
    assert stores.left() == NOTHING


def test_where_clickhouse_is_off_the_erasure_is_finished_without_it(stores: Stores) -> None:
    stores.consume(chat(), chat(OTHER), unknown())
    result = run(stores, "user", "erase", str(USER), "--yes", CLICKHOUSE_URL="")
    assert (result.exit_code, "ClickHouse is off." in result.output) == (0, True)
    assert stores.connection.execute("SELECT clickhouse FROM erasures").fetchall() == [("off",)]
    assert stores.connection.execute("SELECT user_id FROM ai_usage_events").fetchall() == [(OTHER,)]
    assert stores.connection.execute("SELECT user_id FROM removed_keys").fetchall() == []


def test_it_asks_before_it_erases(stores: Stores) -> None:
    stores.consume(chat())
    with patch.dict(os.environ):
        result = CliRunner().invoke(app, ["user", "erase", "5"], "n\n", env={"DATABASE_URL": stores.database_url})
    assert result.exit_code == 1
    assert stores.connection.execute("SELECT count(*) FROM ai_usage_events").fetchone() == (1,)


@pytest.mark.parametrize(
    ("database_url", "said"),
    [("", "no setting names a database"), ("postgresql://127.0.0.1:1/none?sslmode=disable", "connection failed")],
)
def test_it_does_not_ask_where_there_is_no_system_to_reach(database_url: str, said: str) -> None:
    for arguments in (["user", "erase", "5"], ["namespace", "erase", "27/"]):
        result = CliRunner().invoke(app, arguments, env={"DATABASE_URL": database_url})
        assert result.exit_code == 1
        assert said in result.output
        assert "Erase everything" not in result.output


def test_an_operators_record_of_a_name_keeps_no_name(stores: Stores) -> None:
    for user in ("5", "6"):
        assert run(stores, "directory", "set", "user", user, "--username", f"name-{user}").exit_code == 0
    erase(stores)
    changes = "SELECT id, after::text FROM directory_changes ORDER BY id"
    assert stores.connection.execute(changes).fetchall() == [(5, "{}"), (6, '{"username": "name-6"}')]


def test_the_retention_forgets_whom_an_old_erasure_was_about(stores: Stores) -> None:
    retention, subjects = Retention(stores.database_url, 3), "SELECT subject, requested_by FROM erasures ORDER BY id"
    for subject in (Subject("user", "5"), Subject("user", "6"), Subject("namespace", "27/")):
        Eraser(stores.database_url).erase(subject, "a test")
    assert retention.run(NOW, SECONDS).erased_users_forgotten == 0
    stores.connection.execute("UPDATE erasures SET repels_until = now() - interval '1 s' WHERE subject <> '6'")
    assert retention.run(NOW, SECONDS, dry_run=True).erased_users_forgotten == 1
    report = retention.run(NOW, SECONDS)
    assert "ids of erased users removed from erasures: 1" in report.lines()
    assert stores.connection.execute(subjects).fetchall() == [(None, "a test"), ("6", "a test"), ("27/", "a test")]


def test_an_erased_user_vanishes_from_the_records_of_exports(stores: Stores) -> None:
    for user in (USER, OTHER):
        assert run(stores, "user", "export", str(user), CLICKHOUSE_URL="").exit_code == 0
    Eraser(stores.database_url).erase(Subject("user", str(USER)), "a test")
    exports = "SELECT subject, finished_at IS NOT NULL FROM exports ORDER BY id"
    assert stores.connection.execute(exports).fetchall() == [(None, True), ("6", True)]
