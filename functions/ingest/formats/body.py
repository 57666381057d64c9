"""Reads JSON bodies: one event, an array of events, or one event per line."""

import re
from collections.abc import Sequence
from functools import cache
from itertools import islice

import msgspec

from functions.ingest.contract import MAX_EVENTS
from functions.ingest.formats.adapter import Events, RequestFormat
from functions.ingest.formats.compression import TooLarge, unpacked, without_mark
from functions.ingest.formats.json_error import reason
from functions.ingest.formats.surrogates import hide_surrogates
from functions.ingest.request import Request, UnsupportedMediaType
from functions.shared.rejection import Rejection

LINE_TYPES = frozenset(
    {
        "application/json-lines",
        "application/jsonl",
        "application/jsonlines",
        "application/ndjson",
        "application/x-jsonlines",
        "application/x-ndjson",
    }
)
JSON_TYPES = frozenset(
    {
        "",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/gzip",
        "application/json",
        "application/x-gzip",
        "text/json",
        "text/plain",
    }
)

MAX_COMMAS_UNCOUNTED = 1_000_000
"""Bodies with more commas are counted before their events are decoded.

A body of 10,000 events with a hundred commas each stays within this number. Decoding needs at least 70 bytes of memory
per element, while a body may have an element in every two bytes.
"""

_LINE = re.compile(rb"[^ \t\r\n][^\n]*")
_WHITESPACE = b" \t\r\n"
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_ONE_TOO_MANY = "one_too_many"


def split(body: bytes, *, has_lines: bool = False) -> Events:
    """Splits a body into events; each is valid JSON, but not checked further.

    Args:
        has_lines: whether the content type promises one event per line; otherwise lines are detected.

    Raises:
        Rejection: the body can't be split (`invalid_json`, `too_deep`).
        TooLarge: the body has more than 10,000 events. Reading stops at that number.
    """
    events = _read(body, has_lines=has_lines)
    if len(events.raw) > MAX_EVENTS:
        raise TooLarge(f"The body has more than {MAX_EVENTS} events.")
    return events


def _is_json(request: Request) -> bool:
    return request.media_type in JSON_TYPES or request.media_type.endswith("+json")


def _has_lines(request: Request) -> bool:
    return request.media_type in LINE_TYPES


def _refuse(request: Request) -> Events:
    raise UnsupportedMediaType(
        f"Send events as application/json, application/x-ndjson or CloudEvents in JSON, not as {request.media_type}."
    )


LINES = RequestFormat(takes=_has_lines, read=lambda request: split(unpacked(request.body), has_lines=True))
JSON = RequestFormat(takes=_is_json, read=lambda request: split(unpacked(request.body)))
UNSUPPORTED = RequestFormat(takes=lambda _: True, read=_refuse)
"""Matches requests that no other format takes."""


def _read(body: bytes, *, has_lines: bool) -> Events:
    try:
        return _read_json(body)
    except Rejection:
        # One line over the limit is enough to detect too many events.
        found = (without_mark(match.group()).strip(_WHITESPACE) for match in _LINE.finditer(body))
        lines = list(islice(filter(None, found), MAX_EVENTS + 1))
        if not has_lines and not _are_events(lines):
            raise
    return _read_lines(lines)


def _read_json(body: bytes) -> Events:
    """Returns the elements of a JSON array, or the body as one event; each is valid JSON, but not checked further."""
    is_array = body.lstrip(_WHITESPACE).startswith(b"[")
    try:
        return _read_array(body) if is_array else Events([_raw_decoder.decode(body)])
    except msgspec.DecodeError as error:
        raise _not_json("body", error, body) from error
    except RecursionError as error:
        raise _too_deep() from error


def _read_array(body: bytes) -> Events:
    """Returns the elements of a JSON array. Half a surrogate pair makes only its own element unreadable."""
    try:
        check_count(body)
        return Events(_list_decoder.decode(body), array=body)
    except (msgspec.DecodeError, TooLarge):
        hidden = hide_surrogates(body)
        if hidden is None:
            raise
    check_count(hidden.text)
    return Events(hidden.restored(_list_decoder.decode(hidden.text)))


def check_count(body: bytes) -> None:
    """Rejects an array of too many events before memory is allocated for them.

    Raises:
        TooLarge: the array has more than 10,000 elements, or has very many commas and is not JSON.
    """
    if len(body) <= MAX_COMMAS_UNCOUNTED or body.count(b",") <= MAX_COMMAS_UNCOUNTED:
        return
    try:
        elements = _counting_decoder().decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TooLarge(
            f"The body has more than {MAX_COMMAS_UNCOUNTED} commas, and is not JSON: {reason(error)}."
        ) from error
    if bytes(getattr(elements, _ONE_TOO_MANY)):
        raise TooLarge(f"The body has more than {MAX_EVENTS} events.")


@cache
def _counting_decoder() -> msgspec.json.Decoder[msgspec.Struct]:
    """Returns a decoder that reads an array as a struct of 10,001 fields. Elements beyond these take no memory."""
    names = [*(f"element_{number}" for number in range(MAX_EVENTS)), _ONE_TOO_MANY]
    fields = [(name, msgspec.Raw, msgspec.Raw()) for name in names]
    return msgspec.json.Decoder(msgspec.defstruct("Elements", fields, array_like=True))


def _are_events(lines: Sequence[bytes]) -> bool:
    """Whether each line holds one event: the first line is valid JSON, or all lines begin with a brace."""
    if len(lines) < 2 or not lines[0].startswith(b"{"):
        return False
    return all(line.startswith(b"{") for line in lines) or _is_value(lines[0])


def _is_value(line: bytes) -> bool:
    try:
        _raw_decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _read_lines(lines: Sequence[bytes]) -> Events:
    events = Events([msgspec.Raw(line) for line in lines])
    for index, line in enumerate(lines):
        try:
            _raw_decoder.decode(line)
        except msgspec.DecodeError as error:
            events.refused[index] = _not_json("line", error, line)
        except RecursionError:
            events.refused[index] = _too_deep()
    return events


def _not_json(what: str, error: Exception, text: bytes) -> Rejection:
    return Rejection("invalid_json", f"The {what} is not JSON: {reason(error, text)}.")


def _too_deep() -> Rejection:
    return Rejection("too_deep", "Objects and arrays are nested too deep.")
