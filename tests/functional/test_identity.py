"""Ids of events: tenants that know each other's ids, ids already in use, and ends of months."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from time import sleep
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.directory.known_facts import KnownFacts
from functions.ingest.message.batch import Batch
from functions.ingest.message.replay import Replay
from functions.ingest.outcome import Outcome
from functions.ingest.pipeline import Consumer
from functions.ingest.postgres.events import Written, write_events
from functions.ingest.postgres.row import NO_OTHER_MONTH, Row, month_number, neighbouring_month, write_order_key
from functions.shared.grant import Grant
from functions.shared.identifier import new_id
from functions.shared.postgres import Database, TimeLimits
from functions.shared.timestamp import format_timestamp
from tests.support.accounts import Query
from tests.support.clock import NOW
from tests.support.ways_in import WaysIn, token

OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"
TIMED_ID = str(new_id(int((NOW - timedelta(hours=1)).timestamp() * 1000)))
CHAT = {"event": "request_duo_chat_response"}
VICTIM: dict[str, Any] = {"sub": "5", "namespaces": ["27/"]}
STRANGER: dict[str, Any] = {"sub": "6", "namespaces": ["99/"]}
CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "build-4711",
    "source": "https://ci.victim.example/jobs",
    "type": "request_duo_chat_response",
}
NIL, MAX = str(UUID(int=0)), str(UUID(int=2**128 - 1))
MONTH = datetime(NOW.year, NOW.month, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
STORED = "SELECT id::text, user_id FROM ai_usage_events ORDER BY user_id"
CODES = "SELECT code FROM rejected_events ORDER BY code"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def post(ways: WaysIn, events: Any, sender: dict[str, Any], key: str = "") -> Any:
    """Sends events over HTTPS, and returns the stored ids in the answer."""
    headers = {"Authorization": f"Bearer {token(**sender)}", "Idempotency-Key": key}
    status, answer = ways.post(json.dumps(events).encode(), headers)
    assert (status, answer["accepted"]) == (202, len(answer["ids"]))
    return answer["ids"]


def batch(*events: dict[str, Any], name: str = "message") -> Batch:
    """Returns a batch of events that were published directly on the queue."""
    return Batch(name, NOW, [msgspec.Raw(json.dumps(CHAT | {"user_id": 1} | event).encode()) for event in events])


@pytest.fixture
def consume(consumer: ConsumerHandler) -> Callable[..., Outcome]:
    """Consumes the batches in one call."""
    return lambda *batches: consumer.consumer.consume(batches)


@pytest.mark.parametrize(
    "event",
    [CLOUD_EVENT, CHAT | {"id": OWN_ID}, CHAT | {"id": TIMED_ID}],
    ids=["a CloudEvent", "a UUID", "a UUID with a time"],
)
def test_an_id_that_two_tenants_send_is_two_events_whoever_is_first(
    event: dict[str, Any], ways: WaysIn, query: Query
) -> None:
    told = [post(ways, event, sender) for sender in (STRANGER, VICTIM, STRANGER, VICTIM)]
    ways.consume_waiting()
    assert told[0] == told[2] != told[1] == told[3]
    assert query(STORED) == [{"id": told[1][0], "user_id": 5}, {"id": told[0][0], "user_id": 6}]


def test_ids_of_an_idempotency_key_are_of_no_use_to_another_tenant(ways: WaysIn, query: Query) -> None:
    ids = uuid5(NAMESPACE_URL, "https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/")
    computed = uuid5(ids, msgspec.json.encode(["", "5", "key", 0]) + json.dumps(CHAT).encode())
    (told,) = post(ways, CHAT, VICTIM, "key")
    ways.waiting.clear()
    post(ways, [CHAT | {"id": str(computed)}, CHAT | {"id": told}], STRANGER)
    assert post(ways, CHAT, VICTIM, "key") == [told]
    outcome = ways.consume_waiting()
    assert (outcome.stored, outcome.duplicates, outcome.rejected) == (3, 0, [])
    assert query("SELECT user_id FROM ai_usage_events WHERE id = %s", told) == [{"user_id": 5}]


def test_a_uuidv7_keeps_its_time_and_any_other_id_becomes_a_uuidv8(ways: WaysIn) -> None:
    timed, other = (UUID(told) for told in post(ways, [CHAT | {"id": TIMED_ID}, CHAT | {"id": OWN_ID}], VICTIM))
    assert (timed.int >> 80, timed.version, other.version) == (UUID(TIMED_ID).int >> 80, 7, 8)
    assert timed.variant == other.variant == UUID(OWN_ID).variant


@pytest.mark.parametrize(
    "sender",
    [
        {"namespaces": ["*"]},
        {"namespaces": ["27/"], "scope": "events:write directory:write"},
        {"namespaces": ["*"], "scope": "events:write events:write:own"},
    ],
)
def test_the_id_of_an_authoritative_sender_is_stored_as_sent(
    sender: dict[str, Any], ways: WaysIn, query: Query
) -> None:
    assert post(ways, CHAT | {"id": OWN_ID}, sender) == [OWN_ID]
    ways.consume_waiting()
    assert query(STORED) == [{"id": OWN_ID, "user_id": 5}]


SAME_TENANT: list[dict[str, Any]] = [
    {"namespaces": ["27/"]},
    {"namespaces": ["27/28/", "27/29/"], "sub": "7"},
    {"namespaces": ["27/", "27/28/"], "scope": "events:write:own"},
]
OTHER_TENANTS: list[dict[str, Any]] = [
    {"namespaces": ["27/", "30/"]},
    {"namespaces": ["2/7/"]},
    {"namespaces": [], "scope": "events:write:own"},
    {"namespaces": ["27"], "scope": "events:write:own", "sub": "7"},
    {"namespaces": ["*"], "scope": "events:write:own", "sub": "8"},
    {"namespaces": [], "scope": "events:write:own", "sub": "8", "iss": "issuer"},
]


def test_ids_are_of_the_root_namespaces_of_the_grant_or_else_of_its_user(ways: WaysIn) -> None:
    event = CHAT | {"id": OWN_ID}
    assert len({tuple(post(ways, event, sender)) for sender in SAME_TENANT}) == 1
    assert len({tuple(post(ways, event, sender)) for sender in [*SAME_TENANT, *OTHER_TENANTS]}) == 7
    everywhere = {"namespaces": ["*"], "scope": "events:write:own", "sub": "8"}
    assert post(ways, event, everywhere) == post(ways, event, everywhere | {"namespaces": []})


@pytest.mark.parametrize("identifier", [NIL, MAX])
@pytest.mark.parametrize("sender", [VICTIM, {"namespaces": ["*"]}])
def test_the_nil_and_the_max_uuid_are_refused_over_https(identifier: str, sender: dict[str, Any], ways: WaysIn) -> None:
    headers = {"Authorization": f"Bearer {token(**sender)}"}
    status, answer = ways.post(json.dumps(CHAT | {"id": identifier}).encode(), headers)
    assert (status, [rejected["code"] for rejected in answer["rejected"]]) == (400, ["invalid_id"])


def test_the_nil_and_the_max_uuid_are_refused_by_the_consumer(consume: Callable[..., Outcome], query: Query) -> None:
    outcome = consume(*(batch({"id": NIL, "user_id": user}, name=str(user)) for user in (1, 2, 3)), batch({"id": MAX}))
    assert (outcome.accepted, outcome.stored) == (0, 0)
    assert query(CODES) == [{"code": "invalid_id"}] * 4


TAKEN = {"id": OWN_ID, "timestamp": format_timestamp(NOW)}
OTHER_TIME = {"timestamp": format_timestamp(NOW - timedelta(minutes=1))}
UNTIMED = {"timestamp": None}
OTHER_NAME = {"event": "troubleshoot_job", "job": {"id": 1, "project_id": 4, "pipeline": {"id": 1}}}


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
@pytest.mark.parametrize("change", [{"user_id": 2}, OTHER_NAME, {"user_id": 2} | OTHER_TIME, {"user_id": 2} | UNTIMED])
def test_an_id_that_is_taken_by_another_event_is_kept_as_a_conflict(
    change: dict[str, Any], together: bool, consume: Callable[..., Outcome], query: Query
) -> None:
    first, second = batch(TAKEN, name="first"), batch(TAKEN | change, name="second")
    groups = [[first, second]] if together else [[first], [second]]
    outcomes = [consume(*group) for _ in range(2) for group in groups]
    assert sum(outcome.stored for outcome in outcomes) == 1
    assert [outcome.duplicates for outcome in outcomes] == ([0, 1] if together else [0, 0, 1, 0])
    assert query("SELECT user_id, event FROM ai_usage_events") == [{"user_id": 1, "event": 6}]
    assert query("SELECT code, attempts, body::json ->> 'user_id' AS user FROM rejected_events") == [
        {"code": "id_conflict", "attempts": 1, "user": str(change.get("user_id", 1))}
    ]


@pytest.mark.parametrize("change", [{"a": 1}, OTHER_TIME, UNTIMED, {"project_id": 3}])
def test_an_event_that_differs_in_payload_or_time_alone_is_a_duplicate(
    change: dict[str, Any], consume: Callable[..., Outcome], query: Query
) -> None:
    consume(batch(TAKEN))
    outcome = consume(batch(TAKEN | change, TAKEN | change, name="second"))
    assert (outcome.accepted, outcome.stored, outcome.duplicates, outcome.rejected) == (2, 0, 2, [])
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 1}]


@pytest.mark.parametrize(("before", "after"), [(1, 1), (47, 47), (1, 200), (200, 1)])
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
@pytest.mark.parametrize("is_later_first", [True, False])
def test_an_id_that_is_restamped_around_the_end_of_a_month_is_one_row(
    before: int, after: int, together: bool, is_later_first: bool, consume: Callable[..., Outcome], query: Query
) -> None:
    moments = [MONTH - before * HOUR, MONTH + after * HOUR]
    if (before, after) != (1, 1) and (before, after) != (47, 47) and not together:
        moments.sort(key=lambda moment: abs(moment - MONTH), reverse=True)  # the one that is near comes last
    elif is_later_first:
        moments.reverse()
    batches = [batch({"id": OWN_ID, "timestamp": format_timestamp(moment)}, name=str(moment)) for moment in moments]
    outcomes = [consume(*group) for group in ([batches] if together else [[one] for one in batches])]
    assert sum(outcome.stored for outcome in outcomes) == 1
    assert sum(outcome.duplicates for outcome in outcomes) == 1
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 1}]


def test_an_id_that_another_event_has_across_the_end_of_the_month_is_a_conflict(
    consume: Callable[..., Outcome], query: Query
) -> None:
    consume(batch({"id": OWN_ID, "timestamp": format_timestamp(MONTH - HOUR)}))
    outcome = consume(batch({"id": OWN_ID, "timestamp": format_timestamp(MONTH + HOUR), "user_id": 2}, name="second"))
    assert (outcome.accepted, outcome.stored) == (0, 0)
    assert query(CODES) == [{"code": "id_conflict"}]


def test_an_id_in_two_months_from_several_threads_is_one_row(
    consumer: ConsumerHandler, query: Query, database_url: str
) -> None:
    threads = 4
    start = Barrier(threads)
    ids = [str(UUID(int=number << 64 | 8 << 76 | 1 << 63)) for number in range(1, 101)]

    def consume(number: int) -> int:
        moment = format_timestamp(MONTH + (HOUR if number % 2 else -HOUR))
        own = Consumer(Database(database_url, TimeLimits(30, 30)), consumer.consumer.registry, 3)
        events = [{"id": identifier, "timestamp": None if number == 3 else moment} for identifier in ids]
        try:
            start.wait()
            return own.consume([batch(*(events if number % 2 else reversed(events)), name=str(number))]).stored
        finally:
            own.database.close()

    with ThreadPoolExecutor(threads) as pool:
        stored = list(pool.map(consume, range(threads)))
    assert sorted(stored) == [0, 0, 0, 100]
    assert query("SELECT count(*), count(DISTINCT id) AS ids FROM ai_usage_events") == [{"count": 100, "ids": 100}]
    assert query("SELECT count(*) FROM claimed_ids") == [{"count": 0}]


def row(number: int, timestamp: datetime, user_id: int = 1) -> Row:
    """Returns a row whose id is a number."""
    identifier = UUID(int=number)
    write_order = write_order_key(timestamp, identifier)
    return Row(identifier, timestamp, 6, user_id, None, None, b"{}", write_order, neighbouring_month(timestamp))


def write(connection: psycopg.Connection, *rows: Row, looks_up: bool = False) -> Written:
    """Writes rows in a transaction, a slice for each."""
    with connection.transaction():
        return write_events([[one] for one in rows], connection, looks_up=looks_up)


@pytest.mark.parametrize("is_looked_up_at_first", [True, False])
def test_an_id_whose_event_was_given_a_time_near_another_month_is_looked_up_there(
    is_looked_up_at_first: bool, connection: psycopg.Connection
) -> None:
    far = MONTH + 100 * HOUR
    assert write(connection, row(1, MONTH - HOUR), row(2, MONTH - HOUR), looks_up=True)[:2] == (2, [])
    again, taken = row(1, MONTH + HOUR), row(2, MONTH + HOUR, user_id=2)
    written = write(connection, row(3, far), again, taken, row(4, far), looks_up=is_looked_up_at_first)
    assert written[:2] == (2, [taken])
    rows = row(3, far), row(5, far), row(5, MONTH + HOUR)
    assert write(connection, *rows, looks_up=is_looked_up_at_first)[:2] == (1, [])


def test_rows_that_another_transaction_stores_after_the_look_up_are_stored_once(
    connection: psycopg.Connection, database_url: str, query: Query
) -> None:
    far = MONTH + 100 * HOUR
    write(connection, row(1, far))
    with psycopg.connect(database_url, autocommit=True) as own, ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            write_events([[row(2, far), row(3, far, user_id=2)]], connection, looks_up=False)
            waiting = pool.submit(write, own, *(row(number, far) for number in range(1, 6)))
            while query(WAITING) == [{"count": 0}]:
                sleep(0.01)
        assert waiting.result()[:2] == (2, [row(3, far)])


@pytest.mark.parametrize(
    ("moment", "months"),
    [
        (datetime(2026, 3, 1, tzinfo=UTC), -1),
        (datetime(2026, 1, 2, 23, 59, 59, 999999, tzinfo=UTC), -1),
        (datetime(2026, 3, 3, tzinfo=UTC), 0),
        (datetime(2026, 2, 27, tzinfo=UTC), 0),
        (datetime(2026, 2, 27, 0, 0, 0, 1, tzinfo=UTC), 1),
        (datetime(2026, 12, 30, tzinfo=UTC), 0),
        (datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 1),
    ],
)
def test_a_month_is_near_for_less_than_48_hours(moment: datetime, months: int) -> None:
    assert neighbouring_month(moment) == (month_number(moment) + months if months else NO_OTHER_MONTH)


def test_ids_without_times_do_not_wait_for_another_tenants_transaction(
    consumer: ConsumerHandler, connection: psycopg.Connection, database_url: str, query: Query
) -> None:
    """The other tenant's transaction waits for a lock of this test, and holds its own id locks meanwhile."""
    grants = [Grant("5", ("events:write",), ("27/",)), Grant("6", ("events:write",), ("99/",))]
    raw = [msgspec.Raw(json.dumps(CHAT | {"id": OWN_ID}).encode())]
    other, own = (Batch(grant.sub, NOW, raw, grant=grant) for grant in grants)
    registry = consumer.consumer.registry
    consumer.consumer.consume([other])
    ((stored_id,),) = (row.values() for row in query("DELETE FROM ai_usage_events RETURNING id"))
    held = Consumer(Database(database_url, TimeLimits(30, 30)), registry, 3)
    limited = Consumer(Database(database_url, TimeLimits(3, 3)), registry, 3)
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute(
                "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload) VALUES (%s, %s, 6, 5, '{}')",
                [stored_id, NOW],
            )
            waiting = pool.submit(held.consume, [other])
            while query(WAITING) == [{"count": 0}]:
                sleep(0.01)
            assert limited.consume([own]).stored == 1
            assert not waiting.done()
        assert waiting.result().duplicates == 1
    held.database.close()
    limited.database.close()
    assert query("SELECT user_id FROM ai_usage_events ORDER BY 1") == [{"user_id": 5}, {"user_id": 6}]


SENT_IDS = st.sampled_from([None, OWN_ID, TIMED_ID, "cloud event", "what the other was told"])
SENDINGS = st.lists(st.tuples(st.booleans(), SENT_IDS, st.sampled_from(["", "key"])), min_size=1, max_size=12)


def stored_of(ways: WaysIn, query: Query, sendings: Sequence[tuple[bool, Any, str]]) -> list[tuple[Any, Any]]:
    """Sends events of two tenants; returns each tenant's answers and stored events, then removes the events."""
    told: dict[bool, list[Any]] = {True: [], False: []}
    for is_stranger, identifier, key in sendings:
        event: dict[str, Any] = CHAT | {"id": identifier}
        if identifier == "cloud event":
            event = CLOUD_EVENT
        elif identifier == "what the other was told":
            event = CHAT | {"id": (told[not is_stranger] or [OWN_ID])[-1]}
        told[is_stranger] += post(ways, event, STRANGER if is_stranger else VICTIM, key)
        waiting = list(ways.waiting)
        assert ways.consume_waiting().rejected == []
        ways.consume(*(body.decode() for body in waiting), message_id="delivered again")
    rows = query("DELETE FROM ai_usage_events RETURNING id::text, user_id")
    return [
        (told[is_stranger], {row["id"] for row in rows if row["user_id"] == (6 if is_stranger else 5)})
        for is_stranger in (False, True)
    ]


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(sendings=SENDINGS)
def test_each_tenant_has_exactly_what_it_was_told_whatever_the_other_sends(
    sendings: list[tuple[bool, Any, str]], ways: WaysIn, query: Query
) -> None:
    for told, stored in stored_of(ways, query, sendings):
        assert set(told) == stored


LIMITED = Grant("5", ("events:write",), ("27/",))


@pytest.mark.parametrize("identifier", [None, OWN_ID, TIMED_ID], ids=["none", "a UUID", "a UUID with a time"])
def test_a_replayed_event_is_stored_under_the_id_that_its_sender_was_told(
    identifier: str | None, ways: WaysIn, query: Query
) -> None:
    (told,) = post(ways, CHAT | {"id": identifier}, VICTIM)
    registry = ways.consumer.consumer.registry
    missing = replace(registry, events={})
    known = ways.consumer.consumer
    ways.consumer.consumer = replace(known, registry=missing, known=KnownFacts())
    ways.consume_waiting()
    for _ in range(2):
        (row,) = query("SELECT * FROM rejected_events")
        assert (row["code"], str(row["event_id"])) == ("unknown_event", told)
        replay = Replay(row["id"], row["attempts"], row["received_at"], row["body"], LIMITED, event_id=row["event_id"])
        message = replay.message(10_000)
        assert message is not None
        ways.consume(message.decode())
        ways.consumer.consumer = known
    assert query("SELECT id::text FROM ai_usage_events") == [{"id": told}]


def test_a_replayed_conflict_is_a_conflict_again(ways: WaysIn, query: Query) -> None:
    post(ways, [TAKEN | CHAT | {"user_id": user} for user in (1, 2)], VICTIM)
    ways.consume_waiting()
    (row,) = query("SELECT * FROM rejected_events")
    replay = Replay(row["id"], row["attempts"], row["received_at"], row["body"], LIMITED, event_id=row["event_id"])
    message = replay.message(10_000)
    assert message is not None
    ways.consume(message.decode())
    assert query("SELECT code, attempts, event_id FROM rejected_events") == [
        {"code": "id_conflict", "attempts": 2, "event_id": row["event_id"]}
    ]
