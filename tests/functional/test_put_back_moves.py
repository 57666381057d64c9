"""Moves and erasures of namespaces count in a PostgreSQL that was put back to a moment."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest

from functions.ingest.consumer_handler import build
from functions.retention.erasures import forget_users
from functions.sync.error import SyncError
from functions.sync.moves import Mover
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Kind, Subject
from infra.operations.refill.error import RefillError
from infra.operations.refill.lost_events import Found, LostEvents
from infra.operations.refill.refill import Refill
from tests.conftest import RETENTION_MONTHS
from tests.functional.test_sync import LAST_MONTH, in_postgres, insert
from tests.support.consuming import consume
from tests.support.erasing import chat, message
from tests.support.refilling import SECONDS, bring, differences, put_back_later

CHANGE = "INSERT INTO directory_changes VALUES (now(), 'somebody', 'set', 'namespace', 82, '{}', '{\"a\": 1}')"
LEAVE = """
    UPDATE namespace_moves
    SET opened = opened + 1, done_at = NULL, late_xacts = (SELECT array_agg(xact_id) FROM ai_usage_events WHERE id = %s)
"""


class Server(NamedTuple):
    """A PostgreSQL, and the ClickHouse of both."""

    url: str
    clickhouse_url: str

    def store(self, *events: dict[str, Any]) -> None:
        handler = build(database_url=self.url, retention_months=RETENTION_MONTHS)
        with closing(handler.consumer.database):
            assert consume(handler, message(list(events))) == []

    def bring(self) -> None:
        bring(self.url, self.clickhouse_url)

    def move(self) -> None:
        Mover(self.url, self.clickhouse_url).run(SECONDS)

    def erase(self, name: str, kind: Kind = "namespace") -> None:
        Eraser(self.url, self.clickhouse_url).erase(Subject(kind, name), "a test")

    def refill(self) -> Any:
        return Refill(self.url, self.clickhouse_url).run()

    def settle(self) -> dict[int, str]:
        """Moves and copies all that is left; returns the namespace path of each user's event."""
        for _ in range(2):
            self.move()
            self.bring()
        with psycopg.connect(self.url, autocommit=True) as connection:
            present = in_postgres(connection)
        assert differences(self.url, self.clickhouse_url) == []
        return {row[3]: row[4] for row in present}


@pytest.fixture
def lost(database_url: str, clickhouse_url: str) -> Server:
    """A server with an event of user 1 in the namespace 80."""
    server = Server(database_url, clickhouse_url)
    server.store(chat(1, **at("80/")))
    server.bring()
    return server


@pytest.fixture
def put_back(lost: Server) -> Iterator[Server]:
    """The server when it is put back to this moment."""
    with put_back_later(lost.url) as url:
        yield lost._replace(url=url)


def at(path: str, minutes: int = 0) -> dict[str, Any]:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    return {"namespace": {"path": path}, "timestamp": moment.isoformat()}


def test_a_moment_before_the_first_sync_is_noticed(database_url: str, clickhouse_url: str) -> None:
    lost = Server(database_url, clickhouse_url)
    lost.store(chat(1, **at("80/")))
    with put_back_later(lost.url) as url:
        lost.store(chat(2, **at("70/")))
        lost.bring()
        put_back = lost._replace(url=url)
        with pytest.raises(SyncError, match="usage-events refill"):
            put_back.bring()
        assert put_back.refill().added == 1
        assert put_back.settle() == {1: "80/", 2: "70/"}


def test_what_comes_back_follows_a_namespace_that_moved_before_the_refill(lost: Server, put_back: Server) -> None:
    lost.store(chat(2, **at("80/")))
    lost.bring()
    put_back.store(chat(3, **at("81/80/", 5)))
    put_back.move()
    put_back.refill()
    assert put_back.settle() == {1: "81/80/", 2: "81/80/", 3: "81/80/"}


def test_of_the_moves_in_both_servers_the_newest_counts(lost: Server, put_back: Server) -> None:
    lost.store(chat(2, **at("80/")))
    lost.store(chat(3, **at("82/80/", 5)))
    lost.move()
    lost.store(chat(4, **at("82/80/", 5)))
    lost.bring()
    put_back.store(chat(5, **at("81/80/", 10)))
    put_back.refill()
    assert put_back.settle() == dict.fromkeys(range(1, 6), "81/80/")


def test_a_move_that_ends_during_the_refill_takes_along_what_comes_later(
    lost: Server, put_back: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost.store(chat(2, **at("81/80/", 5)))
    lost.move()
    lost.bring()
    with psycopg.connect(lost.url, autocommit=True) as connection:
        connection.execute(LEAVE, [insert(connection, namespace_path="80/", user_id=3)])
        insert(connection, namespace_path="80/", user_id=4)
    lost.bring()
    bring_events = LostEvents.bring

    def after_the_move(events: LostEvents, start: datetime, end: datetime) -> Found:
        put_back.move()
        return bring_events(events, start, end)

    monkeypatch.setattr(LostEvents, "bring", after_the_move)
    put_back.refill()
    assert put_back.settle() == {1: "81/80/", 2: "81/80/", 3: "81/80/", 4: "80/"}


def test_an_event_that_an_open_transaction_stores_in_another_month_is_stored_once(
    lost: Server, put_back: Server
) -> None:
    identifier = uuid4()
    lost.store(chat(2, id=str(identifier), **at("70/")))
    lost.bring()
    with psycopg.connect(put_back.url) as stores:
        insert(stores, id=identifier, timestamp=LAST_MONTH, user_id=2, namespace_path="70/")
        with pytest.raises(RefillError, match="a transaction of the server"):
            Refill(put_back.url, put_back.clickhouse_url, wait_seconds=1).run()
    put_back.refill()
    put_back.settle()
    with psycopg.connect(put_back.url) as connection:
        assert sorted(row[3] for row in in_postgres(connection)) == [1, 2]


def test_what_is_being_erased_does_not_come_back(lost: Server, put_back: Server) -> None:
    below = at("80/82/")["namespace"] | {"full_path": "of/somebody"}
    project = {"id": 9, "full_path": "of/somebody/app", "namespace": below}
    lost.store(chat(2, namespace=below, project=project), chat(3, **at("70/")))
    with psycopg.connect(lost.url, autocommit=True) as connection:
        connection.execute(CHANGE)
    lost.bring()
    put_back.erase("80/")
    put_back.refill()
    with psycopg.connect(put_back.url, autocommit=True) as connection:
        found = {
            table: connection.execute(f"SELECT id FROM {table}").fetchall() for table in ("namespaces", "projects")
        }
        changes = connection.execute("SELECT before, after FROM directory_changes").fetchall()
    assert (found, changes) == ({"namespaces": [(70,)], "projects": []}, [({}, {})])
    put_back.erase("80/")
    assert put_back.settle() == {3: "70/"}


def test_users_whose_erasure_is_forgotten_are_named_if_only_postgresql_knows_them(
    lost: Server, put_back: Server
) -> None:
    lost.store(chat(2, **at("70/")))
    lost.erase("1", "user")
    with psycopg.connect(lost.url, autocommit=True) as connection:
        connection.execute("UPDATE erasures SET repels_until = now()")
        assert forget_users(connection) == 1
    lost.bring()
    refill = Refill(put_back.url, put_back.clickhouse_url)
    planned, done = refill.run(dry_run=True), refill.run()
    for refilled in (planned, done):
        assert (refilled.forgotten_erasures, refilled.erased_users) == (1, [1])


def test_what_an_erased_user_sent_later_comes_back_with_a_refill_that_goes_on(
    lost: Server, put_back: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost.erase("1", "user")
    lost.store(chat(1, **at("70/")))
    lost.bring()

    def interrupt(*_: object) -> Found:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LostEvents, "bring", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put_back.refill()
    put_back.bring()
    assert (put_back.refill().added, put_back.refill().was_finished) == (1, True)


def test_what_was_erased_after_a_move_can_be_erased_again(lost: Server, put_back: Server) -> None:
    lost.store(chat(2, **at("81/80/", 5)), chat(3, **at("70/")))
    lost.move()
    lost.bring()
    lost.erase("81/80/")
    to_repeat = put_back.refill().unfinished_erasures
    assert to_repeat == ["namespace 80/", "namespace 81/80/"]
    for subject in to_repeat:
        put_back.erase(subject.split()[1])
    assert put_back.settle() == {3: "70/"}
