import gzip
import random
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from functions.ingest.formats.compression import MAX_UNPACKED_BYTES
from functions.ingest.formats.table import events_in
from functions.ingest.message.batch import KIND, Batch, read_batch
from functions.ingest.message.origin import Origin
from functions.ingest.message.replay import KIND as REPLAY
from functions.ingest.message.replay import Replay, read_message
from functions.shared.grant import TRUSTED, Grant
from functions.shared.rejection import Rejection

SENT_AT = datetime(2026, 11, 20, 15, 0, 59, 936000, UTC)
GRANT = Grant("1", ("events:write",), ("27/",))


@given(
    sizes=st.lists(st.integers(min_value=0, max_value=400), max_size=60),
    limit=st.integers(min_value=700, max_value=2000),
)
def test_events_travel_in_messages_within_the_limit_each_once_at_its_position(sizes: list[int], limit: int) -> None:
    events = [msgspec.Raw(msgspec.json.encode({"a": "x" * size})) for size in sizes]
    batch = Batch("request", SENT_AT, events, grant=GRANT)
    bodies = [msgspec.json.encode(message) for message in batch.messages(limit)]
    assert all(len(body) <= limit for body in bodies)
    messages = [read_batch(body, "another", SENT_AT) for body in bodies]
    arrived = [(position, bytes(event)) for message in messages for position, event in message.indexed()]
    assert arrived == [(position, bytes(event)) for position, event in enumerate(events)]
    assert all((message.id, message.grant) == ("request", GRANT) for message in messages)
    assert len(bodies) <= 2 * sum(len(event) + 1 for event in events) / (limit - 500) + 1


@pytest.mark.parametrize(
    ("body", "events"),
    [
        ('{"event": "a"}', ['{"event": "a"}']),
        ('  [{"event": "a"}, {"event": "b"}]\n', ['{"event": "a"}', '{"event": "b"}']),
        ("[]", []),
        ("5", ["5"]),
        ('{"event": "a"', ['{"event": "a"']),
        ('[{"event": "a"}', ['[{"event": "a"}']),
        ("", [""]),
        ('[{"event": "\\ud83d"}, {"event": "漢"}]', ['{"event": "\\ud83d"}', '{"event": "漢"}']),
    ],
)
def test_events_published_straight_are_read_as_a_trusted_batch(body: str, events: list[str]) -> None:
    batch = read_batch(body.encode(), "message", SENT_AT)
    assert [bytes(event).decode() for event in batch.events] == events
    assert (batch.id, batch.received_at, batch.grant, batch.sender) == ("message", SENT_AT, None, TRUSTED)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "invalid_json"),
        ("nonsense", "invalid_json"),
        ('{"event": "a"} {"event": "b"}', "invalid_json"),
        ("[1, 2", "invalid_json"),
        ('[{"a": "\\u00"}]', "invalid_json"),
        ("[" * 20_000 + "]" * 20_000, "too_deep"),
    ],
)
def test_a_body_that_is_not_json_is_rejected(body: str, code: str) -> None:
    with pytest.raises(Rejection) as rejected:
        events_in(body.encode())
    assert rejected.value.code == code


@pytest.mark.parametrize("event", [{"event": "a", "kind": KIND}, {"kind": KIND, "event": "a"}])
def test_an_event_that_looks_like_a_batch_without_being_one_is_an_event(event: dict[str, str]) -> None:
    body = msgspec.json.encode(event)
    assert [bytes(raw) for raw in read_batch(body, "message", SENT_AT).events] == [body]


@pytest.mark.parametrize("received_at", ["2026-11-20T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z"])
def test_a_batch_with_an_odd_time_of_arrival_is_none_of_ours(received_at: str) -> None:
    body = b'{"kind":"%b","id":"x","received_at":"%b","events":[{}]}' % (KIND.encode(), received_at.encode())
    batch = read_batch(body, "message", SENT_AT)
    assert (batch.id, batch.received_at, [bytes(raw) for raw in batch.events]) == ("message", SENT_AT, [body])


def grant_with(**attributes: Any) -> dict[str, Any]:
    return {"sub": "1", "scopes": ["events:write"], "namespaces": ["27/"]} | attributes


@pytest.mark.parametrize(
    "grant",
    [
        grant_with(sub="1" * 1025),
        grant_with(sub="nul\0"),
        grant_with(issuer="x" * 1025),
        grant_with(issuer="nul\0"),
        grant_with(scopes=["events:write"] * 101),
        grant_with(scopes=["nul\0"]),
        grant_with(namespaces=["27/"] * 501),
        grant_with(namespaces=["1/" * 513]),
        grant_with(namespaces=["nul\0"]),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("kind", [KIND, REPLAY])
def test_a_message_with_a_grant_that_no_token_gives_is_none_of_ours(kind: str, grant: dict[str, Any]) -> None:
    message = {"kind": kind, "id": "x", "received_at": SENT_AT, "events": [{}]}
    message |= {"rejected_id": uuid4(), "attempts": 1, "body": "{}", "grant": grant}
    body = msgspec.json.encode(message)
    batch = read_message(body, Origin("message", SENT_AT))
    assert (batch.id, batch.grant, batch.replayed, [bytes(raw) for raw in batch.events]) == (
        "message",
        None,
        None,
        [body],
    )


def replay_of(body: str) -> Replay:
    return Replay(uuid4(), 1, SENT_AT, body, GRANT)


@pytest.mark.parametrize("body", ["", "{}", '"' * 1000, "\uffff" * 1000, "ü\n\x1b\\\ufffe" * 200, "H4sI"])
@pytest.mark.parametrize("max_bytes", [1000, 1_000_000])
def test_a_replay_is_read_from_its_message_whether_it_is_packed_or_not(body: str, max_bytes: int) -> None:
    replay = replay_of(body)
    message = replay.message(max_bytes)
    assert message is not None
    assert len(message) <= max_bytes
    assert Replay.read(message) == replay
    assert (b'"body"' in message) + (b'"packed"' in message) == bool(body)
    assert not any(refused.encode() in message for refused in "\ufffe\uffff")


def test_a_replay_that_is_too_large_even_if_it_is_packed_has_no_message() -> None:
    assert replay_of(random.Random(1).randbytes(1000).hex()).message(1000) is None


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"\xff", mtime=0),
        gzip.compress(b" " * (MAX_UNPACKED_BYTES + 1), mtime=0),
        b"\x1f\x8b",
        b"\xff",
    ],
    ids=range(5),
)
def test_a_replay_that_can_not_be_unpacked_is_none_of_ours(packed: bytes) -> None:
    body = msgspec.json.encode(replace(replay_of(""), packed=packed))
    batch = read_message(body, Origin("message", SENT_AT))
    assert (batch.replayed, [bytes(raw) for raw in batch.events]) == (None, [body])
