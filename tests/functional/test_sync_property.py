"""Whatever happens to events in PostgreSQL, and wherever the sync stops: ClickHouse has what PostgreSQL has."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from copy import replace
from datetime import datetime, timedelta
from random import Random
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import DeadlockDetected, LockNotAvailable, SerializationFailure, UniqueViolation
from psycopg.types.json import Jsonb

from functions.shared import clickhouse
from functions.sync.catch_up import catch_up
from functions.sync.sync import Sync
from infra.operations.verify import Verification
from tests.functional.test_sync import CHUNKS_BEFORE_A_KILL, KILLED, LAST_MONTH, SECONDS, in_clickhouse, in_postgres
from tests.support.clock import NOW
from tests.support.lost_connection import sync_until_lost

IDS = [UUID(int=number) for number in range(1, 4)]
VALUES: dict[str, list[Any]] = {
    "timestamp": [NOW, NOW - timedelta(seconds=1), LAST_MONTH],
    "event": [6, 7],
    "user_id": [1, 2],
    "namespace_path": [None, "1/", "1/2/"],
    "project_id": [None, 4],
    "payload": [{}, {"n": 1}, {"a": [2**60]}, {"a": [0.5]}],
}
COLUMNS = ", ".join(["id", *VALUES])

type Row = dict[str, Any]
type Model = dict[tuple[UUID, int], Row]
"""What is stored, by id and month."""


@pytest.fixture
def session(database_url: str, clickhouse_url: str) -> Iterator["Session"]:
    """Both stores and an older transaction, for all examples together."""
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        psycopg.connect(database_url, autocommit=True) as older,
        closing(clickhouse.connect(clickhouse_url, SECONDS)) as client,
    ):
        yield Session(Sync(database_url, clickhouse_url), connection, older, client)


def key_of(row: Row) -> tuple[UUID, int]:
    return row["id"], row["timestamp"].month


class Session:
    """Changes events in PostgreSQL and in a plain model."""

    def __init__(self, sync: Sync, connection: psycopg.Connection, older: psycopg.Connection, client: Client) -> None:
        self.sync, self.connection, self.older, self.client = sync, connection, older, client
        self.model: Model = {}
        self.begun = False

    def clear(self) -> None:
        self.connection.execute("TRUNCATE ai_usage_events, removed_keys, sync_state")
        self.client.command("TRUNCATE TABLE IF EXISTS ai_usage_events")
        self.model = {}

    def begin(self) -> None:
        """Gives the older transaction its number."""
        if not self.begun:
            self.older.execute("BEGIN")
            self.older.execute("SELECT pg_current_xact_id()")
            self.begun = True

    def commit(self) -> None:
        if self.begun:
            self.older.execute("COMMIT")
            self.begun = False

    def insert(self, row: Row, by_older: bool) -> None:
        if key_of(row) not in self.model:
            values = [row["id"], *(Jsonb(row[name]) if name == "payload" else row[name] for name in VALUES)]
            marks = ", ".join(["%s"] * len(values))
            if self._execute(by_older, f"INSERT INTO ai_usage_events ({COLUMNS}) VALUES ({marks})", values):
                self.model[key_of(row)] = row

    def update(self, number: int, changes: Row, by_older: bool) -> None:
        if self.model:
            key = sorted(self.model)[number % len(self.model)]
            row = self.model[key]
            changed = row | changes
            if key_of(changed) != key and key_of(changed) in self.model:
                return
            names = ", ".join(f"{name} = %s" for name in changes)
            values = [Jsonb(value) if name == "payload" else value for name, value in changes.items()]
            statement = f"UPDATE ai_usage_events SET {names} WHERE id = %s AND timestamp = %s"
            if self._execute(by_older, statement, [*values, row["id"], row["timestamp"]]):
                del self.model[key]
                self.model[key_of(changed)] = changed

    def delete(self, number: int, by_older: bool) -> None:
        if self.model:
            key = sorted(self.model)[number % len(self.model)]
            row = self.model[key]
            statement = "DELETE FROM ai_usage_events WHERE id = %s AND timestamp = %s"
            if self._execute(by_older, statement, [row["id"], row["timestamp"]]):
                del self.model[key]

    def copy(self, chunk_bytes: int) -> None:
        replace(self.sync, chunk_bytes=chunk_bytes).run(SECONDS)
        if not self.begun:
            self.require_equal()

    def stop_copying(self, inserts: int, stored: bool) -> None:
        """Runs a sync whose connection is gone at one of its inserts, before or after ClickHouse has stored it."""
        sync_until_lost(self.sync, inserts, SECONDS, stored=stored)

    def reset(self) -> None:
        self.sync.reset(SECONDS)

    def require_equal(self) -> None:
        here, there = in_postgres(self.connection), in_clickhouse(self.client)
        wanted = [tuple(row[name] for name in ("id", *ORDER)) for row in self.model.values()]
        assert sorted(here, key=by_key) == sorted(wanted, key=by_key)
        assert there == here

    def _execute(self, by_older: bool, statement: str, values: list[Any]) -> bool:
        """Executes a change; returns whether no other transaction stood against it."""
        connection = self.older if by_older and self.begun else self.connection
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '30ms'")
                return connection.execute(statement, values).rowcount == 1
        except (LockNotAvailable, UniqueViolation):
            return False


ORDER = ("timestamp", "event", "user_id", "namespace_path", "payload", "project_id")


def by_key(row: tuple[Any, ...]) -> tuple[UUID, datetime]:
    return row[0], row[1]


rows = st.fixed_dictionaries(
    {"id": st.sampled_from(IDS)} | {name: st.sampled_from(values) for name, values in VALUES.items()}
)
changes = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})
numbers = st.integers(0, 5)
operations = st.one_of(
    st.tuples(st.just("insert"), rows, st.booleans()),
    st.tuples(st.just("update"), numbers, changes.filter(bool), st.booleans()),
    st.tuples(st.just("update"), numbers, changes.filter(bool), st.booleans()),
    st.tuples(st.just("delete"), numbers, st.booleans()),
    st.tuples(st.just("copy"), st.sampled_from([1, 10**6])),
    st.tuples(st.just("stop_copying"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("reset")),
    st.tuples(st.just("begin")),
    st.tuples(st.just("commit")),
)


@settings(
    max_examples=500 if os.environ.get("SOAK") else 8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(rows, max_size=3), st.lists(operations, min_size=5, max_size=20))
def test_clickhouse_has_what_postgresql_has_after_any_changes_and_stops(
    session: Session, first: list[Row], done: list[tuple[Any, ...]]
) -> None:
    session.clear()
    for row in first:
        session.insert(row, by_older=False)
    session.copy(10**6)
    try:
        for name, *arguments in done:
            getattr(session, name)(*arguments)
    finally:
        session.commit()
    session.copy(10**6)
    session.copy(10**6)
    session.client.command("OPTIMIZE TABLE ai_usage_events FINAL")
    session.require_equal()
    assert session.connection.execute("SELECT count(*) FROM removed_keys").fetchone() == (0,)
    comparing = Verification(session.connection, session.client, None, NOW.date())
    months = {row["timestamp"].date().replace(day=1) for row in session.model.values()}
    assert sum(comparing.compare(month).count for month in months) == 0


# Each statement changes a few events; a month, a namespace and a payload are among what changes.
STATEMENTS = [
    """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    SELECT gen_random_uuid(), now() - random() * interval '40 days', 6 + number %% 2, number, '1/' || number || '/',
           nullif(number, 3), jsonb_build_object('n', number, 'text', repeat('x', 50))
    FROM generate_series(1, %(count)s) AS number
    """,
    "DELETE FROM ai_usage_events WHERE id = ANY(%(ids)s)",
    "UPDATE ai_usage_events SET payload = payload || jsonb_build_object('m', random()) WHERE id = ANY(%(ids)s)",
    "UPDATE ai_usage_events SET namespace_path = %(path)s WHERE id = ANY(%(ids)s)",
    "UPDATE ai_usage_events SET namespace_path = %(path)s, event = 13 - event WHERE id = ANY(%(ids)s)",
    """
    UPDATE ai_usage_events
    SET timestamp = timestamp + CASE WHEN timestamp < %(month)s THEN interval '29 days' ELSE interval '-29 days' END
    WHERE id = ANY(%(ids)s)
    """,
    "UPDATE ai_usage_events SET user_id = user_id + 1, project_id = 5 WHERE id = ANY(%(ids)s)",
]


CONFLICTS = (LockNotAvailable, DeadlockDetected, SerializationFailure)


class Changing(Thread):
    """Changes events at random, in transactions that end in another order than they begin."""

    def __init__(self, database_url: str, operations: int, seed: int) -> None:
        super().__init__()
        self.database_url, self.operations, self.chance = database_url, operations, Random(seed)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                connection.execute("SET lock_timeout = '2s'; SET deadlock_timeout = '50ms'")
                while self.operations > 0:
                    with suppress(*CONFLICTS), connection.transaction():
                        for _ in range(self.chance.randint(1, 4)):
                            self.operations -= self.change(connection)
        except BaseException as error:  # noqa: BLE001 - raised by the test
            self.error = error

    def change(self, connection: psycopg.Connection) -> int:
        count = self.chance.randint(1, 5)
        some = connection.execute(
            "SELECT id FROM ai_usage_events WHERE id >= gen_random_uuid() ORDER BY id LIMIT %s", [count]
        )
        values = {
            "count": count,
            "ids": [row[0] for row in some],
            "path": self.chance.choice([None, "1/", "1/2/", "7/8/9/"]),
            "month": NOW.replace(day=1),
        }
        return connection.execute(self.chance.choice(STATEMENTS), values).rowcount


def test_changes_beside_a_sync_that_is_killed_again_and_again_all_arrive(
    database_url: str, clickhouse_url: str, connection: psycopg.Connection, client: Client
) -> None:
    kills, operations = (10, 10_000) if os.environ.get("SOAK") else (3, 600)
    connection.execute(STATEMENTS[0], {"count": operations // 5})
    changing = [Changing(database_url, operations // 2, seed) for seed in range(2)]
    for thread in changing:
        thread.start()
    chance = Random(7)
    command = [sys.executable, "-c", KILLED, database_url, clickhouse_url, str(CHUNKS_BEFORE_A_KILL)]
    codes = set[int]()
    for _ in range(kills):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 3)):
                process.stdout.readline()
            process.kill()
        codes.add(process.returncode)
    assert -signal.SIGKILL in codes <= {0, -signal.SIGKILL}
    for thread in changing:
        thread.join()
        assert thread.error is None
    with psycopg.connect(database_url, autocommit=True) as waiting:
        for _ in range(2):
            catch_up(Sync(database_url, clickhouse_url), waiting, SECONDS, 600)
    comparing = Verification(connection, client, None, NOW.date())
    found = [comparing.compare(month) for month in comparing.months()]
    assert (sum(one.count for one in found), sum(one.waiting for one in found)) == (0, 0)
    assert sum(one.compared for one in found) > operations // 10
    assert in_clickhouse(client) == in_postgres(connection)
