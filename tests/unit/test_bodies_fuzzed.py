"""Whatever is sent, by both ways: no fault of ours, each event is accounted for, nothing malformed is tried again."""

import base64
import gzip
import json
import os
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.ingest.gitlab import TRACK_EVENT_PATH, TRACK_EVENTS_PATH
from functions.ingest.request import EVENTS_PATH, JSON_TYPES, LINE_TYPES
from functions.shared.batch import read_batch
from functions.shared.compression import unpacked
from functions.shared.envelope import unwrapped
from tests.unit.bad_events import BAD_EVENTS, NOW
from tests.unit.ways_in import WaysIn

COUNT = 20_000 if os.environ.get("SOAK") else 200
FUZZED = settings(max_examples=COUNT, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
STATUSES = {200, 202, 207, 400, 413, 415}
OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"

texts = st.text(st.characters(exclude_categories=()), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["request_duo_chat_response", "troubleshoot_job", "code_suggestion_shown_in_ide", "elsewhere"])
events = st.fixed_dictionaries(
    {"event": names | json_values},
    optional={
        "id": st.just(OWN_ID) | st.uuids().map(str) | json_values,
        "timestamp": st.just(NOW.isoformat()) | json_values,
        "user_id": st.integers(1, 9) | json_values,
        "namespace": st.just({"path": "27/28/"}) | json_values,
        "job": json_values,
        "additional_properties": st.just({"language": "ruby"}) | json_values,
        "specversion": json_values,
    },
)
cloud_events = st.fixed_dictionaries(
    {"specversion": st.just("1.0") | json_values, "type": names | json_values},
    optional={
        "id": texts | json_values,
        "source": texts | json_values,
        "time": st.just(NOW.isoformat()) | json_values,
        "subject": st.just("5") | json_values,
        "data": st.just({"job": {"id": 1}}) | events | json_values,
        "data_base64": st.just("e30=") | json_values,
    },
)
one_event = events | cloud_events | json_values


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


bad_events = st.integers(0, len(BAD_EVENTS) - 1).map(lambda number: BAD_EVENTS[number][0])
event_texts = one_event.map(encoded) | bad_events | st.binary(max_size=20)
plain_bodies = (
    event_texts
    | st.lists(event_texts, max_size=4).map(b"\n".join)
    | st.lists(event_texts, max_size=4).map(lambda some: b"[" + b",".join(some) + b"]")
    | st.lists(one_event, max_size=4).map(lambda some: encoded({"events": some}))
    | one_event.map(lambda inner: encoded({"detail-type": "a", "id": "b", "detail": inner}))
    | one_event.map(
        lambda inner: encoded(
            {"Type": "Notification", "MessageId": "a", "Message": encoded(inner).decode(errors="replace")}
        )
    )
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies as they are, packed, cut off, or with a byte replaced."""
    body = draw(plain_bodies)
    packing = draw(st.sampled_from(["", "", "gzip", "base64"]))
    if packing:
        body = gzip.compress(body)
    if packing == "base64":
        body = base64.b64encode(body)
    harm = draw(st.sampled_from(["", "", "", "cut", "replace"]))
    if harm and body:
        position = draw(st.integers(0, len(body) - 1))
        body = body[:position] + (
            draw(st.binary(min_size=1, max_size=1)) + body[position + 1 :] if harm == "replace" else b""
        )
    return body


@FUZZED
@given(
    body=bodies(),
    media_type=st.sampled_from(sorted(JSON_TYPES | LINE_TYPES)) | st.text(max_size=9),
    path=st.sampled_from([EVENTS_PATH, EVENTS_PATH, TRACK_EVENT_PATH, TRACK_EVENTS_PATH]),
    headers=st.dictionaries(
        st.sampled_from(
            ["Idempotency-Key", "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time"]
        ),
        st.sampled_from(["1.0", "5", "request_duo_chat_response"]) | st.text(max_size=5),
    ),
    is_text=st.booleans(),
)
def test_a_request_is_answered_and_each_event_in_it_accounted_for(
    ways: WaysIn, body: bytes, media_type: str, path: str, headers: dict[str, str], is_text: bool
) -> None:
    ways.waiting.clear()
    status, answer = ways.post(body, headers | {"Content-Type": media_type}, path, is_text=is_text)
    assert status in STATUSES
    batches = [read_batch(message, "message", datetime.now(UTC)) for message in ways.waiting]
    queued = sum(len(batch.events) for batch in batches)
    assert all(batch.grant is not None for batch in batches)
    if "ids" in answer:
        assert answer["accepted"] + answer["ignored"] + len(answer["rejected"]) == len(answer["ids"])
        assert answer["accepted"] == sum(identifier is not None for identifier in answer["ids"]) == queued
    else:
        assert queued == 0 or status == 200
    for batch in batches:  # what was accepted as it is can be stored but for what its transformation makes of it
        outcome = ways.outcome(batch)
        assert outcome.ignored == 0
        assert outcome.accepted + len(outcome.rejected) == len(batch.events)
        assert {row.code for row in outcome.rejected} <= {
            "invalid_payload",
            "payload_too_large",
            "too_deep",
            "transformation_failed",
        }


@FUZZED
@given(bodies())
def test_a_message_is_consumed_and_each_event_in_it_accounted_for(ways: WaysIn, body: bytes) -> None:
    text = body.decode(errors="replace")
    ways.consume(text)
    batch = read_batch(text.encode(), "message", datetime.now(UTC))
    outcome = ways.outcome(batch)
    assert outcome.accepted + outcome.ignored + len(outcome.rejected) == len(batch.events)
    if not batch.events:
        content, _ = unwrapped(text.encode(), "message")
        assert b"".join(unpacked(content).split()) == b"[]"
