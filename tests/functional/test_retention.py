"""Retention on real stores: makes and drops partitions beside open transactions."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import replace
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from clickhouse_connect.driver.client import Client

import functions.retention.retention
from functions.ingest.message.batch import Batch
from functions.ingest.pipeline import Consumer
from functions.retention import monthly_tables, rejected_events
from functions.retention.clickhouse_ttl import keep_months
from functions.retention.handler import RetentionHandler, build
from functions.retention.report import KeptPartition, Report
from functions.retention.retention import LOCK_TIMEOUT_SECONDS, Retention, RetentionError
from functions.shared import clickhouse, locks
from functions.shared.catalog import registry
from functions.shared.partitions import later_month, make_partitions, month_of, partition_name, partitions
from functions.shared.postgres import Connection, Database, TimeLimits
from functions.shared.secret import UrlSource
from functions.shared.timestamp import months_before
from functions.sync.sync import Sync
from infra.local import ports
from tests.support.clock import NOW
from tests.support.emitted_metrics import metrics
from tests.support.lambda_context import FakeContext

THIS_MONTH = month_of(NOW.date())
OLD, OLDER = later_month(THIS_MONTH, -4), later_month(THIS_MONTH, -5)
NEXT = later_month(THIS_MONTH, 4)
RUN_SECONDS = 60
UNSYNCED = "it holds rows that are not in ClickHouse yet"
ROUNDS = 100 if os.environ.get("SOAK") else 3

INSERT = "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload) VALUES (%s, %s, 6, 1, '{}')"
INSERT_REJECTED = """
    INSERT INTO rejected_events (id, received_at, source, code, message, body)
    VALUES (gen_random_uuid(), %s, 'sqs', 'unknown_event', '', '{}')
"""
SCHEMA = """
    SELECT pg_class.oid, relname, relispartition, inhdetachpending, obj_description(pg_class.oid, 'pg_class'),
           (SELECT count(*) FROM rejected_events)
    FROM pg_class
    LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
    WHERE relnamespace = 'public'::regnamespace
    ORDER BY 1
"""
IMPATIENT = "-c lock_timeout=2s"
IS_WAITING = """
    SELECT count(*)
    FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE '%LOCK TABLE ONLY ai_usage_events IN ACCESS EXCLUSIVE MODE%'
"""


@dataclass(frozen=True, slots=True)
class Stores:
    """PostgreSQL with partitions of two old months, and an empty ClickHouse."""

    connection: Connection
    retention: Retention
    clickhouse: Client

    def retain(self, now: datetime = NOW, *, dry_run: bool = False) -> Report:
        return self.retention.run(now, RUN_SECONDS, dry_run=dry_run)

    def sync(self) -> None:
        assert self.retention.clickhouse_url
        report = Sync(self.retention.database_url, self.retention.clickhouse_url).run(RUN_SECONDS)
        assert report.status == "caught_up"

    def store(self, month: date, connection: Connection | None = None) -> UUID:
        """Stores an event on the second day of the month, and returns its id."""
        event_id = uuid4()
        moment = datetime(month.year, month.month, 2, tzinfo=UTC)
        (connection or self.connection).execute(INSERT, [event_id, moment])
        return event_id

    def stored(self) -> set[UUID]:
        return {row[0] for row in self.connection.execute("SELECT id FROM ai_usage_events")}

    def synced(self) -> set[UUID]:
        return {row[0] for row in self.clickhouse.query("SELECT id FROM ai_usage_events FINAL").result_rows}

    def tables(self) -> set[str]:
        """Returns the tables of old months, attached or not."""
        rows = self.connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r'").fetchall()
        return {name for (name,) in rows} & {partition_name(OLD), partition_name(OLDER)}

    def connect(self, options: str = "") -> Connection:
        return psycopg.connect(str(self.retention.database_url), options=options)

    def detach(self, month: date) -> None:
        self.connection.execute(f"ALTER TABLE ai_usage_events DETACH PARTITION {partition_name(month)}")

    def leave_detaching(self, month: date) -> None:
        """Begins to detach a partition, and leaves the detach unfinished."""
        with self.connect() as reader, self.connect("-c lock_timeout=10ms") as impatient:
            reader.execute("SELECT FROM ai_usage_events LIMIT 1")
            impatient.autocommit = True
            with pytest.raises(psycopg.errors.LockNotAvailable):
                impatient.execute(f"ALTER TABLE ai_usage_events DETACH PARTITION {partition_name(month)} CONCURRENTLY")


@pytest.fixture
def stores(database_url: str, clickhouse_url: str) -> Iterator[Stores]:
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        closing(clickhouse.connect(clickhouse_url, RUN_SECONDS)) as client,
    ):
        make_partitions(connection, [OLDER, OLD])
        yield Stores(connection, Retention(database_url, 3, clickhouse_url), client)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the waits of the retention."""
    monkeypatch.setattr(functions.retention.retention, "LOCK_TIMEOUT_SECONDS", 0.2)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengthens the waits of the retention."""
    monkeypatch.setattr(functions.retention.retention, "LOCK_TIMEOUT_SECONDS", RUN_SECONDS)


def kept(month: date, rows: int) -> KeptPartition:
    return KeptPartition(partition_name(month), rows, UNSYNCED)


def test_an_old_partition_stays_until_clickhouse_has_its_rows(stores: Stores) -> None:
    rows = {stores.store(OLD), stores.store(OLD), stores.store(THIS_MONTH)}
    report = stores.retain()
    assert (report.dropped, report.kept, report.failure) == ([partition_name(OLDER)], [kept(OLD, 2)], "")
    assert stores.stored() == rows
    stores.sync()
    late = stores.store(OLD)
    assert stores.retain().kept == [kept(OLD, 1)]
    stores.sync()
    report = stores.retain()
    assert (report.dropped, report.kept) == ([partition_name(OLD)], [])
    assert stores.tables() == set()
    assert len(stores.stored()) == 1
    assert stores.synced() == rows | {late}


def test_event_types_whose_rows_only_clickhouse_has_are_recorded(stores: Stores) -> None:
    def recorded() -> list[tuple[int]]:
        return stores.connection.execute("SELECT id FROM event_types WHERE only_in_clickhouse").fetchall()

    stores.store(OLDER)
    replace(stores, retention=replace(stores.retention, clickhouse_url=None)).retain()
    assert recorded() == []
    make_partitions(stores.connection, [OLD])
    stores.store(OLD)
    stores.sync()
    stores.retain(dry_run=True)
    assert recorded() == []
    stores.retain()
    assert recorded() == [(6,)]


def test_in_a_restored_postgresql_nothing_is_dropped_until_the_sync_is_reset(stores: Stores) -> None:
    stores.store(OLD)
    stores.sync()
    ahead = "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000)::text::xid8"
    stores.connection.execute(f"UPDATE sync_state SET xact_id = {ahead}")
    late = stores.store(OLD)
    report = stores.retain()
    assert report.dropped == []
    assert {one.unsynced_rows for one in report.kept} == {None}
    assert "sync --reset" in report.failure
    assert stores.retention.clickhouse_url
    Sync(stores.retention.database_url, stores.retention.clickhouse_url).reset(RUN_SECONDS)
    stores.sync()
    assert stores.retain().dropped == [partition_name(OLDER), partition_name(OLD)]
    assert late in stores.synced()


def test_without_clickhouse_old_partitions_go_and_foreign_names_stay(stores: Stores) -> None:
    stores.store(OLD)
    stores.detach(OLDER)
    foreign = later_month(OLDER, -1)
    stores.connection.execute(
        "CREATE TABLE ai_usage_events_archive PARTITION OF ai_usage_events"
        f" FOR VALUES FROM ('{foreign}') TO ('{OLDER}');"
        "CREATE TABLE ai_usage_events_202001_copy (); CREATE TABLE ai_usage_events_202013 ()"
    )
    before = partitions(stores.connection)
    report = replace(stores, retention=replace(stores.retention, clickhouse_url=None)).retain()
    assert report == Report(dry_run=False, dropped=[partition_name(OLDER), partition_name(OLD)])
    assert partitions(stores.connection) == [name for name in before if name != partition_name(OLD)]
    assert stores.connection.execute("SELECT FROM ai_usage_events_202001_copy, ai_usage_events_202013").fetchall() == []


def test_a_month_later_the_next_partition_is_made_and_the_last_one_dropped(stores: Stores) -> None:
    stores.retain()
    next_month = later_month(THIS_MONTH, 1)
    midnight = datetime(next_month.year, next_month.month, 1, tzinfo=UTC)
    for moment in (midnight - timedelta(seconds=1), midnight.replace(tzinfo=timezone(timedelta(hours=14)))):
        assert stores.retain(moment) == Report(dry_run=False)
    report = stores.retain(midnight)
    assert (report.made, report.dropped) == ([partition_name(NEXT)], [partition_name(later_month(OLD, 1))])


def handler(stores: Stores, clickhouse_url: UrlSource | None) -> RetentionHandler:
    """Returns the function with these settings and a fixed clock."""
    return replace(build(replace(stores.retention, clickhouse_url=clickhouse_url)), now=lambda: NOW)


def test_without_a_reachable_clickhouse_partitions_are_made_but_none_is_dropped(
    stores: Stores, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    newest = partition_name(later_month(THIS_MONTH, 3))
    stores.connection.execute(f"DROP TABLE {newest}")
    stores.connection.execute(INSERT_REJECTED, [NOW - timedelta(days=200)])
    stores.detach(OLDER)
    away = f"clickhouse://default@127.0.0.1:{ports.free()}/default"
    function = handler(stores, away)
    with pytest.raises(RetentionError, match="ClickHouse can't be reached"):
        function({}, FakeContext())
    output = capsys.readouterr().out
    (line,) = [vars(record) for record in caplog.records if record.message == "retained"]
    answer = function({"dry_run": True}, FakeContext())
    assert (line["made"], line["dropped"], line["rejected_events_deleted"]) == ([newest], [], 1)
    assert [list(entry.values()) for entry in line["kept"]] == [
        [partition_name(OLDER), None, "the content of ClickHouse is unknown"],
        [partition_name(OLD), None, "the content of ClickHouse is unknown"],
    ]
    assert metrics(output)["PartitionsMade"] == 1
    assert newest in partitions(stores.connection)
    assert stores.tables() == {partition_name(OLDER), partition_name(OLD)}
    assert (answer["dry_run"], answer["kept"], answer["made"]) == (True, line["kept"], [])
    assert "can't be reached" in answer["failure"]


def test_the_function_answers_and_counts_what_it_did(stores: Stores, capsys: pytest.CaptureFixture[str]) -> None:
    stores.store(OLD)
    stores.store(OLD)
    function = handler(stores, stores.retention.clickhouse_url)
    answer = function({"time": "2026-11-24T03:00:00Z"}, FakeContext())
    with pytest.raises(msgspec.ValidationError):
        function({"dry_run": "no"}, FakeContext())
    assert answer == {
        "dry_run": False,
        "made": [],
        "dropped": [partition_name(OLDER)],
        "kept": [{"partition": partition_name(OLD), "unsynced_rows": 2, "reason": UNSYNCED}],
        "busy": [],
        "rejected_events_deleted": 0,
        "erased_users_forgotten": 0,
        "usage_counts_deleted": 0,
        "clickhouse_ttl": None,
        "failure": "",
    }
    assert metrics(capsys.readouterr().out) == {
        "PartitionsMade": 0,
        "PartitionsDropped": 1,
        "PartitionsBusy": 0,
        "PartitionsKept": 1,
        "UnsyncedRowsInOldPartitions": 2,
        "RejectedEventsDeleted": 0,
    }


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + RUN_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_rows_of_a_transaction_that_was_open_during_the_count_are_not_lost(stores: Stores, patient: None) -> None:
    rows = {stores.store(OLD)}
    stores.sync()
    with stores.connect() as writer, ThreadPoolExecutor(1) as pool:
        late = stores.store(OLDER, writer)
        running = pool.submit(stores.retain)
        wait_until(lambda: stores.connection.execute(IS_WAITING).fetchone() == (1,))
        writer.commit()
        report = running.result()
    assert (report.kept, report.dropped) == ([kept(OLDER, 1)], [partition_name(OLD)])
    assert stores.stored() == {late}
    stores.sync()
    assert stores.retain().dropped == [partition_name(OLDER)]
    assert stores.synced() == rows | {late}


@pytest.mark.parametrize("holder", ["reader", "writer"])
def test_partitions_in_use_are_busy_and_left_to_the_next_run(
    holder: Literal["reader", "writer"], stores: Stores, impatient: None
) -> None:
    rows = {stores.store(OLDER), stores.store(OLD)}
    stores.sync()
    late = set()
    with stores.connect() as open_transaction:
        if holder == "writer":
            late = {stores.store(OLDER, open_transaction)}
        else:
            open_transaction.execute("SELECT FROM ai_usage_events LIMIT 1")
        for _ in range(2):
            report = stores.retain()
            assert (report.busy, report.dropped) == ([partition_name(OLDER), partition_name(OLD)], [])
    if holder == "writer":
        report = stores.retain()
        assert (report.kept, report.dropped) == ([kept(OLDER, 1)], [partition_name(OLD)])
    newer = {stores.store(THIS_MONTH)}
    stores.sync()
    report = stores.retain()
    assert (report.kept, report.busy) == ([], [])
    assert (stores.tables(), stores.stored()) == (set(), newer)
    assert stores.synced() == rows | late | newer


def test_of_two_that_wait_for_each_other_it_is_the_retention_that_gives_in(stores: Stores) -> None:
    stores.leave_detaching(OLD)
    with stores.connect() as other, ThreadPoolExecutor(1) as pool:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("SELECT 1")
        stores.store(THIS_MONTH)  # what the snapshot of the other transaction does not see
        running = pool.submit(stores.retain)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'virtualxid' AND query LIKE '%FINALIZE'"
        wait_until(lambda: stores.connection.execute(waiting).fetchone() == (1,))
        other.execute("LOCK TABLE ai_usage_events IN SHARE UPDATE EXCLUSIVE MODE")
        other.rollback()
        assert partition_name(OLD) in running.result().busy
    assert partition_name(OLD) in stores.retain().dropped


class Interrupted(Exception):
    """Stands for the end of the process."""


class Dying(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose process ends after one of its statements.

    A row may come right before the events are locked. The sync runs right after the rows of a table that was detached
    were put before it once more.
    """

    stores: Stores
    rows: set[UUID]
    left: Iterator[int]
    has_late_row: bool

    def execute(self, query: Any, *values: Any, **options: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        text = query.as_string(self) if hasattr(query, "as_string") else query
        if self.has_late_row and "LOCK TABLE ONLY" in text:
            self.rows.add(self.stores.store(OLD))
        cursor = super().execute(query, *values, **options)
        if text.startswith("UPDATE"):
            self.rows.add(self.stores.store(THIS_MONTH))
            self.stores.sync()
        if not text.lstrip().startswith("SELECT") and next(self.left, None) == 0:
            raise Interrupted(text)
        return cursor


# Record of the event types, lock of the events, lock of the partition, drop. Of a detached table: create, attach,
# update, lock of the events.
@pytest.mark.parametrize(
    ("state", "statements"),
    [
        *(("attached", statements) for statements in range(5)),
        *(("written to", statements) for statements in range(3)),
        *(("detached", statements) for statements in range(5)),
    ],
)
def test_a_run_that_ends_at_any_point_loses_nothing_and_is_finished_by_the_next(
    state: str, statements: int, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    Dying.stores, Dying.rows, Dying.left = stores, {stores.store(OLD)}, iter(range(statements, -1, -1))
    Dying.has_late_row = state == "written to"
    stores.connection.execute(f"DROP TABLE {partition_name(OLDER)}")
    if state == "detached":
        stores.detach(OLD)
        Dying.rows.add(stores.store(THIS_MONTH))
    stores.sync()
    with monkeypatch.context() as patch:
        patch.setattr(
            functions.retention.retention,
            "connect",
            lambda url, *_: Dying.connect(url, autocommit=True, options="-c lock_timeout=2s"),
        )
        with pytest.raises(Interrupted):
            stores.retain()
    for _ in range(2):
        Dying.rows.add(stores.store(THIS_MONTH))
        stores.sync()
        stores.retain()
    stores.sync()
    stores.retain()
    assert stores.tables() == set()
    assert stores.synced() == Dying.rows


def test_a_process_that_freezes_while_it_has_the_lock_stops_others_for_seconds_only(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen, thawed = threading.Event(), threading.Event()

    def freeze(*_: object) -> int:
        frozen.set()
        assert thawed.wait(RUN_SECONDS)
        return 0

    stores.store(OLDER)
    stores.sync()
    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as pool:
        patched.setattr(monthly_tables, "count_waiting", freeze)
        running = pool.submit(stores.retain)
        try:
            assert frozen.wait(RUN_SECONDS)
            begin = time.monotonic()
            late = stores.store(OLD)
            assert time.monotonic() - begin < 10
        finally:
            thawed.set()
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            running.result()
    assert stores.tables() == {partition_name(OLDER), partition_name(OLD)}
    assert late in stores.stored()


def test_a_partition_in_use_by_its_own_name_is_busy_and_nobody_waits(stores: Stores, patient: None) -> None:
    with stores.connect() as reader:
        reader.execute(f"SELECT FROM {partition_name(OLDER)}")
        report = stores.retain()
    assert (report.busy, report.dropped) == ([partition_name(OLDER)], [partition_name(OLD)])
    assert stores.retain().dropped == [partition_name(OLDER)]


# How many rows it holds that the sync did not see, for how many months events are kept, and what becomes of the table.
@pytest.mark.parametrize(
    ("state", "rows", "months", "made", "dropped", "kept_rows"),
    [
        ("detached", 0, 3, [], [OLD], []),
        ("detached", 2, 3, [], [], [2]),
        ("detaching", 2, 3, [], [], [2]),
        ("detached", 2, 4, [OLD], [], []),
        ("detaching", 2, 4, [OLD], [], []),
    ],
)
def test_a_detached_table_is_dropped_if_it_is_empty_and_attached_otherwise(
    state: str, rows: int, months: int, made: list[date], dropped: list[date], kept_rows: list[int], stores: Stores
) -> None:
    stores.connection.execute(f"DROP TABLE {partition_name(OLDER)}")
    stored = {stores.store(OLD) for _ in range(rows)}
    stores.leave_detaching(OLD) if state == "detaching" else stores.detach(OLD)
    stored.add(stores.store(THIS_MONTH))
    stores.sync()  # passes them unseen
    retaining = replace(stores, retention=replace(stores.retention, months=months))
    planned = retaining.retain(dry_run=True)
    report = retaining.retain()
    assert (report.made, report.dropped) == ([*map(partition_name, made)], [*map(partition_name, dropped)])
    assert report.kept == [kept(OLD, count) for count in kept_rows]
    assert planned == msgspec.structs.replace(report, dry_run=True)
    stores.sync()
    assert stores.synced() == stored
    assert retaining.retain().dropped == [partition_name(OLD)] * len(kept_rows)


def test_a_table_that_was_detached_before_a_reset_is_synced_once_more(stores: Stores) -> None:
    assert stores.retention.clickhouse_url
    stores.store(OLD)
    stores.sync()
    stores.detach(OLD)
    Sync(stores.retention.database_url, stores.retention.clickhouse_url).reset(RUN_SECONDS)
    assert stores.retain().kept == [kept(OLD, 1)]


def test_a_dry_run_changes_nothing_and_says_what_the_real_run_then_does(stores: Stores) -> None:
    stores = replace(stores, retention=replace(stores.retention, clickhouse_months=12))
    stores.store(OLDER)
    stores.sync()
    stores.store(OLD)
    stores.leave_detaching(OLDER)
    stores.connection.execute(f"DROP TABLE {partition_name(later_month(THIS_MONTH, 2))}")
    stores.connection.execute(INSERT_REJECTED, [NOW - timedelta(days=200)])

    def everything() -> list[Any]:
        ttl = stores.clickhouse.command("SELECT engine_full FROM system.tables WHERE name = 'ai_usage_events'")
        return [stores.connection.execute(SCHEMA).fetchall(), ttl]

    before = everything()
    planned = stores.retain(dry_run=True)
    assert everything() == before
    done = stores.retain()
    assert planned == msgspec.structs.replace(done, dry_run=True)
    assert done == Report(
        dry_run=False,
        made=[partition_name(later_month(THIS_MONTH, 2))],
        kept=[kept(OLDER, 1), kept(OLD, 1)],
        rejected_events_deleted=1,
        clickhouse_ttl="set to 12 months",
    )


def test_one_retention_at_a_time(stores: Stores, impatient: None) -> None:
    with stores.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [locks.RETENTION])
        with pytest.raises(RetentionError, match="another retention"):
            stores.retain()


def test_a_retention_whose_session_lingers_does_not_stop_the_next_one(
    stores: Stores, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Connection] = []
    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Connection, "close", lambda session: sessions.append(session))
        reports = [stores.retain() for _ in range(2)]
    for session in sessions:
        session.close()
    assert reports[1] == Report(dry_run=False)


def test_rejected_events_go_at_the_age_of_events_save_one_that_is_being_replayed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected_events, "_BATCH", 2)
    limit = months_before(NOW, 3)
    for seconds in (1, 2, 3, 4, 5, 6, 0, -1):
        stores.connection.execute(INSERT_REJECTED, [limit - timedelta(seconds=seconds)])
    with stores.connect() as replaying:
        replaying.execute("SELECT FROM rejected_events ORDER BY received_at DESC OFFSET 2 LIMIT 1 FOR UPDATE")
        assert stores.retain().rejected_events_deleted == 5
    assert stores.retain().rejected_events_deleted == 1
    left = stores.connection.execute("SELECT received_at FROM rejected_events ORDER BY 1").fetchall()
    assert [received_at for (received_at,) in left] == [limit, limit + timedelta(seconds=1)]


def test_clickhouse_keeps_events_for_as_long_as_is_set(stores: Stores) -> None:
    def retain(months: int | None) -> str | None:
        return replace(stores, retention=replace(stores.retention, clickhouse_months=months)).retain().clickhouse_ttl

    def left() -> set[UUID]:
        stores.clickhouse.command("OPTIMIZE TABLE ai_usage_events FINAL")
        return stores.synced()

    assert retain(24) is None  # there is no table yet
    older, oldest = later_month(THIS_MONTH, -12), later_month(THIS_MONTH, -25)
    make_partitions(stores.connection, [oldest, older])
    rows = {stores.store(month) for month in (older, THIS_MONTH)}
    too_old = stores.store(oldest)
    stores.sync()
    assert (retain(1200), left()) == ("set to 1200 months", rows | {too_old})
    assert (retain(24), left()) == ("set to 24 months", rows)
    assert retain(24) is None
    assert retain(None) == "removed"
    assert retain(None) is None
    assert "TTL" not in str(stores.clickhouse.command("SHOW CREATE TABLE ai_usage_events"))


class ClusterClient:
    """Stands for a server of a cluster, which can't be had here."""

    def __init__(self, engine: str) -> None:
        self.result_rows = [[engine]]
        self.commands: list[str] = []

    def query(self, *_: Any, **__: Any) -> "ClusterClient":
        return self

    def command(self, statement: str) -> None:
        self.commands.append(statement)


@pytest.mark.parametrize(
    ("engine", "months", "command"),
    [
        ("MergeTree ORDER BY id", 24, "MODIFY TTL toDate(timestamp) + toIntervalMonth(24)"),
        ("MergeTree ORDER BY id TTL toDate(timestamp) + toIntervalMonth(24) SETTINGS a = 1", None, "REMOVE TTL"),
    ],
)
def test_on_a_cluster_the_ttl_is_that_of_all_servers(engine: str, months: int | None, command: str) -> None:
    client: Any = ClusterClient(engine)
    keep_months(client, months, "main", dry_run=False)
    assert client.commands == [f"ALTER TABLE ai_usage_events ON CLUSTER `main` {command}"]


EVENTS = [
    msgspec.Raw(
        msgspec.json.encode(
            {"event": "request_duo_chat_response", "user_id": 1, "timestamp": NOW - timedelta(days=days)}
        )
    )
    for days in range(60)
]


@dataclass(frozen=True, slots=True)
class Writers:
    """Threads that write as fast as possible until stopped, and fail if a write waits for long."""

    database_url: str
    stopped: threading.Event

    def insert(self) -> int:
        written = 0
        with psycopg.connect(self.database_url, autocommit=True, options=IMPATIENT) as connection:
            while not self.stopped.is_set():
                connection.execute(INSERT, [uuid4(), NOW - timedelta(days=written % 60)])
                written += 1
        return written

    def consume(self, number: int) -> int:
        database = Database(self.database_url, TimeLimits(statement=30, transaction=45), IMPATIENT)
        consumer = Consumer(database, registry.load(), 3)
        stored, batches = 0, 0
        while not self.stopped.is_set():
            batch = Batch(f"{number}/{batches}", NOW, EVENTS)
            stored += consumer.consume([batch]).stored
            batches += 1
        database.close()
        return stored


def test_writers_at_full_speed_do_not_fail_while_partitions_come_and_go(stores: Stores) -> None:
    retention = replace(stores.retention, clickhouse_url=None)
    writers = Writers(str(retention.database_url), threading.Event())
    earlier = months_before(NOW, 3)
    with ThreadPoolExecutor(4) as pool, stores.connect() as reader:
        writing = [pool.submit(writers.insert) for _ in range(2)]
        writing += [pool.submit(writers.consume, number) for number in range(2)]
        try:
            retention.run(earlier, RUN_SECONDS)
            reader.execute("SELECT FROM ai_usage_events LIMIT 1")
            assert retention.run(NOW, RUN_SECONDS).busy
            threading.Timer(LOCK_TIMEOUT_SECONDS / 2, reader.rollback).start()
            for _ in range(ROUNDS):
                retention.run(earlier, RUN_SECONDS)
                retention.run(NOW, RUN_SECONDS)
        finally:
            writers.stopped.set()
        written = sum(writer.result() for writer in writing)
    retention.run(NOW, RUN_SECONDS)
    assert stores.tables() == set()
    assert len(stores.stored()) == written
