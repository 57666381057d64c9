"""The sync from PostgreSQL to ClickHouse, on real engines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from functions.ingest.event.storable import normalised
from functions.shared import clickhouse, database_health, locks
from functions.shared.metrics import Metric
from functions.shared.rejection import Rejection
from functions.shared.sync_state import read_state
from functions.sync import sync as sync_module
from functions.sync import table
from functions.sync.catch_up import catch_up
from functions.sync.error import SyncError
from functions.sync.handler import build
from functions.sync.report import Report
from functions.sync.sync import Sync
from tests.support.clickhouse import serve_clickhouse
from tests.support.clock import NOW
from tests.support.emitted_metrics import metrics
from tests.support.lambda_context import FakeContext

LAST_MONTH = NOW.replace(day=1) - timedelta(days=10)
SECONDS = 60

INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    VALUES (%s, %s, %s, %s, %s, %s)
"""

MANY = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    SELECT gen_random_uuid(), now() - random() * interval '40 days', 2 + number %% 3, 1 + number %% 100,
           CASE WHEN number %% 10 > 0 THEN '27/' || (number %% 50 + 1) || '/' END,
           jsonb_build_object('suggestion_size', number, 'language', 'ruby', 'branch_name', repeat('x', 100))
    FROM generate_series(1, %s) AS numbers (number)
"""

POSTGRES_ROWS = """
    SELECT id, timestamp, event, user_id, namespace_path, payload, project_id
    FROM ai_usage_events
    ORDER BY id, timestamp
"""

CLICKHOUSE_ROWS = """
    SELECT id, timestamp, event, user_id, namespace_path, toJSONString(payload), project_id
    FROM ai_usage_events FINAL
    ORDER BY UUIDToNum(id), timestamp
"""

CURSOR_IS_AT = "SELECT 1 FROM sync_state WHERE id = %s"


type Invoke = Callable[..., tuple[dict[str, Any], dict[str, float]]]
type Both = tuple[psycopg.Connection, Sync, Client]


def insert(connection: psycopg.Connection, payload: Any = None, **changes: Any) -> UUID:
    """Inserts an event with plain SQL."""
    row: dict[str, Any] = {
        "id": uuid4(),
        "timestamp": NOW,
        "event": 6,
        "user_id": 1,
        "namespace_path": "27/28/",
    } | changes
    connection.execute(INSERT, [*row.values(), Jsonb({} if payload is None else payload)])
    identifier: UUID = row["id"]
    return identifier


def in_postgres(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(POSTGRES_ROWS).fetchall()


def in_clickhouse(client: Client) -> list[tuple[Any, ...]]:
    rows = client.query(CLICKHOUSE_ROWS, settings=clickhouse.READ_SETTINGS).result_rows
    return [
        (identifier, timestamp.replace(tzinfo=UTC), event, user_id, path or None, json.loads(payload), project or None)
        for identifier, timestamp, event, user_id, path, payload, project in rows
    ]


def count(client: Client, final: str = "FINAL") -> int:
    return int(client.query(f"SELECT count() FROM ai_usage_events {final}").result_rows[0][0])


def test_what_is_there_is_copied_and_then_what_comes(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    for number in range(3):
        insert(connection, {"number": number}, namespace_path=None if number else "27/", timestamp=LAST_MONTH)
    report = sync.run(SECONDS)
    assert (report.status, report.rows, report.refused) == ("caught_up", 3, 0)
    assert report.seconds_behind is not None
    assert in_clickhouse(client) == in_postgres(connection)
    assert sync.run(SECONDS).rows == 0
    insert(connection, {"number": 4})
    assert sync.run(SECONDS).rows == 1
    assert in_clickhouse(client) == in_postgres(connection)
    assert count(client, "") == 4


def test_a_row_that_is_committed_late_is_not_missed(
    sync: Sync, connection: psycopg.Connection, client: Client, database_url: str
) -> None:
    with psycopg.connect(database_url) as open_transaction:
        late = insert(open_transaction)
        early = insert(connection)
        report = sync.run(SECONDS)
        assert report.seconds_behind is not None
        assert count(client) == 0  # it is not known yet what the transaction before it will be
        open_transaction.commit()
    sync.run(SECONDS)
    assert {row[0] for row in in_clickhouse(client)} == {late, early}


def test_rows_of_one_id_in_two_months_are_both_copied_at_any_chunk_size(
    database_url: str, clickhouse_url: str, connection: psycopg.Connection, client: Client
) -> None:
    with connection.transaction():
        for _ in range(5):
            identifier = insert(connection, timestamp=LAST_MONTH)
            insert(connection, id=identifier)
    chunks: list[int] = []
    sync = Sync(database_url, clickhouse_url, progress=lambda report: chunks.append(report.rows), chunk_bytes=1)
    assert sync.run(SECONDS).rows == 10
    assert chunks == [2, 4, 6, 8, 10]
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_row_that_is_put_before_the_sync_once_more_takes_no_other_with_it(
    sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = insert(connection)

    def insert_and_rewrite(*arguments: Any) -> None:
        table.insert(*arguments)
        insert(connection)
        connection.execute("UPDATE ai_usage_events SET xact_id = pg_current_xact_id() WHERE id = %s", [first])

    with monkeypatch.context() as patched:
        patched.setattr("functions.sync.sync.insert", insert_and_rewrite)
        sync.run(1)
    assert sync.run(SECONDS).status == "caught_up"
    assert in_clickhouse(client) == in_postgres(connection)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_chunk_whose_confirmation_was_lost_is_sent_again_and_counts_once(
    when: str, sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(MANY, [1000])

    def fail(*arguments: Any) -> None:
        if when == "after":
            table.insert(*arguments)
        raise ClickHouseError("the connection is gone")

    with monkeypatch.context() as patched:
        patched.setattr("functions.sync.sync.insert", fail)
        with pytest.raises(ClickHouseError, match="is gone"):
            sync.run(SECONDS)
    assert sync.run(SECONDS).rows == 1000
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_run_whose_time_is_over_is_gone_on_with(
    database_url: str,
    clickhouse_url: str,
    connection: psycopg.Connection,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.execute(MANY, [300])
    confirmed: list[Report] = []
    sync = Sync(database_url, clickhouse_url, progress=confirmed.append, chunk_bytes=1)
    monkeypatch.setattr(sync_module, "time", SimpleNamespace(monotonic=lambda: len(confirmed)))  # a chunk a second
    reports = [sync.run(70)]
    while reports[-1].status != "caught_up":
        assert reports[-1].status == "out_of_time"
        assert reports[-1].seconds_behind is None
        reports.append(sync.run(70))
    assert len(reports) > 3
    assert sum(report.rows for report in reports) == 300
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_second_sync_leaves_at_once(sync: Sync, connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_lock(%s)", [locks.SYNC])
    assert sync.run(SECONDS).status == "skipped"
    connection.execute("SELECT pg_advisory_unlock(%s)", [locks.SYNC])
    assert sync.run(SECONDS).status == "caught_up"


@pytest.mark.parametrize("fails", [False, True])
def test_a_sync_whose_session_lingers_does_not_stop_the_next_one(
    fails: bool, sync: Sync, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[psycopg.Connection] = []

    def fail(*_: Any) -> None:
        raise ClickHouseError("the connection is gone")

    insert(connection)
    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Connection, "close", lambda session: sessions.append(session))
        if fails:
            with patched.context() as failing:
                failing.setattr("functions.sync.sync.insert", fail)
                with pytest.raises(ClickHouseError, match="is gone"):
                    sync.run(SECONDS)
        statuses = [sync.run(SECONDS).status]
        sync.reset(0)
        sync.replay(0)
        statuses.append(sync.run(SECONDS).status)
    for session in sessions:
        session.close()
    assert statuses == ["caught_up", "caught_up"]


CHUNKS_BEFORE_A_KILL = 12
KILLED = """
import sys
from functions.sync.sync import Sync

def progress(report):
    print(report.chunks, flush=True)
    if report.chunks == int(sys.argv[3]):
        sys.stdin.read()  # until it is killed

sync = Sync(sys.argv[1], sys.argv[2], progress=progress, chunk_bytes=10_000)
while sync.run(600).status == "skipped":
    pass  # while PostgreSQL still ends the session of the one that was killed before
"""


def test_a_sync_that_is_killed_again_and_again_copies_exactly_the_rows(
    database_url: str, clickhouse_url: str, connection: psycopg.Connection, client: Client
) -> None:
    kills, rows = (20, 200_000) if os.environ.get("SOAK") else (4, 20_000)
    for _ in range(10):
        connection.execute(MANY, [rows // 10])
    chance = Random(7)
    command = [sys.executable, "-c", KILLED, database_url, clickhouse_url, str(CHUNKS_BEFORE_A_KILL)]
    for _ in range(kills):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, CHUNKS_BEFORE_A_KILL)):
                assert process.stdout.readline()
            process.kill()
        assert process.returncode == -signal.SIGKILL
    assert 0 < count(client) < rows
    with psycopg.connect(database_url, autocommit=True) as waiting:
        catch_up(Sync(database_url, clickhouse_url), waiting, SECONDS, 600)
    assert count(client) == rows
    assert in_clickhouse(client) == in_postgres(connection)


def test_while_clickhouse_is_down_each_run_fails_and_nothing_is_missing_afterwards(
    database_url: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    for runs in range(2):
        with serve_clickhouse(tmp_path, anew=runs == 0) as url, closing(clickhouse.connect(url, SECONDS)) as client:
            insert(connection)
            Sync(database_url, url).run(SECONDS)
            assert in_clickhouse(client) == in_postgres(connection)
        for _ in range(0 if runs else 3):
            insert(connection)
            with pytest.raises(ClickHouseError, match=f"{urlsplit(url).port}"):
                Sync(database_url, url).run(SECONDS)


BAD_ROWS: list[tuple[dict[str, Any], Any]] = [
    ({"user_id": -1}, {}),
    ({"event": -1}, {}),
    ({}, [1, 2]),
    ({}, "text"),
]


@pytest.mark.parametrize("bad_count", [1, 8])
def test_rows_that_clickhouse_refuses_are_kept_with_the_reason_and_stop_nothing(
    bad_count: int, sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    bad: set[UUID] = set()
    for number in range(80):
        if number % (80 // bad_count) == 0 and len(bad) < bad_count:
            changes, payload = BAD_ROWS[number % len(BAD_ROWS)]
            bad.add(insert(connection, payload, **changes))
        insert(connection, {"number": number})
    report = sync.run(SECONDS)
    assert (report.status, report.rows, report.refused) == ("caught_up", 80, bad_count)
    assert count(client) == 80
    rejected = connection.execute("SELECT source, code, message, body::jsonb ->> 'id' FROM rejected_events").fetchall()
    assert {(source, code) for source, code, _, _ in rejected} == {("sync", "refused_by_clickhouse")}
    assert {UUID(identifier) for *_, identifier in rejected} == bad
    assert all("Code: " in message for _, _, message, _ in rejected)
    assert sync.run(SECONDS).refused == 0


def test_a_refused_row_that_was_mended_is_replayed_once(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    mended, still_bad = insert(connection, {"a": 1}, user_id=-1), insert(connection, {"a": 2}, user_id=-2)
    sync.run(SECONDS)
    connection.execute(
        """UPDATE rejected_events SET body = jsonb_set(body::jsonb, '{user_id}', '5')::text WHERE body LIKE %s""",
        [f"%{mended}%"],
    )
    assert sync.replay(SECONDS) == (1, 1)
    assert sync.replay(SECONDS) == (0, 1)
    assert [(row[0], row[3], row[5]) for row in in_clickhouse(client)] == [(mended, 5, {"a": 1})]
    state = "SELECT body::jsonb ->> 'id', attempts, replayed_at IS NULL FROM rejected_events"
    assert set(connection.execute(state).fetchall()) == {(str(mended), 1, False), (str(still_bad), 3, True)}
    sync.reset(SECONDS)
    assert sync.run(SECONDS).refused == 2
    assert set(connection.execute(state).fetchall()) == {(str(mended), 2, True), (str(still_bad), 4, True)}


def test_too_many_refused_rows_stop_the_run_with_the_cursor_where_it_was(
    sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "MAX_REFUSALS", 5)
    insert(connection)
    sync.run(SECONDS)
    target = clickhouse.target_of(client)
    assert target is not None
    before = read_state(connection, target)
    for _ in range(6):
        insert(connection, user_id=-1)
    with pytest.raises(SyncError, match="refuses more than 5 rows"):
        sync.run(SECONDS)
    assert read_state(connection, target) == before


def test_an_error_of_the_table_ends_the_run_with_the_cursor_where_it_was(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    sync.run(SECONDS)
    insert(connection)
    client.command("ALTER TABLE ai_usage_events RENAME COLUMN user_id TO person_id")
    with pytest.raises(ClickHouseError, match="user_id"):
        sync.run(SECONDS)
    client.command("ALTER TABLE ai_usage_events RENAME COLUMN person_id TO user_id")
    assert sync.run(SECONDS).rows == 1
    assert connection.execute("SELECT count(*) FROM rejected_events").fetchone() == (0,)


def test_a_new_table_is_filled_from_the_first_row_on(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    insert(connection)
    sync.run(SECONDS)
    client.command("DROP TABLE ai_usage_events SYNC")
    insert(connection)
    assert sync.run(SECONDS).rows == 2
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_table_made_by_hand_is_filled(sync: Sync, connection: psycopg.Connection, client: Client) -> None:
    insert(connection)
    by_hand = table.definition(None, uuid4())
    client.command(by_hand[: by_hand.index("COMMENT")])
    assert sync.run(SECONDS).rows == 1
    assert sync.run(SECONDS).rows == 0
    assert in_clickhouse(client) == in_postgres(connection)


LARGE = [2**53 + 1, 2**63 - 1]
MIXED: list[dict[str, Any]] = [
    {"a": [1.5]},
    {"a": LARGE},
    {"a": [2**64 - 1]},
    {"a": [-(2**63)]},
    {"a": [[1.5]], "b": LARGE},
    {"a": {"b": [[LARGE]]}},
    {"b": [1.5], "c": "[1, 9007199254740993, 1.5]"},
    {"b": 1.5, "c": LARGE},
    {"a": [0.5], "b": LARGE},
    {"a": LARGE, "b": [0.5], "c": 'a tab\t, a backslash \\ and a quote "'},
    {"a": [1764028800000000], "b": [0.5]},
]


@pytest.mark.parametrize("order", [MIXED, MIXED[::-1], [{"a": LARGE}] * 3], ids=["", "reversed", "all"])
def test_large_integers_in_arrays_stay_as_they_are_beside_fractions(
    order: list[dict[str, Any]], sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    for payload in order:
        insert(connection, payload)
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)
    client.command("OPTIMIZE TABLE ai_usage_events FINAL")
    assert in_clickhouse(client) == in_postgres(connection)


def test_rows_of_one_shape_share_a_block_whatever_numbers_they_hold(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    for number in range(50):
        insert(connection, {"at": [1764028800000000 + number], "ids": [2**60 + number], "scores": [number + 0.5]})
        insert(connection, {"at": [1764028800000000 + number], "scores": [number + 0.5]})
    sync.run(SECONDS)
    parts = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND level = 0"  # also merged ones
    assert client.command(parts) == 2
    assert in_clickhouse(client) == in_postgres(connection)


def test_rows_with_large_integers_at_keys_of_their_own_share_a_block(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    for number in range(50):
        insert(connection, {f"own_{number}": [2**60 + number], "scores": [0.5]})
    sync.run(SECONDS)
    parts = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND level = 0"
    assert client.command(parts) == 1
    assert in_clickhouse(client) == in_postgres(connection)


@pytest.mark.parametrize(
    "odd",
    [
        '{"a": [9007199254740993], "b": 1' + "0" * 400 + ".5}",
        '{"a": [9007199254740993], "b": ' + "[" * 3000 + "]" * 3000 + "}",
    ],
)
def test_a_row_with_large_integers_that_no_parser_takes_is_refused_alone(
    odd: str, sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    insert(connection, {"a": LARGE})
    connection.execute(INSERT, [uuid4(), NOW, 6, 1, None, odd])
    insert(connection, {"a": LARGE})
    report = sync.run(SECONDS)
    assert (report.status, report.rows, report.refused) == ("caught_up", 2, 1)
    assert count(client) == 2


def test_on_a_cluster_the_table_is_replicated_and_made_everywhere(client: Client) -> None:
    statement = table.definition("events `cluster`", UUID(int=7))
    formatted = client.query("SELECT formatQuery({statement:String})", parameters={"statement": statement})
    (text,) = formatted.result_rows[0]
    assert "ON CLUSTER `events \\`cluster\\``" in text
    assert "ENGINE = ReplicatedReplacingMergeTree" in text
    assert f"COMMENT 'sync target {UUID(int=7)}'" in text


@pytest.mark.parametrize("restored", ["cursor", "rows"])
def test_a_restored_postgresql_stops_the_sync_until_it_is_reset(
    restored: str, sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    insert(connection)
    sync.run(SECONDS)
    restored_table = "sync_state" if restored == "cursor" else "ai_usage_events"
    # Beyond what others' transactions come to meanwhile.
    ahead = "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 100)::text::xid8"
    connection.execute("SET session_replication_role = replica")
    connection.execute(f"UPDATE {restored_table} SET xact_id = {ahead}")
    connection.execute("RESET session_replication_role")
    insert(connection)
    for _ in range(3):
        with pytest.raises(SyncError, match=r"restored.*sync --reset"):
            sync.run(SECONDS)
        for _ in range(150):  # with which the transactions come to the foreign one's number
            connection.execute("SELECT pg_current_xact_id()")
    sync.reset(SECONDS)
    assert sync.run(SECONDS).rows == 2
    assert in_clickhouse(client) == in_postgres(connection)


def test_catching_up_waits_for_the_transactions_of_before_or_names_the_oldest(
    sync: Sync, connection: psycopg.Connection, client: Client, database_url: str
) -> None:
    with psycopg.connect(database_url) as open_transaction:
        insert(open_transaction)
        insert(connection)
        pid = open_transaction.info.backend_pid
        with pytest.raises(SyncError, match=rf"transaction \d+ of process {pid}, open since"):
            catch_up(sync, connection, 0.5, SECONDS)
    assert catch_up(sync, connection, SECONDS, SECONDS).rows == 2
    assert in_clickhouse(client) == in_postgres(connection)


characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
keys = st.text(characters, max_size=8) | st.sampled_from(
    ["a.b", "a", "b", "a.b.c", ".", "a.", "^a", "a`b", "a[0]", "a:b", "%", "payload", "\\N", '"', "é", "😀"]
)
odd_texts = ["\\N", "\t", "\n", "\r\n", "\\", '"', "'", "true", "1", "😀", "\\u0041", "\x01\x02\x7f", "x" * 16_000]
times = ["2026-11-20", "2026-11-20 15:00:59", "2026-11-20T15:00:59.936Z", str(uuid4())]
texts = st.text(characters, max_size=20) | st.sampled_from([*odd_texts, *times])
numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, -1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
    | st.floats(-1e15, 1e15, allow_nan=False)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
payloads = st.dictionaries(keys, values, max_size=6)


@pytest.fixture
def both(connection: psycopg.Connection, sync: Sync, client: Client) -> Both:
    """One sync and both stores, shared by all examples."""
    return connection, sync, client


@settings(
    max_examples=2000 if os.environ.get("SOAK") else 40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(payloads, min_size=1, max_size=40))
def test_payloads_come_out_of_clickhouse_as_they_are_in_postgresql(both: Both, sent: list[dict[str, Any]]) -> None:
    connection, sync, client = both
    connection.execute("TRUNCATE ai_usage_events")
    client.command("TRUNCATE TABLE IF EXISTS ai_usage_events")
    stored = [kept for payload in sent if (kept := storable(payload)) is not None]
    for number, payload in enumerate(stored):
        insert(connection, payload, namespace_path=None if number % 2 else "27/28/")
    report = sync.run(SECONDS)
    assert (report.refused, report.rows) == (0, len(stored))
    assert in_clickhouse(client) == in_postgres(connection)


def storable(payload: dict[str, Any]) -> Any:
    """Returns the payload as stored; None if the consumer rejects it."""
    try:
        return normalised(payload)
    except Rejection:
        return None


@pytest.fixture
def function(database_url: str, clickhouse_url: str) -> Invoke:
    """Invokes the function with these settings; returns its answer and the metrics that it emitted."""

    def invoke(capsys: pytest.CaptureFixture[str], **settings: Any) -> tuple[dict[str, Any], dict[str, float]]:
        urls = {"database_url": database_url, "clickhouse_url": clickhouse_url}
        answer = build(**urls | settings)({}, FakeContext())
        return answer, metrics(capsys.readouterr().out)

    return invoke


def of_sync(emitted: dict[str, float]) -> dict[str, float]:
    """Returns the metrics without those of the database."""
    database = {metric.name for metric in vars(database_health).values() if isinstance(metric, Metric)}
    assert database <= emitted.keys()
    return {name: value for name, value in emitted.items() if name not in database}


def test_the_function_answers_with_counts_and_lag_and_emits_them(
    function: Invoke, connection: psycopg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    insert(connection, {"a": "b"})
    insert(connection, user_id=-1)
    answer, emitted = function(capsys)
    assert (answer["status"], answer["rows"], answer["refused"]) == ("caught_up", 1, 1)
    assert 0 <= answer["seconds_behind"] < SECONDS
    assert answer["bytes"] > 50
    assert of_sync(emitted) == {
        "SyncedRows": 1,
        "SyncFailures": 0,
        "SyncsBehindObjective": 0,
        "SyncRefusedRows": 1,
        "SyncedChunks": answer["chunks"],
        "SyncedBytes": answer["bytes"],
        "SyncSecondsBehind": answer["seconds_behind"],
        "SyncOldestTransactionSeconds": 0,
        "RollupsBuilt": answer["rollups"],
        "OpenRollups": answer["open_rollups"],
    }


def test_without_clickhouse_the_function_says_that_it_is_disabled(
    function: Invoke, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _ = function(capsys, clickhouse_url=None)
    assert (answer["status"], answer["reason"]) == ("disabled", "CLICKHOUSE_URL is not set")


def test_a_function_that_fails_says_why_and_counts_it(
    function: Invoke, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ClickHouseError):
        function(capsys, clickhouse_url="clickhouse://default@127.0.0.1:1/default")
    (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "127.0.0.1:1" in logged.reason  # type: ignore[attr-defined]
    assert of_sync(metrics(capsys.readouterr().out)) == {"SyncFailures": 1}


def test_a_function_that_is_to_follow_copies_what_comes_while_it_waits(
    function: Invoke, connection: psycopg.Connection, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = insert(connection)

    def insert_later() -> None:
        with psycopg.connect(database_url, autocommit=True) as later:
            give_up = time.monotonic() + SECONDS
            while later.execute(CURSOR_IS_AT, [copied]).fetchone() is None:
                assert time.monotonic() < give_up
            insert(later)

    with ThreadPoolExecutor() as pool:
        inserted = pool.submit(insert_later)
        answer, _ = function(capsys, follow_seconds=6)
        inserted.result()
    assert (answer["status"], answer["rows"]) == ("caught_up", 2)
