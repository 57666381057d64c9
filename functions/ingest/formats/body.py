"""Bodies of JSON: one event, an array of them, or one per line."""

import json
import re
from collections.abc import Sequence
from functools import cache
from itertools import islice

import msgspec

from functions.ingest.contract import MAX_EVENTS
from functions.ingest.formats.adapter import Events, RequestFormat
from functions.ingest.formats.compression import TooLarge, unpacked
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
"""A body with more is counted before its events are read.

An ordinary body of 10,000 events has as many if each has a hundred. An element takes 70 bytes of memory and more,
though a body may hold one in every two of its bytes.
"""

_LINE = re.compile(rb"[^ \t\r\n][^\n]*")
_WHITESPACE = b" \t\r\n"
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_ONE_TOO_MANY = "one_too_many"


def split(body: bytes, *, has_lines: bool = False) -> Events:
    """The events in a body, each of which is only known to be JSON.

    Args:
        has_lines: whether the sender says that each event has a line of its own; else that is recognised.

    Raises:
        Rejection: `invalid_json`, `too_deep`: nothing in it can be told apart.
        TooLarge: it has over 10,000 events; no more of them is read than shows it.
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
        "Events are sent as application/json, application/x-ndjson or CloudEvents in JSON, "
        f"not as {request.media_type}."
    )


LINES = RequestFormat(takes=_has_lines, read=lambda request: split(unpacked(request.body), has_lines=True))
JSON = RequestFormat(takes=_is_json, read=lambda request: split(unpacked(request.body)))
UNSUPPORTED = RequestFormat(takes=lambda _: True, read=_refuse)
"""Takes what no other format does."""


def _read(body: bytes, *, has_lines: bool) -> Events:
    try:
        return _read_json(body)
    except Rejection:
        # Read no further than shows that there are too many.
        lines = [match.group().rstrip(_WHITESPACE) for match in islice(_LINE.finditer(body), MAX_EVENTS + 1)]
        if not has_lines and not _are_events(lines):
            raise
    return _read_lines(lines)


def _read_json(body: bytes) -> Events:
    """The elements of a JSON array, or the one value that `body` is; each is only known to be JSON."""
    is_array = body.lstrip(_WHITESPACE).startswith(b"[")
    if is_array:
        check_count(body)
    try:
        return Events(_list_decoder.decode(body), array=body) if is_array else Events([_raw_decoder.decode(body)])
    except msgspec.DecodeError as error:
        if is_array and rb"\u" in body:
            return _read_json_with_lone_surrogates(body)
        raise _not_json("body", error) from error
    except RecursionError as error:
        raise _too_deep() from error


def check_count(body: bytes) -> None:
    """Refuses a body of too many events, before memory is taken for them: the elements of the array that it is.

    Raises:
        TooLarge: the array has over 10,000 elements; or it has very many commas, and can't be decoded.
    """
    if body.count(b",") <= MAX_COMMAS_UNCOUNTED:
        return
    try:
        elements = _counting_decoder().decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TooLarge(f"The body has more than {MAX_COMMAS_UNCOUNTED} commas, and is not JSON: {error}.") from error
    if bytes(getattr(elements, _ONE_TOO_MANY)):
        raise TooLarge(f"The body has more than {MAX_EVENTS} events.")


@cache
def _counting_decoder() -> msgspec.json.Decoder[msgspec.Struct]:
    """Reads an array as a struct of 10,001 fields: msgspec takes no memory for the elements beyond these."""
    names = [*(f"element_{number}" for number in range(MAX_EVENTS)), _ONE_TOO_MANY]
    fields = [(name, msgspec.Raw, msgspec.Raw()) for name in names]
    return msgspec.json.Decoder(msgspec.defstruct("Elements", fields, array_like=True))


def _read_json_with_lone_surrogates(body: bytes) -> Events:
    """As `_read_json`, for arrays where a string may have been cut within a character.

    msgspec refuses the whole array; only the event at fault should be.
    """
    try:
        return Events(written_anew(json.loads(body)))
    except (ValueError, RecursionError) as error:
        raise _not_json("body", error) from error


def written_anew(events: Sequence[object]) -> list[msgspec.Raw]:
    """The JSON of what Python's own decoder read, which lets pass strings that were cut within a character.

    Raises:
        RecursionError: they are nested too deep.
    """
    texts = [json.dumps(event, ensure_ascii=False) for event in events]
    return [msgspec.Raw(text.encode(errors="backslashreplace")) for text in texts]


def _are_events(lines: Sequence[bytes]) -> bool:
    """Whether lines of unknown purpose hold an event each: the first one does, or all begin like one."""
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
            events.refused[index] = _not_json("line", error)
        except RecursionError:
            events.refused[index] = _too_deep()
    return events


def _not_json(what: str, error: Exception) -> Rejection:
    return Rejection("invalid_json", f"The {what} is not JSON: {error}.")


def _too_deep() -> Rejection:
    return Rejection("too_deep", "Objects and arrays are nested too deep.")
