"""History that only ClickHouse has moves with its namespaces and projects too."""

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb

from functions.graphql.handler import GraphqlHandler
from functions.graphql.store_router import StoreRouter
from functions.ingest.pipeline import Consumer
from functions.shared import locks
from functions.shared.catalog import registry
from functions.shared.partitions import later_month, make_partitions, month_of, partition_name
from functions.shared.postgres import Database, TimeLimits
from functions.sync import clickhouse_moves
from functions.sync.moves import Mover
from functions.sync.sync import Sync
from tests.functional.test_directory import batch, event, project
from tests.functional.test_moves import at, count, say
from tests.functional.test_sync import in_clickhouse, in_postgres
from tests.support.accounts import Query
from tests.support.clock import NOW

EXAMPLES = 300 if os.environ.get("SOAK") else 12
SECONDS = 60
OLD_MONTH = later_month(month_of(NOW.date()), -8)
OLD = datetime(OLD_MONTH.year, OLD_MONTH.month, 7, 12, tzinfo=NOW.tzinfo)

INSERT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    VALUES (%s, %s, 6, %s, %s, %s, %s)
"""
OLD_ROWS = """
    SELECT user_id, namespace_path, project_id, toJSONString(payload)
    FROM ai_usage_events FINAL
    WHERE toYYYYMM(timestamp) = {month:UInt32}
    ORDER BY user_id
"""

type OldRows = Callable[[], list[tuple[Any, ...]]]


@pytest.fixture
def consumers(database_url: str) -> Iterator[list[Consumer]]:
    loaded = registry.load()
    consumers = [Consumer(Database(database_url, TimeLimits(30, 30)), loaded, 3) for _ in range(2)]
    yield consumers
    for consumer in consumers:
        consumer.database.close()


@pytest.fixture
def mover(database_url: str, clickhouse_url: str) -> Mover:
    return Mover(database_url, clickhouse_url)


def keep_in_clickhouse_only(
    connection: psycopg.Connection, sync: Sync, rows: list[tuple[int, str, int | None]]
) -> None:
    """Stores events of a month that PostgreSQL then drops: of each its user, path and project."""
    make_partitions(connection, [OLD_MONTH])
    for user, path, number in rows:
        time = OLD + timedelta(days=user % 20, seconds=user)
        connection.execute(INSERT, [uuid4(), time, user, path, number, Jsonb({"n": user})])
    assert sync.run(SECONDS).status == "caught_up"
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(partition_name(OLD_MONTH))))


def old_rows(client: Client) -> list[tuple[Any, ...]]:
    values = {"month": OLD.year * 100 + OLD.month}
    return [tuple(row) for row in client.query(OLD_ROWS, parameters=values).result_rows]


def test_what_only_clickhouse_has_moves_and_each_event_is_there_once(
    consumers: list[Consumer],
    connection: psycopg.Connection,
    sync: Sync,
    mover: Mover,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        (user, f"27/28/{user % 3 + 1}/" if user % 4 else "27/28/", 4 if user % 5 == 0 else None) for user in range(60)
    ]
    keep_in_clickhouse_only(connection, sync, [*rows, (99, "27/", None)])
    monkeypatch.setattr(clickhouse_moves, "ROWS_AT_ONCE", 7)
    move, seen = clickhouse_moves._move, list[int]()

    def watched(*arguments: Any) -> None:
        move(*arguments)
        found = old_rows(client)
        assert [row[0] for row in found] == [*range(60), 99]
        seen.append(sum(row[1].startswith("31/") for row in found))

    monkeypatch.setattr(clickhouse_moves, "_move", watched)
    say(consumers[0], at("27/28/", 1_000, 3))
    say(consumers[0], at("31/28/", 1_001, 1))
    assert mover.run(SECONDS).open == 0
    assert seen == sorted(set(seen))
    assert seen[-1] == 60
    expected = [(user, path.replace("27/", "31/"), number or 0, f'{{"n":{user}}}') for user, path, number in rows]
    assert old_rows(client) == [*expected, (99, "27/", 0, '{"n":99}')]
    assert mover.run(SECONDS).events == 0
    sync.run(SECONDS)
    assert len(in_clickhouse(client)) == len(in_postgres(connection)) + 61


def test_history_in_clickhouse_moves_back_and_a_project_leaves(
    consumers: list[Consumer], connection: psycopg.Connection, sync: Sync, mover: Mover, client: Client
) -> None:
    keep_in_clickhouse_only(connection, sync, [(1, "27/28/", None), (2, "27/28/", 4), (3, "27/28/", 5)])
    for days_ago, path in ((9, "27/28/"), (7, "31/28/"), (5, "27/28/"), (3, "40/28/")):
        say(consumers[0], at(path, 100, days_ago))
        assert mover.run(SECONDS).open == 0
        assert {row[1] for row in old_rows(client)} == {path}
    say(consumers[1], event(9, user_id=101, project=project(4, "27/28/")))
    say(consumers[1], event(1, user_id=101, project=project(4, "50/")))
    assert mover.run(SECONDS).open == 0
    assert [row[1] for row in old_rows(client)] == ["40/28/", "50/", "40/28/"]


def test_a_large_move_in_clickhouse_does_not_delay_that_of_another_tenant(
    consumers: list[Consumer],
    connection: psycopg.Connection,
    sync: Sync,
    mover: Mover,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [(user, "27/7/", None) for user in range(40)]
    keep_in_clickhouse_only(connection, sync, [*rows, (99, "9/28/", None)])
    monkeypatch.setattr(clickhouse_moves, "ROWS_AT_ONCE", 3)
    for user, path in enumerate(("27/7/", "9/28/", "31/7/", "3/28/")):
        say(consumers[0], at(path, 1_000 + user, 5 - user))
    move, left = clickhouse_moves._move, list[int]()

    def watched(*arguments: Any) -> None:
        move(*arguments)
        paths = [row[1] for row in old_rows(client)]
        if "9/28/" not in paths:
            left.append(paths.count("27/7/"))

    monkeypatch.setattr(clickhouse_moves, "_move", watched)
    assert mover.run(SECONDS).open == 0
    assert left[0] > 30
    assert left[-1] == 0


def test_readers_of_clickhouse_find_the_history_under_the_new_path(
    consumers: list[Consumer],
    connection: psycopg.Connection,
    sync: Sync,
    mover: Mover,
    api: GraphqlHandler,
    clickhouse_url: str,
) -> None:
    say(consumers[0], *(at("27/28/", user, 3) for user in range(1, 31)))
    sync.run(SECONDS)
    api.stores = StoreRouter(api.database, clickhouse_url)
    assert (count(api, "27/", "27/"), count(api, "31/", "31/")) == (30, 0)
    say(consumers[0], at("31/28/", 31, 1))
    assert mover.run(SECONDS).events == 30
    sync.run(SECONDS)
    assert (count(api, "27/", "27/"), count(api, "31/", "31/")) == (0, 31)


def test_moves_in_clickhouse_wait_while_a_sync_runs(
    consumers: list[Consumer], connection: psycopg.Connection, sync: Sync, mover: Mover, client: Client
) -> None:
    keep_in_clickhouse_only(connection, sync, [(1, "27/28/", None)])
    say(consumers[0], at("27/28/", 100, 3))
    say(consumers[0], at("31/28/", 101, 1))
    lock = "SELECT pg_advisory_lock(%s)"
    connection.execute(lock, [locks.SYNC])
    assert mover.run(SECONDS).open == 1
    assert [row[1] for row in old_rows(client)] == ["27/28/"]
    connection.execute("SELECT pg_advisory_unlock_all()")
    assert mover.run(SECONDS).open == 0
    assert [row[1] for row in old_rows(client)] == ["31/28/"]


def test_a_row_refused_before_its_namespace_moved_is_replayed_where_that_is(
    consumers: list[Consumer], connection: psycopg.Connection, sync: Sync, mover: Mover, client: Client
) -> None:
    keep_in_clickhouse_only(connection, sync, [(-1, "27/28/", None), (2, "27/28/", None)])
    say(consumers[0], at("27/28/", 100, 3), at("31/28/", 101, 1))
    mover.run(SECONDS)
    connection.execute("UPDATE rejected_events SET body = jsonb_set(body::jsonb, '{user_id}', '1')::text")
    assert sync.replay(SECONDS) == (1, 0)
    assert [row[:2] for row in old_rows(client)] == [(1, "31/28/"), (2, "31/28/")]


PATHS = ["1/", "1/2/", "1/2/3/", "2/", "2/3/", "4/1/", "4/2/", "4/1/2/", "4/", "3/", "4/3/"]


@st.composite
def stated_events(draw: st.DrawFn) -> tuple[float, str, int | None]:
    """Days ago, path, and perhaps the project of an event of a sender without limits."""
    return draw(st.integers(1, 60)), draw(st.sampled_from(PATHS)), draw(st.sampled_from([None, None, 1, 2]))


@st.composite
def true_events(draw: st.DrawFn) -> list[tuple[float, str, int | None]]:
    """Events of a tree whose namespaces move about: each names the path that was right at its time."""
    parents: dict[int, int | None] = dict.fromkeys(range(1, 7))
    said = list[tuple[float, str, int | None]]()

    def path_of(number: int | None) -> str:
        return "" if number is None else f"{path_of(parents[number])}{number}/"

    for days_ago in range(60, 60 - draw(st.integers(4, 14)), -1):
        moving = draw(st.sampled_from(sorted(parents)))
        above = [number for number in parents if str(moving) not in path_of(number)]
        parents[moving] = draw(st.sampled_from([None, *above]))
        said.append((days_ago, path_of(moving), draw(st.sampled_from([None, None, None, 1, 2]))))
    return said


class Model:
    """Where everything is, by what was stated, told without regard to the order in which it arrives."""

    def __init__(self, said: list[tuple[float, str, int | None]]) -> None:
        self.namespaces: dict[int, tuple[float, str]] = {}
        self.projects: dict[int, tuple[float, str]] = {}
        for days_ago, path, number in said:
            self._state(self.namespaces, last(path), -days_ago, path)
            if number is not None:
                self._state(self.projects, number, -days_ago, path)

    @staticmethod
    def _state(known: dict[int, tuple[float, str]], number: int, time: float, path: str) -> None:
        known[number] = max(known.get(number, (time, path)), (time, path))

    def namespace(self, number: int) -> str:
        time, path = self.namespaces[number]
        return self._followed(path, time, prefixes(path)[:-1], is_own=False)

    def project(self, number: int) -> str:
        time, path = self.projects[number]
        return self._followed(path, time, prefixes(path), is_own=True)

    def _followed(self, path: str, time: float, above: list[str], *, is_own: bool) -> str:
        for prefix in reversed(above):
            later = self.namespaces.get(last(prefix))
            if later is None or later <= (time, prefix if is_own and prefix == path else "~"):
                continue
            place = self.namespace(last(prefix)) + path.removeprefix(prefix)
            if len(set(place.split("/"))) == len(place.split("/")):
                return place
        return path


def last(path: str) -> int:
    return int(path.split("/")[-2])


def prefixes(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: number + 1]) + "/" for number in range(len(parts))]


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    said=st.one_of(st.lists(stated_events(), min_size=2, max_size=8, unique_by=lambda one: one[0]), true_events()),
    chance=st.randoms(use_true_random=False),
)
def test_in_any_order_of_moves_and_late_events_both_stores_agree_with_a_plain_model(
    consumers: list[Consumer],
    connection: psycopg.Connection,
    sync: Sync,
    mover: Mover,
    client: Client,
    query: Query,
    said: list[tuple[float, str, int | None]],
    chance: Any,
) -> None:
    start_anew(connection, client, consumers)
    history = [(1_000 + number, path, project_id) for number, (_, path, project_id) in enumerate(said)]
    keep_in_clickhouse_only(connection, sync, history)
    order = list(enumerate(said))
    chance.shuffle(order)
    for user, (days_ago, path, number) in order:
        named = {"project": project(number, path)} if number else {"namespace": {"path": path}}
        chance.choice(consumers).consume([batch([event(days_ago, user_id=user + 1, **named)], None)])
        for step in (mover, sync):
            if chance.random() < 0.3:
                step.run(SECONDS)
    while mover.run(SECONDS).open:
        pass
    model = Model(said)
    places = {
        user: model.project(number) if number else model.namespace(last(path))
        for user, (_, path, number) in enumerate(said)
    }
    stored = "SELECT user_id, namespace_path FROM ai_usage_events"
    assert {row["user_id"] - 1: row["namespace_path"] for row in query(stored)} == places
    assert {row[0] - 1_000: row[1] for row in old_rows(client)} == places
    sync.run(SECONDS)
    assert [row for row in in_clickhouse(client) if row[3] < 1_000] == in_postgres(connection)
    for kind, known, path_of in (
        ("namespaces", model.namespaces, model.namespace),
        ("projects", model.projects, model.project),
    ):
        found = query(f"SELECT * FROM {kind}")
        assert {row["id"]: row.get("path") or row.get("namespace_path") for row in found} == {
            number: path_of(number) for number in known
        }


def start_anew(connection: psycopg.Connection, client: Client, consumers: list[Consumer]) -> None:
    """Empties both stores, and makes the consumers forget what they know."""
    for table in (
        "ai_usage_events",
        "removed_keys",
        "sync_state",
        "namespaces",
        "projects",
        "users",
        "facts",
        "restated_facts",
        "user_names",
        "namespace_moves_in_clickhouse",
        "namespace_moves",
    ):
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
    for name in ("ai_usage_events_current", "ai_usage_events"):
        client.command(f"DROP {'VIEW' if name.endswith('current') else 'TABLE'} IF EXISTS {name} SYNC")
    for consumer in consumers:
        consumer.known.forget()
