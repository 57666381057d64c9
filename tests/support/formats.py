"""The same events in every format and envelope."""

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

from functions.shared.timestamp import format_timestamp
from tests.support.clock import NOW

AN_HOUR_AGO = format_timestamp(NOW - timedelta(hours=1))
JOB = {"id": 1, "project_id": 4, "pipeline": {"id": 2}}
JOB_PAYLOAD = {"job_id": 1, "project_id": 4, "pipeline_id": 2}
SUGGESTION_PAYLOAD = {"language": "rübý", "suggestion_size": 18}
CUT_OFF = b'{"event": "request_duo_chat_response", "user_id": %d'

type Stored = list[tuple[int, int, str | None, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Format:
    """A body, and its expected outcome.

    Attributes:
        headers: HTTP headers that describe the body.
        stored: user, event, namespace path and payload of each row.
        rejected: codes of the rejected events.
        ignored: number of internal events that no definition names.
    """

    headers: dict[str, str]
    body: bytes
    stored: Stored
    rejected: tuple[str, ...] = ()
    ignored: int = 0


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def events_of(user_id: int) -> list[dict[str, Any]]:
    """Returns four events of a user: two plain, two internal; no definition names the last."""
    return [
        {
            "event": "troubleshoot_job",
            "id": str(uuid5(NAMESPACE_OID, str(user_id))),
            "user_id": user_id,
            "namespace_path": "27/28/",
            "job": JOB,
        },
        {"event": "request_duo_chat_response", "user_id": user_id},
        {"event": "code_suggestion_shown_in_ide", "user_id": user_id, "additional_properties": SUGGESTION_PAYLOAD},
        {"event": "elsewhere", "additional_properties": {"a": 1}},
    ]


def stored_of(user_id: int) -> Stored:
    """Returns the expected rows for `events_of`, in the same order."""
    return [(user_id, 7, "27/28/", JOB_PAYLOAD), (user_id, 6, None, {}), (user_id, 2, None, SUGGESTION_PAYLOAD)]


def cloud_events_of(user_id: int) -> list[dict[str, Any]]:
    """Returns the user's events as CloudEvents."""
    return [
        {
            "specversion": "1.0",
            "id": f"A-{number}",
            "source": f"/ide/{user_id}",
            "type": event["event"],
            "time": AN_HOUR_AGO,
            "subject": str(user_id),
            "traceparent": "an extension, which is ignored",
            "datacontenttype": "application/json",
            "data": {key: value for key, value in event.items() if key not in ("event", "id", "user_id")},
        }
        for number, event in enumerate(events_of(user_id))
    ]


def formats(user_id: int) -> dict[str, Format]:
    """Returns formats with all of the user's events in one body."""
    events, cloud_events = events_of(user_id), cloud_events_of(user_id)
    array = encoded(events)
    lines = b"\n".join(map(encoded, events))
    in_base64 = [
        {key: value for key, value in one.items() if key != "data"}
        | {"data_base64": base64.b64encode(encoded(one["data"])).decode()}
        for one in cloud_events
    ]
    bodies = {
        "array": ("application/json", array),
        "array over several lines": ("application/json; charset=utf-8", json.dumps(events, indent=2).encode()),
        "lines": ("application/x-ndjson", lines),
        "lines with carriage returns and empty ones": (
            "application/x-ndjson",
            b"\r\n\r\n" + lines.replace(b"\n", b"\r\n \r\n"),
        ),
        "lines said to be an object": ("application/json", lines),
        "lines without a type": ("", lines),
        "array said to be lines": ("application/x-ndjson", array),
        "CloudEvents": ("application/cloudevents-batch+json; charset=utf-8", encoded(cloud_events)),
        "CloudEvents said to be JSON": ("application/json", encoded(cloud_events)),
        "CloudEvents, one a line": ("application/x-ndjson", b"\n".join(map(encoded, cloud_events))),
        "CloudEvents beside events": ("application/json", encoded(events[:2] + cloud_events[2:])),
        "CloudEvents with data in base64": ("application/cloudevents-batch+json", encoded(in_base64)),
    }
    return {
        name: Format({"Content-Type": media_type}, body, stored_of(user_id), ignored=1)
        for name, (media_type, body) in bodies.items()
    }


def singles(user_id: int) -> dict[str, Format]:
    """Returns formats with one event of the user."""
    job, _, internal, _ = events_of(user_id)
    suggestion = internal | {"id": job["id"]}
    stored_job, _, stored_suggestion = stored_of(user_id)
    json_type = {"Content-Type": "application/json"}
    cloud_type = {"Content-Type": "application/cloudevents+json"}
    return {
        "object": Format(json_type, encoded(job), [stored_job]),
        "object over several lines": Format(json_type, json.dumps(job, indent=2).encode(), [stored_job]),
        "internal event": Format(json_type, encoded(suggestion), [stored_suggestion]),
        "CloudEvent": Format(cloud_type, encoded(cloud_events_of(user_id)[0]), [stored_job]),
    }


def binary(user_id: int) -> dict[str, Format]:
    """Returns the user's first CloudEvent in binary mode, which exists over HTTPS only."""
    event = cloud_events_of(user_id)[0]
    attributes = ("specversion", "id", "source", "type", "time", "subject")
    headers = {f"ce-{name}": event[name] for name in attributes} | {"Content-Type": "application/json"}
    return {"CloudEvent in binary mode": Format(headers, encoded(event["data"]), stored_of(user_id)[:1])}


def mixtures(user_id: int) -> dict[str, Format]:
    """Returns formats with the user's events and events that are rejected."""
    events, cloud_events = events_of(user_id), cloud_events_of(user_id)
    bad = [{"event": "unknown", "user_id": user_id}, events[1] | {"id": "no uuid"}]
    bad_cloud_events = [cloud_events[0] | {"specversion": "0.3"}, cloud_events[0] | {"subject": "root"}]
    lines = [*map(encoded, events[:2] + bad), CUT_OFF % user_id, b"", *map(encoded, events[2:])]

    def mixture(media_type: str, body: bytes, *codes: str) -> Format:
        return Format({"Content-Type": media_type}, body, stored_of(user_id), codes, ignored=1)

    return {
        "array with bad events": mixture("application/json", encoded([*bad, *events]), "unknown_event", "invalid_id"),
        "lines with bad ones": mixture(
            "application/x-ndjson", b"\n".join(lines), "unknown_event", "invalid_id", "invalid_json"
        ),
        "CloudEvents with bad ones": mixture(
            "application/cloudevents-batch+json",
            encoded(bad_cloud_events + cloud_events),
            "invalid_cloud_event",
            "invalid_user",
        ),
    }


def sns(body: bytes, message_id: str = "") -> bytes:
    """Returns the body in an SNS envelope, with a new message id unless one is given."""
    return encoded(
        {
            "Type": "Notification",
            "MessageId": message_id or str(uuid4()),
            "TopicArn": "arn:aws:sns:us-east-1:123456789012:events",
            "Message": body.decode(),
            "Timestamp": "2012-05-02T00:54:06.655Z",
            "SignatureVersion": "1",
        }
    )


def event_bridge(body: bytes, event_id: str = "") -> bytes:
    """Returns the object in an EventBridge envelope, with a new id unless one is given."""
    return encoded(
        {
            "version": "0",
            "id": event_id or str(uuid4()),
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
    return base64.b64encode(gzip.compress(body, mtime=0))


QUEUE_WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": as_it_is,
    "gzip": gzip_in_base64,
    "SNS": sns,
    "gzip in SNS": lambda body: sns(gzip_in_base64(body)),
}
OBJECT_WRAPPINGS: dict[str, Callable[[bytes], bytes]] = QUEUE_WRAPPINGS | {
    "EventBridge": event_bridge,
    "EventBridge in SNS": lambda body: sns(event_bridge(body)),
}
