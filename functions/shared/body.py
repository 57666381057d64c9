"""The events that a body holds: one, an array of them, or one per line; each may be a CloudEvent."""

import contextlib
import json
import re
from collections.abc import Sequence
from itertools import islice

import msgspec

from functions.shared.cloud_event import as_plain_event, holds_cloud_events
from functions.shared.compression import TooLarge, unpacked
from functions.shared.rejection import Rejection

MAX_EVENTS = 10_000

# Each element takes some 70 bytes of memory, though a body may hold one in every two of its bytes. A body with so many
# commas is counted first; the events of an ordinary one would have over a hundred of them each.
_MAX_COMMAS_UNCOUNTED = 1_000_000

_LINE = re.compile(rb"[^ \t\r\n][^\n]*")
_WHITESPACE = b" \t\r\n"
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_NOTHING = re.compile(r"[ \t\r\n]*")
_element_decoder = json.JSONDecoder()
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)


class Events(msgspec.Struct):
    """What a body holds, in its order.

    Attributes:
        raw: each event's JSON, as it came or, of a CloudEvent, as the event that it is here.
        refused: why some of them are none, by their position: a line that is no JSON, or an incomplete CloudEvent.
        array: the body, where it is an array of these very events.
    """

    raw: list[msgspec.Raw]
    refused: dict[int, Rejection] = {}
    array: bytes | None = None


def events_in(body: bytes, *, has_lines: bool = False) -> Events:
    """The events in a body, which may be gzip.

    Args:
        has_lines: whether the sender says that each event has a line of its own; else that is recognised.

    Raises:
        Rejection: `invalid_gzip`, `invalid_json`, `too_deep`: nothing in it can be told apart.
        TooLarge: it has over 10,000 events, or 20 MB; no more of them is read than shows it.
    """
    body = unpacked(body)
    events = _split(body, has_lines=has_lines)
    if len(events.raw) > MAX_EVENTS:
        raise TooLarge(f"The body has more than {MAX_EVENTS} events.")
    if holds_cloud_events(body):
        events.array = None
        for position, raw in enumerate(events.raw):
            try:
                events.raw[position] = as_plain_event(raw)
            except Rejection as rejection:
                events.refused[position] = rejection
    return events


def _split(body: bytes, *, has_lines: bool) -> Events:
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

    What is no JSON passes: whoever decodes it says why.

    Raises:
        TooLarge: the array has over 10,000 elements.
    """
    if body.count(b",") <= _MAX_COMMAS_UNCOUNTED:
        return
    text = body.decode(errors="replace")
    position = text.find("[") + 1
    with contextlib.suppress(ValueError, RecursionError):
        for _ in range(MAX_EVENTS):
            _, position = _element_decoder.raw_decode(text, _NOTHING.match(text, position).end())  # type: ignore[union-attr]
            position = _NOTHING.match(text, position).end()  # type: ignore[union-attr]
            if text[position : position + 1] != ",":
                return
            position += 1
        raise TooLarge(f"The body has more than {MAX_EVENTS} events.")


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
    return all(line.startswith(b"{") for line in lines) or _is_json(lines[0])


def _is_json(line: bytes) -> bool:
    try:
        _raw_decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _read_lines(lines: Sequence[bytes]) -> Events:
    events = Events([msgspec.Raw(line) for line in lines])
    for position, line in enumerate(lines):
        try:
            _raw_decoder.decode(line)
        except msgspec.DecodeError as error:
            events.refused[position] = _not_json("line", error)
        except RecursionError:
            events.refused[position] = _too_deep()
    return events


def _not_json(what: str, error: Exception) -> Rejection:
    return Rejection("invalid_json", f"The {what} is not JSON: {error}.")


def _too_deep() -> Rejection:
    return Rejection("too_deep", "Objects and arrays are nested too deep.")
