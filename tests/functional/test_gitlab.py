"""The endpoints for GitLab's clients."""

import gzip
import json
from typing import Any

import pytest

from functions.ingest.formats.gitlab import TRACK_EVENT_PATH, TRACK_EVENTS_PATH
from functions.shared.timestamp import format_timestamp, months_before
from tests.support.accounts import Query
from tests.support.clock import NOW
from tests.support.gitlab import ACCEPTED, ACCEPTED_PAYLOAD, SENT_AT
from tests.support.ways_in import WaysIn, token

UNKNOWN = {"event": "elsewhere", "project_id": 4}
OK = {"status": "ok"}


def track(ways: WaysIn, body: Any, path: str = TRACK_EVENT_PATH, headers: Any = None) -> tuple[int, Any]:
    return ways.post(json.dumps(body).encode(), headers, path)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json", "PRIVATE-TOKEN": token()},
        {"PRIVATE-TOKEN": token(scope="events:write:own")},
        {"Private-Token": "nonsense", "Authorization": f"Bearer {token()}"},
        {"PRIVATE-TOKEN": token(), "Authorization": "Basic dXNlcjpwYXNzd29yZA=="},  # a proxy's
        {"PRIVATE-TOKEN": token(), "Authorization": ""},
        {"Content-Type": "application/x-www-form-urlencoded"},  # what curl says if it is told nothing
    ],
)
def test_an_event_is_stored_for_the_tokens_user(headers: dict[str, str], ways: WaysIn, query: Query) -> None:
    assert track(ways, ACCEPTED, headers=headers) == (200, OK)
    ways.consume_waiting()
    assert query("SELECT event, user_id, timestamp, payload FROM ai_usage_events") == [
        {"event": 3, "user_id": 5, "timestamp": SENT_AT, "payload": ACCEPTED_PAYLOAD}
    ]


def test_several_events_are_tracked_at_once(ways: WaysIn, query: Query) -> None:
    chat = {"event": "request_duo_chat_response", "namespace_id": "28", "additional_properties": None}
    body = json.dumps({"events": [ACCEPTED, UNKNOWN, chat]}).encode()
    for packed in (body, gzip.compress(body)):
        assert ways.post(packed, path=TRACK_EVENTS_PATH) == (200, OK)
    ways.waiting.pop()
    ways.consume_waiting()
    assert query("SELECT event FROM ai_usage_events ORDER BY event") == [{"event": 3}, {"event": 6}]


def test_a_string_that_was_cut_within_a_character_refuses_its_event_alone(ways: WaysIn, query: Query) -> None:
    cut = ACCEPTED | {"additional_properties": {"branch_name": "a\ud83d"}}
    status, answer = track(ways, {"events": [ACCEPTED, cut]}, TRACK_EVENTS_PATH)
    assert (status, [(one["index"], one["code"]) for one in answer["rejected"]]) == (207, [(1, "invalid_json")])
    ways.consume_waiting()
    assert query("SELECT event FROM ai_usage_events") == [{"event": 3}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TRACK_EVENT_PATH, UNKNOWN),
        (TRACK_EVENT_PATH, UNKNOWN | {"additional_properties": {"a": "\0"}}),
        (TRACK_EVENT_PATH, UNKNOWN | {"additional_properties": {"a": "a" * 70_000}}),
        (TRACK_EVENT_PATH, UNKNOWN | {"additional_properties": {"a": 1}}),
        (TRACK_EVENTS_PATH, {"events": [UNKNOWN]}),
        (TRACK_EVENTS_PATH, {"events": []}),
    ],
)
def test_what_no_definition_names_is_ignored(path: str, body: Any, ways: WaysIn) -> None:
    assert track(ways, body, path) == (200, OK)
    assert ways.waiting == []


def test_what_gitlab_does_not_take_is_ignored(ways: WaysIn, query: Query) -> None:
    others = {"user_id": 7, "user": {"id": 8}, "id": "no uuid", "timestamp": "nonsense", "send_to_snowplow": True}
    assert track(ways, ACCEPTED | others) == (200, OK)
    ways.consume_waiting()
    assert query("SELECT user_id FROM ai_usage_events") == [{"user_id": 5}]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        (TRACK_EVENT_PATH, b"nonsense", {}, 400),
        (TRACK_EVENT_PATH, b"", {}, 400),
        (TRACK_EVENT_PATH, b"[]", {}, 400),
        (TRACK_EVENT_PATH, b"{}", {}, 400),
        (TRACK_EVENT_PATH, b'{"event": 5}', {}, 400),
        (TRACK_EVENT_PATH, b'{"event": "\xff"}', {}, 400),
        (TRACK_EVENT_PATH, b'{"event": "a", "a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", {}, 400),
        (TRACK_EVENTS_PATH, b'{"event": "a"}', {}, 400),
        (TRACK_EVENTS_PATH, b'{"events": {}}', {}, 400),
        (TRACK_EVENTS_PATH, b'{"events": [5]}', {}, 400),
        (TRACK_EVENTS_PATH, rb'{"events": "\ud83d"}', {}, 400),
        (TRACK_EVENTS_PATH, rb'["\ud83d"]', {}, 400),
        (TRACK_EVENTS_PATH, json.dumps({"events": [UNKNOWN] * 10_001}).encode(), {}, 413),
        (TRACK_EVENT_PATH, b"{}", {"PRIVATE-TOKEN": "nonsense"}, 401),
        (TRACK_EVENT_PATH, b"{}", {"Authorization": "Bearer nonsense"}, 401),
        (TRACK_EVENT_PATH, b"{}", {"PRIVATE-TOKEN": token(scope="events:read")}, 403),
    ],
    ids=range(16),
)
def test_a_bad_request_is_answered_clearly(
    path: str, body: bytes, headers: dict[str, str], status: int, ways: WaysIn
) -> None:
    answered, answer = ways.post(body, headers, path)
    assert answered == status
    assert "message" in answer or "message" in answer["rejected"][0]


def test_a_token_of_gitlabs_kind_is_for_gitlabs_endpoints_alone(ways: WaysIn) -> None:
    assert ways.post(b"[]", {"PRIVATE-TOKEN": token()})[0] == 401


def test_an_event_that_can_not_be_stored_is_said_to_be_so(ways: WaysIn) -> None:
    late = ACCEPTED | {"additional_properties": {"timestamp": format_timestamp(months_before(NOW, 12))}}
    status, answer = track(ways, {"events": [ACCEPTED, late, 5, UNKNOWN]}, TRACK_EVENTS_PATH)
    assert (status, answer["accepted"], answer["ignored"]) == (207, 1, 1)
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [
        (1, "timestamp_out_of_range"),
        (2, "invalid_event"),
    ]
    assert track(ways, late)[0] == 400
