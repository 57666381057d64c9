"""GitLab's endpoints for internal events. GitLab's editor extensions can send to them unchanged."""

from collections.abc import Mapping
from typing import Any

import msgspec

from functions.ingest.contract import MAX_EVENTS, Answer
from functions.ingest.formats.adapter import Events, RequestFormat, status_and_answer
from functions.ingest.formats.body import check_count
from functions.ingest.formats.compression import TooLarge, unpacked
from functions.ingest.formats.json_error import reason
from functions.ingest.formats.surrogates import hide_surrogates
from functions.ingest.request import Request
from functions.shared.rejection import Rejection

TRACK_EVENT_PATH = "/api/v4/usage_data/track_event"
TRACK_EVENTS_PATH = "/api/v4/usage_data/track_events"
OK = {"status": "ok"}

_TOKEN_HEADER = "private-token"  # noqa: S105 - the name of a header


class TrackedEvent(msgspec.Struct):
    """The keys that GitLab reads from an event. Other keys are ignored, so the user is always the token's user."""

    event: msgspec.Raw
    additional_properties: msgspec.Raw = msgspec.Raw(b"null")
    project_id: msgspec.Raw = msgspec.Raw(b"null")
    project_path: msgspec.Raw = msgspec.Raw(b"null")
    namespace_id: msgspec.Raw = msgspec.Raw(b"null")


class TrackedEvents(msgspec.Struct):
    """The body of a request with several events."""

    events: msgspec.Raw


_event_decoder = msgspec.json.Decoder(TrackedEvent)
_body_decoder = msgspec.json.Decoder(TrackedEvents)
_events_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def credentials(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the headers with a `PRIVATE-TOKEN` moved to `authorization`."""
    if _TOKEN_HEADER not in headers or headers.get("authorization", "").lower().startswith("bearer "):
        return headers
    return {**headers, "authorization": f"Bearer {headers[_TOKEN_HEADER]}"}


def answer_of(answer: Answer) -> tuple[int, Any]:
    """Returns GitLab's answer if no event was rejected; otherwise the usual answer with the reasons."""
    return status_and_answer(answer) if answer.rejected else (200, OK)


def tracked_event(request: Request) -> Events:
    """Returns the body's event as an internal event.

    Raises:
        Rejection: the body is not a JSON object, or has no `event`.
        TooLarge: the body has too many bytes.
    """
    return Events([_internal_event(unpacked(request.body))])


def tracked_events(request: Request) -> Events:
    """Returns the events in the body's `events` as internal events.

    Raises:
        Rejection: the body is not a JSON object, or has no array `events`.
        TooLarge: the body has too many events or bytes.
    """
    found = _split(unpacked(request.body))
    if len(found) > MAX_EVENTS:
        raise TooLarge(f"The body has more than {MAX_EVENTS} events.")
    events = Events(found)
    for index, raw in enumerate(found):
        try:
            events.raw[index] = _internal_event(raw)
        except Rejection as rejection:
            events.refused[index] = rejection
    return events


TRACK_EVENT, TRACK_EVENTS = (
    RequestFormat(takes=lambda _: True, read=read, path=path, credentials=credentials, answer=answer_of)
    for read, path in ((tracked_event, TRACK_EVENT_PATH), (tracked_events, TRACK_EVENTS_PATH))
)


def _split(text: bytes) -> list[msgspec.Raw]:
    hidden = hide_surrogates(text)
    if hidden is not None:
        return hidden.restored(_split_hidden(hidden.text))
    return _split_hidden(text)


def _split_hidden(text: bytes) -> list[msgspec.Raw]:
    events = bytes(_decoded(_body_decoder, text).events)
    check_count(events)
    return _decoded(_events_decoder, events)


def _internal_event(text: bytes | msgspec.Raw) -> msgspec.Raw:
    """Adds the additional properties that make the event an internal event, so an unknown name is ignored."""
    tracked = _decoded(_event_decoder, text)
    if bytes(tracked.additional_properties) == b"null":
        tracked.additional_properties = msgspec.Raw(b"{}")
    return msgspec.Raw(msgspec.json.encode(tracked))


def _decoded[Decoded](decoder: msgspec.json.Decoder[Decoded], text: bytes | msgspec.Raw) -> Decoded:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise Rejection("invalid_event", f"The body is malformed: {reason(error)}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejection("invalid_json", f"The body is not JSON: {reason(error, bytes(text))}.") from error
    except RecursionError as error:
        raise Rejection("too_deep", "Objects and arrays are nested too deep.") from error
