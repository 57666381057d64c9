"""A PostgreSQL that was put back to a moment gets back what only ClickHouse has."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from functions.ingest.consumer_handler import ConsumerHandler, build
from functions.shared import clickhouse
from functions.sync.error import SyncError
from functions.sync.moves import Mover
from functions.sync.sync import Sync
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from infra.operations.refill.lost_events import Found, LostEvents
from infra.operations.refill.refill import Refill
from infra.operations.tenant_usage import read_usage
from infra.operations.verify import Verification
from tests.functional.test_sync import LAST_MONTH, MANY, in_clickhouse, in_postgres
from tests.support.checkout import ROOT
from tests.support.clock import NOW
from tests.support.consuming import consume
from tests.support.erasing import chat, message
from tests.support.refilling import SECONDS, bring, differences, directory_of, kept_texts
from tests.support.replacing_postgres import Primary, environment, primary, restored, running

MANY_EVENTS = 200_000 if os.environ.get("SOAK") else 2_000
KILLS = 200 if os.environ.get("SOAK") else 12
RETENTION_MONTHS = 3
PLACE = {"namespace": {"path": "27/28/", "full_path": "acme/team"}}
OTHER = {"namespace": {"path": "40/", "full_path": "other"}}
THIRD = {"namespace": {"path": "70/", "full_path": "third"}}
ID = "00000000-0000-0000-0000-{:012}"
MEANT_TO_STAY = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    VALUES (%s, now(), 6, %s, '40/', '{}')
"""
FIRST = 90_000  # others' users have lower ids


class PutBack(NamedTuple):
    """A PostgreSQL that was put back to a moment, and what the lost one had at last.

    Attributes:
        events: the events of the lost one.
        directory: its directory.
        usage: what its tenants had used.
    """

    url: str
    connection: psycopg.Connection
    clickhouse_url: str
    consumer: ConsumerHandler
    events: list[tuple[Any, ...]]
    directory: dict[str, list[Any]]
    usage: list[Any]

    def refill(self, **options: bool) -> Any:
        return Refill(self.url, self.clickhouse_url).run(**options)

    def settle(self) -> None:
        """Moves and copies all that is left to move and to copy."""
        Mover(self.url, self.clickhouse_url).run(SECONDS)
        bring(self.url, self.clickhouse_url)
        Mover(self.url, self.clickhouse_url).run(SECONDS)

    def differences(self) -> list[str]:
        return differences(self.url, self.clickhouse_url)


@contextmanager
def consumer_of(url: str) -> Iterator[ConsumerHandler]:
    handler = build(database_url=url, retention_months=RETENTION_MONTHS)
    with closing(handler.consumer.database):
        yield handler


@pytest.fixture
def old(open_folder: Path) -> Iterator[Primary]:
    with primary(open_folder / f"lost-{time.monotonic_ns()}", RETENTION_MONTHS) as server:
        yield server


def numbered(number: int, **more: Any) -> dict[str, Any]:
    return chat(FIRST + number, id=ID.format(number), **more)


def later(minutes: int = 5) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def before_the_moment(connection: psycopg.Connection, consumer: ConsumerHandler) -> None:
    """Stores users 1 to 9 in 27/28/, and some thousand other events."""
    connection.execute(MANY, [MANY_EVENTS])
    sent = [*(numbered(number, **PLACE) for number in range(1, 10)), numbered(10, **OTHER)]
    assert consume(consumer, message(sent)) == []


def after_the_moment(server: Primary, consumer: ConsumerHandler, clickhouse_url: str) -> None:
    """Stores users 11 to 19, moves their namespace, states names, erases, changes and deletes."""
    project = {"id": 4, "full_path": "acme/team/app", "namespace": {"path": "27/28/"}}
    sent = [numbered(number, **PLACE, project=project) for number in range(11, 20)]
    assert consume(consumer, message([*sent, *(numbered(number, **OTHER) for number in range(21, 30))])) == []
    moved = {"namespace": {"path": "31/28/", "full_path": "acme/moved"}, "timestamp": later()}
    assert consume(consumer, message([numbered(30, **moved)])) == []
    Mover(server.url, clickhouse_url).run(SECONDS)
    bring(server.url, clickhouse_url)
    Eraser(server.url, clickhouse_url).erase(Subject("user", str(FIRST + 1)), "a test")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("UPDATE ai_usage_events SET payload = '{\"n\": 1}' WHERE user_id = %s", [FIRST + 2])
        connection.execute(MANY, [MANY_EVENTS])
        connection.execute("INSERT INTO exports (kind, subject, requested_by) VALUES ('user', '5', 'somebody')")
        connection.execute(
            "INSERT INTO directory_changes VALUES (now(), 'somebody', 'set', 'namespace', 28, '{}', '{}')"
        )
        assert consume(consumer, message([numbered(31, namespace={"path": "50/40/"}, timestamp=later())])) == []
        connection.execute(MEANT_TO_STAY, [ID.format(32), FIRST + 32])
    bring(server.url, clickhouse_url)
    Mover(server.url, clickhouse_url).run(SECONDS)  # of which ClickHouse never hears


@contextmanager
def restored_to_the_moment(old: Primary, folder: Path, lose: Callable[[], None]) -> Iterator[str]:
    """Puts a server back by its log."""
    old.back_up(folder)
    moment = old.now()
    lose()
    old.archive_everything()
    old.stop()
    with restored(folder, old.folder / "archive", moment) as url:
        yield url


@contextmanager
def loaded_from_a_dump(old: Primary, folder: Path, lose: Callable[[], None]) -> Iterator[str]:
    """Loads a dump of the moment into a new server, whose transactions have lower numbers."""
    with running(folder) as url:
        dump = "pg_dump --format custom --file events.dump $OLD"
        load = "pg_restore --exit-on-error --dbname $NEW events.dump"
        for command in (dump, load):
            subprocess.run(["bash", "-ec", command], env=environment(old.url, url), check=True, cwd=old.folder)
        lose()
        old.stop()
        yield url


@pytest.fixture
def put_back(old: Primary, clickhouse_url: str, open_folder: Path, request: pytest.FixtureRequest) -> Iterator[PutBack]:
    put_back_by = getattr(request, "param", restored_to_the_moment)
    last: list[Any] = []
    with ExitStack() as stack:
        consumer = stack.enter_context(consumer_of(old.url))
        lost = stack.enter_context(psycopg.connect(old.url, autocommit=True))
        before_the_moment(lost, consumer)
        bring(old.url, clickhouse_url)

        def lose() -> None:
            after_the_moment(old, consumer, clickhouse_url)
            last.extend([in_postgres(lost), directory_of(lost), read_usage(lost, 2)])
            lost.close()

        url = stack.enter_context(put_back_by(old, open_folder / f"put-back-{time.monotonic_ns()}", lose))
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        yield PutBack(url, connection, clickhouse_url, stack.enter_context(consumer_of(url)), *last)


def but_for(events: list[tuple[Any, ...]], *numbers: int) -> list[tuple[Any, ...]]:
    return [row for row in events if row[3] - FIRST not in numbers]


def assert_nothing_is_lost(put_back: PutBack, client: Client) -> None:
    """Everything is as in the lost server, but for the erased user 1 and the change of user 2's event."""
    put_back.settle()
    present = in_postgres(put_back.connection)
    assert but_for(present, 1, 2) == but_for(put_back.events, 1, 2)
    assert [row[5] for row in present if row[3] == FIRST + 2] == [{}]
    assert put_back.differences() == []
    assert in_clickhouse(client) == in_postgres(put_back.connection)
    Eraser(put_back.url, put_back.clickhouse_url).erase(Subject("user", str(FIRST + 1)), "a test")
    put_back.settle()
    found = directory_of(put_back.connection)
    for table in ("users", "namespaces", "projects"):
        assert found[table] == put_back.directory[table], table
    for table in ("facts", "user_names"):
        assert without_versions(found[table]) == without_versions(put_back.directory[table]), table
    assert [row["requested_by"] for row in found["exports"]] == ["somebody"]
    assert [row["changed_by"] for row in found["directory_changes"]] == ["somebody"]
    assert (len(found["erasures"]), {row["postgresql"] for row in found["erasures"]}) == (2, {"done"})
    assert read_usage(put_back.connection, 2) == put_back.usage
    assert put_back.differences() == []


def without_versions(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "changed_in"} for row in rows]


@pytest.mark.parametrize("put_back", [restored_to_the_moment, loaded_from_a_dump], indirect=True)
def test_all_that_only_clickhouse_has_comes_back(put_back: PutBack, client: Client) -> None:
    with pytest.raises(SyncError, match="usage-events refill"):
        Sync(put_back.url, put_back.clickhouse_url).run(SECONDS)
    there = in_clickhouse(client)
    before = directory_of(put_back.connection), in_postgres(put_back.connection)
    planned = put_back.refill(dry_run=True)
    assert (directory_of(put_back.connection), in_postgres(put_back.connection)) == before
    assert in_clickhouse(client) == there
    done = put_back.refill()
    assert (done.added, sum(planned.events.values())) == (MANY_EVENTS + 21, MANY_EVENTS + 21)
    assert (done.directory_rows, done.differing) == (planned.directory_rows, planned.differing)
    assert done.unfinished_erasures == planned.unfinished_erasures == [f"user {FIRST + 1}"]
    assert put_back.refill().was_finished
    assert_nothing_is_lost(put_back, client)
    assert put_back.refill().was_finished


def test_a_refill_that_is_killed_again_and_again_brings_all_that_was_lost_once(
    put_back: PutBack, client: Client
) -> None:
    words = [put_back.url, put_back.clickhouse_url, str(KILLS), "900", "100"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_refill", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert int(done.stdout) > KILLS / 3
    assert_nothing_is_lost(put_back, client)


def test_what_arrives_moves_and_is_erased_before_and_during_a_refill_counts(
    put_back: PutBack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SyncError, match="usage-events refill"):
        Sync(put_back.url, put_back.clickhouse_url).run(SECONDS)
    kept = kept_texts(client)
    Sync(put_back.url, put_back.clickhouse_url).reset(SECONDS)
    unfinished = Eraser(put_back.url, put_back.clickhouse_url).erase(Subject("user", str(FIRST + 12)), "a test")
    assert "usage-events refill" in unfinished.failure
    put_back.connection.execute("DELETE FROM ai_usage_events WHERE user_id = %s", [FIRST + 3])
    bring(put_back.url, put_back.clickhouse_url)
    assert kept_texts(client) == kept
    with (
        pytest.raises(SyncError, match="usage-events refill"),
        closing(clickhouse.connect(put_back.clickhouse_url, SECONDS)) as other,
    ):
        Verification(put_back.connection, other, None, NOW.date()).compare(NOW.date().replace(day=1), repair=True)
    last_month = {"timestamp": LAST_MONTH.isoformat()}
    arriving = [
        numbered(13, **THIRD),
        numbered(14, **THIRD, **last_month),
        numbered(50, **THIRD),
        numbered(15, **PLACE),
    ]
    bring_events, arrived = LostEvents.bring, list[list[str]]()

    def while_events_arrive(events: LostEvents, start: datetime, end: datetime) -> Found:
        if not arrived:
            arrived.append(consume(put_back.consumer, message(arriving)))
            Mover(put_back.url, put_back.clickhouse_url).run(SECONDS)
        return bring_events(events, start, end)

    monkeypatch.setattr(LostEvents, "bring", while_events_arrive)
    done = put_back.refill()
    Eraser(put_back.url, put_back.clickhouse_url).erase(Subject("user", str(FIRST + 12)), "a test")
    put_back.settle()
    assert (arrived, put_back.differences()) == ([[]], [])
    assert done.unfinished_erasures == [f"user {FIRST + 1}", f"user {FIRST + 12}"]
    present = in_postgres(put_back.connection)
    assert but_for(present, 1, 2, 3, 13, 14, 15, 50) == but_for(put_back.events, 1, 2, 3, 12, 13, 14, 15)
    places = {row[3] - FIRST: (row[1] > NOW - timedelta(days=2), row[4]) for row in present}
    assert {number: places[number] for number in (13, 14, 15, 50)} == {
        13: (True, "70/"),
        15: (True, "31/28/"),
        14: (False, "70/"),
        50: (True, "70/"),
    }
    assert (len({row[0] for row in present}), in_clickhouse(client)) == (len(present), present)
    assert put_back.connection.execute("SELECT id FROM users WHERE id = %s", [FIRST + 12]).fetchall() == []


def test_what_is_lost_again_while_and_after_a_refill_comes_back_too(
    put_back: PutBack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(LostEvents, "bring", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put_back.refill()
    lose_again(put_back, 61)
    assert put_back.refill().added == MANY_EVENTS + 21 + 1
    lose_again(put_back, 62)
    assert put_back.refill().added == 1
    assert put_back.refill().was_finished
    put_back.settle()
    assert {row[3] - FIRST for row in in_postgres(put_back.connection)} >= {61, 62}
    assert (put_back.differences(), in_clickhouse(client)) == ([], in_postgres(put_back.connection))


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def lose_again(put_back: PutBack, number: int) -> None:
    """Stores and copies an event, and puts PostgreSQL back to before, as far as the event and the marks tell."""
    bring(put_back.url, put_back.clickhouse_url)
    put_back.connection.execute(MEANT_TO_STAY, [ID.format(number), FIRST + number])
    Sync(put_back.url, put_back.clickhouse_url).run(SECONDS)
    with put_back.connection.transaction():
        put_back.connection.execute("SET LOCAL session_replication_role = replica")
        put_back.connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [ID.format(number)])
        put_back.connection.execute("UPDATE sync_state SET mark = mark - 1")
