"""Whatever happens to events, and wherever a process dies: rollups answer as the events in ClickHouse do."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from functions.sync import table
from functions.sync.rollup_tables import RollupTables
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from tests.support.clock import NOW
from tests.support.lost_connection import sync_until_lost
from tests.support.rollups import Stores, aggregations, open_stores, selection

SECONDS = 60
DAYS = [NOW, NOW - timedelta(days=2), NOW - timedelta(days=3), NOW - timedelta(days=33)]
VALUES: dict[str, list[Any]] = {
    "timestamp": DAYS,
    "event": [2, 3, 6],
    "user_id": [1, 2, 2**63 - 1],
    "namespace_path": [None, "1/", "1/2/", "12/"],
    "project_id": [None, 4],
    "payload": [{}, {"suggestion_size": 5, "language": "go"}, {"suggestion_size": 2**64 - 1}, {"language": "ruby"}],
}
COLUMNS = ", ".join(VALUES)
SELECTIONS = [
    selection(),
    selection(7),
    selection(40, NOW - timedelta(days=2)),
    selection(namespaces=("1/",)),
    selection(namespaces=("1/2/", "1/", "12/"), event_ids=(2, 6)),
    selection(namespaces=("1/",), project_ids=(4,)),
    selection(project_ids=(4,)),
    selection(user_ids=(1, 2**63 - 1)),
]

type Row = dict[str, Any]


class Session:
    """Changes events in PostgreSQL, copies them, and builds rollups; each step may be interrupted."""

    def __init__(self, sync: Sync, connection: psycopg.Connection, client: Client) -> None:
        self.sync, self.connection, self.client = sync, connection, client
        self.rollups = Rollups(sync.database_url, sync.clickhouse_url, rebuild_seconds=0, max_outdated_builds=5)

    def clear(self) -> None:
        self.connection.execute("DELETE FROM ai_usage_events")
        self.copy()

    def insert(self, row: Row) -> None:
        values = [Jsonb(row[name]) if name == "payload" else row[name] for name in VALUES]
        marks = ", ".join(["%s"] * len(values))
        self.connection.execute(
            f"INSERT INTO ai_usage_events (id, {COLUMNS}) VALUES (gen_random_uuid(), {marks})", values
        )

    def update(self, number: int, changes: Row) -> None:
        names = ", ".join(f"{name} = %s" for name in changes)
        values = [Jsonb(value) if name == "payload" else value for name, value in changes.items()]
        self.connection.execute(
            f"UPDATE ai_usage_events SET {names} WHERE (id, timestamp) = ({NTH})", [*values, number]
        )

    def delete(self, number: int) -> None:
        self.connection.execute(f"DELETE FROM ai_usage_events WHERE (id, timestamp) = ({NTH})", [number])

    def copy(self) -> None:
        self.sync.run(SECONDS)

    def build(self) -> None:
        self.rollups.run(SECONDS)

    def die_copying(self, inserts: int, stored: bool) -> None:
        """Runs a sync that dies at one of its inserts, before or after ClickHouse has stored it."""
        sync_until_lost(self.sync, inserts, SECONDS, stored=stored)

    def build_while_copying(self) -> None:
        """Builds while ClickHouse has read a chunk, but has not stored it."""

        def insert(client: Client, slices: Iterable[bytes]) -> None:
            whole = list(slices)
            self.build()
            table.insert(client, whole)

        with patch("functions.sync.sync.insert", insert):
            self.copy()

    def die_building(self, after_rows: bool) -> None:
        """Runs a build that dies before or after it inserts rows."""

        def fill(tables: RollupTables, builds: Any) -> None:
            if after_rows:
                FILL(tables, builds)
            raise ClickHouseError("the connection is gone")

        with patch.object(RollupTables, "fill", fill), suppress(ClickHouseError):
            self.build()

    def copy_while_building(self, row: Row) -> None:
        """Stores and copies an event after a build has read the events, and before its rows count."""

        def fill(tables: RollupTables, builds: Any) -> None:
            FILL(tables, builds)
            self.insert(row)
            self.copy()

        with patch.object(RollupTables, "fill", fill):
            self.build()

    def build_twice_at_once(self) -> None:
        """Runs a second build within the first one, as if the first one had lost its lock."""

        def fill(tables: RollupTables, builds: Any) -> None:
            with patch.object(RollupTables, "fill", FILL), patch("functions.sync.rollups.locks.ROLLUPS", 1):
                self.build()
            FILL(tables, builds)

        with patch.object(RollupTables, "fill", fill):
            self.build()

    def lose_rows(self) -> None:
        """Empties a table of rollups by hand."""
        self.client.command("TRUNCATE TABLE IF EXISTS ai_usage_daily_totals")

    def grow_old(self) -> None:
        """Lets the time pass in which a change of a process that died may still reach ClickHouse."""
        self.connection.execute("UPDATE rollup_changes SET begun_at = begun_at - interval '1 hour'")

    def reset(self) -> None:
        self.sync.reset(SECONDS)


NTH = "SELECT id, timestamp FROM ai_usage_events ORDER BY id OFFSET %s LIMIT 1"
FILL = RollupTables.fill

rows = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})
changes = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})
numbers = st.integers(0, 3)
operations = st.one_of(
    st.tuples(st.just("insert"), rows),
    st.tuples(st.just("insert"), rows),
    st.tuples(st.just("update"), numbers, changes.filter(bool)),
    st.tuples(st.just("update"), numbers, changes.filter(bool)),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("copy")),
    st.tuples(st.just("copy")),
    st.tuples(st.just("build")),
    st.tuples(st.just("build")),
    st.tuples(st.just("die_copying"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("build_while_copying")),
    st.tuples(st.just("die_building"), st.booleans()),
    st.tuples(st.just("copy_while_building"), rows),
    st.tuples(st.just("build_twice_at_once")),
    st.tuples(st.just("lose_rows")),
    st.tuples(st.just("grow_old")),
    st.tuples(st.just("reset")),
)


@pytest.fixture
def session(sync: Sync, connection: psycopg.Connection, client: Client) -> Session:
    return Session(sync, connection, client)


@pytest.fixture
def both(session: Session, client: Client) -> Iterator[Stores]:
    """Both ways to read ClickHouse, for all examples together."""
    session.copy()
    with open_stores(str(session.sync.database_url), str(session.sync.clickhouse_url), client) as stores:
        yield stores


@settings(
    max_examples=300 if os.environ.get("SOAK") else 6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(rows, min_size=1, max_size=4), st.lists(operations, min_size=4, max_size=14), st.randoms())
def test_rollups_answer_as_the_events_do_after_any_changes_and_deaths(
    session: Session, both: Stores, first: list[Row], done: list[tuple[Any, ...]], chance: Any
) -> None:
    session.clear()
    for row in first:
        session.insert(row)
    session.copy()
    session.grow_old()
    session.build()
    for name, *arguments in done:
        with suppress(psycopg.errors.UniqueViolation):
            getattr(session, name)(*arguments)
        some = [one for selected in SELECTIONS for one in aggregations(selected)]
        both.require_equal(chance.sample(some, 3))
    session.copy()
    session.grow_old()
    session.build()
    some = chance.sample([one for selected in SELECTIONS for one in aggregations(selected)], 20)
    both.require_equal(some)
    assert all(map(both.uses_rollups, some))
