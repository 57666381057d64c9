"""A lost PostgreSQL is refilled from ClickHouse."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.graphql.store_router import StoreRouter
from functions.ingest.consumer_handler import ConsumerHandler, build
from functions.shared.clickhouse import columns_of, readable_target_of
from functions.shared.postgres import Database, TimeLimits
from functions.sync import kept_directory, sync
from functions.sync.analysis import Analysis
from functions.sync.chunks import EPOCH_FACTOR
from functions.sync.moves import Mover
from functions.sync.sync import Sync
from infra.operations.canonical_payload import canonical_payload
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from infra.operations.refill import month
from infra.operations.refill.error import RefillError
from infra.operations.refill.refill import Refill
from infra.operations.refill.thresholds import Translation, translated_version
from tests.conftest import RETENTION_MONTHS
from tests.functional.test_sync import LAST_MONTH, MANY, count, in_clickhouse, in_postgres, insert, payloads, storable
from tests.support.checkout import ROOT
from tests.support.clock import NOW
from tests.support.consuming import consume
from tests.support.erasing import chat, message
from tests.support.refilling import SECONDS, another_database, bring, differences, directory_of

MANY_EVENTS = 200_000 if os.environ.get("SOAK") else 3_000
EXAMPLES = 300 if os.environ.get("SOAK") else 8
KILLS = 200 if os.environ.get("SOAK") else 12
EVENT = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)
    VALUES (gen_random_uuid(), now(), 6, 1, '{}')
"""
CHANGE = "INSERT INTO directory_changes VALUES (now(), 'somebody', 'set', 'namespace', 28, '{}', '{\"a\": [1.50]}')"
EXPORT = "INSERT INTO exports (kind, subject, requested_by) VALUES ('user', '5', 'somebody')"
ERASURE = """
    INSERT INTO erasures (kind, subject, namespace_ids, requested_by, requested_at, repels_until, finished_at)
    VALUES ('namespace', '99/', '{99, 100}', 'somebody', now(), now() + interval '28 days', now())
"""
PLACE = {"namespace": {"path": "27/28/", "full_path": "acme/team"}}


class Loss(NamedTuple):
    """A PostgreSQL that is lost, a new one that is empty, and the ClickHouse of both."""

    connection: psycopg.Connection
    url: str
    new: psycopg.Connection
    new_url: str
    clickhouse_url: str

    def bring(self) -> None:
        """Copies to ClickHouse what is about to be lost."""
        bring(self.url, self.clickhouse_url)

    def refill(self) -> int:
        """Refills the new PostgreSQL; returns how many events were added."""
        return Refill(self.new_url, self.clickhouse_url).run().added

    def sync(self) -> int:
        """Copies what the new PostgreSQL has stored; returns how many rows were copied."""
        return Sync(self.new_url, self.clickhouse_url).run(SECONDS).rows

    def differences(self) -> list[str]:
        """What `usage-events verify` finds between the new PostgreSQL and ClickHouse."""
        return differences(self.new_url, self.clickhouse_url)


@pytest.fixture
def loss(connection: psycopg.Connection, database_url: str, clickhouse_url: str) -> Iterator[Loss]:
    with another_database(database_url) as new_url, psycopg.connect(new_url, autocommit=True) as new:
        yield Loss(connection, database_url, new, new_url, clickhouse_url)


@pytest.fixture
def new_consumer(loss: Loss) -> Iterator[ConsumerHandler]:
    """The consumer of the new database."""
    handler = build(database_url=loss.new_url, retention_months=RETENTION_MONTHS)
    yield handler
    handler.consumer.database.close()


def fill(consumer: ConsumerHandler, connection: psycopg.Connection) -> None:
    """Stores events of many kinds, and a directory with names, projects and a move."""
    connection.execute(MANY, [MANY_EVENTS])
    project = {"id": 4, "full_path": "acme/team/app", "namespace": {"path": "27/28/"}}
    bodies = [chat(number, **PLACE, project=project) for number in range(1, 40)]
    later = {"namespace": {"path": "31/28/", "full_path": "other/team"}, "timestamp": soon().isoformat()}
    assert consume(consumer, message(bodies)) == []
    assert consume(consumer, message([chat(5, **later)])) == []


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=5)


def test_events_and_directory_come_back_as_they_were(loss: Loss, consumer: ConsumerHandler) -> None:
    fill(consumer, loss.connection)
    for statement in (CHANGE, EXPORT, ERASURE):
        loss.connection.execute(statement)
    loss.bring()
    Mover(loss.url, loss.clickhouse_url).run(SECONDS)
    loss.bring()
    assert loss.refill() == MANY_EVENTS + 40
    assert in_postgres(loss.new) == in_postgres(loss.connection)
    before = directory_of(loss.connection)
    assert directory_of(loss.new) == before
    assert {table for table, rows in before.items() if not rows} == {"restated_facts", "reprocessings"}
    assert loss.differences() == []


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(payloads, min_size=1, max_size=40))
def test_payloads_come_back_with_their_types(loss: Loss, client: Client, sent: list[dict[str, Any]]) -> None:
    loss.connection.execute("TRUNCATE ai_usage_events")
    loss.new.execute("TRUNCATE ai_usage_events, refills, refilled_months, sync_state")
    client.command("TRUNCATE TABLE IF EXISTS ai_usage_events")
    stored = [kept for payload in sent if (kept := storable(payload)) is not None]
    for payload in stored:
        insert(loss.connection, payload)
    if columns_of(client, kept_directory.TABLE):
        Sync(loss.url, loss.clickhouse_url).run(SECONDS)
    else:
        loss.bring()
    assert loss.refill() == len(stored)
    assert with_types(in_postgres(loss.new)) == with_types(in_postgres(loss.connection))
    assert loss.differences() == []


def with_types(rows: list[tuple[Any, ...]]) -> list[Any]:
    """Returns the rows with payloads in a form in which 1 is not equal to true."""
    return [(*row[:5], canonical_payload(json.dumps(row[5])), row[6]) for row in rows]


def test_the_sync_goes_on_without_copying_anything_again(
    loss: Loss, consumer: ConsumerHandler, new_consumer: ConsumerHandler, client: Client
) -> None:
    fill(consumer, loss.connection)
    loss.bring()
    rows = count(client, "")
    loss.refill()
    assert (loss.sync(), count(client, "")) == (0, rows)
    consume(new_consumer, message([chat(7, namespace={"id": 28})]))
    assert loss.sync() == 1
    (path,) = [row[4] for row in in_postgres(loss.new) if row[3] == 7 and row[1] > NOW and row[4] == "31/28/"][:1]
    assert path == "31/28/"
    loss.new.execute("DELETE FROM ai_usage_events WHERE user_id = 8")
    loss.new.execute("UPDATE ai_usage_events SET payload = '{\"changed\": 1}' WHERE user_id = 9")
    loss.sync()
    assert loss.differences() == []
    assert in_postgres(loss.new) == in_clickhouse(client)


def test_a_database_that_was_lost_while_a_copy_began_is_refilled_and_synced(
    loss: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(loss.connection)
    loss.bring()
    old = Sync(loss.url, loss.clickhouse_url)
    old.reset(SECONDS)
    with monkeypatch.context() as patched:
        patched.setattr(sync, "insert", lost)
        with pytest.raises(ConnectionError):
            old.run(SECONDS)  # ClickHouse was told of the new epoch, and has no row of it
    loss.refill()
    insert(loss.new)
    assert (loss.sync(), loss.differences()) == (1, [])


def lost(*_: object) -> None:
    raise ConnectionError


def test_a_new_clickhouse_of_a_refilled_database_begins_after_the_refill(loss: Loss, client: Client) -> None:
    insert(loss.connection)
    loss.bring()
    loss.refill()
    for (name,) in client.query("SHOW TABLES").result_rows:
        client.command(f"DROP TABLE `{name}` SYNC")
    assert loss.sync() == 1
    begun = "SELECT max(epoch) > (SELECT max(epoch) FROM refills) FROM sync_state WHERE target = %s"
    assert loss.new.execute(begun, [str(readable_target_of(client))]).fetchone() == (True,)


def test_a_refill_that_is_killed_again_and_again_brings_everything_once(loss: Loss, consumer: ConsumerHandler) -> None:
    fill(consumer, loss.connection)
    loss.bring()
    words = [loss.new_url, loss.clickhouse_url, str(KILLS), "700", "100"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_refill", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert int(done.stdout) > KILLS / 3
    assert in_postgres(loss.new) == in_postgres(loss.connection)
    assert directory_of(loss.new) == directory_of(loss.connection)
    assert (loss.sync(), loss.differences()) == (0, [])


def test_events_that_arrive_again_meanwhile_are_stored_once(
    loss: Loss, new_consumer: ConsumerHandler, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    same, other_place, other_month = (insert(loss.connection, {"n": 1}) for _ in range(3))
    insert(loss.connection, timestamp=LAST_MONTH)
    loss.bring()
    again = [
        {"id": str(same), "timestamp": NOW.isoformat(), "namespace_path": "27/28/"},
        {"id": str(other_place), "timestamp": NOW.isoformat(), "namespace_path": "29/"},
        {"id": str(other_month), "timestamp": LAST_MONTH.isoformat(), "namespace_path": "27/28/"},
    ]

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(month.Month, "fill", interrupt)
        with pytest.raises(KeyboardInterrupt):
            loss.refill()
    with closing(Database(loss.new_url, TimeLimits(9, 9))) as database:
        assert StoreRouter(database, loss.clickhouse_url)._check(loss.clickhouse_url)
    consume(new_consumer, message([chat(1, **event) for event in again]))
    assert loss.sync() == 3
    assert loss.refill() == 1
    loss.sync()
    assert (loss.differences(), count(client)) == ([], 4)
    assert in_postgres(loss.new) == in_clickhouse(client)


def assert_all_moves(
    loss: Loss, monkeypatch: pytest.MonkeyPatch, before_each_step: Callable[[], None] = lambda: None
) -> None:
    """Refills while the mover runs before each step; all events must then be where their namespace is now."""

    def move_and_fill(*given: Any) -> int:
        before_each_step()
        mover.run(SECONDS)
        return fill_step(*given)

    mover, fill_step = Mover(loss.new_url, loss.clickhouse_url), month.Month.fill
    monkeypatch.setattr(month.Month, "fill", move_and_fill)
    loss.refill()
    mover.run(SECONDS)
    loss.sync()
    assert {row[4] for row in in_postgres(loss.new)} == {"31/28/"}
    assert loss.differences() == []


def test_a_namespace_that_moves_meanwhile_takes_its_events_along(
    loss: Loss, consumer: ConsumerHandler, new_consumer: ConsumerHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    consume(consumer, message([chat(number, **PLACE) for number in range(1, 40)]))
    loss.bring()

    def state() -> None:
        later = {"namespace": {"path": "31/28/", "full_path": "acme/team"}, "timestamp": soon().isoformat()}
        consume(new_consumer, message([chat(50, **later)]))

    assert_all_moves(loss, monkeypatch, before_each_step=state)


@pytest.mark.parametrize("is_done", [False, True])
def test_a_move_that_clickhouse_never_heard_of_is_repeated_until_all_is_filled(
    loss: Loss, is_done: bool, consumer: ConsumerHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    consume(consumer, message([chat(number, **PLACE) for number in range(1, 40)]))
    loss.bring()
    later = {"namespace": {"path": "31/28/", "full_path": "acme/team"}, "timestamp": soon().isoformat()}
    consume(consumer, message([chat(50, **later)]))
    if is_done:
        Mover(loss.url, loss.clickhouse_url).run(SECONDS)
    Analysis(loss.url, loss.clickhouse_url).run(SECONDS)

    assert_all_moves(loss, monkeypatch)


@pytest.mark.parametrize("losses", [1, 2])
def test_a_move_takes_along_the_same_events_as_before(loss: Loss, losses: int, consumer: ConsumerHandler) -> None:
    consume(consumer, message([chat(1, **PLACE)]))
    later = {"namespace": {"path": "31/28/", "full_path": "acme/team"}, "timestamp": soon().isoformat()}
    consume(consumer, message([chat(2, **later)]))
    Mover(loss.url, loss.clickhouse_url).run(SECONDS)
    meant_to_be_there = insert(loss.connection, namespace_path="27/28/")
    loss.bring()
    loss.refill()
    url, connection = loss.new_url, loss.new
    with another_database(loss.new_url) as second_url, psycopg.connect(second_url, autocommit=True) as second:
        if losses == 2:
            bring(loss.new_url, loss.clickhouse_url)
            Refill(second_url, loss.clickhouse_url).run()
            url, connection = second_url, second
        left = insert(connection, namespace_path="27/28/")
        connection.execute(
            "UPDATE namespace_moves SET opened = opened + 1, done_at = NULL, late_xacts = ("
            " SELECT array_agg(xact_id) FROM ai_usage_events WHERE id = %s)",
            [left],
        )
        Mover(url, loss.clickhouse_url).run(SECONDS)
        paths = {row[0]: row[4] for row in in_postgres(connection)}
    assert (paths[meant_to_be_there], paths[left]) == ("27/28/", "31/28/")
    assert sorted(paths.values()) == ["27/28/", "31/28/", "31/28/", "31/28/"]


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    thresholds=st.lists(st.lists(st.integers(1, 60), max_size=5, unique=True).map(sorted), min_size=1, max_size=3),
    bases=st.lists(st.sampled_from([0, 0, 20, 40]), min_size=3, max_size=3),
    numbers=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 70)), min_size=1, max_size=20),
)
def test_clickhouse_translates_transaction_numbers_refill_after_refill(
    client: Client, thresholds: list[list[int]], bases: list[int], numbers: list[tuple[int, int]]
) -> None:
    of_refills = zip(thresholds, bases, strict=False)
    translations = [Translation(epoch, of_moves, base) for epoch, (of_moves, base) in enumerate(of_refills, 2)]
    versions = [epoch * EPOCH_FACTOR + number for epoch, number in numbers]
    statement = f"SELECT {translated_version(translations)} FROM (SELECT arrayJoin({versions}) AS version)"
    expected = []
    for epoch, number in numbers:
        translated = number
        for translation in translations:
            if epoch < translation.epoch:
                translated = translation.of(translated)
        expected.append(translated)
    assert [found for (found,) in client.query(statement).result_rows] == expected


def test_an_erased_user_does_not_come_back(
    loss: Loss, consumer: ConsumerHandler, new_consumer: ConsumerHandler
) -> None:
    consume(consumer, message([chat(number, **PLACE) for number in (5, 6, 7)]))
    loss.bring()
    sent_at = datetime.now(UTC) - timedelta(seconds=1)
    Eraser(loss.url, loss.clickhouse_url).erase(Subject("user", "5"), "a test")
    unreachable = Eraser(loss.url, "clickhouse://127.0.0.1:1/x")
    assert unreachable.erase(Subject("user", "6"), "a test").clickhouse == "unfinished"
    loss.bring()
    refilled = Refill(loss.new_url, loss.clickhouse_url).run()
    assert refilled.unfinished_erasures == ["user 6"]
    consume(new_consumer, message([chat(5), chat(7)], sent_at))
    assert sorted(row[3] for row in in_postgres(loss.new)) == [7, 7]
    assert [row[0] for row in loss.new.execute("SELECT id FROM users").fetchall()] == [7]
    Eraser(loss.new_url, loss.clickhouse_url).erase(Subject("user", "6"), "a test")
    loss.sync()
    assert loss.differences() == []


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("DROP TABLE refilled_months", "is not migrated"),
        ("INSERT INTO users VALUES (1, 'root')", "not empty: users"),
        (EVENT, "not empty: ai_usage_events"),
    ],
)
def test_a_database_that_is_not_new_is_refused(loss: Loss, before: str, reason: str) -> None:
    insert(loss.connection)
    loss.bring()
    loss.new.execute(before)
    with pytest.raises(RefillError, match=reason):
        loss.refill()


def test_what_a_new_database_stored_by_mistake_is_in_the_next_one(
    loss: Loss, consumer: ConsumerHandler, new_consumer: ConsumerHandler
) -> None:
    consume(consumer, message([chat(number, **PLACE) for number in range(1, 40)]))
    loss.bring()
    consume(new_consumer, message([chat(number, **PLACE) for number in range(38, 50)]))
    bring(loss.new_url, loss.clickhouse_url)
    with another_database(loss.new_url) as next_url, psycopg.connect(next_url, autocommit=True) as connection:
        assert Refill(next_url, loss.clickhouse_url).run().added == 39 + 12
        assert directory_of(connection) == directory_of(loss.connection)
        assert differences(next_url, loss.clickhouse_url) == []


def test_without_a_copy_of_the_directory_nothing_is_restored(loss: Loss) -> None:
    with pytest.raises(RefillError, match="no table of events"):
        loss.refill()
    insert(loss.connection)
    Sync(loss.url, loss.clickhouse_url).run(SECONDS)
    with pytest.raises(RefillError, match="no whole copy"):
        loss.refill()


def test_a_dry_run_changes_nothing_and_a_second_run_has_nothing_to_do(loss: Loss, consumer: ConsumerHandler) -> None:
    fill(consumer, loss.connection)
    loss.bring()
    before = directory_of(loss.new)
    dry = Refill(loss.new_url, loss.clickhouse_url).run(dry_run=True)
    assert (sum(dry.events.values()), dry.directory_rows["users"], dry.added) == (MANY_EVENTS + 40, 39, 0)
    assert (directory_of(loss.new), in_postgres(loss.new)) == (before, [])
    assert loss.refill() == MANY_EVENTS + 40
    assert Refill(loss.new_url, loss.clickhouse_url).run().was_finished
