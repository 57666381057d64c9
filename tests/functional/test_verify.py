"""`usage-events verify` finds whatever differs between the stores, and mends it."""

import os
from copy import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from functions.shared import locks
from functions.sync.error import SyncError
from functions.sync.moves import Mover
from functions.sync.sync import Sync
from infra.cli import app
from infra.operations import month_contents, moves
from infra.operations.verify import Difference, Verification
from tests.functional.test_sync import (
    INSERT,
    LAST_MONTH,
    MANY,
    SECONDS,
    Both,
    in_clickhouse,
    in_postgres,
    insert,
    payloads,
    storable,
)
from tests.support.clock import NOW

THIS_MONTH = date(NOW.year, NOW.month, 1)

ADD = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    SELECT {id:UUID}, {timestamp:DateTime64(6, 'UTC')}, 6, {user:UInt64}, '27/', '{}'
"""


@pytest.fixture
def both(connection: psycopg.Connection, sync: Sync, client: Client) -> Both:
    return connection, sync, client


def verification(connection: psycopg.Connection, client: Client, months: int | None = None) -> Verification:
    return Verification(connection, client, months, NOW.date())


def differences(connection: psycopg.Connection, client: Client, *, repair: bool = False) -> list[Difference]:
    comparing = verification(connection, client)
    found = [comparing.compare(month, repair=repair) for month in comparing.months()]
    return [difference for difference in found if difference.count]


def change(client: Client, assignment: str, event_id: UUID) -> None:
    """Updates an event in ClickHouse behind the sync's back."""
    statement = f"ALTER TABLE ai_usage_events UPDATE {assignment} WHERE id = {{id:UUID}}"
    client.command(statement, parameters={"id": event_id}, settings={"mutations_sync": 1})


def test_equal_stores_are_found_equal_and_counted(
    sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(MANY, [2000])
    sync.run(SECONDS)
    monkeypatch.setattr(Verification, "_compare_minutes", None)  # sums suffice
    comparing = verification(connection, client)
    found = [comparing.compare(month) for month in comparing.months()]
    assert (sum(one.compared for one in found), sum(one.count for one in found)) == (2000, 0)


@pytest.mark.parametrize(
    "assignment",
    [
        "user_id = 7",
        "project_id = 7",
        "payload = '{\"n\": 2}'",
        "payload = '{}'",
        "payload = '{\"n\": true}'",
        'payload = \'{"n": 1, "m": 1}\'',
    ],
)
def test_an_event_that_is_another_in_clickhouse_is_named_and_mended(
    assignment: str, sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    changed = [insert(connection, {"n": 1}) for _ in range(3)][1]
    insert(connection, timestamp=LAST_MONTH)
    sync.run(SECONDS)
    change(client, assignment, changed)
    (difference,) = differences(connection, client)
    assert (difference.month, difference.differing) == (THIS_MONTH, {changed})
    assert (difference.missing, difference.extra) == (set(), set())
    differences(connection, client, repair=True)
    sync.run(SECONDS)
    assert differences(connection, client) == []
    assert in_clickhouse(client) == in_postgres(connection)


def test_missing_and_extra_events_are_named_and_mended(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    missing, kept, moved = (insert(connection) for _ in range(3))
    extra, history = uuid4(), uuid4()
    sync.run(SECONDS)
    client.command(f"DELETE FROM ai_usage_events WHERE id IN ('{missing}', '{moved}')")
    old = datetime(2020, 1, 1, tzinfo=UTC)
    for event_id, timestamp in ((extra, NOW), (moved, NOW), (history, old)):
        client.command(ADD, parameters={"id": event_id, "timestamp": timestamp, "user": 1})
    (difference,) = differences(connection, client, repair=True)
    assert (difference.missing, difference.extra, difference.differing) == ({missing}, {extra}, {moved})
    sync.run(SECONDS)
    assert differences(connection, client) == []
    assert {row[0] for row in in_clickhouse(client)} == {missing, kept, moved, history}


def test_events_that_wait_or_were_refused_do_not_differ(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    updated, moved, deleted = (insert(connection, {"n": 1}) for _ in range(3))
    refused = insert(connection, user_id=-1)
    sync.run(SECONDS)
    connection.execute("UPDATE ai_usage_events SET user_id = 9 WHERE id = %s", [updated])
    connection.execute("UPDATE ai_usage_events SET namespace_path = '1/' WHERE id = %s", [moved])
    connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [deleted])
    insert(connection)
    difference = verification(connection, client).compare(THIS_MONTH, repair=True)
    assert (difference.count, difference.waiting, difference.refused) == (0, 3, 1)
    assert refused not in difference.missing
    assert list(difference.lines()) == [
        f"{THIS_MONTH:%Y-%m}: 1 event was compared, equal, 3 wait for the sync, ClickHouse refused 1"
    ]


def test_days_that_clickhouse_no_longer_keeps_are_not_compared(
    sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    first = datetime(NOW.year, NOW.month, 1, tzinfo=UTC)
    oldest = (first - timedelta(days=1)).replace(day=1)
    gone = insert(connection, timestamp=oldest)
    sync.run(SECONDS)
    client.command(f"DELETE FROM ai_usage_events WHERE id = '{gone}'")
    comparing = verification(connection, client, months=1)
    assert [comparing.compare(month).count for month in comparing.months()] == [0] * len(comparing.months())


def test_an_event_that_is_extra_stays_if_postgresql_has_dropped_the_month(
    sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = insert(connection, timestamp=LAST_MONTH)
    sync.run(SECONDS)
    month = LAST_MONTH.date().replace(day=1)
    connection.execute(f"DROP TABLE ai_usage_events_{month:%Y%m}")
    comparing = verification(connection, client)
    assert month not in comparing.months()
    with pytest.raises(psycopg.errors.UndefinedTable):
        comparing.compare(month, repair=True)
    assert [row[0] for row in in_clickhouse(client)] == [event_id]
    assert connection.execute("SELECT count(*) FROM removed_keys").fetchone() == (0,)


def test_events_are_compared_only_while_no_sync_runs(
    sync: Sync, connection: psycopg.Connection, client: Client, database_url: str
) -> None:
    event_id = insert(connection)
    sync.run(SECONDS)
    change(client, "user_id = 7", event_id)
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [locks.SYNC])
        connection.execute("SET lock_timeout = '200ms'")
        with pytest.raises(SyncError, match="another sync does not end"):
            differences(connection, client)


def test_events_of_a_namespace_that_has_moved_still_move_after_a_repair(
    sync: Sync, connection: psycopg.Connection, client: Client, database_url: str
) -> None:
    event_id = insert(connection)
    sync.run(SECONDS)
    client.command(f"DELETE FROM ai_usage_events WHERE id = '{event_id}'")
    moves.state_move(connection, "27/28/", "31/28/", "a test")
    with pytest.raises(SyncError, match="moved"):
        differences(connection, client, repair=True)
    Mover(database_url).run(SECONDS)
    assert [row[4] for row in in_postgres(connection)] == ["31/28/"]


@pytest.mark.parametrize("keep_extra", [False, True])
def test_an_event_that_is_elsewhere_in_clickhouse_too_is_there_once_after_a_repair(
    keep_extra: bool, sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    twice, extra = insert(connection), uuid4()
    sync.run(SECONDS)
    for event_id, timestamp in ((twice, NOW), (twice, LAST_MONTH), (extra, NOW)):
        client.command(ADD, parameters={"id": event_id, "timestamp": timestamp, "user": 1})
    comparing = replace(verification(connection, client), keep_extra=keep_extra)
    found = [comparing.compare(month, repair=True) for month in comparing.months()]
    assert [one.former for one in found if one.former] == [{twice}, {twice}]
    assert [one.extra for one in found if one.extra] == [{extra}]
    sync.run(SECONDS)
    assert {row[0] for row in in_clickhouse(client)} == ({twice, extra} if keep_extra else {twice})
    assert len(in_clickhouse(client)) == 1 + keep_extra


@pytest.mark.parametrize("rows_at_once", [1, 30, 100_000])
def test_single_differences_among_many_events_are_found_whatever_is_read_at_once(
    rows_at_once: int, sync: Sync, connection: psycopg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(month_contents, "MAX_ROWS_AT_ONCE", rows_at_once)
    connection.execute(MANY, [600])
    sync.run(SECONDS)
    changed = {row[0] for row in in_postgres(connection)[::100]}
    for event_id in changed:
        change(client, "user_id = 7000", event_id)
    found = differences(connection, client)
    assert set[UUID]().union(*(one.differing for one in found)) == changed
    assert sum(one.count for one in found) == len(changed)


ODD = [
    '{"n": 1.50, "m": 1e3, "k": -0.0, "a/b": "c/d", "é": "\\u00e9\\t\\"\\\\"}',
    '{"o": {"p": {"q": 1}, "empty": {}}, "none": null, "list": [1, 2.5, null, {"a": null}]}',
    '{"bb": 1, "a": 2, "aa": 3, "b": "x"}',
    '{"big": 18446744073709551615, "small": -9223372036854775808, "f": 12345678901234567890123}',
    '{"a.b": 1, "a": {"b": 2}}',
]


@pytest.mark.parametrize("payload", ODD)
def test_payloads_that_the_stores_write_differently_are_equal(
    payload: str, sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    connection.execute(INSERT, [uuid4(), NOW, 6, 1, None, payload])
    sync.run(SECONDS)
    assert differences(connection, client) == []


@settings(
    max_examples=1000 if os.environ.get("SOAK") else 15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(payloads, min_size=1, max_size=20))
def test_whatever_payloads_are_stored_the_stores_are_found_equal(both: Both, sent: list[dict[str, Any]]) -> None:
    connection, sync, client = both
    connection.execute("TRUNCATE ai_usage_events")
    client.command("TRUNCATE TABLE IF EXISTS ai_usage_events")
    for payload in sent:
        if (stored := storable(payload)) is not None:
            insert(connection, stored)
    sync.run(SECONDS)
    assert differences(connection, client) == []


def test_the_command_names_months_and_events_mends_them_and_exits_with_1(
    sync: Sync,
    connection: psycopg.Connection,
    client: Client,
    database_url: str,
    clickhouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse_url)
    changed, missing = insert(connection, {"n": 1}), insert(connection)
    sync.run(SECONDS)
    assert CliRunner().invoke(app, ["verify"]).exit_code == 0
    change(client, "user_id = 7", changed)
    client.command(f"DELETE FROM ai_usage_events WHERE id = '{missing}'")
    month = ["verify", "--month", f"{THIS_MONTH:%Y-%m}"]
    for _ in range(2):
        result = CliRunner().invoke(app, month)
        assert result.exit_code == 1
        assert result.stdout.splitlines() == [
            f"{THIS_MONTH:%Y-%m}: 2 events were compared, 2 differ",
            f"  missing in ClickHouse: {missing}",
            f"  not the same: {changed}",
        ]
    assert CliRunner().invoke(app, ["verify", "--month", f"{LAST_MONTH:%Y-%m}"]).exit_code == 0
    assert CliRunner().invoke(app, ["verify", "--repair"]).exit_code == 0
    assert in_clickhouse(client) == in_postgres(connection)
    for wrong in ("2020-01", "November"):
        assert CliRunner().invoke(app, ["verify", "--month", wrong]).exit_code == 2
