"""Every format and envelope, over HTTPS and the queue."""

import base64
import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from functions.ingest.formats.body import LINE_TYPES
from functions.shared.timestamp import format_timestamp
from tests.support.accounts import Query
from tests.support.clock import NOW
from tests.support.formats import (
    AN_HOUR_AGO,
    OBJECT_WRAPPINGS,
    QUEUE_WRAPPINGS,
    Format,
    as_it_is,
    binary,
    cloud_events_of,
    encoded,
    event_bridge,
    events_of,
    formats,
    gzip_in_base64,
    mixtures,
    singles,
    sns,
    stored_of,
)
from tests.support.ways_in import WaysIn, token

USER = 3
TROUBLESHOOTING, CHAT, SUGGESTION, ELSEWHERE = events_of(USER)
CLOUD_EVENTS = cloud_events_of(USER)
STORED = stored_of(USER)
FORMATS = formats(USER) | mixtures(USER)
ARRAY = FORMATS["array"].body
SINGLES = singles(USER)
(BINARY,) = binary(USER).values()


def gzip_as_latin_1(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0).decode("latin-1").encode()


def gzip_in_two_members(body: bytes) -> bytes:
    return gzip.compress(body[:100], mtime=0) + gzip.compress(body[100:], mtime=0)


HTTPS_PACKINGS: list[Callable[[bytes], bytes]] = [
    as_it_is,
    gzip.compress,
    gzip_in_two_members,
    gzip_in_base64,
    gzip_as_latin_1,
]


def stored(query: Query) -> list[Any]:
    rows = query("SELECT user_id, event, namespace_path, payload FROM ai_usage_events")
    return sorted(((row["user_id"], row["event"], row["namespace_path"], row["payload"]) for row in rows), key=str)


def rejected(query: Query) -> list[str]:
    return [row["code"] for row in query("SELECT code FROM rejected_events ORDER BY code")]


@pytest.mark.parametrize("sent", FORMATS.values(), ids=FORMATS.keys())
def test_events_come_by_https_in_every_format(sent: Format, ways: WaysIn, query: Query) -> None:
    for number, packing in enumerate(HTTPS_PACKINGS, 1):
        status, answer = ways.post(packing(sent.body), sent.headers)
        assert status == (207 if sent.rejected else 202), packing
        assert (answer["accepted"], answer["ignored"]) == (len(sent.stored), sent.ignored), packing
        assert [one["code"] for one in answer["rejected"]] == list(sent.rejected), packing
        assert len(ways.waiting) == number
    ways.waiting[1:] = []
    ways.consume_waiting()
    assert stored(query) == sorted(sent.stored, key=str)


@pytest.mark.parametrize("sent", FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize("wrapping", QUEUE_WRAPPINGS.values(), ids=QUEUE_WRAPPINGS.keys())
def test_events_come_by_the_queue_in_every_format(
    wrapping: Callable[[bytes], bytes], sent: Format, ways: WaysIn, query: Query
) -> None:
    message = wrapping(sent.body).decode()
    for _ in range(2):
        ways.consume(message)
    assert stored(query) == sorted(sent.stored, key=str)
    assert rejected(query) == sorted(sent.rejected)


@pytest.mark.parametrize("sent", SINGLES.values(), ids=SINGLES.keys())
def test_a_single_event_comes_by_both_ways_and_in_every_wrapping(sent: Format, ways: WaysIn, query: Query) -> None:
    authoritative = {
        "Authorization": f"Bearer {token(namespaces=['*'])}"
    }  # as the queue is: its ids are stored as sent
    assert ways.post(sent.body, {**sent.headers, **authoritative})[0] == 202
    ways.consume_waiting()
    for wrapping in OBJECT_WRAPPINGS.values():
        ways.consume(wrapping(sent.body).decode())
    assert stored(query) == sent.stored
    assert rejected(query) == []


def test_an_internal_event_within_event_bridge_may_be_unknown(ways: WaysIn, query: Query) -> None:
    ways.consume(event_bridge(encoded(ELSEWHERE)).decode(), event_bridge(encoded(SUGGESTION)).decode())
    assert stored(query) == [STORED[2]]
    assert rejected(query) == []


def test_what_comes_by_https_is_never_unwrapped(ways: WaysIn) -> None:
    for wrapped in (sns(encoded(CHAT)), event_bridge(encoded(CHAT))):
        status, answer = ways.post(wrapped)
        assert (status, [one["code"] for one in answer["rejected"]]) == (400, ["invalid_event"])


@pytest.mark.parametrize("wrapping", [sns, event_bridge])
def test_a_wrapped_event_without_an_id_has_one_of_its_envelopes(
    wrapping: Callable[[bytes, str], bytes], ways: WaysIn, query: Query
) -> None:
    body = encoded(CHAT)
    ways.consume(wrapping(body, "first").decode(), message_id="a")
    ways.consume(wrapping(body, "first").decode(), message_id="b")
    ways.consume(wrapping(body, "second").decode(), message_id="b")
    (row,) = query("SELECT count(*), min(timestamp) FROM ai_usage_events")
    assert row["count"] == 2
    assert abs(row["min"] - NOW) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "attributes",
    [
        {"Type": "Notification", "Message": "{}", "MessageId": "a"},
        {"detail-type": "a", "detail": {}, "id": TROUBLESHOOTING["id"]},
    ],
)
def test_an_event_that_has_what_an_envelope_has_is_an_event(
    attributes: dict[str, Any], ways: WaysIn, query: Query
) -> None:
    ways.consume(json.dumps(CHAT | attributes))
    assert stored(query) == [STORED[1]]


@pytest.mark.parametrize("media_type", [*sorted(LINE_TYPES), "application/json", ""])
def test_a_bad_line_is_rejected_alone_with_its_index(media_type: str, ways: WaysIn, query: Query) -> None:
    lines = [
        encoded(CHAT),
        b'{"event": "request_duo',
        b"",
        encoded({"event": "unknown"}),
        encoded(CHAT),
        b"5",
        b"nonsense",
    ]
    status, answer = ways.post(b"\n".join(lines), {"Content-Type": media_type})
    assert (status, answer["accepted"]) == (207, 2)
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [
        (1, "invalid_json"),
        (2, "unknown_event"),
        (4, "not_an_object"),
        (5, "invalid_json"),
    ]
    ways.consume(b"\n".join(lines).decode())
    assert stored(query) == [STORED[1]] * 2
    assert rejected(query) == ["invalid_json", "invalid_json", "not_an_object", "unknown_event"]


def test_a_first_line_that_is_cut_off_is_rejected_alone(ways: WaysIn, query: Query) -> None:
    body = b'{"event": "request_duo\n' + encoded(CHAT)
    assert ways.post(body)[1]["rejected"][0]["index"] == 0
    ways.consume(body.decode())
    assert (stored(query), rejected(query)) == ([STORED[1]], ["invalid_json"])


def test_lines_that_make_json_only_together_are_none(ways: WaysIn) -> None:
    lines = [
        b'{"event": "request_duo_chat_response"}, {"event": "request_duo_chat_response"}',
        b'{"event": "a"',
        b'"b": 1}',
    ]
    status, answer = ways.post(b"\n".join(lines), {"Content-Type": "application/x-ndjson"})
    assert (status, [one["code"] for one in answer["rejected"]]) == (400, ["invalid_json"] * 3)


def test_a_cloud_event_comes_in_binary_mode(ways: WaysIn, query: Query) -> None:
    subject, time = BINARY.headers["ce-subject"], BINARY.headers["ce-time"]
    odd = {"Ce-Subject": f"%{ord(subject):x}", "CE-time": f'"{time}"'}
    others = {name: value for name, value in BINARY.headers.items() if name.title() not in ("Ce-Subject", "Ce-Time")}
    for headers in (BINARY.headers, others | odd):
        for packing in HTTPS_PACKINGS:
            assert ways.post(packing(BINARY.body), headers)[0] == 202
    assert ways.post(encoded(CLOUD_EVENTS[0]))[0] == 202  # the same one in structured mode
    ways.consume_waiting()
    assert stored(query) == BINARY.stored


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        (BINARY.headers | {"ce-specversion": "0.3"}, b"{}", "invalid_cloud_event"),
        (BINARY.headers | {"ce-type": ""}, b"{}", "invalid_cloud_event"),
        (BINARY.headers | {"ce-subject": "root"}, b"{}", "invalid_user"),
        (BINARY.headers | {"ce-time": "yesterday"}, b"{}", "invalid_timestamp"),
        (BINARY.headers, b"[]", "invalid_cloud_event"),
    ],
)
def test_a_bad_cloud_event_in_binary_mode_is_rejected(
    headers: dict[str, str], body: bytes, code: str, ways: WaysIn
) -> None:
    status, answer = ways.post(body, headers)
    assert (status, [one["code"] for one in answer["rejected"]]) == (400, [code])


def test_binary_mode_takes_no_body_but_json(ways: WaysIn) -> None:
    for body in (b"1, 2", b"[" * 20_000, b'{"a": 1}, "subject": "5"'):
        assert ways.post(body, BINARY.headers)[0] == 400
    assert ways.post(b"a,b", BINARY.headers | {"Content-Type": "text/csv"})[0] == 415
    assert ways.post(b"", BINARY.headers)[0] == 202


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"specversion": "0.3"}, "invalid_cloud_event"),
        ({"specversion": 1.0}, "invalid_cloud_event"),
        ({"id": ""}, "invalid_cloud_event"),
        ({"id": 7}, "invalid_cloud_event"),
        ({"source": None}, "invalid_cloud_event"),
        ({"type": None}, "invalid_cloud_event"),
        ({"type": "unknown"}, "unknown_event"),
        ({"time": 5}, "invalid_cloud_event"),
        ({"time": "yesterday"}, "invalid_timestamp"),
        ({"subject": "root"}, "invalid_user"),
        ({"subject": "0"}, "invalid_user"),
        ({"subject": "9" * 30}, "invalid_user"),
        ({"subject": 3}, "invalid_user"),
        ({"data": "text"}, "invalid_cloud_event"),
        ({"data": []}, "invalid_cloud_event"),
        ({"data_base64": "!"}, "invalid_cloud_event"),
        ({"data_base64": "e30x"}, "invalid_cloud_event"),
        ({"data": {"user_id": 4}}, None),
        ({"data": {"user": {"id": 4}}}, "invalid_user"),
        ({"data": {"id": 5, "event": "other", "timestamp": "nonsense"}}, None),
        ({"data": None}, None),
        ({"time": None, "data": {"timestamp": AN_HOUR_AGO}}, None),
    ],
)
def test_a_bad_cloud_event_is_rejected_alone_by_both_ways(
    attributes: dict[str, Any], code: str | None, ways: WaysIn, query: Query
) -> None:
    body = encoded([CHAT, CLOUD_EVENTS[1] | {"id": "B"} | attributes])
    status, answer = ways.post(body)
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == ([(1, code)] if code else [])
    assert status == (207 if code else 202)
    ways.consume(body.decode())
    assert rejected(query) == ([code] if code else [])
    assert stored(query) == [STORED[1]] * (1 if code else 2)


def test_a_cloud_event_is_known_by_its_source_and_id(ways: WaysIn) -> None:
    def identifier(**attributes: str) -> str:
        headers = {"Authorization": f"Bearer {token(namespaces=['*'])}"}
        return str(ways.post(encoded(CLOUD_EVENTS[1] | attributes), headers)[1]["ids"][0])

    ids = [
        identifier(),
        identifier(time=format_timestamp(NOW)),
        identifier(id="B"),
        identifier(source="/other"),
        identifier(id="a b", source="c"),
        identifier(id="b", source="c a"),
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 5
    assert all(one[14] == "5" for one in ids)


@pytest.mark.parametrize(
    ("body", "status", "said", "code"),
    [
        (gzip.compress(b" " * 20 * 1024 * 1024 + b"{}", mtime=0), 413, "20971520", "too_large"),
        (gzip.compress(b"\0" * 300 * 1024 * 1024, mtime=0), 413, "20971520", "too_large"),
        (gzip.compress(b"[]", mtime=0) + gzip.compress(b" " * 20 * 1024 * 1024, mtime=0), 413, "20971520", "too_large"),
        (gzip.compress(b"[" + b"1," * 10_000 + b"1]", mtime=0), 413, "10000", "too_large"),
        (gzip.compress(b"{}\n" * 10_001, mtime=0), 413, "10000", "too_large"),
        (gzip.compress(ARRAY, mtime=0)[:-1], 400, "cut off", "invalid_gzip"),
        (gzip.compress(ARRAY, mtime=0)[:-9] + b"\0" * 9, 400, "unpacked", "invalid_gzip"),
        (gzip.compress(ARRAY, mtime=0) + b"{}", 400, "unpacked", "invalid_gzip"),
        (gzip.compress(b"nonsense", mtime=0), 400, "not JSON", "invalid_json"),
        (b"nonsense", 400, "not JSON", "invalid_json"),
        (b"H4sI nonsense", 400, "unpacked", "invalid_gzip"),
        (gzip.compress(ARRAY, mtime=0).decode(errors="replace").encode(), 400, "damaged", "invalid_gzip"),
        (b'{"event":\n "a"', 400, "not JSON", "invalid_json"),
    ],
    ids=range(13),
)
def test_a_body_that_can_not_be_read_is_refused_whole(
    body: bytes, status: int, said: str, code: str, ways: WaysIn, query: Query
) -> None:
    answered, answer = ways.post(body)
    assert answered == status
    assert said in answer["message"]
    text = body.decode() if not body.startswith(b"\x1f\x8b") else base64.b64encode(body).decode()
    ways.consume(text)
    assert query("SELECT code, body FROM rejected_events") == [{"code": code, "body": text.replace("\0", "\ufffd")}]


def test_a_wrapped_message_without_events_is_kept_whole(ways: WaysIn, query: Query) -> None:
    message = sns(b"nonsense").decode()
    ways.consume(message)
    assert query("SELECT code, body FROM rejected_events") == [{"code": "invalid_json", "body": message}]


def test_huge_messages_are_stored_one_after_the_other(ways: WaysIn, query: Query) -> None:
    ways.consumer.max_bytes = 100
    ways.consume(*[encoded(CHAT | {"number": number}).decode() for number in range(5)], message_id="a")
    ways.consume(*[encoded([CHAT] * 3).decode()], message_id="b")
    assert query("SELECT count(*) FROM ai_usage_events") == [{"count": 4}]


def test_an_event_nested_as_deep_as_can_be_read_does_not_stop_the_queue(ways: WaysIn, query: Query) -> None:
    for depth in (4_000, 5_500, *range(9_800, 10_010, 7)):
        body = b'{"event": "request_duo_chat_response", "a": %b}' % (b"[" * depth + b"]" * depth)
        ways.post(b"[%b]" % body)
        ways.consume(body.decode())
    ways.consume_waiting()
    (row,) = query("SELECT count(*) FROM ai_usage_events")
    assert row["count"] > 0


def test_a_token_is_asked_for_before_the_body_is_read(ways: WaysIn) -> None:
    assert ways.post(b"nonsense", {"Authorization": "Bearer nonsense"})[0] == 401
    assert ways.post(b"nonsense", {"Authorization": f"Bearer {token(scope='events:read')}"})[0] == 403
