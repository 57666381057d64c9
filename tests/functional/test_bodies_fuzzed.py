"""Random bodies over HTTPS and the queue: no internal error, no lost event, no retry of malformed messages."""

import itertools
import json
import os
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from functions.ingest.formats.cloud_event import BINARY_MODE_HEADER
from functions.ingest.formats.compression import unpacked
from functions.ingest.formats.table import unwrapped
from functions.ingest.message.replay import KIND
from functions.ingest.request import EVENTS_PATH
from tests.support.accounts import Query, assert_answered, assert_consumed, assert_kept, count_of_stored
from tests.support.formats import gzip_in_base64
from tests.support.fuzzed_bodies import OWN_ID, VARIANTS, Body, HttpsRequest, https_requests
from tests.support.fuzzed_messages import as_sqs_takes_it, messages
from tests.support.ways_in import WaysIn

COUNT = 20_000 if os.environ.get("SOAK") else 200  # bodies a way
FUZZED = settings(max_examples=COUNT // VARIANTS, suppress_health_check=list(HealthCheck))
STATUSES = {200, 202, 207, 400, 413, 415}

numbers = itertools.count()


def replay(**attributes: Any) -> Body:
    """Returns a message that looks like a replayed event."""
    message = {
        "kind": KIND,
        "rejected_id": OWN_ID,
        "attempts": 1,
        "received_at": "2026-11-20T00:00:00Z",
        "body": '{"event": "request_duo_chat_response"}',
    }
    return Body(json.dumps(message | attributes, separators=(",", ":")).encode(), 1)


@FUZZED
@given(requests=https_requests, is_text=st.booleans())
def test_a_request_is_answered_and_each_event_in_it_accounted_for(
    ways: WaysIn, query: Query, requests: list[HttpsRequest], is_text: bool
) -> None:
    ways.waiting.clear()
    for request in requests:
        first = len(ways.waiting)
        status, answer = ways.post(request.body.text, request.headers, request.path, is_text=is_text)
        assert status in STATUSES
        assert_answered(answer, ways.waiting[first:])
        count = known_count(request, is_text=is_text)
        assert status == 415 or count is None or len(answer["ids"]) == count
    assert_consumed(ways, query)


def known_count(request: HttpsRequest, *, is_text: bool) -> int | None:
    """Number of events that the answer must name; None if unknown."""
    text = request.body.text
    is_damaged = is_text and text.decode(errors="replace").encode() != text
    is_split = request.path == EVENTS_PATH and BINARY_MODE_HEADER not in request.headers
    return request.body.count if is_split and not is_damaged else None


@FUZZED
@given(messages)
@example([replay(received_at="1752-01-01T00:00:00Z")])
@example([replay(received_at="0001-01-01T00:00:00Z")])
@example([replay(received_at="9999-12-31T23:59:59Z")])
@example([replay(attempts=2**31 - 1)])
@example([Body(gzip_in_base64(b'{"event": "request_duo_chat_response", "user_id": 1, "a": "\xff"}'), 1)])
def test_a_message_is_consumed_and_each_event_in_it_accounted_for(
    ways: WaysIn, query: Query, bodies: list[Body]
) -> None:
    for body in bodies:
        text = as_sqs_takes_it(body.text)
        before = count_of_stored(query)
        outcome = ways.consume(text, message_id=str(next(numbers)))
        found = outcome.accepted + outcome.ignored + len(outcome.rejected)
        assert body.count in (None, found)
        assert found or holds_an_empty_array(text)
        assert_kept(outcome, query, before)


def holds_an_empty_array(text: str) -> bool:
    content, _ = unwrapped(text.encode(), "message")
    return b"[]" in b"".join(unpacked(content).split())
