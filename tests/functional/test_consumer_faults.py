"""Faults of PostgreSQL and their effect on the consumer, on a server of these tests' own."""

import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from copy import replace
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.event.event import read_attributes
from functions.ingest.message.batch import Batch, read_batch
from functions.ingest.message.replay import read_message
from functions.ingest.outcome import Outcome
from functions.ingest.pipeline import Consumer
from functions.ingest.postgres import events
from functions.shared.partitions import month_of, partition_name, wanted_months
from functions.shared.postgres import Database, TimeLimits
from functions.shared.timestamp import format_timestamp
from infra.local import postgres
from tests.support.consuming import consume
from tests.support.logged import logged_to
from tests.support.stoppable_postgres import start, stoppable_postgres

RETENTION_MONTHS = 3
LONG = TimeLimits(statement=30, transaction=30)
MOST_CONNECTIONS = 12
SECRET = "what a producer wrote"
OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"
TABLES = "ai_usage_events, users, namespaces, projects, rejected_events, rejection_history"

type Query = Callable[..., list[tuple[Any, ...]]]
type Lines = Callable[[], list[dict[str, Any]]]
type Said = Callable[[], dict[str, Any]]


@pytest.fixture(scope="module")
def server(postgres_folder: Path) -> Iterator[Path]:
    """Data folder of a server that allows few connections and that tests may stop; its URL is `database_url`."""
    data = postgres_folder / "faulty" / "data"
    with stoppable_postgres(data, RETENTION_MONTHS, f"max_connections = {MOST_CONNECTIONS}"):
        yield data


@pytest.fixture
def database_url(server: Path) -> str:
    """URL of a running, empty database on that server; the fixture `consumer` stores there."""
    url = start(server)
    with psycopg.connect(url, autocommit=True) as administration:
        administration.execute(f"TRUNCATE {TABLES}")
    return url


@pytest.fixture
def query(database_url: str) -> Query:
    def query(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return list(cursor) if cursor.description else []

    return query


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Returns the log lines since the last call, and checks that they quote no event data."""
    log = io.StringIO()

    def lines() -> list[dict[str, Any]]:
        logged = log.getvalue()
        log.seek(0)
        log.truncate()
        assert SECRET not in logged
        return [json.loads(line) for line in logged.splitlines()]

    with logged_to(log):
        yield lines


@pytest.fixture
def said(lines: Lines) -> Said:
    """Returns the only log line since the last call."""

    def said() -> dict[str, Any]:
        (line,) = lines()
        return line

    return said


def event(**attributes: Any) -> dict[str, Any]:
    return {"event": "request_duo_chat_response", "user_id": 1, "text": SECRET} | attributes


def record(body: Any, message_id: str = "message", deliveries: int = 1) -> dict[str, Any]:
    milliseconds = str(int(datetime.now(UTC).timestamp() * 1000))
    attributes = {"SentTimestamp": milliseconds, "ApproximateReceiveCount": str(deliveries)}
    return {"messageId": message_id, "body": json.dumps(body), "attributes": attributes}


@contextmanager
def stopped(server: Path, _: str) -> Iterator[None]:
    postgres.stop(server)
    try:
        yield
    finally:
        start(server)


@contextmanager
def without_free_connections(_: Path, url: str) -> Iterator[None]:
    with ExitStack() as stack:
        for _number in range(MOST_CONNECTIONS):
            stack.enter_context(connected(url))
        yield


def connected(url: str) -> psycopg.Connection:
    """Connects, after retries if needed: closed connections count until PostgreSQL notices the close."""
    give_up = time.monotonic() + LONG.statement
    while True:
        try:
            return psycopg.connect(url)
        except psycopg.OperationalError:
            assert time.monotonic() < give_up
            time.sleep(0.01)


@contextmanager
def read_only(_: Path, url: str) -> Iterator[None]:
    """Makes the server read-only, like a replica or a demoted primary."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE events SET default_transaction_read_only = on")
        try:
            yield
        finally:
            connection.execute("ALTER DATABASE events RESET default_transaction_read_only")


@contextmanager
def locked(_: Path, url: str) -> Iterator[None]:
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE ai_usage_events")
        yield


@contextmanager
def without_tables(_: Path, url: str) -> Iterator[None]:
    """Removes the tables, as before the first migration."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE users RENAME TO others")
        try:
            yield
        finally:
            connection.execute("ALTER TABLE others RENAME TO users")


@dataclass(frozen=True)
class Fault:
    """A fault of PostgreSQL, the time limits of the consumer's connections, and the expected error."""

    cause: Callable[[Path, str], AbstractContextManager[None]]
    reason: str
    sqlstate: str | None = None
    limits: TimeLimits = LONG
    options: str = ""
    ends_open_connections: bool = True


FAULTS = {
    "down": Fault(stopped, "Connection refused"),
    "out of connections": Fault(without_free_connections, "too many clients", ends_open_connections=False),
    "read-only": Fault(read_only, "the transaction is read-only", "25006", ends_open_connections=False),
    "slow statements": Fault(locked, "statement timeout", "57014", TimeLimits(statement=2, transaction=30)),
    "slow transactions": Fault(locked, "transaction timeout", "25P04", TimeLimits(statement=30, transaction=2)),
    "locked": Fault(locked, "lock timeout", "55P03", options="-c lock_timeout=300"),
    "without tables": Fault(without_tables, "does not exist", "42P01"),
}
CASES = [
    (name, has_connection)
    for name, fault in FAULTS.items()
    for has_connection in ((False, True) if fault.ends_open_connections else (False,))
]


@pytest.mark.parametrize(("name", "has_connection"), CASES)
def test_messages_are_reported_while_postgresql_is_down_and_stored_afterwards(
    name: str,
    has_connection: bool,
    server: Path,
    database_url: str,
    consumer: ConsumerHandler,
    query: Query,
    said: Said,
) -> None:
    fault = FAULTS[name]
    database = Database(database_url, fault.limits, fault.options)
    consumer.consumer = replace(consumer.consumer, database=database)
    if has_connection:
        consume(consumer, record(event(), "before"))
        said()
    records = [record([event(), event(event="unknown")], "first"), record(event(user_id=2), "second")]
    with fault.cause(server, database_url):
        for _ in range(2):
            assert consume(consumer, *records) == ["first", "second"]
            line = said()
            assert (line["level"], line["messages"], line.get("sqlstate")) == ("WARNING", 2, fault.sqlstate)
            assert fault.reason in line["reason"]
    assert consume(consumer, *records) == []
    line = said()
    assert (line["stored"], line["codes"]) == (2, {"unknown_event": 1})
    assert query("SELECT count(*) FROM ai_usage_events") == [(2 + has_connection,)]
    assert query("SELECT attempts FROM rejected_events") == [(1,)]
    database.close()


def test_messages_that_postgresql_is_too_slow_for_together_are_stored_in_parts(
    database_url: str, consumer: ConsumerHandler, query: Query
) -> None:
    query("""
        CREATE OR REPLACE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END'
    """)
    query("CREATE TRIGGER slow BEFORE INSERT ON ai_usage_events FOR EACH ROW EXECUTE FUNCTION dawdle()")
    database = Database(database_url, TimeLimits(statement=30, transaction=1))
    consumer.consumer = replace(consumer.consumer, database=database)
    consumer.max_events = 40
    waiting = [str(number) for number in range(40)]
    try:
        for deliveries in range(1, 20):
            waiting = consume(consumer, *(record(event(), message_id, deliveries) for message_id in waiting))
    finally:
        query("DROP TRIGGER slow ON ai_usage_events")
        database.close()
    assert waiting == []
    assert query("SELECT count(*) FROM ai_usage_events") == [(40,)]


@pytest.mark.parametrize("comes_back", [True, False], ids=["restarting", "going down"])
def test_a_server_that_goes_while_rows_are_written_has_each_of_them_once_in_the_end(
    comes_back: bool,
    server: Path,
    consumer: ConsumerHandler,
    query: Query,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consume(consumer, record(event()))
    mid_month = format_timestamp(datetime.now(UTC).replace(day=1) - timedelta(days=15))  # written in parts
    records = [record([event(number=number, timestamp=mid_month) for number in range(250)], "other")]
    pack = events._packed
    calls: list[int] = []

    def go(rows: Any, sizes: Any) -> bytes:
        calls.append(len(rows))
        if len(calls) == 2:
            postgres.stop(server)
            if comes_back:
                start(server)
        return pack(rows, sizes)

    monkeypatch.setattr(events, "_packed", go)
    assert consume(consumer, *records) == ([] if comes_back else ["other"])
    start(server)
    assert consume(consumer, *records) == []
    assert query("SELECT count(*) FROM ai_usage_events") == [(251,)]


def test_missing_partitions_within_the_retention_are_made_on_the_spot(
    database_url: str, consumer: ConsumerHandler, query: Query, said: Said
) -> None:
    now = datetime.now(UTC)
    months = wanted_months(now.date(), RETENTION_MONTHS)
    for month in months:
        query(f"DROP TABLE {partition_name(month)}")
    consumers = [replace(consumer.consumer, database=Database(database_url, LONG)) for _ in range(3)]

    def store_its_own(number: int) -> None:
        body = json.dumps([event(timestamp=format_timestamp(now - timedelta(days=40 * (number % 2))))] * 50)
        batch = read_batch(body.encode(), f"message {number}", now)
        with closing(consumers[number].database):
            consumers[number].consume([batch])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(store_its_own, range(3)))
    query(f"DROP TABLE {partition_name(month_of(now.date()))}")
    assert consume(consumer, record(event())) == []
    line = said()
    assert (line["stored"], line["made_partitions"]) == (1, [partition_name(month_of(now.date()))])
    assert query("SELECT count(*) FROM ai_usage_events WHERE timestamp > now() - interval '1 minute'") == [(1,)]
    assert query("SELECT count(*) FROM rejected_events") == [(0,)]
    assert query("SELECT count(*) FROM pg_inherits WHERE inhparent = 'ai_usage_events'::regclass") == [(len(months),)]


RAISING = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'it may not be %', NEW; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON ai_usage_events FOR EACH ROW WHEN (NEW.user_id = 666)
    EXECUTE FUNCTION refuse();
"""

REFUSALS = [
    pytest.param(
        "ALTER TABLE ai_usage_events ADD CONSTRAINT no_devil CHECK (user_id <> 666)",
        "ALTER TABLE ai_usage_events DROP CONSTRAINT no_devil",
        id="constraint",
    ),
    pytest.param(RAISING, "DROP FUNCTION refuse CASCADE", id="trigger"),
    pytest.param(
        "ALTER TABLE users ADD CONSTRAINT no_devil CHECK (id <> 666)",
        "ALTER TABLE users DROP CONSTRAINT no_devil",
        id="of the user",
    ),
    pytest.param(
        "CREATE INDEX divided ON ai_usage_events ((1 / (user_id - 666)))", "DROP INDEX divided", id="index expression"
    ),
]


@pytest.mark.parametrize(("refuse", "permit"), REFUSALS)
@pytest.mark.parametrize("has_duplicate", [False, True], ids=["new", "with a duplicate"])
def test_rows_that_only_postgresql_refuses_are_found_and_rejected_alone(
    has_duplicate: bool, refuse: str, permit: str, consumer: ConsumerHandler, query: Query, said: Said
) -> None:
    query(refuse)
    try:
        poison = event(user_id=666, id=OWN_ID, namespace={"path": "6/66/", "full_path": "hell"})
        known = record(event(), "known")
        if has_duplicate:
            consume(consumer, known)
            said()
        records = [
            known,
            record([*[event(number=number) for number in range(130)], poison, event(event="unknown")], "big"),
            record(event(user_id=666), "another"),
            record({}, "bad"),
        ]
        for stored in (131 - has_duplicate, 0):
            assert consume(consumer, *records) == []
            line = said()
            assert (line["stored"], line["rejected"]) == (stored, 4)
            assert line["codes"] == {"refused_by_postgresql": 2, "unknown_event": 1, "invalid_event": 1}
        assert query("SELECT count(*) FROM ai_usage_events") == [(131,)]
        assert query("SELECT count(*) FROM namespaces") == [(0,)]
        rows = query("SELECT body::json ->> 'user_id' FROM rejected_events WHERE code = 'refused_by_postgresql'")
        assert rows == [("666",)] * 2
    finally:
        query(permit)


def test_an_event_that_a_unique_index_of_others_refuses_is_no_duplicate(
    consumer: ConsumerHandler, query: Query, said: Said
) -> None:
    now = datetime.now(UTC)
    query(f"CREATE UNIQUE INDEX only_one ON {partition_name(month_of(now.date()))} (user_id) WHERE user_id = 666")
    try:
        consume(consumer, record(event(user_id=666, timestamp=format_timestamp(now))))
        said()
        events = [event(user_id=user_id, timestamp=format_timestamp(now)) for user_id in (665, 666, 667)]
        assert consume(consumer, record(events, "other")) == []
        line = said()
        assert (line["stored"], line["duplicates"], line["codes"]) == (2, 0, {"refused_by_postgresql": 1})
    finally:
        query("DROP INDEX only_one")


def test_a_row_that_postgresql_refused_is_stored_when_its_message_is_read_once_more(
    consumer: ConsumerHandler, query: Query
) -> None:
    query("ALTER TABLE ai_usage_events ADD CONSTRAINT no_devil CHECK (user_id <> 666)")
    consume(consumer, record(event(user_id=666)))
    query("ALTER TABLE ai_usage_events DROP CONSTRAINT no_devil")
    ((body, received_at),) = query("SELECT body, received_at FROM rejected_events")
    consume(consumer, record(json.loads(body), "again"))
    assert query("SELECT id, timestamp FROM ai_usage_events") == [(UUID(json.loads(body)["id"]), received_at)]


def test_a_message_that_fails_is_reported_alone_and_its_neighbours_are_stored(
    consumer: ConsumerHandler, query: Query, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_some(raw: Any, *arguments: Any) -> Any:
        if b"unforeseen" in bytes(raw):
            raise RuntimeError(SECRET)
        return read_attributes(raw, *arguments)

    monkeypatch.setattr("functions.ingest.reading.read_attributes", fail_on_some)
    records = [record(event(**{"unforeseen": 1} if number in (3, 7) else {}), str(number)) for number in range(9)]
    assert consume(consumer, *records) == ["3", "7"]
    *failures, consumed = lines()
    assert [(line["message_id"], line["error"]) for line in failures] == [("3", "RuntimeError"), ("7", "RuntimeError")]
    assert (consumed["messages"], consumed["stored"]) == (7, 7)
    assert query("SELECT count(*) FROM ai_usage_events") == [(7,)]


@pytest.mark.parametrize(
    ("most", "counts", "groups"),
    [
        ({"max_events": 3}, [1, 1, 1, 1], [3, 1]),
        ({"max_events": 3}, [2, 2, 1], [1, 2]),
        ({"max_events": 3}, [5, 1, 5, 5], [1, 1, 1, 1]),
        ({"max_events": 3}, [0, 3, 0], [3]),
        ({"max_bytes": 10}, [1, 1, 2], [1, 1, 1]),
        ({}, [1, 1, 1, 50], [4]),
    ],
)
def test_messages_are_consumed_together_up_to_a_number_of_events_and_bytes(
    most: dict[str, Any],
    counts: list[int],
    groups: list[int],
    consumer: ConsumerHandler,
    query: Query,
    lines: Lines,
) -> None:
    consumer = replace(consumer, **most)
    records = [record([event()] * count, str(number)) for number, count in enumerate(counts)]
    assert consume(consumer, *records) == []
    assert [line["messages"] for line in lines()] == groups
    assert query("SELECT count(*) FROM ai_usage_events") == [(sum(counts),)]


@pytest.mark.parametrize(
    ("reading", "consuming", "groups", "left"),
    [
        (0, 4, [2, 2, 2], 0),
        (0, 6, [2, 2], 2),
        (0, 50, [2], 4),
        (4, 0, [2], 4),
        (11, 0, [1], 5),
    ],
)
def test_what_there_is_no_time_for_is_left_for_later(
    reading: float,
    consuming: float,
    groups: list[int],
    left: int,
    consumer: ConsumerHandler,
    query: Query,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed: list[float] = []

    def read_slowly(*arguments: Any) -> Batch:
        passed.append(reading)
        return read_message(*arguments)

    def consume_slowly(own: Consumer, batches: Sequence[Batch], *_: object) -> Outcome:
        passed.append(consuming)
        return own._consume_at_once(batches)

    monkeypatch.setattr(Consumer, "consume", consume_slowly)
    slow = replace(consumer, clock=lambda: sum(passed), read=read_slowly, max_events=2)
    records = [record(event(), str(number)) for number in range(6)]
    assert consume(slow, *records) == [str(number) for number in range(6 - left, 6)]
    said = [(line["level"], line["messages"]) for line in lines()]
    assert said == [("INFO", messages) for messages in groups] + [("WARNING", left)] * (left > 0)
    assert query("SELECT count(*) FROM ai_usage_events") == [(6 - left,)]


def test_messages_of_which_none_can_be_read_are_reported(consumer: ConsumerHandler, lines: Lines) -> None:
    def fail(*_: object) -> Batch:
        raise RuntimeError(SECRET)

    consumer.read = fail
    assert consume(consumer, record(event(), "first"), record(event(), "second")) == ["first", "second"]
    assert [line["message_id"] for line in lines()] == ["first", "second"]
    assert consumer.consumer.consume([]) == Outcome()
