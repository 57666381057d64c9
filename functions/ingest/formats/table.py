"""The table of input formats. A new format is one file in this folder and one line in this table."""

from functions.ingest.formats import body, cloud_event, envelope, gitlab
from functions.ingest.formats.adapter import EnvelopeFormat, EventFormat, Events, RequestFormat
from functions.ingest.formats.compression import other_encoding, unpacked, without_mark
from functions.ingest.request import EVENTS_PATH, Request, UnsupportedEncoding
from functions.shared.rejection import Rejection

# For each path, the first format that takes the request reads it.
REQUEST_FORMATS: tuple[RequestFormat, ...] = (
    cloud_event.BINARY_MODE,
    body.LINES,
    body.JSON,
    body.UNSUPPORTED,
    gitlab.TRACK_EVENT,
    gitlab.TRACK_EVENTS,
)
EVENT_FORMATS: tuple[EventFormat, ...] = (cloud_event.STRUCTURED_MODE,)
ENVELOPE_FORMATS: tuple[EnvelopeFormat, ...] = (envelope.SNS, envelope.EVENT_BRIDGE)

PATHS = frozenset(form.path for form in REQUEST_FORMATS)

_MAX_ENVELOPES = 3  # EventBridge may send to SNS, and SNS to the queue


def format_of(request: Request) -> RequestFormat:
    """Returns the format of the request's events; an unknown path counts as `/v1/events`.

    An unsupported content type also gets a format, whose `read` raises, because the token is checked first.
    """
    path = request.path if request.path in PATHS else EVENTS_PATH
    return next(form for form in REQUEST_FORMATS if form.path == path and form.takes(request))


def events_of(request: Request, form: RequestFormat) -> Events:
    """Returns the events of the request; some may need `plain_events`.

    Raises:
        Rejection: the body can't be split into events.
        TooLarge: the body has too many events or bytes.
        UnsupportedMediaType: no format of the table has the request's content type, or the body's encoding.
    """
    try:
        events = form.read(request)
    except Rejection:
        _require_encoding(request)
        raise
    if events.raw and len(events.refused) == len(events.raw):
        _require_encoding(request)
    return events


def events_in(text: bytes) -> Events:
    """Returns the events of a queue message's body, which has no content type and may be gzip.

    Raises:
        Rejection: the body can't be split into events (`invalid_gzip`, `invalid_json`, `too_deep`).
        TooLarge: the body has more than 10,000 events or 20 MB. Reading stops at that limit.
    """
    return plain_events(body.split(unpacked(text)))


def unwrapped(text: bytes, message_id: str) -> tuple[bytes, str]:
    """Returns the body without envelopes, and the id of the innermost envelope, or of the message if it has none."""
    for _ in range(_MAX_ENVELOPES):
        text = without_mark(text)
        if not text.lstrip().startswith(b"{"):
            break
        contents = (form.content(text) for form in ENVELOPE_FORMATS if form.mark in text)
        content = next((content for content in contents if content is not None), None)
        if content is None:
            break
        text, message_id = content
    return text, message_id


def _require_encoding(request: Request) -> None:
    """Names the encoding of a body that can't be read."""
    encoding = other_encoding(request.headers.get("content-encoding", ""), request.body)
    if encoding is not None:
        raise UnsupportedEncoding(f"The body's encoding is {encoding[:40]}: send it as gzip, or not encoded.")


def plain_events(events: Events) -> Events:
    """Converts all events to plain events. An event with a name (`event`) stays as it is."""
    text = b"".join(events.raw) if events.array is None else events.array
    for form in EVENT_FORMATS:
        if form.may_be_in(text):
            events.array = None
            for index, raw in enumerate(events.raw):
                if index not in events.refused:
                    try:
                        events.raw[index] = form.as_plain_event(raw)
                    except Rejection as rejection:
                        events.refused[index] = rejection
    return events
