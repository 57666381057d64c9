"""The consumer's other work while PostgreSQL works: it reads the messages that come next."""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg.pq import TransactionStatus

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.event.event import read_attributes
from functions.ingest.message.batch import Batch
from functions.ingest.message.replay import read_message
from functions.shared.failure import RedactedError
from functions.shared.grant import EVERYTHING, WRITE, Grant
from functions.shared.postgres import Connection, TimeLimits, connect
from functions.shared.spare_time import spare_time_used
from tests.support.clock import NOW
from tests.support.consuming import consume
from tests.support.logged import logged_to

GRANT = Grant("1", (WRITE,), (EVERYTHING,))

type Query = Callable[..., list[dict[str, Any]]]


def event(**keys: Any) -> dict[str, Any]:
    return {"event": "request_duo_chat_response", "id": str(uuid4()), "user_id": 5, "timestamp": NOW.isoformat()} | keys


def record(message_id: str, body: str) -> dict[str, Any]:
    sent_at = str(int(NOW.timestamp() * 1000))
    attributes = {"SentTimestamp": sent_at, "ApproximateReceiveCount": "1"}
    return {"messageId": message_id, "body": body, "attributes": attributes}


def queued(message_id: str, **keys: Any) -> dict[str, Any]:
    """A message with one event, as the ingest function writes it."""
    batch = Batch(message_id, NOW, [msgspec.Raw(json.dumps(event(**keys)).encode())], grant=GRANT)
    return record(message_id, msgspec.json.encode(batch).decode())


@pytest.fixture
def slow_consumer(consumer: ConsumerHandler, database_url: str) -> ConsumerHandler:
    """A consumer whose PostgreSQL takes a while for each event, with a transaction for each message."""
    with psycopg.connect(database_url) as connection:
        connection.execute("""
            CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END'
        """)
        connection.execute(
            "CREATE TRIGGER slow BEFORE INSERT ON ai_usage_events FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )
    consumer.max_events = 1
    return consumer


@pytest.fixture
def waiting(database_url: str) -> Iterator[Connection]:
    with connect(database_url, TimeLimits(statement=30, transaction=30)) as connection:
        yield connection


def test_the_next_message_is_read_while_postgresql_writes_unless_it_is_packed(
    slow_consumer: ConsumerHandler, query: Query
) -> None:
    read: list[bool] = []

    def note(*arguments: Any) -> Batch:
        kept = slow_consumer.consumer.database._connection
        read.append(kept is not None and kept.info.transaction_status is not TransactionStatus.IDLE)
        return read_message(*arguments)

    slow_consumer.read = note
    packed = json.dumps({"data": "H4sI"}) + gzip.compress(b"{}").hex()
    records = [queued("0"), queued("1"), queued("2"), record("3", packed), queued("4")]
    assert consume(slow_consumer, *records) == []
    assert read == [False, False, True, False, True]  # the second one tells that the first is enough for a transaction
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 4}]


def test_a_message_that_fails_while_it_is_read_ahead_is_reported_alone(
    slow_consumer: ConsumerHandler, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_some(raw: msgspec.Raw, *arguments: Any) -> Any:
        if b"unforeseen" in bytes(raw):
            raise RuntimeError
        return read_attributes(raw, *arguments)

    monkeypatch.setattr("functions.ingest.reading.read_attributes", fail_on_some)
    assert consume(slow_consumer, queued("0"), queued("1", unforeseen=1), queued("2")) == ["1"]
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 2}]


@pytest.mark.parametrize("key", ["body", "attributes"])
def test_a_malformed_record_that_is_read_ahead_is_reported_alone_and_logged_as_that(
    key: str, slow_consumer: ConsumerHandler, query: Query
) -> None:
    malformed = queued("1")
    del malformed[key]
    with logged_to(io.StringIO()) as log:
        assert consume(slow_consumer, queued("0"), malformed, queued("2")) == ["1"]
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 2}]
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (warned,) = [line for line in lines if line["level"] != "INFO"]
    assert (warned["message"], warned["message_id"], warned["error"]) == (
        "a message can't be consumed",
        "1",
        "KeyError",
    )


def test_an_error_between_messages_that_are_read_ahead_is_raised(
    slow_consumer: ConsumerHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_the_third(body: str) -> bool:
        bodies.append(body)
        if len(bodies) == 3:
            raise RecursionError
        return True

    bodies: list[str] = []
    monkeypatch.setattr("functions.ingest.consumer_handler.is_read_soon", fail_on_the_third)
    with pytest.raises(RedactedError, match="RecursionError"):
        consume(slow_consumer, *(queued(str(number)) for number in range(4)))


def test_what_was_read_ahead_fails_with_the_server_and_is_stored_later(
    slow_consumer: ConsumerHandler, query: Query, database_url: str
) -> None:
    records = [queued(str(number)) for number in range(3)]
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN IF (SELECT count(*) FROM ai_usage_events) > 0 THEN RAISE 'full' USING ERRCODE = '53100'; END IF;
            RETURN NEW; END $$
        """)
        other.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON ai_usage_events FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        assert consume(slow_consumer, *records) == ["1", "2"]
        other.execute("DROP TRIGGER full_disk ON ai_usage_events")
    assert consume(slow_consumer, *records) == []
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 3}]


@pytest.mark.parametrize("steps", [0, 3, None], ids=["none", "few", "endless"])
def test_work_is_done_until_postgresql_answers(steps: int | None, waiting: Connection) -> None:
    done: list[int] = []

    def work() -> Iterator[None]:
        for number in count() if steps is None else range(steps):
            done.append(number)
            yield

    with spare_time_used(waiting, work()):
        assert waiting.execute("SELECT pg_sleep(0.1), 7").fetchone() == ("", 7)
    before = len(done)
    assert before == steps or (steps is None and before > 0)
    assert waiting.execute("SELECT pg_sleep(0.1), 8").fetchone() == ("", 8)
    assert len(done) == before


def test_errors_reach_the_caller_through_other_work(waiting: Connection) -> None:
    with spare_time_used(waiting, iter(range(10))), pytest.raises(psycopg.errors.DivisionByZero):
        waiting.execute("SELECT pg_sleep(0.05), 1 / 0")
    assert waiting.execute("SELECT 1").fetchone() == (1,)
