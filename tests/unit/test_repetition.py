"""Requests with an Idempotency-Key."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from functions.ingest.formats.gitlab import TRACK_EVENT_PATH
from functions.shared.identifier import IdSpace
from functions.shared.timestamp import format_timestamp
from tests.clock import NOW
from tests.unit.accounts import Query
from tests.ways_in import WaysIn, token

OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"
STORED_ID = str(IdSpace(("namespaces", "27/")).stored_id(UUID(OWN_ID)))
CHAT = {"event": "request_duo_chat_response"}


def ids(ways: WaysIn, events: Any, key: str = "key", **claims: Any) -> Any:
    headers = {"Idempotency-Key": key, "Authorization": f"Bearer {token(**claims)}"}
    return ways.post(json.dumps(events).encode(), headers)[1]["ids"]


def test_a_repeated_request_stores_nothing_twice(ways: WaysIn, query: Query) -> None:
    earlier = format_timestamp(NOW - timedelta(days=1))
    events = [
        CHAT,
        CHAT,
        CHAT | {"id": None},
        CHAT | {"timestamp": earlier},
        CHAT | {"id": OWN_ID},
        {"event": "unknown"},
        {"event": "code_suggestion_shown_in_ide", "additional_properties": {"language": "ruby"}},
    ]
    answers = [ids(ways, events) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert (answers[0][4], answers[0][5]) == (STORED_ID, None)
    assert len(set(answers[0])) == 7
    ways.consume_waiting()
    stored = {str(row["id"]) for row in query("SELECT id FROM ai_usage_events")}
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 6}]
    assert stored == set(answers[0]) - {None}
    assert query("SELECT * FROM rejected_events") == []


def test_an_id_is_of_sender_key_position_and_bytes(ways: WaysIn) -> None:
    made = [
        *ids(ways, [CHAT, CHAT, CHAT | {"a": 1}]),
        *ids(ways, [CHAT], key="other"),
        *ids(ways, [CHAT], sub="6"),
        *ids(ways, [CHAT], iss="issuer"),
        *ids(ways, [CHAT | {"a": 2}]),
        *ids(ways, [CHAT], key=""),
        *ids(ways, [CHAT], key=""),
    ]
    assert len(set(made)) == len(made)
    assert [one[14] for one in made] == ["8"] * 7 + ["7"] * 2
    assert ids(ways, [{"event": "unknown"}, CHAT])[1] == made[1]


def test_a_single_event_and_lines_are_repeated_as_well(ways: WaysIn) -> None:
    single = [
        ways.post(body, {"Idempotency-Key": "k"})[1]["ids"]
        for body in (b'{"event": "request_duo_chat_response"}\n',) * 2
    ]
    assert single[0] == single[1]
    body = b'{"event": "request_duo_chat_response"}\n{"eve\n{"event": "request_duo_chat_response"}'
    lines = [ways.post(body, {"Idempotency-Key": "k"})[1]["ids"] for _ in range(2)]
    assert lines[0] == lines[1]
    assert lines[0][0] == single[0][0]


def test_gitlabs_endpoints_take_the_key_too(ways: WaysIn, query: Query) -> None:
    event = {"event": "code_suggestion_shown_in_ide", "additional_properties": {"language": "ruby"}}
    for _ in range(3):
        assert ways.post(json.dumps(event).encode(), {"Idempotency-Key": "k"}, TRACK_EVENT_PATH)[0] == 200
    ways.consume_waiting()
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 1}]


def test_an_event_that_would_be_too_large_with_its_id_is_not_accepted(ways: WaysIn, query: Query) -> None:
    frame = len(json.dumps(CHAT | {"a": ""}))
    sizes = (64 * 1024 - frame - 60, 64 * 1024 - frame)
    status, answer = ways.post(
        json.dumps([CHAT | {"a": "x" * size} for size in sizes]).encode(), {"Idempotency-Key": "k"}
    )
    assert (status, [(one["index"], one["code"]) for one in answer["rejected"]]) == (207, [(1, "too_large")])
    ways.consume_waiting()
    assert query("SELECT * FROM rejected_events") == []
