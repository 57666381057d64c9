"""The table of input formats: a new one is a file beside this one, and a line here."""

from functions.ingest.formats import body, cloud_event, envelope, gitlab
from functions.ingest.formats.adapter import EnvelopeFormat, EventFormat, Events, RequestFormat
from functions.ingest.formats.compression import unpacked
from functions.ingest.request import EVENTS_PATH, Request
from functions.shared.rejection import Rejection

# Of those that take a request to a path, the first one reads it.
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
    """The format in which the request's events come; one to a path that is none is read as if it came to `/v1/events`.

    What no format holds is of one whose `read` says so, since a token is asked for before that.
    """
    path = request.path if request.path in PATHS else EVENTS_PATH
    return next(form for form in REQUEST_FORMATS if form.path == path and form.takes(request))


def events_of(request: Request, form: RequestFormat) -> Events:
    """The events in the request, each as the event that it is here.

    Raises:
        Rejection: nothing in the body can be told apart.
        TooLarge: it has too many events, or bytes.
        UnsupportedMediaType: it is said to be of a format that is not in the table.
    """
    return _as_plain_events(form.read(request))


def events_in(text: bytes) -> Events:
    """The events in a body that nothing is said of, as on the queue; it may be gzip.

    Raises:
        Rejection: `invalid_gzip`, `invalid_json`, `too_deep`: nothing in it can be told apart.
        TooLarge: it has over 10,000 events, or 20 MB; no more of them is read than shows it.
    """
    return _as_plain_events(body.split(unpacked(text)))


def unwrapped(text: bytes, message_id: str) -> tuple[bytes, str]:
    """The body as its producer sent it, and the id of the innermost envelope, or else of the message."""
    for _ in range(_MAX_ENVELOPES):
        if not text.lstrip().startswith(b"{"):
            break
        contents = (form.content(text) for form in ENVELOPE_FORMATS if form.mark in text)
        content = next((content for content in contents if content is not None), None)
        if content is None:
            break
        text, message_id = content
    return text, message_id


def _as_plain_events(events: Events) -> Events:
    """The events, those of other formats as the events that they are here."""
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
