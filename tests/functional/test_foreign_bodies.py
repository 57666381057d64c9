"""Bodies, texts and numbers as programs write them that nobody here wrote."""

import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from functions.ingest.formats.gitlab import TRACK_EVENT_PATH, TRACK_EVENTS_PATH
from tests.support.accounts import Query
from tests.support.bad_events import BAD_EVENTS
from tests.support.clock import NOW
from tests.support.formats import event_bridge, gzip_in_base64, sns
from tests.support.ways_in import WaysIn

MARK = b"\xef\xbb\xbf"  # the byte order mark in UTF-8
CHAT: dict[str, Any] = {"event": "request_duo_chat_response", "user_id": 3}
EVENT = json.dumps(CHAT).encode()
HALF_A_PAIR = b'{"event": "request_duo_chat_response", "user_id": 3, "text": "\\ud83d"}'
LONG_NUMBER = b'{"event": "request_duo_chat_response", "user_id": 3, "a": ' + b"1" * 5_000 + b"}"
ZSTD = bytes.fromhex("28b52ffd2000010000")  # nothing, packed
PYTHON = re.compile(
    r"sys\.|datetime\.|codec|Traceback|Error -|Incorrect padding|\b(None|True|False|inf|nan)\b|"
    r"`(int|str|float|bool|array|object|null|uuid)\b"
)


def users(query: Query) -> list[int]:
    return [row["user_id"] for row in query("SELECT user_id FROM ai_usage_events ORDER BY user_id")]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (MARK + EVENT, 1),
        (MARK + b"[" + EVENT + b"]", 1),
        (MARK + EVENT + b"\n" + EVENT, 2),
        (MARK + EVENT + b"\r\n" + MARK + EVENT + b"\r\n" + MARK, 2),
        (gzip.compress(MARK + EVENT, mtime=0), 1),
        (MARK + gzip_in_base64(EVENT), 1),
    ],
    ids=["object", "array", "lines", "each line", "in gzip", "before gzip"],
)
@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
def test_a_byte_order_mark_is_skipped(body: bytes, count: int, media_type: str, ways: WaysIn, query: Query) -> None:
    status, answer = ways.post(body, {"Content-Type": media_type})
    assert (status, answer.get("accepted")) == (202, count), answer
    message = base64.b64encode(body) if body.startswith(b"\x1f") else body
    ways.consume(message.decode())
    ways.consume_waiting()
    assert users(query) == [3] * 2 * count


@pytest.mark.parametrize("wrapping", [sns, event_bridge], ids=["SNS", "EventBridge"])
def test_a_byte_order_mark_in_an_envelope_is_skipped(
    wrapping: Callable[[bytes], bytes], ways: WaysIn, query: Query
) -> None:
    if wrapping is sns:
        ways.consume(sns(MARK + EVENT).decode())
    ways.consume((MARK + wrapping(EVENT)).decode())
    assert users(query) == [3] * (2 if wrapping is sns else 1)


def test_a_byte_order_mark_is_skipped_in_gitlabs_bodies(ways: WaysIn) -> None:
    assert ways.post(MARK + EVENT, path=TRACK_EVENT_PATH)[0] == 200
    assert ways.post(MARK + b'{"events": [%b]}' % EVENT, path=TRACK_EVENTS_PATH)[0] == 200


def test_a_byte_order_mark_is_skipped_in_the_data_of_a_cloud_event(ways: WaysIn) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "a", "ce-type": CHAT["event"], "ce-subject": "3"}
    assert ways.post(MARK + b'{"a": 1}', headers)[0] == 202
    event = {"specversion": "1.0", "id": "1", "source": "a", "type": CHAT["event"], "data_base64": "77u/e30="}
    assert ways.post(json.dumps(event).encode())[0] == 202


BESIDE: list[tuple[bytes, str | None]] = [
    (EVENT, None),
    (LONG_NUMBER, "number_out_of_range"),
    (b'{"event": "request_duo_chat_response", "user_id": 3, "a": 1e309}', "number_out_of_range"),
    (b'{"event": "request_duo_chat_response", "user_id": 3, "user_id": 0}', "invalid_user"),
    (b'{"event": "request_duo_chat_response", "user_id": 3, "a": "\xff"}', "invalid_json"),
    (b'{"event": "request_duo_chat_response", "user_id": 3, "a": "\\\\ud83d \\ud83d\\ude00"}', None),
]


@pytest.mark.parametrize(
    ("path", "frame"),
    [("/v1/events", b"[%b]"), (TRACK_EVENTS_PATH, b'{"a": "\\ud800", "events": [%b]}')],
    ids=["events", "GitLab"],
)
@pytest.mark.parametrize("half", [HALF_A_PAIR, HALF_A_PAIR.replace(b"d83d", b"DE00")], ids=["high", "low"])
@pytest.mark.parametrize(("event", "code"), BESIDE, ids=lambda value: str(value)[:70])
def test_half_a_surrogate_pair_changes_nothing_for_other_events(
    event: bytes, code: str | None, half: bytes, path: str, frame: bytes, ways: WaysIn
) -> None:
    if path == TRACK_EVENTS_PATH:  # which ignores the keys that are wrong here
        code = None
    status, answer = ways.post(frame % b" , ".join([event, half, EVENT]), path=path)
    assert status == 207, answer
    expected = ([(0, code)] if code else []) + [(1, "invalid_json")]
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == expected
    assert "half a surrogate pair" in answer["rejected"][-1]["message"]


def test_an_event_beside_half_a_surrogate_pair_is_stored_as_sent(ways: WaysIn, query: Query) -> None:
    event = b'{"event":"request_duo_chat_response","user_id":3,"a":1.10000000000000000000000001}'
    ways.post(b"[" + event + b"," + HALF_A_PAIR + b"]")
    assert event in ways.waiting[0]
    ways.consume((b"[" + event + b"," + HALF_A_PAIR + b"]").decode())
    assert users(query) == [3]


def test_half_a_surrogate_pair_spoils_no_large_array(ways: WaysIn) -> None:
    large = b'{"event": "request_duo_chat_response", "user_id": 3, "a": [%b]}' % b",".join([b"0"] * 150)
    status, answer = ways.post(b"[" + b",".join([large] * 9_000 + [HALF_A_PAIR]) + b"]")
    assert (status, answer["accepted"]) == (207, 9_000)


@pytest.mark.parametrize(
    "body",
    [event for event, _ in BAD_EVENTS if len(event) < 7_000]
    + [
        b"[" + HALF_A_PAIR + b"," + LONG_NUMBER + b"]",
        b'{"event": "request_duo_chat_response", "timestamp": "2026-11-20 12:55:11"}',
        b'{"event": "request_duo_chat_response", "timestamp": null, "user_id": 1.5}',
        b'{"event": "request_duo_chat_response", "timestamp": {"a": [null, true]}}',
        b'{"specversion": "1.0", "type": "a", "id": "1", "source": "a", "data": 5}',
        b'{"specversion": "1.0", "type": "a", "id": "1", "source": "a", "data_base64": "a"}',
        b'{"specversion": "1.0", "type": "a", "id": "1", "source": "a", "data_base64": "/w=="}',
        b'{"event": true, "events": 5}',
        b"\xff\xfe[\0]\0",
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x08" + b"a" * 40,
        gzip.compress(EVENT, mtime=0)[:-9] + b"12345678",
        b"H4sI====",
        b"H4sI\xff",
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_message_about_a_bad_body_quotes_no_python(body: bytes, ways: WaysIn) -> None:
    for path, media_type in product(
        ["/v1/events", TRACK_EVENT_PATH, TRACK_EVENTS_PATH], ["application/json", "application/x-ndjson"]
    ):
        for sent in (body, b"[" + body + b"," + EVENT + b"]", b'{"events": [' + body + b"]}"):
            _, answer = ways.post(sent, {"Content-Type": media_type}, path=path)
            messages = [one["message"] for one in answer.get("rejected", [])] + [answer.get("message", "")]
            assert [message for message in messages if PYTHON.search(message)] == []


@pytest.mark.parametrize("count", [1, 2])
def test_a_time_without_an_offset_is_quoted_as_it_was_sent(count: int, ways: WaysIn) -> None:
    event = json.dumps(CHAT | {"timestamp": "2026-11-20 12:55:11"})
    _, answer = ways.post(f"[{','.join([event] * count)}]".encode())
    messages = {one["message"] for one in answer["rejected"]}
    assert messages == {"timestamp: '2026-11-20 12:55:11' has no offset from UTC, like a trailing Z."}


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("deflate", zlib.compress(EVENT)),
        ("deflate", zlib.compress(EVENT)[2:-4]),
        ("br", b"\x0b\x02\x80[]\x03"),
        ("zstd", ZSTD),
        ("gzip, zstd", ZSTD),
        ("x-of-ours", b"\x01\x02"),
    ],
    ids=["zlib", "deflate", "br", "zstd", "gzip of zstd", "unknown"],
)
def test_a_body_in_an_encoding_that_is_not_taken_is_refused_by_its_name(coding: str, body: bytes, ways: WaysIn) -> None:
    message = f"The body's encoding is {coding.removeprefix('gzip, ')}: send it as gzip, or not encoded."
    for media_type in ("application/json", "application/x-ndjson"):
        headers = {"Content-Type": media_type, "Content-Encoding": coding}
        for path in ("/v1/events", TRACK_EVENT_PATH):
            for is_text in (False, True):
                assert ways.post(body, headers, path, is_text=is_text) == (415, {"message": message})


@pytest.mark.parametrize(("name", "body"), [("deflate", zlib.compress(EVENT)), ("zstd", ZSTD)], ids=["deflate", "zstd"])
def test_an_encoding_is_known_by_its_first_bytes_too(name: str, body: bytes, ways: WaysIn) -> None:
    status, answer = ways.post(body)
    assert (status, answer["message"]) == (415, f"The body's encoding is {name}: send it as gzip, or not encoded.")


@pytest.mark.parametrize("coding", ["deflate", "gzip", "x-gzip", "identity", "utf-8", "br", ""])
def test_a_body_that_a_gateway_has_unpacked_is_taken_whatever_its_header_says(coding: str, ways: WaysIn) -> None:
    assert ways.post(b" " + EVENT, {"Content-Encoding": coding})[0] == 202


def test_a_time_at_the_end_of_a_month_stays_in_it(ways: WaysIn, query: Query) -> None:
    last = datetime(NOW.year, NOW.month, 1, tzinfo=UTC)
    second = datetime.fromtimestamp(last.timestamp() - 1, UTC)
    written = f"{second:%Y-%m-%dT%H:%M:%S}"
    times = [f"{written}.9999999Z", f"{written}.99999999+00:00", second.timestamp() + 0.9999998, f"{written}.999999Z"]
    events = [json.dumps(CHAT | {"timestamp": time}) for time in times]
    ways.post(f"[{','.join(events)}]".encode())
    ways.consume_waiting()
    for event in events:
        ways.consume(event)
    ways.consume("\n".join(events))
    found = {row["timestamp"] for row in query("SELECT timestamp FROM ai_usage_events")}
    assert found == {second.replace(microsecond=999_999)}


def test_a_users_id_may_be_a_text(ways: WaysIn, query: Query) -> None:
    chat = {"event": CHAT["event"]}
    events = [
        chat | {"user_id": "5"},
        chat | {"user": {"id": "5"}},
        chat | {"user": {"id": 5}, "user_id": "5"},
        chat | {"user_id": "9223372036854775807"},
    ]
    status, _ = ways.post(json.dumps(events).encode())
    assert status == 202
    ways.consume_waiting()
    ways.consume(json.dumps(events))
    assert users(query) == [5] * 6 + [9223372036854775807] * 2


@pytest.mark.parametrize(
    "user_id",
    ["", "0", "-5", " 5", "5 ", "+5", "05", "5.5", "x", "\u0665", "9223372036854775808", "9" * 5_000, 5.5, True],
)
def test_what_is_no_id_is_rejected_as_a_text_too(user_id: Any, ways: WaysIn) -> None:
    for attribute in ("user_id", "user", "project_id", "namespace_id", "namespace", "project"):
        value = user_id if attribute.endswith("_id") else {"id": user_id}
        _, answer = ways.post(json.dumps([CHAT | {"user_id": None} | {attribute: value}]).encode())
        rejected = [(one["code"], one["message"]) for one in answer["rejected"]]
        name = attribute if attribute.endswith("_id") else f"{attribute}.id"
        code = f"invalid_{attribute.removesuffix('_id')}"
        assert rejected == [(code, f"{name} must be a positive 64-bit integer.")]
