import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from typer.testing import CliRunner

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.contract import MAX_EVENT_BYTES
from functions.ingest.event.event import MAX_GIVEN_BYTES
from functions.ingest.formats.cloud_event import as_plain_event
from functions.ingest.message.batch import Batch
from functions.ingest.message.origin import ATTRIBUTE, Origin
from functions.retention.rejected_events import delete_rejected
from functions.shared import queue
from functions.shared.catalog.registry import Registry
from functions.shared.grant import Grant
from functions.shared.identifier import IdSpace, derived_id
from functions.shared.timestamp import format_timestamp
from infra.cli import app
from infra.operations import rejected_events
from tests.support.accounts import Query
from tests.support.clock import NOW
from tests.support.consuming import Queues

CHAT = {"event": "request_duo_chat_response", "user_id": 1}
WAITING_FOR_A_LOCK = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
TENANT = Grant("5", ("events:write",), ("27/",))
TENANTS_IDS = IdSpace(("namespaces", "27/"))
EVERYWHERE = Grant("5", ("events:write",), ("*",))

type Command = Callable[..., Any]


@pytest.fixture
def command(database_url: str, queues: Queues) -> Command:
    """Runs `usage-events rejected`."""
    environment = {"DATABASE_URL": database_url, "QUEUE_URL": queues.url}

    def command(*arguments: str, answer: str | None = None) -> Any:
        with patch.dict(os.environ):  # in which the commands set what they find
            return CliRunner().invoke(app, ["rejected", *arguments], env=environment, input=answer)

    return command


def said(result: Any) -> str:
    assert result.exit_code == 0, result.output
    return str(result.output)


def without(registry: Registry, name: str) -> Registry:
    """Returns the definitions without one event."""
    events = {known: event for known, event in registry.events.items() if known != name}
    return replace(registry, events=events)


def with_deprecated(registry: Registry, name: str) -> Registry:
    """Returns the definitions with one event deprecated."""
    return replace(registry, events={**registry.events, name: replace(registry.events[name], deprecated=True)})


@contextmanager
def knowing(registry: Registry, handler: ConsumerHandler) -> Iterator[None]:
    """Gives the handler these definitions while the block runs."""
    before = handler.consumer
    handler.consumer = replace(before, registry=registry)
    yield
    handler.consumer = before


def from_api(
    *events: dict[str, Any], grant: Grant = TENANT, request_id: str = "request", received_at: datetime = NOW
) -> str:
    """Returns a message as the API puts it on the queue."""
    raw = [as_plain_event(msgspec.Raw(json.dumps(event).encode())) for event in events]
    return msgspec.json.encode(Batch(request_id, received_at, raw, grant=grant)).decode()


@pytest.mark.parametrize("internal", [False, True], ids=["event", "internal event"])
def test_an_event_without_definition_is_stored_once_when_the_definition_is_back(
    internal: bool,
    queues: Queues,
    consumer: ConsumerHandler,
    command: Command,
    query: Query,
) -> None:
    event = CHAT | {"project_id": 4} | ({"additional_properties": {"language": "ruby"}} if internal else {})
    with knowing(without(consumer.consumer.registry, str(CHAT["event"])), consumer):
        queues.send(from_api(event, event))
        queues.consume(consumer)
    rejected = query("SELECT * FROM rejected_events")
    assert [row["code"] for row in rejected] == ["unknown_event"] * 2
    for sent in (2, 0):
        assert f"{sent} events are on the queue again." in said(command("replay", "--code", "unknown_event"))
        queues.consume(consumer)
    expected = [Batch("request", NOW, []).event_id(position) for position in range(2)]
    stored = query("SELECT id, timestamp, project_id FROM ai_usage_events ORDER BY id")
    assert [row["id"] for row in stored] == sorted(expected)
    assert {row["timestamp"] for row in stored} == {NOW}
    assert {row["project_id"] for row in stored} == {4}
    after = query("SELECT * FROM rejected_events")
    assert all(row.pop("replayed_at") for row in after)
    assert after == [{name: row[name] for name in row if name != "replayed_at"} for row in rejected]


ARRIVED_AT = (NOW - timedelta(days=45)).replace(microsecond=1000)  # in another month than now
OWN_TIME = ARRIVED_AT - timedelta(days=1)
OWN_ID = UUID("4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44")
TIMED_ID = derived_id(OWN_TIME, "", 0)
OWN_TIME_TEXT = format_timestamp(OWN_TIME)
CLOUD_EVENT = {"specversion": "1.0", "type": CHAT["event"], "source": "editor", "id": "1", "subject": "1"}
CLOUD_EVENT_ID = UUID(json.loads(bytes(as_plain_event(msgspec.Raw(json.dumps(CLOUD_EVENT).encode()))))["id"])
PROPERTIES = {"additional_properties": {"language": "ruby"}}
TIMED_PROPERTIES = {"additional_properties": {"timestamp": OWN_TIME_TEXT}}


@pytest.mark.parametrize("sent_again", [False, True], ids=["sent once", "sent again meanwhile"])
@pytest.mark.parametrize("way", ["queue", "https"])
@pytest.mark.parametrize(
    ("event", "own_id", "own_time"),
    [
        (CHAT, None, None),
        (CHAT | {"timestamp": OWN_TIME_TEXT}, None, OWN_TIME),
        (CHAT | {"id": str(OWN_ID)}, OWN_ID, None),
        (CHAT | {"id": str(OWN_ID), "timestamp": OWN_TIME_TEXT}, OWN_ID, OWN_TIME),
        (CHAT | {"id": str(TIMED_ID)}, TIMED_ID, OWN_TIME),
        (CHAT | {"id": str(TIMED_ID), "timestamp": format_timestamp(ARRIVED_AT)}, TIMED_ID, ARRIVED_AT),
        (CHAT | PROPERTIES, None, None),
        (CHAT | TIMED_PROPERTIES, None, OWN_TIME),
        (CHAT | PROPERTIES | {"id": str(OWN_ID)}, OWN_ID, None),
        (CHAT | TIMED_PROPERTIES | {"id": str(OWN_ID)}, OWN_ID, OWN_TIME),
        (CLOUD_EVENT, CLOUD_EVENT_ID, None),
        (CLOUD_EVENT | {"time": OWN_TIME_TEXT}, CLOUD_EVENT_ID, OWN_TIME),
    ],
    ids=[
        "nothing",
        "a time",
        "an id",
        "an id and a time",
        "a timed id",
        "a timed id and another time",
        "an internal event",
        "an internal event with a time",
        "an internal event with an id",
        "an internal event with both",
        "a CloudEvent",
        "a CloudEvent with a time",
    ],
)
def test_a_replayed_event_keeps_its_id_and_time_and_is_stored_once(
    event: dict[str, Any],
    own_id: UUID | None,
    own_time: datetime | None,
    way: str,
    sent_again: bool,
    queues: Queues,
    consumer: ConsumerHandler,
    command: Command,
    query: Query,
) -> None:
    with knowing(with_deprecated(consumer.consumer.registry, str(CHAT["event"])), consumer):
        if way == "https":
            queues.send(from_api(event, received_at=ARRIVED_AT))
        else:
            queues.send(json.dumps(event), **{ATTRIBUTE: Origin("request", ARRIVED_AT).attribute["StringValue"]})
        queues.consume(consumer)
        said(command("replay"))
        queues.consume(consumer)
    assert query("SELECT code, attempts FROM rejected_events") == [{"code": "deprecated_event", "attempts": 2}]
    sender, stored_id = (TENANT, own_id and TENANTS_IDS.stored_id(own_id)) if way == "https" else (EVERYWHERE, own_id)
    if sent_again and own_id:
        queues.send(from_api(event, grant=sender, request_id="another", received_at=NOW))
        queues.consume(consumer)
    for _ in range(2):
        assert "1 event is on the queue again." in said(command("replay"))
        queues.consume(consumer)
        query("UPDATE rejected_events SET replayed_at = NULL RETURNING id")
    assert query("SELECT id, timestamp FROM ai_usage_events") == [
        {
            "id": stored_id or Batch("request", ARRIVED_AT, []).event_id(0),
            "timestamp": own_time or (NOW if sent_again and own_id else ARRIVED_AT),
        }
    ]


@pytest.mark.parametrize("way", ["queue", "https"])
@pytest.mark.parametrize(
    ("event", "given_bytes"), [(CHAT, MAX_GIVEN_BYTES), (CHAT | {"id": str(OWN_ID)}, 0)], ids=["no id", "own id"]
)
def test_an_event_of_the_largest_size_can_be_replayed_with_what_it_was_given(
    event: dict[str, Any],
    given_bytes: int,
    way: str,
    queues: Queues,
    consumer: ConsumerHandler,
    command: Command,
    query: Query,
) -> None:
    received_at = NOW.replace(microsecond=123456)
    filled = event | {"filler": ""}
    filled["filler"] = "x" * (MAX_EVENT_BYTES - len(json.dumps(filled)))
    with knowing(without(consumer.consumer.registry, str(CHAT["event"])), consumer):
        if way == "https":
            queues.send(from_api(filled, received_at=received_at))
        else:
            queues.send(json.dumps(filled))
        for _ in range(2):
            queues.consume(consumer)
            said(command("replay"))
    lengths = {row["length"] for row in query("SELECT octet_length(body) AS length FROM rejected_events")}
    assert max(lengths) <= MAX_EVENT_BYTES + given_bytes
    if way == "https":
        assert lengths == {MAX_EVENT_BYTES + given_bytes}
    queues.consume(consumer)
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 1}]


def test_an_event_that_was_too_large_is_so_when_it_is_replayed(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query
) -> None:
    insert(query, CHAT | {"id": str(OWN_ID), "filler": "x" * (MAX_EVENT_BYTES + MAX_GIVEN_BYTES)}, code="too_large")
    said(command("replay"))
    queues.consume(consumer)
    assert query("SELECT code, attempts FROM rejected_events") == [{"code": "too_large", "attempts": 2}]


def test_an_event_that_is_rejected_again_keeps_its_row_and_its_history(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query
) -> None:
    queues.send(json.dumps({"event": "unknown"}))
    queues.consume(consumer)
    (first,) = query("SELECT * FROM rejected_events")
    for attempt in (2, 3):
        said(command("replay"))
        queues.consume(consumer)
        (row,) = query("SELECT * FROM rejected_events")
        assert row == first | {"attempts": attempt}
    shown = said(command("show", str(first["id"])))
    for attempt, end in ((1, ", replayed "), (2, ", replayed "), (3, ".\n")):
        assert f"attempt {attempt}    unknown_event: No definition names the event 'unknown'{end}" in shown
    assert first["body"] in shown


def test_an_event_rejected_again_during_its_replay_has_that_time_in_its_history(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    identifier = insert(query, {"event": "unknown"})
    send = queue.send
    with ThreadPoolExecutor(1) as pool:
        consuming: list[Future[None]] = []

        def send_and_have_it_consumed(*arguments: Any, **named: Any) -> set[int]:
            refused = send(*arguments, **named)
            consuming.append(pool.submit(queues.consume, consumer))
            give_up = time.monotonic() + 60
            while not query(WAITING_FOR_A_LOCK):
                assert time.monotonic() < give_up
                time.sleep(0.01)
            return refused

        monkeypatch.setattr(queue, "send", send_and_have_it_consumed)
        said(command("replay"))
        consuming[0].result()
    assert query("SELECT attempts, replayed_at FROM rejected_events") == [{"attempts": 2, "replayed_at": None}]
    assert said(command("show", str(identifier))).count(", replayed ") == 1


def test_a_replay_interrupted_before_marking_stores_and_counts_once(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    with knowing(without(consumer.consumer.registry, str(CHAT["event"])), consumer):
        queues.send(json.dumps([CHAT, {"event": "unknown"}]))
        queues.consume(consumer)
    with monkeypatch.context() as patched:
        patched.setattr(rejected_events, "_MARK", "SELECT 1/0 FROM rejected_events WHERE id = ANY(%s)")
        assert command("replay").exit_code == 1
    assert query("SELECT count(*) FROM rejected_events WHERE replayed_at IS NULL") == [{"count": 2}]
    said(command("replay"))
    queues.consume(consumer)
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 1}]
    rows = query("SELECT attempts, replayed_at IS NULL AS waits FROM rejected_events ORDER BY attempts")
    assert rows == [{"attempts": 1, "waits": False}, {"attempts": 2, "waits": True}]
    assert query("SELECT count(*) FROM rejection_history") == [{"count": 1}]


def test_two_replays_at_once_send_each_event_once(
    queues: Queues, command: Command, query: Query, database_url: str
) -> None:
    ids = [insert(query, {"event": "unknown", "number": number}) for number in range(300)]
    barrier = threading.Barrier(2, timeout=60)

    def replay(_: int) -> rejected_events.ReplaySummary:
        with psycopg.connect(database_url, autocommit=True) as connection:
            barrier.wait()
            return rejected_events.replay(connection, queues.sqs, queues.url, ids)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(replay, range(2)))
    assert sum(one.sent for one in done) + sum(one.unsent for one in done) == 300
    said(command("replay"))
    bodies = [json.loads(record["body"])["rejected_id"] for record in queues.records()]
    assert sorted(bodies) == sorted(str(identifier) for identifier in ids)


def insert(query: Query, body: Any, **columns: Any) -> Any:
    """Inserts a row as the consumer does."""
    values = {
        "id": uuid4(),
        "received_at": NOW,
        "source": "sqs",
        "code": "unknown_event",
        "message": "No definition names it.",
        "body": body if isinstance(body, str) else json.dumps(body),
    } | columns
    names = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    query(f"INSERT INTO rejected_events ({names}) VALUES ({marks}) RETURNING id", *values.values())
    return values["id"]


def test_an_event_without_id_and_time_in_its_row_gets_the_same_ones_at_every_replay(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query
) -> None:
    received_at = NOW - timedelta(days=20)
    insert(query, CHAT, received_at=received_at)
    for _ in range(2):
        said(command("replay"))
        queues.consume(consumer)
        query("UPDATE rejected_events SET replayed_at = NULL RETURNING id")
    assert query("SELECT timestamp FROM ai_usage_events") == [{"timestamp": received_at}]


def test_a_message_that_could_not_be_read_is_replayed_as_it_came(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query
) -> None:
    for body in ("{", '"\\', "ä" * 1000, "[" * 20_000):
        queues.send(body)
    queues.consume(consumer)
    before = query("SELECT id, body FROM rejected_events ORDER BY id")
    said(command("replay"))
    queues.consume(consumer)
    assert query("SELECT id, body FROM rejected_events ORDER BY id") == before
    assert query("SELECT DISTINCT attempts FROM rejected_events") == [{"attempts": 2}]


def test_a_message_that_can_be_read_by_now_leads_to_all_its_events(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query
) -> None:
    insert(query, [CHAT, {"event": "unknown"}, CHAT], code="invalid_json")
    said(command("replay"))
    queues.consume(consumer)
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 2}]
    rows = query("SELECT code, attempts, replayed_at IS NULL AS waits FROM rejected_events ORDER BY code")
    assert rows == [
        {"code": "invalid_json", "attempts": 1, "waits": False},
        {"code": "unknown_event", "attempts": 2, "waits": True},
    ]


def test_a_replayed_event_has_its_senders_grant(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query
) -> None:
    grant = msgspec.json.encode(TENANT).decode()
    columns = {"source": "https", "sender_grant": grant}
    for path in ("27/28/", "3/"):
        insert(query, CHAT | {"namespace_path": path}, **columns)
    insert(query, msgspec.json.encode(Batch(str(uuid4()), NOW, [msgspec.Raw(b'{"user_id": 2}')])).decode(), **columns)
    said(command("replay"))
    queues.consume(consumer)
    assert query("SELECT namespace_path FROM ai_usage_events") == [{"namespace_path": "27/28/"}]
    rows = query("SELECT code, sender_grant FROM rejected_events WHERE replayed_at IS NULL ORDER BY code")
    assert rows == [
        {"code": "forbidden_namespace", "sender_grant": json.loads(grant)},
        {"code": "invalid_event", "sender_grant": json.loads(grant)},
    ]


def test_a_replayed_event_that_fails_after_its_row_was_dropped_is_kept_anew(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query
) -> None:
    identifier = insert(query, {"event": "unknown"}, received_at=NOW - timedelta(days=3))
    said(command("replay"))
    assert "1 rejected event was deleted." in said(command("drop", "--yes"))
    queues.consume(consumer)
    rows = query("SELECT id, received_at, attempts FROM rejected_events")
    assert rows == [{"id": identifier, "received_at": NOW - timedelta(days=3), "attempts": 2}]


def test_what_the_queue_does_not_take_waits_on(
    queues: Queues, command: Command, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        insert(query, {"event": "unknown", "number": number}, received_at=NOW + timedelta(seconds=number))
    monkeypatch.setattr(queue, "send", lambda *_, **__: {1})
    result = command("replay")
    assert result.exit_code == 1
    assert "2 events are on the queue again.\n1 event is still waiting: the queue took no more." in result.output
    rows = query("SELECT body::json ->> 'number' AS number FROM rejected_events WHERE replayed_at IS NULL")
    assert rows == [{"number": "1"}]


def test_a_large_body_is_packed_and_a_too_large_one_does_not_stop_others(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query
) -> None:
    characters = Random(1).choices([chr(code) for code in range(0x4E00, 0x9FFF)], k=1024 * 1024)
    too_large = insert(query, "".join(characters), code="invalid_json", received_at=NOW - timedelta(seconds=3))
    quoted, noncharacters = '"\\' * (512 * 1024), json.dumps({"event": "\uffff" * 300_000}, ensure_ascii=False)
    quotes = insert(query, quoted, code="invalid_json", received_at=NOW - timedelta(seconds=2))
    refused_by_sqs = insert(query, noncharacters)
    foreign = {"sub": "1" * 1_100_000, "scopes": [], "namespaces": []}
    too_large_grant = insert(query, CHAT, sender_grant=json.dumps(foreign), received_at=NOW + timedelta(seconds=1))
    insert(query, CHAT, received_at=NOW + timedelta(seconds=2))
    result = command("replay")
    assert result.exit_code == 1
    assert "3 events are on the queue again.\n2 events are still waiting, too large" in result.output
    for identifier in (too_large, too_large_grant):
        assert str(identifier) in result.output
    waiting = query("SELECT id FROM rejected_events WHERE replayed_at IS NULL ORDER BY received_at")
    assert [row["id"] for row in waiting] == [too_large, too_large_grant]
    queues.consume(consumer)
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 1}]
    again = query("SELECT id, body FROM rejected_events WHERE attempts = 2 ORDER BY received_at")
    assert [row["id"] for row in again] == [quotes, refused_by_sqs]
    assert again[0]["body"] == quoted
    assert again[1]["body"].startswith(noncharacters.removesuffix("}"))


def test_rows_that_clickhouse_refused_are_not_put_on_the_queue(queues: Queues, command: Command, query: Query) -> None:
    identifier = insert(query, "{}", source="sync", code="refused_by_clickhouse")
    for arguments in ([], [str(identifier)]):
        answer = said(command("replay", *arguments))
        assert "0 events are on the queue again.\n1 row was refused by ClickHouse" in answer
        assert "usage-events sync --replay" in answer
    assert queues.records() == []


def test_rejected_events_are_listed_with_counts_by_code_event_and_age(command: Command, query: Query) -> None:
    insert(query, CHAT, code="invalid_user", received_at=NOW - timedelta(days=3))
    insert(query, CHAT | {"text": "nul\0"}, code="invalid_text", received_at=NOW - timedelta(hours=2), replayed_at=NOW)
    nested = {"job": {"event": CHAT["event"]}, "event": "troubleshoot_job"}
    insert(query, nested, code="invalid_user", received_at=NOW - timedelta(hours=1))
    insert(query, "[" * 20_000, code="too_deep", message="[/bold] :smile:\x1b[2J")
    listed = [
        ([], {"invalid_user": (2, 0), "invalid_text": (0, 1), "too_deep": (1, 0)}),
        (["--event", str(CHAT["event"])], {"invalid_user": (1, 0), "invalid_text": (0, 1)}),
        (["--code", "invalid_user"], {"invalid_user": (2, 0)}),
        (["--code", "invalid_user", "--since", "1d"], {"invalid_user": (1, 0)}),
        (
            ["--since", format_timestamp(NOW - timedelta(days=4))],
            {"invalid_user": (2, 0), "invalid_text": (0, 1), "too_deep": (1, 0)},
        ),
        (["--event", "none"], {}),
    ]
    for arguments, counts in listed:
        output = said(command("list", *arguments))
        rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines()]
        assert {row[1]: (int(row[2]), int(row[3])) for row in rows if row[0] == "sqs"} == counts
    assert "[/bold] :smile:" in said(command("list"))
    assert "\x1b" not in said(command("list"))
    assert said(command("list", "--limit", "1")).count("invalid_user") == 1


def test_one_event_is_shown_wholly(command: Command, query: Query) -> None:
    body = json.dumps(CHAT | {"text": "x" * 5000})
    identifier = insert(query, body, sender_grant=msgspec.json.encode(TENANT).decode(), source="https")
    output = said(command("show", str(identifier)))
    for part in (
        str(identifier),
        body,
        '"namespaces":["27/"]',
        "unknown_event: No definition names it.",
        str(NOW.year),
    ):
        assert part in output
    missing = command("show", str(uuid4()))
    assert (missing.exit_code, "No rejected event is known by" in missing.output) == (1, True)


ORDERS = "\x1b[2J\x9b2J\u202e\x08"
MARKED = "\ufffd[2J\ufffd2J\ufffd\ufffd"


@pytest.mark.parametrize(
    ("body", "name", "lines"),
    [
        (ORDERS, "unknown", [MARKED]),
        (f"{{\r\n\t{ORDERS}\r\n\n}}", "unknown", ["{", f"        {MARKED}", "", "}"]),
        ('{"event": "a\x9b\\u001b\\nbody"}', "a\ufffd\ufffd body", ['{"event": "a\ufffd\\u001b\\nbody"}']),
    ],
)
def test_what_a_terminal_might_take_for_an_order_is_shown_with_marks(
    body: str, name: str, lines: list[str], command: Command, query: Query
) -> None:
    grant = json.dumps({"sub": ORDERS, "scopes": [], "namespaces": []})
    identifier = insert(query, body, message=f"{ORDERS}\nforged", sender_grant=grant, attempts=2)
    history = "INSERT INTO rejection_history (rejected_id, attempt, code, message) VALUES (%s, 1, 'a', %s) RETURNING 1"
    query(history, identifier, f"{ORDERS}\nforged")
    output = said(command("show", str(identifier)))
    assert all(character.isprintable() or character == "\n" for character in output)
    shown = output.removesuffix("\n").split("\n")
    assert shown[1] == f"event        {name}"
    assert shown[5:] == [
        f"attempt 1    a: {MARKED} forged",
        f"attempt 2    unknown_event: {MARKED} forged",
        "body",
        *lines,
    ]


def test_an_event_is_found_by_the_id_that_its_sender_was_told(command: Command, query: Query) -> None:
    told = uuid4()
    rows = [insert(query, CHAT | {"number": number}, event_id=told) for number in range(2)]
    insert(query, CHAT | {"number": 2}, event_id=uuid4())
    shown = said(command("show", str(told)))
    assert shown.count(f"event id     {told}\n") == 2
    assert all(f"id           {row}\n" in shown for row in rows)
    assert str(told) in said(command("list"))


def test_events_are_dropped_only_when_that_is_confirmed_and_only_those_that_fit(command: Command, query: Query) -> None:
    kept = insert(query, CHAT, code="invalid_user")
    dropped = insert(query, CHAT)
    assert command("drop", "--code", "unknown_event", answer="n\n").exit_code == 1
    assert query("SELECT count(*) FROM rejected_events") == [{"count": 2}]
    assert "1 rejected event was deleted." in said(command("drop", str(dropped), answer="y\n"))
    assert query("SELECT id FROM rejected_events") == [{"id": kept}]
    assert command("drop", str(dropped), "--yes").exit_code == 2


@pytest.mark.parametrize("arguments", [["--since", "soon"], ["--since", "999999d"], ["no id"]])
def test_an_option_that_means_nothing_is_refused(arguments: list[str], command: Command) -> None:
    assert command("replay", *arguments).exit_code == 2


def test_the_history_goes_with_the_row_when_it_is_too_old(
    queues: Queues, consumer: ConsumerHandler, command: Command, query: Query, database_url: str
) -> None:
    insert(query, {"event": "unknown"}, received_at=NOW - timedelta(days=30))
    said(command("replay"))
    queues.consume(consumer)
    assert query("SELECT count(*) FROM rejection_history") == [{"count": 1}]
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert delete_rejected(connection, NOW - timedelta(days=20), NOW) == 1
    assert query("SELECT count(*) FROM rejection_history") == [{"count": 0}]
