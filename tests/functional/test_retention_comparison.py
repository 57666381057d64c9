"""An old partition is dropped only if ClickHouse has every row, even if rows were lost there."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from copy import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from psycopg import sql

import functions.retention.retention
from functions.retention import comparison
from functions.retention.comparison import first_kept_day
from functions.retention.month_ids import MonthIds, Sums
from functions.retention.report import Report
from functions.retention.retention import Retention, RetentionError
from functions.shared import clickhouse
from functions.shared.partitions import later_month, make_partitions, partition_name, partitions
from functions.shared.sync_state import BEGINNING
from functions.sync.moves import Mover
from functions.sync.sync import Sync
from infra.operations import moves
from tests.functional.test_retention import INSERT, OLD, OLDER, RUN_SECONDS, THIS_MONTH, UNSYNCED, Stores, handler
from tests.support.clickhouse_front import serve_front
from tests.support.clock import NOW
from tests.support.emitted_metrics import metrics
from tests.support.lambda_context import FakeContext

LOST = "it holds rows that ClickHouse has lost"
OUT_OF_TIME = "no time was left to compare it with ClickHouse"

MANY = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    SELECT gen_random_uuid(), %s::timestamptz + random() * interval '27 days', 6, 1, '27/' || number || '/', '{}'
    FROM generate_series(1, %s) AS numbers (number)
"""


@pytest.fixture
def stores(database_url: str, clickhouse_url: str) -> Iterator[Stores]:
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        closing(clickhouse.connect(clickhouse_url, RUN_SECONDS)) as client,
    ):
        make_partitions(connection, [OLD])
        yield Stores(connection, Retention(database_url, 3, clickhouse_url), client)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the waits of the retention."""
    monkeypatch.setattr(functions.retention.retention, "LOCK_TIMEOUT_SECONDS", 0.2)


def lose(stores: Stores, condition: str = "1") -> None:
    """Deletes rows from ClickHouse, like the loss of a replica."""
    stores.clickhouse.command(f"DELETE FROM ai_usage_events WHERE {condition}")


def named(ids: Iterable[UUID]) -> str:
    return f"id IN ({', '.join(repr(str(one)) for one in ids)})"


def kept_rows(report: Report) -> list[tuple[str, int | None, str]]:
    return [(kept.partition, kept.unsynced_rows, kept.reason) for kept in report.kept]


def test_a_partition_with_rows_lost_in_clickhouse_stays_until_they_are_copied(stores: Stores) -> None:
    there, lost = stores.store(OLD), stores.store(OLD)
    stores.sync()
    lose(stores, named([lost]))
    planned = stores.retain(dry_run=True)
    report = stores.retain()
    assert report.dropped == []
    assert stores.stored() == {there, lost}
    assert kept_rows(report) == [(partition_name(OLD), 1, LOST)]
    assert report.kept[0].missing_ids == [str(lost)]
    assert report.failure == f"{partition_name(OLD)} is kept: {LOST}"
    assert planned == msgspec.structs.replace(report, dry_run=True)
    assert any(f"(1 row), like {lost}" in line for line in report.lines())
    stores.sync()
    assert stores.retain() == Report(dry_run=False, dropped=[partition_name(OLD)])
    assert stores.synced() == {there, lost}


def test_a_dry_run_puts_nothing_before_the_sync(stores: Stores) -> None:
    there, lost = stores.store(OLD), stores.store(OLD)
    stores.sync()
    lose(stores, named([lost]))
    for _ in range(2):
        assert kept_rows(stores.retain(dry_run=True)) == [(partition_name(OLD), 1, LOST)]
    stores.sync()
    assert stores.synced() == {there}


@pytest.mark.parametrize("share", [0, 3, 1000])
def test_only_missing_rows_are_counted_and_copied_again(
    share: int, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MAX_IDS_AT_ONCE", 500)
    stores.connection.execute(MANY, [f"{OLD} 00:00:00+00", 5000])
    rows = stores.stored()
    stores.sync()
    lose(stores, f"toUInt64(splitByChar('/', namespace_path)[2]) % 1000 >= {share}")
    lost = rows - stores.synced()
    report = stores.retain()
    if share == 1000:
        assert (report.dropped, report.kept) == ([partition_name(OLD)], [])
        return
    assert kept_rows(report) == [(partition_name(OLD), len(lost), LOST)]
    assert len(report.kept[0].missing_ids) == 10
    assert set(map(UUID, report.kept[0].missing_ids)) < lost
    assert stores.retention.clickhouse_url
    assert Sync(stores.retention.database_url, stores.retention.clickhouse_url).run(RUN_SECONDS).rows == len(lost)
    assert stores.retain().dropped == [partition_name(OLD)]
    assert stores.synced() == rows


def test_rows_that_are_in_clickhouse_twice_or_nowhere_else_do_not_keep_a_partition(stores: Stores) -> None:
    rows = {stores.store(OLD) for _ in range(3)}
    deleted = stores.store(OLD)
    stores.sync()
    stores.connection.execute("UPDATE ai_usage_events SET xact_id = pg_current_xact_id()")
    moved = stores.store(OLD)
    stores.sync()
    stores.connection.execute("SET session_replication_role = replica")  # no trigger tells the sync
    stores.connection.execute("UPDATE ai_usage_events SET user_id = 2, namespace_path = '1/', xact_id = '5'")
    stores.connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [deleted])
    assert stores.retain() == Report(dry_run=False, dropped=[partition_name(OLD)])
    assert stores.synced() == rows | {deleted, moved}


def test_a_row_that_only_another_month_of_clickhouse_has_is_missing(stores: Stores) -> None:
    event_id = stores.store(OLD)
    stores.connection.execute(INSERT, [event_id, NOW])
    stores.sync()
    lose(stores, f"toYYYYMM(timestamp) = {OLD:%Y%m}")
    assert kept_rows(stores.retain()) == [(partition_name(OLD), 1, LOST)]


@pytest.mark.parametrize("replayed", [False, True])
def test_a_row_that_clickhouse_refused_is_not_missing_while_it_is_rejected(replayed: bool, stores: Stores) -> None:
    refused = stores.store(OLD)
    stores.connection.execute("UPDATE ai_usage_events SET user_id = -1")
    stores.store(OLD)
    stores.sync()
    assert refused not in stores.synced()
    # It was refused so long ago that other rejected events of that age are deleted.
    stores.connection.execute("UPDATE rejected_events SET received_at = %s", [NOW - timedelta(days=200)])
    before = replace(stores, retention=replace(stores.retention, months=4)).retain()
    assert (before.dropped, before.rejected_events_deleted) == ([], 0)
    if replayed:
        stores.connection.execute("UPDATE rejected_events SET replayed_at = now()")
        assert kept_rows(stores.retain()) == [(partition_name(OLD), 1, LOST)]
        return
    planned = stores.retain(dry_run=True)
    report = stores.retain()
    assert (report.dropped, report.rejected_events_deleted) == ([partition_name(OLD)], 1)
    assert planned == msgspec.structs.replace(report, dry_run=True)


@pytest.mark.parametrize(
    ("month", "months", "today", "first_kept"),
    [
        (date(2026, 7, 1), None, date(2036, 1, 1), date(2026, 7, 1)),
        (date(2026, 7, 1), 3, date(2026, 9, 30), date(2026, 7, 1)),
        (date(2026, 7, 1), 3, date(2026, 10, 1), date(2026, 7, 2)),
        (date(2026, 7, 1), 3, date(2026, 10, 30), date(2026, 7, 31)),
        (date(2026, 7, 1), 3, date(2026, 10, 31), None),
        (date(2026, 8, 1), 3, date(2026, 11, 29), date(2026, 8, 30)),  # the 31st counts as the 30th of November
        (date(2026, 8, 1), 3, date(2026, 11, 30), None),
        (date(2026, 11, 1), 3, date(2027, 2, 27), date(2026, 11, 28)),
        (date(2026, 11, 1), 3, date(2027, 2, 28), None),
    ],
)
def test_the_first_day_that_clickhouse_keeps_is_the_one_of_its_ttl(
    month: date, months: int | None, today: date, first_kept: date | None, stores: Stores
) -> None:
    assert first_kept_day(month, months, today) == first_kept
    if months is not None:
        statement = f"SELECT toDate({{day:String}}) + toIntervalMonth({months}) > toDate({{today:String}})"

        def kept(day: date) -> bool:
            values = {"day": day.isoformat(), "today": today.isoformat()}
            return bool(stores.clickhouse.query(statement, values).result_rows[0][0])

        end = first_kept or later_month(month, 1)
        assert first_kept is None or kept(first_kept)
        assert end == month or not kept(end - timedelta(days=1))


def test_rows_older_than_clickhouses_retention_are_not_missing(stores: Stores) -> None:
    retaining = replace(stores, retention=replace(stores.retention, clickhouse_months=4))
    now = datetime(THIS_MONTH.year, THIS_MONTH.month, 15, tzinfo=UTC)
    expired, kept = uuid4(), uuid4()
    stores.connection.execute(INSERT, [expired, datetime(OLD.year, OLD.month, 15, 23, 59, tzinfo=UTC)])
    stores.sync()
    lose(stores)
    assert retaining.retain(now, dry_run=True).dropped == [partition_name(OLD)]
    stores.connection.execute(INSERT, [kept, datetime(OLD.year, OLD.month, 16, tzinfo=UTC)])
    stores.sync()
    lose(stores)
    report = retaining.retain(now)
    assert kept_rows(report) == [(partition_name(OLD), 1, LOST)]
    assert report.kept[0].missing_ids == [str(kept)]


def test_a_detached_table_with_rows_lost_in_clickhouse_is_copied_again(stores: Stores) -> None:
    lost = stores.store(OLD)
    stores.sync()
    stores.leave_detaching(OLD)
    lose(stores)
    report = stores.retain()
    assert kept_rows(report) == [(partition_name(OLD), 1, UNSYNCED)]
    assert partition_name(OLD) in partitions(stores.connection)
    stores.sync()
    assert stores.synced() == {lost}
    assert stores.retain().dropped == [partition_name(OLD)]


def test_rows_written_copied_and_lost_during_the_comparison_are_not_dropped(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {stores.store(OLD)}
    stores.sync()
    postgres_sums = MonthIds.postgres_sums

    def write_before(month: MonthIds) -> Sums:
        late = stores.store(OLD)
        rows.add(late)
        stores.sync()
        lose(stores, named([late]))
        return postgres_sums(month)

    with monkeypatch.context() as patched:
        patched.setattr(MonthIds, "postgres_sums", write_before)
        report = stores.retain()
    assert (report.dropped, kept_rows(report)) == ([], [(partition_name(OLD), 1, UNSYNCED)])
    assert stores.stored() == rows
    assert kept_rows(stores.retain()) == [(partition_name(OLD), 1, LOST)]
    stores.sync()
    assert stores.synced() == rows


def test_a_partition_stays_if_the_sync_is_reset_after_the_stores_were_compared(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.store(OLD)
    stores.sync()
    missing_rows = comparison.Comparison.missing_rows

    def reset_after(*values: Any, **options: Any) -> comparison.Missing:
        missing = missing_rows(*values, **options)
        assert stores.retention.clickhouse_url
        Sync(stores.retention.database_url, stores.retention.clickhouse_url).reset(RUN_SECONDS)
        return missing

    with monkeypatch.context() as patched:
        patched.setattr(comparison.Comparison, "missing_rows", reset_after)
        assert kept_rows(stores.retain()) == [(partition_name(OLD), 1, UNSYNCED)]
    stores.sync()
    assert stores.retain().dropped == [partition_name(OLD)]


def test_missing_rows_that_are_locked_are_reported_and_put_back_by_a_later_run(stores: Stores, impatient: None) -> None:
    lost = stores.store(OLD)
    stores.sync()
    lose(stores)
    with stores.connect() as other:
        other.execute("SELECT FROM ai_usage_events FOR UPDATE")
        report = stores.retain()
    assert kept_rows(report) == [(partition_name(OLD), 1, f"{LOST}; other transactions use some of its rows")]
    assert kept_rows(stores.retain()) == [(partition_name(OLD), 1, LOST)]
    stores.sync()
    assert stores.synced() == {lost}


def test_missing_rows_of_a_namespace_that_has_moved_still_move(stores: Stores) -> None:
    lost = stores.store(OLD)
    stores.connection.execute("UPDATE ai_usage_events SET namespace_path = '27/28/'")
    stores.sync()
    lose(stores)
    moves.state_move(stores.connection, "27/28/", "31/28/", "a test")
    moving = "namespaces have moved, and their events have not yet"
    assert kept_rows(stores.retain()) == [(partition_name(OLD), 1, f"{LOST}; {moving}")]
    Mover(stores.retention.database_url).run(RUN_SECONDS)
    stores.sync()
    assert stores.connection.execute("SELECT id, namespace_path FROM ai_usage_events").fetchall() == [(lost, "31/28/")]
    assert stores.retain().dropped == [partition_name(OLD)]


def test_rows_that_were_detached_while_their_namespace_moved_move_once_attached(stores: Stores) -> None:
    left_behind, place = stores.store(THIS_MONTH), "SELECT id, namespace_path FROM ai_usage_events ORDER BY 2"
    stores.connection.execute("UPDATE ai_usage_events SET namespace_path = '27/28/'")
    stores.detach(THIS_MONTH)
    moves.state_move(stores.connection, "27/28/", "31/28/", "a test")
    mover = Mover(stores.retention.database_url)
    mover.run(RUN_SECONDS)
    assert stores.retain().made == [partition_name(THIS_MONTH)]
    mover.run(RUN_SECONDS)
    assert stores.connection.execute(place).fetchall() == [(left_behind, "31/28/")]
    stores.detach(THIS_MONTH)
    assert stores.retain().made == [partition_name(THIS_MONTH)]
    assert moves.open_moves(stores.connection) == []


@pytest.mark.parametrize(("code", "reason"), [(209, "ClickHouse can't be queried"), (159, OUT_OF_TIME)])
@pytest.mark.parametrize("statement", [b"SHA256", b"has("])
def test_a_failing_clickhouse_keeps_the_partition_and_fails_the_run(
    statement: bytes, code: int, reason: str, stores: Stores
) -> None:
    stores.store(OLD)
    stores.sync()
    lose(stores)
    assert stores.retention.clickhouse_url
    with serve_front(str(stores.retention.clickhouse_url)) as front:
        front.refused = {statement: code}
        report = replace(stores, retention=replace(stores.retention, clickhouse_url=front.url)).retain()
    assert (report.dropped, report.kept[0].unsynced_rows) == ([], None)
    assert report.kept[0].reason.startswith(reason)
    assert report.failure.startswith(f"{partition_name(OLD)} is kept: {reason}")


def test_where_the_time_is_over_the_partition_stays_for_the_next_run(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_partitions(stores.connection, [OLDER])
    stores.store(OLD)
    stores.sync()
    with monkeypatch.context() as patched:
        patched.setattr(functions.retention.retention, "_COMPARING_SHARE", 0)
        report = stores.retain()
    assert report.dropped == []
    assert kept_rows(report) == [(partition_name(month), None, OUT_OF_TIME) for month in (OLDER, OLD)]
    assert OUT_OF_TIME in report.failure
    assert stores.retain().dropped == [partition_name(OLDER), partition_name(OLD)]


def test_a_statement_ends_at_the_time_limit_and_its_findings_are_reported(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_longer(month: MonthIds, *_: object) -> None:
        replace(month, deadline=time.monotonic() + 1.5)._execute(sql.SQL("SELECT pg_sleep(600)"), {})

    stores.store(OLD)
    stores.sync()
    lose(stores)
    with monkeypatch.context() as patched:
        patched.setattr(MonthIds, "put_back", last_longer)
        report = stores.retain()
    assert kept_rows(report) == [(partition_name(OLD), 1, f"{LOST}; {OUT_OF_TIME}")]


def test_both_stores_add_up_the_same_ids_to_the_same_sums(stores: Stores) -> None:
    stores.connection.execute(MANY, [f"{OLD} 00:00:00+00", 2000])
    for event_id in (UUID(int=0), UUID(int=1), UUID(int=2**127), UUID(int=2**128 - 1)):
        stores.connection.execute(INSERT, [event_id, datetime(OLD.year, OLD.month, 2, tzinfo=UTC)])
    stores.connection.execute(INSERT, [uuid4(), datetime(OLD.year, OLD.month, 1, tzinfo=UTC)])
    stores.connection.execute(INSERT, [uuid4(), NOW])
    stores.sync()
    end, deadline = later_month(OLD, 1), time.monotonic() + RUN_SECONDS
    ids = MonthIds(stores.connection, stores.clickhouse, partition_name(OLD), OLD, end, BEGINNING, deadline)
    assert ids.postgres_sums() == ids.clickhouse_sums()
    assert sum(count for count, _ in ids.postgres_sums().values()) == 2005
    assert len(ids.postgres_sums()) > 1000
    stores.connection.execute("UPDATE ai_usage_events SET id = gen_random_uuid() WHERE id = %s", [UUID(int=1)])
    assert ids.postgres_sums() != ids.clickhouse_sums()


def test_the_function_counts_the_missing_rows_names_some_and_fails(
    stores: Stores, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lost = stores.store(OLD)
    stores.sync()
    lose(stores)
    function = handler(stores, stores.retention.clickhouse_url)
    with pytest.raises(RetentionError, match=LOST):
        function({}, FakeContext())
    assert metrics(capsys.readouterr().out)["UnsyncedRowsInOldPartitions"] == 1
    (line,) = [vars(record) for record in caplog.records if record.message == "retained"]
    entry = {"partition": partition_name(OLD), "unsynced_rows": 1, "reason": LOST, "missing_ids": [str(lost)]}
    assert line["kept"] == [entry]


def test_a_partition_whose_deletions_are_not_copied_yet_stays(stores: Stores) -> None:
    kept, deleted = stores.store(OLD), stores.store(OLD)
    stores.sync()
    stores.connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [deleted])
    assert kept_rows(stores.retain()) == [(partition_name(OLD), 1, UNSYNCED)]
    stores.sync()
    assert stores.retain().dropped == [partition_name(OLD)]
    assert stores.clickhouse.query("SELECT id FROM ai_usage_events FINAL").result_rows == [(kept,)]


@pytest.mark.parametrize("enabled", [True, False])
def test_removed_keys_of_months_without_a_table_are_deleted_once_nobody_needs_them(
    enabled: bool, stores: Stores
) -> None:
    make_partitions(stores.connection, [OLDER])
    stores.connection.execute("INSERT INTO sync_state VALUES ('another table', '0', %s, now())", [UUID(int=0)])
    for month in (OLDER, THIS_MONTH):
        deleted = stores.store(month)
        stores.connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [deleted])
    stores.sync()
    retention = stores.retention if enabled else replace(stores.retention, clickhouse_url=None)
    replace(stores, retention=retention).retain(dry_run=True)
    left = "SELECT count(*) FROM removed_keys"
    assert stores.connection.execute(left).fetchone() == (2,)
    replace(stores, retention=retention).retain()
    assert stores.connection.execute(left).fetchone() == (1,)
