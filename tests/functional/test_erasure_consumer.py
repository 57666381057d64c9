"""The consumer stores nothing of an erased user that was sent before, and everything that was sent after."""

import json
import threading
from collections.abc import Callable
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from functions.ingest import pipeline
from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.postgres.erasures import NO_ERASURES, Erasures, active_erasures
from infra.operations.erasure.erase import Erased, Eraser, ErasureError
from infra.operations.erasure.subject import Subject
from tests.support.consuming import consume
from tests.support.emitted_metrics import metrics
from tests.support.erasing import OTHER, USER, chat, message, unknown

BEFORE = timedelta(minutes=1)
STORED = "SELECT user_id FROM ai_usage_events ORDER BY user_id"
NAMES = "SELECT user_id, namespace_path, username FROM user_names ORDER BY 1, 2"

type Query = Callable[..., list[Any]]


@pytest.fixture
def query(connection: psycopg.Connection) -> Query:
    return lambda statement, *values: connection.execute(statement, values).fetchall()


@pytest.fixture
def eraser(database_url: str) -> Eraser:
    return Eraser(database_url, wait_seconds=30)


def erase(eraser: Eraser, user: int = USER) -> Erased:
    return eraser.erase(Subject("user", str(user)), "a test")


def before(erased: Erased) -> datetime:
    return erased.requested_at - BEFORE


def test_an_event_that_was_sent_before_is_not_stored_and_a_later_one_is(
    consumer: ConsumerHandler, eraser: Eraser, query: Query, capsys: pytest.CaptureFixture[str]
) -> None:
    erased = erase(eraser)
    late = message([chat(), chat(OTHER), unknown(), unknown(OTHER)], before(erased))
    capsys.readouterr()
    assert consume(consumer, late) == []
    assert metrics(capsys.readouterr().out)["ErasedEvents"] == 2
    assert query(STORED) == [(OTHER,)]
    assert query(NAMES) == [(OTHER, "", "name-6")]
    assert query("SELECT body::jsonb -> 'user' ->> 'id' FROM rejected_events") == [("6",)]
    assert consume(consumer, message([chat()])) == []
    assert query(STORED) == [(USER,), (OTHER,)]
    assert query(NAMES) == [(USER, "", "name-5"), (OTHER, "", "name-6")]


def test_the_name_of_a_user_who_came_back_is_stored_by_who_knew_it_before(
    consumer: ConsumerHandler, eraser: Eraser, query: Query
) -> None:
    assert consume(consumer, message([chat()])) == []
    assert consume(consumer, message([chat()])) == []
    erase(eraser)
    assert query(NAMES) == []
    assert consume(consumer, message([chat()])) == []
    assert query(NAMES) == [(USER, "", "name-5")]
    assert query("SELECT id, username, last_activity_on IS NOT NULL FROM users") == [(USER, "name-5", True)]


def test_a_restated_name_does_not_come_back(consumer: ConsumerHandler, eraser: Eraser, query: Query) -> None:
    for _ in range(3):
        assert consume(consumer, message([chat(), chat(OTHER)])) == []
    assert query("SELECT count(*) > 0 FROM restated_facts") == [(True,)]
    erased = erase(eraser)
    assert consume(consumer, message([chat(), chat(OTHER)], before(erased))) == []
    assert consume(consumer, message([chat(OTHER) | {"user": {"id": OTHER, "username": "renamed"}}])) == []
    assert query(NAMES) == [(OTHER, "", "renamed")]
    assert query("SELECT id FROM users") == [(OTHER,)]


@pytest.mark.parametrize("kind", ["redriven", "replayed"])
def test_a_message_counts_by_when_it_was_first_sent(
    kind: str, consumer: ConsumerHandler, eraser: Eraser, query: Query
) -> None:
    erased = erase(eraser)
    first = before(erased)
    if kind == "redriven":
        again = message(chat(), origin=f"{int(first.timestamp() * 1000)} first")
    else:
        replay = {"kind": "ai_usage_events.replay", "rejected_id": str(UUID(int=1)), "attempts": 1}
        replay |= {"received_at": first.isoformat(), "body": json.dumps(unknown())}
        again = message(json.dumps(replay, separators=(",", ":")))
    assert consume(consumer, again) == []
    assert query(STORED) == []
    assert query("SELECT count(*) FROM rejected_events") == [(0,)]


def test_events_by_https_count_by_when_the_request_came(
    consumer: ConsumerHandler, eraser: Eraser, query: Query
) -> None:
    erased = erase(eraser)
    grant = {"sub": str(USER), "scopes": ["events:write:own"], "namespaces": ["27/"]}
    for received_at in (before(erased), datetime.now(UTC)):
        events = [{"event": "request_duo_chat_response"}, {"event": "unknown"}]
        batch = {"kind": "ai_usage_events.batch", "id": "a", "received_at": received_at.isoformat()}
        text = json.dumps(batch | {"events": events, "grant": grant}, separators=(",", ":"))
        assert consume(consumer, message(text)) == []
    assert query(STORED) == [(USER,)]
    assert query("SELECT received_at > %s FROM rejected_events", erased.requested_at) == [(True,)]


def test_a_transformation_decides_whose_event_it_is(consumer: ConsumerHandler, eraser: Eraser, query: Query) -> None:
    def swapped(context: Any) -> dict[str, Any]:
        return {"user_id": {USER: OTHER, OTHER: USER}[context["user_id"]]}

    registry = consumer.consumer.registry
    changed = replace(registry.events["request_duo_chat_response"], transformations=(swapped,))
    definitions = replace(registry, events={**registry.events, changed.name: changed})
    consumer.consumer = replace(consumer.consumer, registry=definitions)
    erased = erase(eraser)
    assert consume(consumer, message([chat(), chat(OTHER)], before(erased))) == []
    assert query(STORED) == [(OTHER,)]


def test_an_event_that_postgresql_refuses_is_not_kept_either(
    consumer: ConsumerHandler,
    eraser: Eraser,
    query: Query,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.execute("ALTER TABLE ai_usage_events ADD CONSTRAINT odd CHECK (user_id NOT IN (5, 6))")
    erased = erase(eraser)
    late = message([chat(), chat(OTHER), chat(7)], before(erased))
    answers = [NO_ERASURES] * 2  # the erasure is recorded after PostgreSQL refused the event
    monkeypatch.setattr(pipeline, "active_erasures", lambda own: answers.pop() if answers else active_erasures(own))
    assert consume(consumer, late) == []
    assert query(STORED) == [(7,)]
    assert query("SELECT body::jsonb -> 'user' ->> 'id' FROM rejected_events") == [("6",)]


def test_the_erasure_waits_for_a_consumer_that_did_not_see_it(
    consumer: ConsumerHandler, eraser: Eraser, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_read, may_go_on = threading.Event(), threading.Event()

    def read_and_wait(connection: Any) -> Erasures:
        erasures = active_erasures(connection)
        has_read.set()
        assert may_go_on.wait(30)
        return erasures

    monkeypatch.setattr(pipeline, "active_erasures", read_and_wait)
    sent_at = datetime.now(UTC) - BEFORE
    consuming = threading.Thread(target=consume, args=(consumer, message([chat()], sent_at)))
    consuming.start()
    assert has_read.wait(30)
    told = list[str]()

    def release(text: str) -> None:
        told.append(text)
        may_go_on.set()

    with pytest.raises(ErasureError, match="nothing was removed yet: after 1 s a transaction is still open"):
        Eraser(eraser.database_url, wait_seconds=1).erase(Subject("user", str(USER)), "a test")
    Eraser(eraser.database_url, wait_seconds=30, progress=release).erase(Subject("user", str(USER)), "a test")
    consuming.join()
    assert "may write events of before" in told[0]
    assert query(STORED) == []


def test_the_erasure_waits_for_any_transaction_that_has_written(
    database_url: str, eraser: Eraser, query: Query
) -> None:
    with psycopg.connect(database_url) as other:
        other.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
            " VALUES (gen_random_uuid(), now(), 6, 5, '{}')"
        )
        waiting = Eraser(database_url, progress=lambda _: other.commit(), wait_seconds=30)
        waiting.erase(Subject("user", str(USER)), "a test")
    assert query(STORED) == []


def test_events_that_arrive_during_the_erasure_are_removed_or_not_stored(
    database_url: str, eraser: Eraser, query: Query, consumer: ConsumerHandler
) -> None:
    sent_at, stop, consumed = datetime.now(UTC) - BEFORE, threading.Event(), [0]

    def go_on() -> None:
        while not stop.is_set():
            assert consume(consumer, message([chat(), chat(OTHER), unknown()], sent_at)) == []
            consumed[0] += 1

    consuming = threading.Thread(target=go_on)
    consuming.start()
    while consumed[0] < 5:
        stop.wait(0.05)
    erase(eraser)
    count = consumed[0]
    while consumed[0] < count + 5:
        stop.wait(0.05)
    stop.set()
    consuming.join()
    assert query("SELECT user_id, count(*) FROM ai_usage_events GROUP BY 1") == [(OTHER, consumed[0])]
    assert query("SELECT count(*) FROM rejected_events") == [(0,)]
    assert query("SELECT id FROM users") == [(OTHER,)]


def test_an_erasure_that_is_over_repels_nothing(
    consumer: ConsumerHandler, eraser: Eraser, query: Query, connection: psycopg.Connection
) -> None:
    erased = erase(eraser)
    assert active_erasures(connection).users == {USER: erased.requested_at}
    connection.execute("UPDATE erasures SET repels_until = now()")
    assert active_erasures(connection) == NO_ERASURES
    assert consume(consumer, message([chat()], before(erased))) == []
    assert query(STORED) == [(USER,)]
