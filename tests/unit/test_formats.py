"""Every format and wrapping of events, by HTTPS and by the queue."""

import base64
import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from functions.ingest.request import LINE_TYPES
from functions.shared.timestamp import format_timestamp
from tests.unit.bad_events import NOW
from tests.unit.ways_in import WaysIn, token

type Query = Callable[..., list[dict[str, Any]]]

OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"
AN_HOUR_AGO = format_timestamp(NOW - timedelta(hours=1))
JOB = {"id": 1, "project_id": 4, "pipeline": {"id": 2}}
TROUBLESHOOTING = {"event": "troubleshoot_job", "id": OWN_ID, "user_id": 3, "namespace_path": "27/28/", "job": JOB}
CHAT = {"event": "request_duo_chat_response", "user_id": 3}
SUGGESTION = {
    "event": "code_suggestion_shown_in_ide",
    "user_id": 3,
    "additional_properties": {"language": "rübý", "suggestion_size": 18},
}
ELSEWHERE = {"event": "elsewhere", "additional_properties": {"a": 1}}
EVENTS: list[dict[str, Any]] = [TROUBLESHOOTING, CHAT, SUGGESTION, ELSEWHERE]
STORED = [
    (3, 6, None, {}),
    (3, 7, "27/28/", {"job_id": 1, "project_id": 4, "pipeline_id": 2}),
    (3, 2, None, {"language": "rübý", "suggestion_size": 18}),
]


def cloud_event(event: dict[str, Any], number: int) -> dict[str, Any]:
    """The event as a CloudEvent."""
    data = {key: value for key, value in event.items() if key not in ("event", "id", "user_id")}
    return {
        "specversion": "1.0",
        "id": f"A-{number}",
        "source": "/ide/gateway",
        "type": event["event"],
        "time": AN_HOUR_AGO,
        "subject": "3",
        "traceparent": "an extension, which is ignored",
        "datacontenttype": "application/json",
        "data": data,
    }


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


ARRAY = encoded(EVENTS)
LINES = b"\n".join(map(encoded, EVENTS))
CLOUD_EVENTS = [cloud_event(event, number) for number, event in enumerate(EVENTS)]

FORMATS = {
    "array": ("application/json", ARRAY),
    "array over several lines": ("application/json; charset=utf-8", json.dumps(EVENTS, indent=2).encode()),
    "lines": ("application/x-ndjson", LINES),
    "lines with carriage returns and empty ones": (
        "application/x-ndjson",
        b"\r\n\r\n" + LINES.replace(b"\n", b"\r\n \r\n"),
    ),
    "lines said to be an object": ("application/json", LINES),
    "lines without a type": ("", LINES),
    "array said to be lines": ("application/x-ndjson", ARRAY),
    "CloudEvents": ("application/cloudevents-batch+json; charset=utf-8", encoded(CLOUD_EVENTS)),
    "CloudEvents said to be JSON": ("application/json", encoded(CLOUD_EVENTS)),
    "CloudEvents, one a line": ("application/x-ndjson", b"\n".join(map(encoded, CLOUD_EVENTS))),
    "CloudEvents beside events": ("application/json", encoded(EVENTS[:2] + CLOUD_EVENTS[2:])),
    "CloudEvents with data in base64": (
        "application/cloudevents-batch+json",
        encoded(
            [
                {key: value for key, value in one.items() if key != "data"}
                | {"data_base64": base64.b64encode(encoded(one["data"])).decode()}
                for one in CLOUD_EVENTS
            ]
        ),
    ),
}
SINGLE = {
    "object": encoded(TROUBLESHOOTING),
    "object over several lines": json.dumps(TROUBLESHOOTING, indent=2).encode(),
    "CloudEvent": encoded(CLOUD_EVENTS[0]),
}


def sns(body: bytes, message_id: str = "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324") -> bytes:
    return encoded(
        {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": "arn:aws:sns:us-east-1:123456789012:events",
            "Message": body.decode(),
            "Timestamp": "2012-05-02T00:54:06.655Z",
            "SignatureVersion": "1",
        }
    )


def event_bridge(body: bytes, event_id: str = "6a7e8feb-b491-4cf7-a9f1-bf3703467718") -> bytes:
    return encoded(
        {
            "version": "0",
            "id": event_id,
            "detail-type": "AI usage",
            "source": "ide",
            "account": "123456789012",
            "time": "2017-12-22T18:43:48Z",
            "region": "us-east-1",
            "resources": [],
            "detail": json.loads(body),
        }
    )


def as_it_is(body: bytes) -> bytes:
    return body


def gzip_in_base64(body: bytes) -> bytes:
    return base64.b64encode(gzip.compress(body))


def gzip_as_latin_1(body: bytes) -> bytes:
    return gzip.compress(body).decode("latin-1").encode()


def gzip_in_two_members(body: bytes) -> bytes:
    return gzip.compress(body[:100]) + gzip.compress(body[100:])


HTTPS_PACKINGS: list[Callable[[bytes], bytes]] = [
    as_it_is,
    gzip.compress,
    gzip_in_two_members,
    gzip_in_base64,
    gzip_as_latin_1,
]
QUEUE_WRAPPINGS: list[Callable[[bytes], bytes]] = [
    as_it_is,
    gzip_in_base64,
    sns,
    lambda body: sns(gzip_in_base64(body)),
]


def stored(query: Query) -> list[Any]:
    rows = query("SELECT user_id, event, namespace_path, payload FROM ai_usage_events")
    return sorted(((row["user_id"], row["event"], row["namespace_path"], row["payload"]) for row in rows), key=str)


def rejected(query: Query) -> list[str]:
    return [row["code"] for row in query("SELECT code FROM rejected_events ORDER BY code")]


@pytest.mark.parametrize(("media_type", "body"), FORMATS.values(), ids=FORMATS.keys())
def test_events_come_by_https_in_every_format(media_type: str, body: bytes, ways: WaysIn, query: Query) -> None:
    for number, packing in enumerate(HTTPS_PACKINGS, 1):
        status, answer = ways.post(packing(body), {"Content-Type": media_type})
        assert (status, answer["accepted"], answer["ignored"], answer["rejected"]) == (202, 3, 1, []), packing
        assert len(ways.waiting) == number
    ways.waiting[1:] = []
    ways.consume_waiting()
    assert stored(query) == sorted(STORED, key=str)


@pytest.mark.parametrize("body", [body for _, body in FORMATS.values()], ids=FORMATS.keys())
@pytest.mark.parametrize("wrapping", QUEUE_WRAPPINGS, ids=["plain", "gzip", "SNS", "gzip in SNS"])
def test_events_come_by_the_queue_in_every_format(
    wrapping: Callable[[bytes], bytes], body: bytes, ways: WaysIn, query: Query
) -> None:
    for _ in range(2):
        ways.consume(wrapping(body).decode())
    assert stored(query) == sorted(STORED, key=str)
    assert rejected(query) == []


@pytest.mark.parametrize("body", SINGLE.values(), ids=SINGLE.keys())
def test_a_single_event_comes_by_both_ways_and_in_every_wrapping(body: bytes, ways: WaysIn, query: Query) -> None:
    assert ways.post(body)[0] == 202
    ways.consume_waiting()
    for wrapped in (body, gzip_in_base64(body), sns(body), event_bridge(body), sns(event_bridge(body))):
        ways.consume(wrapped.decode())
    assert stored(query) == [STORED[1]]
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
    [{"Type": "Notification", "Message": "{}", "MessageId": "a"}, {"detail-type": "a", "detail": {}, "id": OWN_ID}],
)
def test_an_event_that_has_what_an_envelope_has_is_an_event(
    attributes: dict[str, Any], ways: WaysIn, query: Query
) -> None:
    ways.consume(json.dumps(CHAT | attributes))
    assert stored(query) == [STORED[0]]


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
    assert stored(query) == [STORED[0]] * 2
    assert rejected(query) == ["invalid_json", "invalid_json", "not_an_object", "unknown_event"]


def test_a_first_line_that_is_cut_off_is_rejected_alone(ways: WaysIn, query: Query) -> None:
    body = b'{"event": "request_duo\n' + encoded(CHAT)
    assert ways.post(body)[1]["rejected"][0]["index"] == 0
    ways.consume(body.decode())
    assert (stored(query), rejected(query)) == ([STORED[0]], ["invalid_json"])


def test_lines_that_make_json_only_together_are_none(ways: WaysIn) -> None:
    lines = [
        b'{"event": "request_duo_chat_response"}, {"event": "request_duo_chat_response"}',
        b'{"event": "a"',
        b'"b": 1}',
    ]
    status, answer = ways.post(b"\n".join(lines), {"Content-Type": "application/x-ndjson"})
    assert (status, [one["code"] for one in answer["rejected"]]) == (400, ["invalid_json"] * 3)


BINARY = {"ce-specversion": "1.0", "ce-id": "A-0", "ce-source": "/ide/gateway", "ce-type": "troubleshoot_job"}


def test_a_cloud_event_comes_in_binary_mode(ways: WaysIn, query: Query) -> None:
    data = encoded({"job": JOB, "namespace_path": "27/28/"})
    headers = BINARY | {"Ce-Subject": "%33", "CE-time": f'"{AN_HOUR_AGO}"', "Content-Type": "application/json"}
    for packing in HTTPS_PACKINGS:
        assert ways.post(packing(data), headers)[0] == 202
    assert ways.post(encoded(CLOUD_EVENTS[0]))[0] == 202  # the same one in structured mode
    ways.consume_waiting()
    assert stored(query) == [STORED[1]]


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        (BINARY | {"ce-specversion": "0.3"}, b"{}", "invalid_cloud_event"),
        (BINARY | {"ce-type": ""}, b"{}", "invalid_cloud_event"),
        (BINARY | {"ce-subject": "root"}, b"{}", "invalid_user"),
        (BINARY | {"ce-time": "yesterday"}, b"{}", "invalid_timestamp"),
        (BINARY, b"[]", "invalid_cloud_event"),
    ],
)
def test_a_bad_cloud_event_in_binary_mode_is_rejected(
    headers: dict[str, str], body: bytes, code: str, ways: WaysIn
) -> None:
    status, answer = ways.post(body, headers)
    assert (status, [one["code"] for one in answer["rejected"]]) == (400, [code])


def test_binary_mode_takes_no_body_but_json(ways: WaysIn) -> None:
    for body in (b"1, 2", b"[" * 20_000, b'{"a": 1}, "subject": "5"'):
        assert ways.post(body, BINARY)[0] == 400
    assert ways.post(b"a,b", BINARY | {"Content-Type": "text/csv"})[0] == 415
    assert ways.post(b"", BINARY)[0] == 202


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
    assert stored(query) == [STORED[0]] * (1 if code else 2)


def test_a_cloud_event_is_known_by_its_source_and_id(ways: WaysIn) -> None:
    def identifier(**attributes: str) -> str:
        return str(ways.post(encoded(CLOUD_EVENTS[1] | attributes))[1]["ids"][0])

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
        (gzip.compress(b" " * 20 * 1024 * 1024 + b"{}"), 413, "20971520", "too_large"),
        (gzip.compress(b"\0" * 300 * 1024 * 1024), 413, "20971520", "too_large"),
        (gzip.compress(b"[]") + gzip.compress(b" " * 20 * 1024 * 1024), 413, "20971520", "too_large"),
        (gzip.compress(b"[" + b"1," * 10_000 + b"1]"), 413, "10000", "too_large"),
        (gzip.compress(b"{}\n" * 10_001), 413, "10000", "too_large"),
        (gzip.compress(ARRAY)[:-1], 400, "cut off", "invalid_gzip"),
        (gzip.compress(ARRAY)[:-9] + b"\0" * 9, 400, "unpacked", "invalid_gzip"),
        (gzip.compress(ARRAY) + b"{}", 400, "unpacked", "invalid_gzip"),
        (gzip.compress(b"nonsense"), 400, "not JSON", "invalid_json"),
        (b"nonsense", 400, "not JSON", "invalid_json"),
        (b"H4sI nonsense", 400, "unpacked", "invalid_gzip"),
        (gzip.compress(ARRAY).decode(errors="replace").encode(), 400, "damaged", "invalid_gzip"),
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


def test_huge_messages_are_stored_one_after_the_other(
    ways: WaysIn, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways.consumer, "MOST_BYTES_AT_ONCE", 100)
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
