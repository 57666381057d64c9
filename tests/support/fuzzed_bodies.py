"""Strategies for malformed and unusual bodies and for requests with them."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from hypothesis import strategies as st

from functions.ingest.formats.body import JSON_TYPES, LINE_TYPES
from functions.ingest.formats.compression import MAX_UNPACKED_BYTES
from functions.ingest.formats.gitlab import TRACK_EVENT_PATH, TRACK_EVENTS_PATH
from functions.ingest.request import EVENTS_PATH
from functions.shared.timestamp import format_timestamp
from tests.support.bad_events import BAD_EVENTS
from tests.support.clock import NOW

OWN_ID = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44"
VARIANTS = 4
_NAMES = ("request_duo_chat_response", "troubleshoot_job", "code_suggestion_shown_in_ide", "elsewhere")


@dataclass(frozen=True, slots=True)
class Body:
    """A body and the number of its events; None if the number is not certain."""

    text: bytes
    count: int | None


def encoded(value: Any, *, ascii_only: bool = False) -> bytes:
    """Encodes a value as JSON, halves of surrogate pairs as escapes or as bytes that are not UTF-8."""
    return json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")


def is_json(text: bytes) -> bool:
    """Whether the text is JSON; Python alone also reads constants like NaN."""
    try:
        json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


texts = st.text(st.characters(exclude_categories=()), max_size=8)
long_texts = st.builds(lambda text, times: text * times, texts, st.sampled_from([260, 1_001, 9_000]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
moments = st.sampled_from([0, 1, -30, 100, -100, 10**5]).map(
    lambda days: format_timestamp(NOW - timedelta(days=days))
) | st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59.999Z"])


def either(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Returns a strategy for usual and unusual values."""
    return usual | json_values


_base_attributes: dict[str, st.SearchStrategy[Any]] = {
    "id": either(st.just(OWN_ID) | st.uuids().map(str)),
    "timestamp": either(moments),
    "user_id": either(st.integers(1, 9)),
    "user": either(st.fixed_dictionaries({"id": st.integers(1, 9)}, optional={"username": texts | long_texts})),
    "namespace": either(st.just({"path": "27/28/"})),
    "namespace_id": either(st.integers(1, 9)),
    # Of no other test: once it is known where a project is, others may not write there.
    "project_id": either(st.integers(901, 909) | st.just("904")),
    "job": either(st.just({"id": 1, "project_id": 4, "pipeline": {"id": 2}})),
    "additional_properties": either(st.just({"language": "ruby"}) | st.fixed_dictionaries({"value": json_values})),
    "filler": long_texts,
    "specversion": json_values,
}
events = st.fixed_dictionaries({"event": either(st.sampled_from(_NAMES))}, optional=_base_attributes)
cloud_events = st.fixed_dictionaries(
    {"specversion": either(st.just("1.0")), "type": either(st.sampled_from(_NAMES))},
    optional={
        "id": either(texts),
        "source": either(texts),
        "time": either(moments),
        "subject": either(st.just("5")),
        "data": either(st.just({"job": {"id": 1}}) | events),
        "data_base64": either(st.sampled_from(["e30=", "e30", "/w==", "bnVsbA=="])),
    },
)
good_events = st.fixed_dictionaries(
    {"event": st.sampled_from(_NAMES[:-1]), "user_id": st.integers(1, 9)},
    optional={
        "id": st.uuids().map(str),
        "namespace": st.just({"path": "27/28/"}),
        "additional_properties": st.just({}),
    },
)
one_event = good_events | events | cloud_events | json_values

# What json.dumps never writes: deep, huge and doubled values, and escapes of every kind.
_odd_values = st.sampled_from(
    [
        b"[" * 100 + b"]" * 100,
        b"[" * 20_000 + b"]" * 20_000,
        b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
        b"[" * 6_000,
        b"1" * 400,
        b"-" + b"9" * 5_000,
        b"1e400",
        b"-1e-400",
        b"1.5E+308",
        b"0." + b"1" * 900,
        b"-0",
        b"01",
        b"NaN",
        b'"\\ud83d"',
        b'"\\ude00\\ud83d"',
        b'"\\u0000"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xef\xbf\xbf\xef\xbf\xbe"',
        b'"\r"',
        b'"\\x"',
        b'{"a":1,"a":2}',
        b"{}",
    ]
)
_keys = st.sampled_from(["event", *_base_attributes, "type", "data"])
odd_events = st.builds(
    lambda event, key, value: encoded(event)[:-1] + b',"%b":%b}' % (key.encode(), value), events, _keys, _odd_values
)
doubled_events = st.builds(lambda one, other: encoded(one)[:-1] + b"," + encoded(other)[1:], events, events)
bad_events = st.integers(0, len(BAD_EVENTS) - 1).map(lambda number: BAD_EVENTS[number][0])
json_texts = st.builds(lambda value, ascii_only: encoded(value, ascii_only=ascii_only), one_event, st.booleans())
short_texts = json_texts.filter(lambda text: len(text) < MAX_UNPACKED_BYTES // 200)  # so many of them are not too large
event_texts = json_texts | odd_events | doubled_events | bad_events | st.binary(max_size=20)


def single(text: bytes) -> Body:
    """Draws a body of one event; if half of a surrogate pair is in it, the number of events is not certain."""
    is_one = is_json(text) and not text.lstrip().startswith(b"[") and rb"\u" not in text
    return Body(text, 1 if is_one else None)


def array(some: list[bytes]) -> Body:
    return Body(b"[" + b", ".join(some) + b"]", len(some) if all(map(is_json, some)) else None)


_separators = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r", b"\n\n \n", b"\n\x1e", b"\xe2\x80\xa8", b"\0"])
lines = st.builds(lambda separator, some: separator.join(some), _separators, st.lists(event_texts, max_size=4))
plain_bodies: st.SearchStrategy[Body] = (
    event_texts.map(single)
    | st.lists(event_texts, max_size=4).map(array)
    | lines.map(lambda text: Body(text, None))
    | st.lists(one_event, max_size=4).map(lambda some: Body(encoded({"events": some}), None))
    | st.builds(lambda text, times: array([text] * times), short_texts, st.sampled_from([101, 150]))
    | st.just(Body(b"[" + b"0," * 10_000 + b"0]", None))
)
_zipped = partial(gzip.compress, mtime=0)  # the same whenever it is done, as Hypothesis wants it
BOMB = _zipped(b" " * 21 * 1024 * 1024)
_PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _zipped,
    "gzip in two members": lambda text: _zipped(text[:9]) + _zipped(text[9:]),
    "gzip with padding": lambda text: _zipped(text) + b"\0\0",
    "gzip as latin-1": lambda text: _zipped(text).decode("latin-1").encode(),
    "gzip in base64": lambda text: base64.b64encode(_zipped(text)),
    "gzip with more after it": lambda text: _zipped(text) + text,
    "gzip of gzip": lambda text: _zipped(_zipped(text)),
    "zlib": zlib.compress,
    "bomb behind it": lambda text: _zipped(text) + BOMB,
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "UTF-16": lambda text: text.decode(errors="replace").encode("utf-16"),
    "spaces around it": lambda text: b" \r\n\t" + text + b"\r\n ",
}
_FAITHFUL = {
    "gzip",
    "gzip in two members",
    "gzip with padding",
    "gzip as latin-1",
    "gzip in base64",
    "byte order mark",
    "spaces around it",
}


@st.composite
def packed(draw: st.DrawFn, plain: Body) -> Body:
    """Draws the body unchanged, compressed, cut off, or with a byte replaced."""
    text, count = plain.text, plain.count
    packing = draw(st.sampled_from([None, None, None, *_PACKINGS]))
    if packing:
        text, count = _PACKINGS[packing](text), count if packing in _FAITHFUL else None
    harm = draw(st.sampled_from([None, None, None, "cut", "replace"]))
    if harm and text:
        position = draw(st.integers(0, len(text) - 1))
        end = draw(st.binary(min_size=1, max_size=1)) + text[position + 1 :] if harm == "replace" else b""
        text, count = text[:position] + end, None
    return Body(text, count)


def several[Variant](variants: st.SearchStrategy[Variant]) -> st.SearchStrategy[list[Variant]]:
    """Draws several requests with one body, because drawing a body takes longer than sending it."""
    return st.lists(variants, min_size=VARIANTS, max_size=VARIANTS)


class HttpsRequest(NamedTuple):
    """A request with a body; its headers lack the token."""

    path: str
    headers: dict[str, str]
    body: Body


_header_values = st.sampled_from(["1.0", "5", "%22", '"a\\', "request_duo_chat_response"]) | st.text(max_size=5)
_headers = st.dictionaries(
    st.sampled_from(["Idempotency-Key", "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time"]),
    _header_values,
)
_media_types = st.sampled_from(sorted(JSON_TYPES | LINE_TYPES)) | st.text(max_size=9)
_paths = st.sampled_from([EVENTS_PATH, EVENTS_PATH, TRACK_EVENT_PATH, TRACK_EVENTS_PATH])


@st.composite
def _https_request(draw: st.DrawFn, plain: Body) -> HttpsRequest:
    body = draw(packed(plain))
    return HttpsRequest(draw(_paths), draw(_headers) | {"Content-Type": draw(_media_types)}, body)


https_requests = plain_bodies.flatmap(lambda plain: several(_https_request(plain)))
"""Requests with one body in several packings."""
