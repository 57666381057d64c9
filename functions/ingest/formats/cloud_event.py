"""Converts CloudEvents 1.0 (cloudevents.io) to plain events."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from uuid import NAMESPACE_URL, uuid5

import msgspec

from functions.ingest.contract import MAX_EVENT_BYTES, MAX_ID_DIGITS
from functions.ingest.formats.adapter import EventFormat, Events, RequestFormat
from functions.ingest.formats.body import JSON, LINES
from functions.ingest.formats.compression import unpacked, without_mark
from functions.ingest.formats.json_error import reason
from functions.ingest.formats.json_scan import holds
from functions.ingest.request import Request
from functions.shared.rejection import Rejection

BINARY_MODE_HEADER = "ce-specversion"

_STRUCTURED_TYPES = "application/cloudevents"
_MARK = b'"specversion"'
_VERSION = "1.0"
_IDENTIFIERS = uuid5(NAMESPACE_URL, "https://cloudevents.io/")
_NULL = msgspec.Raw(b"null")
_MAX_DATA_BYTES = 16 * MAX_EVENT_BYTES  # an event's keys take much more memory than their text
_HEADERS = {f"ce-{name}": name for name in ("specversion", "id", "source", "type", "time", "subject")}


class CloudEvent(msgspec.Struct):
    """The attributes of a CloudEvent that are used. Extensions are ignored.

    They stay JSON until their types are known: a list of millions of values would take 30 times its size.

    Attributes:
        event: set only in plain events, which have this key; CloudEvents don't.
    """

    specversion: msgspec.Raw = _NULL
    id: msgspec.Raw = _NULL
    source: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL
    time: msgspec.Raw = _NULL
    subject: msgspec.Raw = _NULL
    data: msgspec.Raw = _NULL
    data_base64: msgspec.Raw = _NULL
    event: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(CloudEvent)
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_text_decoder = msgspec.json.Decoder(str)
_data_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def holds_cloud_events(body: bytes) -> bool:
    """Whether a body may contain a CloudEvent, which has `specversion` and no `event`."""
    return holds(body, _MARK)


def as_plain_event(raw: msgspec.Raw) -> msgspec.Raw:
    """Converts a CloudEvent to a plain event: `type` is the name, `data` the context. Returns other events unchanged.

    The id is the UUIDv5 of `source` and `id`, which together identify a CloudEvent. A CloudEvent that is much too large
    for an event is returned unchanged, too.

    Raises:
        Rejection: `invalid_cloud_event`, or `invalid_user` if `subject` is not a user id.
    """
    if not holds_cloud_events(bytes(raw)):
        return raw
    try:
        event = _decoder.decode(raw)
        if event.event is not msgspec.UNSET or event.specversion == _NULL:
            return raw
        plain = _plain_event(event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw  # not an object, or not readable
    return raw if plain is None else msgspec.Raw(msgspec.json.encode(plain))


def from_headers(headers: Mapping[str, str], body: bytes) -> bytes:
    """Builds a CloudEvent from the `ce-` headers of a request, with the body as `data`.

    Args:
        headers: headers by name in lower case.

    Raises:
        Rejection: the body is not JSON (`invalid_json`).
    """
    attributes: dict[str, Any] = {
        name: _header_value(headers[header]) for header, name in _HEADERS.items() if header in headers
    }
    if body.strip():
        try:
            attributes["data"] = _raw_decoder.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Rejection(
                "invalid_json", f"The body, a CloudEvent's data, is not JSON: {reason(error, body)}."
            ) from error
    return msgspec.json.encode(attributes)


def _is_binary_mode(request: Request) -> bool:
    """Whether the attributes are in headers and the body, of a JSON type, is the data."""
    if BINARY_MODE_HEADER not in request.headers or request.media_type.startswith(_STRUCTURED_TYPES):
        return False
    return JSON.takes(request) or LINES.takes(request)


def _read_binary_mode(request: Request) -> Events:
    return Events([msgspec.Raw(from_headers(request.headers, unpacked(request.body)))])


BINARY_MODE = RequestFormat(takes=_is_binary_mode, read=_read_binary_mode)
STRUCTURED_MODE = EventFormat(may_be_in=holds_cloud_events, as_plain_event=as_plain_event)


def _plain_event(event: CloudEvent) -> dict[str, Any] | None:
    """Returns the keys of the plain event; None if the CloudEvent's data are much too large for an event."""
    if _text_or_none(event.specversion) != _VERSION:
        raise Rejection("invalid_cloud_event", f"specversion must be {_VERSION}.")
    data = _data(event)
    if len(data) > _MAX_DATA_BYTES:
        return None
    plain: dict[str, Any] = _keys(data)
    plain["event"] = _text(event.type, "type")
    plain["id"] = uuid5(_IDENTIFIERS, msgspec.json.encode([_text(event.source, "source"), _text(event.id, "id")]))
    if event.time != _NULL:
        plain["timestamp"] = _text(event.time, "time")
    if event.subject != _NULL:
        plain["user_id"] = _user_id(_text_or_none(event.subject))
    return plain


def _data(event: CloudEvent) -> bytes:
    if event.data_base64 == _NULL:
        return bytes(event.data)
    try:
        return base64.b64decode(_text(event.data_base64, "data_base64"), validate=True)
    except ValueError as error:
        raise Rejection("invalid_cloud_event", "data_base64 must be base64.") from error


def _keys(data: bytes) -> dict[str, Any]:
    try:
        return {**(_data_decoder.decode(without_mark(data)) or {})}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejection("invalid_cloud_event", f"data must be a JSON object: {reason(error, data)}.") from error


def _text_or_none(raw: msgspec.Raw) -> str | None:
    """Returns the text of an attribute; None if it is not a string."""
    return _text_decoder.decode(raw) if bytes(raw).startswith(b'"') else None


def _text(raw: msgspec.Raw, attribute: str) -> str:
    value = _text_or_none(raw)
    if not value:
        raise Rejection("invalid_cloud_event", f"{attribute} must be a non-empty string.")
    return value


def _user_id(subject: str | None) -> int:
    if subject is not None and subject.isascii() and subject.isdecimal() and len(subject) <= MAX_ID_DIGITS:
        return int(subject)
    raise Rejection("invalid_user", "subject must be the user's id, a positive 64-bit integer.")


def _header_value(value: str) -> str:
    """Decodes a header value: the HTTP binding percent-encodes values, and allows quotes."""
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        value = _unquoted(value[1:-1])
    return unquote(value)


def _unquoted(text: str) -> str:
    characters = iter(text)
    return "".join(next(characters, "") if character == "\\" else character for character in characters)
