"""Strategies for malformed and unusual queue messages: bodies in envelopes, and imitations of the API's messages."""

import hashlib
import json
import re
from typing import Any

from hypothesis import strategies as st

from functions.ingest.message.batch import KIND as BATCH
from functions.ingest.message.replay import KIND as REPLAY
from tests.support.formats import gzip_in_base64
from tests.support.fuzzed_bodies import (
    Body,
    either,
    encoded,
    is_json,
    json_texts,
    json_values,
    moments,
    one_event,
    packed,
    plain_bodies,
    several,
    texts,
)

MOST_CHARACTERS_ON_THE_QUEUE = 250_000  # of at most four bytes each: SQS takes 1 MiB
MOST_ENVELOPES = 3
_REFUSED_BY_SQS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_sqs_takes_it(text: bytes) -> str:
    """Returns the text with replacement characters for bytes that are not UTF-8 and characters that SQS refuses."""
    return _REFUSED_BY_SQS.sub("\ufffd", text.decode(errors="replace"))[:MOST_CHARACTERS_ON_THE_QUEUE] or " "


def _compact(value: Any) -> bytes:
    """Encodes compact JSON, like the API's own messages."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _in_sns(body: Body) -> Body:
    notification = {"Type": "Notification", "MessageId": _id_of(body), "Message": as_sqs_takes_it(body.text)}
    return Body(encoded(notification), body.count)


def _in_event_bridge(body: Body) -> Body:
    """Wraps a body; one that is not JSON becomes a text, one with half of a surrogate pair becomes unreadable."""
    is_whole = is_json(body.text)
    detail = body.text if is_whole else encoded(body.text.decode(errors="replace"))
    envelope = b'{"detail-type": "a", "id": "%b", "detail": %b}' % (_id_of(body).encode(), detail)
    if rb"\u" in body.text:
        return Body(envelope, None)
    return Body(envelope, body.count if is_whole else 1)


def _id_of(body: Body) -> str:
    """Returns an envelope's id, derived from the body."""
    return hashlib.sha256(body.text).hexdigest()[:32]


@st.composite
def _message(draw: st.DrawFn, plain: Body) -> Body:
    """Draws a body in several envelopes. If they are more than the consumer removes, one bad event is left."""
    body = draw(packed(plain))
    if as_sqs_takes_it(body.text).encode() != body.text:
        body = Body(body.text, None)
    envelopes = draw(st.lists(st.sampled_from([_in_sns, _in_event_bridge]), max_size=4))
    for envelope in envelopes:
        body = envelope(body)
    is_certain = body.count is not None
    return Body(body.text, 1) if is_certain and len(envelopes) > MOST_ENVELOPES else body


_grants = st.fixed_dictionaries(
    {"sub": either(st.just("5")), "scopes": either(st.just(["events:write"])), "namespaces": either(st.just(["*"]))}
)
_replayed = st.fixed_dictionaries({"rejected_id": st.uuids().map(str), "attempts": st.integers()})
_batches = st.fixed_dictionaries(
    {
        "kind": st.just(BATCH),
        "id": either(texts),
        "received_at": either(moments),
        "events": either(st.lists(one_event, max_size=3)),
    },
    optional={
        "first": either(st.integers(0, 9)),
        "grant": either(_grants),
        "replayed": either(_replayed),
        "refused": either(st.just({"0": {"code": "a", "message": "b"}})),
    },
)
_replays = st.fixed_dictionaries(
    {
        "kind": st.just(REPLAY),
        "rejected_id": either(st.uuids().map(str)),
        "attempts": either(st.integers()),
        "received_at": either(moments),
        "body": either(plain_bodies.map(lambda body: body.text.decode(errors="replace"))),
    },
    optional={
        "grant": either(_grants),
        "packed": either(plain_bodies.map(lambda body: gzip_in_base64(body.text).decode())),
    },
)
_broken_envelopes = st.fixed_dictionaries(
    {},
    optional={
        "Type": either(st.just("Notification")),
        "MessageId": either(texts),
        "Message": either(json_texts.map(lambda text: text.decode(errors="replace"))),
        "detail-type": either(texts),
        "id": either(texts),
        "detail": one_event,
        "event": json_values,
    },
)
_own_messages = (_batches | _replays).map(_compact) | _broken_envelopes.map(encoded)
_odd_messages = _own_messages.map(lambda text: Body(text, None)).flatmap(lambda plain: several(packed(plain)))
messages = plain_bodies.flatmap(lambda plain: several(_message(plain))) | _odd_messages
"""Messages with one body in several packings and envelopes."""
